/* optimise.cu: one step of an optimiser over all parameters, and the sums of squares of their gradients (ref/optimise.c
 * has the formulas, cpu/optimise.c the order of the operations). Called by ops/optimise.c.
 *
 * The step is one launch over all parameters: their list is copied to the device, and a block finds in it whose elements
 * its own are. Sums of squares: MANY parameters at a time travel in a kernel's arguments, of which there may be 4 KiB; the
 * grid's y axis is the parameter, x its elements: 16 threads a chunk of IM_MAP_CHUNK elements in f64,
 * then a thread a parameter, and one thread for all. Of LARS the host reads the sums, one number each. */
#include "cuda/kernel.cuh"

#include <stdlib.h>

enum { MANY = 32, STEP_SPAN = 8 * THREADS };                    /* elements of a block of the step                      */

/* Numbers of the whole step, as f32. */
struct numbers { float scale, lr, momentum, ema, b1, b2, b2_rest, eps, root, rate; };

struct step_call {
    im_optimiser_kind kind;
    bool momentum, nesterov;
    numbers x;
    const im_step_gate *gate;                                  /* NULL, or where scale is taken from                   */
    const struct listed *list; int count;                      /* on the device                                        */
};
struct listed { im_slot s; float keep, trust; int64_t first; };        /* AdamW: 1 - lr decay; the first block of it    */

DEV void average(const im_slot &s, int64_t i, float w, float rest)
{
    if (s.ema)
        s.ema[i] = fmaf(rest, w - s.ema[i], s.ema[i]);
}

DEV float sgd(const step_call &p, const im_slot &s, float scale, float trust, int64_t i)
{
    float w = s.w[i], g = fmaf((float)s.decay, w, s.g[i] * scale) * trust;
    if (p.momentum && s.m) {
        float m = fmaf(p.x.momentum, s.m[i], g);
        s.m[i] = m;
        g = p.nesterov ? fmaf(p.x.momentum, m, g) : m;
    }
    return fnma(p.x.lr, g, w);
}

DEV float adamw(const step_call &p, const im_slot &s, float scale, float keep, int64_t i)
{
    float w = s.w[i] * keep, g = s.g[i] * scale, m = s.m[i];
    m = fmaf(p.x.b1, g - m, m);
    float v = fmaf(p.x.b2_rest, g * g, p.x.b2 * s.v[i]);
    s.m[i] = m;
    s.v[i] = v;
    return fnma(p.x.rate, m / (sqrtf(v) / p.x.root + p.x.eps), w);
}

KERNEL(THREADS) step_kernel(GRID step_call p)
{
    int at = 0;
    if (p.gate && p.gate->shut)
        return;
    for (int end = p.count; end - at > 1;) {                   /* the last one that begins at or before this block     */
        int middle = (at + end) / 2;
        if (p.list[middle].first <= (int64_t)blockIdx.x)
            at = middle;
        else
            end = middle;
    }
    const listed l = p.list[at];                               /* a copy: no store can change it                        */
    const im_slot &s = l.s;
    float scale = p.gate ? (float)p.gate->scale : p.x.scale;
    int64_t from = ((int64_t)blockIdx.x - l.first) * STEP_SPAN, to = min_of(from + STEP_SPAN, s.n);
    for (int64_t i = from + threadIdx.x; i < to; i += THREADS) {
        float w = s.w[i];
        if (s.g) {
            w = p.kind == IM_ADAMW ? adamw(p, s, scale, l.keep, i) : sgd(p, s, scale, l.trust, i);
            s.w[i] = w;
        }
        average(s, i, w, p.x.ema);
    }
}

/* ---------------------------------------------------------------- sums of squares */

struct square_call {
    const float *x[MANY]; int64_t n[MANY];                     /* x NULL: the sum is 0                                 */
    int64_t chunks, slot0;                                     /* most of one parameter; the first parameter           */
    double *parts, *sums;                                      /* (MANY, chunks), (parameters)                         */
};

KERNEL(THREADS) square_chunks(GRID square_call p)
{
    const float *x = p.x[blockIdx.y];
    int64_t chunk = thread_of_grid() / 16, from = chunk * IM_MAP_CHUNK, last = min_of(from + IM_MAP_CHUNK, p.n[blockIdx.y]);
    int lane = (int)threadIdx.x % 16;
    double sum = 0.0;
    for (int64_t i = from + lane; x && i < last; i += 16)
        sum = sum + (double)x[i] * (double)x[i];
    sum = tree_sum(sum);
    if (lane == 0 && chunk < p.chunks)
        p.parts[blockIdx.y * p.chunks + chunk] = sum;
}

KERNEL(MANY) square_sums(GRID square_call p, int count)
{
    int i = (int)threadIdx.x;
    double sum = 0.0;
    if (i >= count)
        return;
    for (int64_t chunk = 0; chunk * IM_MAP_CHUNK < p.n[i]; chunk++)
        sum = sum + p.parts[i * p.chunks + chunk];
    p.sums[p.slot0 + i] = sum;
}

static int64_t most_elements(const im_slot *slots, int count)
{
    int64_t most = 1;
    for (int i = 0; i < count; i++)
        most = slots[i].n > most ? slots[i].n : most;
    return most;
}

/* Sums of squares of the weights or the gradients of all parameters: (count), on the device, until the workspace is asked
 * for again. */
static int squares(im_device *dev, const im_slot *slots, int count, bool weights, double **to)
{
    int64_t most = (most_elements(slots, count) + IM_MAP_CHUNK - 1) / IM_MAP_CHUNK;
    double *parts = (double *)im_cuda_workspace(dev, (size_t)(MANY * most + count + 1) * sizeof(double));
    int failed = 0;
    if (!parts)
        return IM_NO_MEMORY;
    *to = parts + MANY * most;
    for (int at = 0; at < count && !failed; at += MANY) {
        int n = count - at < MANY ? count - at : (int)MANY;
        square_call p = { { NULL }, { 0 }, 0, at, parts, *to };
        p.chunks = (most_elements(slots + at, n) + IM_MAP_CHUNK - 1) / IM_MAP_CHUNK;
        for (int i = 0; i < n; i++) {
            p.x[i] = !slots[at + i].g ? NULL : weights ? slots[at + i].w : slots[at + i].g;
            p.n[i] = slots[at + i].n;
        }
        failed = RUN(dev, dim3(im_cuda_blocks(p.chunks * 16, THREADS), (unsigned)n), THREADS, square_chunks, p);
        failed = failed || RUN(dev, 1, MANY, square_sums, p, n);
    }
    return im_cuda_done(dev, failed);
}

KERNEL(32) square_total(const double *sums, GRID im_sumsq_args p)
{
    double sum = 0.0;
    int first = -1;
    if (threadIdx.x)
        return;
    for (int i = 0; i < p.count; i++) {
        if (!isfinite(sums[i]) && first < 0)
            first = i;
        sum = sum + sums[i];
    }
    *p.sum = sum;
    *p.first_bad = first;
}

int im_cuda_sumsq(im_device *dev, const im_sumsq_args *p)
{
    double *sums;
    int status = squares(dev, p->slots, p->count, false, &sums);
    return status ? status : im_cuda_done(dev, RUN(dev, 1, 32, square_total, sums, *p));
}

/* ---------------------------------------------------------------- the step */

static int squares_to_host(im_device *dev, const im_slot *slots, int count, bool weights, double *to)
{
    double *sums;
    int status = squares(dev, slots, count, weights, &sums);
    return status ? status : dev->s.download(dev, to, sums, (size_t)count * sizeof(double));
}

/* LARS: trust (count) of each parameter; 1 elsewhere. */
static int find_trust(im_device *dev, const im_optimise_args *p, float *trust)
{
    double *w = (double *)malloc(2 * ((size_t)p->count + 1) * sizeof(double)), *g = w + p->count;
    im_step_gate gate = { p->scale, 0, 0 };
    int status = !w ? IM_NO_MEMORY : squares_to_host(dev, p->slots, p->count, true, w);
    status = status ? status : squares_to_host(dev, p->slots, p->count, false, g);
    status = status || !p->gate ? status : dev->s.download(dev, &gate, p->gate, sizeof gate);
    status = status ? status : dev->s.wait(dev, dev->s.mark(dev));
    for (int i = 0; i < p->count && !status; i++) {
        double weight = sqrt(w[i]), grad = fabs(gate.scale) * sqrt(g[i]);
        if (p->slots[i].adapt && weight > 0 && grad > 0)
            trust[i] = (float)(p->trust * weight / (grad + p->slots[i].decay * weight + p->eps));
    }
    free(w);
    return status;
}

static numbers numbers_of(const im_optimise_args *p)
{
    double t = (double)p->step;
    numbers x = { (float)p->scale, (float)p->lr, (float)p->momentum, (float)(1 - p->ema_decay), 0, 0, 0, 0, 0, 0 };
    if (p->kind == IM_ADAMW) {
        x.b1 = (float)(1 - p->beta1);
        x.b2 = (float)p->beta2;
        x.b2_rest = (float)(1 - p->beta2);
        x.eps = (float)p->eps;
        x.root = (float)sqrt(1 - pow(p->beta2, t));
        x.rate = (float)(p->lr / (1 - pow(p->beta1, t)));
    }
    return x;
}

int im_cuda_optimise(im_device *dev, const im_optimise_args *p)
{
    size_t bytes = ((size_t)p->count + 1) * sizeof(listed);
    listed *list = (listed *)malloc(bytes);
    float *trust = (float *)malloc(((size_t)p->count + 1) * sizeof(float));
    int status = trust && list ? IM_DONE : IM_NO_MEMORY, failed = 0;
    int64_t blocks = 0;
    for (int i = 0; i < p->count && !status; i++)
        trust[i] = 1.0f;
    if (p->kind == IM_LARS && p->count && !status)
        status = find_trust(dev, p, trust);
    for (int i = 0; i < p->count && !status; i++) {
        list[i] = listed{ p->slots[i], (float)(1 - p->lr * p->slots[i].decay), trust[i], blocks };
        blocks += (p->slots[i].n + STEP_SPAN - 1) / STEP_SPAN;
    }
    void *there = status ? NULL : im_cuda_workspace(dev, bytes);
    status = status ? status : !there ? IM_NO_MEMORY : dev->s.upload(dev, there, list, bytes - sizeof *list);
    step_call c = { p->kind, p->momentum != 0, p->nesterov, numbers_of(p), p->gate, (const listed *)there, p->count };
    if (blocks && !status)
        failed = RUN(dev, (unsigned)blocks, THREADS, step_kernel, c);
    free(list);
    free(trust);
    return status ? status : im_cuda_done(dev, failed);
}
