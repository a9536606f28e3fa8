/* measure.h: what the verbs that measure share: progress, and JSON that says by which constants a number came about. */
#ifndef IM_CLI_MEASURE_H
#define IM_CLI_MEASURE_H

#include <jansson.h>

#include "cli/options.h"
#include "imago.h"

/* The last options of each, over its AT: fields a.measure, json and quiet. */
#define MEASURE_OPTIONS \
    OPTION_INT('b', "batch", "B", AT(a.measure.batch), NULL, 1, 65536, "pictures at once; no result depends on it"), \
    OPTION_INT(0, "size", "PIXELS", AT(a.measure.size), NULL, 0, 4096, "side of the crop; 0: as in training, or 224"), \
    OPTION_FLAG(0, "strict", AT(a.measure.strict), "a broken picture is an error"), \
    OPTION_FLAG(0, "json", AT(json), "print one JSON object"), \
    OPTION_FLAG('q', "quiet", AT(quiet), "show no progress")

void measure_progress(void *arg, int64_t done, int64_t total);
/* {"size", "resize", "filter", "mean", "std"}: how a picture is cut before the network sees it. whole: as in transfer. */
json_t *measure_seen(int size, bool whole);
json_t *measure_clip(int size, const char *form);               /* the same of CLIP, and what was asked                 */
char *measure_command(const arguments *a);                     /* as it was typed, malloc'd; NULL: no memory          */
void measure_word(FILE *f, const char *word);                   /* as a shell takes it                                  */
json_t *measure_number(double x);                              /* null for NaN                                         */
/* To standard output, with "verb" and "command" (as it was typed); root is released. */
void measure_print(json_t *root, const arguments *a);

#endif
