/* calibrate.c: what the activations of a UNet are to be multiplied with before they become int8 (tensor/int8.h). One scale
 * a row has to hold the largest channel, so that in a row with outliers the others keep few of their 8 bits. SmoothQuant
 * (Xiao et al. 2023, arXiv 2211.10438, equations 3 and 4) moves a part of that into the weights, whose scales are an output
 * channel each: with
 *
 *     s_c = max |x_c| ^ alpha / max |w_c| ^ (1 - alpha)      x_c, w_c: input channel c of all that was seen, of all rows
 *     y   = sum_c (x_c / s_c) (w_c s_c)                      the same product; what is rounded is more even
 *
 * The multiplier of a channel is 1 / s_c. Where the paper divides in the layer before, here the activations are multiplied
 * as they are rounded, so that every product can have it, also behind a SiLU or a sum of skips.
 *
 * Prompts are drawn in f32, op by op; of every product some rows are kept. Then each alpha of a list is tried on those rows
 * with the engine's own int8, and the best one stays where it takes a tenth off the squared error. Used by
 * `imago convert --calibrate`. */
#include "data/files/safetensors.h"
#include "models/checkpoints/int8_file.h"
#include "models/pipelines/sd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, ROWS_A_CALL = 4 };
static const double alphas[] = { 0.25, 0.5, 0.75 };
static const double PAYS = 0.9;                  /* of the squared error                                               */

typedef struct site {                            /* a product that will be int8                                        */
    const im_param *p;
    int cin, kernel;                             /* kernel: of a side; 1 for matrices                                  */
    float *most;                                 /* (cin): the largest |x| of a channel                                */
    float *rows;                                 /* (n, cin, kernel^2), as files have weights                          */
    float *by;                                   /* (cin), what was found; NULL: nothing that pays                     */
    int n;
    uint64_t offered;
    double error;                                /* with `by` over without                                             */
} site;

typedef struct sites { im_ctx *c; site *v; int n; } sites;

static int64_t row_of(const site *s) { return (int64_t)s->cin * s->kernel * s->kernel; }

/* ---------------------------------------------------------------- what is seen */

/* The row of place `at` among the pixels of x (batch, h, w, cin) or the rows of a matrix. */
static void take(const site *s, const im_tensor *x, const float *values, int64_t at, float *row)
{
    int64_t c = s->cin, taps = (int64_t)s->kernel * s->kernel, half = s->kernel / 2;
    int64_t h = x->ndim == 4 ? x->shape[1] : 1, w = x->ndim == 4 ? x->shape[2] : 1;
    for (int64_t tap = 0; tap < taps; tap++) {
        int64_t py = at / w % h + tap / s->kernel - half, px = at % w + tap % s->kernel - half;
        bool inside = taps == 1 || (py >= 0 && py < h && px >= 0 && px < w);
        const float *from = taps == 1 ? values + at * c : values + ((at / w / h * h + py) * w + px) * c;
        for (int64_t i = 0; i < c; i++)
            row[i * taps + tap] = inside ? from[i] : 0;
    }
}

/* Numbers that look as if they were drawn, the same every time (the finaliser of SplitMix64, Steele et al. 2014). */
static uint64_t mixed(uint64_t n)
{
    n = (n + 1) * 0x9e3779b97f4a7c15u;
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9u;
    n = (n ^ n >> 27) * 0x94d049bb133111ebu;
    return n ^ n >> 31;
}

/* Every row that is offered has the same chance to be kept (algorithm R, Vitter 1985). */
static void offer(site *s, const im_tensor *x, const float *values, int64_t rows)
{
    for (int i = 0; i < ROWS_A_CALL && i < rows; i++) {
        uint64_t nth = s->offered++;
        uint64_t place = nth < ROWS ? nth : mixed(2 * nth) % (nth + 1);
        if (place >= ROWS)
            continue;
        take(s, x, values, (int64_t)(mixed(2 * nth + 1) % (uint64_t)rows), s->rows + (int64_t)place * row_of(s));
        s->n = s->n < ROWS && place == (uint64_t)s->n ? s->n + 1 : s->n;
    }
}

static void see(void *arg, const im_tensor *w, const im_tensor *x)
{
    const sites *all = arg;
    site *s = NULL;
    for (int i = 0; !s && i < all->n; i++)
        if (all->v[i].p && !strcmp(all->v[i].p->t->name, w->name))
            s = &all->v[i];
    if (!s || x->dtype != IM_F32)
        return;
    float *values = im_values(all->c, x);
    int64_t rows = im_numel(x) / s->cin;
    if (!values)
        return;
    for (int64_t i = 0; i < rows * s->cin; i++)
        s->most[i % s->cin] = fmaxf(s->most[i % s->cin], fabsf(values[i]));
    offer(s, x, values, rows);
    free(values);
}

/* ---------------------------------------------------------------- what pays */

/* 1 / s_c, over its geometric mean: what all channels share changes nothing. w (n, cin, taps); a channel of zeros: 1. */
static void multipliers(const site *s, const float *w, int64_t n, double alpha, float *by)
{
    int64_t c = s->cin, taps = (int64_t)s->kernel * s->kernel;
    double sum = 0;
    int counted = 0;
    for (int64_t i = 0; i < c; i++) {                          /* logarithms; of a channel of zeros none: NAN          */
        float most = 0;
        for (int64_t k = 0; k < n; k++)
            for (int64_t tap = 0; tap < taps; tap++)
                most = fmaxf(most, fabsf(w[(k * c + i) * taps + tap]));
        by[i] = NAN;
        if (!(s->most[i] > 0) || !(most > 0))
            continue;
        by[i] = (float)((1 - alpha) * log(most) - alpha * log(s->most[i]));
        sum += by[i];
        counted++;
    }
    for (int64_t i = 0; i < c; i++)
        by[i] = isnan(by[i]) ? 1 : (float)exp(by[i] - sum / counted);
}

/* The rows times the weights (n, k); by NULL: none. int8 by the engine, else f32. malloc'd (rows, n); NULL: failed. */
static float *products(im_ctx *c, const site *s, const float *w, int64_t n, const float *by, bool int8)
{
    int64_t k = row_of(s), taps = (int64_t)s->kernel * s->kernel;
    float *y = NULL, *divided = malloc((size_t)(n * k) * sizeof *divided), *scales = malloc((size_t)n * sizeof *scales);
    float *each = malloc((size_t)k * sizeof *each);            /* multipliers, one a value of a row                   */
    int8_t *q = malloc((size_t)(n * k));
    im_tensor *t = im_param_new(c, "a product", IM_F32, 2, (int64_t[]){ n, k });
    bool ok = divided && scales && each && q && t;
    if (!ok && im_ok(c))
        im_fail(c, "out of memory for the %lld weights of %s", (long long)(n * k), s->p->t->name);
    im_scope_push(c);
    if (ok) {
        memcpy(divided, w, (size_t)(n * k) * sizeof *w);
        if (by)
            im_multipliers_divide(by, n, s->cin, taps, divided);
        for (int64_t i = 0; by && i < k; i++)
            each[i] = by[i / taps];
        if (int8)
            im_round_int8(c, divided, n, k, q, scales);
        im_weight_layout layout = { .dtype = int8 ? IM_INT8 : IM_F32, .packed = int8 || im_packs_weights(c) };
        ok = im_param_alloc(c, t, layout);
        ok = ok && (int8 ? im_param_load_int8(c, t, q, scales, by ? each : NULL, false)
                         : im_param_load(c, t, w, IM_F32, false));
        im_tensor *x = ok ? im_from(c, IM_F32, 2, (int64_t[]){ s->n, k }, s->rows) : NULL;
        im_tensor *product = x ? im_linear(c, x, t, NULL, NULL, IM_ACT_NONE) : NULL;
        y = product ? im_values(c, product) : NULL;
    }
    im_scope_pop(c);
    im_param_free(c, t);
    free(divided);
    free(scales);
    free(each);
    free(q);
    return y;
}

/* Of the rows' products from those in f32, squared; -1: failed. */
static double error_of(im_ctx *c, const site *s, const float *w, int64_t n, const float *by, const float *want)
{
    float *y = products(c, s, w, n, by, true);
    double sum = 0;
    for (int64_t i = 0; y && i < s->n * n; i++)
        sum += (double)(y[i] - want[i]) * (double)(y[i] - want[i]);
    bool ok = y != NULL;
    free(y);
    return ok ? sum : -1;
}

/* Fills s->by, where something pays. */
static bool choose(im_ctx *c, site *s, const float *w, int64_t n)
{
    float *want = products(c, s, w, n, NULL, false), *by = malloc((size_t)s->cin * sizeof *by);
    double without = want && by ? error_of(c, s, w, n, NULL, want) : -1, least = PAYS * without;
    if (!by && im_ok(c))
        im_fail(c, "out of memory for multipliers");
    for (size_t i = 0; without > 0 && i < sizeof alphas / sizeof *alphas; i++) {
        multipliers(s, w, n, alphas[i], by);
        double error = error_of(c, s, w, n, by, want);
        if (error < 0 || error >= least)
            continue;
        if (!s->by && !(s->by = malloc((size_t)s->cin * sizeof *by)))
            im_fail(c, "out of memory for multipliers");
        else
            memcpy(s->by, by, (size_t)s->cin * sizeof *by);
        least = error;
        s->error = sqrt(error / without);
    }
    free(want);
    free(by);
    return im_ok(c);
}

/* ---------------------------------------------------------------- the whole */

static void sites_free(sites *all)
{
    for (int i = 0; i < all->n; i++) {
        free(all->v[i].most);
        free(all->v[i].rows);
        free(all->v[i].by);
    }
    free(all->v);
}

static bool sites_of(im_sd *sd, sites *all)
{
    int count = im_checkpoint_count(sd->checkpoint, IM_PART_UNET);
    *all = (sites){ sd->c, calloc((size_t)count + 1, sizeof *all->v), 0 };
    for (int i = 0; all->v && i < count; i++) {
        const im_param *p = NULL;
        const im_st_entry *e = im_checkpoint_at(sd->checkpoint, IM_PART_UNET, i, &p);
        if (!im_param_takes_int8(p))
            continue;
        site *s = &all->v[all->n++];
        *s = (site){ .p = p, .cin = (int)e->shape[1], .kernel = e->ndim == 4 ? (int)e->shape[2] : 1 };
        s->most = calloc((size_t)s->cin, sizeof *s->most);
        s->rows = malloc((size_t)(ROWS * row_of(s)) * sizeof *s->rows);
        if (!s->most || !s->rows)
            return im_fail(sd->c, "out of memory for rows of %s", p->t->name);
    }
    return all->v || im_fail(sd->c, "out of memory for the list of %d tensors", count);
}

/* Draws all prompts up to their latents. */
static bool draw(im_sd *sd, im_calibration *a)
{
    for (int i = 0; i < a->prompts->n; i++) {
        const im_prompt *p = &a->prompts->v[i];
        im_sd_args one = im_sd_defaults(sd);
        one.prompt = p->prompt;
        one.negative = p->negative;
        one.seed = p->seed;
        one.steps = p->steps ? p->steps : a->steps;
        one.width = p->width;
        one.height = p->height;
        one.guidance = p->has_guidance ? p->guidance : one.guidance;
        one.scheduler = p->scheduler ? p->scheduler : one.scheduler;
        one.eager = true;                                      /* a plan shows nothing                                */
        if ((a->progress && !a->progress(a->progress_arg, i, a->prompts->n)) || im_cancelled(sd->c))
            return im_fail(sd->c, "stopped");
        if (!im_sd_latents_batch(sd, &one, 1))
            return false;
    }
    return !a->progress || a->progress(a->progress_arg, a->prompts->n, a->prompts->n) || im_fail(sd->c, "stopped");
}

static bool choose_all(im_sd *sd, sites *all, im_calibration *a)
{
    double logs = 0;
    a->products = all->n;
    a->multiplied = 0;
    for (int i = 0; i < all->n; i++) {
        site *s = &all->v[i];
        im_net_param info;
        float *w = s->n ? im_sd_param_values(sd, IM_NET_UNET, s->p->t->name, &info) : NULL;
        bool ok = w && choose(sd->c, s, w, info.shape[0]);
        free(w);
        if (!ok && !im_ok(sd->c))
            return false;
        if (im_cancelled(sd->c))
            return im_fail(sd->c, "stopped");
        a->multiplied += s->by != NULL;
        logs += s->by ? log(s->error) : 0;
    }
    a->error = a->multiplied ? exp(logs / a->multiplied) : 1;
    return true;
}

static bool calibrate(im_ctx *c, const char *in, const char *out, im_sd *sd, sites *all, im_calibration *a,
                      uint64_t max_file, bool force)
{
    if (im_checkpoint_is_int8(sd->checkpoint))
        return im_fail(c, "%s: its weights are int8 already; calibrate what they were rounded from", in);
    if (!sites_of(sd, all))
        return false;
    im_on_input(c, see, all);
    bool ok = draw(sd, a);
    im_on_input(c, NULL, NULL);
    if (!ok || !choose_all(sd, all, a))
        return false;
    im_multiplier *v = calloc((size_t)all->n + 1, sizeof *v);
    im_multipliers m = { 0, v };
    for (int i = 0; v && i < all->n; i++)
        if (all->v[i].by)
            v[m.n++] = (im_multiplier){ all->v[i].p->t->name, all->v[i].by };
    ok = v ? im_sd_convert_int8(c, in, out, &m, max_file, force) : im_fail(c, "out of memory for multipliers");
    free(v);
    return ok;
}

bool im_sd_convert_calibrated(im_ctx *c, const char *in, const char *out, im_calibration *a, uint64_t max_file, bool force)
{
    sites all = { c, NULL, 0 };
    im_sd *sd = im_sd_open(c, in, IM_F32);
    if (!sd)
        return false;
    bool ok = (im_has_int8(c) || im_fail(c, "this device has no products in int8; wanted --device cpu or ref")) &&
              (a->prompts->n > 0 || im_fail(c, "no prompt to calibrate with")) &&
              calibrate(c, in, out, sd, &all, a, max_file, force);
    sites_free(&all);
    im_sd_free(sd);
    return ok;
}
