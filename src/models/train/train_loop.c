/* train_loop.c: steps of training (train_loop.h). A step is
 *
 *     g = mean over `accumulate` parts of d loss / d w                    the task; the order of the sum: grad_tree.h
 *     g = g min(1, clip / (|g| + 1e-6))                                   torch's clip_grad_norm_
 *     w, state = optimiser(w, g, lr(step))                                optimiser.h, learning_rate.h
 *
 * and then a line of the log and, where one is due, a checkpoint. Losses, norms and what is made of them stay on the
 * device: what a step was is read when the next one has been asked for, or when a checkpoint is due, so the device has
 * work all the time (where the host is the device there is nothing to wait for, and it is read at once). After a loss or a
 * gradient that is not finite no weight moves any more (im_ledger), and the run stops when that is read: the part is run
 * once more while every operation is looked at, so that the message can name the first one that gave a NaN or an infinity.
 * With several ranks (ranks.h) each computes some of the parts; then all know all, and take the same step. What is written
 * and said is rank 0's; its state is what the others begin with.
 * Used by train_resnet.c, train_diffusion.c, train_autoencoder.c, train_decoder.c. */
#include "models/train/train_loop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/train/learning_rate.h"
#include "models/train/step_parts.h"
#include "models/train/train_config.h"
#include "models/train/train_state.h"

static const double COSINE_FLOOR = 1e-6;

typedef struct step {                                          /* asked for, and not read yet                         */
    int64_t number;                                            /* from 1                                              */
    double lr, begun, ended;                                   /* ended 0: no other step has begun                    */
    int64_t pictures, judged;
} step;

typedef struct loop {
    im_ctx *c;
    im_run_folder *run;
    const im_train_common *a;
    const im_loop_task *t;
    const im_train_hooks *h;
    im_learning_rate rate;
    im_optimiser *optimiser;
    im_train_state state;
    im_step_parts parts_of_step;
    bool stop;                                                 /* some rank was told to                               */
    int64_t steps, saved_step;                                 /* of the run; last one in a checkpoint                */
    double step_seconds;                                       /* a running mean                                      */
    im_ledger *ledger;
    im_step_part *parts;                                       /* (accumulate) of the step that was read              */
    step open[2];                                              /* number n in open[n % 2]                             */
    char line[480];                                            /* of the log: the last step's, its end still open     */
} loop;

void im_loop_loss(im_ctx *c, im_loop_result *r, int64_t n, im_tensor *loss)
{
    if (!loss) {
        im_tape_end(c);
        return;
    }
    r->pictures = n;
    im_ledger_loss(c, r->ledger, r->part, loss);
    im_backward(c, loss);
}

/* ---------------------------------------------------------------- settings */

bool im_loop_settle(im_ctx *c, im_train_common *a, double lr)
{
    im_optimiser_kind optimiser;
    if (!im_optimiser_parse(c, a->optimizer, &optimiser))
        return false;
    if (a->lr == 0)
        a->lr = (float)lr;
    if (a->decay < 0)
        a->decay = (float)im_optimiser_defaults(optimiser).decay;
    return true;
}

int64_t im_loop_steps(const im_train_common *a, int64_t parts_an_epoch)
{
    if (a->steps > 0)
        return a->steps;
    int64_t steps = a->epochs * parts_an_epoch / a->accumulate;
    return steps > 0 ? steps : 1;
}

im_optimiser_args im_loop_optimiser(im_ctx *c, const im_train_common *a)
{
    im_optimiser_kind kind = IM_SGD;
    im_optimiser_parse(c, a->optimizer, &kind);
    im_optimiser_args o = im_optimiser_defaults(kind);
    o.momentum = im_decimal(a->momentum);
    o.nesterov = a->nesterov;
    o.decay = im_decimal(a->decay);
    o.ema = im_decimal(a->ema);
    o.ema_rises = true;
    return o;
}

static void note(const loop *l, const char *text)
{
    if (l->h->note)
        l->h->note(l->h->arg, text);
}

/* ---------------------------------------------------------------- what is not finite */

/* "the last good checkpoint is RUN/checkpoints/step-00000100.safetensors" */
static void last_good(const loop *l, char *out, size_t size)
{
    if (l->t->ranks->rank) {
        snprintf(out, size, "rank 0 has written the checkpoints");
        return;
    }
    char *path = l->state.last_good >= 0 ? im_run_checkpoint(l->c, l->run->path, l->state.last_good) : NULL;
    if (path)
        snprintf(out, size, "the last good checkpoint is %s", path);
    else
        snprintf(out, size, "there is no checkpoint yet");
    free(path);
}

typedef struct same_part { loop *l; int64_t number; } same_part;

static bool part_again(void *arg)
{
    im_loop_result r = { 0 };
    const same_part *p = arg;
    return p->l->t->part(p->l->t->arg, p->number, &r);
}

static bool leads(const loop *l)
{
    return l->t->ranks->rank == 0;
}

/* Runs the part again with every value looked at, on the rank whose part it was; all contexts then have the message. */
static bool not_finite(loop *l, const step *s, int part, const char *what, const char *name, double value)
{
    char layer[1200], good[600], text[2048];
    if (part / l->parts_of_step.mine != l->t->ranks->rank)
        return im_ranks_agree(l->t->ranks, NULL);
    im_optimiser_zero(l->optimiser);                           /* what is not finite there is not of this part alone  */
    int64_t number = (s->number - 1) * l->a->accumulate + part;
    bool weights, found = !l->t->begin || l->t->begin(l->t->arg, number);
    found = found && im_find_not_finite(l->c, part_again, &(same_part){ l, number }, layer, sizeof layer, &weights);
    if (!im_ok(l->c))
        return false;                                          /* stopped meanwhile                                   */
    last_good(l, good, sizeof good);
    snprintf(text, sizeof text, "step %lld (epoch %lld): %s%s is %g%s%s; %s; try a lower --lr, --clip, or --dtype f32",
             (long long)s->number, (long long)(number / l->t->parts_an_epoch) + 1, what, name, value,
             found ? "; it begins in " : "", found ? layer : "", good);
    return im_ranks_agree(l->t->ranks, text);
}

/* ---------------------------------------------------------------- what a step was */

static void report(loop *l, const step *s, double loss, int64_t correct, double norm)
{
    int64_t epochs = (l->steps * l->a->accumulate + l->t->parts_an_epoch - 1) / l->t->parts_an_epoch;
    int64_t last = s->number * l->a->accumulate - 1;           /* number of the last part                             */
    double seconds = (s->ended > 0 ? s->ended : im_seconds()) - s->begun;
    l->step_seconds = l->step_seconds > 0 ? 0.9 * l->step_seconds + 0.1 * seconds : seconds;
    im_train_progress p = {
        .step = s->number, .steps = l->steps, .epoch = last / l->t->parts_an_epoch + 1, .epochs = epochs,
        .loss = loss, .lr = s->lr, .grad_norm = norm, .img_per_s = (double)s->pictures / seconds,
        .top1 = s->judged ? (double)correct / (double)s->judged : NAN,
        .seconds_left = l->step_seconds * (double)(l->steps - s->number),
    };
    int n = snprintf(l->line, sizeof l->line, "{\"step\": %lld, \"epoch\": %lld, \"loss\": %.9g, \"lr\": %.9g, "
                     "\"grad_norm\": %.9g, \"img_per_s\": %.4g", (long long)p.step, (long long)p.epoch, p.loss, p.lr,
                     p.grad_norm, p.img_per_s);
    if (s->judged)
        snprintf(l->line + n, sizeof l->line - (size_t)n, ", \"top1\": %.6g", p.top1);
    if (l->h->step)
        l->h->step(l->h->arg, &p);
}

/* The line of the last step, with the score after it where there is one. */
static void log_step(loop *l, double scored)
{
    size_t n = strlen(l->line);
    if (!leads(l))
        return;
    if (isfinite(scored))
        snprintf(l->line + n, sizeof l->line - n, ", \"%s\": %.6g}", l->t->score_name, scored);
    else
        snprintf(l->line + n, sizeof l->line - n, "}");
    im_run_log(l->run, l->line);
}

/* Waits for the oldest step that was not read, and tells of it; its line is the loop's, to be written. */
static bool read_step(loop *l)
{
    int n = l->a->accumulate;
    double loss = 0, norm = 0, mean = 1.0 / n;
    int64_t correct = 0;
    const step *s = &l->open[(l->state.step - im_ledger_open(l->ledger) + 1) % 2];
    if (!im_ledger_read(l->c, l->ledger, l->parts))
        return false;
    for (int k = 0; k < n; k++) {
        const im_step_part *p = &l->parts[k];
        norm = mean * sqrt(p->sumsq);
        if (!isfinite(p->loss))
            return not_finite(l, s, k, "the loss", "", (double)p->loss);
        if (p->first_bad >= 0)
            return not_finite(l, s, k, "the gradient of ", im_optimiser_name(l->optimiser, p->first_bad), norm);
        loss += (double)p->loss / n;
        correct += p->right;
    }
    l->state.loss_sum += loss;
    l->state.losses++;
    report(l, s, loss, correct, norm);
    return im_ok(l->c);
}

/* All steps but the last `but` ones, with their lines. */
static bool catch_up(loop *l, int but)
{
    while (im_ledger_open(l->ledger) > but) {
        if (!read_step(l))
            return false;
        log_step(l, NAN);
    }
    return im_ok(l->c);
}

/* ---------------------------------------------------------------- one step */

static bool told_to_stop(const loop *l)
{
    return l->h->stop && l->h->stop(l->h->arg);
}

typedef struct parts_run { loop *l; im_step_told told; } parts_run;

static bool run_part(void *arg, int k)
{
    parts_run *s = arg;
    loop *l = s->l;
    im_loop_result r = { .ledger = l->ledger, .part = k };
    bool ok = l->t->part(l->t->arg, l->state.step * l->a->accumulate + k, &r);
    s->told.pictures += r.pictures;
    s->told.judged += r.judged;
    return ok;
}

/* All parts of a step: those of this rank, and what the other ranks have of theirs. */
static bool run_parts(loop *l, step *s)
{
    im_step_parts *p = &l->parts_of_step;
    parts_run run = { .l = l };
    if (!im_step_parts_run(p, l->ledger, run_part, &run))
        return false;
    im_step_told told = run.told;
    told.stop = l->t->ranks->size > 1 && told_to_stop(l);
    if (!im_step_parts_join(p, l->ledger, s->number, &told))
        return false;
    s->pictures = told.pictures;
    s->judged = told.judged;
    l->stop = told.stop;
    return true;
}

/* All of a step, as one where the device takes it so: several ranks wait for each other in between. */
static bool ask_for(loop *l, step *s)
{
    double mean = 1.0 / l->a->accumulate;
    bool one = l->t->ranks->size == 1 && im_work_begin(l->c);
    bool ok = run_parts(l, s) && im_ledger_end(l->c, l->ledger, mean, im_decimal(l->a->clip)) &&
              im_optimiser_step(l->optimiser, s->lr, mean, l->ledger);
    return (!one || im_work_end(l->c)) && ok;
}

/* Asks for a step; at most one before it is not read yet. */
static bool one_step(loop *l)
{
    double now = im_seconds();
    step *s = &l->open[(l->state.step + 1) % 2];
    if (im_ledger_open(l->ledger))
        l->open[l->state.step % 2].ended = now;
    *s = (step){ .number = l->state.step + 1, .begun = now, .lr = im_learning_rate_at(&l->rate, l->state.step) };
    if (l->h->tape && l->state.step == 0)
        im_on_tape(l->c, l->h->tape, l->h->arg);
    bool ok = ask_for(l, s);
    im_on_tape(l->c, NULL, NULL);
    if (!ok)
        return false;
    l->state.step++;
    l->state.tracked += (l->t->together ? 1 : (int64_t)l->a->accumulate) * l->t->norms_a_part;
    return true;
}

/* ---------------------------------------------------------------- checkpoints */

static bool epoch_ended(const loop *l)
{
    int64_t parts = l->state.step * l->a->accumulate, before = parts - l->a->accumulate;
    return parts / l->t->parts_an_epoch > before / l->t->parts_an_epoch;
}

/* Before and after the task looks at its networks. */
static void show_averages(loop *l)
{
    if (l->t->averaged)
        im_optimiser_swap(l->optimiser);
}

static double score(loop *l)
{
    show_averages(l);
    double x = l->t->score(l->t->arg);
    show_averages(l);
    return x;
}

/* What the task writes after a checkpoint. Before the end a full disk costs the files, not the run. */
static bool write_products(loop *l, bool last)
{
    char text[1024];
    if (!l->t->saved)
        return true;
    show_averages(l);
    bool ok = l->t->saved(l->t->arg, l->run, l->optimiser, last);
    show_averages(l);
    if (ok)
        return true;
    if (last)
        return false;
    snprintf(text, sizeof text, "%s", im_error(l->c));
    im_clear_error(l->c);
    im_warn(l->c, "after step %lld: %s", (long long)l->state.step, text);
    return true;
}

static bool save(loop *l, double worth, bool last)
{
    if (!leads(l)) {
        l->saved_step = l->state.step;
        return true;
    }
    bool ok = im_train_state_save(&l->state, worth);
    if (ok)
        l->saved_step = l->state.step;
    if (!write_products(l, last))
        return false;
    if (l->h->saved && im_ok(l->c))
        l->h->saved(l->h->arg, l->run->path);
    return ok && im_ok(l->c);
}

/* After a step: the checkpoint that is due. A full disk does not end the run. */
static bool save_when_due(loop *l)
{
    bool over = l->state.step == l->steps, epoch = epoch_ended(l) || over, scored = l->t->score && epoch && leads(l);
    bool due = l->a->checkpoint_every > 0 ? l->state.step % l->a->checkpoint_every == 0 : epoch;
    if (!due && !scored && !over)
        return catch_up(l, im_ledger_lag(l->ledger));
    if (!catch_up(l, 1) || !read_step(l))
        return false;
    double worth = scored ? score(l) : l->t->score ? NAN : -l->state.loss_sum / (double)l->state.losses;
    log_step(l, scored ? worth : NAN);
    l->state.loss_sum = 0;                                     /* also where the disk is full: the next score is to    */
    l->state.losses = 0;                                       /* be that of a run that had room                      */
    if (im_ok(l->c))
        save(l, worth, over);
    return im_ok(l->c);
}

static bool stopped(loop *l)
{
    char good[600];
    if (!catch_up(l, 0))
        return false;
    if (l->saved_step != l->state.step)
        save(l, NAN, false);
    if (!im_ranks_agree(l->t->ranks, NULL))                    /* where one rank ends, the launcher may end the others */
        return false;
    last_good(l, good, sizeof good);
    return im_fail(l->c, "stopped after step %lld of %lld; %s; --resume goes on from there", (long long)l->state.step,
                   (long long)l->steps, good);
}

/* ---------------------------------------------------------------- the run */

static bool tell_tensor(void *arg, const char *prefix, const im_param *q, im_tensor *t)
{
    const loop *l = arg;
    (void)prefix;
    (void)q;
    float *v = im_values(l->c, t);
    bool ok = v && im_ranks_tell(l->t->ranks, v, (size_t)im_numel(t) * sizeof *v) && (leads(l) || im_upload(l->c, t, v));
    free(v);
    return ok;
}

/* Weights, statistics, the optimiser's state and the counters of rank 0 become those of all. */
static bool tell_state(loop *l)
{
    im_train_state *s = &l->state;
    int64_t counters[] = { s->step, s->tracked, s->losses };
    if (l->t->ranks->size == 1)
        return im_ok(l->c);
    if (!im_ranks_tell(l->t->ranks, counters, sizeof counters) ||
        !im_ranks_tell(l->t->ranks, &s->loss_sum, sizeof s->loss_sum))
        return false;
    s->step = counters[0];
    s->tracked = counters[1];
    s->losses = counters[2];
    im_optimiser_steps_are(l->optimiser, s->step);
    for (int k = 0; k < l->t->n_parts; k++)
        for (int i = 0; i < l->t->parts[k].params->n; i++)
            if (!tell_tensor(l, "", NULL, l->t->parts[k].params->v[i].t))
                return false;
    return im_optimiser_each(l->optimiser, tell_tensor, l);
}

/* config.json, where it is not what it was or is not there yet. */
static bool write_config(loop *l, const char *config, bool begun)
{
    im_train_common was = *l->a;
    if (begun && !im_config_length(l->c, l->run->path, &was))
        return false;
    bool same = begun && was.steps == l->a->steps && was.epochs == l->a->epochs && was.warmup == l->a->warmup;
    return same || im_run_write(l->run, "config.json", config);
}

/* A run without a checkpoint may have been stopped before the first was whole. False with an error where it had one: to
 * begin anew would write over what it left. */
static bool may_begin_anew(const loop *l)
{
    int64_t parts = l->t->parts_an_epoch, n = l->a->accumulate, last = im_run_log_last(l->run);
    int64_t due = l->a->checkpoint_every > 0 ? l->a->checkpoint_every : (parts + n - 1) / n;
    if (last <= due || !im_ok(l->c))
        return im_ok(l->c);
    return im_fail(l->c, "%s has steps up to %lld, but there is no checkpoint to go on from, and the first was due after "
                   "step %lld; bring %s/" IM_RUN_CHECKPOINTS " back, or begin anew: with another folder, or once %s is "
                   "moved away", l->run->log_path, (long long)last, (long long)due, l->run->path, l->run->log_path);
}

/* Rank 0: the checkpoint to go on from, and room for the next. */
static bool find_state(loop *l, bool *begun)
{
    bool found = false;
    char text[200];
    *begun = im_run_begun(l->c, l->run->path);
    if (*begun && (!im_train_state_resume(&l->state, &found) || (!found && !may_begin_anew(l))))
        return false;
    if (found)
        snprintf(text, sizeof text, "goes on from its checkpoint of step %lld of %lld", (long long)l->state.step,
                 (long long)l->steps);
    else
        snprintf(text, sizeof text, "there is no checkpoint to go on from: begins with step 1");
    if (*begun)
        note(l, text);
    if (l->state.step > l->steps)
        return im_fail(l->c, "%s: its checkpoint of step %lld is past the %lld steps asked for; wanted more steps, or "
                       "another folder", l->run->path, (long long)l->state.step, (long long)l->steps);
    l->saved_step = found ? l->state.step : -1;
    return l->state.step == l->steps || im_train_state_room(&l->state);
}

static bool open_run(loop *l, const char *config)
{
    bool begun = false;
    if ((leads(l) && !find_state(l, &begun)) || !tell_state(l) ||
        (leads(l) && !(write_config(l, config, begun) && im_run_log_open(l->run, l->state.step))))
        return false;
    return !l->t->begin || l->t->begin(l->t->arg, l->state.step * l->a->accumulate + l->parts_of_step.first);
}

static bool run_steps(loop *l)
{
    if (l->state.step == l->steps && leads(l) && !write_products(l, true))       /* killed before these were written   */
        return false;
    while (l->state.step < l->steps) {
        if (!one_step(l) || !save_when_due(l))
            return false;
        if (l->state.step < l->steps && (l->t->ranks->size > 1 ? l->stop : told_to_stop(l)))
            return stopped(l);
    }
    if (!leads(l) || l->saved_step == l->state.step)
        return true;
    char good[600];
    last_good(l, good, sizeof good);
    return im_fail(l->c, "the last checkpoint could not be written; %s; make room, then --resume", good);
}

/* What it has cost to be several. */
static void tell_cost(const loop *l)
{
    const im_step_parts *p = &l->parts_of_step;
    char text[240];
    double n = (double)p->steps;
    if (!p->steps || !leads(l))
        return;
    snprintf(text, sizeof text, "%d ranks: %s %.3f s %s %.3f s%s; rank 0 sends %.4g MB for it", p->ranks->size,
             p->overlapped ? "after its backward a step waits" : "a step waits", p->waited / n,
             p->overlapped ? "for the sums of gradients, which take" : "until all have their gradients, and sums them in",
             p->exchanged / n, p->overlapped ? " and begin in it" : "", (double)p->ranks->sent / n * 1e-6);
    note(l, text);
}

static bool export(loop *l)
{
    if (!l->t->exported || !leads(l))
        return true;
    char *path = im_run_file(l->run, "model.safetensors");
    bool ok = path && im_train_state_export(&l->state, path, 0);
    free(path);
    return ok;
}

bool im_train_loop(im_ctx *c, im_run_folder *run, const im_train_common *a, const char *config, const im_loop_task *t,
                   const im_train_hooks *hooks)
{
    static const im_train_hooks none = { 0 };
    double warmup = im_decimal(a->warmup);
    loop l = { .c = c, .run = run, .a = a, .t = t, .h = hooks ? hooks : &none,
               .steps = im_loop_steps(a, t->parts_an_epoch) };
    im_optimiser_args o = im_loop_optimiser(c, a);
    l.optimiser = im_optimiser_new(c, t->parts, t->n_parts, &o);
    l.ledger = im_ledger_new(c, a->accumulate);
    l.parts = calloc((size_t)a->accumulate, sizeof *l.parts);
    if (!l.parts)
        im_fail(c, "out of memory for the parts of a step");
    if (im_ok(c))
        im_step_parts_open(&l.parts_of_step, t->ranks, l.optimiser, a->accumulate, t->together);
    l.state = (im_train_state){ .c = c, .run = run, .parts = t->parts, .n_parts = t->n_parts, .optimiser = l.optimiser,
                                .config = config, .fields = t->fields, .keep = a->keep, .best = NAN, .last_good = -1 };
    l.rate = (im_learning_rate){ .peak = im_decimal(a->lr), .floor = COSINE_FLOOR, .steps = l.steps,
        .parts_an_epoch = t->parts_an_epoch, .accumulate = a->accumulate,
        .warmup = warmup < 0 ? l.steps / IM_WARMUP_SHARE
                             : (int64_t)llround(warmup * (double)t->parts_an_epoch / a->accumulate) };
    im_learning_rate_parse(c, a->schedule, &l.rate.kind);
    im_set_compute_dtype(c, strcmp(a->dtype, "bf16") ? IM_F32 : IM_BF16);
    bool ok = im_ok(c) && open_run(&l, config) && run_steps(&l) && export(&l);
    tell_cost(&l);
    im_set_compute_dtype(c, IM_F32);
    im_step_parts_close(&l.parts_of_step);
    im_optimiser_free(l.optimiser);
    im_ledger_free(l.ledger);
    free(l.parts);
    return ok && im_ok(c);
}
