/* winograd.c: 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): 36 multiplications where a direct sum has 144.
 *
 * Per point a product M[tile][cout] = V[tile][cin] U[cin][cout] by the micro-kernel of product.h, with
 *   U[point][panel][cin][16]  weights, transformed from their panels in each call and never kept (they are 4 times as
 *                             large as in f32); U costs about as much as its product with 7 tiles
 *   V[point][tile][cin]       inputs, 2.25 times as large as the picture; V costs about as much as 7 columns
 *   M[point][tile][cout]      sums, which wait in L2 for the next channels and are transformed back at the end
 *
 *
 *     x, 6x6 around a tile       36 points            36 products                36 points           y, 4x4
 *     +-----------+                                  cout                                         +-------+
 *     | . . . . . |   B^T d B    V  (tile, cin)  x  U (cin, cout)  =  M (tile, cout)   A^T m A    | . . . |
 *     | . tile  . |  --------->  at each point,     at each point,    at each point   -------->   | . y . |
 *     | . . . . . |   gather     28 tiles x 160     weights_1d        stay in L2       scatter    | . . . |
 *     +-----------+              channels                                                          +-------+
 *     tiles are 4 pixels apart, so neighbours share 2 rows or columns of x
 *
 * Why these sizes: a task of 28 tiles is two full tiles of 14 rows at every point; 36 points x 28 tiles x 160 channels x
 * 4 bytes = 0.6 MiB of V and 36 x 28 x 4 strips of 32 = 0.5 MiB of M share an L2 of 1 MiB and a little of L3; U of 8 MiB
 * is read by all threads from an L3 of 16 to 32 MiB. With few tiles (up to 128: pictures of 16x16 and 8x8) U is the
 * largest part and is used hardly more often than written, so it is made in pieces that never leave L2. Points lie an
 * odd number of cache lines apart: at a power of two all 36 would fall into one set of L1.
 *
 * Many tiles:  all threads make U for as many strips of 32 output channels as stay in L3. A task is some tiles x some
 *              strips: it makes V for a chunk of channels, multiplies all points, goes on with the next chunk.
 * Few tiles:   all threads make V for all of them. A task is some strips: it makes U chunk by chunk, in its own L2.
 *
 * A sum is one chain over cin whatever the blocks, and a tile belongs to one picture and begins at a multiple of 4, so bits
 * depend neither on threads nor on the batch. Weights of 16 bits are multiplied in f32 as well, bf16 dots or not: a
 * quarter of the multiplications takes less than half the time. A NaN or an infinity in the input reaches every output of
 * the tiles (4 x 4 pixels) whose inputs (6 x 6) hold it, at least those it would reach in direct sums. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/pack_weights.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/split.h"
#include "tensor/cpu/winograd.h"
#include "tensor/parallel.h"

enum {                                           /* measured on a core with 1 MiB of L2 (bench/LOG.md)                */
    FEW_TILES = 128,
    U_BYTES = 8 << 20, V_BYTES = 16 << 20,       /* at most in the scratch that all threads share                      */
    TILES = 28, STRIPS = 4, CHUNK = 160,         /* many tiles: of one task; V has 0.6 MiB, M 0.5 MiB                  */
    PIECE = 64,                                  /* channels of U in one task                                          */
    STEPS = 80,                                  /* few tiles: chunk, divides IM_PITCH; U has 360, M up to 576 KiB     */
};
_Static_assert(IM_PITCH % STEPS == 0 && STEPS % 16 == 0, "a chunk ends with a row of V");
_Static_assert(CHUNK % 16 == 0 && CHUNK <= (int)IM_PITCH, "a chunk fits a row of V");

typedef struct job {
    im_device *dev;
    const im_conv_args *c;
    const im_micros *micro;
    int across, down;                            /* tiles of a picture                                                 */
    int panels, strips;                          /* of cout                                                            */
    int chunk;                                   /* channels of cin that are multiplied at a time                      */
    int64_t tile0, tile1;                        /* what is being done: all tiles and some strips, or the reverse      */
    int strip0, strip1;
    int t_tasks, n_tasks;                        /* parts of these tiles, of these strips                              */
    int max_tiles, max_strips;                   /* of one task                                                        */
    float *shared;                               /* U or V                                                             */
    size_t u_apart, v_apart, m_apart;            /* floats from point to point; an odd number of cache lines, lest all */
    size_t u_panel;                              /* 36 fall into the same set; floats of a panel in U                  */
} job;

/* A rectangle of the output. */
typedef struct area { int64_t tile; int tiles, strip0, strip1; } area;

static bool stopped(const job *j)
{
    return j->dev->stop && *j->dev->stop;
}

/* Tile registers multiply bf16 12 times as fast as f32 is multiplied, split f16 4 times: a quarter of the products is no
 * less then. */
bool IM_FN(im_winograd_loses)(const im_device *dev, const im_weight *w)
{
    im_dtype t = w->packed ? w->dtype : IM_FN(im_packed_dtype)(dev, w);
    return im_host_of(dev)->direct && (im_splits(dev, w) || im_host_of(dev)->compute[t] != IM_COMPUTE_F32);
}

/* With 64 channels or more it won on every picture of 8 x 8 and more, and on 7 x 7 in batches (bench/LOG.md). Batch and
 * threads have no say. int8.h: weights in int8 are multiplied in integers. */
bool IM_FN(im_winograd_takes)(const im_device *dev, const im_conv_args *c)
{
    int64_t pixels = (int64_t)c->oh * c->ow;
    bool can = c->kh == 3 && c->kw == 3 && c->stride == 1, pays = c->cin >= 64 && pixels >= 49;
    if (c->wt.dtype == IM_INT8)
        return false;
    if (IM_FN(im_winograd_loses)(dev, &c->wt))
        pays = false;
    return can && im_host_of(dev)->winograd && (pays || im_host_of(dev)->winograd == 2);
}

/* ---------------------------------------------------------------- one block */

typedef struct place { int image, oy, ox; } place;             /* of a tile's first output */

static place place_of(const job *j, int64_t tile)
{
    return (place){ (int)(tile / j->across / j->down), (int)(tile / j->across % j->down) * IM_WINO_OUT,
                    (int)(tile % j->across) * IM_WINO_OUT };
}

static const float zeros[IM_PITCH];

/* Where channel c0 of a tile's inputs is. */
static im_wino_pixels pixels_of(const job *j, int64_t tile, int c0)
{
    const im_conv_args *c = j->c;
    im_wino_pixels px;
    place p = place_of(j, tile);
    int64_t x = (int64_t)p.image * c->h * c->w * c->cin + c0, rows[IM_WINO_IN];              /* -1: outside             */
    for (int i = 0; i < IM_WINO_IN; i++) {
        int uy = p.oy + i - c->pad_top;
        rows[i] = uy < 0 || uy >= c->up_h ? -1 : x + (int64_t)uy * c->h / c->up_h * c->w * c->cin;
    }
    for (int k = 0; k < IM_WINO_IN; k++) {
        int ux = p.ox + k - c->pad_left;
        bool outside = ux < 0 || ux >= c->up_w;
        int64_t at = outside ? 0 : (int64_t)ux * c->w / c->up_w * c->cin;
        for (int i = 0; i < IM_WINO_IN; i++)
            px.at[k][i] = outside || rows[i] < 0 ? zeros : im_at(c->x.p, c->x.t, rows[i] + at);
    }
    return px;
}

/* Channels c0 .. c0+n-1 of the inputs of `tiles` tiles to v. */
static void gather(const job *j, int64_t tile, int tiles, int c0, int n, float *v)
{
    im_wino_pixels px[2] = { pixels_of(j, tile, c0) };
    for (int t = 0; t < tiles; t++) {
        px[(t + 1) % 2] = pixels_of(j, tile + (t + 1 < tiles ? t + 1 : t), c0);
        IM_FN(im_winograd_input)(j->c->x.t, &px[t % 2], &px[(t + 1) % 2], n, v + (size_t)t * IM_PITCH, j->v_apart);
    }
}

/* One chunk of one strip at one point: adds to sums (tiles, 32). next_v: to be fetched into L2 meanwhile, or NULL. */
typedef struct step { const float *v, *u, *next_v; float *m; int steps, tiles, panels; bool first; } step;

static void run_step(const job *j, const step *s)
{
    int groups = im_ceil_div(s->tiles, IM_MR);
    for (int part = 0; part < s->panels; part += IM_NV) {
        int wide = s->panels - part < IM_NV ? s->panels - part : IM_NV;
        const float *b = s->u + (size_t)part * j->u_panel;
        for (int g = 0; g < groups; g++) {
            int r0 = s->tiles * g / groups, r1 = s->tiles * (g + 1) / groups;
            float *sums = s->m + r0 * IM_STRIP + part * IM_PANEL;
            for (int r = r0; part == 0 && s->next_v && r < r1; r++)
                for (int i = 0; i < s->steps; i += 16)
                    v_prefetch_l2(s->next_v + (size_t)r * IM_PITCH + i);
            j->micro->tile[wide - 1][r1 - r0 - 1](&(im_tile){
                .steps = s->steps, .a = s->v + (size_t)r0 * IM_PITCH, .lda = IM_PITCH,
                .b = { b, b + (size_t)(wide - 1) * j->u_panel }, .in = s->first ? NULL : sums, .out = sums, .next = b });
        }
    }
}

/* One chunk at all points. v, u: at its first channel, u at the area's first strip. far: V lies beyond L2. */
static void multiply(const job *j, const area *a, int steps, bool first, const float *v, bool far, const float *u, float *m)
{
    step s = { .steps = steps, .tiles = a->tiles, .first = first };
    for (size_t p = 0; p < IM_WINO_POINTS; p++)
        for (int strip = a->strip0; strip < a->strip1; strip++) {
            size_t nth = (size_t)(strip - a->strip0);
            s.panels = j->panels - 2 * strip < 2 ? 1 : 2;
            s.v = v + p * j->v_apart;
            s.u = u + p * j->u_apart + 2 * nth * j->u_panel;
            s.m = m + p * j->m_apart + nth * (size_t)j->max_tiles * IM_STRIP;
            s.next_v = far && nth == 0 && p + 1 < IM_WINO_POINTS ? s.v + j->v_apart : NULL;
            run_step(j, &s);
        }
}

/* From element i on, of what may not be there. */
static im_cbuf part_of(im_cbuf b, int64_t i)
{
    return b.p ? im_cbuf_at(b, i) : b;
}

static void scatter(const job *j, const area *a, const float *m)
{
    const im_conv_args *c = j->c;
    for (int t = 0; t < a->tiles; t++) {
        place p = place_of(j, a->tile + t);
        int64_t at = (((int64_t)p.image * c->oh + p.oy) * c->ow + p.ox) * c->cout;
        for (int panel = 2 * a->strip0; panel < 2 * a->strip1 && panel < j->panels; panel++) {
            int n0 = panel * IM_PANEL;
            size_t row = (size_t)(panel / 2 - a->strip0) * (size_t)j->max_tiles + (size_t)t;
            IM_FN(im_winograd_output)(m + row * IM_STRIP + panel % 2 * IM_PANEL, j->m_apart, &(im_wino_output){
                .bias = c->bias ? c->bias + n0 : NULL, .chan = part_of(c->chan, p.image * c->ldchan + n0),
                .res = part_of(c->res, at + n0), .y = im_buf_at(c->y, at + n0), .ldy = c->cout,
                .ldrow = (int64_t)c->ow * c->cout,
                .rows = c->oh - p.oy < IM_WINO_OUT ? c->oh - p.oy : IM_WINO_OUT,
                .cols = c->ow - p.ox < IM_WINO_OUT ? c->ow - p.ox : IM_WINO_OUT,
                .n = c->cout - n0 < IM_PANEL ? c->cout - n0 : IM_PANEL });
        }
    }
}

/* ---------------------------------------------------------------- tasks */

static area area_of(const job *j, int index)
{
    int tt = index % j->t_tasks, nt = index / j->t_tasks, strips = j->strip1 - j->strip0;
    int64_t tiles = j->tile1 - j->tile0, t0 = tiles * tt / j->t_tasks, t1 = tiles * (tt + 1) / j->t_tasks;
    return (area){ j->tile0 + t0, (int)(t1 - t0), j->strip0 + strips * nt / j->n_tasks,
                   j->strip0 + strips * (nt + 1) / j->n_tasks };
}

static int channels(const job *j, int c0, int most)
{
    return j->c->cin - c0 < most ? j->c->cin - c0 : most;
}

static void weights_task(void *arg, int index, int thread)     /* many tiles: one panel, PIECE channels of U */
{
    const job *j = arg;
    (void)thread;
    if (stopped(j))
        return;
    int pieces = im_ceil_div(j->c->cin, PIECE), panel = index / pieces, c0 = index % pieces * PIECE;
    IM_FN(im_winograd_weights)(&j->c->wt, j->c->cin, j->strip0 * 2 + panel, c0, c0 + channels(j, c0, PIECE),
                               j->shared + (size_t)panel * j->u_panel + (size_t)c0 * IM_PANEL, j->u_apart);
}

static void many_task(void *arg, int index, int thread)
{
    const job *j = arg;
    if (stopped(j))
        return;
    area a = area_of(j, index);
    float *v = im_scratch(j->dev, thread, 0), *m = v + IM_WINO_POINTS * j->v_apart;
    const float *u = j->shared + 2 * (size_t)(a.strip0 - j->strip0) * j->u_panel;
    for (int c0 = 0; c0 < j->c->cin; c0 += j->chunk) {
        int n = channels(j, c0, j->chunk);
        gather(j, a.tile, a.tiles, c0, n, v);
        multiply(j, &a, n, c0 == 0, v, false, u + (size_t)c0 * IM_PANEL, m);
    }
    scatter(j, &a, m);
}

/* V for few tiles: as many times 36 points as there are blocks of IM_PITCH channels. */
static float *v_block(const job *j, int block)
{
    return j->shared + (size_t)block * IM_WINO_POINTS * j->v_apart;
}

static void inputs_task(void *arg, int index, int thread)      /* few tiles: one tile, IM_PITCH channels of V */
{
    const job *j = arg;
    (void)thread;
    if (stopped(j))
        return;
    int tiles = (int)(j->tile1 - j->tile0), block = index / tiles, t = index % tiles, c0 = block * IM_PITCH;
    gather(j, j->tile0 + t, 1, c0, channels(j, c0, IM_PITCH), v_block(j, block) + (size_t)t * IM_PITCH);
}

static void few_task(void *arg, int index, int thread)
{
    const job *j = arg;
    if (stopped(j))
        return;
    area a = area_of(j, index);
    float *u = im_scratch(j->dev, thread, 0), *m = u + IM_WINO_POINTS * j->u_apart;
    for (int c0 = 0; c0 < j->c->cin; c0 += j->chunk) {
        int n = channels(j, c0, j->chunk);
        for (int panel = 2 * a.strip0; panel < 2 * a.strip1 && panel < j->panels; panel++)
            IM_FN(im_winograd_weights)(&j->c->wt, j->c->cin, panel, c0, c0 + n,
                                       u + (size_t)(panel - 2 * a.strip0) * j->u_panel, j->u_apart);
        const float *v = v_block(j, c0 / IM_PITCH) + (size_t)(a.tile - j->tile0) * IM_PITCH + c0 % IM_PITCH;
        multiply(j, &a, n, c0 == 0, v, true, u, m);
    }
    scatter(j, &a, m);
}

/* ---------------------------------------------------------------- the whole */

static size_t odd_lines(size_t floats)
{
    return (floats + 15) / 16 / 2 * 32 + 16;
}

/* Scratch for all; false: out of memory. */
static bool claim(job *j, size_t shared, size_t each)
{
    bool ok = (j->shared = im_scratch(j->dev, im_threads_of(j->dev), shared * sizeof(float))) != NULL;
    for (int t = 0; t < im_threads_of(j->dev); t++)
        ok = ok && im_scratch(j->dev, t, each * sizeof(float));
    return ok;
}

/* Tasks as large as they may be, but three a thread where there is enough to do. */
static void split(job *j, int64_t tiles, int most_tiles, int strips, int most_strips)
{
    int wanted = im_threads_of(j->dev) > 1 ? 3 * im_threads_of(j->dev) : 1;
    j->t_tasks = im_ceil_div(tiles, most_tiles);
    j->n_tasks = im_ceil_div(strips, most_strips);
    while (j->t_tasks * (int64_t)j->n_tasks < wanted && im_ceil_div(tiles, j->t_tasks) > IM_MR)
        j->t_tasks++;
    while (j->t_tasks * (int64_t)j->n_tasks < wanted && j->n_tasks < strips)
        j->n_tasks++;
    j->max_tiles = im_ceil_div(tiles, j->t_tasks);
    j->max_strips = im_ceil_div(strips, j->n_tasks);
    j->m_apart = odd_lines((size_t)j->max_tiles * (size_t)j->max_strips * IM_STRIP);
    j->v_apart = odd_lines((size_t)j->max_tiles * IM_PITCH);
}

static int many(job *j, int64_t tiles)
{
    int cin = j->c->cin, threads = im_threads_of(j->dev);
    size_t strip_bytes = IM_WINO_POINTS * (size_t)cin * IM_STRIP * sizeof(float);
    int fit = strip_bytes < U_BYTES ? (int)(U_BYTES / strip_bytes) : 1, blocks = im_ceil_div(j->strips, fit);
    int most = im_ceil_div(j->strips, blocks);
    j->tile1 = tiles;
    j->chunk = im_ceil_div(im_ceil_div(cin, im_ceil_div(cin, CHUNK)), 16) * 16;
    split(j, tiles, TILES, most, STRIPS);
    j->u_panel = (size_t)cin * IM_PANEL;
    j->u_apart = odd_lines(2 * (size_t)most * j->u_panel);
    if (!claim(j, IM_WINO_POINTS * j->u_apart, IM_WINO_POINTS * (j->v_apart + j->m_apart)))
        return IM_NO_MEMORY;
    for (int b = 0; b < blocks; b++) {
        j->strip0 = j->strips * b / blocks;
        j->strip1 = j->strips * (b + 1) / blocks;
        int panels = (2 * j->strip1 < j->panels ? 2 * j->strip1 : j->panels) - 2 * j->strip0;
        im_parallel_for(threads, panels * im_ceil_div(cin, PIECE), weights_task, j);
        im_parallel_for(threads, j->t_tasks * j->n_tasks, many_task, j);
    }
    return IM_DONE;
}

static int few(job *j, int64_t tiles)
{
    int v_blocks = im_ceil_div(j->c->cin, IM_PITCH), threads = im_threads_of(j->dev);
    size_t tile_bytes = IM_WINO_POINTS * (size_t)v_blocks * IM_PITCH * sizeof(float);
    int fit = V_BYTES / tile_bytes < FEW_TILES ? (int)(V_BYTES / tile_bytes) : FEW_TILES;
    int blocks = im_ceil_div(tiles, fit > 0 ? fit : 1), most = im_ceil_div(tiles, blocks);
    j->strip1 = j->strips;
    j->chunk = STEPS;
    split(j, most, most, j->strips, 1);
    j->u_panel = (size_t)j->chunk * IM_PANEL;
    j->u_apart = odd_lines(2 * j->u_panel);
    j->v_apart = odd_lines((size_t)most * IM_PITCH);
    if (!claim(j, (size_t)v_blocks * IM_WINO_POINTS * j->v_apart, IM_WINO_POINTS * (j->u_apart + j->m_apart)))
        return IM_NO_MEMORY;
    for (int b = 0; b < blocks; b++) {
        j->tile0 = tiles * b / blocks;
        j->tile1 = tiles * (b + 1) / blocks;
        im_parallel_for(threads, (int)(j->tile1 - j->tile0) * v_blocks, inputs_task, j);
        im_parallel_for(threads, j->t_tasks * j->n_tasks, few_task, j);
    }
    return IM_DONE;
}

int IM_FN(im_winograd_conv)(im_device *dev, const im_conv_args *c)
{
    job j = { .dev = dev, .c = c, .micro = IM_FN(im_micro_tiles)(IM_COMPUTE_F32), .across = im_ceil_div(c->ow, IM_WINO_OUT),
              .down = im_ceil_div(c->oh, IM_WINO_OUT), .panels = im_ceil_div(c->cout, IM_PANEL) };
    j.strips = im_ceil_div(j.panels, 2);
    int64_t tiles = (int64_t)c->batch * j.across * j.down;
    int status = tiles <= FEW_TILES ? few(&j, tiles) : many(&j, tiles);
    return stopped(&j) ? IM_STOPPED : status;
}
