/* json_python.c: see json.h. What Python's json.dump writes and RFC 8259, or jansson, has not, as what they have:
 *
 *     NaN                                     "NaN": a text, so that a number which is asked for is refused by name
 *     Infinity, and reals beyond doubles      1e308, with their sign
 *     whole numbers beyond 64 bits            reals, or texts
 *     "\u0000", half of a surrogate pair      U+FFFD
 *
 * All else is copied, right or wrong: jansson says what is wrong with it. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/json.h"

enum { NUMBER_BYTES = 32 };                                    /* of one that is written anew                         */

typedef struct copying { const char *p, *end; char *to; bool digits; } copying;

static void say(copying *s, const char *text)
{
    while (*text) *s->to++ = *text++;
}

static bool stands_here(const copying *s, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(s->end - s->p) >= n && !memcmp(s->p, word, n);
}

/* A number and what follows it as far as it may belong to it. */
static void copy_number(copying *s)
{
    static const char letters[] = "+-.0123456789eE";
    const char *from = s->p;
    bool whole = true;
    while (s->p < s->end && *s->p && strchr(letters, *s->p)) whole &= !strchr(".eE", *s->p++);
    char *stop, number[NUMBER_BYTES];
    errno = 0;
    if (whole) (void)strtoll(from, &stop, 10);
    if (whole && errno != ERANGE) stop = NULL;
    double x = whole && !stop ? 0.0 : strtod(from, &stop);     /* the text behind `end` is a zero byte                */
    bool stays = !stop || stop != s->p || (!whole && isfinite(x)), quotes = whole && !stays && s->digits;
    if (stays || quotes) {
        if (quotes) *s->to++ = '"';
        while (from < s->p) *s->to++ = *from++;
        if (quotes) *s->to++ = '"';
        return;
    }
    snprintf(number, sizeof number, "%.16e", x);
    say(s, isfinite(x) ? number : x < 0 ? "-1e308" : "1e308");
}

/* The four hex digits behind a "\u"; -1: they are none. */
static int unit_at(const char *p, const char *end)
{
    char digits[5] = "", *stop;
    if (end - p < 4) return -1;
    memcpy(digits, p, 4);
    long v = strtol(digits, &stop, 16);
    return stop == digits + 4 && digits[0] != '-' && digits[0] != '+' && digits[0] != ' ' ? (int)v : -1;
}

/* What begins with a backslash in a text. */
static void copy_escape(copying *s)
{
    int v = stands_here(s, "\\u") ? unit_at(s->p + 2, s->end) : -1, n = v < 0 ? 2 : 6;
    bool high = v >= 0xd800 && v < 0xdc00, low = v >= 0xdc00 && v < 0xe000;
    if (high && s->end - s->p >= 12 && s->p[6] == '\\' && s->p[7] == 'u') {
        int second = unit_at(s->p + 8, s->end);
        if (second >= 0xdc00 && second < 0xe000) {
            high = false;
            n = 12;
        }
    }
    if (!v || high || low) {
        say(s, "\\ufffd");
        s->p += 6;
        return;
    }
    for (; n && s->p < s->end; n--) *s->to++ = *s->p++;
}

char *im_json_from_python(im_ctx *c, const char *text, size_t bytes, bool digits)
{
    static const struct { const char *word, *instead; } words[] = {
        { "NaN", "\"NaN\"" }, { "-Infinity", "-1e308" }, { "Infinity", "1e308" },
    };
    char *out = malloc(2 * bytes + NUMBER_BYTES);              /* 5 bytes for 3; what grows to 24 has 19 or more      */
    if (!out) {
        im_fail(c, "out of memory for %zu bytes of JSON; close other programs", bytes);
        return NULL;
    }
    copying s = { text, text + bytes, out, digits };
    for (bool quoted = false; s.p < s.end; ) {
        size_t w = 0;
        while (w < 3 && (quoted || !stands_here(&s, words[w].word))) w++;
        if (w < 3) {
            say(&s, words[w].instead);
            s.p += strlen(words[w].word);
        } else if (quoted && *s.p == '\\') {
            copy_escape(&s);
        } else if (!quoted && (*s.p == '-' || (*s.p >= '0' && *s.p <= '9'))) {
            copy_number(&s);
        } else {
            quoted ^= *s.p == '"';
            *s.to++ = *s.p++;
        }
    }
    *s.to = '\0';
    return out;
}
