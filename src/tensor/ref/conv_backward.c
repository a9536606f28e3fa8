/* ref/conv_backward.c: the two gradients of ref/conv.c: which product met which output, read from the other side.
 *
 *     y[oy][ox][n]    = sum_{i,j,c} x[src(oy s + i - top)][src(ox s + j - left)][c] w[n][i][j][c]
 *     dx[iy][ix][c]   = sum of dy[oy][ox][n] w[n][i][j][c] over all (oy, ox, i, j) whose source is (iy, ix), and n
 *     dw[n][i][j][c]  = sum of dy[oy][ox][n] x[source][c] over all (oy, ox) and pictures
 *
 * src(u) = floor(u h / up_h) in the picture enlarged by nearest neighbour; outside it nothing is added. (Dumoulin &
 * Visin 2016, arXiv:1603.07285, chapter 4.) Called by ops/conv.c. */
#include "tensor/ref/ref.h"

/* Row of x behind row u of the enlarged picture, -1 outside it. */
static int source(int u, int size, int enlarged)
{
    return u < 0 || u >= enlarged ? -1 : (int)((int64_t)u * size / enlarged);
}

/* ---------------------------------------------------------------- dx */

typedef struct { const im_conv_dx_args *p; const im_device *dev; double *sums; } dx_job;   /* sums (threads, cin)      */

/* One pixel of dx. */
static void dx_pixel(const void *arg, int64_t index, int thread)
{
    const dx_job *j = arg;
    const im_conv_dx_args *p = j->p;
    int ix = (int)(index % p->w), iy = (int)(index / p->w % p->h);
    int64_t b = index / p->w / p->h;
    double *sum = j->sums + (int64_t)thread * p->cin;
    for (int c = 0; c < p->cin; c++)
        sum[c] = 0;
    for (int oy = 0; oy < p->oh; oy++)
        for (int i = 0; i < p->kh; i++) {
            if (source(oy * p->stride + i - p->pad_top, p->h, p->up_h) != iy)
                continue;
            for (int ox = 0; ox < p->ow; ox++)
                for (int k = 0; k < p->kw; k++) {
                    if (source(ox * p->stride + k - p->pad_left, p->w, p->up_w) != ix)
                        continue;
                    int64_t at = ((b * p->oh + oy) * p->ow + ox) * p->cout;
                    for (int n = 0; n < p->cout; n++)
                        for (int c = 0; c < p->cin; c++)
                            sum[c] += (double)im_ref_factor(j->dev, im_ref_at(p->dy, at + n))
                                    * im_ref_factor(j->dev, weight_at(&p->wt, n, (i * p->kw + k) * p->cin + c));
                }
        }
    for (int c = 0; c < p->cin; c++)
        im_ref_put(p->dx, index * p->cin + c, sum[c], p->add);
}

int im_ref_conv_dx(im_device *dev, const im_conv_dx_args *p)
{
    size_t threads = (size_t)im_threads_of(dev);
    dx_job j = { p, dev, im_scratch(dev, (int)threads, threads * (size_t)p->cin * sizeof(double)) };
    return j.sums ? im_ref_each(dev, (int64_t)p->batch * p->h * p->w, dx_pixel, &j) : IM_NO_MEMORY;
}

/* ---------------------------------------------------------------- dw */

typedef struct { const im_conv_dw_args *p; const im_device *dev; double *sums; } dw_job;   /* (threads, kh, kw, cin)   */

/* What output pixel (b, oy, ox) adds to the filter's gradient, dy its value in this filter's channel. */
static void dw_window(const dw_job *j, int64_t b, int oy, int ox, double dy, double *sum)
{
    const im_conv_dw_args *p = j->p;
    for (int i = 0; i < p->kh; i++)
        for (int k = 0; k < p->kw; k++) {
            int iy = source(oy * p->stride + i - p->pad_top, p->h, p->up_h);
            int ix = source(ox * p->stride + k - p->pad_left, p->w, p->up_w);
            if (iy < 0 || ix < 0)
                continue;
            im_cbuf x = im_cbuf_at(p->x, ((b * p->h + iy) * p->w + ix) * p->cin);
            for (int c = 0; c < p->cin; c++)
                sum[(i * p->kw + k) * p->cin + c] += dy * im_ref_factor(j->dev, im_ref_at(x, c));
        }
}

/* Filter n. */
static void dw_filter(const void *arg, int64_t n, int thread)
{
    const dw_job *j = arg;
    const im_conv_dw_args *p = j->p;
    int k = p->kh * p->kw * p->cin;
    double *sum = j->sums + (int64_t)thread * k;
    for (int i = 0; i < k; i++)
        sum[i] = 0;
    for (int64_t b = 0; b < p->batch; b++)
        for (int oy = 0; oy < p->oh; oy++)
            for (int ox = 0; ox < p->ow; ox++) {
                float dy = im_ref_at(p->dy, ((b * p->oh + oy) * p->ow + ox) * p->cout + n);
                dw_window(j, b, oy, ox, im_ref_factor(j->dev, dy), sum);
            }
    for (int i = 0; i < k; i++)
        im_ref_sum(&p->dw[n * k + i], sum[i], p->add);
}

int im_ref_conv_dw(im_device *dev, const im_conv_dw_args *p)
{
    size_t k = (size_t)p->kh * (size_t)p->kw * (size_t)p->cin;
    dw_job j = { p, dev, im_scratch(dev, im_threads_of(dev), (size_t)im_threads_of(dev) * k * sizeof(double)) };
    return j.sums ? im_ref_each(dev, p->cout, dw_filter, &j) : IM_NO_MEMORY;
}
