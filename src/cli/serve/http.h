/* http.h: a request on its way through the server, and answers to it (http.c, visits.c, answer.c). */
#ifndef IM_CLI_SERVE_HTTP_H
#define IM_CLI_SERVE_HTTP_H

#include <microhttpd.h>

#include "cli/serve/serve.h"

typedef enum { SAYS_DETAIL, SAYS_ERROR } error_form;           /* {"detail": ...}, as FastAPI; {"error": {...}}        */

typedef struct route {
    const char *method, *path;                                 /* "/v1/jobs/{id}/cancel"                               */
    enum MHD_Result (*answer)(visit *v);
    error_form form;
    bool open;                                                 /* without a token: the page asks for it                */
} route;

struct guest {                                                 /* a connection                                         */
    guest *next, *before;
    int fd;
    double since;                                              /* im_seconds: it came, or its last request ended       */
    bool busy;                                                 /* a whole request is here                              */
};

struct visit {                                                 /* a request                                            */
    server *s;
    visit *next, *before;
    struct MHD_Connection *connection;
    guest *guest;
    const route *route;
    error_form form;
    int refused; const char *why;                              /* what it will be told once its body is here           */
    bool closes;                                               /* the connection, with the answer                      */
    char allow[64];                                            /* of a 405                                             */
    char host[256];                                            /* of a target with one before its path; "": Host tells */
    char *path, part[MODEL_NAME_BYTES];                        /* part: what stands for {id}                           */
    char *body; size_t bytes, room;                            /* a zero byte behind it                                */
    bool whole;
    job *j;
    bool waiting;                                              /* suspended, until visits_wake                         */
    enum MHD_Result (*then)(visit *v);                         /* once j has ended                                     */
    bool leaves_job;                                           /* the job goes on when the client is gone              */
    bool brief;                                                /* send_images: false                                   */
    json_t *asked;                                             /* the request                                          */
    /* Of a stream: what is written and not yet sent, and where it is at. next: with the lock held, writes what there is to
     * say; true: that was all. */
    bool stream, over;
    bool (*next_part)(visit *v);
    char *out; size_t out_bytes, out_at, out_room;
    int told_state, told_step, told_position, told_pictures, told_previews, wanted_previews;
};

bool http_start(server *s);                                    /* listens; false: the context has an error             */
void http_stop(server *s);
void http_quiet(server *s);                                    /* no more connections                                  */
/* Ten times a second: cancels what nobody waits for any more, ends connections that dawdle. */
void http_look_around(server *s);

/* visits.c: with the lock held, where nothing else is said. */
void visits_wake(server *s, const job *j);                     /* those that wait for it                               */
/* The answer comes later: `then` is called when the job has ended. */
enum MHD_Result visit_wait(visit *v, job *j, enum MHD_Result (*then)(visit *v));
/* Server-sent events until next_part says that it was all. Without the lock. */
enum MHD_Result visit_stream(visit *v, job *j, bool (*next_part)(visit *v));
void visit_say(visit *v, const char *event, json_t *data);     /* event NULL: none; data is taken over                 */
void visit_note(visit *v, const char *fmt, ...) IM_PRINTF(2, 3);  /* a comment, which keeps a client from giving up    */

/* answer.c: each ends a visit. What is given is taken over. */
enum MHD_Result answer_json(visit *v, int status, json_t *j);
enum MHD_Result answer_bytes(visit *v, int status, const char *type, void *bytes, size_t n);
enum MHD_Result answer_static(visit *v, const char *type, const char *text, size_t n);
enum MHD_Result answer_response(visit *v, int status, struct MHD_Response *r);      /* with our headers                */
/* An error in the form of the route. code and param: of {"error": ...}; may be NULL. */
enum MHD_Result answer_error(visit *v, int status, const char *code, const char *param, const char *fmt, ...)
    IM_PRINTF(5, 6);
json_t *error_json(const char *message, int status, const char *code, const char *param);
json_t *seed_json(uint64_t seed);                              /* in quotes where it has more than 63 bits             */
const char *visit_query(const visit *v, const char *key);      /* ?key=value; NULL                                     */

/* base64.c */
char *base64_of(const uint8_t *bytes, size_t n, size_t *length);                    /* malloc'd, ended by a zero byte  */
json_t *base64_json(const uint8_t *bytes, size_t n);
/* Of a text, or of a data URL. NULL: it is none, or memory is out. */
uint8_t *base64_read(const char *text, size_t length, size_t *bytes);

/* wire.c: the same of how a request is written down (400, 501). */
int wire_refuses(const visit *v, const char *version, const char **why);
/* The path of a target that may begin with http://HOST; host: "" where it does not. */
const char *wire_path(const char *target, char host[256]);

/* guard.c: 0, or the status with which a request is refused before its body is read. */
int guard_refuses(visit *v, const char **why);
bool guard_open(server *s);                                    /* reads --token-file and --user; takes --listen apart  */
const char *guard_challenge(const server *s);                  /* WWW-Authenticate                                     */

/* routes.c: NULL, with 404 or 405 in *status. allow: the methods that there are. */
const route *route_find(const char *method, const char *path, char part[MODEL_NAME_BYTES], int *status,
                        error_form *form, char allow[64]);
bool route_at(int i, const route **r);                         /* all of them                                          */

#endif
