/* host_load.c: a weight from a file's array into host memory, converted and packed (pack.c) or plain, on all threads.
 * Used by host.c, as its service `load`. */
#include "tensor/half.h"
#include "tensor/host.h"
#include "tensor/parallel.h"

#include <string.h>

static float read_as_f32(const void *src, im_dtype t, int64_t i)
{
    return t == IM_I32 ? (float)((const int32_t *)src)[i] : im_get_as(t, src, i);
}

static void write_from_f32(void *dst, im_dtype t, int64_t i, float x)
{
    if (t == IM_I32)
        ((int32_t *)dst)[i] = (int32_t)x;
    else
        im_set_as(t, dst, i, x);
}

enum { PANELS_A_TASK = 8, ROWS_A_TASK = 64 };

static void pack_task(void *arg, int task, int thread)
{
    (void)thread;
    const im_pack_args *p = arg;
    int panels = im_pack_panel_count(p->n, p->geglu), from = task * PANELS_A_TASK;
    im_pack_panels(p, from, from + PANELS_A_TASK < panels ? from + PANELS_A_TASK : panels);
}

/* Plain: rows of `taps * cin` values, the source's taps inner (OIHW) or outer. */
static void plain_task(void *arg, int task, int thread)
{
    (void)thread;
    const im_pack_args *p = arg;
    int64_t k = (int64_t)p->taps * p->cin;
    int end = (task + 1) * ROWS_A_TASK < p->n ? (task + 1) * ROWS_A_TASK : p->n;
    for (int row = task * ROWS_A_TASK; row < end; row++) {
        if (p->src_dtype == p->dtype && p->taps == 1) {
            size_t size = im_dtype_size(p->dtype);
            memcpy((char *)p->dst + (size_t)row * (size_t)k * size,
                   (const char *)p->src + (size_t)row * (size_t)k * size, (size_t)k * size);
            continue;
        }
        for (int tap = 0; tap < p->taps; tap++)
            for (int ci = 0; ci < p->cin; ci++)
                write_from_f32(p->dst, p->dtype, row * k + (int64_t)tap * p->cin + ci,
                               read_as_f32(p->src, p->src_dtype,
                                           row * p->row_stride + tap * p->tap_stride + ci * p->cin_stride));
    }
}

int im_host_load(im_device *dev, const im_pack_args *p)
{
    int panels = im_pack_panel_count(p->n, p->geglu), tasks = (panels + PANELS_A_TASK - 1) / PANELS_A_TASK;
    if (p->packed)
        im_parallel_for(im_threads_of(dev), tasks, pack_task, (void *)(uintptr_t)p);
    else
        im_parallel_for(im_threads_of(dev), (p->n + ROWS_A_TASK - 1) / ROWS_A_TASK, plain_task, (void *)(uintptr_t)p);
    return IM_DONE;
}
