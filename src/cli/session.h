/* session.h: what every verb does around its work: a context with warnings on stderr and Ctrl-C wired to im_cancel, and
 * one place that prints the error and picks the exit code. */
#ifndef IM_CLI_SESSION_H
#define IM_CLI_SESSION_H

#include <jansson.h>

#include "cli/options.h"
#include "imago.h"

/* NULL (a line was printed) when there is no such device. */
im_ctx *session_open(const common_options *o);
im_ctx *session_open_files(void);                              /* for verbs that compute nothing: the ref device       */
/* Prints the context's error, if any, frees it and returns the exit code. */
int session_close(im_ctx *c);
/* The same for a verb with --progress json (events.h): its last event is "error", or "done" with these fields, which are
 * taken over and may be NULL. */
int session_end(im_ctx *c, const common_options *o, json_t *fields);
/* From now on a signal is only noted, for a loop that asks session_interrupted and ends in order; a second one kills. */
void session_signals_wait(void);
/* SIGUSR1 and SIGUSR2, by which schedulers tell that time is up, stop as Ctrl-C does. */
void session_signals_more(void);
bool session_interrupted(void);                                /* Ctrl-C or a polite kill arrived                      */

/* session_dtype: IM_AS_MODEL where none is given */
im_dtype session_dtype(const common_options *o), session_activations(const common_options *o);
/* vae: --vae, with which a model may lack its own VAE, or NULL. NULL: the context has the error. */
im_sd *session_model(im_ctx *c, const char *model, const char *vae, const common_options *o);
const char *commit_name(void);                                 /* version.c: the git commit of this build              */
/* "1.61 GB", "45.1 MB", "812 B": decimal units */
const char *bytes_text(double bytes, char out[32]);
const char *duration_text(double s, char out[32]);             /* progress.c: "52 s", "3 min 20 s", "1.2 h"             */

/* A text as JSON, with U+FFFD for bytes that are not UTF-8; null for NULL. */
json_t *clean_json(im_ctx *c, const char *text);

/* Between the parts of an ending that are all to be tried: takes the error away, malloc'd, NULL where there is none; and
 * gives it back, before any that came since. error_put_back returns im_ok. */
char *error_put_aside(im_ctx *c);
bool error_put_back(im_ctx *c, char *error);

#endif
