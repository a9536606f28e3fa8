/* fuzz_side_json.c: any bytes as an object beside a picture: not understood, or fields that are UTF-8 and of the kind that
 * they say; what jansson takes strictly is understood, and holds the same texts. */
#define _GNU_SOURCE                                            /* memfd_create, in fuzz.h */
#include <jansson.h>

#include "data/files/side_json.h"
#include "data/files/utf8.h"
#include "fuzz.h"

enum { FIELDS = 3 };
static const char *const keys[FIELDS] = { "text", "label", "a" };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    im_ctx *c = im_ctx_new("ref", 1);
    im_side_field f[FIELDS];
    for (int i = 0; i < FIELDS; i++) f[i].key = keys[i];
    size_t at;
    bool ok = im_side_json(c, (const char *)data, size, f, FIELDS, &at);
    must(im_ok(c) && at <= size);
    /* jansson takes {"a":1\0} for JSON: it drops a zero byte behind a number. */
    json_t *strict = memchr(data, '\0', size) ? NULL : json_loadb((const char *)data, size, 0, NULL);
    must(ok || !json_is_object(strict));
    for (int i = 0; i < FIELDS; i++) {
        must((f[i].kind == IM_SIDE_NONE) == !f[i].text);
        if (f[i].kind == IM_SIDE_TEXT || f[i].kind == IM_SIDE_WHOLE) must(im_is_utf8(f[i].text, strlen(f[i].text)));
        const json_t *v = json_object_get(strict, keys[i]);
        if (!json_is_object(strict)) continue;
        must((f[i].kind == IM_SIDE_NONE) == (!v || json_is_null(v)));
        must((f[i].kind == IM_SIDE_TEXT) == json_is_string(v) && (f[i].kind == IM_SIDE_WHOLE) == json_is_integer(v));
        if (json_is_string(v)) must(!strcmp(f[i].text, json_string_value(v)));
    }
    json_decref(strict);
    im_side_free(f, FIELDS);
    im_ctx_free(c);
    return 0;
}
