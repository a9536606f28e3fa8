/* test_text.c: text that is and is not UTF-8, to Latin-1 and back (data/files/utf8.c); marks of other programs in prompts
 * (data/text/prompt_marks.c). What the expected bytes are says RFC 3629. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "data/files/utf8.h"
#include "data/text/prompt_marks.h"
#include "want.h"

START_TEST(what_is_utf8)
{
    static const struct { const char *text; bool is; } all[] = {
        { "", true }, { "plain", true }, { "\xc3\xa4", true }, { "\xe2\x82\xac", true }, { "\xf0\x9f\x98\x80", true },
        { "a\xe4", false }, { "\xc3", false }, { "\xc0\x80", false }, { "\xed\xa0\x80", false },
        { "\xf5\x80\x80\x80", false },
    };
    for (int i = 0; i < SUITE_COUNT(all); i++)
        ck_assert_msg(im_is_utf8(all[i].text, strlen(all[i].text)) == all[i].is, "case %d", i);
    ck_assert(im_utf8_check(c, "here", "gr\xc3\xbcn", 5));
    ck_assert(!im_utf8_check(c, "here", "gr\xfcn", 4));
    WANT_ERROR("here: byte 2 (0xfc) is not UTF-8; write it as UTF-8");
}
END_TEST

static void want_text(char *got, const char *want)
{
    ck_assert_msg(got && !strcmp(got, want), "\"%s\", wanted \"%s\"", got ? got : "nothing", want);
    free(got);
}

START_TEST(to_latin_and_back)
{
    want_text(im_utf8_from_latin1(c, "gr\xfcn", 4), "gr\xc3\xbcn");
    want_text(im_utf8_to_latin1(c, "gr\xc3\xbcn", 5), "gr\xfcn");
    ck_assert_ptr_null(im_utf8_to_latin1(c, "5 \xe2\x82\xac", 5));     /* no euro in Latin-1, and no failure         */
    ck_assert(im_ok(c));
}
END_TEST

/* A byte that belongs to no character becomes U+FFFD; what stands around it stays. */
START_TEST(made_clean)
{
    want_text(im_utf8_clean(c, ""), "");
    want_text(im_utf8_clean(c, "gr\xc3\xbcn"), "gr\xc3\xbcn");
    want_text(im_utf8_clean(c, "gr\xfcn"), "gr\xef\xbf\xbdn");
    want_text(im_utf8_clean(c, "\xff\xfe"), "\xef\xbf\xbd\xef\xbf\xbd");
}
END_TEST

START_TEST(marks)
{
    static const struct { im_mark kind; const char *mark; } want[] = {
        { IM_MARK_FILE, "<lora:fox:0.8>" }, { IM_MARK_WEIGHT, "(a hat:1.3)" }, { IM_MARK_FILE, "<hypernet:x>" },
        { IM_MARK_FILE, "<LoRA:fox:1>" }, { IM_MARK_FILE, "< lora:x>" }, { IM_MARK_FILE, "<lora:open" },
        { IM_MARK_NONE, "" },
    };
    const char *text = "a (small) fox, <lora:fox:0.8>, (a hat:1.3) and (:2), (time: noon), <hypernet:x>, "
                       "<LoRA:fox:1> < lora:x> <a lora:x> (b, <lora:open\n(";
    size_t at = 0;
    for (int i = 0; i < SUITE_COUNT(want); i++) {
        char mark[40] = "";
        im_mark kind = im_prompt_mark(text, &at, mark, sizeof mark);
        ck_assert_msg(kind == want[i].kind && !strcmp(mark, want[i].mark), "%d: %d \"%s\"", i, (int)kind, mark);
    }
    char cut[6];
    at = 0;
    ck_assert_int_eq(im_prompt_mark("<lora:fox:0.8> b", &at, cut, sizeof cut), IM_MARK_FILE);
    ck_assert_str_eq(cut, "<lora");
    ck_assert_uint_eq(at, 14);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(what_is_utf8), ONCE(to_latin_and_back), ONCE(made_clean), ONCE(marks) };
    return suite_run("text", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
