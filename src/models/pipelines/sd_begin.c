/* sd_begin.c: what a run begins from (Rombach et al. 2022).
 *
 *     text   states of the negative prompt and of the prompt
 *     noise  x = randn * start;   or, from an init picture: z = (mean + std randn) * scaling, x = z with noise added
 *
 * Noise is drawn here, on the host, in torch's order of axes, (4, h, w); from then on latents are on the device, in the
 * UNet's. Used by sd_run.c. */
#include "models/pipelines/sd_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- texts */

/* The texts of a run: negative prompt, prompt, and "" where one of them has fewer chunks than the other. */
enum { NEGATIVE, PROMPT, EMPTY, TEXTS };

static void name_texts(const im_sd_run *r, im_sd_text t[TEXTS])
{
    t[NEGATIVE] = im_sd_text_of(&r->a, r->guided ? r->negative : NULL);
    t[NEGATIVE].negative = true;
    t[PROMPT] = im_sd_text_of(&r->a, r->prompt);
    t[EMPTY] = im_sd_text_of(&r->a, r->chunks > 1 && r->guided ? "" : NULL);
}

static void free_texts(im_sd_text *t, int n)
{
    for (int i = 0; t && i < n; i++) free(t[i].states);
    free(t);
}

static bool encode_again(im_sd_run *r)
{
    im_sd_text t[TEXTS];
    name_texts(r, t);
    im_text_states_free(r->sd->texts);                         /* what is kept would not be computed                  */
    r->sd->texts = NULL;
    bool ok = im_sd_encode_texts(r->sd, t, TEXTS, r->a.eager);
    for (int i = 0; i < TEXTS; i++) free(t[i].states);
    return ok;
}

/* Negative prompt and prompt, filled up with empty chunks to the same number. */
static bool take_states(im_sd_run *r, const im_sd_text t[TEXTS])
{
    size_t chunk = im_sd_text_size(r->sd), n = (size_t)r->rows * (size_t)r->chunks * chunk;
    float *to = r->text = malloc(n * sizeof *r->text);
    if (!to) return im_fail(r->c, "out of memory for the states of a prompt");
    for (int i = PROMPT + 1 - r->rows; i <= PROMPT; i++)
        for (int k = 0; k < r->chunks; k++, to += chunk)
            memcpy(to, k < t[i].chunks ? t[i].states + (size_t)k * chunk : t[EMPTY].states, chunk * sizeof *to);
    if (!im_run_finite(r, r->text, n)) im_run_not_finite(r, "the text encoder", "text_encoder", encode_again, NULL);
    return im_ok(r->c);
}

/* The texts of all runs in one evaluation of the encoder; equal ones once. */
static bool encode_texts(im_sd *sd, im_sd_run *const r[], int n)
{
    im_sd_text *t = calloc(TEXTS * (size_t)n, sizeof *t);
    if (!t) return im_fail(sd->c, "out of memory for %d prompts", n);
    for (int i = 0; i < n; i++) name_texts(r[i], t + TEXTS * i);
    bool ok = im_sd_encode_texts(sd, t, TEXTS * n, r[0]->a.eager);
    for (int i = 0; ok && i < n; i++) ok = take_states(r[i], t + TEXTS * i);
    free_texts(t, TEXTS * n);
    return ok;
}

/* ---------------------------------------------------------------- the first latents */

bool im_run_upload(const im_sd_run *r, const float *from, im_tensor *to)
{
    float *last = malloc(r->each * sizeof *last);
    if (!last) return im_fail(r->c, "out of memory for the latents of a picture");
    im_to_channels_last(from, r->channels, r->pixels, last);
    bool ok = im_upload(r->c, to, last);
    free(last);
    return ok;
}

bool im_run_noise(void *run, im_tensor *to)
{
    im_sd_run *r = run;
    float *noise = malloc(r->each * sizeof *noise);
    if (!noise) return im_fail(r->c, "out of memory for the noise of a picture");
    im_randn(r->rng, noise, r->each);
    bool ok = im_run_upload(r, noise, to);
    free(noise);
    return ok;
}

/* The noise that a picture begins from: drawn, or what was handed in. */
static bool first_noise(im_sd_run *r, im_tensor *to)
{
    return r->given ? im_run_upload(r, r->given, to) : im_run_noise(r, to);
}

static bool same_init(const im_sd_run *a, const im_sd_run *b)
{
    const im_image *i = a->init, *j = b->init;
    return i->width == j->width && i->height == j->height && a->size.width == b->size.width
        && a->size.height == b->size.height && i->channels == j->channels
        && !memcmp(i->pixels, j->pixels, (size_t)i->width * (size_t)i->height * (size_t)i->channels);
}

/* (1, h, w, 8), of a tiny VAE (1, h, w, 4), of the open scope; hide: without what the mask draws anew. */
static im_tensor *encode_init(im_sd_run *r, bool hide)
{
    im_stage *s = im_sd_stage(r->sd, IM_NET_VAE_ENCODER, 1, r->size, r->a.eager, NULL);
    float *values = s ? im_picture_values(r->c, r->init, r->size.width, r->size.height) : NULL;
    if (values && hide) im_mask_hide(r, values);
    im_tensor *moments = values && im_upload(r->c, s->in[0], values) ? im_stage_forward(s) : NULL;
    free(values);
    return moments;
}

bool im_run_encode_again(im_sd_run *r)
{
    im_scope_push(r->c);
    bool ok = encode_init(r, false) != NULL;
    im_scope_pop(r->c);
    return ok;
}

static bool start_from(im_sd_run *r, const im_tensor *noise)
{
    return im_combine(r->c, r->x, &(im_combination){ .count = 1, .x = { noise }, .w = { im_scheduler_start(r->scheduler) },
                                                     .by = 1, .limit = INFINITY });
}

static bool begin_from_noise(im_sd_run *r) { return first_noise(r, r->x) && start_from(r, r->x); }

/* z = (mean + exp(logvar / 2) randn) * scaling; a tiny VAE has a value, and nothing is drawn. noise: for the draw. */
static bool latent_of(im_sd_run *r, im_tensor *z, const im_tensor *moments, im_tensor *noise)
{
    const im_vae_config *v = &r->sd->config->vae;
    if (v->tiny.levels)
        return im_combine(r->c, z, &(im_combination){ .count = 1, .x = { moments }, .w = { v->scaling_factor }, .by = 1,
                                                      .limit = INFINITY });
    return im_run_noise(r, noise) && im_draw_latent(r->c, z, moments, noise, v->scaling_factor);
}

/* x from the encoder's moments, and noise. The VAE's draw comes before the noise's. Strength 0 adds no noise: the picture
 * as the VAE holds it. */
static bool begin_from_moments(im_sd_run *r, const im_tensor *moments)
{
    im_tensor *noise = r->guess;                               /* free until the first evaluation                     */
    if (!im_run_watch(r, moments, IM_BAD_ENCODER) || !latent_of(r, r->x, moments, noise)) return false;
    if (r->mask_noise && !im_mask_keep(r, NULL)) return false;
    if (im_scheduler_evaluations(r->scheduler) == 0) return true;
    if (!first_noise(r, noise) || (r->mask_noise && !im_mask_keep(r, noise)) || !im_mask_begin(r, noise)) return false;
    return r->mask && r->a.strength >= 1 ? start_from(r, noise) : im_scheduler_add_noise(r->scheduler, r->x, noise, r->x);
}

/* The masked picture's latents for a UNet that sees them; another's run only draws for them. After all other draws. */
static bool begin_mask(im_sd_run *r)
{
    im_tensor *noise = r->guess, *moments;
    if (!r->mask || im_scheduler_evaluations(r->scheduler) == 0) return true;
    if (!r->mask_inputs) return r->sd->config->vae.tiny.levels || im_run_noise(r, noise);
    im_scope_push(r->c);
    bool ok = (moments = encode_init(r, true)) && im_run_watch(r, moments, IM_BAD_ENCODER)
        && latent_of(r, noise, moments, noise) && im_mask_inputs(r, noise);
    im_scope_pop(r->c);
    return ok;
}

/* Init pictures through the encoder, one at a time; equal ones that follow one another once. */
static bool begin_from_pictures(im_sd *sd, im_sd_run *const r[], int n)
{
    im_tensor *moments = NULL;
    const im_sd_run *last = NULL;
    bool ok = true;
    im_scope_push(sd->c);
    for (int i = 0; ok && i < n; i++) {
        if (!r[i]->init || r[i]->state != IM_SD_RUNNING) continue;
        bool alone = r[i]->mask_inputs && r[i]->a.strength >= 1;                         /* begins from noise alone    */
        if (!alone && (!last || !same_init(last, r[i]))) moments = encode_init(r[i], false);
        if (!alone) last = r[i];
        ok = (alone ? begin_from_noise(r[i]) : moments && begin_from_moments(r[i], moments)) && begin_mask(r[i]);
        if (r[i]->mask_inputs) last = NULL;                    /* the encoder ran again for what the mask hides       */
        if (ok && !im_run_look(r[i])) {
            ok = im_ok(sd->c);
            last = NULL;                                       /* what was found out ran the encoder again            */
        }
    }
    im_scope_pop(sd->c);
    return ok;
}

/* ---------------------------------------------------------------- all of it */

static bool begin_all(im_sd *sd, im_sd_run *const r[], int n)
{
    if (!encode_texts(sd, r, n) || !begin_from_pictures(sd, r, n)) return false;
    for (int i = 0; i < n; i++) {
        if (r[i]->state != IM_SD_RUNNING) continue;
        if (!r[i]->init && !begin_from_noise(r[i])) return false;
        if (!im_run_watch(r[i], r[i]->x, IM_BAD_START) || !im_run_look(r[i])) {
            if (!im_ok(sd->c)) return false;
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
