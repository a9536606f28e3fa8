/* test_resnet.c: ResNets give what torchvision's give from the same weights: logits on every instruction set, gradients of
 * all parameters, of a batch in parts too (--sync-batchnorm); names and shapes of the state dict; both heads; initial
 * weights. Reference: network_gradients.safetensors, computed by torch in f64 (tests/golden/README.md). */
#include "classifier.h"
#include "golden_tensors.h"
#include "models/train/grad_tree.h"
#include "models/train/lockstep.h"
#include "scratch.h"
#include "tensor/tensor.h"

enum { BATCH = 4 };

/* torch in f32 is itself up to 1.1e-6 from the f64 logits; the issue asks for 1e-5. */
#define LOGITS 1e-5
/* Asked for: 1e-4 of all gradients; network_gradients.json has 2e-6 for torch in f32. */
#define GRADIENTS 1e-4

static const char GOLDEN[] = "tests/golden/network_gradients.safetensors.gz";
static const char *const devices[] = { "ref", "portable", "avx2", "" };
static const struct { const char *arch; int size, classes; } evals[] = {
    { "resnet18", 64, 10 }, { "resnet34", 64, 10 }, { "resnet101", 64, 10 }, { "resnet50", 224, 1000 }
};

static im_classifier *open_net(const char *arch, int classes, bool train, const char *set)
{
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = arch, .classes = classes });
    ck_assert_msg(m != NULL, "%s", im_error(c));
    im_params *p = im_classifier_params(m);
    p->train = p->batch_statistics = train;
    fill_hashed(p, set);
    return m;
}

/* The small one everywhere, the others on the best set: in plain loops they would take minutes. */
START_TEST(logits_are_torchvisions)
{
    int net = _i < 4 ? 0 : _i - 3;
    char name[64];
    open_ctx(_i < 4 ? devices[_i] : "", 2);
    golden = golden_tensors(c, GOLDEN);
    im_classifier *m = open_net(evals[net].arch, evals[net].classes, false, NULL);
    im_scope_push(c);
    snprintf(name, sizeof name, "%s_eval.x", evals[net].arch);
    im_tensor *x = hashed_pictures(name, 2, evals[net].size);
    im_tensor *y = im_classifier_logits(c, m, im_classifier_features(c, m, x));
    no_error();
    const im_st_entry *want = found("%s_eval.logits", evals[net].arch);
    ck_assert_int_eq(im_numel(y), 2 * evals[net].classes);
    double d = distance(im_data(y), want->data, im_numel(y));
    ck_assert_msg(d < LOGITS, "%s on %s: logits are off by %g", evals[net].arch, im_device_isa(c), d);
    im_scope_pop(c);
    im_classifier_free(m);
    im_st_close(golden);
    im_ctx_free(c);
}
END_TEST

/* Each gradient against its 18 samples: the norm, and the sampled values beside the gradient's own size. */
static void compare_gradients(const char *arch, const im_params *p)
{
    double off = 0, all = 0;
    for (int i = 0; i < p->n; i++) {
        const im_param *q = &p->v[i];
        double got[SAMPLES];
        if (q->kind == IM_PARAM_BUFFER)
            continue;
        ck_assert_msg(q->t->grad && q->t->grad_set, "%s: %s got no gradient", arch, q->t->name);
        const float *want = sampled_of(arch, "grad", q->t->name);
        samples_of(q, im_data(q->t->grad), got);
        ck_assert_msg(fabs(got[0] - want[0]) < GRADIENTS * want[0], "%s: |d%s| is %g, wanted %g", arch, q->t->name,
                      got[0], (double)want[0]);
        for (int k = 2; k < SAMPLES; k++) {
            off += (got[k] - want[k]) * (got[k] - want[k]);
            all += (double)want[k] * want[k];
        }
    }
    ck_assert_msg(sqrt(off / all) < GRADIENTS, "%s: sampled gradients are off by %g", arch, sqrt(off / all));
}

static void compare_statistics(const char *arch, const im_params *p)
{
    for (int i = 0; i < p->n; i++) {
        const im_param *q = &p->v[i];
        double got[SAMPLES];
        if (q->kind != IM_PARAM_BUFFER)
            continue;
        const float *want = sampled_of(arch, "after", q->t->name);
        samples_of(q, im_data(q->t), got);
        for (int k = 0; k < SAMPLES; k++)
            ck_assert_msg(fabs(got[k] - want[k]) < 1e-5 * (k < 2 ? fabs((double)want[0]) : 1),
                          "%s: %s[%d] is %g, wanted %g", arch, q->t->name, k, got[k], (double)want[k]);
    }
}

START_TEST(gradients_are_torchvisions)
{
    const char *arch = _i < 4 ? "resnet18" : "resnet50";
    char name[64];
    open_ctx(_i < 4 ? devices[_i] : "", 2);
    golden = golden_tensors(c, GOLDEN);
    im_classifier *m = open_net(arch, 10, true, arch);
    im_scope_push(c);
    snprintf(name, sizeof name, "%s.x", arch);
    im_tensor *x = hashed_pictures(name, 4, 64);
    snprintf(name, sizeof name, "%s.labels", arch);
    im_tensor *labels = hashed_classes(name, 4, 10);
    im_want_grad(c, x);
    im_tape_begin(c);
    im_tensor *loss = im_cross_entropy(c, im_classifier_logits(c, m, im_classifier_features(c, m, x)), labels);
    no_error();
    double got = *(float *)im_data(loss), want = *(const float *)found("%s.loss", arch)->data;
    ck_assert_msg(fabs(got - want) < 1e-5 * want, "%s: the loss is %.9g, wanted %.9g", arch, got, want);
    im_backward(c, loss);
    no_error();
    compare_gradients(arch, im_classifier_params(m));
    compare_statistics(arch, im_classifier_params(m));
    double d = distance(im_data(x->grad), found("%s.dx", arch)->data, im_numel(x) / 4);  /* of the first picture      */
    ck_assert_msg(d < GRADIENTS, "%s: dx is off by %g", arch, d);
    im_scope_pop(c);
    im_classifier_free(m);
    im_st_close(golden);
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- a batch in parts */

typedef struct parted { im_classifier *m; const char *arch; int size; im_grad_tree *tree; double loss; float *dx; } parted;

static bool one_part(void *arg, int k)
{
    parted *p = arg;
    char name[64];
    int each = BATCH / p->size;
    im_params *params = im_classifier_params(p->m);
    for (int i = 0; i < params->n; i++)
        im_zero_grad(params->v[i].t);
    im_scope_push(c);
    snprintf(name, sizeof name, "%s.x", p->arch);
    im_tensor *x = im_contiguous_copy(c, im_slice(c, hashed_pictures(name, BATCH, 64), 0, k * each, (k + 1) * each));
    snprintf(name, sizeof name, "%s.labels", p->arch);
    im_tensor *labels = im_slice(c, hashed_classes(name, BATCH, 10), 0, k * each, (k + 1) * each);
    im_want_grad(c, x);
    im_tape_begin(c);
    im_tensor *loss = im_cross_entropy(c, im_classifier_logits(c, p->m, im_classifier_features(c, p->m, x)), labels);
    no_error();
    p->loss += (double)*(float *)im_data(loss) / p->size;
    im_backward(c, loss);
    no_error();
    if (k == 0)
        memcpy(p->dx, im_data(x->grad), (size_t)im_numel(x) / (size_t)each * sizeof *p->dx);
    im_scope_pop(c);
    return true;
}

static bool end_part(void *arg, int k)
{
    parted *p = arg;
    return im_grad_tree_add(p->tree, k, p->size);
}

/* torch.nn.SyncBatchNorm is batch norm over the whole batch: the golden values above, from 2 and from 4 parts. */
START_TEST(parts_of_a_batch_are_torchvisions)
{
    im_ranks alone = { .size = 1 };
    im_lockstep l;
    parted p = { .arch = _i / 4 ? "resnet50" : "resnet18", .size = _i % 2 ? 4 : 2 };
    open_ctx(_i / 2 % 2 ? "" : "ref", 2);
    alone.c = c;
    golden = golden_tensors(c, GOLDEN);
    p.m = open_net(p.arch, 10, true, p.arch);
    p.dx = malloc(3 * 64 * 64 * sizeof *p.dx);
    im_params *params = im_classifier_params(p.m);
    im_tensor **w = calloc((size_t)params->n, sizeof *w);
    int n = 0;
    for (int i = 0; i < params->n; i++)
        if (params->v[i].kind != IM_PARAM_BUFFER)
            w[n++] = params->v[i].t;
    p.tree = im_grad_tree_new(c, w, n);
    ck_assert(im_lockstep_open(&l, &alone, w, n, 0, p.size, p.size));
    ck_assert_msg(im_lockstep_run(&l, one_part, end_part, &p), "%s", im_error(c));
    for (int i = 0; i < n; i++)                                /* the sum of the parts' means                         */
        for (int64_t k = 0; k < im_numel(w[i]); k++)
            ((float *)im_data(w[i]->grad))[k] /= (float)p.size;
    double want = *(const float *)found("%s.loss", p.arch)->data;
    ck_assert_msg(fabs(p.loss - want) < 1e-5 * want, "%s: the loss is %.9g, wanted %.9g", p.arch, p.loss, want);
    compare_gradients(p.arch, params);
    compare_statistics(p.arch, params);
    for (int i = 0; i < 3 * 64 * 64; i++)
        p.dx[i] /= (float)p.size;
    double d = distance(p.dx, found("%s.dx", p.arch)->data, 3 * 64 * 64);
    ck_assert_msg(d < GRADIENTS, "%s: dx is off by %g", p.arch, d);
    im_lockstep_close(&l);
    im_grad_tree_free(p.tree);
    im_classifier_free(p.m);
    im_st_close(golden);
    im_ctx_free(c);
    free(w);
    free(p.dx);
}
END_TEST

/* Names, shapes and numbers of parameters as torchvision counts them. */
START_TEST(parameters_are_torchvisions)
{
    static const struct { const char *arch; int64_t parameters; int tensors; } want[] = {
        { "resnet18", 11689512, 62 }, { "resnet34", 21797672, 110 },
        { "resnet50", 25557032, 161 }, { "resnet101", 44549160, 314 }
    };
    open_ctx("ref", 1);
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = want[_i].arch, .classes = 1000 });
    no_error();
    const im_params *p = im_classifier_params(m);
    int64_t parameters = 0;
    int tensors = 0;
    for (int i = 0; i < p->n; i++)
        if (p->v[i].kind != IM_PARAM_BUFFER) {
            parameters += im_numel(p->v[i].t);
            tensors++;
        }
    ck_assert_int_eq(parameters, want[_i].parameters);
    ck_assert_int_eq(tensors, want[_i].tensors);
    const im_param *q = im_params_find(p, "layer2.0.downsample.0.weight");
    ck_assert_ptr_nonnull(q);
    int64_t shape[IM_MAX_DIMS];
    ck_assert_int_eq(im_param_file_shape(q, shape), 4);
    ck_assert_int_eq(shape[2] * shape[3], 1);
    ck_assert_ptr_nonnull(im_params_find(p, "layer4.1.bn2.running_var"));
    im_classifier_free(m);
    im_ctx_free(c);
}
END_TEST

/* The cosine head by hand: normalise, hidden layers in eval mode, normalise, cosines by 10. */
START_TEST(cosine_head)
{
    enum { B = 3, K = 4 };
    open_ctx(_i ? "" : "ref", 2);
    im_classifier *m = im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = K,
                                                                     .head = IM_HEAD_COSINE, .head_layers = 0 });
    im_params *p = im_classifier_params(m);
    p->train = true;
    fill_hashed(p, NULL);
    im_scope_push(c);
    im_tensor *f = im_new(c, IM_F32, 2, (int64_t[]){ B, 512 });
    hashed_fill("features", im_numel(f), 3, 0, im_data(f));
    im_tensor *y = im_classifier_logits(c, m, f);
    no_error();
    const float *x = im_data(f), *out = im_data(im_params_find(p, "head.out.weight")->t);
    const float *w = im_data(im_params_find(p, "head.classes.weight")->t);
    for (int b = 0; b < B; b++) {
        double z[256], zz = 0;
        for (int j = 0; j < 256; j++) {
            z[j] = 0;
            for (int k = 0; k < 512; k++)
                z[j] += (double)out[j * 512 + k] * x[b * 512 + k];     /* the first norm is a factor of all            */
            zz += z[j] * z[j];
        }
        for (int k = 0; k < K; k++) {
            double dot = 0, ww = 0;
            for (int j = 0; j < 256; j++) {
                dot += z[j] * w[k * 256 + j];
                ww += (double)w[k * 256 + j] * w[k * 256 + j];
            }
            double want = 10 * dot / sqrt(zz * ww), got = ((float *)im_data(y))[b * K + k];
            ck_assert_msg(fabs(got - want) < 1e-5, "logit %d of %d is %g, wanted %g", k, b, got, want);
        }
    }
    im_scope_pop(c);
    im_classifier_free(m);
    im_ctx_free(c);
}
END_TEST

/* Mean and deviation of initial weights, and that they do not depend on device or threads. */
START_TEST(initial_weights)
{
    im_classifier_config cfg = { .arch = "resnet18", .classes = 7, .small_stem = true };
    float kept[2][64];
    for (int k = 0; k < 2; k++) {
        open_ctx(k ? "" : "ref", 1 + k);
        im_classifier *m = im_classifier_new(c, &cfg);
        im_params *p = im_classifier_params(m);
        p->train = true;
        ck_assert(im_init_params(p, 5));
        const im_tensor *w = im_params_find(p, "layer3.0.conv2.weight")->t, *fc = im_params_find(p, "fc.weight")->t;
        double sum = 0, squares = 0, most = 0, least = 0;
        const float *v = im_data(w);
        for (int64_t i = 0; i < im_numel(w); i++) {
            sum += v[i];
            squares += (double)v[i] * v[i];
        }
        double n = (double)im_numel(w), deviation = sqrt(2.0 / (256 * 9));
        ck_assert_double_lt(fabs(sum / n), 4 * deviation / sqrt(n));
        ck_assert_double_lt(fabs(sqrt(squares / n) / deviation - 1), 4 / sqrt(2 * n));
        const float *u = im_data(fc);
        for (int64_t i = 0; i < im_numel(fc); i++) {
            most = fmax(most, u[i]);
            least = fmin(least, u[i]);
        }
        double bound = 1 / sqrt(512);
        ck_assert(most < bound && most > 0.99 * bound && least > -bound && least < -0.99 * bound);
        ck_assert_float_eq(*(float *)im_data(im_params_find(p, "bn1.weight")->t), 1);
        ck_assert_float_eq(*(float *)im_data(im_params_find(p, "bn1.bias")->t), 0);
        ck_assert_float_eq(*(float *)im_data(im_params_find(p, "bn1.running_var")->t), 1);
        memcpy(kept[k], v, sizeof kept[k]);
        no_error();
        im_classifier_free(m);
        im_ctx_free(c);
    }
    ck_assert_mem_eq(kept[0], kept[1], sizeof kept[0]);
}
END_TEST

/* A state dict goes out and comes back; num_batches_tracked is written as torch wants it; what does not fit is named. */
START_TEST(state_dict)
{
    char dir[256];
    open_ctx("", 2);
    scratch_make(dir, sizeof dir);
    im_classifier_config cfg = { .arch = "resnet18", .classes = 5 };
    im_classifier *a = im_classifier_new(c, &cfg), *b = im_classifier_new(c, &cfg);
    im_classifier_params(a)->train = im_classifier_params(b)->train = true;
    im_init_params(im_classifier_params(a), 1);
    im_state s = { .c = c, .tracked = 12 };
    const char *path = scratch_path(dir, "a.safetensors");
    ck_assert(im_state_add(&s, "", im_classifier_params(a)) && im_state_write(&s, path, NULL, 0, true));
    im_state_free(&s);
    im_safetensors *f = im_st_open(c, path);
    ck_assert(im_state_verify(c, f, NULL, 0));
    const im_st_entry *tracked = im_st_find(f, "layer1.0.bn1.num_batches_tracked");
    ck_assert(tracked && !strcmp(tracked->dtype_name, "I64") && tracked->ndim == 0);
    ck_assert_int_eq(*(const int64_t *)tracked->data, 12);
    ck_assert(im_state_read(im_classifier_params(b), f, path, IM_F32, NULL));
    for (int i = 0; i < im_classifier_params(a)->n; i++) {
        const im_tensor *x = im_classifier_params(a)->v[i].t, *y = im_classifier_params(b)->v[i].t;
        ck_assert_mem_eq(im_data(x), im_data(y), (size_t)im_numel(x) * sizeof(float));
    }
    im_classifier_free(b);
    cfg.classes = 6;
    b = im_classifier_new(c, &cfg);
    ck_assert(!im_state_read(im_classifier_params(b), f, path, IM_F32, NULL));
    ck_assert_ptr_nonnull(strstr(im_error(c), "fc.weight is (5, 512), wanted (6, 512)"));
    im_clear_error(c);
    im_st_close(f);
    im_classifier_free(a);
    im_classifier_free(b);
    im_ctx_free(c);
    scratch_remove(dir);
}
END_TEST

START_TEST(refusals)
{
    open_ctx("ref", 1);
    ck_assert_ptr_null(im_classifier_new(c, &(im_classifier_config){ .arch = "resnet152", .classes = 3 }));
    ck_assert_ptr_nonnull(strstr(im_error(c), "resnet152"));
    im_clear_error(c);
    ck_assert_ptr_null(im_classifier_new(c, &(im_classifier_config){ .arch = "resnet18", .classes = 1 }));
    ck_assert_ptr_nonnull(strstr(im_error(c), "at least 2"));
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(logits_are_torchvisions, 7), LOOP(gradients_are_torchvisions, 5), LOOP(parts_of_a_batch_are_torchvisions, 5),
        LOOP(parameters_are_torchvisions, 4), LOOP(cosine_head, 2), ONCE(initial_weights), ONCE(state_dict), ONCE(refusals)
    };
    return suite_run("resnet", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
