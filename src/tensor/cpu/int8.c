/* int8.c: products whose weights are int8, as int8.h defines them: rows of A become integers and a scale each, once, in
 * memory that all threads share; from there product.c reads them in place.
 *
 *     linear layers, 1x1      a row is a row of A: two passes over it, amax (from memory) and integers (from L1)
 *     other convolutions      a row is the window of an output pixel: amax of each input pixel first, that of a window from
 *                             those of its taps, then its integers, tap by tap; 9 times the input in bytes, 2.25 in f32's
 *
 * Called by gemm.c and conv.c. */
#include "tensor/cpu/int8.h"
#include "tensor/cpu/product.h"
#include "tensor/int8.h"
#include "tensor/parallel.h"

enum { ROWS_A_TASK = 16, SPARE = 16 };           /* bytes behind a row that its last vector may write                  */
enum { GROUP = 4 * IM_AMX_STEPS };               /* bytes of a row that tile registers take at once (tile.h)           */

typedef struct job {
    const im_conv_args *conv;                    /* NULL: rows of a matrix                                             */
    im_cbuf a; int64_t lda;                      /* these, or the input's pixels                                       */
    int64_t rows, pixels;                        /* of A; of the input                                                 */
    int k;                                       /* of a row                                                           */
    const float *by;                             /* multipliers of a pixel's or a row's values, or NULL                */
    int64_t ldq;                                 /* bytes from row to row of q                                         */
    uint8_t flip;
    bool amx;                                    /* multiplied in tile registers                                       */
    uint8_t *q;
    float *scales, *amax;                        /* (rows), (pixels)                                                   */
} job;

/* ---------------------------------------------------------------- rows */

/* Zeros from the end of a row to that of its group. */
static void end_row(const job *j, uint8_t *q)
{
    if (j->amx && j->k % GROUP)
        memset(q + j->k, 0, (size_t)(GROUP - j->k % GROUP));
}

/* Tile registers read whole groups; an odd number of cache lines, lest rows push one another out of L1. */
static int64_t row_bytes(const job *j)
{
    int64_t lines = (j->k + SPARE + GROUP - 1) / GROUP;
    return j->amx ? (lines + !(lines % 2)) * GROUP : (j->k + SPARE + 15) / 16 * 16;
}

static void matrix_row(const job *j, int64_t row)
{
    const void *a = im_at(j->a.p, j->a.t, row * j->lda);
    im_int8_scale s = im_int8_scale_of(im_amax_of(j->a.t, a, j->by, j->k));
    j->scales[row] = s.scale;
    im_integers_of(j->a.t, a, j->by, j->k, s.inverse, j->flip, j->q + row * j->ldq);
    end_row(j, j->q + row * j->ldq);
}

/* ---------------------------------------------------------------- windows */

/* The input pixel under tap (i, k) of an output pixel; -1: outside of the picture. */
static int64_t pixel_of(const im_conv_args *c, int64_t row, int i, int k)
{
    int64_t ox = row % c->ow, oy = row / c->ow % c->oh, image = row / c->ow / c->oh;
    int64_t uy = oy * c->stride + i - c->pad_top, ux = ox * c->stride + k - c->pad_left;
    if (uy < 0 || uy >= c->up_h || ux < 0 || ux >= c->up_w)
        return -1;
    return (image * c->h + uy * c->h / c->up_h) * c->w + ux * c->w / c->up_w;
}

static void window_row(const job *j, int64_t row)
{
    const im_conv_args *c = j->conv;
    uint8_t *q = j->q + row * j->ldq;
    float amax = 0;
    for (int tap = 0; tap < c->kh * c->kw; tap++) {
        int64_t p = pixel_of(c, row, tap / c->kw, tap % c->kw);
        if (p >= 0)
            amax = im_int8_larger(amax, j->amax[p]);
    }
    im_int8_scale s = im_int8_scale_of(amax);
    j->scales[row] = s.scale;
    for (int tap = 0; tap < c->kh * c->kw; tap++, q += c->cin) {
        int64_t p = pixel_of(c, row, tap / c->kw, tap % c->kw);
        if (p < 0)
            memset(q, j->flip, (size_t)c->cin);
        else
            im_integers_of(j->a.t, im_at(j->a.p, j->a.t, p * c->cin), j->by, c->cin, s.inverse, j->flip, q);
    }
    end_row(j, j->q + row * j->ldq);
}

/* ---------------------------------------------------------------- the whole */

static void amax_task(void *arg, int task, int thread)
{
    const job *j = arg;
    int64_t last = ((int64_t)task + 1) * ROWS_A_TASK < j->pixels ? ((int64_t)task + 1) * ROWS_A_TASK : j->pixels;
    (void)thread;
    for (int64_t i = (int64_t)task * ROWS_A_TASK; i < last; i++)
        j->amax[i] = im_amax_of(j->a.t, im_at(j->a.p, j->a.t, i * j->conv->cin), j->by, j->conv->cin);
}

static void rows_task(void *arg, int task, int thread)
{
    const job *j = arg;
    int64_t last = ((int64_t)task + 1) * ROWS_A_TASK < j->rows ? ((int64_t)task + 1) * ROWS_A_TASK : j->rows;
    (void)thread;
    for (int64_t i = (int64_t)task * ROWS_A_TASK; i < last; i++)
        if (j->conv)
            window_row(j, i);
        else
            matrix_row(j, i);
}

/* What product.c asks of a packer where it reads A in place: rows into L2, before they are wanted. */
static void fetch(const im_product *p, float *dst, int64_t row, int rows, int k0, int k1, im_pack_mode mode)
{
    (void)dst;
    (void)mode;
    for (int i = 0; i < rows; i++)
        for (int k = k0; k < k1; k += 64)
            v_prefetch_l2((const char *)p->a.p + (row + i) * p->lda + k);
}

static int tasks_of(int64_t rows)
{
    return (int)((rows + ROWS_A_TASK - 1) / ROWS_A_TASK);
}

/* Integers of all rows, then their product; p has what comes behind the sums. */
static int run(im_device *dev, job *j, im_product *p)
{
    int threads = im_threads_of(dev);
    size_t counts = ((size_t)j->rows + (size_t)j->pixels + 15) / 16 * 16;
    j->by = im_int8_multipliers(&p->b);
    j->flip = im_host_of(dev)->int8_flip;
    j->amx = im_host_of(dev)->amx != NULL;
    j->ldq = row_bytes(j);
    float *room = im_scratch(dev, threads, counts * sizeof *room + (size_t)j->rows * (size_t)j->ldq);
    if (!room)
        return IM_NO_MEMORY;
    j->scales = room;
    j->amax = room + j->rows;
    j->q = (uint8_t *)(room + counts);
    im_parallel_for(threads, tasks_of(j->pixels), amax_task, j);
    im_parallel_for(threads, tasks_of(j->rows), rows_task, j);
    p->m = j->rows;
    p->k = (j->k + 3) / 4 * 4;                                 /* what is behind a row meets zeros                     */
    p->pack = fetch;
    p->a = (im_cbuf){ j->q, IM_INT8 };
    p->lda = j->ldq;
    p->scales = j->scales;
    return IM_FN(im_product_run)(dev, p);
}

int IM_FN(im_int8_gemm)(im_device *dev, const im_gemm_args *g)
{
    return run(dev, &(job){ .a = g->a, .lda = g->lda, .rows = g->m, .k = g->k }, &(im_product){
        .n = g->n, .b = g->b, .bias = g->bias, .res = g->res, .ldres = g->ldres, .c = g->c, .ldc = g->ldc, .act = g->act,
        .geglu = g->geglu });
}

int IM_FN(im_int8_conv)(im_device *dev, const im_conv_args *c, bool rows)
{
    int64_t pixels = (int64_t)c->oh * c->ow;
    job j = { .conv = rows ? NULL : c, .a = c->x, .lda = c->cin, .rows = c->batch * pixels, .k = c->kh * c->kw * c->cin,
              .pixels = rows ? 0 : (int64_t)c->batch * c->h * c->w };
    return run(dev, &j, &(im_product){
        .n = c->cout, .b = c->wt, .bias = c->bias, .chan = c->chan, .ldchan = c->ldchan, .chan_rows = pixels, .res = c->res,
        .ldres = c->cout, .c = c->y, .ldc = c->cout, .act = IM_ACT_NONE });
}
