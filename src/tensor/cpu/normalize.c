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
        im_cbuf x = im_cbuf_at(at->x, r * at->n);
        float norm = (float)sqrt(dot_f64(x, x, at->n));
        v16 divisor = v_set1(norm < at->eps ? at->eps : norm);
        for (int i = 0; i < at->n; i += 16) {
            int n = at->n - i < 16 ? at->n - i : 16;
            store_as(at->y.t, at->y.p, r * at->n + i, v_div(load_as(x.t, x.p, i, n), divisor), n);
        }
        if (at->norm)
            at->norm[r] = norm;
    }
}

int IM_FN(im_cpu_normalize)(im_device *dev, const im_normalize_args *at)
{
    int64_t per = rows_per_task(at->n);
    im_parallel_for(im_threads_of(dev), (int)((at->rows + per - 1) / per), normalize_task, (void *)at);
    return IM_DONE;
}

static void normalize_bwd_task(void *arg, int task, int thread)
{
    const im_normalize_bwd_args *at = arg;
    int64_t per = rows_per_task(at->n), r = task * per, last = r + per < at->rows ? r + per : at->rows;
    (void)thread;
    for (; r < last; r++) {
        im_cbuf y = im_cbuf_at(at->y, r * at->n), dy = im_cbuf_at(at->dy, r * at->n);
        bool clamped = at->norm[r] < at->eps;
        v16 divisor = v_set1(clamped ? at->eps : at->norm[r]);
        v16 along = v_set1(clamped ? 0.0f : (float)dot_f64(y, dy, at->n));
        for (int i = 0; i < at->n; i += 16) {
            int n = at->n - i < 16 ? at->n - i : 16;
            v16 d = v_div(v_fnma(along, load_as(y.t, y.p, i, n), load_as(dy.t, dy.p, i, n)), divisor);
            put_as(at->dx.t, at->dx.p, r * at->n + i, d, n, at->add);
        }
    }
}

int IM_FN(im_cpu_normalize_bwd)(im_device *dev, const im_normalize_bwd_args *at)
{
    int64_t per = rows_per_task(at->n);
    im_parallel_for(im_threads_of(dev), (int)((at->rows + per - 1) / per), normalize_bwd_task, (void *)at);
    return IM_DONE;
}
