/* poke.h: a safetensors file again with other values in one tensor: weights that are damaged, or too large for 16 bits.
 * After context.h. */
#ifndef TEST_POKE_H
#define TEST_POKE_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* value[0..bytes) over the bytes of `tensor` from `at` on */
static inline void poke(const char *file, const char *tensor, size_t at, const void *value, size_t bytes)
{
    im_safetensors *s = im_st_open(c, file);
    ck_assert_msg(s != NULL, "%s", im_error(c));
    int n = im_st_count(s), found = 0;
    im_st_entry *e = calloc((size_t)n, sizeof *e);
    char copy[700];
    snprintf(copy, sizeof copy, "%s.new", file);
    ck_assert_ptr_nonnull(e);
    for (int i = 0; i < n; i++)
        e[i] = *im_st_at(s, i);
    im_st_writer *w = im_st_create(c, copy, e, n, NULL, 0);
    for (int i = 0; i < n; i++) {
        char *data = malloc(e[i].bytes);
        ck_assert_ptr_nonnull(data);
        memcpy(data, e[i].data, e[i].bytes);
        if (!strcmp(e[i].name, tensor)) {
            ck_assert_uint_le(at + bytes, e[i].bytes);
            memcpy(data + at, value, bytes);
            found++;
        }
        im_st_put(c, w, i, data, e[i].bytes);
        free(data);
    }
    ck_assert_msg(im_st_finish(c, w), "%s", im_error(c));
    ck_assert_msg(found == 1, "%s has no %s", file, tensor);
    im_st_close(s);
    free(e);
    ck_assert_int_eq(rename(copy, file), 0);
}

#endif
