/* worker.c: the one thread that owns the context and the model.
 *
 * Pictures that are drawn sit side by side, at most --batch of them, all of one size and with the same LoRAs: each turn is
 * one evaluation of the UNet for all of them (im_sd_run_step), in which no operation mixes samples, so each has the bits of
 * a picture made alone. A picture may join others that are under way. The first one in the queue is never overtaken, but
 * where a table is set anew: then all that fit beside it may sit down. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/http.h"
#include "cli/serve/keep.h"
#include "cli/serve/serve.h"
#include "cli/shown.h"
#include "data/images/picture.h"
#include "data/images/resize.h"

/* ---------------------------------------------------------------- who may sit down */

/* Picture i of a, and the next of b. Weights have the LoRAs of one list of names at a time. */
static bool together(server *s, const job *a, int i, const job *b)
{
    if (a == b && !a->w.prompts)
        return true;
    return a->w.width == b->w.width && a->w.height == b->w.height &&
           im_sd_same_loras(s->sd, wish_prompt(&a->w, i), wish_prompt(&b->w, b->begun));
}

static bool wants_seat(const job *j)
{
    return !job_ended(j) && !j->cancel && j->begun < j->w.count;
}

static bool anything_to_do(const server *s)
{
    for (const job *j = s->first; j; j = j->next)
        if (wants_seat(j))
            return true;
    return s->seated > 0;
}

static void sit_down(server *s, job *j)
{
    if (j->state == JOB_QUEUED) {
        j->state = JOB_RUNNING;
        j->started = clock_now();
        s->waiting--;
    }
    j->v[j->begun].state = DRAWING_RUNS;
    s->seats[s->seated++] = (seat){ .j = j, .index = j->begun++, .began = im_seconds() };
}

static void fill_seats(server *s)
{
    bool anew = s->seated == 0;
    const seat *lead = &s->seats[0];
    if (anew)
        s->room = s->o->batch;
    for (job *j = s->first; j && s->seated < s->room; j = j->next) {
        while (s->seated < s->room && wants_seat(j) && (!s->seated || together(s, lead->j, lead->index, j)))
            sit_down(s, j);
        if (!anew && s->seated < s->room && wants_seat(j))
            return;
    }
}

/* ---------------------------------------------------------------- beginnings and ends of pictures */

static im_sd_args args_of(const job *j, int index)
{
    im_sd_args a = wish_args(&j->w, index);
    a.seed = j->v[index].seed;
    return a;
}

static void stand_up(server *s, int i, drawing_state state, const char *error)
{
    seat *at = &s->seats[i];
    im_sd_run_close(at->run);
    pthread_mutex_lock(&s->lock);
    drawing *d = &at->j->v[at->index];
    if (error && !d->error)
        d->error = strdup(error);
    d->seconds = im_seconds() - at->began;
    if (state == DRAWING_FAILED && !at->j->status)
        at->j->status = 500;
    job_end_picture(s, at->j, at->index, state);
    pthread_mutex_unlock(&s->lock);
    memmove(at, at + 1, (size_t)(--s->seated - i) * sizeof *at);
}

/* What went wrong in the context is that of one picture, or of all of a step; the model goes on. */
static void all_failed(server *s)
{
    char *error = strdup(im_error(s->c));
    im_clear_error(s->c);
    shown_line(stderr, "imago: %s", error ? error : "out of memory");
    while (s->seated)
        stand_up(s, s->seated - 1, DRAWING_FAILED, error ? error : "out of memory");
    free(error);
}

/* Back into its job: there is no memory beside the others. */
static void wait_again(server *s, int i)
{
    pthread_mutex_lock(&s->lock);
    job *j = s->seats[i].j;
    bool last = s->seats[i].index == j->begun - 1 && !j->cancel;
    if (last) {
        j->v[--j->begun].state = DRAWING_WAITS;
        s->room = --s->seated;
    }
    pthread_mutex_unlock(&s->lock);
    if (!last)
        stand_up(s, i, DRAWING_CANCELLED, NULL);
}

static void open_runs(server *s)
{
    for (int i = 0; i < s->seated; i++) {
        seat *at = &s->seats[i];
        if (at->run)
            continue;
        im_sd_args a = args_of(at->j, at->index);
        if (!im_sd_check_memory(s->sd, &a, s->seated) && i > 0) {
            im_clear_error(s->c);
            while (s->seated > i)
                wait_again(s, s->seated - 1);
            return;
        }
        if (im_ok(s->c))
            at->run = im_sd_run_open(s->sd, &a);
        if (at->run)
            continue;
        char *error = strdup(im_error(s->c));
        im_clear_error(s->c);
        stand_up(s, i--, DRAWING_FAILED, error ? error : "out of memory");
        free(error);
    }
}

/* A text that had wildcards, as it was asked for; NULL: it is drawn as it was. */
static const char *filled(const char *drawn, const char *asked)
{
    return strcmp(drawn, asked) ? asked : NULL;
}

static im_request request_of(const server *s, const job *j, int index)
{
    return (im_request){ .args = args_of(j, index), .model_name = s->model_name, .quality = j->w.quality,
                         .init_sha256 = j->w.init ? j->w.init_sha256 : NULL,
                         .mask_sha256 = j->w.mask ? j->w.mask_sha256 : NULL, .no_mark = s->o->no_mark,
                         .prompt_template = filled(wish_prompt(&j->w, index), j->w.prompt),
                         .negative_template = filled(wish_negative(&j->w, index), j->w.negative) };
}

static void finish(server *s, int i)
{
    seat *at = &s->seats[i];
    drawing made = { 0 };
    char name[64];
    im_image *picture = im_sd_run_image(at->run);
    im_request q = request_of(s, at->j, at->index);
    snprintf(name, sizeof name, "picture %d of job %llu", at->index + 1, (unsigned long long)at->j->id);
    if (picture) {
        made.file = im_request_encode(s->sd, &q, name, picture, &made.bytes);
        made.json = im_request_json(s->sd, &q);
        made.parameters = im_request_parameters(s->sd, &q);
    }
    im_image_free(picture);
    if (!made.file || !made.json || !made.parameters) {
        made.error = strdup(im_ok(s->c) ? im_sd_run_error(at->run) : im_error(s->c));
        im_clear_error(s->c);
    } else {
        keep_picture(s, at->j, at->index, made.file, made.bytes);
    }
    pthread_mutex_lock(&s->lock);
    drawing *d = &at->j->v[at->index];
    d->file = made.file;
    d->bytes = made.bytes;
    d->json = made.json;
    d->parameters = made.parameters;
    d->error = made.error;
    pthread_mutex_unlock(&s->lock);
    if (!s->o->quiet)
        fprintf(stderr, "job %llu: picture %d of %d, seed %llu, %.1f s%s%s\n", (unsigned long long)at->j->id, at->index + 1,
                at->j->w.count, (unsigned long long)d->seed, im_seconds() - at->began, made.error ? ": " : "",
                made.error ? made.error : "");
    stand_up(s, i, made.error ? DRAWING_FAILED : DRAWING_DONE, NULL);
}

/* ---------------------------------------------------------------- a turn */

/* At the size of the picture: what programs and people expect to see growing. */
static void preview(server *s, const seat *at)
{
    im_image *small = im_sd_run_preview(at->run), *large = NULL;
    if (small)
        large = im_resize(s->c, small, at->j->w.width, at->j->w.height, IM_FILTER_BICUBIC);
    size_t bytes = 0;
    im_origin mark = s->o->no_mark ? IM_ORIGIN_UNSAID : at->j->w.init ? IM_ORIGIN_COMPOSITE : IM_ORIGIN_MODEL;
    const im_picture_how how = { .mark = mark };
    uint8_t *file = large ? im_picture_encode(s->c, large, "the preview", &how, &bytes) : NULL;
    im_image_free(small);
    im_image_free(large);
    if (!im_ok(s->c)) {                                        /* a picture can be drawn without                       */
        shown_line(stderr, "imago: %s", im_error(s->c));
        im_clear_error(s->c);
    }
    pthread_mutex_lock(&s->lock);
    if (file) {
        free(at->j->preview);
        at->j->preview = file;
        at->j->preview_bytes = bytes;
        at->j->preview_step = im_sd_run_done(at->run);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Of each job that somebody watches, its first picture under way. */
static void previews(server *s)
{
    const job *shown = NULL;
    for (int i = 0; i < s->seated; i++) {
        const seat *at = &s->seats[i];
        pthread_mutex_lock(&s->lock);
        bool wanted = at->j != shown && job_previewed(at->j);
        pthread_mutex_unlock(&s->lock);
        if (!wanted || im_sd_run_state(at->run) != IM_SD_RUNNING)
            continue;
        preview(s, at);
        shown = at->j;
    }
}

static void obey(server *s)
{
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->seated; i++)
        if (s->seats[i].j->cancel || s->seats[i].j->skip)
            im_sd_run_cancel(s->seats[i].run);
    for (int i = 0; i < s->seated; i++)
        s->seats[i].j->skip = false;
    pthread_mutex_unlock(&s->lock);
}

static void step(server *s)
{
    im_sd_run **runs = calloc((size_t)s->o->batch, sizeof(im_sd_run *));
    for (int i = 0; runs && i < s->seated; i++)
        runs[i] = s->seats[i].run;
    if (runs)
        im_sd_run_step(runs, s->seated);
    else
        im_fail(s->c, "out of memory for a batch of %d", s->seated);
    free(runs);
    if (!im_ok(s->c)) {
        all_failed(s);
        return;
    }
    previews(s);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->seated; i++)
        s->seats[i].j->v[s->seats[i].index].step = im_sd_run_done(s->seats[i].run);
    for (int i = 0; i < s->seated; i++)
        visits_wake(s, s->seats[i].j);
    pthread_mutex_unlock(&s->lock);
    for (int i = s->seated - 1; i >= 0; i--) {
        im_sd_state state = im_sd_run_state(s->seats[i].run);
        if (state == IM_SD_CANCELLED)
            stand_up(s, i, DRAWING_CANCELLED, NULL);
        else if (state == IM_SD_FAILED)
            stand_up(s, i, DRAWING_FAILED, im_sd_run_error(s->seats[i].run));
    }
    for (int i = 0; i < s->seated; )
        if (im_sd_run_state(s->seats[i].run) == IM_SD_FINISHED)
            finish(s, i);
        else
            i++;
}

static void *work(void *arg)
{
    server *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->end && !anything_to_do(s))
            pthread_cond_wait(&s->more, &s->lock);
        if (s->end && !s->seated)
            break;
        fill_seats(s);
        pthread_mutex_unlock(&s->lock);
        open_runs(s);
        obey(s);
        if (s->seated)
            step(s);
        pthread_mutex_lock(&s->lock);
        queue_trim(s, false);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

bool worker_start(server *s)
{
    s->seats = calloc((size_t)s->o->batch, sizeof *s->seats);
    s->room = s->o->batch;
    if (!s->seats)
        return im_fail(s->c, "out of memory for a batch of %d", s->o->batch);
    if (pthread_create(&s->worker, NULL, work, s))
        return im_fail(s->c, "cannot begin a thread; is their number limited (ulimit -u)?");
    return true;
}
