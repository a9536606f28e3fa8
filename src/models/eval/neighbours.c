/* neighbours.c: precision, recall, density and coverage (Kynkaanniemi et al. 2019, arXiv 1904.06991; Naeem et al. 2020,
 * arXiv 2002.09797), and the Vendi score (Friedman & Dieng 2023, arXiv 2210.02410).
 *
 *     reach(x)    distance of x to its k-th nearest other picture of its own set
 *     precision   share of b with an x of a at less than reach(x)        recall     the same with a and b exchanged
 *     density     number of such x, the mean over b, over k
 *     coverage    share of a with a picture of b at less than their reach
 *     vendi       exp(- sum p log p), p: eigenvalues of z z^T / n, z: rows of length 1
 * Distances are Euclidean, of the features as they are; all pairs are looked at, none is stored. */
#include "models/eval/neighbours.h"

#include <math.h>
#include <stdlib.h>

#include "models/eval/measures.h"

enum { LANES = 8 };                                            /* sums side by side, which become vectors             */

static double squared_distance(const float *a, const float *b, int d)
{
    double s[LANES] = { 0 }, rest = 0;
    int k = 0;
    for (; k + LANES <= d; k += LANES)
        for (int i = 0; i < LANES; i++) {
            double e = (double)a[k + i] - b[k + i];
            s[i] += e * e;
        }
    for (; k < d; k++) rest += ((double)a[k] - b[k]) * ((double)a[k] - b[k]);
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])) + rest;
}

typedef struct search {
    const float *a, *b; int64_t na, nb;                        /* (na, d), (nb, d)                                    */
    int d, k;
    double *least;                                             /* (threads, k + 1)                                    */
    double *reach;                                             /* (na): squared                                       */
    const double *reach_a, *reach_b;                           /* (na), (nb)                                          */
    uint8_t *within, *covered;                                 /* (na): of b's reach; by b                            */
    int64_t *inside;                                           /* (nb): pictures of a whose reach it is in            */
} search;

/* The k + 1 smallest distances of a row within its own set, itself included, by insertion. */
static void find_reach(void *arg, int i, int thread)
{
    const search *s = arg;
    double *least = s->least + (int64_t)thread * (s->k + 1);
    for (int n = 0; n <= s->k; n++) least[n] = HUGE_VAL;
    for (int64_t j = 0; j < s->na; j++) {
        double x = j == i ? 0 : squared_distance(s->a + (int64_t)i * s->d, s->a + j * s->d, s->d);
        int n = s->k;
        if (x >= least[n]) continue;
        for (; n > 0 && least[n - 1] > x; n--) least[n] = least[n - 1];
        least[n] = x;
    }
    s->reach[i] = least[s->k];
}

/* A picture of a beside all of b. */
static void look_from_a(void *arg, int i, int thread)
{
    const search *s = arg;
    (void)thread;
    s->within[i] = s->covered[i] = 0;
    for (int64_t j = 0; j < s->nb; j++) {
        double x = squared_distance(s->a + (int64_t)i * s->d, s->b + j * s->d, s->d);
        s->within[i] |= x < s->reach_b[j];
        s->covered[i] |= x < s->reach_a[i];
    }
}

static void look_from_b(void *arg, int j, int thread)
{
    const search *s = arg;
    (void)thread;
    s->inside[j] = 0;
    for (int64_t i = 0; i < s->na; i++)
        s->inside[j] += squared_distance(s->a + i * s->d, s->b + (int64_t)j * s->d, s->d) < s->reach_a[i];
}

static void count(const search *s, int64_t na, int64_t nb, im_comparison *out)
{
    int64_t within = 0, covered = 0, some = 0, all = 0;
    for (int64_t i = 0; i < na; i++) {
        within += s->within[i];
        covered += s->covered[i];
    }
    for (int64_t j = 0; j < nb; j++) {
        some += s->inside[j] > 0;
        all += s->inside[j];
    }
    out->precision = (double)some / (double)nb;
    out->recall = (double)within / (double)na;
    out->density = (double)all / (double)nb / s->k;
    out->coverage = (double)covered / (double)na;
}

bool im_prdc(im_ctx *c, const float *a, int64_t na, const float *b, int64_t nb, int d, int k, im_comparison *out)
{
    if (!im_ok(c)) return false;
    if (na <= k || nb <= k || na > INT32_MAX || nb > INT32_MAX)
        return im_fail(c, "sets of %lld and %lld pictures: their reach is that of neighbour %d, so each needs more than %d "
                       "pictures; lower --k", (long long)na, (long long)nb, k, k);
    double *least = malloc((size_t)im_threads(c) * ((size_t)k + 1) * sizeof *least);
    double *reach_a = malloc((size_t)na * sizeof *reach_a), *reach_b = malloc((size_t)nb * sizeof *reach_b);
    search s = { .a = a, .b = b, .na = na, .nb = nb, .d = d, .k = k, .least = least, .reach_a = reach_a,
                 .reach_b = reach_b };
    s.within = malloc((size_t)na);
    s.covered = malloc((size_t)na);
    s.inside = malloc((size_t)nb * sizeof *s.inside);
    bool ok = (least && reach_a && reach_b && s.within && s.covered && s.inside) ||
              im_fail(c, "out of memory for the neighbours of %lld pictures", (long long)(na + nb));
    if (ok) {
        search own = { .a = a, .na = na, .d = d, .k = k, .least = least, .reach = reach_a };
        search other = { .a = b, .na = nb, .d = d, .k = k, .least = least, .reach = reach_b };
        im_parallel(c, (int)na, find_reach, &own);
        im_parallel(c, (int)nb, find_reach, &other);
        im_parallel(c, (int)na, look_from_a, &s);
        im_parallel(c, (int)nb, look_from_b, &s);
        count(&s, na, nb, out);
    }
    free(least);
    free(reach_a);
    free(reach_b);
    free(s.within);
    free(s.covered);
    free(s.inside);
    return ok;
}

double im_vendi(im_ctx *c, const float *x, int64_t n, int d)
{
    int side;
    double *values = im_unit_spectrum(c, x, n, d, &side), sum = 0;
    if (!values) return NAN;
    for (int i = 0; i < side; i++) {
        double p = values[i] / (double)n;
        if (p > 0) sum -= p * log(p);
    }
    free(values);
    return exp(sum);
}

/* ---------------------------------------------------------------- CMMD */

static const double DEVIATION = 10, SCALE = 1000;

typedef struct kernel { const float *a, *b; int64_t nb; int d; double *sum; } kernel;

static void kernel_row(void *arg, int i, int thread)
{
    const kernel *k = arg;
    double sum = 0;
    (void)thread;
    for (int64_t j = 0; j < k->nb; j++)
        sum += exp(-squared_distance(k->a + (int64_t)i * k->d, k->b + j * k->d, k->d) / (2 * DEVIATION * DEVIATION));
    k->sum[i] = sum;
}

static double mean_kernel(im_ctx *c, const float *a, int64_t na, const float *b, int64_t nb, int d, double *room)
{
    double sum = 0;
    im_parallel(c, (int)na, kernel_row, &(kernel){ a, b, nb, d, room });
    for (int64_t i = 0; i < na; i++) sum += room[i] / (double)nb;
    return sum / (double)na;
}

double im_cmmd(im_ctx *c, const float *a, int64_t na, const float *b, int64_t nb, int d)
{
    if (!im_ok(c)) return NAN;
    double *room = malloc((size_t)(na > nb ? na : nb) * sizeof *room);
    if (!room || na > INT32_MAX || nb > INT32_MAX) {
        im_fail(c, "out of memory for %lld pictures", (long long)(na + nb));
        free(room);
        return NAN;
    }
    double x = mean_kernel(c, a, na, a, na, d, room) + mean_kernel(c, b, nb, b, nb, d, room)
             - 2 * mean_kernel(c, a, na, b, nb, d, room);
    free(room);
    return SCALE * x;
}
