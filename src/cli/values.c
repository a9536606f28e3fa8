/* values.c: see values.h. Numbers are decimal and nothing else: strtol and strtod would take " 5", "0x10" and "inf" too. */
#include "cli/values.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/names.h"

static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* -12 */
static bool is_whole(const char *text)
{
    text += *text == '-';
    size_t n = digits(text);
    return n && !text[n];
}

/* -1.5e-3, .5, 2. */
static bool is_decimal(const char *text)
{
    text += *text == '-';
    size_t whole = digits(text), part = 0;
    text += whole;
    if (*text == '.') {
        part = digits(++text);
        text += part;
    }
    if (whole + part && (*text == 'e' || *text == 'E')) {
        text += 1 + (text[1] == '-' || text[1] == '+');
        whole = digits(text);
        text += whole;
        return whole && !*text;
    }
    return whole + part && !*text;
}

/* "42", "16M": up to 64 bits, with a unit where that is allowed. */
static bool read_unsigned(const char *text, bool with_unit, uint64_t *out)
{
    static const char units[] = "KMG";
    size_t length = digits(text);
    const char *unit = text[length] ? strchr(units, text[length]) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    errno = 0;
    unsigned long long n = strtoull(text, NULL, 10);
    if (errno || !length || (text[length] && (!with_unit || !unit || text[length + 1])) || n > UINT64_MAX >> shift)
        return false;
    *out = (uint64_t)n << shift;
    return true;
}

static bool read_int(const option *o, const char *text, int *out)
{
    errno = 0;
    long i = strtol(text, NULL, 10);
    if (!is_whole(text) || errno || !im_range_has(&o->range, (double)i))
        return false;
    *out = (int)i;
    return true;
}

/* What a float cannot hold is refused: 1e-60 is not 0. Ends of the range count as the floats nearest to them. */
static bool read_real(const option *o, const char *text, float *out)
{
    double x = strtod(text, NULL);
    float f = (float)x;
    bool zero = !strpbrk(text, "123456789") || strpbrk(text, "123456789") > text + strcspn(text, "eE");
    if (!is_decimal(text) || !isfinite(f) || (f == 0 && !zero) || !im_range_has(&o->range, im_decimal(f)))
        return false;
    *out = f;
    return true;
}

/* -1, as other programs have it: one that is drawn. */
static bool read_drawn_seed(const char *text, option_seed *out)
{
    out->drawn = !strcmp(text, "-1");
    return out->drawn || read_unsigned(text, false, &out->value);
}

static bool add_to_list(const char *text, option_list *out)
{
    if (out->n == OPTION_LIST_MOST)
        return false;
    out->v[out->n++] = text;
    return true;
}

bool value_set(const option *o, const char *text, void *values)
{
    void *field = (char *)values + o->offset;
    switch (o->kind) {
    case OPT_FLAG:   *(bool *)field = true; return true;
    case OPT_INT:    return read_int(o, text, field);
    case OPT_REAL:   return read_real(o, text, field);
    case OPT_SEED:   return read_unsigned(text, false, field);
    case OPT_SIZE:   return read_unsigned(text, true, field);
    case OPT_DRAWN_SEED: return read_drawn_seed(text, field);
    case OPT_LIST:   return add_to_list(text, field);
    case OPT_CHOICE: *(const char **)field = text; return option_allows(o, text);
    default:         *(const char **)field = text; return true;
    }
}

void value_text(const option *o, const void *values, char *out, size_t size)
{
    const void *field = (const char *)values + o->offset;
    const char *text = NULL;
    *out = '\0';
    switch (o->kind) {
    case OPT_FLAG:
    case OPT_DRAWN_SEED:
    case OPT_LIST:
        break;
    case OPT_INT:
        if (im_range_has(&o->range, *(const int *)field))
            snprintf(out, size, "%d", *(const int *)field);
        break;
    case OPT_REAL:
        if (im_range_has(&o->range, im_decimal(*(const float *)field)))
            snprintf(out, size, "%g", im_decimal(*(const float *)field));
        break;
    case OPT_SEED:
    case OPT_SIZE:
        snprintf(out, size, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    default:
        text = *(const char *const *)field;
        snprintf(out, size, "%s", text ? text : "");
    }
}

bool option_allows(const option *o, const char *word)
{
    return im_words_have(o->choices, word)
        || (!strcmp(o->name, "device") && (!strncmp(word, "cuda:", 5)               /* the second card ...          */
                                           || !strcmp(word, "far")));               /* for tests (tensor/far/far.c) */
}

int value_refused(const verb *v, const option *o, const char *text)
{
    char wanted[120], near[64];
    switch (o->kind) {
    case OPT_CHOICE:
        if (name_near_choice(o->choices, text, near, sizeof near))
            return usage_error(v, "--%s is \"%s\", wanted one of %s; did you mean %s?", o->name, text, o->choices, near);
        return usage_error(v, "--%s is \"%s\", wanted one of %s", o->name, text, o->choices);
    case OPT_SEED:
    case OPT_DRAWN_SEED:
        return usage_error(v, "--%s is \"%s\", wanted a whole number from 0 to 18446744073709551615%s", o->name, text,
                           o->kind == OPT_DRAWN_SEED ? ", or -1 for a random one" : "");
    case OPT_LIST:
        return usage_error(v, "--%s is given more than %d times", o->name, OPTION_LIST_MOST);
    case OPT_SIZE:
        return usage_error(v, "--%s is \"%s\", wanted a number of bytes, or one followed by K, M or G", o->name, text);
    default:
        return usage_error(v, "--%s is \"%s\", wanted %s", o->name, text,
                           im_range_text(&o->range, o->kind == OPT_INT, wanted, sizeof wanted));
    }
}
