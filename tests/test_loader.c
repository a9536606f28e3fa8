/* test_loader.c: what a loader hands out is a function of (seed, epoch, step) alone: the same for any number of threads,
 * any ring, any cache, from any starting point, whole or with broken pictures; and it ends cleanly at any time. */
#include "data/files/file.h"
#include "data/sets/order.h"
#include "data/images/picture.h"
#include "loads.h"
#include "suite.h"

/* ---------------------------------------------------------------- what is handed out */

/* Crop by crop what the functions of augment.h make of the sample, told by order.h. */
START_TEST(hands_out_the_crops)
{
    im_loader_args a = args_of(2);
    a.epochs = 1;
    im_loader *l = open_loader(a);
    im_crop_scratch *s = im_crop_scratch_new();
    uint32_t order[PICTURES];
    im_order_fill(order, PICTURES, true, 7, 0);
    int64_t place = 0;
    ck_assert_int_eq(im_loader_steps(l), STEPS);
    for (const im_batch *b; (b = im_loader_next(c, l)); ) {
        ck_assert(b->epoch == 0 && b->step == place / BATCH && b->steps == STEPS && b->kinds == 2);
        ck_assert_int_eq(b->n, b->step == STEPS - 1 ? 3 : BATCH);
        for (int i = 0; i < b->n; i++, place++) {
            int64_t index = order[place];
            ck_assert(b->indices[i] == index && b->meant[i] == index && b->labels[i] == d->samples[index].label);
            size_t n;
            uint8_t *bytes = im_dataset_read(c, d, index, &n);
            im_image *p = im_picture_decode(c, bytes, n, "p", NULL);
            ck_assert(p != NULL);
            for (int k = 0; k < 3; k++) {
                uint8_t rgb[14 * 14 * 3];
                im_draw w;
                im_augment_draw(&dino, k, p->width, p->height, 7, 0, (uint64_t)index, &w);
                ck_assert(im_augment_apply(c, s, p, &dino, k, &w, rgb));
                const im_crops *kind = &b->crops[k ? 1 : 0];
                size_t one = (size_t)kind->size * (size_t)kind->size * 3, j = k ? (size_t)k - 1 : 0;
                ck_assert_int_eq(kind->size, k ? 6 : 14);
                ck_assert_int_eq(kind->count, k ? 2 : 1);
                ck_assert_mem_eq(kind->u8 + (j * (size_t)b->n + (size_t)i) * one, rgb, one);
                ck_assert(b->draws[i * 3 + k].x == w.x && b->draws[i * 3 + k].w == w.w);
            }
            im_image_free(p);
            free(bytes);
        }
    }
    ck_assert_msg(im_ok(c), "%s", im_error(c));
    ck_assert_int_eq(place, PICTURES);
    ck_assert_ptr_null(im_loader_next(c, l));                  /* over is over                                        */
    im_loader_stats r = im_loader_report(l);
    ck_assert(r.batches == STEPS && r.pictures == PICTURES && r.broken == 0 && r.waited > 0 && r.busy > 0);
    im_crop_scratch_free(s);
    im_loader_close(l);
}
END_TEST

START_TEST(normalises)
{
    im_loader_args a = args_of(1);
    a.recipe = &plain;
    im_loader *bytes = open_loader(a);
    a.bytes = false;
    im_loader *reals = open_loader(a);
    static float f[BATCH * 8 * 8 * 3];
    for (int i = 0; i < STEPS; i++) {
        const im_batch *x = im_loader_next(c, bytes), *y = im_loader_next(c, reals);
        ck_assert(x && y && !x->crops[0].f32 && !y->crops[0].u8);
        im_normalise(x->crops[0].u8, (int64_t)x->n * 64, f);
        ck_assert_mem_eq(f, y->crops[0].f32, (size_t)x->n * 64 * 3 * sizeof *f);
    }
    im_loader_close(bytes);
    im_loader_close(reals);
}
END_TEST

START_TEST(same_for_any_threads)
{
    ck_assert_int_eq(run_all(args_of(1), want), EPOCHS * STEPS);
    for (int i = 1; i < EPOCHS * STEPS; i++) ck_assert_str_ne(want[i], want[0]);
    for (int threads = 1; threads <= 5; threads++)
        for (int ahead = 1; ahead < 9; ahead += 3) {
            im_loader_args a = args_of(threads);
            a.ahead = ahead;
            expect_same(a, 0);
        }
    im_loader_args a = args_of(2);
    a.seed = 8;
    run_all(a, got);
    ck_assert_str_ne(got[0], want[0]);
}
END_TEST

START_TEST(goes_on_where_it_was)
{
    run_all(args_of(2), want);
    for (int from = 0; from < EPOCHS * STEPS; from++) {
        im_loader_args a = args_of(2);
        a.first_epoch = from / STEPS;
        a.first_step = from % STEPS;
        expect_same(a, from);
    }
}
END_TEST

/* A ring that spans more epochs than one: a batch is the whole set. */
START_TEST(goes_through_short_epochs)
{
    im_loader_args a = args_of(3);
    a.batch = PICTURES;
    a.drop_last = true;
    a.ahead = 6;
    a.epochs = 12;
    a.recipe = &plain;
    im_loader *l = open_loader(a);
    for (int e = 0; e < 12; e++) {
        const im_batch *b = im_loader_next(c, l);
        uint32_t order[PICTURES];
        im_order_fill(order, PICTURES, true, 7, (uint64_t)e);
        ck_assert(b && b->epoch == e && b->step == 0 && b->n == PICTURES);
        for (int i = 0; i < PICTURES; i++) ck_assert_int_eq(b->indices[i], order[i]);
    }
    ck_assert_ptr_null(im_loader_next(c, l));
    im_loader_close(l);
}
END_TEST

START_TEST(drops_the_last)
{
    im_loader_args a = args_of(2);
    a.drop_last = true;
    a.shuffled = false;
    im_loader *l = open_loader(a);
    ck_assert_int_eq(im_loader_steps(l), 4);
    int64_t n = 0;
    for (const im_batch *b; (b = im_loader_next(c, l)); n++) {
        ck_assert_int_eq(b->n, BATCH);
        ck_assert_int_eq(b->indices[1], n % 4 * BATCH + 1);
    }
    ck_assert_int_eq(n, 4 * EPOCHS);
    im_loader_close(l);
}
END_TEST

/* ---------------------------------------------------------------- broken pictures */

START_TEST(replaces_broken_pictures)
{
    run_all(args_of(2), want);
    uint32_t order[PICTURES];
    im_order_fill(order, PICTURES, true, 7, 0);
    break_picture(order[3], 100);                              /* two that follow each other                          */
    break_picture(order[4], 60);
    break_picture(order[PICTURES - 1], 80);                    /* and the last one                                    */
    im_loader *l = open_loader(args_of(2));
    for (int64_t p = 0; p < PICTURES; ) {
        const im_batch *b = im_loader_next(c, l);
        ck_assert_msg(b != NULL, "%s", im_error(c));
        for (int i = 0; i < b->n; i++, p++) {
            int64_t shown = p == 3 || p == 4 ? order[5] : p == PICTURES - 1 ? order[0] : order[p];
            ck_assert(b->meant[i] == order[p] && b->indices[i] == shown && b->labels[i] == d->samples[shown].label);
            im_draw w;                                         /* of the place's own sample, on the other's size      */
            const im_draw *drawn = &b->draws[i * 3 + 1];
            im_augment_draw(&dino, 1, 20 + number_of(shown), 50 - number_of(shown), 7, 0, order[p], &w);
            ck_assert(drawn->x == w.x && drawn->y == w.y && drawn->w == w.w && drawn->h == w.h);
        }
        char hex[65];
        digest(b, 3, hex);                                     /* batches without broken ones are as they were        */
        if (b->step > 0 && b->step < STEPS - 1) ck_assert_str_eq(hex, want[b->step]);
    }
    int64_t n;
    const im_broken *list = im_loader_broken(c, l, &n);
    ck_assert_int_eq(n, 3);
    ck_assert_int_eq(im_loader_report(l).broken, 3);
    for (int i = 0; i < 3; i++) {
        if (i) ck_assert_str_lt(list[i - 1].name, list[i].name);
        ck_assert_msg(*list[i].reason && !strstr(list[i].reason, list[i].name), "%s", list[i].reason);
    }
    const char *file = scratch_path(dir, "broken.txt");
    ck_assert(im_loader_write_broken(c, l, file) && im_loader_write_broken(c, l, file));
    size_t bytes;
    char *text = im_read_file(c, file, 10000, &bytes), line[400];
    list = im_loader_broken(c, l, &n);
    snprintf(line, sizeof line, "\n%s\t%s\n", list[1].name, list[1].reason);
    ck_assert_msg(text && strstr(text, line) && text[bytes - 1] == '\n', "%s", text);
    free(text);
    im_loader_close(l);
    ck_assert_int_eq(run_all(args_of(1), want), EPOCHS * STEPS);
    for (int threads = 2; threads < 5; threads++) expect_same(args_of(threads), 0);
    im_loader_args a = args_of(3);
    a.cache = IM_CACHE_RAM;
    expect_same(a, 0);
    a.cache = IM_CACHE_DISK;
    a.cache_folder = dir;
    expect_same(a, 0);
    a.first_epoch = 1;
    a.first_step = 3;
    expect_same(a, STEPS + 3);
}
END_TEST

START_TEST(stops_when_strict)
{
    uint32_t order[PICTURES];
    im_order_fill(order, PICTURES, true, 7, 0);
    break_picture(order[2 * BATCH + 1], 100);
    break_picture(order[2 * BATCH + 3], 100);
    for (int threads = 1; threads < 4; threads++) {
        im_loader_args a = args_of(threads);
        a.strict = true;
        im_loader *l = open_loader(a);
        ck_assert(im_loader_next(c, l) && im_loader_next(c, l));                    /* those before it are handed out */
        ck_assert_ptr_null(im_loader_next(c, l));
        ck_assert_msg(strstr(im_error(c), d->samples[order[2 * BATCH + 1]].name) != NULL, "%s", im_error(c));
        ck_assert_ptr_null(im_loader_next(c, l));
        im_loader_close(l);
        im_clear_error(c);
    }
}
END_TEST

START_TEST(says_when_nothing_is_left)
{
    for (int i = 0; i < PICTURES; i++) break_picture(i, 50);
    im_loader *l = open_loader(args_of(3));
    ck_assert_ptr_null(im_loader_next(c, l));
    ck_assert_msg(strstr(im_error(c), "none of its 23 pictures can be decoded") != NULL, "%s", im_error(c));
    im_loader_close(l);
}
END_TEST

START_TEST(knows_the_pixel_limit)
{
    im_loader_args a = args_of(2);
    a.max_pixels = 20 * 50 + 20;
    im_loader *l = open_loader(a);
    ck_assert(im_loader_next(c, l) && im_loader_next(c, l) && im_loader_next(c, l) && im_loader_next(c, l));
    int64_t n;
    ck_assert(im_loader_broken(c, l, &n) && n > 0);
    im_loader_close(l);
}
END_TEST

/* ---------------------------------------------------------------- ends */

START_TEST(ends_at_any_time)
{
    for (int n = 0; n < 7; n++)
        for (int threads = 1; threads < 4; threads++) {
            im_loader *l = open_loader(args_of(threads));
            for (int i = 0; i < n; i++) ck_assert(im_loader_next(c, l));
            im_loader_close(l);
        }
    im_loader_close(NULL);
}
END_TEST

START_TEST(can_be_stopped)
{
    im_loader *l = open_loader(args_of(1));
    ck_assert(im_loader_next(c, l));
    im_cancel(c);
    const im_batch *b = NULL;
    for (int i = 0; i < EPOCHS * STEPS && im_ok(c); i++) b = im_loader_next(c, l);
    ck_assert(!b || im_ok(c));                                 /* batches that were ready may still come              */
    im_loader_close(l);
}
END_TEST

START_TEST(refuses_arguments)
{
    im_loader_args cases[6];
    const char *const parts[] = { "holds 23 pictures and a batch has 24",
                                  "the batch has 0",
                                  "step 5 of epoch 0; an epoch has "
                                  "steps 0 to 4",
                                  "999 threads",
                                  "needs a folder",
                                  "augmentation" };
    im_recipe odd = dino;
    odd.crop[0].p_flip = 2;
    for (int i = 0; i < 6; i++) cases[i] = args_of(1);
    cases[0].batch = 24;
    cases[0].drop_last = true;
    cases[1].batch = 0;
    cases[2].first_step = 5;
    cases[3].threads = 999;
    cases[4].cache = IM_CACHE_DISK;
    cases[5].recipe = &odd;
    for (int i = 0; i < 6; i++) {
        ck_assert_ptr_null(im_loader_open(c, &cases[i]));
        ck_assert_msg(strstr(im_error(c), parts[i]) != NULL, "got: %s\nwanted: %s", im_error(c), parts[i]);
        im_clear_error(c);
    }
    cases[0].drop_last = false;                                /* without it, a batch of all                          */
    im_loader *l = open_loader(cases[0]);
    ck_assert_int_eq(im_loader_next(c, l)->n, PICTURES);
    im_loader_close(l);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(hands_out_the_crops), ONCE(normalises), ONCE(same_for_any_threads), ONCE(goes_on_where_it_was),
        ONCE(goes_through_short_epochs), ONCE(drops_the_last), ONCE(replaces_broken_pictures),
        ONCE(stops_when_strict), ONCE(says_when_nothing_is_left), ONCE(knows_the_pixel_limit), ONCE(ends_at_any_time),
        ONCE(can_be_stopped), ONCE(refuses_arguments)
    };
    return suite_run("loader", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
