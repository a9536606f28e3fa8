/* events.c: see events.h. A line is written in one piece, so that lines of two programs on one terminal stay whole. */
#include "cli/events.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/session.h"

bool events_wanted(const common_options *o)
{
    return o && o->progress && !strcmp(o->progress, "json");
}

void event_print(const char *name, json_t *fields)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    json_t *e = json_pack("{s:s}", "event", name);
    if (e && fields)
        json_object_update(e, fields);
    if (e)                                                     /* to the millisecond                                   */
        json_object_set_new(e, "time", json_real((double)t.tv_sec + (double)(t.tv_nsec / 1000000) / 1000));
    char *line = e ? json_dumps(e, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    if (line)
        fprintf(stderr, "%s\n", line);
    fflush(stderr);
    free(line);
    json_decref(e);
    json_decref(fields);
}

void event_text(im_ctx *c, const char *name, const char *text)
{
    event_print(name, json_pack("{s:o}", "text", clean_json(c, text)));
}

void event_error(im_ctx *c, const char *text, int code)
{
    event_print("error", json_pack("{s:o, s:i}", "text", clean_json(c, text), "code", code));
}

json_t *event_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}
