/* clip_text.c: see clip_text.h. The rules are those of CLIPTokenizer in transformers, with the tokenizers library below
 * it: NFC; \s+ becomes one space; every character is lowered by itself (so a final sigma is an ordinary one, and I with
 * a dot above becomes two characters); then two patterns one after the other (see WORDS and PARTS). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/text/clip_text.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Letters, single digits, and runs of anything else; contractions before letters. After normalisation a space is the
 * only white space. What WORDS finds is split once more by PARTS (the tokenizers library does so in its byte-level
 * step); that changes only the names of special tokens that arose by lowering, which are group 1. */
#define PARTS "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^ \\p{L}\\p{N}]+"
#define WORDS "(<\\|startoftext\\|>|<\\|endoftext\\|>)|" PARTS

struct im_splitter { pcre2_code *words, *parts; };

static pcre2_code *compile(im_ctx *c, const char *pattern)
{
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    if (!re) im_fail(c, "the tokenizer's pattern cannot be compiled (PCRE2 error %d); install it with Unicode", code);
    return re;
}

im_splitter *im_splitter_new(im_ctx *c)
{
    im_splitter *s = calloc(1, sizeof *s);
    if (!s) im_fail(c, "out of memory in the tokenizer; close other programs");
    if (s && (s->words = compile(c, WORDS)) && (s->parts = compile(c, PARTS))) return s;
    im_splitter_free(s);
    return NULL;
}

void im_splitter_free(im_splitter *s)
{
    if (!s) return;
    pcre2_code_free(s->words);
    pcre2_code_free(s->parts);
    free(s);
}

/* Unicode's White_Space property. */
static bool is_space(utf8proc_int32_t u)
{
    return (u >= 9 && u <= 13) || u == 0x20 || u == 0x85 || u == 0xa0 || u == 0x1680 || (u >= 0x2000 && u <= 0x200a) ||
           u == 0x2028 || u == 0x2029 || u == 0x202f || u == 0x205f || u == 0x3000;
}

/* NFC code points, malloc'd; their number in *n. */
static utf8proc_int32_t *compose(im_ctx *c, const char *text, size_t bytes, size_t *n)
{
    const utf8proc_option_t options = UTF8PROC_COMPOSE | UTF8PROC_STABLE;
    const uint8_t *in = (const uint8_t *)text;
    utf8proc_ssize_t room = (utf8proc_ssize_t)bytes + 1, got = 0;
    utf8proc_int32_t *u = NULL;
    for (int attempt = 0; attempt < 2; attempt++) {            /* may need more places than there are bytes           */
        utf8proc_int32_t *more = realloc(u, ((size_t)room + 1) * sizeof *u);
        if (!more) break;
        u = more;
        got = utf8proc_decompose(in, (utf8proc_ssize_t)bytes, u, room, options);
        if (got <= room) break;
        room = got;
    }
    if (u && got >= 0 && got <= room) got = utf8proc_normalize_utf32(u, got, options);
    if (u && got >= 0 && got <= room) {
        *n = (size_t)got;
        return u;
    }
    free(u);
    im_fail(c, "a text of %zu bytes cannot be normalised: %s", bytes, got < 0 ? utf8proc_errmsg(got) : "out of memory");
    return NULL;
}

char *im_clip_normalise(im_ctx *c, const char *text, size_t bytes, size_t *out_bytes)
{
    size_t n, used = 0;
    utf8proc_int32_t *u = compose(c, text, bytes, &n);
    if (!u) return NULL;
    char *out = malloc(4 * n + 1);                             /* lowering makes at most two characters, of 3 bytes   */
    if (!out) im_fail(c, "out of memory for a text of %zu bytes; shorten it", bytes);
    bool space = false;
    for (size_t i = 0; out && i < n; i++) {
        bool was_space = space;
        if ((space = is_space(u[i]))) {
            if (!was_space) out[used++] = ' ';
            continue;
        }
        utf8proc_int32_t lower = u[i] == 0x130 ? 'i' : utf8proc_tolower(u[i]);
        used += (size_t)utf8proc_encode_char(lower, (uint8_t *)out + used);
        if (u[i] == 0x130) used += (size_t)utf8proc_encode_char(0x307, (uint8_t *)out + used);
    }
    free(u);
    if (!out) return NULL;
    out[used] = 0;
    *out_bytes = used;
    return out;
}

bool im_clip_word_char(const char *text, size_t bytes)
{
    utf8proc_int32_t u;
    if (utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &u) <= 0) return false;
    utf8proc_category_t k = utf8proc_category(u);
    bool letter = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
    bool mark = k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
    /* Letters in circles and squares are symbols by category, but Alphabetic. */
    bool framed = (u >= 0x24b6 && u <= 0x24e9) || (u >= 0x1f130 && u <= 0x1f149) || (u >= 0x1f150 && u <= 0x1f169) ||
                  (u >= 0x1f170 && u <= 0x1f189);
    return letter || mark || framed || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL ||
           k == UTF8PROC_CATEGORY_PC || u == 0x200c || u == 0x200d;
}

bool im_clip_stands_alone(const char *text, size_t bytes, size_t from, size_t to)
{
    size_t before = from;
    while (before && ((uint8_t)text[--before] & 0xc0) == 0x80);
    return !(from && im_clip_word_char(text + before, from - before))
        && !(to < bytes && im_clip_word_char(text + to, bytes - to));
}

/* Finds what `re` matches in text[0..bytes), left to right; a match with group 1 is split again by `parts`. */
static bool split(im_ctx *c, const pcre2_code *re, const pcre2_code *parts, const char *text, size_t bytes,
                  im_word_fn fn, void *arg)
{
    pcre2_match_data *m = pcre2_match_data_create(2, NULL);
    if (!m) return im_fail(c, "out of memory in the tokenizer; close other programs");
    bool ok = true;
    for (size_t at = 0; ok && at < bytes; ) {
        int got = pcre2_match(re, (PCRE2_SPTR)text, bytes, at, at ? PCRE2_NO_UTF_CHECK : 0, m, NULL);
        if (got == PCRE2_ERROR_NOMATCH) break;
        if (got < 0) {
            ok = im_fail(c, "the text cannot be split into words (PCRE2 error %d at byte %zu)", got, at);
            break;
        }
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m);
        at = v[1];
        ok = got > 1 ? split(c, parts, NULL, text + v[0], v[1] - v[0], fn, arg) : fn(arg, text + v[0], v[1] - v[0]);
    }
    pcre2_match_data_free(m);
    return ok;
}

bool im_clip_split(im_ctx *c, const im_splitter *s, const char *text, size_t bytes, im_word_fn fn, void *arg)
{
    return split(c, s->words, s->parts, text, bytes, fn, arg);
}
