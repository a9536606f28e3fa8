/* loader_work.c: the threads of a loader: take the next place of the next batch, make its crops, say that it is done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/sets/loader_parts.h"
#include "data/sets/order.h"
#include "data/images/picture.h"

/* ---------------------------------------------------------------- one picture */

static size_t crop_bytes(int size)
{
    return (size_t)size * (size_t)size * 3;
}

/* All crops of the picture into place `place`. d: its draws. */
static bool cut_crops(im_worker *w, im_loader_slot *s, int place, const im_image *picture, const im_draw *d)
{
    const im_recipe *r = &w->loader->recipe;
    bool ok = true;
    for (int kind = 0, k = 0; kind < r->kinds; kind++)
        for (int j = 0; j < r->crop[kind].count && ok; j++, k++) {
            size_t at = ((size_t)j * (size_t)s->n + (size_t)place) * crop_bytes(r->crop[kind].size);
            ok = im_augment_apply(w->c, w->scratch, picture, r, k, &d[k], s->crops[kind] + at);
        }
    return ok;
}

static void draw_all(const im_loader *l, const im_loader_slot *s, int64_t meant, int width, int height, im_draw *d)
{
    for (int k = 0; k < l->n_crops; k++)
        im_augment_draw(&l->recipe, k, width, height, l->a.seed, (uint64_t)s->epoch, (uint64_t)meant, &d[k]);
}

/* Sample `index` into place `place`, with the draws of sample `meant`. False with an error in w->c. */
static bool make_place(im_worker *w, im_loader_slot *s, int place, int64_t index, int64_t meant)
{
    im_loader *l = w->loader;
    im_draw *d = s->draws + (size_t)place * (size_t)l->n_crops;
    im_image kept;
    if (im_cache_get(l->cache, index, &kept)) {
        draw_all(l, s, meant, kept.width, kept.height, d);
        return cut_crops(w, s, place, &kept, d);
    }
    size_t n;
    int width, height;
    const char *name = l->a.data->samples[index].name;
    im_decode_args args = { .max_pixels = l->a.max_pixels, .shrink = 1 };
    uint8_t *bytes = im_dataset_read(w->c, l->a.data, index, &n);
    bool ok = bytes && im_picture_size(w->c, bytes, n, name, &args, &width, &height);
    if (ok) {
        draw_all(l, s, meant, width, height, d);
        if (!l->cache && !l->a.exact) args.shrink = im_augment_shrink(d, l->n_crops);
    }
    im_image *picture = ok ? im_picture_decode(w->c, bytes, n, name, &args) : NULL;
    free(bytes);
    ok = picture && cut_crops(w, s, place, picture, d);
    if (!ok || !im_cache_put(l->cache, index, picture)) im_image_free(picture);
    return ok;
}

/* ---------------------------------------------------------------- broken ones */

/* The reason without the name in front of it, which the list has already. */
static char *reason_of(const char *error, const char *name)
{
    size_t n = strlen(name);
    if (!strncmp(error, name, n) && !strncmp(error + n, ": ", 2)) error += n + 2;
    return strdup(error);
}

static void note_broken(im_worker *w, int64_t index)
{
    im_loader *l = w->loader;
    pthread_mutex_lock(&l->lock);
    if (!l->reasons[index]) {
        l->reasons[index] = reason_of(im_error(w->c), l->a.data->samples[index].name);
        l->stats.broken++;
    }
    pthread_mutex_unlock(&l->lock);
    atomic_store(&l->broken[index], 1);
}

static void fail_slot(im_worker *w, im_loader_slot *s, int place, const char *text)
{
    im_loader *l = w->loader;
    pthread_mutex_lock(&l->lock);
    if (!s->error || place < s->error_place) {                 /* the same error, whichever thread is first           */
        free(s->error);
        s->error = strdup(text);
        s->error_place = place;
    }
    pthread_mutex_unlock(&l->lock);
}

static void fill_place(im_worker *w, im_loader_slot *s, int place)
{
    im_loader *l = w->loader;
    const im_dataset *d = l->a.data;
    int64_t p = s->step * l->a.batch + place, meant = s->order[p];
    char text[5000];
    s->meant[place] = meant;
    for (int64_t k = 0; k < l->count; k++) {
        int64_t index = s->order[(p + k) % l->count];
        if (atomic_load(&l->broken[index]) && !l->a.strict) continue;
        if (make_place(w, s, place, index, meant)) {
            s->indices[place] = index;
            s->labels[place] = d->samples[index].label;
            return;
        }
        /* Want of memory is no property of the picture: going on would make the run depend on the machine's state. */
        if (l->a.strict || strstr(im_error(w->c), "out of memory")) {
            snprintf(text, sizeof text, "%s: %s%s", d->path, im_error(w->c), l->a.strict ? " (--strict stops at it)" : "");
            fail_slot(w, s, place, text);
            im_clear_error(w->c);
            return;
        }
        note_broken(w, index);
        im_clear_error(w->c);
    }
    snprintf(text, sizeof text, "%s: none of its %lld pictures can be decoded", d->path, (long long)l->count);
    fail_slot(w, s, place, text);
}

/* ---------------------------------------------------------------- the threads */

/* The order of an epoch; the batches in the ring are of `depth` epochs at most. Under the lock. */
static const uint32_t *order_of(im_loader *l, int64_t epoch)
{
    im_epoch_order *o = &l->orders[epoch % (l->depth + 1)];
    if (!o->places) o->places = malloc((size_t)l->count * sizeof *o->places);
    if (o->places && o->epoch != epoch)
        im_order_draw(o->places, l->count, l->a.sums, l->a.shuffled, l->a.seed, (uint64_t)epoch);
    o->epoch = o->places ? epoch : -1;
    return o->places;
}

/* The slot of batch `serial` is made ready to be filled. Under the lock. */
static void begin_batch(im_loader *l, im_loader_slot *s, int64_t serial)
{
    int64_t on = l->a.every ? serial / l->a.run * l->a.every + serial % l->a.run : serial;
    int64_t at = l->a.first_epoch * l->steps + l->a.first_step + on;
    s->epoch = at / l->steps;
    s->step = at % l->steps;
    int64_t rest = l->count - s->step * l->a.batch;
    s->n = rest < l->a.batch ? (int)rest : l->a.batch;
    s->left = s->n;
    free(s->error);
    s->error = NULL;
    s->order = order_of(l, s->epoch);
    if (!s->order) {
        s->error = strdup("out of memory for the order of an epoch; close other programs");
        s->error_place = -1;
    }
    s->serial = serial;
}

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *im_loader_work(void *worker)
{
    im_worker *w = worker;
    im_loader *l = w->loader;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->quit && (l->next >= l->given + l->depth || l->next >= l->serials))
            pthread_cond_wait(&l->work, &l->lock);
        if (l->quit) break;
        im_loader_slot *s = &l->slots[l->next % l->depth];
        if (!l->next_place) begin_batch(l, s, l->next);
        int place = l->next_place++;
        bool fill = s->order != NULL;
        if (l->next_place == s->n) {
            l->next++;
            l->next_place = 0;
        }
        pthread_mutex_unlock(&l->lock);
        double start = thread_seconds();
        if (fill) fill_place(w, s, place);
        double took = thread_seconds() - start;
        pthread_mutex_lock(&l->lock);
        l->stats.busy += took;
        l->stats.pictures++;
        if (!--s->left) pthread_cond_signal(&l->done);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}
