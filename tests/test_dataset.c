/* test_dataset.c: sets of pictures in class folders, in one folder and in metadata.jsonl, and the error for every way in
 * which one can be wrong. Shards: test_shards.c. */
#include "data/files/file.h"
#include "sets.h"
#include "suite.h"

/* ---------------------------------------------------------------- folders */

START_TEST(reads_class_folders)
{
    put("b/2.jpg", NULL);
    put("b/10.JPEG", NULL);
    put("a/x.png", PNG);
    put("C/y.PnG", JPEG);                                      /* told by content, not by name                        */
    put("C/notes.txt", "no picture");
    put("C/.hidden.jpg", "junk");
    im_dataset *d = good("", ARGS(.min_classes = 2, .strict = true));
    ck_assert_int_eq(d->kind, IM_SET_CLASSES);
    ck_assert_int_eq(d->count, 4);
    ck_assert_int_eq(d->n_classes, 3);
    ck_assert_int_eq(d->ignored, 1);
    ck_assert_str_eq(d->classes[0], "C");                      /* bytes: capitals first                               */
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
    put("x/a.jpg", NULL);                                      /* one name that is no number: all are bytes           */
    d = good("", NO_ARGS);
    const char *const bytes[] = { "0", "10", "100", "9", "x" };
    for (int i = 0; i < 5; i++) ck_assert_str_eq(d->classes[i], bytes[i]);
    im_dataset_free(d);
}
END_TEST

/* The order is torchvision's: that of sorted(os.walk(class)). Tiny ImageNet has CLASS/images/x.JPEG. */
START_TEST(reads_folders_in_classes)
{
    const char *const names[] = { "a/z.jpg", "a/x/2.jpg", "a/x/y/1.jpg", "a/x-1/3.jpg", "a/.no/4.jpg", "b/images/5.JPEG",
                                  "b/10/6.png", NULL };
    for (int i = 0; names[i]; i++) put(names[i], NULL);
    ck_assert_int_eq(symlink("..", scratch_path(dir, "a/x/up")), 0);
    ck_assert_int_eq(symlink("../b/10", scratch_path(dir, "a/link")), 0);
    im_dataset *d = good("", ARGS(.min_classes = 2));
    static const struct { const char *name; int label; } want[] = {
        { "a/z.jpg", 0 }, { "a/link/6.png", 0 }, { "a/x/2.jpg", 0 }, { "a/x-1/3.jpg", 0 }, { "a/x/y/1.jpg", 0 },
        { "b/10/6.png", 1 }, { "b/images/5.JPEG", 1 } };
    ck_assert_int_eq(d->count, 7);
    for (int i = 0; i < 7; i++) expect_sample(d, i, want[i].name, want[i].label, NULL);
    expect_bytes(d, 4, JPEG "a/x/y/1.jpg");
    ck_assert_msg(strstr(warned, "a/x/up: is a link to a folder that it lies in") != NULL, "%s", warned);
    im_dataset_free(d);
}
END_TEST

START_TEST(refuses_parts_of_a_set)
{
    put("train/a/1.jpg", NULL);
    put("train/b/1.jpg", NULL);
    bad("", NO_ARGS, PARTS("train in it is a part of a set", "name that folder", "/train"));
    put("Val/a/1.jpg", NULL);
    bad("", ARGS(.min_classes = 2), PARTS("Val in it is a part of a set"));
    im_dataset_free(good("train", ARGS(.min_classes = 2)));
    put("dogs/a/1.jpg", NULL);
    im_dataset_free(good("", ARGS(.min_classes = 2)));
    put("hf/train/1.jpg", NULL);
    put("hf/test/2.jpg", NULL);
    im_dataset_free(good("hf", ARGS(.min_classes = 2)));       /* as torchvision has it: names alone say nothing      */
    put("hf/test/metadata.jsonl", "{\"file_name\": \"2.jpg\", \"text\": \"x\"}\n");
    bad("hf", NO_ARGS, PARTS("test in it is a part of a set, and its metadata lie inside", "hf/test"));
    im_dataset *d = good("hf/test", NO_ARGS);
    expect_sample(d, 0, "2.jpg", -1, "x");
    im_dataset_free(d);
}
END_TEST

/* What the folders were unpacked from lies beside them. */
START_TEST(leaves_archives_beside_folders)
{
    put("n1/1.jpg", NULL);
    put("n2/1.jpg", NULL);
    put("n1.tar", "");
    put("n2.tar", "");
    put("all.tar.gz", "\x1F\x8B");
    im_dataset *d = good("", ARGS(.min_classes = 2));
    ck_assert_int_eq(d->kind, IM_SET_CLASSES);
    ck_assert_int_eq(d->ignored, 3);
    im_dataset_free(d);
    put("000.tar", "");
    bad("", NO_ARGS, PARTS("holds 1 tar shards and 2 folders", "the first is 000.tar"));
    put("alone/all.tar.gz", "\x1F\x8B");
    bad("alone", NO_ARGS, PARTS("all.tar.gz: is compressed (gzip)"));
}
END_TEST

START_TEST(takes_a_class_list)
{
    put("set/a/1.jpg", NULL);
    put("set/b/1.jpg", NULL);
    put("set/c d/1.jpg", NULL);
    put("list", "\xEF\xBB\xBF" "c d \r\na\r\n\r\n");           /* CRLF, a mark of UTF-8, blanks, an empty last line   */
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
    bad("set", ARGS(.classes = list), PARTS("list: line 3", "\"a\" is already in line 1"));
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
    if (access(scratch_path(dir, "b"), R_OK))
        bad("", NO_ARGS, PARTS("/b: the folder cannot be read", "Permission denied"));
    chmod(scratch_path(dir, "b"), 0777);                       /* root reads it all the same                          */
}
END_TEST

/* Pictures in formats that are not read are broken ones, with the name of the format; not files to be passed over. */
START_TEST(names_other_formats)
{
    put("a/1.jpg", NULL);
    put("a/1.jfif", NULL);                                     /* another name of .jpg, as .jpe is                    */
    put("a/1.jpe", NULL);
    put("a/2.webp", "RIFF....WEBPVP8 ");
    put("a/3.HEIC", "....ftypheic....");
    put("a/4.avif", "....ftypavif....");
    put("a/5.gif", "GIF89a..........");
    put("a/6.webp", JPEG);                                     /* told by content, not by name                        */
    put("a/7.ppm", "P6 1 1 255 ...");
    put("b/1.webp", "RIFF....WEBPVP8 ");
    im_dataset *d = good("", NO_ARGS);
    ck_assert_int_eq(d->count, 4);
    expect_sample(d, 0, "a/1.jfif", 0, NULL);
    expect_sample(d, 1, "a/1.jpe", 0, NULL);
    expect_sample(d, 3, "a/6.webp", 0, NULL);
    const char *const what[] = { "is a WebP; convert it to JPEG or PNG", "is a HEIC", "is an AVIF", "is a GIF",
                                 "is a PPM", "is a WebP" };
    ck_assert_int_eq(d->n_broken, 6);
    for (int i = 0; i < 6; i++)
        ck_assert_msg(strstr(d->broken[i].reason, what[i]) != NULL, "%s", d->broken[i].reason);
    im_dataset_free(d);
    bad("", ARGS(.min_classes = 2),
        PARTS("of 1 class folders, the first is b, no picture can be read", "6 files are broken"));
    unlink(scratch_path(dir, "a/1.jpg"));
    unlink(scratch_path(dir, "a/1.jfif"));
    unlink(scratch_path(dir, "a/1.jpe"));
    unlink(scratch_path(dir, "a/6.webp"));
    bad("", NO_ARGS, PARTS("none of 6 files is a picture", "a/2.webp, is a WebP; convert it to JPEG or PNG"));
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
        { "a/gif.png", "is a GIF; convert it to JPEG or PNG" }, { "b/short.png", "begins with 89 50 4e)" } };
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
    put("metadata.jsonl", "{\"file_name\": \"z.jpg\", \"text\": \"a z\xC3\xA9"
                          "bra\", \"label\": \"b\", \"more\": [1]}\r\n"
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
        { LINE1 "[1]", "line 2: column 1: is not a valid JSON object" },
        { LINE1 "{\"file_name\": 7}", "line 2: \"file_name\" is 7; wanted a text" },
        { LINE1 "{\"file_name\": NaN}", "line 2: \"file_name\" is NaN; wanted a text" },
        { LINE1 "{\"file_name\": \"\"}", "line 2: \"file_name\" is empty" },
        { LINE1 "{\"file_name\": \"z.jpg\", \"label\": 99999999}", "the label is 99999999" },
        { LINE1 "{\"file_name\": \"../z.jpg\"}", "line 2: \"file_name\" is ../z.jpg; wanted a name inside" },
        { LINE1 "{\"file_name\": \"/z.jpg\"}", "line 2: \"file_name\" is /z.jpg; wanted a name inside" },
        { LINE1 "{\"file_name\": \"z.txt\"}", "line 2: \"file_name\" is z.txt; wanted a .jpg" },
        { LINE1 "{\"file_name\": \"x.jpg\"}\n{\"file_name\": \"y.jpg\"}",
          "2 of the files that it lists are not there: x.jpg, y" },
        { LINE1 "{\"file_name\": \"\xFF.jpg\"}", "line 2: byte 15 (0xff) is not UTF-8" },
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

/* As Python writes it, with a byte order mark: what is not a text and no label is as good as absent, and said once. */
START_TEST(reads_odd_metadata)
{
    put("y.jpg", NULL);
    put("z.jpg", NULL);
    put("metadata.jsonl", IM_BYTE_ORDER_MARK LINE1
        "{\"file_name\": \"y.jpg\", \"text\": NaN, \"caption\": \"y\", \"score\": -Infinity, \"hash\": 18446744073709551615"
        "}\n"
        "{\"file_name\": \"z.jpg\", \"text\": 7, \"label\": -1, \"title\": \"\\ud83d\", \"exif\": \"ASCII\\u0000\"}\n"
        "{\"file_name\": \"x\", \"file_name\": \"z.jpg\", \"text\": \"z\", \"label\": [1, 2]}\n");
    im_dataset *d = good("", NO_ARGS);
    ck_assert_int_eq(d->count, 4);
    expect_sample(d, 1, "y.jpg", -1, "y");
    expect_sample(d, 2, "z.jpg", -1, NULL);
    expect_sample(d, 3, "z.jpg", -1, "z");
    im_dataset_free(d);
    ck_assert_msg(strstr(warned, "in 4 places its JSON is not understood and is ignored, the first: ") &&
                  strstr(warned, "metadata.jsonl: line 2: \"text\" is NaN; wanted a text"), "%s", warned);
    ck_assert_ptr_null(strchr(warned, '\n'));
    bad("", ARGS(.min_classes = 1), PARTS("without classes"));
    bad("", ARGS(.need_captions = true), PARTS("2 of 4 pictures have no caption"));
}
END_TEST

/* ---------------------------------------------------------------- the rest */

/* Hugging Face's imagefolder takes it as well; pandas reads these fields so. */
START_TEST(reads_metadata_csv)
{
    const char *const names[] = { "1.jpg", "b c/2.jpg", "3.jpg", "4.jpg", NULL };
    for (int i = 0; names[i]; i++) put(names[i], NULL);
    put("metadata.csv", "\xEF\xBB\xBF" "id,file_name,label,text\r\n0,1.jpg,cat,\"a \"\"red\"\" cat, asleep\"\r\n"
        "1,b c/2.jpg,dog,\"two\nlines\"\r\n\r\n2,3.jpg,,\r\n\"3\",4.jpg,\"cat\"");
    im_dataset *d = good("", NO_ARGS);
    ck_assert_int_eq(d->kind, IM_SET_METADATA);
    ck_assert_int_eq(d->count, 4);
    ck_assert_int_eq(d->n_classes, 2);
    expect_sample(d, 0, "1.jpg", 0, "a \"red\" cat, asleep");
    expect_sample(d, 1, "b c/2.jpg", 1, "two\nlines");
    expect_sample(d, 2, "3.jpg", -1, NULL);
    expect_sample(d, 3, "4.jpg", 0, NULL);
    im_dataset_free(d);
    put("metadata.csv", "file_name,text\n1.jpg,a,b\n");
    bad("", NO_ARGS, PARTS("metadata.csv: line 2: has 3 fields, and the first line names 2", "in quotes"));
    put("metadata.csv", "file_name,text\n1.jpg,\"a\n");
    bad("", NO_ARGS, PARTS("metadata.csv: line 2: a quote is opened and not closed"));
    put("metadata.csv", "file_name,text\n1.jpg,a\n9.jpg,b\n");
    bad("", NO_ARGS, PARTS("metadata.csv: 1 of the files that it lists are not there: 9.jpg"));
    put("metadata.csv", "file_name,text\n,a\n");
    bad("", NO_ARGS, PARTS("line 2: \"file_name\" is empty"));
    put("metadata.csv", "file_name,text\n1.jpg,caf\xE9\n");
    bad("", NO_ARGS, PARTS("metadata.csv", "is not UTF-8"));
    put("metadata.csv", "image_id,age\n1,60\n");             /* another kind of list                                */
    im_dataset_free(d = good("", NO_ARGS));
    put("metadata.jsonl", "{\"file_name\": \"3.jpg\", \"text\": \"x\", \"label\": \"\"}\n");
    put("metadata.csv", "file_name,text\n1.jpg,a\n");
    d = good("", NO_ARGS);                                     /* .jsonl goes first; an empty label is none           */
    ck_assert_int_eq(d->count, 1);
    expect_sample(d, 0, "3.jpg", -1, "x");
    im_dataset_free(d);
}
END_TEST

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
    ck_assert_str_ne(hex[0], hex[1]);                          /* with times                                          */
    ck_assert_str_ne(hex[1], hex[2]);
    ck_assert_str_eq(hex[2], hex[3]);                          /* without                                             */
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
    const suite_test tests[] = {
        ONCE(reads_class_folders), ONCE(sorts_numbers), ONCE(reads_folders_in_classes), ONCE(refuses_parts_of_a_set),
        ONCE(leaves_archives_beside_folders), ONCE(takes_a_class_list), ONCE(refuses_folders),
        ONCE(refuses_unreadable_folders), ONCE(names_other_formats),
        ONCE(counts_what_is_no_picture), ONCE(warns_of_what_it_leaves),
        ONCE(reads_one_folder), ONCE(reads_metadata), ONCE(refuses_metadata), ONCE(reads_odd_metadata),
        ONCE(reads_metadata_csv),
        ONCE(hashes_a_set),
        ONCE(notices_files_that_shrink)
    };
    return suite_run("dataset", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
