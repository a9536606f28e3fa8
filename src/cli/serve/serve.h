/* serve.h: `imago serve`: one process that holds a model and draws what is asked of it over HTTP.
 *
 *     clients -> http.c (4 threads of libmicrohttpd) -> guard.c -> routes.c -> sdapi*.c, openai*.c, jobs*.c
 *                                                                                   |   body.c, lax.c, ask.c: JSON, a wish
 *                                                                                 queue.c: jobs, in the order they came
 *                                                                                   |
 *                              worker.c: one thread that owns the context and the model, and steps all runs of a size
 *
 * The main thread (cmd_serve.c) looks around ten times a second: connections that are gone, clients that dawdle, signals.
 * `lock` guards all that is not said to belong to one thread; no network runs while it is held. */
#ifndef IM_CLI_SERVE_H
#define IM_CLI_SERVE_H

#include <jansson.h>
#include <pthread.h>

#include "cli/asked.h"
#include "cli/options.h"
#include "cli/reading.h"
#include "imago.h"

typedef struct serve_options {
    common_options common;                                     /* must be first                                        */
    const char *model, *listen, *keep, *token_file, *user, *wildcards, *vae;
    reading reading;                                           /* without --lora and --clip-skip: requests say those   */
    option_list hosts;
    int queue, batch, max_steps, grace;
    uint64_t max_pixels, max_body;
    bool no_mark, cache_weights, quiet, tile;
} serve_options;

/* ---------------------------------------------------------------- what is asked for */

enum { MOST_PICTURES = 100 };

typedef struct wish {                                          /* all of it owned                                      */
    char *prompt, *negative;                                   /* as they were asked for                               */
    char **prompts, **negatives;                               /* (count) with lines in the place of wildcards; NULL:  */
                                                               /* there are none (wildcards.c)                         */
    im_prompt_syntax syntax;
    int clip_skip;
    int steps, width, height;                                  /* pixels, as they are drawn                            */
    int count;                                                 /* pictures, of seeds seed, seed + 1 ...                */
    uint64_t seed;
    float guidance, strength, token_merging, eta;
    const char *scheduler;                                     /* of the library's table                               */
    im_image *init;                                            /* NULL: none                                           */
    im_image *mask;                                            /* white where init is drawn anew; NULL: none           */
    float mask_blur;                                           /* pixels                                               */
    im_mask_fill mask_fill;
    bool mask_only; int mask_padding;                          /* as im_sd_args has them                               */
    int picture_width, picture_height;                         /* of what comes out: with mask_only those of init      */
    char init_sha256[65], mask_sha256[65];                     /* "": there is none                                    */
    int quality;                                               /* of a JPEG; 0: PNG                                    */
    bool tile;                                                 /* of all requests: --tile                              */
} wish;
void wish_free(wish *w);

/* ---------------------------------------------------------------- jobs (queue.c) */

typedef enum { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED } job_state;
typedef enum { DRAWING_WAITS, DRAWING_RUNS, DRAWING_DONE, DRAWING_FAILED, DRAWING_CANCELLED } drawing_state;

typedef struct drawing {                                       /* one picture of a job                                 */
    drawing_state state;
    uint64_t seed;
    int step;                                                  /* evaluations that are done                            */
    uint8_t *file; size_t bytes;                               /* PNG or JPEG, with its texts                          */
    char *json, *parameters;                                   /* those texts                                          */
    char *error;
    double seconds;                                            /* from its first step to its file                      */
} drawing;

typedef struct job job;
struct job {
    job *next;
    uint64_t id;
    int refs;                                                  /* visits that look at it                               */
    bool lasting;                                              /* of /v1/jobs: stays when it has ended                 */
    bool webui;                                                /* of /sdapi/v1: interrupt and skip are about it        */
    const char *kind;                                          /* "txt2img", "img2img"                                 */
    char *task;                                                /* as the client calls it; NULL                         */
    wish w;
    job_state state;
    bool cancel, skip;
    int begun, ended;                                          /* pictures                                             */
    int evaluations;                                           /* of the UNet, a picture                               */
    drawing *v;                                                /* (w.count)                                            */
    uint8_t *preview; size_t preview_bytes;                    /* a PNG                                                */
    int preview_step;                                          /* step of the drawing that it shows, from 1            */
    int watchers;                                              /* streams that want previews                           */
    double preview_until;                                      /* im_seconds: somebody asked not long ago              */
    double created, started, finished;                         /* seconds since 1970                                   */
    char *error;                                               /* of JOB_FAILED                                        */
    int status;                                                /* as HTTP has them: of JOB_FAILED; 503: it was         */
                                                               /* cancelled because the server stops; 0                */
};

/* ---------------------------------------------------------------- the server */

typedef struct visit visit;
typedef struct guest guest;

typedef struct seat {                                          /* the worker's                                         */
    job *j;
    int index;                                                 /* of its drawings                                      */
    im_sd_run *run;
    double began;
} seat;

typedef struct server {
    const serve_options *o;
    /* The worker's. */
    im_ctx *c;
    im_sd *sd;
    seat *seats;                                               /* (o->batch)                                           */
    int seated, room;
    /* Of the model: set before anything is served. */
    char model_name[MODEL_NAME_BYTES], title[MODEL_NAME_BYTES + 16];
    char hash[65];                                             /* SHA-256 of a single file, else imago's own           */
    int own_width, own_height, text_width;                     /* text_width: of its embeddings                        */
    const char *own_scheduler;                                 /* NULL: the model names none                           */
    char **loras; int n_loras;                                 /* names that prompts may have                          */
    double created;                                            /* seconds since 1970                                   */
    /* The model again without weights, to check wishes: */
    pthread_mutex_t look_lock;
    im_ctx *look_c;
    im_sd *look;
    /* Under lock. */
    pthread_mutex_t lock;
    pthread_cond_t more;                                       /* for the worker: something to do                      */
    job *first, *last;                                         /* in the order they came                               */
    uint64_t issued;
    int waiting;                                               /* jobs in the queue                                    */
    bool stopping, end;
    visit *visits;
    guest *guests;
    size_t body_bytes;                                         /* of all requests that are being read                  */
    /* Of the door. */
    struct MHD_Daemon *daemon;
    char listen_host[256];
    int port;
    bool loopback;
    bool has_token, has_user;                                  /* a request has to show one of them                    */
    uint8_t token[32], user[32];                               /* SHA-256                                              */
    pthread_t worker;
} server;

/* queue.c. With the lock held. */
/* NULL: out of memory. w is taken over. */
job *job_new(server *s, wish *w, const char *kind);
/* 0: it waits its turn; else an HTTP status: 429, the queue is full; 503, the server stops. The job lives on. */
int queue_add(server *s, job *j);
int queue_position(const server *s, const job *j);             /* 1: the next one; 0: it does not wait                 */
job *queue_find(const server *s, uint64_t id);
void queue_cancel(server *s, job *j);
void job_release(server *s, job *j);                           /* a visit looks away                                   */
void queue_trim(server *s, bool all);                          /* forgets ended jobs that nobody asked for             */
bool job_ended(const job *j);
bool job_previewed(const job *j);
/* Evaluations that are done, of so many. */
void job_progress(const job *j, int *done, int *total);
void job_end_picture(server *s, job *j, int index, drawing_state state);            /* the last one ends the job       */
const char *job_state_name(const job *j);
const char *job_why(const job *j);                             /* of one that failed or was cancelled                  */

/* worker.c */
bool worker_start(server *s);
/* Checks and completes what a wish leaves open: size, scheduler. False: why (size) says what is wrong with it. */
bool wish_check(server *s, wish *w, int *evaluations, char *why, size_t size);
/* wildcards.c: fills prompts and negatives, where a text has wildcards and there is a folder of them. With look_lock held;
 * false: look_c has an error. */
bool wish_fill(server *s, wish *w);
/* The texts that picture i is drawn by. */
const char *wish_prompt(const wish *w, int i);
const char *wish_negative(const wish *w, int i);
int prompt_tokens(server *s, const char *prompt);              /* without beginning, end and padding                   */
/* The model as the options say: adapters, words, activations. False: its context has an error. */
bool model_prepare(server *s, im_sd *sd);
/* The library's request of what is left of a wish: picture i of it is drawn by these. */
im_sd_args wish_args(const wish *w, int i);
bool loras_list(server *s);                                    /* false: the context has an error                      */

double clock_now(void);                                        /* seconds since 1970                                   */

#endif
