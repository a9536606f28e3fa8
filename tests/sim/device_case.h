/* device_case.h: one case of an op (cases.h) on any device, its memory its own: inputs are made on the host, uploaded, and
 * everything that comes out is downloaded: the output, gradients, and the inputs as they are afterwards. */
#ifndef SIM_DEVICE_CASE_H
#define SIM_DEVICE_CASE_H

#include "cases.h"

/* What activations are held in (input i in acts[i % 3]), and the weight. */
typedef struct { const char *name; im_dtype acts[3], weight; } device_form;

enum { DEVICE_PARTS = 1 + 2 * IM_MAX_IN };                     /* the output, gradients of inputs, inputs afterwards   */
typedef struct { float *v[DEVICE_PARTS]; int64_t n[DEVICE_PARTS]; im_dtype t[DEVICE_PARTS]; } device_results;

/* On c, `times` times over, so that the second gradients add to the first; host: a context of cpu or ref, which makes the
 * numbers. planned: as a plan, run twice, without gradients. Nothing, with an error in c, where it failed. */
typedef struct { im_ctx *c, *host; const device_form *form; int times; bool planned; } device_way;
device_results device_run(const device_way *way, const im_case_table *t, const im_case *cs);
void device_free(device_results *r);

/* The same bits (a NaN is a NaN); else `text` says where not. */
bool device_same(const device_results *got, const device_results *want, char *text, size_t size);
void device_case_name(const im_case_table *t, const im_case *cs, const device_form *f, char *out, size_t size);

#endif
