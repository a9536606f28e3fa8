/* synth_writer.c: what happens to a picture behind the UNet: decoder, size, file. A thread of its own does it while the
 * UNet draws the next ones, with a context and a decoder of its own. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/images/resize.h"
#include "models/pipelines/synth.h"

typedef struct finished { im_synth_picture picture; float *latents; } finished;

struct im_synth_writer {
    const im_synth *s;
    im_ctx *c;                                                 /* of the thread                                       */
    im_sd *sd;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t work, room;
    finished *ring;                                            /* (room_for): from first on, n of them                */
    int room_for, first, n;
    bool quit;
    int64_t done, full;                                        /* written; of a shard: those before it are there      */
    char *error;                                               /* of the first picture that failed; NULL: none        */
};

/* Written beside and renamed: whole, or not there. */
static bool write_picture(im_ctx *c, const im_synth *s, const im_image *picture, const char *path)
{
    im_image *small = s->save_size < s->size ? im_resize(c, picture, s->save_size, s->save_size, IM_FILTER_LANCZOS) : NULL;
    im_picture_how how = { .format = strcmp(s->a.format, "jpeg") ? IM_PNG : IM_JPEG, .quality = s->a.quality,
                           .mark = im_synth_mark(s) };
    bool ok = im_ok(c) && im_picture_write(c, path, small ? small : picture, &how, true);
    im_image_free(small);
    return ok;
}

bool im_synth_write(im_ctx *c, const im_synth *s, im_sd *sd, const im_synth_picture *p, const float *latents,
                    const char *path)
{
    im_sd_args a = s->base;
    a.prompt = "";                                             /* one may name LoRAs, which the decoder has not        */
    a.seed = p->seed;
    a.guidance = (float)p->guidance;
    a.name = p->file;
    im_image *picture = im_sd_decode(sd, &a, latents);
    bool ok = picture && write_picture(c, s, picture, path);
    im_image_free(picture);
    return ok;
}

static bool write_one(im_synth_writer *w, const finished *f)
{
    char *path = im_synth_path(w->c, w->s, &f->picture);
    bool ok = path && im_synth_write(w->c, w->s, w->sd, &f->picture, f->latents, path);
    free(path);
    /* The last picture of a shard: whichever worker sees it full packs it. */
    return ok && (!im_synth_sharded(w->s) || w->s->a.dedup || w->s->a.filter
                  || im_synth_pack(w->c, w->s, f->picture.number / w->s->a.shard_size, &w->full, NULL));
}

static void drop(finished *f)
{
    im_synth_picture_free(&f->picture);
    free(f->latents);
}

static void *run(void *arg)
{
    im_synth_writer *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->n && !w->quit) pthread_cond_wait(&w->work, &w->lock);
        if (!w->n) break;
        finished f = w->ring[w->first];
        bool go_on = !w->error;
        pthread_mutex_unlock(&w->lock);
        bool ok = go_on && write_one(w, &f);
        drop(&f);
        pthread_mutex_lock(&w->lock);
        w->first = (w->first + 1) % w->room_for;
        w->n--;
        w->done += ok;
        if (!ok && !w->error) w->error = strdup(im_error(w->c));
        pthread_cond_signal(&w->room);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void free_writer(im_synth_writer *w)
{
    im_sd_free(w->sd);
    if (w->c) im_ctx_free(w->c);
    free(w->ring);
    free(w->error);
    free(w);
}

im_synth_writer *im_synth_writer_open(im_ctx *c, const im_synth *s)
{
    im_synth_writer *w = calloc(1, sizeof *w);
    if (!w) {
        im_fail(c, "out of memory for the thread that writes pictures; close other programs");
        return NULL;
    }
    w->s = s;
    w->room_for = 2 * s->a.batch;                              /* a batch that is written, and one that is handed over */
    w->ring = calloc((size_t)w->room_for, sizeof *w->ring);
    w->c = im_ctx_new(im_device_place(c), im_threads(c));
    if (w->c && im_ok(w->c)) w->sd = im_sd_open(w->c, s->a.model, s->a.dtype);
    if (!w->ring || !w->sd) {
        im_fail(c, "%s", w->c && !im_ok(w->c) ? im_error(w->c) : "out of memory for the thread that writes pictures");
        free_writer(w);
        return NULL;
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->room, NULL);
    w->running = !pthread_create(&w->thread, NULL, run, w);
    if (!w->running) {
        im_fail(c, "the thread that writes pictures could not be started; close other programs");
        im_synth_writer_close(c, w, NULL);
        return NULL;
    }
    return w;
}

bool im_synth_writer_add(im_ctx *c, im_synth_writer *w, im_synth_picture *p, const float *latents)
{
    size_t bytes = (size_t)w->s->latent * sizeof *latents;
    finished f = { .picture = *p, .latents = malloc(bytes) };
    if (!f.latents) return im_fail(c, "%s: out of memory for its latents; close other programs", p->file);
    memcpy(f.latents, latents, bytes);
    p->prompt = NULL;
    pthread_mutex_lock(&w->lock);
    while (w->n == w->room_for) pthread_cond_wait(&w->room, &w->lock);
    w->ring[(w->first + w->n++) % w->room_for] = f;
    bool ok = !w->error || im_fail(c, "%s", w->error);
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    return ok;
}

int64_t im_synth_writer_done(im_synth_writer *w)
{
    pthread_mutex_lock(&w->lock);
    int64_t done = w->done;
    pthread_mutex_unlock(&w->lock);
    return done;
}

bool im_synth_writer_close(im_ctx *c, im_synth_writer *w, int64_t *done)
{
    if (!w) return im_ok(c);
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_signal(&w->work);
    pthread_mutex_unlock(&w->lock);
    if (w->running) pthread_join(w->thread, NULL);
    bool ok = !w->error || im_fail(c, "%s", w->error);
    if (done) *done = w->done;
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->room);
    free_writer(w);
    return ok;
}
