/* outer.c: blocks of a product that sums over rows, and their way through the caches; see outer.h.
 *
 *   area     a part of c, up to 266 x 256, whose sums stay in L2
 *   chunk    IM_DW_CHUNK rows: one chain for each sum. Chunks are added in f32 in ascending order (train_args.h)
 *   block    128 rows of a chunk, which stay in L2, fetched while the block before is multiplied. 32 columns of B at a time
 *            are packed where they are windows; where a step is two rows (compute.h) all is packed
 *   tile     14 x 32 sums in registers against 128 rows (micro_outer.c); in tile registers (amx.c) 32 x 32, for which A is
 *            turned once a block
 *
 *
 *            a: i ->             b: j ->                  c (i, j)
 *          +----------+       +--------------+          +--------------+
 *   rows   | chunk 0  |       |   chunk 0    |          |  area        |   sums of an area: up to 266 x 256 x 4 bytes =
 *    m     +----------+       +--------------+    =     |  +--+        |   266 KiB, a quarter of L2; a block of 128 rows
 *    |     | chunk 1  |       |   chunk 1    |          |  |14x32      |   of a and b: 261 KiB beside them
 *    v     +----------+       +--------------+          +--------------+
 *   c = (chunk 0's chain) + (chunk 1's chain) + ..., ascending: the order of train_args.h
 *
 * Where c has areas enough for all threads, a task is an area with all its chunks. Else a task is one chunk of one area;
 * its sums wait in shared memory until a second pass adds the chunks. Either way the same sums in the same order. */
#include "tensor/cpu/outer.h"
#include "tensor/cpu/kernels.h"
#include "tensor/parallel.h"

enum {
    STEPS = 128, FEW_STEPS = 64, FEW_TILES = 96, /* of a block: in areas of up to 96 tiles few; a step is one row, or  */
                                                 /* two (compute.h)                                                    */
    AREA_ROWS = 266, AREA_STRIPS = 8,            /* rows: less what is no whole tile                                   */
    APART = STEPS * 16 + 16,                     /* groups lie an odd number of lines apart, lest all fall into one set */
    TURNED = STEPS + 16,                         /* floats from row to row of A turned for tile registers: the same    */
    PARTIAL_BYTES = 32 << 20,                    /* of sums that wait                                                  */
};

_Static_assert(2 * STEPS <= (int)IM_OUTER_ROWS, "packers have room for a block");

typedef struct job {
    im_device *dev;
    const im_outer *p;
    const im_outer_micros *micro;
    const im_amx *amx;                           /* tiles are those of tile registers; else NULL                       */
    int tile_rows;                               /* of the largest tile                                                */
    im_compute how;
    bool a_in_place, in_place;                   /* A, and B, are read where they lie                                  */
    int chunks, block;                           /* of m; rows of a block                                              */
    int i_parts, j_parts, strips;                /* parts of c; strips of 32 columns in all                            */
    int max_tiles, max_strips;                   /* of an area                                                         */
    bool split;                                  /* a task is one chunk                                                */
    int chunk0, chunk1;                          /* split: these are being done                                        */
    float *partial, *total;                      /* split: (chunk1 - chunk0, ni, nj), (ni, nj)                         */
} job;

typedef struct area { int i0, i1, width, tiles, j0, j1, strips; } area;  /* tiles of `width` rows, the last may be less */

static bool stopped(const job *j)
{
    return j->dev->stop && *j->dev->stop;
}

/* ---------------------------------------------------------------- one block */

static size_t sums_floats(const job *j)
{
    return (size_t)j->max_tiles * (size_t)j->max_strips * (size_t)(j->tile_rows * IM_STRIP);
}

static float *tile_sums(const job *j, const area *a, float *sums, int tile, int strip)
{
    return sums + ((size_t)tile * (size_t)a->strips + (size_t)strip) * (size_t)(j->tile_rows * IM_STRIP);
}

static int tile_rows(const area *a, int tile)
{
    int left = a->i1 - a->i0 - tile * a->width;
    return left < a->width ? left : a->width;
}

/* Packs rows of a matrix of n columns. */
IM_INLINE void pack_as(im_dtype t, const im_outer_rows *r, int n, const im_outer_pack *q, im_compute how)
{
    int unit = im_per_step(how);
    for (int s = 0; s < q->rows; s += unit) {
        const void *x = im_at(r->x.p, t, (q->m0 + s) * r->ld);
        float *dst = q->dst + s / unit * 16;
        for (int j = q->j0; j < q->j1; j += q->width, dst += q->apart) {
            int left = n - j < 16 ? n - j : 16;
            v_store(dst, v_factors(how, t, x, j, r->ld, left, q->rows - s));
        }
    }
}

static void pack_rows(const im_outer_rows *r, int n, const im_outer_pack *q, im_compute how)
{
    switch (r->x.t) {
    case IM_F16:  pack_as(IM_F16, r, n, q, how); break;
    case IM_BF16: pack_as(IM_BF16, r, n, q, how); break;
    default:      pack_as(IM_F32, r, n, q, how);
    }
}

static void fetch_rows(const im_outer_rows *r, int64_t m, int rows, int j0, int j1)
{
    int line = line_of(r->x.t);
    for (int s = 0; s < rows; s++)
        for (int j = j0; j < j1; j += line)
            prefetch_l2_as(r->x.t, r->x.p, (m + s) * r->ld + j);
}

/* Slice t of `tiles` of the rows that come next into L2, so that memory works while the tiles compute. */
static void fetch(const job *j, const area *a, int64_t m, int rows, int t, int tiles)
{
    int r0 = rows * t / tiles, r1 = rows * (t + 1) / tiles;
    if (r1 > r0) {
        fetch_rows(&j->p->a, m + r0, r1 - r0, a->i0, a->i1);
        if (j->p->b.x.p)
            fetch_rows(&j->p->b, m + r0, r1 - r0, a->j0, a->j1);
        else
            j->p->pack_b(j->p->args, &(im_outer_pack){ m + r0, r1 - r0, a->j0, a->j1, IM_PANEL, NULL, 0 }, IM_PACK_FETCH);
    }
}

/* 32 columns of B for a block: where they are, and how far apart its rows and its two panels lie. */
typedef struct strip_b { const float *b; int64_t ld, apart; } strip_b;

static strip_b strip_of(const job *j, int64_t m0, int rows, int j0, int j1, float *room)
{
    const im_outer *p = j->p;
    im_outer_pack q = { m0, rows, j0, j1, IM_PANEL, room, APART };
    if (j->in_place)
        return (strip_b){ (const float *)p->b.x.p + m0 * p->b.ld + j0, p->b.ld, IM_PANEL };
    if (p->b.x.p)
        pack_rows(&p->b, p->nj, &q, j->how);
    else
        p->pack_b(p->args, &q, (im_pack_mode)j->how);
    return (strip_b){ room, IM_PANEL, APART };
}

/* Columns of A as rows of steps, as tile registers want them: from groups of 16 columns; zeros up to a group of steps. */
static void turn(const float *pa, int groups, int steps, float *dst)
{
    for (int g = 0; g < groups; g++, pa += APART, dst += 16 * TURNED)
        for (int s = 0; s < steps; s += 16) {
            v16 x[16];
            IM_UNROLL for (int i = 0; i < 16; i++) x[i] = s + i < steps ? v_load(pa + (s + i) * 16) : v_zero();
            v_turn(x);
            IM_UNROLL for (int i = 0; i < 16; i++) v_store(dst + i * TURNED + s, x[i]);
        }
}

/* A strip's last group of steps, which nothing follows. */
static void end_group(const strip_b *b, float *room, int panels, int steps)
{
    for (int i = 0; i < panels && steps % IM_AMX_STEPS; i++)
        for (int s = steps; s % IM_AMX_STEPS; s++)
            v_store(room + i * b->apart + s * b->ld, v_zero());
}

static void multiply(const job *j, const im_outer_tile *q, int rows, int panels)
{
    if (!j->amx) {
        j->micro->tile[panels - 1][rows - 1](q);
        return;
    }
    int steps = im_ceil_div(q->steps, IM_AMX_STEPS) * IM_AMX_STEPS;
    j->amx->multiply[j->how](&(im_tile){ .steps = steps, .a = q->a, .lda = q->lda, .b = { q->b[0], q->b[1] }, .in = q->in,
                                         .out = q->out, .next = q->b[0] }, rows, panels);
}

/* The block's rows of A, packed where they are not read in place; pa: room. */
static const float *rows_of_a(const job *j, const area *a, int64_t m0, int rows, float *pa)
{
    int groups = im_ceil_div(a->i1 - a->i0, 16), width = j->amx ? 16 : a->width;
    if (j->a_in_place)
        return (const float *)j->p->a.x.p + m0 * j->p->a.ld + a->i0;
    pack_rows(&j->p->a, j->p->ni, &(im_outer_pack){ m0, rows, a->i0, a->i1, width, pa, APART }, j->how);
    if (!j->amx)
        return pa;
    float *turned = pa + (size_t)groups * APART;
    turn(pa, groups, im_ceil_div(rows, im_per_step(j->how)), turned);
    return turned;
}

/* Rows m0 .. m0+rows-1 of the area: sums += A^T B. */
static void run_block(const job *j, const area *a, int64_t m0, int rows, bool first, float *pa, float *pb, float *sums)
{
    const im_outer_rows *ra = &j->p->a;
    int64_t left = j->p->m - m0 - rows;
    int next = left < j->block ? (int)left : j->block, steps = im_ceil_div(rows, im_per_step(j->how));
    im_outer_tile q = { .steps = steps, .lda = j->amx ? TURNED : j->a_in_place ? ra->ld : IM_PANEL };
    const float *at = rows_of_a(j, a, m0, rows, pa);
    int64_t tile = j->amx ? (int64_t)a->width * TURNED : j->a_in_place ? a->width : APART;
    for (int strip = 0; strip < a->strips; strip++) {
        int j0 = a->j0 + strip * IM_STRIP, j1 = a->j1 - j0 < IM_STRIP ? a->j1 : j0 + IM_STRIP;
        int panels = j1 - j0 > IM_PANEL ? 2 : 1;
        strip_b b = strip_of(j, m0, rows, j0, j1, pb);
        q.ldb = b.ld;
        if (j->amx)
            end_group(&b, pb, panels, steps);
        int most = j->amx ? 2 : IM_NV;
        for (int part = 0; part < panels; part += most) {
            int wide = panels - part < most ? panels - part : most;
            q.b[0] = b.b + part * b.apart;
            q.b[1] = q.b[0] + (wide - 1) * b.apart;
            for (int t = 0; t < a->tiles; t++) {
                if (part == 0)
                    fetch(j, a, m0 + rows, next, strip * a->tiles + t, a->strips * a->tiles);
                q.out = tile_sums(j, a, sums, t, strip) + part * IM_PANEL;
                q.in = first ? NULL : q.out;
                q.a = at + t * tile;
                multiply(j, &q, tile_rows(a, t), wide);
            }
        }
    }
}

/* Packed A of a block. */
static size_t a_floats(const job *j)
{
    return (size_t)j->max_tiles * (j->amx ? 2 * APART + (size_t)IM_AMX_ROWS * TURNED : APART);
}

static void run_chunk(const job *j, const area *a, int chunk, float *scratch, float *sums)
{
    float *pb = scratch + a_floats(j);
    int64_t m0 = (int64_t)chunk * IM_DW_CHUNK, m1 = j->p->m - m0 < IM_DW_CHUNK ? j->p->m : m0 + IM_DW_CHUNK;
    for (int64_t m = m0; m < m1 && !stopped(j); m += j->block)
        run_block(j, a, m, m1 - m < j->block ? (int)(m1 - m) : j->block, m == m0, scratch, pb, sums);
}

/* The area's sums to rows of c, or of other memory of that shape. */
static void store_area(const job *j, const area *a, float *sums, float *c, int64_t ldc, bool add)
{
    for (int t = 0; t < a->tiles; t++)
        for (int i = 0; i < tile_rows(a, t); i++) {
            float *row = c + (a->i0 + t * a->width + i) * ldc;
            for (int col = a->j0; col < a->j1; col += 16) {
                int at = col - a->j0, n = a->j1 - col < 16 ? a->j1 - col : 16;
                v16 v = v_load(tile_sums(j, a, sums, t, at / IM_STRIP) + i * IM_STRIP + at % IM_STRIP);
                if (add)
                    v = v_add(v_load_n(row + col, n), v);
                v_store_n(row + col, v, n);
            }
        }
}

/* ---------------------------------------------------------------- tasks */

static area area_of(const job *j, int index)
{
    const im_outer *p = j->p;
    int ip = index / j->j_parts, jp = index % j->j_parts;
    area a = { .i0 = (int)((int64_t)p->ni * ip / j->i_parts), .i1 = (int)((int64_t)p->ni * (ip + 1) / j->i_parts) };
    int s0 = (int)((int64_t)j->strips * jp / j->j_parts), s1 = (int)((int64_t)j->strips * (jp + 1) / j->j_parts);
    a.tiles = im_ceil_div(a.i1 - a.i0, j->tile_rows);
    a.width = j->amx ? j->tile_rows : im_ceil_div(a.i1 - a.i0, a.tiles);
    a.tiles = im_ceil_div(a.i1 - a.i0, a.width);
    a.j0 = s0 * IM_STRIP;
    a.j1 = s1 * IM_STRIP < p->nj ? s1 * IM_STRIP : p->nj;
    a.strips = s1 - s0;
    return a;
}

static size_t scratch_floats(const job *j)
{
    return a_floats(j) + 2 * APART + 2 * sums_floats(j);
}

static void area_task(const job *j, int index, int thread)
{
    const im_outer *p = j->p;
    int areas = j->i_parts * j->j_parts;
    area a = area_of(j, index % areas);
    float *scratch = im_scratch(j->dev, thread, 0), *sums = scratch + scratch_floats(j) - sums_floats(j);
    float *total = sums - sums_floats(j);
    if (j->split) {
        int nth = index / areas;
        run_chunk(j, &a, j->chunk0 + nth, scratch, sums);
        store_area(j, &a, sums, j->partial + (size_t)nth * (size_t)p->ni * (size_t)p->nj, p->nj, false);
        return;
    }
    size_t n = (size_t)a.tiles * (size_t)a.strips * (size_t)(j->tile_rows * IM_STRIP);
    for (int chunk = 0; chunk < j->chunks; chunk++) {
        run_chunk(j, &a, chunk, scratch, chunk ? sums : total);
        for (size_t i = 0; chunk && i < n; i += 16)
            v_store(total + i, v_add(v_load(total + i), v_load(sums + i)));
    }
    store_area(j, &a, total, p->c, p->ldc, p->add);
}

static void task(void *arg, int index, int thread)
{
    const job *j = arg;
    area_task(j, index, thread);
    if (j->amx)
        j->amx->end();
}

/* Row i of c: the chunks that wait, in ascending order, behind those of earlier rounds. */
static void add_task(void *arg, int i, int thread)
{
    const job *j = arg;
    const im_outer *p = j->p;
    size_t all = (size_t)p->ni * (size_t)p->nj;
    const float *part = j->partial + (size_t)i * (size_t)p->nj;
    float *total = j->total + (size_t)i * (size_t)p->nj, *c = p->c + i * p->ldc;
    bool last = j->chunk1 == j->chunks;
    (void)thread;
    for (int col = 0; col < p->nj; col += 16) {
        int n = p->nj - col < 16 ? p->nj - col : 16;
        v16 s = v_load_n(part + col, n);
        if (j->chunk0)
            s = v_add(v_load_n(total + col, n), s);
        for (int k = 1; k < j->chunk1 - j->chunk0; k++)
            s = v_add(s, v_load_n(part + (size_t)k * all + col, n));
        if (last && p->add)
            s = v_add(v_load_n(c + col, n), s);
        v_store_n(last ? c + col : total + col, s, n);
    }
}

/* Areas as large as they may be, then smaller until all threads have something to do. */
static void plan(job *j)
{
    const im_outer *p = j->p;
    int threads = im_threads_of(j->dev), wanted = threads > 1 ? 3 * threads : 1;
    j->how = im_host_of(j->dev)->compute[j->dev->compute_dtype];
    bool rows = im_per_step(j->how) == 1;                      /* a step is a row as it lies in memory */
    j->a_in_place = rows && p->a.x.t == im_factors_of(j->how);
    j->in_place = rows && p->b.x.p && p->b.x.t == im_factors_of(j->how) && p->nj % IM_PANEL == 0;     /* whole panels */
    j->micro = IM_FN(im_outer_tiles)(j->how);
    const im_amx *amx = im_host_of(j->dev)->amx;
    j->amx = amx && amx->multiply[j->how] ? amx : NULL;
    j->tile_rows = j->amx ? IM_AMX_ROWS : IM_MR;
    j->chunks = p->m > 0 ? im_ceil_div(p->m, IM_DW_CHUNK) : 1;
    j->strips = im_ceil_div(p->nj, IM_STRIP);
    j->i_parts = im_ceil_div(p->ni, AREA_ROWS / j->tile_rows * j->tile_rows);
    j->j_parts = im_ceil_div(j->strips, AREA_STRIPS);
    j->split = threads > 1 && j->chunks > 1 && j->i_parts * j->j_parts < wanted;
    int times = j->split ? j->chunks : 1;
    while (times * j->i_parts * j->j_parts < wanted && im_ceil_div(j->strips, j->j_parts) > 2)
        j->j_parts++;
    while (times * j->i_parts * j->j_parts < wanted && im_ceil_div(p->ni, j->i_parts) > j->tile_rows)
        j->i_parts++;
    j->max_tiles = im_ceil_div(im_ceil_div(p->ni, j->i_parts), j->tile_rows);
    j->max_strips = im_ceil_div(j->strips, j->j_parts);
    j->block = (j->max_tiles * j->max_strips <= FEW_TILES ? FEW_STEPS : STEPS) * im_per_step(j->how);
}

int IM_FN(im_outer_run)(im_device *dev, const im_outer *p)
{
    job j = { .dev = dev, .p = p };
    size_t all = (size_t)p->ni * (size_t)p->nj;
    plan(&j);
    for (int t = 0; t < im_threads_of(dev); t++)
        if (!im_scratch(dev, t, scratch_floats(&j) * sizeof(float)))
            return IM_NO_MEMORY;
    int areas = j.i_parts * j.j_parts, fit = (int)(PARTIAL_BYTES / (all * sizeof(float)));
    int rounds = j.split ? im_ceil_div(j.chunks, fit > 2 ? fit : 2) : 1, most = im_ceil_div(j.chunks, rounds);
    if (j.split && !(j.total = im_scratch(dev, im_threads_of(dev), ((size_t)most + 1) * all * sizeof(float))))
        return IM_NO_MEMORY;
    j.partial = j.split ? j.total + all : NULL;
    if (!j.split)
        im_parallel_for(im_threads_of(dev), areas, task, &j);
    for (int r = 0; j.split && r < rounds && !stopped(&j); r++) {
        j.chunk0 = (int)((int64_t)j.chunks * r / rounds);
        j.chunk1 = (int)((int64_t)j.chunks * (r + 1) / rounds);
        im_parallel_for(im_threads_of(dev), areas * (j.chunk1 - j.chunk0), task, &j);
        im_parallel_for(im_threads_of(dev), p->ni, add_task, &j);
    }
    return stopped(&j) ? IM_STOPPED : IM_DONE;
}

int IM_FN(im_cpu_outer)(im_device *dev, const im_outer_args *p)
{
    return IM_FN(im_outer_run)(dev, &(im_outer){ .m = p->m, .ni = p->ni, .nj = p->nj,
                                                 .a = { p->a, p->lda }, .b = { p->b, p->ldb }, .c = p->c, .ldc = p->ldc,
                                                 .add = p->add });
}
