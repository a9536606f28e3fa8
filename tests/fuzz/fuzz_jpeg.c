/* fuzz_jpeg.c: any bytes as a picture in memory, as datasets and tar shards give them: RGB of the size that the header
 * promised, or an error with the name; whole and shrunk. Bytes that begin like a PNG go there, past the checksums that
 * stop most of them: what is wanted here are the chunks that say which way up it is. */
#define _GNU_SOURCE                                            /* memfd_create, in fuzz.h */
#include "data/images/exif.h"
#include "data/images/picture.h"
#include "data/images/png_chunks.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    im_ctx *c = im_ctx_new("ref", 1);
    for (int shrink = 1; shrink <= 8; shrink *= 8) {
        im_decode_args args = { .max_pixels = 1 << 16, .shrink = shrink };
        int w = 0, h = 0;
        bool sized = im_picture_size(c, data, size, "fuzz", &args, &w, &h);
        check_error(c, sized);
        im_clear_error(c);
        im_image *i = im_picture_decode(c, data, size, "fuzz", &args);
        check_error(c, i != NULL);
        must(im_ok(c) || !strncmp(im_error(c), "fuzz: ", 6));
        if (i) must(sized && i->channels == 3 && i->width <= w && i->height <= h);
        if (i && shrink == 1) must(i->width == w && i->height == h);
        im_image_free(i);
        im_clear_error(c);
    }
    int turn = im_png_orientation(data, size);
    must(turn >= 1 && turn <= 8);
    im_exif_orientation(data, size);
    im_xmp_orientation(data, size);
    im_ctx_free(c);
    return 0;
}
