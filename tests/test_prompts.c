/* test_prompts.c: synsets of well-formed and damaged lines of WordNet, lists of classes, prompts, guidance. All classes of
 * ImageNet beside the values of another reader: tests/cli/prompts.sh. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "data/files/file.h"
#include "data/text/carried_lists.h"
#include "data/text/prompts.h"
#include "data/text/wildcards.h"
#include "data/text/wordnet.h"
#include "want.h"

static char path[400];

static const char *write_text(const char *name, const char *text)
{
    snprintf(path, sizeof path, "%.256s/%.100s", dir, name);
    ck_assert_msg(im_write_file(c, path, text, strlen(text), true), "%s", im_error(c));
    return path;
}

/* A WordNet of the given lines; the synset at `offset`. */
static bool find(const char *lines, const char *wnid, im_synset *out)
{
    setenv("IMAGO_WORDNET", write_text("data.noun", lines), 1);
    im_wordnet *w = im_wordnet_open(c);
    ck_assert_msg(w != NULL, "%s", im_error(c));
    bool found = im_wordnet_find(c, w, wnid, out);
    im_wordnet_close(w);
    unsetenv("IMAGO_WORDNET");
    return found;
}

#define WHOLE "00000000 03 n 02 a_b 0 c 1 002 ~ 00000099 n 0000 @i 00000200 n 0000 | x;y ; \"z\"; more  \n"
#define ABOVE "00000200 03 n 01 up 0 000 | that\n"

START_TEST(synsets)
{
    im_synset s;
    char lines[400] = WHOLE;
    while (strlen(lines) < 199) strcat(lines, "x");
    strcat(lines, "\n" ABOVE);
    ck_assert_msg(find(lines, "n00000000", &s), "%s", im_error(c));
    ck_assert_str_eq(s.lemmas, "a b, c");
    ck_assert_str_eq(s.first, "a b");
    ck_assert_str_eq(s.definition, "x; y");
    ck_assert_str_eq(s.hypernym, "up");
    im_synset_free(&s);
    ck_assert(find(lines, "n00000200", &s) && !s.hypernym && im_ok(c));
    ck_assert_str_eq(s.definition, "that");
    im_synset_free(&s);
    static const char *const absent[] = { "n00000001", "n00000199", "n00000500", "n0000000", "m00000000", "n000000000" };
    for (int i = 0; i < 6; i++) ck_assert_msg(!find(lines, absent[i], &s) && im_ok(c), "%s", absent[i]);
}
END_TEST

START_TEST(damaged)
{
    static const char *const lines[] = {
        "00000000 03 n 02 a 0 c",                              /* ends in its words                                   */
        "00000000 03 n 01 a 0 002 @ 00000099 n 0000",          /* no gloss                                            */
        "00000000 03 n 01 a 0 002 @ 00000099 n | g",           /* ends in its pointers                                */
        "00000000 03 n 00 000 | g", "00000000 ", "00000000 03", "00000000 03 n zz a 0 000 | g",
        "00000000 03 n 01 a 0 001 @ 99 n 0000 | g", "00000000  |  | "
    };
    im_synset s;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        ck_assert_msg(!find(lines[i], "n00000000", &s), "%s", lines[i]);
        WANT_ERROR("data.noun", "00000000", "reinstall wordnet-base");
    }
    ck_assert(!find("", "n00000000", &s) && im_ok(c));
    setenv("IMAGO_WORDNET", "nowhere/data.noun", 1);
    ck_assert_ptr_null(im_wordnet_open(c));
    WANT_ERROR("nowhere/data.noun", "apt-get install wordnet-base");
    unsetenv("IMAGO_WORDNET");
}
END_TEST

START_TEST(folders)
{
    im_class_list l = { 0 };
    char text[800] = "";
    for (int i = 0; i < 199; i++) strcat(text, "x");           /* byte 200 is inside the next character               */
    strcat(text, "\xC3\xA4\n.hidden\na\tb/c\n");
    ck_assert_msg(im_class_list_read(c, write_text("l.txt", text), "all", &l), "%s", im_error(c));
    ck_assert_int_eq(l.n, 3);
    ck_assert_uint_eq(strlen(l.v[0].folder), 199);
    ck_assert_str_eq(l.v[1].folder, "_hidden");
    ck_assert_str_eq(l.v[2].folder, "a_b_c");
    ck_assert_str_eq(l.v[2].key, "a\tb/c");
    ck_assert_int_eq(im_class_find(&l, ".hidden"), 1);
    ck_assert_int_eq(im_class_find(&l, "hidden"), -1);
    im_class_list_free(&l);
}
END_TEST

START_TEST(carried)
{
    char (*wnid)[IM_WNID_BYTES] = calloc(IM_IMAGENET_CLASSES, sizeof *wnid);
    int label[IM_IMAGENET_CLASSES];
    static const int counts[] = { 1000, 100, 200, 200, 200 };
    static const char *const first[] = { "n01440764", "n01558993", "n01498041", "n01443537", "n01443537" };
    for (int k = IM_IMAGENET_1K; k <= IM_IMAGENET_O; k++) {
        ck_assert_int_eq(im_imagenet_wnids((im_imagenet)k, wnid, label), counts[k]);
        ck_assert_str_eq(wnid[0], first[k]);
        for (int i = 1; i < counts[k]; i++) ck_assert(strcmp(wnid[i - 1], wnid[i]) < 0 && label[i - 1] < label[i]);
    }
    im_imagenet_wnids(IM_IMAGENET_100, wnid, label);
    ck_assert_int_eq(label[0], 15);                            /* n01558993 among the 1000                            */
    free(wnid);
    char place[IM_PLACE_BYTES];
    im_place(0, place);
    ck_assert_str_eq(place, "airfield");
    im_place(IM_PLACES - 1, place);
    ck_assert_str_eq(place, "zen garden");
}
END_TEST

/* Any one part of what a picture depends on changes it; nothing else does. */
START_TEST(functions)
{
    im_class_list l = { 0 };
    ck_assert_msg(im_class_list_read(c, write_text("l.txt", "a|b\nc|d\n"), "all", &l), "%s", im_error(c));
    im_prompts *p = im_prompts_open(c, "background", &l, 0), *q = im_prompts_open(c, "background", &l, 1);
    im_guidance range;
    ck_assert(p && q && im_guidance_parse(c, "1:9", &range));
    char *x = im_prompts_text(c, p, 0, 7), *y = im_prompts_text(c, p, 0, 7);
    ck_assert_str_eq(x, y);
    ck_assert_uint_eq(im_prompts_seed(p, 0, 7), im_prompts_seed(p, 0, 7));
    ck_assert_uint_ne(im_prompts_seed(p, 0, 7), im_prompts_seed(p, 0, 8));
    ck_assert_uint_ne(im_prompts_seed(p, 0, 7), im_prompts_seed(p, 1, 7));
    ck_assert_uint_ne(im_prompts_seed(p, 0, 7), im_prompts_seed(q, 0, 7));
    ck_assert(im_prompts_guidance(p, &range, 0, 7) == im_prompts_guidance(p, &range, 0, 7));
    ck_assert(im_prompts_guidance(p, &range, 0, 7) != im_prompts_guidance(p, &range, 0, 8));
    ck_assert(im_prompts_guidance(p, &range, 0, 7) != im_prompts_guidance(q, &range, 0, 7));
    free(x);
    free(y);
    im_prompts_free(p);
    im_prompts_free(q);
    im_class_list_free(&l);
}
END_TEST

/* Two underscores at the very end begin no name; on the heap, so that a sanitizer sees who reads behind them. */
START_TEST(wildcards_at_the_end)
{
    static const struct { const char *text; bool is; } cases[] = {
        { "__", false }, { "a __", false }, { "___", false }, { "__a_", false }, { "____", false }, { "__a__", true },
        { "a __b/c-1__ d", true }, { "__a b__", false }, { "", false }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = strdup(cases[i].text);
        ck_assert_msg(im_wildcards_in(text) == cases[i].is, "%s", text);
        free(text);
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(synsets), ONCE(damaged), ONCE(folders), ONCE(carried), ONCE(functions),
                                 ONCE(wildcards_at_the_end) };
    return suite_run("prompts", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
