/* schedule.c: learning rates, a value a step (not an epoch). With W steps of warm-up, T steps in all, and i from 0:
 *
 *     warm-up    i < W:   peak (i + 1) / W                              Goyal et al. 2017, arXiv 1706.02677
 *     cosine     floor + (peak - floor) (1 + cos(pi (i - W) / (T - W))) / 2            Loshchilov & Hutter 2017
 *     step       peak, a tenth of it from 30 %, a hundredth from 60 %, a thousandth from 90 % of T on
 *     constant   peak
 *
 * The first step of a warm-up already moves, and the last one has the peak. The cosine is torch's CosineAnnealingLR with
 * T_max = T - W and eta_min = floor: step T would have the floor. The step schedule is torch's MultiStepLR; at 100 epochs
 * its milestones are those of the ResNet paper's ImageNet recipe (30, 60, 90). Used by train_loop.c. */
#include "models/schedule.h"

#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

double im_schedule_lr(const im_schedule *s, int64_t step)
{
    if (step < s->warmup)
        return s->peak * (double)(step + 1) / (double)s->warmup;
    if (s->kind == IM_LR_CONSTANT)
        return s->peak;
    if (s->kind == IM_LR_STEP) {
        int64_t tenths = 10 * step / (s->steps > 0 ? s->steps : 1);
        return s->peak * (tenths >= 9 ? 1e-3 : tenths >= 6 ? 1e-2 : tenths >= 3 ? 1e-1 : 1);
    }
    double rest = (double)(s->steps - s->warmup), done = (double)(step - s->warmup);
    if (rest <= 0 || done >= rest)
        return s->floor;
    double floor = s->floor < s->peak ? s->floor : s->peak;    /* a peak below the floor stays where it is             */
    return floor + 0.5 * (s->peak - floor) * (1 + cos(PI * done / rest));
}

bool im_schedule_parse(im_ctx *c, const char *name, im_schedule_kind *out)
{
    static const char *const names[] = { "cosine", "step", "constant" };
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) {
            *out = (im_schedule_kind)i;
            return true;
        }
    return im_fail(c, "there is no schedule \"%s\"; wanted cosine, step or constant", name);
}
