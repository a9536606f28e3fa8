/* scheduler_file.h: schedulers out of scheduler_config.json. Used by pipelines/sd.c and train/train_diffusion.c. */
#ifndef IM_SCHEDULER_FILE_H
#define IM_SCHEDULER_FILE_H

#include "models/schedulers/scheduler.h"

/* name: "pndm", "ddim" ... or a diffusers class name; NULL: the class that the file names. path: a
 * scheduler_config.json, of whichever class; NULL: the values of Stable Diffusion v1.4. Fields that the file does not
 * have take the default of the class being built. */
im_scheduler *im_scheduler_new(im_ctx *c, const char *name, const char *path);
/* Whose rules a model's scheduler follows: pipelines of diffusers mend the files of some that they open, with a warning.
 * steps_offset becomes 1 and clip_sample false; with a mask steps_offset 1 and skip_prk_steps true; or all stays. */
typedef enum { IM_MEND_PICTURES, IM_MEND_MASKS, IM_MEND_NOTHING } im_scheduler_mends;
/* The same of a model. text: the file's content where it is not a file of its own, path then being what errors call it;
 * NULL: read path. class_name: of model_index.json, to which the file's own gives way; NULL: there is none. */
im_scheduler *im_scheduler_new_for_pipeline(im_ctx *c, const char *name, const char *path, const char *text,
                                            const char *class_name, im_scheduler_mends mends);

#endif
