/* sd_run.c: a generation in steps (imago.h): opening a run, asking and telling about it, closing it. Nothing is computed
 * here: sd_begin.c makes the first latents, sd_step.c goes the steps, sd_image.c makes pictures.
 *
 * A run owns copies of all that it was asked for, its random numbers and its scheduler, so runs of one model do not know of
 * each other: whichever are stepped together share one evaluation of the network, in which no operation mixes samples. */
#include "models/pipelines/sd_run.h"
#include "data/files/file.h"
#include "data/files/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- opening */

void im_run_name(const im_sd_args *a, char *out, size_t size)
{
    if (a->name) snprintf(out, size, "%s", a->name);
    else snprintf(out, size, "the picture of \"%.200s\", seed %llu", a->prompt, (unsigned long long)a->seed);
}

static char *own_text(im_ctx *c, const char *s)
{
    return s ? im_copy_text(c, s, strlen(s)) : NULL;
}

static im_image *own_picture(im_ctx *c, const im_image *i)
{
    im_image *copy = i ? im_image_new(c, i->width, i->height, i->channels) : NULL;
    if (copy) memcpy(copy->pixels, i->pixels, (size_t)i->width * (size_t)i->height * (size_t)i->channels);
    return copy;
}

/* What is asked for, checked and copied. */
static bool take_request(im_sd_run *r, const im_sd_args *a)
{
    im_ctx *c = r->c;
    if (!a->prompt) return im_fail(c, "a picture has no prompt; wanted text, or \"\"");
    if (!isfinite(a->guidance)) return im_fail(c, "guidance: found %g, wanted a number", (double)a->guidance);
    const char *negative = a->negative ? a->negative : "";
    if (!im_utf8_check(c, "the prompt", a->prompt, strlen(a->prompt)) ||
        !im_utf8_check(c, "the negative prompt", negative, strlen(negative)) || !im_sd_sizes(r->sd, a, &r->size))
        return false;
    im_lora_tags tags;
    if (!im_lora_tags_read(c, a->prompt, &tags)) return false;
    r->prompt = own_text(c, tags.text);
    bool put_on = im_sd_use_tags(r->sd, &tags);
    im_lora_tags_free(&tags);
    if (!put_on) return false;
    r->negative = own_text(c, negative);
    r->scheduler_name = own_text(c, a->scheduler);
    r->name = own_text(c, a->name);
    r->init = own_picture(c, a->init);
    r->a = *a;
    r->a.prompt = r->prompt;
    r->a.negative = r->negative;
    r->a.scheduler = r->scheduler_name;
    r->a.name = r->name;
    r->a.init = r->init;
    r->a.mask = NULL;
    r->a.latents = NULL;
    r->a.latents_out = NULL;
    return im_ok(c);
}

static bool take_latents(im_sd_run *r, const float *latents)
{
    if (!latents) return true;
    char name[IM_RUN_NAME];
    im_run_name(&r->a, name, sizeof name);
    if (!im_run_finite(r, latents, r->each))
        return im_fail(r->c, "%s: the latents that were given hold values that are not finite", name);
    r->given = malloc(r->each * sizeof *r->given);
    if (!r->given) return im_fail(r->c, "out of memory for the latents of a picture");
    memcpy(r->given, latents, r->each * sizeof *latents);
    return true;
}

static im_tensor *own_latent(const im_sd_run *r)
{
    return im_own(r->c, im_new(r->c, IM_F32, 4, (int64_t[]){ 1, r->size.h, r->size.w, r->channels }));
}

static bool open_run(im_sd_run *r, const im_sd_args *a)
{
    im_ctx *c = r->c;
    if (!take_request(r, a)) return false;
    if (a->clip_skip < 0 || a->clip_skip > r->sd->config->clip.num_hidden_layers)
        return im_fail(c, "clip skip: found %d, wanted 1 (the last layer) to %d, the number of the text encoder's layers",
                       a->clip_skip, r->sd->config->clip.num_hidden_layers);
    if (a->deep_cache < 0 || a->deep_cache > 1000)
        return im_fail(c, "deep cache: found %d, wanted 1 (all of the UNet in every step) to 1000", a->deep_cache);
    if (!(a->token_merging >= 0 && a->token_merging <= 0.9f))
        return im_fail(c, "token merging: found %g, wanted 0 (none) to 0.9: the share of tokens that are merged",
                       (double)a->token_merging);
    if (!im_mask_take(r, a)) return false;
    if (a->guidance > 1 && !im_sd_guided(r->sd, a) && a->negative && *a->negative)
        im_warn(c, "the model is told the guidance and sees the prompt alone: the negative prompt is not used");
    if (!(r->chunks = im_sd_text_chunks(r->sd, &r->a))) return false;
    if (r->chunks > 1) r->size.tokens = r->chunks * r->sd->config->text_tokens;
    r->guided = im_sd_guided(r->sd, a);
    r->rows = r->guided ? 2 : 1;
    r->channels = r->sd->config->vae.latent_channels;
    r->pixels = (int64_t)r->size.w * r->size.h;
    r->each = (size_t)r->pixels * (size_t)r->channels;
    r->scheduler = im_sd_new_scheduler(r->sd, a);
    if (!im_scheduler_plan(r->scheduler, a->steps, r->each)
        || (a->init && !im_scheduler_begin(r->scheduler, a->strength)))
        return false;
    r->rng = im_rng_new(c, a->rng, a->seed);
    r->x = own_latent(r);
    r->e = own_latent(r);
    r->guess = own_latent(r);
    r->good = own_latent(r);
    if (a->deep_cache > 1)
        r->deep = im_own(c, im_new(c, IM_F32, 4, (int64_t[]){ r->rows, r->size.h, r->size.w,
                                                              im_unet_deep_channels(&r->sd->config->unet) }));
    r->mark = im_own(c, im_new(c, IM_I32, 1, (int64_t[]){ 1 }));
    return im_ok(c) && im_mask_open(r) && take_latents(r, a->latents);
}

im_sd_run *im_sd_run_open(im_sd *sd, const im_sd_args *a)
{
    if (!sd || !im_ok(sd->c)) return NULL;
    im_sd_run *r = calloc(1, sizeof *r);
    if (!r) {
        im_fail(sd->c, "out of memory for a picture");
        return NULL;
    }
    *r = (im_sd_run){ .sd = sd, .c = sd->c, .id = ++sd->opened };
    sd->open_runs++;
    if (open_run(r, a)) return r;
    im_sd_run_close(r);
    return NULL;
}

void im_sd_run_close(im_sd_run *r)
{
    if (!r) return;
    if (--r->sd->open_runs == 0) im_sd_stages_rest(r->sd);     /* its memory is the largest part                      */
    im_rng_free(r->rng);
    im_scheduler_free(r->scheduler);
    im_image_free(r->init);
    im_image_free(r->mask);
    im_image_free(r->whole);
    im_image_free(r->whole_mask);
    free(r->kept);
    free(r->prompt);
    free(r->negative);
    free(r->scheduler_name);
    free(r->name);
    free(r->text);
    free(r->given);
    im_tensor *const own[] = { r->x, r->e, r->guess, r->good, r->deep, r->mark, r->mask_noise, r->mask_inputs };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) im_param_free(r->c, own[i]);
    free(r->error);
    free(r);
}

/* ---------------------------------------------------------------- what it is at */

int im_sd_run_done(const im_sd_run *r)
{
    return r->done;
}

int im_sd_run_total(const im_sd_run *r)
{
    return im_scheduler_evaluations(r->scheduler);
}

im_sd_state im_sd_run_state(const im_sd_run *r)
{
    return r->state == IM_SD_RUNNING && r->cancelled ? IM_SD_CANCELLED : r->state;
}

const char *im_sd_run_error(const im_sd_run *r)
{
    return r->error ? r->error : "";
}

void im_sd_run_cancel(im_sd_run *r)
{
    r->cancelled = 1;
}

bool im_sd_run_latents(const im_sd_run *r, float *out)
{
    if (!r->begun) return im_fail(r->c, "a picture that has not begun has no latents yet; call im_sd_run_begin or step it");
    float *x = im_values(r->c, r->x);
    if (x) im_to_channels_first(x, r->channels, r->pixels, out);
    free(x);
    return x != NULL;
}

bool im_sd_run_guess(const im_sd_run *r, float *out)
{
    if (!r->done) return im_fail(r->c, "a picture's first evaluation is still to come: nothing is guessed yet");
    float *x = im_values(r->c, r->guess);
    if (x) im_to_channels_first(x, r->channels, r->pixels, out);
    free(x);
    return x != NULL;
}

/* Some schedulers ask for times between two whole ones. */
bool im_sd_run_level(const im_sd_run *r, int i, float *time, float *abar)
{
    int n;
    const float *alphas = im_scheduler_alphas(r->scheduler, &n);
    if (i < 0 || i >= im_scheduler_evaluations(r->scheduler)) return false;
    *time = im_scheduler_time(r->scheduler, i);
    float t = *time < 0 ? 0 : *time > (float)(n - 1) ? (float)(n - 1) : *time, part = t - floorf(t);
    int low = (int)t, high = low + 1 < n ? low + 1 : low;
    *abar = alphas[low] + part * (alphas[high] - alphas[low]);
    return true;
}
