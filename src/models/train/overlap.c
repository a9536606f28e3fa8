/* overlap.c: see overlap.h. Two threads: the one of the training lays gradients into the row and says how far it is whole;
 * the other sums bucket after bucket. Of what they share, `ready` and `stop` are under the lock; the floats of a bucket
 * belong to the second thread from the moment they are ready. */
#define _GNU_SOURCE
#include "models/train/overlap.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Floats of a bucket: a thirty-second of all, so that little is left when backward ends, but no message that is mostly
 * latency, and none larger than a round of im_ranks_sum. */
static const int64_t SHARES = 32, LEAST = 1 << 14, MOST = 1 << 20;

struct im_overlap {
    im_ranks *ranks;
    im_tensor *const *w; int n;
    float *flat; int64_t floats, bucket;
    int *order; int known;                                     /* (n) numbers of parameters as they became whole       */
    int64_t *at;                                               /* (n) of each in flat                                  */
    bool *here; int in_row;                                    /* (n) of this step: laid down; so many in a row        */
    bool listening, running, off;                              /* off: a step has several backwards                    */
    im_ranks second;                                           /* the other thread's: its own context for errors       */
    pthread_t thread;
    pthread_mutex_t lock; pthread_cond_t more;
    int64_t ready; bool stop;                                  /* floats that may be sent                              */
    double seconds;
};

im_overlap *im_overlap_new(im_ranks *ranks, im_tensor *const *w, int n, float *flat)
{
    im_ctx *c = ranks->c;
    im_overlap *o = im_ok(c) ? calloc(1, sizeof *o) : NULL;
    if (!o) {
        im_fail(c, "out of memory for the exchange of gradients");
        return NULL;
    }
    *o = (im_overlap){ .ranks = ranks, .w = w, .n = n, .flat = flat, .second = *ranks };
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->more, NULL);
    size_t room = (size_t)n + 1;
    o->order = calloc(room, sizeof *o->order);
    o->at = calloc(room, sizeof *o->at);
    o->here = calloc(room, sizeof *o->here);
    o->second.c = im_ctx_new("ref", 1);
    for (int i = 0; i < n; i++)
        o->floats += im_numel(w[i]);
    o->bucket = o->floats / SHARES < LEAST ? LEAST : o->floats / SHARES > MOST ? MOST : o->floats / SHARES;
    if (o->order && o->at && o->here && o->second.c && im_ok(o->second.c))
        return o;
    im_fail(c, "out of memory for the exchange of gradients");
    im_overlap_free(o);
    return NULL;
}

void im_overlap_free(im_overlap *o)
{
    if (!o)
        return;
    double seconds;
    im_overlap_end(o, &seconds);
    im_ctx_free(o->second.c);
    pthread_cond_destroy(&o->more);
    pthread_mutex_destroy(&o->lock);
    free(o->order);
    free(o->at);
    free(o->here);
    free(o);
}

float *im_overlap_at(const im_overlap *o, int i)
{
    return o->flat + o->at[i];
}

/* ---------------------------------------------------------------- the second thread */

/* Floats that may be sent; -1: no more is wanted. */
static int64_t wait_for(im_overlap *o, int64_t wanted)
{
    pthread_mutex_lock(&o->lock);
    while (o->ready < wanted && !o->stop)
        pthread_cond_wait(&o->more, &o->lock);
    int64_t ready = o->stop ? -1 : o->ready;
    pthread_mutex_unlock(&o->lock);
    return ready;
}

static void *sum_buckets(void *arg)
{
    im_overlap *o = arg;
    for (int64_t at = 0; at < o->floats && im_ok(o->second.c); at += o->bucket) {
        int64_t n = o->floats - at < o->bucket ? o->floats - at : o->bucket;
        if (wait_for(o, at + n) < 0)
            break;
        double begun = im_seconds();
        im_ranks_sum(&o->second, o->flat + at, n);
        o->seconds += im_seconds() - begun;
    }
    return NULL;
}

static void say(im_overlap *o, int64_t ready, bool stop)
{
    pthread_mutex_lock(&o->lock);
    o->ready = ready;
    o->stop |= stop;
    pthread_cond_signal(&o->more);
    pthread_mutex_unlock(&o->lock);
}

/* ---------------------------------------------------------------- the training's thread */

static int number_of(const im_overlap *o, const im_tensor *w)
{
    int i = 0;
    while (i < o->n && o->w[i] != w)
        i++;
    return i;
}

/* A parameter without a gradient in this step is a row of zeros. */
static void lay_down(im_overlap *o, int i)
{
    im_tensor *w = o->w[i];
    if (w->grad_set)
        im_download(o->ranks->c, w->grad, o->flat + o->at[i]);
    else
        memset(o->flat + o->at[i], 0, (size_t)im_numel(w) * sizeof *o->flat);
    o->here[i] = true;
}

static void on_gradient(void *arg, im_tensor *w)
{
    im_overlap *o = arg;
    int i = number_of(o, w), before = o->in_row;
    if (i == o->n)
        return;                                                /* nothing that is trained                              */
    if (!o->running && o->here[i]) {
        o->off = true;
    } else if (!o->running) {                                  /* the first step: its order is learnt                  */
        o->here[i] = true;
        o->order[o->known++] = i;
    } else {
        lay_down(o, i);
        while (o->in_row < o->n && o->here[o->order[o->in_row]])
            o->in_row++;
        if (o->in_row > before && o->in_row < o->n)
            say(o, o->at[o->order[o->in_row]], false);
    }
}

/* What backward did not name comes last. */
static void settle(im_overlap *o)
{
    int64_t at = 0;
    for (int i = 0; i < o->n; i++)
        if (!o->here[i])
            o->order[o->known++] = i;
    for (int k = 0; k < o->n; k++) {
        o->at[o->order[k]] = at;
        at += im_numel(o->w[o->order[k]]);
    }
}

bool im_overlap_begin(im_overlap *o)
{
    im_ctx *c = o->ranks->c;
    memset(o->here, 0, (size_t)o->n * sizeof *o->here);
    o->in_row = 0;
    o->ready = 0;
    o->seconds = 0;
    o->stop = false;
    if (o->off)
        return true;
    if (o->known && pthread_create(&o->thread, NULL, sum_buckets, o))
        return im_fail(c, "cannot begin a thread for the exchange of gradients; is their number limited (ulimit -u)?");
    o->running = o->known > 0;
    o->listening = true;
    im_on_gradient(c, on_gradient, o);
    return true;
}

/* The thread ends; a signal to this one reaches it. */
static void join(im_overlap *o)
{
    struct timespec until;
    do {
        if (im_cancelled(o->ranks->c))
            im_cancel(o->second.c);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    } while (pthread_timedjoin_np(o->thread, NULL, &until));
    o->running = false;
}

bool im_overlap_end(im_overlap *o, double *seconds)
{
    im_ctx *c = o->ranks->c;
    bool summed = o->running;
    if (!o->listening)
        return false;
    o->listening = false;
    im_on_gradient(c, NULL, NULL);
    if (!summed) {
        if (o->known && im_ok(c))
            settle(o);
        return false;
    }
    for (int i = 0; i < o->n && im_ok(c); i++)
        if (!o->here[i])
            lay_down(o, i);
    if (!im_ok(c))
        im_cancel(o->second.c);
    say(o, o->floats, !im_ok(c));
    join(o);
    o->ranks->sent += o->second.sent;
    o->second.sent = 0;
    *seconds = o->seconds;
    return im_ok(c) && (im_ok(o->second.c) || im_fail(c, "%s", im_error(o->second.c)));
}
