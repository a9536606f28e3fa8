/* fields.c: see fields.h. */
#include "data/files/fields.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/utf8.h"

/* ---------------------------------------------------------------- what a value may be */

bool im_range_has(const im_range *r, double x)
{
    if (r->has_unset && x == r->unset)
        return true;
    return x >= r->min && (r->below ? x < r->max : x <= r->max);
}

const char *im_range_text(const im_range *r, bool whole, char *out, size_t size)
{
    int n = snprintf(out, size, whole ? "a whole number " : "a number ");
    if (r->max >= IM_RANGE_LARGE && !whole)
        n += snprintf(out + n, size - (size_t)n, "of at least %.10g", r->min);
    else if (r->below)
        n += snprintf(out + n, size - (size_t)n, "of at least %.10g and below %.10g", r->min, r->max);
    else
        n += snprintf(out + n, size - (size_t)n, "from %.10g to %.10g", r->min, r->max);
    if (r->has_unset)
        snprintf(out + n, size - (size_t)n, ", or %.10g", r->unset);
    return out;
}

bool im_words_have(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *w = words; ; w = strchr(w, '|') + 1) {
        if (strcspn(w, "|") == n && !strncmp(w, word, n))
            return true;
        if (!strchr(w, '|'))
            return false;
    }
}

double im_decimal(float x)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x)
            break;
    }
    return strtod(text, NULL);
}

/* ---------------------------------------------------------------- from JSON */

/* "18446744073709551615": digits alone. */
bool im_seed_of_text(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long x = text ? strtoull(text, &end, 10) : 0;
    if (!text || *text < '0' || *text > '9' || *end || errno)
        return false;
    *out = x;
    return true;
}

static bool take_number(const im_field *f, const json_t *v, void *at)
{
    double x = json_number_value(v);
    bool whole = f->kind == IM_FIELD_INT;
    if (!json_is_number(v) || (whole && x != floor(x)))
        return false;
    if (!whole)
        x = (double)(float)x;                                  /* what is just below the end may be rounded to it     */
    if (!im_range_has(&f->range, whole ? x : im_decimal((float)x)))
        return false;
    if (whole)
        *(int *)at = (int)x;                                   /* ranges of whole numbers lie within an int           */
    else
        *(float *)at = (float)x;
    return true;
}

static bool take_text(const im_field *f, const json_t *v, const char **at)
{
    const char *text = json_string_value(v);
    if (text ? f->words && !im_words_have(f->words, text) : !json_is_null(v) || f->flags & IM_MUST_BE)
        return false;
    *at = text;
    return true;
}

static bool take(const im_field *f, const json_t *v, void *at)
{
    switch (f->kind) {
    case IM_FIELD_INT:
    case IM_FIELD_REAL: return take_number(f, v, at);
    case IM_FIELD_SEED: return im_seed_of_text(json_string_value(v), at);
    case IM_FIELD_FLAG: *(bool *)at = json_is_true(v); return json_is_boolean(v);
    default:            return take_text(f, v, at);
    }
}

const char *im_field_wanted(const im_field *f, char *out, size_t size)
{
    switch (f->kind) {
    case IM_FIELD_INT:
    case IM_FIELD_REAL: return im_range_text(&f->range, f->kind == IM_FIELD_INT, out, size);
    case IM_FIELD_SEED: return "a whole number from 0 to 18446744073709551615, in quotes";
    case IM_FIELD_FLAG: return "true or false";
    default:
        if (!f->words)
            return f->flags & IM_MUST_BE ? "a text in quotes" : "a text in quotes, or null";
        snprintf(out, size, "one of %s", f->words);
        return out;
    }
}

bool im_field_read(im_ctx *c, const im_json *j, const im_field *f, void *args)
{
    const json_t *v = json_object_get(j->value, f->name);
    char wanted[200];
    if (!im_ok(c))
        return false;
    return !v || take(f, v, (char *)args + f->at) ||
           im_json_wrong(c, j, f->name, im_field_wanted(f, wanted, sizeof wanted));
}

/* ---------------------------------------------------------------- in a struct */

static bool check_field(im_ctx *c, const im_field *f, const void *args)
{
    const void *at = (const char *)args + f->at;
    char wanted[200];
    const char *text;
    double x;
    if (!im_ok(c))
        return false;
    switch (f->kind) {
    case IM_FIELD_INT:
    case IM_FIELD_REAL:
        x = f->kind == IM_FIELD_INT ? (double)*(const int *)at : im_decimal(*(const float *)at);
        return im_range_has(&f->range, x) ||
               im_fail(c, "--%s is %.10g; wanted %s", f->name, x, im_field_wanted(f, wanted, sizeof wanted));
    case IM_FIELD_TEXT:
        text = *(const char *const *)at;
        if (!text)
            return !(f->flags & IM_MUST_BE) || im_fail(c, "--%s is missing", f->name);
        return !f->words || im_words_have(f->words, text) ||
               im_fail(c, "--%s is \"%s\"; wanted one of %s", f->name, text, f->words);
    default:
        return true;
    }
}

bool im_fields_check(im_ctx *c, const im_field *const tables[], const void *args)
{
    for (; *tables; tables++)
        for (const im_field *f = *tables; f->name; f++)
            if (!check_field(c, f, args))
                return false;
    return true;
}

/* ---------------------------------------------------------------- to JSON */

static json_t *text_json(im_ctx *c, const im_field *f, const char *text)
{
    if (!text)
        return json_null();
    char what[80];
    snprintf(what, sizeof what, "--%s", f->name);
    if (!im_utf8_check(c, what, text, strlen(text)))
        return NULL;
    char *whole = f->flags & IM_PATH ? realpath(text, NULL) : NULL;      /* patterns of shards are no path: as given  */
    if (whole && !im_utf8_check(c, whole, whole, strlen(whole))) {
        free(whole);
        return NULL;
    }
    json_t *v = json_string(whole ? whole : text);
    free(whole);
    return v;
}

json_t *im_field_json(im_ctx *c, const im_field *f, const void *args)
{
    const void *at = (const char *)args + f->at;
    json_t *v = NULL;
    switch (f->kind) {
    case IM_FIELD_INT:  v = json_integer(*(const int *)at); break;
    case IM_FIELD_REAL: v = json_real(im_decimal(*(const float *)at)); break;
    case IM_FIELD_FLAG: v = json_boolean(*(const bool *)at); break;
    case IM_FIELD_SEED: v = json_sprintf("%llu", (unsigned long long)*(const uint64_t *)at); break;
    default:            v = text_json(c, f, *(const char *const *)at);
    }
    if (!v && im_ok(c))
        im_fail(c, "out of memory for the value of --%s", f->name);
    return v;
}
