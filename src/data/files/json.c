/* json.c: see json.h. */
#include "data/files/json.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"

/* ---------------------------------------------------------------- loading */

/* NULL: not JSON, or *full: memory was short. */
static json_t *load_text(const char *text, size_t bytes, json_error_t *e, bool *full)
{
    errno = 0;                                                 /* jansson calls a text that found no room a bad token  */
    json_t *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, e);
    *full = !value && (errno == ENOMEM || !*e->text || json_error_code(e) == json_error_out_of_memory);
    return value;
}

/* The same, of what Python may have written. */
static json_t *load_from_python(im_ctx *c, const char *text, size_t bytes, json_error_t *e, bool *full)
{
    char *copy = im_copy_text(c, text, bytes), *plain = copy ? im_json_from_python(c, copy, bytes, false) : NULL;
    json_t *value = plain ? load_text(plain, strlen(plain), e, full) : NULL;
    *full |= !plain;
    free(plain);
    free(copy);
    return value;
}

bool im_json_parse(im_ctx *c, im_json *j, const char *name, const char *text, size_t bytes)
{
    *j = (im_json){ 0 };
    if (!im_ok(c)) return false;
    json_error_t e;
    if (bytes >= 3 && !memcmp(text, IM_BYTE_ORDER_MARK, 3)) {
        text += 3;
        bytes -= 3;
    }
    const char *zero = memchr(text, '\0', bytes);               /* jansson drops one that stands behind a number      */
    if (zero) return im_fail(c, "%s: is not valid JSON: byte %td is zero; write the file again", name, zero - text);
    bool full;
    json_t *value = load_text(text, bytes, &e, &full);
    if (!value && !full) value = load_from_python(c, text, bytes, &e, &full);
    if (full)
        return im_fail(c, "%s: out of memory while it was read", name);
    if (!value) return im_fail(c, "%s:%d: column %d: is not valid JSON: %s", name, e.line, e.column, e.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return im_fail(c, "%s: holds no JSON object; wanted { \"key\": value, ... }", name);
    }
    *j = (im_json){ .file = im_copy_text(c, name, strlen(name)), .value = value };
    if (!j->file) im_json_close(j);
    return j->value;
}

bool im_json_load(im_ctx *c, im_json *j, const char *path, size_t max_bytes)
{
    *j = (im_json){ 0 };
    size_t bytes;
    char *text = im_read_file(c, path, max_bytes, &bytes);
    if (!text) return false;
    bool ok = im_json_parse(c, j, path, text, bytes);
    free(text);
    return ok;
}

void im_json_close(im_json *j)
{
    json_decref(j->value);
    free(j->file);
    *j = (im_json){ 0 };
}

/* ---------------------------------------------------------------- one value */

/* "a list of 3 (starts with 320)": what was found, for errors. */
static void describe(const json_t *v, char *out, size_t size)
{
    char *text = NULL;
    switch (json_typeof(v)) {
    case JSON_OBJECT: snprintf(out, size, "an object"); return;
    case JSON_ARRAY: snprintf(out, size, "a list of %zu", json_array_size(v)); return;
    case JSON_NULL: snprintf(out, size, "null"); return;
    default: text = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    }
    snprintf(out, size, "%.60s%s", text ? text : "?", text && strlen(text) > 60 ? " ..." : "");
    free(text);
}

static bool wrong(im_ctx *c, const im_json *j, const char *key, const json_t *found, const char *wanted)
{
    char text[80];
    describe(found, text, sizeof text);
    return im_fail(c, "%s: \"%s\" is %s; wanted %s", j->file, key, text, wanted);
}

bool im_json_wrong(im_ctx *c, const im_json *j, const char *key, const char *wanted)
{
    const json_t *v = json_object_get(j->value, key);
    return v ? wrong(c, j, key, v, wanted) : im_fail(c, "%s: \"%s\" is missing; wanted %s", j->file, key, wanted);
}

bool im_json_has(const im_json *j, const char *key)
{
    const json_t *v = json_object_get(j->value, key);
    return v && !json_is_null(v);
}

/* The value of key, or NULL: then *ok says whether the caller returns true (absent, IM_MAY) or false (error). */
static json_t *look_up(im_ctx *c, const im_json *j, const char *key, im_need need, bool *ok)
{
    *ok = false;
    if (!im_ok(c)) return NULL;
    if (im_json_has(j, key) || (need == IM_IF_THERE && json_object_get(j->value, key)))
        return json_object_get(j->value, key);
    *ok = need != IM_MUST || im_fail(c, "%s: \"%s\" is %s; add it", j->file, key,
                                    json_object_get(j->value, key) ? "null" : "missing");
    return NULL;
}

/* One value of each kind into out[i]; limits are a pair of doubles for numbers. */
typedef bool (*take_fn)(im_ctx *c, const im_json *j, const char *key, json_t *v, const double *limits, void *out,
                        int i);

static bool take_int(im_ctx *c, const im_json *j, const char *key, json_t *v, const double *limits, void *out, int i)
{
    double x = json_number_value(v);
    if (json_is_number(v) && x == floor(x) && x >= limits[0] && x <= limits[1]) {
        ((int *)out)[i] = (int)x;
        return true;
    }
    char wanted[80];
    if (limits[0] < limits[1]) snprintf(wanted, sizeof wanted, "a whole number from %.0f to %.0f", limits[0], limits[1]);
    else snprintf(wanted, sizeof wanted, "%.0f", limits[0]);
    return wrong(c, j, key, v, wanted);
}

static bool take_float(im_ctx *c, const im_json *j, const char *key, json_t *v, const double *limits, void *out, int i)
{
    double x = json_number_value(v);
    if (json_is_number(v) && x >= limits[0] && x <= limits[1]) {
        ((double *)out)[i] = x;
        return true;
    }
    char wanted[80];
    snprintf(wanted, sizeof wanted, "a number from %g to %g", limits[0], limits[1]);
    return wrong(c, j, key, v, wanted);
}

static bool take_bool(im_ctx *c, const im_json *j, const char *key, json_t *v, const double *limits, void *out, int i)
{
    (void)limits;
    if (!json_is_boolean(v)) return wrong(c, j, key, v, "true or false");
    ((bool *)out)[i] = json_is_true(v);
    return true;
}

static bool take_string(im_ctx *c, const im_json *j, const char *key, json_t *v, const double *limits, void *out, int i)
{
    (void)limits;
    if (!json_is_string(v)) return wrong(c, j, key, v, "a text in quotes");
    ((const char **)out)[i] = json_string_value(v);
    return true;
}

static bool take_one(im_ctx *c, const im_json *j, const char *key, im_need need, take_fn take, const double *limits,
                     void *out)
{
    bool ok;
    json_t *v = look_up(c, j, key, need, &ok);
    return v ? take(c, j, key, v, limits, out, 0) : ok;
}

bool im_json_int(im_ctx *c, const im_json *j, const char *key, im_need need, int min, int max, int *out)
{
    return take_one(c, j, key, need, take_int, (double[]){ min, max }, out);
}

/* Exact above 2^53, where doubles are not. */
bool im_json_long(im_ctx *c, const im_json *j, const char *key, im_need need, int64_t min, int64_t max, int64_t *out)
{
    bool ok;
    char wanted[80];
    json_t *v = look_up(c, j, key, need, &ok);
    if (!v) return ok;
    double real = json_real_value(v);
    bool whole = json_is_integer(v) || (json_is_real(v) && fabs(real) < 0x1p53 && real == floor(real));
    json_int_t x = json_is_integer(v) ? json_integer_value(v) : whole ? (json_int_t)real : 0;
    if (whole && x >= min && x <= max) {
        *out = x;
        return true;
    }
    snprintf(wanted, sizeof wanted, "a whole number from %lld to %lld", (long long)min, (long long)max);
    return wrong(c, j, key, v, wanted);
}

bool im_json_float(im_ctx *c, const im_json *j, const char *key, im_need need, double min, double max, double *out)
{
    return take_one(c, j, key, need, take_float, (double[]){ min, max }, out);
}

bool im_json_bool(im_ctx *c, const im_json *j, const char *key, im_need need, bool *out)
{
    return take_one(c, j, key, need, take_bool, NULL, out);
}

bool im_json_string(im_ctx *c, const im_json *j, const char *key, im_need need, const char **out)
{
    return take_one(c, j, key, need, take_string, NULL, out);
}

bool im_json_object(im_ctx *c, const im_json *j, const char *key, im_need need, im_json *out)
{
    bool ok;
    json_t *v = look_up(c, j, key, need, &ok);
    if (!v) return ok;
    if (!json_is_object(v)) return wrong(c, j, key, v, "an object { ... }");
    *out = (im_json){ .file = j->file, .value = v };
    return true;
}

/* ---------------------------------------------------------------- lists */

int im_json_length(im_ctx *c, const im_json *j, const char *key, im_need need, int min, int max)
{
    bool ok;
    json_t *v = look_up(c, j, key, need, &ok);
    if (!v) return ok ? 0 : -1;
    size_t n = json_array_size(v);
    if (json_is_array(v) && n >= (size_t)min && n <= (size_t)max) return (int)n;
    char wanted[80];
    snprintf(wanted, sizeof wanted, "a list of %d to %d elements", min, max);
    wrong(c, j, key, v, wanted);
    return -1;
}

static bool take_list(im_ctx *c, const im_json *j, const char *key, im_need need, take_fn take, const double *limits,
                      void *out, int n)
{
    bool ok;
    json_t *v = look_up(c, j, key, need, &ok);
    if (!v) return ok;
    bool list = json_is_array(v);
    if (list && json_array_size(v) != (size_t)n) {
        char wanted[80];
        snprintf(wanted, sizeof wanted, "a list of %d elements, or one value for all", n);
        return wrong(c, j, key, v, wanted);
    }
    for (int i = 0; i < n; i++) {
        char name[200];
        if (list) snprintf(name, sizeof name, "%.180s[%d]", key, i);
        else snprintf(name, sizeof name, "%.180s", key);
        if (!take(c, j, name, list ? json_array_get(v, (size_t)i) : v, limits, out, i)) return false;
    }
    return true;
}

bool im_json_ints(im_ctx *c, const im_json *j, const char *key, im_need need, int min, int max, int out[], int n)
{
    return take_list(c, j, key, need, take_int, (double[]){ min, max }, out, n);
}

bool im_json_floats(im_ctx *c, const im_json *j, const char *key, im_need need, double min, double max, double out[],
                    int n)
{
    return take_list(c, j, key, need, take_float, (double[]){ min, max }, out, n);
}

bool im_json_flag(im_ctx *c, const im_json *j, const char *key, bool *out)
{
    if (im_ok(c) && json_is_null(json_object_get(j->value, key))) *out = false;
    return im_json_bool(c, j, key, IM_MAY, out);
}

bool im_json_bools(im_ctx *c, const im_json *j, const char *key, im_need need, bool out[], int n)
{
    return take_list(c, j, key, need, take_bool, NULL, out, n);
}

bool im_json_strings(im_ctx *c, const im_json *j, const char *key, im_need need, const char *out[], int n)
{
    return take_list(c, j, key, need, take_string, NULL, out, n);
}
