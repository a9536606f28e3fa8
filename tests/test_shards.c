/* test_shards.c: sets of pictures in tar shards, ours and those of python's tarfile, whole, cut and damaged. */
#include "sets.h"
#include "tar.h"
#include "suite.h"

static void put_tar(const char *name, tar *t)
{
    scratch_write(dir, name, t->v, t->n);
    free(t->v);
    *t = (tar){ 0 };
}

/* Three samples; the second has a .json, the third nothing but a picture. */
static tar three_samples(void)
{
    tar t = { 0 };
    tar_add(&t, "train/", '5', "", 0);
    tar_text(&t, "train/one.jpg", JPEG "1");
    tar_text(&t, "train/one.cls", "4\n");
    tar_text(&t, "train/one.txt", "first of three\r\n");
    tar_text(&t, "train/two.v1.JSON", "{}");                   /* the key ends at the first dot: not read             */
    tar_text(&t, "train/two.json", "{\"caption\": \"second\", \"label\": 0, \"key\": \"two\"}");
    tar_text(&t, "train/two.png", PNG "2");
    tar_text(&t, "other/two.jpeg", JPEG "3");
    return t;
}

START_TEST(reads_a_shard)
{
    tar t = three_samples();
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    im_dataset *d = good("x.tar", NO_ARGS);
    ck_assert_int_eq(d->kind, IM_SET_SHARDS);
    ck_assert_int_eq(d->count, 3);
    ck_assert_int_eq(d->ignored, 1);
    ck_assert_int_eq(d->n_classes, 5);
    expect_sample(d, 0, "x.tar/train/one.jpg", 4, "first of three");
    expect_sample(d, 1, "x.tar/train/two.png", 0, "second");
    expect_sample(d, 2, "x.tar/other/two.jpeg", -1, NULL);
    expect_bytes(d, 2, JPEG "3");                              /* in any order                                        */
    expect_bytes(d, 0, JPEG "1");
    expect_bytes(d, 1, PNG "2");
    im_dataset_free(d);
    bad("x.tar", ARGS(.min_classes = 2), PARTS("1 of 3 pictures have no class", "other/two.jpeg"));
    put("list", "p\nq\n");
    char list[300];
    snprintf(list, sizeof list, "%s/list", dir);
    bad("x.tar", ARGS(.classes = list), PARTS("one.jpg: its class \"4\" is none of the 2"));
}
END_TEST

START_TEST(reads_names_as_classes)
{
    tar t = { 0 };
    tar_text(&t, "1.jpg", JPEG "1");
    tar_text(&t, "1.cls", "zebra");
    tar_text(&t, "2.jpg", JPEG "2");
    tar_text(&t, "2.cls", "ant");
    tar_text(&t, "3.cls", "7");                                /* a number among names is a name                      */
    tar_text(&t, "3.jpg", JPEG "3");
    tar_zeros(&t, 512);
    put_tar("x.tar", &t);
    im_dataset *d = good("x.tar", ARGS(.min_classes = 2));
    const char *const classes[] = { "7", "ant", "zebra" };
    ck_assert_int_eq(d->n_classes, 3);
    for (int i = 0; i < 3; i++) ck_assert_str_eq(d->classes[i], classes[i]);
    expect_sample(d, 0, "x.tar/1.jpg", 2, NULL);
    expect_sample(d, 2, "x.tar/3.jpg", 0, NULL);
    im_dataset_free(d);
    ck_assert_msg(strstr(warned, "of its 3 labels 1 is a number, as \"7\", and others are names, as \"zebra\""), "%s",
                  warned);
    put("list", "ant\nzebra\n7\n");
    char list[300];
    snprintf(list, sizeof list, "%s/list", dir);
    d = good("x.tar", ARGS(.classes = list));
    expect_sample(d, 0, "x.tar/1.jpg", 1, NULL);
    expect_sample(d, 2, "x.tar/3.jpg", 2, NULL);
    im_dataset_free(d);
}
END_TEST

/* A picture, and a text of the same key. */
static void tar_sample(tar *t, int key, const char *ending, const char *text)
{
    char name[20];
    snprintf(name, sizeof name, "%d.jpg", key);
    tar_text(t, name, JPEG);
    snprintf(name, sizeof name, "%d.%s", key, ending);
    tar_text(t, name, text);
}

/* webdataset reads a .cls by int(): blanks around it, and a sign. */
START_TEST(reads_numbers_as_python)
{
    static const char *const texts[] = { " 3", "+1", "\t2\f\n", "-0", "007", "\xEF\xBB\xBF 4" };
    static const int labels[] = { 3, 1, 2, 0, 7, 4 };
    tar t = { 0 };
    for (int i = 0; i < 6; i++) tar_sample(&t, i, "cls", texts[i]);
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    im_dataset *d = good("x.tar", NO_ARGS);
    ck_assert_int_eq(d->n_classes, 8);
    for (int i = 0; i < 6; i++) ck_assert_int_eq(d->samples[i].label, labels[i]);
    ck_assert_str_eq(warned, "");
    im_dataset_free(d);
    tar_text(&t, "0.jpg", JPEG);
    tar_text(&t, "0.cls", " -1\n");
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    bad("x.tar", NO_ARGS, PARTS("x.tar: 0.cls is -1; wanted the number of a class, from 0 on, or its name"));
    put("list", "-1\n1\n");
    d = good("x.tar", ARGS(.classes = scratch_path(dir, "list")));
    ck_assert_int_eq(d->samples[0].label, 0);
    im_dataset_free(d);
}
END_TEST

/* Texts in Latin-1: one warning for all of them. */
START_TEST(counts_texts_that_are_not_utf8)
{
    tar t = { 0 };
    for (int i = 0; i < 3; i++) tar_sample(&t, i, "txt", i ? "caf\xe9" : "caf\xc3\xa9");
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    im_dataset *d = good("x.tar", NO_ARGS);
    expect_sample(d, 0, "x.tar/0.jpg", -1, "caf\xc3\xa9");
    expect_sample(d, 2, "x.tar/2.jpg", -1, "caf\xe9");
    ck_assert_msg(strstr(warned, "2 of its texts are not UTF-8") && strstr(warned, "the first: ") &&
                  strstr(warned, "x.tar/1.txt"), "%s", warned);
    im_dataset_free(d);
}
END_TEST

START_TEST(names_several_shards)
{
    const char *const names[] = { "s-08.tar", "s-09.tar", "s-10.tar" };
    for (int i = 0; i < 3; i++) {
        tar t = { 0 };
        tar_text(&t, "k.jpg", JPEG);
        tar_zeros(&t, 1024);
        put_tar(names[i], &t);
    }
    const char *const patterns[] = { "",
                                     "s-{08..10}.tar",
                                     "s-*.tar",
                                     "s-{08,{09,10}}.tar",
                                     "s-[01]?.tar",
                                     "{s,s}-08.tar",
                                     "s-{10..08}.tar",
                                     "s-{8..9}.tar",
                                     "t-*.tar",
                                     "s-{08.tar",
                                     "s-{08..11}.tar" };
    const char *const found[] = { "08 09 10 ",
                                  "08 09 10 ",
                                  "08 09 10 ",
                                  "08 09 10 ",
                                  "08 09 10 ",
                                  "08 08 ",
                                  "10 09 08 ",
                                  "!s-8.tar is not there",
                                  "!matches no file",
                                  "!a brace is open",
                                  "!s-11.tar is not there" };
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        if (*found[i] == '!') {
            bad(patterns[i], NO_ARGS, PARTS(found[i] + 1));
            continue;
        }
        im_dataset *d = good(patterns[i], NO_ARGS);
        char got[100] = "";
        for (int64_t k = 0; k < d->count; k++) snprintf(got + strlen(got), 20, "%.2s ", d->samples[k].name + 2);
        ck_assert_str_eq(got, found[i]);
        im_dataset_free(d);
    }
    put("folder/a.jpg", NULL);
    bad("", NO_ARGS, PARTS("3 tar shards and 1 folders", "*.tar"));
}
END_TEST

/* How many samples of three_samples are whole in its first n bytes. Members begin at multiples of 1024 plus 512. */
static int whole_in(size_t n)
{
    static const struct { size_t below; int whole; } rows[] = {
        { 1024 + 12, 0 }, { 1537, 1 },                         /* one.jpg; in and behind its padding: all there is    */
        { 2048 + 2, 0 }, { 2561, 1 },                          /* one.cls, which may be of the same sample            */
        { 3072 + 16, 0 }, { 3585, 1 },                         /* one.txt                                             */
        { 4096, 0 },                                           /* in the head of two.v1.JSON: still one, or another?  */
        { 7168, 1 },                                           /* two has neither class nor text, as one has          */
        { 7168 + 12, 2 }, { SIZE_MAX, 3 }                      /* two.jpeg: all samples have a picture                */
    };
    int i = 0;
    while (n >= rows[i].below) i++;
    return rows[i].whole;
}

/* Cut after every byte: read to the last whole sample, with a warning that names the shard; an error where none is, and
 * where the set is to be strict. Never a crash. */
START_TEST(reads_cut_shards)
{
    tar t = three_samples();
    size_t body = t.n;
    tar_zeros(&t, 512);
    for (size_t n = 1; n < body + 512; n += n % 512 < 33 || n % 512 > 508 ? 1 : 101) {
        scratch_write(dir, "x.tar", t.v, n);
        *warned = '\0';
        im_dataset *d = open_at("x.tar", NO_ARGS);
        int want = whole_in(n);
        ck_assert_msg(!d == !want, "cut to %zu: %s", n, d ? "was opened" : im_error(c));
        if (d) {
            ck_assert_msg(d->count == want, "cut to %zu: %lld samples, wanted %d", n, (long long)d->count, want);
            ck_assert_msg(strstr(warned, "x.tar: is cut") &&
                          strstr(warned, " read, the last is ") &&
                          strstr(warned, "fetch the shard again"), "%s", warned);
        } else
            ck_assert_msg(strstr(im_error(c), "x.tar: byte ") && strstr(im_error(c), "no sample before it is whole"), "%s",
                          im_error(c));
        im_dataset_free(d);
        im_clear_error(c);
        bad("x.tar", ARGS(.strict = true), PARTS("x.tar: byte "));
    }
    scratch_write(dir, "x.tar", t.v, t.n);
    *warned = '\0';
    im_dataset_free(good("x.tar", ARGS(.strict = true)));
    ck_assert_str_eq(warned, "");
    free(t.v);
}
END_TEST

/* Samples of a picture, a class and a text, as webdataset writes them: what is lost is named. Names of 150 letters, so that
 * heads have more than one block. */
START_TEST(names_what_is_lost)
{
    tar t = { 0 };
    char name[160];
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            static const char *const ends[] = { "jpg", "cls", "txt" }, *const texts[] = { JPEG, "1", "a text" };
            int n = snprintf(name, sizeof name, "%0150d.%s", i, ends[k]);
            tar_add(&t, "././@LongLink", 'L', name, (size_t)n + 1);
            name[99] = '\0';
            tar_text(&t, name, texts[k]);
        }
    enum { MEMBER = 4 * 512, SAMPLE = 3 * MEMBER };
    static const struct { size_t bytes; int whole; bool lost; } cuts[] = {
        { 3 * SAMPLE, 3, false }, { 3 * SAMPLE - 100, 3, false }, { 3 * SAMPLE - 510, 2, true },
        { 3 * SAMPLE - 600, 2, true }, { 3 * SAMPLE - MEMBER, 2, true }, { 2 * SAMPLE + MEMBER, 2, true },
        { 2 * SAMPLE + 3 * 512, 2, false },
        { 2 * SAMPLE + 700, 2, false }, { 2 * SAMPLE + 512, 2, false }, { 2 * SAMPLE + 100, 2, false },
        { 2 * SAMPLE, 2, false },
        { SAMPLE + MEMBER + 700, 1, true }
    };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        scratch_write(dir, "x.tar", t.v, cuts[i].bytes);
        *warned = '\0';
        im_dataset *d = good("x.tar", ARGS(.min_classes = 1, .need_captions = true));
        ck_assert_msg(d->count == cuts[i].whole, "%zu bytes: %lld", cuts[i].bytes, (long long)d->count);
        ck_assert_msg(!strstr(warned, ", and left out is 0000") == !cuts[i].lost, "%zu bytes: %s", cuts[i].bytes, warned);
        im_dataset_free(d);
    }
    /* Beside others a shard may hold nothing; alone it may not. */
    tar_zeros(&t, 1024);
    put_tar("a.tar", &t);
    put("b.tar", "");
    scratch_write(dir, "c.tar", "half a head", 11);
    unlink(scratch_path(dir, "x.tar"));
    *warned = '\0';
    im_dataset *d = good("{a,b}.tar", NO_ARGS);
    ck_assert_int_eq(d->count, 3);
    ck_assert_msg(strstr(warned, "b.tar: has 0 bytes; 0 whole samples of it are read"), "%s", warned);
    im_dataset_free(d);
    bad("b.tar", NO_ARGS, PARTS("b.tar: has 0 bytes"));
    bad("{a,b}.tar", ARGS(.strict = true), PARTS("b.tar: has 0 bytes"));
    bad("{a,c}.tar", NO_ARGS, PARTS("c.tar: byte 0"));
}
END_TEST

START_TEST(refuses_shards)
{
    put("x.tar", "");
    bad("x.tar", NO_ARGS, PARTS("x.tar: has 0 bytes"));
    put("x.tar", "no tar at all, and much too short");
    bad("x.tar", NO_ARGS, PARTS("x.tar: byte 0"));
    put("x.tar", "\x1F\x8B\x08 gzip");
    bad("x.tar", NO_ARGS, PARTS("x.tar: is compressed (gzip)", "unpack"));
    unlink(scratch_path(dir, "x.tar"));
    put("x.tar.gz", "\x1F\x8B\x08 gzip");                      /* in a folder, too                                    */
    bad("", NO_ARGS, PARTS("x.tar.gz: is compressed (gzip); wanted a plain .tar"));
    unlink(scratch_path(dir, "x.tar.gz"));
    put("x.tar", "\x28\xB5\x2F\xFD zstd");
    bad("x.tar", NO_ARGS, PARTS("is compressed (zstd)"));
    tar t = { 0 };
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    bad("x.tar", NO_ARGS, PARTS("x.tar: holds no pictures"));
    tar_text(&t, "a.jpg", JPEG);
    tar_text(&t, "a.png", PNG);
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    bad("x.tar", NO_ARGS, PARTS("x.tar: byte 1536", "the sample a has a second picture, a.png"));
    for (int i = 0; i < 2; i++) {                              /* two tars in one file                                */
        tar_text(&t, "a.jpg", JPEG);
        tar_zeros(&t, 1024);
    }
    put_tar("x.tar", &t);
    bad("x.tar", NO_ARGS, PARTS("x.tar: byte 2048: bytes follow the end", "the last whole sample is a, 1 is whole"));
    tar_text(&t, "a.jpg", JPEG);                               /* junk behind the end                                 */
    tar_text(&t, "b.jpg", JPEG);
    tar_zeros(&t, 512);
    tar_bytes(&t, "junk", 4);
    put_tar("x.tar", &t);
    im_dataset *d = good("x.tar", NO_ARGS);
    ck_assert_int_eq(d->count, 2);
    ck_assert_msg(strstr(warned, "x.tar: byte 2560: what follows the end of the tar is left alone; its 2 samples are read"),
                  "%s", warned);
    im_dataset_free(d);
    bad("x.tar", ARGS(.strict = true), PARTS("byte 2560: bytes follow the end", "the last whole sample is b, 2 are whole"));
    tar_text(&t, "a.jpg", JPEG);
    tar_text(&t, "b.jpg", JPEG);
    tar_zeros(&t, 1024);
    t.v[1024 + 3] = 'x';                                       /* the checksum of the second header is wrong          */
    put_tar("x.tar", &t);
    bad("x.tar", NO_ARGS, PARTS("x.tar: byte 1024"));
}
END_TEST

/* A .json beside a picture and its texts is a side matter: read as Python writes it, ignored where it is none. */
START_TEST(reads_odd_json)
{
    enum { BIG = 3 << 20 };
    char *big = malloc(BIG + 100);
    int n = sprintf(big, "{\"exif\": \"");
    memset(big + n, 'x', BIG);
    strcpy(big + n + BIG, "\", \"caption\": \"big\"}");
    static const char *const json[][2] = {                     /* and the caption that comes of it                    */
        { "{\"similarity\": NaN, \"caption\": \"nan\"}", "nan" }, { "{\"aspect\": -Infinity, \"text\": \"inf\"}", "inf" },
        { "{\"caption\": NaN}", NULL }, { "{\"hash\": 18446744073709551615, \"text\": \"a\"}", "a" },
        { "{\"title\": \"\\ud83d\", \"text\": \"b \\ud83d\"}", "b \xef\xbf\xbd" },
        { "{\"exif\": \"ASCII\\u0000\", \"text\": \"zero\"}", "zero" }, { "{\"caption\": null}", NULL },
        { "\xEF\xBB\xBF{\"text\": \"mark\"}", "mark" }, { "{\"text\": ", NULL }, { "", NULL }, { "[]", NULL },
        { "{\"text\": \"caf\xe9\"}", NULL }
    };
    enum { ROWS = sizeof json / sizeof *json };
    tar t = { 0 };
    for (int i = 0; i <= ROWS; i++) {
        char name[20];
        snprintf(name, sizeof name, "%02d.jpg", i);
        tar_text(&t, name, JPEG);
        snprintf(name, sizeof name, "%02d.json", i);
        tar_text(&t, name, i < ROWS ? json[i][0] : big);
    }
    tar_text(&t, "z.jpg", JPEG);
    tar_text(&t, "z.json", "nonsense");
    tar_text(&t, "z.txt", "\xEF\xBB\xBF" "its text");
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    im_dataset *d = good("x.tar", NO_ARGS);
    ck_assert_int_eq(d->count, ROWS + 2);
    for (int i = 0; i <= ROWS; i++) {
        const char *want = i < ROWS ? json[i][1] : "big", *got = d->samples[i].caption;
        ck_assert_msg(!got == !want && (!want || !strcmp(got, want)), "%d: %s", i, got);
    }
    ck_assert_str_eq(d->samples[ROWS + 1].caption, "its text");
    ck_assert_msg(strstr(warned, "in 6 places its JSON is not understood and is ignored, the first: ") &&
                  strstr(warned, "x.tar/02.json: \"caption\" is NaN; wanted a text"), "%s", warned);
    im_dataset_free(d);
    free(big);
}
END_TEST

START_TEST(counts_broken_members)
{
    tar t = { 0 };
    tar_text(&t, "a.jpg", "");
    tar_text(&t, "b.png", "GIF89a");
    tar_text(&t, "c.cls", "1");
    tar_text(&t, "d.jpg", JPEG);
    tar_add(&t, "e.jpg", '2', "", 0);
    tar_text(&t, "g.WebP", "RIFF");
    tar_text(&t, "d2.webp", "RIFF");                           /* beside a JPEG: no matter                            */
    tar_text(&t, "d2.jpg", JPEG);
    tar_text(&t, "f/.jpg", JPEG);                              /* begins with a dot                                   */
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    im_dataset *d = good("x.tar", NO_ARGS);
    ck_assert_int_eq(d->count, 2);
    const char *const broken[][2] = { { "x.tar/c", "has no .jpg" }, { "x.tar/e.jpg", "is a link" },
                                      { "x.tar/g", "is a .webp; convert it to JPEG or PNG" },
                                      { "x.tar/a.jpg", "has 0 bytes" }, { "x.tar/b.png", "is a GIF; convert it" } };
    ck_assert_int_eq(d->n_broken, 5);
    for (int i = 0; i < 5; i++) {
        ck_assert_str_eq(d->broken[i].name, broken[i][0]);
        ck_assert_msg(strstr(d->broken[i].reason, broken[i][1]) != NULL, "%s", d->broken[i].reason);
    }
    im_dataset_free(d);
}
END_TEST

/* What python's tarfile writes, in its three formats: long names, names of other alphabets, pax headers. */
START_TEST(reads_tars_of_python)
{
    put("make.py",
        "import io, sys, tarfile\n"
        "for kind in ('PAX', 'GNU', 'USTAR'):\n"
        "    with tarfile.open(sys.argv[1] + '/' + kind + '.tar', 'w', format=getattr(tarfile, kind + '_FORMAT')) as "
        "t:\n"
        "        for key in ('l' * 30 + '/') * (7 if kind != 'USTAR' else 4) + 'k', '\\u00fc/\\u6f22', 'plain':\n"
        "            for end, data in ('.jpg', b'\\xff\\xd8\\xff\\xe0' + key.encode() * 99), ('.txt', key.encode()):\n"
        "                i = tarfile.TarInfo(key + end)\n"
        "                i.size = len(data)\n"
        "                i.mtime = 1.5 if kind == 'PAX' else 1\n"
        "                t.addfile(i, io.BytesIO(data))\n");
    char command[1500];
    snprintf(command, sizeof command, "python3 %s %s", scratch_path(dir, "make.py"), dir);
    ck_assert_int_eq(system(command), 0);
    const char *const kinds[] = { "PAX.tar", "GNU.tar", "USTAR.tar" };
    for (int k = 0; k < 3; k++) {
        im_dataset *d = good(kinds[k], ARGS(.need_captions = true, .strict = true));
        ck_assert_int_eq(d->count, 3);
        ck_assert_str_eq(d->samples[1].caption, "\xC3\xBC/\xE6\xBC\xA2");
        for (int i = 0; i < 3; i++) {                          /* the name is the caption with both ends put on       */
            const char *key = d->samples[i].caption, *name = d->samples[i].name + strlen(kinds[k]) + 1;
            ck_assert_msg(!strncmp(name, key, strlen(key)) && !strcmp(name + strlen(key), ".jpg"), "%s", name);
            char want[30000] = "\xFF\xD8\xFF\xE0";
            size_t at = 4;
            for (int j = 0; j < 99; j++, at += strlen(key)) memcpy(want + at, key, strlen(key) + 1);
            expect_bytes(d, i, want);
        }
        im_dataset_free(d);
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(reads_a_shard), ONCE(reads_names_as_classes), ONCE(reads_numbers_as_python),
        ONCE(counts_texts_that_are_not_utf8), ONCE(names_several_shards), ONCE(reads_cut_shards),
        ONCE(names_what_is_lost),
        ONCE(refuses_shards), ONCE(reads_odd_json), ONCE(counts_broken_members), ONCE(reads_tars_of_python)
    };
    return suite_run("shards", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
