/* test_lora.c: pictures drawn with a LoRA are those of diffusers with PEFT (tests/golden/README.md); adapters
 * add up, and leave no trace when they are taken off. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "imago.h"

static const char A[] = "tests/golden/models/a", LORA[] = "tests/golden/lora.safetensors";
enum { LATENTS = 4 * 32 * 32 };

static im_sd *open_model(const char *device)
{
    im_ctx_free(c);
    ck_assert_ptr_nonnull(c = im_ctx_new(device, 2));
    im_sd *sd = im_sd_open(c, A, IM_F32);
    ck_assert_msg(sd != NULL, "%s", im_error(c));
    return sd;
}

/* Latents as they are at the end; returns how many. */
static int draw_prompt(im_sd *sd, const char *prompt, float out[LATENTS])
{
    int64_t shape[3];
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = prompt;
    a.steps = 4;
    a.seed = 42;
    a.width = a.height = 64;
    a.scheduler = "pndm";
    a.latents_out = out;
    ck_assert(im_sd_latent_shape(sd, &a, shape) && shape[0] * shape[1] * shape[2] <= LATENTS);
    ck_assert_msg(im_sd_latents_batch(sd, &a, 1), "%s", im_error(c));
    return (int)(shape[0] * shape[1] * shape[2]);
}

static int draw(im_sd *sd, float out[LATENTS]) { return draw_prompt(sd, "a castle, oil on canvas", out); }

static void adds(im_sd *sd, const char *path, float weight)
{
    ck_assert_msg(im_sd_add_lora(sd, path, weight), "%s", im_error(c));
}

/* numerics.md's promise for latents. */
START_TEST(as_diffusers_draws)
{
    static const char *const devices[] = { "cpu", "ref" };
    im_sd *sd = open_model(devices[_i / 2]);
    float x[LATENTS];
    double worst = 0;
    adds(sd, LORA, _i % 2 ? -0.6f : 1);
    int n = draw(sd, x);
    im_safetensors *golden = im_st_open(c, "tests/golden/lora_pictures.safetensors");
    const im_st_entry *e = im_st_find(golden, _i % 2 ? "w-0.6.latents" : "w1.latents");
    ck_assert(e && e->bytes == (size_t)n * sizeof(float));
    for (int i = 0; i < n; i++) worst = fmax(worst, fabs((double)x[i] - (double)((const float *)e->data)[i]));
    ck_assert_msg(worst <= 1e-3, "latents are off by %g", worst);
    im_st_close(golden);
    im_sd_free(sd);
}
END_TEST

START_TEST(on_and_off)
{
    im_sd *sd = open_model("cpu");
    float plain[LATENTS], once[LATENTS], twice[LATENTS], again[LATENTS];
    const char *name, *sha256;
    float weight;
    int n = draw(sd, plain);
    adds(sd, LORA, 0.25f);
    draw(sd, once);
    ck_assert(memcmp(plain, once, (size_t)n * sizeof *once) != 0);
    adds(sd, LORA, 0.5f);
    ck_assert_int_eq(im_sd_lora(sd, 0, NULL, NULL, NULL), 2);
    ck_assert(im_sd_lora(sd, 0, &name, &sha256, &weight) == 2 && weight == 0.25f && !strcmp(name, "lora"));
    ck_assert(im_sd_lora(sd, 1, &name, &sha256, &weight) == 2 && weight == 0.5f && strlen(sha256) == 64);
    draw(sd, twice);
    ck_assert(memcmp(twice, once, (size_t)n * sizeof *once) != 0);
    ck_assert(im_sd_clear_loras(sd) && im_sd_lora(sd, 0, &name, &sha256, &weight) == 0);
    draw(sd, again);
    ck_assert_int_eq(memcmp(plain, again, (size_t)n * sizeof *again), 0);
    adds(sd, LORA, 0.25f);
    draw(sd, again);
    ck_assert_int_eq(memcmp(once, again, (size_t)n * sizeof *again), 0);
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "a";
    im_sd_run *run = im_sd_run_open(sd, &a);
    ck_assert(run && !im_sd_clear_loras(sd) && strstr(im_error(c), "1 run of this model is open"));
    im_clear_error(c);
    im_sd_run_close(run);
    for (int i = 0; i < 2; i++) {
        ck_assert(!im_sd_add_lora(sd, LORA, i ? 1e9f : NAN) && strstr(im_error(c), "wanted a number from -100 to 100"));
        im_clear_error(c);
    }
    ck_assert(!im_sd_add_lora(sd, "absent.safetensors", 1) && strstr(im_error(c), "absent.safetensors"));
    im_clear_error(c);
    ck_assert_int_eq(im_sd_lora(sd, 0, &name, &sha256, &weight), 1);                   /* all is as before            */
    draw(sd, again);
    ck_assert_int_eq(memcmp(once, again, (size_t)n * sizeof *again), 0);
    im_sd_free(sd);
}
END_TEST

/* Prompts that name adapters, in turn: each as with im_sd_add_lora, and without one as the file has it. */
START_TEST(named_by_prompts)
{
    im_sd *sd = open_model("cpu");
    float plain[LATENTS], half[LATENTS], both[LATENTS], x[LATENTS];
    ck_assert(im_sd_lora_folder(sd, "tests/golden"));
    size_t bytes = (size_t)draw(sd, plain) * sizeof(float);
    adds(sd, LORA, 0.5f);
    draw(sd, half);
    adds(sd, LORA, -0.25f);
    draw(sd, both);
    ck_assert(im_sd_clear_loras(sd));
    for (int round = 0; round < 2; round++) {
        draw_prompt(sd, "a castle, <lora:lora:0.5>oil on canvas", x);
        ck_assert_int_eq(memcmp(x, half, bytes), 0);
        draw_prompt(sd, "<lora:lora:0.5>a castle, oil on canvas<lora:lora:-0.25>", x);
        ck_assert_int_eq(memcmp(x, both, bytes), 0);
        draw(sd, x);
        ck_assert_int_eq(memcmp(x, plain, bytes), 0);
    }
    draw_prompt(sd, "a castle, oil on canvas <lora:lora:0.5>", x);
    adds(sd, LORA, 0.5f);                                      /* takes the place of the prompt's                      */
    ck_assert_int_eq(im_sd_lora(sd, -1, NULL, NULL, NULL), 1);
    draw(sd, x);
    ck_assert_int_eq(memcmp(x, half, bytes), 0);
    im_sd_args a = im_sd_defaults(sd);
    a.prompt = "<lora:lora>";
    im_sd_run *run = im_sd_run_open(sd, &a), *same = im_sd_run_open(sd, &a);
    ck_assert(run && same);
    a.prompt = "";
    ck_assert(!im_sd_run_open(sd, &a) && strstr(im_error(c), "names other LoRAs than the pictures under way"));
    im_clear_error(c);
    im_sd_run_close(run);
    im_sd_run_close(same);
    a.prompt = "<lora:lora_pictures>";                         /* a file, but no adapter                               */
    ck_assert(!im_sd_run_open(sd, &a) && strstr(im_error(c), "is no part of a LoRA"));
    im_clear_error(c);
    draw(sd, x);
    ck_assert_int_eq(memcmp(x, half, bytes), 0);
    ck_assert(im_sd_same_loras(sd, "a<lora:x:0.5>", "<lora:x:0.50> b") && !im_sd_same_loras(sd, "a", "<lora:x>"));
    im_sd_free(sd);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(as_diffusers_draws, 4), ONCE(on_and_off), ONCE(named_by_prompts) };
    return suite_run("lora", setup, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
