/* learning_rate.c: learning rates, a value a step (not an epoch). With W steps of warm-up, T steps in all, and i from 0:
 *
 *     warm-up    i < W:   peak i / (W - 1)                              Goyal et al. 2017, arXiv 1706.02677
 *     cosine     floor + (peak - floor) (1 + cos(pi (i - W) / (T - W))) / 2            Loshchilov & Hutter 2017
 *     step       peak 0.1^(epoch div 30), epochs counted from the beginning            He et al. 2016
 *     constant   peak
 *
 * The first step of a warm-up has 0 and its last one the peak, a warm-up of one step has 0: so do t-ReX and DINO (numpy's
 * linspace). The cosine would reach the floor at step T. Values of numpy: tests/golden/lr_schedules.json. Used by
 * train_loop.c. */
#include "models/train/learning_rate.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;
enum { DROP_EVERY = 30 };                                      /* epochs                                              */

double im_learning_rate_at(const im_learning_rate *s, int64_t step)
{
    if (step < s->warmup)
        return s->warmup > 1 ? s->peak * (double)step / (double)(s->warmup - 1) : 0;
    if (s->kind == IM_LR_CONSTANT)
        return s->peak;
    if (s->kind == IM_LR_STEP) {
        double lr = s->peak;
        for (int64_t epoch = step * s->accumulate / s->parts_an_epoch; epoch >= DROP_EVERY; epoch -= DROP_EVERY)
            lr *= 0.1;
        return lr;
    }
    double rest = (double)(s->steps - s->warmup), done = (double)(step - s->warmup);
    if (rest <= 0 || done >= rest)
        return s->floor;
    double floor = s->floor < s->peak ? s->floor : s->peak;    /* a peak below the floor stays where it is             */
    return floor + 0.5 * (s->peak - floor) * (1 + cos(PI * done / rest));
}

bool im_learning_rate_parse(im_ctx *c, const char *name, im_learning_rate_kind *out)
{
    static const char *const names[] = { "cosine", "step", "constant" };
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) {
            *out = (im_learning_rate_kind)i;
            return true;
        }
    return im_fail(c, "there is no schedule \"%s\"; wanted cosine, step or constant", name);
}
