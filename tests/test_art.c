/* test_art.c: the pictures of `make model-data`: margins and flags, near copies, what is held out. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "../weights/art/art.h"

enum { W = 240, H = 160, SIZE = 64 };

/* A red disc on a white field: transparent around it, or a sheet with edges. */
static uint8_t *disc(bool sheet)
{
    uint8_t *rgba = calloc(W * H, 4);
    ck_assert_ptr_nonnull(rgba);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            uint8_t *p = rgba + 4 * (y * W + x);
            bool red = (x - W / 2) * (x - W / 2) + (y - H / 2) * (y - H / 2) < 48 * 48;
            memcpy(p, red ? (uint8_t[]){ 200, 0, 0, 255 } : (uint8_t[]){ 255, 255, 255, sheet ? 255 : 0 }, 4);
        }
    return rgba;
}

static const uint8_t *at(const im_image *p, int x, int y)
{
    return p->pixels + 3 * (y * p->width + x);
}

/* Columns of the middle row that are red; -1: there is no picture. */
static int red_width(const im_image *p)
{
    int n = 0;
    for (int x = 0; p && x < p->width; x++)
        n += at(p, x, p->height / 2)[0] > 150 && at(p, x, p->height / 2)[1] < 60;
    return p ? n : -1;
}

START_TEST(margins_and_flags)
{
    for (int sheet = 0; sheet < 2; sheet++) {
        uint8_t *rgba = disc(sheet);
        im_image *fit = art_fit(c, rgba, W, H, SIZE, false), *flag = art_fit(c, rgba, W, H, SIZE, true);
        ck_assert_msg(fit && flag, "%s", im_error(c));
        ck_assert_int_le(abs(red_width(fit) - 57), 1);         /* 95 pixels of a square of 95 + 95/8 + 1: 56.9 of 64  */
        ck_assert_int_le(abs(red_width(flag) - (sheet ? 22 : 53)), 1);    /* 95 of 271; of 107, less 6 under the line */
        ck_assert_int_gt(at(fit, 2, 32)[0], 240);
        if (sheet) {                                           /* 271 pixels to 64: the sheet begins at column 3.5    */
            ck_assert_int_lt(at(flag, 4, 32)[0], 200);
            ck_assert_int_gt(at(flag, 8, 32)[0], 240);
            ck_assert_int_gt(at(flag, 32, 8)[0], 240);
        }
        im_image_free(fit);
        im_image_free(flag);
        free(rgba);
    }
}
END_TEST

START_TEST(nothing_to_see)
{
    uint8_t *rgba = calloc(W * H, 4);
    ck_assert_ptr_nonnull(rgba);
    ck_assert_ptr_null(art_fit(c, rgba, W, H, SIZE, false));
    ck_assert_ptr_null(art_fit(c, rgba, W, H, SIZE, true));
    ck_assert(im_ok(c));
    for (int x = 0; x < W; x++)
        rgba[4 * (H / 2 * W + x) + 3] = 255;                   /* a line                                              */
    ck_assert_ptr_null(art_fit(c, rgba, W, H, SIZE, false));
    ck_assert(im_ok(c));
    free(rgba);
}
END_TEST

START_TEST(families)
{
    art_piece pieces[] = {
        { .file = "a", .stem = "cat", .category = "animal", .hash = { 0, 0 } },
        { .file = "b", .stem = "dog", .category = "animal", .hash = { 0x1f, 0 } },          /* 5 bits from a          */
        { .file = "c", .stem = "cow", .category = "food", .hash = { 0x1f, 0x1f } },         /* 5 from b, 10 from a    */
        { .file = "d", .stem = "cat", .category = "animal", .hash = { ~0ull, ~0ull } },     /* a's name               */
        { .file = "e", .stem = "cat", .category = "food", .hash = { ~0ull << 32, 0 } },     /* in another category    */
        { .file = "f", .stem = "pig", .category = "animal", .hash = { 0, 0x3full << 40 } }, /* 6 bits from a          */
    };
    art_list l = { .v = pieces, .n = 6 };
    art_families(&l);
    const int want[] = { 0, 0, 0, 0, 4, 5 };
    for (int i = 0; i < l.n; i++)
        ck_assert_int_eq(pieces[i].family, want[i]);
}
END_TEST

/* 20 families of two: a fifth of them is held out, whole, and which ones does not depend on their order. */
START_TEST(held_out)
{
    enum { N = 40 };
    static char names[N / 2][16];
    art_piece pieces[N], back[N];
    for (int i = 0; i < N; i++) {
        snprintf(names[i / 2], sizeof names[0], "n%d", i / 2);
        pieces[i] = back[N - 1 - i] = (art_piece){ .file = names[i / 2], .category = "animal" };
    }
    for (int i = 0; i < N; i++)
        pieces[i].family = back[i].family = i / 2 * 2;
    art_split(&(art_list){ .v = pieces, .n = N }, 20);
    art_split(&(art_list){ .v = back, .n = N }, 20);
    int held = 0;
    for (int i = 0; i < N; i++) {
        held += pieces[i].held_out;
        ck_assert_int_eq(pieces[i].held_out, pieces[i / 2 * 2].held_out);
        ck_assert_int_eq(pieces[i].held_out, back[N - 1 - i].held_out);
    }
    ck_assert_int_eq(held, 8);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(margins_and_flags), ONCE(nothing_to_see), ONCE(families), ONCE(held_out) };
    return suite_run("art", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
