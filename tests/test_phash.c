/* test_phash.c: perceptual hashes beside those of the Python package ImageHash (golden_clones.py). */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "context.h"
#include "data/files/file.h"
#include "data/images/phash.h"
#include "data/images/picture.h"
#include "golden_json.h"

/* A bit may differ where a coefficient lies within rounding of the median; on these pictures none does. */
START_TEST(those_of_imagehash)
{
    json_t *golden = golden_json("tests/golden/clones.json.gz"), *row;
    size_t i;
    ck_assert_uint_ge(json_array_size(json_object_get(golden, "phash")), 4);
    json_array_foreach(json_object_get(golden, "phash"), i, row) {
        char path[300];
        const char *file = json_string_value(json_object_get(row, "file"));
        uint64_t want = strtoull(json_string_value(json_object_get(row, "phash")), NULL, 16), got;
        size_t n;
        snprintf(path, sizeof path, "tests/golden/%s", file);
        char *bytes = im_read_file(c, path, 1 << 24, &n);
        im_image *picture = bytes ? im_picture_decode(c, bytes, n, file, NULL) : NULL;
        ck_assert_msg(picture && im_phash(c, picture, &got), "%s", im_error(c));
        ck_assert_msg(got == want, "%s: %016llx, wanted %016llx", file, (unsigned long long)got, (unsigned long long)want);
        im_image_free(picture);
        free(bytes);
    }
    json_decref(golden);
}
END_TEST

START_TEST(distances)
{
    ck_assert_int_eq(im_hash_distance(0, 0), 0);
    ck_assert_int_eq(im_hash_distance(UINT64_MAX, 0), 64);
    ck_assert_int_eq(im_hash_distance(0x8000000000000001u, 1), 1);
    im_image *grey = im_image_new(c, 5, 7, 1), *rgb = im_image_new(c, 5, 7, 3);
    for (int i = 0; i < 35; i++)
        for (int k = 0; k < 3; k++) rgb->pixels[3 * i + k] = grey->pixels[i] = (uint8_t)(37 * i);
    uint64_t a, b;
    ck_assert(im_phash(c, grey, &a) && im_phash(c, rgb, &b));
    ck_assert_uint_eq(a, b);
    im_image_free(grey);
    im_image_free(rgb);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(those_of_imagehash), ONCE(distances) };
    return suite_run("phash", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
