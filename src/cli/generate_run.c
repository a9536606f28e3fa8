/* generate_run.c: makes the pictures of a run, batch by batch; every one is on disk before the next batch begins.
 * Used by cmd_generate.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/events.h"
#include "cli/generate.h"
#include "cli/session.h"
#include "cli/shown.h"

static size_t latent_size(const run_state *r)
{
    return (size_t)(r->latent_shape[0] * r->latent_shape[1] * r->latent_shape[2]);
}

/* What is said of a picture: on standard output with --json, as an event, or in a line. */
static void print_json(run_state *r, const job *j, int members)
{
    bool events = events_wanted(&r->o->common);
    if (!events && !r->o->json)
        return;
    const im_request q = job_request(r, j);
    char *text = im_request_json(r->sd, &q);
    json_t *m = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    if (!m)
        return;
    json_object_set_new(m, "path", clean_json(r->c, j->path));
    if (j->error)
        json_object_set_new(m, "error", clean_json(r->c, j->error));
    json_object_set_new(m, "seconds", json_real(j->seconds));
    json_object_set_new(m, "batch", json_integer(members));
    if (j->guess.name) {
        json_object_set_new(m, "class", json_string(j->guess.name));
        json_object_set_new(m, "class_probability", json_real(j->guess.probability));
    }
    if (r->o->json) {
        json_dumpf(m, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
    }
    if (events)
        event_print("picture", json_incref(m));
    json_decref(m);
}

/* A picture that did not come out: nothing is written for it, the others go on. One alone is told at the end. */
static bool give_up_picture(run_state *r, job *j, const char *why, int members)
{
    j->error = strdup(why);
    if (!j->error)
        return im_fail(r->c, "%s: %s", j->path, why);
    r->failed++;
    if (r->jobs.n > 1 && !events_wanted(&r->o->common))
        shown_line(stderr, "imago: %s: %s", j->path, why);
    print_json(r, j, members);
    return true;
}

/* Writes one finished picture; r->pictures takes it over when a sheet is wanted. */
static bool finish_picture(run_state *r, int index, im_image *picture, int members)
{
    job *j = &r->jobs.v[index];
    const im_request q = job_request(r, j);
    if (!j->unkept && !im_request_write(r->sd, &q, j->path, picture, r->o->force))
        return false;
    j->done = true;
    r->finished++;
    if (!classify_picture(r, j, picture))
        return false;
    if (!r->bar.events)
        progress_say(&r->bar, "%s  seed %llu, %.1f s%s%s", j->path, (unsigned long long)j->p->seed, j->seconds,
                     j->guess_text ? ", taken for " : "", j->guess_text ? j->guess_text : "");
    print_json(r, j, members);
    if (r->from.image)
        from_compare(r, picture);
    return true;
}

/* share: seconds that the picture's part of the batch has taken so far. */
static bool finish_run(run_state *r, int index, im_sd_run *run, double share, int members)
{
    double start = im_seconds();
    im_image *picture = im_sd_run_image(run);
    r->jobs.v[index].seconds = share + im_seconds() - start;
    if (!picture)
        return im_ok(r->c) && give_up_picture(r, &r->jobs.v[index], im_sd_run_error(run), members);
    bool ok = (!r->saved || im_sd_run_latents(run, r->saved + latent_size(r) * (size_t)index))
        && finish_picture(r, index, picture, members);
    if (r->pictures && r->jobs.v[index].done)
        r->pictures[index] = picture;
    else
        im_image_free(picture);
    return ok;
}

static bool step_batch(run_state *r, im_sd_run *const runs[], int n)
{
    int most = 0;
    for (int i = 0; i < n; i++)
        most = im_sd_run_total(runs[i]) > most ? im_sd_run_total(runs[i]) : most;
    progress_batch(&r->bar, r->finished + r->failed, n, most);
    bool ok = im_sd_run_begin(runs, n);
    if (ok)
        progress_step(&r->bar, 0);
    for (int done = 0; ok && im_sd_run_step(runs, n); ) {
        progress_step(&r->bar, ++done);
        ok = !session_interrupted() || im_fail(r->c, "stopped");
    }
    progress_finish_batch(&r->bar);
    return im_ok(r->c);
}

static bool run_batch(run_state *r, const int index[], int n)
{
    im_sd_run **runs = calloc((size_t)n, sizeof *runs);
    if (!runs)
        return im_fail(r->c, "out of memory for a batch of %d", n);
    double start = im_seconds();
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        im_sd_args a = job_args(r, &r->jobs.v[index[i]]);
        ok = (runs[i] = im_sd_run_open(r->sd, &a)) != NULL;
    }
    ok = ok && step_batch(r, runs, n);
    double share = (im_seconds() - start) / n;
    for (int i = 0; ok && i < n; i++)
        ok = finish_run(r, index[i], runs[i], share, n);
    for (int i = 0; i < n; i++)
        im_sd_run_close(runs[i]);
    free(runs);
    return ok;
}

/* Pictures that did not come out make the whole a failure, once all others are written. */
static bool tell_failed(run_state *r)
{
    const job *first = NULL;
    for (int i = r->jobs.n - 1; i >= 0; i--)
        first = r->jobs.v[i].error ? &r->jobs.v[i] : first;
    if (!first)
        return im_ok(r->c);
    if (r->jobs.n == 1)
        return im_fail(r->c, "%s: %s", first->path, first->error);
    return im_fail(r->c, "%d of %d pictures did not come out and were not written%s; the reasons are given "
                         "above", r->failed, r->jobs.n, r->o->sheet ? ", nor was the sheet of all" : "");
}

/* Pictures of one batch have the same weights, so their prompts name the same LoRAs. */
static bool batch_ends(run_state *r, int i)
{
    int next = i + 1;
    while (next < r->jobs.n && r->jobs.v[next].skip)
        next++;
    return next >= r->jobs.n || !im_sd_same_loras(r->sd, r->jobs.v[i].p->prompt, r->jobs.v[next].p->prompt);
}

bool run_jobs(run_state *r)
{
    int batch = r->o->batch, n = 0, left = 0;
    int *index = malloc((size_t)batch * sizeof *index);
    if (!index)
        return im_fail(r->c, "out of memory for a batch of %d", batch);
    for (int i = 0; i < r->jobs.n; i++)
        left += !r->jobs.v[i].skip;
    progress_start(&r->bar, r->o->quiet, events_wanted(&r->o->common), left, jobs_evaluations(r));
    for (int i = 0; i < r->jobs.n && im_ok(r->c); i++) {
        if (r->jobs.v[i].skip)
            continue;
        index[n++] = i;
        if (n == batch || batch_ends(r, i)) {
            run_batch(r, index, n);
            n = 0;
        }
    }
    free(index);
    return im_ok(r->c) && tell_failed(r);
}

static int skipped_pictures(const run_state *r)
{
    int skipped = 0;
    for (int i = 0; i < r->jobs.n; i++)
        skipped += r->jobs.v[i].skip;
    return skipped;
}

static json_t *summary_of(const run_state *r, double seconds)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:f, s:b}", "pictures", r->finished, "failed", r->failed, "skipped",
                     skipped_pictures(r), "wanted", r->jobs.n, "seconds", seconds, "stopped", session_interrupted());
}

static void say_stopped(run_state *r, int skipped)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = r->bar.events ? open_memstream(&text, &size) : stderr;
    if (f && r->jobs.n > 1)
        fprintf(f, "stopped: %d of %d pictures are finished\n", r->finished + skipped, r->jobs.n);
    if (f)
        say_how_to_go_on(r, f);
    if (f && f != stderr && !fclose(f) && size) {
        text[size - 1] = '\0';                                 /* the end of the last line                             */
        event_text(r->c, "note", text);
    }
    free(text);
}

void run_report(run_state *r, double seconds)
{
    int skipped = skipped_pictures(r), n = r->jobs.n;
    r->summary = summary_of(r, seconds);
    if (r->o->json) {
        json_t *s = json_pack("{s:b}", "summary", 1);
        json_object_update(s, r->summary);
        json_dumpf(s, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(s);
    }
    if (session_interrupted() && r->finished + r->failed + skipped < n) {
        if (!r->o->quiet)
            say_stopped(r, skipped);
    } else if (r->finished > 1) {
        progress_say(&r->bar, "%d pictures in %.1f s, %.2f per second", r->finished, seconds, r->finished / seconds);
    }
    if (skipped)
        progress_say(&r->bar, "%d of %d pictures were there already", skipped, n);
}
