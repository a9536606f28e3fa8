/* winograd.cu: 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3) (cpu/winograd.c draws it): at each of 36 points
 *
 *     M[tile][cout] = sum over cin of V[tile][cin] U[cout][cin]
 *
 * V the inputs of 6x6 pixels around a tile of 4x4 outputs, U the weights, both transformed; M transformed back is y. Four
 * kernels: a thread a channel of a tile (or of a filter) for the transforms, neighbours in channels, so that a warp's
 * accesses lie side by side; product.cuh for the 36 products, one layer of the grid a point. Tiles and filters go in
 * parts, so that the workspace stays below a few hundred MiB; a sum is one chain over cin whatever the parts. */
#include "cuda/conv.cuh"
#include "cuda/winograd.cuh"

struct wino_call {
    conv_call c;
    int across, down;                                          /* tiles of a picture                                   */
    int64_t tile0, tiles;                                      /* of this part                                         */
    int n0, n;                                                 /* filters of this part                                 */
    float *v, *u, *m;                                          /* [36][tiles][cin], [36][n][cin], [36][tiles][n]       */
};

KERNEL(THREADS) wino_inputs(GRID wino_call w)
{
    int64_t i = thread_of_grid(), all = w.tiles * w.c.cin;
    if (i >= all)
        return;
    wino_input_tile(w.c, w.across, w.down, w.tile0, all, i, w.v);
}

KERNEL(THREADS) wino_filters(GRID wino_call w)
{
    int64_t i = thread_of_grid(), all = (int64_t)w.n * w.c.cin;
    if (i >= all)
        return;
    int channel = (int)(i % w.c.cin), n = w.n0 + (int)(i / w.c.cin);
    float t[18], g[WINO_IN];
    for (int col = 0; col < 3; col++) {
        for (int row = 0; row < 3; row++)
            g[row] = w.c.wt.at(n, (3 * row + col) * w.c.cin + channel);
        wino_weights(g, 1, t + WINO_IN * col, 1);
    }
    for (int row = 0; row < WINO_IN; row++) {
        wino_weights(t + row, WINO_IN, g, 1);
        for (int col = 0; col < WINO_IN; col++)
            w.u[(WINO_IN * row + col) * all + i] = g[col];
    }
}

struct wino_product {
    int64_t m; int n, k;
    bool geglu;
    const float *v, *u; float *sums;
    typedef const float *row;
    MEMBER row row_of(int64_t i) const { return v + (blockIdx.z * m + i) * k; }
    MEMBER float a(row r, int i) const { return r[i]; }
    MEMBER float b(int i, int step) const { return u[((int64_t)blockIdx.z * n + i) * k + step]; }
    MEMBER void finish(int64_t i, int col, float sum, float) const { sums[(blockIdx.z * m + i) * n + col] = sum; }
};

KERNEL(THREADS) wino_outputs(GRID wino_call w)
{
    int64_t i = thread_of_grid(), all = w.tiles * w.n;
    if (i >= all)
        return;
    int n = w.n0 + (int)(i % w.n);
    int64_t tile = w.tile0 + i / w.n, b = tile / w.across / w.down;
    int oy = (int)(tile / w.across % w.down) * WINO_OUT, ox = (int)(tile % w.across) * WINO_OUT;
    float t[WINO_OUT * WINO_IN], d[WINO_IN];
    for (int row = 0; row < WINO_IN; row++) {                  /* along the rows, then down the columns                */
        for (int col = 0; col < WINO_IN; col++)
            d[col] = w.m[(WINO_IN * row + col) * all + i];
        wino_output(d, 1, t + row, WINO_IN);
    }
    for (int col = 0; col < WINO_OUT && ox + col < w.c.ow; col++) {
        wino_output(t + WINO_IN * col, 1, d, 1);
        for (int row = 0; row < WINO_OUT && oy + row < w.c.oh; row++) {
            int64_t to = w.c.at + b * w.c.image + (oy + row) * w.c.line + (ox + col) * w.c.pixel + n;
            store(w.c.y, to, w.c.e.value(d[row], n, b * w.c.ldchan + n, to));
        }
    }
}

static int part(im_device *dev, const wino_call *w)
{
    int failed = RUN(dev, im_cuda_blocks(w->tiles * w->c.cin, THREADS), THREADS, wino_inputs, *w);
    wino_product j = { w->tiles, w->n, w->c.cin, false, w->v, w->u, w->m };
    failed = failed || run_product(dev, j, WINO_POINTS);
    return failed || RUN(dev, im_cuda_blocks(w->tiles * w->n, THREADS), THREADS, wino_outputs, *w);
}

int im_cuda_winograd_run(im_device *dev, const conv_call *c)
{
    enum { U_BYTES = 64 << 20, VM_BYTES = 128 << 20 };
    int across = (c->ow + WINO_OUT - 1) / WINO_OUT, down = (c->oh + WINO_OUT - 1) / WINO_OUT;
    wino_call w = { *c, across, down, 0, 0, 0, 0, NULL, NULL, NULL };
    w.c.wt.round = false;                                      /* multiplied in f32, whatever the weights are          */
    int64_t tiles = (int64_t)c->batch * w.across * w.down, point = WINO_POINTS * (int64_t)sizeof(float);
    int64_t some_n = U_BYTES / (point * c->cin), most_n = some_n < 64 ? 64 : some_n < c->cout ? some_n : c->cout;
    int64_t some = VM_BYTES / (point * (c->cin + most_n)), most = some < 64 ? 64 : some < tiles ? some : tiles;
    w.u = (float *)im_cuda_workspace(dev, (size_t)(point * (most_n * c->cin + most * (c->cin + most_n))));
    if (!w.u)
        return IM_NO_MEMORY;
    w.v = w.u + WINO_POINTS * most_n * c->cin;
    w.m = w.v + WINO_POINTS * most * c->cin;
    int failed = 0;
    for (w.n0 = 0; w.n0 < c->cout && !failed; w.n0 += (int)most_n) {
        w.n = c->cout - w.n0 < most_n ? c->cout - w.n0 : (int)most_n;
        failed = RUN(dev, im_cuda_blocks((int64_t)w.n * c->cin, THREADS), THREADS, wino_filters, w);
        for (w.tile0 = 0; w.tile0 < tiles && !failed; w.tile0 += most) {
            w.tiles = tiles - w.tile0 < most ? tiles - w.tile0 : most;
            failed = part(dev, &w);
        }
    }
    return im_cuda_done(dev, failed);
}
