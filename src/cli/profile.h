/* profile.h: adds up the time of every operation, by op and by layer (--profile). */
#ifndef IM_CLI_PROFILE_H
#define IM_CLI_PROFILE_H

#include <jansson.h>
#include <stdio.h>

#include "imago.h"

typedef struct profile profile;
profile *profile_start(im_ctx *c);                             /* from now on every op is counted                      */
void profile_stop(im_ctx *c, profile *p);
/* peak_gflops, peak_gbs: of this machine with these threads, 0 when unknown */
void profile_print(const profile *p, FILE *f, double peak_gflops, double peak_gbs);
/* The better of arithmetic and traffic, in % of the peaks; a peak of 0 is not known. */
double profile_percent(double seconds, double flop, double bytes, double peak_gflops, double peak_gbs);
json_t *profile_json(const profile *p, double peak_gflops, double peak_gbs);
void profile_free(profile *p);

#endif
