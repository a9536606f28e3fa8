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

#endif
