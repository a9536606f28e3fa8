/* train_decoder.c: trains a tiny autoencoder for the latents of a larger one, as TAESD is for those of Stable Diffusion
 * (madebyollin/taesd; the network is vae_tiny.c). Of a picture x the large one, which stays as it is, gives
 *
 *     mean, logvar = encode(x),  z = scaling_factor (mean + exp(logvar / 2) noise),  y = decode(z / scaling_factor)
 *     loss = mean (tiny_decode(z) - y)^2 + mean (tiny_encode(x) - scaling_factor mean)^2
 *
 * so the tiny one reads and gives latents as a UNet has them, and its own scaling_factor is 1. With --target picture, y is
 * x. Its halves share nothing but the sum. Draws are functions of the seed and the number of the picture in the run
 * (autoencoder_set.h). Used by `imago train decoder`. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "models/checkpoints/config.h"
#include "models/checkpoints/vae_file.h"
#include "models/nets/resnet.h"
#include "models/train/autoencoder_set.h"
#include "models/train/diffusion_loss.h"
#include "models/train/train_memory.h"

#define AT(field) offsetof(im_train_decoder_args, field)
static const im_field fields[] = {
    IM_TEXT_FIELD("vae", AT(vae), IM_PATH | IM_MUST_BE),
    IM_TEXT_FIELD("val", AT(val), IM_PATH),
    IM_INT_FIELD("size", AT(size), IM_DECIDES, { 0, 4096 }),
    IM_REAL_FIELD("flip", AT(flip), IM_DECIDES, { 0, 1 }),
    IM_INT_FIELD("shift", AT(shift), IM_DECIDES, { 0, 512 }),
    IM_INT_FIELD("width", AT(width), IM_DECIDES, { 0, 4096 }),
    IM_INT_FIELD("blocks", AT(blocks), IM_DECIDES, { 0, 64 }),
    IM_WORD_FIELD("target", AT(target), IM_DECIDES, "decoded|picture"),
    IM_NO_FIELD
};
static const im_field *const tables[] = { im_train_common_fields, fields, NULL };

const im_field *const *im_train_decoder_fields(void) { return tables; }

im_train_decoder_args im_train_decoder_defaults(void)
{
    return (im_train_decoder_args){
        .common = { .epochs = 100, .batch = 16, .accumulate = 1, .warmup = -1, .schedule = "cosine", .optimizer = "adamw",
                    .momentum = 0.9f, .decay = -1, .clip = 1, .ema = 0.999f, .dtype = "f32", .order = "shuffled",
                    .cache = "none", .keep = 3 },
        .target = "decoded", .flip = 0.5f, .shift = 2 };
}

im_train_config *im_train_decoder_config(im_ctx *c, const char *run, im_train_decoder_args *a,
                                         bool (*given)(void *arg, const char *option), void *arg)
{
    im_train_decoder_args theirs = im_train_decoder_defaults();
    return im_config_merge(c, run, "decoder", tables, a, &theirs, given, arg);
}

typedef struct training {
    im_ctx *c;
    im_train_decoder_args *a;
    im_vae_config large_cfg, cfg;                              /* of the VAE that is learnt from; of the tiny one     */
    im_vae *large, *tiny;
    char *config;                                              /* text of the tiny one's config.json                  */
    im_ae_set set;
    im_ranks *ranks;
    char large_hash[65];
} training;

/* ---------------------------------------------------------------- one part of a step */

/* What the VAE says of x (B, H, W, 3). noise (B, h, w, C); NULL: z is the mean, and y what it makes of that. */
static bool ask(const training *t, im_tensor *x, im_tensor *noise, im_tiny_lesson *l)
{
    im_ctx *c = t->c;
    float s = t->large_cfg.scaling_factor;
    bool decoded = !noise || !strcmp(t->a->target, "decoded");
    im_scope_push(c);
    im_tensor *moments = im_vae_encode(c, t->large, x);                                  /* (B, h, w, 2C)   */
    im_tensor *mean = moments ? im_contiguous_copy(c, im_slice(c, moments, 3, 0, t->cfg.latent_channels)) : NULL;
    im_tensor *z = mean && noise ? im_gaussian_sample(c, moments, noise) : mean;         /* (B, h, w, C)    */
    im_tensor *y = z && decoded ? im_vae_decode(c, t->large, z) : NULL;                  /* (B, H, W, 3)    */
    *l = (im_tiny_lesson){ .x = x, .y = decoded ? im_keep(c, y) : x };
    l->mean = im_keep(c, mean ? im_scale(c, mean, s) : NULL);
    l->z = im_keep(c, z ? im_scale(c, z, s) : NULL);
    im_scope_pop(c);
    return im_ok(c);
}

static bool run_part(void *arg, int64_t number, im_loop_result *r)
{
    training *t = arg;
    im_ctx *c = t->c;
    const im_batch *b = im_pictures_batch(&t->set.pictures, number);
    im_tiny_lesson l;
    if (!b)
        return false;
    im_scope_push(c);
    im_tensor *x = im_ae_set_views(&t->set, b, number), *noise = im_ae_set_noise(&t->set, b->n, number);
    if (x && noise && ask(t, x, noise, &l)) {
        im_tape_begin(c);
        im_loop_loss(c, r, b->n, im_tiny_loss(c, t->tiny, &l));
    }
    im_scope_pop(c);
    return im_ok(c);
}

static bool begin(void *arg, int64_t first)
{
    training *t = arg;
    return im_pictures_open(&t->set.pictures, first);
}

/* ---------------------------------------------------------------- measuring */

typedef struct measure { training *t; double psnr; } measure;

static bool measure_batch(void *arg, im_tensor *x)
{
    measure *m = arg;
    im_ctx *c = m->t->c;
    im_tiny_lesson l;
    im_tensor *y = ask(m->t, x, NULL, &l) ? im_vae_decode(c, m->t->tiny, l.z) : NULL;
    float *want = im_values(c, y ? l.y : NULL), *got = im_values(c, y);
    if (want && got)
        m->psnr += im_ae_psnr(want, got, x->shape[0], im_numel(x) / x->shape[0]);
    free(want);
    free(got);
    return im_ok(c);
}

/* How near the tiny decoder comes to the large one, in dB; of the averaged weights, where there are any. */
static double score(void *arg)
{
    measure m = { .t = arg };
    int64_t pictures = im_ae_set_each(&m.t->set, m.t->set.val, measure_batch, &m);
    return im_ae_set_score(&m.t->set, m.psnr, pictures, " against the VAE's own decoder");
}

/* The networks hold their averages where there are any: RUN/vae is what was measured. */
static bool saved(void *arg, const im_run_folder *run, const im_optimiser *o, bool last)
{
    training *t = arg;
    (void)last;
    (void)o;
    im_write_broken(t->set.pictures.loader, run);
    char *folder = im_run_file(run, "vae");
    bool ok = folder && im_vae_folder_save(t->c, t->tiny, folder, t->config, 0);
    free(folder);
    return ok;
}

/* ---------------------------------------------------------------- the run */

/* The hash is of its plain weights, in the order of files; then it is opened to be used. */
static bool open_large(training *t)
{
    im_ctx *c = t->c;
    if (!t->a->vae)
        return im_fail(c, "there is no VAE to learn from: --vae FOLDER, a model or a VAE");
    im_vae *plain = im_vae_any_open(c, t->a->vae, &t->large_cfg, true);
    bool ok = plain && im_vae_folder_hash(c, plain, t->large_hash);
    im_vae_free(plain);
    if (ok && t->large_cfg.tiny.levels)
        return im_fail(c, "%s: is a tiny VAE itself (AutoencoderTiny); wanted the AutoencoderKL that a tiny one is to be "
                       "like", t->a->vae);
    return ok && (t->large = im_vae_any_open(c, t->a->vae, &t->large_cfg, false)) != NULL;
}

/* All levels of a half have as many blocks, but the finest, which has one: TAESD's 1, 3, 3, 3. */
static void shape_of(training *t)
{
    const im_vae_config *large = &t->large_cfg;
    int levels = large->levels, width = t->a->width ? t->a->width : 64, blocks = t->a->blocks ? t->a->blocks : 3;
    t->cfg = im_tiny_config_default();
    t->cfg.tiny = (im_tiny_config){ .levels = levels, .encoder = { .channels = width }, .decoder = { .channels = width } };
    for (int i = 0; i < levels; i++) {
        t->cfg.tiny.encoder.blocks[i] = i ? blocks : 1;
        t->cfg.tiny.decoder.blocks[i] = i < levels - 1 ? blocks : 1;
        t->cfg.channels[i] = width;
    }
    t->cfg.levels = levels;
    t->cfg.latent_channels = large->latent_channels;
}

static bool as_asked(training *t, const char *option, int asked, int found)
{
    return !asked || asked == found ||
           im_fail(t->c, "%s: its %s is %d, and --%s is %d; leave that out to train this one on", t->a->common.init, option,
                   found, option, asked);
}

static bool load_init(training *t, const char *from)
{
    im_ctx *c = t->c;
    const im_vae_config *large = &t->large_cfg;
    if (!(t->tiny = im_vae_any_open(c, from, &t->cfg, true)))
        return false;
    if (!t->cfg.tiny.levels)
        return im_fail(c, "%s: is an AutoencoderKL; wanted a tiny VAE (AutoencoderTiny) to begin with", from);
    if (t->cfg.scaling_factor != 1)
        return im_fail(c, "%s: its scaling_factor is %g; wanted 1: a tiny VAE is trained on latents as a UNet has them",
                       from, (double)t->cfg.scaling_factor);
    if (t->cfg.latent_channels != large->latent_channels || im_vae_factor(&t->cfg) != im_vae_factor(large))
        return im_fail(c, "%s: its latents have %d channels and stand for %d pixels a side; wanted %d and %d, as %s has "
                       "them", from, t->cfg.latent_channels, im_vae_factor(&t->cfg), large->latent_channels,
                       im_vae_factor(large), t->a->vae);
    return as_asked(t, "width", t->a->width, t->cfg.tiny.decoder.channels) &&
           as_asked(t, "blocks", t->a->blocks, t->cfg.tiny.decoder.blocks[0]);
}

static bool draw_weights(training *t, im_part_params parts[2])
{
    im_ctx *c = t->c;
    parts[0].params->train = parts[1].params->train = true;
    bool ok = im_train_weights_fit(c, &t->a->common, (im_train_way){ .ranks = t->ranks->size }, parts, 2);
    for (int half = 0; half < 2; half++)
        ok = ok && im_init_params_as(parts[half].params, t->a->common.seed, IM_INIT_TORCH);
    return ok;
}

typedef struct both { im_part_params part[2]; } both;

static both parts_of(const training *t)
{
    return (both){ { { im_vae_params(t->tiny, IM_VAE_DECODER), "" }, { im_vae_params(t->tiny, IM_VAE_ENCODER), "" } } };
}

static bool open_networks(training *t)
{
    const char *init = t->a->common.init;
    if (!open_large(t))
        return false;
    if (init && !load_init(t, init))
        return false;
    if (!init) {
        shape_of(t);
        if (!(t->tiny = im_vae_new(t->c, &t->cfg)) || !draw_weights(t, parts_of(t).part))
            return false;
    }
    t->a->width = t->cfg.tiny.decoder.channels;
    t->a->blocks = t->cfg.tiny.decoder.blocks[0];
    return (t->config = im_tiny_config_text(t->c, &t->cfg)) != NULL;
}

/* A part of a step; in: x, y, z, mean (im_tiny_lesson). */
static im_tensor *forward(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    const training *t = arg;
    (void)n_in;
    return im_tiny_loss(c, t->tiny, &(im_tiny_lesson){ .x = in[0], .y = in[1], .z = in[2], .mean = in[3] });
}

static bool step_fits(training *t, const im_part_params parts[])
{
    im_ctx *c = t->c;
    int64_t n = t->a->common.batch, size = t->set.pictures.size, side = im_ae_set_side(&t->set);
    int64_t picture[4] = { n, size, size, 3 }, latent[4] = { n, side, side, t->cfg.latent_channels };
    im_scope_push(c);
    im_tensor *in[4] = { im_new(c, IM_F32, 4, picture), im_new(c, IM_F32, 4, picture), im_new(c, IM_F32, 4, latent),
                         im_new(c, IM_F32, 4, latent) };
    bool ok = im_train_step_fits(c, &t->a->common, (im_train_way){ .ranks = t->ranks->size }, parts, 2, forward, t, in, 4);
    im_scope_pop(c);
    return ok;
}

static bool train(training *t, bool begun)
{
    im_ctx *c = t->c;
    im_run_folder run = { .c = c, .lock = -1, .log = -1 };
    if (!open_networks(t) || !im_ae_set_open(&t->set, t->a->val, t->a->size, t->ranks))
        return false;
    both b = parts_of(t);
    b.part[0].params->recompute = b.part[1].params->recompute = t->a->common.recompute;
    im_config_extra extra = { .task = "decoder", .data_sha256 = t->set.hash, .pictures = t->set.data->count,
                              .vae_sha256 = t->large_hash };
    int64_t parts_an_epoch = im_pictures_batches(&t->set.pictures);
    char *config = im_train_config_text(t->ranks, tables, &t->a->common, &extra, begun, parts_an_epoch);
    im_loop_task task = { .arg = t, .ranks = t->ranks, .parts = b.part, .n_parts = 2, .averaged = true,
                          .parts_an_epoch = parts_an_epoch, .fields = tables, .begin = begin, .part = run_part,
                          .score = t->set.val ? score : NULL, .score_name = "val_psnr", .saved = saved };
    bool ok = config && step_fits(t, b.part) && im_train_open_run(t->ranks, &run, t->a->common.out) &&
              im_train_loop(c, &run, &t->a->common, config, &task, t->set.hooks);
    im_run_close(&run);
    free(config);
    return ok;
}

bool im_train_decoder(im_ctx *c, const im_train_decoder_args *args, const im_train_hooks *hooks)
{
    im_train_decoder_args a = *args;
    bool begun = false;
    im_ranks ranks;
    im_train_hooks own;
    training t = { .c = c, .a = &a, .ranks = &ranks };
    t.set = (im_ae_set){ .c = c, .a = &a.common, .cfg = &t.large_cfg, .hooks = &own, .flip = a.flip, .shift = a.shift };
    bool ok = im_train_join(c, &a.common, &ranks, hooks, &own) && im_train_begin(c, tables, &a.common, 1e-3, &begun) &&
              train(&t, begun);
    im_ranks_leave(&ranks);
    im_ae_set_close(&t.set);
    im_vae_free(t.tiny);
    im_vae_free(t.large);
    free(t.config);
    return ok;
}
