/* sd_step.c: one step of one or several runs.
 *
 *     e_u, e_c = unet(scaled x, time, states)                 all runs of one size in one evaluation
 *     e = e_u + g (e_c - e_u)                                 (classifier-free guidance, Ho & Salimans 2022)
 *     x = scheduler(e, x)
 *
 * Every run brings its own time, scheduler and random numbers: runs that are stepped together may be at different steps of
 * different schedules. All of a step is asked of the device, and nothing is read back but a mark, after the first and the
 * last evaluation: whether all was finite (sd_finite.c). Used by sd_run.c. */
#include "models/pipelines/sd_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the evaluation */

typedef struct group { im_sd *sd; im_sd_run *const *r; int n, rows; } group;

/* (rows, chunks * T, C) of all runs, one after the other. */
static float *join_texts(void *arg)
{
    const group *g = arg;
    size_t size = im_sd_text_size(g->sd) * (size_t)g->r[0]->chunks;
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

/* Samples [from, from + n) of (rows, h, w, 4). */
static im_tensor *samples(im_ctx *c, im_tensor *t, int from, int n)
{
    return im_slice(c, t, 0, from, from + n);
}

/* x (rows, h, w, 4), times (rows), guidance (rows) where the UNet is told it */
static bool fill_inputs(const group *g, const im_stage *s)
{
    float *times = malloc(2 * (size_t)g->rows * sizeof *times), *told = times ? times + g->rows : NULL;
    bool ok = times || im_fail(g->sd->c, "out of memory for the times of %d pictures", g->n);
    for (int i = 0, at = 0; ok && i < g->n; i++) {
        const im_sd_run *r = g->r[i];
        for (int k = 0; ok && k < r->rows; k++, at++) {
            ok = im_scheduler_scale(r->scheduler, r->x, samples(g->sd->c, s->in[0], at, 1));
            times[at] = im_scheduler_time(r->scheduler, r->done);
            told[at] = 1000.0f * (r->a.guidance - 1.0f);
            if (ok && r->mask_inputs) ok = im_assign(g->sd->c, samples(g->sd->c, s->in[2], at, 1), r->mask_inputs);
        }
    }
    for (int i = 0, at = 0; ok && s->size.depth == IM_UNET_REUSE && i < g->n; at += g->r[i++]->rows)
        ok = im_assign(g->sd->c, samples(g->sd->c, s->in[s->deep], at, g->r[i]->rows), g->r[i]->deep);
    ok = ok && im_upload(g->sd->c, s->in[1], times) && (!s->guidance || im_upload(g->sd->c, s->in[s->guidance], told));
    free(times);
    return ok;
}

/* y = a + w (b - a), or a alone where b is NULL */
static bool guide(im_ctx *c, im_tensor *y, const im_tensor *a, const im_tensor *b, float w)
{
    if (!b) return im_assign(c, y, a);
    return im_combine(c, y, &(im_combination){ .count = 2, .x = { b, a }, .w = { 1, -1 }, .by = 1, .limit = INFINITY })
        && im_combine(c, y, &(im_combination){ .count = 2, .x = { a, y }, .w = { 1, w }, .by = 1, .limit = INFINITY });
}

/* Parts of the last axis, which lie apart: a copy. */
static im_tensor *channels(im_ctx *c, im_tensor *t, int64_t from, int64_t to)
{
    return im_contiguous_copy(c, im_slice(c, t, 3, from, to));
}

/* out (rows, h, w, 4 + C) of a whole evaluation with a deep cache: what is used again is kept; -> noise (rows, h, w, 4) */
static im_tensor *keep_deep(const group *g, im_tensor *out)
{
    im_ctx *c = g->sd->c;
    int64_t noise = out->shape[3] - im_unet_deep_channels(&g->sd->config->unet);
    im_tensor *deep = channels(c, out, noise, out->shape[3]);
    bool ok = im_ok(c);
    for (int i = 0, at = 0; ok && i < g->n; at += g->r[i++]->rows)
        ok = im_assign(c, g->r[i]->deep, samples(c, deep, at, g->r[i]->rows));
    return ok ? channels(c, out, 0, noise) : NULL;
}

bool im_run_evaluate(im_sd *sd, im_sd_run *const r[], int n, im_tensor **noise)
{
    group g = group_of(sd, r, n);
    im_ctx *c = sd->c;
    im_stage *s = stage_of(&g);
    bool ok = s && fill_inputs(&g, s) && (*noise = im_stage_forward(s));
    ok = ok && (s->size.depth != IM_UNET_KEEP || (*noise = keep_deep(&g, *noise)));
    for (int i = 0, at = 0; ok && i < n; at += r[i++]->rows)
        ok = guide(c, r[i]->e, samples(c, *noise, at, 1), r[i]->guided ? samples(c, *noise, at + 1, 1) : NULL,
                   r[i]->a.guidance);
    return ok;
}

/* ---------------------------------------------------------------- a step */

/* What an evaluation begins from is kept until one goes wrong. */
static bool keep_good(im_sd_run *r)
{
    return im_combine(r->c, r->good, &(im_combination){ .count = 1, .x = { r->x }, .w = { 1 }, .by = 1, .limit = INFINITY,
                                                        .unless = r->mark });
}

/* noise (rows, h, w, 4): the network's, for this run. */
static bool move_on(im_sd_run *r, const im_tensor *noise)
{
    bool ok = im_run_watch(r, noise, IM_BAD_NET) && im_run_watch(r, r->e, IM_BAD_GUIDANCE)
        && im_scheduler_guess(r->scheduler, r->e, r->x, r->guess)
        && im_scheduler_step(r->scheduler, r->e, r->x, (im_noise){ im_run_noise, r })
        && im_run_watch(r, r->x, IM_BAD_SCHEDULER);
    if (!ok) return false;
    bool last = ++r->done == im_scheduler_evaluations(r->scheduler);
    if (!im_mask_step(r)) return false;
    if ((r->done == 1 || last) && !im_run_look(r)) return im_ok(r->c);
    if (last) r->state = IM_SD_FINISHED;
    return true;
}

static bool step_group(im_sd *sd, im_sd_run *const r[], int n)
{
    im_tensor *noise = NULL;
    im_ctx *c = sd->c;
    bool ok = true;
    im_scope_push(c);
    for (int i = 0; ok && i < n; i++) ok = keep_good(r[i]);
    ok = ok && im_run_evaluate(sd, r, n, &noise);
    for (int i = 0, at = 0; ok && i < n; at += r[i++]->rows) ok = move_on(r[i], samples(c, noise, at, r[i]->rows));
    im_scope_pop(c);
    return ok;
}

/* ---------------------------------------------------------------- all the runs of a call */

static bool together(const im_sd_run *a, const im_sd_run *b)
{
    return im_same_size(a->size, b->size) && a->a.eager == b->a.eager;
}

/* With a deep cache: all of the UNet in one evaluation of deep_cache, its outermost layers in those between. */
static im_unet_depth depth_of(const im_sd_run *r)
{
    return !r->deep ? IM_UNET_WHOLE : r->done % r->a.deep_cache ? IM_UNET_REUSE : IM_UNET_KEEP;
}

/* The runs of `from` that are under way, those that go together side by side; returns their number. */
static int line_up(im_sd_run *const from[], int n, im_sd_run **to)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        if (!from[i] || im_sd_run_state(from[i]) != IM_SD_RUNNING) continue;
        from[i]->size.depth = depth_of(from[i]);
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
