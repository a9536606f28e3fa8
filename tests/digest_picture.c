/* digest_picture.c: the SHA-256 of a finished picture's latents and pixels, from weights of a seed in the shape of
 * tests/models/small, in f32 and in int8 on the cpu device: whole networks, direct and Winograd convolutions, attention,
 * sampler and noise. Under IMAGO_ISA=avx2, avx512 and on aarch64 it prints the same text; neon_bits.sh compares. */
#define _GNU_SOURCE
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/files/sha256.h"
#include "imago.h"

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void print_digest(im_ctx *c, const void *data, size_t bytes, const char *name)
{
    char hex[65];
    if (im_sha256_of(c, data, bytes, hex))
        printf("%s  %s\n", hex, name);
}

/* A picture of the model with weights in dtype. */
static bool print_picture(im_ctx *c, const char *model, im_dtype dtype)
{
    enum { SIZE = 128, LATENTS = 4 * (SIZE / 8) * (SIZE / 8) };
    static float latents[LATENTS];
    im_sd *sd = im_sd_open(c, model, dtype);
    im_image *picture = NULL;
    if (sd) {
        im_sd_args a = im_sd_defaults(sd);
        a.prompt = "a lighthouse in a storm";
        a.seed = 7;
        a.steps = 3;
        a.width = a.height = SIZE;
        a.latents_out = latents;
        picture = im_sd_generate(sd, &a);
    }
    if (picture) {
        print_digest(c, latents, sizeof latents, dtype == IM_INT8 ? "latents, int8" : "latents");
        print_digest(c, picture->pixels, (size_t)SIZE * SIZE * 3, dtype == IM_INT8 ? "pixels, int8" : "pixels");
    }
    bool ok = picture && im_ok(c);
    im_image_free(picture);
    im_sd_free(sd);
    return ok;
}

int main(void)
{
    im_ctx *c = im_ctx_new("cpu", 2);
    char model[] = "/tmp/imago-digest-XXXXXX";
    bool ok = mkdtemp(model) && im_sd_init_weights(c, "tests/models/small", 1, IM_F32, model, false);
    ok = ok && print_picture(c, model, IM_F32) && print_picture(c, model, IM_INT8);
    if (!im_ok(c))
        fprintf(stderr, "digest_picture: %s\n", im_error(c));
    im_ctx_free(c);
    nftw(model, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return !ok;
}
