/* loader.c: the ring of batches and its consumer; the threads that fill it are in loader_work.c. A slot of the ring holds
 * the crops of one batch as bytes: 256 pictures of DINO's recipe are 95 MB. They become f32 when they are handed out, on
 * the context's threads. See loader.h. */
#include "data/sets/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/files/file.h"
#include "data/sets/loader_parts.h"
#include "tensor/parallel.h"

enum { AHEAD = 3, MOST_THREADS = 256, PIXELS = 1 << 16 };      /* PIXELS: that a task of im_parallel normalises       */

/* ---------------------------------------------------------------- opening */

static bool check_args(im_ctx *c, const im_loader_args *a)
{
    const im_dataset *d = a->data;
    if (a->batch < 1) return im_fail(c, "the batch has %d pictures; wanted 1 or more", a->batch);
    if (d->count > INT32_MAX)
        return im_fail(c, "%s: holds %lld pictures; wanted at most %d", d->path, (long long)d->count, INT32_MAX);
    if (a->drop_last && a->batch > d->count)
        return im_fail(
            c,
            "%s: holds %lld pictures and a batch has %d: with the last batch dropped, nothing is left; lower "
            "the batch",
            d->path, (long long)d->count, a->batch);
    if (a->threads < 0 || a->threads > MOST_THREADS)
        return im_fail(c, "%d threads for decoding; wanted 0 (one per core) to %d", a->threads, MOST_THREADS);
    if (a->every < 0 || (a->every && (a->run < 1 || a->run > a->every)))
        return im_fail(c, "%lld of every %lld batches; wanted 1 to all of them", (long long)a->run, (long long)a->every);
    if (a->cache == IM_CACHE_DISK && !a->cache_folder)
        return im_fail(c, "a cache on disk needs a folder to lie in");
    return im_recipe_check(c, a->recipe);
}

static bool no_memory(im_ctx *c, const im_loader *l)
{
    return im_fail(c, "%s: out of memory for batches of %d pictures; lower the batch, or close other programs",
                   l->a.data->path, l->a.batch);
}

static bool make_slots(im_ctx *c, im_loader *l)
{
    size_t n = (size_t)l->a.batch;
    l->slots = calloc((size_t)l->depth, sizeof *l->slots);
    for (int i = 0; l->slots && i < l->depth; i++) {
        im_loader_slot *s = &l->slots[i];
        s->serial = -1;
        s->labels = calloc(n, sizeof *s->labels);
        s->indices = calloc(n, sizeof *s->indices);
        s->meant = calloc(n, sizeof *s->meant);
        s->draws = calloc(n * (size_t)l->n_crops, sizeof *s->draws);
        if (!s->labels || !s->indices || !s->meant || !s->draws) return no_memory(c, l);
        for (int k = 0; k < l->recipe.kinds; k++) {
            const im_crop_recipe *r = &l->recipe.crop[k];
            size_t pixels = (size_t)r->size * (size_t)r->size * (size_t)r->count * n;
            if (pixels && !(s->crops[k] = malloc(3 * pixels))) return no_memory(c, l);
            if (pixels && !l->a.bytes && !l->f32[k] && !(l->f32[k] = malloc(3 * pixels * sizeof *l->f32[k])))
                return no_memory(c, l);
        }
    }
    return l->slots || no_memory(c, l);
}

static bool make_tables(im_ctx *c, im_loader *l)
{
    l->orders = calloc((size_t)l->depth + 1, sizeof *l->orders);
    l->reasons = calloc((size_t)l->count, sizeof *l->reasons);
    l->broken = calloc((size_t)l->count, sizeof *l->broken);
    for (int i = 0; l->orders && i <= l->depth; i++) l->orders[i].epoch = -1;
    return (l->orders && l->reasons && l->broken) || no_memory(c, l);
}

static bool start_workers(im_ctx *c, im_loader *l)
{
    int n = l->a.threads ? l->a.threads : im_cores();
    l->workers = calloc((size_t)n, sizeof *l->workers);
    if (!l->workers) return no_memory(c, l);
    for (int i = 0; i < n; i++) {
        im_worker *w = &l->workers[i];
        *w = (im_worker){ .loader = l, .c = im_ctx_new("ref", 1), .scratch = im_crop_scratch_new() };
        if (w->c) im_warnings_from(&l->warnings, w->c);
        int err = w->c && w->scratch ? pthread_create(&w->id, NULL, im_loader_work, w) : -1;
        if (!err) {
            l->n_workers++;
            continue;
        }
        im_ctx_free(w->c);
        im_crop_scratch_free(w->scratch);
        return err < 0 ? no_memory(c, l)
                       : im_fail(c, "thread %d of %d for decoding cannot be started: %s; ask for fewer", i + 1, n,
                                 strerror(err));
    }
    return true;
}

static bool count_steps(im_ctx *c, im_loader *l)
{
    const im_loader_args *a = &l->a;
    l->count = a->data->count;
    l->steps = a->drop_last ? l->count / a->batch : (l->count + a->batch - 1) / a->batch;
    if (a->first_epoch < 0 || a->first_step < 0 || a->first_step >= l->steps ||
        a->first_epoch > INT64_MAX / l->steps - 1)
        return im_fail(
            c, "%s: begins at step %lld of epoch %lld; an epoch has steps 0 to %lld with %d pictures per batch",
            a->data->path, (long long)a->first_step, (long long)a->first_epoch, (long long)l->steps - 1, a->batch);
    int64_t from = a->first_epoch * l->steps + a->first_step;
    l->serials = a->epochs <= 0 || a->epochs > INT64_MAX / l->steps ? INT64_MAX : a->epochs * l->steps - from;
    return true;
}

im_loader *im_loader_open(im_ctx *c, const im_loader_args *a)
{
    if (!im_ok(c) || !a->data || !a->recipe || !check_args(c, a)) return NULL;
    im_loader *l = calloc(1, sizeof *l);
    if (!l) {
        im_fail(c, "%s: out of memory for a loader; close other programs", a->data->path);
        return NULL;
    }
    l->a = *a;
    l->recipe = *a->recipe;
    l->n_crops = im_recipe_crops(&l->recipe);
    l->depth = a->ahead > 0 ? a->ahead : AHEAD;
    im_warnings_init(&l->warnings);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    /* The consumer's wait has a time limit, which is on the clock that only goes forward. */
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->done, &attr);
    pthread_condattr_destroy(&attr);
    bool ok = count_steps(c, l) && make_tables(c, l) && make_slots(c, l);
    if (ok && a->cache != IM_CACHE_NONE)
        ok = (l->cache = im_cache_open(c, a->data, &(im_cache_args){ a->cache, a->cache_folder, a->cache_bytes,
                                                                    a->max_pixels })) != NULL;
    if (ok && start_workers(c, l)) return l;
    im_loader_close(l);
    return NULL;
}

void im_loader_close(im_loader *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_workers; i++) pthread_join(l->workers[i].id, NULL);
    for (int i = 0; i < l->n_workers; i++) {
        im_ctx_free(l->workers[i].c);
        im_crop_scratch_free(l->workers[i].scratch);
    }
    for (int i = 0; l->slots && i < l->depth; i++) {
        im_loader_slot *s = &l->slots[i];
        for (int k = 0; k < IM_RECIPE_KINDS; k++) free(s->crops[k]);
        free(s->labels);
        free(s->indices);
        free(s->meant);
        free(s->draws);
        free(s->error);
    }
    for (int k = 0; k < IM_RECIPE_KINDS; k++) free(l->f32[k]);
    for (int i = 0; l->orders && i <= l->depth; i++) free(l->orders[i].places);
    for (int64_t i = 0; l->reasons && i < l->count; i++) free(l->reasons[i]);
    im_cache_free(l->cache);
    im_warnings_free(&l->warnings);
    free(l->workers);
    free(l->slots);
    free(l->orders);
    free(l->reasons);
    free(l->list);
    free(l->broken);
    pthread_cond_destroy(&l->done);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---------------------------------------------------------------- the next batch */

typedef struct normaliser { const uint8_t *from; float *to; int64_t pixels; } normaliser;

static void normalise_part(void *arg, int task, int thread)
{
    const normaliser *n = arg;
    (void)thread;
    int64_t first = (int64_t)task * PIXELS, part = n->pixels - first < PIXELS ? n->pixels - first : PIXELS;
    im_normalise(n->from + 3 * first, part, n->to + 3 * first);
}

/* Gives the lent batch back and waits for batch `serial`. False: stopped. */
static bool wait_for(im_ctx *c, im_loader *l, im_loader_slot *s, int64_t serial)
{
    double start = im_seconds();
    bool stopped = false;
    pthread_mutex_lock(&l->lock);
    if (l->lent) {
        l->given++;
        l->lent = false;
        pthread_cond_broadcast(&l->work);
    }
    while (!stopped && (s->serial != serial || s->left)) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 50000000;                             /* so often is it asked whether im_cancel was called   */
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&l->done, &l->lock, &until);
        stopped = im_cancelled(c);
    }
    double waited = im_seconds() - start;
    l->stats.waited += waited;
    l->batch.waited = waited;
    if (!stopped) l->stats.batches++;
    pthread_mutex_unlock(&l->lock);
    return !stopped || im_fail(c, "stopped");
}

static void warn_when_full(im_ctx *c, im_loader *l)
{
    im_cache_state s = im_cache_report(l->cache);
    if (!s.full || l->told_full) return;
    l->told_full = true;
    im_warn(c, "%s: the cache is full: %lld of %lld pictures in %.2f GB; the rest is decoded every time "
                "(--cache disk keeps all of them)",
            l->a.data->path, (long long)s.pictures, (long long)l->count, (double)s.limit * 1e-9);
}

const im_batch *im_loader_next(im_ctx *c, im_loader *l)
{
    if (!l || !im_ok(c)) return NULL;
    int64_t serial = l->given + (l->lent ? 1 : 0);             /* only this thread changes them                       */
    if (serial >= l->serials) return NULL;
    im_loader_slot *s = &l->slots[serial % l->depth];
    if (!wait_for(c, l, s, serial)) return NULL;
    l->lent = true;
    warn_when_full(c, l);
    im_warnings_tell(&l->warnings, c, l->a.data->path);
    if (s->error) {
        im_fail(c, "%s", s->error);
        return NULL;
    }
    l->batch = (im_batch){ .epoch = s->epoch, .step = s->step, .steps = l->steps, .n = s->n, .kinds = l->recipe.kinds,
                           .labels = s->labels, .indices = s->indices, .meant = s->meant, .draws = s->draws,
                           .waited = l->batch.waited };
    for (int k = 0; k < l->recipe.kinds; k++) {
        const im_crop_recipe *r = &l->recipe.crop[k];
        im_crops *out = &l->batch.crops[k];
        *out = (im_crops){ .count = r->count, .size = r->size, .u8 = l->a.bytes ? s->crops[k] : NULL,
                           .f32 = l->a.bytes ? NULL : l->f32[k] };
        normaliser n = { s->crops[k], l->f32[k], (int64_t)r->count * s->n * r->size * r->size };
        if (!l->a.bytes) im_parallel(c, (int)((n.pixels + PIXELS - 1) / PIXELS), normalise_part, &n);
    }
    return &l->batch;
}

int64_t im_loader_steps(const im_loader *l)
{
    return l->steps;
}

/* ---------------------------------------------------------------- what happened */

im_loader_stats im_loader_report(im_loader *l)
{
    pthread_mutex_lock(&l->lock);
    im_loader_stats s = l->stats;
    pthread_mutex_unlock(&l->lock);
    return s;
}

const im_broken *im_loader_broken(im_ctx *c, im_loader *l, int64_t *n)
{
    const im_dataset *d = l->a.data;
    pthread_mutex_lock(&l->lock);
    free(l->list);
    *n = 0;
    l->list = calloc((size_t)(d->n_broken + l->stats.broken) + 1, sizeof *l->list);
    if (!l->list) no_memory(c, l);
    for (int64_t i = 0; l->list && i < d->n_broken; i++) l->list[(*n)++] = d->broken[i];
    for (int64_t i = 0; l->list && l->stats.broken && i < l->count; i++)
        if (l->reasons[i]) l->list[(*n)++] = (im_broken){ d->samples[i].name, l->reasons[i] };
    pthread_mutex_unlock(&l->lock);
    return l->list;
}

bool im_loader_write_broken(im_ctx *c, im_loader *l, const char *path)
{
    int64_t n;
    const im_broken *v = im_loader_broken(c, l, &n);
    if (!v || !n) return v != NULL;
    size_t bytes = 0, at = 0;
    for (int64_t i = 0; i < n; i++) bytes += strlen(v[i].name) + strlen(v[i].reason) + 2;
    char *text = malloc(bytes + 1);
    if (!text) return no_memory(c, l);
    for (int64_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, bytes + 1 - at, "%s\t%s\n", v[i].name, v[i].reason);
    bool ok = im_write_file(c, path, text, bytes, true);
    free(text);
    return ok;
}

void im_batch_fill(const im_batch *b, int batch, size_t picture, float *x)
{
    size_t n = (size_t)b->n;
    memcpy(x, b->crops[0].f32, n * picture * sizeof *x);
    memset(x + n * picture, 0, ((size_t)batch - n) * picture * sizeof *x);
}
