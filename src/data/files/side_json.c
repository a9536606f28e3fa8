/* side_json.c: see side_json.h. One pass over the bytes, without recursion: of the lists and objects that are open, one bit
 * each says which they are. */
#include "data/files/side_json.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/files/file.h"
#include "data/files/utf8.h"

enum { MOST_DEEP = 8192, SHOWN = 40 };                         /* Python gives up at about a thousand                 */

typedef struct scan { const char *p, *end; } scan;

static char peek(const scan *s) { return s->p < s->end ? *s->p : '\0'; }

static char peek_behind_blanks(scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n')) s->p++;
    return peek(s);
}

static bool take(scan *s, char c)
{
    if (peek_behind_blanks(s) != c || s->p == s->end) return false;
    s->p++;
    return true;
}

/* ---------------------------------------------------------------- values that are passed over */

/* The text at a quote; *from, *to: what is between the quotes. */
static bool take_text(scan *s, const char **from, const char **to)
{
    if (!take(s, '"')) return false;
    for (*from = s->p; s->p < s->end && *s->p != '"'; s->p++)
        if (*s->p == '\\' && s->p + 1 < s->end) s->p++;
    if (s->p >= s->end) return false;
    *to = s->p++;
    return true;
}

/* A word or a number; its letters are looked at by kind_of_word. */
static bool take_word(scan *s)
{
    static const char letters[] = "+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const char *const words[] = { "null", "true", "false", "NaN", "Infinity", "-Infinity" };
    const char *from = s->p;
    while (s->p < s->end && *s->p && strchr(letters, *s->p)) s->p++;
    size_t n = (size_t)(s->p - from), digits = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (n == strlen(words[i]) && !memcmp(from, words[i], n)) return true;
    for (size_t i = 0; i < n; i++) {
        if (!strchr("+-.0123456789eE", from[i])) return false;
        digits += from[i] >= '0' && from[i] <= '9';
    }
    return digits > 0;
}

static bool take_key(scan *s, const char **from, const char **to) { return take_text(s, from, to) && take(s, ':'); }

/* Any value: a list or an object up to the end of it. */
static bool take_value(scan *s)
{
    uint8_t is_object[MOST_DEEP / 8] = { 0 };
    const char *a, *b;
    for (int depth = 0;;) {
        char c = peek_behind_blanks(s);
        if (c == '{' || c == '[') {
            if (depth == MOST_DEEP) return false;
            s->p++;
            uint8_t bit = (uint8_t)(1 << depth % 8);
            is_object[depth / 8] = (uint8_t)(c == '{' ? is_object[depth / 8] | bit : is_object[depth / 8] & ~bit);
            depth++;
            if (peek_behind_blanks(s) != (c == '{' ? '}' : ']')) {
                if (c == '{' && !take_key(s, &a, &b)) return false;
                continue;
            }
        } else if (c == '"' ? !take_text(s, &a, &b) : !take_word(s)) return false;
        for (; depth; depth--) {                               /* what ends behind this value?                        */
            bool object = is_object[(depth - 1) / 8] >> (depth - 1) % 8 & 1;
            if (take(s, ',')) {
                if (object && !take_key(s, &a, &b)) return false;
                break;
            }
            if (!take(s, object ? '}' : ']')) return false;
        }
        if (!depth) return true;
    }
}

/* ---------------------------------------------------------------- texts that are wanted */

/* Four hex digits; -1: they are none. */
static int32_t unit_at(const char *p, const char *end)
{
    int32_t v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int c = p[i] | 32, digit = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* The character behind "\u"; *p moves behind it, and behind the second half of a pair. */
static int32_t take_unit(const char **p, const char *end)
{
    int32_t v = unit_at(*p, end), low = -1;
    if (v < 0) return -1;
    *p += 4;
    if (v >= 0xd800 && v < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') low = unit_at(*p + 2, end);
    if (low >= 0xdc00 && low < 0xe000) {
        *p += 6;
        return 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
    }
    return !v || (v >= 0xd800 && v < 0xe000) ? 0xfffd : v;
}

/* What is between quotes, as UTF-8, malloc'd. NULL: an escape that is none, or an error in c. */
static char *decode(im_ctx *c, const char *p, const char *end)
{
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char *out = malloc(3 * (size_t)(end - p) + 1), *to = out;  /* a zero byte becomes three                           */
    if (!out) im_fail(c, "out of memory for a text of %td bytes; close other programs", end - p);
    while (out && p < end) {
        utf8proc_int32_t code = 0;
        if (*p != '\\') {
            utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)p, end - p, &code);
            if (n <= 0 || !code) code = 0xfffd;
            p += n > 0 ? n : 1;
        } else {
            const char *escape = p + 1 < end && p[1] ? strchr(escapes, p[1]) : NULL;
            bool unit = p + 1 < end && p[1] == 'u';
            p += 2;
            code = escape ? meant[escape - escapes] : unit ? take_unit(&p, end) : -1;
            if (code < 0) {
                free(out);
                return NULL;
            }
        }
        to += utf8proc_encode_char(code, (uint8_t *)to);
    }
    if (out) *to = '\0';
    return out;
}

/* ---------------------------------------------------------------- the object */

static im_side_field *field_of(im_ctx *c, im_side_field fields[], int n, const char *from, const char *to)
{
    size_t bytes = (size_t)(to - from);
    char *decoded = memchr(from, '\\', bytes) ? decode(c, from, to) : NULL;
    im_side_field *found = NULL;
    for (int i = 0; i < n; i++)
        if (decoded ? !strcmp(decoded, fields[i].key)
                    : bytes == strlen(fields[i].key) && !memcmp(from, fields[i].key, bytes))
            found = &fields[i];
    free(decoded);
    return found;
}

static bool is_whole(const char *from, size_t n)
{
    size_t sign = n && *from == '-', digits = 0;
    while (sign + digits < n && from[sign + digits] >= '0' && from[sign + digits] <= '9') digits++;
    return digits && sign + digits == n;
}

/* The value that stands at `from` up to the scan's place. */
static bool keep(im_ctx *c, im_side_field *f, const char *from, const char *to)
{
    size_t n = (size_t)(to - from);
    free(f->text);
    f->text = NULL;
    f->kind = IM_SIDE_NONE;
    if (n == 4 && !memcmp(from, "null", 4)) return true;
    im_side_kind kind = *from == '"' && im_is_utf8(from, n) ? IM_SIDE_TEXT : is_whole(from, n) ? IM_SIDE_WHOLE
                        : IM_SIDE_OTHER;
    f->text = kind == IM_SIDE_TEXT ? decode(c, from + 1, to - 1)
                                   : im_copy_text(c, from, kind == IM_SIDE_OTHER && n > SHOWN ? SHOWN : n);
    if (f->text) f->kind = kind;
    return f->text != NULL;
}

static bool take_object(im_ctx *c, scan *s, im_side_field fields[], int n)
{
    const char *from, *to;
    if (!take(s, '{')) return false;
    if (take(s, '}')) return true;
    do {
        if (!take_key(s, &from, &to)) return false;
        im_side_field *f = field_of(c, fields, n, from, to);
        peek_behind_blanks(s);
        from = s->p;
        if (!take_value(s) || (f && !keep(c, f, from, s->p))) return false;
    } while (take(s, ','));
    return take(s, '}');
}

bool im_side_json(im_ctx *c, const char *text, size_t bytes, im_side_field fields[], int n, size_t *at)
{
    scan s = { text, text + bytes };
    for (int i = 0; i < n; i++) fields[i] = (im_side_field){ .key = fields[i].key };
    if (bytes >= 3 && !memcmp(text, IM_BYTE_ORDER_MARK, 3)) s.p += 3;
    bool ok = im_ok(c) && take_object(c, &s, fields, n);
    peek_behind_blanks(&s);
    *at = (size_t)(s.p - text);
    return ok && s.p == s.end;
}

void im_side_free(im_side_field fields[], int n)
{
    for (int i = 0; i < n; i++) {
        free(fields[i].text);
        fields[i].text = NULL;
    }
}
