/* autoencoder_set.c: see autoencoder_set.h. */
#include "models/train/autoencoder_set.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "models/train/picture_view.h"

bool im_ae_set_open(im_ae_set *s, const char *val, int size, const im_ranks *ranks)
{
    im_ctx *c = s->c;
    const im_train_common *a = s->a;
    int side = size ? size : s->cfg->sample_size;
    if (side % im_vae_factor(s->cfg))
        return im_fail(c, "pictures of %d pixels do not fit an autoencoder that shrinks by %d: --size", side,
                       im_vae_factor(s->cfg));
    s->data = im_dataset_open(c, &(im_dataset_args){ .path = a->data, .strict = a->strict });
    s->val = val ? im_dataset_open(c, &(im_dataset_args){ .path = val, .strict = a->strict }) : NULL;
    if (!s->data || (val && !s->val) || !im_dataset_hash(c, s->data, false, s->hash))
        return false;
    s->pictures = (im_pictures){ .c = c, .data = s->data, .size = side, .batch = a->batch, .seed = a->seed,
                                 .order = a->order, .cache = a->cache, .out = a->out, .workers = a->workers,
                                 .run = a->accumulate / ranks->size, .every = a->accumulate, .strict = a->strict };
    return im_pictures_check(&s->pictures);
}

void im_ae_set_close(im_ae_set *s)
{
    im_pictures_close(&s->pictures);
    im_dataset_free(s->val);
    im_dataset_free(s->data);
}

int64_t im_ae_set_side(const im_ae_set *s)
{
    return s->pictures.size / im_vae_factor(s->cfg);
}

static uint64_t shown(const im_ae_set *s, int64_t number, int64_t place)
{
    return (uint64_t)(number * s->a->batch + place);
}

im_tensor *im_ae_set_views(const im_ae_set *s, const im_batch *b, int64_t number)
{
    im_view *v = calloc((size_t)b->n, sizeof *v);
    if (!v) {
        im_fail(s->c, "out of memory for a batch");
        return NULL;
    }
    for (int64_t i = 0; i < b->n; i++)
        v[i] = im_view_draw(s->a->seed, shown(s, number, i) + 1, 0, s->flip, s->shift);
    im_tensor *x = im_views_of(s->c, v, b->crops[0].u8, b->n, s->pictures.size);
    free(v);
    return x;
}

im_tensor *im_ae_set_noise(const im_ae_set *s, int64_t n, int64_t number)
{
    int64_t side = im_ae_set_side(s), each = side * side * s->cfg->latent_channels;
    float *v = malloc((size_t)(n * each) * sizeof *v);
    bool ok = v || im_fail(s->c, "out of memory for the noise of a batch");
    for (int64_t i = 0; ok && i < n; i++)
        ok = im_normal_fill(s->c, s->a->seed, shown(s, number, i), 0, v + i * each, each);
    im_tensor *z = ok ? im_from(s->c, IM_F32, 4, (int64_t[]){ n, side, side, s->cfg->latent_channels }, v) : NULL;
    free(v);
    return z;
}

/* ---------------------------------------------------------------- measuring */

enum { MEASURED = 512 };                                       /* pictures at most                                    */

/* Pictures of a batch as they are. */
static bool see(const im_ae_set *s, const im_batch *b, im_ae_seen fn, void *arg)
{
    im_view *plain = calloc((size_t)b->n, sizeof *plain);
    if (!plain)
        return im_fail(s->c, "out of memory for a batch");
    im_scope_push(s->c);
    im_tensor *x = im_views_of(s->c, plain, b->crops[0].u8, b->n, s->pictures.size);
    bool ok = x && fn(arg, x);
    free(plain);
    im_scope_pop(s->c);
    return ok && im_ok(s->c);
}

int64_t im_ae_set_each(const im_ae_set *s, const im_dataset *data, im_ae_seen fn, void *arg)
{
    im_pictures p = { .c = s->c, .data = data, .size = s->pictures.size, .batch = 16, .order = "listed", .cache = "none" };
    int64_t n = data->count < MEASURED ? data->count : MEASURED, done = 0;
    bool ok = im_pictures_open(&p, 0);
    for (int64_t i = 0; ok && done < n; i++) {
        const im_batch *b = im_pictures_batch(&p, i);
        ok = b && see(s, b, fn, arg);
        done += ok ? b->n : 0;
    }
    im_pictures_close(&p);
    return ok ? done : -1;
}

static double cut(float v)
{
    return v < -1 ? -1 : v > 1 ? 1 : (double)v;
}

double im_ae_psnr(const float *x, const float *y, int64_t n, int64_t values)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double squares = 0;
        for (int64_t k = i * values; k < (i + 1) * values; k++) {
            double e = cut(y[k]) - cut(x[k]);
            squares += e * e;
        }
        squares /= (double)values;
        sum += 10 * log10(4 / (squares > 1e-10 ? squares : 1e-10));           /* peak 2: -1 to 1                      */
    }
    return sum;
}

double im_ae_set_score(const im_ae_set *s, double sum, int64_t pictures, const char *against)
{
    char text[120];
    if (pictures < 1)
        return NAN;
    double mean = sum / (double)pictures;
    snprintf(text, sizeof text, "PSNR %.2f dB on %lld held-out pictures%s", mean, (long long)pictures, against);
    if (s->hooks->note)
        s->hooks->note(s->hooks->arg, text);
    return mean;
}
