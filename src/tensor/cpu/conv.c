/* conv.c: convolution as an implicit GEMM (Chetlur et al. 2014, "cuDNN"): row i of A is the window of output pixel i,
 * k = (kh, kw, cin). No such matrix is stored: each task packs the block of windows that it is about to multiply.
 * Channels-last makes a window kh runs of kw * cin neighbouring values, cut and filled with zeros at the borders.
 *
 *     picture, channels last                          row i of A: kh runs of kw * cin values
 *     . . . . . . . .                                 [ run 0        ][ run 1        ][ run 2        ]
 *     . [ run 0 ] . .      pixel (oy, ox) = i   ->     a tap's channels side by side, so a run is one copy;
 *     . [ run 1 ] . .                                  left of the picture and right of it: zeros
 *     . [ run 2 ] . .
 *     . . . . . . . .                                 a task packs 112 or 224 such rows x 240 steps, 105 or 210 KiB, for L2
 *
 * Used by every residual block, down- and upsampler (ops/conv.c). */
#include "tensor/cpu/conv.h"
#include "tensor/cpu/int8.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/windows.h"
#include "tensor/cpu/winograd.h"

/* Values from .. from+n-1 of one picture row of `len` values; what lies outside it is zero. */
IM_INLINE void cut_run(float *dst, int at, im_dtype t, const void *row, int64_t from, int n, int64_t len,
                       im_pack_mode mode)
{
    int before = from < 0 ? (int)(-from < n ? -from : n) : 0;
    int64_t inside = len - (from + before);
    int middle = inside < 0 ? 0 : inside < n - before ? (int)inside : n - before;
    im_pack_zero(dst, at, before, mode);
    im_pack_copy(dst, at + before, t, im_at(row, t, from + before), middle, mode);
    im_pack_zero(dst, at + before + middle, n - before - middle, mode);
}

/* The same in a picture enlarged by nearest neighbour: pixel by pixel. */
IM_INLINE void wide_run(const im_conv_args *c, float *dst, int at, im_dtype t, const void *row, int64_t from, int n,
                        im_pack_mode mode)
{
    for (int done = 0; done < n; ) {
        int64_t at_u = from + done, u = at_u < 0 ? -((c->cin - 1 - at_u) / c->cin) : at_u / c->cin;      /* floor */
        int skip = (int)(from + done - u * c->cin), len = c->cin - skip < n - done ? c->cin - skip : n - done;
        if (u < 0 || u >= c->up_w)
            im_pack_zero(dst, at + done, len, mode);
        else
            im_pack_copy(dst, at + done, t, im_at(row, t, u * c->w / c->up_w * c->cin + skip), len, mode);
        done += len;
    }
}

IM_INLINE void pack_windows(const im_conv_args *c, im_dtype t, float *dst, int64_t row, int rows, int k0, int k1,
                            im_pack_mode mode)
{
    int run = c->kw * c->cin, ox = (int)(row % c->ow), oy = (int)(row / c->ow % c->oh);
    int64_t image = row / c->ow / c->oh;
    for (int i = 0; i < rows; i++, dst += IM_PITCH) {
        const void *x = im_at(c->x.p, t, image * c->h * c->w * c->cin);
        int64_t left = (int64_t)(ox * c->stride - c->pad_left) * c->cin;
        for (int k = k0; k < k1; ) {
            int ky = k / run, skip = k - ky * run, n = run - skip < k1 - k ? run - skip : k1 - k;
            int uy = oy * c->stride + ky - c->pad_top;
            int64_t line = (int64_t)uy * c->h / c->up_h * c->w * c->cin;
            if (uy < 0 || uy >= c->up_h)
                im_pack_zero(dst, k - k0, n, mode);
            else if (c->up_w == c->w)
                cut_run(dst, k - k0, t, im_at(x, t, line), left + skip, n, (int64_t)c->w * c->cin, mode);
            else
                wide_run(c, dst, k - k0, t, im_at(x, t, line), left + skip, n, mode);
            k += n;
        }
        if (++ox == c->ow) {
            ox = 0;
            if (++oy == c->oh) {
                oy = 0;
                image++;
            }
        }
    }
}

IM_INLINE void pack_as(const im_conv_args *c, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode)
{
    switch (c->x.t) {
    case IM_F16:  pack_windows(c, IM_F16, dst, row, rows, k0, k1, mode); break;
    case IM_BF16: pack_windows(c, IM_BF16, dst, row, rows, k0, k1, mode); break;
    default:      pack_windows(c, IM_F32, dst, row, rows, k0, k1, mode);
    }
}

void IM_FN(im_conv_pack)(const im_product *p, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode)
{
    switch (mode) {
#define X(id, name, factors, per_step, words, with) \
    case IM_COMPUTE_##id: pack_as(p->args, dst, row, rows, k0, k1, IM_COMPUTE_##id); break;
    IM_COMPUTES_REAL(X, )
#undef X
    default: pack_as(p->args, dst, row, rows, k0, k1, IM_PACK_FETCH);
    }
}

int IM_FN(im_cpu_conv)(im_device *dev, const im_conv_args *c)
{
    if (IM_FN(im_winograd_takes)(dev, c))
        return IM_FN(im_winograd_conv)(dev, c);
    if (IM_FN(im_windows_take)(dev, c))
        return IM_FN(im_windows_conv)(dev, c);
    int64_t pixels = (int64_t)c->oh * c->ow;
    bool rows = c->kh == 1 && c->kw == 1 && c->stride == 1 && c->oh == c->h && c->ow == c->w && !c->pad_top &&
                !c->pad_left && c->up_h == c->h && c->up_w == c->w;      /* the picture is the matrix */
    if (c->wt.dtype == IM_INT8)
        return IM_FN(im_int8_conv)(dev, c, rows);
    return IM_FN(im_product_run)(dev, &(im_product){
        .m = c->batch * pixels, .n = c->cout, .k = c->kh * c->kw * c->cin, .pack = IM_FN(im_conv_pack), .args = c,
        .a = { rows ? c->x.p : NULL, c->x.t }, .lda = c->cin, .b = c->wt, .bias = c->bias,
        .chan = c->chan, .ldchan = c->ldchan, .chan_rows = pixels, .res = c->res,
        .ldres = c->cout, .c = c->y, .ldc = c->cout, .act = IM_ACT_NONE });
}
