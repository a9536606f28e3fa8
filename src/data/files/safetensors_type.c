/* safetensors_type.c: the element types of safetensors files. The order is the reference implementation's: it sorts
 * tensors by type, widest first, so that each begins at a multiple of its own size. */
#include "data/files/safetensors.h"

#include <string.h>

const im_st_type im_st_types[] = {
    { "BOOL", 8, -1 },   { "F4", 4, -1 },        { "F6_E2M3", 6, -1 }, { "F6_E3M2", 6, -1 }, { "U8", 8, -1 },
    { "I8", 8, -1 },     { "F8_E5M2", 8, -1 },   { "F8_E4M3", 8, -1 }, { "F8_E8M0", 8, -1 }, { "I16", 16, -1 },
    { "U16", 16, -1 },   { "F16", 16, IM_F16 },  { "BF16", 16, IM_BF16 },                    { "I32", 32, IM_I32 },
    { "U32", 32, -1 },   { "F32", 32, IM_F32 },  { "C64", 64, -1 },    { "F64", 64, -1 },    { "I64", 64, -1 },
    { "U64", 64, -1 },
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
