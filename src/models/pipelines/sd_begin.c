/* sd_begin.c: what a run begins from (Rombach et al. 2022).
 *
 *     text   states of the negative prompt and of the prompt
 *     noise  x = randn * start;   or, from an init picture: z = (mean + std randn) * scaling, x = z with noise added
 *
 * Latents are kept as torch has them, (4, h, w). Used by sd_run.c. */
#include "models/pipelines/sd_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- texts */

static bool encode_again(im_sd_run *r)
{
    const char *texts[2] = { r->negative, r->prompt };
    im_text_states_free(r->sd->texts);                         /* what is kept would not be computed                  */
    r->sd->texts = NULL;
    float *states = im_sd_encode_texts(r->sd, texts + (2 - r->rows), r->rows, r->a.eager);
    free(states);
    return states != NULL;
}

static bool take_states(im_sd_run *r, const float *states)
{
    size_t n = (size_t)r->rows * im_sd_text_size(r->sd);
    r->text = malloc(n * sizeof *r->text);
    if (!r->text) return im_fail(r->c, "out of memory for the states of a prompt");
    memcpy(r->text, states, n * sizeof *states);
    if (!im_run_finite(r, states, n)) im_run_not_finite(r, "the text encoder", "text_encoder", encode_again, NULL);
    return im_ok(r->c);
}

/* The texts of all runs in one evaluation of the encoder; equal ones once. */
static bool encode_texts(im_sd *sd, im_sd_run *const r[], int n)
{
    const char **texts = malloc(2 * (size_t)n * sizeof *texts);
    if (!texts) return im_fail(sd->c, "out of memory for %d prompts", n);
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (r[i]->guided) texts[count++] = r[i]->negative;
        texts[count++] = r[i]->prompt;
    }
    float *states = im_sd_encode_texts(sd, texts, count, r[0]->a.eager);
    bool ok = states != NULL;
    for (int i = 0, at = 0; ok && i < n; at += r[i++]->rows)
        ok = take_states(r[i], states + (size_t)at * im_sd_text_size(sd));
    free(texts);
    free(states);
    return ok;
}

/* ---------------------------------------------------------------- the first latents */

static void draw_noise(im_sd_run *r, float *out)
{
    if (!r->handed_in) im_randn(r->rng, out, r->each);
    else if (out != r->x) memcpy(out, r->x, r->each * sizeof *out);
}

/* z = (mean + exp(0.5 clamp(logvar, -30, 20)) randn) * scaling;   moments (h, w, 8) -> z (4, h, w) */
static void sample_latent(im_sd_run *r, const float *moments, float *z)
{
    im_randn(r->rng, z, r->each);
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

static bool same_init(const im_sd_run *a, const im_sd_run *b)
{
    const im_image *i = a->init, *j = b->init;
    return i->width == j->width && i->height == j->height && a->size.width == b->size.width
        && a->size.height == b->size.height && i->channels == j->channels
        && !memcmp(i->pixels, j->pixels, (size_t)i->width * (size_t)i->height * (size_t)i->channels);
}

/* moments (h, w, 8) */
static bool encode_init(im_sd_run *r, float *moments)
{
    im_stage *s = im_sd_stage(r->sd, IM_NET_VAE_ENCODER, 1, r->size, r->a.eager, NULL);
    float *values = s ? im_picture_values(r->c, r->init, r->size.width, r->size.height) : NULL;
    bool ok = values && im_stage_run(s, values, NULL, moments);
    free(values);
    return ok;
}

static bool encode_init_again(im_sd_run *r)
{
    float *moments = malloc(2 * r->each * sizeof *moments);
    bool ok = moments && encode_init(r, moments);
    free(moments);
    return ok;
}

/* Init pictures through the encoder, one at a time; equal ones that follow one another once. The VAE's draw comes before
 * the noise's. Strength 0 adds no noise: the picture as the VAE holds it. */
static bool begin_from_pictures(im_sd *sd, im_sd_run *const r[], int n)
{
    float *moments = NULL;
    const im_sd_run *last = NULL;
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        if (!r[i]->init || r[i]->state != IM_SD_RUNNING) continue;
        if (!last || !same_init(last, r[i])) {
            free(moments);
            moments = malloc(2 * r[i]->each * sizeof *moments);
            ok = (moments || im_fail(sd->c, "out of memory for the latents of an init picture"))
                && encode_init(r[i], moments);
            last = r[i];
        }
        if (!ok) break;
        if (!im_run_finite(r[i], moments, 2 * r[i]->each)) {
            im_run_not_finite(r[i], "the VAE encoder", "vae_encoder", encode_init_again, NULL);
            ok = im_ok(sd->c);
            continue;
        }
        float *noise = r[i]->guess;                            /* free until the first evaluation                     */
        sample_latent(r[i], moments, r[i]->e);
        if (im_scheduler_evaluations(r[i]->scheduler) > 0) {
            draw_noise(r[i], noise);
            im_scheduler_add_noise(r[i]->scheduler, r[i]->e, noise, r[i]->x);
        } else {
            memcpy(r[i]->x, r[i]->e, r[i]->each * sizeof(float));
        }
    }
    free(moments);
    return ok;
}

static void begin_from_noise(im_sd_run *r)
{
    float start = im_scheduler_start(r->scheduler);
    draw_noise(r, r->x);
    for (size_t i = 0; i < r->each; i++) r->x[i] *= start;
}

/* ---------------------------------------------------------------- all of it */

static bool begin_all(im_sd *sd, im_sd_run *const r[], int n)
{
    if (!encode_texts(sd, r, n) || !begin_from_pictures(sd, r, n)) return false;
    for (int i = 0; i < n; i++) {
        if (r[i]->state != IM_SD_RUNNING) continue;
        if (!r[i]->init) begin_from_noise(r[i]);
        if (!im_run_finite(r[i], r[i]->x, r[i]->each)) {
            im_run_not_finite(r[i], "the noise that it begins from", "", NULL, NULL);
            continue;
        }
        r[i]->begun = true;
        if (im_scheduler_evaluations(r[i]->scheduler) == 0) r[i]->state = IM_SD_FINISHED;
    }
    return im_ok(sd->c);
}

bool im_run_begin(im_sd *sd, im_sd_run *const r[], int n)
{
    im_sd_run **fresh = malloc((size_t)n * sizeof(im_sd_run *));
    int count = 0;
    if (!fresh) return im_fail(sd->c, "out of memory for a batch of %d", n);
    for (int i = 0; i < n; i++)
        if (!r[i]->begun && im_sd_run_state(r[i]) == IM_SD_RUNNING) fresh[count++] = r[i];
    bool ok = !count || (im_sd_check_memory(sd, &fresh[0]->a, count) && begin_all(sd, fresh, count));
    free(fresh);
    return ok;
}
