/* test_full_size.c: the picture of diffusers from a checkpoint of v1.4's real shape: the folder that
 *     imago init-weights --like sd-v1-4 -s 1 -o FOLDER
 * writes (the same bytes on every machine). tests/full_size.sh makes it and names it in IMAGO_FULL_SIZE; without it the
 * test is skipped, since the folder takes 4.3 GB. The reference is tests/golden/full_size.*, made by full_size.py. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "imago.h"
#include "suite.h"

enum { LATENTS = 4 * 64 * 64, SIDE = 128, VALUES = SIDE * SIDE * 3 };

/* numerics.md's promise for latents near unit size (the random UNet's grow to a few units in 3 steps). */
static const double LATENT_TOLERANCE = 1e-3;

static void compare_latents(im_ctx *c, const float *got)
{
    im_safetensors *golden = im_st_open(c, "tests/golden/full_size.safetensors");
    ck_assert_msg(golden != NULL, "%s", im_error(c));
    const im_st_entry *e = im_st_find(golden, "latents");
    ck_assert(e && e->bytes == LATENTS * sizeof(float));
    double worst = 0;
    for (int i = 0; i < LATENTS; i++)
        worst = fmax(worst, fabs((double)got[i] - (double)((const float *)e->data)[i]));
    im_st_close(golden);
    printf("latents: largest difference %.2e\n", worst);
    ck_assert_msg(worst <= LATENT_TOLERANCE, "latents differ by %g, wanted at most %g", worst, LATENT_TOLERANCE);
}

/* Within 1 level on 99.9 % of the values, 2 at most. The reference has every fourth pixel of every fourth row. */
static void compare_pictures(im_ctx *c, const im_image *got)
{
    im_image *golden = im_picture_read(c, "tests/golden/full_size.png");
    ck_assert_msg(golden != NULL, "%s", im_error(c));
    int beyond = 0, worst = 0;
    ck_assert(golden && golden->width == SIDE && golden->height == SIDE);
    for (int i = 0; i < VALUES; i++) {
        int y = i / (3 * SIDE), x = i / 3 % SIDE;
        int d = abs(got->pixels[(4 * y * got->width + 4 * x) * 3 + i % 3] - golden->pixels[i]);
        beyond += d > 1;
        worst = d > worst ? d : worst;
    }
    im_image_free(golden);
    printf("picture: largest difference %d levels, %d values beyond one level\n", worst, beyond);
    ck_assert_msg(worst <= 2 && beyond <= VALUES / 1000, "differs by %d levels, %d values beyond one level", worst,
                  beyond);
}

START_TEST(picture_of_diffusers)
{
    im_ctx *c = im_ctx_new("cpu", 0);
    im_sd *sd = im_sd_open(c, getenv("IMAGO_FULL_SIZE"), IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    float *latents = malloc(LATENTS * sizeof *latents);
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "a photograph of an astronaut riding a horse";
    a.seed = 42;
    a.steps = 3;
    a.latents_out = latents;
    im_image *picture = im_sd_generate(sd, &a);
    ck_assert_msg(picture && picture->width == 512 && picture->height == 512, "%s", im_error(c));
    compare_latents(c, latents);
    compare_pictures(c, picture);
    im_image_free(picture);
    free(latents);
    im_sd_free(sd);
    im_ctx_free(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("full_size");
    TCase *t = tcase_create("full_size");
    tcase_set_timeout(t, 900);
    if (getenv("IMAGO_FULL_SIZE"))
        tcase_add_test(t, picture_of_diffusers);
    else
        puts("SKIP the full-size picture: IMAGO_FULL_SIZE names no folder (tests/full_size.sh makes one)");
    suite_add_tcase(s, t);
    return suite_end(s);
}
