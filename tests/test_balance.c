/* test_balance.c: how often pictures are shown: things of a list, weights by first tags, the list's share, bad lists. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models.h"
#include "models/train/balance.h"

static im_sample samples[] = {
    { .caption = "emperor penguin, bird, clip art" }, { .caption = "Horse, mammal, emoji" }, { .caption = "a dog" },
    { .caption = "" }, { .caption = "hot dog, food" }, { .caption = "horse" }, { .caption = "Penguin with a hat, bird" }
};
enum { N = sizeof samples / sizeof *samples };
static const im_dataset set = { .path = "captions", .count = N, .samples = samples };

static int thing(const char *tag)
{
    static const char *const things[] = { "dog", "hot dog", "Ice Cream", "cream" };
    return im_balance_thing(tag, (int)strlen(tag), things, 4);
}

START_TEST(things)
{
    ck_assert_int_eq(thing("dog"), 0);
    ck_assert_int_eq(thing("black DOG"), 0);
    ck_assert_int_eq(thing("dog with a hot dog"), 0);
    ck_assert_int_eq(thing("hot dog"), 1);
    ck_assert_int_eq(thing("small hot dog with ice cream"), 1);
    ck_assert_int_eq(thing("vanilla ice cream"), 2);
    ck_assert_int_eq(thing("nice cream"), 3);
    ck_assert_int_eq(thing("bulldog"), -1);
    ck_assert_int_eq(thing("dog house"), -1);
    ck_assert_int_eq(thing(" with dog"), 0);                   /* nothing before "with"                                */
    ck_assert_int_eq(thing(""), -1);
}
END_TEST

static void want_sums(const im_balance *b, char hash[65], const double want[N])
{
    double *sums = im_balance_sums(c, &set, b, hash), before = 0;
    ck_assert_msg(sums != NULL, "%s", im_error(c));
    for (int i = 0; i < N; i++) {
        ck_assert_msg(fabs(sums[i] - before - want[i]) < 1e-12, "%d: %g, wanted %g", i, sums[i] - before, want[i]);
        before = sums[i];
    }
    free(sums);
}

START_TEST(first_tags)
{
    for (int h = 0; h <= 2; h++) {
        double p = h / 2.0, two = pow(2, -p);                  /* "Horse" and "horse" are one phrase                  */
        want_sums(&(im_balance){ .power = (float)p }, NULL, (double[N]){ 1, two, 1, 1, 1, two, 1 });
    }
}
END_TEST

START_TEST(favoured)
{
    char hash[65] = "";
    static const char text[] = "# what a child draws\r\npenguin  \n \ndog\nhot dog\nunicorn";
    const char *list = scratch_write(dir, "things.txt", text, sizeof text - 1);
    im_balance b = { .power = 0, .favour = list, .favour_share = 0.8f };
    double f = 0.8f, in = f / 4, out = (1 - f) / 3;            /* four pictures of penguins and dogs, three others    */
    want_sums(&b, hash, (double[N]){ in, out, in, out, in, out, in });
    ck_assert_uint_eq(strlen(hash), 64);
    b.power = 1;                                               /* a half of a penguin each, one dog, one hot dog      */
    in = f / 3, out = (1 - f) / 2;
    want_sums(&b, NULL, (double[N]){ in / 2, out / 2, in, out, in, out / 2, in / 2 });
    b.favour_share = 1;
    want_sums(&b, NULL, (double[N]){ 1 / 6.0, 0, 1 / 3.0, 0, 1 / 3.0, 0, 1 / 6.0 });
}
END_TEST

START_TEST(bad_lists)
{
    im_balance b = { .power = 0.5f, .favour = "no/such/list", .favour_share = 0.5f };
    ck_assert_ptr_null(im_balance_sums(c, &set, &b, NULL));
    WANT_ERROR("no/such/list");
    b.favour = scratch_write(dir, "empty.txt", "\n# nothing\n", 11);
    ck_assert_ptr_null(im_balance_sums(c, &set, &b, NULL));
    WANT_ERROR("empty.txt", "a thing a line");
    b.favour = scratch_write(dir, "others.txt", "unicorn\n", 8);
    ck_assert_ptr_null(im_balance_sums(c, &set, &b, NULL));
    WANT_ERROR("others.txt", "captions", "1 things");
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(things), ONCE(first_tags), ONCE(favoured), ONCE(bad_lists) };
    return suite_run("balance", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
