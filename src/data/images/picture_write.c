/* picture_write.c: pictures out: PNG with its texts in chunks (png.c), JPEG with them in the comment of its EXIF block,
 * in the way of the AUTOMATIC1111 web interface (exif_comment.c); both with a mark of their origin (mark.c). Written beside
 * the name and renamed. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/files/file.h"
#include "data/images/exif_comment.h"
#include "data/images/jpeg.h"
#include "data/images/mark.h"
#include "data/images/picture.h"
#include "data/images/png.h"

bool im_picture_format_of(const char *path, im_picture_format *out)
{
    static const struct { const char *ending; im_picture_format format; } known[] = {
        { ".png", IM_PNG }, { ".jpg", IM_JPEG }, { ".jpeg", IM_JPEG }
    };
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t k = strlen(known[i].ending);
        if (n < k || strcasecmp(path + n - k, known[i].ending)) continue;
        *out = known[i].format;
        return true;
    }
    return false;
}

/* The EXIF block of a JPEG's texts; NULL without an error where there are none. */
static uint8_t *make_exif(im_ctx *c, const char *path, const im_picture_how *how, size_t *bytes)
{
    *bytes = 0;
    if (how->n_texts < 1) return NULL;
    char *comment = im_comment_of_texts(c, how->texts, how->n_texts);
    uint8_t *exif = comment ? im_exif_comment_new(c, path, comment, bytes) : NULL;
    free(comment);
    return exif;
}

bool im_picture_texts_fit(im_ctx *c, const char *path, const im_picture_how *how)
{
    size_t bytes;
    if (im_ok(c) && how->format == IM_JPEG) free(make_exif(c, path, how, &bytes));
    return im_ok(c);
}

/* The texts of a PNG: those given, and behind them its mark. malloc'd; NULL with an error. */
static im_text *texts_of_png(im_ctx *c, const im_picture_how *how, int *n)
{
    int given = how->n_texts > 0 ? how->n_texts : 0;
    const char *xmp = im_mark_xmp(how->mark);
    im_text *texts = calloc((size_t)given + 1, sizeof *texts);
    if (!texts) {
        im_fail(c, "out of memory for the texts of a picture");
        return NULL;
    }
    if (given) memcpy(texts, how->texts, (size_t)given * sizeof *texts);
    if (xmp) texts[given] = (im_text){ IM_XMP_KEY, xmp };
    *n = given + (xmp != NULL);
    return texts;
}

static uint8_t *encode_png(im_ctx *c, const im_image *i, const char *name, const im_picture_how *how, size_t *bytes)
{
    int n;
    im_text *texts = texts_of_png(c, how, &n);
    uint8_t *file = texts ? im_png_encode(c, i, name, texts, n, bytes) : NULL;
    free(texts);
    return file;
}

uint8_t *im_picture_encode(im_ctx *c, const im_image *i, const char *name, const im_picture_how *how, size_t *bytes)
{
    im_jpeg_block blocks[2] = { { NULL, 0 } };
    int quality = how->quality ? how->quality : IM_JPEG_QUALITY;
    if (!im_ok(c)) return NULL;
    if (how->format == IM_PNG) return encode_png(c, i, name, how, bytes);
    if (quality < 1 || quality > 100) im_fail(c, "%s: the quality is %d; wanted 1 to 100", name, quality);
    uint8_t *exif = im_ok(c) ? make_exif(c, name, how, &blocks[0].bytes) : NULL, *file = NULL;
    uint8_t *xmp = im_ok(c) ? im_mark_block(c, how->mark, &blocks[1].bytes) : NULL;
    blocks[0].p = exif;
    blocks[1].p = xmp;
    if (im_ok(c)) file = im_jpeg_encode(c, i, name, quality, blocks, 2, bytes);
    free(exif);
    free(xmp);
    return file;
}

bool im_picture_write(im_ctx *c, const char *path, const im_image *i, const im_picture_how *how, bool force)
{
    static const im_picture_how plain = { .format = IM_PNG };
    if (!im_ok(c)) return false;
    if (!i) return im_fail(c, "%s: there is no picture to write", path);
    if (!how) how = &plain;
    if (how->format == IM_PNG && !how->mark) return im_png_write(c, path, i, how->texts, how->n_texts, force);
    size_t bytes;
    uint8_t *file = im_may_write(c, path, force) ? im_picture_encode(c, i, path, how, &bytes) : NULL;
    bool ok = file && im_write_file(c, path, file, bytes, force);
    free(file);
    return ok;
}

im_image *im_picture_as_written(im_ctx *c, const im_image *i, int quality)
{
    size_t bytes;
    const im_picture_how how = { .format = IM_JPEG, .quality = quality };
    uint8_t *file = im_ok(c) ? im_picture_encode(c, i, "the picture", &how, &bytes) : NULL;
    im_image *again = file ? im_picture_decode(c, file, bytes, "the picture", NULL) : NULL;
    free(file);
    return again;
}
