/* backward.h: what test_grad.c and test_halves.c share: the gradient that backward starts from, and the spoiling of what it
 * may not read. */
#ifndef IM_TESTS_BACKWARD_H
#define IM_TESTS_BACKWARD_H

#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "tensor/tensor.h"

/* What the result is weighted with: values of no pattern, near 1 in size. */
static void fill_dy(float *dy, int64_t n)
{
    uint32_t s = 12345;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        dy[i] = ((float)(s >> 8) / 16777216.0f - 0.5f) * 3;
    }
}

static im_tensor *root(im_tensor *t)
{
    return t->base ? t->base : t;
}

static inline size_t bytes_of(const im_tensor *t)
{
    return (size_t)im_numel(t) * im_dtype_size((im_dtype)t->dtype);
}

/* What the op says that its backward does not read is made NaN before it comes; on the way back it is put right again. */
static inline void poison(const im_case_table *t, im_tensor *const in[], const im_tensor *y, void *kept[], bool back)
{
    for (int i = 0; i < IM_MAX_IN; i++) {
        im_tensor *x = in[i] ? root(in[i]) : NULL;
        if (!x || x->dtype == IM_I32 || t->op->keeps & IM_KEEP(i))
            continue;
        if (back) {
            memcpy(im_data(x), kept[i], bytes_of(x));
            free(kept[i]);
        } else {
            memcpy(kept[i] = malloc(bytes_of(x)), im_data(x), bytes_of(x));
            memset(im_data(x), 0xff, bytes_of(x));
        }
    }
    if (!back && y && !(t->op->keeps & IM_KEEP_OUT))
        memset(im_data(y), 0xff, bytes_of(y));
}

static bool usable(const im_case *cs)
{
    for (int i = 0; i < IM_MAX_IN; i++)
        if (cs->in[i].ndim && (cs->in[i].fill == SPECIAL || cs->in[i].fill == BROKEN))
            return false;
    return case_is_tried(cs);
}

#endif
