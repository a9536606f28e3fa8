/* sd_run.h: a picture on its way, as the files sd_run.c, sd_begin.c, sd_step.c, sd_image.c and sd_finite.c share it. */
#ifndef IM_SD_RUN_H
#define IM_SD_RUN_H

#include "models/pipelines/sd.h"

struct im_sd_run {
    im_sd *sd;
    im_ctx *c;
    uint64_t id;                                               /* of this model's runs, from 1; never used again      */
    im_sd_args a;                                              /* what was asked for; its texts are these copies:     */
    char *prompt, *negative, *scheduler_name, *name;
    im_image *init;                                            /* a copy, or NULL                                     */
    bool guided;
    int rows;                                                  /* samples of an evaluation: 2, negative first, or 1   */
    im_sd_size size;
    int channels;                                              /* of a latent, 4                                      */
    int64_t pixels;                                            /* of a latent, h * w                                  */
    size_t each;                                               /* values of a latent                                  */
    im_scheduler *scheduler;
    im_rng *rng;
    float *text;                                               /* (rows, T, C), from im_run_begin on                  */
    float *x;                                                  /* (4, h, w): the latents; before: those handed in     */
    float *e;                                                  /* (4, h, w): scaled input, then guided noise          */
    float *guess;                                              /* (4, h, w): the latents that the last evaluation     */
                                                               /* takes for the finished ones                         */
    bool handed_in;                                            /* x was given: no noise is drawn                      */
    bool unchecked;                                            /* a trace: goes on with whatever comes                */
    bool begun;
    int done;
    im_sd_state state;
    volatile int cancelled;                                    /* set from anywhere, obeyed before the next step      */
    char *error;                                               /* why it failed; NULL: it did not                     */
};

/* "set/cat/000007.png", or: the picture of "a cat", seed 7 */
enum { IM_RUN_NAME = 300 };
void im_run_name(const im_sd_args *a, char *out, size_t size);

/* sd_begin.c: texts through the encoder, all of them at once, and the first latents, where that has not been done. */
bool im_run_begin(im_sd *sd, im_sd_run *const r[], int n);

/* sd_step.c: one evaluation of n runs of one size, side by side; what scheduler.h calls the model's output is left in
 * every r->e. noise: malloc'd, the network's own output, (sum of rows, h, w, 4). Looks at nothing. */
bool im_run_evaluate(im_sd *sd, im_sd_run *const r[], int n, float **noise);

/* sd_finite.c: ends a run, not the context: `what` gave values that are not finite. again() (or NULL) does it once more,
 * alone, with every value looked at, and net names the network in what is found ("unet"). advice: NULL: the usual one.
 * Returns false. */
bool im_run_not_finite(im_sd_run *r, const char *what, const char *net, bool (*again)(im_sd_run *r), const char *advice);
bool im_run_fail(im_sd_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool im_run_finite(const im_sd_run *r, const float *x, size_t n);

#endif
