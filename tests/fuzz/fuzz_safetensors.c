/* fuzz_safetensors.c: any bytes as a safetensors file: opened or refused; every byte of every tensor can be read,
 * floating ones as f32 of every size that is asked for; names without their wrappers are found again. */
#define _GNU_SOURCE                                            /* memfd_create */
#include "fuzz.h"

#include "data/files/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd;
    im_ctx *c = im_ctx_new("ref", 1);
    im_safetensors *s = im_st_open(c, memory_file(data, size, &fd));
    check_error(c, s != NULL);
    unsigned sum = 0;
    for (int i = 0; i < im_st_count(s); i++) {
        const im_st_entry *e = im_st_at(s, i);
        must(im_st_find(s, e->name) == e && e->bytes <= size);
        for (size_t k = 0; k < e->bytes; k++) sum += ((const uint8_t *)e->data)[k];
        if (im_st_is_float(e)) {
            int64_t n = im_st_numel(e);
            float *x = malloc((size_t)n * sizeof *x + 1);
            im_st_cast(c, e, IM_F32, x);
            for (int64_t k = 0; k < n; k++) must(x[k] == x[k] || x[k] != x[k]);
            im_st_cast(c, e, IM_F16, x);
            free(x);
        }
        im_st_release_pages(s, e);
    }
    must(sum <= 255 * size);
    bool ok = im_st_unwrap(c, s, sum % 2);
    for (int i = 0; ok && i < im_st_count(s); i++) must(im_st_find(s, im_st_at(s, i)->name) == im_st_at(s, i));
    im_clear_error(c);
    im_st_metadata(s, "format");
    im_st_close(s);
    im_ctx_free(c);
    close(fd);
    return 0;
}
