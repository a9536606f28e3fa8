/* latents.c: see latents.h. z = mean + exp(clamp(logvar, -30, 20) / 2) noise (Kingma & Welling 2014). */
#include "models/train/latents.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/stream.h"
#include "models/train/picture_view.h"

static int64_t moments_size(const im_latents *l)
{
    return (int64_t)l->side * l->side * l->channels * 2;
}

/* Moments of n pictures, each in its view: (n, side, side, 2 channels). */
static im_tensor *encode(const im_latents *l, const uint8_t *rgb, const im_view *views, int n)
{
    im_ctx *c = l->c;
    im_scope_push(c);
    im_tensor *x = im_views_of(c, views, rgb, n, l->size);
    return im_scope_leave(c, im_vae_encode(c, l->vae, x));
}

static bool stopped(const im_latents *l, const im_train_hooks *hooks, int64_t done)
{
    if (!hooks || !hooks->stop || !hooks->stop(hooks->arg))
        return false;
    im_fail(l->c, "stopped after the latents of %lld of %lld pictures, before the first step; the same command begins "
            "again", (long long)done, (long long)l->pictures);
    return true;
}

bool im_latents_keep(im_latents *l, im_pictures *p, const im_train_hooks *hooks)
{
    im_view *views = calloc((size_t)p->batch, sizeof *views);
    l->pictures = p->data->count;
    l->kept = malloc((size_t)(l->views * l->pictures * moments_size(l)) * sizeof *l->kept);
    l->shown = malloc((size_t)l->pictures * sizeof *l->shown);
    if (!l->kept || !l->shown || !views) {
        free(views);
        return im_fail(l->c, "out of memory for %d views of the latents of %lld pictures; lower --views, or leave out "
                       "--cache-latents", l->views, (long long)l->pictures);
    }
    bool ok = im_pictures_open(p, 0);
    for (int64_t at = 0, number = 0; ok && at < l->pictures; number++) {
        const im_batch *b = im_pictures_batch(p, number);
        ok = b && !stopped(l, hooks, at);
        if (ok)
            memcpy(l->shown + at, b->indices, (size_t)b->n * sizeof *l->shown);
        for (int v = 0; ok && v < l->views; v++) {
            for (int i = 0; i < b->n; i++)
                views[i] = im_view_draw(l->seed, (uint64_t)v, (uint64_t)(at + i), l->flip, l->shift);
            im_scope_push(l->c);
            ok = im_download(l->c, encode(l, b->crops[0].u8, views, b->n),
                             l->kept + (v * l->pictures + at) * moments_size(l));
            im_scope_pop(l->c);
        }
        at += ok ? b->n : 0;
    }
    free(views);
    return ok;
}

void im_latents_free(im_latents *l)
{
    free(l->kept);
    free(l->shown);
    l->kept = NULL;
    l->shown = NULL;
}

/* Moments of a batch, one view of each picture, from what is kept. */
static im_tensor *kept_moments(const im_latents *l, const int64_t *index, int n, uint64_t first)
{
    int64_t size = moments_size(l);
    float *v = malloc((size_t)(n * size) * sizeof *v);
    if (!v) {
        im_fail(l->c, "out of memory for the latents of a batch");
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        im_stream s;
        im_stream_open(&s, l->seed, IM_STREAM_CROP + 1, first + (uint64_t)i, 0);
        int64_t view = (int64_t)im_stream_below(&s, (uint64_t)l->views);
        memcpy(v + i * size, l->kept + (view * l->pictures + index[i]) * size, (size_t)size * sizeof *v);
    }
    im_tensor *m = im_from(l->c, IM_F32, 4, (int64_t[]){ n, l->side, l->side, 2 * l->channels }, v);
    free(v);
    return m;
}

static im_tensor *new_moments(const im_latents *l, const uint8_t *rgb, int n, uint64_t first)
{
    im_view *views = calloc((size_t)n, sizeof *views);
    if (!views) {
        im_fail(l->c, "out of memory for the latents of a batch");
        return NULL;
    }
    for (int i = 0; i < n; i++)
        views[i] = im_view_draw(l->seed, first + (uint64_t)i + 1, 0, l->flip, l->shift);
    im_tensor *m = encode(l, rgb, views, n);
    free(views);
    return m;
}

im_tensor *im_latents_draw(const im_latents *l, const int64_t *index, const uint8_t *rgb, int n, uint64_t first)
{
    im_ctx *c = l->c;
    int64_t each = moments_size(l) / 2, shape[4] = { n, l->side, l->side, l->channels };
    float *noise = malloc((size_t)(n * each) * sizeof *noise);
    bool ok = noise || im_fail(c, "out of memory for the latents of a batch");
    for (int i = 0; ok && i < n; i++)
        ok = im_normal_fill(c, l->seed, first + (uint64_t)i, 0, noise + i * each, each);
    im_scope_push(c);
    im_tensor *z = ok ? im_from(c, IM_F32, 4, shape, noise) : NULL;
    im_tensor *m = !z ? NULL : l->kept ? kept_moments(l, index, n, first) : new_moments(l, rgb, n, first);
    ok = m && im_draw_latent(c, z, m, z, l->scaling);
    free(noise);
    return im_scope_leave(c, ok ? z : NULL);
}
