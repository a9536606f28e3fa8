/* product.c: blocks of a matrix product and their way through the caches; see product.h.
 *
 *   task     rows x strips of c, to one thread; a strip is 32 columns of B (GEGLU: 16 of values, 16 of gates)
 *   block    a group of rows and up to 320 steps of k, whose rows of A stay in L2; windows of a picture and values of
 *            another dtype than is multiplied are packed for it first, 240 steps, rows of a matrix are read where they are
 *   strip    30 or 40 KiB of B
 *   tile     14 rows of A against the strip, sums in registers (micro.c); between blocks of k the sums wait in L2.
 *            With tile registers (amx.c) 32 rows, up to 240 steps in one go; windows of 3 x 3 are read where
 *            their pixels lie (windows.c)
 *
 *              k: steps of a block                        n: columns of c, in strips of 32
 *            +----------+----------+                +----+----+----+----+- -
 *   m: rows  | group    |  block 1 |         B      | s0 | s1 | s2 | s3 |     packed panels: [panel][k][16]
 *   of a     | of 224   | of k     |                | k  |    |    |    |
 *   task     | rows, L2 |          |                +----+----+----+----+- -
 *            +----------+----------+                  |
 *            | tile: 14 |          |                  v   one strip of one block: 30 or 40 KiB, comes through L2
 *            +----------+          |                +----+
 *            |          |          |         c      | 14 | x 32: the tile that micro.c holds in registers
 *            +----------+----------+                +----+
 *
 *   for each group of the task                        its rows of A in L2 (packed, or where they lie)
 *     for each block of k, and each strip             (strips outside where A stays for all of k, `resident`)
 *       for each tile of 14 rows                      sums from L2, this block's steps added, back to L2
 *         (last block) epilogue.c                     bias, chan, activation, res; to c
 *
 * Why these sizes: 320 steps, as SD's widths are multiples, and a strip of 40 KiB passes L1 once for 16 tiles; 224 rows x
 * 320 x 4 bytes = 280 KiB of A beside as much of waiting sums (10 strips) in an L2 of 1 MiB, the rest for B in flight;
 * 32 columns, as many as a tile has. All were measured against neighbours (bench/LOG.md).
 *
 * Each tile also asks for a slice of what comes next: the rows of A of the next block, the next strip of B.
 * A sum is one chain over k whatever the blocks, so sizes may depend on the number of threads and bits do not. Weights
 * of 16 bits are converted to f32 strip by strip, or multiplied as they are (compute.h; own bits), A rounded to
 * their dtype; f16 in tile registers: both factors are split into two bf16 (split.h; own bits, too). */
#include "tensor/cpu/product.h"
#include "tensor/cpu/pack_weights.h"
#include "tensor/cpu/split.h"
#include "tensor/int8.h"
#include "tensor/parallel.h"

enum {
    STEPS = 320,                                 /* of a block where A is not packed: SD's widths are multiples */
    GROUP_ROWS = 224,                            /* 280 KiB of A, less what is no whole tile */
    TASK_STRIPS = 10,                            /* with 224 rows 280 KiB of waiting sums */
    SHORT_GROUP = 112,                           /* where all of k is packed: shorter groups, several a task */
    SPLIT_ROWS = 320, SPLIT_STRIPS = 20,         /* the same where both factors are split: larger, for a strip is split */
    SPLIT_SHORT = 224,                           /* for each group and rows for each task; in an L2 of 2 MiB */
    RESIDENT = 320 << 10,                        /* bytes of A that may stay in L2 for more blocks than two */
    WINDOW_ROWS = 2048,                          /* of a group whose windows are read in place, at most */
};

typedef struct job {
    im_device *dev;
    const im_product *p;
    const im_micros *micro;
    const im_amx *amx;                           /* NULL: tiles are those of micro */
    int tile_rows, tile_panels;                  /* of the largest tile */
    int unit;                                    /* rows that stay together: where tile registers have 32, else 1 */
    int pass;                                    /* steps of a block in one go */
    im_compute how;
    bool split;                                  /* both factors are split into two bf16 (split.h) */
    bool convert;                                /* B is to be converted to f32, or split */
    bool direct;                                 /* A is read in place */
    bool resident;                               /* a group's A stays in L2 for all of k, strips run through all of k */
    bool rows_first;                             /* consecutive tasks share B rather than A */
    int steps, blocks, block_steps;              /* of k */
    int64_t lda;                                 /* from row to row of A: in place or packed */
    int strips;
    int m_tasks, n_tasks;
    int group_rows, task_strips;                 /* at most */
    size_t panel_bytes, step_bytes;              /* of B as stored: a panel, and a step of one panel */
    size_t partner;                              /* from the first to the second panel of a strip */
    size_t a_floats, sums_floats, b_floats;      /* parts of a thread's scratch: packed A, waiting sums, converted B */
} job;

/* ---------------------------------------------------------------- sizes */

/* As few tasks as their largest size allows, but four a thread where they do not get too thin: packing A costs about as
 * much as multiplying it with 10 columns, and at the end threads wait for the last task. */
static void split(job *j, int rows)
{
    const im_product *p = j->p;
    int threads = im_threads_of(j->dev);
    j->m_tasks = im_ceil_div(p->m, rows);
    j->n_tasks = im_ceil_div(j->strips, j->split ? SPLIT_STRIPS : TASK_STRIPS);
    while (j->m_tasks * (int64_t)j->n_tasks < 4 * threads && im_ceil_div(j->strips, j->n_tasks + 1) >= 4)
        j->n_tasks++;
    if (threads > 1 && j->n_tasks % threads && p->m >= 2 * (int64_t)threads * j->tile_rows)
        j->m_tasks = im_ceil_div(j->m_tasks, threads) * threads;
    else if (threads > 1 && j->m_tasks * (int64_t)j->n_tasks < threads)
        j->n_tasks = j->strips < threads ? j->strips : threads;
    j->task_strips = im_ceil_div(j->strips, j->n_tasks);
}

/* The first of row i of `parts` about equal parts of n rows, which are whole units but for the last. */
static int64_t part_of(const job *j, int64_t n, int64_t i, int64_t parts)
{
    if (j->unit == 1)
        return n * i / parts;
    int64_t units = (n + j->unit - 1) / j->unit, row = units * i / parts * j->unit;
    return row < n ? row : n;
}

/* The same of a group's rows and tiles. */
static int tile_row(const job *j, int rows, int t, int tiles)
{
    return !j->amx ? (int)((int64_t)rows * t / tiles) : t < tiles ? t * IM_AMX_ROWS : rows;
}

/* Rows of the largest of these parts. */
static int largest_part(const job *j, int64_t n, int parts)
{
    int64_t rows = (int64_t)im_ceil_div(im_ceil_div(n, j->unit), parts) * j->unit;
    return (int)(rows < n ? rows : n);
}

/* Which tiles multiply; how much of k they want at once. bf16 is stored two k a row, so blocks have even steps. */
static void choose_tiles(job *j)
{
    const im_amx *amx = im_host_of(j->dev)->amx;
    j->split = amx && im_splits(j->dev, &j->p->b);
    j->amx = amx && (j->split || amx->multiply[j->how]) ? amx : NULL;
    j->micro = j->how == IM_COMPUTE_INT8 ? im_host_of(j->dev)->int8_tiles : IM_FN(im_micro_tiles)(j->how);
    j->tile_rows = j->amx ? IM_AMX_ROWS : IM_MR;
    j->tile_panels = j->amx ? 2 : IM_NV;
    j->unit = j->amx ? IM_AMX_ROWS : 1;
}

/* A is read in place where its rows are whole steps as they lie in memory. Tile registers take groups of steps, and many
 * rows a power of two apart would push one another out of L1. int8: rows of int8.c end in zeros. */
static bool reads_in_place(const job *j)
{
    const im_product *p = j->p;
    if (j->split)
        return false;
    int unit = im_per_step(j->how) * (j->amx && j->how != IM_COMPUTE_INT8 ? IM_AMX_STEPS : 1);
    bool whole = p->k % unit == 0 && p->lda % im_per_step(j->how) == 0;
    bool apart = !j->amx || p->lda * (int64_t)im_dtype_size(p->a.t) % 1024;
    return p->a.p && p->a.t == im_factors_of(j->how) && whole && apart;
}

/* Steps that are multiplied together, and at most in a block whose A is packed. */
static int group_of(const job *j)
{
    return j->split ? IM_SPLIT_STEPS : j->amx ? IM_AMX_STEPS : 2;
}

static int packed_steps(const job *j) { return IM_PITCH / group_of(j) * group_of(j); }

/* Tile registers: the last group of steps has zeros at its end, which panels have not. */
static bool ends_within_group(const job *j)
{
    return j->amx && j->steps % IM_AMX_STEPS;
}

/* Windows that are read where pixels lie: A of a group stays for all of k, a block is part of a run. A task is one group;
 * there are as many for each thread. */
static void plan_windows(job *j)
{
    const im_product *p = j->p;
    const im_windows *w = p->windows;
    int parts = 1, threads = im_threads_of(j->dev);
    while (w->run % parts || w->run / parts % group_of(j) || w->run / parts > IM_AMX_PASS)
        parts++;
    j->block_steps = w->run / parts;
    j->blocks = w->lines * w->runs * parts;
    j->resident = true;
    int64_t pixels = (j->split ? IM_SPLIT_BYTES : IM_WINDOW_BYTES) / (j->lda * (int64_t)sizeof(float));
    int64_t most = (pixels - w->beyond) / IM_AMX_ROWS * IM_AMX_ROWS;
    most = most < IM_AMX_ROWS ? IM_AMX_ROWS : most > WINDOW_ROWS ? WINDOW_ROWS : most;
    j->m_tasks = im_ceil_div(p->m, most);
    if (p->m >= 2 * (int64_t)threads * IM_AMX_ROWS)
        j->m_tasks = im_ceil_div(j->m_tasks, threads) * threads;
    j->n_tasks = j->m_tasks < threads ? im_ceil_div(threads, j->m_tasks) : 1;
    j->n_tasks = j->n_tasks < j->strips ? j->n_tasks : j->strips;
    j->task_strips = im_ceil_div(j->strips, j->n_tasks);
    j->group_rows = largest_part(j, p->m, j->m_tasks);
    j->a_floats = (size_t)((j->group_rows + w->beyond) * j->lda) + IM_PITCH;
    j->sums_floats = (size_t)j->group_rows * IM_STRIP;
    j->b_floats = j->convert ? (size_t)j->block_steps * IM_STRIP : 0;
}

static void plan(job *j)
{
    const im_product *p = j->p;
    int panels = im_pack_panel_count(p->n, false);             /* of the values, of the gates */
    j->strips = p->geglu ? panels : im_ceil_div(panels, 2);
    j->how = im_host_of(j->dev)->compute[p->b.dtype];
    j->convert = p->b.dtype != im_factors_of(j->how);
    choose_tiles(j);
    int unit = im_per_step(j->how), group = group_of(j);
    j->steps = im_ceil_div(p->k, unit);
    j->direct = reads_in_place(j);
    j->lda = j->direct || p->windows ? p->lda / unit : IM_PITCH;
    j->blocks = j->steps ? im_ceil_div(j->steps, j->direct ? STEPS : packed_steps(j)) : 1;
    j->block_steps = im_ceil_div(im_ceil_div(j->steps, j->blocks), group) * group;
    j->blocks = j->steps ? im_ceil_div(j->steps, j->block_steps) : 1;
    j->pass = j->amx ? IM_AMX_PASS : j->block_steps + 1;
    j->step_bytes = (j->convert ? 2 : 4) * IM_PANEL;
    j->panel_bytes = im_packed_bytes(p->b.dtype, IM_PANEL, p->k, false);
    j->partner = (p->geglu ? (size_t)panels : 1) * j->panel_bytes;
    if (p->windows) {
        plan_windows(j);
        return;
    }
    int group_rows = j->split ? SPLIT_ROWS : GROUP_ROWS / j->tile_rows * j->tile_rows;
    int short_group = j->split ? SPLIT_SHORT : SHORT_GROUP / j->tile_rows * j->tile_rows;
    int rows = p->m < group_rows ? (int)p->m : group_rows;
    j->resident = j->blocks <= 2 || (size_t)rows * (size_t)j->blocks * IM_PITCH * sizeof(float) <= RESIDENT;
    split(j, j->resident ? 2 * group_rows : group_rows);
    rows = largest_part(j, p->m, j->m_tasks);
    int groups = im_ceil_div(rows, j->resident && !j->direct ? short_group : group_rows);
    j->group_rows = largest_part(j, rows, groups);
    j->rows_first = (double)p->n * (double)j->step_bytes > (double)p->m * 4 * IM_PANEL;
    size_t packed = (size_t)j->group_rows * (j->resident ? (size_t)j->blocks : 1) + 1;           /* + 1: may overrun */
    j->a_floats = j->direct ? 0 : packed * IM_PITCH;
    j->sums_floats = (size_t)j->group_rows * (j->resident ? 1 : (size_t)j->task_strips) * IM_STRIP;
    j->b_floats = j->convert || ends_within_group(j) ? (size_t)j->block_steps * IM_STRIP : 0;
}

static size_t scratch_bytes(const job *j)
{
    return (j->a_floats + j->sums_floats + j->b_floats) * sizeof(float);
}

/* ---------------------------------------------------------------- one strip, one block */

typedef struct area { int64_t row; int rows, block, blocks; } area;      /* of A: rows, blocks of k from `block` on */

typedef struct cursor {
    area now, next;                              /* what is being multiplied; what of A comes next, if rows > 0 */
    int strip, turn, turns;                      /* this is call `turn` of `turns` with the same next */
    const float *a;                              /* the block's packed rows */
    float *sums, *b;                             /* the strip's sums; room for its converted B */
    const char *next_b;                          /* what of B comes next, NULL at the end */
} cursor;

static int steps_of(const job *j, int block)
{
    int left = j->steps - block * j->block_steps;
    return left < j->block_steps ? left : j->block_steps;
}

/* Rows of one block. */
static void pack_block(const job *j, float *dst, int64_t row, int rows, int b, im_pack_mode mode)
{
    int unit = im_per_step(j->how), k0 = b * j->block_steps * unit, k1 = k0 + steps_of(j, b) * unit, k = j->p->k;
    int group = j->amx ? group_of(j) * unit : 1;
    im_dtype t = im_factors_of(j->how);
    j->p->pack(j->p, dst, row, rows, k0, k1 < k ? k1 : k, mode);
    k1 = k0 + (k1 - k0 + group - 1) / group * group;
    for (int i = 0; mode != IM_PACK_FETCH && k1 > k && i < rows; i++)                    /* completes the last step */
        memset(im_at(dst + i * IM_PITCH, t, k - k0), 0, (size_t)(k1 - k) * im_dtype_size(t));
    for (int i = 0; mode != IM_PACK_FETCH && j->split && i < rows; i++)
        im_split_row(dst + i * IM_PITCH, k1 - k0);
}

/* Packs (or fetches) rows of an area; packed blocks lie group_rows rows apart. */
static void pack(const job *j, float *dst, area a, im_pack_mode mode)
{
    const im_windows *windows = j->p->windows;
    if (windows) {
        if (mode != IM_PACK_FETCH)
            windows->pack(j->p, dst, a.row, a.rows + windows->beyond, 0, (int)j->p->lda, mode);
        return;
    }
    if (j->direct && mode != IM_PACK_FETCH)
        return;
    for (int b = a.block; b < a.block + a.blocks; b++, dst += j->group_rows * IM_PITCH) {
        int few = j->split && mode != IM_PACK_FETCH ? IM_AMX_ROWS : a.rows;              /* split while they are in L1 */
        for (int i = 0; i < a.rows; i += few)
            pack_block(j, dst + i * IM_PITCH, a.row + i, a.rows - i < few ? a.rows - i : few, b, mode);
    }
}

/* Panel `part` (0 or 1) of a strip from the block's first step on; NULL where the strip has only one panel. */
static const char *panel_at(const job *j, int strip, int block, int part)
{
    int panels = im_ceil_div(j->p->n, IM_PANEL), panel = strip * (j->p->geglu ? 1 : 2);
    if (part && !j->p->geglu && panel + 1 >= panels)
        return NULL;
    return (const char *)j->p->b.data + (size_t)panel * j->panel_bytes + (size_t)part * j->partner
         + (size_t)block * (size_t)j->block_steps * j->step_bytes;
}

/* 16-bit panel to f32, k by k; bf16 lies two k a row (weight.h). */
static const float *to_f32(const job *j, const char *panel, int steps, float *dst)
{
    if (j->p->b.dtype == IM_F16)
        for (int k = 0; k < steps; k++)
            v_store(dst + k * IM_PANEL, v_load_f16((const uint16_t *)panel + k * IM_PANEL));
    else
        for (int k = 0; k < steps; k += 2) {
            v16 two = v_load((const float *)panel + k / 2 * IM_PANEL);
            v_store(dst + k * IM_PANEL, v_bf16_even(two));
            v_store(dst + (k + 1) * IM_PANEL, v_bf16_odd(two));
        }
    return dst;
}

/* A panel's last steps with zeros up to a group behind them. */
static const float *to_groups(const float *panel, int steps, float *dst)
{
    int whole = (steps + IM_AMX_STEPS - 1) / IM_AMX_STEPS * IM_AMX_STEPS;
    for (int k = 0; k < whole; k++)
        v_store(dst + k * IM_PANEL, k < steps ? v_load(panel + k * IM_PANEL) : v_zero());
    return dst;
}

/* Slice t of `tiles` of what comes next into L2, little by little, so that memory works while the tiles compute: rows of
 * A here, B during the tile. */
static void fetch(const job *j, const cursor *w, int t, int tiles, im_tile *q)
{
    if (w->next_b && q->steps > 0) {
        int64_t slice = (int64_t)j->block_steps * (int64_t)j->step_bytes / tiles;
        q->next = w->next_b + slice * t;
        q->next_apart = (int64_t)j->partner;
        q->next_pace = slice / q->steps + 1;
    }
    int64_t part = (int64_t)w->turn * tiles + t, parts = (int64_t)w->turns * tiles;
    int r0 = (int)(w->next.rows * part / parts), r1 = (int)(w->next.rows * (part + 1) / parts);
    if (r1 > r0)
        pack(j, NULL, (area){ w->next.row + r0, r1 - r0, w->next.block, w->next.blocks }, IM_PACK_FETCH);
}

/* int8: a strip's sums become f32, as int8.h defines it. What was added to the integers of A comes out first: 128 times the
 * sum of each column. */
static void to_real(const job *j, int strip, int64_t row, int rows, int panels, float *sums)
{
    bool flipped = im_host_of(j->dev)->int8_flip;
    for (int part = 0; part < panels; part++, sums += IM_PANEL) {
        const float *tail = (const float *)(const void *)(panel_at(j, strip, 0, part) + im_int8_values(j->p->k));
        v16 scale = v_load(tail), more = flipped ? v_load(tail + IM_PANEL) : v_zero();
        for (int i = 0; i < rows; i++) {
            v16 y = v_real_of_i32(v_sub_i32(v_load(sums + i * IM_STRIP), more));
            v_store(sums + i * IM_STRIP, v_mul(y, v_mul(v_set1(j->p->scales[row + i]), scale)));
        }
    }
}

/* Panels of the strip that are multiplied together, ready for that; returns their number. */
static int panels_of(const job *j, const cursor *w, int steps, const float *b[2])
{
    int panels = 0;
    for (const char *q; panels < 2 && (q = panel_at(j, w->strip, w->now.block, panels)); panels++) {
        float *room = w->b + panels * j->block_steps * IM_PANEL;
        b[panels] = j->split                           ? im_split_panel((const uint16_t *)(const void *)q, steps, room)
                  : j->convert                         ? to_f32(j, q, steps, room)
                  : j->amx && steps % IM_AMX_STEPS     ? to_groups((const float *)q, steps, room) : (const float *)q;
    }
    return panels;
}

static void multiply(const job *j, im_tile *q, int rows, int panels)
{
    if (j->amx) {
        q->steps = im_ceil_div(q->steps, group_of(j)) * group_of(j);
        (j->split ? j->amx->multiply_split : j->amx->multiply[j->how])(q, rows, panels);
    } else {
        j->micro->tile[panels - 1][rows - 1](q);
    }
}

/* Sums of finished rows to c; of windows line by line, without those that lie across lines or pictures. */
static void finish(const job *j, int strip, int64_t row, int rows, const float *sums)
{
    const im_windows *w = j->p->windows;
    if (!w) {
        IM_FN(im_epilogue)(j->p, strip, row, rows, sums);
        return;
    }
    for (int64_t i = row, next; i < row + rows; i = next) {
        int64_t line = i / w->line, x = i % w->line, image = line / (w->down + 1), y = line % (w->down + 1);
        next = (line + 1) * w->line < row + rows ? (line + 1) * w->line : row + rows;
        int64_t count = w->across - x < next - i ? w->across - x : next - i;
        if (count > 0 && y < w->down)
            IM_FN(im_epilogue)(j->p, strip, (image * w->down + y) * w->across + x, (int)count, sums + (i - row) * IM_STRIP);
    }
}

static void run_strip(const job *j, const cursor *w)
{
    int steps = steps_of(j, w->now.block), tiles = im_ceil_div(w->now.rows, j->tile_rows);
    int passes = im_ceil_div(steps, j->pass) + !steps;
    const float *b[2] = { 0 };
    int panels = panels_of(j, w, steps, b);
    for (int part = 0; part < panels; part += j->tile_panels) {
        int wide = panels - part < j->tile_panels ? panels - part : j->tile_panels;
        for (int n = 0, t = 0, pass = 0; n < tiles * passes; n++, t = t + 1 < tiles ? t + 1 : 0, pass += !t) {
            int s = pass * j->pass, left = steps - s < j->pass ? steps - s : j->pass;
            int r0 = tile_row(j, w->now.rows, t, tiles), rows = tile_row(j, w->now.rows, t + 1, tiles) - r0;
            float *sums = w->sums + r0 * IM_STRIP;
            im_tile q = { .steps = left, .a = w->a + r0 * j->lda + s, .lda = j->lda,
                          .b = { b[part] + s * IM_PANEL, b[part + wide - 1] + s * IM_PANEL },
                          .in = w->now.block || pass ? sums + part * IM_PANEL : NULL, .out = sums + part * IM_PANEL,
                          .next = b[part] };
            if (part == 0)
                fetch(j, w, n, tiles * passes, &q);
            multiply(j, &q, rows, wide);
            if (w->now.block < j->blocks - 1 || pass < passes - 1 || part + wide < panels)
                continue;
            if (j->p->scales)
                to_real(j, w->strip, w->now.row + r0, rows, panels, sums);
            finish(j, w->strip, w->now.row + r0, rows, sums);
        }
    }
}

/* ---------------------------------------------------------------- tasks */

/* Where a block's rows of A are, from the group's first on: in place, or in a. */
static const float *rows_of_block(const job *j, const float *a, int64_t row, int block)
{
    const im_windows *w = j->p->windows;
    if (w) {
        int parts = j->blocks / w->lines / w->runs, run = block / parts;
        return a + (run / w->runs * w->line + run % w->runs) * j->lda + (int64_t)(block % parts) * j->block_steps;
    }
    if (j->direct)
        return (const float *)j->p->a.p + row * j->lda + (int64_t)block * j->block_steps;
    return a + (j->resident ? (int64_t)block * j->group_rows * IM_PITCH : 0);
}

/* One group of rows against strips [strip0, strip1). Resident: all of A's blocks first, then all blocks for each strip;
 * else all strips for each block. next: the group that follows. */
static void run_group(const job *j, area rows, area next, int strip0, int strip1, float *scratch)
{
    float *a = scratch, *sums = a + j->a_floats;
    int count = strip1 - strip0;
    cursor w = { .now = rows, .b = sums + j->sums_floats };
    if (j->resident)
        pack(j, a, rows, (im_pack_mode)j->how);
    for (int i = 0; i < j->blocks * count; i++) {
        int block = j->resident ? i % j->blocks : i / count, strip = j->resident ? i / j->blocks : i % count;
        w.now.block = block;
        w.now.blocks = 1;
        if (!j->resident && strip == 0)
            pack(j, a, w.now, (im_pack_mode)j->how);
        w.next = next;
        if (!j->resident && block + 1 < j->blocks) {
            w.next = w.now;
            w.next.block = block + 1;
        }
        w.turn = j->resident ? i : strip;
        w.turns = j->resident ? j->blocks * count : count;
        w.strip = strip0 + strip;
        w.a = rows_of_block(j, a, rows.row, block);
        w.sums = sums + (j->resident ? 0 : (int64_t)strip * j->group_rows * IM_STRIP);
        int n = i + 1;
        w.next_b = n < j->blocks * count ? panel_at(j, strip0 + (j->resident ? n / j->blocks : n % count),
                                                    j->resident ? n % j->blocks : n / count, 0) : NULL;
        run_strip(j, &w);
    }
}

static bool stopped(const job *j)
{
    return j->dev->stop && *j->dev->stop;
}

static void task(void *arg, int index, int thread)
{
    const job *j = arg;
    float *scratch = im_scratch(j->dev, thread, scratch_bytes(j));
    int mt = j->rows_first ? index % j->m_tasks : index / j->n_tasks;
    int nt = j->rows_first ? index / j->m_tasks : index % j->n_tasks;
    int64_t row0 = part_of(j, j->p->m, mt, j->m_tasks), rows = part_of(j, j->p->m, mt + 1, j->m_tasks) - row0;
    int strip0 = (int)((int64_t)j->strips * nt / j->n_tasks);
    int strip1 = (int)((int64_t)j->strips * (nt + 1) / j->n_tasks);
    int groups = im_ceil_div(rows, j->group_rows), blocks = j->resident ? j->blocks : 1;
    for (int g = 0; g < groups && !stopped(j); g++) {
        int64_t r0 = part_of(j, rows, g, groups), r1 = part_of(j, rows, g + 1, groups);
        int64_t r2 = g + 1 < groups ? part_of(j, rows, g + 2, groups) : r1;
        run_group(j, (area){ row0 + r0, (int)(r1 - r0), 0, blocks }, (area){ row0 + r1, (int)(r2 - r1), 0, blocks },
                  strip0, strip1, scratch);
    }
    if (j->amx)
        j->amx->end();
}

/* B given as plain rows is packed first, into scratch that all threads share. */
static int pack_plain(im_device *dev, im_product *p)
{
    return IM_FN(im_pack_weight)(dev, &p->b, p->geglu ? 2 * p->n : p->n, p->geglu) ? IM_DONE : IM_NO_MEMORY;
}

int IM_FN(im_product_run)(im_device *dev, im_product *p)
{
    if (p->m <= 0 || p->n <= 0)
        return IM_DONE;
    int status = p->b.packed ? IM_DONE : pack_plain(dev, p);
    if (status)
        return status;
    job j = { .dev = dev, .p = p };
    plan(&j);
    for (int t = 0; t < im_threads_of(dev); t++)
        if (!im_scratch(dev, t, scratch_bytes(&j)))
            return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(dev), j.m_tasks * j.n_tasks, task, &j);
    return stopped(&j) ? IM_STOPPED : IM_DONE;
}
