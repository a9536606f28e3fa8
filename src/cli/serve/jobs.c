/* jobs.c: /v1/jobs, our own: a request is taken at once and drawn in its turn; asked for later, watched as it comes
 * along, or cancelled. Requests are those of openai.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/openai.h"
#include "data/files/fields.h"

enum MHD_Result server_facts(visit *v)
{
    const server *s = v->s;
    json_t *schedulers = json_array(), *loras = json_array();
    const char *ours, *theirs;
    for (int i = 0; im_sampler_at(i, &ours, &theirs); i++)
        json_array_append_new(schedulers, json_pack("{s:s, s:s}", "name", ours, "label", theirs));
    for (int i = 0; i < s->n_loras; i++)
        json_array_append_new(loras, json_string(s->loras[i]));
    im_sd_args d = im_sd_defaults(NULL);
    return answer_json(v, 200, json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:s?, s:i, s:f, s:o, s:o, s:I, s:i, s:i, s:i, s:b, s:s}", "version", IM_VERSION, "model",
        s->model_name, "model_hash", s->hash, "width", s->own_width, "height", s->own_height, "scheduler", s->own_scheduler,
        "steps", d.steps, "guidance", (double)d.guidance, "schedulers", schedulers, "loras", loras, "max_pixels",
        (json_int_t)s->o->max_pixels, "max_steps", s->o->max_steps, "max_pictures", MOST_PICTURES, "queue", s->o->queue,
        "masks", 1, "prompt_syntax", s->o->reading.syntax));
}

/* ---------------------------------------------------------------- what is said of a job */

static json_t *time_json(double seconds)
{
    return seconds > 0 ? json_real(seconds) : json_null();
}

static json_t *request_json(const job *j)
{
    const wish *w = &j->w;
    json_t *r = json_pack("{s:s, s:s, s:o, s:i, s:i, s:i, s:s, s:f, s:i}", "prompt", w->prompt, "negative_prompt",
                          w->negative, "seed", seed_json(w->seed), "n", w->count, "width", w->width, "height", w->height,
                          "scheduler", w->scheduler, "guidance", im_decimal(w->guidance), "steps", w->steps);
    if (r && w->syntax == IM_PROMPT_A1111)
        json_object_set_new(r, "prompt_syntax", json_string("a1111"));
    if (r && w->clip_skip > 1)
        json_object_set_new(r, "clip_skip", json_integer(w->clip_skip));
    if (r && w->token_merging > 0)
        json_object_set_new(r, "token_merging", json_real(im_decimal(w->token_merging)));
    if (r && w->eta > 0)
        json_object_set_new(r, "eta", json_real(im_decimal(w->eta)));
    if (r && w->init_sha256[0])
        json_object_set_new(r, "strength", json_real(im_decimal(w->strength)));
    if (r && w->mask_sha256[0]) {
        json_object_set_new(r, "mask_blur", json_real(im_decimal(w->mask_blur)));
        json_object_set_new(r, "mask_fill", json_string(im_mask_fill_name(w->mask_fill)));
        json_object_set_new(r, "mask_only", json_integer(w->mask_only ? w->mask_padding : -1));
    }
    return r;
}

/* With the lock held. */
static json_t *job_json(const server *s, const job *j)
{
    char id[32], url[64];
    int done, total, position = queue_position(s, j);
    job_progress(j, &done, &total);
    snprintf(id, sizeof id, "%llu", (unsigned long long)j->id);
    snprintf(url, sizeof url, "/v1/jobs/%s", id);
    json_t *error = json_null();
    if (j->state == JOB_FAILED)
        error = json_string(job_why(j));
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:s, s:o}", "id", id, "object",
                     "job", "kind", j->kind, "status", job_state_name(j), "queue_position",
                     position ? json_integer(position) : json_null(), "step", done, "steps", total, "pictures", j->ended,
                     "n", j->w.count, "created", time_json(j->created), "started", time_json(j->started), "finished",
                     time_json(j->finished), "error", error, "poll_url", url, "request", request_json(j));
}

/* Pictures that came out, and null for those that did not. */
static void put_result(json_t *to, const job *j)
{
    json_t *list = json_array();
    for (int i = 0; i < j->w.count; i++) {
        json_t *one = openai_picture(j, i, false);
        json_array_append_new(list, one ? one : json_null());
    }
    json_object_set_new(to, "result", json_pack("{s:s, s:o, s:o}", "output_format", openai_format(j), "size",
                                                openai_size(j), "data", list));
}

/* ---------------------------------------------------------------- finding one */

/* With the lock held; else *status is 404, or 410 for one that was here and is forgotten. */
static job *find(const visit *v, int *status)
{
    char *end;
    unsigned long long id = strtoull(v->part, &end, 10);
    bool number = *v->part >= '0' && *v->part <= '9' && !*end;
    job *j = number ? queue_find(v->s, id) : NULL;
    *status = j ? 200 : number && id >= 1 && id <= v->s->issued ? 410 : 404;
    return j;
}

static enum MHD_Result not_there(visit *v, int status)
{
    if (status == 410)
        return answer_error(v, 410, "gone", "id", "job %s has ended, and its pictures are no longer held", v->part);
    return answer_error(v, 404, "not_found", "id", "there is no job \"%s\"", v->part);
}

enum MHD_Result jobs_list(visit *v)
{
    json_t *list = json_array();
    pthread_mutex_lock(&v->s->lock);
    for (const job *j = v->s->first; j; j = j->next)
        json_array_append_new(list, job_json(v->s, j));
    pthread_mutex_unlock(&v->s->lock);
    return answer_json(v, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

enum MHD_Result jobs_get(visit *v)
{
    int status;
    const char *images = visit_query(v, "images");
    json_t *all = NULL;
    pthread_mutex_lock(&v->s->lock);
    const job *j = find(v, &status);
    if (j) {
        all = job_json(v->s, j);
        if (job_ended(j) && !(images && (!strcmp(images, "0") || !strcmp(images, "false"))))
            put_result(all, j);
        else
            json_object_set_new(all, "result", json_null());
    }
    pthread_mutex_unlock(&v->s->lock);
    return all ? answer_json(v, 200, all) : not_there(v, status);
}

/* GET /v1/jobs/{id}/picture?n=1: the file itself */
enum MHD_Result jobs_picture(visit *v)
{
    int status, n;
    const char *which = visit_query(v, "n"), *type = "image/png";
    char *end;
    void *file = NULL;
    size_t bytes = 0;
    long wanted = which ? strtol(which, &end, 10) : 1;
    if (which && (end == which || *end))
        wanted = 0;
    pthread_mutex_lock(&v->s->lock);
    const job *j = find(v, &status);
    n = j ? j->w.count : 0;
    if (j && wanted >= 1 && wanted <= n && j->v[wanted - 1].state == DRAWING_DONE) {
        const drawing *d = &j->v[wanted - 1];
        bytes = d->bytes;
        if ((file = malloc(bytes)))
            memcpy(file, d->file, bytes);
        if (j->w.quality)
            type = "image/jpeg";
    }
    pthread_mutex_unlock(&v->s->lock);
    if (!j)
        return not_there(v, status);
    if (!file)
        return answer_error(v, 404, "not_found", "n", "job %s has no finished picture %s; it has %d, finished or not",
                            v->part, which ? which : "1", n);
    return answer_bytes(v, 200, type, file, bytes);
}

enum MHD_Result jobs_cancel(visit *v)
{
    int status;
    json_t *all = NULL;
    pthread_mutex_lock(&v->s->lock);
    job *j = find(v, &status);
    if (j && job_ended(j)) {
        status = 409;
    } else if (j) {
        queue_cancel(v->s, j);
        all = job_json(v->s, j);
    }
    pthread_mutex_unlock(&v->s->lock);
    if (all)
        return answer_json(v, 200, all);
    return status == 409 ? answer_error(v, 409, "ended", "id", "job %s has ended already", v->part) : not_there(v, status);
}

/* ---------------------------------------------------------------- a new one */

enum MHD_Result jobs_post(visit *v)
{
    server *s = v->s;
    trouble t = { 0 };
    asked a;
    job *j = NULL;
    json_t *said = NULL;
    if (openai_read(v, &a, &t))
        j = ask_job(v, &a, a.init ? "img2img" : "txt2img", a.init != NULL, &t);
    if (!j)
        return trouble_tell(v, &t);
    pthread_mutex_lock(&s->lock);
    j->lasting = true;
    if (ask_queue(v, j, &t)) {
        said = job_json(s, j);
        job_release(s, j);
    }
    pthread_mutex_unlock(&s->lock);
    return said ? answer_json(v, 202, said) : trouble_tell(v, &t);
}

/* ---------------------------------------------------------------- as it comes along */

static void say_preview(visit *v)
{
    job *j = v->j;
    char *text = base64_of(j->preview, j->preview_bytes, NULL);
    v->told_previews = j->preview_step;
    visit_say(v, "preview", json_pack("{s:i, s:s}", "step", j->preview_step, "b64_json", text ? text : ""));
    free(text);
}

static bool next_event(visit *v)
{
    job *j = v->j;
    int done, total, position = queue_position(v->s, j);
    job_progress(j, &done, &total);
    if ((int)j->state != v->told_state || done != v->told_step || position != v->told_position) {
        visit_say(v, "status", job_json(v->s, j));
        v->told_state = (int)j->state;
        v->told_step = done;
        v->told_position = position;
    }
    if (j->preview && j->preview_step != v->told_previews)
        say_preview(v);
    for (; v->told_pictures < j->w.count && j->v[v->told_pictures].state > DRAWING_RUNS; v->told_pictures++) {
        json_t *one = openai_picture(j, v->told_pictures, false);
        if (!one)
            continue;
        json_object_set_new(one, "n", json_integer(v->told_pictures + 1));
        visit_say(v, "picture", one);
    }
    if (job_ended(j))
        visit_say(v, "end", job_json(v->s, j));
    return job_ended(j);
}

/* GET /v1/jobs/{id}/events: server-sent events: status, preview, picture, end */
enum MHD_Result jobs_events(visit *v)
{
    int status;
    pthread_mutex_lock(&v->s->lock);
    job *j = find(v, &status);
    if (j) {
        j->refs++;
        v->leaves_job = true;
        v->wanted_previews = 1;
    }
    pthread_mutex_unlock(&v->s->lock);
    return j ? visit_stream(v, j, next_event) : not_there(v, status);
}
