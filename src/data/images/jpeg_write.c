/* jpeg_write.c: JPEG files (ITU-T T.81) through libjpeg-turbo: baseline, colour at full resolution (4:4:4: drawn edges do
 * not bleed), Huffman tables made for the picture, the slow integer DCT, whose values every build of the library computes
 * alike. So one picture gives one file. libjpeg reports through error_exit, which jumps back (as in jpeg.c). */
#include "data/images/jpeg.h"

#include <stdio.h>                                             /* before jpeglib.h, which uses FILE                   */

#include <jpeglib.h>
#include <setjmp.h>
#include <stdlib.h>

enum { FIRST_BYTES = 64 << 10 };

typedef struct work {
    struct jpeg_error_mgr errors;                              /* first: libjpeg knows the work by it                 */
    struct jpeg_destination_mgr to;
    struct jpeg_compress_struct jpeg;
    jmp_buf back;
    im_ctx *c;
    const char *name;
    uint8_t *out; size_t room;                                 /* the file so far, and what fits into it              */
} work;

static void on_error(j_common_ptr jpeg)
{
    work *w = (work *)jpeg->err;
    char message[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, message);
    im_fail(w->c, "%s: cannot be written as a JPEG: %s; write a PNG", w->name, message);
    longjmp(w->back, 1);
}

static void on_message(j_common_ptr jpeg) { (void)jpeg; }

/* The file doubles when it is full: libjpeg says so, with no account of its own of the bytes left. */
static void more_room(work *w)
{
    size_t room = w->room ? 2 * w->room : FIRST_BYTES;
    uint8_t *out = realloc(w->out, room);
    if (!out) {
        im_fail(w->c, "%s: out of memory for %zu bytes; close other programs", w->name, room);
        longjmp(w->back, 1);
    }
    w->to.next_output_byte = out + w->room;
    w->to.free_in_buffer = room - w->room;
    w->out = out;
    w->room = room;
}

static void on_start(j_compress_ptr jpeg) { more_room((work *)jpeg->err); }

static boolean on_full(j_compress_ptr jpeg)
{
    more_room((work *)jpeg->err);
    return TRUE;
}

static void on_end(j_compress_ptr jpeg) { (void)jpeg; }

static bool encode(work *w, const im_image *i, int quality, const im_jpeg_block *blocks, int n)
{
    if (setjmp(w->back)) return false;
    w->jpeg.err = jpeg_std_error(&w->errors);
    w->errors.error_exit = on_error;
    w->errors.output_message = on_message;
    jpeg_create_compress(&w->jpeg);
    w->to = (struct jpeg_destination_mgr){ .init_destination = on_start, .empty_output_buffer = on_full,
                                           .term_destination = on_end };
    w->jpeg.dest = &w->to;
    w->jpeg.image_width = (JDIMENSION)i->width;
    w->jpeg.image_height = (JDIMENSION)i->height;
    w->jpeg.input_components = i->channels;
    w->jpeg.in_color_space = i->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(&w->jpeg);
    jpeg_set_quality(&w->jpeg, quality, TRUE);
    for (int k = 0; k < w->jpeg.num_components; k++)
        w->jpeg.comp_info[k].h_samp_factor = w->jpeg.comp_info[k].v_samp_factor = 1;
    w->jpeg.optimize_coding = TRUE;
    w->jpeg.dct_method = JDCT_ISLOW;
    jpeg_start_compress(&w->jpeg, TRUE);
    for (int k = 0; k < n; k++)
        if (blocks[k].p) jpeg_write_marker(&w->jpeg, JPEG_APP0 + 1, blocks[k].p, (unsigned)blocks[k].bytes);
    while (w->jpeg.next_scanline < w->jpeg.image_height) {
        JSAMPROW row = i->pixels + (size_t)w->jpeg.next_scanline * (size_t)i->width * (size_t)i->channels;
        jpeg_write_scanlines(&w->jpeg, &row, 1);
    }
    jpeg_finish_compress(&w->jpeg);
    return true;
}

uint8_t *im_jpeg_encode(im_ctx *c, const im_image *i, const char *name, int quality, const im_jpeg_block *blocks, int n,
                        size_t *bytes)
{
    work w = { .c = c, .name = name };
    bool ok = im_ok(c) && encode(&w, i, quality, blocks, n);
    *bytes = ok ? w.room - w.to.free_in_buffer : 0;
    jpeg_destroy_compress(&w.jpeg);
    if (ok) return w.out;
    free(w.out);
    return NULL;
}
