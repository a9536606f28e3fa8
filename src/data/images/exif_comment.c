/* exif_comment.c: see exif_comment.h. A block is a TIFF file, here with the bytes of numbers from high to low:
 *     "MM\0*" 8     table 0: one entry, 0x8769, the offset of the EXIF table     table EXIF: one entry, 0x9286, the comment
 * The comment begins with eight bytes that name its code: "UNICODE\0" is UTF-16 (Exif 2.32, 4.6.5). The standard leaves the
 * order of its bytes open; piexif, with which that interface reads and writes, takes the high one first always, others that
 * of the block. What is written here is both. What is read goes by a mark in front or by where the zero bytes are. */
#include "data/images/exif_comment.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "data/files/file.h"
#include "data/files/utf8.h"
#include "data/images/tiff.h"

enum { TAG_EXIF = 0x8769, TAG_COMMENT = 0x9286, LONG = 4, UNDEFINED = 7, CODE = 8 };

/* ---------------------------------------------------------------- writing */

static uint8_t *put(uint8_t *to, uint32_t v, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) *to++ = (uint8_t)(v >> 8 * i);
    return to;
}

static uint8_t *put_entry(uint8_t *to, uint32_t tag, uint32_t type, uint32_t count, uint32_t value)
{
    return put(put(put(put(to, tag, 2), type, 2), count, 4), value, 4);
}

/* UTF-16 of valid UTF-8; returns its end. */
static uint8_t *put_utf16(uint8_t *to, const char *text)
{
    utf8proc_int32_t code;
    for (const uint8_t *p = (const uint8_t *)text; *p; ) {
        p += utf8proc_iterate(p, -1, &code);
        uint32_t v = (uint32_t)code;
        if (v >= 0x10000) {
            to = put(to, 0xd800 + ((v - 0x10000) >> 10), 2);
            v = 0xdc00 + ((v - 0x10000) & 0x3ff);
        }
        to = put(to, v, 2);
    }
    return to;
}

uint8_t *im_exif_comment_new(im_ctx *c, const char *name, const char *text, size_t *bytes)
{
    static const uint8_t head[] = "Exif\0\0MM\0*\0\0\0\x08";
    enum { TABLE = 2 + 12 + 4, BEFORE = 8 + 2 * TABLE };       /* BEFORE: of the comment, from "MM"                   */
    size_t n = strlen(text);
    if (!im_utf8_check(c, name, text, n)) return NULL;
    uint8_t *block = malloc(6 + BEFORE + CODE + 2 * n);
    if (!block) {
        im_fail(c, "%s: out of memory; close other programs", name);
        return NULL;
    }
    uint8_t *comment = block + 6 + BEFORE, *end = put_utf16(comment + CODE, text), *to = block + 14;
    memcpy(block, head, 14);
    to = put(put_entry(put(to, 1, 2), TAG_EXIF, LONG, 1, 8 + TABLE), 0, 4);
    put(put_entry(put(to, 1, 2), TAG_COMMENT, UNDEFINED, (uint32_t)(end - comment), BEFORE), 0, 4);
    memcpy(comment, "UNICODE\0", CODE);
    *bytes = (size_t)(end - block);
    if (*bytes <= IM_EXIF_MAX_BYTES) return block;
    im_fail(c, "%s: its metadata takes %zu bytes, and a JPEG holds at most %d; write a PNG, or shorten the "
               "prompt", name, *bytes, IM_EXIF_MAX_BYTES);
    free(block);
    return NULL;
}

/* ---------------------------------------------------------------- reading */

/* Which byte of a pair comes first? English text has a zero in nearly every high one. */
static bool high_byte_first(const uint8_t *p, size_t n)
{
    size_t zeros[2] = { 0, 0 };
    for (size_t i = 0; i + 1 < n; i += 2)
        for (int k = 0; k < 2; k++) zeros[k] += !p[i + (size_t)k];
    return zeros[0] >= zeros[1];
}

static char *from_utf16(im_ctx *c, const uint8_t *p, size_t n)
{
    bool high = high_byte_first(p, n);
    if (n >= 2 && ((p[0] == 0xfe && p[1] == 0xff) || (p[0] == 0xff && p[1] == 0xfe))) {
        high = p[0] == 0xfe;
        p += 2;
        n -= 2;
    }
    char *text = malloc(n / 2 * 3 + 1), *to = text;            /* a unit of 16 bits is at most three bytes            */
    if (!text) im_fail(c, "out of memory for a text of %zu bytes; close other programs", n);
    for (size_t i = 0; text && i + 1 < n; i += 2) {
        uint32_t v = (uint32_t)p[i + !high] << 8 | p[i + high], low = 0;
        if (!v) break;
        if (v >= 0xd800 && v < 0xdc00 && i + 3 < n) low = (uint32_t)p[i + 2 + !high] << 8 | p[i + 2 + high];
        if (low >= 0xdc00 && low < 0xe000) {
            v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
            i += 2;
        } else if (v >= 0xd800 && v < 0xe000) v = 0xfffd;      /* half of a pair                                      */
        to += utf8proc_encode_char((utf8proc_int32_t)v, (uint8_t *)to);
    }
    if (text) *to = '\0';
    return text;
}

char *im_exif_comment(im_ctx *c, const uint8_t *p, size_t n)
{
    im_tiff t;
    size_t bytes = 0;
    const uint8_t *table = im_tiff_open(&t, p, n) ? im_tiff_entry(&t, t.first, TAG_EXIF) : NULL;
    const uint8_t *entry = table ? im_tiff_entry(&t, im_tiff_number(&t, table + 8, 4), TAG_COMMENT) : NULL;
    const uint8_t *comment = entry ? im_tiff_bytes(&t, entry, &bytes) : NULL;
    if (!comment || bytes < CODE) return NULL;
    const char *text = (const char *)comment + CODE;
    size_t left = strnlen(text, bytes - CODE);
    if (!memcmp(comment, "UNICODE\0", CODE)) return from_utf16(c, comment + CODE, bytes - CODE);
    if (memcmp(comment, "ASCII\0\0\0", CODE) && memcmp(comment, "\0\0\0\0\0\0\0\0", CODE)) return NULL;
    return im_is_utf8(text, left) ? im_copy_text(c, text, left) : im_utf8_from_latin1(c, text, left);
}

/* ---------------------------------------------------------------- several texts in one */

char *im_comment_of_texts(im_ctx *c, const im_text *texts, int n)
{
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    bool first = true, ok = f != NULL;
    for (int pass = 0; pass < 2 && ok; pass++)                 /* the text of the interface, then the others          */
        for (int i = 0; i < n && ok; i++) {
            if (!strcmp(texts[i].key, "parameters") != !pass) continue;
            json_t *text = pass ? json_string(texts[i].value) : NULL;
            char *quoted = pass ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
            ok = !pass || quoted;
            if (ok && !pass) fputs(texts[i].value, f);
            else if (ok) fprintf(f, "%s%s: %s", first ? "" : ", ", texts[i].key, quoted);
            first = false;
            free(quoted);
            json_decref(text);
        }
    ok = f && !fclose(f) && ok;
    if (ok) return out;
    im_fail(c, "out of memory for the texts of a picture, or one is not UTF-8");
    free(out);
    return NULL;
}

/* The end of a value at p, a text in quotes or whatever comes up to a comma. */
static const char *value_end(const char *p)
{
    if (*p != '"') return p + strcspn(p, ",");
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1]) p++;
    return *p ? p + 1 : p;
}

char *im_comment_text(im_ctx *c, const char *comment, const char *key)
{
    if (!strcmp(key, "parameters")) return im_copy_text(c, comment, strlen(comment));
    const char *line = strrchr(comment, '\n'), *end;
    size_t n = strlen(key);
    for (const char *p = line ? line + 1 : comment; *p; p = *end ? end + 1 : end) {
        p += strspn(p, " ");
        const char *colon = p + strcspn(p, ":,");
        const char *value = *colon == ':' ? colon + 1 + strspn(colon + 1, " ") : colon;
        end = value_end(value);
        if (*colon != ':' || (size_t)(colon - p) != n || strncmp(p, key, n) || *value != '"') continue;
        json_t *text = json_loadb(value, (size_t)(end - value), JSON_DECODE_ANY, NULL);
        char *found = json_is_string(text) ? im_copy_text(c, json_string_value(text), json_string_length(text)) : NULL;
        json_decref(text);
        if (found) return found;
    }
    return NULL;
}
