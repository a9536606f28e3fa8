/* classifier.h: what the tests of ResNets share: contexts on every device, hashed weights, goldens of torchvision. */
#ifndef TEST_CLASSIFIER_H
#define TEST_CLASSIFIER_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "hashed.h"
#include "models/nets/resnet.h"
#include "models/checkpoints/state_dict.h"
#include "suite.h"
#include "tensor/tensor.h"

static im_ctx *c;
static im_safetensors *golden;

/* device: "ref", or the cap for IMAGO_ISA ("": none). */
static inline void open_ctx(const char *device, int threads)
{
    bool ref = !strcmp(device, "ref");
    if (*device && !ref)
        setenv("IMAGO_ISA", device, 1);
    c = im_ctx_new(ref ? "ref" : "cpu", threads);
    unsetenv("IMAGO_ISA");
    ck_assert_msg(c && im_ok(c), "%s", c ? im_error(c) : "out of memory");
}

static inline void no_error(void)
{
    ck_assert_msg(im_ok(c), "%s", im_error(c));
}

static inline const im_st_entry *found(const char *fmt, ...)
{
    char name[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    const im_st_entry *e = im_st_find(golden, name);
    ck_assert_msg(e && e->dtype == IM_F32, "the golden file has no %s in F32", name);
    return e;
}

/* Hashed values (hashed.h) in every parameter and statistic; those that `set` names (NULL: none) from the goldens. */
static inline void fill_hashed(im_params *p, const char *set)
{
    for (int i = 0; i < p->n; i++) {
        const im_param *q = &p->v[i];
        int64_t shape[IM_MAX_DIMS];
        char name[256];
        int ndim = im_param_file_shape(q, shape);
        float *v = malloc((size_t)im_numel(q->t) * sizeof *v);
        ck_assert_ptr_nonnull(v);
        hashed_parameter(q->t->name, ndim, shape, v);
        snprintf(name, sizeof name, "%s.set.%s", set ? set : "", q->t->name);
        const im_st_entry *e = set ? im_st_find(golden, name) : NULL;
        if (e)
            memcpy(v, e->data, e->bytes);
        ck_assert(im_params_store(p, q, IM_F32));
        im_param_load(c, q->t, v, IM_F32, q->kind == IM_PARAM_CONV);
        free(v);
    }
    no_error();
}

static inline im_tensor *hashed_pictures(const char *name, int batch, int size)
{
    im_tensor *x = im_new(c, IM_F32, 4, (int64_t[]){ batch, size, size, 3 });
    hashed_fill(name, im_numel(x), 1, 0, im_data(x));
    return x;
}

static inline im_tensor *hashed_classes(const char *name, int batch, int classes)
{
    im_tensor *t = im_new(c, IM_I32, 1, (int64_t[]){ batch });
    hashed_labels(name, batch, classes, im_data(t));
    return t;
}

/* |a - b| / |b| in L2. */
static inline double distance(const float *a, const float *b, int64_t n)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        s += (double)b[i] * b[i];
    }
    return sqrt(d / s);
}

/* The 18 numbers of a gradient or weight in the goldens: L2 norm, sum, values at i * numel / 16, in torch's order. */
enum { SAMPLES = 18 };
static inline void samples_of(const im_param *q, const float *data, double out[SAMPLES])
{
    int64_t n = im_numel(q->t);
    float *v = malloc((size_t)n * sizeof *v);
    double squares = 0, sum = 0;
    im_param_to_file(q, data, v);
    for (int64_t i = 0; i < n; i++) {
        squares += (double)v[i] * v[i];
        sum += v[i];
    }
    out[0] = sqrt(squares);
    out[1] = sum;
    for (int i = 0; i < 16; i++)
        out[2 + i] = v[i * n / 16];
    free(v);
}

/* Row NAME of the golden samples HEAD, which begins with `net`: SAMPLES numbers; NULL: it has none. The names of the rows
 * are lines of NET.names. */
static inline const float *sampled(const char *net, const char *head, const char *name)
{
    const im_st_entry *rows = found("%s", head);
    char key[64];
    snprintf(key, sizeof key, "%s.names", net);
    const im_st_entry *names = im_st_find(golden, key);
    ck_assert_msg(names && rows->ndim == 2 && rows->shape[1] == SAMPLES, "the golden file has no rows of %s", head);
    const char *at = names->data, *end = at + names->bytes;
    size_t length = strlen(name);
    for (int64_t i = 0; at < end; i++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        const float *row = (const float *)rows->data + i * SAMPLES;
        ck_assert_int_lt(i, rows->shape[0]);
        if ((size_t)(stop - at) == length && !memcmp(at, name, length))
            return row[0] > 0 ? row : NULL;
        at = stop + 1;
    }
    return NULL;
}

/* The same where every tensor of a network has a row: NET.KIND. */
static inline const float *sampled_of(const char *net, const char *kind, const char *name)
{
    char head[64];
    snprintf(head, sizeof head, "%s.%s", net, kind);
    const float *row = sampled(net, head, name);
    ck_assert_msg(row != NULL, "the golden file has no %s of %s", head, name);
    return row;
}

#endif
