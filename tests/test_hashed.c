/* test_hashed.c: tests/hashed.h and tests/golden/hashed.py make the same bits (tests/golden/hashed.safetensors), so
 * that the networks of the training goldens start alike on both sides. */
#include <check.h>
#include <stdlib.h>

#include "data/files/safetensors.h"
#include "hashed.h"
#include "suite.h"

static im_ctx *c;
static im_safetensors *golden;

static void setup(void)
{
    ck_assert_ptr_nonnull(c = im_ctx_new("ref", 1));
    golden = im_st_open(c, "tests/golden/hashed.safetensors");
    ck_assert_msg(golden != NULL, "%s", im_error(c));
}

static void teardown(void)
{
    im_st_close(golden);
    im_ctx_free(c);
}

/* The file has the first and the last 8 values of each. */
START_TEST(parameters)
{
    static const struct { const char *name; int ndim; int64_t shape[4]; } all[] = {
        { "conv1.weight", 4, { 64, 3, 7, 7 } },           { "layer1.0.bn1.weight", 1, { 64 } },
        { "layer1.0.bn1.bias", 1, { 64 } },               { "layer4.2.bn3.running_var", 1, { 2048 } },
        { "layer4.2.bn3.running_mean", 1, { 2048 } },     { "fc.weight", 2, { 10, 512 } },
    };
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        int64_t count = 1;
        for (int i = 0; i < all[k].ndim; i++)
            count *= all[k].shape[i];
        float *x = malloc((size_t)count * sizeof *x);
        ck_assert_ptr_nonnull(x);
        hashed_parameter(all[k].name, all[k].ndim, all[k].shape, x);
        const im_st_entry *e = im_st_find(golden, all[k].name);
        ck_assert_msg(e && e->dtype == IM_F32 && e->bytes == 16 * sizeof *x, "%s", all[k].name);
        ck_assert_msg(!memcmp(x, e->data, 8 * sizeof *x), "%s: the first values differ", all[k].name);
        ck_assert_msg(!memcmp(x + count - 8, (const float *)e->data + 8, 8 * sizeof *x), "%s: the last differ",
                      all[k].name);
        free(x);
    }
}
END_TEST

START_TEST(labels)
{
    int32_t x[16];
    hashed_labels("labels", 16, 10, x);
    const im_st_entry *e = im_st_find(golden, "labels");
    ck_assert(e && e->bytes == 16 * sizeof(int64_t));
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(x[i], ((const int64_t *)e->data)[i]);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(parameters), ONCE(labels)
    };
    return suite_run("hashed", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
