/* test_train_memory.c: what is said of a training's memory before any is asked for: what a small classifier needs, counted
 * by hand; the error and the warning, with advice that fits, on both sides of the limit. tests/cli/memory.sh has the
 * trainings themselves. */
#include <stdio.h>
#include <stdlib.h>

#include "models/nets/resnet.h"
#include "models/train/train_memory.h"
#include "suite.h"

static im_ctx *c;
#include "want.h"

static char warned[1000];
static void on_warning(void *arg, const char *text)
{
    (void)arg;
    snprintf(warned, sizeof warned, "%s", text);
}

static void setup(void)
{
    c = im_ctx_new("cpu", 1);
    im_on_warning(c, on_warning, NULL);
}

static void teardown(void) { im_ctx_free(c); }

static const double MIB = 1 << 20;
static const im_train_common sgd = { .batch = 12, .accumulate = 2, .optimizer = "sgd", .momentum = 0.9f, .dtype = "f32" };

static im_train_way way = { .ranks = 1 };

START_TEST(need_of_a_classifier)
{
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = 3, .width = 8,
                                                                     .small_stem = true });
    ck_assert_ptr_nonnull(m);
    im_params *p = im_classifier_params(m);
    im_part_params part = { .params = p, .prefix = "" };
    double weights = 0, buffers = 0;                           /* values                                               */
    for (int i = 0; i < p->n; i++)
        *(p->v[i].kind == IM_PARAM_BUFFER ? &buffers : &weights) += (double)im_numel(p->v[i].t);
    ck_assert(weights > 1e5 && buffers > 100);
    static const struct { const char *optimizer; float momentum, ema; int of_weights, of_buffers; } kinds[] = {
        { "sgd", 0, 0, 0, 0 }, { "sgd", 0.9f, 0, 1, 0 }, { "lars", 0.9f, 0.99f, 2, 1 }, { "adamw", 0, 0, 2, 0 },
        { "adamw", 0, 0.999f, 3, 1 }
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        im_train_common a = sgd;
        a.optimizer = kinds[i].optimizer;
        a.momentum = kinds[i].momentum;
        a.ema = kinds[i].ema;
        im_train_need need = im_train_need_of(c, &a, way, &part, 1);
        ck_assert_double_eq(need.weights, 4 * (weights + buffers));
        ck_assert_double_eq(need.gradients, 4 * weights);
        ck_assert_double_eq(need.state, 4 * (weights * kinds[i].of_weights + buffers * kinds[i].of_buffers));
    }
    static const struct { int accumulate; im_train_way way; int sets; } ways[] = {              /* as grad_tree.h  */
        { 1, { 1, false, 0 }, 0 }, { 2, { 1, false, 0 }, 1 }, { 5, { 1, false, 0 }, 3 }, { 8, { 1, false, 0 }, 3 },
        { 8, { 4, false, 0 }, 1 + 1 }, { 4, { 4, false, 0 }, 1 }, { 4, { 1, true, 0 }, 2 + 3 },
        { 4, { 2, true, 0 }, 1 + 1 + 1 }
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        im_train_common a = sgd;
        a.accumulate = ways[i].accumulate;
        ck_assert_double_eq(im_train_need_of(c, &a, ways[i].way, &part, 1).sums, 4 * weights * ways[i].sets);
    }
    p->train = true;
    ck_assert(im_init_params(p, 1));
    ck_assert_double_eq(im_train_need_of(c, &sgd, way, &part, 1).weights, 0);
    im_train_way beside = { .ranks = 1, .frozen = 7 * MIB };   /* a network that is loaded, but not trained            */
    ck_assert_double_eq(im_train_need_of(c, &sgd, beside, &part, 1).weights, 7 * MIB);
    im_classifier_free(m);
}
END_TEST

START_TEST(certain)
{
    im_train_need need = { .weights = 100 * MIB, .gradients = 100 * MIB, .state = 300 * MIB };
    im_train_common a = sgd;
    ck_assert(im_train_certain(c, &a, &need, 500 * MIB));
    ck_assert(im_train_certain(c, &a, &need, -1));             /* nobody knows                                         */
    ck_assert(!im_train_certain(c, &a, &need, 499 * MIB));
    WANT_ERROR("500 MiB", "weights still to be loaded 100", "gradients 100", "state 300", "499 MiB of memory are free",
               "a smaller network, or a machine");
    a.optimizer = "adamw";
    a.ema = 0.999f;
    ck_assert(!im_train_certain(c, &a, &need, 10 * MIB));
    WANT_ERROR("a smaller network, or less state: --optimizer sgd, --ema 0, or a machine");
}
END_TEST

static void want_warning(const im_train_common *a, const im_train_need *need, double free, const char *says,
                         const char *not)
{
    *warned = 0;
    im_train_probable(c, a, way, need, free * MIB);
    ck_assert(im_ok(c));
    ck_assert_msg(says ? strstr(warned, says) != NULL : !*warned, "%g MiB: %s", free, warned);
    ck_assert_msg(!not || !strstr(warned, not), "%g MiB: %s", free, warned);
}

START_TEST(probable)
{
    im_train_need need = { .gradients = 100 * MIB, .state = 200 * MIB, .activations = 1200 * MIB, .recomputed = 300 * MIB };
    im_train_common a = sgd;
    want_warning(&a, &need, 1500, NULL, NULL);
    want_warning(&a, &need, -1 / MIB, NULL, NULL);
    want_warning(&a, &need, 1499, "about 1500 MiB", NULL);
    want_warning(&a, &need, 1499, "--recompute keeps fewer of them, and has the same bits; --batch 6 --accumulate 4 shows",
                 NULL);
    want_warning(&a, &need, 701, "--batch 4 --accumulate 6", NULL);
    want_warning(&a, &need, 599, "--batch 2 --accumulate 12", "--recompute");
    want_warning(&a, &need, 399, "a smaller network", "--batch");
    a.recompute = true;
    need.activations = need.recomputed;
    want_warning(&a, &need, 600, NULL, NULL);
    want_warning(&a, &need, 599, "about 600 MiB", "--recompute");
    a.batch = 1;
    want_warning(&a, &need, 599, "activations of 1 picture 300", "--batch");
    need.sums = 50 * MIB;
    want_warning(&a, &need, 650, NULL, NULL);
    want_warning(&a, &need, 649, "about 650 MiB more than is taken now: gradients 100, sums of them 50,", NULL);
    a = sgd;                                                   /* both parts at once: more of them are no help         */
    way.together = true;
    want_warning(&a, &need, 649, "activations of 24 pictures 300", "--batch");
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(need_of_a_classifier), ONCE(certain), ONCE(probable) };
    return suite_run("train_memory", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
