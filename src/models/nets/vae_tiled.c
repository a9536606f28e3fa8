/* vae_tiled.c: see vae_tiled.h. The decoder's first levels are small and computed whole. From its first enlargement on only
 * what a level begins and ends with is held whole, and everything between is made strip by strip, full width:
 *
 *     a convolution of 3x3 needs a row above and below: a strip has as many rows more (its halo) as convolutions follow
 *     a group norm needs mean and variance of all pixels: they are measured in a pass of their own over all strips, which
 *     makes the norm's input and keeps its statistics alone. A block of two norms is three passes:
 *         1  x -> statistics of norm 1    2  x -> conv1 -> statistics of norm 2    3  x -> conv1 -> conv2 + x, in x's place
 *     so conv1 is computed twice, and so is the enlargement of a level's first block three times, from the level below
 *
 * So there are no seams: a strip's pixels have what they have in the whole picture, but for rounding, since statistics
 * are combined in another order. Mean and variance of a strip, of each channel, are what batch norm takes of its batch;
 * with them fixed, batch norm is the group norm:
 *
 *     mean = sum n_i mean_i / n,   var = sum (n_i var_i + n_i (mean_i - mean)^2) / n          (Chan et al. 1979)
 *
 * over strips and the channels of a group, in f64.
 * A tiny autoencoder has no norms: strips of latents with a halo as wide as all its convolutions see. */
#include "models/nets/vae_tiled.h"
#include "models/nets/vae_parts.h"

#include <stdlib.h>
#include <string.h>

enum { STRIP_PIXELS = 1 << 16 };         /* of a strip where the caller does not say: 1024 x 64                       */

/* ---------------------------------------------------------------- statistics */

typedef struct statistics {              /* of each channel, over the pixels seen so far                              */
    int channels;
    double n, *mean, *m2;                /* m2: sum of squares around the mean                                        */
} statistics;

static void join(double n_a, double *mean, double *m2, double n_b, double mean_b, double m2_b)
{
    double delta = mean_b - *mean, n = n_a + n_b;
    *mean += delta * n_b / n;
    *m2 += m2_b + delta * delta * n_a * n_b / n;
}

static im_tensor *vector(im_ctx *c, int n, const float *values)
{
    return im_from(c, IM_F32, 1, (int64_t[]){ n }, values);
}

/* Adds x (1, H, W, C). */
static bool see(im_ctx *c, statistics *s, const im_norm_layer *norm, im_tensor *x)
{
    if (!x) return false;
    int n = s->channels;
    double pixels = (double)(x->shape[1] * x->shape[2]);
    float *zero = calloc((size_t)n, sizeof *zero);
    im_tensor *mean = zero ? vector(c, n, zero) : NULL, *var = zero ? vector(c, n, zero) : NULL;
    const im_batchnorm_attrs at = { .eps = norm->eps, .momentum = 1, .training = true };       /* mean, var: this strip's */
    im_scope_push(c);
    im_batchnorm(c, x, norm->w, norm->b, NULL, mean, var, &at);
    im_scope_pop(c);
    float *means = im_values(c, mean), *vars = im_values(c, var);
    bool ok = zero && means && vars;
    for (int k = 0; ok && k < n; k++)
        join(s->n, &s->mean[k], &s->m2[k], pixels, (double)means[k], (double)vars[k] * (pixels - 1));
    s->n += pixels;
    free(zero);
    free(means);
    free(vars);
    return ok;
}

typedef struct fixed { im_tensor *mean, *var; } fixed;         /* (C): of the channel's group; own                    */

static void fixed_free(im_ctx *c, fixed *f)
{
    im_param_free(c, f->mean);
    im_param_free(c, f->var);
    *f = (fixed){ 0 };
}

static bool fix(im_ctx *c, const statistics *s, int groups, fixed *out)
{
    float *mean = malloc(2 * (size_t)s->channels * sizeof *mean), *var = mean ? mean + s->channels : NULL;
    int size = s->channels / groups;
    for (int g = 0; mean && g < groups; g++) {
        double n = 0, m = 0, m2 = 0;
        for (int k = g * size; k < (g + 1) * size; k++, n += s->n) join(n, &m, &m2, s->n, s->mean[k], s->m2[k]);
        for (int k = g * size; k < (g + 1) * size; k++) {
            mean[k] = (float)m;
            var[k] = (float)(m2 / n);
        }
    }
    if (mean) {
        im_scope_push(c);
        *out = (fixed){ im_own(c, vector(c, s->channels, mean)), im_own(c, vector(c, s->channels, var)) };
        im_scope_pop(c);
    }
    free(mean);
    return mean ? im_ok(c) : im_fail(c, "out of memory for the statistics of a picture");
}

/* silu of the group norm */
static im_tensor *normed(im_ctx *c, const im_norm_layer *norm, const fixed *f, im_tensor *x)
{
    const im_batchnorm_attrs at = { .eps = norm->eps };
    im_scope_push(c);
    im_tensor *y = im_batchnorm(c, x, norm->w, norm->b, NULL, f->mean, f->var, &at);
    return im_scope_leave(c, im_activate(c, y, IM_ACT_SILU));
}

/* ---------------------------------------------------------------- rows */

typedef struct level {
    im_ctx *c;
    const im_conv_layer *up;             /* rows come from `low` by it; NULL: they are those of x                     */
    im_tensor *low;                      /* (1, H/2, W/2, C')                                                         */
    im_tensor *x;                        /* (1, H, W, C): what the level makes                                        */
    im_tensor *above;                    /* (1, 2, W, C): rows above the strip, as they were; NULL: the first strip   */
    int height, rows;                    /* of x, of a strip                                                          */
} level;

static int at_least(int a, int b) { return a > b ? a : b; }
static int at_most(int a, int b) { return a < b ? a : b; }

/* Rows [from, to) of t (1, H, W, C). */
static im_tensor *cut(im_ctx *c, im_tensor *t, int from, int to)
{
    return t ? im_slice(c, t, 1, from, to) : NULL;
}

/* Rows [from, to) of the enlarged picture: as many of `low` as the convolution looks at. */
static im_tensor *enlarged(const level *l, int from, int to)
{
    int low = at_least((from - 1) / 2, 0), high = at_most((to + 2) / 2, l->height / 2);
    im_tensor *t = cut(l->c, l->low, low, high);
    t = t ? im_conv_forward_up(l->c, l->up, t, 2 * (high - low), 2 * (int)t->shape[2]) : NULL;
    return cut(l->c, t, from - 2 * low, to - 2 * low);
}

/* a over b, both (1, H, W, C) */
static im_tensor *over(im_ctx *c, im_tensor *a, im_tensor *b)
{
    if (!a || !b) return NULL;
    int64_t W = b->shape[2], C = b->shape[3], n = a->shape[1] + b->shape[1];
    a = im_reshape(c, a, 3, (int64_t[]){ a->shape[1], W, C });
    b = im_reshape(c, b, 3, (int64_t[]){ b->shape[1], W, C });
    im_tensor *t = im_stack(c, a, b);
    return t ? im_reshape(c, t, 4, (int64_t[]){ 1, n, W, C }) : NULL;
}

/* What a block reads for rows [from, to), which may begin in those that were replaced: at most 2 above the strip. */
static im_tensor *input(const level *l, int from, int to, int strip)
{
    if (l->up) return enlarged(l, from, to);
    if (!l->above || from >= strip) return cut(l->c, l->x, from, to);
    return over(l->c, cut(l->c, l->above, 2 - (strip - from), 2), cut(l->c, l->x, strip, to));
}

/* ---------------------------------------------------------------- a block */

typedef struct block { const im_residual_block *r; fixed norm1, norm2; } block;

static im_tensor *first_half(const level *l, const block *b, im_tensor *x)
{
    im_scope_push(l->c);
    im_tensor *n = normed(l->c, &b->r->norm1, &b->norm1, x);
    return im_scope_leave(l->c, im_conv_forward(l->c, &b->r->conv1, n, NULL, NULL));
}

/* One strip of the pass that writes. */
static bool write_strip(level *l, const block *b, int from, int to)
{
    im_ctx *c = l->c;
    int first = at_least(from - 2, 0), last = at_most(to + 2, l->height);
    im_tensor *x = input(l, first, last, from), *h = first_half(l, b, x), *skip = x;
    if (b->r->conv_shortcut.w) skip = im_linear_forward(c, &b->r->conv_shortcut, x, NULL, IM_ACT_NONE);
    h = im_conv_forward(c, &b->r->conv2, normed(c, &b->r->norm2, &b->norm2, h), NULL, skip);
    h = cut(c, h, from - first, to - first);
    if (!h) return false;
    if (!l->up && to < l->height) {                            /* the rows that the next strip still looks at          */
        im_tensor *kept = im_own(c, im_contiguous_copy(c, cut(c, l->x, to - 2, to)));
        im_param_free(c, l->above);
        l->above = kept;
    }
    return im_assign(c, cut(c, l->x, from, to), h);
}

/* pass 1: statistics of norm 1; 2: of norm 2; 3: writes */
static bool each_strip(level *l, block *b, int pass, statistics *s)
{
    im_ctx *c = l->c;
    bool ok = true;
    for (int from = 0, to; ok && from < l->height; from = to) {
        to = at_most(from + l->rows, l->height);
        im_scope_push(c);
        if (pass == 1) {
            ok = see(c, s, &b->r->norm1, input(l, from, to, from));
        } else if (pass == 2) {
            int first = at_least(from - 1, 0), last = at_most(to + 1, l->height);
            ok = see(c, s, &b->r->norm2, cut(c, first_half(l, b, input(l, first, last, from)), from - first, to - first));
        } else {
            ok = write_strip(l, b, from, to);
        }
        im_scope_pop(c);
    }
    im_param_free(c, l->above);
    l->above = NULL;
    return ok && im_ok(c);
}

static bool measure(level *l, block *b, int pass, const im_norm_layer *norm, fixed *out)
{
    int n = (int)norm->w->shape[0];
    double *memory = calloc(2 * (size_t)n, sizeof *memory);
    statistics s = { .channels = n, .mean = memory, .m2 = memory ? memory + n : NULL };
    bool ok = (memory || im_fail(l->c, "out of memory for the statistics of a picture")) && each_strip(l, b, pass, &s)
        && fix(l->c, &s, norm->groups, out);
    free(memory);
    return ok;
}

static bool run_block(level *l, const im_residual_block *r)
{
    block b = { .r = r };
    bool ok = measure(l, &b, 1, &r->norm1, &b.norm1) && measure(l, &b, 2, &r->norm2, &b.norm2)
        && each_strip(l, &b, 3, NULL);
    fixed_free(l->c, &b.norm1);
    fixed_free(l->c, &b.norm2);
    return ok;
}

/* ---------------------------------------------------------------- a level */

static int rows_for(int rows, int width) { return at_least(rows ? rows : STRIP_PIXELS / width, 4); }

/* low (1, H, W, C), own, is given up -> (1, 2H, 2W, C'), own */
static im_tensor *run_level(im_ctx *c, const im_conv_layer *up, const vae_stage *s, im_tensor *low, int rows)
{
    int64_t shape[4] = { 1, 2 * low->shape[1], 2 * low->shape[2], s->resnets[0].conv1.w->shape[0] };
    level l = { .c = c, .up = up, .low = low, .height = (int)shape[1], .rows = rows_for(rows, (int)shape[2]) };
    im_scope_push(c);
    l.x = im_own(c, im_new(c, (im_dtype)low->dtype, 4, shape));
    im_scope_pop(c);
    bool ok = l.x && run_block(&l, &s->resnets[0]);
    im_param_free(c, low);
    l.up = NULL;
    l.low = NULL;
    for (int i = 1; ok && i < s->layers; i++) ok = run_block(&l, &s->resnets[i]);
    if (ok) return l.x;
    im_param_free(c, l.x);
    return NULL;
}

/* The last norm and convolution: x (1, H, W, C) -> picture (H, W, 3). */
static bool write_picture(level *l, const vae_half *d, float *picture)
{
    im_ctx *c = l->c;
    im_residual_block last = { .norm1 = d->norm_out };
    block b = { .r = &last };
    bool ok = measure(l, &b, 1, &d->norm_out, &b.norm1);
    for (int from = 0, to; ok && from < l->height; from = to) {
        int first = at_least(from - 1, 0), end;
        to = at_most(from + l->rows, l->height);
        end = at_most(to + 1, l->height);
        im_scope_push(c);
        im_tensor *h = im_conv_forward(c, &d->conv_out, normed(c, &d->norm_out, &b.norm1, cut(c, l->x, first, end)), NULL,
                                       NULL);
        if (h && h->dtype != IM_F32) h = im_cast(c, h, IM_F32);
        h = cut(c, h, from - first, to - first);
        ok = h && im_download(c, h, picture + (size_t)from * (size_t)h->shape[2] * 3);
        im_scope_pop(c);
    }
    fixed_free(c, &b.norm1);
    return ok;
}

/* ---------------------------------------------------------------- tiny ones */

/* Latents on each side that a latent's pixels depend on. */
static int tiny_reach(const im_tiny_config *t)
{
    double reach = 0, scale = 1;
    for (int i = 0; i < t->levels; i++, scale /= 2) reach += scale * (1 + 3 * t->decoder.blocks[i]);
    return (int)(reach + 3);                                   /* conv_out, and what enlarging rounds                 */
}

static bool decode_tiny(im_ctx *c, const im_vae *m, im_tensor *z, int rows, float *picture)
{
    int h = (int)z->shape[1], factor = im_vae_factor(&m->cfg), width = (int)z->shape[2] * factor;
    int halo = tiny_reach(&m->cfg.tiny);
    int step = at_least(rows_for(rows, width) / factor, 1);
    bool ok = true;
    for (int from = 0, to; ok && from < h; from = to) {
        int first = at_least(from - halo, 0), last;
        to = at_most(from + step, h);
        last = at_most(to + halo, h);
        im_scope_push(c);
        im_tensor *y = im_vae_decode(c, m, cut(c, z, first, last));
        y = cut(c, y, (from - first) * factor, (to - first) * factor);
        ok = y && im_download(c, y, picture + (size_t)from * (size_t)factor * (size_t)width * 3);
        im_scope_pop(c);
    }
    return ok && im_ok(c);
}

/* ---------------------------------------------------------------- all of it */

bool im_vae_decode_tiled(im_ctx *c, const im_vae *m, im_tensor *z, int rows, float *picture)
{
    if (!m || !z) return false;
    if (z->shape[0] != 1) return im_fail(c, "tiles: found %lld pictures at once, wanted one", (long long)z->shape[0]);
    if (m->cfg.tiny.levels) return decode_tiny(c, m, z, rows, picture);
    const vae_half *d = &m->half[IM_VAE_DECODER];
    im_scope_push(c);
    im_tensor *x = im_vae_decode_low(c, m, z);
    x = x ? im_own(c, x) : NULL;
    im_scope_pop(c);
    for (int i = 1; x && i < m->cfg.levels; i++)
        x = run_level(c, &d->stages[i - 1].resample, &d->stages[i], x, rows);
    level l = { .c = c, .x = x, .height = x ? (int)x->shape[1] : 0, .rows = x ? rows_for(rows, (int)x->shape[2]) : 0 };
    bool ok = x && write_picture(&l, d, picture);
    im_param_free(c, x);
    return ok && im_ok(c);
}

size_t im_vae_tiled_bytes(const im_vae_config *cfg, int h, int w, size_t element)
{
    size_t most = 0, pixels = (size_t)h * (size_t)w;
    int factor = im_vae_factor(cfg);
    if (cfg->tiny.levels) {
        int rows = rows_for(0, w * factor) + 2 * tiny_reach(&cfg->tiny) * factor;
        return 4 * (size_t)at_most(rows, h * factor) * (size_t)(w * factor) * (size_t)cfg->tiny.decoder.channels * element;
    }
    for (int i = 0; i < cfg->levels; i++) {                    /* of level i: x, the level below and a strip's values  */
        int wide = cfg->channels[cfg->levels - 1 - at_least(i - 1, 0)], own = cfg->channels[cfg->levels - 1 - i];
        size_t all = pixels << 2 * i, strip = (size_t)(at_most(rows_for(0, w << i), h << i) + 4) * (size_t)(w << i);
        size_t bytes = i ? (all / 4 * (size_t)wide + all * (size_t)own + strip * (size_t)(3 * wide + 2 * own)) * element
                         : 8 * all * (size_t)own * element;
        most = bytes > most ? bytes : most;
    }
    return most;
}
