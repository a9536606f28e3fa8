/* sd_finite.c: pictures that cannot be right. Text states, first latents, every evaluation's noise, every step's latents
 * and the decoded picture are looked at, one pass over each; a value that is not finite ends that picture, with a message
 * that says when it was, in which network and in which layer first, and how to look further. The layer is found by doing
 * the same once more with every operation's output looked at (tensor/finite.c).
 *
 * In steps the device does the looking. The first step that goes wrong leaves its number and what it was in `mark`, and
 * the latents that it began from in `good`; those that follow change neither. Used by sd_begin.c, sd_step.c, sd_image.c. */
#include "models/pipelines/sd_run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool all_finite(const float *x, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++) finite &= isfinite(x[i]) != 0;
    return finite;
}

bool im_run_finite(const im_sd_run *r, const float *x, size_t n)
{
    return r->unchecked || all_finite(x, n);
}

bool im_run_fail(im_sd_run *r, const char *fmt, ...)
{
    char text[3000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    free(r->error);
    r->error = malloc(sizeof text);
    r->state = IM_SD_FAILED;
    if (!r->error) return im_fail(r->c, "%s", text);
    snprintf(r->error, sizeof text, "%s", text);
    return false;
}

typedef struct once_more { im_sd_run *r; bool (*again)(im_sd_run *r); } once_more;

static bool repeat(void *arg)
{
    const once_more *o = arg;
    im_sd_stages_forget(o->r->sd);                             /* so that keys and values are seen, too               */
    return o->again(o->r);
}

/* "before the first evaluation", "evaluation 3 of 20 (time 801)", "after the last of 20 evaluations" */
static void say_when(const im_sd_run *r, char *out, size_t size)
{
    int total = im_scheduler_evaluations(r->scheduler);
    if (!r->begun)
        snprintf(out, size, "before the first of %d evaluations", total);
    else if (r->done < total)
        snprintf(out, size, "evaluation %d of %d (time %g)", r->done + 1, total,
                 (double)im_scheduler_time(r->scheduler, r->done));
    else
        snprintf(out, size, "after the last of %d evaluations", total);
}

/* What to try, where the caller knows nothing better. */
static const char *usual_advice(const im_sd_run *r, bool weights)
{
    if (r->sd->dtype != IM_F32)
        return weights ? "--dtype f32 holds larger values; where that does not help, the model's file is damaged"
                       : "`imago trace` writes what every layer gives; --dtype f32 holds larger values";
    return weights ? "the model's file is damaged: fetch or make it again"
                   : "`imago trace` writes what every layer gives; a lower --guidance and another --scheduler are worth a "
                     "try";
}

bool im_run_not_finite(im_sd_run *r, const char *what, const char *net, bool (*again)(im_sd_run *r), const char *advice)
{
    char when[100], where[1200] = "";
    say_when(r, when, sizeof when);
    bool weights = false;
    bool found = again && im_find_not_finite(r->c, repeat, &(once_more){ r, again }, where, sizeof where, &weights);
    im_sd_stages_rest(r->sd);
    if (!im_ok(r->c)) return false;                            /* stopped meanwhile                                   */
    return im_run_fail(r, "%s: %s gave values that are not finite, so there is no picture%s%s%s%s; %s", when, what,
                       found ? "; the first of them come from " : "", found ? net : "", found ? " " : "", where,
                       advice ? advice : usual_advice(r, weights));
}

/* ---------------------------------------------------------------- marks */

bool im_run_watch(im_sd_run *r, const im_tensor *x, im_bad what)
{
    return r->unchecked ? im_ok(r->c) : im_watch(r->c, x, 1 + IM_BAD_KINDS * r->done + (int)what, r->mark);
}

static bool evaluate_again(im_sd_run *r)
{
    im_tensor *noise;
    r->size.depth = IM_UNET_WHOLE;
    im_scope_push(r->c);
    bool ok = im_assign(r->c, r->x, r->good) && im_run_evaluate(r->sd, (im_sd_run *const[]){ r }, 1, &noise);
    im_scope_pop(r->c);
    return ok;
}

static const char SOLVER_ADVICE[] = "choose another --scheduler, or other settings in scheduler_config.json: "
    "final_sigmas_type sigma_min or lower_order_final true keep the last step finite";

static bool scheduler_failed(im_sd_run *r)
{
    char settings[300], what[400];
    im_scheduler_settings(r->scheduler, settings, sizeof settings);
    snprintf(what, sizeof what, "the scheduler %s (%s), given noise that is finite,", im_scheduler_name(r->scheduler),
             settings);
    return im_run_not_finite(r, what, "", NULL,
                             strstr(settings, "solver_order") ? SOLVER_ADVICE : "choose another --scheduler");
}

bool im_run_look(im_sd_run *r)
{
    int mark = (int)im_item(r->c, r->mark);
    if (!im_ok(r->c) || !mark) return im_ok(r->c);
    r->done = (mark - 1) / IM_BAD_KINDS;
    im_scheduler_rewind(r->scheduler, r->done);
    switch ((mark - 1) % IM_BAD_KINDS) {
    case IM_BAD_ENCODER: return im_run_not_finite(r, "the VAE encoder", "vae_encoder", im_run_encode_again, NULL);
    case IM_BAD_START: return im_run_not_finite(r, "the noise that it begins from", "", NULL, NULL);
    case IM_BAD_NET: return im_run_not_finite(r, "the UNet", "unet", evaluate_again, NULL);
    case IM_BAD_GUIDANCE:
        return im_run_not_finite(r, "the guidance of noise that is finite", "unet", NULL, "ask for a lower --guidance");
    default: return scheduler_failed(r);
    }
}
