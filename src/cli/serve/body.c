/* body.c: the body of a request as a JSON object. What Python's json writes and RFC 8259 has not (data/files/json.h) is no
 * reason to refuse it: many clients are written in Python, and a value that decides nothing is passed over. Whole numbers
 * beyond 64 bits come as texts of their digits, so that a seed keeps all of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/ask.h"
#include "data/files/file.h"
#include "data/files/json.h"

enum { NEAR = 40 };                                            /* bytes of the body that an error shows                */

static bool full(trouble *t)
{
    return trouble_is(t, 500, NULL, "out of memory");
}

/* What stands where jansson stopped, of "... near 'what'": a key has its quotes. */
static const char *near(const json_error_t *e, char out[NEAR + 4])
{
    const char *from = strstr(e->text, " near '");
    size_t n = from ? strlen(from += strlen(" near '")) : 0;
    n -= n && from[n - 1] == '\'';
    snprintf(out, NEAR + 4, "%.*s%s", (int)(n < NEAR ? n : NEAR), from ? from : "", n > NEAR ? "..." : "");
    return out;
}

static bool wrong(const json_error_t *e, trouble *t)
{
    char here[NEAR + 4];
    near(e, here);
    switch (json_error_code(e)) {
    case json_error_out_of_memory:
        return full(t);
    case json_error_duplicate_key:
        return trouble_is(t, 422, NULL, "the body has the key %s twice, again in line %d; give it once", here, e->line);
    case json_error_stack_overflow:
        return trouble_is(t, 422, NULL, "the body is nested too deeply; wanted an object of values");
    case json_error_premature_end_of_input:
        return trouble_is(t, 422, NULL, "the body is not JSON: it ends before its brackets and quotes are closed");
    case json_error_invalid_utf8:
        return trouble_is(t, 422, NULL, "the body is not JSON: it is not UTF-8, in line %d", e->line);
    case json_error_end_of_input_expected:
        return trouble_is(t, 422, NULL, "the body is not JSON: more follows behind its end, in line %d: %s", e->line, here);
    default:
        if (!strncmp(e->text, "control character", 17) || !strncmp(e->text, "unexpected newline", 18))
            return trouble_is(t, 422, NULL, "the body is not JSON: in line %d, a text holds a control character; a line "
                                            "break is written \\n", e->line);
        return trouble_is(t, 422, NULL, "the body is not JSON: in line %d, column %d, %s stands where something else is "
                                        "wanted", e->line, e->column, *here ? here : "this");
    }
}

static json_t *load_from_python(const char *text, size_t bytes, json_error_t *e, trouble *t)
{
    im_ctx *c = im_ctx_new("ref", 1);
    char *plain = c ? im_json_from_python(c, text, bytes, true) : NULL;
    json_t *value = plain ? json_loadb(plain, strlen(plain), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, e) : NULL;
    if (!plain)
        full(t);
    free(plain);
    im_ctx_free(c);
    return value;
}

bool ask_body(visit *v, trouble *t)
{
    json_error_t e;
    bool marked = v->bytes >= 3 && !memcmp(v->body, IM_BYTE_ORDER_MARK, 3);
    const char *text = v->body + (marked ? 3 : 0);
    size_t bytes = v->bytes - (marked ? 3 : 0);
    if (!bytes)
        return trouble_is(t, 422, NULL, "the body is empty; wanted a JSON object");
    if (memchr(text, '\0', bytes))                             /* jansson drops one that stands behind a number        */
        return trouble_is(t, 422, NULL, "the body is not JSON: it has a zero byte");
    v->asked = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!v->asked && json_error_code(&e) != json_error_out_of_memory)
        v->asked = load_from_python(text, bytes, &e, t);
    if (!v->asked)
        return t->status ? false : wrong(&e, t);
    return json_is_object(v->asked) || trouble_is(t, 422, NULL, "the body is JSON, but not an object");
}
