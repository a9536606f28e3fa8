/* pool.c: largest value of windows, mean over pixels, and their gradients (ref/pool.c has the formulas). ResNet's stem and
 * end; bound by memory. The winner of a window is kept as the number of its place, in f16, so that the gradient of a pixel
 * is gathered: each window around it is asked whether its place won. No sum is scattered, so bits depend on no thread. */
#include "tensor/cpu/kernels.h"
#include "tensor/parallel.h"

#include <string.h>

enum {
    BLOCK = 128,                         /* channels a task of the mean */
    PIXELS = 64                          /* pixels a task of its gradient */
};

IM_INLINE v16 load(const float *p, int left) { return left == 16 ? v_load(p) : v_load_n(p, left); }

IM_INLINE void store(float *p, v16 v, int left)
{
    if (left == 16)
        v_store(p, v);
    else
        v_store_n(p, v, left);
}

static int rest(int channels, int c) { return channels - c < 16 ? channels - c : 16; }

/* Places ky (or kx) of the window at `o` that lie inside of `size`: [from, to). */
static void inside(int o, int stride, int pad, int kernel, int size, int *from, int *to)
{
    int first = o * stride - pad;
    *from = first < 0 ? -first : 0;
    *to = first + kernel > size ? size - first : kernel;
}

static void store_where(uint16_t *p, v16 won, int left)
{
    uint16_t whole[16];
    v_store_f16(whole, won);
    memcpy(p, whole, (size_t)left * sizeof *p);
}

/* Task: one row of outputs. The first place starts, so that a picture of -infinities has a winner too. */
static void maxpool_row(void *arg, int task, int thread)
{
    const im_maxpool_args *at = arg;
    int b = task / at->oh, oy = task % at->oh, ky0, ky1, kx0, kx1, ch = at->channels;
    (void)thread;
    inside(oy, at->stride, at->pad, at->kernel, at->h, &ky0, &ky1);
    for (int ox = 0; ox < at->ow; ox++) {
        inside(ox, at->stride, at->pad, at->kernel, at->w, &kx0, &kx1);
        int64_t corner = ((int64_t)b * at->h + oy * at->stride - at->pad) * at->w + ox * at->stride - at->pad;
        int64_t out = ((int64_t)task * at->ow + ox) * ch;
        for (int c = 0; c < ch; c += 16) {
            int left = rest(ch, c);
            v16 best = load(at->x + (corner + (int64_t)ky0 * at->w + kx0) * ch + c, left);
            v16 won = v_set1((float)(ky0 * at->kernel + kx0));
            for (int ky = ky0; ky < ky1; ky++)
                for (int kx = kx0; kx < kx1; kx++) {
                    v16 x = load(at->x + (corner + (int64_t)ky * at->w + kx) * ch + c, left);
                    v16 place = v_set1((float)(ky * at->kernel + kx));
                    m16 more = v_gt(x, best), nan = v_isnan(x);
                    best = v_select(nan, x, v_select(more, x, best));
                    won = v_select(nan, place, v_select(more, place, won));
                }
            store(at->y + out + c, best, left);
            if (at->where)
                store_where(at->where + out + c, won, left);
        }
    }
}

int IM_FN(im_cpu_maxpool)(im_device *dev, const im_maxpool_args *at)
{
    im_parallel_for(dev->threads, at->batch * at->oh, maxpool_row, (void *)at);
    return IM_DONE;
}

/* Windows o that hold pixel i: [from, to). */
static void around(int i, int stride, int pad, int kernel, int count, int *from, int *to)
{
    int low = i + pad - kernel + 1, high = (i + pad) / stride + 1;
    *from = low > 0 ? (low + stride - 1) / stride : 0;
    *to = high < count ? high : count;
}

IM_INLINE v16 load_where(const uint16_t *p, int left)
{
    if (left == 16)
        return v_load_f16(p);
    uint16_t whole[16] = { 0 };
    memcpy(whole, p, (size_t)left * sizeof *p);
    return v_load_f16(whole);
}

/* Task: one row of pixels. */
static void maxpool_dx_row(void *arg, int task, int thread)
{
    const im_maxpool_bwd_args *at = arg;
    int b = task / at->h, iy = task % at->h, oy0, oy1, ox0, ox1, ch = at->channels;
    (void)thread;
    around(iy, at->stride, at->pad, at->kernel, at->oh, &oy0, &oy1);
    for (int ix = 0; ix < at->w; ix++) {
        around(ix, at->stride, at->pad, at->kernel, at->ow, &ox0, &ox1);
        float *dx = at->dx + ((int64_t)task * at->w + ix) * ch;
        for (int c = 0; c < ch; c += 16) {
            int left = rest(ch, c);
            v16 sum = v_zero();
            for (int oy = oy0; oy < oy1; oy++)
                for (int ox = ox0; ox < ox1; ox++) {
                    int64_t o = (((int64_t)b * at->oh + oy) * at->ow + ox) * ch + c;
                    int ky = iy + at->pad - oy * at->stride, kx = ix + at->pad - ox * at->stride;
                    m16 mine = v_eq(load_where(at->where + o, left), v_set1((float)(ky * at->kernel + kx)));
                    sum = v_add(sum, v_select(mine, load(at->dy + o, left), v_zero()));
                }
            store(dx + c, at->add ? v_add(load(dx + c, left), sum) : sum, left);
        }
    }
}

int IM_FN(im_cpu_maxpool_bwd)(im_device *dev, const im_maxpool_bwd_args *at)
{
    im_parallel_for(dev->threads, at->batch * at->h, maxpool_dx_row, (void *)at);
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
                acc = v_add(acc, load(at->x + (b * at->pixels + q) * ch + c, left));
            v_store(lanes, acc);
            for (int i = 0; i < left; i++)
                sum[i] += (double)lanes[i];
        }
        for (int i = 0; i < left; i++)
            at->y[(int64_t)b * ch + c + i] = (float)(sum[i] / (double)at->pixels);
    }
}

int IM_FN(im_cpu_avgpool)(im_device *dev, const im_avgpool_args *at)
{
    im_parallel_for(dev->threads, at->batch * ((at->channels + BLOCK - 1) / BLOCK), avgpool_task, (void *)at);
    return IM_DONE;
}

/* Task: PIXELS pixels of one image. */
static void avgpool_dx(void *arg, int task, int thread)
{
    const im_avgpool_bwd_args *at = arg;
    int64_t per = (at->pixels + PIXELS - 1) / PIXELS, b = task / per, p = task % per * PIXELS;
    int64_t last = p + PIXELS < at->pixels ? p + PIXELS : at->pixels;
    const float *dy = at->dy + b * at->channels;
    v16 n = v_set1((float)at->pixels);
    (void)thread;
    for (; p < last; p++) {
        float *dx = at->dx + (b * at->pixels + p) * at->channels;
        for (int c = 0; c < at->channels; c += 16) {
            int left = rest(at->channels, c);
            v16 v = v_div(load(dy + c, left), n);
            store(dx + c, at->add ? v_add(load(dx + c, left), v) : v, left);
        }
    }
}

int IM_FN(im_cpu_avgpool_bwd)(im_device *dev, const im_avgpool_bwd_args *at)
{
    im_parallel_for(dev->threads, at->batch * (int)((at->pixels + PIXELS - 1) / PIXELS), avgpool_dx, (void *)at);
    return IM_DONE;
}
