/* fuzz_exif.c: any bytes as an EXIF block: an orientation, and a comment that is UTF-8 and comes back whole from a block
 * that we write; and as a comment, in which texts of any key are looked for. */
#define _GNU_SOURCE                                            /* memfd_create, in fuzz.h */
#include "data/files/utf8.h"
#include "data/images/exif.h"
#include "data/images/exif_comment.h"
#include "fuzz.h"

static void write_and_read(im_ctx *c, const char *comment)
{
    size_t n;
    uint8_t *block = im_exif_comment_new(c, "fuzz", comment, &n);
    check_error(c, block != NULL);
    char *again = block ? im_exif_comment(c, block, n) : NULL;
    /* A mark of UTF-16 in front is taken for one; text without a zero in its high bytes tells no order. */
    if (block && (uint8_t)comment[0] < 128 && *comment) must(again != NULL);
    if (again) must(im_is_utf8(again, strlen(again)));
    bool ascii = true;
    for (const char *p = comment; *p; p++) ascii = ascii && (uint8_t)*p < 128;
    if (block && ascii) must(again && !strcmp(again, comment));
    free(again);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = { "parameters", "imago", "a" };
    im_ctx *c = im_ctx_new("ref", 1);
    im_exif_orientation(data, size);
    char *comment = im_exif_comment(c, data, size);
    must(im_ok(c));
    if (comment) {
        must(im_is_utf8(comment, strlen(comment)));
        write_and_read(c, comment);
        im_clear_error(c);
    }
    free(comment);
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) free(im_comment_text(c, text, keys[i]));
    must(im_ok(c));
    free(text);
    im_ctx_free(c);
    return 0;
}
