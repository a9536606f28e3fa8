/* train_autoencoder.c: trains the autoencoder of a latent diffusion model (Rombach et al. 2022, without its adversary):
 *
 *     loss = |y - x| + gradient (|dx y - dx x| + |dy y - dy x|) + kl KL(q(z | x), N(0, 1))        (diffusion_loss.h)
 *
 * y the picture decoded from one draw of z. With --train decoder the encoder stays as it was given, and KL falls away: a
 * diffusion model that was trained on its latents can go on being used. Pictures are looked at whole: the shorter side
 * becomes `size`, the middle is cut out; then mirrored and moved by a few pixels. Draws are a function of seed and the
 * number of the picture in the run. Used by `imago train autoencoder`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "models/train/autoencoder_set.h"
#include "models/train/diffusion_loss.h"
#include "models/nets/resnet.h"
#include "models/train/train_config.h"
#include "models/train/train_memory.h"
#include "models/train/train_pictures.h"
#include "models/checkpoints/vae_folder.h"

#define AT(field) offsetof(im_train_autoencoder_args, field)
static const im_field fields[] = {
    IM_TEXT_FIELD("config", AT(config), IM_PATH | IM_MUST_BE),
    IM_TEXT_FIELD("val", AT(val), IM_PATH),
    IM_INT_FIELD("size", AT(size), IM_DECIDES, { 0, 4096 }),
    IM_REAL_FIELD("flip", AT(flip), IM_DECIDES, { 0, 1 }),
    IM_INT_FIELD("shift", AT(shift), IM_DECIDES, { 0, 512 }),
    IM_REAL_FIELD("gradient-weight", AT(gradient_weight), IM_DECIDES, { 0, 1e6 }),
    IM_REAL_FIELD("kl-weight", AT(kl_weight), IM_DECIDES, { 0, 1e6 }),
    IM_WORD_FIELD("train", AT(train), IM_DECIDES, "all|decoder"),
    IM_NO_FIELD
};
static const im_field *const tables[] = { im_train_common_fields, fields, NULL };

const im_field *const *im_train_autoencoder_fields(void) { return tables; }

im_train_autoencoder_args im_train_autoencoder_defaults(void)
{
    return (im_train_autoencoder_args){
        .common = { .epochs = 100, .batch = 16, .accumulate = 1, .warmup = -1, .schedule = "cosine", .optimizer = "adamw",
                    .momentum = 0.9f, .decay = -1, .clip = 1, .dtype = "f32", .order = "shuffled", .cache = "none",
                    .keep = 3 },
        .train = "all", .flip = 0.5f, .shift = 2, .gradient_weight = 1, .kl_weight = 1e-6f };
}

im_train_config *im_train_autoencoder_config(im_ctx *c, const char *run, im_train_autoencoder_args *a,
                                             bool (*given)(void *arg, const char *option), void *arg)
{
    im_train_autoencoder_args theirs = im_train_autoencoder_defaults();
    return im_config_merge(c, run, "autoencoder", tables, a, &theirs, given, arg);
}

typedef struct training {
    im_ctx *c;
    im_train_autoencoder_args *a;
    im_vae_config cfg;
    char *config;                                              /* text of config.json                                 */
    bool decoder;                                              /* it alone is trained                                 */
    im_vae *vae;
    im_ae_set set;
    double scaling;                                            /* 1 / deviation of the latents; 0: that of config     */
    im_ranks *ranks;
    char init_hash[65];                                        /* decoder: of the weights of --init                   */
} training;

/* ---------------------------------------------------------------- one part of a step */

static bool run_part(void *arg, int64_t number, im_loop_result *r)
{
    training *t = arg;
    im_ctx *c = t->c;
    const im_batch *b = im_pictures_batch(&t->set.pictures, number);
    im_autoencoder_weights w = { t->a->gradient_weight, t->a->kl_weight };
    im_autoencoder_loss l;
    if (!b)
        return false;
    im_scope_push(c);
    im_tensor *x = im_ae_set_views(&t->set, b, number), *noise = im_ae_set_noise(&t->set, b->n, number);
    im_tensor *z = t->decoder ? im_autoencoder_draw(c, t->vae, x, noise) : NULL;         /* before the tape      */
    if (im_tape_begin(c) && (t->decoder ? im_decoder_loss_of(c, t->vae, x, z, &w, &l, NULL)
                                        : im_autoencoder_loss_of(c, t->vae, x, noise, &w, &l, NULL)))
        im_loop_loss(c, r, b->n, l.loss);
    else
        im_loop_loss(c, r, 0, NULL);
    im_scope_pop(c);
    return im_ok(c);
}

/* ---------------------------------------------------------------- measuring */

typedef struct measure { training *t; double sum, sum2, latents, psnr; int64_t pictures; } measure;

/* x (B, size, size, 3) through mean and decoder. */
static bool measure_batch(void *arg, im_tensor *x)
{
    measure *m = arg;
    training *t = m->t;
    im_ctx *c = t->c;
    int64_t size = x->shape[1], side = im_ae_set_side(&t->set), n = x->shape[0] * side * side * t->cfg.latent_channels;
    im_tensor *moments = im_vae_encode(c, t->vae, x);
    im_tensor *mean = moments ? im_contiguous_copy(c, im_slice(c, moments, 3, 0, t->cfg.latent_channels)) : NULL;
    im_tensor *y = mean ? im_vae_decode(c, t->vae, mean) : NULL;
    float *latents = im_values(c, mean), *in = im_values(c, x), *out = im_values(c, y);
    bool ok = latents && in && out;
    for (int64_t i = 0; ok && i < n; i++) {
        double z = latents[i];
        m->sum += z;
        m->sum2 += z * z;
    }
    m->latents += (double)n;
    if (ok)
        m->psnr += im_ae_psnr(in, out, x->shape[0], 3 * size * size);
    free(latents);
    free(in);
    free(out);
    return ok;
}

static bool measure_set(training *t, const im_dataset *data, measure *m)
{
    *m = (measure){ .t = t };
    return (m->pictures = im_ae_set_each(&t->set, data, measure_batch, m)) > 0;
}

/* Mean PSNR over the pictures of the other set, in dB; of the averaged weights, where there are any. */
static double score(void *arg)
{
    training *t = arg;
    measure m;
    return measure_set(t, t->set.val, &m) ? im_ae_set_score(&t->set, m.psnr, m.pictures, "") : NAN;
}

static bool measure_scaling(training *t)
{
    measure m;
    if (!measure_set(t, t->set.data, &m))
        return false;
    double mean = m.sum / m.latents, var = m.sum2 / m.latents - mean * mean;
    t->scaling = var > 1e-12 ? 1 / sqrt(var) : 1;
    return true;
}

/* The networks hold their averages where there are any: RUN/vae is what was measured. */
static bool saved(void *arg, const im_run_folder *run, const im_optimiser *o, bool last)
{
    training *t = arg;
    (void)last;
    (void)o;
    im_write_broken(t->set.pictures.loader, run);
    if (!t->decoder && !measure_scaling(t))
        return false;
    char *folder = im_run_file(run, "vae");
    bool ok = folder && im_vae_folder_save(t->c, t->vae, folder, t->config, t->scaling);
    free(folder);
    return ok;
}

static bool begin(void *arg, int64_t first)
{
    training *t = arg;
    return im_pictures_open(&t->set.pictures, first);
}

/* ---------------------------------------------------------------- the run */

/* The folder's config.json is that of --config: the weights of --init have to fit it. */
static bool load_init(training *t, const char *from)
{
    im_vae_config theirs, *ours = &t->cfg;
    if (!(t->vae = im_vae_folder_open(t->c, from, &theirs, true)))
        return false;
    return (theirs.latent_channels == ours->latent_channels && theirs.levels == ours->levels &&
            !memcmp(theirs.channels, ours->channels, (size_t)ours->levels * sizeof *ours->channels) &&
            theirs.layers_per_block == ours->layers_per_block && theirs.norm_num_groups == ours->norm_num_groups &&
            theirs.use_quant_conv == ours->use_quant_conv && theirs.use_post_quant_conv == ours->use_post_quant_conv &&
            theirs.mid_block_add_attention == ours->mid_block_add_attention) ||
           im_fail(t->c, "%s: this autoencoder (%d latent channels, %d levels, %d to %d wide) has not the shape of %s (%d, "
                   "%d, %d to %d); give it as --config too", from, theirs.latent_channels, theirs.levels,
                   theirs.channels[0], theirs.channels[theirs.levels - 1], t->a->config, ours->latent_channels,
                   ours->levels, ours->channels[0], ours->channels[ours->levels - 1]);
}

/* Encoder and scaling_factor are those of --init, whose hash tells a resumed run that they still are. */
static bool keep_encoder(training *t, const char *from)
{
    free(t->config);
    t->config = im_vae_folder_text(t->c, from);
    return t->config && im_vae_folder_hash(t->c, t->vae, t->init_hash);
}

static bool open_network(training *t)
{
    im_ctx *c = t->c;
    t->decoder = !strcmp(t->a->train, "decoder");
    if (!t->decoder && strcmp(t->a->train, "all"))
        return im_fail(c, "--train %s: wanted all or decoder", t->a->train);
    if (t->decoder && !t->a->common.init)
        return im_fail(c, "--train decoder keeps the encoder of an autoencoder that is trained already: --init FOLDER");
    if (!t->a->config)
        return im_fail(c, "the autoencoder has no shape: --config FOLDER, with the config.json of an AutoencoderKL");
    if (!im_vae_folder_config(c, t->a->config, &t->cfg) || !(t->config = im_vae_folder_text(c, t->a->config)))
        return false;
    if (t->a->common.init)
        return load_init(t, t->a->common.init) && (!t->decoder || keep_encoder(t, t->a->common.init));
    if (!(t->vae = im_vae_new(c, &t->cfg)))
        return false;
    im_part_params parts[2];
    for (int half = 0; half < 2; half++) {
        parts[half] = (im_part_params){ im_vae_params(t->vae, (im_vae_half)half), "" };
        parts[half].params->train = true;
    }
    bool ok = im_train_weights_fit(c, &t->a->common, (im_train_way){ .ranks = t->ranks->size }, parts, 2);
    for (int half = 0; half < 2; half++)
        ok = ok && im_init_params_as(parts[half].params, t->a->common.seed, IM_INIT_TORCH);
    return ok;
}

/* A part of a step: in: x, and noise or, where the decoder alone is trained, z (diffusion_loss.h). */
static im_tensor *forward(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    const training *t = arg;
    im_autoencoder_weights w = { t->a->gradient_weight, t->a->kl_weight };
    im_autoencoder_loss l = { 0 };
    (void)n_in;
    bool ok = t->decoder ? im_decoder_loss_of(c, t->vae, in[0], in[1], &w, &l, NULL)
                         : im_autoencoder_loss_of(c, t->vae, in[0], in[1], &w, &l, NULL);
    return ok ? l.loss : NULL;
}

static bool step_fits(training *t, const im_part_params parts[], int n_parts)
{
    int64_t n = t->a->common.batch, size = t->set.pictures.size, side = im_ae_set_side(&t->set);
    im_scope_push(t->c);
    im_tensor *in[2] = { im_new(t->c, IM_F32, 4, (int64_t[]){ n, size, size, 3 }),
                         im_new(t->c, IM_F32, 4, (int64_t[]){ n, side, side, t->cfg.latent_channels }) };
    bool ok = im_train_step_fits(t->c, &t->a->common, (im_train_way){ .ranks = t->ranks->size }, parts, n_parts,
                                 forward, t, in, 2);
    im_scope_pop(t->c);
    return ok;
}

static bool train(training *t, bool begun)
{
    im_ctx *c = t->c;
    im_run_folder run = { .c = c, .lock = -1, .log = -1 };
    if (!open_network(t) || !im_ae_set_open(&t->set, t->a->val, t->a->size, t->ranks))
        return false;
    im_vae_params(t->vae, IM_VAE_DECODER)->recompute = im_vae_params(t->vae, IM_VAE_ENCODER)->recompute =
        t->a->common.recompute;
    im_config_extra extra = { .task = "autoencoder", .data_sha256 = t->set.hash, .pictures = t->set.data->count,
                              .vae_sha256 = t->decoder ? t->init_hash : NULL };
    int64_t parts_an_epoch = im_pictures_batches(&t->set.pictures);
    char *config = im_train_config_text(t->ranks, tables, &t->a->common, &extra, begun, parts_an_epoch);
    im_part_params parts[] = { { im_vae_params(t->vae, IM_VAE_DECODER), "" },
                               { im_vae_params(t->vae, IM_VAE_ENCODER), "" } };
    im_loop_task task = { .arg = t, .ranks = t->ranks, .parts = parts, .n_parts = t->decoder ? 1 : 2, .averaged = true,
                          .parts_an_epoch = parts_an_epoch, .fields = tables, .begin = begin, .part = run_part,
                          .score = t->set.val ? score : NULL, .score_name = "val_psnr", .saved = saved };
    bool ok = config && step_fits(t, parts, task.n_parts) && im_train_open_run(t->ranks, &run, t->a->common.out) &&
              im_train_loop(c, &run, &t->a->common, config, &task, t->set.hooks);
    im_run_close(&run);
    free(config);
    return ok;
}

bool im_train_autoencoder(im_ctx *c, const im_train_autoencoder_args *args, const im_train_hooks *hooks)
{
    im_train_autoencoder_args a = *args;
    bool begun = false;
    im_ranks ranks;
    im_train_hooks own;
    training t = { .c = c, .a = &a, .ranks = &ranks };
    t.set = (im_ae_set){ .c = c, .a = &a.common, .cfg = &t.cfg, .hooks = &own, .flip = a.flip, .shift = a.shift };
    bool ok = im_train_join(c, &a.common, &ranks, hooks, &own) && im_train_begin(c, tables, &a.common, 1e-3, &begun) &&
              train(&t, begun);
    im_ranks_leave(&ranks);
    im_ae_set_close(&t.set);
    im_vae_free(t.vae);
    free(t.config);
    return ok;
}
