/* png_chunks.c: a PNG file (ISO/IEC 15948) is a signature of 8 bytes and chunks { length, kind, data, CRC-32 of kind and
 * data }, the last of kind IEND. Here the chunks are walked before libpng is asked, for three reasons: libpng asks for all
 * the memory that a length promises; it refuses a file without its end, which Pillow takes while all pixels are there; and
 * it holds all CRCs for equal, where Pillow asks for those before the pixels only. A wrong CRC of pixels does no harm where
 * the zlib stream in these chunks is whole, which ends with a checksum of its own (Adler-32, RFC 1950).
 * EXIF is a chunk eXIf, or hex digits in a text (older ImageMagick); XMP is a text "XML:com.adobe.xmp". */
#include "data/images/png_chunks.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "data/images/exif.h"

enum { SIGNATURE = 8, HEAD = 8, CRC = 4, MAX_TEXT = 16 << 20 };

typedef struct chunk { const char *kind; const uint8_t *data; size_t bytes; } chunk;

static size_t length_at(const uint8_t *p) { return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]; }

/* Four letters, digits or underscores: what Pillow takes for the kind of a chunk. */
static bool is_kind(const uint8_t *p)
{
    for (int i = 0; i < 4; i++)
        if (!((p[i] | 32) >= 'a' && (p[i] | 32) <= 'z') && !(p[i] >= '0' && p[i] <= '9') && p[i] != '_') return false;
    return true;
}

/* The chunk at *at, which moves behind it; false where there is none that is whole. */
static bool next_chunk(const uint8_t *p, size_t n, size_t *at, chunk *out)
{
    if (n - *at < HEAD + CRC || !is_kind(p + *at + 4)) return false;
    size_t bytes = length_at(p + *at);
    if (bytes > n - *at - HEAD - CRC) return false;
    *out = (chunk){ (const char *)p + *at + 4, p + *at + HEAD, bytes };
    *at += HEAD + bytes + CRC;
    return true;
}

static bool is_a(const chunk *k, const char *kind) { return !memcmp(k->kind, kind, 4); }

static bool crc_is_right(const chunk *k)
{
    return crc32(0, (const Bytef *)k->kind, (uInt)(4 + k->bytes)) == (uLong)length_at(k->data + k->bytes);
}

/* Do the pixels, all IDAT chunks one after the other, end in the checksum that zlib makes of them? */
static bool stream_is_whole(const uint8_t *p, size_t n)
{
    uint8_t out[4096];
    z_stream z = { .zalloc = NULL };
    int rc = inflateInit(&z);
    chunk k;
    for (size_t at = SIGNATURE; rc == Z_OK && next_chunk(p, n, &at, &k); ) {
        if (!is_a(&k, "IDAT")) continue;
        z.next_in = (Bytef *)(uintptr_t)k.data;
        z.avail_in = (uInt)k.bytes;
        for (bool more = true; rc == Z_OK && more; more = z.avail_in || !z.avail_out) {
            z.next_out = out;
            z.avail_out = sizeof out;
            rc = inflate(&z, Z_NO_FLUSH);
            if (rc == Z_BUF_ERROR) {                           /* nothing left of this chunk                          */
                rc = Z_OK;
                break;
            }
        }
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END;
}

/* ---------------------------------------------------------------- files that lack their end */

static uint8_t *put_chunk(uint8_t *to, const uint8_t *kind, const uint8_t *data, size_t bytes)
{
    memcpy(to + 4, kind, 4);
    if (bytes) memcpy(to + HEAD, data, bytes);
    uint32_t crc = (uint32_t)crc32(0, to + 4, (uInt)(4 + bytes));
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(bytes >> (24 - 8 * i));
        to[HEAD + bytes + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    return to + HEAD + bytes + CRC;
}

static bool damaged(im_ctx *c, const char *name, const char *kind)
{
    return im_fail(c, "%s: is a damaged PNG: the checksum of its %.4s is wrong; fetch or export it again", name, kind);
}

typedef struct walk {                                          /* over the chunks up to the end of the picture        */
    size_t at;                                                 /* behind the last one that is whole                   */
    bool pixels, doubtful;                                     /* there are some; of one of them the CRC is wrong     */
    bool over, whole;                                          /* an end was there; and nothing is to be mended       */
} walk;

/* Of an animation (APNG) the first picture counts, which is over where the next one begins. */
static bool walk_chunks(im_ctx *c, const char *name, const uint8_t *p, size_t n, walk *w)
{
    chunk k;
    bool frames = false;
    *w = (walk){ .at = SIGNATURE };
    for (size_t next = w->at; next_chunk(p, n, &next, &k); w->at = next) {
        bool right = crc_is_right(&k);
        w->whole = is_a(&k, "IEND") && !k.bytes && right;
        w->over = is_a(&k, "IEND") || (frames && w->pixels && is_a(&k, "fcTL"));
        if (w->over) break;
        w->pixels = w->pixels || is_a(&k, "IDAT");
        w->doubtful = w->doubtful || (!right && is_a(&k, "IDAT"));
        frames = frames || (is_a(&k, "acTL") && k.bytes >= 4 && length_at(k.data) > 1);
        if (!right && !w->pixels) return damaged(c, name, k.kind);
    }
    return !w->doubtful || stream_is_whole(p, n) || damaged(c, name, "IDAT");
}

bool im_png_mend(im_ctx *c, const char *name, const uint8_t *p, size_t n, im_png_file *out)
{
    walk w;
    *out = (im_png_file){ p, n, NULL };
    if (!walk_chunks(c, name, p, n, &w) || w.whole) return im_ok(c);
    /* What is left begins with the head of a chunk, or is the rest of one, or zeros, or nothing. */
    size_t left = n - w.at;
    bool head = !w.over && left >= HEAD && is_kind(p + w.at + 4) && memcmp(p + w.at + 4, "IEND", 4);
    size_t promised = head ? length_at(p + w.at) : 0, have = head && promised > left - HEAD ? left - HEAD : promised;
    bool cut_pixels = head && !memcmp(p + w.at + 4, "IDAT", 4);
    if ((!w.pixels && !cut_pixels) || (have < promised && !cut_pixels))
        return im_fail(c, "%s: is a damaged PNG: the file ends too early; fetch or export it again", name);
    out->copy = malloc(w.at + HEAD + have + CRC + HEAD + CRC);
    if (!out->copy) return im_fail(c, "%s: out of memory; close other programs", name);
    memcpy(out->copy, p, w.at);
    uint8_t *end = out->copy + w.at;
    if (head) end = put_chunk(end, p + w.at + 4, p + w.at + HEAD, have);
    end = put_chunk(end, (const uint8_t *)"IEND", NULL, 0);
    out->p = out->copy;
    out->n = (size_t)(end - out->copy);
    return true;
}

/* ---------------------------------------------------------------- which way up */

/* Text of a tEXt, zTXt or iTXt chunk whose key is known: after the key's zero byte. *owned is to be freed. */
static const uint8_t *chunk_text(const uint8_t *p, size_t n, const char *kind, size_t *bytes, uint8_t **owned)
{
    bool packed = kind[0] == 'z';
    if (kind[0] == 'i') {                                      /* packed?, method, language 0, translated key 0       */
        if (n < 2) return NULL;
        packed = p[0];
        p += 1;
        n -= 1;
    }
    if (kind[0] != 't') {
        if (n < 1 || (packed && p[0])) return NULL;
        p += 1;
        n -= 1;
    }
    for (int i = 0; kind[0] == 'i' && i < 2; i++) {
        const uint8_t *end = memchr(p, 0, n);
        if (!end) return NULL;
        n -= (size_t)(end + 1 - p);
        p = end + 1;
    }
    *bytes = n;
    if (!packed) return p;
    for (size_t room = 4 * n + 4096; room <= MAX_TEXT; room *= 4) {
        uLongf got = room;
        uint8_t *to = malloc(room);
        int rc = to ? uncompress(to, &got, p, n) : Z_MEM_ERROR;
        if (rc == Z_OK) {
            *bytes = got;
            return *owned = to;
        }
        free(to);
        if (rc != Z_BUF_ERROR) return NULL;
    }
    return NULL;
}

/* "\nexif\n      78\n45786966...": hex digits after the third line break. */
static int raw_profile_orientation(const uint8_t *p, size_t n)
{
    for (int i = 0; i < 3; i++) {
        const uint8_t *line = memchr(p, '\n', n);
        if (!line) return -1;
        n -= (size_t)(line + 1 - p);
        p = line + 1;
    }
    uint8_t *bytes = malloc(n / 2 + 1);
    size_t digits = 0;
    for (size_t i = 0; bytes && i < n; i++) {
        int c = p[i] | 32, v = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0) continue;
        bytes[digits / 2] = (uint8_t)(digits % 2 ? bytes[digits / 2] << 4 | v : v);
        digits++;
    }
    int found = bytes ? im_exif_orientation(bytes, digits / 2) : -1;
    free(bytes);
    return found;
}

/* The orientation in a text chunk of `key`, or `before`. Of several the last counts, as in Pillow. */
static int text_orientation(const chunk *t, const char *key, int (*read)(const uint8_t *p, size_t n), int before)
{
    size_t k = strlen(key) + 1, bytes;
    if (t->bytes < k || memcmp(t->data, key, k)) return before;
    uint8_t *owned = NULL;
    const uint8_t *text = chunk_text(t->data + k, t->bytes - k, t->kind, &bytes, &owned);
    int found = text ? read(text, bytes) : -1;
    free(owned);
    return found;
}

int im_png_orientation(const uint8_t *p, size_t n)
{
    int exif = -1, raw = -1, xmp = -1;
    bool has_exif = false;
    chunk k;
    for (size_t at = SIGNATURE; n >= SIGNATURE && next_chunk(p, n, &at, &k) && !is_a(&k, "IEND"); ) {
        if (is_a(&k, "eXIf")) {
            exif = im_exif_orientation(k.data, k.bytes);
            has_exif = true;
        } else if (!memcmp(k.kind + 1, "EXt", 3) || !memcmp(k.kind + 1, "TXt", 3)) {
            raw = text_orientation(&k, "Raw profile type exif", raw_profile_orientation, raw);
            xmp = text_orientation(&k, "XML:com.adobe.xmp", im_xmp_orientation, xmp);
        }
    }
    int found = has_exif ? exif : raw;
    if (found < 0) found = xmp;
    return found >= 1 && found <= 8 ? found : IM_UPRIGHT;
}
