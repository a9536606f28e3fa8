/* test_autoencoder.c: what `imago train autoencoder` leaves alone and what it measures: with train "decoder" the encoder
 * and the scaling_factor stay as they were, and the decoder learns as it does beside a learning encoder; with averages,
 * PSNR and scaling_factor are those of the weights that RUN/vae holds. */
#include <check.h>
#include <math.h>

#include "shapes.h"

#include "data/files/file.h"
#include "models.h"
#include "models/checkpoints/vae_folder.h"
#include "tensor/tensor.h"

enum { CIRCLES = 8, HELD = 4, SIZE = SHAPE_SIZE };

static char notes[4096], data[400], held[400];

static void on_note(void *arg, const char *text)
{
    (void)arg;
    size_t n = strlen(notes);
    snprintf(notes + n, sizeof notes - n, "%s\n", text);
}

/* Trains into dir/run, or goes on with it; from and kind may be NULL. */
static void train(const char *run, const char *from, const char *kind, int steps, float ema, uint64_t seed)
{
    im_train_autoencoder_args a = im_train_autoencoder_defaults();
    char out[400], init[400];
    snprintf(out, sizeof out, "%s/%s", dir, run);
    snprintf(init, sizeof init, "%s/%s", dir, from ? from : "");
    a.common.data = data;
    a.common.out = out;
    a.common.init = from ? init : NULL;
    a.common.resume = im_is_folder(out);
    a.common.batch = 4;
    a.common.steps = steps;
    a.common.warmup = 0;
    a.common.lr = 5e-3f;
    a.common.clip = 0;                                         /* or the encoder's gradient would scale the decoder's */
    a.common.ema = ema;
    a.common.seed = seed;
    a.config = MODEL_A;
    a.val = held;
    a.size = SIZE;
    if (kind)
        a.train = kind;
    im_train_autoencoder(c, &a, &(im_train_hooks){ .note = on_note });
}

static void prepare(void)
{
    setup();
    im_ctx_free(c);
    c = im_ctx_new("cpu", 2);
    *notes = 0;
    snprintf(data, sizeof data, "%s/data", dir);
    snprintf(held, sizeof held, "%s/held", dir);
    shapes_write(c, data, 0, CIRCLES / SHAPES);
    shapes_write(c, held, 100, HELD / SHAPES);
    no_error();
}

static bool of_encoder(const char *name)
{
    return !strncmp(name, "encoder.", 8) || !strncmp(name, "quant_conv.", 11);
}

#define VAE_FILE "vae/diffusion_pytorch_model.safetensors"

/* How many tensors of the encoder, and of the decoder, differ between two runs. */
static void differences(const char *a, const char *b, int changed[2], int all[2])
{
    char path[2][400];
    snprintf(path[0], sizeof path[0], "%s/%s/" VAE_FILE, dir, a);
    snprintf(path[1], sizeof path[1], "%s/%s/" VAE_FILE, dir, b);
    im_safetensors *x = im_st_open(c, path[0]), *y = im_st_open(c, path[1]);
    no_error();
    ck_assert_int_eq(im_st_count(x), im_st_count(y));
    changed[0] = changed[1] = all[0] = all[1] = 0;
    for (int i = 0; i < im_st_count(x); i++) {
        const im_st_entry *e = im_st_at(x, i), *f = im_st_find(y, e->name);
        ck_assert_ptr_nonnull(f);
        ck_assert_uint_eq(e->bytes, f->bytes);
        int half = of_encoder(e->name) ? 0 : 1;
        all[half]++;
        changed[half] += memcmp(e->data, f->data, e->bytes) != 0;
    }
    im_st_close(x);
    im_st_close(y);
}

static char *config_of(const char *run)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s/vae", dir, run);
    char *text = im_vae_folder_text(c, path);
    no_error();
    return text;
}

START_TEST(decoder_alone)
{
    int changed[2], all[2];
    train("first", NULL, NULL, 2, 0, 1);
    no_error();
    train("second", "first/vae", "decoder", 3, 0.5f, 2);
    no_error();
    differences("first", "second", changed, all);
    ck_assert_int_eq(changed[0], 0);
    ck_assert_int_gt(all[0], 20);
    ck_assert_msg(changed[1] == all[1], "%d of the decoder's %d tensors have changed", changed[1], all[1]);
    char *before = config_of("first"), *after = config_of("second");
    ck_assert_ptr_nonnull(strstr(before, "scaling_factor"));
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
    ck_assert(!im_is_file(at("second/model.safetensors")));
    im_safetensors *s = im_st_open(c, at("second/checkpoints/step-00000003.safetensors"));
    no_error();
    for (int i = 0; i < im_st_count(s); i++)
        ck_assert_msg(!of_encoder(im_st_at(s, i)->name), "%s is in the checkpoint", im_st_at(s, i)->name);
    im_st_close(s);
}
END_TEST

/* The same step with and without a learning encoder: the decoder's gradient does not know of it. */
START_TEST(same_gradient)
{
    int changed[2], all[2];
    train("first", NULL, NULL, 1, 0, 1);
    train("both", "first/vae", "all", 1, 0, 2);
    train("alone", "first/vae", "decoder", 1, 0, 2);
    no_error();
    differences("both", "alone", changed, all);
    ck_assert_int_eq(changed[1], 0);
    ck_assert_int_gt(changed[0], all[0] / 2);
    differences("first", "alone", changed, all);
    ck_assert_int_gt(changed[1], all[1] / 2);
}
END_TEST

START_TEST(refusals)
{
    train("x", NULL, "decoder", 1, 0, 1);
    WANT_ERROR("--train decoder", "--init");
    ck_assert(!im_is_folder(at("x")));
    train("x", NULL, "encoder", 1, 0, 1);
    WANT_ERROR("--train is \"encoder\"; wanted one of all|decoder");
    train("first", NULL, NULL, 1, 0, 1);
    train("other", NULL, NULL, 1, 0, 3);
    train("run", "first/vae", "decoder", 1, 0, 2);
    no_error();
    train("run", "other/vae", "decoder", 1, 0, 2);
    WANT_ERROR("run", "other weights");
}
END_TEST

/* ---------------------------------------------------------------- what is measured */

typedef struct measured { double psnr, deviation; } measured;

/* In plain loops, of the network in RUN/vae: PSNR of pictures in folder and the deviation of their latents. */
static measured measure(const char *run, const char *folder)
{
    im_vae_config cfg;
    char path[500];
    snprintf(path, sizeof path, "%s/%s/vae", dir, run);
    im_vae *m = im_vae_folder_open(c, path, &cfg, true);
    no_error();
    double psnr = 0, sum = 0, square = 0, n = 0, pictures = 0;
    for (int shape = 0; shape < SHAPES; shape++)
        for (int i = 0; i < 200; i++) {
            snprintf(path, sizeof path, "%s/%s/%04d.png", folder, shape_names[shape], i);
            if (!im_is_file(path))
                continue;
            im_image *p = im_picture_read(c, path);
            im_scope_push(c);
            im_tensor *x = im_new(c, IM_F32, 4, (int64_t[]){ 1, SIZE, SIZE, 3 });
            for (int k = 0; k < SIZE * SIZE * 3; k++)
                ((float *)im_data(x))[k] = (float)p->pixels[k] / 127.5f - 1;
            im_image_free(p);
            im_tensor *moments = im_vae_encode(c, m, x);
            im_tensor *z = im_contiguous_copy(c, im_slice(c, moments, 3, 0, cfg.latent_channels));
            im_tensor *y = im_vae_decode(c, m, z);
            no_error();
            for (int64_t k = 0; k < im_numel(z); k++, n++) {
                double v = ((float *)im_data(z))[k];
                sum += v;
                square += v * v;
            }
            double errors = 0;
            for (int64_t k = 0; k < im_numel(y); k++) {
                double v = fmin(fmax(((float *)im_data(y))[k], -1), 1), e = v - ((float *)im_data(x))[k];
                errors += e * e;
            }
            psnr += 10 * log10(4 / (errors / (double)im_numel(y)));
            pictures++;
            im_scope_pop(c);
        }
    im_vae_free(m);
    return (measured){ psnr / pictures, sqrt(square / n - sum / n * (sum / n)) };
}

START_TEST(averages_are_measured)
{
    double said = 0;
    train("run", NULL, NULL, 6, 0.9f, 1);
    no_error();
    for (const char *p = notes; (p = strstr(p, "PSNR ")); p++)                           /* the last one         */
        said = strtod(p + 5, NULL);
    measured held_out = measure("run", held), seen = measure("run", data);
    ck_assert_msg(fabs(held_out.psnr - said) < 0.0051, "PSNR of RUN/vae is %.4f, the run said %.2f", held_out.psnr, said);
    char *text = config_of("run");
    double scaling = strtod(strstr(text, "scaling_factor\": ") + 17, NULL);
    free(text);
    ck_assert_msg(fabs(scaling * seen.deviation - 1) < 1e-4, "latents of deviation %.6f are scaled by %.6f",
                  seen.deviation, scaling);
    /* and the weights themselves, which a run without averages ends with, are others: young averages are near them, and
     * the run's figure has two decimals */
    train("raw", NULL, NULL, 6, 0, 1);
    measured raw = measure("raw", held);
    ck_assert_msg(fabs(raw.psnr - said) > 0.015, "PSNR is %.3f with averages, %.3f without", said, raw.psnr);
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(decoder_alone), ONCE(same_gradient), ONCE(refusals), ONCE(averages_are_measured),
    };
    return suite_run("autoencoder", prepare, teardown, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
