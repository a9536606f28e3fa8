/* test_grad_norms.c: norms and pools in training: torch's results and gradients (golden/gradients.safetensors.gz) on ref
 * and every instruction set; batch norm's backward at sizes with ReLU that differences do not reach; both ways that group
 * norm's backward takes through memory; running statistics under im_recompute; what a NaN does in a pool; what is kept. */
#include "buffers.h"
#include "golden_tensors.h"
#include "products.h"
#include "suite.h"
#include "tensor/ctx.h"
#include "tensor/tensor.h"

/* ---------------------------------------------------------------- torch */

typedef enum { GROUPNORM, LAYERNORM, BATCHNORM, MAXPOOL, AVGPOOL } op;
typedef struct { const char *name; op op; int groups; bool silu, training, relu; float eps; } golden_case;

static const golden_case goldens[] = {
    { "groupnorm", GROUPNORM, .groups = 4, .eps = 1e-5f },
    { "groupnorm_silu", GROUPNORM, .groups = 4, .silu = true, .eps = 1e-5f },
    { "groupnorm_tokens", GROUPNORM, .groups = 3, .eps = 1e-6f },
    { "layernorm", LAYERNORM, .eps = 1e-5f },
    { "batchnorm", BATCHNORM, .training = true, .eps = 1e-5f },
    { "batchnorm_relu", BATCHNORM, .training = true, .relu = true, .eps = 1e-5f },
    { "batchnorm_add_relu", BATCHNORM, .training = true, .relu = true, .eps = 1e-5f },
    { "batchnorm_eval", BATCHNORM, .eps = 1e-5f },
    { "batchnorm_eval_add_relu", BATCHNORM, .relu = true, .eps = 1e-5f },
    { "batchnorm_rows", BATCHNORM, .training = true, .eps = 1e-5f },
    { "maxpool", .op = MAXPOOL }, { "maxpool_ties", .op = MAXPOOL }, { "avgpool", .op = AVGPOOL },
};

static const char *const input_names[] = { "x", "gamma", "beta", "res", "mean", "var" };
enum { X, GAMMA, BETA, RES, MEAN, VAR, INPUTS };

static const im_st_entry *find(const im_safetensors *s, const char *name, const char *part)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", name, part);
    return im_st_find(s, key);
}

static im_tensor *call(im_ctx *c, const golden_case *g, im_tensor *const in[INPUTS])
{
    switch (g->op) {
    case GROUPNORM: return im_groupnorm(c, in[X], in[GAMMA], in[BETA], g->groups, g->eps, g->silu);
    case LAYERNORM: return im_layernorm(c, in[X], in[GAMMA], in[BETA], g->eps);
    case BATCHNORM: return im_batchnorm(c, in[X], in[GAMMA], in[BETA], in[RES], in[MEAN], in[VAR],
                                        &(im_batchnorm_attrs){ g->eps, 0.1f, g->training, g->relu });
    case MAXPOOL: return im_maxpool(c, in[X], 3, 2, 1);
    case AVGPOOL: return im_avgpool(c, in[X]);
    }
    return NULL;
}

/* Relative L2 distance: the cases are small, so each value is a few roundings away; torch in f32 is within 3e-7. */
static void want_near(im_ctx *c, const golden_case *g, const char *part, const im_tensor *t, const im_st_entry *e)
{
    ck_assert_msg(t && e && (size_t)im_numel(t) * sizeof(float) == e->bytes, "%s: %s.%s: missing, or of another size: %s",
                  im_device_isa(c), g->name, part, im_error(c));
    const float *x = im_data(t), *y = e->data;
    double far = 0, size = 0;
    for (int64_t i = 0; i < im_numel(t); i++) {
        far += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        size += (double)y[i] * y[i];
    }
    ck_assert_msg(sqrt(far) <= 6e-7 * sqrt(size), "%s: %s.%s is %g away from torch's", im_device_isa(c), g->name, part,
                  sqrt(far / size));
}

static void try_golden(im_ctx *c, const im_safetensors *s, const golden_case *g)
{
    im_tensor *in[INPUTS] = { 0 };
    im_scope_push(c);
    for (int i = 0; i < INPUTS; i++) {
        const im_st_entry *e = find(s, g->name, input_names[i]);
        in[i] = e ? im_from(c, IM_F32, e->ndim, e->shape, e->data) : NULL;
        if (in[i] && i < MEAN)
            im_want_grad(c, in[i]);
    }
    const im_st_entry *e = find(s, g->name, "dy");
    im_tensor *dy = im_from(c, IM_F32, e->ndim, e->shape, e->data);
    im_tape_begin(c);
    im_tensor *y = call(c, g, in);
    want_near(c, g, "y", y, find(s, g->name, "y"));
    ck_assert_msg(im_backward_from(c, y, dy), "%s: %s", g->name, im_error(c));
    for (int i = 0; i < MEAN; i++) {
        char part[16];
        snprintf(part, sizeof part, "d%s", input_names[i]);
        if (in[i])
            want_near(c, g, part, in[i]->grad, find(s, g->name, part));
    }
    if (g->training) {
        want_near(c, g, "mean_after", in[MEAN], find(s, g->name, "mean_after"));
        want_near(c, g, "var_after", in[VAR], find(s, g->name, "var_after"));
    } else if (in[MEAN]) {                                     /* given statistics stay                               */
        want_near(c, g, "mean", in[MEAN], find(s, g->name, "mean"));
        want_near(c, g, "var", in[VAR], find(s, g->name, "var"));
    }
    im_scope_pop(c);
}

/* A context on ref, or on the cpu under an instruction set of open_devices. */
static im_ctx *context(int device, int threads)
{
    choose_isa(device >= 0 ? devices[device].isa : NULL);
    im_ctx *c = im_ctx_new(device >= 0 ? "cpu" : "ref", threads);
    choose_isa(NULL);
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    return c;
}

START_TEST(torch_has_the_same_gradients)
{
    for (int d = -1; d < n_devices; d++) {
        im_ctx *c = context(d, 2);
        im_safetensors *s = golden_tensors(c, "tests/golden/gradients.safetensors.gz");
        for (int i = 0; i < COUNT(goldens); i++)
            try_golden(c, s, &goldens[i]);
        im_st_close(s);
        im_ctx_free(c);
    }
}
END_TEST

/* ---------------------------------------------------------------- batch norm, kernel by kernel */

typedef struct { int64_t rows; int channels; bool training, relu, res, add; } shape;

static const shape shapes[] = {                                /* around runs (512 rows), chunks (32), blocks (128)   */
    { 1, 3, false, true, true, false },      { 31, 16, true, true, false, false },  { 512, 130, true, true, true, false },
    { 513, 64, true, true, false, true },    { 1300, 33, true, true, true, true },  { 1100, 200, true, false, true, false },
    { 545, 259, true, true, false, false },  { 97, 17, false, true, false, true },  { 700, 40, false, false, true, true },
};

typedef struct { im_batchnorm_args f; im_batchnorm_bwd_args b; } pair;

static float *copied(const float *x, int64_t n)
{
    return x ? memcpy(guarded((size_t)n * sizeof *x), x, (size_t)n * sizeof *x) : NULL;
}

static pair make_pair(const shape *s)
{
    int64_t n = s->rows * s->channels;
    pair p = { .f = { .rows = s->rows, .channels = s->channels, .eps = 1e-5f, .momentum = 0.1f, .training = s->training,
                      .relu = s->relu, .x.p = random_floats(n, 2), .gamma = random_floats(s->channels, 2),
                      .beta = random_floats(s->channels, 1), .res.p = s->res ? random_floats(n, 1) : NULL,
                      .running_mean = random_floats(s->channels, 1), .running_var = random_floats(s->channels, 1) } };
    for (int c = 0; c < s->channels; c++)
        p.f.running_var[c] += 1.5f;
    p.b = (im_batchnorm_bwd_args){ .rows = s->rows, .channels = s->channels, .training = s->training, .relu = s->relu,
                                   .x = p.f.x, .gamma = p.f.gamma, .beta = p.f.beta, .dy.p = random_floats(n, 1),
                                   .dx.p = random_floats(n, 1), .dres.p = random_floats(n, 1),
                                   .dgamma = random_floats(s->channels, 1), .dbeta = random_floats(s->channels, 1),
                                   .add_dx = s->add, .add_dres = s->add, .add_dgamma = s->add, .add_dbeta = s->add };
    return p;
}

/* The same inputs, outputs of its own; forward and backward of dev. */
static pair run_pair(im_device *dev, const pair *p)
{
    int64_t c = p->f.channels, n = p->f.rows * c;
    pair q = *p;
    q.f.running_mean = copied(p->f.running_mean, c);
    q.f.running_var = copied(p->f.running_var, c);
    q.f.y.p = guarded((size_t)n * sizeof(float));
    q.b.mean = q.f.mean = guarded((size_t)c * sizeof(float));
    q.b.rstd = q.f.rstd = guarded((size_t)c * sizeof(float));
    q.b.y.p = p->f.res.p && p->f.relu ? q.f.y.p : NULL;
    q.b.dx.p = copied(F32(p->b.dx), n);
    q.b.dres.p = copied(F32(p->b.dres), n);
    q.b.dgamma = copied(p->b.dgamma, c);
    q.b.dbeta = copied(p->b.dbeta, c);
    ck_assert_int_eq(dev->k.batchnorm(dev, &q.f), IM_DONE);
    ck_assert_int_eq(dev->k.batchnorm_bwd(dev, &q.b), IM_DONE);
    return q;
}

/* Chains of 32 roundings, f64 between; dx is a difference of terms near 1. An element whose ReLU stands within rounding of
 * 0 may differ between devices: none does in these cases. */
static void want_close(const char *isa, const shape *s, const char *what, const float *got, const float *want, int64_t n)
{
    double size = 1e-30;
    for (int64_t i = 0; i < n; i++)
        size += (double)want[i] * want[i] / (double)n;
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - want[i]) <= 3e-6 * (fabs((double)want[i]) + sqrt(size)),
                      "%s %dx%d: %s[%d] %.9g, ref has %.9g", isa, (int)s->rows, s->channels, what, (int)i, got[i], want[i]);
}

static void compare_pairs(const char *isa, const shape *s, const pair *a, const pair *ref)
{
    int64_t c = s->channels, n = s->rows * c;
    want_close(isa, s, "y", F32(a->f.y), F32(ref->f.y), n);
    want_close(isa, s, "running mean", a->f.running_mean, ref->f.running_mean, c);
    want_close(isa, s, "running variance", a->f.running_var, ref->f.running_var, c);
    want_close(isa, s, "dx", F32(a->b.dx), F32(ref->b.dx), n);
    want_close(isa, s, "dres", F32(a->b.dres), F32(ref->b.dres), n);
    want_close(isa, s, "dgamma", a->b.dgamma, ref->b.dgamma, c);
    want_close(isa, s, "dbeta", a->b.dbeta, ref->b.dbeta, c);
}

static void same_pairs(const char *what, const pair *a, const pair *b)
{
    size_t c = (size_t)a->f.channels * sizeof(float), n = (size_t)a->f.rows * c;
    ck_assert_msg(!memcmp(F32(a->f.y), F32(b->f.y), n) && !memcmp(a->f.running_mean, b->f.running_mean, c)
                  && !memcmp(a->f.running_var, b->f.running_var, c) && !memcmp(a->f.mean, b->f.mean, c)
                  && !memcmp(a->f.rstd, b->f.rstd, c), "%s: forward has other bits", what);
    ck_assert_msg(!memcmp(F32(a->b.dx), F32(b->b.dx), n) && !memcmp(F32(a->b.dres), F32(b->b.dres), n)
                  && !memcmp(a->b.dgamma, b->b.dgamma, c)
                  && !memcmp(a->b.dbeta, b->b.dbeta, c), "%s: backward has other bits", what);
}

START_TEST(batch_norm_meets_ref)
{
    const shape *s = &shapes[_i];
    im_ctx *r = context(-1, 2);
    pair p = make_pair(s), ref = run_pair(&r->dev, &p), first;
    for (int d = 0; d < n_devices; d++) {
        pair got = run_pair(&devices[d], &p);
        compare_pairs(devices[d].isa, s, &got, &ref);
        for (int threads = 2; threads <= 3; threads++) {
            im_device dev;
            open_device(&dev, devices[d].isa, threads);
            pair more = run_pair(&dev, &p);
            same_pairs("more threads", &more, &got);
            im_device_close(&dev);
        }
        if (d == 1)                                            /* 0 is portable: no fused multiply-add                */
            first = got;
        else if (d > 1)
            same_pairs(devices[d].isa, &got, &first);
    }
    im_ctx_free(r);
    release_all();
}
END_TEST

/* Where the ReLU let through is found again from x, element by element, and what is not wanted is not written. */
START_TEST(the_mask_is_found_again)
{
    shape s = { 700, 150, true, true, false, false };
    for (int d = 0; d < n_devices; d++) {
        pair p = make_pair(&s), found = run_pair(&devices[d], &p), read = found;
        read.b.y = im_as_read(found.f.y);
        read.b.dres.p = guarded((size_t)(s.rows * s.channels) * sizeof(float));
        read.b.dx.p = read.b.dgamma = read.b.dbeta = NULL;
        ck_assert_int_eq(devices[d].k.batchnorm_bwd(&devices[d], &read.b), IM_DONE);
        ck_assert(!memcmp(F32(read.b.dres), F32(found.b.dres), (size_t)(s.rows * s.channels) * sizeof(float)));
        release_all();
    }
}
END_TEST

/* Large results go past the caches where they lie on 64 bytes (columns.h): the same bits as elsewhere. */
START_TEST(streams_have_the_same_bits)
{
    shape s = { 100000, 64, true, true, true, false };         /* 25.6 MB                                             */
    int64_t n = s.rows * s.channels, aligned = 64 / sizeof(float);
    float *y = guarded((size_t)(n + aligned) * sizeof *y), *dx = guarded((size_t)(n + aligned) * sizeof *dx);
    pair p = make_pair(&s);
    ck_assert((uintptr_t)y % 64 == 0 && (uintptr_t)dx % 64 == 0);
    im_device *dev = &devices[n_devices - 1];
    pair past = run_pair(dev, &p), through = past;
    through.f.y.p = y + 1;
    through.b.y = im_as_read(through.f.y);
    through.b.dx.p = dx + 1;
    ck_assert_int_eq(dev->k.batchnorm(dev, &through.f), IM_DONE);
    ck_assert_int_eq(dev->k.batchnorm_bwd(dev, &through.b), IM_DONE);
    ck_assert(!memcmp(F32(past.f.y), F32(through.f.y), (size_t)n * sizeof *y));
    ck_assert(!memcmp(F32(past.b.dx), F32(through.b.dx), (size_t)n * sizeof *y));
    release_all();
}
END_TEST

/* ---------------------------------------------------------------- group norm through memory */

typedef struct { int batch; int64_t pixels; int channels, groups; } group_shape;

static const group_shape group_shapes[] = {
    { 3, 256, 64, 32 }, { 2, 100, 33, 3 }, { 1, 1000, 96, 32 }, { 2, 4096, 64, 16 },
};

static im_groupnorm_bwd_args make_group(const group_shape *s)
{
    int64_t n = s->batch * s->pixels * s->channels, groups = s->batch * s->groups;
    float *rstd = random_floats(groups, 0.3f);
    for (int i = 0; i < groups; i++)
        rstd[i] += 1;
    return (im_groupnorm_bwd_args){
        .batch = s->batch, .pixels = s->pixels, .channels = s->channels, .groups = s->groups, .silu = true,
        .x.p = random_floats(n, 2), .gamma = random_floats(s->channels, 2), .beta = random_floats(s->channels, 1),
        .mean = random_floats(groups, 0.1f), .rstd = rstd, .dy.p = random_floats(n, 1) };
}

static im_groupnorm_bwd_args run_group(im_device *dev, im_groupnorm_bwd_args a)
{
    a.dx.p = filled(a.batch * a.pixels * a.channels, 0);
    a.dgamma = guarded((size_t)a.channels * sizeof(float));
    a.dbeta = guarded((size_t)a.channels * sizeof(float));
    ck_assert_int_eq(dev->k.groupnorm_bwd(dev, &a), IM_DONE);
    return a;
}

/* Whole images a task (batch >= threads, small) or phases; silu's gradient left in dx or, where dx is added to (here: to
 * zeros), computed again: the same bits. */
START_TEST(group_norm_has_the_same_bits_either_way)
{
    const group_shape *s = &group_shapes[_i];
    im_groupnorm_bwd_args a = make_group(s);
    size_t n = (size_t)(s->batch * s->pixels * s->channels) * sizeof(float), c = (size_t)s->channels * sizeof(float);
    for (int d = 0; d < n_devices; d++) {
        im_groupnorm_bwd_args one = run_group(&devices[d], a), added = a;
        added.add_dx = true;
        added = run_group(&devices[d], added);
        for (size_t i = 0; i < n / sizeof(float); i++)
            ck_assert_msg(F32(one.dx)[i] == F32(added.dx)[i], "%s: dx[%d]", devices[d].isa, (int)i);
        for (int threads = 2; threads <= 5; threads += 3) {
            im_device dev;
            open_device(&dev, devices[d].isa, threads);
            im_groupnorm_bwd_args more = run_group(&dev, a);
            ck_assert_msg(!memcmp(F32(one.dx), F32(more.dx), n) && !memcmp(one.dgamma, more.dgamma, c)
                          && !memcmp(one.dbeta, more.dbeta, c), "%s: %d threads", dev.isa, threads);
            im_device_close(&dev);
        }
    }
    release_all();
}
END_TEST

/* ---------------------------------------------------------------- the ops */

static im_tensor *drawn(im_ctx *c, int ndim, const int64_t sizes[], float size, float mean)
{
    im_tensor *t = im_new(c, IM_F32, ndim, sizes);
    float *x = im_data(t);
    for (int64_t i = 0; i < im_numel(t); i++)
        x[i] = size * uniform() + mean;
    return t;
}

typedef struct { im_tensor *x, *gamma, *beta, *mean, *var; } norm_in;

static norm_in make_norm(im_ctx *c, int64_t b, int64_t h, int64_t ch)
{
    norm_in n = { drawn(c, 4, (int64_t[]){ b, h, h, ch }, 2, 1), drawn(c, 1, &ch, 1, 1), drawn(c, 1, &ch, 1, 0),
                  drawn(c, 1, &ch, 1, 0), drawn(c, 1, &ch, 0.5f, 1) };
    im_want_grad(c, n.x);
    im_want_grad(c, n.gamma);
    im_want_grad(c, n.beta);
    return n;
}

static im_tensor *norm_and_pool(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)arg, (void)n_in;
    im_tensor *y = im_batchnorm(c, in[0], in[1], in[2], NULL, in[3], in[4],
                                &(im_batchnorm_attrs){ 1e-5f, 0.1f, true, true });
    return im_maxpool(c, y, 3, 2, 1);
}

/* With im_recompute and without: the same gradients, and the running statistics move once. */
START_TEST(statistics_move_once)
{
    im_ctx *c = context(_i ? n_devices - 1 : -1, 2);
    float dx[2][2 * 6 * 6 * 20], mean[2][20], var[2][20];
    for (int again = 0; again < 2; again++) {
        im_scope_push(c);
        seed = 7;
        norm_in n = make_norm(c, 2, 6, 20);
        im_tensor *in[] = { n.x, n.gamma, n.beta, n.mean, n.var };
        im_tensor *dy = drawn(c, 4, (int64_t[]){ 2, 3, 3, 20 }, 1, 0);
        im_tape_begin(c);
        im_tensor *y = again ? im_recompute(c, norm_and_pool, NULL, in, 5) : norm_and_pool(c, NULL, in, 5);
        ck_assert_msg(im_backward_from(c, y, dy), "%s", im_error(c));
        memcpy(dx[again], im_data(n.x->grad), sizeof dx[again]);
        memcpy(mean[again], im_data(n.mean), sizeof mean[again]);
        memcpy(var[again], im_data(n.var), sizeof var[again]);
        im_scope_pop(c);
    }
    ck_assert(!memcmp(dx[0], dx[1], sizeof dx[0]));
    ck_assert(!memcmp(mean[0], mean[1], sizeof mean[0]) && !memcmp(var[0], var[1], sizeof var[0]));
    im_ctx_free(c);
}
END_TEST

/* One tensor as x and res: both gradients go to one place. */
START_TEST(the_residual_may_be_x)
{
    for (int d = -1; d < n_devices; d++) {
        im_ctx *c = context(d, 2);
        float dx[2][2 * 5 * 5 * 19];
        for (int twice = 0; twice < 2; twice++) {
            im_scope_push(c);
            seed = 3;
            norm_in n = make_norm(c, 2, 5, 19);
            im_tensor *dy = drawn(c, 4, n.x->shape, 1, 0), *res = n.x;
            if (twice) {
                res = im_from(c, IM_F32, 4, n.x->shape, im_data(n.x));
                im_want_grad(c, res);
            }
            im_tape_begin(c);
            im_tensor *y = im_batchnorm(c, n.x, n.gamma, n.beta, res, n.mean, n.var,
                                        &(im_batchnorm_attrs){ 1e-5f, 0.1f, true, true });
            ck_assert_msg(im_backward_from(c, y, dy), "%s", im_error(c));
            memcpy(dx[twice], im_data(n.x->grad), sizeof dx[0]);
            for (int i = 0; twice && i < COUNT(dx[0]); i++)
                dx[1][i] += ((float *)im_data(res->grad))[i];
            im_scope_pop(c);
        }
        for (int i = 0; i < COUNT(dx[0]); i++)                 /* ref adds in f64                                     */
            ck_assert_msg(fabsf(dx[0][i] - dx[1][i]) <= 0x1p-22f * (1 + fabsf(dx[1][i])), "%s: dx[%d] %g, %g apart",
                          im_device_isa(c), i, dx[0][i], dx[1][i]);
        im_ctx_free(c);
    }
}
END_TEST

/* As torch 2.15 says, contiguous and channels_last: of several NaN the last wins, of equal values the first, and of
 * nothing but -infinity the first inside of the picture. */
START_TEST(pools_treat_nan_as_torch_does)
{
    enum { C = 17 };
    static const float x[25] = { 1, NAN, 2, NAN, 5, 3, 4, 0, 1, 5, -INFINITY, -INFINITY, -INFINITY, 7, 7,
                                 -INFINITY, -INFINITY, -INFINITY, 7, NAN, -INFINITY, -INFINITY, -INFINITY, 7, 1 };
    static const float y[9] = { NAN, NAN, NAN, 4, 7, NAN, -INFINITY, 7, NAN };
    static const float dx[25] = { 0, 1, 0, 5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 5, 0, 7, 0, 0, 8, 15, 0, 0, 0, 0, 0 };
    for (int d = -1; d < n_devices; d++) {
        im_ctx *c = context(d, 2);
        im_tensor *in = im_new(c, IM_F32, 4, (int64_t[]){ 1, 5, 5, C });
        im_tensor *dy = im_new(c, IM_F32, 4, (int64_t[]){ 1, 3, 3, C });
        for (int i = 0; i < 25 * C; i++)
            ((float *)im_data(in))[i] = x[i / C];
        for (int i = 0; i < 9 * C; i++)
            ((float *)im_data(dy))[i] = (float)(1 + i / C);
        im_want_grad(c, in);
        im_tape_begin(c);
        im_tensor *out = im_maxpool(c, in, 3, 2, 1);
        for (int i = 0; i < 9 * C; i++) {
            float got = ((float *)im_data(out))[i], want = y[i / C];
            ck_assert_msg(got == want || (isnan(got) && isnan(want)), "%s: y[%d] is %g", im_device_isa(c), i / C, got);
        }
        ck_assert(im_backward_from(c, out, dy));
        for (int i = 0; i < 25 * C; i++)
            ck_assert_msg(((float *)im_data(in->grad))[i] == dx[i / C], "%s: dx[%d] is %g", im_device_isa(c), i / C,
                          ((float *)im_data(in->grad))[i]);
        im_ctx_free(c);
    }
}
END_TEST

typedef struct { size_t norm, pool; } kept;

static void note_kept(void *arg, const im_tape_row *row)
{
    kept *k = arg;
    *(strcmp(row->op, "maxpool") ? &k->norm : &k->pool) += row->kept_bytes;
}

/* Batch norm without a residual holds x and vectors, not its output; a pool holds half a float an output. */
START_TEST(little_is_kept)
{
    im_ctx *c = context(-1, 1);
    kept k = { 0, 0 };
    norm_in n = make_norm(c, 2, 6, 20);
    im_tensor *dy = drawn(c, 4, (int64_t[]){ 2, 3, 3, 20 }, 1, 0);
    im_on_tape(c, note_kept, &k);
    im_tape_begin(c);
    im_tensor *y = norm_and_pool(c, NULL, (im_tensor *[]){ n.x, n.gamma, n.beta, n.mean, n.var }, 5);
    ck_assert(im_backward_from(c, y, dy));
    ck_assert_uint_eq(k.norm, sizeof(float) * (2 * 6 * 6 * 20 + 4 * 20));
    ck_assert_uint_eq(k.pool, sizeof(float) * (2 * 3 * 3 * 20) / 2);
    im_ctx_free(c);
}
END_TEST

static void want_failure(im_ctx *c, const im_tensor *y, const char *text)
{
    ck_assert_msg(!y && strstr(im_error(c), text), "wanted \"%s\", found: %s", text, im_error(c));
    im_clear_error(c);
}

START_TEST(misuse_is_named)
{
    im_ctx *c = context(-1, 1);
    norm_in n = make_norm(c, 1, 1, 5), wide = make_norm(c, 1, 2, 6);
    im_batchnorm_attrs at = { 1e-5f, 0.1f, true, true };
    want_failure(c, im_batchnorm(c, n.x, n.gamma, n.beta, NULL, n.mean, n.var, &at), "more than one value");
    want_failure(c, im_batchnorm(c, wide.x, wide.gamma, n.beta, NULL, wide.mean, wide.var, &at), "gamma, beta, running");
    want_failure(c, im_batchnorm(c, wide.x, wide.gamma, wide.beta, n.x, wide.mean, wide.var, &at),
                 "a residual of x's shape");
    want_failure(c, im_maxpool(c, wide.x, 2, 2, 2), "half a window");
    want_failure(c, im_maxpool(c, wide.x, 3, 0, 1), "a stride of at least 1");
    want_failure(c, im_maxpool(c, wide.x, 3, 1, 0), "not smaller than the window");
    want_failure(c, im_maxpool(c, n.gamma, 1, 1, 0), "x (B, H, W, C)");
    want_failure(c, im_avgpool(c, n.gamma), "(B, H, W, C) or (B, T, C)");
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(torch_has_the_same_gradients), LOOP(batch_norm_meets_ref, COUNT(shapes)), ONCE(the_mask_is_found_again),
        ONCE(streams_have_the_same_bits), LOOP(group_norm_has_the_same_bits_either_way, COUNT(group_shapes)),
        LOOP(statistics_move_once, 2), ONCE(the_residual_may_be_x), ONCE(pools_treat_nan_as_torch_does),
        ONCE(little_is_kept), ONCE(misuse_is_named),
    };
    return suite_run("grad_norms", open_devices, close_devices, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
