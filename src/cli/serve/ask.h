/* ask.h: the values of a request, read by tables: each way of asking (sdapi.c, openai.c, jobs.c) has names of its own for
 * the same things (ask.c). */
#ifndef IM_CLI_SERVE_ASK_H
#define IM_CLI_SERVE_ASK_H

#include "cli/serve/http.h"
#include "data/images/picture.h"

typedef enum {
    KEY_TEXT,                                                  /* const char *                                         */
    KEY_INT, KEY_REAL, KEY_FLAG,                               /* int, double, bool                                    */
    KEY_SWITCH,                                                /* bool, written as 0 or 1, too                         */
    KEY_SEED,                                                  /* asked_seed                                           */
    KEY_JSON,                                                  /* json_t *, any                                        */
    KEY_IGNORED,                                               /* decides nothing of the picture                       */
    KEY_NEUTRAL                                                /* is not offered: only what leaves it off              */
} key_kind;

typedef struct asked_key {
    const char *name;                                          /* NULL ends a table                                    */
    key_kind kind;
    size_t at;                                                 /* in asked; KEY_NEUTRAL: the kind of its values        */
    double min, max;                                           /* KEY_NEUTRAL: min is what leaves it off, max, too     */
} asked_key;

typedef struct asked_seed { bool given; uint64_t value; } asked_seed;         /* not given, or -1: one is drawn        */

typedef struct asked {                                         /* texts and JSON are borrowed of the body              */
    const char *prompt, *negative, *sampler, *sampler_index, *scheduler, *size, *format, *response_format, *background;
    const char *task, *syntax, *mask_fill;
    int steps, width, height, count, iterations, partials, clip_skip;
    int compression;                                           /* of a JPEG, 0 .. 100; below: not said                 */
    double guidance, strength, mask_blur, token_merging, eta;
    bool loose_eta;                                            /* 1 decides nothing where the scheduler has no eta     */
    double blur_x, blur_y; bool mask_round;                    /* of the web interface alone                           */
    asked_seed seed;
    bool stream, send_images, include_init;
    bool mask_transparent, mask_invert;                        /* the part that is drawn anew is so; mask.c            */
    int mask_only;                                             /* padding of the only part that is drawn; -1: all is   */
    bool full_res; int padding, fill;                          /* the same as the web interface says it                */
    json_t *init, *mask, *overrides, *scripts, *script, *styles, *loras;
} asked;

/* What was wrong, until the first of it is told. */
typedef struct trouble { int status; char param[64], message[800]; } trouble;
bool trouble_is(trouble *t, int status, const char *param, const char *fmt, ...) IM_PRINTF(4, 5);  /* false            */
enum MHD_Result trouble_tell(visit *v, const trouble *t);

/* body.c: the body as a JSON object in v->asked. False: it is none. */
bool ask_body(visit *v, trouble *t);
/* lax.c: the value in the type that the key has; NULL: it stays as it is. */
json_t *lax_value(const asked_key *k, const json_t *value);
/* Fields of a multipart form as such an object; files as base64. */
bool ask_form(visit *v, const asked_key *keys, trouble *t);
bool is_form(const visit *v);
/* strict: a key that is in no table is an error, and so is a value of another type; else lax_value has its way. */
bool ask_read(visit *v, const asked_key *keys, bool strict, asked *out, trouble *t);

/* The scheduler of names as the AUTOMATIC1111 web interface has them, or of our own; NULL: there is none such. */
const char *scheduler_named(const char *sampler, const char *scheduler);
/* Is this JSON text a picture in base64? The picture, or NULL. */
im_image *ask_picture(server *s, const json_t *text, const char *param, trouble *t);

im_decode_args ask_picture_limits(const server *s);
/* Its bytes, malloc'd; NULL: trouble. */
uint8_t *ask_picture_bytes(const json_t *text, const char *param, size_t *n, trouble *t);
/* mask.c: the mask of a request that has one, with its blur. */
bool ask_mask(server *s, const asked *a, wish *w, trouble *t);

/* What was read becomes a wish that the model can draw, and that a job of the queue. NULL: trouble. */
job *ask_job(visit *v, const asked *a, const char *kind, bool init, trouble *t);
/* With the lock held: lets the job into the queue; else it is gone, and trouble says why. */
bool ask_queue(visit *v, job *j, trouble *t);

#endif
