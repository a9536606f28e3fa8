/* events.h: --progress json: what happens, a JSON object a line on standard error, for other programs. docs/progress.md
 * lists the events and their fields. Used by session.c and by the verbs with OPT_PROGRESS. */
#ifndef IM_CLI_EVENTS_H
#define IM_CLI_EVENTS_H

#include <jansson.h>

#include "cli/options.h"
#include "imago.h"

bool events_wanted(const common_options *o);                   /* false for NULL                                       */
/* Prints {"event": name, the members of `fields`, "time": seconds since 1970}; frees fields, which may be NULL. */
void event_print(const char *name, json_t *fields);
/* {"event": name, "text": ...}; bytes that are not UTF-8 become U+FFFD. */
void event_text(im_ctx *c, const char *name, const char *text);
void event_error(im_ctx *c, const char *text, int code);       /* the last one; code: the exit code                    */
json_t *event_number(double x);                                /* null where it is not finite                          */

#endif
