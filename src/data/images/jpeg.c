/* jpeg.c: JPEG files (ITU-T T.81) through libjpeg-turbo: as Pillow, with the slow integer DCT and smooth chroma, so that
 * values are the same. Grey becomes RGB; CMYK and YCCK are read as Adobe writes them, inverted, and
 *     nk = 255 - k,  r = nk - c nk / 255 (rounded)
 * The bytes are given to libjpeg whole. When it wants more it is told to wait, so a file that ends too early shows as a
 * suspended call, and is refused where Pillow refuses it: libjpeg's own reader would invent grey pixels. Bytes that are
 * wrong but complete are warnings to libjpeg and to Pillow, and here.
 * libjpeg reports through error_exit, which must not return: it jumps back to the setjmp of the call. */
#include "data/images/jpeg.h"

#include <stdio.h>                                             /* before jpeglib.h, which uses FILE */

#include <jpeglib.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "data/images/exif.h"
#include "data/images/exif_comment.h"

enum { MAX_SCANS = 500 };                                      /* a small file may ask for weeks of refinement        */

typedef struct work {
    struct jpeg_error_mgr errors;                              /* first: libjpeg knows the work by it                 */
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct jpeg;
    jmp_buf back;
    im_ctx *c;
    const char *name;
    im_image *image;
    uint8_t *cmyk;                                             /* a row of 4 channels, where the file has them        */
} work;

static void on_error(j_common_ptr jpeg)
{
    work *w = (work *)jpeg->err;
    char message[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, message);
    im_fail(w->c, "%s: is a damaged or unusual JPEG: %s; fetch or export it again", w->name, message);
    longjmp(w->back, 1);
}

static void on_message(j_common_ptr jpeg) { (void)jpeg; }      /* warnings: odd but readable                          */

static void on_source(j_decompress_ptr jpeg) { (void)jpeg; }

static boolean no_more(j_decompress_ptr jpeg)
{
    (void)jpeg;
    return FALSE;
}

static void skip(j_decompress_ptr jpeg, long n)
{
    size_t left = jpeg->src->bytes_in_buffer, step = n > 0 ? (size_t)n : 0;
    if (step > left) step = left;
    jpeg->src->next_input_byte += step;
    jpeg->src->bytes_in_buffer -= step;
}

static void on_progress(j_common_ptr jpeg)
{
    work *w = (work *)jpeg->err;
    if (w->jpeg.input_scan_number <= MAX_SCANS) return;
    im_fail(w->c, "%s: is a JPEG of more than %d scans; export it again", w->name, MAX_SCANS);
    longjmp(w->back, 1);
}

static bool too_short(work *w)
{
    return im_fail(w->c, "%s: is a damaged JPEG: the file ends too early; fetch or export it again", w->name);
}

static void begin(work *w, const void *bytes, size_t n)
{
    w->jpeg.err = jpeg_std_error(&w->errors);
    w->errors.error_exit = on_error;
    w->errors.output_message = on_message;
    jpeg_create_decompress(&w->jpeg);
    w->source = (struct jpeg_source_mgr){ .next_input_byte = bytes, .bytes_in_buffer = n, .init_source = on_source,
                                          .fill_input_buffer = no_more, .skip_input_data = skip,
                                          .resync_to_restart = jpeg_resync_to_restart, .term_source = on_source };
    w->jpeg.src = &w->source;
    w->progress.progress_monitor = on_progress;
    w->jpeg.progress = &w->progress;
}

static bool begins_with(jpeg_saved_marker_ptr m, const char *head, size_t n)
{
    return m->data_length >= n && !memcmp(m->data, head, n);
}

/* The EXIF block, malloc'd: the first one, and further ones go on with it, as Pillow and exiftool have it. NULL: none. */
static uint8_t *exif_of(const work *w, size_t *bytes)
{
    enum { HEAD = 6 };
    uint8_t *all = NULL;
    *bytes = 0;
    for (jpeg_saved_marker_ptr m = w->jpeg.marker_list; m; m = m->next) {
        if (!begins_with(m, "Exif\0", HEAD)) continue;
        size_t skip = all ? HEAD : 0, n = m->data_length - skip;
        uint8_t *more = realloc(all, *bytes + n + 1);
        if (!more) break;
        all = more;
        memcpy(all + *bytes, m->data + skip, n);
        *bytes += n;
    }
    return all;
}

static int orientation_of(const work *w)
{
    static const char xmp[] = "http://ns.adobe.com/xap/1.0/";  /* with its zero byte                                  */
    size_t bytes;
    uint8_t *exif = exif_of(w, &bytes);
    int found = exif ? im_exif_orientation(exif, bytes) : -1;
    free(exif);
    bool by_exif = found >= 0;
    for (jpeg_saved_marker_ptr m = w->jpeg.marker_list; m && !by_exif; m = m->next)
        if (begins_with(m, xmp, sizeof xmp))
            found = im_xmp_orientation(m->data + sizeof xmp, m->data_length - sizeof xmp);
    return found >= 1 && found <= 8 ? found : IM_UPRIGHT;
}

/* Reads up to the first scan, checks the size. */
static bool read_header(work *w, int64_t max_pixels)
{
    jpeg_save_markers(&w->jpeg, JPEG_APP0 + 1, 0xffff);
    if (jpeg_read_header(&w->jpeg, TRUE) != JPEG_HEADER_OK) return too_short(w);
    int64_t pixels = (int64_t)w->jpeg.image_width * w->jpeg.image_height;
    if (pixels > max_pixels)
        return im_fail(w->c, "%s: has %ux%u pixels, more than the %lld that are read; make it smaller", w->name,
                       w->jpeg.image_width, w->jpeg.image_height, (long long)max_pixels);
    int n = w->jpeg.num_components;
    if (n != 1 && n != 3 && n != 4)
        return im_fail(w->c, "%s: is a JPEG of %d channels; wanted 1, 3 or 4", w->name, n);
    return true;
}

/* A turn may move the far end of a side to the front; there a partial pixel would shift the picture. */
static int possible_shrink(const work *w, int shrink, int orientation)
{
    while (shrink > 1 && orientation != IM_UPRIGHT &&
           (w->jpeg.image_width % (unsigned)shrink || w->jpeg.image_height % (unsigned)shrink))
        shrink /= 2;
    return shrink;
}

static uint8_t times(uint8_t a, uint8_t b)                     /* a b / 255, rounded                                  */
{
    unsigned t = (unsigned)a * b + 128;
    return (uint8_t)((t + (t >> 8)) >> 8);
}

/* As stored, c and k inverted: nk = k, and c of the formula is 255 - c. */
static void rgb_from_cmyk(const uint8_t *from, uint8_t *to, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, from += 4, to += 3)
        for (int k = 0; k < 3; k++) to[k] = (uint8_t)(from[3] - times((uint8_t)(255 - from[k]), from[3]));
}

static bool read_rows(work *w)
{
    size_t width = (size_t)w->image->width;
    while (w->jpeg.output_scanline < w->jpeg.output_height) {
        uint8_t *to = w->image->pixels + 3 * width * w->jpeg.output_scanline;
        JSAMPROW row = w->cmyk ? w->cmyk : to;
        if (jpeg_read_scanlines(&w->jpeg, &row, 1) != 1) return too_short(w);
        if (w->cmyk) rgb_from_cmyk(w->cmyk, to, width);
    }
    jpeg_finish_decompress(&w->jpeg);                          /* all rows are there: no matter if the end is missing */
    return true;
}

/* Everything between setjmp and its end; *w holds what a jump must not lose. */
static bool decode(work *w, const void *bytes, size_t n, int64_t max_pixels, int shrink, int *orientation)
{
    if (setjmp(w->back)) return false;
    begin(w, bytes, n);
    if (!read_header(w, max_pixels)) return false;
    *orientation = orientation_of(w);
    bool cmyk = w->jpeg.num_components == 4;
    w->jpeg.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    w->jpeg.scale_num = 1;
    w->jpeg.scale_denom = (unsigned)possible_shrink(w, shrink, *orientation);
    if (!jpeg_start_decompress(&w->jpeg)) return too_short(w);
    w->image = im_image_new(w->c, (int)w->jpeg.output_width, (int)w->jpeg.output_height, 3);
    if (w->image && cmyk && !(w->cmyk = malloc(4 * (size_t)w->image->width)))
        return im_fail(w->c, "%s: out of memory; close other programs", w->name);
    return w->image && read_rows(w);
}

im_image *im_jpeg_decode(im_ctx *c, const void *bytes, size_t n, const char *name, int64_t max_pixels, int shrink,
                         int *orientation)
{
    work w = { .c = c, .name = name };
    bool ok = decode(&w, bytes, n, max_pixels, shrink, orientation);
    jpeg_destroy_decompress(&w.jpeg);
    free(w.cmyk);
    if (ok) return w.image;
    im_image_free(w.image);
    return NULL;
}

static bool header(work *w, const void *bytes, size_t n, int64_t max_pixels)
{
    if (setjmp(w->back)) return false;
    begin(w, bytes, n);
    return read_header(w, max_pixels);
}

bool im_jpeg_header(im_ctx *c, const void *bytes, size_t n, const char *name, int64_t max_pixels, int *width, int *height,
                    int *orientation)
{
    work w = { .c = c, .name = name };
    bool ok = header(&w, bytes, n, max_pixels);
    if (ok) {
        *width = (int)w.jpeg.image_width;
        *height = (int)w.jpeg.image_height;
        *orientation = orientation_of(&w);
    }
    jpeg_destroy_decompress(&w.jpeg);
    return ok;
}

char *im_jpeg_comment(im_ctx *c, const void *bytes, size_t n, const char *name)
{
    work w = { .c = c, .name = name };
    bool ok = im_ok(c) && header(&w, bytes, n, INT64_MAX);
    size_t length;
    uint8_t *exif = ok ? exif_of(&w, &length) : NULL;
    char *comment = exif ? im_exif_comment(c, exif, length) : NULL;
    free(exif);
    jpeg_destroy_decompress(&w.jpeg);
    return comment;
}
