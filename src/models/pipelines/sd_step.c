/* sd_step.c: one step of one or several runs.
 *
 *     e_u, e_c = unet(scaled x, time, states)                 all runs of one size in one evaluation
 *     e = e_u + g (e_c - e_u)                                 (classifier-free guidance, Ho & Salimans 2022)
 *     x = scheduler(e, x)
 *
 * Every run brings its own time, scheduler and random numbers: runs that are stepped together may be at different steps of
 * different schedules. Latents are turned to channels-last at the UNet. Used by sd_run.c. */
#include "models/pipelines/sd_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the evaluation */

typedef struct group { im_sd *sd; im_sd_run *const *r; int n, rows; } group;

/* (rows, T, C) of all runs, one after the other. */
static float *join_texts(void *arg)
{
    const group *g = arg;
    size_t size = im_sd_text_size(g->sd);
    float *text = malloc((size_t)g->rows * size * sizeof *text);
    if (!text) im_fail(g->sd->c, "out of memory for the states of %d texts", g->rows);
    for (int i = 0, at = 0; text && i < g->n; at += g->r[i++]->rows)
        memcpy(text + (size_t)at * size, g->r[i]->text, (size_t)g->r[i]->rows * size * sizeof *text);
    return text;
}

static im_stage *stage_of(group *g)
{
    uint64_t *ids = malloc((size_t)g->n * sizeof *ids);
    if (!ids) {
        im_fail(g->sd->c, "out of memory for a batch of %d", g->n);
        return NULL;
    }
    for (int i = 0; i < g->n; i++) ids[i] = g->r[i]->id;
    im_stage_text text = { .runs = ids, .n_runs = g->n, .join = join_texts, .arg = g };
    im_stage *s = im_sd_stage(g->sd, IM_NET_UNET, g->rows, g->r[0]->size, g->r[0]->a.eager, &text);
    free(ids);
    return s;
}

static group group_of(im_sd *sd, im_sd_run *const r[], int n)
{
    group g = { .sd = sd, .r = r, .n = n };
    for (int i = 0; i < n; i++) g.rows += r[i]->rows;
    return g;
}

/* in (rows, h, w, 4), times (rows) */
static void fill_inputs(const group *g, float *in, float *times)
{
    for (int i = 0; i < g->n; i++) {
        im_sd_run *r = g->r[i];
        im_scheduler_scale(r->scheduler, r->x, r->e);
        for (int k = 0; k < r->rows; k++, in += r->each) {
            im_to_channels_last(r->e, r->channels, r->pixels, in);
            *times++ = im_scheduler_time(r->scheduler, r->done);
        }
    }
}

/* noise (rows, h, w, 4) -> r->e (4, h, w); work: as large as one row */
static void guide(const im_sd_run *r, const float *noise, float *work)
{
    const float *cond = noise + r->each;
    float g = r->a.guidance;
    for (size_t k = 0; k < r->each; k++) work[k] = r->guided ? noise[k] + g * (cond[k] - noise[k]) : noise[k];
    im_to_channels_first(work, r->channels, r->pixels, r->e);
}

bool im_run_evaluate(im_sd *sd, im_sd_run *const r[], int n, float **noise)
{
    group g = group_of(sd, r, n);
    size_t each = r[0]->each;
    im_stage *s = stage_of(&g);
    float *in = malloc((size_t)g.rows * each * sizeof *in), *times = malloc((size_t)g.rows * sizeof *times);
    float *out = *noise = malloc((size_t)g.rows * each * sizeof *out);
    bool ok = s && ((in && times && out) || im_fail(sd->c, "out of memory for the noise of %d pictures", n));
    if (ok) {
        fill_inputs(&g, in, times);
        ok = im_stage_run(s, in, times, out);
    }
    for (int i = 0; ok && i < n; out += (size_t)r[i++]->rows * each) guide(r[i], out, in);
    free(in);
    free(times);
    return ok;
}

/* ---------------------------------------------------------------- a step */

static bool evaluate_again(im_sd_run *r)
{
    float *noise;
    bool ok = im_run_evaluate(r->sd, (im_sd_run *const[]){ r }, 1, &noise);
    free(noise);
    return ok;
}

static void fill_noise(void *arg, float *out, size_t n)
{
    const im_sd_run *r = arg;
    im_randn(r->rng, out, n);
}

static const char SOLVER_ADVICE[] = "choose another --scheduler, or other settings in scheduler_config.json: "
    "final_sigmas_type sigma_min or lower_order_final true keep the last step finite";

static bool scheduler_failed(im_sd_run *r)
{
    char settings[300], what[400];
    im_scheduler_settings(r->scheduler, settings, sizeof settings);
    snprintf(what, sizeof what, "the scheduler %s (%s), given noise that is finite,", im_scheduler_name(r->scheduler),
             settings);
    return im_run_not_finite(r, what, "", NULL,
                             strstr(settings, "solver_order") ? SOLVER_ADVICE : "choose another --scheduler");
}

/* noise (rows, h, w, 4): the network's, for this run. False: the run has failed. */
static bool move_on(im_sd_run *r, const float *noise)
{
    if (!im_run_finite(r, r->e, r->each)) {
        bool net = !im_run_finite(r, noise, (size_t)r->rows * r->each);
        return im_run_not_finite(r, net ? "the UNet" : "the guidance of noise that is finite", "unet",
                                 net ? evaluate_again : NULL, net ? NULL : "ask for a lower --guidance");
    }
    im_scheduler_guess(r->scheduler, r->e, r->x, r->guess);
    if (!im_scheduler_step(r->scheduler, r->e, r->x, (im_noise){ fill_noise, r })) return false;
    if (!im_run_finite(r, r->x, r->each)) return scheduler_failed(r);
    if (++r->done == im_scheduler_evaluations(r->scheduler)) r->state = IM_SD_FINISHED;
    return true;
}

static bool step_group(im_sd *sd, im_sd_run *const r[], int n)
{
    float *noise = NULL;
    bool ok = im_run_evaluate(sd, r, n, &noise);
    const float *own = noise;
    for (int i = 0; ok && i < n; own += (size_t)r[i++]->rows * r[0]->each)
        ok = move_on(r[i], own) || im_ok(sd->c);
    free(noise);
    return ok;
}

/* ---------------------------------------------------------------- all the runs of a call */

static bool together(const im_sd_run *a, const im_sd_run *b)
{
    return a->size.width == b->size.width && a->size.height == b->size.height && a->a.eager == b->a.eager;
}

/* The runs of `from` that are under way, those that go together side by side; returns their number. */
static int line_up(im_sd_run *const from[], int n, im_sd_run **to)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (!from[i] || im_sd_run_state(from[i]) != IM_SD_RUNNING) continue;
        int at = count;
        for (int k = count; k > 0 && at == count; k--)
            if (together(to[k - 1], from[i])) at = k;
        memmove(to + at + 1, to + at, (size_t)(count++ - at) * sizeof(im_sd_run *));
        to[at] = from[i];
    }
    return count;
}

static int group_size(im_sd_run *const r[], int n)
{
    int size = 1;
    while (size < n && together(r[0], r[size])) size++;
    return size;
}

/* Runs under way, begun and lined up; malloc'd, NULL with none, or with an error in the context. */
static im_sd_run **prepare(im_sd_run *const runs[], int n, im_sd **sd, int *count)
{
    *count = 0;
    *sd = NULL;
    for (int i = 0; i < n; i++) {
        if (!runs[i]) continue;
        if (*sd && runs[i]->sd != *sd) {
            im_fail(runs[i]->c, "runs of two models cannot be stepped together");
            return NULL;
        }
        *sd = runs[i]->sd;
    }
    if (!*sd || !im_ok((*sd)->c)) return NULL;
    im_sd_run **r = malloc(((size_t)n + 1) * sizeof(im_sd_run *));
    if (!r) im_fail((*sd)->c, "out of memory for a batch of %d", n);
    bool ok = r && im_ok((*sd)->c);
    for (int at = 0, all = ok ? line_up(runs, n, r) : 0, size; ok && at < all; at += size) {
        size = group_size(r + at, all - at);
        ok = im_run_begin(*sd, r + at, size);
    }
    if (ok) *count = line_up(runs, n, r);                      /* without those that failed or have nothing to run    */
    if (*count) return r;
    free(r);
    return NULL;
}

bool im_sd_run_begin(im_sd_run *const runs[], int n)
{
    im_sd *sd;
    int count;
    im_sd_run **r = prepare(runs, n, &sd, &count);
    if (r) {                                                   /* loads the UNet and records it, too                  */
        group g = group_of(sd, r, group_size(r, count));
        stage_of(&g);
    }
    free(r);
    return sd && im_ok(sd->c);
}

bool im_sd_run_step(im_sd_run *const runs[], int n)
{
    im_sd *sd;
    int count;
    im_sd_run **r = prepare(runs, n, &sd, &count);
    bool ok = r != NULL;
    for (int at = 0, size; ok && at < count; at += size) {
        size = group_size(r + at, count - at);
        ok = step_group(sd, r + at, size);
    }
    free(r);
    return ok;
}
