/* dtype.c: element types, and the conversions of half.h for everybody above src/tensor. */
#include "tensor/half.h"

#include <string.h>

static const struct { const char *name; size_t size; } types[] = {
    [IM_F32] = { "f32", 4 }, [IM_F16] = { "f16", 2 }, [IM_BF16] = { "bf16", 2 }, [IM_I32] = { "i32", 4 },
    [IM_INT8] = { "int8", 1 },
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

uint16_t im_f16_from_f32(float x)
{
    return im_half_from_f32(x);
}

float im_f32_from_f16(uint16_t h)
{
    return im_half_to_f32(h);
}

uint16_t im_bf16_from_f32(float x)
{
    return im_bhalf_from_f32(x);
}

float im_f32_from_bf16(uint16_t h)
{
    return im_bhalf_to_f32(h);
}
