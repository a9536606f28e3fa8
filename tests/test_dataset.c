/* test_dataset.c: sets of pictures in class folders, in one folder, in metadata.jsonl and in tar shards (ours and those of
 * python's tarfile), and the error for every way in which one can be wrong. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/dataset.h"
#include "imago.h"
#include "scratch.h"
#include "tar.h"

static im_ctx *c;
static char dir[200];
static char warned[4000];

static void on_warning(void *arg, const char *text)
{
    (void)arg;
    snprintf(warned, sizeof warned, "%s", text);
}

static void setup(void)
{
    c = im_ctx_new("ref", 2);
    im_on_warning(c, on_warning, NULL);
    *warned = '\0';
    scratch_make(dir, sizeof dir);
}

static void teardown(void)
{
    im_ctx_free(c);
    scratch_remove(dir);
}

#define JPEG "\xFF\xD8\xFF\xE0 a jpeg"
#define PNG "\x89PNG\r\n\x1A\n a png"

/* A file of dir, its folder with it; bytes NULL: something that begins as a JPEG and ends in its own name. */
static void put(const char *name, const char *bytes)
{
    char path[600], own[700];
    for (const char *p = strchr(name, '/'); p; p = strchr(p + 1, '/')) {
        snprintf(path, sizeof path, "%s/%.*s", dir, (int)(p - name), name);
        mkdir(path, 0777);
    }
    int n = snprintf(own, sizeof own, JPEG "%s", name);
    scratch_write(dir, name, bytes ? bytes : own, bytes ? strlen(bytes) : (size_t)n);
}

static im_dataset *open_at(const char *below, im_dataset_args a)
{
    static char path[700];
    snprintf(path, sizeof path, "%s%s%s", dir, *below ? "/" : "", below);
    a.path = path;
    return im_dataset_open(c, &a);
}

static im_dataset *good(const char *below, im_dataset_args a)
{
    im_dataset *d = open_at(below, a);
    ck_assert_msg(d != NULL, "%s", im_error(c));
    return d;
}

/* Every part must be in the message. */
static void bad(const char *below, im_dataset_args a, const char *const parts[])
{
    im_dataset *d = open_at(below, a);
    ck_assert_msg(!d, "was opened; wanted: %s", parts[0]);
    for (int i = 0; parts[i]; i++)
        ck_assert_msg(strstr(im_error(c), parts[i]) != NULL, "got: %s\nwanted: %s", im_error(c), parts[i]);
    im_clear_error(c);
}
#define PARTS(...) (const char *const[]){ __VA_ARGS__, NULL }
#define ARGS(...) ((im_dataset_args){ .path = NULL, __VA_ARGS__ })
#define NO_ARGS ((im_dataset_args){ .path = NULL })

static void expect_sample(const im_dataset *d, int64_t i, const char *name, int label, const char *caption)
{
    ck_assert_int_lt(i, d->count);
    ck_assert_str_eq(d->samples[i].name, name);
    ck_assert_int_eq(d->samples[i].label, label);
    if (!caption) ck_assert_ptr_null(d->samples[i].caption);
    else ck_assert_str_eq(d->samples[i].caption, caption);
}

static void expect_bytes(const im_dataset *d, int64_t i, const char *text)
{
    size_t n;
    uint8_t *b = im_dataset_read(c, d, i, &n);
    ck_assert_msg(b != NULL, "%s", im_error(c));
    ck_assert_uint_eq(n, strlen(text));
    ck_assert_mem_eq(b, text, n);
    free(b);
}

/* ---------------------------------------------------------------- folders */

START_TEST(reads_class_folders)
{
    put("b/2.jpg", NULL);
    put("b/10.JPEG", NULL);
    put("a/x.png", PNG);
    put("C/y.PnG", JPEG);                                      /* told by content, not by name                         */
    put("C/notes.txt", "no picture");
    put("C/.hidden.jpg", "junk");
    im_dataset *d = good("", ARGS(.min_classes = 2, .strict = true));
    ck_assert_int_eq(d->kind, IM_SET_CLASSES);
    ck_assert_int_eq(d->count, 4);
    ck_assert_int_eq(d->n_classes, 3);
    ck_assert_int_eq(d->ignored, 1);
    ck_assert_str_eq(d->classes[0], "C");                      /* bytes: capitals first                                */
    expect_sample(d, 0, "C/y.PnG", 0, NULL);
    expect_sample(d, 1, "a/x.png", 1, NULL);
    expect_sample(d, 2, "b/10.JPEG", 2, NULL);
    expect_sample(d, 3, "b/2.jpg", 2, NULL);
    expect_bytes(d, 2, JPEG "b/10.JPEG");
    im_dataset_free(d);
}
END_TEST

START_TEST(sorts_numbers)
{
    const char *const names[] = { "10/a.jpg", "9/a.jpg", "0/a.jpg", "100/a.jpg", NULL };
    for (int i = 0; names[i]; i++) put(names[i], NULL);
    im_dataset *d = good("", NO_ARGS);
    const char *const order[] = { "0", "9", "10", "100" };
    for (int i = 0; i < 4; i++) ck_assert_str_eq(d->classes[i], order[i]);
    expect_sample(d, 2, "10/a.jpg", 2, NULL);
    im_dataset_free(d);
    put("x/a.jpg", NULL);                                      /* one name that is no number: all are bytes            */
    d = good("", NO_ARGS);
    const char *const bytes[] = { "0", "10", "100", "9", "x" };
    for (int i = 0; i < 5; i++) ck_assert_str_eq(d->classes[i], bytes[i]);
    im_dataset_free(d);
}
END_TEST

START_TEST(takes_a_class_list)
{
    put("set/a/1.jpg", NULL);
    put("set/b/1.jpg", NULL);
    put("set/c d/1.jpg", NULL);
    put("list", "\xEF\xBB\xBF" "c d \r\na\r\n\r\n");           /* CRLF, a mark of UTF-8, blanks, an empty last line    */
    char list[300];
    snprintf(list, sizeof list, "%s/list", dir);
    im_dataset *d = good("set", ARGS(.classes = list, .min_classes = 2));
    ck_assert_int_eq(d->n_classes, 2);
    ck_assert_int_eq(d->count, 2);
    expect_sample(d, 0, "c d/1.jpg", 0, NULL);
    expect_sample(d, 1, "a/1.jpg", 1, NULL);
    im_dataset_free(d);
    put("list", "a\nz\nb\ny\n");
    bad("set", ARGS(.classes = list), PARTS("2 of the 4 classes", "list", ": z, y"));
    put("list", "a\nb\na\n");
    bad("set", ARGS(.classes = list), PARTS("list: line 3", "\"a\" stands in line 1"));
    put("list", "a\n\nb\n");
    bad("set", ARGS(.classes = list), PARTS("list: line 2 is empty"));
    put("list", "");
    bad("set", ARGS(.classes = list), PARTS("list: holds no classes"));
    snprintf(list, sizeof list, "%s/absent", dir);
    bad("set", ARGS(.classes = list), PARTS("absent"));
}
END_TEST

START_TEST(refuses_folders)
{
    bad("absent", NO_ARGS, PARTS("absent: cannot be opened", "No such file"));
    bad("", NO_ARGS, PARTS("holds no pictures"));
    put("one/a.jpg", NULL);
    bad("", ARGS(.min_classes = 2), PARTS("holds one class, one", "at least 2"));
    im_dataset_free(good("", ARGS(.min_classes = 1)));
    mkdir(scratch_path(dir, "hollow"), 0777);
    mkdir(scratch_path(dir, "void"), 0777);
    bad("", NO_ARGS, PARTS("2 of 3 class folders", "hollow, void"));
    unlink(scratch_path(dir, "one/a.jpg"));
    bad("", NO_ARGS, PARTS("none of its 3 folders"));
}
END_TEST

START_TEST(refuses_unreadable_folders)
{
    put("a/1.jpg", NULL);
    put("b/1.jpg", NULL);
    chmod(scratch_path(dir, "b"), 0);
    if (access(scratch_path(dir, "b"), R_OK)) bad("", NO_ARGS, PARTS("/b: the folder cannot be read", "Permission denied"));
    chmod(scratch_path(dir, "b"), 0777);                       /* root reads it all the same                           */
}
END_TEST

START_TEST(counts_what_is_no_picture)
{
    put("a/empty.jpg", "");
    put("a/gif.png", "GIF89a");
    put("a/good.jpg", NULL);
    put("b/good.jpg", NULL);
    put("b/short.png", "\x89PN");
    ck_assert_int_eq(symlink("nowhere", scratch_path(dir, "b/dangling.jpg")), 0);
    im_dataset *d = good("", ARGS(.min_classes = 2));
    ck_assert_int_eq(d->count, 2);
    expect_sample(d, 1, "b/good.jpg", 1, NULL);
    const char *const broken[][2] = {
        { "b/dangling.jpg", "No such file" }, { "a/empty.jpg", "has 0 bytes" },
        { "a/gif.png", "neither JPEG nor PNG (begins with 47 49 46 38)" }, { "b/short.png", "begins with 89 50 4e)" } };
    ck_assert_int_eq(d->n_broken, 4);
    for (int i = 0; i < 4; i++) {
        ck_assert_str_eq(d->broken[i].name, broken[i][0]);
        ck_assert_msg(strstr(d->broken[i].reason, broken[i][1]) != NULL, "%s", d->broken[i].reason);
    }
    im_dataset_free(d);
    bad("", ARGS(.strict = true), PARTS("4 of 6 files are no pictures", "b/dangling.jpg", "--strict"));
    unlink(scratch_path(dir, "a/good.jpg"));
    unlink(scratch_path(dir, "b/good.jpg"));
    bad("", NO_ARGS, PARTS("none of 4 files is a picture"));
}
END_TEST

START_TEST(warns_of_what_it_leaves)
{
    put("a/1.jpg", NULL);
    put("a/deep/2.jpg", NULL);
    im_dataset *d = good("", NO_ARGS);
    ck_assert_int_eq(d->count, 1);
    ck_assert_msg(strstr(warned, "/a: holds 1 folder(s), the first is deep") != NULL, "%s", warned);
    im_dataset_free(d);
    unlink(scratch_path(dir, "a/deep/2.jpg"));
    rmdir(scratch_path(dir, "a/deep"));
    put("beside.jpg", NULL);
    im_dataset_free(good("", NO_ARGS));
    ck_assert_msg(strstr(warned, "1 pictures lie beside") != NULL, "%s", warned);
}
END_TEST

START_TEST(reads_one_folder)
{
    put("2.png", PNG);
    put("1.jpg", NULL);
    im_dataset *d = good("", NO_ARGS);
    ck_assert_int_eq(d->kind, IM_SET_FLAT);
    ck_assert_int_eq(d->n_classes, 0);
    expect_sample(d, 0, "1.jpg", -1, NULL);
    expect_sample(d, 1, "2.png", -1, NULL);
    im_dataset_free(d);
    bad("", ARGS(.min_classes = 2), PARTS("without classes", "DIR/CLASS"));
    bad("", ARGS(.need_captions = true), PARTS("2 of 2 pictures have no caption", "1.jpg", "metadata.jsonl"));
}
END_TEST

/* ---------------------------------------------------------------- metadata */

START_TEST(reads_metadata)
{
    put("z.jpg", NULL);
    put("sub/a.png", PNG);
    put("metadata.jsonl", "{\"file_name\": \"z.jpg\", \"text\": \"a z\xC3\xA9" "bra\", \"label\": \"b\", \"more\": [1]}\r\n"
                          "\n{\"text\": \"an a\", \"file_name\": \"sub/a.png\", \"label\": \"a\"}");
    im_dataset *d = good("", ARGS(.need_captions = true, .min_classes = 2));
    ck_assert_int_eq(d->kind, IM_SET_METADATA);
    ck_assert_int_eq(d->count, 2);
    expect_sample(d, 0, "z.jpg", 1, "a z\xC3\xA9" "bra");
    expect_sample(d, 1, "sub/a.png", 0, "an a");
    expect_bytes(d, 1, PNG);
    im_dataset_free(d);
    put("metadata.jsonl", "{\"file_name\": \"z.jpg\", \"label\": 12}\n{\"file_name\": \"sub/a.png\", \"label\": 3}\n");
    d = good("", ARGS(.min_classes = 2));
    ck_assert_int_eq(d->n_classes, 13);
    expect_sample(d, 0, "z.jpg", 12, NULL);
    im_dataset_free(d);
    bad("", ARGS(.need_captions = true), PARTS("2 of 2 pictures have no caption"));
}
END_TEST

START_TEST(refuses_metadata)
{
    put("z.jpg", NULL);
#define LINE1 "{\"file_name\": \"z.jpg\"}\n"
    const char *const cases[][2] = {
        { LINE1 LINE1 "{\"file_name\": \"z.jpg\",}", "metadata.jsonl: line 3: column" },
        { LINE1 "{\"text\": \"t\"}", "line 2: \"file_name\" is missing" },
        { LINE1 "[1]", "line 2: is no JSON object" },
        { LINE1 "{\"file_name\": 7}", "line 2: \"file_name\" is no text" },
        { LINE1 "{\"file_name\": \"z.jpg\", \"text\": 7}", "line 2: \"text\" is no text" },
        { LINE1 "{\"file_name\": \"z.jpg\", \"label\": 1.5}", "line 2: \"label\" is no text and no number" },
        { LINE1 "{\"file_name\": \"z.jpg\", \"label\": -1}", "line 2: \"label\" is no text and no number" },
        { LINE1 "{\"file_name\": \"z.jpg\", \"label\": 99999999}", "the label is 99999999" },
        { LINE1 "{\"file_name\": \"../z.jpg\"}", "line 2: \"file_name\" is ../z.jpg; wanted a name inside" },
        { LINE1 "{\"file_name\": \"/z.jpg\"}", "line 2: \"file_name\" is /z.jpg; wanted a name inside" },
        { LINE1 "{\"file_name\": \"z.txt\"}", "line 2: \"file_name\" is z.txt; wanted a .jpg" },
        { LINE1 "{\"file_name\": \"x.jpg\"}\n{\"file_name\": \"y.jpg\"}", "2 of the files that it lists are not there: x.jpg, y" },
        { LINE1 "{\"file_name\": \"z.jpg\", \"file_name\": \"z.jpg\"}", "line 2: column" },
        { LINE1 "{\"file_name\": \"\xFF.jpg\"}", "line 2: column" },
        { "\n\r\n", "holds no pictures" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("metadata.jsonl", cases[i][0]);
        bad("", NO_ARGS, PARTS(cases[i][1]));
    }
    put("metadata.jsonl", LINE1 "{\"file_name\": \"z.jpg\", \"label\": \"a\"}");
    bad("", ARGS(.min_classes = 1), PARTS("1 of 2 pictures have no class", "z.jpg"));
}
END_TEST

/* ---------------------------------------------------------------- shards */

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
    tar_text(&t, "train/two.v1.JSON", "{}");                   /* the key ends at the first dot: not read              */
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
    expect_bytes(d, 2, JPEG "3");                              /* in any order                                         */
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
    tar_text(&t, "3.cls", "7");                                /* a number among names is a name                       */
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
    put("list", "ant\nzebra\n7\n");
    char list[300];
    snprintf(list, sizeof list, "%s/list", dir);
    d = good("x.tar", ARGS(.classes = list));
    expect_sample(d, 0, "x.tar/1.jpg", 1, NULL);
    expect_sample(d, 2, "x.tar/3.jpg", 2, NULL);
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
    const char *const patterns[] = { "", "s-{08..10}.tar", "s-*.tar", "s-{08,{09,10}}.tar", "s-[01]?.tar", "{s,s}-08.tar",
                                     "s-{10..08}.tar", "s-{8..9}.tar", "t-*.tar", "s-{08.tar", "s-{08..11}.tar" };
    const char *const found[] = { "08 09 10 ", "08 09 10 ", "08 09 10 ", "08 09 10 ", "08 09 10 ", "08 08 ", "10 09 08 ",
                                  "!s-8.tar is not there", "!matches no file", "!a brace is open", "!s-11.tar is not there" };
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

/* Cut after every byte: an error that names the shard, a place and the last whole sample; never a crash, never a set. */
START_TEST(refuses_cut_shards)
{
    tar t = three_samples();
    size_t body = t.n;
    tar_zeros(&t, 512);
    const size_t one = 512 * 7, two = one + 512 * 6;           /* where the first and the second sample end            */
    for (size_t n = 1; n < body + 512; n += n % 512 < 3 || n % 512 > 508 ? 1 : 101) {
        scratch_write(dir, "x.tar", t.v, n);
        im_dataset *d = open_at("x.tar", NO_ARGS);
        ck_assert_msg(!d, "a shard of %zu bytes, cut to %zu, was opened", t.n, n);
        ck_assert_msg(strstr(im_error(c), "x.tar: byte ") != NULL, "%s", im_error(c));
        const char *last = n < one + 512 ? "no sample before it is whole" : n < two + 512
                         ? "the last whole sample is train/one, 1 are whole" : "the last whole sample is train/two, 2 are whole";
        ck_assert_msg(strstr(im_error(c), last) != NULL, "cut to %zu: %s", n, im_error(c));
        im_clear_error(c);
    }
    scratch_write(dir, "x.tar", t.v, t.n);
    im_dataset_free(good("x.tar", NO_ARGS));
    free(t.v);
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
    for (int i = 0; i < 2; i++) {                              /* two tars in one file                                 */
        tar_text(&t, "a.jpg", JPEG);
        tar_zeros(&t, 1024);
    }
    put_tar("x.tar", &t);
    bad("x.tar", NO_ARGS, PARTS("x.tar: byte 2048: bytes follow the end"));
    tar_text(&t, "a.jpg", JPEG);
    tar_text(&t, "a.json", "{\"text\": ");
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    bad("x.tar", NO_ARGS, PARTS("x.tar: a.json: column", "is no valid JSON"));
    tar_text(&t, "a.jpg", JPEG);
    tar_text(&t, "b.jpg", JPEG);
    tar_zeros(&t, 1024);
    t.v[1024 + 3] = 'x';                                       /* the checksum of the second header is wrong           */
    put_tar("x.tar", &t);
    bad("x.tar", NO_ARGS, PARTS("x.tar: byte 1024"));
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
    tar_text(&t, "f/.jpg", JPEG);                              /* begins with a dot                                    */
    tar_zeros(&t, 1024);
    put_tar("x.tar", &t);
    im_dataset *d = good("x.tar", NO_ARGS);
    ck_assert_int_eq(d->count, 1);
    const char *const broken[][2] = { { "x.tar/c", "has no .jpg" }, { "x.tar/e.jpg", "is a link" },
                                      { "x.tar/a.jpg", "has 0 bytes" }, { "x.tar/b.png", "neither JPEG nor PNG" } };
    ck_assert_int_eq(d->n_broken, 4);
    for (int i = 0; i < 4; i++) {
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
        "    with tarfile.open(sys.argv[1] + '/' + kind + '.tar', 'w', format=getattr(tarfile, kind + '_FORMAT')) as t:\n"
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
        for (int i = 0; i < 3; i++) {                          /* the name is the caption with both ends put on        */
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

/* ---------------------------------------------------------------- the rest */

START_TEST(hashes_a_set)
{
    put("a/1.jpg", NULL);
    put("b/1.jpg", NULL);
    char hex[4][65];
    for (int i = 0; i < 4; i++) {
        im_dataset *d = good("", NO_ARGS);
        ck_assert(im_dataset_hash(c, d, i < 2, hex[i]));
        im_dataset_free(d);
        struct timespec times[2] = { { 5, 0 }, { i, 0 } };
        ck_assert_int_eq(utimensat(AT_FDCWD, scratch_path(dir, "a/1.jpg"), times, 0), 0);
    }
    ck_assert_str_ne(hex[0], hex[1]);                          /* with times                                           */
    ck_assert_str_ne(hex[1], hex[2]);
    ck_assert_str_eq(hex[2], hex[3]);                          /* without                                              */
    put("b/1.jpg", JPEG "longer than before");
    im_dataset *d = good("", NO_ARGS);
    ck_assert(im_dataset_hash(c, d, false, hex[0]));
    ck_assert_str_ne(hex[0], hex[3]);
    im_dataset_free(d);
}
END_TEST

START_TEST(notices_files_that_shrink)
{
    put("a/1.jpg", NULL);
    im_dataset *d = good("", NO_ARGS);
    put("a/1.jpg", JPEG);
    size_t n;
    ck_assert_ptr_null(im_dataset_read(c, d, 0, &n));
    ck_assert_msg(strstr(im_error(c), "a/1.jpg: ends after") != NULL, "%s", im_error(c));
    im_dataset_free(d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dataset");
    TCase *t = tcase_create("dataset");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, reads_class_folders);
    tcase_add_test(t, sorts_numbers);
    tcase_add_test(t, takes_a_class_list);
    tcase_add_test(t, refuses_folders);
    tcase_add_test(t, refuses_unreadable_folders);
    tcase_add_test(t, counts_what_is_no_picture);
    tcase_add_test(t, warns_of_what_it_leaves);
    tcase_add_test(t, reads_one_folder);
    tcase_add_test(t, reads_metadata);
    tcase_add_test(t, refuses_metadata);
    tcase_add_test(t, reads_a_shard);
    tcase_add_test(t, reads_names_as_classes);
    tcase_add_test(t, names_several_shards);
    tcase_add_test(t, refuses_cut_shards);
    tcase_add_test(t, refuses_shards);
    tcase_add_test(t, counts_broken_members);
    tcase_add_test(t, reads_tars_of_python);
    tcase_add_test(t, hashes_a_set);
    tcase_add_test(t, notices_files_that_shrink);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
