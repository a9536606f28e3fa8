/* test_redraw.c: parts of pictures cut out, filled and put back are Pillow's, byte for byte (golden_redraw.py). */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "data/files/safetensors.h"
#include "data/images/redraw.h"
#include "golden_tensors.h"

static im_safetensors *golden;
static im_image *a, *band, *start;

/* Grey of a grey picture that was read as RGB. */
static im_image *grey(const im_image *i)
{
    im_image *out = im_image_new(c, i->width, i->height, 1);
    for (int p = 0; p < i->width * i->height; p++) out->pixels[p] = i->pixels[3 * p];
    return out;
}

static void open_all(void)
{
    setup();
    golden = golden_tensors(c, "tests/golden/redraw.safetensors.gz");
    a = im_picture_read(c, "tests/golden/init_83x70.png");
    start = im_picture_read(c, "tests/golden/init_64x64.png");
    im_image *read = im_picture_read(c, "tests/golden/mask_64x64.png");
    ck_assert(golden && a && start && read);
    band = grey(read);
    im_image_free(read);
}

static void close_all(void)
{
    im_image_free(a);
    im_image_free(band);
    im_image_free(start);
    im_st_close(golden);
    teardown();
}

static void same(im_image *i, const char *name)
{
    const im_st_entry *e = im_st_find(golden, name);
    ck_assert_msg(i && e, "%s: %s", name, im_error(c));
    ck_assert_int_eq(e->shape[0], i->height);
    ck_assert_int_eq(e->shape[1], i->width);
    const uint8_t *wanted = e->data;
    for (size_t k = 0; k < e->bytes; k++)
        ck_assert_msg(i->pixels[k] == wanted[k], "%s: value %zu is %d, wanted %d", name, k, i->pixels[k], wanted[k]);
    im_image_free(i);
}

static im_image *soft_mask(void)
{
    const im_st_entry *e = im_st_find(golden, "soft");
    im_image *soft = im_image_new(c, 83, 70, 1);
    memcpy(soft->pixels, e->data, e->bytes);
    return soft;
}

static int number(const json_t *row, const char *key, size_t i)
{
    return (int)json_integer_value(json_array_get(json_object_get(row, key), i));
}

START_TEST(boxes)
{
    json_t *file = json_load_file("tests/golden/redraw.json", 0, NULL), *row;
    size_t i;
    json_array_foreach(json_object_get(file, "rows"), i, row) {
        int w = number(row, "picture", 0), h = number(row, "picture", 1);
        im_image *mask = im_image_new(c, w, h, 1);
        im_box b, none;
        memset(mask->pixels, 0, (size_t)(w * h));
        ck_assert(!im_mask_box(mask, 5, &none));
        for (int y = number(row, "white", 1); y < number(row, "white", 3); y++)
            for (int x = number(row, "white", 0); x < number(row, "white", 2); x++) mask->pixels[y * w + x] = 1;
        ck_assert(im_mask_box(mask, (int)json_integer_value(json_object_get(row, "padding")), &b));
        im_box_widen(&b, number(row, "drawing", 0), number(row, "drawing", 1), w, h);
        const int found[4] = { b.x0, b.y0, b.x1, b.y1 };
        for (size_t k = 0; k < 4; k++)
            ck_assert_msg(found[k] == number(row, "box", k), "row %zu: %d at %zu, wanted %d", i, found[k], k,
                          number(row, "box", k));
        im_image_free(mask);
    }
    ck_assert_int_ge(i, 10);
    json_decref(file);
}
END_TEST

START_TEST(fitted)
{
    im_image *cut = im_cut(c, band, (im_box){ 11, 3, 52, 64 });
    int seen = 0;
    for (int i = 0; i < im_st_count(golden); i++) {
        const char *name = im_st_at(golden, i)->name;
        char way[8], which;
        int w, h;
        if (sscanf(name, "%7[a-z].%c.%dx%d", way, &which, &w, &h) != 4) continue;
        const im_image *from = which == 'a' ? a : cut;
        same(strcmp(way, "over") ? im_fit_within(c, from, w, h) : im_fit_over(c, from, w, h), name);
        seen++;
    }
    ck_assert_int_eq(seen, 14);
    im_image_free(cut);
}
END_TEST

START_TEST(filled)
{
    im_image *soft = soft_mask(), *all = im_image_new(c, 64, 64, 1);
    memset(all->pixels, 255, 64 * 64);
    same(im_fill_masked(c, a, soft), "fill.soft");
    same(im_fill_masked(c, start, band), "fill.band");
    same(im_fill_masked(c, start, all), "fill.all");
    im_image_free(soft);
    im_image_free(all);
}
END_TEST

START_TEST(put_back)
{
    im_image *soft = soft_mask();
    im_box b;
    ck_assert(im_mask_box(soft, 2, &b));
    im_box_widen(&b, 64, 64, 83, 70);
    im_image *drawn = im_fit_over(c, start, b.x1 - b.x0, b.y1 - b.y0), *back = im_put_back(c, a, soft, drawn, b);
    ck_assert_int_eq(memcmp(back->pixels, a->pixels, 3 * 83), 0);       /* what is black stays                            */
    same(back, "back");
    im_image_free(drawn);
    im_image_free(soft);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(boxes), ONCE(fitted), ONCE(filled), ONCE(put_back) };
    return suite_run("redraw", open_all, close_all, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
