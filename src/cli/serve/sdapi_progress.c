/* sdapi_progress.c: what is being drawn, and how to stop it, as the AUTOMATIC1111 web interface has it. That interface does
 * one thing at a time; here it is the oldest request of its kind that is under way. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "cli/serve/ask.h"
#include "cli/serve/sdapi.h"

static const double preview_seconds = 30;                      /* so long after a question previews are made           */

/* With the lock held: the oldest that is drawn, else the oldest that waits. */
static job *current(const server *s)
{
    job *waits = NULL;
    for (job *j = s->first; j; j = j->next) {
        if (j->state == JOB_RUNNING)
            return j;
        if (j->state == JOB_QUEUED && !waits)
            waits = j;
    }
    return waits;
}

/* Pictures that were skipped are no longer waited for: they count as whole. */
static double share_of(const job *j)
{
    int done, total;
    job_progress(j, &done, &total);
    for (int i = 0; i < j->w.count; i++)
        done += j->v[i].state > DRAWING_DONE ? j->evaluations - j->v[i].step : 0;
    return total ? (double)done / total : 0;
}

/* Seconds until it is finished, by what is done of it; 0: not known. */
static double seconds_left(const job *j)
{
    double share = share_of(j);
    return share > 0 && j->started > 0 ? (clock_now() - j->started) * (1 - share) / share : 0;
}

static json_t *state_json(const job *j)
{
    char stamp[32] = "0";
    int step = 0;
    if (j) {
        time_t t = (time_t)j->created;
        struct tm utc;
        strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", gmtime_r(&t, &utc));
        for (int i = j->w.count - 1; i >= 0; i--)
            step = j->v[i].state == DRAWING_RUNS ? j->v[i].step : step;
    }
    return json_pack("{s:b, s:b, s:b, s:s, s:i, s:s, s:i, s:i, s:i}", "skipped", j && j->skip, "interrupted",
                     j && j->cancel, "stopping_generation", 0, "job", j ? j->task ? j->task : j->kind : "", "job_count",
                     j ? j->w.count : 0, "job_timestamp", stamp, "job_no", j ? j->ended : 0, "sampling_step", step,
                     "sampling_steps", j ? j->evaluations : 0);
}

enum MHD_Result sdapi_progress(visit *v)
{
    server *s = v->s;
    const char *skip = visit_query(v, "skip_current_image");
    bool skips = skip && (!strcasecmp(skip, "true") || !strcmp(skip, "1")), picture = !skips;
    if (skip && !skips && strcasecmp(skip, "false") != 0 && strcmp(skip, "0") != 0)
        return answer_error(v, 422, NULL, "skip_current_image", "skip_current_image is \"%.40s\"; wanted true or false",
                            skip);
    pthread_mutex_lock(&s->lock);
    job *j = current(s);
    if (j && picture)
        j->preview_until = im_seconds() + preview_seconds;
    json_t *all = json_pack("{s:f, s:f, s:o, s:o, s:n}", "progress", j ? share_of(j) : 0.0, "eta_relative",
                            j ? seconds_left(j) : 0.0, "state", state_json(j), "current_image",
                            j && picture && j->preview ? base64_json(j->preview, j->preview_bytes) : json_null(),
                            "textinfo");
    pthread_mutex_unlock(&s->lock);
    return answer_json(v, 200, all);
}

static const asked_key task_keys[] = {
    { "id_task", KEY_TEXT, offsetof(asked, task), 0, 0 },
    { "id_live_preview", KEY_INT, offsetof(asked, partials), -1, 1 << 30 },
    { "live_preview", KEY_FLAG, offsetof(asked, stream), 0, 0 },
    { .name = NULL }
};

/* POST /internal/progress: of one task, with a preview where there is a newer one than the client has. */
enum MHD_Result sdapi_task(visit *v)
{
    server *s = v->s;
    trouble t = { 0 };
    if (!ask_body(v, &t))
        return trouble_tell(v, &t);
    asked a = { .partials = -1, .stream = true };
    if (!ask_read(v, task_keys, false, &a, &t))
        return trouble_tell(v, &t);
    const char *task = a.task;
    int seen = a.partials;
    bool wants = a.stream;
    if (!task)
        return answer_error(v, 422, "missing", "id_task", "id_task: wanted a text");
    pthread_mutex_lock(&s->lock);
    job *j = s->first;
    while (j && (!j->task || strcmp(j->task, task) != 0))
        j = j->next;
    bool runs = j && j->state == JOB_RUNNING, shows = runs && wants && j->preview && j->preview_step != seen;
    json_t *preview = json_null();
    if (runs && wants)
        j->preview_until = im_seconds() + preview_seconds;
    if (shows) {
        char *text = base64_of(j->preview, j->preview_bytes, NULL);
        preview = json_sprintf("data:image/png;base64,%s", text ? text : "");
        free(text);
    }
    json_t *all = json_pack("{s:b, s:b, s:b, s:o, s:o, s:o, s:i, s:n}", "active", runs, "queued",
                            j && j->state == JOB_QUEUED, "completed", !j || job_ended(j), "progress",
                            runs ? json_real(share_of(j)) : json_null(), "eta",
                            runs ? json_real(seconds_left(j)) : json_null(), "live_preview", preview, "id_live_preview",
                            shows ? j->preview_step : seen, "textinfo");
    pthread_mutex_unlock(&s->lock);
    return answer_json(v, 200, all);
}

enum MHD_Result sdapi_interrupt(visit *v)
{
    pthread_mutex_lock(&v->s->lock);
    for (job *j = v->s->first; j; j = j->next)
        if (j->webui && j->state == JOB_RUNNING)
            queue_cancel(v->s, j);
    pthread_mutex_unlock(&v->s->lock);
    return answer_json(v, 200, json_object());
}

/* Gives up the pictures that are on their way; those of the request that have not begun are drawn. */
enum MHD_Result sdapi_skip(visit *v)
{
    pthread_mutex_lock(&v->s->lock);
    for (job *j = v->s->first; j; j = j->next)
        if (j->webui && j->state == JOB_RUNNING)
            j->skip = true;
    pthread_mutex_unlock(&v->s->lock);
    return answer_json(v, 200, json_null());
}
