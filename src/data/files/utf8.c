/* utf8.c: see utf8.h. */
#include "data/files/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* How many bytes at the beginning are UTF-8. */
static size_t valid_bytes(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; ) {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &code);
        if (n <= 0) return i;
        i += (size_t)n;
    }
    return bytes;
}

bool im_is_utf8(const char *text, size_t bytes) { return valid_bytes(text, bytes) == bytes; }

bool im_utf8_check(im_ctx *c, const char *what, const char *text, size_t bytes)
{
    size_t i = valid_bytes(text, bytes);
    return i == bytes || im_fail(c, "%s: byte %zu (0x%02x) is not UTF-8; write it as UTF-8", what, i, (uint8_t)text[i]);
}

char *im_utf8_from_latin1(im_ctx *c, const char *text, size_t bytes)
{
    char *out = malloc(2 * bytes + 1), *p = out;
    if (!out) im_fail(c, "out of memory for a text of %zu bytes; close other programs", bytes);
    for (size_t i = 0; out && i < bytes; i++) p += utf8proc_encode_char((uint8_t)text[i], (uint8_t *)p);
    if (out) *p = 0;
    return out;
}

char *im_utf8_to_latin1(im_ctx *c, const char *text, size_t bytes)
{
    char *out = malloc(bytes + 1), *p = out;
    if (!out) im_fail(c, "out of memory for a text of %zu bytes; close other programs", bytes);
    for (size_t i = 0; out && i < bytes; ) {
        utf8proc_int32_t u;
        i += (size_t)utf8proc_iterate((const uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &u);
        if (u > 255) {
            free(out);
            return NULL;
        }
        *p++ = (char)u;
    }
    if (out) *p = 0;
    return out;
}

char *im_utf8_clean(im_ctx *c, const char *text)
{
    size_t bytes = strlen(text);
    char *out = malloc(3 * bytes + 1), *p = out;               /* U+FFFD has three bytes                              */
    if (!out) im_fail(c, "out of memory for a text of %zu bytes; close other programs", bytes);
    for (size_t i = 0; out && i < bytes; ) {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &code);
        p += utf8proc_encode_char(n > 0 ? code : 0xfffd, (uint8_t *)p);
        i += n > 0 ? (size_t)n : 1;
    }
    if (out) *p = 0;
    return out;
}
