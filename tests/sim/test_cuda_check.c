/* test_cuda_check.c: the check that a device makes of itself (src/cuda/check.h), in the simulator: it finds nothing where
 * all is well; notices each kernel of the table that does nothing; replaces a kernel that is wrong on tensor cores by its
 * plain form; refuses the device where the plain form is wrong; and what it found is kept for the next start of this
 * build. And the errors of a device that is not there or too small. */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda/check.h"
#include "sim_settings.h"
#include "suite.h"
#include "tensor/tensor.h"

static char cache[] = "/tmp/imago-check-XXXXXX";

static void forget(void)
{
    char files[100];
    glob_t found;
    snprintf(files, sizeof files, "%s/imago/cuda/*", cache);
    if (!glob(files, 0, NULL, &found)) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
        globfree(&found);
    }
}

static char heard[3000];
static void hear(void *arg, const char *text)
{
    (void)arg;
    snprintf(heard, sizeof heard, "%s", text);
}

typedef struct { int rows, bad, mma, k8, bad_mma; double worst; char first[100], nearest[100]; } seen;

static void look(void *arg, const im_check_row *row)
{
    seen *s = arg;
    s->rows++;
    s->mma += !strcmp(row->path, "mma");
    s->k8 += !strcmp(row->path, "mma k8");
    s->bad_mma += !row->agrees && strcmp(row->path, "plain");
    if (!row->agrees && !s->bad++)
        snprintf(s->first, sizeof s->first, "%s in %s (%s): %g", row->kernel, row->form, row->path, row->error);
    if (row->agrees && row->error / row->limit > s->worst) {
        s->worst = row->error / row->limit;
        snprintf(s->nearest, sizeof s->nearest, "%s in %s", row->kernel, row->form);
    }
}

/* ---------------------------------------------------------------- all is well */

START_TEST(nothing_is_found)
{
    static const struct { int sm; bool late; } devices[] = { { 75, true }, { 80, false }, { 80, true } };
    seen s = { 0 };
    sim_set(true, _i, devices[_i].late);
    sim_set_capability(devices[_i].sm);
    im_ctx *c = im_ctx_new("cuda", 1);                         /* checks itself here, and once more when it is asked   */
    ck_assert_msg(im_device_check(c, look, &s), "%s", im_error(c));
    ck_assert_msg(!s.bad, "%s", s.first);
    ck_assert_int_eq(sim_all_faults(), 0);
    ck_assert_int_gt(s.rows, IM_CUDA_SLOTS);
    ck_assert_msg(devices[_i].sm == 80 ? s.mma > 20 && !s.k8 : !s.mma && s.k8 > 6, "%d rows on tensor cores, %d of sm_75",
                  s.mma, s.k8);
    ck_assert_msg(s.worst < 0.8, "limits are too near: %s uses up %g of one", s.nearest, s.worst);
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- every slot */

#define X(name) static int skip_##name(im_device *d, const im_##name##_args *p) { (void)d; (void)p; return IM_DONE; }
IM_KERNELS(X)
#undef X

static void skip(im_kernels *k, int slot)
{
    switch (slot) {
#define X(name) case IM_CUDA_SLOT_##name: k->name = skip_##name; break;
        IM_KERNELS(X)
#undef X
    }
}

START_TEST(a_kernel_that_does_nothing_is_noticed)
{
    seen s = { 0 };
    sim_set(false, 0, false);
    im_ctx *c = im_ctx_new("cuda", 1);
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    skip(&c->dev.k, _i);
    im_cuda_check(&c->dev, _i, look, &s);
    ck_assert_msg(s.bad == 1 && !im_ok(c), "slot %d: %d of %d rows disagree", _i, s.bad, s.rows);
    ck_assert_msg(strstr(im_error(c), "is not used: its kernel"), "%s", im_error(c));
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- wrong on tensor cores */

static im_kernels own;

/* One number is wrong, on tensor cores only. */
static int wrong_gemm(im_device *dev, const im_gemm_args *p)
{
    bool cores = p->b.dtype != IM_F32 && im_cuda_mma(dev, IM_CUDA_SLOT_gemm, p->b.dtype);
    int status = own.gemm(dev, p);
    return status || !cores ? status : dev->s.fill(dev, (char *)p->c.p + im_dtype_size(p->c.t) * 5, 0x41004100, 2);
}

/* On sm_80 it is seen in bf16 first, on sm_75 in f16. */
START_TEST(a_wrong_kernel_is_replaced)
{
    seen s = { 0 };
    sim_set(false, 0, false);
    sim_set_capability(_i ? 75 : 80);
    im_ctx *c = im_ctx_new("cuda", 1);
    im_on_warning(c, hear, NULL);
    own = c->dev.k;
    c->dev.k.gemm = wrong_gemm;
    ck_assert_msg(im_device_check(c, look, &s), "%s", im_error(c));
    ck_assert_msg(s.bad == 1 && s.bad_mma == 1 && strstr(s.first, _i ? "gemm in f16 (mma k8)" : "gemm in bf16"),
                  "%d bad, %s", s.bad, s.first);
    ck_assert_msg(strstr(heard, "gemm") && strstr(heard, "its plain form is used"), "%s", heard);
    ck_assert(!im_cuda_mma(&c->dev, IM_CUDA_SLOT_gemm, IM_F16) && im_cuda_mma(&c->dev, IM_CUDA_SLOT_conv, IM_F16));
    ck_assert(!im_cuda_mma(&c->dev, IM_CUDA_SLOT_conv, IM_BF16) == (_i == 1));
    forget();
    im_cuda_check_keep(&c->dev, im_cuda_kept_plain(&c->dev));
    im_ctx_free(c);

    c = im_ctx_new("cuda", 1);                                 /* another start: it is remembered, and said again      */
    *heard = '\0';
    im_on_warning(c, hear, NULL);
    ck_assert_msg(strstr(heard, "not used"), "\"%s\"", heard);
    ck_assert(!im_cuda_mma(&c->dev, IM_CUDA_SLOT_gemm, IM_F16) && im_cuda_mma(&c->dev, IM_CUDA_SLOT_conv, IM_F16));
    ck_assert(!im_cuda_mma(&c->dev, IM_CUDA_SLOT_conv, IM_BF16) == (_i == 1));
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- what is kept */

START_TEST(only_what_is_whole_is_believed)
{
    static const char *const texts[] = { "", "build\nplain:\n", "%splain: gemm conv", "%splain: gemm nonsense\n", "%s\n" };
    uint64_t plain;
    char files[100], line[1000];
    glob_t found;
    im_ctx *c = im_ctx_new("cuda", 1);
    forget();
    ck_assert(!im_cuda_check_recall(&c->dev, &plain));
    im_cuda_check_keep(&c->dev, 1ull << IM_CUDA_SLOT_gemm | 1ull << IM_CUDA_SLOT_gate);
    ck_assert(im_cuda_check_recall(&c->dev, &plain) && plain == (1ull << IM_CUDA_SLOT_gemm | 1ull << IM_CUDA_SLOT_gate));
    snprintf(files, sizeof files, "%s/imago/cuda/*", cache);
    ck_assert(!glob(files, 0, NULL, &found) && found.gl_pathc == 1);
    FILE *f = fopen(found.gl_pathv[0], "r");
    ck_assert(f && fgets(line, sizeof line, f));
    fclose(f);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *behind = strstr(texts[i], "%s");
        f = fopen(found.gl_pathv[0], "w");
        fprintf(f, "%s%s", behind ? line : "", behind ? behind + 2 : texts[i]);
        fclose(f);
        ck_assert_msg(!im_cuda_check_recall(&c->dev, &plain), "text %zu was believed", i);
    }
    globfree(&found);
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);              /* no place for it: no error                            */
    im_cuda_check_keep(&c->dev, 0);
    ck_assert(!im_cuda_check_recall(&c->dev, &plain) && im_ok(c));
    im_ctx_free(c);
}
END_TEST

/* ---------------------------------------------------------------- errors */

START_TEST(errors_are_clear)
{
    static const struct { const char *name, *text; } wrong[] = {
        { "cuda:1", "cuda:0" }, { "cuda:x", "cuda:N" }, { "cuda:", "cuda:N" }, { "cuda:99999", "cuda:N" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        im_ctx *c = im_ctx_new(wrong[i].name, 1);
        ck_assert_msg(!im_ok(c) && strstr(im_error(c), wrong[i].text), "%s: %s", wrong[i].name, im_error(c));
        im_ctx_free(c);
    }
    sim_set(true, 0, true);
    im_ctx_free(im_ctx_new("cuda", 1));                        /* it has been checked                                  */
    sim_set_memory(1 << 20);
    im_ctx *c = im_ctx_new("cuda:0", 1);
    int64_t much = 1 << 20, some = 100, half = 1 << 17;
    im_tensor *weight = im_param_new(c, "w", IM_F32, 1, &half);
    ck_assert(im_param_alloc(c, weight, (im_weight_layout){ .dtype = IM_F32 }));
    ck_assert_msg(!im_new(c, IM_F32, 1, &much) && strstr(im_error(c), "out of memory") && im_out_of_memory(c) &&
                  strstr(im_error(c), "4.00 MiB were wanted, 0.50 MiB of 1.00 MiB are free; parameters have 0.50 MiB, "
                  "plans 0.00 MiB, other tensors 0.00 MiB"), "%s", im_error(c));
    im_param_free(c, weight);
    im_clear_error(c);
    ck_assert(!im_out_of_memory(c));
    im_tensor *x = im_new(c, IM_F32, 1, &some);
    ck_assert(im_fill(c, x, 2));
    for (int i = 0; i < 100; i++) {                            /* memory that is given back is lent again              */
        im_scope_push(c);
        int64_t most = 200000;
        im_tensor *y = im_new(c, IM_F32, 1, &most);
        ck_assert_msg(im_fill(c, y, 1), "%s", im_error(c));
        im_scope_pop(c);
    }
    ck_assert_double_eq(im_item(c, im_slice(c, x, 0, 7, 8)), 2);
    im_cancel(c);
    ck_assert(!im_scale(c, x, 2));
    im_ctx_free(c);
    ck_assert_int_eq(sim_all_faults(), 0);
}
END_TEST

START_TEST(other_devices_say_that_they_have_none)
{
    im_ctx *c = im_ctx_new("ref", 1);
    ck_assert(!im_device_check(c, NULL, NULL) && strstr(im_error(c), "does not check itself"));
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(nothing_is_found, 3), LOOP(a_kernel_that_does_nothing_is_noticed, IM_CUDA_SLOTS), ONCE(errors_are_clear),
        LOOP(a_wrong_kernel_is_replaced, 2), ONCE(only_what_is_whole_is_believed),
        ONCE(other_devices_say_that_they_have_none),
    };
    char command[100];
    if (!mkdtemp(cache))
        return 2;
    setenv("XDG_CACHE_HOME", cache, 1);
    int failed = suite_run("cuda check", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
    snprintf(command, sizeof command, "rm -rf %s", cache);
    return system(command) || failed;
}
