/* norm_log.c: what batch norms in training see, kept in the order of their calls (imago_engine.h).
 *
 *     running = (1 - momentum) running + momentum seen        in f64, rounded to f32: `move` of cpu/batchnorm.c
 *
 * A call writes into a piece of the device's memory of its own; the pieces stay for the next part, whose calls are the
 * same. Used by ops/batchnorm.c, ops/norm_sync.c; for models/train/step_parts.c. */
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>

typedef struct call {
    im_tensor *mean, *var;                                     /* (channels): the running ones                         */
    int64_t channels;
    float momentum;
    im_storage *seen;                                          /* doubles (2, channels)                                */
} call;

struct im_norm_log { call *v; int n, cap; };                   /* n: since it was opened; cap: that have a piece       */

im_norm_log *im_norm_log_new(im_ctx *c)
{
    im_norm_log *l = im_ok(c) ? calloc(1, sizeof *l) : NULL;
    if (!l && im_ok(c))
        im_fail(c, "out of memory for the statistics of batch norms");
    return l;
}

void im_norm_log_free(im_norm_log *l)
{
    for (int i = 0; l && i < l->cap; i++)
        im_storage_release(l->v[i].seen);
    if (l)
        free(l->v);
    free(l);
}

bool im_norm_log_open(im_ctx *c, im_norm_log *l)
{
    if (!im_ok(c) || !l)
        return false;
    if (c->norm_log)
        return im_fail(c, "a log of batch norms is open already; wanted im_norm_log_close first");
    l->n = 0;
    c->norm_log = l;
    return true;
}

void im_norm_log_close(im_ctx *c)
{
    c->norm_log = NULL;
}

/* One more piece, for the call after the last. */
static bool grow(im_ctx *c, im_norm_log *l, int64_t channels)
{
    call *v = realloc(l->v, ((size_t)l->cap + 1) * sizeof *v);
    if (!v)
        return im_fail(c, "out of memory for the statistics of batch norms");
    l->v = v;
    im_storage *s = im_storage_new(c, 2 * (size_t)channels * sizeof(double), false);
    if (s)
        l->v[l->cap++] = (call){ .channels = channels, .seen = s };
    return s != NULL;
}

double *im_norm_log_place(im_ctx *c, im_tensor *mean, im_tensor *var, float momentum)
{
    im_norm_log *l = c->norm_log;
    int64_t channels = im_numel(mean);
    if (!l || (l->n == l->cap && !grow(c, l, channels)))
        return NULL;
    call *k = &l->v[l->n];
    if (k->channels != channels || k->seen->dev != &c->dev) {
        im_fail(c, "batch norm %d of a part has %lld channels, and that of the part before had %lld; wanted the same calls "
                "in every part", l->n, (long long)channels, (long long)k->channels);
        return NULL;
    }
    k->mean = mean;
    k->var = var;
    k->momentum = momentum;
    l->n++;
    return k->seen->data;
}

int64_t im_norm_log_count(const im_norm_log *l)
{
    int64_t n = 0;
    for (int i = 0; i < l->n; i++)
        n += 2 * l->v[i].channels;
    return n;
}

double *im_norm_log_values(im_ctx *c, im_norm_log *l)
{
    double *out = im_ok(c) ? malloc(((size_t)im_norm_log_count(l) + 1) * sizeof *out) : NULL, *at = out;
    if (!out) {
        im_fail(c, "out of memory for the statistics of batch norms");
        return NULL;
    }
    for (int i = 0; i < l->n; i++) {
        double *seen = im_storage_values(c, l->v[i].seen);
        size_t n = 2 * (size_t)l->v[i].channels;
        if (seen)
            memcpy(at, seen, n * sizeof *at);
        free(seen);
        at += n;
    }
    if (im_ok(c))
        return out;
    free(out);
    return NULL;
}

bool im_norm_move(im_ctx *c, im_tensor *running, const double *seen, double momentum)
{
    float *v = im_values(c, running);
    for (int64_t i = 0, n = im_numel(running); v && i < n; i++)
        v[i] = (float)((1.0 - momentum) * (double)v[i] + momentum * seen[i]);
    bool ok = v && im_upload(c, running, v);
    free(v);
    return ok;
}

bool im_norm_log_move(im_ctx *c, const im_norm_log *l, const double *values)
{
    for (int i = 0; i < l->n; i++) {
        const call *k = &l->v[i];
        if (!im_norm_move(c, k->mean, values, (double)k->momentum)
            || !im_norm_move(c, k->var, values + k->channels, (double)k->momentum))
            return false;
        values += 2 * k->channels;
    }
    return im_ok(c);
}
