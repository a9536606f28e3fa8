/* scheduler.h: turns noise into a latent by asking a network for its noise at falling times. Samples, and what a scheduler
 * remembers of them, stay on the device.
 *
 *     im_scheduler *s = im_scheduler_new(c, "pndm", "MODEL/scheduler/scheduler_config.json");
 *     im_scheduler_plan(s, 50, n);                            // x: n normal values times im_scheduler_start(s)
 *     for (int i = 0; i < im_scheduler_evaluations(s); i++) {
 *         im_scheduler_scale(s, x, input);
 *         ... e = network(input, im_scheduler_time(s, i)) ...
 *         im_scheduler_step(s, e, x, noise);                  // x moves on
 *     }
 *
 * The arithmetic is diffusers' class of the same name in f32, operation by operation. All of it is elementwise, so one
 * scheduler may walk several pictures laid one after the other; noise alone is drawn picture by picture (im_noise).
 * Used by sd.c and its parts. */
#ifndef IM_SCHEDULER_H
#define IM_SCHEDULER_H

#include "imago_engine.h"

typedef struct im_scheduler im_scheduler;

/* Uploads normal noise to all n values, each picture's part from the picture's own generator. False: c has failed. */
typedef struct im_noise { bool (*fill)(void *arg, im_tensor *out); void *arg; } im_noise;

/* Made from a file by checkpoints/scheduler_file.c: im_scheduler_new. */
void im_scheduler_free(im_scheduler *s);

const char *im_scheduler_name(const im_scheduler *s);          /* "pndm"                                              */
/* The short name of what neighbours call "Euler a", "k_euler_a", "DPM++ 2M Karras" or "EulerDiscreteScheduler"; our own
 * names, too. NULL: there is none. */
const char *im_scheduler_named(const char *name);
const char *im_scheduler_known(void);                          /* "pndm, ddim, euler, ...": for errors and help       */

/* Lays out `steps` steps for samples of n values (0: only to count or to look at times). */
bool im_scheduler_plan(im_scheduler *s, int steps, size_t n);
/* Image to image: leaves out the first steps; strength in [0, 1], 0: all of them. After im_scheduler_plan. */
bool im_scheduler_begin(im_scheduler *s, float strength);
/* The share of noise that ddim and tcd put back in a step, in [0, 1]; 0 at first. False: c has failed, also where the kind
 * of s has no eta and it is not 0. */
bool im_scheduler_set_eta(im_scheduler *s, float eta);
bool im_scheduler_takes_eta(const char *name);                 /* of whichever name; false: it has none               */

int im_scheduler_evaluations(const im_scheduler *s);           /* of the network, from where the run begins           */
int im_scheduler_first(const im_scheduler *s);                 /* evaluations left out by im_scheduler_begin          */
float im_scheduler_time(const im_scheduler *s, int i);         /* of evaluation i, counted from where the run begins  */
float im_scheduler_start(const im_scheduler *s);               /* standard deviation of the first sample              */

/* All f32, contiguous, n values; nothing is read back. False: c has failed. */
bool im_scheduler_scale(const im_scheduler *s, const im_tensor *x, im_tensor *input);          /* what the network sees */
bool im_scheduler_step(im_scheduler *s, const im_tensor *model_output, im_tensor *x, im_noise noise);
/* x + noise at the level of the first evaluation; x and out may be the same. */
bool im_scheduler_add_noise(const im_scheduler *s, const im_tensor *x, const im_tensor *noise, im_tensor *out);
/* The same at the level of the evaluation at hand, not after the last step. */
bool im_scheduler_add_noise_now(const im_scheduler *s, const im_tensor *x, const im_tensor *noise, im_tensor *out);

/* Before the step: what the finished sample would be if this evaluation were right. */
bool im_scheduler_guess(const im_scheduler *s, const im_tensor *model_output, const im_tensor *x, im_tensor *x0);
/* Back to before evaluation i, to ask for its time and scale again. Its step cannot be taken again: history moved on. */
void im_scheduler_rewind(im_scheduler *s, int i);
/* Class and the settings of its solver, as scheduler_config.json names them: for errors. */
void im_scheduler_settings(const im_scheduler *s, char *out, size_t size);

bool im_scheduler_predicts_noise(const im_scheduler *s);                            /* prediction_type is epsilon     */

/* For tests and reports. */
const float *im_scheduler_alphas(const im_scheduler *s, int *n);                    /* cumulative products            */
const float *im_scheduler_sigmas(const im_scheduler *s, int *n);                    /* NULL where the class has none  */

#endif
