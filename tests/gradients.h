/* gradients.h: an operation beside torch: values and gradients of one case of tests/golden/gradients.safetensors.gz, on ref
 * and on every instruction set that this machine can run. Without a tape the value has the same bits. */
#ifndef TEST_GRADIENTS_H
#define TEST_GRADIENTS_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden_tensors.h"
#include "imago.h"
#include "tensor/tensor.h"

enum { GRADIENT_INPUTS = 4 };

typedef struct {
    const char *name;                                          /* "add_last"                                          */
    const char *in[GRADIENT_INPUTS];                           /* names of inputs; "" and NULL end them               */
    unsigned grads;                                            /* bits of those that get gradients                    */
    im_tensor *(*call)(im_ctx *c, im_tensor *const in[], int arg);
    int arg;
    double far;                                                /* relative L2 distance from torch's f64               */
} gradient_case;

static const char *const gradient_isas[] = { "ref", "portable", "neon", "avx2", "avx512", "avx512bf16", "avx512amx" };
enum { GRADIENT_ISAS = sizeof gradient_isas / sizeof *gradient_isas };

/* NULL where this machine lacks the set. */
static inline im_ctx *gradient_ctx(int isa, int threads)
{
    if (isa)
        setenv("IMAGO_ISA", gradient_isas[isa], 1);
    im_ctx *c = im_ctx_new(isa ? "cpu" : "ref", threads);
    unsetenv("IMAGO_ISA");
    if (c && im_ok(c) && !strcmp(im_device_isa(c), gradient_isas[isa]))
        return c;
    im_ctx_free(c);
    return NULL;
}

static inline const im_st_entry *gradient_entry(const im_safetensors *s, const char *name, const char *d, const char *part)
{
    char key[100];
    snprintf(key, sizeof key, "%s.%s%s", name, d, part);
    return im_st_find(s, key);
}

/* A stored tensor; ids and labels become i32. */
static inline im_tensor *gradient_load(im_ctx *c, const im_st_entry *e)
{
    if (e->dtype >= 0)
        return im_from(c, IM_F32, e->ndim, e->shape, e->data);
    im_tensor *t = im_new(c, IM_I32, e->ndim, e->shape);
    for (int64_t i = 0; i < im_numel(t); i++)
        ((int32_t *)im_data(t))[i] = (int32_t)((const int64_t *)e->data)[i];
    return t;
}

static inline void gradient_near(im_ctx *c, const gradient_case *g, const char *d, const char *part, const im_tensor *t,
                                 const im_st_entry *e)
{
    ck_assert_msg(t && e && (size_t)im_numel(t) * sizeof(float) == e->bytes, "%s: %s.%s%s: missing or of another size: %s",
                  im_device_isa(c), g->name, d, part, im_error(c));
    const float *x = im_data(t), *y = e->data;
    double far = 0, size = 0;
    for (int64_t i = 0; i < im_numel(t); i++) {
        far += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        size += (double)y[i] * y[i];
    }
    ck_assert_msg(sqrt(far) <= g->far * sqrt(size), "%s: %s.%s%s is %g away from torch's", im_device_isa(c), g->name, d,
                  part, sqrt(far / size));
}

static inline void gradient_try(im_ctx *c, const im_safetensors *s, const gradient_case *g)
{
    im_tensor *in[GRADIENT_INPUTS] = { 0 };
    im_scope_push(c);
    for (int i = 0; i < GRADIENT_INPUTS && g->in[i]; i++) {
        const im_st_entry *e = gradient_entry(s, g->name, "", g->in[i]);
        ck_assert_msg(e != NULL, "%s.%s is not in gradients.safetensors", g->name, g->in[i]);
        in[i] = gradient_load(c, e);
    }
    im_tensor *plain = g->call(c, in, g->arg);
    for (int i = 0; i < GRADIENT_INPUTS; i++)
        if (g->grads >> i & 1u)
            im_want_grad(c, in[i]);
    im_tape_begin(c);
    im_tensor *y = g->call(c, in, g->arg);
    gradient_near(c, g, "", "y", y, gradient_entry(s, g->name, "", "y"));
    ck_assert_msg(!memcmp(im_data(plain), im_data(y), (size_t)im_numel(y) * sizeof(float)),
                  "%s: %s: other bits with a tape", im_device_isa(c), g->name);
    const im_st_entry *dy = gradient_entry(s, g->name, "d", "y");
    ck_assert_msg(dy ? im_backward_from(c, y, gradient_load(c, dy)) : im_backward(c, y), "%s: %s", g->name, im_error(c));
    for (int i = 0; i < GRADIENT_INPUTS; i++)
        if (g->grads >> i & 1u)
            gradient_near(c, g, "d", g->in[i], in[i]->grad, gradient_entry(s, g->name, "d", g->in[i]));
    im_scope_pop(c);
}

static inline void gradient_everywhere(const gradient_case *g)
{
    for (int isa = 0; isa < GRADIENT_ISAS; isa++) {
        im_ctx *c = gradient_ctx(isa, 2);
        if (!c)
            continue;
        im_safetensors *s = golden_tensors(c, "tests/golden/gradients.safetensors.gz");
        gradient_try(c, s, g);
        im_st_close(s);
        im_ctx_free(c);
    }
}

#endif
