/* optimise.c: one step of an optimiser over all parameters, and the sum of squares of all gradients. The formulas stand in
 * ref/optimise.c. Every parameter is cut into chunks of IM_MAP_CHUNK elements, a task each: weight, gradient, state and
 * average go through the cache once. Sums of squares are f64 (squares of f32 are exact there) in 16 lanes and the tree
 * of a chunk; chunks of a parameter are added in ascending order, then parameters. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/sums.h"
#include "tensor/parallel.h"

#include <math.h>

typedef struct {                         /* numbers of the whole step, as f32 */
    v16 scale, lr, momentum, ema;        /* ema: 1 - decay */
    v16 b1, b2, b2_rest, eps;            /* AdamW: 1 - beta1, beta2, 1 - beta2, eps */
    v16 root, rate;                      /* sqrt(1 - beta2^t), lr / (1 - beta1^t) */
} numbers;

typedef struct {
    const im_optimise_args *at;          /* NULL: sums only */
    const im_slot *slots;
    int count, chunks;
    int *first;                          /* (count + 1): first chunk of each slot */
    double *w, *g;                       /* (chunks): sums of squares of weights (LARS), gradients */
    float *trust;                        /* (count) */
    numbers x;
} job;

/* The slot of a chunk: the last whose first chunk is not behind it. */
static int slot_of(const job *w, int chunk)
{
    int low = 0, high = w->count;
    while (high - low > 1) {
        int mid = (low + high) / 2;
        if (w->first[mid] <= chunk)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* The part of a slot that a chunk is. */
static im_slot part_of(const job *w, int chunk, int slot)
{
    im_slot s = w->slots[slot];
    int64_t from = (int64_t)(chunk - w->first[slot]) * IM_MAP_CHUNK;
    s.n = s.n - from < IM_MAP_CHUNK ? s.n - from : IM_MAP_CHUNK;
    s.w += from;
    s.g = s.g ? s.g + from : NULL;
    s.m = s.m ? s.m + from : NULL;
    s.v = s.v ? s.v + from : NULL;
    s.ema = s.ema ? s.ema + from : NULL;
    return s;
}

IM_INLINE void average(const im_slot *s, int64_t i, int n, v16 w, v16 rest)
{
    v16 e = v_load_part(s->ema + i, n);
    v_store_part(s->ema + i, v_fma(rest, v_sub(w, e), e), n);
}

/* g' = r (scale g + decay w);  m = momentum m + g';  w -= lr (g' + momentum m | m | g') */
IM_INLINE void sgd(const im_slot *s, const numbers *x, float trust, bool momentum, bool nesterov, bool ema)
{
    v16 decay = v_set1((float)s->decay), r = v_set1(trust);
    for (int64_t i = 0; i < s->n; i += 16) {
        int n = s->n - i < 16 ? (int)(s->n - i) : 16;
        v16 w = v_load_part(s->w + i, n), g = v_mul(v_load_part(s->g + i, n), x->scale);
        g = v_mul(v_fma(decay, w, g), r);
        if (momentum) {
            v16 m = v_fma(x->momentum, v_load_part(s->m + i, n), g);
            v_store_part(s->m + i, m, n);
            g = nesterov ? v_fma(x->momentum, m, g) : m;
        }
        w = v_fnma(x->lr, g, w);
        v_store_part(s->w + i, w, n);
        if (ema)
            average(s, i, n, w, x->ema);
    }
}

static void sgd_forms(const im_slot *s, const numbers *x, float trust, bool momentum, bool nesterov)
{
    if (!momentum && s->ema)
        sgd(s, x, trust, false, false, true);
    else if (!momentum)
        sgd(s, x, trust, false, false, false);
    else if (nesterov && s->ema)
        sgd(s, x, trust, true, true, true);
    else if (nesterov)
        sgd(s, x, trust, true, true, false);
    else if (s->ema)
        sgd(s, x, trust, true, false, true);
    else
        sgd(s, x, trust, true, false, false);
}

IM_INLINE void adamw(const im_slot *s, const numbers *x, float keep, bool ema)
{
    v16 shrink = v_set1(keep);
    for (int64_t i = 0; i < s->n; i += 16) {
        int n = s->n - i < 16 ? (int)(s->n - i) : 16;
        v16 w = v_mul(v_load_part(s->w + i, n), shrink), g = v_mul(v_load_part(s->g + i, n), x->scale);
        v16 m = v_load_part(s->m + i, n), v = v_load_part(s->v + i, n);
        m = v_fma(x->b1, v_sub(g, m), m);
        v = v_fma(x->b2_rest, v_mul(g, g), v_mul(x->b2, v));
        v_store_part(s->m + i, m, n);
        v_store_part(s->v + i, v, n);
        w = v_fnma(x->rate, v_div(m, v_add(v_div(v_sqrt(v), x->root), x->eps)), w);
        v_store_part(s->w + i, w, n);
        if (ema)
            average(s, i, n, w, x->ema);
    }
}

static void step_task(void *arg, int task, int thread)
{
    const job *w = arg;
    const im_optimise_args *at = w->at;
    int slot = slot_of(w, task);
    im_slot s = part_of(w, task, slot);
    (void)thread;
    if (s.g && at->kind == IM_ADAMW && s.ema)
        adamw(&s, &w->x, (float)(1 - at->lr * s.decay), true);
    else if (s.g && at->kind == IM_ADAMW)
        adamw(&s, &w->x, (float)(1 - at->lr * s.decay), false);
    else if (s.g)
        sgd_forms(&s, &w->x, w->trust[slot], s.m && at->momentum != 0, at->nesterov);
    else if (s.ema)
        for (int64_t i = 0; i < s.n; i += 16) {
            int n = s.n - i < 16 ? (int)(s.n - i) : 16;
            average(&s, i, n, v_load_part(s.w + i, n), w->x.ema);
        }
}

static double sum_of_squares(const float *x, int64_t n)
{
    return dot_f64((im_cbuf){ x, IM_F32 }, (im_cbuf){ x, IM_F32 }, n);
}

static void sums_task(void *arg, int task, int thread)
{
    const job *w = arg;
    int slot = slot_of(w, task);
    im_slot s = part_of(w, task, slot);
    (void)thread;
    w->g[task] = s.g ? sum_of_squares(s.g, s.n) : 0;
    if (w->at)
        w->w[task] = s.g && s.adapt ? sum_of_squares(s.w, s.n) : 0;
}

/* Memory in scratch, and the first chunk of each slot. */
static bool lay_out(im_device *dev, job *w)
{
    int64_t chunks = 0;
    for (int i = 0; i < w->count; i++)
        chunks += (w->slots[i].n + IM_MAP_CHUNK - 1) / IM_MAP_CHUNK;
    w->chunks = (int)chunks;
    size_t sums = (size_t)chunks * sizeof(double), slots = (size_t)w->count + 1;
    char *p = im_scratch(dev, im_threads_of(dev), 2 * sums + slots * (sizeof *w->first + sizeof *w->trust));
    if (!p)
        return false;
    w->w = (double *)p;
    w->g = (double *)(p + sums);
    w->first = (int *)(p + 2 * sums);
    w->trust = (float *)(w->first + slots);
    w->first[0] = 0;
    for (int i = 0; i < w->count; i++) {
        w->first[i + 1] = w->first[i] + (int)((w->slots[i].n + IM_MAP_CHUNK - 1) / IM_MAP_CHUNK);
        w->trust[i] = 1.0f;
    }
    return true;
}

static double slot_sum(const job *w, const double *sums, int slot)
{
    double sum = 0;
    for (int i = w->first[slot]; i < w->first[slot + 1]; i++)
        sum += sums[i];
    return sum;
}

static void find_trust(const job *w)
{
    const im_optimise_args *at = w->at;
    for (int i = 0; i < w->count; i++) {
        double weight = sqrt(slot_sum(w, w->w, i)), grad = fabs(at->scale) * sqrt(slot_sum(w, w->g, i));
        if (w->slots[i].adapt && weight > 0 && grad > 0)
            w->trust[i] = (float)(at->trust * weight / (grad + w->slots[i].decay * weight + at->eps));
    }
}

int IM_FN(im_cpu_optimise)(im_device *dev, const im_optimise_args *p)
{
    im_optimise_args gated = *p;
    const im_optimise_args *at = &gated;
    job w = { .at = at, .slots = at->slots, .count = at->count };
    if (p->gate && p->gate->shut)
        return IM_DONE;
    if (p->gate)
        gated.scale = p->gate->scale;
    if (!lay_out(dev, &w))
        return IM_NO_MEMORY;
    double t = (double)at->step;
    w.x = (numbers){ .scale = v_set1((float)at->scale), .lr = v_set1((float)at->lr),
                     .momentum = v_set1((float)at->momentum), .ema = v_set1((float)(1 - at->ema_decay)) };
    if (at->kind == IM_ADAMW) {
        w.x.b1 = v_set1((float)(1 - at->beta1));
        w.x.b2 = v_set1((float)at->beta2);
        w.x.b2_rest = v_set1((float)(1 - at->beta2));
        w.x.eps = v_set1((float)at->eps);
        w.x.root = v_set1((float)sqrt(1 - pow(at->beta2, t)));
        w.x.rate = v_set1((float)(at->lr / (1 - pow(at->beta1, t))));
    }
    if (at->kind == IM_LARS) {
        im_parallel_for(im_threads_of(dev), w.chunks, sums_task, &w);
        find_trust(&w);
    }
    im_parallel_for(im_threads_of(dev), w.chunks, step_task, &w);
    return IM_DONE;
}

int IM_FN(im_cpu_sumsq)(im_device *dev, const im_sumsq_args *at)
{
    job w = { .slots = at->slots, .count = at->count };
    if (!lay_out(dev, &w))
        return IM_NO_MEMORY;
    im_parallel_for(im_threads_of(dev), w.chunks, sums_task, &w);
    *at->sum = 0;
    *at->first_bad = -1;
    for (int i = 0; i < at->count; i++) {
        double sum = slot_sum(&w, w.g, i);
        if (!isfinite(sum) && *at->first_bad < 0)
            *at->first_bad = i;
        *at->sum += sum;
    }
    return IM_DONE;
}
