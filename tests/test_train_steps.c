/* test_train_steps.c: steps of the four trainings. A step waits for the device once, to read what it or the step before
 * it was, and downloads that alone; with --recompute every gradient and so every file has the same bits. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shapes.h"
#include "context.h"

#define MODEL_A "tests/golden/models/a"
enum { STEPS = 6, BATCH = 4 };

static const char *at(const char *name)
{
    return scratch_path(dir, name);
}

static void on(const char *device)
{
    im_ctx_free(c);
    ck_assert_ptr_nonnull(c = im_ctx_new(device, 2));
}

/* Counts at each step that was told of; parts: how often the UNet, the VAE or the ResNet wrote to the log. */
typedef struct watch { im_counts at[STEPS + 1]; int told; double losses[STEPS + 1]; } watch;

static void on_step(void *arg, const im_train_progress *p)
{
    watch *w = arg;
    ck_assert_int_eq(p->step, ++w->told);                      /* each of them, in order                               */
    w->at[p->step] = im_counted(c);
    w->losses[p->step] = p->loss;
}

static im_train_common common(im_train_common a, const char *out)
{
    a.data = at("shapes");
    a.out = out;
    a.batch = BATCH;
    a.steps = STEPS;
    a.seed = 3;
    a.checkpoint_every = 100;
    a.accumulate = 2;
    return a;
}

static void captions(void)
{
    FILE *f = fopen(at("shapes/metadata.jsonl"), "w");
    ck_assert_ptr_nonnull(f);
    for (int s = 0; s < SHAPES; s++)
        for (int i = 0; i < 14; i++)
            fprintf(f, "{\"file_name\": \"%s/%04d.png\", \"text\": \"a %s\"}\n", shape_names[s], i, shape_names[s]);
    fclose(f);
}

static const char *const kinds[] = { "resnet", "autoencoder", "diffusion", "decoder" };
enum { KINDS = sizeof kinds / sizeof *kinds };

static bool train(int kind, const char *out, bool recompute, watch *w)
{
    im_train_hooks h = { .arg = w, .step = on_step };
    if (kind == 0) {
        im_train_resnet_args a = im_train_resnet_defaults();
        a.common = common(a.common, out);
        a.common.recompute = recompute;
        a.arch = "resnet50";
        a.size = SHAPE_SIZE;
        a.width = 8;
        a.mixup = 0.5f;
        return im_train_resnet(c, &a, &h);
    }
    if (kind == 1) {
        im_train_autoencoder_args a = im_train_autoencoder_defaults();
        a.common = common(a.common, out);
        a.common.recompute = recompute;
        a.config = MODEL_A;
        a.size = 16;
        return im_train_autoencoder(c, &a, &h);
    }
    if (kind == 3) {
        im_train_decoder_args a = im_train_decoder_defaults();
        a.common = common(a.common, out);
        a.common.recompute = recompute;
        a.vae = MODEL_A;
        a.size = 16;
        a.width = 8;
        a.blocks = 1;
        return im_train_decoder(c, &a, &h);
    }
    im_train_diffusion_args a = im_train_diffusion_defaults();
    a.common = common(a.common, out);
    a.common.recompute = recompute;
    a.config = a.vae = MODEL_A;
    a.size = 16;
    return im_train_diffusion(c, &a, &h);
}

static const char *const products[KINDS] = { "model.safetensors", "vae/diffusion_pytorch_model.safetensors",
                                             "model/unet/diffusion_pytorch_model.safetensors",
                                             "vae/diffusion_pytorch_model.safetensors" };

START_TEST(a_step_waits_once)
{
    on(_i < KINDS ? "cpu" : "far");
    int kind = _i % KINDS;
    shapes_write(c, at("shapes"), 0, 14);                      /* 14 batches: an epoch ends after STEPS                */
    if (kind == 2)
        captions();
    watch w = { .told = 0 };
    ck_assert_msg(train(kind, at("run"), false, &w), "%s: %s", kinds[kind], im_error(c));
    ck_assert_int_eq(w.told, STEPS);
    /* the last one is read when the run ends */
    for (int i = 2; i <= STEPS - 1; i++) {
        int64_t waits = w.at[i].syncs - w.at[i - 1].syncs, downloads = w.at[i].downloads - w.at[i - 1].downloads;
        uint64_t bytes = w.at[i].downloaded - w.at[i - 1].downloaded;
        ck_assert_msg(waits <= 1 && downloads == 1 && bytes == 2 * sizeof(im_step_part),
                      "%s, step %d: %lld waits, %lld downloads of %llu bytes", kinds[kind], i, (long long)waits,
                      (long long)downloads, (unsigned long long)bytes);
    }
}
END_TEST


START_TEST(recompute_gives_the_same_bits)
{
    int kind = _i < KINDS ? _i : 2;
    on(_i < KINDS ? "cpu" : "ref");
    shapes_write(c, at("shapes"), 0, 14);
    if (kind == 2)
        captions();
    watch plain = { .told = 0 }, again = { .told = 0 };
    ck_assert_msg(train(kind, at("plain"), false, &plain), "%s: %s", kinds[kind], im_error(c));
    ck_assert_msg(train(kind, at("again"), true, &again), "%s: %s", kinds[kind], im_error(c));
    ck_assert_mem_eq(plain.losses, again.losses, sizeof plain.losses);
    char one[300], two[300];
    snprintf(one, sizeof one, "plain/%s", products[kind]);
    snprintf(two, sizeof two, "again/%s", products[kind]);
    im_safetensors *s = im_st_open(c, at(one)), *t = im_st_open(c, at(two));
    ck_assert_msg(s && t && im_st_count(s) == im_st_count(t), "%s", im_error(c));
    for (int i = 0; i < im_st_count(s); i++) {
        const im_st_entry *a = im_st_at(s, i), *b = im_st_find(t, a->name);
        ck_assert_msg(b && a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes), "%s differs", a->name);
    }
    im_st_close(s);
    im_st_close(t);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(a_step_waits_once, KINDS + 1), LOOP(recompute_gives_the_same_bits, KINDS + 1) };
    return suite_run("train_steps", setup, teardown, 4 * SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
