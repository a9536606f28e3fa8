/* conv_backward.cu: the two gradients of a convolution (ref/conv_backward.c has the formulas, cpu/conv_dx.c the order of
 * the sums). Called by ops/conv.c.
 *
 * dx: convolutions of dy with turned weights (conv.cu). Stride s: pixels with the same (iy mod s, ix mod s) meet the same
 *     taps, so there are s x s convolutions of stride 1, each of which writes every s-th pixel. Enlarged: the gradient of
 *     the enlarged picture, then the sum over the copies of each pixel.
 * dw: a product over output pixels of dy and the windows, which are fetched where they lie (outer.cuh, outer_mma.cuh). */
#include "cuda/conv.cuh"
#include "cuda/outer_mma.cuh"

/* Along one axis: pixels first, first + s ... (count of them) meet `taps` taps, the last of which is `last`. */
struct phase { int first, count, taps, last, pad; };

static phase phase_of(int nth, int stride, int size, int kernel, int pad)
{
    int tap0 = (nth + pad) % stride, taps = tap0 < kernel ? (kernel - 1 - tap0) / stride + 1 : 0;
    return phase{ nth, nth < size ? (size - 1 - nth) / stride + 1 : 0, taps, tap0 + (taps - 1) * stride,
                  taps - 1 - (nth + pad - tap0) / stride };
}

/* The convolution of dy that makes the pixels of a phase. */
static conv_call turned(const im_device *dev, const im_conv_dx_args *d, const phase *v, const phase *u)
{
    int64_t tap = d->cin, row = (int64_t)d->kw * d->cin, line = (int64_t)d->w * d->cin;
    weight_view w = { d->wt.data, d->wt.dtype, v->last * row + u->last * tap, 1, -d->stride * row, -d->stride * tap,
                      d->wt.ld, u->taps, d->cout, rounds(dev, d->wt.dtype) };
    im_cbuf old = { d->add ? d->dx.p : NULL, d->dx.t }, none = { NULL, IM_F32 };
    return conv_call{ IM_CUDA_SLOT_conv_dx, d->batch, d->oh, d->ow, d->cout, d->cin, v->taps, u->taps, v->count,
                      u->count, 1, v->pad, u->pad, d->oh, d->ow, d->dy, w, { NULL, none, old, IM_ACT_NONE }, 0, d->dx,
                      v->first * line + u->first * tap, d->h * line, d->stride * line, d->stride * tap };
}

/* Without enlargement. */
static int plain_dx(im_device *dev, const im_conv_dx_args *d)
{
    bool always, may = im_cuda_winograd(dev, &always) && d->stride == 1 && d->kh == 3 && d->kw == 3;
    may = may && !mma_takes(dev, IM_CUDA_SLOT_conv_dx, d->wt.dtype);
    bool forward = d->cout >= 64 && (int64_t)d->h * d->w >= 49;
    int failed = 0, s = d->stride;
    if (may && (always || forward || winograd_pays(d->cout, d->cin, d->h, d->w))) {
        phase v = phase_of(0, 1, d->h, 3, d->pad_top), u = phase_of(0, 1, d->w, 3, d->pad_left);
        conv_call c = turned(dev, d, &v, &u);
        return im_cuda_winograd_run(dev, &c);
    }
    if (s > 1 && (d->kh < s || d->kw < s) && !d->add)          /* some pixels meet no tap                              */
        failed = im_cu_fill(im_cuda_stream(dev), d->dx.p, 0,
                            (size_t)d->batch * d->h * d->w * d->cin * im_dtype_size(d->dx.t));
    for (int i = 0; i < s * s && !failed; i++) {
        phase v = phase_of(i / s, s, d->h, d->kh, d->pad_top), u = phase_of(i % s, s, d->w, d->kw, d->pad_left);
        conv_call c = turned(dev, d, &v, &u);
        if (v.count && u.count && v.taps && u.taps)
            failed = im_cuda_conv_run(dev, &c);
    }
    return im_cuda_done(dev, failed);
}

/* First of the enlarged rows (or columns) that show row i. */
DEV int first_copy(int i, int size, int enlarged) { return (int)(((int64_t)i * enlarged + size - 1) / size); }

KERNEL(THREADS) fold_kernel(GRID im_conv_dx_args d, const float *du)   /* du (batch, up_h, up_w, cin)                   */
{
    int64_t i = thread_of_grid(), pixel = i / d.cin;
    int c = (int)(i % d.cin), ix = (int)(pixel % d.w), iy = (int)(pixel / d.w % d.h);
    int64_t b = pixel / d.w / d.h;
    if (b >= d.batch)
        return;
    float s = 0.0f;
    for (int uy = first_copy(iy, d.h, d.up_h); uy < first_copy(iy + 1, d.h, d.up_h); uy++)
        for (int ux = first_copy(ix, d.w, d.up_w); ux < first_copy(ix + 1, d.w, d.up_w); ux++)
            s = s + du[((b * d.up_h + uy) * d.up_w + ux) * d.cin + c];
    put(d.dx, i, s, d.add);
}

static int enlarged_dx(im_device *dev, const im_conv_dx_args *d)
{
    im_conv_dx_args wide = *d;
    size_t bytes = (size_t)d->batch * d->up_h * d->up_w * d->cin * sizeof(float);
    float *du = (float *)dev->s.alloc(dev, bytes);
    if (!du)
        return IM_NO_MEMORY;
    wide.h = d->up_h;
    wide.w = d->up_w;
    wide.dx = im_buf{ du, IM_F32 };
    wide.add = false;
    int status = plain_dx(dev, &wide);
    int64_t n = (int64_t)d->batch * d->h * d->w * d->cin;
    status = status ? status : im_cuda_done(dev, RUN(dev, im_cuda_blocks(n, THREADS), THREADS, fold_kernel, *d, du));
    dev->s.free(dev, du, bytes);
    return status;
}

int im_cuda_conv_dx(im_device *dev, const im_conv_dx_args *d)
{
    if (im_cuda_stopped(dev))
        return IM_STOPPED;
    return d->up_h == d->h && d->up_w == d->w ? plain_dx(dev, d) : enlarged_dx(dev, d);
}

struct dw_job {
    int64_t m; int ni, nj, chunk;
    im_conv_dw_args d;
    im_cbuf x, y;                                              /* dy and x of d                                        */
    bool round, bf16, a_direct, b_direct;
    struct column { int ky, kx, c; };
    MEMBER column column_of(int j) const { return { j / d.cin / d.kw, j / d.cin % d.kw, j % d.cin }; }
    MEMBER float a(int64_t row, int i) const { return factor(round, load(d.dy, row * d.cout + i)); }
    MEMBER int64_t place(int64_t row, column k) const          /* in x; -1: in the padding                             */
    {
        int pixels = d.oh * d.ow, image = (int)(row / pixels), at = (int)(row - (int64_t)image * pixels);
        int sy = source_of(at / d.ow * d.stride + k.ky - d.pad_top, d.h, d.up_h);
        int sx = source_of(at % d.ow * d.stride + k.kx - d.pad_left, d.w, d.up_w);
        return sy < 0 || sx < 0 ? -1 : (((int64_t)image * d.h + sy) * d.w + sx) * d.cin + k.c;
    }
    MEMBER float b(int64_t row, column k) const
    {
        int64_t at = place(row, k);
        return at < 0 ? 0.0f : factor(round, load(d.x, at));
    }
    MEMBER const void *a8(int64_t row, int i) const { return (const uint16_t *)d.dy.p + row * d.cout + i; }
    MEMBER const void *b8(int64_t row, column k) const
    {
        int64_t at = place(row, k);
        return at < 0 ? NULL : (const uint16_t *)d.x.p + at;
    }
    MEMBER void finish(int i, int j, float sum) const
    {
        float *to = d.dw + (int64_t)i * nj + j;
        *to = d.add ? *to + sum : sum;
    }
};

int im_cuda_conv_dw(im_device *dev, const im_conv_dw_args *d)
{
    bool always, may = im_cuda_winograd(dev, &always) && d->stride == 1 && d->kh == 3 && d->kw == 3;
    if (im_cuda_stopped(dev))
        return IM_STOPPED;
    im_dtype half = outer_half(dev, d->dy, d->x);
    im_cuda_cores cores = outer_cores(dev, IM_CUDA_SLOT_conv_dw, half);
    if (!cores && may && (always || winograd_pays(d->cin, d->cout, d->oh, d->ow)))
        return im_cuda_winograd_dw(dev, d);
    dw_job j = { (int64_t)d->batch * d->oh * d->ow, d->cout, d->kh * d->kw * d->cin, IM_DW_CHUNK, *d, d->dy, d->x,
                 dev->compute_dtype == IM_BF16, half == IM_BF16, d->dy.t == half && aligned16(d->dy.p) && d->cout % 8 == 0,
                 d->x.t == half && aligned16(d->x.p) && d->cin % 8 == 0 };
    if (cores)
        return run_outer_mma(dev, j, cores);
    return im_cuda_done(dev, run_outer(dev, j, 1));
}
