/* conv.cu: convolution as an implicit product (ref/conv.c has the formula): element (pixel, k) of A is fetched from the
 * picture where it lies, no matrix of windows is stored; padding is zeros that are multiplied as on the CPU. 3x3
 * convolutions of stride 1 go through Winograd where the rule of tensor/device.h says so. Called by ops/conv.c. */
#include "cuda/conv.cuh"
#include "cuda/product_mma.cuh"

struct conv_job {
    int64_t m; int n, k;
    bool geglu;
    conv_call c;
    im_cbuf x; weight_view w;                                  /* of c                                                 */
    bool bf16, a_direct, b_direct;
    struct row { int64_t image; int uy, ux; };                 /* first element of the picture; first tap              */
    MEMBER row row_of(int64_t i) const
    {
        int pixels = c.oh * c.ow, b = (int)(i / pixels), at = (int)(i - (int64_t)b * pixels);
        return { (int64_t)b * c.h * c.w * c.cin, at / c.ow * c.stride - c.pad_top, at % c.ow * c.stride - c.pad_left };
    }
    MEMBER int64_t place(row r, int i) const                   /* in x; -1: in the padding                             */
    {
        int tap = i / c.cin, sy = source_of(r.uy + tap / c.kw, c.h, c.up_h), sx = source_of(r.ux + tap % c.kw, c.w, c.up_w);
        return sy < 0 || sx < 0 ? -1 : r.image + ((int64_t)sy * c.w + sx) * c.cin + i % c.cin;
    }
    MEMBER float a(row r, int i) const
    {
        int64_t at = place(r, i);
        return at < 0 ? 0.0f : factor(w.round, load(x, at));
    }
    MEMBER float b(int i, int step) const { return w.at(i, step); }
    MEMBER const void *a8(row r, int i) const
    {
        int64_t at = place(r, i);
        return at < 0 ? NULL : (const uint16_t *)x.p + at;
    }
    MEMBER const void *b8(int i, int step) const { return (const uint16_t *)w.p + w.place(i, step); }
    MEMBER void finish(int64_t i, int col, float sum, float) const
    {
        int pixels = c.oh * c.ow, b = (int)(i / pixels), at = (int)(i - (int64_t)b * pixels);
        int64_t to = c.at + b * c.image + at / c.ow * c.line + at % c.ow * c.pixel + col;
        store(c.y, to, c.e.value(sum, col, b * c.ldchan + col, to));
    }
};

int im_cuda_conv_run(im_device *dev, const conv_call *c)
{
    conv_job j = { (int64_t)c->batch * c->oh * c->ow, c->cout, c->kh * c->kw * c->cin, false, *c, c->x, c->wt,
                   false, false, false };
    im_cuda_cores cores = mma_takes(dev, c->slot, c->wt.t);
    if (!cores)
        return run_product(dev, j, 1);
    im_dtype half = half_of(c->wt.t);
    j.bf16 = half == IM_BF16;
    j.a_direct = c->x.t == half && aligned16(c->x.p) && c->cin % 8 == 0;
    j.b_direct = weight_direct(c->wt, half);
    return run_product_mma(dev, j, cores);
}

int im_cuda_conv(im_device *dev, const im_conv_args *p)
{
    bool always, may = im_cuda_winograd(dev, &always) && p->kh == 3 && p->kw == 3 && p->stride == 1;
    if (p->wt.packed)
        return IM_NO_KERNEL;
    if (im_cuda_stopped(dev))
        return IM_STOPPED;
    int64_t line = (int64_t)p->ow * p->cout;
    conv_call c = { IM_CUDA_SLOT_conv, p->batch, p->h, p->w, p->cin, p->cout, p->kh, p->kw, p->oh, p->ow, p->stride,
                    p->pad_top, p->pad_left, p->up_h, p->up_w, p->x, view_of(dev, &p->wt, p->kw, p->cin),
                    { p->bias, p->chan, p->res, IM_ACT_NONE }, p->ldchan, p->y, 0, p->oh * line, line, p->cout };
    if (may && !mma_takes(dev, c.slot, c.wt.t) && (always || (p->cin >= 64 && (int64_t)p->oh * p->ow >= 49)))
        return im_cuda_winograd_run(dev, &c);
    return im_cuda_done(dev, im_cuda_conv_run(dev, &c));
}
