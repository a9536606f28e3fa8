/* map.c: elementwise operations: y = act(a), y = a + b with b repeated, y = s a; y += s x for gradients; y = x in another
 * dtype. Used by what no kernel does on the way: the time embedding's silu, sums of residuals, the latents' scale. */
#include "tensor/cpu/held.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/vmath.h"
#include "tensor/parallel.h"

enum { CHUNK = 16384 };                  /* elements a task */

typedef struct {
    const im_map_args *at;
    const float *b;                      /* the b of at, or a few copies of it in a row */
    int64_t nb;
} job;

/* One loop for each operation; kind and act are constants where this is inlined. */
IM_INLINE void loop(im_map_kind kind, im_act act, const float *a, const float *b, float s, float *y, int64_t n)
{
    int64_t i = 0;
    for (; i < n; i += 16) {
        int left = n - i < 16 ? (int)(n - i) : 16;
        v16 v = left == 16 ? v_load(a + i) : v_load_n(a + i, left);
        if (kind == IM_MAP_ADD)
            v = v_add(v, left == 16 ? v_load(b + i) : v_load_n(b + i, left));
        else if (kind == IM_MAP_SCALE)
            v = v_mul(v_set1(s), v);
        else
            v = v_activate(act, v);
        if (left == 16)
            v_store(y + i, v);
        else
            v_store_n(y + i, v, left);
    }
}

static void activate(im_act act, const float *a, float *y, int64_t n)
{
    switch (act) {
    case IM_ACT_SILU: loop(IM_MAP_ACT, IM_ACT_SILU, a, NULL, 0.0f, y, n); break;
    case IM_ACT_GELU: loop(IM_MAP_ACT, IM_ACT_GELU, a, NULL, 0.0f, y, n); break;
    case IM_ACT_GELU_TANH: loop(IM_MAP_ACT, IM_ACT_GELU_TANH, a, NULL, 0.0f, y, n); break;
    case IM_ACT_QUICK_GELU: loop(IM_MAP_ACT, IM_ACT_QUICK_GELU, a, NULL, 0.0f, y, n); break;
    case IM_ACT_RELU: loop(IM_MAP_ACT, IM_ACT_RELU, a, NULL, 0.0f, y, n); break;
    case IM_ACT_NONE: loop(IM_MAP_ACT, IM_ACT_NONE, a, NULL, 0.0f, y, n); break;
    }
}

static void map_task(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_map_args *at = w->at;
    int64_t i = (int64_t)task * CHUNK, last = i + CHUNK < at->n ? i + CHUNK : at->n;
    (void)thread;
    if (at->kind == IM_MAP_ACT)
        activate(at->act, at->a + i, at->y + i, last - i);
    else if (at->kind == IM_MAP_SCALE)
        loop(IM_MAP_SCALE, IM_ACT_NONE, at->a + i, NULL, at->s, at->y + i, last - i);
    else
        while (i < last) {
            int64_t j = i % w->nb, n = w->nb - j < last - i ? w->nb - j : last - i;
            loop(IM_MAP_ADD, IM_ACT_NONE, at->a + i, w->b + j, 0.0f, at->y + i, n);
            i += n;
        }
}

int IM_FN(im_cpu_map)(im_device *dev, const im_map_args *at)
{
    job w = { .at = at, .b = at->b, .nb = at->nb };
    float row[16 * 16];
    if (at->kind == IM_MAP_ADD && at->nb < 16) {               /* a short b would leave most lanes empty */
        w.nb = 16 * at->nb;
        for (int64_t i = 0; i < w.nb; i++)
            row[i] = at->b[i % at->nb];
        w.b = row;
    }
    im_parallel_for(dev->threads, (int)((at->n + CHUNK - 1) / CHUNK), map_task, &w);
    return IM_DONE;
}

static void accumulate_task(void *arg, int task, int thread)
{
    const im_accumulate_args *at = arg;
    int64_t from = (int64_t)task * CHUNK, to = from + CHUNK < at->n ? from + CHUNK : at->n;
    v16 s = v_set1(at->s);
    (void)thread;
    for (int64_t i = from; i < to; i += 16) {
        int left = to - i < 16 ? (int)(to - i) : 16;
        v16 x = left == 16 ? v_load(at->x + i) : v_load_n(at->x + i, left);
        v16 y = !at->add ? v_mul(s, x) : v_fma(s, x, left == 16 ? v_load(at->y + i) : v_load_n(at->y + i, left));
        if (left == 16)
            v_store(at->y + i, y);
        else
            v_store_n(at->y + i, y, left);
    }
}

int IM_FN(im_cpu_accumulate)(im_device *dev, const im_accumulate_args *at)
{
    im_parallel_for(dev->threads, (int)((at->n + CHUNK - 1) / CHUNK), accumulate_task, (void *)at);
    return IM_DONE;
}

static void cast_task(void *arg, int task, int thread)
{
    const im_cast_args *at = arg;
    int64_t from = (int64_t)task * CHUNK, to = from + CHUNK < at->n ? from + CHUNK : at->n;
    (void)thread;
    for (int64_t i = from; i < to; i += 16) {
        int left = to - i < 16 ? (int)(to - i) : 16;
        v16 v = held_load(at->from, at->x, i, left);
        held_store(at->to, at->y, i, at->add ? v_add(held_load(at->to, at->y, i, left), v) : v, left);
    }
}

int IM_FN(im_cpu_cast)(im_device *dev, const im_cast_args *at)
{
    im_parallel_for(dev->threads, (int)((at->n + CHUNK - 1) / CHUNK), cast_task, (void *)at);
    return IM_DONE;
}
