/* sd_run.h: a picture on its way, as the files sd_run.c, sd_begin.c, sd_step.c, sd_image.c and sd_finite.c share it. */
#ifndef IM_SD_RUN_H
#define IM_SD_RUN_H

#include "data/images/redraw.h"
#include "models/pipelines/sd.h"

struct im_sd_run {
    im_sd *sd;
    im_ctx *c;
    uint64_t id;                                               /* of this model's runs, from 1; never used again      */
    im_sd_args a;                                              /* what was asked for; its texts are these copies:     */
    char *prompt, *negative, *scheduler_name, *name;
    im_image *init;                                            /* a copy, or NULL                                     */
    im_image *mask;                                            /* grey, at the size that is drawn; NULL (sd_mask.c)   */
    im_image *whole, *whole_mask; im_box box;                  /* of which init and mask are a part; NULL: of nothing */
    float *kept;                                               /* (h, w, 4): latents of init, with a mask             */
    im_tensor *mask_noise;                                     /* (1, h, w, 4): the noise that a masked run began with */
    im_tensor *mask_inputs;                                    /* (1, h, w, 5): of a UNet with 9 inputs               */
    bool guided;
    int rows;                                                  /* samples of an evaluation: 2, negative first, or 1   */
    im_sd_size size;
    int channels;                                              /* of a latent, 4                                      */
    int64_t pixels;                                            /* of a latent, h * w                                  */
    size_t each;                                               /* values of a latent                                  */
    im_scheduler *scheduler;
    im_rng *rng;
    int chunks;                                                /* of T tokens, that each of its texts has             */
    float *text;                                               /* (rows, chunks * T, C), from im_run_begin on         */
    float *given;                                              /* (4, h, w): latents handed in: no noise is drawn     */
    /* On the device, where all of a step happens, in the UNet's order of axes: */
    im_tensor *x;                                              /* (1, h, w, 4): the latents                           */
    im_tensor *e;                                              /* (1, h, w, 4): guided noise                          */
    im_tensor *guess;                                          /* (1, h, w, 4): the latents that the last evaluation  */
                                                               /* takes for the finished ones                         */
    im_tensor *good;                                           /* (1, h, w, 4): before the first step that went wrong */
    im_tensor *deep;                                           /* (rows, h, w, C): with a deep cache, what the last    */
                                                               /* whole evaluation kept (unet.h); else NULL           */
    im_tensor *mark;                                           /* i32 (1): 0, or which step that was (sd_finite.c)    */
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

bool im_run_encode_again(im_sd_run *r);                        /* its init picture                                    */
bool im_run_noise(void *run, im_tensor *to);                   /* the next values of its generator, (h, w, 4)         */
bool im_run_upload(const im_sd_run *r, const float *from, im_tensor *to); /* (4, h, w), turned to (h, w, 4)            */

/* sd_mask.c: the mask of a run, checked and copied; what it keeps; init pixels (H, W, 3) that are drawn anew become grey.
 * im_mask_keep: the latents of init, r->x, then (noise not NULL) the noise. im_mask_begin: latents under the mask become
 * noise, or 0, where that is asked for. im_mask_step: what is not drawn anew, put back after a step. im_mask_inputs: from
 * the latents of the picture with the mask's part hidden. im_mask_back: the picture that was drawn, which is freed, put
 * back into the one of which it is a part. */
bool im_mask_take(im_sd_run *r, const im_sd_args *a);
bool im_mask_open(im_sd_run *r);
void im_mask_hide(const im_sd_run *r, float *values);
bool im_mask_begin(im_sd_run *r, const im_tensor *noise);
im_image *im_mask_back(const im_sd_run *r, im_image *drawn);
bool im_mask_keep(im_sd_run *r, const im_tensor *noise);
bool im_mask_step(im_sd_run *r);
bool im_mask_inputs(im_sd_run *r, const im_tensor *hidden);

/* sd_step.c: one evaluation of n runs of one size, side by side, in a scope of the caller; what scheduler.h calls the
 * model's output is left in every r->e. noise: the network's own output, (sum of rows, h, w, 4). Looks at nothing. */
bool im_run_evaluate(im_sd *sd, im_sd_run *const r[], int n, im_tensor **noise);

/* sd_finite.c: ends a run, not the context: `what` gave values that are not finite. again() (or NULL) does it once more,
 * alone, with every value looked at, and net names the network in what is found ("unet"). advice: NULL: the usual one.
 * Returns false. */
bool im_run_not_finite(im_sd_run *r, const char *what, const char *net, bool (*again)(im_sd_run *r), const char *advice);
bool im_run_fail(im_sd_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool im_run_finite(const im_sd_run *r, const float *x, size_t n);         /* values that are on the host            */

/* What goes wrong in a step is marked on the device and found out later, so that steps follow one another without a word
 * from it: after the first evaluation, where a damaged model shows, and after the last one. */
typedef enum { IM_BAD_ENCODER, IM_BAD_START, IM_BAD_NET, IM_BAD_GUIDANCE, IM_BAD_SCHEDULER, IM_BAD_KINDS } im_bad;
bool im_run_watch(im_sd_run *r, const im_tensor *x, im_bad what);         /* in the step after r->done of them         */
bool im_run_look(im_sd_run *r);                                /* reads the mark; false: the run has failed           */

#endif
