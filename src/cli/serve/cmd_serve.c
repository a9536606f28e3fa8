/* cmd_serve.c: `imago serve`: options, the beginning and the end of a server, and what its main thread does meanwhile. The
 * parts are told in serve.h. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/serve/http.h"
#include "cli/serve/keep.h"
#include "cli/serve/serve.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "data/text/wildcards.h"

#define AT(field) offsetof(serve_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "MODEL", AT(model), NULL,
                "a diffusers folder or a single .safetensors file; without it, the small embedded model"),
    OPTION_TEXT('l', "listen", "ADDRESS:PORT", AT(listen), "127.0.0.1:7860",
                "where to listen; port 0: a free one, which is printed. Others than this machine reach only an address "
                "beside loopback, and that needs --token-file or --user"),
    OPTION_TEXT(0, "token-file", "FILE", AT(token_file), NULL,
                "its first word is the token that requests must show (Authorization: Bearer)"),
    OPTION_TEXT(0, "user", "NAME:PASSWORD", AT(user), NULL, "the name and password that requests must show (HTTP Basic)"),
    OPTION_LIST(0, "host", "NAME", AT(hosts),
                "a name by which browsers may reach this server, beside its address and localhost; may be given several "
                "times"),
    OPTION_TEXT(0, "lora-dir", "FOLDER", READING_AT(serve_options, lora_dir), NULL,
                "where the LoRAs lie that prompts name: <lora:NAME:WEIGHT>; without it, loras/ in the model's folder or "
                "beside the model"),
    EMBEDDING_OPTION(serve_options),
    OPTION_TEXT(0, "wildcards", "FOLDER", AT(wildcards), NULL,
                "__NAME__ in a prompt or negative prompt becomes a line of FOLDER/NAME.txt, chosen by the picture's seed"),
    OPTION_CHOICE(0, "prompt-syntax", "SYNTAX", READING_AT(serve_options, syntax), "plain", "plain|a1111",
                  "how prompts are read whose request does not say: plain text, or with weights as the AUTOMATIC1111 web "
                  "interface reads them"),
    OPTION_TEXT(0, "keep", "DIR", AT(keep), NULL, "also write each finished picture into this folder"),
    OPTION_FLAG(0, "no-mark", AT(no_mark),
                "leave out the XMP that says a model drew the pictures (IPTC trainedAlgorithmicMedia)"),
    OPTION_INT('b', "batch", "B", AT(batch), "4", 1, 64,
               "pictures drawn at once, of one size, whoever asked for them; it changes no picture"),
    OPTION_INT(0, "queue", "N", AT(queue), "32", 1, 100000, "requests that may wait; more are told to come again"),
    OPTION_SIZE(0, "max-pixels", "N", AT(max_pixels), "1M", "width times height of a picture, at most"),
    OPTION_INT(0, "max-steps", "N", AT(max_steps), "150", 1, 100000, "steps of a picture, at most"),
    OPTION_SIZE(0, "max-body", "BYTES", AT(max_body), "64M", "bytes of a request, at most"),
    OPTION_INT(0, "grace", "SECONDS", AT(grace), "30", 0, 86400,
               "when stopped, how long pictures under way may take to be finished"),
    VAE_OPTION(serve_options),
    TILE_OPTION(serve_options),
    OPTION_FLAG(0, "cache-weights", AT(cache_weights),
                "keep packed weights in MODEL/imago-cache or in the user's cache, so that the next start takes no time; "
                "they are as large as the model"),
    OPTION_FLAG('q', "quiet", AT(quiet), "print no line for each picture"),
    OPTION_END
};

/* ---------------------------------------------------------------- the beginning */

/* The model again, in a context of its own and without weights, to check requests while the other one draws. That one was
 * opened before, so this one need not be whole. */
static bool open_look(server *s)
{
    s->look_c = im_ctx_new("ref", 1);
    s->look = s->look_c ? im_sd_look(s->look_c, s->o->model, session_dtype(&s->o->common)) : NULL;
    if (!s->look || !model_prepare(s, s->look))
        return im_fail(s->c, "%s", s->look_c ? im_error(s->look_c) : "out of memory");
    return true;
}

/* Values of a vector that stands for a word. */
static int text_width(im_sd *sd)
{
    static const char end[] = "token_embedding.weight";
    im_net_param p;
    for (int i = 0; im_sd_param(sd, IM_NET_CLIP, i, &p); i++) {
        size_t n = strlen(p.name);
        if (n >= sizeof end - 1 && !strcmp(p.name + n - (sizeof end - 1), end) && p.ndim == 2)
            return (int)p.shape[1];
    }
    return 0;
}

static bool know_model(server *s)
{
    im_sd_args own = im_sd_defaults(s->sd);
    const char *file = im_sd_file_hash(s->sd), *hash = file ? file : im_ok(s->c) ? im_sd_hash(s->sd) : NULL;
    if (!hash || !model_name_of(s->c, s->o->model, s->model_name, sizeof s->model_name))
        return false;
    snprintf(s->hash, sizeof s->hash, "%s", hash);
    snprintf(s->title, sizeof s->title, "%s [%.10s]", s->model_name, s->hash);
    s->own_width = own.width;
    s->own_height = own.height;
    s->text_width = text_width(s->sd);
    s->own_scheduler = im_sd_scheduler(s->look, &own);
    im_clear_error(s->look_c);                                 /* without one, each request has to name its own        */
    s->created = clock_now();
    return true;
}

/* The first request does not wait for the weights. */
static bool warm_up(server *s)
{
    im_sd_args a = im_sd_defaults(s->sd);
    a.prompt = "";
    a.scheduler = s->own_scheduler ? s->own_scheduler : "euler";
    im_sd_run *run = im_sd_check_memory(s->sd, &a, 1) ? im_sd_run_open(s->sd, &a) : NULL;
    bool ok = run && im_sd_run_begin(&run, 1);
    im_sd_run_close(run);
    return ok;
}

static bool wildcards_check(server *s)
{
    im_wildcards *w = s->o->wildcards ? im_wildcards_open(s->c, s->o->wildcards, true) : NULL;
    im_wildcards_free(w);
    return im_ok(s->c);
}

static bool open_server(server *s)
{
    if (!guard_open(s) || !keep_check(s) || !wildcards_check(s))
        return false;
    s->sd = session_model(s->c, s->o->model, s->o->vae, &s->o->common);
    im_sd_cache_weights(s->sd, s->o->cache_weights);
    return s->sd && model_prepare(s, s->sd) && loras_list(s) && open_look(s) && know_model(s) && warm_up(s) &&
           http_start(s) && worker_start(s);
}

/* ---------------------------------------------------------------- the end */

static bool anything_runs(server *s)
{
    bool runs = false;
    pthread_mutex_lock(&s->lock);
    for (const job *j = s->first; j; j = j->next)
        runs = runs || !job_ended(j);
    pthread_mutex_unlock(&s->lock);
    return runs;
}

static void cancel_all(server *s, bool waiting_only)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    for (job *j = s->first; j; j = j->next)
        if (!waiting_only || j->state == JOB_QUEUED)
            queue_cancel(s, j);
    pthread_mutex_unlock(&s->lock);
}

static bool answers_left(server *s)
{
    pthread_mutex_lock(&s->lock);
    bool left = s->visits != NULL;
    pthread_mutex_unlock(&s->lock);
    return left;
}

static void wait_a_little(void)
{
    const struct timespec tenth = { .tv_nsec = 100000000 };
    nanosleep(&tenth, NULL);
}

/* What waits is given up; what is drawn may be finished, and its client has it. */
static void stop(server *s)
{
    if (!s->o->quiet)
        fprintf(stderr, "stopping: pictures under way are finished, for at most %d s\n", s->o->grace);
    http_quiet(s);
    cancel_all(s, true);
    double end = im_seconds() + s->o->grace;
    while (anything_runs(s) && im_seconds() < end) {
        http_look_around(s);
        wait_a_little();
    }
    cancel_all(s, false);
    pthread_mutex_lock(&s->lock);
    s->end = true;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->worker, NULL);
    end = im_seconds() + 2;
    while (answers_left(s) && im_seconds() < end)
        wait_a_little();
}

static void close_server(server *s)
{
    http_stop(s);
    pthread_mutex_lock(&s->lock);
    queue_trim(s, true);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->n_loras; i++)
        free(s->loras[i]);
    free(s->loras);
    free(s->seats);
    im_sd_free(s->look);
    im_ctx_free(s->look_c);
    im_sd_free(s->sd);
}

/* ---------------------------------------------------------------- between */

static int run(const arguments *a)
{
    serve_options *o = a->values;
    server s = { .o = o, .lock = PTHREAD_MUTEX_INITIALIZER, .look_lock = PTHREAD_MUTEX_INITIALIZER,
                 .more = PTHREAD_COND_INITIALIZER };
    if (!(s.c = session_open(&o->common)))
        return CLI_FAILED;
    signal(SIGPIPE, SIG_IGN);                                  /* a client that is gone is no reason to end            */
    if (open_server(&s)) {
        session_signals_wait();
        printf("listening on http://%s%s%s:%d\n", strchr(s.listen_host, ':') ? "[" : "", s.listen_host,
               strchr(s.listen_host, ':') ? "]" : "", s.port);
        fflush(stdout);
        while (!session_interrupted()) {
            wait_a_little();
            http_look_around(&s);
        }
        stop(&s);
    }
    close_server(&s);
    return session_close(s.c);
}

const verb verb_serve = {
    .name = "serve", .common = OPT_MODEL | OPT_DEVICE | OPT_DTYPE | OPT_ACTIVATIONS, .options = options,
    .size = sizeof(serve_options), .run = run,
    .summary = "draw what is asked for over HTTP",
    .about = "Loads a model once and draws what clients ask for: those of the AUTOMATIC1111 web interface (/sdapi/v1), "
             "those of OpenAI (/v1/images), its own (/v1/jobs), and browsers, which find a page at /. Requests wait in a "
             "queue; those of one size are drawn side by side, and each picture has the bits that `imago generate` gives "
             "it. A request whose connection is dropped is cancelled. Only this machine is listened to, unless --listen "
             "says otherwise. Ctrl-C or a kill stops it in order: pictures under way are finished. docs/server.md tells "
             "more.",
    .examples = "  imago serve\n"
                "  imago serve -m FOLDER --listen 127.0.0.1:7861 --keep pictures\n"
                "  imago serve -m FOLDER --listen 0.0.0.0:7860 --token-file token.txt\n"
                "  curl -s localhost:7860/v1/images/generations -d '{\"prompt\":\"strawberry\",\"steps\":20}'\n",
};
