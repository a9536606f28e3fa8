/* lax.c: values as the AUTOMATIC1111 web interface takes them, whose requests are read by pydantic 1: what a client wrote
 * in another type than the key has becomes that type, where Python has a way of doing so:
 *
 *     whole numbers   int():    7.9 is 7, "7" is 7, true is 1
 *     numbers         float():  "7.5", true
 *     flags           0, 1, "true", "yes", "on", "t", "y", "1" and their opposites
 *     texts           str() of a number
 *
 * What Python refuses stays as it is, and is refused where it is read (ask.c). */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/serve/ask.h"
#include "data/files/fields.h"

/* A text that may be a number, without the spaces around it; false: it is too long. */
static bool strip(const json_t *value, char out[64])
{
    static const char spaces[] = " \t\n\r\f\v";
    const char *text = json_string_value(value);
    text += strspn(text, spaces);
    size_t n = strlen(text);
    while (n && strchr(spaces, text[n - 1]))
        n--;
    snprintf(out, 64, "%.*s", n < 64 ? (int)n : 0, text);
    return n < 64;
}

/* Beyond 63 bits as digits in quotes, as seeds may be. */
static json_t *whole_of_text(const char *text)
{
    char *end;
    uint64_t large;
    size_t sign = *text == '-' || *text == '+';
    if (text[sign] < '0' || text[sign] > '9')
        return NULL;
    errno = 0;
    long long x = strtoll(text, &end, 10);
    if (!*end && !errno)
        return json_integer(x);
    text += *text == '+';
    return im_seed_of_text(text, &large) ? json_string(text) : NULL;
}

static json_t *as_whole(const json_t *value)
{
    char text[64];
    double x = trunc(json_real_value(value));
    if (json_is_boolean(value))
        return json_integer(json_is_true(value));
    if (json_is_string(value))
        return strip(value, text) ? whole_of_text(text) : NULL;
    if (!json_is_real(value) || fabs(x) >= 0x1p64)
        return NULL;
    return fabs(x) < 0x1p63 ? json_integer((json_int_t)x) : json_sprintf("%.0f", x);
}

static json_t *as_real(const json_t *value)
{
    char text[64], *end;
    if (json_is_boolean(value))
        return json_real(json_is_true(value));
    if (!json_is_string(value) || !strip(value, text) || !*text || text[strspn(text, "+-.0123456789eE")])
        return NULL;
    double x = strtod(text, &end);
    return *end || !isfinite(x) ? NULL : json_real(x);
}

static json_t *as_flag(const json_t *value)
{
    static const char yes[] = "1|on|t|true|y|yes", no[] = "0|off|f|false|n|no";
    char word[8] = "";
    if (json_is_number(value)) {
        double x = json_number_value(value);
        return x == 0 || x == 1 ? json_boolean(x == 1) : NULL;
    }
    if (!json_is_string(value) || json_string_length(value) >= sizeof word)
        return NULL;
    for (size_t i = 0; i < json_string_length(value); i++) {
        char letter = json_string_value(value)[i];
        word[i] = (char)(letter >= 'A' && letter <= 'Z' ? letter - 'A' + 'a' : letter);
    }
    return im_words_have(yes, word) ? json_true() : im_words_have(no, word) ? json_false() : NULL;
}

/* As Python writes it, where it writes no exponent. */
static json_t *as_text(const json_t *value)
{
    char out[64];
    double x = json_real_value(value), size = fabs(x);
    if (json_is_boolean(value))
        return json_string(json_is_true(value) ? "True" : "False");
    if (json_is_integer(value))
        return json_sprintf("%lld", (long long)json_integer_value(value));
    if (!json_is_real(value) || (x != 0 && (size < 1e-4 || size >= 1e16)))
        return NULL;
    for (int digits = 1; digits <= 24; digits++) {
        snprintf(out, sizeof out, "%.*f", digits, x);
        if (strtod(out, NULL) == x)
            break;
    }
    return json_string(out);
}

json_t *lax_value(const asked_key *k, const json_t *value)
{
    switch (k->kind == KEY_NEUTRAL ? (key_kind)k->at : k->kind) {
    case KEY_INT:
    case KEY_SEED:   return as_whole(value);
    case KEY_REAL:   return as_real(value);
    case KEY_FLAG:
    case KEY_SWITCH: return as_flag(value);
    case KEY_TEXT:   return as_text(value);
    default:         return NULL;
    }
}
