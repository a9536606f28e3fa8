/* generate_run.c: makes the pictures of a run, batch by batch; every one is on disk before the next batch begins.
 * Used by cmd_generate.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "cli/session.h"

static bool on_step(void *arg, int done, int total)
{
    run_state *r = arg;
    (void)total;
    progress_step(&r->bar, done);
    return !session_interrupted();
}

static size_t latent_size(const run_state *r)
{
    return (size_t)(r->latent_shape[0] * r->latent_shape[1] * r->latent_shape[2]);
}

static im_sd_args args_of(run_state *r, int index)
{
    const job *j = &r->jobs.v[index];
    im_sd_args a = r->base;
    a.prompt = j->prompt;
    a.negative = j->negative;
    a.seed = j->seed;
    if (r->latents)
        a.latents = r->latents + latent_size(r) * (size_t)latents_row(r, index);
    if (r->saved)
        a.latents_out = r->saved + latent_size(r) * (size_t)index;
    return a;
}

static void print_json(run_state *r, const job *j, int members)
{
    json_t *m = meta_json(r, j);
    if (!m)
        return;
    json_object_set_new(m, "path", json_string(j->path));
    json_object_set_new(m, "seconds", json_real(j->seconds));
    json_object_set_new(m, "batch", json_integer(members));
    if (j->guess.name) {
        json_object_set_new(m, "class", json_string(j->guess.name));
        json_object_set_new(m, "class_probability", json_real(j->guess.probability));
    }
    json_dumpf(m, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(m);
}

/* Writes one finished picture; r->pictures takes it over when a sheet is wanted. */
static bool finish_picture(run_state *r, int index, im_image *picture, double seconds, int members)
{
    job *j = &r->jobs.v[index];
    j->seconds = seconds;
    if (!meta_write(r, j, picture))
        return false;
    j->done = true;
    r->finished++;
    if (!classify_picture(r, j, picture))
        return false;
    progress_say(&r->bar, "%s  seed %llu, %.1f s%s%s", j->path, (unsigned long long)j->seed, seconds,
                 j->guess_text ? ", taken for " : "", j->guess_text ? j->guess_text : "");
    if (r->o->json)
        print_json(r, j, members);
    if (r->from.image)
        meta_compare(r, picture);
    return true;
}

static bool run_batch(run_state *r, const int index[], int n)
{
    im_sd_args *a = malloc((size_t)n * sizeof *a);
    im_image **out = calloc((size_t)n, sizeof *out);
    if (!a || !out) {
        free(a);
        free(out);
        return im_fail(r->c, "out of memory for a batch of %d", n);
    }
    for (int i = 0; i < n; i++)
        a[i] = args_of(r, index[i]);
    double start = seconds_now();
    progress_batch(&r->bar, r->finished, n, im_sd_evaluations(r->sd, &a[0]));
    bool ok = im_sd_generate_batch(r->sd, a, n, out);
    progress_finish_batch(&r->bar);
    double each = (seconds_now() - start) / n;
    for (int i = 0; ok && i < n; i++)
        ok = finish_picture(r, index[i], out[i], each, n);
    for (int i = 0; i < n; i++) {
        if (r->pictures && r->jobs.v[index[i]].done)
            r->pictures[index[i]] = out[i];
        else
            im_image_free(out[i]);
    }
    free(a);
    free(out);
    return ok;
}

bool run_jobs(run_state *r)
{
    int batch = r->o->batch, n = 0, left = 0;
    int *index = malloc((size_t)batch * sizeof *index);
    if (!index)
        return im_fail(r->c, "out of memory for a batch of %d", batch);
    for (int i = 0; i < r->jobs.n; i++)
        left += !r->jobs.v[i].skip;
    progress_start(&r->bar, r->o->quiet, left, left * im_sd_evaluations(r->sd, &r->base));
    im_sd_on_progress(r->sd, on_step, r);
    for (int i = 0; i < r->jobs.n && im_ok(r->c); i++) {
        if (!r->jobs.v[i].skip)
            index[n++] = i;
        if (n && (n == batch || i == r->jobs.n - 1)) {
            run_batch(r, index, n);
            n = 0;
        }
    }
    free(index);
    return im_ok(r->c);
}

void run_report(run_state *r, double seconds)
{
    int skipped = 0, n = r->jobs.n;
    for (int i = 0; i < n; i++)
        skipped += r->jobs.v[i].skip;
    if (r->o->json) {
        json_t *s = json_pack("{s:b, s:i, s:i, s:i, s:f, s:b}", "summary", 1, "pictures", r->finished,
                              "skipped", skipped, "wanted", n, "seconds", seconds, "stopped", session_interrupted());
        json_dumpf(s, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(s);
    }
    if (session_interrupted() && r->finished + skipped < n) {
        if (!r->o->quiet && n > 1)
            fprintf(stderr, "stopped: %d of %d pictures are finished\n", r->finished + skipped, n);
        if (!r->o->quiet)
            say_how_to_go_on(r);
    } else if (r->finished > 1) {
        progress_say(&r->bar, "%d pictures in %.1f s, %.2f a second", r->finished, seconds, r->finished / seconds);
    }
    if (skipped)
        progress_say(&r->bar, "%d of %d pictures were there already", skipped, n);
}
