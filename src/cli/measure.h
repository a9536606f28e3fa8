/* measure.h: what the verbs that measure share: progress, and JSON that says by which constants a number came about. */
#ifndef IM_CLI_MEASURE_H
#define IM_CLI_MEASURE_H

#include <jansson.h>

#include "cli/options.h"
#include "imago.h"

void measure_progress(void *arg, int64_t done, int64_t total);
/* {"size", "resize", "filter", "mean", "std"}: how a picture is cut before the network sees it. whole: as in transfer. */
json_t *measure_seen(int size, bool whole);
json_t *measure_clip(int size, const char *form);               /* the same of CLIP, and what was asked                 */
char *measure_command(const arguments *a);                     /* as it was typed, malloc'd; NULL: no memory          */
json_t *measure_number(double x);                              /* null for NaN                                         */
/* To standard output, with "verb" and "command" (as it was typed); root is released. */
void measure_print(json_t *root, const arguments *a);

#endif
