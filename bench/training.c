/* training.c: how fast networks are trained here: forward, backward and the optimiser's pass of a step, with pictures
 * that are ready, that come from memory, or that come from JPEG files, so that a loader that starves the network shows.
 * What is measured is what `imago train` runs: im_classifier_loss, im_diffusion_loss, im_backward, optimiser.h, loader.h.
 * Used by `imago bench train`; bench/rivals/torch_train.py runs it beside PyTorch. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/measure.h"
#include "models/train/diffusion_loss.h"
#include "models/train/train_resnet.h"

enum { CLASSES = 1000, LATENT = 16, TOKENS = 77, TEXT = 128, LOADED = 192, LOADER_BATCH = 16 };

typedef struct bench {
    im_ctx *c;
    const im_bench_train_args *a;
    im_classifier *resnet;
    im_unet *unet;
    im_optimiser *optimiser;
    im_dataset *set;
    im_loader *loader;
    im_batch ready;                                            /* "none": the same batch again and again              */
    float *pixels; int32_t *labels;
} bench;

typedef struct times { double forward, backward, optimiser, all; } times;

/* Numbers of no pattern in -1.7 .. 1.7: deviation 1. */
static void fill(float *v, int64_t n)
{
    uint32_t s = 1;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        v[i] = ((float)(s >> 8) / 16777216.0f - 0.5f) * 3.4641016f;
    }
}

/* ---------------------------------------------------------------- what is trained */

static bool make_resnet(bench *b)
{
    int classes = b->set && b->set->n_classes > CLASSES ? b->set->n_classes : CLASSES;
    b->resnet = im_classifier_new(b->c, &(im_classifier_config){ .arch = b->a->arch, .classes = classes });
    im_params *p = b->resnet ? im_classifier_params(b->resnet) : NULL;
    if (!p)
        return false;
    p->train = p->batch_statistics = true;
    p->recompute = b->a->recompute;
    im_optimiser_args o = im_optimiser_defaults(IM_SGD);
    return im_init_params(p, 1) &&
           (b->optimiser = im_optimiser_new(b->c, &(im_part_params){ .params = p, .prefix = "" }, 1, &o));
}

/* One resnet a level, transformers but in the coarsest one, text of 77 vectors of 128. */
static bool make_unet(bench *b)
{
    static const int channels[] = { 64, 128, 192 };
    im_unet_config cfg = { .in_channels = 4, .out_channels = 4, .sample_height = LATENT, .sample_width = LATENT,
                           .levels = 3, .has_mid = true, .mid_block_scale_factor = 1, .norm_num_groups = 32,
                           .norm_eps = 1e-5f, .flip_sin_to_cos = true, .time_embed_dim = 256, .downsample_padding = 1,
                           .conv_in_kernel = 3, .conv_out_kernel = 3 };
    for (int i = 0; i < cfg.levels; i++)
        cfg.level[i] = (im_unet_level){ .channels = channels[i], .layers = 1, .down_attention = i < 2,
                                        .up_attention = i < 2, .heads = 8, .transformer_layers = 1,
                                        .cross_attention_dim = TEXT };
    b->unet = im_unet_new(b->c, &cfg);
    im_params *p = b->unet ? im_unet_params(b->unet) : NULL;
    if (!p)
        return false;
    p->train = true;
    p->recompute = b->a->recompute;
    im_optimiser_args o = im_optimiser_defaults(IM_ADAMW);
    return im_init_params(p, 1) &&
           (b->optimiser = im_optimiser_new(b->c, &(im_part_params){ .params = p, .prefix = "" }, 1, &o));
}

/* What is trained on, the same in every step. */
static im_tensor *input(im_ctx *c, int ndim, const int64_t shape[])
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++)
        n *= shape[i];
    float *v = malloc((size_t)n * sizeof *v);
    if (!v) {
        im_fail(c, "out of memory for %lld values", (long long)n);
        return NULL;
    }
    fill(v, n);
    im_tensor *t = im_from(c, IM_F32, ndim, shape, v);
    free(v);
    return t;
}

static im_tensor *unet_loss(bench *b)
{
    im_ctx *c = b->c;
    int n = b->a->batch;
    int64_t latent[4] = { n, LATENT, LATENT, 4 };
    im_diffusion_batch d = { .x = input(c, 4, latent), .noise = input(c, 4, latent), .t = im_new(c, IM_F32, 1, latent),
                             .text = input(c, 3, (int64_t[]){ n, TOKENS, TEXT }) };
    float *when = malloc((size_t)n * sizeof *when);
    for (int i = 0; when && i < n; i++)
        when[i] = (float)(i * 31 % 1000);
    bool ok = (when || im_fail(c, "out of memory for %d times", n)) && im_upload(c, d.t, when);
    free(when);
    return ok ? im_diffusion_loss(c, b->unet, NULL, &d) : NULL;
}

/* ---------------------------------------------------------------- pictures */

static bool ready_batch(bench *b)
{
    int64_t n = b->a->batch, values = n * b->a->size * b->a->size * 3;
    b->pixels = malloc((size_t)values * sizeof *b->pixels);
    b->labels = malloc((size_t)n * sizeof *b->labels);
    if (!b->pixels || !b->labels)
        return im_fail(b->c, "out of memory for a batch of %d pictures", b->a->batch);
    fill(b->pixels, values);
    for (int64_t i = 0; i < n; i++)
        b->labels[i] = (int32_t)(i * 37 % CLASSES);
    b->ready = (im_batch){ .n = (int)n, .kinds = 1, .labels = b->labels,
                           .crops = { { .count = 1, .size = b->a->size, .f32 = b->pixels } } };
    return true;
}

static bool open_loader(bench *b, const char *recipe, int batch)
{
    im_recipe r;
    const im_bench_train_args *a = b->a;
    if (!a->folder)
        return im_fail(b->c, "pictures from %s need a folder of them", a->data);
    b->set = im_dataset_open(b->c, &(im_dataset_args){ .path = a->folder, .min_classes = 2 });
    if (!b->set || !im_recipe_named(b->c, recipe, a->size, &r))
        return false;
    b->loader = im_loader_open(b->c, &(im_loader_args){ .data = b->set, .recipe = &r, .batch = batch, .shuffled = true,
        .drop_last = true, .threads = im_threads(b->c),
        .cache = !strcmp(a->data, "memory") ? IM_CACHE_RAM : IM_CACHE_NONE });
    for (int64_t i = 0; b->loader && !strcmp(a->data, "memory") && i < im_loader_steps(b->loader); i++)
        if (!im_loader_next(b->c, b->loader))                  /* one epoch fills the cache                           */
            return false;
    return b->loader != NULL;
}

/* ---------------------------------------------------------------- measuring */

static bool one_step(bench *b, times *t)
{
    im_ctx *c = b->c;
    im_loop_result r = { 0 };
    double start = im_seconds();
    const im_batch *batch = b->loader ? im_loader_next(c, b->loader) : &b->ready;
    im_optimiser_zero(b->optimiser);
    im_scope_push(c);
    double begun = im_seconds();
    im_tensor *loss = NULL;
    if (batch && im_tape_begin(c))
        loss = b->unet ? unet_loss(b) : im_classifier_loss(c, b->resnet, batch, 1, &r);
    double forward = im_seconds();
    if (loss)
        im_backward(c, loss);
    else
        im_tape_end(c);
    double backward = im_seconds();
    im_scope_pop(c);
    if (im_ok(c))
        im_optimiser_step(b->optimiser, 1e-3, 1, NULL);
    double end = im_seconds();
    *t = (times){ forward - begun, backward - forward, end - backward, end - start };
    return im_ok(c);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The median of one member over n steps; `at`: its offset in doubles. */
static double median(const times *t, int n, int at)
{
    double *v = malloc((size_t)n * sizeof *v);
    if (!v)
        return 0;
    for (int i = 0; i < n; i++)
        v[i] = ((const double *)&t[i])[at];
    qsort(v, (size_t)n, sizeof *v, ascending);
    double m = n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
    free(v);
    return m;
}

static bool time_steps(bench *b, im_bench_train_row *out)
{
    int n = b->a->rounds;
    times *t = calloc((size_t)n + 1, sizeof *t);
    if (!t)
        return im_fail(b->c, "out of memory for %d times", n);
    bool ok = one_step(b, t);                                  /* to warm up: memory, caches of files                 */
    for (int i = 0; ok && i < n; i++)
        ok = one_step(b, &t[i]);
    if (ok) {
        out->forward_ms = 1e3 * median(t, n, 0);
        out->backward_ms = 1e3 * median(t, n, 1);
        out->optimiser_ms = 1e3 * median(t, n, 2);
        out->step_ms = 1e3 * median(t, n, 3);
        out->img_per_s = 1e3 * b->a->batch / out->step_ms;
    }
    free(t);
    return ok;
}

/* The loader alone, from its second batch on: the first one pays for the start of the threads. */
static bool time_loader(bench *b, im_bench_train_row *out)
{
    if (!open_loader(b, "dino", LOADER_BATCH) || !im_loader_next(b->c, b->loader))
        return false;
    double start = im_seconds();
    for (int i = 0; i < LOADED / LOADER_BATCH; i++)
        if (!im_loader_next(b->c, b->loader))
            return false;
    out->img_per_s = LOADED / (im_seconds() - start);
    out->step_ms = 1e3 * LOADER_BATCH / out->img_per_s;
    return true;
}

static bool time_network(bench *b, im_bench_train_row *out)
{
    bool unet = !strcmp(b->a->arch, "unet-small");
    if (!unet && !(strcmp(b->a->data, "none") ? open_loader(b, "plain", b->a->batch) : ready_batch(b)))
        return false;
    im_set_compute_dtype(b->c, strcmp(b->a->dtype, "bf16") ? IM_F32 : IM_BF16);
    bool ok = (unet ? make_unet(b) : make_resnet(b)) && time_steps(b, out);
    im_set_compute_dtype(b->c, IM_F32);
    return ok;
}

im_bench_train_args im_bench_train_defaults(void)
{
    return (im_bench_train_args){ .arch = "resnet50", .dtype = "f32", .batch = 32, .size = 224, .rounds = 3 };
}

bool im_bench_train(im_ctx *c, const im_bench_train_args *a, im_bench_train_row *out)
{
    bench b = { .c = c, .a = a };
    struct rusage usage;
    *out = (im_bench_train_row){ .img_per_s = 0 };
    if (!im_ok(c))
        return false;
    bool ok = strcmp(a->arch, "loader") ? time_network(&b, out) : time_loader(&b, out);
    if (ok && b.loader) {
        im_loader_stats s = im_loader_report(b.loader);
        out->cpu_ms_per_img = s.pictures ? 1e3 * s.busy / (double)s.pictures : 0;
    }
    if (!getrusage(RUSAGE_SELF, &usage))
        out->peak_bytes = (size_t)usage.ru_maxrss * 1024;
    im_loader_close(b.loader);
    im_dataset_free(b.set);
    im_optimiser_free(b.optimiser);
    im_classifier_free(b.resnet);
    im_unet_free(b.unet);
    free(b.pixels);
    free(b.labels);
    return ok;
}
