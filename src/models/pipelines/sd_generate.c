/* sd_generate.c: a whole picture, or several at once, in one call: runs (sd_run.c) that are opened, stepped to their end
 * and made into pictures; the two halves of that; and one evaluation with its intermediates (im_sd_trace). */
#include "models/pipelines/sd_run.h"

#include <stdlib.h>

static bool report(const im_sd *sd, int done, int total)
{
    return !sd->progress || sd->progress(sd->progress_arg, done, total) || im_fail(sd->c, "stopped");
}

/* Steps all runs to their end. */
static bool go(im_sd *sd, im_sd_run *const r[], int n)
{
    int total = 0, done = 0;
    for (int i = 0; i < n; i++) total = im_sd_run_total(r[i]) > total ? im_sd_run_total(r[i]) : total;
    if (!im_sd_run_begin(r, n) || !report(sd, 0, total)) return false;
    while (im_sd_run_step(r, n))
        if (!report(sd, ++done, total) || (im_cancelled(sd->c) && !im_fail(sd->c, "stopped"))) return false;
    return im_ok(sd->c);
}

/* out: pictures, or NULL where only latents are wanted. */
static bool collect(im_sd *sd, im_sd_run *const r[], const im_sd_args a[], int n, im_image *out[])
{
    for (int i = 0; i < n && im_ok(sd->c); i++) {
        if (out) out[i] = im_sd_run_image(r[i]);
        if (a[i].latents_out && im_sd_run_state(r[i]) == IM_SD_FINISHED) im_sd_run_latents(r[i], a[i].latents_out);
    }
    for (int i = 0; i < n; i++) {                              /* now that the others have their pictures             */
        char name[IM_RUN_NAME];
        if (im_sd_run_state(r[i]) != IM_SD_FAILED) continue;
        bool named = n > 1 || a[i].name;
        if (named) im_run_name(&a[i], name, sizeof name);
        return im_fail(sd->c, "%s%s%s", named ? name : "", named ? ": " : "", im_sd_run_error(r[i]));
    }
    return im_ok(sd->c);
}

static bool generate(im_sd *sd, const im_sd_args a[], int n, im_image *out[])
{
    if (!sd || !im_ok(sd->c)) return false;
    if (n < 1) return im_fail(sd->c, "batch: found %d pictures, wanted at least 1", n);
    im_sd_run **r = calloc((size_t)n, sizeof *r);
    if (!r) return im_fail(sd->c, "out of memory for a batch of %d", n);
    bool ok = true;
    for (int i = 0; ok && i < n; i++) ok = (r[i] = im_sd_run_open(sd, &a[i])) != NULL;
    ok = ok && go(sd, r, n) && collect(sd, r, a, n, out);
    for (int i = 0; i < n; i++) im_sd_run_close(r[i]);
    free(r);
    return ok;
}

bool im_sd_generate_batch(im_sd *sd, const im_sd_args a[], int n, im_image *out[])
{
    for (int i = 0; i < n; i++) out[i] = NULL;
    return generate(sd, a, n, out);
}

bool im_sd_latents_batch(im_sd *sd, const im_sd_args a[], int n)
{
    return generate(sd, a, n, NULL);
}

im_image *im_sd_generate(im_sd *sd, const im_sd_args *a)
{
    im_image *out = NULL;
    im_sd_generate_batch(sd, a, 1, &out);
    return out;
}

im_image *im_sd_decode(im_sd *sd, const im_sd_args *a, const float *latents)
{
    im_sd_args given = *a;
    given.latents = latents;                                   /* checked there                                       */
    im_sd_run *r = im_sd_run_open(sd, &given);
    im_image *out = NULL;
    if (r && im_run_upload(r, r->given, r->x)) {
        r->state = IM_SD_FINISHED;
        r->begun = true;
        r->done = im_sd_run_total(r);
        collect(sd, &r, a, 1, &out);
    }
    im_sd_run_close(r);
    return out;
}

bool im_sd_trace(im_sd *sd, const im_sd_args *a)
{
    im_sd_args eager = *a;
    eager.eager = true;                                        /* a plan has no names                                 */
    im_sd_run *r = im_sd_run_open(sd, &eager);
    im_tensor *noise;
    if (r) r->unchecked = true;
    im_scope_push(sd->c);
    bool ok = r && im_run_begin(sd, &r, 1) && im_run_evaluate(sd, &r, 1, &noise);
    im_scope_pop(sd->c);
    im_sd_run_close(r);
    return ok;
}
