/* dtype.c: element types and their scalar conversions (IEEE 754 binary16; bfloat16 = the upper half of an f32). */
#include "imago_engine.h"

#include <string.h>

static const struct { const char *name; size_t size; } types[] = {
    [IM_F32] = { "f32", 4 }, [IM_F16] = { "f16", 2 }, [IM_BF16] = { "bf16", 2 }, [IM_I32] = { "i32", 4 },
};
enum { COUNT = sizeof types / sizeof *types };

size_t im_dtype_size(im_dtype t)
{
    return (size_t)t < COUNT ? types[t].size : 0;
}

const char *im_dtype_name(im_dtype t)
{
    return (size_t)t < COUNT ? types[t].name : "none";
}

bool im_dtype_parse(const char *name, im_dtype *out)
{
    for (int i = 0; name && i < COUNT; i++)
        if (!strcmp(name, types[i].name)) {
            *out = (im_dtype)i;
            return true;
        }
    return false;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

uint16_t im_f16_from_f32(float x)
{
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u)                                       /* NaN: keep the top of the payload, made quiet         */
        return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u)                                      /* rounds to 65520 or more: infinity                    */
        return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) {                                     /* below 2^-14: subnormal, in units of 2^-24            */
        /* Adding 0.5 puts the unit of the last place of the sum at 2^-24, so the adder rounds to nearest even for us. */
        return (uint16_t)(sign | (bits_of(float_of(a) + 0.5f) - bits_of(0.5f)));
    }
    uint32_t even = a >> 13 & 1u;                              /* nearest even: add 0x0fff plus the last kept bit      */
    return (uint16_t)(sign | ((a + 0xfffu + even - (112u << 23)) >> 13));
}

float im_f32_from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = h >> 10 & 31u, m = h & 0x3ffu;
    if (e == 31)
        return float_of(sign | 0x7f800000u | (m ? 0x400000u : 0u) | m << 13);
    if (e == 0) {                                              /* zero or subnormal: m * 2^-24, exact in f32           */
        float v = (float)m * 0x1p-24f;
        return sign ? -v : v;
    }
    return float_of(sign | (e + 112u) << 23 | m << 13);
}

uint16_t im_bf16_from_f32(float x)
{
    uint32_t u = bits_of(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);                    /* NaN stays NaN                                        */
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);   /* nearest even                                         */
}

float im_f32_from_bf16(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}
