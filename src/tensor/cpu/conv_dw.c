/* conv_dw.c: the gradient of a convolution's weights: dw[n][(kh, kw, cin)] = sum over output pixels m of dy[m][n] times
 * the window of m, a product over rows (outer.c) whose second factor is packed from the picture block by block; the matrix
 * of windows is never stored. 3x3 convolutions of stride 1 go through Winograd where the forward pass does
 * (winograd_dw.c). Used by ops/conv.c. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/narrow.h"
#include "tensor/cpu/outer.h"
#include "tensor/cpu/winograd.h"

/* Some output pixels of one row: ox, ox + 1 ... (n of them). */
typedef struct span { int64_t image; int oy, ox, n; } span;

static span span_of(const im_conv_dw_args *d, int64_t m, int most)
{
    int ox = (int)(m % d->ow), n = d->ow - ox;
    return (span){ m / d->ow / d->oh, (int)(m / d->ow % d->oh), ox, n < most ? n : most };
}

/* 16 columns of the windows (n of them exist): the first is (ky, kx, channel), `skip` values into row ky of the window. */
typedef struct group { int ky, kx, channel, skip, n; } group;

static bool enlarged(const im_conv_dw_args *d)
{
    return d->up_h != d->h || d->up_w != d->w;
}

/* Row ky of the windows that begin at output row oy; NULL outside of the picture. */
static const void *line(const im_conv_dw_args *d, const span *p, int ky)
{
    int uy = p->oy * d->stride + ky - d->pad_top;
    int64_t row = p->image * d->h + (int64_t)uy * d->h / d->up_h;
    return uy < 0 || uy >= d->up_h ? NULL : im_at(d->x.p, d->x.t, row * d->w * d->cin);
}

/* What windows are packed as: f32, or bf16 where x is and that is multiplied. from, to: of x and of dst. */
typedef struct { im_dtype from, to; } forms;

static int clamp(int64_t x, int most)
{
    return x < 0 ? 0 : x > most ? most : (int)x;
}

/* Of pixels i = 0 .. n-1 those for which 0 <= first + i * step and first + i * step + len <= size: from lo to hi - 1. */
static void inside(int64_t first, int64_t step, int64_t len, int64_t size, int n, int *lo, int *hi)
{
    *lo = first >= 0 ? 0 : clamp((-first + step - 1) / step, n);
    *hi = first + len > size ? 0 : clamp((size - len - first) / step + 1, n);
    *hi = *hi < *lo ? *lo : *hi;
}

/* cin a multiple of 16: a group is 16 channels of one pixel. */
IM_INLINE void fill_channels(forms f, const im_conv_dw_args *d, const span *p, const group *g, void *dst)
{
    const void *row = line(d, p, g->ky);
    int ux = p->ox * d->stride + g->kx - d->pad_left, lo = 0, hi = 0;
    if (row)
        inside(ux, d->stride, 1, d->up_w, p->n, &lo, &hi);
    for (int i = 0; i < lo; i++)
        store_as(f.to, dst, i * 16, v_zero(), 16);
    int64_t step = (int64_t)d->stride * d->cin, at = (int64_t)(ux + lo * d->stride) * d->cin + g->channel;
    for (int i = lo; i < hi; i++, at += step) {
        if (enlarged(d))
            at = (int64_t)(ux + i * d->stride) * d->w / d->up_w * d->cin + g->channel;
        if (f.from == f.to)
            copy_as(f.to, dst, i * 16, row, at, 16);
        else
            store_as(f.to, dst, i * 16, load_as(f.from, row, at, 16), 16);
    }
    for (int i = hi; i < p->n; i++)
        store_as(f.to, dst, i * 16, v_zero(), 16);
}

/* Values `skip` .. skip+len-1 of window row ky, from `to` of the group on: what lies outside the picture stays as it is. */
IM_INLINE void fill_piece(forms f, const im_conv_dw_args *d, const span *p, const void *row, int skip, int len, void *dst,
                          int to)
{
    int64_t first = (int64_t)(p->ox * d->stride - d->pad_left) * d->cin + skip, step = (int64_t)d->stride * d->cin;
    int64_t all = (int64_t)d->up_w * d->cin;
    int lo = 0, hi = 0;
    if (!enlarged(d))
        inside(first, step, len, all, p->n, &lo, &hi);
    for (int i = lo; i < hi; i++)                              /* the whole piece lies in the picture */
        store_as(f.to, dst, i * 16 + to, load_as(f.from, row, first + i * step, len), len);
    for (int i = 0; i < p->n; i++)                             /* value by value at the borders */
        for (int k = 0; (i < lo || i >= hi) && k < len; k++) {
            int64_t u = first + i * step + k;
            int64_t at = u / d->cin * d->w / d->up_w * d->cin + u % d->cin;
            if (u >= 0 && u < all)
                store_as(f.to, dst, i * 16 + to + k, load_as(f.from, row, at, 1), 1);
        }
}

IM_INLINE void fill_any(forms f, const im_conv_dw_args *d, const span *p, const group *g, void *dst)
{
    int run = d->kw * d->cin, ky = g->ky, skip = g->skip;
    for (int i = 0; i < p->n; i++)
        store_as(f.to, dst, i * 16, v_zero(), 16);
    for (int done = 0; done < g->n; ky++, skip = 0) {
        int len = run - skip < g->n - done ? run - skip : g->n - done;
        const void *row = line(d, p, ky);
        if (row)
            fill_piece(f, d, p, row, skip, len, dst, done);
        done += len;
    }
}

/* The windows' lines into L2. */
static void fetch_windows(const im_conv_dw_args *d, const im_outer_pack *q)
{
    int run = d->kw * d->cin;
    for (int s = 0; s < q->rows && !enlarged(d); s++) {
        span p = span_of(d, q->m0 + s, 1);
        int64_t left = (int64_t)(p.ox * d->stride - d->pad_left) * d->cin, all = (int64_t)d->w * d->cin;
        for (int j = q->j0; j < q->j1; ) {
            int ky = j / run, skip = j - ky * run, n = run - skip < q->j1 - j ? run - skip : q->j1 - j;
            const void *row = line(d, &p, ky);
            int64_t to = left + skip + n < all ? left + skip + n : all;
            for (int64_t i = left + skip < 0 ? 0 : left + skip; row && i < to; i += line_of(d->x.t))
                prefetch_l2_as(d->x.t, row, i);
            j += n;
        }
    }
}

/* Rows into steps: s (rows, 16) f32 or bf16. */
IM_INLINE void to_steps(im_compute how, im_dtype t, const void *s, int rows, float *dst)
{
    for (int i = 0; i < rows; i += im_per_step(how), dst += 16)
        v_store(dst, v_factors(how, t, s, i * 16, 16, 16, rows - i));
}

IM_INLINE void fill_groups(forms f, const im_conv_dw_args *d, const im_outer_pack *q, im_compute how)
{
    float room[IM_OUTER_ROWS * 16], *dst = q->dst;
    bool steps = im_per_step(how) > 1;                         /* of more rows than one */
    int run = d->kw * d->cin;
    for (int j = q->j0; j < q->j1; j += 16, dst += q->apart) {
        group g = { j / run, j % run / d->cin, j % d->cin, j % run, q->j1 - j < 16 ? q->j1 - j : 16 };
        float *to = steps ? room : dst;
        span p;
        for (int s = 0; s < q->rows; s += p.n) {
            p = span_of(d, q->m0 + s, q->rows - s);
            if (d->cin % 16)
                fill_any(f, d, &p, &g, im_at(to, f.to, s * 16));
            else
                fill_channels(f, d, &p, &g, im_at(to, f.to, s * 16));
        }
        if (steps)
            to_steps(how, f.to, room, q->rows, dst);
    }
}

static void pack_windows(const void *args, const im_outer_pack *q, im_pack_mode mode)
{
    const im_conv_dw_args *d = args;
    im_compute how = (im_compute)mode;
    if (mode == IM_PACK_FETCH)
        fetch_windows(d, q);
    else if (d->x.t == IM_F32)
        fill_groups((forms){ IM_F32, IM_F32 }, d, q, how);
    else if (d->x.t == IM_F16)
        fill_groups((forms){ IM_F16, IM_F32 }, d, q, how);
    else if (how == IM_COMPUTE_BF16)
        fill_groups((forms){ IM_BF16, IM_BF16 }, d, q, how);
    else
        fill_groups((forms){ IM_BF16, IM_F32 }, d, q, how);
}

int IM_FN(im_cpu_conv_dw)(im_device *dev, const im_conv_dw_args *d)
{
    if (IM_FN(im_winograd_takes_dw)(dev, d))
        return IM_FN(im_winograd_dw)(dev, d);
    if (IM_FN(im_narrow_takes_dw)(d))
        return IM_FN(im_narrow_dw)(dev, d);
    int64_t m = (int64_t)d->batch * d->oh * d->ow;
    int k = d->kh * d->kw * d->cin;
    bool rows = d->kh * d->kw * d->stride == 1 && d->oh == d->h && d->ow == d->w && d->up_h == d->h && d->up_w == d->w
             && !d->pad_top && !d->pad_left;                   /* 1x1: windows are pixels */
    return IM_FN(im_outer_run)(dev, &(im_outer){
        .m = m, .ni = d->cout, .nj = k, .a = { d->dy, d->cout }, .b = { { rows ? d->x.p : NULL, d->x.t }, d->cin },
        .pack_b = pack_windows, .args = d, .c = d->dw, .ldc = k, .add = d->add });
}
