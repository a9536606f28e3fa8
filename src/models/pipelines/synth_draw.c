/* synth_draw.c: draws the pictures of a part that are not there: latents, batch by batch, whatever their prompts; the
 * thread of synth_writer.c makes files of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files/file.h"
#include "data/images/picture.h"
#include "models/pipelines/synth.h"

/* ---------------------------------------------------------------- opening */

/* The last part of the model's path, without slashes at its end: manifests hold no paths of one machine. */
static void name_model(im_synth *s)
{
    const char *path = s->a.model ? s->a.model : "imago-small";
    size_t n = strlen(path), from;
    while (n > 1 && path[n - 1] == '/') n--;
    for (from = n; from && path[from - 1] != '/'; from--) { }
    snprintf(s->model_name, sizeof s->model_name, "%.*s", (int)(n - from), path + from);
}

/* What besides the settings decides about bits: in f32 and int8 the cpu's are the same on every instruction set but
 * portable. */
static void name_arithmetic(im_ctx *c, im_synth *s)
{
    const char *isa = im_device_isa(c), *device = im_device_name(c);
    bool same = (s->a.dtype == IM_F32 || s->a.dtype == IM_INT8) && !strcmp(device, "cpu") && strcmp(isa, "portable");
    snprintf(s->arithmetic, sizeof s->arithmetic, "%s on %s%s%s", im_dtype_name(s->a.dtype), device, same ? "" : " ",
             same ? "" : isa);
}

static bool set_sizes(im_ctx *c, im_synth *s)
{
    int64_t shape[3];
    s->base = im_sd_defaults(s->sd);
    s->base.steps = s->a.steps;
    s->base.scheduler = s->a.scheduler;
    s->base.eta = s->a.eta;
    if (s->a.size) s->base.width = s->base.height = s->a.size;
    s->size = s->base.width;
    s->save_size = s->a.save_size ? s->a.save_size : s->size;
    if (s->base.width != s->base.height)
        return im_fail(c, "%s: draws %dx%d pixels; wanted a square: say which with --size", s->model_name, s->base.width,
                       s->base.height);
    if (s->save_size > s->size)
        return im_fail(c, "--save-size %d is more than the %d pixels that are drawn; wanted as many, or fewer",
                       s->save_size, s->size);
    if (!im_sd_latent_shape(s->sd, &s->base, shape)) return false;
    s->latent = shape[0] * shape[1] * shape[2];
    return (s->scheduler = im_sd_scheduler(s->sd, &s->base)) != NULL;
}

/* Pictures to begin from: every class must have some. */
static bool open_inits(im_ctx *c, im_synth *s)
{
    const im_class_list *l = &s->classes;
    if (!s->a.init_data) return true;
    s->inits = im_dataset_open(c, &(im_dataset_args){ .path = s->a.init_data, .min_classes = 1 });
    s->init_first = calloc((size_t)l->n + 1, sizeof *s->init_first);
    s->init_order = s->inits ? calloc((size_t)s->inits->count + 1, sizeof *s->init_order) : NULL;
    if (!s->inits) return false;
    if (!s->init_first || !s->init_order) return im_fail(c, "%s: out of memory for its list", s->a.init_data);
    int64_t n = 0;
    for (int k = 0; k < l->n; k++) {
        s->init_first[k] = n;
        for (int64_t i = 0; i < s->inits->count; i++) {
            int32_t label = s->inits->samples[i].label;
            if (label >= 0 && (!strcmp(s->inits->classes[label], l->v[k].key)
                               || !strcmp(s->inits->classes[label], l->v[k].folder)))
                s->init_order[n++] = i;
        }
        if (n == s->init_first[k])
            return im_fail(c, "%s: has no picture of the class \"%s\" to begin from; wanted one at least in a folder of "
                              "that name", s->a.init_data, l->v[k].key);
    }
    s->init_first[l->n] = n;
    s->base.strength = s->a.strength;
    return im_dataset_hash(c, s->inits, false, s->init_hash);
}

bool im_synth_begin(im_ctx *c, im_synth *s)
{
    if (!s || !im_ok(c)) return false;
    if (s->sd) return true;
    s->sd = im_sd_open(c, s->a.model, s->a.dtype);
    if (s->sd) s->a.dtype = im_sd_dtype(s->sd);                /* IM_AS_MODEL is one of them from here on             */
    const char *hash = im_sd_hash(s->sd);
    if (!hash) return false;
    snprintf(s->model_hash, sizeof s->model_hash, "%s", hash);
    name_model(s);
    name_arithmetic(c, s);
    return set_sizes(c, s) && open_inits(c, s) && im_synth_begin_loras(c, s);
}

/* ---------------------------------------------------------------- the loop */

static im_image *init_of(im_ctx *c, const im_synth *s, const im_synth_picture *p)
{
    int64_t first = s->init_first[p->class], n = s->init_first[p->class + 1] - first;
    int64_t at = s->init_order[first + p->index % n];
    size_t bytes;
    uint8_t *data = im_dataset_read(c, s->inits, at, &bytes);
    im_image *image = data ? im_picture_decode(c, data, bytes, s->inits->samples[at].name, NULL) : NULL;
    free(data);
    return image;
}

bool im_synth_latents(im_ctx *c, im_synth *s, const im_synth_picture p[], int n, float *latents)
{
    im_sd_args *a = calloc((size_t)n, sizeof *a);
    im_image **init = calloc((size_t)n, sizeof *init);
    bool ok = (a && init) || im_fail(c, "out of memory for a batch of %d; make it smaller", n);
    for (int i = 0; ok && i < n; i++) {
        a[i] = s->base;
        a[i].prompt = p[i].prompt;
        a[i].seed = p[i].seed;
        a[i].guidance = (float)p[i].guidance;
        a[i].name = p[i].file;
        a[i].latents_out = latents + (int64_t)i * s->latent;
        if (s->inits) ok = (a[i].init = init[i] = init_of(c, s, &p[i])) != NULL;
    }
    ok = ok && im_sd_latents_batch(s->sd, a, n);
    for (int i = 0; init && i < n; i++) im_image_free(init[i]);
    free(init);
    free(a);
    return ok;
}

typedef struct loop {
    im_ctx *c;
    im_synth *s;
    const im_synth_hooks *h;
    im_synth_writer *w;
    im_synth_picture *batch;                                   /* (a.batch), n of them                                */
    float *latents;                                            /* (a.batch, s->latent)                                */
    int n;
    double start;
    im_synth_progress shown;
} loop;

static void show(loop *l)
{
    im_synth_progress *p = &l->shown;
    p->done = im_synth_writer_done(l->w);
    double spent = im_seconds() - l->start;
    p->img_per_s = spent > 0 ? (double)p->done / spent : 0;
    p->seconds_left = p->done ? spent / (double)p->done * (double)(p->wanted - p->done) : -1;
    if (l->h->drawn) l->h->drawn(l->h->arg, p);
}

static bool on_evaluation(void *arg, int done, int total)
{
    loop *l = arg;
    l->shown.evaluation = done;
    l->shown.evaluations = total;
    show(l);
    return true;
}

static bool draw_batch(loop *l)
{
    l->shown.batch = l->n;
    bool ok = im_synth_latents(l->c, l->s, l->batch, l->n, l->latents);
    for (int i = 0; i < l->n; i++) {
        ok = ok && im_synth_writer_add(l->c, l->w, &l->batch[i], l->latents + (int64_t)i * l->s->latent);
        im_synth_picture_free(&l->batch[i]);
    }
    l->n = 0;
    return ok;
}

/* Those that are guided, or those that are not, and have the same adapters as the first of them that is not done. *more:
 * some have others. done (end - begin): drawn, or there before. */
static bool draw_alike(loop *l, bool guided, int64_t begin, int64_t end, uint8_t *done, bool *more)
{
    im_synth *s = l->s;
    char *first = NULL;
    bool ok = true;
    *more = false;
    for (int64_t i = begin; ok && i < end; i++) {
        im_synth_picture p;
        if (done[i - begin]) continue;
        im_synth_locate(s, i, &p);
        if ((p.guidance > 1) != guided) continue;
        done[i - begin] = im_synth_there(l->c, s, &p);
        if (done[i - begin]) continue;
        if (!(ok = im_synth_picture_at(l->c, s, i, &p))) break;
        if (first && !im_sd_same_loras(s->sd, first, p.prompt)) {
            im_synth_picture_free(&p);
            *more = true;
            continue;
        }
        if (!first) ok = (first = im_copy_text(l->c, p.prompt, strlen(p.prompt))) != NULL;
        done[i - begin] = 1;
        l->batch[l->n++] = p;
        if (ok && l->n == s->a.batch) ok = draw_batch(l);
    }
    if (ok && l->n) ok = draw_batch(l);
    free(first);
    return ok && im_ok(l->c);
}

/* Pictures of a batch are all guided or none, and have the same weights: others wait for their turn. */
static bool draw_part(loop *l, int64_t begin, int64_t end)
{
    uint8_t *done = calloc((size_t)(end - begin) + 1, 1);
    bool ok = done || im_fail(l->c, "out of memory for what of the set is drawn");
    for (int guided = 0; ok && guided < 2; guided++)
        for (bool more = true; ok && more; ) ok = draw_alike(l, guided, begin, end, done, &more);
    free(done);
    return ok;
}

/* Pictures of the part that are there; -1 with an error. */
static int64_t count_there(im_ctx *c, const im_synth *s, int64_t begin, int64_t end)
{
    int64_t n = 0;
    for (int64_t i = begin; i < end && im_synth_goes_on(c); i++) {
        im_synth_picture p;
        im_synth_locate(s, i, &p);
        n += im_synth_there(c, s, &p);
    }
    return im_ok(c) ? n : -1;
}

static bool draw_missing(im_ctx *c, im_synth *s, const im_synth_hooks *h, int64_t begin, int64_t end, int64_t there)
{
    loop l = { .c = c, .s = s, .h = h, .shown = { .wanted = end - begin - there, .there = there } };
    l.batch = calloc((size_t)s->a.batch, sizeof *l.batch);
    l.latents = malloc((size_t)s->a.batch * (size_t)s->latent * sizeof *l.latents);
    bool ok = (l.batch && l.latents) || im_fail(c, "out of memory for a batch of %d; make it smaller", s->a.batch);
    ok = ok && im_synth_make_folders(c, s) && (l.w = im_synth_writer_open(c, s));
    l.start = im_seconds();
    im_sd_on_progress(s->sd, on_evaluation, &l);
    ok = ok && draw_part(&l, begin, end);
    im_sd_on_progress(s->sd, NULL, NULL);
    for (int i = 0; l.batch && i < l.n; i++) im_synth_picture_free(&l.batch[i]);
    if (l.w) {
        bool whole = im_synth_writer_close(c, l.w, &l.shown.done);
        ok = ok && whole;
    }
    l.shown.last = true;
    double spent = im_seconds() - l.start;
    l.shown.img_per_s = spent > 0 ? (double)l.shown.done / spent : 0;
    if (h->drawn) h->drawn(h->arg, &l.shown);
    free(l.batch);
    free(l.latents);
    return ok;
}

/* Room for a batch is asked for before the set has a folder; where it has one, something may be drawn and done already. */
static bool has_room(im_ctx *c, const im_synth *s)
{
    char *manifest = im_join(c, s->a.out, "manifest.json");
    bool ok = manifest && (im_is_file(manifest) ||
                           im_sd_check_memory(s->sd, &s->base, s->count < s->a.batch ? (int)s->count : s->a.batch));
    free(manifest);
    return ok;
}

/* A finished set that lacks pictures, shards or its metadata.jsonl (removed, lost with a disk) is drawn where it lacks them
 * and finished again. What it left out is no loss. */
static bool look_again(im_ctx *c, im_synth *s, const im_synth_hooks *h)
{
    if (!s->finished) return true;
    if ((s->a.dedup || s->a.filter) && !(s->dropped = calloc((size_t)s->count + 1, 1)))
        return im_fail(c, "%s: out of memory for what it left out", s->a.out);
    if (s->dropped && !im_synth_choose_dropped(c, s, h, s->dropped)) return false;
    int64_t there = count_there(c, s, 0, s->count);
    char *rows = im_join(c, s->a.out, "metadata.jsonl");
    s->again = rows && there >= 0 && (there < s->count || !im_is_file(rows));
    if (s->again && there < s->count)
        im_synth_note(h, "%s: was finished, but lacks %lld of its pictures, which are drawn again", s->a.out,
                      (long long)(s->count - there));
    free(rows);
    return im_ok(c);
}

bool im_synth_draw(im_ctx *c, im_synth *s, const im_synth_hooks *h)
{
    if (!im_synth_begin(c, s) || !has_room(c, s) || !im_synth_open_set(c, s)) return false;
    int64_t begin = im_synth_part(s->count, s->a.part, s->a.parts);
    int64_t end = im_synth_part(s->count, s->a.part + 1, s->a.parts);
    bool ok = look_again(c, s, h);
    if (ok && (!s->finished || s->again)) {
        int64_t there = count_there(c, s, begin, end);
        ok = there >= 0 && (there == end - begin || draw_missing(c, s, h, begin, end, there));
    }
    im_synth_unclaim(s);
    if (!ok && s->finished && !s->again) im_synth_leave(c, s);
    return ok && im_synth_finish(c, s, h);
}
