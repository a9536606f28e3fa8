/* train_diffusion.c: trains the text encoder and the noise predictor of a latent diffusion model (Rombach et al. 2022).
 *
 *     x0 = latent of a picture,  t uniform in 0 .. 999,  x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise
 *     loss = mean over the batch of w(t) mean (unet(x_t, t, clip(caption)) - noise)^2             (diffusion_loss.h)
 *
 * A share of the captions is replaced by "" for guidance without a classifier (Ho & Salimans 2022), and of the others tags
 * may be left out (captions.h); pictures of rare or of listed things may come more often (balance.h). All draws are
 * functions of seed and the number of the picture in the run, so N batches of B are as one of N B. After every checkpoint
 * RUN/model is a diffusers folder with the averaged weights. With --lora the weights stay as they are, adapters beside
 * them are trained (train_adapters.h) and written as one file. Used by `imago train diffusion`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/sets/order.h"
#include "data/files/stream.h"
#include "models/train/balance.h"
#include "models/train/captions.h"
#include "models/checkpoints/checkpoint.h"
#include "models/train/diffusion_loss.h"
#include "models/train/latents.h"
#include "models/checkpoints/model_files.h"
#include "models/checkpoints/part_out.h"
#include "models/checkpoints/scheduler_file.h"
#include "models/nets/resnet.h"
#include "models/pipelines/preview.h"
#include "models/schedulers/scheduler.h"
#include "models/checkpoints/state_dict.h"
#include "models/train/train_adapters.h"
#include "models/train/train_config.h"
#include "models/train/train_memory.h"
#include "models/checkpoints/vae_folder.h"

#define AT(field) offsetof(im_train_diffusion_args, field)
static const im_field fields[] = {
    IM_TEXT_FIELD("config", AT(config), IM_PATH | IM_MUST_BE),
    IM_TEXT_FIELD("vae", AT(vae), IM_PATH),
    IM_WORD_FIELD("text", AT(text), IM_DECIDES, "train|frozen"),
    IM_FLAG_FIELD("cache-latents", AT(cache_latents), IM_DECIDES),
    IM_INT_FIELD("views", AT(views), IM_DECIDES, { 1, 1024 }),
    IM_INT_FIELD("size", AT(size), IM_DECIDES, { 0, 4096 }),
    IM_REAL_FIELD("flip", AT(flip), IM_DECIDES, { 0, 1 }),
    IM_INT_FIELD("shift", AT(shift), IM_DECIDES, { 0, 512 }),
    IM_REAL_FIELD("drop", AT(drop), IM_DECIDES, { 0, 1 }),
    IM_REAL_FIELD("drop-tags", AT(drop_tags), IM_DECIDES, { 0, 1 }),
    IM_REAL_FIELD("drop-first", AT(drop_first), IM_DECIDES, { 0, 1, .has_unset = true, .unset = -1 }),
    IM_REAL_FIELD("balance", AT(balance), IM_DECIDES, { 0, 1 }),
    IM_TEXT_FIELD("favour", AT(favour), IM_PATH),              /* compared by its hash                                */
    IM_REAL_FIELD("favour-share", AT(favour_share), IM_DECIDES, { 0, 1 }),
    IM_INT_FIELD("lora", AT(lora), IM_DECIDES, { 0, 4096 }),
    IM_FLAG_FIELD("lora-text", AT(lora_text), IM_DECIDES),
    IM_REAL_FIELD("lora-alpha", AT(lora_alpha), IM_DECIDES, { 1e-3, 1e6, .has_unset = true, .unset = 0 }),
    IM_TEXT_FIELD("lora-from", AT(lora_from), IM_PATH),
    IM_REAL_FIELD("snr-gamma", AT(snr_gamma), IM_DECIDES, { 0, 1e6 }),
    IM_REAL_FIELD("snr-power", AT(snr_power), IM_DECIDES, { 0, 1 }),
    IM_NO_FIELD
};
static const im_field *const tables[] = { im_train_common_fields, fields, NULL };

static const double LR = 6e-4, LORA_LR = 1e-4;                 /* the second: diffusers' for LoRAs                    */

const im_field *const *im_train_diffusion_fields(void) { return tables; }

im_train_diffusion_args im_train_diffusion_defaults(void)
{
    return (im_train_diffusion_args){
        .common = { .epochs = 100, .batch = 32, .accumulate = 1, .warmup = -1, .schedule = "cosine", .optimizer = "adamw",
                    .momentum = 0.9f, .decay = -1, .clip = 1, .ema = 0.999f, .dtype = "f32", .order = "shuffled",
                    .cache = "none", .keep = 3 },
        .text = "train", .views = 8, .flip = 0.5f, .shift = 2, .drop = 0.1f,
        .drop_first = -1, .favour_share = 0.75f };
}

im_train_config *im_train_diffusion_config(im_ctx *c, const char *run, im_train_diffusion_args *a,
                                           bool (*given)(void *arg, const char *option), void *arg)
{
    im_train_diffusion_args theirs = im_train_diffusion_defaults();
    return im_config_merge(c, run, "diffusion", tables, a, &theirs, given, arg);
}

typedef struct training {
    im_ctx *c;
    im_train_diffusion_args *a;
    im_model_config cfg;
    im_model_files files;                                      /* configurations, tokenizer, scheduler                */
    char *vae_text;
    im_clip *clip;
    im_unet *unet;
    im_vae *vae;
    im_scheduler *scheduler;                                   /* for its betas                                       */
    im_trained_lora lora;                                      /* --lora                                              */
    im_dataset *data;
    im_pictures pictures;
    im_latents latents;
    im_captions captions;
    double *sums;                                              /* of the pictures' weights; NULL: each once an epoch  */
    uint32_t *order; int64_t ordered;                          /* with kept latents: the order of epoch `ordered`     */
    char hash[65], vae_hash[65], config_hash[65], favour_hash[65], base_hash[65];
    const im_train_hooks *hooks;
    im_ranks *ranks;
    bool begun;                                                /* the run goes on                                     */
} training;

/* ---------------------------------------------------------------- one part of a step */

/* Which pictures part `number` shows, and their pixels where latents are not kept. Their number, 0 after a failure: a
 * batch, but where the set is shown as it is listed and ends before one is full. */
static int choose(training *t, int64_t number, int64_t *index, const uint8_t **rgb)
{
    int64_t batches = im_pictures_batches(&t->pictures), epoch = number / batches;
    int64_t first = number % batches * t->a->common.batch, left = t->data->count - first;
    if (!t->latents.kept) {
        const im_batch *b = im_pictures_batch(&t->pictures, number);
        if (!b)
            return 0;
        memcpy(index, b->indices, (size_t)b->n * sizeof *index);
        *rgb = b->crops[0].u8;
        return b->n;
    }
    if (t->ordered != epoch)
        im_order_draw(t->order, t->data->count, t->sums, !strcmp(t->a->common.order, "shuffled"), t->a->common.seed,
                      (uint64_t)epoch);
    t->ordered = epoch;
    int n = left < t->a->common.batch ? (int)left : t->a->common.batch;
    for (int i = 0; i < n; i++)                                /* in the place of one that is broken stands another   */
        index[i] = t->latents.shown[t->order[first + i]];
    return n;
}

/* A part of a step on the host: noise (n, side, side, channels), times, weight (n), ids (n, tokens). */
typedef struct step { float *noise, *times, *weight; int *when; int32_t *ids; int64_t each; } step;

static void free_step(step *s)
{
    free(s->noise);
    free(s->times);
    free(s->when);
    free(s->weight);
    free(s->ids);
}

static bool make_step(training *t, step *s, int n)
{
    size_t count = (size_t)n, tokens = (size_t)t->cfg.text_tokens;
    s->each = (int64_t)t->latents.side * t->latents.side * t->latents.channels;
    s->noise = malloc(count * (size_t)s->each * sizeof *s->noise);
    s->times = malloc(count * sizeof *s->times);
    s->when = malloc(count * sizeof *s->when);
    s->weight = malloc(count * sizeof *s->weight);
    s->ids = malloc(count * tokens * sizeof *s->ids);
    return (s->noise && s->times && s->when && s->weight && s->ids) || im_fail(t->c, "out of memory for a batch");
}

/* To the device, where x0 (n, side, side, channels) gets its noise. */
static bool upload(training *t, const step *s, int n, im_tensor *x0, im_diffusion_batch *b)
{
    im_ctx *c = t->c;
    int count;
    int64_t latent[4] = { n, t->latents.side, t->latents.side, t->latents.channels };
    *b = (im_diffusion_batch){
        .x = x0, .noise = im_from(c, IM_F32, 4, latent, s->noise),
        .t = im_from(c, IM_F32, 1, latent, s->times), .weight = im_from(c, IM_F32, 1, latent, s->weight),
        .ids = im_from(c, IM_I32, 2, (int64_t[]){ n, t->cfg.text_tokens }, s->ids) };
    return im_noise_latents(c, x0, b->noise, s->when, im_scheduler_alphas(t->scheduler, &count));
}

static float drop_first(const im_train_diffusion_args *a)
{
    return a->drop_first < 0 ? a->drop_tags : a->drop_first;
}

/* Times, captions and noise of the whole batch. */
static bool draw(training *t, step *s, const int64_t *index, int n, int64_t number)
{
    int tokens = t->cfg.text_tokens, count;
    const float *abar = im_scheduler_alphas(t->scheduler, &count);
    uint64_t first = (uint64_t)number * (uint64_t)t->a->common.batch;
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        im_stream r;
        im_stream_open(&r, t->a->common.seed, IM_STREAM_CAPTION, first + (uint64_t)i, 0);
        s->when[i] = (int)im_stream_below(&r, (uint64_t)count);
        bool drop = im_stream_uniform(&r) < (double)t->a->drop;
        s->times[i] = (float)s->when[i];
        s->weight[i] = im_snr_weight(abar[s->when[i]], t->a->snr_power, t->a->snr_gamma);
        const int32_t *ids = drop ? t->captions.empty
                                  : im_captions_draw(&t->captions, index[i], drop_first(t->a), t->a->drop_tags, &r);
        memcpy(s->ids + (int64_t)i * tokens, ids, (size_t)tokens * sizeof *s->ids);
        ok = im_normal_fill(t->c, t->a->common.seed, first + (uint64_t)i, 1, s->noise + i * s->each, s->each);
    }
    return ok;
}

/* A batch on the device, of the open scope; its size, 0 after a failure. */
static int make_batch(training *t, int64_t number, im_diffusion_batch *b)
{
    int64_t *index = calloc((size_t)t->a->common.batch, sizeof *index);
    const uint8_t *rgb = NULL;
    step s = { 0 };
    if (!index)
        im_fail(t->c, "out of memory for a batch");
    int n = index ? choose(t, number, index, &rgb) : 0;
    bool ok = n > 0 && make_step(t, &s, n) && draw(t, &s, index, n, number);
    uint64_t first = (uint64_t)number * (uint64_t)t->a->common.batch;
    im_tensor *x0 = ok ? im_latents_draw(&t->latents, index, rgb, n, first) : NULL;
    ok = x0 && upload(t, &s, n, x0, b);
    free_step(&s);
    free(index);
    return ok ? n : 0;
}

static bool run_part(void *arg, int64_t number, im_loop_result *r)
{
    training *t = arg;
    im_ctx *c = t->c;
    im_diffusion_batch b;
    bool trained = !strcmp(t->a->text, "train");
    im_scope_push(c);
    int n = make_batch(t, number, &b);
    if (n > 0) {
        if (!trained)
            b.text = im_clip_forward(c, t->clip, b.ids);       /* before the tape: no gradient                        */
        im_tape_begin(c);
        im_loop_loss(c, r, n, im_diffusion_loss(c, t->unet, trained ? t->clip : NULL, &b));
    }
    im_scope_pop(c);
    return im_ok(c);
}

static bool begin(void *arg, int64_t first)
{
    training *t = arg;
    return t->latents.kept || im_pictures_open(&t->pictures, first);
}

/* ---------------------------------------------------------------- the model's folder */

/* o: keeps averages of p as its part `of`; NULL: p as it is. */
static bool write_part(training *t, im_folder_out *f, im_part part, const im_params *p, const im_optimiser *o, int of)
{
    static const char *const metadata[] = { "format", "pt" };
    im_state s = { .c = t->c };
    char *path = im_folder_file(f, im_part_file(part));
    bool ok = path != NULL;
    for (int i = 0; ok && i < p->n; i++) {
        const im_tensor *mean = o ? im_optimiser_average(o, of, i) : NULL;
        ok = im_state_add_one(&s, "", &p->v[i], mean ? mean : p->v[i].t);
    }
    ok = ok && im_state_write(&s, path, metadata, 1, false);
    im_state_free(&s);
    free(path);
    return ok;
}

static bool write_model(training *t, const im_run_folder *run, const im_optimiser *o)
{
    im_folder_out f;
    bool trained = !strcmp(t->a->text, "train");
    char *path = im_run_file(run, "model");
    bool ok = path && im_folder_begin(t->c, &f, path, true);
    if (ok) {
        ok = im_model_files_write(&t->files, &f) && write_part(t, &f, IM_PART_UNET, im_unet_params(t->unet), o, 0) &&
             write_part(t, &f, IM_PART_CLIP, im_clip_params(t->clip), trained ? o : NULL, 1) &&
             im_vae_folder_write(&f, t->vae, "vae/", t->vae_text, 0);
        ok &= im_folder_end(&f);
    }
    free(path);
    return ok;
}

static bool write_lora(training *t, const im_run_folder *run, const im_optimiser *o)
{
    char *path = im_run_file(run, "pytorch_lora_weights.safetensors");
    bool ok = path && im_trained_lora_write(t->c, &t->lora, o, path);
    free(path);
    return ok;
}

static bool saved(void *arg, const im_run_folder *run, const im_optimiser *o, bool last)
{
    training *t = arg;
    (void)last;
    im_write_broken(t->pictures.loader, run);
    return t->a->lora ? write_lora(t, run, o) : write_model(t, run, o);
}

/* ---------------------------------------------------------------- what there is to train */

/* Of unet and clip, in this order. */
static int trained_parts(const training *t)
{
    return strcmp(t->a->text, "train") ? 1 : 2;
}

typedef struct both { im_part_params part[2]; } both;

/* What gradients are for: the networks, or the adapters beside them. */
static both parts_of(training *t)
{
    bool lora = t->a->lora;
    im_params *unet = lora ? &t->lora.unet : im_unet_params(t->unet);
    im_params *clip = lora ? &t->lora.clip : im_clip_params(t->clip);
    return (both){ { { unet, "unet." }, { clip, "text_encoder." } } };
}

static bool load_or_draw(training *t)
{
    im_ctx *c = t->c;
    const char *init = t->a->common.init;
    im_params *unet = im_unet_params(t->unet), *clip = im_clip_params(t->clip);
    im_train_way way = { .ranks = t->ranks->size };
    if (t->a->lora && !im_trained_lora_open(c, &t->lora, t->a, t->unet, t->clip))
        return false;
    unet->train = clip->train = !t->a->lora;
    unet->recompute = t->a->common.recompute;
    if (t->a->lora)
        way.frozen = (double)im_params_bytes(unet, IM_F32) + (double)im_params_bytes(clip, IM_F32);
    both b = parts_of(t);
    if (!im_train_weights_fit(c, &t->a->common, way, b.part, trained_parts(t)))
        return false;
    if (!init)
        return im_init_params_as(unet, t->a->common.seed, IM_INIT_ZERO_ENDS) &&
               im_init_params_as(clip, t->a->common.seed, IM_INIT_TORCH);
    im_checkpoint *k = im_checkpoint_open(c, init);
    bool ok = im_checkpoint_need(k, IM_NEED_UNET | IM_NEED_CLIP) && im_checkpoint_load(k, IM_PART_UNET, unet, IM_F32) &&
              im_checkpoint_load(k, IM_PART_CLIP, clip, IM_F32);
    if (ok && t->a->lora_from && !t->begun)
        ok = im_trained_lora_load(c, &t->lora, k, t->a->lora_from, t->unet, t->clip);
    const char *hash = ok && t->a->lora ? im_checkpoint_fingerprint(k) : "";
    if (ok && (ok = hash != NULL))
        snprintf(t->base_hash, sizeof t->base_hash, "%s", hash);
    im_checkpoint_close(k);
    return ok;
}

/* What the loss is written for: a network that predicts noise; --snr-power needs some picture at every time. */
static bool check_times(training *t, const char *path)
{
    int count;
    const float *abar = im_scheduler_alphas(t->scheduler, &count);
    if (!im_scheduler_predicts_noise(t->scheduler))
        return im_fail(t->c, "%s: its prediction_type is another than epsilon; wanted epsilon: `imago train diffusion` "
                       "teaches the network to predict noise", path);
    for (int i = 0; i < count && t->a->snr_power > 0; i++)
        if (!(abar[i] > 0))
            return im_fail(t->c, "%s: at time %d nothing of the picture is left, and --snr-power %g would weigh it without "
                           "bound; wanted --snr-power 0, or betas without rescale_betas_zero_snr", path, i,
                           (double)t->a->snr_power);
    return true;
}

/* How to preview latents of this autoencoder. */
static bool add_preview(training *t)
{
    const im_vae_config *cfg = &t->cfg.vae;
    float *map = im_preview_fit(t->c, t->vae, cfg);
    char *text = map ? im_preview_text(t->c, map, cfg->latent_channels) : NULL;
    bool ok = text && im_model_files_preview(t->c, &t->files, text);
    free(text);
    free(map);
    return ok;
}

static bool open_networks(training *t)
{
    im_ctx *c = t->c;
    const im_train_diffusion_args *a = t->a;
    if (!im_trained_lora_settle(c, t->a))
        return false;
    if (!a->config)
        return im_fail(c, "the model has no shape: --config FOLDER, a diffusers folder (its weights are not read)");
    if (!a->vae)
        return im_fail(c, "there is no autoencoder: --vae FOLDER, as `imago train autoencoder` writes it");
    if (strcmp(a->text, "train") && strcmp(a->text, "frozen"))
        return im_fail(c, "--text %s: wanted train or frozen", a->text);
    if (!strcmp(a->text, "frozen") && !a->common.init)
        return im_fail(c, "a frozen text encoder has to be trained already: --init FOLDER");
    if (!im_model_config_read(c, a->config, &t->cfg) || !im_model_files_folder(c, &t->files, a->config) ||
        !im_model_files_as_f32(c, &t->files))
        return false;
    if (t->cfg.vae.tiny.levels)                                 /* its model_index.json would say so of --vae          */
        return im_fail(c, "%s: its VAE is an AutoencoderTiny; wanted a model whose VAE is an AutoencoderKL, as that of "
                       "--vae", a->config);
    if (!(t->vae = im_vae_folder_open(c, a->vae, &t->cfg.vae, true)) || !(t->vae_text = im_vae_folder_text(c, a->vae)) ||
        !im_model_config_check(c, &t->cfg, a->config))
        return false;
    if (t->cfg.unet.in_channels != t->cfg.vae.latent_channels)
        return im_fail(c, "%s: is an inpainting model (its UNet takes %d channels), which is drawn with, but not trained",
                       a->config, t->cfg.unet.in_channels);
    if (!add_preview(t))
        return false;
    t->clip = im_clip_new(c, &t->cfg.clip);
    t->unet = im_unet_new(c, &t->cfg.unet);
    char *path = im_join(c, a->config, "scheduler/scheduler_config.json");
    t->scheduler = path ? im_scheduler_new(c, "ddpm", path) : NULL;
    bool ok = t->clip && t->unet && t->scheduler && im_scheduler_plan(t->scheduler, 1, 0) && check_times(t, path) &&
              load_or_draw(t);
    free(path);
    return ok;
}

static bool read_captions(training *t)
{
    im_ctx *c = t->c;
    int tokens = t->cfg.text_tokens;
    char *path = im_join(c, t->a->config, "tokenizer");
    im_tokenizer *k = path ? im_tokenizer_open(c, path) : NULL;
    bool ok = k && im_captions_read(c, &t->captions, t->data, k, tokens,
                                   t->a->drop_tags > 0 || drop_first(t->a) > 0);
    const int32_t *ids = t->captions.ids;
    for (int64_t i = 0; ok && i < t->captions.rows * tokens; i++)
        ok = (ids[i] >= 0 && ids[i] < t->cfg.clip.vocab_size) ||
             im_fail(c, "%s: the tokenizer gives id %d, and the text encoder's vocab_size is %d; wanted a tokenizer and a "
                     "text encoder that belong together", t->a->config, ids[i], t->cfg.clip.vocab_size);
    im_balance b = { .power = t->a->balance, .favour = t->a->favour, .favour_share = t->a->favour_share };
    if (ok && (b.power > 0 || b.favour))
        ok = (t->sums = im_balance_sums(c, t->data, &b, t->favour_hash)) != NULL;
    im_tokenizer_free(k);
    free(path);
    return ok;
}

static bool open_set(training *t)
{
    im_ctx *c = t->c;
    const im_train_common *a = &t->a->common;
    int factor = im_vae_factor(&t->cfg.vae), size = t->a->size ? t->a->size : t->cfg.unet.sample_width * factor;
    if (size % factor || size < factor)
        return im_fail(c, "pictures of %d pixels do not fit an autoencoder that shrinks by %d: --size", size, factor);
    t->data = im_dataset_open(c, &(im_dataset_args){ .path = a->data, .need_captions = true, .strict = a->strict });
    if (!t->data || !im_dataset_hash(c, t->data, false, t->hash) || !read_captions(t))
        return false;
    t->pictures = (im_pictures){ .c = c, .data = t->data, .size = size, .batch = a->batch, .seed = a->seed,
                                 .order = a->order, .cache = a->cache, .out = a->out, .workers = a->workers,
                                 .run = a->accumulate / t->ranks->size, .every = a->accumulate, .strict = a->strict,
                                 .sums = t->sums };
    t->latents = (im_latents){ .c = c, .vae = t->vae, .channels = t->cfg.vae.latent_channels, .side = size / factor,
                               .size = size, .scaling = t->cfg.vae.scaling_factor, .flip = t->a->flip,
                               .shift = t->a->shift, .views = t->a->cache_latents ? t->a->views : 0, .seed = a->seed };
    if (!im_pictures_check(&t->pictures))
        return false;
    if (t->data->count < a->batch)
        return im_fail(c, "%s: holds %lld pictures and a batch has %d: lower --batch", a->data, (long long)t->data->count,
                       a->batch);
    return true;
}

/* Encodes all pictures before the first step. */
static bool keep_latents(training *t, const im_run_folder *run)
{
    im_pictures all = t->pictures;
    all.order = "listed";
    all.run = all.every = 0;                                   /* every rank keeps those of all pictures              */
    all.sums = NULL;
    t->ordered = -1;
    t->order = malloc((size_t)t->data->count * sizeof *t->order);
    bool ok = (t->order || im_fail(t->c, "out of memory for an order of pictures")) &&
              im_latents_keep(&t->latents, &all, t->hooks);
    im_write_broken(all.loader, run);
    im_pictures_close(&all);
    return ok;
}

/* A part of a step: in: x, noise, t, weight, and ids or the states of a frozen text encoder (im_diffusion_batch). */
static im_tensor *forward(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    const training *t = arg;
    bool trained = trained_parts(t) > 1;
    im_diffusion_batch b = { .x = in[0], .noise = in[1], .t = in[2], .weight = in[3] };
    (void)n_in;
    *(trained ? &b.ids : &b.text) = in[4];
    return im_diffusion_loss(c, t->unet, trained ? t->clip : NULL, &b);
}

static bool step_fits(training *t, const im_part_params parts[])
{
    im_ctx *c = t->c;
    int64_t n = t->a->common.batch, side = t->latents.side, tokens = t->cfg.text_tokens;
    int64_t latent[4] = { n, side, side, t->latents.channels }, text[3] = { n, tokens, t->cfg.clip.hidden_size };
    bool trained = trained_parts(t) > 1;
    im_scope_push(c);
    im_tensor *in[5] = { im_new(c, IM_F32, 4, latent), im_new(c, IM_F32, 4, latent), im_new(c, IM_F32, 1, latent),
                         im_new(c, IM_F32, 1, latent), im_new(c, trained ? IM_I32 : IM_F32, trained ? 2 : 3, text) };
    bool ok = im_train_step_fits(c, &t->a->common, (im_train_way){ .ranks = t->ranks->size }, parts, trained_parts(t),
                                 forward, t, in, 5);
    im_scope_pop(c);
    return ok;
}

static bool train(training *t, bool begun)
{
    im_ctx *c = t->c;
    t->begun = begun;
    im_run_folder run = { .c = c, .lock = -1, .log = -1 };
    if ((t->a->balance > 0 || t->a->favour) && !strcmp(t->a->common.order, "listed"))
        return im_fail(c, "--%s shows some pictures more often and others not in every epoch, --order listed each one "
                       "as it is listed; wanted only one of them", t->a->favour ? "favour" : "balance");
    if (!open_networks(t) || !open_set(t) || !im_vae_folder_hash(c, t->vae, t->vae_hash) ||
        !im_model_files_hash(c, &t->files, t->config_hash))
        return false;
    im_config_extra extra = { .task = "diffusion", .data_sha256 = t->hash, .vae_sha256 = t->vae_hash,
                              .config_sha256 = t->config_hash,
                              .favour_sha256 = t->a->favour ? t->favour_hash : NULL,
                              .base_sha256 = t->a->lora ? t->base_hash : NULL, .pictures = t->data->count };
    int64_t parts_an_epoch = im_pictures_batches(&t->pictures);
    char *config = im_train_config_text(t->ranks, tables, &t->a->common, &extra, begun, parts_an_epoch);
    both b = parts_of(t);
    im_loop_task task = { .arg = t, .ranks = t->ranks, .parts = b.part, .n_parts = trained_parts(t),
                          .parts_an_epoch = parts_an_epoch, .fields = tables, .begin = begin, .part = run_part,
                          .saved = saved };
    bool ok = config && step_fits(t, b.part) && im_train_open_run(t->ranks, &run, t->a->common.out) &&
              (!t->a->cache_latents || keep_latents(t, &run)) &&
              im_train_loop(c, &run, &t->a->common, config, &task, t->hooks);
    im_run_close(&run);
    free(config);
    return ok;
}

bool im_train_diffusion(im_ctx *c, const im_train_diffusion_args *args, const im_train_hooks *hooks)
{
    im_train_diffusion_args a = *args;
    bool begun = false;
    im_ranks ranks;
    im_train_hooks own;
    training t = { .c = c, .a = &a, .hooks = &own, .ranks = &ranks };
    if (!a.config)
        a.config = a.common.init;
    if (!a.vae)
        a.vae = a.common.init;
    double lr = a.lora ? LORA_LR : LR;
    bool ok = im_train_join(c, &a.common, &ranks, hooks, &own) && im_train_begin(c, tables, &a.common, lr, &begun) &&
              train(&t, begun);
    im_ranks_leave(&ranks);
    im_pictures_close(&t.pictures);
    im_latents_free(&t.latents);
    im_dataset_free(t.data);
    im_scheduler_free(t.scheduler);
    im_clip_free(t.clip);
    im_unet_free(t.unet);
    im_trained_lora_close(&t.lora);
    im_vae_free(t.vae);
    im_model_files_free(&t.files);
    free(t.vae_text);
    im_captions_free(&t.captions);
    free(t.sums);
    free(t.order);
    return ok;
}
