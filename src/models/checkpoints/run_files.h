/* run_files.h: what the folder of a training run holds for those who only read it: is there a run, which checkpoints, is
 * one whole. train/run_folder.c and train/train_state.c write these files; classifier_file.c reads them. */
#ifndef IM_RUN_FILES_H
#define IM_RUN_FILES_H

#include "imago.h"

#define IM_RUN_CHECKPOINTS "checkpoints"                       /* RUN/checkpoints/step-00000100.safetensors           */

bool im_run_begun(im_ctx *c, const char *path);                /* is a config.json there?                             */

/* Steps of the checkpoints that are there, newest first: malloc'd, n of them. NULL with an error, or when
 * there is none. */
int64_t *im_run_checkpoints(im_ctx *c, const char *run, int *n);
/* malloc'd path; step < 0: of the best one */
char *im_run_checkpoint(im_ctx *c, const char *run, int64_t step);

/* Keys of a checkpoint's metadata that its hash covers. */
enum { IM_CHECKPOINT_KEYS = 4 };
extern const char *const im_checkpoint_keys[IM_CHECKPOINT_KEYS];
/* Is this file whole? (its hash) */
bool im_checkpoint_good(im_ctx *c, const im_safetensors *file);

#endif
