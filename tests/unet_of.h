/* unet_of.h: model a with another UNet, as a folder of links in the scratch folder of a test; and pictures of such models
 * beside those of diffusers. */
#ifndef TEST_UNET_OF_H
#define TEST_UNET_OF_H

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "context.h"
#include "data/files/file.h"
#include "data/files/safetensors.h"

static const char A[] = "tests/golden/models/a";
static char folder[300];

static inline void link_part(const char *from, const char *name)
{
    char here[400], target[800], to[400];
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    snprintf(target, sizeof target, "%s/%s", here, from);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    ck_assert_int_eq(symlink(target, to), 0);
}

/* Into `folder`. */
static inline void model_with(const char *unet)
{
    static const char *const parts[] = { "model_index.json", "scheduler", "text_encoder", "tokenizer", "vae" };
    snprintf(folder, sizeof folder, "%s/model", dir);
    ck_assert(im_make_folder(c, folder));
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char from[200];
        snprintf(from, sizeof from, "%s/%s", A, parts[i]);
        link_part(from, parts[i]);
    }
    link_part(unet, "unet");
}

static inline im_sd *open_folder(void)
{
    im_sd *sd = im_sd_open(c, folder, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    return sd;
}

/* 64x64 pixels, the model's own settings. */
static inline im_sd_args astronaut(im_sd *sd)
{
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "a photograph of an astronaut riding a horse";
    a.seed = 42;
    a.width = a.height = 64;
    return a;
}

/* The same with the settings of a golden row, which must outlive them. */
static inline im_sd_args row_args(im_sd *sd, const json_t *row)
{
    im_sd_args a = astronaut(sd);
    a.scheduler = json_string_value(json_object_get(row, "scheduler"));
    a.steps = (int)json_integer_value(json_object_get(row, "steps"));
    a.guidance = (float)json_number_value(json_object_get(row, "guidance"));
    return a;
}

/* The latents (4, h, w) of a picture are those of row i of the golden file: numerics.md's promise for latents. */
static inline void latents_are(im_sd *sd, im_sd_args a, const im_safetensors *golden, size_t i)
{
    float x[4 * 16 * 16];
    char name[24];
    int n = 4 * (a.width / 8) * (a.height / 8);
    double worst = 0;
    a.latents_out = x;
    ck_assert_int_le(n, (int)(sizeof x / sizeof *x));
    ck_assert_msg(im_sd_latents_batch(sd, &a, 1), "row %zu: %s", i, im_error(c));
    snprintf(name, sizeof name, "%zu", i);
    const im_st_entry *e = im_st_find(golden, name);
    ck_assert(e && e->bytes == (size_t)n * sizeof *x);
    for (int k = 0; k < n; k++)
        worst = fmax(worst, fabs((double)x[k] - (double)((const float *)e->data)[k]));
    ck_assert_msg(worst <= 1e-3, "row %zu (%s): latents are off by %g", i, a.scheduler, worst);
}

/* The pictures of `n` golden rows, NAME.json and NAME.safetensors in tests/golden; more (or NULL) has what else a row says.
 * Every second one by a plan. */
static inline void golden_rows(im_sd *sd, const char *name, size_t n, void (*more)(im_sd_args *a, const json_t *row))
{
    char path[80];
    size_t i;
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    im_safetensors *golden = im_st_open(c, path);
    snprintf(path, sizeof path, "tests/golden/%s.json", name);
    json_t *file = json_load_file(path, 0, NULL), *row;
    json_array_foreach(json_object_get(file, "rows"), i, row) {
        im_sd_args a = row_args(sd, row);
        if (more)
            more(&a, row);
        a.eager = i % 2;
        latents_are(sd, a, golden, i);
    }
    ck_assert_uint_eq(i, n);
    json_decref(file);
    im_st_close(golden);
}

#endif
