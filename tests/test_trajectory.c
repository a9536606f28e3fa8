/* test_trajectory.c: twenty steps of training give what torch's twenty steps give: losses, norms of gradients, weights,
 * how far they moved, statistics of batch norm, the moving average; in f32, and in bf16 within a band of torch's autocast.
 * Reference: trajectories.safetensors, computed by torch in f64 (tests/golden/README.md). */
#include "golden_tensors.h"
#include "trajectory.h"
#include "tensor/tensor.h"

enum { BATCH = 8, CLASSES = 10 };

/* `loss`, `weights`: relative, against f64. The issue asks for 1e-4 at the end in f32.
 * `moved`: of what training changed, about five times torch's own error in f32: rounding that ReLUs amplify. */
static const run runs[] = {
    { "resnet18_small", "resnet18", "sgd",      IM_SGD,   false, false, 1e-3, 1e-4, 1e-4, 2e-3 },
    /* bf16: torch autocast is off by 6e-4 in the loss, 3.7 % in what moved; ours rounds the factors of products only,
     * and is to stay within three times of that. */
    { "resnet18_small", "resnet18", "sgd",      IM_SGD,   false, true,  1e-3, 2e-3, 3e-4, 0.12 },
    { "resnet18_small", "resnet18", "nesterov", IM_SGD,   true,  false, 1e-3, 1e-4, 1e-4, 5e-3 },
    { "resnet18_small", "resnet18", "adamw",    IM_ADAMW, false, false, 1e-5, 1e-4, 1e-4, 2e-2 },
    { "resnet18_small", "resnet18", "lars",     IM_LARS,  false, false, 0.02, 1e-4, 1e-4, 2e-2 },
    { "resnet50",       "resnet50", "sgd",      IM_SGD,   false, false, 1e-4, 1e-4, 1e-4, 1e-2 },
    { "resnet50",       "resnet50", "adamw",    IM_ADAMW, false, false, 1e-5, 1e-4, 1e-4, 3e-2 },
};
#ifdef __SANITIZE_THREAD__
enum { RUNS = 2 };                                             /* minutes each there; the others run the same loops  */
#else
enum { RUNS = sizeof runs / sizeof *runs };
#endif

static void one_step(const run *r, const im_classifier *m, im_optimiser *o, int step, double *loss, double *norm)
{
    char name[64];
    const char *bad;
    int size = strcmp(r->net, "resnet50") ? 32 : 64;
    im_scope_push(c);
    snprintf(name, sizeof name, "%s.step%d.x", r->net, step);
    im_tensor *x = hashed_pictures(name, BATCH, size);
    snprintf(name, sizeof name, "%s.step%d.labels", r->net, step);
    im_tensor *labels = hashed_classes(name, BATCH, CLASSES);
    im_optimiser_zero(o);
    im_tape_begin(c);
    im_tensor *l = im_cross_entropy(c, im_classifier_logits(c, m, im_classifier_features(c, m, x)), labels);
    no_error();
    *loss = *(float *)im_data(l);
    im_backward(c, l);
    ck_assert(im_optimiser_norm(o, 1, norm, &bad));
    ck_assert_ptr_null(bad);
    ck_assert(im_optimiser_step(o, r->lr, 1, NULL));
    im_scope_pop(c);
    no_error();
}

START_TEST(twenty_steps)
{
    const run *r = &runs[_i];
    bool small = !strcmp(r->net, "resnet18_small");
    open_ctx("", 2);
    golden = golden_tensors(c, "tests/golden/trajectories.safetensors.gz");
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = r->arch, .classes = CLASSES,
                                                                     .small_stem = small });
    no_error();
    im_params *p = im_classifier_params(m);
    p->train = p->batch_statistics = true;
    fill_hashed(p, NULL);
    for (int i = 0; i < p->n; i++) {
        const im_tensor *t = p->v[i].t;
        float *v = im_data(t);
        if (strstr(t->name, "layer") && strstr(t->name, small ? "bn2.weight" : "bn3.weight"))
            for (int64_t k = 0; k < im_numel(t); k++)
                v[k] *= 1.0f / 16;                             /* the last norm of a block, as the golden's nets have */
    }
    float **start = copy_weights(p);
    im_optimiser_args a = im_optimiser_defaults(r->kind);
    a.nesterov = r->nesterov;
    a.ema = 0.999;
    im_optimiser *o = im_optimiser_new(c, &(im_part_params){ p, "" }, 1, &a);
    no_error();
    im_set_compute_dtype(c, r->bf16 ? IM_BF16 : IM_F32);
    double loss[STEPS], norm[STEPS];
    for (int i = 0; i < STEPS; i++)
        one_step(r, m, o, i, &loss[i], &norm[i]);
    double by_loss = compare_curve(r, "loss", loss, r->loss), by_norm = compare_curve(r, "grad_norm", norm, 10 * r->loss);
    double weights = compare_tensors(r, p, "after", false, start, o);
    double moved = compare_tensors(r, p, "moved", false, start, o);
    double running = compare_tensors(r, p, "after", true, start, o);
    printf("%s.%s%s: loss %.1e, norm %.1e, weights %.1e, moved %.1e, running %.1e\n", r->net, r->name,
           r->bf16 ? " bf16" : "", by_loss, by_norm, weights, moved, running);
    ck_assert_msg(weights < r->weights, "%s.%s: weights are off by %g", r->net, r->name, weights);
    ck_assert_msg(moved < r->moved, "%s.%s: what training changed is off by %g", r->net, r->name, moved);
    ck_assert_msg(running < (r->bf16 ? 5e-3 : 10 * r->weights), "%s.%s: running statistics are off by %g", r->net, r->name,
                  running);
    if (small && !r->bf16 && !strcmp(r->name, "sgd")) {
        double average = compare_tensors(r, p, "average", false, start, o);
        /* it went a thousandth of the way so far: an f32 next to the weight itself has 0.8 % of that as rounding */
        ck_assert_msg(average < 2e-2, "%s.%s: the average is off by %g", r->net, r->name, average);
    }
    free_weights(p, start);
    im_optimiser_free(o);
    im_classifier_free(m);
    im_st_close(golden);
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(twenty_steps, RUNS) };
    return suite_run("trajectory", NULL, NULL, 2 * SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
