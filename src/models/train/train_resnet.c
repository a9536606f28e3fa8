/* train_resnet.c: trains a ResNet on a set of labelled pictures.
 *
 *     loss = mean over all crops of all pictures of cross entropy(head(features(crop)), label of the picture)
 *
 * (multi-crop as in DINO, Caron et al. 2021, with labels as in t-ReX, arXiv 2206.15369: one label for all crops of a
 * picture). With --mixup A two pictures of a batch, i and n - 1 - i, become k of one and 1 - k of the other, and so does
 * the loss, k uniform in [1 - A/2, 1] for each batch (Zhang et al. 2018, arXiv 1710.09412; A = 1 is their alpha = 1).
 * lr is 0.1 for a step of 256 pictures and in proportion to them, unless it is given (Goyal et al. 2017).
 * The last pictures of an epoch that do not fill a batch are left out. Used by `imago train resnet`. */
#include "models/train/train_resnet.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/stream.h"
#include "models/checkpoints/classifier_file.h"
#include "models/eval/evaluate.h"
#include "models/checkpoints/state_dict.h"
#include "models/train/train_config.h"
#include "models/train/train_memory.h"
#include "models/train/train_pictures.h"

static const double LR_FOR_256 = 0.1;

#define AT(field) offsetof(im_train_resnet_args, field)
static const im_field fields[] = {
    IM_WORD_FIELD("arch", AT(arch), IM_DECIDES, "resnet18|resnet34|resnet50|resnet101"),
    IM_TEXT_FIELD("mix", AT(mix), 0),                          /* compared by the hash of what came of it             */
    IM_INT_FIELD("budget", AT(budget), 0, { 0, INT_MAX }),
    IM_TEXT_FIELD("classes", AT(classes), IM_PATH),            /* compared by the names themselves                    */
    IM_TEXT_FIELD("val", AT(val), IM_PATH),
    IM_WORD_FIELD("augment", AT(augment), IM_DECIDES, "none|plain|drawing|dino"),
    IM_REAL_FIELD("mixup", AT(mixup), IM_DECIDES, { 0, 1 }),
    IM_INT_FIELD("size", AT(size), IM_DECIDES, { 1, 4096 }),
    IM_INT_FIELD("locals", AT(locals), IM_DECIDES, { 0, IM_RECIPE_MAX_CROPS - 1, .has_unset = true, .unset = -1 }),
    IM_INT_FIELD("local-size", AT(local_size), IM_DECIDES, { 0, 4096 }),
    IM_WORD_FIELD("head", AT(head), IM_DECIDES, "linear|cosine|trex"),
    IM_INT_FIELD("head-layers", AT(head_layers), IM_DECIDES, { 0, 8 }),
    IM_INT_FIELD("width", AT(width), IM_DECIDES, { 1, 1024 }),
    IM_FLAG_FIELD("small-stem", AT(small_stem), IM_DECIDES),
    IM_FLAG_FIELD("sync-batchnorm", AT(sync_batchnorm), IM_DECIDES),
    IM_FLAG_FIELD("new-head", AT(new_head), 0),
    IM_NO_FIELD
};
static const im_field *const tables[] = { im_train_common_fields, fields, NULL };

const im_field *const *im_train_resnet_fields(void) { return tables; }

im_train_resnet_args im_train_resnet_defaults(void)
{
    return (im_train_resnet_args){
        .common = { .epochs = 100, .batch = 256, .accumulate = 1, .warmup = -1, .schedule = "cosine", .optimizer = "sgd",
                    .momentum = 0.9f, .decay = -1, .dtype = "f32", .order = "shuffled", .cache = "none", .keep = 3 },
        .arch = "resnet50", .width = 64, .augment = "plain", .size = 224, .locals = -1, .head = "linear",
        .head_layers = 1 };
}

im_train_config *im_train_resnet_config(im_ctx *c, const char *run, im_train_resnet_args *a,
                                        bool (*given)(void *arg, const char *option), void *arg)
{
    im_train_resnet_args theirs = im_train_resnet_defaults();
    return im_config_merge(c, run, "resnet", tables, a, &theirs, given, arg);
}

/* ---------------------------------------------------------------- one part of a step */

/* Pictures (count, n, size, size, 3), `keep` of each and the rest of its partner; one without a partner stays. */
static im_tensor *mixed(im_ctx *c, const im_crops *crops, int n, float keep)
{
    int64_t each = 3 * (int64_t)crops->size * crops->size, all = (int64_t)crops->count * n;
    float *x = malloc((size_t)(all * each) * sizeof *x);
    if (!x) {
        im_fail(c, "out of memory for a batch of mixed pictures");
        return NULL;
    }
    for (int64_t k = 0; k < crops->count; k++)
        for (int64_t i = 0; i < n; i++) {
            const float *u = crops->f32 + (k * n + i) * each, *v = crops->f32 + (k * n + n - 1 - i) * each;
            float *out = x + (k * n + i) * each;
            for (int64_t p = 0; p < each; p++)
                out[p] = u == v ? u[p] : fmaf(keep, u[p] - v[p], v[p]);
        }
    im_tensor *t = im_from(c, IM_F32, 4, (int64_t[]){ all, crops->size, crops->size, 3 }, x);
    free(x);
    return t;
}

/* All crops, kinds one after the other, each (count, n, size, size, 3)  ->  (crops n, width). The batch is read before the
 * first norm, where another part may go on and ask for the next batch (lockstep.h). */
static im_tensor *features_of(im_ctx *c, const im_classifier *m, const im_batch *b, float keep)
{
    im_tensor *x[IM_RECIPE_KINDS], *all = NULL;
    int kinds = b->kinds;
    for (int k = 0; k < kinds; k++) {
        const im_crops *crops = &b->crops[k];
        int64_t shape[4] = { (int64_t)crops->count * b->n, crops->size, crops->size, 3 };
        x[k] = keep < 1 ? mixed(c, crops, b->n, keep) : im_from(c, IM_F32, 4, shape, crops->f32);
    }
    for (int k = 0; k < kinds; k++) {
        im_scope_push(c);
        im_tensor *f = im_scope_leave(c, im_classifier_features(c, m, x[k]));
        all = k ? im_stack(c, all, f) : f;
    }
    return all;
}

/* Of every crop (crops n); of the partners where they are mixed. */
static im_tensor *labels_of(im_ctx *c, const im_batch *b, bool partners)
{
    int64_t crops = 0;
    for (int k = 0; k < b->kinds; k++)
        crops += b->crops[k].count;
    int64_t n = crops * b->n;
    int32_t *v = malloc((size_t)n * sizeof *v);
    if (!v) {
        im_fail(c, "out of memory for the labels of a batch");
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        v[i] = b->labels[partners ? b->n - 1 - i % b->n : i % b->n];
    im_tensor *t = im_from(c, IM_I32, 1, &n, v);
    free(v);
    return t;
}

im_tensor *im_classifier_loss(im_ctx *c, const im_classifier *m, const im_batch *b, float keep, im_loop_result *r)
{
    im_tensor *labels = labels_of(c, b, false), *partners = keep < 1 ? labels_of(c, b, true) : NULL;      /* (crops n) */
    r->pictures = b->n;
    im_tensor *logits = im_classifier_logits(c, m, features_of(c, m, b, keep));           /* (crops n, classes)       */
    im_tensor *loss = im_cross_entropy(c, logits, labels);
    if (keep < 1) {
        im_tensor *theirs = im_cross_entropy(c, logits, partners);
        loss = im_add(c, im_scale(c, loss, keep), im_scale(c, theirs, 1 - keep));
    }
    if (!im_ok(c))
        return NULL;
    r->judged = im_numel(labels);
    im_ledger_loss(c, r->ledger, r->part, loss);
    im_ledger_right(c, r->ledger, r->part, logits, labels);
    return im_ok(c) ? loss : NULL;
}

bool im_classifier_part(im_ctx *c, const im_classifier *m, const im_batch *b, float keep, im_loop_result *r)
{
    im_scope_push(c);
    im_tensor *loss = im_tape_begin(c) ? im_classifier_loss(c, m, b, keep, r) : NULL;
    if (loss)
        im_backward(c, loss);
    else
        im_tape_end(c);
    im_scope_pop(c);
    return im_ok(c);
}

/* ---------------------------------------------------------------- the task */

typedef struct training {
    im_ctx *c;
    im_train_resnet_args *a;
    im_dataset *data, *val;
    im_recipe recipe;
    im_classifier *m;
    im_loader *loader;
    const im_batch *batch;                                     /* number `at` of the run                              */
    int64_t at, batches;                                       /* batches: of an epoch                                */
    char hash[65];
    const im_train_hooks *hooks;
    im_ranks *ranks;
} training;

static bool open_loader(void *arg, int64_t first)
{
    training *t = arg;
    const im_train_common *a = &t->a->common;
    im_loader_args l = { .data = t->data, .recipe = &t->recipe, .batch = a->batch, .seed = a->seed,
                         .shuffled = !strcmp(a->order, "shuffled"), .drop_last = true, .strict = a->strict,
                         .exact = !t->recipe.random, .threads = a->workers,
                         .run = a->accumulate / t->ranks->size, .every = a->accumulate,
                         .first_epoch = first / t->batches, .first_step = first % t->batches };
    im_loader_close(t->loader);
    t->loader = im_cached_loader(t->c, l, a->cache, a->out);
    t->batch = NULL;
    t->at = first;
    return t->loader != NULL;
}

static bool run_part(void *arg, int64_t number, im_loop_result *r)
{
    training *t = arg;
    if (!t->batch || number != t->at) {                        /* the same number again: the same batch               */
        t->batch = im_loader_next(t->c, t->loader);
        t->at = number;
    }
    im_stream s;
    im_stream_open(&s, t->a->common.seed, IM_STREAM_NOISE, (uint64_t)number, 0);
    float keep = (float)(1 - 0.5 * (double)t->a->mixup * im_stream_uniform(&s));
    return t->batch && im_classifier_part(t->c, t->m, t->batch, keep, r);
}

/* The share of right answers on the other set. */
static double score(void *arg)
{
    training *t = arg;
    im_eval_result r = { .pictures = 0 };
    im_run_args a = { .batch = t->a->common.batch < 64 ? t->a->common.batch : 64, .size = t->a->size,
                      .workers = t->a->common.workers };
    bool ok = im_classify_set(t->c, t->m, &(im_judged){ .classes = t->data->n_classes }, t->val, &a, NULL, NULL, &r);
    double top1 = ok ? r.top1 : NAN;
    char text[100];
    snprintf(text, sizeof text, "top-1 %.1f %% on %lld held-out pictures", 100 * top1, (long long)r.pictures);
    if (ok && t->hooks->note)
        t->hooks->note(t->hooks->arg, text);
    im_eval_result_free(&r);
    return top1;
}

static bool write_broken(void *arg, const im_run_folder *run, const im_optimiser *o, bool last)
{
    training *t = arg;
    (void)o;
    (void)last;
    im_write_broken(t->loader, run);
    return im_ok(t->c);
}

/* ---------------------------------------------------------------- what there is to train */

static bool make_recipe(im_ctx *c, const im_train_resnet_args *a, im_recipe *r)
{
    if (!im_recipe_named(c, a->augment, a->size, r))
        return false;
    if (r->kinds < 2 && (a->locals >= 0 || a->local_size > 0))
        return im_fail(c, "--locals and --local-size belong to --augment dino");
    if (a->locals >= 0)
        r->crop[1].count = a->locals;
    if (a->local_size > 0)
        r->crop[1].size = a->local_size;
    if (r->kinds > 1 && !r->crop[1].count)
        r->kinds = 1;
    return im_recipe_check(c, r);
}

static bool open_sets(training *t)
{
    im_ctx *c = t->c;
    const im_train_resnet_args *a = t->a;
    im_dataset_args d = { .path = a->common.data, .classes = a->classes, .min_classes = 2, .strict = a->common.strict };
    if (!make_recipe(c, a, &t->recipe))
        return false;
    t->data = a->mix ? im_dataset_mix(c, a->mix, a->budget, a->common.seed, &d) : im_dataset_open(c, &d);
    if (!t->data)
        return false;
    d.path = a->val;
    if (a->val && (!(t->val = im_dataset_open(c, &d)) ||
                   !im_same_classes(c, a->common.data, t->data->n_classes, (char **)t->data->classes, t->data->n_classes,
                                    t->val)))
        return false;
    t->batches = t->data->count / a->common.batch;
    if (!t->batches)
        return im_fail(c, "%s: holds %lld pictures and a batch has %d: no batch is whole; lower --batch", a->common.data,
                       (long long)t->data->count, a->common.batch);
    return im_dataset_hash(c, t->data, false, t->hash);
}

/* Weights that know the names of their classes begin a run over these classes only, unless the head is new. */
static bool same_names(training *t, const im_safetensors *s, const char *path)
{
    im_classifier_info info = { .path = im_copy_text(t->c, path, strlen(path)) };
    bool ok = info.path && im_classifier_read_info(t->c, s, &info) &&
              im_same_classes(t->c, path, info.n_names ? info.n_names : t->data->n_classes, info.names, info.n_names,
                              t->data);
    im_classifier_info_free(&info);
    return ok;
}

static bool read_init(training *t, const char *path)
{
    im_ctx *c = t->c;
    im_classifier_config theirs;
    im_safetensors *s = im_classifier_file(c, path);
    bool ok = s && im_classifier_infer(c, s, path, &theirs);
    if (ok && theirs.classes != t->data->n_classes && !t->a->new_head)
        ok = im_fail(c, "%s: has %d classes, and %s has %d; --new-head takes only the encoder from it", path,
                     theirs.classes, t->a->common.data, t->data->n_classes);
    if (ok && theirs.width != t->a->width)
        ok = im_fail(c, "%s: its first stage has %d channels, and --width is %d; give the width of the file, or another "
                     "file", path, theirs.width, t->a->width);
    ok = ok && (t->a->new_head || same_names(t, s, path));
    im_state_rules rules = { .ours = true };
    if (ok && t->a->new_head)
        rules.keep = theirs.head == IM_HEAD_LINEAR ? "fc." : "head.";
    im_params *p = im_classifier_params(t->m);
    if (ok && t->a->new_head && strcmp(rules.keep, strcmp(t->a->head, "linear") ? "head." : "fc."))
        ok = im_fail(c, "%s: has a %s head; --new-head wants one of the kind that is trained", path,
                     theirs.head == IM_HEAD_LINEAR ? "linear" : "cosine");
    ok = ok && im_state_read(p, s, path, IM_F32, &rules);
    im_st_close(s);
    return ok;
}

static im_train_way way_of(const training *t)
{
    return (im_train_way){ .ranks = t->ranks->size, .together = t->a->sync_batchnorm };
}

static bool make_network(training *t)
{
    const im_train_resnet_args *a = t->a;
    t->m = im_classifier_new(t->c, &(im_classifier_config){ .arch = a->arch, .classes = t->data->n_classes,
        .width = a->width, .small_stem = a->small_stem, .head_layers = a->head_layers,
        .head = strcmp(a->head, "linear") ? IM_HEAD_COSINE : IM_HEAD_LINEAR });
    if (!t->m)
        return false;
    im_params *p = im_classifier_params(t->m);
    p->train = p->batch_statistics = true;
    p->recompute = a->common.recompute;
    return im_train_weights_fit(t->c, &a->common, way_of(t), &(im_part_params){ .params = p, .prefix = "" }, 1) &&
           im_init_params(p, a->common.seed) && (!a->common.init || read_init(t, a->common.init));
}

/* A part of a step without its loss: in[k] (crops n, size, size, 3) of each kind of crop. */
static im_tensor *forward(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    const im_classifier *m = arg;
    im_tensor *all = im_classifier_features(c, m, in[0]);
    for (int k = 1; k < n_in; k++)
        all = im_stack(c, all, im_classifier_features(c, m, in[k]));
    return im_classifier_logits(c, m, all);
}

static bool step_fits(const training *t, const im_part_params *part)
{
    im_tensor *in[IM_RECIPE_KINDS];
    int kinds = t->recipe.random ? t->recipe.kinds : 1;
    im_scope_push(t->c);
    for (int k = 0; k < kinds; k++) {
        int64_t size = t->recipe.crop[k].size, count = t->recipe.random ? t->recipe.crop[k].count : 1;
        in[k] = im_new(t->c, IM_F32, 4, (int64_t[]){ count * t->a->common.batch, size, size, 3 });
    }
    bool ok = im_train_step_fits(t->c, &t->a->common, way_of(t), part, 1, forward, t->m, in, kinds);
    im_scope_pop(t->c);
    return ok;
}

static bool train(training *t, bool begun)
{
    im_ctx *c = t->c;
    im_train_common *a = &t->a->common;
    im_run_folder run = { .c = c, .lock = -1, .log = -1 };
    if (!open_sets(t))
        return false;
    im_config_extra extra = { .task = "resnet", .data_sha256 = t->hash, .classes = t->data->classes,
                              .n_classes = t->data->n_classes, .pictures = t->data->count };
    char *config = im_train_config_text(t->ranks, tables, a, &extra, begun, t->batches);
    bool ok = config && make_network(t);
    im_part_params parts[] = { { .params = ok ? im_classifier_params(t->m) : NULL, .prefix = "" } };
    im_loop_task task = { .arg = t, .ranks = t->ranks, .parts = parts, .n_parts = 1, .exported = true,
                          .parts_an_epoch = t->batches, .norms_a_part = t->recipe.random ? t->recipe.kinds : 1,
                          .together = t->a->sync_batchnorm,
                          .fields = tables, .begin = open_loader,
                          .part = run_part, .score = t->val ? score : NULL, .score_name = "val_top1",
                          .saved = write_broken };
    ok = ok && step_fits(t, parts) && im_train_open_run(t->ranks, &run, a->out) &&
         im_train_loop(c, &run, a, config, &task, t->hooks);
    im_loader_close(t->loader);
    im_run_close(&run);
    free(config);
    return ok;
}

bool im_train_resnet(im_ctx *c, const im_train_resnet_args *args, const im_train_hooks *hooks)
{
    im_train_resnet_args a = *args;
    bool begun = false;
    char *mix = a.mix ? im_mix_whole(c, a.mix) : NULL;         /* a run goes on from any folder                       */
    if (mix)
        a.mix = a.common.data = mix;
    else if (im_ok(c) && a.budget)
        im_fail(c, "--budget belongs to --mix");
    im_ranks ranks;
    im_train_hooks own;
    training t = { .c = c, .a = &a, .hooks = &own, .ranks = &ranks };
    bool ok = im_train_join(c, &a.common, &ranks, hooks, &own) &&
              im_train_begin(c, tables, &a.common, LR_FOR_256 * a.common.batch * a.common.accumulate / 256, &begun) &&
              train(&t, begun);
    im_ranks_leave(&ranks);
    free(mix);
    im_classifier_free(t.m);
    im_dataset_free(t.val);
    im_dataset_free(t.data);
    return ok;
}
