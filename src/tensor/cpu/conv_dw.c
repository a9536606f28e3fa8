/* conv_dw.c: the gradient of a convolution's weights: dw[n][(kh, kw, cin)] = sum over output pixels m of dy[m][n] times
 * the window of m, a product over rows (outer.c) whose second factor is packed from the picture block by block; the matrix
 * of windows is never stored. 3x3 convolutions of stride 1 go through Winograd where the forward pass does
 * (winograd_dw.c). Used by ops/conv.c. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/outer.h"

static const float zeros[16];

/* Where output pixel m begins. */
typedef struct place { int64_t image; int oy, ox; } place;

static place place_of(const im_conv_dw_args *d, int64_t m)
{
    return (place){ m / d->ow / d->oh, (int)(m / d->ow % d->oh), (int)(m % d->ow) };
}

static void next(const im_conv_dw_args *d, place *p)
{
    if (++p->ox < d->ow)
        return;
    p->ox = 0;
    if (++p->oy == d->oh) {
        p->oy = 0;
        p->image++;
    }
}

/* 16 columns of the windows: the first is (ky, kx, channel), `skip` values into row ky of the window. */
typedef struct group { int ky, kx, channel, skip, n; } group;

enum { MAX_GROUPS = 64 };

static int groups_of(const im_conv_dw_args *d, const im_outer_pack *q, group *g)
{
    int n = 0, run = d->kw * d->cin;
    for (int j = q->j0; j < q->j1; j += 16)
        g[n++] = (group){ j / run, j % run / d->cin, j % d->cin, j % run, q->j1 - j < 16 ? q->j1 - j : 16 };
    return n;
}

/* cin a multiple of 16: a group is 16 channels of one pixel. */
static const float *pixel(const im_conv_dw_args *d, const place *p, const group *g)
{
    int uy = p->oy * d->stride + g->ky - d->pad_top, ux = p->ox * d->stride + g->kx - d->pad_left;
    if (uy < 0 || ux < 0 || uy >= d->up_h || ux >= d->up_w)
        return zeros;
    if (d->up_h != d->h || d->up_w != d->w) {
        uy = (int)((int64_t)uy * d->h / d->up_h);
        ux = (int)((int64_t)ux * d->w / d->up_w);
    }
    return d->x + ((p->image * d->h + uy) * d->w + ux) * d->cin + g->channel;
}

/* Any cin: the group gathered piece by piece, pieces being what neighbours in memory. */
static v16 gather(const im_conv_dw_args *d, const place *p, const group *g)
{
    float out[32];
    bool plain = d->up_h == d->h && d->up_w == d->w;
    int run = d->kw * d->cin, ky = g->ky, skip = g->skip;
    v_store(out, v_zero());
    for (int done = 0; done < g->n; ky++, skip = 0) {
        int len = run - skip < g->n - done ? run - skip : g->n - done, uy = p->oy * d->stride + ky - d->pad_top;
        int64_t left = (int64_t)(p->ox * d->stride - d->pad_left) * d->cin + skip, all = (int64_t)d->up_w * d->cin;
        if (uy >= 0 && uy < d->up_h && plain) {
            int lo = left < 0 ? (int)(-left < len ? -left : len) : 0;
            int hi = all - left < len ? all - left < lo ? lo : (int)(all - left) : len;
            const float *x = d->x + (p->image * d->h + uy) * d->w * d->cin + left + lo;
            v_store_n(out + done + lo, v_load_n(x, hi - lo), hi - lo);
        } else if (uy >= 0 && uy < d->up_h) {
            const float *row = d->x + (p->image * d->h + (int64_t)uy * d->h / d->up_h) * d->w * d->cin;
            for (int i = 0; i < len; i++) {
                int64_t ux = left + i < 0 ? -1 : (left + i) / d->cin;
                if (ux >= 0 && ux < d->up_w)
                    out[done + i] = row[ux * d->w / d->up_w * d->cin + (left + i) % d->cin];
            }
        }
        done += len;
    }
    return v_load(out);
}

static void pack_windows(const void *args, const im_outer_pack *q, im_outer_mode mode)
{
    const im_conv_dw_args *d = args;
    group g[MAX_GROUPS];
    int groups = groups_of(d, q, g), unit = mode == IM_OUTER_PAIRS ? 2 : 1;
    bool whole = d->cin % 16 == 0;
    place p = place_of(d, q->m0), p2 = p;
    for (int s = 0; s < q->rows; s += unit, p = p2, next(d, &p)) {
        float *dst = q->dst + s / unit * 16;
        bool two = unit == 2 && s + 1 < q->rows;
        p2 = p;
        if (two)
            next(d, &p2);
        for (int i = 0; i < groups; i++, dst += q->apart) {
            v16 v = whole ? v_load(pixel(d, &p, &g[i])) : gather(d, &p, &g[i]);
            if (mode == IM_OUTER_PAIRS)
                v = v_bf16_pairs(v, !two ? v_zero() : whole ? v_load(pixel(d, &p2, &g[i])) : gather(d, &p2, &g[i]));
            v_store(dst, v);
        }
    }
}

int IM_FN(im_cpu_conv_dw)(im_device *dev, const im_conv_dw_args *d)
{
    int64_t m = (int64_t)d->batch * d->oh * d->ow;
    int k = d->kh * d->kw * d->cin;
    bool rows = d->kh * d->kw * d->stride == 1 && d->oh == d->h && d->ow == d->w && d->up_h == d->h && d->up_w == d->w
             && !d->pad_top && !d->pad_left;                   /* 1x1: windows are pixels */
    return IM_FN(im_outer_run)(dev, &(im_outer){
        .m = m, .ni = d->cout, .nj = k, .pack_a = IM_FN(im_outer_pack_rows), .pack_b = rows ? IM_FN(im_outer_pack_rows)
        : pack_windows, .a = &(im_outer_rows){ d->dy, d->cout, d->cout },
        .b = rows ? (const void *)&(im_outer_rows){ d->x, d->cin, d->cin } : d, .c = d->dw, .ldc = k, .add = d->add });
}
