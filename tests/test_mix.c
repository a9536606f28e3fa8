/* test_mix.c: several sets as one (dataset_mix.c): how many of each, drawn from all classes in turn; all of each; folders
 * beside shards; what is refused. */
#include "data/files/file.h"
#include "sets.h"
#include "suite.h"
#include "tar.h"

enum { REAL = 8, SYNTH = 5 };                                  /* pictures a class                                    */

static char text[1000];

static const char *mix_of(const char *fmt)                     /* every @ is the scratch folder                       */
{
    char *out = text;
    for (const char *p = fmt; *p; p++)
        if (*p == '@') out += snprintf(out, (size_t)(text + sizeof text - out), "%s", dir);
        else *out++ = *p;
    *out = '\0';
    return text;
}

static void write_sets(void)
{
    char name[100];
    for (int i = 0; i < REAL; i++)
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "real/%c/%d.jpg", 'a' + k, i);
            if (k < 2 || i < 2) put(name, NULL);               /* class c has two                                     */
            snprintf(name, sizeof name, "synth/%c/%d.png", 'a' + k, i);
            if (i < SYNTH) put(name, PNG);
        }
}

static im_dataset *mixed(const char *fmt, int64_t budget, uint64_t seed)
{
    return im_dataset_mix(c, mix_of(fmt), budget, seed, &(im_dataset_args){ .min_classes = 2 });
}

static void count(const im_dataset *d, const char *part, int by_class[3])
{
    memset(by_class, 0, 3 * sizeof *by_class);
    for (int64_t i = 0; i < d->count; i++)
        by_class[d->samples[i].label] += !strncmp(d->samples[i].name, part, strlen(part));
}

START_TEST(a_budget_is_shared)
{
    int n[3];
    char one[65], two[65];
    write_sets();
    im_dataset *d = mixed("real=@/real:0.25,synth=@/synth:0.75", 16, 1);
    ck_assert_msg(d != NULL, "%s", im_error(c));
    ck_assert_int_eq(d->count, 16);
    count(d, "real/", n);
    ck_assert(n[0] == 2 && n[1] == 1 && n[2] == 1);
    count(d, "synth/", n);
    ck_assert(n[0] == 4 && n[1] == 4 && n[2] == 4);
    for (int64_t i = 0; i < d->count; i++) {                   /* each is the file that it says                       */
        size_t bytes;
        uint8_t *data = im_dataset_read(c, d, i, &bytes);
        ck_assert_msg(data != NULL, "%s", im_error(c));
        if (!strncmp(d->samples[i].name, "real/", 5)) {
            ck_assert_uint_eq(bytes, strlen(JPEG) + strlen(d->samples[i].name));
            ck_assert_mem_eq(data + strlen(JPEG), d->samples[i].name, strlen(d->samples[i].name));
        }
        free(data);
    }
    ck_assert(im_dataset_hash(c, d, false, one));
    im_dataset_free(d);
    d = mixed("real=@/real/:.25,synth=@/synth:.75", 16, 1);
    ck_assert(d && im_dataset_hash(c, d, false, two) && !strcmp(one, two));
    im_dataset_free(d);
    d = mixed("real=@/real:0.25,synth=@/synth:0.75", 16, 2);   /* another seed, other pictures                        */
    ck_assert(d && im_dataset_hash(c, d, false, two) && strcmp(one, two));
    im_dataset_free(d);
    d = mixed("real=@/real:0.5,synth=@/synth:0.5", 18, 0);     /* 9 real ones: class c has but two                    */
    count(d, "real/", n);
    ck_assert(d->count == 18 && n[0] == 4 && n[1] == 3 && n[2] == 2);
    im_dataset_free(d);
    d = mixed("real=@/real:1,synth=@/synth:0", 18, 0);
    count(d, "real/", n);
    ck_assert(d->count == 18 && n[0] == 8 && n[1] == 8 && n[2] == 2);
    im_dataset_free(d);
}
END_TEST

START_TEST(sets_are_added)
{
    int n[3];
    write_sets();
    tar t = { NULL, 0 };
    for (int k = 0; k < 3; k++) {
        char name[20], class = (char)('a' + k);
        snprintf(name, sizeof name, "%d.jpg", k);
        tar_add(&t, name, '0', JPEG "shard", strlen(JPEG "shard"));
        snprintf(name, sizeof name, "%d.cls", k);
        tar_add(&t, name, '0', &class, 1);
    }
    tar_zeros(&t, 1024);
    scratch_write(dir, "x.tar", t.v, t.n);
    free(t.v);
    im_dataset *d = mixed("real=@/real,shards=@/x.tar,synth=@/synth", 0, 0);
    ck_assert_msg(d != NULL, "%s", im_error(c));
    ck_assert_int_eq(d->count, 2 * REAL + 2 + 3 + 3 * SYNTH);
    size_t bytes;
    const im_sample *s = &d->samples[2 * REAL + 2 + 1];
    uint8_t *data = im_dataset_read(c, d, 2 * REAL + 2 + 1, &bytes);
    ck_assert_str_eq(s->name, "shards/x.tar/1.jpg");
    ck_assert(s->label == 1 && data && bytes == strlen(JPEG "shard") && !memcmp(data, JPEG "shard", bytes));
    free(data);
    count(d, "synth/", n);
    ck_assert(n[0] == SYNTH && n[1] == SYNTH && n[2] == SYNTH);
    ck_assert_str_eq(d->classes[2], "c");
    im_dataset_free(d);
}
END_TEST

START_TEST(mixes_that_are_refused)
{
    static const struct { const char *mix; int budget; const char *says; } bad[] = {
        { "real=@/real:0.5,synth=@/synth:0.75", 10, "shares are 1.25 together" },
        { "real=@/real:0.5,synth=@/synth", 10, "some have none" },
        { "real=@/real:0.5,synth=@/synth:0.5", 0, "--budget N is missing" },
        { "real=@/real,synth=@/synth", 10, "needs shares" },
        { "real=@/real:0,synth=@/synth:1", 16, "holds 15 pictures, and its share of the budget is 16" },
        { "real=@/real:0.5,real=@/synth:0.5", 10, "names that differ" },
        { "@/real", 0, "wanted NAME=DIR:SHARE" },
        { "real=@/real,", 0, "wanted NAME=DIR:SHARE" },
        { "real=@/real:1.5", 10, "shares from 0 to 1" },
        { "real=@/real,other=@/none", 0, "cannot be opened" },
        { "real=@/real,other=@/two", 0, "has 2 classes and" },
        { "real=@/real,other=@/three", 0, "its class 2 is \"d\", and that of" },
    };
    write_sets();
    put("two/a/1.jpg", NULL);
    put("two/b/1.jpg", NULL);
    put("three/a/1.jpg", NULL);
    put("three/b/1.jpg", NULL);
    put("three/d/1.jpg", NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(!mixed(bad[i].mix, bad[i].budget, 0), "taken: %s", bad[i].mix);
        ck_assert_msg(strstr(im_error(c), bad[i].says), "%s: \"%s\" is not in: %s", bad[i].mix, bad[i].says, im_error(c));
        im_clear_error(c);
    }
}
END_TEST

START_TEST(paths_become_absolute)
{
    char want[500];
    char *whole = im_mix_whole(c, "a=src/../src:0.25,b=x-{000..003}.tar:0.75"), *here = realpath("src", NULL);
    snprintf(want, sizeof want, "a=%s:0.25,b=x-{000..003}.tar:0.75", here);
    ck_assert_str_eq(whole, want);
    free(whole);
    free(here);
    whole = im_mix_whole(c, "a=/none:b,c=/x");                 /* a colon that no number follows is of the path       */
    ck_assert_str_eq(whole, "a=/none:b,c=/x");
    free(whole);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(a_budget_is_shared), ONCE(sets_are_added), ONCE(mixes_that_are_refused),
                                 ONCE(paths_become_absolute) };
    return suite_run("mix", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
