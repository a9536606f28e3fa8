/* trajectory.h: what the tests of training trajectories share: curves and weights beside those of torch
 * (trajectories.safetensors, computed in f64: tests/golden/README.md). */
#ifndef TEST_TRAJECTORY_H
#define TEST_TRAJECTORY_H

#include "classifier.h"
#include "models/train/optimiser.h"
#include "tensor/tensor.h"

enum { STEPS = 20 };

typedef struct run {
    const char *net, *arch, *name;
    im_optimiser_kind kind;
    bool nesterov, bf16;
    double lr, loss, weights, moved;     /* learning rate; tolerances                                                 */
} run;

static inline float **copy_weights(const im_params *p)
{
    float **start = calloc((size_t)p->n, sizeof *start);
    for (int i = 0; i < p->n; i++) {
        size_t bytes = (size_t)im_numel(p->v[i].t) * sizeof(float);
        memcpy(start[i] = malloc(bytes), im_data(p->v[i].t), bytes);
    }
    return start;
}

static inline void free_weights(const im_params *p, float **start)
{
    for (int i = 0; i < p->n; i++)
        free(start[i]);
    free(start);
}

static inline double compare_curve(const run *r, const char *what, const double got[STEPS], double tolerance)
{
    const float *want = found("%s.%s.%s", r->net, r->name, what)->data;
    double worst = 0;
    for (int i = 0; i < STEPS; i++) {
        double off = fabs(got[i] - want[i]) / want[i];
        worst = off > worst ? off : worst;
        ck_assert_msg(off < tolerance, "%s.%s%s: %s of step %d is %.9g, wanted %.9g (off by %.2g)", r->net, r->name,
                      r->bf16 ? " in bf16" : "", what, i, got[i], (double)want[i], off);
    }
    return worst;
}

/* Relative L2 distance of the samples of all tensors of one kind: ".after.", ".moved.", ".average.". */
static inline double compare_tensors(const run *r, const im_params *p, const char *kind, bool buffers,
                              float *const start[], const im_optimiser *o)
{
    double off = 0, all = 0;
    char head[64];
    snprintf(head, sizeof head, "%s.%s.%s", r->net, r->name, kind);
    for (int i = 0; i < p->n; i++) {
        const im_param *q = &p->v[i];
        int64_t n = im_numel(q->t);
        double got[SAMPLES];
        if ((q->kind == IM_PARAM_BUFFER) != buffers)
            continue;
        const float *want = sampled(r->net, head, q->t->name);
        if (!want)                                             /* its gradient is zero but for rounding               */
            continue;
        const float *now = im_data(strcmp(kind, "average") ? q->t : im_optimiser_average(o, 0, i));
        float *v = malloc((size_t)n * sizeof *v);
        for (int64_t k = 0; k < n; k++)
            v[k] = strcmp(kind, "after") ? now[k] - start[i][k] : now[k];
        samples_of(q, v, got);
        free(v);
        for (int k = 2; k < SAMPLES; k++) {
            off += (got[k] - want[k]) * (got[k] - want[k]);
            all += (double)want[k] * want[k];
        }
    }
    return sqrt(off / all);
}

#endif
