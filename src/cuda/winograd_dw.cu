/* winograd_dw.cu: the gradient of the weights of 3x3 convolutions of stride 1 by Winograd (cpu/winograd_dw.c):
 *
 *     dg = G^T [ sum over tiles (A dY A^T) . (B^T d B) ] G
 *
 * A thread a channel of a tile makes V of x and Z of dy; 36 products over tiles (outer.cuh, chunks of 128 tiles, part of
 * the definition); a thread a channel of a filter transforms back. Tiles go in parts of whole chunks; between the parts U
 * waits in memory and is added to, so that the order of the sums stays. */
#include "cuda/conv.cuh"
#include "cuda/outer.cuh"
#include "cuda/winograd.cuh"

enum { CHUNK = 128 };

struct dw_call {
    im_conv_dw_args d;
    int across, down;
    int64_t tile0, tiles;                                      /* of this part                                         */
    float *v, *z, *u;                                          /* [36][tiles][cin], [36][tiles][cout], [36][cout][cin] */
};

KERNEL(THREADS) dw_inputs(GRID dw_call w)
{
    int64_t i = thread_of_grid(), all = w.tiles * w.d.cin;
    if (i >= all)
        return;
    wino_input_tile(w.d, w.across, w.down, w.tile0, all, i, w.v);
}

KERNEL(THREADS) dw_outputs(GRID dw_call w)
{
    int64_t i = thread_of_grid(), all = w.tiles * w.d.cout;
    if (i >= all)
        return;
    int n = (int)(i % w.d.cout);
    int64_t tile = w.tile0 + i / w.d.cout, b = tile / w.across / w.down;
    int oy = (int)(tile / w.across % w.down) * WINO_OUT, ox = (int)(tile % w.across) * WINO_OUT;
    float t[WINO_OUT * WINO_IN], d[WINO_IN];
    for (int col = 0; col < WINO_OUT; col++) {
        for (int row = 0; row < WINO_OUT; row++) {
            bool in = oy + row < w.d.oh && ox + col < w.d.ow;
            d[row] = in ? load(w.d.dy, ((b * w.d.oh + oy + row) * w.d.ow + ox + col) * w.d.cout + n) : 0.0f;
        }
        wino_dy(d, 1, t + WINO_IN * col, 1);
    }
    for (int row = 0; row < WINO_IN; row++) {
        wino_dy(t + row, WINO_IN, d, 1);
        for (int col = 0; col < WINO_IN; col++)
            w.z[(WINO_IN * row + col) * all + i] = d[col];
    }
}

/* One chunk of tiles at all points; u (+)= its sum. */
struct dw_product {
    int64_t m; int ni, nj, chunk;
    int64_t tiles;
    const float *z, *v; float *u;
    bool first;
    typedef int column;
    MEMBER column column_of(int j) const { return j; }
    MEMBER float a(int64_t t, int i) const { return z[(blockIdx.z * tiles + t) * ni + i]; }
    MEMBER float b(int64_t t, column j) const { return v[(blockIdx.z * tiles + t) * nj + j]; }
    MEMBER void finish(int i, int j, float sum) const
    {
        float *to = u + ((int64_t)blockIdx.z * ni + i) * nj + j;
        *to = first ? sum : *to + sum;
    }
};

KERNEL(THREADS) dw_filters(GRID dw_call w)
{
    int64_t i = thread_of_grid(), all = (int64_t)w.d.cout * w.d.cin;
    if (i >= all)
        return;
    float t[3 * WINO_IN], d[WINO_IN];
    for (int row = 0; row < WINO_IN; row++) {                  /* along the rows, then down the columns                */
        for (int col = 0; col < WINO_IN; col++)
            d[col] = w.u[(WINO_IN * row + col) * all + i];
        wino_dw(d, 1, t + row, WINO_IN);
    }
    for (int col = 0; col < 3; col++) {
        wino_dw(t + WINO_IN * col, 1, d, 1);
        for (int row = 0; row < 3; row++) {
            float *to = w.d.dw + (i / w.d.cin * 9 + 3 * row + col) * w.d.cin + i % w.d.cin;
            *to = w.d.add ? *to + d[row] : d[row];
        }
    }
}

static int part(im_device *dev, const dw_call *w)
{
    int failed = RUN(dev, im_cuda_blocks(w->tiles * w->d.cin, THREADS), THREADS, dw_inputs, *w);
    failed = failed || RUN(dev, im_cuda_blocks(w->tiles * w->d.cout, THREADS), THREADS, dw_outputs, *w);
    for (int64_t t = 0; t < w->tiles && !failed; t += CHUNK) {
        int64_t n = w->tiles - t < CHUNK ? w->tiles - t : (int64_t)CHUNK;
        dw_product j = { n, w->d.cout, w->d.cin, CHUNK, w->tiles, w->z + t * w->d.cout, w->v + t * w->d.cin, w->u,
                         w->tile0 + t == 0 };
        failed = run_outer(dev, j, WINO_POINTS);
    }
    return failed;
}

int im_cuda_winograd_dw(im_device *dev, const im_conv_dw_args *p)
{
    enum { VZ_BYTES = 128 << 20 };
    dw_call w = { *p, (p->ow + WINO_OUT - 1) / WINO_OUT, (p->oh + WINO_OUT - 1) / WINO_OUT, 0, 0, NULL, NULL, NULL };
    int64_t tiles = (int64_t)p->batch * w.across * w.down, point = WINO_POINTS * (int64_t)sizeof(float);
    int64_t some = VZ_BYTES / (point * (p->cin + p->cout)) / CHUNK * CHUNK, most = some < CHUNK ? (int64_t)CHUNK : some;
    most = most < tiles ? most : tiles;
    w.u = (float *)im_cuda_workspace(dev, (size_t)(point * ((int64_t)p->cout * p->cin + most * (p->cin + p->cout))));
    if (!w.u)
        return IM_NO_MEMORY;
    w.v = w.u + WINO_POINTS * (int64_t)p->cout * p->cin;
    w.z = w.v + WINO_POINTS * most * p->cin;
    int failed = 0;
    for (w.tile0 = 0; w.tile0 < tiles && !failed; w.tile0 += most) {
        w.tiles = tiles - w.tile0 < most ? tiles - w.tile0 : most;
        failed = part(dev, &w);
    }
    int64_t all = (int64_t)p->cout * p->cin;
    return im_cuda_done(dev, failed || RUN(dev, im_cuda_blocks(all, THREADS), THREADS, dw_filters, w));
}
