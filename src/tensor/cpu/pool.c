/* pool.c: largest value of windows, mean over pixels, and their gradients (ref/pool.c has the formulas). ResNet's stem and
 * end; bound by memory. The winner of a window is kept as the number of its place, in f16, so that the gradient of a pixel
 * is gathered: each window around it is asked whether its place won. No sum is scattered, so bits depend on no thread. */
#include "tensor/cpu/columns.h"
#include "tensor/cpu/kernels.h"
#include "tensor/parallel.h"

enum {
    AHEAD = 1024,                        /* elements: how far ahead of a row memory is asked for (bench/LOG.md) */
    STRIP = IM_NV > 1 ? 4 : 2,           /* vectors of channels side by side */
    BLOCK = 128,                         /* channels a task of the mean */
    PIXELS = 64                          /* pixels a task of its gradient */
};

static int rest(int channels, int c) { return channels - c < 16 ? channels - c : 16; }

/* Places ky (or kx) of the window at `o` that lie inside of `size`: [from, to). */
static void inside(int o, int stride, int pad, int kernel, int size, int *from, int *to)
{
    int first = o * stride - pad;
    *from = first < 0 ? -first : 0;
    *to = first + kernel > size ? size - first : kernel;
}

typedef struct { int ky0, ky1, kx0, kx1; } places;

/* 16 nv channels (left < 16: of `left`) of one output, at place `out`; corner: of its window, may lie outside. The first
 * place starts, so that a picture of -infinities has a winner too. */
IM_INLINE void window(im_dtype tx, im_dtype ty, int nv, int left, const im_maxpool_args *at, places p, int64_t corner,
                      int64_t out)
{
    v16 best[STRIP], won[STRIP];
    int64_t row = (int64_t)at->w * at->channels, ch = at->channels;
    const void *x = at->x.p;
    IM_UNROLL for (int j = 0; j < nv; j++) {
        best[j] = load_as(tx, x, corner + p.ky0 * row + p.kx0 * ch + 16 * j, left);
        won[j] = v_set1((float)(p.ky0 * at->kernel + p.kx0));
    }
    for (int ky = p.ky0; ky < p.ky1; ky++)
        for (int kx = p.kx0; kx < p.kx1; kx++) {
            int64_t from = corner + ky * row + kx * ch;
            v16 place = v_set1((float)(ky * at->kernel + kx));
            IM_UNROLL for (int j = 0; j < nv; j++) {
                prefetch_as(tx, x, from + 16 * j + AHEAD);
                v16 v = load_as(tx, x, from + 16 * j, left);
                m16 more = v_gt(v, best[j]), nan = v_isnan(v);
                best[j] = v_select(nan, v, v_select(more, v, best[j]));
                won[j] = v_select(nan, place, v_select(more, place, won[j]));
            }
        }
    IM_UNROLL for (int j = 0; j < nv; j++) {
        store_as(ty, at->y.p, out + 16 * j, best[j], left);
        if (at->won)
            store_as(IM_F16, at->won, out + 16 * j, won[j], left);
    }
}

/* One row of outputs. */
IM_INLINE void outputs_of(im_dtype tx, im_dtype ty, const im_maxpool_args *at, int task)
{
    int b = task / at->oh, oy = task % at->oh, ch = at->channels;
    places p;
    inside(oy, at->stride, at->pad, at->kernel, at->h, &p.ky0, &p.ky1);
    for (int ox = 0; ox < at->ow; ox++) {
        inside(ox, at->stride, at->pad, at->kernel, at->w, &p.kx0, &p.kx1);
        int64_t corner = ((int64_t)b * at->h + oy * at->stride - at->pad) * at->w + ox * at->stride - at->pad;
        int64_t out = ((int64_t)task * at->ow + ox) * ch;
        int c = 0;
        for (; c + 16 * STRIP <= ch; c += 16 * STRIP)
            window(tx, ty, STRIP, 16, at, p, corner * ch + c, out + c);
        for (; c < ch; c += 16)
            window(tx, ty, 1, rest(ch, c), at, p, corner * ch + c, out + c);
    }
}

static void maxpool_row(void *arg, int task, int thread)
{
    const im_maxpool_args *at = arg;
    (void)thread;
    switch (same2(at->x.t, at->y.t)) {
    case IM_F32:  outputs_of(IM_F32, IM_F32, at, task); break;
    case IM_F16:  outputs_of(IM_F16, IM_F16, at, task); break;
    case IM_BF16: outputs_of(IM_BF16, IM_BF16, at, task); break;
    default:      outputs_of(at->x.t, at->y.t, at, task);
    }
}

int IM_FN(im_cpu_maxpool)(im_device *dev, const im_maxpool_args *at)
{
    im_parallel_for(im_threads_of(dev), at->batch * at->oh, maxpool_row, (void *)at);
    return IM_DONE;
}

/* Windows o that hold pixel i: [from, to). */
static void around(int i, int stride, int pad, int kernel, int count, int *from, int *to)
{
    int low = i + pad - kernel + 1, high = (i + pad) / stride + 1;
    *from = low > 0 ? (low + stride - 1) / stride : 0;
    *to = high < count ? high : count;
}

typedef struct { int oy0, oy1, ox0, ox1; } outputs;

/* 16 nv channels (left < 16: of `left`) from c of pixel (iy, ix) of image b. */
IM_INLINE void gather(im_dtype tdy, im_dtype tdx, int nv, int left, const im_maxpool_bwd_args *at, outputs o, int b,
                      int iy, int ix, int c, bool stream)
{
    int64_t to = (((int64_t)b * at->h + iy) * at->w + ix) * at->channels + c;
    void *dx = at->dx.p;
    v16 sum[STRIP];
    IM_UNROLL for (int j = 0; j < nv; j++) sum[j] = v_zero();
    for (int oy = o.oy0; oy < o.oy1; oy++)
        for (int ox = o.ox0; ox < o.ox1; ox++) {
            int64_t from = (((int64_t)b * at->oh + oy) * at->ow + ox) * at->channels + c;
            int ky = iy + at->pad - oy * at->stride, kx = ix + at->pad - ox * at->stride;
            v16 place = v_set1((float)(ky * at->kernel + kx));
            IM_UNROLL for (int j = 0; j < nv; j++) {
                prefetch_as(tdy, at->dy.p, from + 16 * j + AHEAD);
                m16 mine = v_eq(load_as(IM_F16, at->won, from + 16 * j, left), place);
                sum[j] = v_add(sum[j], v_select(mine, load_as(tdy, at->dy.p, from + 16 * j, left), v_zero()));
            }
        }
    IM_UNROLL for (int j = 0; j < nv; j++)
        store_left_as(tdx, stream, dx, to + 16 * j,
                      at->add ? v_add(load_as(tdx, dx, to + 16 * j, left), sum[j]) : sum[j], left);
}

/* One row of pixels. */
IM_INLINE void pixels_of(im_dtype tdy, im_dtype tdx, const im_maxpool_bwd_args *at, int task)
{
    int b = task / at->h, iy = task % at->h, ch = at->channels;
    bool stream = !at->add && streams(at->dx, (int64_t)at->batch * at->h * at->w, ch);
    outputs o;
    around(iy, at->stride, at->pad, at->kernel, at->oh, &o.oy0, &o.oy1);
    for (int ix = 0; ix < at->w; ix++) {
        around(ix, at->stride, at->pad, at->kernel, at->ow, &o.ox0, &o.ox1);
        int c = 0;
        for (; c + 16 * STRIP <= ch; c += 16 * STRIP)
            gather(tdy, tdx, STRIP, 16, at, o, b, iy, ix, c, stream);
        for (; c < ch; c += 16)
            gather(tdy, tdx, 1, rest(ch, c), at, o, b, iy, ix, c, stream);
    }
    v_stream_end();
}

static void maxpool_dx_row(void *arg, int task, int thread)
{
    const im_maxpool_bwd_args *at = arg;
    (void)thread;
    switch (same2(at->dy.t, at->dx.t)) {
    case IM_F32:  pixels_of(IM_F32, IM_F32, at, task); break;
    case IM_F16:  pixels_of(IM_F16, IM_F16, at, task); break;
    case IM_BF16: pixels_of(IM_BF16, IM_BF16, at, task); break;
    default:      pixels_of(at->dy.t, at->dx.t, at, task);
    }
}

int IM_FN(im_cpu_maxpool_bwd)(im_device *dev, const im_maxpool_bwd_args *at)
{
    im_parallel_for(im_threads_of(dev), at->batch * at->h, maxpool_dx_row, (void *)at);
    return IM_DONE;
}

/* Task: BLOCK channels of one image. */
static void avgpool_task(void *arg, int task, int thread)
{
    const im_avgpool_args *at = arg;
    int ch = at->channels, blocks = (ch + BLOCK - 1) / BLOCK, b = task / blocks, c = task % blocks * BLOCK;
    int last = c + BLOCK < ch ? c + BLOCK : ch;
    (void)thread;
    for (; c < last; c += 16) {
        int left = rest(last, c);
        double sum[16] = { 0 };
        for (int64_t p = 0; p < at->pixels; p += IM_SUM_CHUNK) {
            int64_t end = p + IM_SUM_CHUNK < at->pixels ? p + IM_SUM_CHUNK : at->pixels;
            float lanes[16];
            v16 acc = v_zero();
            for (int64_t q = p; q < end; q++)
                acc = v_add(acc, load_as(at->x.t, at->x.p, (b * at->pixels + q) * ch + c, left));
            v_store(lanes, acc);
            for (int i = 0; i < left; i++)
                sum[i] += (double)lanes[i];
        }
        float mean[16] = { 0 };
        for (int i = 0; i < left; i++)
            mean[i] = (float)(sum[i] / (double)at->pixels);
        store_as(at->y.t, at->y.p, (int64_t)b * ch + c, v_load(mean), left);
    }
}

int IM_FN(im_cpu_avgpool)(im_device *dev, const im_avgpool_args *at)
{
    im_parallel_for(im_threads_of(dev), at->batch * ((at->channels + BLOCK - 1) / BLOCK), avgpool_task, (void *)at);
    return IM_DONE;
}

/* Task: PIXELS pixels of one image. */
static void avgpool_dx(void *arg, int task, int thread)
{
    const im_avgpool_bwd_args *at = arg;
    int64_t per = (at->pixels + PIXELS - 1) / PIXELS, b = task / per, p = task % per * PIXELS;
    int64_t last = p + PIXELS < at->pixels ? p + PIXELS : at->pixels;
    const void *dy = im_at(at->dy.p, at->dy.t, b * at->channels);
    im_dtype t = at->dx.t;
    v16 n = v_set1((float)at->pixels);
    bool stream = !at->add && streams(at->dx, at->batch * at->pixels, at->channels);
    (void)thread;
    for (; p < last; p++) {
        void *dx = im_at(at->dx.p, t, (b * at->pixels + p) * at->channels);
        for (int c = 0; c < at->channels; c += 16) {
            int left = rest(at->channels, c);
            v16 v = v_div(load_as(at->dy.t, dy, c, left), n);
            store_left_as(t, stream, dx, c, at->add ? v_add(load_as(t, dx, c, left), v) : v, left);
        }
    }
    v_stream_end();
}

int IM_FN(im_cpu_avgpool_bwd)(im_device *dev, const im_avgpool_bwd_args *at)
{
    im_parallel_for(im_threads_of(dev), at->batch * (int)((at->pixels + PIXELS - 1) / PIXELS), avgpool_dx, (void *)at);
    return IM_DONE;
}
