/* fuzz_tar.c: any bytes as a tar shard: a set whose pictures lie inside the file and can be read, or an error. Checksums
 * of headers are put right first (POSIX.1-1988, ustar), unless the last bit of the file is set. */
#define _GNU_SOURCE                                            /* memfd_create                                        */
#include "fuzz.h"

#include "data/sets/dataset.h"

enum { BLOCK = 512, MAGIC = 257, SUM = 148 };

static void mend(uint8_t *p, size_t size)
{
    if (size && p[size - 1] & 1) return;
    for (size_t at = 0; size >= BLOCK && at <= size - BLOCK; at += BLOCK) {
        if (memcmp(p + at + MAGIC, "ustar", 5)) continue;
        unsigned sum = 0;
        memset(p + at + SUM, ' ', 8);
        for (size_t i = 0; i < BLOCK; i++) sum += p[at + i];
        snprintf((char *)p + at + SUM, 8, "%06o", sum);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd;
    uint8_t *copy = malloc(size + 1);
    memcpy(copy, data, size);
    mend(copy, size);
    const char *path = memory_file(copy, size, &fd);
    im_ctx *c = im_ctx_new("ref", 1);
    im_dataset *d = im_dataset_open(c, &(im_dataset_args){ .path = path });
    check_error(c, d != NULL);
    if (d) must(d->count > 0 && d->n_shards == 1);
    for (int64_t i = 0; d && i < d->count; i++) {
        const im_sample *s = &d->samples[i];
        size_t n;
        must(s->bytes >= 3 && s->offset <= size && s->bytes <= size - s->offset);
        must(s->label >= -1 && s->label < (d->n_classes ? d->n_classes : 1) && *s->name);
        uint8_t *bytes = im_dataset_read(c, d, i, &n);
        must(bytes && n == s->bytes && !memcmp(bytes, copy + s->offset, n));
        free(bytes);
    }
    im_dataset_free(d);
    im_ctx_free(c);
    close(fd);
    free(copy);
    return 0;
}
