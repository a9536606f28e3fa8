/* test_captions.c: captions with tags left out: how often each is, which ids they get. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/train/captions.h"
#include "suite.h"

static im_ctx *c;
static void setup(void) { c = im_ctx_new("ref", 1); }
static void teardown(void) { im_ctx_free(c); }

enum { T = 24 };
static im_sample samples[] = {
    { .caption = "emperor penguin, bird, clip art" }, { .caption = "Horse, mammal, emoji" }, { .caption = "a dog" },
    { .caption = "" }, { .caption = " a ,b,, c , d, e,f" }, { .caption = "horse" }
};
static const im_dataset set = { .path = "captions", .count = 6, .samples = samples };

START_TEST(tags)
{
    im_tags t = im_tags_of(samples[4].caption);
    static const char *const want[] = { "a", "b", "c", "d, e,f" };
    ck_assert_int_eq(t.n, 4);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(t.length[i], (int)strlen(want[i]));
        ck_assert_mem_eq(t.at[i], want[i], strlen(want[i]));
    }
    ck_assert_int_eq(im_tags_of("").n, 0);
    ck_assert_int_eq(im_tags_of(" , ,").n, 0);
    ck_assert_int_eq(im_tags_of("x").n, 1);
}
END_TEST

static void want_ids(im_tokenizer *k, const int32_t *ids, const char *text)
{
    int32_t want[T];
    ck_assert(im_tokenize(c, k, text, T, want, NULL));
    ck_assert_msg(!memcmp(ids, want, sizeof want), "not the ids of \"%s\"", text);
}

START_TEST(draws)
{
    static const char *const subset[8] = { NULL, "emperor penguin", "bird", "emperor penguin, bird", "clip art",
                                           "emperor penguin, clip art", "bird, clip art",
                                           "emperor penguin, bird, clip art" };
    enum { TRIES = 20000 };
    const float first = 0.15f, p = 0.3f;
    im_tokenizer *k = im_tokenizer_open(c, NULL);
    im_captions s = { 0 };
    int count[8] = { 0 };
    im_stream r;
    ck_assert(im_captions_read(c, &s, &set, k, T, true));
    ck_assert_int_eq(s.rows, 7 + 7 + 1 + 1 + 15 + 1);
    want_ids(k, s.empty, "");
    for (int i = 0; i < TRIES; i++) {
        im_stream_open(&r, 3, IM_STREAM_CAPTION, (uint64_t)i, 0);
        int m = (int)((im_captions_draw(&s, 0, first, p, &r) - s.ids) / T) + 1;
        im_stream_open(&r, 3, IM_STREAM_CAPTION, (uint64_t)i, 0);
        ck_assert_int_eq(m, (im_captions_draw(&s, 0, first, p, &r) - s.ids) / T + 1);
        ck_assert(m >= 1 && m <= 7);
        count[m]++;
    }
    for (int m = 1; m < 8; m++) {
        double share = m == 7 ? (double)(first * p * p) : 0;   /* where all would go, none goes                       */
        double one = 1;
        for (int b = 0; b < 3; b++)
            one *= m >> b & 1 ? 1 - (double)(b ? p : first) : (double)(b ? p : first);
        share += one;
        double bound = 5 * sqrt(share * (1 - share) / TRIES);
        ck_assert_msg(fabs(count[m] / (double)TRIES - share) < bound, "tags %d: %d times, share %g", m, count[m], share);
        want_ids(k, s.ids + (s.first[0] + m - 1) * T, subset[m]);
    }
    for (int64_t i = 0; i < set.count; i++) {                  /* nothing left out; all left out                      */
        want_ids(k, im_captions_draw(&s, i, 0, 0, NULL), samples[i].caption);
        want_ids(k, im_captions_draw(&s, i, 1, 1, &r), samples[i].caption);
    }
    for (int i = 0; i < 20; i++) {                             /* only the first; only the others                     */
        want_ids(k, im_captions_draw(&s, 0, 1, 0, &r), "bird, clip art");
        want_ids(k, im_captions_draw(&s, 0, 0, 1, &r), "emperor penguin");
    }
    want_ids(k, s.ids + (s.first[4] + 8 - 1) * T, "d, e,f");
    im_captions_free(&s);
    ck_assert(im_captions_read(c, &s, &set, k, T, false));
    ck_assert_int_eq(s.rows, set.count);
    for (int64_t i = 0; i < set.count; i++)
        want_ids(k, im_captions_draw(&s, i, 0, 0, NULL), samples[i].caption);
    im_captions_free(&s);
    im_tokenizer_free(k);
}
END_TEST

/* The tokenizer knows a text only; its error names set and picture. */
START_TEST(error_names_the_picture)
{
    im_sample bad[] = { { .name = "one.png", .caption = "a dog" }, { .name = "sub/two.png", .caption = "a \xff" } };
    const im_dataset d = { .path = "some/set", .count = 2, .samples = bad };
    im_tokenizer *k = im_tokenizer_open(c, NULL);
    im_captions s = { 0 };
    ck_assert(!im_captions_read(c, &s, &d, k, T, false));
    ck_assert_msg(!strncmp(im_error(c), "some/set: the caption of sub/two.png: ", 38), "%s", im_error(c));
    im_clear_error(c);
    im_captions_free(&s);
    im_tokenizer_free(k);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(tags), ONCE(draws), ONCE(error_names_the_picture) };
    return suite_run("captions", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
