/* visits.c: requests that wait for a job: their connections are suspended, so that waiting costs no thread, and woken when
 * the job has moved on; and streams of server-sent events. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/http.h"

static void wake(visit *v)
{
    if (!v->waiting)
        return;
    v->waiting = false;
    MHD_resume_connection(v->connection);
}

void visits_wake(server *s, const job *j)
{
    for (visit *v = s->visits; v; v = v->next)
        if (v->j == j && (v->stream || job_ended(j)))
            wake(v);
}

enum MHD_Result visit_wait(visit *v, job *j, enum MHD_Result (*then)(visit *v))
{
    v->j = j;                                                  /* whoever found or made it has counted this look       */
    v->then = then;
    v->waiting = true;
    MHD_suspend_connection(v->connection);
    return MHD_YES;
}

/* ---------------------------------------------------------------- streams */

static void append(visit *v, const char *text, size_t n)
{
    if (v->out_bytes + n > v->out_room) {
        size_t room = 2 * (v->out_bytes + n) + 1024;
        char *out = realloc(v->out, room);
        if (!out) {
            v->over = true;                                    /* cut off: the client sees an end without a result     */
            return;
        }
        v->out = out;
        v->out_room = room;
    }
    memcpy(v->out + v->out_bytes, text, n);
    v->out_bytes += n;
}

void visit_say(visit *v, const char *event, json_t *data)
{
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (text && event) {
        append(v, "event: ", 7);
        append(v, event, strlen(event));
        append(v, "\n", 1);
    }
    if (text) {
        append(v, "data: ", 6);
        append(v, text, strlen(text));
        append(v, "\n\n", 2);
    } else {
        v->over = true;
    }
    free(text);
    json_decref(data);
}

void visit_note(visit *v, const char *fmt, ...)
{
    char text[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    append(v, ": ", 2);
    append(v, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1);
    append(v, "\n\n", 2);
}

static ssize_t read_stream(void *arg, uint64_t at, char *to, size_t most)
{
    visit *v = arg;
    (void)at;
    pthread_mutex_lock(&v->s->lock);
    if (v->out_at == v->out_bytes) {
        v->out_at = v->out_bytes = 0;
        if (!v->over && v->next_part(v))
            v->over = true;
    }
    size_t n = v->out_bytes - v->out_at;
    if (n > most)
        n = most;
    if (n)
        memcpy(to, v->out + v->out_at, n);
    v->out_at += n;
    ssize_t rc = n ? (ssize_t)n : v->over ? MHD_CONTENT_READER_END_OF_STREAM : 0;
    if (!rc) {
        v->waiting = true;
        MHD_suspend_connection(v->connection);
    }
    pthread_mutex_unlock(&v->s->lock);
    return rc;
}

enum MHD_Result visit_stream(visit *v, job *j, bool (*next_part)(visit *v))
{
    pthread_mutex_lock(&v->s->lock);
    v->j = j;                                                  /* whoever found or made it has counted this look       */
    v->stream = true;
    v->next_part = next_part;
    v->told_state = v->told_step = v->told_position = -1;
    if (v->wanted_previews)
        j->watchers++;
    pthread_mutex_unlock(&v->s->lock);
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64 << 10, read_stream, v, NULL);
    if (r) {
        MHD_add_response_header(r, "Content-Type", "text/event-stream");
        MHD_add_response_header(r, "X-Accel-Buffering", "no");
    }
    return answer_response(v, 200, r);
}
