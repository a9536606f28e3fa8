/* test_vae_tiled.c: a picture that is decoded strip by strip is the one that is decoded whole, but for rounding, with
 * strips of any height, of both kinds of autoencoder, in f32 and in 16 bits; and no row stands out. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "models/checkpoints/vae_file.h"
#include "models/nets/vae_tiled.h"
#include "models/pipelines/sd.h"

enum { H = 19, W = 11 };

typedef struct pictures { float *whole, *strips; int width, height; } pictures;

static im_tensor *latents(void)
{
    float *v = malloc(H * W * 4 * sizeof *v);
    im_rng *rng = im_rng_new(c, IM_RNG_CPU, 7);
    im_randn(rng, v, H * W * 4);
    for (int i = 0; i < H * W; i++) v[4 * i] += (float)(i / W) / 8 - 1;        /* parts have other statistics             */
    im_tensor *z = im_from(c, IM_F32, 4, (int64_t[]){ 1, H, W, 4 }, v);
    im_rng_free(rng);
    free(v);
    return z;
}

static pictures both(const im_vae *m, const im_vae_config *cfg, int rows)
{
    pictures p = { .width = W * im_vae_factor(cfg), .height = H * im_vae_factor(cfg) };
    p.strips = malloc((size_t)p.width * (size_t)p.height * 3 * sizeof *p.strips);
    im_scope_push(c);
    im_tensor *z = latents();
    p.whole = im_values(c, im_vae_decode(c, m, z));
    ck_assert_msg(im_vae_decode_tiled(c, m, z, rows, p.strips), "%s", im_error(c));
    im_scope_pop(c);
    return p;
}

/* The largest difference of a row, relative to the picture's largest value. */
static double difference(const pictures *p, int row)
{
    size_t n = (size_t)p->width * 3;
    double worst = 0, size = 1e-9;
    for (size_t i = 0; i < n * (size_t)p->height; i++) size = fmax(size, fabs((double)p->whole[i]));
    for (size_t i = (size_t)row * n; i < (size_t)(row + 1) * n; i++)
        worst = fmax(worst, fabs((double)p->whole[i] - (double)p->strips[i]));
    return worst / size;
}

/* f32: rounding of 26 norms and 40 convolutions. bf16: a value that is rounded to the other side is 1/256 off. */
static void compare(const char *device, const char *vae, im_dtype activations, double tolerance)
{
    im_ctx_free(c);
    c = im_ctx_new(device, 2);
    im_vae_config cfg;
    im_vae *m = im_vae_any_open(c, vae, &cfg, false);
    ck_assert_msg(m != NULL, "%s", im_error(c));
    im_vae_params(m, IM_VAE_DECODER)->activations = activations;
    for (int rows = 4; rows <= 40; rows = rows * 2 + 1) {
        pictures p = both(m, &cfg, rows);
        for (int y = 0; y < p.height; y++)
            ck_assert_msg(difference(&p, y) <= tolerance, "%s in strips of %d: row %d is off by %g", vae, rows, y,
                          difference(&p, y));
        free(p.whole);
        free(p.strips);
    }
    im_vae_free(m);
}

START_TEST(on_ref) { compare("ref", "tests/golden/models/a/vae", IM_F32, 1e-5); } END_TEST
START_TEST(on_cpu) { compare("cpu", "tests/golden/models/a/vae", IM_F32, 2e-5); } END_TEST
START_TEST(other_levels) { compare("cpu", "tests/golden/models/b/vae", IM_F32, 2e-5); } END_TEST
START_TEST(in_halves) { compare("cpu", "tests/golden/models/a/vae", IM_F16, 1e-2); } END_TEST
START_TEST(a_tiny_one) { compare("cpu", "tests/golden/tiny_vae", IM_F32, 1e-5); } END_TEST

/* The embedded model: levels of the picture. */
START_TEST(levels_of_pictures)
{
    im_ctx_free(c);
    c = im_ctx_new("cpu", 2);
    im_sd *sd = im_sd_open(c, NULL, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "strawberry";
    a.steps = 4;
    a.width = 192;
    a.height = 256;
    im_image *whole = im_sd_generate(sd, &a);
    a.tile = true;
    im_image *strips = im_sd_generate(sd, &a);
    ck_assert_msg(whole && strips, "%s", im_error(c));
    size_t n = 192 * 256 * 3, differ = 0;
    int worst = 0;
    for (size_t i = 0; i < n; i++) {
        int d = abs(whole->pixels[i] - strips->pixels[i]);
        differ += d != 0;
        worst = d > worst ? d : worst;
    }
    ck_assert_msg(worst <= 1 && differ <= n / 1000, "%zu of %zu values differ, by up to %d levels", differ, n, worst);
    im_image_free(whole);
    im_image_free(strips);
    im_sd_free(sd);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(on_ref), ONCE(on_cpu), ONCE(other_levels), ONCE(in_halves), ONCE(a_tiny_one),
                                 ONCE(levels_of_pictures) };
    return suite_run("vae_tiled", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
