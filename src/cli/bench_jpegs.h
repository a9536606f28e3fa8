/* bench_jpegs.h: a folder of JPEGs to measure a loader with. */
#ifndef IM_CLI_BENCH_JPEGS_H
#define IM_CLI_BENCH_JPEGS_H

#include "bench/measure.h"

/* Makes a folder below the system's temporary one with `count` JPEGs of 256x256 in two classes: smooth colours with grain,
 * quality 90. Its malloc'd path, or NULL with an error. */
char *bench_jpegs_make(im_ctx *c, int count);
void bench_jpegs_remove(char *path, int count);                /* and frees path                                      */

#endif
