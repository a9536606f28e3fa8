/* conv_dx.c: the gradient of a convolution's input: again convolutions, of dy with turned weights.
 *
 *     dx[iy][ix][c] = sum_{i,j,n} dy[(iy + top - i) / s][(ix + left - j) / s][n] w[n][i][j][c]     where s divides
 *
 * Stride 1:  a convolution of stride 1 whose filter c has the taps in reverse order; by Winograd where the forward rule
 *            takes it (winograd.c reads the weights in place), else as implicit GEMM on packed, turned weights.
 * Stride s:  pixels of dx with the same (iy mod s, ix mod s) meet the same taps, every s-th one: s x s convolutions of
 *            stride 1, none of which multiplies a zero that the stride made. Each writes every s-th pixel of dx.
 * Enlarged:  the gradient of the enlarged picture for some pictures at a time, then the sum over the copies of each pixel.
 *
 * A sum is one chain in the order (tap in reverse, cout), then + what is there; enlarged: copies in ascending order, each
 * such a chain, added in f32. */
#include "tensor/cpu/conv.h"
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/pack_weights.h"
#include "tensor/cpu/winograd.h"
#include "tensor/memory.h"
#include "tensor/parallel.h"

#include <stdlib.h>
#include <string.h>

enum { ENLARGED_BYTES = 16 << 20, FILL = 1 << 20 };

/* ---------------------------------------------------------------- one phase: every s-th pixel */

/* Along one axis: pixels first, first + s ... (count of them) meet `taps` taps, the last of which (the first of the turned
 * filter) is `last`; pad as in im_conv_args. */
typedef struct phase { int first, count, taps, last, pad; } phase;

static phase phase_of(int nth, int stride, int size, int kernel, int pad)
{
    int tap0 = (nth + pad) % stride, taps = tap0 < kernel ? (kernel - 1 - tap0) / stride + 1 : 0;
    return (phase){ .first = nth, .count = nth < size ? (size - 1 - nth) / stride + 1 : 0, .taps = taps,
                    .last = tap0 + (taps - 1) * stride, .pad = taps - 1 - (nth + pad - tap0) / stride };
}

/* The convolution of dy that makes these pixels; wt is set by the caller. */
static im_conv_args turned(const im_conv_dx_args *d, const phase *v, const phase *u)
{
    return (im_conv_args){
        .batch = d->batch, .h = d->oh, .w = d->ow, .cin = d->cout, .cout = d->cin, .kh = v->taps, .kw = u->taps,
        .oh = v->count, .ow = u->count, .stride = 1, .pad_top = v->pad, .pad_left = u->pad, .up_h = d->oh, .up_w = d->ow,
        .x = d->dy, .res = { d->add ? d->dx.p : NULL, d->dx.t }, .y = d->dx };
}

/* The turned weights of a phase in panels; tap_at: room for all taps. */
static bool turn_weights(im_device *dev, const im_conv_dx_args *d, const phase *v, const phase *u, int64_t *tap_at,
                         im_weight *out)
{
    int taps = v->taps * u->taps;
    for (int t = 0; t < taps; t++)
        tap_at[t] = (int64_t)((v->last - t / u->taps * d->stride) * d->kw + u->last - t % u->taps * d->stride) * d->cin;
    *out = (im_weight){ .dtype = IM_FN(im_packed_dtype)(dev, &d->wt), .packed = true, .n = d->cin,
                        .k = taps * d->cout };
    im_copy_key key = { .data = d->wt.data, .dtype = out->dtype, .n = out->n, .k = out->k, .ld = d->wt.ld,
                        .taps = { v->taps, u->taps, tap_at[0], d->stride } };
    bool made;
    void *dst = IM_FN(im_panels_of)(dev, &d->wt, &key, im_packed_bytes(out->dtype, out->n, out->k, false), &made);
    out->data = dst;
    if (dst && !made)
        IM_FN(im_pack_columns)(dev, &(im_columns){ .w = d->wt.data, .dtype = d->wt.dtype, .n = d->cin,
                                                   .channels = d->cout, .taps = taps, .lk = d->wt.ld, .tap_at = tap_at },
                               out->dtype, dst);
    return dst != NULL;
}

static int run_phase(im_device *dev, const im_conv_dx_args *d, const phase *v, const phase *u, int64_t *tap_at)
{
    im_conv_args c = turned(d, v, u);
    if (!turn_weights(dev, d, v, u, tap_at, &c.wt))
        return IM_NO_MEMORY;
    int64_t pixel = (int64_t)d->stride * d->cin, line = (int64_t)d->stride * d->w * d->cin;
    im_buf dx = im_buf_at(d->dx, ((int64_t)v->first * d->w + u->first) * d->cin);
    bool rows = c.kh == 1 && c.kw == 1 && !c.pad_top && !c.pad_left && c.oh == c.h && c.ow == c.w;   /* dy is the matrix */
    return IM_FN(im_product_run)(dev, &(im_product){
        .m = (int64_t)c.batch * c.oh * c.ow, .n = c.cout, .k = c.wt.k, .pack = IM_FN(im_conv_pack), .args = &c,
        .a = { rows ? c.x.p : NULL, c.x.t }, .lda = c.cin, .b = c.wt, .res = { d->add ? dx.p : NULL, dx.t },
        .ldres = c.cout, .c = dx, .ldc = c.cout, .act = IM_ACT_NONE,
        .grid = d->stride == 1 ? NULL : &(im_grid){ c.ow, c.oh, pixel, line, (int64_t)d->h * d->w * d->cin } });
}

/* ---------------------------------------------------------------- without enlargement */

typedef struct { char *x; int64_t n; } fill_job;               /* bytes                                               */

static void zero_task(void *arg, int task, int thread)
{
    const fill_job *j = arg;
    int64_t from = (int64_t)task * FILL, n = j->n - from < FILL ? j->n - from : FILL;
    (void)thread;
    memset(j->x + from, 0, (size_t)n);
}

static int by_phases(im_device *dev, const im_conv_dx_args *d)
{
    int64_t *tap_at = malloc((size_t)d->kh * (size_t)d->kw * sizeof *tap_at);
    int status = tap_at ? IM_DONE : IM_NO_MEMORY;
    if (d->stride > 1 && (d->kh < d->stride || d->kw < d->stride) && !d->add) {    /* some pixels meet no tap */
        fill_job f = { d->dx.p, (int64_t)d->batch * d->h * d->w * d->cin * (int64_t)im_dtype_size(d->dx.t) };
        im_parallel_for(im_threads_of(dev), (int)((f.n + FILL - 1) / FILL), zero_task, &f);
    }
    for (int i = 0; !status && i < d->stride * d->stride; i++) {
        phase v = phase_of(i / d->stride, d->stride, d->h, d->kh, d->pad_top);
        phase u = phase_of(i % d->stride, d->stride, d->w, d->kw, d->pad_left);
        if (v.count && u.count && v.taps && u.taps)
            status = run_phase(dev, d, &v, &u, tap_at);
    }
    free(tap_at);
    return status;
}

static int plain_dx(im_device *dev, const im_conv_dx_args *d)
{
    if (d->stride == 1 && d->kh == 3 && d->kw == 3) {
        phase v = phase_of(0, 1, d->h, 3, d->pad_top), u = phase_of(0, 1, d->w, 3, d->pad_left);
        im_conv_args c = turned(d, &v, &u);
        c.wt = (im_weight){ .data = (const char *)d->wt.data + 8 * (size_t)d->cin * im_dtype_size(d->wt.dtype),
                            .dtype = d->wt.dtype, .n = d->cin, .k = 9 * d->cout, .ld = 1, .lk = d->wt.ld,
                            .lt = -d->cin };
        if (IM_FN(im_winograd_takes_dx)(dev, &c))
            return IM_FN(im_winograd_conv)(dev, &c);
    }
    return by_phases(dev, d);
}

/* ---------------------------------------------------------------- enlarged */

typedef struct fold_job { const im_conv_dx_args *d; const float *du; } fold_job;   /* du (batch, up_h, up_w, cin)       */

/* First of the enlarged rows (or columns) that show row i. */
static int first_copy(int i, int size, int enlarged)
{
    return (int)(((int64_t)i * enlarged + size - 1) / size);
}

static void fold_task(void *arg, int row, int thread)          /* one row of dx */
{
    const fold_job *j = arg;
    const im_conv_dx_args *d = j->d;
    int iy = row % d->h, y0 = first_copy(iy, d->h, d->up_h), y1 = first_copy(iy + 1, d->h, d->up_h);
    const float *du = j->du + (int64_t)(row / d->h) * d->up_h * d->up_w * d->cin;
    int64_t at = (int64_t)row * d->w * d->cin;
    (void)thread;
    for (int ix = 0; ix < d->w; ix++, at += d->cin) {
        int x0 = first_copy(ix, d->w, d->up_w), x1 = first_copy(ix + 1, d->w, d->up_w);
        for (int c = 0; c < d->cin; c += 16) {
            int n = d->cin - c < 16 ? d->cin - c : 16;
            v16 s = v_zero();
            for (int uy = y0; uy < y1; uy++)
                for (int ux = x0; ux < x1; ux++)
                    s = v_add(s, v_load_n(du + ((int64_t)uy * d->up_w + ux) * d->cin + c, n));
            put_as(d->dx.t, d->dx.p, at + c, s, n, d->add);
        }
    }
}

static int enlarged_dx(im_device *dev, const im_conv_dx_args *d)
{
    int64_t one = (int64_t)d->up_h * d->up_w * d->cin, fit = ENLARGED_BYTES / (one * (int64_t)sizeof(float));
    int most = fit < 1 ? 1 : fit < d->batch ? (int)fit : d->batch, status = IM_DONE;
    size_t bytes = (size_t)most * (size_t)one * sizeof(float);
    float *du = im_pages_new(bytes);
    if (!du)
        return IM_NO_MEMORY;
    for (int b = 0; !status && b < d->batch; b += most) {
        im_conv_dx_args some = *d, wide;
        some.batch = d->batch - b < most ? d->batch - b : most;
        some.dy = im_cbuf_at(d->dy, (int64_t)b * d->oh * d->ow * d->cout);
        some.dx = im_buf_at(d->dx, (int64_t)b * d->h * d->w * d->cin);
        wide = some;
        wide.h = d->up_h;
        wide.w = d->up_w;
        wide.dx = (im_buf){ du, IM_F32 };
        wide.add = false;
        status = plain_dx(dev, &wide);
        fold_job f = { &some, du };
        if (!status)
            im_parallel_for(im_threads_of(dev), some.batch * d->h, fold_task, &f);
    }
    im_pages_free(du, bytes);
    return status;
}

int IM_FN(im_cpu_conv_dx)(im_device *dev, const im_conv_dx_args *d)
{
    return d->up_h == d->h && d->up_w == d->w ? plain_dx(dev, d) : enlarged_dx(dev, d);
}
