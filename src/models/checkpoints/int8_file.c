/* int8_file.c: see int8_file.h. The arithmetic of rounding is the engine's (im_round_int8). */
#include "models/checkpoints/int8_file.h"
#include "data/files/safetensors.h"
#include "models/checkpoints/checkpoint_names.h"

#include <stdio.h>
#include <string.h>

bool im_param_takes_int8(const im_param *p)
{
    return p->kind < IM_PARAM_EMBEDDING && !p->wide;
}

bool im_st_is_int8(const im_st_entry *e)
{
    return e && !strcmp(e->dtype_name, "I8");
}

im_int8_parts im_int8_parts_of(const im_safetensors *s, const im_st_entry *e)
{
    static const char *const tails[] = { "_scale", "_multiplier" };
    char name[IM_NAME_BYTES + 16];
    im_int8_parts parts = { NULL, NULL };
    const im_st_entry **found[] = { &parts.scale, &parts.multiplier };
    for (int i = 0; i < 2 && im_st_is_int8(e) && e->ndim >= 2; i++) {
        snprintf(name, sizeof name, "%s%s", e->name, tails[i]);
        const im_st_entry *f = im_st_find(s, name);
        if (f && f->dtype == IM_F32 && f->ndim == 1 && f->shape[0] == e->shape[i])
            *found[i] = f;
    }
    return parts.scale ? parts : (im_int8_parts){ NULL, NULL };
}

typedef struct widening { const im_st_entry *e; const float *scales, *by; float *out; int64_t k, taps; } widening;

static void widen_row(void *arg, int row, int thread)
{
    const widening *w = arg;
    const int8_t *q = (const int8_t *)w->e->data + row * w->k;
    float *out = w->out + row * w->k;
    (void)thread;
    for (int64_t i = 0; i < w->k; i++)
        out[i] = (float)q[i] * w->scales[row];
    for (int64_t i = 0; w->by && i < w->k; i++)
        out[i] *= w->by[i / w->taps];
}

void im_st_floats(im_ctx *c, const im_st_entry *e, im_int8_parts parts, float *out)
{
    if (!parts.scale) {
        im_st_cast(c, e, IM_F32, out);
        return;
    }
    int64_t k = im_st_numel(e) / e->shape[0];
    widening w = { e, parts.scale->data, parts.multiplier ? parts.multiplier->data : NULL, out, k, k / e->shape[1] };
    im_parallel(c, (int)e->shape[0], widen_row, &w);
}

const float *im_multipliers_find(const im_multipliers *m, const char *name)
{
    for (int i = 0; m && i < m->n; i++)
        if (!strcmp(m->v[i].name, name))
            return m->v[i].by;
    return NULL;
}

void im_multipliers_divide(const float *by, int64_t rows, int64_t cin, int64_t taps, float *w)
{
    for (int64_t i = 0; i < rows * cin; i++)
        for (int64_t tap = 0; tap < taps; tap++)
            w[i * taps + tap] /= by[i % cin];
}
