/* int8_file.c: see int8_file.h. The arithmetic of rounding is the engine's (im_round_int8). */
#include "models/checkpoints/int8_file.h"
#include "data/files/safetensors.h"

#include <string.h>

bool im_param_takes_int8(const im_param *p)
{
    return p->kind < IM_PARAM_EMBEDDING && !p->wide;
}

bool im_st_is_int8(const im_st_entry *e)
{
    return e && !strcmp(e->dtype_name, "I8");
}

bool im_int8_pair(const im_st_entry *e, const im_st_entry *scale)
{
    return im_st_is_int8(e) && scale && scale->dtype == IM_F32 && e->ndim >= 1 && scale->ndim == 1 &&
           scale->shape[0] == e->shape[0];
}

typedef struct widening { const im_st_entry *e; const float *scales; float *out; int64_t k; } widening;

static void widen_row(void *arg, int row, int thread)
{
    const widening *w = arg;
    const int8_t *q = (const int8_t *)w->e->data + row * w->k;
    float *out = w->out + row * w->k;
    (void)thread;
    for (int64_t i = 0; i < w->k; i++)
        out[i] = (float)q[i] * w->scales[row];
}

void im_st_floats(im_ctx *c, const im_st_entry *e, const im_st_entry *scale, float *out)
{
    if (!scale) {
        im_st_cast(c, e, IM_F32, out);
        return;
    }
    widening w = { e, scale->data, out, im_st_numel(e) / e->shape[0] };
    im_parallel(c, (int)e->shape[0], widen_row, &w);
}
