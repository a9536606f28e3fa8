/* fuzz_png.c: any bytes as a picture's file: a picture of RGB or an error; the same for its texts. Checksums are not
 * known to the fuzzer, so they are put right before the file is read (ISO/IEC 15948, annex D gives the CRC). */
#define _GNU_SOURCE                                            /* memfd_create */
#include "fuzz.h"

/* CRC-32 of n bytes. */
static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc;
}

/* Sets the CRC of every chunk that is whole; with the last bit of the file set, the file stays as it is. */
static void mend(uint8_t *p, size_t size)
{
    if (size && p[size - 1] & 1) return;
    for (size_t at = 8; size >= 12 && at <= size - 12; ) {
        size_t n = (size_t)p[at] << 24 | (size_t)p[at + 1] << 16 | (size_t)p[at + 2] << 8 | p[at + 3];
        if (n > size - at - 12) return;
        uint32_t crc = crc32_of(p + at + 4, n + 4);
        for (int i = 0; i < 4; i++) p[at + 8 + n + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd;
    uint8_t *copy = malloc(size + 1);
    memcpy(copy, data, size);
    mend(copy, size);
    if (size >= 24 && (copy[16] | copy[17] | copy[18] | copy[20] | copy[21] | copy[22])) {   /* large ones are slow */
        free(copy);
        return 0;
    }
    const char *path = memory_file(copy, size, &fd);
    im_ctx *c = im_ctx_new("ref", 1);
    im_image *i = im_picture_read(c, path);
    check_error(c, i != NULL);
    if (i) must(i->channels == 3 && i->width > 0 && i->height > 0);
    im_image_free(i);
    im_clear_error(c);
    char *text = im_picture_text(c, path, "parameters");
    if (text) must(im_ok(c) && strlen(text) < 100000000);
    free(text);
    im_ctx_free(c);
    close(fd);
    free(copy);
    return 0;
}
