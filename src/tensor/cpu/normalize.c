/* normalize.c: y = x / max(|x|, eps) of each row;   dx = (dy - y (y . dy)) / |x|, dy / eps where |x| < eps.
 * Both sums are f64 (sums.h), rounded to f32 once. */
#include "tensor/cpu/kernels.h"
#include "tensor/cpu/sums.h"
#include "tensor/parallel.h"

#include <math.h>

enum { TASK = 16384 };                   /* elements a task, about */

static int64_t rows_per_task(int n)
{
    return n < TASK ? TASK / n : 1;
}

static void normalize_task(void *arg, int task, int thread)
{
    const im_normalize_args *at = arg;
    int64_t per = rows_per_task(at->n), r = task * per, last = r + per < at->rows ? r + per : at->rows;
    (void)thread;
    for (; r < last; r++) {
        const float *x = at->x + r * at->n;
        float norm = (float)sqrt(dot_f64(x, x, at->n));
        v16 divisor = v_set1(norm < at->eps ? at->eps : norm);
        for (int i = 0; i < at->n; i += 16) {
            int n = at->n - i < 16 ? at->n - i : 16;
            v_store_part(at->y + r * at->n + i, v_div(v_load_part(x + i, n), divisor), n);
        }
        if (at->norm)
            at->norm[r] = norm;
    }
}

int IM_FN(im_cpu_normalize)(im_device *dev, const im_normalize_args *at)
{
    int64_t per = rows_per_task(at->n);
    im_parallel_for(dev->threads, (int)((at->rows + per - 1) / per), normalize_task, (void *)at);
    return IM_DONE;
}

static void normalize_bwd_task(void *arg, int task, int thread)
{
    const im_normalize_bwd_args *at = arg;
    int64_t per = rows_per_task(at->n), r = task * per, last = r + per < at->rows ? r + per : at->rows;
    (void)thread;
    for (; r < last; r++) {
        const float *y = at->y + r * at->n, *dy = at->dy + r * at->n;
        float *dx = at->dx + r * at->n;
        bool clamped = at->norm[r] < at->eps;
        v16 divisor = v_set1(clamped ? at->eps : at->norm[r]);
        v16 along = v_set1(clamped ? 0.0f : (float)dot_f64(y, dy, at->n));
        for (int i = 0; i < at->n; i += 16) {
            int n = at->n - i < 16 ? at->n - i : 16;
            v16 d = v_div(v_fnma(along, v_load_part(y + i, n), v_load_part(dy + i, n)), divisor);
            v_store_part(dx + i, at->add ? v_add(v_load_part(dx + i, n), d) : d, n);
        }
    }
}

int IM_FN(im_cpu_normalize_bwd)(im_device *dev, const im_normalize_bwd_args *at)
{
    int64_t per = rows_per_task(at->n);
    im_parallel_for(dev->threads, (int)((at->rows + per - 1) / per), normalize_bwd_task, (void *)at);
    return IM_DONE;
}
