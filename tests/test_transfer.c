/* test_transfer.c: values to tensors and out of them, the only way there is (tensor/transfer.c): views with gaps, every
 * dtype, what is refused, what is counted; ids that are looked at when they are uploaded; tensors of two contexts. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "imago.h"
#include "suite.h"

static im_ctx *c;
static const char *const devices[] = { "ref", "cpu" };
enum { DEVICES = sizeof devices / sizeof *devices };
#define OPEN() ck_assert_ptr_nonnull(c = im_ctx_new(devices[_i], 2))
#include "want.h"
#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }

static void close_context(void)
{
    im_ctx_free(c);
}

static const float six[] = { 1, 2, 3, 4, 5, 6 };

START_TEST(there_and_back)
{
    OPEN();
    float got[6] = { 0 };
    im_tensor *x = im_from(c, IM_F32, SHAPE(2, 3), six);
    ck_assert(im_download(c, x, got));
    ck_assert_mem_eq(got, six, sizeof six);
    ck_assert(im_upload(c, im_slice(c, x, 0, 1, 2), six));     /* a part that is contiguous                            */
    const float want[] = { 1, 2, 3, 1, 2, 3 };
    float *all = im_values(c, x);
    ck_assert_mem_eq(all, want, sizeof want);
    free(all);
    ck_assert_double_eq(im_item(c, im_slice(c, im_slice(c, x, 0, 0, 1), 1, 1, 2)), 2);
    im_tensor *y = im_new(c, IM_F32, SHAPE(6));
    ck_assert(im_assign(c, y, x) && im_fill(c, x, -0.5f) && im_download(c, y, got));
    ck_assert_mem_eq(got, want, sizeof want);
    ck_assert(im_download(c, x, got));
    for (int i = 0; i < 6; i++)
        ck_assert_float_eq(got[i], -0.5f);
}
END_TEST

/* Columns 1 and 2 of (2, 3), and the second picture's middle of (2, 2, 2, 2). */
START_TEST(views_with_gaps)
{
    OPEN();
    float got[8], deep[16];
    im_tensor *x = im_from(c, IM_F32, SHAPE(2, 3), six), *columns = im_slice(c, x, 1, 1, 3);
    ck_assert(im_download(c, columns, got));
    ck_assert_mem_eq(got, ((float[]){ 2, 3, 5, 6 }), 4 * sizeof *got);
    for (int i = 0; i < 16; i++)
        deep[i] = (float)i;
    im_tensor *d = im_slice(c, im_slice(c, im_from(c, IM_F32, SHAPE(2, 2, 2, 2), deep), 2, 0, 1), 3, 1, 2);
    ck_assert(im_download(c, d, got));
    ck_assert_mem_eq(got, ((float[]){ 1, 5, 9, 13 }), 4 * sizeof *got);
    ck_assert(!im_upload(c, columns, six));
    WANT_ERROR("upload", "(2, 2)", "contiguous");
    ck_assert(!im_fill(c, columns, 0));
    WANT_ERROR("fill", "contiguous");
    ck_assert(!im_assign(c, im_new(c, IM_F32, SHAPE(5)), x));
    WANT_ERROR("assign", "(2, 3)", "(5)");
    im_item(c, x);
    WANT_ERROR("item", "(2, 3)", "one value");
}
END_TEST

START_TEST(every_dtype)
{
    OPEN();
    const im_dtype types[] = { IM_F32, IM_F16, IM_BF16, IM_I32 };
    for (int i = 0; i < 4; i++)
        for (int n = 1; n <= 5; n++) {                         /* 16 bits: an odd number ends in half a word           */
            im_tensor *x = im_new(c, types[i], SHAPE(n));
            ck_assert(im_fill(c, x, 3));
            for (int k = 0; k < n; k++)
                ck_assert_double_eq(im_item(c, im_slice(c, x, 0, k, k + 1)), 3);
        }
    im_tensor *ids = im_new(c, IM_I32, SHAPE(3));              /* names row 0 until something is uploaded              */
    for (int k = 0; k < 3; k++)
        ck_assert_double_eq(im_item(c, im_slice(c, ids, 0, k, k + 1)), 0);
}
END_TEST

START_TEST(counted)
{
    OPEN();
    float got[6];
    im_counts before = im_counted(c);
    im_tensor *x = im_from(c, IM_F32, SHAPE(2, 3), six);
    im_scale(c, x, 2);
    im_fill(c, x, 1);
    im_counts up = im_counted(c);
    ck_assert_int_eq(up.uploads - before.uploads, 1);
    ck_assert_uint_eq(up.uploaded - before.uploaded, sizeof six);
    ck_assert_int_eq(up.downloads + up.syncs, before.downloads + before.syncs);
    im_download(c, x, got);
    im_item(c, im_slice(c, im_slice(c, x, 0, 0, 1), 1, 0, 1));
    im_counts down = im_counted(c);
    ck_assert_int_eq(down.downloads - up.downloads, 2);
    ck_assert_uint_eq(down.downloaded - up.downloaded, sizeof six + sizeof *six);
    ck_assert_int_eq(down.syncs - up.syncs, 2);
    ck_assert_int_eq(down.uploads, up.uploads);
}
END_TEST

/* ---------------------------------------------------------------- ids */

static im_tensor *row_of(im_ctx *k, void *table, im_tensor *const in[], int n)
{
    (void)n;
    return im_embedding(k, table, in[0]);
}

START_TEST(ids_in_and_out_of_range)
{
    OPEN();
    im_tensor *table = im_from(c, IM_F32, SHAPE(3, 2), six), *logits = im_from(c, IM_F32, SHAPE(2, 3), six);
    im_counts before = im_counted(c);
    ck_assert_ptr_nonnull(im_embedding(c, table, im_from(c, IM_I32, SHAPE(2), (int32_t[]){ 2, 0 })));
    ck_assert_ptr_nonnull(im_cross_entropy(c, logits, im_from(c, IM_I32, SHAPE(2), (int32_t[]){ 2, 0 })));
    ck_assert_int_eq(im_counted(c).downloads, before.downloads);              /* the range is known from the upload   */
    im_tensor *ids = im_from(c, IM_I32, SHAPE(3), (int32_t[]){ 1, 7, -1 });
    ck_assert_ptr_null(im_embedding(c, table, ids));
    WANT_ERROR("embedding", "id 7", "0 to 2", "tokenizer");
    ck_assert_ptr_null(im_cross_entropy(c, logits, im_slice(c, ids, 0, 1, 3)));
    WANT_ERROR("cross_entropy", "label 0 is 7", "0 to 2", "classes");
    ck_assert_ptr_null(im_cross_entropy(c, logits, im_from(c, IM_I32, SHAPE(2), (int32_t[]){ 0, -1 })));
    WANT_ERROR("label 1 is -1");
    ck_assert_ptr_nonnull(im_embedding(c, table, im_slice(c, ids, 0, 0, 1))); /* the part that is used is in range    */
    ck_assert(im_upload(c, im_slice(c, ids, 0, 1, 3), (int32_t[]){ 0, 2 }));
    ck_assert_ptr_nonnull(im_embedding(c, table, ids));
}
END_TEST

/* A plan is replayed without asking its ops: what they want of ids is asked when they come. */
START_TEST(ids_of_a_plan)
{
    OPEN();
    float got[4];
    im_tensor *table = im_from(c, IM_F32, SHAPE(3, 2), six), *ids = im_new(c, IM_I32, SHAPE(2));
    im_plan *p = im_plan_record(c, row_of, table, &ids, 1);
    ck_assert_msg(p != NULL, "%s", im_error(c));
    ck_assert(im_download(c, im_plan_run(c, p), got));         /* nothing was uploaded: row 0                          */
    ck_assert_mem_eq(got, ((float[]){ 1, 2, 1, 2 }), sizeof got);
    ck_assert(im_upload(c, ids, (int32_t[]){ 2, 1 }) && im_download(c, im_plan_run(c, p), got));
    ck_assert_mem_eq(got, ((float[]){ 5, 6, 3, 4 }), sizeof got);
    ck_assert(!im_upload(c, ids, (int32_t[]){ 0, 3 }));
    WANT_ERROR("embedding", "id 3", "0 to 2");
    ck_assert(im_download(c, im_plan_run(c, p), got));         /* what is refused changes nothing                     */
    ck_assert_mem_eq(got, ((float[]){ 5, 6, 3, 4 }), sizeof got);
    im_plan_free(c, p);
}
END_TEST

/* ---------------------------------------------------------------- two contexts */

START_TEST(of_another_context)
{
    OPEN();
    float got[6];
    im_ctx *other = im_ctx_new(devices[_i], 1);
    im_tensor *own = im_from(c, IM_F32, SHAPE(2, 3), six), *foreign = im_from(other, IM_F32, SHAPE(2, 3), six);
    ck_assert_ptr_null(im_add(c, own, foreign));
    WANT_ERROR("add", "another context");
    ck_assert_ptr_null(im_scale(c, foreign, 2));
    WANT_ERROR("scale", "another context");
    ck_assert_ptr_null(im_layernorm(c, own, im_from(other, IM_F32, SHAPE(3), six), im_from(c, IM_F32, SHAPE(3), six), 1));
    WANT_ERROR("layernorm", "another context");
    ck_assert(!im_download(c, foreign, got) && !im_ok(c));
    WANT_ERROR("download", "another context");
    ck_assert(!im_upload(c, foreign, six));
    WANT_ERROR("upload", "another context");
    ck_assert(!im_assign(c, own, foreign));
    WANT_ERROR("assign", "another context");
    ck_assert_ptr_null(im_reshape(c, foreign, SHAPE(6)));
    WANT_ERROR("reshape", "another context");
    ck_assert_ptr_null(im_slice(c, foreign, 0, 0, 1));
    WANT_ERROR("slice", "another context");
    im_trained p = { .w = foreign };
    im_want_grad(other, foreign);
    ck_assert(!im_optimise(c, &(im_optimise_step){ .kind = IM_SGD, .params = &p, .count = 1 }));
    WANT_ERROR("optimise", "another context");
    im_want_grad(c, own);
    im_tape_begin(c);
    im_tensor *y = im_scale(c, own, 2);
    ck_assert(!im_backward_from(c, y, foreign));
    WANT_ERROR("another context");
    ck_assert_ptr_null(im_plan_record(c, row_of, own, &foreign, 1));
    WANT_ERROR("another context");
    ck_assert(im_ok(other));
    ck_assert_ptr_nonnull(im_scale(other, foreign, 2));
    im_ctx_free(other);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        LOOP(there_and_back, DEVICES), LOOP(views_with_gaps, DEVICES), LOOP(every_dtype, DEVICES), LOOP(counted, DEVICES),
        LOOP(ids_in_and_out_of_range, DEVICES), LOOP(ids_of_a_plan, DEVICES), LOOP(of_another_context, DEVICES),
    };
    return suite_run("transfer", NULL, close_context, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
