/* train_view.c: what a person sees of a training: a line that follows it on a terminal, a line every ten seconds
 * elsewhere, curves now and then; or what a program reads of it, events (events.h). Used by cmd_train.c and
 * cmd_train_pictures.c. */
#include "cli/train.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "cli/events.h"
#include "cli/session.h"
#include "cli/shown.h"

static const double LINE_EVERY = 10, CURVES_EVERY = 30;        /* seconds                                              */

static void duration(double s, char out[32])
{
    if (s < 100)
        snprintf(out, 32, "%.0f s", s);
    else if (s < 6000)
        snprintf(out, 32, "%d min %02d s", (int)s / 60, (int)s % 60);
    else if (s < 48 * 3600.0)
        snprintf(out, 32, "%.1f h", s / 3600);
    else
        snprintf(out, 32, "%.1f days", s / 86400);
}

/* "epoch 3/100  step 120/5000  loss 2.3105  top-1 41.2 %  lr 0.05  153 img/s  12 min 05 s left" */
static void status(const im_train_progress *p, char *out, size_t size)
{
    char left[32], top1[32] = "";
    duration(p->seconds_left, left);
    if (!isnan(p->top1))
        snprintf(top1, sizeof top1, "  top-1 %.1f %%", 100 * p->top1);
    snprintf(out, size, "epoch %lld/%lld  step %lld/%lld  loss %.4f%s  lr %.4g  %.*f img/s  %s left", (long long)p->epoch,
             (long long)p->epochs, (long long)p->step, (long long)p->steps, p->loss, top1, p->lr, p->img_per_s < 10 ? 2 : 0,
             p->img_per_s, left);
}

static void erase(train_view *v)
{
    if (v->drawn)
        fputs("\r\033[K", stderr);
    v->drawn = false;
}

static void epoch_event(train_view *v, const im_train_progress *p)
{
    event_print("epoch", json_pack("{s:I, s:I, s:I}", "epoch", (json_int_t)v->epoch, "epochs", (json_int_t)p->epochs,
                                   "step", (json_int_t)v->step));
}

/* Every step; and an epoch when its last step is known to be that: with the next one's first, or the end of the run. */
static void step_events(train_view *v, const im_train_progress *p)
{
    if (v->epoch && p->epoch > v->epoch)
        epoch_event(v, p);
    v->epoch = p->epoch;
    v->step = p->step;
    event_print("step", json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "step", (json_int_t)p->step,
                                  "steps", (json_int_t)p->steps, "epoch", (json_int_t)p->epoch,
                                  "epochs", (json_int_t)p->epochs,
                                  "loss", event_number(p->loss), "lr", event_number(p->lr), "grad_norm",
                                  event_number(p->grad_norm), "top1", event_number(p->top1), "img_per_s",
                                  event_number(p->img_per_s), "seconds_left", event_number(p->seconds_left)));
    if (p->step == p->steps)
        epoch_event(v, p);
}

static void on_step(void *arg, const im_train_progress *p)
{
    train_view *v = arg;
    double now = im_seconds();
    char line[300];
    if (v->events)
        step_events(v, p);
    v->step = p->step;
    if (v->tape) {
        erase(v);
        train_tape_print(v->tape, stdout);
        v->tape = NULL;
    }
    bool last = p->step == p->steps, first = v->last == 0;
    if (v->quiet || v->events || (!last && !first && now - v->last < (v->terminal ? 0.1 : LINE_EVERY)))
        return;
    v->last = now;
    status(p, line, sizeof line);
    if (v->terminal) {
        fprintf(stderr, "\r%s\033[K", line);
        v->drawn = true;
    } else {
        fprintf(stderr, "%s\n", line);
    }
    fflush(stderr);
}

static bool on_stop(void *arg)
{
    (void)arg;
    return session_interrupted();
}

static void on_note(void *arg, const char *text)
{
    train_view *v = arg;
    if (v->events)
        event_text(v->c, "note", text);
    if (v->quiet || v->events)
        return;
    erase(v);
    shown_line(stderr, "%s", text);
}

/* Curves are a help, not the work: where they cannot be drawn that is a warning. */
static void curves(train_view *v, const char *run)
{
    if (im_ok(v->c) && !train_draw_curves(v->c, run)) {
        erase(v);
        im_warn(v->c, "%s", im_error(v->c));
        im_clear_error(v->c);
    }
    v->last_curves = im_seconds();
}

static void on_saved(void *arg, const char *run)
{
    train_view *v = arg;
    if (v->events)
        event_print("checkpoint", json_pack("{s:o, s:I}", "run", clean_json(v->c, run), "step", (json_int_t)v->step));
    if (v->last_curves == 0 || im_seconds() - v->last_curves > CURVES_EVERY)
        curves(v, run);
    if (v->samples && im_ok(v->c))
        train_samples_draw(v->c, v->samples, run, v->step);
}

static void on_tape(void *arg, const im_tape_row *row)
{
    train_tape_row(((train_view *)arg)->tape, row);
}

int train_check_shown(const arguments *a, const train_shown *s)
{
    return s->quiet && events_wanted(s->common) ? usage_error(a->verb, "--quiet and --progress json cannot be combined")
                                                : CLI_OK;
}

void train_view_open(train_view *v, im_ctx *c, const train_shown *s, im_train_hooks *h)
{
    bool leads = im_train_rank() == 0, events = leads && events_wanted(s->common);
    *v = (train_view){ .c = c, .quiet = s->quiet || !leads, .events = events, .leads = leads,
                       .terminal = leads && !events && isatty(STDERR_FILENO), .start = im_seconds() };
    if (events) {
        event_print("start", json_pack("{s:s, s:s, s:o, s:b}", "verb", s->a->verb->name, "version", IM_VERSION, "run",
                                       clean_json(c, s->task->out), "resume", s->task->resume));
        event_print("load", json_pack("{s:o}", "data", clean_json(c, s->task->data)));
    }
    if (s->trace_tape && leads)
        v->tape = train_tape_new();
    *h = (im_train_hooks){ .arg = v, .step = on_step, .stop = on_stop, .note = on_note, .saved = on_saved,
                           .tape = v->tape ? on_tape : NULL };
    session_signals_wait();
    session_signals_more();
}

void train_view_close(train_view *v, const char *run)
{
    if (v->drawn)
        fputc('\n', stderr);
    v->drawn = false;
    if (im_ok(v->c) && v->leads)
        curves(v, run);
    if (v->tape)
        train_tape_print(v->tape, stdout);
    v->tape = NULL;
}

int train_end(im_ctx *c, const common_options *o)
{
    return session_end(c, im_ok(c) && im_train_rank() ? NULL : o, NULL);
}

bool train_option_given(void *arguments_of_verb, const char *name)
{
    return option_given(arguments_of_verb, name);
}
