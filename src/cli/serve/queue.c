/* queue.c: jobs in the order they came. A job is one request, of one or several pictures; it waits, runs and ends, and goes
 * when nobody looks at it any more. Those of /v1/jobs stay for a while, so that their pictures can be fetched. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/serve/http.h"
#include "cli/serve/serve.h"

enum { KEPT_JOBS = 256 };
static const size_t kept_bytes = (size_t)256 << 20;

double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void wish_free(wish *w)
{
    for (int i = 0; i < w->count; i++) {
        if (w->prompts)
            free(w->prompts[i]);
        if (w->negatives)
            free(w->negatives[i]);
    }
    free(w->prompts);
    free(w->negatives);
    free(w->prompt);
    free(w->negative);
    im_image_free(w->init);
    im_image_free(w->mask);
    *w = (wish){ 0 };
}

static void job_free(job *j)
{
    for (int i = 0; j->v && i < j->w.count; i++) {
        free(j->v[i].file);
        free(j->v[i].json);
        free(j->v[i].parameters);
        free(j->v[i].error);
    }
    free(j->v);
    free(j->preview);
    free(j->task);
    free(j->error);
    wish_free(&j->w);
    free(j);
}

job *job_new(server *s, wish *w, const char *kind)
{
    job *j = calloc(1, sizeof *j);
    drawing *v = calloc((size_t)w->count, sizeof *v);
    if (!j || !v) {
        free(j);
        free(v);
        wish_free(w);
        return NULL;
    }
    *j = (job){ .id = ++s->issued, .refs = 1, .kind = kind, .w = *w, .v = v, .created = clock_now() };
    *w = (wish){ 0 };
    for (int i = 0; i < j->w.count; i++)
        v[i].seed = j->w.seed + (uint64_t)i;
    return j;
}

int queue_add(server *s, job *j)
{
    if (s->stopping)
        return 503;
    if (s->waiting >= s->o->queue)
        return 429;
    if (s->last)
        s->last->next = j;
    else
        s->first = j;
    s->last = j;
    s->waiting++;
    pthread_cond_signal(&s->more);
    return 0;
}

int queue_position(const server *s, const job *j)
{
    int at = 0;
    for (const job *k = s->first; k && j->state == JOB_QUEUED; k = k->next) {
        at += k->state == JOB_QUEUED;
        if (k == j)
            return at;
    }
    return 0;
}

job *queue_find(const server *s, uint64_t id)
{
    for (job *j = s->first; j; j = j->next)
        if (j->id == id)
            return j;
    return NULL;
}

bool job_ended(const job *j)
{
    return j->state >= JOB_DONE;
}

bool job_previewed(const job *j)
{
    return j->watchers > 0 || j->preview_until > im_seconds();
}

void job_progress(const job *j, int *done, int *total)
{
    *done = 0;
    *total = j->evaluations * j->w.count;
    for (int i = 0; i < j->w.count; i++)
        *done += j->v[i].state == DRAWING_DONE ? j->evaluations : j->v[i].step;
}

const char *job_state_name(const job *j)
{
    static const char *const names[] = { "queued", "generating", "completed", "failed", "cancelled" };
    return names[j->state];
}

const char *job_why(const job *j)
{
    return j->state == JOB_FAILED ? j->error ? j->error : "the picture did not come out" :
           j->status == 503 ? "the server is stopping" : "the request was cancelled";
}

static void job_end(server *s, job *j)
{
    bool failed = false, done = true;
    for (int i = 0; i < j->w.count; i++) {
        failed = failed || j->v[i].state == DRAWING_FAILED;
        done = done && j->v[i].state == DRAWING_DONE;
        if (j->v[i].error && !j->error)
            j->error = strdup(j->v[i].error);
    }
    if (j->state == JOB_QUEUED)
        s->waiting--;
    j->state = failed ? JOB_FAILED : done ? JOB_DONE : JOB_CANCELLED;
    j->finished = clock_now();
    free(j->preview);                                          /* the picture is there, or will not come               */
    j->preview = NULL;
    im_image_free(j->w.init);
    im_image_free(j->w.mask);
    j->w.init = j->w.mask = NULL;
    visits_wake(s, j);
}

void job_end_picture(server *s, job *j, int index, drawing_state state)
{
    j->v[index].state = state;
    if (++j->ended == j->w.count)
        job_end(s, j);
}

/* One that waits ends at once; of one that is drawn, the worker ends the pictures before their next step. */
void queue_cancel(server *s, job *j)
{
    if (job_ended(j))
        return;
    j->cancel = true;
    if (s->stopping && !j->status)
        j->status = 503;
    for (int i = j->begun; i < j->w.count; i++)
        job_end_picture(s, j, i, DRAWING_CANCELLED);
    if (j->state != JOB_CANCELLED)
        j->begun = j->w.count;
    pthread_cond_signal(&s->more);
}

static size_t job_bytes(const job *j)
{
    size_t n = 0;
    for (int i = 0; i < j->w.count; i++)
        n += j->v[i].bytes;
    return n;
}

/* The oldest go first. */
void queue_trim(server *s, bool all)
{
    int n = 0;
    size_t bytes = 0;
    for (const job *j = s->first; j; j = j->next)
        if (job_ended(j)) {
            n++;
            bytes += job_bytes(j);
        }
    job *before = NULL;
    for (job *j = s->first, *next; j; j = next) {
        next = j->next;
        bool goes = job_ended(j) && !j->refs && (all || !j->lasting || n > KEPT_JOBS || bytes > kept_bytes);
        if (!goes) {
            before = j;
            continue;
        }
        n--;
        bytes -= job_bytes(j);
        *(before ? &before->next : &s->first) = next;
        if (s->last == j)
            s->last = before;
        job_free(j);
    }
}

void job_release(server *s, job *j)
{
    bool listed = false;
    j->refs--;
    for (const job *k = s->first; k && !listed; k = k->next)
        listed = k == j;
    if (!listed && !j->refs)
        job_free(j);                                           /* was never let in                                     */
    else
        queue_trim(s, false);
}
