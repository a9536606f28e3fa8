/* narrow_dw.c: the gradient of the weights of convolutions with few input channels: the first layer of every network.
 *
 * Windows of such pictures are short runs of kw * cin values; to pack them (conv_dw.c) costs as much as to multiply them.
 * Here they are read where they lie: with A = x and B = dy, dw[n][(ky, r)] = sum_m x[ky][m * stride * cin + r] dy[m][n], so
 * that a tile of micro_outer.c takes kw * cin (or a part of it) values of x a step, broadcast, against 32 output channels.
 * Only the picture's rows are copied once, with zeros at their ends; what is held in 16 bits becomes f32 on the
 * way. Chunks, sums and so bits are those of outer.c. */
#include "tensor/cpu/buffer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/narrow.h"
#include "tensor/cpu/outer.h"
#include "tensor/parallel.h"

#include <string.h>

enum { FEW_CHANNELS = 12 };
static const size_t partial_most = 64u << 20;                  /* bytes of chunks that wait                            */

typedef struct job {
    im_device *dev;
    const im_conv_dw_args *d;
    const im_outer_micros *micro;
    int64_t m;
    int k, run, chunks, strips;                  /* of a window: kh * kw * cin and kw * cin values                     */
    int64_t line;                                /* floats of a copied row                                             */
    float *partial;                              /* (chunks, k, cout)                                                  */
} job;

static job job_of(im_device *dev, const im_conv_dw_args *d)
{
    job j = { .dev = dev, .d = d, .run = d->kw * d->cin };
    j.m = (int64_t)d->batch * d->oh * d->ow;
    j.k = d->kh * j.run;
    j.chunks = (int)((j.m + IM_DW_CHUNK - 1) / IM_DW_CHUNK);
    j.strips = (d->cout + IM_STRIP - 1) / IM_STRIP;
    j.line = ((int64_t)(d->ow - 1) * d->stride + d->kw) * d->cin;
    return j;
}

/* The window's rows, and behind them, where dy is not held in f32, a row of a strip of it. */
static size_t line_floats(const job *j)
{
    const im_conv_dw_args *d = j->d;
    return (size_t)d->kh * (size_t)j->line + (d->dy.t != IM_F32 ? (size_t)d->ow * IM_STRIP : 0);
}

static size_t partial_bytes(const job *j)
{
    return (size_t)j->chunks * (size_t)j->k * (size_t)j->d->cout * sizeof(float);
}

bool IM_FN(im_narrow_takes_dw)(const im_conv_dw_args *d)
{
    job j = job_of(NULL, d);
    return d->cin <= FEW_CHANNELS && d->cout % IM_PANEL == 0 && partial_bytes(&j) <= partial_most;
}

/* n values of x from place i on. */
static void to_f32(im_cbuf x, int64_t i, int64_t n, float *dst)
{
    if (x.t == IM_F32) {
        memcpy(dst, (const float *)x.p + i, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t k = 0; k < n; k += 16) {
        int left = n - k < 16 ? (int)(n - k) : 16;
        v_store_part(dst + k, load_as(x.t, x.p, i + k, left), left);
    }
}

/* Columns ux .. ux+n-1 of row uy of the enlarged picture, zero outside of it. */
static void copy_line(const im_conv_dw_args *d, int64_t image, int uy, int ux, int n, float *dst)
{
    int lo = ux < 0 ? (-ux < n ? -ux : n) : 0, hi = d->up_w - ux < n ? d->up_w - ux : n;
    if (uy < 0 || uy >= d->up_h || hi < lo)
        lo = hi = n;
    size_t pixel = (size_t)d->cin * sizeof *dst;
    int64_t row = (image * d->h + (lo < hi ? (int64_t)uy * d->h / d->up_h : 0)) * d->w * d->cin;
    memset(dst, 0, (size_t)lo * pixel);
    if (d->up_w == d->w && lo < hi)
        to_f32(d->x, row + (int64_t)(ux + lo) * d->cin, (int64_t)(hi - lo) * d->cin, dst + lo * d->cin);
    for (int i = lo; d->up_w != d->w && i < hi; i++)
        to_f32(d->x, row + (int64_t)(ux + i) * d->w / d->up_w * d->cin, d->cin, dst + i * d->cin);
    memset(dst + (int64_t)hi * d->cin, 0, (size_t)(n - hi) * pixel);
}

/* Pixels m .. m+n-1, of one output row: adds to sums (k, 32). */
static void run_span(const job *j, int64_t m, int n, int strip, bool first, float *lines, float *sums)
{
    const im_conv_dw_args *d = j->d;
    int oy = (int)(m / d->ow % d->oh), ox = (int)(m % d->ow), pieces = (j->run + IM_MR - 1) / IM_MR;
    int panels = d->cout - strip * IM_STRIP > IM_PANEL ? 2 : 1;
    const float *dy = (const float *)d->dy.p + m * d->cout + strip * IM_STRIP;
    im_outer_tile q = { .steps = n, .lda = (int64_t)d->stride * d->cin, .ldb = d->cout };
    if (d->dy.t != IM_F32) {
        float *to = lines + d->kh * j->line;
        for (int i = 0; i < n; i++)
            to_f32(d->dy, (m + i) * d->cout + strip * IM_STRIP, panels * IM_PANEL, to + i * IM_STRIP);
        dy = to;
        q.ldb = IM_STRIP;
    }
    for (int ky = 0; ky < d->kh; ky++) {
        float *line = lines + ky * j->line;
        copy_line(d, m / d->ow / d->oh, oy * d->stride + ky - d->pad_top, ox * d->stride - d->pad_left,
                  (n - 1) * d->stride + d->kw, line);
        for (int p = 0; p < pieces; p++) {
            int r0 = j->run * p / pieces, rows = j->run * (p + 1) / pieces - r0;
            for (int part = 0; part < panels; part += IM_NV) {
                int wide = panels - part < IM_NV ? panels - part : IM_NV;
                q.a = line + r0;
                q.b[0] = dy + part * IM_PANEL;
                q.b[1] = q.b[0] + (wide - 1) * IM_PANEL;
                q.out = sums + (ky * j->run + r0) * IM_STRIP + part * IM_PANEL;
                q.in = first ? NULL : q.out;
                j->micro->tile[wide - 1][rows - 1](&q);
            }
        }
    }
}

static void chunk_task(void *arg, int index, int thread)       /* a chunk of pixels, a strip of output channels */
{
    const job *j = arg;
    const im_conv_dw_args *d = j->d;
    int chunk = index / j->strips, strip = index % j->strips, n;
    float *lines = im_scratch(j->dev, thread, 0), *sums = lines + line_floats(j);
    int64_t m0 = (int64_t)chunk * IM_DW_CHUNK, m1 = j->m - m0 < IM_DW_CHUNK ? j->m : m0 + IM_DW_CHUNK;
    for (int64_t m = m0; m < m1; m += n) {
        n = (int)(d->ow - m % d->ow < m1 - m ? d->ow - m % d->ow : m1 - m);
        run_span(j, m, n, strip, m == m0, lines, sums);
    }
    float *out = j->partial + (int64_t)chunk * j->k * d->cout + strip * IM_STRIP;
    int cols = d->cout - strip * IM_STRIP < IM_STRIP ? d->cout - strip * IM_STRIP : IM_STRIP;
    for (int k = 0; k < j->k; k++)
        memcpy(out + (int64_t)k * d->cout, sums + k * IM_STRIP, (size_t)cols * sizeof(float));
}

static void add_task(void *arg, int k, int thread)             /* one value of the window, all output channels */
{
    const job *j = arg;
    const im_conv_dw_args *d = j->d;
    const float *part = j->partial + (int64_t)k * d->cout;
    (void)thread;
    for (int n = 0; n < d->cout; n += IM_PANEL) {
        float out[IM_PANEL];
        v16 s = v_load(part + n);
        for (int c = 1; c < j->chunks; c++)
            s = v_add(s, v_load(part + (int64_t)c * j->k * d->cout + n));
        v_store(out, s);
        for (int i = 0; i < IM_PANEL; i++) {
            float *dw = d->dw + (int64_t)(n + i) * j->k + k;
            *dw = d->add ? *dw + out[i] : out[i];
        }
    }
}

int IM_FN(im_narrow_dw)(im_device *dev, const im_conv_dw_args *d)
{
    job j = job_of(dev, d);
    size_t each = (line_floats(&j) + (size_t)j.k * IM_STRIP) * sizeof(float);
    j.micro = IM_FN(im_outer_tiles)(IM_COMPUTE_F32);
    j.partial = im_scratch(dev, im_threads_of(dev), partial_bytes(&j));
    for (int t = 0; t < im_threads_of(dev); t++)
        if (!im_scratch(dev, t, each))
            return IM_NO_MEMORY;
    if (!j.partial)
        return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(dev), j.chunks * j.strips, chunk_task, &j);
    im_parallel_for(im_threads_of(dev), j.k, add_task, &j);
    return dev->stop && *dev->stop ? IM_STOPPED : IM_DONE;
}
