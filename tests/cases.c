/* cases.c: the list of all case tables, and the inputs of a case made from its shapes. */
#include "cases.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IM_OP(name, formula) &im_cases_##name,
const im_case_table *const im_all_cases[] = {
#include "tensor/ops.def"
    NULL
};
#undef IM_OP

/* A hash of the position in place of a generator's state: the same numbers wherever they are asked for
 * (the finaliser of MurmurHash3, Appleby 2011). */
static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

/* Sum of four uniforms of 16 bits, mean 0, deviation 1: no library function, so the same bits on every machine. */
static float nearly_normal(uint64_t seed, int64_t i)
{
    uint64_t h = mix(seed + (uint64_t)i * 0x9e3779b97f4a7c15u);
    double sum = 0;
    for (int part = 0; part < 4; part++)
        sum += (double)(h >> 16 * part & 0xffff);
    return (float)((sum - 2 * 65535.0) / (65536.0 * 0.57735026918962573));
}

static float special(int64_t i)
{
    static const float values[] = {
        0.0f, -0.0f, 1e-45f, -1e-45f, 1.17e-38f, -1.17e-38f, 1e-10f, -1e-10f, 0.5f, -0.5f, 5.5f, -5.5f, 9.0f, -9.0f,
        17.5f, -17.5f, 87.0f, -87.0f, 88.8f, -88.8f, 104.0f, -104.0f, 1e4f, -1e4f, 1e30f, -1e30f,
        3.402823466e38f, -3.402823466e38f, INFINITY, -INFINITY, NAN, 1.0f,
    };
    return values[i % COUNT(values)];
}

static float value(const im_case_table *t, const im_case *cs, int input, int64_t i)
{
    uint64_t op = (uint64_t)t->op->name[0] << 8 | (uint64_t)t->op->name[1];
    uint64_t seed = mix((uint64_t)(cs - t->cases) * 16 + (uint64_t)input + 1) ^ mix(op);
    float x = nearly_normal(seed, i);
    switch (cs->in[input].fill) {
    case WEIGHT:  return x / sqrtf((float)t->terms(cs));
    case OFFSET:  return x + 4;
    case BELOW:   return x - 4;
    case ZERO:    return 0;
    case TINY:    return x * 1e-20f;
    case WIDE:    return x * 8;
    case SPECIAL: return special(i);
    case BROKEN:  return i % 11 == 3 ? NAN : i % 37 == 5 ? INFINITY : x;
    case TIMES:   return i % 3 == 0 ? (float)(i * 333 % 1000) : (float)(mix(seed + (uint64_t)i) % 65536) / 65.6f;
    default:      return x;
    }
}

static void store(void *data, im_dtype dtype, int64_t i, float x)
{
    if (dtype == IM_F16)
        ((uint16_t *)data)[i] = im_f16_from_f32(x);
    else if (dtype == IM_BF16)
        ((uint16_t *)data)[i] = im_bf16_from_f32(x);
    else
        ((float *)data)[i] = x;
}

/* The whole tensor that a view is cut from: the view's elements counted from 0, NaN around them. */
static im_tensor *base_tensor(im_ctx *c, const im_case_table *t, const im_case *cs, int input, im_dtype dtype)
{
    const case_in *in = &cs->in[input];
    int64_t shape[IM_MAX_DIMS], inner = 1, seen = 0;
    memcpy(shape, in->shape, sizeof shape);
    shape[in->axis] += in->before + in->after;
    for (int a = in->axis + 1; a < in->ndim; a++)
        inner *= shape[a];
    im_tensor *x = im_new(c, dtype, in->ndim, shape);
    for (int64_t i = 0; x && i < im_numel(x); i++) {
        int64_t at = i / inner % shape[in->axis] - in->before;
        bool inside = at >= 0 && at < in->shape[in->axis];
        if (dtype == IM_I32)
            ((int32_t *)im_data(x))[i] = inside ? (int32_t)(mix((uint64_t)seen) % 13) : -1;
        else
            store(im_data(x), dtype, i, inside ? value(t, cs, input, seen) : NAN);
        seen += inside;
    }
    return x;
}

/* The same weight in panels: (n, ...) with k = taps * cin contiguous in a row. */
static im_tensor *packed(im_ctx *c, const im_tensor *plain, im_dtype dtype, bool geglu)
{
    int n = (int)plain->shape[0], k = (int)(im_numel(plain) / n);
    im_pack_args a = { .packed = true, .src = im_data(plain), .src_dtype = (im_dtype)plain->dtype, .dtype = dtype, .n = n,
                       .geglu = geglu, .taps = 1, .cin = k, .row_stride = k, .tap_stride = k, .cin_stride = 1 };
    int64_t elements = (int64_t)(im_weight_bytes(NULL, &a) / im_dtype_size(dtype));
    im_tensor *x = im_new(c, dtype, 1, &elements);
    if (!x)
        return NULL;
    a.dst = im_data(x);
    im_pack_panels(&a, 0, im_pack_panel_count(n, geglu));
    im_storage *storage = x->storage;
    *x = *plain;
    x->dtype = (uint8_t)dtype;
    x->storage = storage;
    x->packed = 1;
    x->geglu = geglu;
    return x;
}

im_tensor *case_input(im_ctx *c, const im_case_table *t, const im_case *cs, int input, weight_form form)
{
    const case_in *in = &cs->in[input];
    if (!in->ndim)
        return NULL;
    bool weight = input == t->weight;
    im_dtype dtype = weight && form.dtype != IM_INT8 ? form.dtype : in->fill == IDS ? IM_I32 : IM_F32;
    im_tensor *x = base_tensor(c, t, cs, input, dtype);
    if (form.grads >> input & 1u)
        im_want_grad(c, x);
    if (in->before + in->after)
        x = im_slice(c, x, in->axis, in->before, in->before + in->shape[in->axis]);
    return x && weight && form.packed ? packed(c, x, form.dtype, t->geglu) : x;
}

bool case_inputs(im_ctx *c, const im_case_table *t, const im_case *cs, weight_form form, im_tensor *in[IM_MAX_IN])
{
    for (int i = 0; i < IM_MAX_IN; i++)
        in[i] = case_input(c, t, cs, i, form);
    return im_ok(c);
}

bool case_is_tried(const im_case *cs)
{
    enum { SMALL = 12000 };
    int64_t elements = 0;
    for (int i = 0; i < IM_MAX_IN; i++) {
        int64_t n = cs->in[i].ndim ? 1 : 0;
        for (int a = 0; a < cs->in[i].ndim; a++)
            n *= cs->in[i].shape[a];
        elements += n;
    }
    return !cs->bench && (elements < SMALL || !getenv("TEST_SMALL"));
}

void case_name(const im_case_table *t, const im_case *cs, weight_form form, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "%s[%d]", t->op->name, (int)(cs - t->cases));
    for (int i = 0; i < IM_MAX_IN && at < size; i++) {
        if (!cs->in[i].ndim)
            continue;
        im_tensor shape = { .ndim = (uint8_t)cs->in[i].ndim };
        char text[160];
        memcpy(shape.shape, cs->in[i].shape, sizeof shape.shape);
        im_shape_text(&shape, text, sizeof text);
        at += (size_t)snprintf(out + at, size - at, " %s", text);
    }
    if (t->weight >= 0 && at < size)
        snprintf(out + at, size - at, " %s %s", im_dtype_name(form.dtype), form.packed ? "packed" : "plain");
}
