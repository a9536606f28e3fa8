/* ref/conv.c: two-dimensional convolution (a cross-correlation, as every deep-learning library means it).
 *
 *     y[b][oy][ox][n] = sum_{i,j,c} x[b][oy s + i - top][ox s + j - left][c] w[n][i][j][c]
 *                       + bias[n] + chan[b][n] + res[b][oy][ox][n]
 *
 * Outside the picture x is zero. Where the input is to be enlarged first (nearest neighbour), row uy of the enlarged
 * picture is row floor(uy h / up_h) of x, and the enlarged picture is never stored. Called by ops/conv.c. */
#include "tensor/ref/ref.h"

typedef struct {
    const im_conv_args *p;
    const im_device *round;                                    /* both factors are rounded as it says, or NULL         */
    float *filters;                                            /* (threads, kh, kw, cin)                              */
} job;

/* Row of x behind row u of the enlarged picture, -1 outside it. */
static int source(int u, int size, int enlarged)
{
    return u < 0 || u >= enlarged ? -1 : (int)((int64_t)u * size / enlarged);
}

/* One output value before bias: filter (kh, kw, cin) on the window whose first tap is at (uy, ux). */
static double window(const job *q, im_cbuf x, const float *filter, int uy, int ux)
{
    const im_conv_args *p = q->p;
    double sum = 0;
    for (int i = 0; i < p->kh; i++) {
        int sy = source(uy + i, p->h, p->up_h);
        for (int j = 0; j < p->kw && sy >= 0; j++) {
            int sx = source(ux + j, p->w, p->up_w);
            if (sx < 0)
                continue;
            im_cbuf pixel = im_cbuf_at(x, ((int64_t)sy * p->w + sx) * p->cin);
            const float *tap = filter + (i * p->kw + j) * p->cin;
            for (int c = 0; c < p->cin; c++) {
                float value = im_ref_at(pixel, c);
                sum += (double)(q->round ? im_ref_factor(q->round, value) : value) * tap[c];
            }
        }
    }
    return sum;
}

/* Output channel n of the whole batch. */
static void channel(const void *arg, int64_t index, int thread)
{
    const job *j = arg;
    const im_conv_args *p = j->p;
    int n = (int)index;
    float *filter = j->filters + (int64_t)thread * p->wt.k;
    weight_row(&p->wt, n, filter);
    for (int k = 0; j->round && k < p->wt.k; k++)
        filter[k] = im_ref_factor(j->round, filter[k]);
    for (int b = 0; b < p->batch; b++) {
        im_cbuf x = im_cbuf_at(p->x, (int64_t)b * p->h * p->w * p->cin);
        for (int oy = 0; oy < p->oh; oy++)
            for (int ox = 0; ox < p->ow; ox++) {
                int64_t at = (((int64_t)b * p->oh + oy) * p->ow + ox) * p->cout + n;
                double y = window(j, x, filter, oy * p->stride - p->pad_top, ox * p->stride - p->pad_left);
                if (p->bias)
                    y += p->bias[n];
                if (p->chan.p)
                    y += im_ref_at(p->chan, b * p->ldchan + n);
                if (p->res.p)
                    y += im_ref_at(p->res, at);
                im_ref_put(p->y, at, y, false);
            }
    }
}

int im_ref_conv(im_device *dev, const im_conv_args *p)
{
    if (p->wt.dtype == IM_INT8)
        return im_ref_conv_int8(dev, p);
    job j = { p, im_ref_rounds(dev, &p->wt),
              im_scratch(dev, im_threads_of(dev), (size_t)im_threads_of(dev) * (size_t)p->wt.k * sizeof(float)) };
    return j.filters ? im_ref_each(dev, p->cout, channel, &j) : IM_NO_MEMORY;
}
