/* train_state.c: writing, keeping, finding and reading checkpoints (train_state.h).
 *
 * A checkpoint is written beside its name, synced and renamed (data/files/file.h), so a killed process leaves the old ones
 * and perhaps a *.tmp.* file, which the next one removes. What a disk damages later is found by the hash. */
#include "models/train/train_state.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "models/train/train_config.h"

static bool collect(const im_train_state *s, im_state *out)
{
    *out = (im_state){ .c = s->c, .tracked = s->tracked };
    for (int i = 0; i < s->n_parts; i++)
        if (!im_state_add(out, s->parts[i].prefix, s->parts[i].params))
            return false;
    return im_optimiser_save(s->optimiser, out);
}

bool im_train_state_room(im_train_state *s)
{
    im_state state;
    im_out out;
    char *path = im_run_checkpoint(s->c, s->run->path, s->step);
    bool ok = path && collect(s, &state);
    /* names, shapes and offsets of the header are far below a kilobyte a tensor */
    size_t bytes = ok ? im_state_bytes(&state) + 1024 * (size_t)state.n + strlen(s->config) : 0;
    if (ok && (ok = im_out_open(s->c, &out, path, true))) {
        ok = im_out_reserve(s->c, &out, bytes);
        im_out_abandon(&out);
    }
    if (path)
        im_state_free(&state);
    free(path);
    return ok;
}

/* ---------------------------------------------------------------- writing */

/* *full: it failed, and with more room on the disk it would not have. */
static bool write_file(im_train_state *s, const char *path, bool *full)
{
    char counters[400];
    snprintf(counters, sizeof counters, "{\"step\": %lld, \"tracked\": %lld, \"loss_sum\": %.17g, \"losses\": %lld, "
             "\"best\": ", (long long)s->step, (long long)s->tracked, s->loss_sum, (long long)s->losses);
    size_t n = strlen(counters);
    if (isnan(s->best))
        snprintf(counters + n, sizeof counters - n, "null}");
    else
        snprintf(counters + n, sizeof counters - n, "%.17g}", s->best);
    const char *const *keys = im_checkpoint_keys;
    const char *metadata[2 * IM_CHECKPOINT_KEYS] = { keys[0], "pt", keys[1], IM_VERSION, keys[2], s->config, keys[3],
                                                     counters };
    im_state state;
    errno = 0;                                                 /* data/files/file.h leaves the reason there             */
    bool ok = collect(s, &state) && im_state_write(&state, path, metadata, IM_CHECKPOINT_KEYS, true);
    *full = !ok && (errno == ENOSPC || errno == EDQUOT);
    im_state_free(&state);
    return ok;
}

static bool remove_checkpoint(const im_train_state *s, int64_t step)
{
    char *path = im_run_checkpoint(s->c, s->run->path, step);
    bool removed = path && !unlink(path);
    free(path);
    return removed;
}

/* Gives up the oldest of several for a new one on a full disk. False: there is none that can be removed. */
static bool make_room(const im_train_state *s)
{
    int n;
    int64_t *steps = im_run_checkpoints(s->c, s->run->path, &n);
    bool made = false;
    for (int i = 0; i < n && !made; i++) {
        int k = steps[0] > s->step ? i : n - 1 - i;            /* damaged ones of later steps first                   */
        made = n > 1 && steps[k] != s->last_good && remove_checkpoint(s, steps[k]);
    }
    free(steps);
    return made;
}

static void remove_old(const im_train_state *s)
{
    int n;
    int64_t *steps = im_run_checkpoints(s->c, s->run->path, &n);
    for (int i = 0, kept = 0; i < n; i++)                      /* those of later steps are damaged, and count not     */
        if (steps[i] <= s->step && ++kept > s->keep)
            remove_checkpoint(s, steps[i]);
    free(steps);
}

/* The best one is the same file under a second name: no second copy on the disk. */
static void mark_best(const im_train_state *s, const char *path)
{
    char *best = im_run_checkpoint(s->c, s->run->path, -1), *beside = im_run_file(s->run, IM_RUN_BEST_TEMP);
    if (best && beside) {
        unlink(beside);
        if (link(path, beside) || rename(beside, best))
            im_warn(s->c, "%s: %s; the best checkpoint was not marked", best, strerror(errno));
    }
    free(beside);
    free(best);
}

bool im_train_state_save(im_train_state *s, double score)
{
    im_ctx *c = s->c;
    if (!im_ok(c))
        return false;
    bool best = !isnan(score) && (isnan(s->best) || score > s->best);
    double before = s->best;
    if (best)
        s->best = score;
    char *path = im_run_checkpoint(s->c, s->run->path, s->step);
    bool full = false, ok = path && write_file(s, path, &full);
    while (full && make_room(s)) {
        im_clear_error(c);
        ok = write_file(s, path, &full);
    }
    if (ok) {
        s->last_good = s->step;
        if (best)
            mark_best(s, path);
        remove_old(s);
    } else {
        char text[1024];
        snprintf(text, sizeof text, "%s", im_error(c));
        im_clear_error(c);
        s->best = before;
        if (s->last_good >= 0)
            im_warn(c, "no checkpoint of step %lld: %s; the last good one is that of step %lld", (long long)s->step, text,
                    (long long)s->last_good);
        else
            im_warn(c, "no checkpoint of step %lld: %s; there is none yet", (long long)s->step, text);
    }
    free(path);
    return ok;
}

bool im_train_state_export(const im_train_state *s, const char *path, int part)
{
    im_state state = { .c = s->c, .tracked = s->tracked };
    const im_params *p = s->parts[part].params;
    bool ok = im_state_add(&state, "", p);
    for (int i = 0, k = 0; ok && k < state.n; k++) {           /* entries stand in the order of p, with counts between */
        if (!state.v[k].param)
            continue;
        const im_tensor *average = im_optimiser_average(s->optimiser, part, i++);
        if (average)
            state.v[k].t = average;
    }
    const char *metadata[] = { "format", "pt", "imago", IM_VERSION, "config", s->config };
    ok = ok && im_state_write(&state, path, metadata, 3, false);
    im_state_free(&state);
    return ok;
}

/* ---------------------------------------------------------------- reading */

/* The hash is right: what does not fit was written so, by somebody else. */
static bool read_counters(im_train_state *s, const im_safetensors *file, const char *path)
{
    im_ctx *c = s->c;
    const char *text = im_st_metadata(file, "state");
    im_json j = { 0 };
    double best = NAN;
    bool ok = text ? im_json_parse(c, &j, path, text, strlen(text))
                   : im_fail(c, "%s: its metadata has no \"state\"; wanted a checkpoint of a run", path);
    ok = ok && im_json_long(c, &j, "step", IM_MUST, 0, INT64_MAX, &s->step) &&
         im_json_long(c, &j, "tracked", IM_MUST, 0, INT64_MAX, &s->tracked) &&
         im_json_long(c, &j, "losses", IM_MUST, 0, INT64_MAX, &s->losses) &&
         im_json_float(c, &j, "loss_sum", IM_MUST, -DBL_MAX, DBL_MAX, &s->loss_sum) &&
         im_json_float(c, &j, "best", IM_MAY, -DBL_MAX, DBL_MAX, &best);
    s->best = best;
    im_json_close(&j);
    return ok;
}

static bool load_file(im_train_state *s, const im_safetensors *file, const char *path)
{
    const char *config = im_st_metadata(file, "config");
    bool ok = read_counters(s, file, path) && (!config || !s->fields ||
                                               im_config_same_run(s->c, s->fields, s->config, config, path));
    for (int i = 0; ok && i < s->n_parts; i++) {
        im_state_rules rules = { .ours = true, .exact = true, .shared = s->n_parts > 1,
                                 .from = *s->parts[i].prefix ? s->parts[i].prefix : NULL };
        ok = im_state_read(s->parts[i].params, file, path, IM_F32, &rules);
    }
    return ok && im_optimiser_load(s->optimiser, file, path, s->step);
}

/* Loads the checkpoint of a step, -1: the best one; false with a warning where it is damaged. */
static bool resume_from(im_train_state *s, int64_t step, bool *found)
{
    im_ctx *c = s->c;
    char *path = im_run_checkpoint(c, s->run->path, step);
    im_safetensors *file = path ? im_st_open(c, path) : NULL;
    if (file && im_checkpoint_good(c, file)) {
        *found = load_file(s, file, path);
        s->last_good = *found ? s->step : -1;
    } else if (path) {
        char text[1024];
        snprintf(text, sizeof text, "%s", im_ok(c) ? "its bytes are not those that were written" : im_error(c));
        im_clear_error(c);
        im_warn(c, "skipped the damaged checkpoint %s: %s", path, text);
    }
    im_st_close(file);
    free(path);
    return im_ok(c);
}

bool im_train_state_resume(im_train_state *s, bool *found)
{
    im_ctx *c = s->c;
    int n = 0;
    int64_t *steps = im_run_checkpoints(c, s->run->path, &n);
    char *best = im_run_checkpoint(c, s->run->path, -1);
    bool has_best = best && im_is_file(best), ok = im_ok(c);
    *found = false;
    for (int i = 0; i < n && !*found && ok; i++)
        ok = resume_from(s, steps[i], found);
    if (ok && !*found && has_best)
        ok = resume_from(s, -1, found);
    if (ok && !*found && (n || has_best))
        ok = im_fail(c, "%s: none of its %d checkpoints is whole; bring one back, or begin anew: with another folder, or "
                     "once %s/" IM_RUN_CHECKPOINTS " and %s are moved away", s->run->path, n + has_best, s->run->path,
                     s->run->log_path);
    free(best);
    free(steps);
    return ok;
}
