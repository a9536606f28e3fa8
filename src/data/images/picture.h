/* picture.h: JPEG and PNG files as training and image to image see them: 8-bit RGB, turned as their EXIF data says.
 *
 * The bytes of a file (from a folder, a tar shard, a cache) become what Pillow makes of them with
 *     ImageOps.exif_transpose(Image.open(file)).convert("RGB")
 * value by value: any depth of colour, palettes, grey, alpha dropped, CMYK and YCCK inverted as Adobe writes them.
 * JPEG or PNG is told by the content, never by the name. Every error names the picture; a picture that Pillow refuses
 * (cut short, damaged, empty, something else) is refused; so are a PNG with a wrong checksum and a JPEG of more than 500
 * scans, which Pillow takes. A PNG that lacks its end is read while all its pixels are there. A damaged EXIF block turns
 * nothing (Pillow may refuse it). 16-bit grey that Pillow would show white gives a warning.
 * Several threads decode at once, each with its own im_ctx. Used by datasets, caches, `imago data` and im_picture_read. */
#ifndef IM_PICTURE_H
#define IM_PICTURE_H

#include "imago.h"

enum {
    IM_PICTURE_MAX_PIXELS = 100000000,                         /* default limit: 300 MB of RGB                        */
    IM_PICTURE_MAX_SHRINK = 8
};

typedef struct im_decode_args {
    int64_t max_pixels;                                        /* width * height above it is an error, said before    */
                                                               /* memory is asked for; 0: IM_PICTURE_MAX_PIXELS       */
    int shrink;                                                /* 0 or 1: full size. 2, 4, 8: a JPEG may be decoded   */
                                                               /* at 1/2, 1/4, 1/8 of its size, sides rounded up, by  */
                                                               /* leaving out high frequencies; see im_augment_shrink */
} im_decode_args;

/* The picture, owned by the caller (im_image_free), or NULL with an error. name: for errors, "train.tar: n01/7.jpg".
 * args NULL: defaults. What shrink does to a picture: a PNG is never shrunk; a turned JPEG is shrunk only as far as its
 * sides divide evenly; the size found tells which happened: ceil(width / s) x ceil(height / s) for an s of 1, 2, 4, 8. */
im_image *im_picture_decode(im_ctx *c, const void *bytes, size_t n, const char *name, const im_decode_args *args);

/* Size as im_picture_decode would give it (after the turn, not shrunk), from the header alone. Checks the pixel limit of
 * args as well; damage further on is found by decoding only. */
bool im_picture_size(im_ctx *c, const void *bytes, size_t n, const char *name, const im_decode_args *args, int *width,
                     int *height);

/* What im_picture_text finds in a file, in its bytes. */
char *im_picture_text_in(im_ctx *c, const void *bytes, size_t n, const char *name, const char *key);

/* The bytes of the file that im_picture_write writes, malloc'd; NULL with an error, which begins with name. */
uint8_t *im_picture_encode(im_ctx *c, const im_image *i, const char *name, const im_picture_how *how, size_t *bytes);

enum { IM_JPEG_QUALITY = 95 };                                 /* where an im_picture_how says none                   */
/* By how the name ends: .png, .jpg, .jpeg, in letters of any size; else false. */
bool im_picture_format_of(const char *path, im_picture_format *out);
/* Whether a picture can carry its texts, before it is made: those of a JPEG have 64 kB for all. path: for the error. */
bool im_picture_texts_fit(im_ctx *c, const char *path, const im_picture_how *how);
/* What a JPEG of the picture shows, with as much lost as there: to compare with what was read from one. */
im_image *im_picture_as_written(im_ctx *c, const im_image *i, int quality);

/* Could these bytes be a picture by their first ones? "JPEG", "PNG", or NULL. Needs 8 bytes. */
const char *im_picture_kind(const void *bytes, size_t n);
/* What else they are: "a WebP", "an AVIF" ...; NULL: nothing known. Needs 12 bytes. */
const char *im_picture_other(const void *bytes, size_t n);

#endif
