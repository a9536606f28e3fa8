/* winograd_dw.c: the gradient of the weights of 3x3 convolutions of stride 1 with a quarter of the multiplications.
 *
 * The forward pass is Y = A^T [ (G g G^T) . (B^T d B) ] A for each tile (winograd_transforms.c), linear in g; so
 *     dg = G^T [ sum over tiles (A dY A^T) . (B^T d B) ] G                             (Lavin & Gray 2015)
 * with 36 products over tiles in the middle:  U[point][cout][cin] = sum_t Z[point][t][cout] V[point][t][cin],
 *   V[point][chunk][panel][tile][16]   inputs, Z (the same) output gradients: as the transforms leave them, they are
 *                                      what the micro-kernel of outer.h wants; of as many chunks of tiles as stay in L3
 *   U[point][cout][cin]                waits for all chunks, then is transformed back; of as many filters as fit
 *
 * Order: chunks of CHUNK tiles, counted through the whole batch; within one each U is a chain over ascending tiles from 0,
 * chunks are added in f32 in ascending order, then G^T U G along the rows and down the columns, then + what is there. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/outer.h"
#include "tensor/cpu/winograd.h"
#include "tensor/parallel.h"

enum {
    CHUNK = 128,                                 /* tiles; part of the definition of the sums                          */
    GROUP = 8,                                   /* tiles that one task transforms                                     */
    U_BYTES = 16 << 20,                          /* of U at most, unless 16 filters need more                          */
    VZ_BYTES = 5 << 20,                         /* of V and Z at most, unless one chunk needs more                    */
    PANEL = CHUNK * IM_PANEL,                    /* floats of a panel of V or Z                                        */
};

typedef struct job {
    im_device *dev;
    const im_conv_dw_args *d;
    const im_outer_micros *micro;
    int across, down;                            /* tiles of a picture                                                 */
    int ci_panels, ci_floats;                    /* of V; floats of a row of U: whole strips                           */
    int panel0, panel1;                          /* of cout: these filters are being done                              */
    int64_t tile0;                               /* and these chunks: tiles tile0 .. tile0+tiles-1                     */
    int tiles, groups, x_groups;                 /* x_groups: groups, or 0 where V is there already                    */
    int max_chunks;                              /* at a time                                                          */
    int parts;                                   /* of the filters in the products                                     */
    float *v, *z, *u;
    size_t v_apart, z_apart, u_apart;            /* from point to point; an odd number of cache lines                  */
    size_t v_chunk, z_chunk;                     /* from chunk to chunk                                                */
} job;

static bool stopped(const job *j)
{
    return j->dev->stop && *j->dev->stop;
}

/* At least 64 channels on both sides, and at most half of the multiplications of direct sums, whatever the picture leaves
 * empty of its tiles: 4x4, 6x6 and from 7x7 on. With batches of 32 each of these won (bench/LOG.md), and the batch has
 * no say. */
static bool pays(int cin, int cout, int oh, int ow)
{
    int64_t tiles = (int64_t)im_ceil_div(oh, IM_WINO_OUT) * im_ceil_div(ow, IM_WINO_OUT), pixels = (int64_t)oh * ow;
    return cin >= 64 && cout >= 64 && pixels >= IM_WINO_OUT * IM_WINO_OUT && 8 * tiles <= pixels;
}

bool IM_FN(im_winograd_takes_dx)(const im_device *dev, const im_conv_args *c)
{
    bool can = c->kh == 3 && c->kw == 3 && c->stride == 1 && !IM_FN(im_winograd_loses)(dev, &c->wt);
    return IM_FN(im_winograd_takes)(dev, c) || (im_host_of(dev)->winograd && can && pays(c->cin, c->cout, c->oh, c->ow));
}

bool IM_FN(im_winograd_takes_dw)(const im_device *dev, const im_conv_dw_args *d)
{
    bool can = d->kh == 3 && d->kw == 3 && d->stride == 1;
    return can && im_host_of(dev)->winograd && (pays(d->cin, d->cout, d->oh, d->ow) || im_host_of(dev)->winograd == 2);
}

/* ---------------------------------------------------------------- into points */

static const float zeros[1024];                                /* what lies outside: any channels up to these          */

typedef struct place { int64_t image; int oy, ox; } place;     /* of a tile's first output                             */

static place place_of(const job *j, int64_t tile)
{
    return (place){ tile / j->across / j->down, (int)(tile / j->across % j->down) * IM_WINO_OUT,
                    (int)(tile % j->across) * IM_WINO_OUT };
}

/* Channel c0 of a tile's inputs. */
static im_wino_pixels pixels_of(const job *j, int64_t tile, int c0)
{
    const im_conv_dw_args *d = j->d;
    place p = place_of(j, tile);
    im_wino_pixels px;
    for (int k = 0; k < IM_WINO_IN; k++)
        for (int i = 0; i < IM_WINO_IN; i++) {
            int uy = p.oy + i - d->pad_top, ux = p.ox + k - d->pad_left;
            bool in = uy >= 0 && ux >= 0 && uy < d->up_h && ux < d->up_w;
            int64_t row = in ? (int64_t)uy * d->h / d->up_h : 0, col = in ? (int64_t)ux * d->w / d->up_w : 0;
            px.at[k][i] = in ? im_at(d->x.p, d->x.t, ((p.image * d->h + row) * d->w + col) * d->cin + c0) : zeros;
        }
    return px;
}

static im_wino_tile outputs_of(const job *j, int64_t tile, int n0)
{
    const im_conv_dw_args *d = j->d;
    place p = place_of(j, tile);
    im_wino_tile t;
    for (int k = 0; k < IM_WINO_OUT; k++)
        for (int i = 0; i < IM_WINO_OUT; i++) {
            bool in = p.oy + i < d->oh && p.ox + k < d->ow;
            int64_t at = ((p.image * d->oh + p.oy + i) * d->ow + p.ox + k) * d->cout + n0;
            t.at[k][i] = in ? im_at(d->dy.p, d->dy.t, at) : zeros;
        }
    return t;
}

/* A group of tiles: of x first, then of dy. Channels in pieces for which there are zeros. */
static void transform_task(void *arg, int index, int thread)
{
    const job *j = arg;
    const im_conv_dw_args *d = j->d;
    bool x = index < j->x_groups;
    int first = (x ? index : index - j->x_groups) * GROUP, last = j->tiles - first < GROUP ? j->tiles : first + GROUP;
    int c0 = x ? 0 : j->panel0 * IM_PANEL, end = j->panel1 * IM_PANEL, c1 = x ? d->cin : end < d->cout ? end : d->cout;
    enum { MOST = sizeof zeros / sizeof *zeros };
    (void)thread;
    for (int c = c0; c < c1 && !stopped(j); c += MOST) {
        int n = c1 - c < MOST ? c1 - c : MOST;
        size_t at = (size_t)(c - c0) / IM_PANEL * PANEL;
        for (int t = first; t < last; t++) {
            int ahead = t + 1 < last ? t + 1 : t;
            size_t chunk = (size_t)(t / CHUNK), row = (size_t)(t % CHUNK);
            float *to = (x ? j->v + chunk * j->v_chunk : j->z + chunk * j->z_chunk) + at + row * IM_PANEL;
            if (x) {
                im_wino_pixels now = pixels_of(j, j->tile0 + t, c), next = pixels_of(j, j->tile0 + ahead, c);
                IM_FN(im_winograd_input_panels)(d->x.t, &now, &next, n, to, j->v_apart, PANEL);
            } else {
                im_wino_tile now = outputs_of(j, j->tile0 + t, c), next = outputs_of(j, j->tile0 + ahead, c);
                IM_FN(im_winograd_dy)(d->dy.t, &now, &next, n, to, j->z_apart, PANEL);
            }
        }
    }
}

/* ---------------------------------------------------------------- products */

/* rows x (16 wide) sums to u, or added to it. */
static void put(const job *j, const float *sums, int rows, int wide, bool first, float *u)
{
    for (int i = 0; i < rows; i++)
        for (int k = 0; k < wide; k++) {
            float *p = u + (size_t)i * (size_t)j->ci_floats + k * IM_PANEL;
            v16 s = v_load(sums + i * IM_STRIP + k * IM_PANEL);
            v_store(p, first ? s : v_add(v_load(p), s));
        }
}

/* A panel of filters against a strip of inputs at one point: u (16 rows of ci_floats) = or += the chunks' sums. */
static void product(const job *j, const float *z, const float *v, int panels, float *u)
{
    float sums[IM_MR * IM_STRIP];
    int groups = im_ceil_div(IM_PANEL, IM_MR);
    for (int part = 0; part < panels; part += IM_NV) {
        int wide = panels - part < IM_NV ? panels - part : IM_NV;
        for (int g = 0; g < groups; g++) {
            int r0 = IM_PANEL * g / groups, rows = IM_PANEL * (g + 1) / groups - r0;
            float *to = u + (size_t)r0 * (size_t)j->ci_floats + part * IM_PANEL;
            for (int i = 0; i < rows * wide; i++)
                v_prefetch(to + (size_t)(i / wide) * (size_t)j->ci_floats + i % wide * IM_PANEL);
            for (int tile = 0, chunk = 0; tile < j->tiles; tile += CHUNK, chunk++) {
                const float *a = z + (size_t)chunk * j->z_chunk + r0;
                const float *b = v + (size_t)chunk * j->v_chunk + (size_t)part * PANEL;
                j->micro->tile[wide - 1][rows - 1](&(im_outer_tile){
                    .steps = j->tiles - tile < CHUNK ? j->tiles - tile : CHUNK, .a = a, .lda = IM_PANEL,
                    .ldb = IM_PANEL, .b = { b, b + (size_t)(wide - 1) * PANEL }, .out = sums });
                put(j, sums, rows, wide, j->tile0 + tile == 0, to);
            }
        }
    }
}

static void product_task(void *arg, int index, int thread)     /* one point, some filters */
{
    const job *j = arg;
    size_t point = (size_t)(index / j->parts), filters = (size_t)(j->panel1 - j->panel0);
    size_t n0 = filters * (size_t)(index % j->parts) / (size_t)j->parts;
    size_t n1 = filters * (size_t)(index % j->parts + 1) / (size_t)j->parts;
    (void)thread;
    for (int strip = 0; 2 * strip < j->ci_panels && !stopped(j); strip++)
        for (size_t n = n0; n < n1; n++)
            product(j, j->z + point * j->z_apart + n * PANEL, j->v + point * j->v_apart + 2 * (size_t)strip * PANEL,
                    j->ci_panels - 2 * strip < 2 ? 1 : 2,
                    j->u + point * j->u_apart + n * IM_PANEL * (size_t)j->ci_floats + (size_t)strip * IM_STRIP);
}

static void output_task(void *arg, int index, int thread)      /* one filter */
{
    const job *j = arg;
    const im_conv_dw_args *d = j->d;
    int n = j->panel0 * IM_PANEL + index;
    (void)thread;
    for (int c = 0; c < d->cin; c += IM_PANEL)
        IM_FN(im_winograd_dw_output)(j->u + (size_t)index * (size_t)j->ci_floats + c, j->u_apart,
                                     d->cin - c < IM_PANEL ? d->cin - c : IM_PANEL,
                                     d->dw + (int64_t)n * 9 * d->cin + c, d->cin, d->add);
}

/* ---------------------------------------------------------------- the whole */

static size_t odd_lines(size_t floats)
{
    return (floats + 15) / 16 / 2 * 32 + 16;
}

/* Filters panel0 .. panel1-1, all tiles. */
static void filters(job *j, int64_t tiles)
{
    int threads = im_threads_of(j->dev);
    int most = j->max_chunks * CHUNK;
    for (j->tile0 = 0; j->tile0 < tiles && !stopped(j); j->tile0 += most) {
        j->tiles = tiles - j->tile0 < most ? (int)(tiles - j->tile0) : most;
        j->groups = im_ceil_div(j->tiles, GROUP);
        j->x_groups = tiles <= most && j->panel0 ? 0 : j->groups;        /* V of all tiles serves all filters */
        im_parallel_for(threads, j->x_groups + j->groups, transform_task, j);
        im_parallel_for(threads, IM_WINO_POINTS * j->parts, product_task, j);
    }
    int left = j->d->cout - j->panel0 * IM_PANEL, count = (j->panel1 - j->panel0) * IM_PANEL;
    if (!stopped(j))
        im_parallel_for(threads, count < left ? count : left, output_task, j);
}

int IM_FN(im_winograd_dw)(im_device *dev, const im_conv_dw_args *d)
{
    job j = { .dev = dev, .d = d, .micro = IM_FN(im_outer_tiles)(IM_COMPUTE_F32), .across = im_ceil_div(d->ow, IM_WINO_OUT),
              .down = im_ceil_div(d->oh, IM_WINO_OUT), .ci_panels = im_ceil_div(d->cin, IM_PANEL) };
    int panels = im_ceil_div(d->cout, IM_PANEL);
    j.ci_floats = im_ceil_div(j.ci_panels, 2) * IM_STRIP;
    size_t of_panel = IM_WINO_POINTS * (size_t)j.ci_floats * IM_PANEL * sizeof(float);
    int fit = of_panel < U_BYTES ? (int)(U_BYTES / of_panel) : 1, blocks = im_ceil_div(panels, fit);
    int most = im_ceil_div(panels, blocks);
    j.parts = im_threads_of(dev) > 4 ? im_ceil_div(2 * im_threads_of(dev), IM_WINO_POINTS) : 1;
    int64_t tiles = (int64_t)d->batch * j.across * j.down, chunks = im_ceil_div(tiles, CHUNK);
    j.v_chunk = (size_t)j.ci_panels * PANEL;
    j.z_chunk = (size_t)most * PANEL;
    int64_t vz_fit = (int64_t)(VZ_BYTES / (IM_WINO_POINTS * (j.v_chunk + j.z_chunk) * sizeof(float)));
    j.max_chunks = (int)(vz_fit < 1 ? 1 : vz_fit < chunks ? vz_fit : chunks);
    j.v_apart = odd_lines((size_t)j.max_chunks * j.v_chunk);
    j.z_apart = odd_lines((size_t)j.max_chunks * j.z_chunk);
    j.u_apart = odd_lines((size_t)most * IM_PANEL * (size_t)j.ci_floats);
    j.v = im_scratch(dev, im_threads_of(dev), IM_WINO_POINTS * (j.v_apart + j.z_apart + j.u_apart) * sizeof(float));
    if (!j.v)
        return IM_NO_MEMORY;
    j.z = j.v + IM_WINO_POINTS * j.v_apart;
    j.u = j.z + IM_WINO_POINTS * j.z_apart;
    for (int b = 0; b < blocks && !stopped(&j); b++) {
        j.panel0 = (int)((int64_t)panels * b / blocks);
        j.panel1 = (int)((int64_t)panels * (b + 1) / blocks);
        filters(&j, tiles);
    }
    return stopped(&j) ? IM_STOPPED : IM_DONE;
}
