/* pack_weights.c: plain weights into panels inside a call, as training does in every product (layout: weight.h); once a
 * step where they become 16 bits (copies.h).
 *
 * Read as their transpose (n contiguous), panels are plain copies of 16 values; rows (k contiguous) are turned around by
 * tensor/pack.c. Where im_set_compute_dtype asked for bf16 and the device multiplies it, f32 becomes bf16 here. */
#include "tensor/cpu/pack_weights.h"
#include "tensor/parallel.h"

typedef struct { const im_columns *c; im_dtype to; void *dst; } columns_job;

/* Elements at .. at+n-1, of at most 16; the rest zero. */
static v16 load(const im_columns *c, int64_t at, int n)
{
    if (c->dtype == IM_F32)
        return n == 16 ? v_load((const float *)c->w + at) : v_load_n((const float *)c->w + at, n);
    float x[16] = { 0 };
    for (int i = 0; i < n; i++)
        x[i] = (c->dtype == IM_F16 ? im_f32_from_f16 : im_f32_from_bf16)(((const uint16_t *)c->w)[at + i]);
    return v_load(x);
}

static void store(const columns_job *j, char *panel, int k, v16 v)
{
    if (j->to == IM_F16)
        v_store_f16((uint16_t *)panel + k * IM_PANEL, v);
    else
        v_store((float *)panel + k * IM_PANEL, v);
}

static void columns_task(void *arg, int panel, int thread)
{
    const columns_job *j = arg;
    const im_columns *c = j->c;
    char *dst = (char *)j->dst + (size_t)panel * im_packed_bytes(j->to, IM_PANEL, c->taps * c->channels, false);
    int n0 = panel * IM_PANEL, n = c->n - n0 < IM_PANEL ? c->n - n0 : IM_PANEL, k = 0;
    v16 first = v_zero();
    (void)thread;
    for (int t = 0; t < c->taps; t++)
        for (int i = 0; i < c->channels; i++, k++) {
            v16 v = load(c, n0 + c->tap_at[t] + i * c->lk, n);
            if (j->to != IM_BF16)
                store(j, dst, k, v);
            else if (k % 2)
                v_store((float *)dst + k / 2 * IM_PANEL, v_bf16_pairs(first, v));
            first = v;
        }
    if (j->to == IM_BF16 && k % 2)
        v_store((float *)dst + k / 2 * IM_PANEL, v_bf16_pairs(first, v_zero()));
}

void IM_FN(im_pack_columns)(im_device *dev, const im_columns *c, im_dtype to, void *dst)
{
    columns_job j = { c, to, dst };
    im_parallel_for(im_threads_of(dev), im_pack_panel_count(c->n, false), columns_task, &j);
}

static void rows_task(void *arg, int panel, int thread)
{
    (void)thread;
    im_pack_panels(arg, panel, panel + 1);
}

im_dtype IM_FN(im_packed_dtype)(const im_device *dev, const im_weight *w)
{
    return w->dtype == IM_F32 ? im_factors_of(im_host_of(dev)->compute[dev->compute_dtype]) : w->dtype;
}

/* Copies are worth their memory where they take less of it than the weight, and converting is most of the work. */
void *IM_FN(im_panels_of)(im_device *dev, const im_weight *w, const im_copy_key *key, size_t bytes, bool *made)
{
    *made = false;
    void *kept = w->copies && key->dtype != IM_F32 ? im_copies_get(dev, w->copies, key, bytes, made) : NULL;
    return kept ? kept : im_scratch(dev, im_threads_of(dev), bytes);
}

bool IM_FN(im_pack_weight)(im_device *dev, im_weight *w, int rows, bool geglu)
{
    im_dtype to = IM_FN(im_packed_dtype)(dev, w);
    im_copy_key key = { .data = w->data, .dtype = to, .n = rows, .k = w->k, .ld = w->ld, .lk = w->lk, .geglu = geglu };
    bool made;
    void *dst = IM_FN(im_panels_of)(dev, w, &key, im_packed_bytes(to, rows, w->k, geglu), &made);
    if (!dst)
        return false;
    if (made) {
        /* as it was left by an earlier product */
    } else if (w->ld == 1 && w->lk) {
        IM_FN(im_pack_columns)(dev, &(im_columns){ .w = w->data, .dtype = w->dtype, .n = rows, .channels = w->k,
                                                   .lk = w->lk, .taps = 1, .tap_at = &(int64_t){ 0 } }, to, dst);
    } else {
        im_pack_args a = { .src = w->data, .src_dtype = w->dtype, .dtype = to, .n = rows, .geglu = geglu, .taps = 1,
                           .cin = w->k, .row_stride = w->ld, .cin_stride = w->lk ? w->lk : 1, .dst = dst };
        im_parallel_for(im_threads_of(dev), im_pack_panel_count(rows, geglu), rows_task, &a);
    }
    w->data = dst;
    w->dtype = to;
    w->packed = true;
    return true;
}
