/* ref/int8.c: products whose weights are int8: int8.h as plain loops. Sums of integers are exact, and every step behind
 * them is one f32 operation, so the cpu backend has the bits of what stands here wherever no activation follows.
 * Called by ref/gemm.c and ref/conv.c. */
#include "tensor/int8.h"
#include "tensor/ref/ref.h"

#include <string.h>

/* Integers of the k values at row, of cin channels a tap, and its scale; the row is multiplied in place. */
static float integers(float *row, int k, int cin, const float *multipliers, int8_t *q)
{
    float amax = 0;
    for (int i = 0; multipliers && i < k; i++)
        row[i] *= multipliers[i % cin];
    for (int i = 0; i < k; i++)
        amax = im_int8_larger(amax, row[i]);
    im_int8_scale s = im_int8_scale_of(amax);
    for (int i = 0; i < k; i++)
        q[i] = s.inverse != 0 ? (int8_t)im_int8_round(row[i] * s.inverse) : 0;
    return s.scale;
}

/* f32(sum qa qw) * (sa * sw) with row n of the weights. */
static float product(const im_weight *w, int n, const int8_t *q, float scale)
{
    int32_t sum = 0;
    for (int k = 0; k < w->k; k++)
        sum += q[k] * im_ref_int8_at(w, n, k);
    return (float)sum * (scale * im_ref_int8_scale(w, n));
}

/* Of one thread: a row of A in f32, and its integers. */
typedef struct { float *row; int8_t *q; } room;

static size_t room_bytes(int k)
{
    return (size_t)k * (sizeof(float) + 1);
}

static room room_of(char *scratch, int k, int thread)
{
    float *row = (float *)(void *)(scratch + (size_t)thread * ((room_bytes(k) + 63) / 64 * 64));
    return (room){ row, (int8_t *)(row + k) };
}

static char *scratch_for(im_device *dev, int k)
{
    return im_scratch(dev, im_threads_of(dev), (size_t)im_threads_of(dev) * ((room_bytes(k) + 63) / 64 * 64));
}

/* ---------------------------------------------------------------- linear layers */

typedef struct { const im_gemm_args *p; char *scratch; } gemm_job;

static void gemm_row(const void *arg, int64_t m, int thread)
{
    const gemm_job *j = arg;
    const im_gemm_args *p = j->p;
    room r = room_of(j->scratch, p->k, thread);
    for (int k = 0; k < p->k; k++)
        r.row[k] = im_ref_at(p->a, m * p->lda + k);
    float scale = integers(r.row, p->k, p->k, im_int8_multipliers(&p->b), r.q);
    for (int n = 0; n < p->n; n++) {
        float y = product(&p->b, n, r.q, scale) + (p->bias ? p->bias[n] : 0);
        double out = y;
        if (p->geglu)
            out *= im_ref_activate(IM_ACT_GELU, product(&p->b, p->n + n, r.q, scale) + (p->bias ? p->bias[p->n + n] : 0));
        else
            out = im_ref_activate(p->act, out);
        if (p->res.p)
            out += im_ref_at(p->res, m * p->ldres + n);
        im_ref_put(p->c, m * p->ldc + n, out, false);
    }
}

int im_ref_gemm_int8(im_device *dev, const im_gemm_args *p)
{
    gemm_job j = { p, scratch_for(dev, p->k) };
    return j.scratch ? im_ref_each(dev, p->m, gemm_row, &j) : IM_NO_MEMORY;
}

/* ---------------------------------------------------------------- convolutions */

typedef struct { const im_conv_args *p; char *scratch; } conv_job;

/* The window of an output pixel; zeros outside of the picture. */
static void window(const im_conv_args *p, int b, int oy, int ox, float *row)
{
    for (int i = 0; i < p->kh; i++)
        for (int j = 0; j < p->kw; j++, row += p->cin) {
            int uy = oy * p->stride + i - p->pad_top, ux = ox * p->stride + j - p->pad_left;
            if (uy < 0 || uy >= p->up_h || ux < 0 || ux >= p->up_w) {
                memset(row, 0, (size_t)p->cin * sizeof *row);
                continue;
            }
            int64_t sy = (int64_t)uy * p->h / p->up_h, sx = (int64_t)ux * p->w / p->up_w;
            for (int c = 0; c < p->cin; c++)
                row[c] = im_ref_at(p->x, ((b * (int64_t)p->h + sy) * p->w + sx) * p->cin + c);
        }
}

static void conv_pixel(const void *arg, int64_t index, int thread)
{
    const conv_job *j = arg;
    const im_conv_args *p = j->p;
    int ox = (int)(index % p->ow), oy = (int)(index / p->ow % p->oh), b = (int)(index / p->ow / p->oh);
    room r = room_of(j->scratch, p->wt.k, thread);
    window(p, b, oy, ox, r.row);
    float scale = integers(r.row, p->wt.k, p->cin, im_int8_multipliers(&p->wt), r.q);
    for (int n = 0; n < p->cout; n++) {
        float y = product(&p->wt, n, r.q, scale);
        if (p->bias)
            y += p->bias[n];
        if (p->chan.p)
            y += im_ref_at(p->chan, b * p->ldchan + n);
        if (p->res.p)
            y += im_ref_at(p->res, index * p->cout + n);
        im_ref_put(p->y, index * p->cout + n, (double)y, false);
    }
}

int im_ref_conv_int8(im_device *dev, const im_conv_args *p)
{
    conv_job j = { p, scratch_for(dev, p->wt.k) };
    return j.scratch ? im_ref_each(dev, (int64_t)p->batch * p->oh * p->ow, conv_pixel, &j) : IM_NO_MEMORY;
}
