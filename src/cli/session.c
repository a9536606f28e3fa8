/* session.c: opening and closing of a context for a verb, and the signals. Used by every cmd_*.c. */
#include "cli/session.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/events.h"
#include "cli/shown.h"
#include "data/files/utf8.h"

/* A signal handler can reach nothing but globals: the context to stop, and which signal came. */
static im_ctx *volatile running;
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    interrupted = sig;
    if (running)
        im_cancel(running);
}

/* "imago: ", or, of several processes that a launcher has started, "imago: rank 2: " of all but the first */
static const char *name_of_process(char out[32])
{
    if (im_train_rank())
        snprintf(out, 32, "imago: rank %d: ", im_train_rank());
    else
        snprintf(out, 32, "imago: ");
    return out;
}

static void warn(void *arg, const char *text)
{
    char name[32];
    (void)arg;
    shown_line(stderr, "%swarning: %s", name_of_process(name), text);
}

static void warn_event(void *arg, const char *text)
{
    event_text(arg, "warning", text);
}

static void handle(int sig)
{
    /* SA_RESETHAND: a second Ctrl-C ends the program at once. */
    struct sigaction act = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
    sigemptyset(&act.sa_mask);
    sigaction(sig, &act, NULL);
}

static bool is_ignored(int sig)
{
    struct sigaction now;
    return !sigaction(sig, NULL, &now) && now.sa_handler == SIG_IGN;
}

void session_signals_more(void)
{
    handle(SIGUSR1);
    handle(SIGUSR2);
}

/* o NULL: no options */
static im_ctx *open_device(const char *device, int threads, const common_options *o)
{
    im_ctx *c = im_ctx_new(device, threads);
    if (!c) {
        fprintf(stderr, "imago: out of memory\n");
        return NULL;
    }
    if (!im_ok(c)) {
        session_end(c, o, NULL);
        return NULL;
    }
    im_on_warning(c, events_wanted(o) ? warn_event : warn, c);
    running = c;
    handle(SIGINT);
    handle(SIGTERM);
    if (!is_ignored(SIGHUP))                                   /* under nohup: the terminal may go                      */
        handle(SIGHUP);
    signal(SIGXFSZ, SIG_IGN);                                  /* a file past its limit is an error, not the end       */
    return c;
}

im_ctx *session_open(const common_options *o)
{
    if (o->isa)
        setenv("IMAGO_ISA", o->isa, 1);
    im_ctx *c = open_device(o->device ? o->device : "cpu", o->threads, o);
    if (c && !im_weights_rules(c, o->strict, o->variant)) {
        session_end(c, o, NULL);
        return NULL;
    }
    return c;
}

im_ctx *session_open_files(void)
{
    return open_device("ref", 1, NULL);
}

int session_close(im_ctx *c)
{
    return session_end(c, NULL, NULL);
}

int session_end(im_ctx *c, const common_options *o, json_t *fields)
{
    bool events = events_wanted(o), ok = im_ok(c);
    char name[32];
    int rc = ok ? CLI_OK : interrupted ? CLI_SIGNAL + (int)interrupted : CLI_FAILED;
    running = NULL;
    if (events && ok)
        event_print("done", json_incref(fields));
    else if (events)
        event_error(c, im_error(c), rc);
    else if (!ok)
        shown_line(stderr, "%s%s", name_of_process(name), im_error(c));
    json_decref(fields);
    im_ctx_free(c);
    return rc;
}

void session_signals_wait(void)
{
    running = NULL;
}

bool session_interrupted(void)
{
    return interrupted != 0;
}

im_dtype session_dtype(const common_options *o)
{
    im_dtype t = IM_AS_MODEL;
    if (o->dtype)
        im_dtype_parse(o->dtype, &t);                          /* checked: by the option table, or where it was read   */
    return t;
}

im_dtype session_activations(const common_options *o)
{
    im_dtype t = IM_F32;
    im_dtype_parse(o->activations, &t);
    return t;
}

im_sd *session_model(im_ctx *c, const char *model, const char *vae, const common_options *o)
{
    if (!vae)
        return im_sd_open(c, model, session_dtype(o));
    im_sd *sd = im_sd_look(c, model, session_dtype(o));
    if (sd && im_sd_use_vae(sd, vae))
        return sd;
    im_sd_free(sd);
    return NULL;
}

char *error_put_aside(im_ctx *c)
{
    char *error = im_ok(c) ? NULL : strdup(im_error(c));
    if (error)
        im_clear_error(c);
    return error;
}

bool error_put_back(im_ctx *c, char *error)
{
    if (error) {
        im_clear_error(c);
        im_fail(c, "%s", error);
    }
    free(error);
    return im_ok(c);
}

json_t *clean_json(im_ctx *c, const char *text)
{
    char *clean = text ? im_utf8_clean(c, text) : NULL;
    json_t *j = clean ? json_string(clean) : json_null();
    free(clean);
    return j;
}

const char *bytes_text(double bytes, char out[32])
{
    static const char *const unit[] = { "B", "kB", "MB", "GB", "TB" };
    int u = 0;
    while (bytes >= 999.5 && u < 4) {
        bytes /= 1000;
        u++;
    }
    snprintf(out, 32, u && bytes < 99.95 ? (bytes < 9.995 ? "%.2f %s" : "%.1f %s") : "%.0f %s", bytes, unit[u]);
    return out;
}
