/* sd_generate.c: from prompts to pictures (Rombach et al. 2022), as diffusers' StableDiffusionPipeline and
 * StableDiffusionImg2ImgPipeline do it.
 *
 *     text   states of the negative prompts, then of the prompts
 *     noise  x = randn * start;   or, from an init picture: z = (mean + std randn) * scaling, x = z with noise added
 *     loop   e_u, e_c = unet(scaled x, time, states)
 *            e = e_u + g (e_c - e_u)                          (classifier-free guidance, Ho & Salimans 2022)
 *            x = scheduler(e, x)
 *     decode picture = decoder(x / scaling)
 *
 * A batch is n runs side by side: every picture has its own generator, and no operation mixes pictures, so a picture
 * has the same bits in any batch. Latents are kept as torch has them, (4, h, w) a picture, and turned at the UNet. */
#include "models/pipelines/sd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct run {
    im_sd *sd;
    im_ctx *c;
    const im_sd_args *a;                                       /* (n)                                                 */
    int n, rows;                                               /* pictures; samples of one evaluation: n or 2n        */
    bool guided;
    im_sd_size size;
    int channels;                                              /* of a latent, 4                                      */
    int64_t pixels;                                            /* of a latent, h * w                                  */
    size_t each;                                               /* values of a latent                                  */
    im_scheduler *scheduler;
    im_rng **rng;                                              /* (n)                                                 */
    float *text;                                               /* (rows, T, C): negatives first                       */
    float *x;                                                  /* (n, 4, h, w): the latents                           */
    float *work;                                               /* (n, 4, h, w): scaled input, then guided noise       */
    float *noise;                                              /* (rows, h, w, 4): what the UNet gives                */
} run;

/* ---------------------------------------------------------------- setting up */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

/* Pictures of a batch share everything but prompt, seed, guidance, noise and init picture; all are guided, or none. */
static bool check_batch(im_sd *sd, const im_sd_args *a, int n, im_sd_size *size)
{
    if (n < 1) return im_fail(sd->c, "batch: found %d pictures, wanted at least 1", n);
    if (!im_sd_sizes(sd, &a[0], size)) return false;
    for (int i = 0; i < n; i++) {
        im_sd_size other;
        if (!a[i].prompt) return im_fail(sd->c, "picture %d of the batch has no prompt; wanted text, or \"\"", i + 1);
        if (!im_sd_sizes(sd, &a[i], &other)) return false;
        const char *what = other.width != size->width || other.height != size->height ? "size"
                         : a[i].steps != a[0].steps ? "steps"
                         : (a[i].guidance > 1) != (a[0].guidance > 1) ? "being guided (guidance above 1)"
                         : !same_text(a[i].scheduler, a[0].scheduler) ? "scheduler"
                         : !a[i].init != !a[0].init ? "init picture"
                         : a[i].init && a[i].strength != a[0].strength ? "strength"
                         : a[i].eager != a[0].eager ? "way of running" : NULL;
        if (what)
            return im_fail(sd->c, "pictures 1 and %d of the batch differ in %s; make them in two batches", i + 1, what);
    }
    return true;
}

static bool open_run(run *r, im_sd *sd, const im_sd_args *a, int n)
{
    *r = (run){ .sd = sd, .c = sd->c, .a = a, .n = n };
    if (!check_batch(sd, a, n, &r->size)) return false;
    for (int i = 0; i < n; i++)
        if (!isfinite(a[i].guidance))
            return im_fail(r->c, "guidance: found %g, wanted a number", (double)a[i].guidance);
    r->guided = a[0].guidance > 1;
    r->rows = r->guided ? 2 * n : n;
    r->channels = sd->config->vae.latent_channels;
    r->pixels = (int64_t)r->size.w * r->size.h;
    r->each = (size_t)r->pixels * (size_t)r->channels;
    r->scheduler = im_sd_new_scheduler(sd, &a[0]);
    if (!im_scheduler_plan(r->scheduler, a[0].steps, (size_t)n * r->each)
        || (a[0].init && !im_scheduler_begin(r->scheduler, a[0].strength)) || !im_sd_check_memory(sd, &a[0], n))
        return false;
    r->rng = calloc((size_t)n, sizeof *r->rng);
    r->x = malloc((size_t)n * r->each * sizeof *r->x);
    r->work = malloc((size_t)n * r->each * sizeof *r->work);
    r->noise = malloc((size_t)r->rows * r->each * sizeof *r->noise);
    if (!r->rng || !r->x || !r->work || !r->noise)
        return im_fail(r->c, "out of memory for the latents of %d pictures", n);
    for (int i = 0; i < n; i++) r->rng[i] = im_rng_new(r->c, a[i].rng, a[i].seed);
    return im_ok(r->c);
}

static void close_run(run *r)
{
    for (int i = 0; r->rng && i < r->n; i++) im_rng_free(r->rng[i]);
    im_scheduler_free(r->scheduler);
    free(r->rng);
    free(r->text);
    free(r->x);
    free(r->work);
    free(r->noise);
}

static bool encode_prompts(run *r)
{
    const char **texts = malloc((size_t)r->rows * sizeof *texts);
    if (!texts) return im_fail(r->c, "out of memory for %d prompts", r->rows);
    int at = 0;
    for (int i = 0; r->guided && i < r->n; i++) texts[at++] = r->a[i].negative ? r->a[i].negative : "";
    for (int i = 0; i < r->n; i++) texts[at++] = r->a[i].prompt;
    r->text = im_sd_encode_texts(r->sd, texts, r->rows, r->a[0].eager);
    free(texts);
    return r->text != NULL;
}

/* ---------------------------------------------------------------- the first latents */

/* Each picture's part from its own generator. */
static void fill_noise(void *arg, float *out, size_t n)
{
    const run *r = arg;
    (void)n;
    for (int i = 0; i < r->n; i++) im_randn(r->rng[i], out + (size_t)i * r->each, r->each);
}

static void first_noise(const run *r, float *out)
{
    for (int i = 0; i < r->n; i++) {
        float *to = out + (size_t)i * r->each;
        if (r->a[i].latents) memcpy(to, r->a[i].latents, r->each * sizeof *to);
        else im_randn(r->rng[i], to, r->each);
    }
}

/* z = (mean + exp(0.5 clamp(logvar, -30, 20)) randn) * scaling;   moments (h, w, 8) -> z (4, h, w) */
static void sample_latent(const run *r, im_rng *rng, const float *moments, float *z)
{
    im_randn(rng, z, r->each);
    float scaling = r->sd->config->vae.scaling_factor;
    for (int64_t p = 0; p < r->pixels; p++)
        for (int k = 0; k < r->channels; k++) {
            const float *m = moments + p * 2 * r->channels;
            float logvar = m[r->channels + k];
            logvar = logvar < -30 ? -30 : logvar > 20 ? 20 : logvar;
            float *v = z + k * r->pixels + p;
            *v = scaling * (m[k] + expf(0.5f * logvar) * *v);
        }
}

/* Init pictures through the encoder, one at a time; equal ones once. The VAE's draw comes before the noise's. */
static bool encode_inits(run *r)
{
    im_stage s;
    size_t moments_size = 2 * r->each;
    float *moments = malloc(moments_size * sizeof *moments);
    bool ok = im_stage_open(r->sd, &s, IM_NET_VAE_ENCODER, 1, r->size, NULL, r->a[0].eager);
    if (ok && !moments) ok = im_fail(r->c, "out of memory for the latents of an init picture");
    const im_image *last = NULL;
    for (int i = 0; ok && i < r->n; i++) {
        if (r->a[i].init != last) {
            last = r->a[i].init;
            float *values = im_picture_values(r->c, last, r->size.width, r->size.height);
            if (values) memcpy(im_data(s.in[0]), values, (size_t)im_numel(s.in[0]) * sizeof *values);
            ok = values && im_stage_run(&s, moments);
            free(values);
        }
        if (ok) sample_latent(r, r->rng[i], moments, r->x + (size_t)i * r->each);
    }
    im_stage_close(&s);
    free(moments);
    if (ok) first_noise(r, r->work);
    if (ok) im_scheduler_add_noise(r->scheduler, r->x, r->work, r->x);
    return ok;
}

static bool first_latents(run *r)
{
    if (r->a[0].init) return encode_inits(r);
    first_noise(r, r->x);
    float start = im_scheduler_start(r->scheduler);
    for (size_t i = 0; i < (size_t)r->n * r->each; i++) r->x[i] *= start;
    return true;
}

/* ---------------------------------------------------------------- the loop */

/* r->work: the scaled latents -> the guided noise. */
static bool evaluate(run *r, im_stage *unet, float time)
{
    float *in = im_data(unet->in[0]), *t = im_data(unet->in[1]);
    for (int i = 0; i < r->rows; i++) {
        im_to_channels_last(r->work + (size_t)(i % r->n) * r->each, r->channels, r->pixels, in + (size_t)i * r->each);
        t[i] = time;
    }
    if (!im_stage_run(unet, r->noise)) return false;
    for (int i = 0; i < r->n; i++) {
        float g = r->a[i].guidance;
        float *u = r->noise + (size_t)i * r->each, *e = r->work + (size_t)i * r->each;
        const float *cond = u + (size_t)r->n * r->each;
        for (size_t k = 0; r->guided && k < r->each; k++) u[k] = u[k] + g * (cond[k] - u[k]);
        im_to_channels_first(u, r->channels, r->pixels, e);
    }
    return true;
}

/* x (n): of one picture. Names it where a value is not finite. */
static bool check_finite(im_ctx *c, const im_sd_args *a, const float *x, size_t n, const char *what)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++) finite &= isfinite(x[i]) != 0;
    if (finite) return true;
    if (a->name) return im_fail(c, "%s: %s gave values that are not finite; the weights are damaged or not of this kind of "
                                   "model", a->name, what);
    return im_fail(c, "%s of \"%.200s\", seed %llu, gave values that are not finite; the weights are damaged or not of "
                      "this kind of model", what, a->prompt, (unsigned long long)a->seed);
}

static bool check_noise(const run *r, int evaluation, int total, float time)
{
    char what[80];
    bool ok = true;
    snprintf(what, sizeof what, "evaluation %d of %d (time %g)", evaluation, total, (double)time);
    for (int i = 0; ok && i < r->n; i++) ok = check_finite(r->c, &r->a[i], r->work + (size_t)i * r->each, r->each, what);
    return ok;
}

static bool report(const run *r, int done, int total)
{
    const im_sd *sd = r->sd;
    return !sd->progress || sd->progress(sd->progress_arg, done, total) || im_fail(r->c, "stopped");
}

static bool denoise(run *r)
{
    im_stage unet;
    int total = im_scheduler_evaluations(r->scheduler);
    bool ok = im_stage_open(r->sd, &unet, IM_NET_UNET, r->rows, r->size, r->text, r->a[0].eager) && report(r, 0, total);
    for (int i = 0; ok && i < total; i++) {
        float time = im_scheduler_time(r->scheduler, i);
        im_scheduler_scale(r->scheduler, r->x, r->work);
        ok = evaluate(r, &unet, time) && check_noise(r, i + 1, total, time);
        ok = ok && im_scheduler_step(r->scheduler, r->work, r->x, (im_noise){ fill_noise, r });
        ok = ok && report(r, i + 1, total);
        if (ok && im_cancelled(r->c)) ok = im_fail(r->c, "stopped");
    }
    im_stage_close(&unet);
    return ok;
}

static bool give_latents(const run *r)
{
    for (int i = 0; i < r->n; i++)
        if (r->a[i].latents_out) memcpy(r->a[i].latents_out, r->x + (size_t)i * r->each, r->each * sizeof *r->x);
    return true;
}

/* ---------------------------------------------------------------- the decoder */

/* x: n latents (4, h, w). One picture at a time: the decoder's intermediates are the largest of all. */
static bool decode(im_sd *sd, const im_sd_args a[], int n, im_sd_size size, const float *x, im_image *out[])
{
    im_stage s;
    int channels = sd->config->vae.latent_channels;
    int64_t pixels = (int64_t)size.w * size.h;
    size_t each = (size_t)pixels * (size_t)channels, values = (size_t)size.width * (size_t)size.height * 3;
    float *picture = malloc((values + each) * sizeof *picture), *z = picture + values;
    float scaling = sd->config->vae.scaling_factor;
    bool ok = im_stage_open(sd, &s, IM_NET_VAE_DECODER, 1, size, NULL, a[0].eager);
    if (ok && !picture) ok = im_fail(sd->c, "out of memory for a picture of %dx%d", size.width, size.height);
    for (int i = 0; ok && i < n; i++) {
        for (size_t k = 0; k < each; k++) z[k] = x[(size_t)i * each + k] / scaling;
        im_to_channels_last(z, channels, pixels, im_data(s.in[0]));
        ok = im_stage_run(&s, picture) && check_finite(sd->c, &a[i], picture, values, "the decoder")
          && (out[i] = im_picture_of(sd->c, picture, size.width, size.height));
    }
    im_stage_close(&s);
    free(picture);
    return ok;
}

/* ---------------------------------------------------------------- public */

bool im_sd_latents_batch(im_sd *sd, const im_sd_args a[], int n)
{
    if (!sd || !im_ok(sd->c)) return false;
    run r;
    bool ok = open_run(&r, sd, a, n) && encode_prompts(&r) && first_latents(&r) && denoise(&r) && give_latents(&r);
    close_run(&r);
    return ok;
}

im_image *im_sd_decode(im_sd *sd, const im_sd_args *a, const float *latents)
{
    im_image *out = NULL;
    im_sd_size size;
    if (sd && im_ok(sd->c) && im_sd_sizes(sd, a, &size)) decode(sd, a, 1, size, latents, &out);
    return out;
}

bool im_sd_generate_batch(im_sd *sd, const im_sd_args a[], int n, im_image *out[])
{
    for (int i = 0; i < n; i++) out[i] = NULL;
    if (!sd || !im_ok(sd->c)) return false;
    run r;
    bool ok = open_run(&r, sd, a, n) && encode_prompts(&r) && first_latents(&r) && denoise(&r) && give_latents(&r) &&
              decode(sd, a, n, r.size, r.x, out);
    close_run(&r);
    for (int i = 0; !ok && i < n; i++) {
        im_image_free(out[i]);
        out[i] = NULL;
    }
    return ok;
}

im_image *im_sd_generate(im_sd *sd, const im_sd_args *a)
{
    im_image *out = NULL;
    im_sd_generate_batch(sd, a, 1, &out);
    return out;
}

bool im_sd_trace(im_sd *sd, const im_sd_args *a)
{
    if (!sd || !im_ok(sd->c)) return false;
    run r;
    im_sd_args eager = *a;
    eager.eager = true;                                        /* a plan has no names                                 */
    im_stage unet = { .c = sd->c };
    bool ok = open_run(&r, sd, &eager, 1) && encode_prompts(&r) && first_latents(&r);
    if (ok) im_scheduler_scale(r.scheduler, r.x, r.work);
    ok = ok && im_stage_open(sd, &unet, IM_NET_UNET, r.rows, r.size, r.text, true)
        && evaluate(&r, &unet, im_scheduler_time(r.scheduler, 0));
    im_stage_close(&unet);
    close_run(&r);
    return ok;
}
