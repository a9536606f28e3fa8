/* test_grad_networks.c: gradients of all parameters and of the inputs of CLIP, the UNet and the VAE of small models, beside
 * those of torch (transformers, diffusers) computed in f64: tests/golden/README.md, "Gradients of networks". With two
 * threads, on the best instruction set, on avx2 and on ref; recomputing (im_recompute) gives the same bits as keeping.
 * And of a LoRA under training, beside PEFT's, and of a tiny autoencoder, beside diffusers'. */
#include "classifier.h"

#include "golden_tensors.h"
#include "models/checkpoints/checkpoint.h"
#include "models/checkpoints/vae_file.h"
#include "models/nets/clip.h"
#include "models/train/diffusion_loss.h"
#include "models/train/train_adapters.h"
#include "models/nets/unet.h"
#include "models/nets/vae.h"
#include "tensor/tensor.h"

/* Asked for: 1e-4; torch in f32 is itself within 2.2e-6 of the whole, 1.8e-5 of single parameters (networks' json). */
static const double TOLERANCE = 1e-4;
static const char GOLDEN[] = "tests/golden/network_gradients.safetensors.gz";
static const char *const devices[] = { "", "avx2", "ref" };
static const char *const models[] = { "a", "b" };
enum { RUNS = 6 };                       /* every model on every device                                               */

static char net[32], own[64];            /* "unet_a"; its goldens of networks                                         */
static im_checkpoint *checkpoint;

static void open_model(const char *kind, int i)
{
    char path[64];
    open_ctx(devices[i / 2], 2);
    golden = golden_tensors(c, GOLDEN);
    snprintf(net, sizeof net, "%s_%s", kind, models[i % 2]);
    snprintf(path, sizeof path, "tests/golden/models/%s", models[i % 2]);
    snprintf(own, sizeof own, "tests/golden/networks_%s.safetensors.gz", models[i % 2]);
    checkpoint = im_checkpoint_open(c, path);
    no_error();
}

static void close_model(void)
{
    no_error();
    im_checkpoint_close(checkpoint);
    im_st_close(golden);
    im_ctx_free(c);
}

static void load(im_part part, im_params *p)
{
    p->train = true;
    im_checkpoint_load(checkpoint, part, p, IM_F32);
    no_error();
}

static im_tensor *hashed(const char *what, int ndim, const int64_t shape[])
{
    char name[64];
    im_tensor *t = im_new(c, IM_F32, ndim, shape);
    no_error();
    snprintf(name, sizeof name, "%s.%s", net, what);
    hashed_fill(name, im_numel(t), 1, 0, im_data(t));
    return t;
}

/* Squares of what is wrong with a gradient of n values against 18 golden numbers, scaled to the whole of it. */
static void compare_samples(const char *name, const double got[SAMPLES], const float *want, double all)
{
    if (want[0] < 1e-6 * all) {                                /* zero but for rounding                               */
        ck_assert_msg(got[0] < 1e-5 * all, "%s: |d%s| is %g, wanted next to nothing", net, name, got[0]);
        return;
    }
    ck_assert_msg(fabs(got[0] - want[0]) < TOLERANCE * want[0], "%s: |d%s| is %.9g, wanted %.9g", net, name, got[0],
                  (double)want[0]);
    double off = 0;
    for (int k = 2; k < SAMPLES; k++)
        off += (got[k] - want[k]) * (got[k] - want[k]);
    ck_assert_msg(sqrt(off / (SAMPLES - 2)) < TOLERANCE * want[0], "%s: samples of d%s are off by %g, of %g", net, name,
                  sqrt(off / (SAMPLES - 2)), (double)want[0]);
}

static double norm_of_all(void)
{
    double sum = 0;
    const im_st_entry *rows = found("%s.grad", net);
    for (int64_t i = 0; i < rows->shape[0]; i++) {
        double norm = ((const float *)rows->data)[i * SAMPLES];
        sum += norm * norm;
    }
    return sqrt(sum);
}

static void compare_params(const im_params *p)
{
    double all = norm_of_all(), got[SAMPLES];
    for (int i = 0; i < p->n; i++) {
        const im_param *q = &p->v[i];
        ck_assert_msg(q->t->grad && q->t->grad_set, "%s: %s got no gradient", net, q->t->name);
        samples_of(q, im_data(q->t->grad), got);
        compare_samples(q->t->name, got, sampled_of(net, "grad", q->t->name), all);
    }
}

static void compare_input(const im_tensor *x, const char *what)
{
    const im_st_entry *want = found("%s.%s", net, what);       /* whole, in our layout                                */
    ck_assert_uint_eq(want->bytes, (size_t)im_numel(x) * sizeof(float));
    double off = distance(im_data(x->grad), want->data, im_numel(x));
    ck_assert_msg(off < TOLERANCE, "%s: %s is off by %g", net, what, off);
}

static void loss_and_back(im_tensor *loss)
{
    no_error();
    double got = *(float *)im_data(loss), want = *(const float *)found("%s.loss", net)->data;
    ck_assert_msg(fabs(got - want) < 1e-5 * want, "%s: the loss is %.9g, wanted %.9g", net, got, want);
    im_backward(c, loss);
    no_error();
}

static void backward(im_tensor *out)
{
    im_tensor *target = out ? hashed("target", out->ndim, out->shape) : NULL;
    loss_and_back(im_mse(c, out, target, NULL));
}

START_TEST(clip_gradients)
{
    open_model("clip", _i);
    im_clip *m = im_clip_new(c, &im_checkpoint_config(checkpoint)->clip);
    load(IM_PART_CLIP, im_clip_params(m));
    im_scope_push(c);
    int64_t tokens = im_checkpoint_config(checkpoint)->clip.max_position_embeddings;
    im_safetensors *s = golden_tensors(c, own);
    im_tensor *ids = im_new(c, IM_I32, 2, (int64_t[]){ 3, tokens });
    for (int64_t i = 0; i < 3 * tokens; i++) {
        char name[32];
        snprintf(name, sizeof name, "clip.%d.ids", (int)(i / tokens));
        ((int32_t *)im_data(ids))[i] = (int32_t)((const int64_t *)im_st_find(s, name)->data)[i % tokens];
    }
    im_st_close(s);
    im_tape_begin(c);
    backward(im_clip_forward(c, m, ids));
    compare_params(im_clip_params(m));
    im_scope_pop(c);
    im_clip_free(m);
    close_model();
}
END_TEST

START_TEST(unet_gradients)
{
    open_model("unet", _i);
    const im_model_config *cfg = im_checkpoint_config(checkpoint);
    im_unet *m = im_unet_new(c, &cfg->unet);
    load(IM_PART_UNET, im_unet_params(m));
    im_scope_push(c);
    im_tensor *x = hashed("x", 4, (int64_t[]){ 2, 16, 16, 4 });
    im_tensor *text = hashed("text", 3, (int64_t[]){ 2, cfg->clip.max_position_embeddings, cfg->clip.hidden_size });
    im_tensor *t = im_from(c, IM_F32, 1, (int64_t[]){ 2 }, (float[]){ 17, 640 });
    im_tensor *kv[64];
    ck_assert_int_le(im_unet_context_count(m), 64);
    im_want_grad(c, x);
    im_want_grad(c, text);
    im_tape_begin(c);
    im_unet_context(c, m, text, kv);
    backward(im_unet_forward(c, m, x, t, kv));
    compare_params(im_unet_params(m));
    compare_input(x, "dx");
    compare_input(text, "dtext");
    im_scope_pop(c);
    im_unet_free(m);
    close_model();
}
END_TEST

START_TEST(vae_gradients)
{
    open_model("vae", _i);
    const im_vae_config *cfg = &im_checkpoint_config(checkpoint)->vae;
    im_vae *m = im_vae_new(c, cfg);
    load(IM_PART_VAE, im_vae_params(m, IM_VAE_DECODER));
    load(IM_PART_VAE, im_vae_params(m, IM_VAE_ENCODER));
    im_scope_push(c);
    int64_t side = 32 / im_vae_factor(cfg);
    im_tensor *x = hashed("x", 4, (int64_t[]){ 2, 32, 32, 3 });
    im_tensor *eps = hashed("eps", 4, (int64_t[]){ 2, side, side, cfg->latent_channels });
    im_want_grad(c, x);
    im_tape_begin(c);
    backward(im_vae_decode(c, m, im_gaussian_sample(c, im_vae_encode(c, m, x), eps)));
    compare_params(im_vae_params(m, IM_VAE_DECODER));
    compare_params(im_vae_params(m, IM_VAE_ENCODER));
    compare_input(x, "dx");
    im_scope_pop(c);
    im_vae_free(m);
    close_model();
}
END_TEST

/* What `imago train decoder` minimises; every second run computes blocks again. */
START_TEST(tiny_gradients)
{
    im_vae_config cfg;
    int64_t picture[] = { 2, 16, 24, 3 }, latent[] = { 2, 2, 3, 4 };
    open_model("vae", _i / 2 * 2);
    im_st_close(golden);
    golden = golden_tensors(c, "tests/golden/tiny_training.safetensors.gz");
    snprintf(net, sizeof net, "tiny");
    im_vae *m = im_vae_any_open(c, "tests/golden/tiny_vae", &cfg, true);
    no_error();
    im_scope_push(c);
    im_params *halves[2] = { im_vae_params(m, IM_VAE_DECODER), im_vae_params(m, IM_VAE_ENCODER) };
    halves[0]->recompute = halves[1]->recompute = _i % 2;
    const im_tiny_lesson l = { .x = hashed("x", 4, picture), .y = hashed("y", 4, picture), .z = hashed("z", 4, latent),
                               .mean = hashed("mean", 4, latent) };
    im_tape_begin(c);
    loss_and_back(im_tiny_loss(c, m, &l));
    ck_assert_int_eq(halves[0]->n + halves[1]->n, found("tiny.grad")->shape[0]);
    compare_params(halves[0]);
    compare_params(halves[1]);
    im_scope_pop(c);
    im_vae_free(m);
    close_model();
}
END_TEST

/* ---------------------------------------------------------------- adapters beside frozen weights */

enum { RANK = 4, ROWS = 2 };

/* Factors of hashed values, as golden_lora_training.py has them. */
static void fill_factors(im_params *p)
{
    for (int i = 0; i < p->n; i++) {
        im_tensor *t = p->v[i].t;
        hashed_fill(t->name, im_numel(t), 0.2f, 0, im_data(t));
    }
}

static void wants_nothing(const im_params *p)
{
    for (int i = 0; i < p->n; i++)
        ck_assert_msg(!p->v[i].t->wants_grad && !p->v[i].t->grad, "%s has a gradient", p->v[i].t->name);
}

/* Two captions as ids, hashed latents and noise. */
static im_diffusion_batch lora_batch(void)
{
    int32_t ids[ROWS * 77];
    int64_t latent[] = { ROWS, 8, 8, 4 };
    im_safetensors *s = golden_tensors(c, own);
    for (int i = 0; i < ROWS * 77; i++) {
        char name[32];
        snprintf(name, sizeof name, "clip.%d.ids", i / 77);
        ids[i] = (int32_t)((const int64_t *)im_st_find(s, name)->data)[i % 77];
    }
    im_st_close(s);
    snprintf(net, sizeof net, "lora");
    return (im_diffusion_batch){ .x = hashed("x", 4, latent), .noise = hashed("noise", 4, latent),
                                 .t = im_from(c, IM_F32, 1, latent, (float[]){ 17, 640 }),
                                 .ids = im_from(c, IM_I32, 2, (int64_t[]){ ROWS, 77 }, ids) };
}

/* alpha 4 in the UNet and 6 in the text encoder: one file has one, so the second is set by hand. */
static void scale_text(im_trained_lora *l, im_clip *clip)
{
    const im_params *p = im_clip_params(clip);
    for (int i = 0; i < p->n; i++)
        if (p->v[i].layer && p->v[i].layer->adapter)
            ((im_adapter *)(uintptr_t)p->v[i].layer->adapter)->scale = 1.5f;
    fill_factors(&l->unet);
    fill_factors(&l->clip);
}

/* Every second run computes blocks again. */
START_TEST(lora_gradients)
{
    open_model("unet", _i / 2 * 2);
    im_st_close(golden);
    golden = golden_tensors(c, "tests/golden/lora_training.safetensors.gz");
    const im_model_config *cfg = im_checkpoint_config(checkpoint);
    im_clip *clip = im_clip_new(c, &cfg->clip);
    im_unet *unet = im_unet_new(c, &cfg->unet);
    im_trained_lora l;
    const im_train_diffusion_args a = { .lora = RANK, .lora_text = true, .lora_alpha = RANK };
    ck_assert(im_trained_lora_open(c, &l, &a, unet, clip));
    im_unet_params(unet)->recompute = _i % 2;
    im_checkpoint_load(checkpoint, IM_PART_UNET, im_unet_params(unet), IM_F32);
    im_checkpoint_load(checkpoint, IM_PART_CLIP, im_clip_params(clip), IM_F32);
    scale_text(&l, clip);
    im_scope_push(c);
    im_diffusion_batch b = lora_batch();
    im_tape_begin(c);
    loss_and_back(im_diffusion_loss(c, unet, clip, &b));
    snprintf(net, sizeof net, "lora_unet");
    ck_assert_int_eq(l.unet.n, found("lora_unet.grad")->shape[0]);
    compare_params(&l.unet);
    snprintf(net, sizeof net, "lora_clip");
    ck_assert_int_eq(l.clip.n, found("lora_clip.grad")->shape[0]);
    compare_params(&l.clip);
    wants_nothing(im_unet_params(unet));
    wants_nothing(im_clip_params(clip));
    im_scope_pop(c);
    im_unet_free(unet);
    im_clip_free(clip);
    im_trained_lora_close(&l);
    close_model();
}
END_TEST

/* A is normal with deviation 1 / r, B zero: within four deviations of what so many numbers of it have. */
START_TEST(lora_begins_as_peft_does)
{
    open_model("unet", 0);
    im_clip *clip = im_clip_new(c, &im_checkpoint_config(checkpoint)->clip);
    im_unet *unet = im_unet_new(c, &im_checkpoint_config(checkpoint)->unet);
    im_trained_lora l;
    double sum = 0, squares = 0, n = 0;
    ck_assert(im_trained_lora_open(c, &l, &(im_train_diffusion_args){ .lora = RANK, .lora_alpha = RANK }, unet, clip));
    ck_assert_int_eq(l.clip.n, 0);
    for (int i = 0; i < l.unet.n; i++) {
        const im_tensor *t = l.unet.v[i].t;
        for (int64_t k = 0; k < im_numel(t); k++) {
            double x = ((const float *)im_data(t))[k] * RANK;
            ck_assert(strstr(t->name, ".lora_A.weight") || x == 0);
            sum += x;
            squares += x * x;
        }
        n += strstr(t->name, ".lora_A.weight") ? (double)im_numel(t) : 0;
    }
    ck_assert(n > 1000 && fabs(sum / n) < 4 / sqrt(n) && fabs(squares / n - 1) < 4 * sqrt(2 / n));
    im_unet_free(unet);
    im_clip_free(clip);
    im_trained_lora_close(&l);
    close_model();
}
END_TEST

/* ---------------------------------------------------------------- computing again instead of keeping */

static im_tensor *whole_clip(im_ctx *ctx, void *arg, im_tensor *const in[], int n)
{
    (void)n;
    return im_clip_forward(ctx, arg, in[0]);
}

/* Norms of all gradients of model a's text encoder, bit by bit. */
static void clip_grads(im_clip *m, im_tensor *ids, bool again, float *out)
{
    const im_params *p = im_clip_params(m);
    im_scope_push(c);
    for (int i = 0; i < p->n; i++)
        im_zero_grad(p->v[i].t);
    im_tape_begin(c);
    im_tensor *y = again ? im_recompute(c, whole_clip, m, &ids, 1) : im_clip_forward(c, m, ids);
    im_backward(c, im_mse(c, y, hashed("again", y->ndim, y->shape), NULL));
    no_error();
    for (int i = 0; i < p->n; i++) {
        memcpy(out, im_data(p->v[i].t->grad), (size_t)im_numel(p->v[i].t) * sizeof *out);
        out += im_numel(p->v[i].t);
    }
    im_scope_pop(c);
}

START_TEST(recomputing_gives_the_same_bits)
{
    open_model("clip", 0);
    im_clip *m = im_clip_new(c, &im_checkpoint_config(checkpoint)->clip);
    load(IM_PART_CLIP, im_clip_params(m));
    int64_t n = im_params_numel(im_clip_params(m));
    float *kept = malloc((size_t)n * sizeof *kept), *again = malloc((size_t)n * sizeof *again);
    im_scope_push(c);
    int64_t shape[] = { 2, 9 };
    im_tensor *ids = im_new(c, IM_I32, 2, shape);
    for (int i = 0; i < 18; i++)
        ((int32_t *)im_data(ids))[i] = (i * 37) % 500;
    clip_grads(m, ids, false, kept);
    clip_grads(m, ids, true, again);
    ck_assert_int_eq(memcmp(kept, again, (size_t)n * sizeof *kept), 0);
    im_scope_pop(c);
    free(kept);
    free(again);
    im_clip_free(m);
    close_model();
}
END_TEST

int main(void)
{
    const suite_test tests[] = { LOOP(clip_gradients, RUNS), LOOP(unet_gradients, RUNS), LOOP(vae_gradients, RUNS),
                                 LOOP(tiny_gradients, RUNS),
                                 LOOP(lora_gradients, RUNS), ONCE(lora_begins_as_peft_does),
                                 ONCE(recomputing_gives_the_same_bits) };
    return suite_run("grad_networks", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
