/* safetensors_type.c: the element types of safetensors files, and values of the floating ones as f32. The order is the
 * reference implementation's: it sorts tensors by type, widest first, so that each begins at a multiple of its own size.
 *
 * The two 8-bit types are those of Micikevicius et al. 2022 (arXiv 2209.05433), as torch has them:
 *     F8_E5M2   s eeeee mm   the upper half of an f16, infinities included
 *     F8_E4M3   s eeee mmm   bias 7; no infinities, s 1111 111 is the NaN; up to 448 */
#include "data/files/safetensors.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const im_st_type im_st_types[] = {
    { "BOOL", 8, -1 },   { "F4", 4, -1 },        { "F6_E2M3", 6, -1 }, { "F6_E3M2", 6, -1 }, { "U8", 8, -1 },
    { "I8", 8, -1 },     { "F8_E5M2", 8, -1 },   { "F8_E4M3", 8, -1 }, { "F8_E8M0", 8, -1 }, { "I16", 16, -1 },
    { "U16", 16, -1 },   { "F16", 16, IM_F16 },  { "BF16", 16, IM_BF16 },                    { "I32", 32, IM_I32 },
    { "U32", 32, -1 },   { "F32", 32, IM_F32 },  { "C64", 64, -1 },    { "F64", 64, -1 },    { "I64", 64, -1 },
    { "U64", 64, -1 },   { "F8_E4M3FNUZ", 8, -1 },             { "F8_E5M2FNUZ", 8, -1 },
};
enum { TYPES = sizeof im_st_types / sizeof *im_st_types };

int im_st_type_find(const char *name)
{
    for (int i = 0; i < TYPES; i++)
        if (!strcmp(im_st_types[i].name, name)) return i;
    return -1;
}

int im_st_type_of(im_dtype t)
{
    for (int i = 0; i < TYPES; i++)
        if (im_st_types[i].dtype == (int)t) return i;
    return -1;
}

bool im_st_bytes(int type, int ndim, const int64_t shape[], uint64_t *bytes)
{
    uint64_t bits = (uint64_t)im_st_types[type].bits;
    for (int i = 0; i < ndim; i++)
        if (!shape[i]) return *bytes = 0, true;                /* whatever the other sizes are                        */
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 0 || __builtin_mul_overflow(bits, (uint64_t)shape[i], &bits)) return false;
    *bytes = bits / 8;
    return bits % 8 == 0;
}

/* ---------------------------------------------------------------- values */

bool im_st_is_float(const im_st_entry *e)
{
    return e->dtype == IM_F32 || e->dtype == IM_F16 || e->dtype == IM_BF16 || !strcmp(e->dtype_name, "F64") ||
           !strcmp(e->dtype_name, "F8_E4M3") || !strcmp(e->dtype_name, "F8_E5M2");
}

int64_t im_st_numel(const im_st_entry *e)
{
    int64_t n = 1;
    for (int i = 0; i < e->ndim; i++) n *= e->shape[i];
    return n;
}

static float from_e4m3(uint8_t b)
{
    int exponent = b >> 3 & 15, mantissa = b & 7;
    if ((b & 0x7f) == 0x7f) return im_f32_from_f16(b & 0x80 ? 0xfe00 : 0x7e00);
    float x = exponent ? (float)(8 + mantissa) * 0x1p-10f : (float)mantissa * 0x1p-9f;
    if (exponent) x *= (float)(1 << exponent);                 /* every step is exact                                 */
    return b & 0x80 ? -x : x;
}

void im_st_read_f32(const im_st_entry *e, int64_t from, int64_t n, float *out)
{
    const void *p = e->data;
    if (e->dtype == IM_F32) {
        memcpy(out, (const float *)p + from, (size_t)n * sizeof *out);
    } else if (e->dtype == IM_F16) {
        for (int64_t i = 0; i < n; i++) out[i] = im_f32_from_f16(((const uint16_t *)p)[from + i]);
    } else if (e->dtype == IM_BF16) {
        for (int64_t i = 0; i < n; i++) out[i] = im_f32_from_bf16(((const uint16_t *)p)[from + i]);
    } else if (!strcmp(e->dtype_name, "F64")) {                /* rounded to nearest even, beyond f32 to an infinity  */
        for (int64_t i = 0; i < n; i++) out[i] = (float)((const double *)p)[from + i];
    } else if (!strcmp(e->dtype_name, "F8_E5M2")) {
        for (int64_t i = 0; i < n; i++) out[i] = im_f32_from_f16((uint16_t)(((const uint8_t *)p)[from + i] << 8));
    } else {
        for (int64_t i = 0; i < n; i++) out[i] = from_e4m3(((const uint8_t *)p)[from + i]);
    }
}

bool im_st_number(const im_st_entry *e, double *out)
{
    float f;
    uint64_t bits = 0;
    const char *type = e->dtype_name;
    int size = strchr("IU", *type) ? atoi(type + 1) : 0;       /* in bits: "I64"                                      */
    if (im_st_is_float(e)) {
        im_st_read_f32(e, 0, 1, &f);
        *out = (double)f;
        return true;
    }
    if (!size) return false;
    memcpy(&bits, e->data, (size_t)size / 8);                  /* little-endian, as the machine is                    */
    *out = *type == 'U' ? (double)bits : (double)((int64_t)(bits << (64 - size)) >> (64 - size));
    return true;
}

void im_st_from_f32(const float *x, int64_t n, im_dtype t, void *out)
{
    if (t == IM_F32) memcpy(out, x, (size_t)n * sizeof *x);
    for (int64_t i = 0; t != IM_F32 && i < n; i++)
        ((uint16_t *)out)[i] = t == IM_F16 ? im_f16_from_f32(x[i]) : im_bf16_from_f32(x[i]);
}

bool im_st_writes(im_ctx *c, int dtype)
{
    return dtype < 0 || dtype == IM_F32 || dtype == IM_F16 || dtype == IM_BF16 ||
           im_fail(c, "weights cannot be written as %s; f32, f16 and bf16 are known", im_dtype_name((im_dtype)dtype));
}

enum { CHUNK = 1 << 16, PIECE = 1 << 10 };                     /* values a task; values at once                       */

typedef struct cast { const im_st_entry *e; im_dtype to; char *out; int64_t n; } cast;

static void cast_task(void *arg, int task, int thread)
{
    const cast *x = arg;
    float part[PIECE];
    int64_t end = (int64_t)(task + 1) * CHUNK < x->n ? (int64_t)(task + 1) * CHUNK : x->n;
    (void)thread;
    for (int64_t i = (int64_t)task * CHUNK, n; i < end; i += n) {
        n = end - i < PIECE ? end - i : PIECE;
        im_st_read_f32(x->e, i, n, part);
        im_st_from_f32(part, n, x->to, x->out + (size_t)i * im_dtype_size(x->to));
    }
}

void im_st_cast(im_ctx *c, const im_st_entry *e, im_dtype to, void *out)
{
    cast x = { .e = e, .to = to, .out = out, .n = im_st_numel(e) };
    im_parallel(c, (int)((x.n + CHUNK - 1) / CHUNK), cast_task, &x);
}

/* The value at i, where it is finite. */
static bool finite_at(const im_st_entry *e, int64_t i, double *x)
{
    float f;
    im_st_read_f32(e, i, 1, &f);
    *x = strcmp(e->dtype_name, "F64") ? (double)f : ((const double *)e->data)[i];
    return isfinite(*x);
}

bool im_st_finite_stay(im_ctx *c, const im_st_entry *e, im_dtype to, const void *written)
{
    im_st_entry now = { .dtype = to, .ndim = 1, .shape = { im_st_numel(e) }, .data = written };
    float part[PIECE];
    double x;
    for (int64_t i = 0, n; i < now.shape[0]; i += n) {
        bool none = true;
        n = now.shape[0] - i < PIECE ? now.shape[0] - i : PIECE;
        im_st_read_f32(&now, i, n, part);
        for (int64_t k = 0; k < n; k++) none &= fabsf(part[k]) <= FLT_MAX;
        for (int64_t k = 0; !none && k < n; k++)
            if (isinf(part[k]) && finite_at(e, i + k, &x))
                return im_fail(c, "tensor %s: holds %g, which %s cannot (at most %.6g); write it %s", e->name, x,
                               im_dtype_name(to), to == IM_F16 ? 65504.0 : (double)FLT_MAX,
                               fabs(x) < (double)FLT_MAX && to == IM_F16 ? "as bf16 or f32" : "as it is, without --dtype");
    }
    return true;
}
