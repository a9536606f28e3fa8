/* train_state.h: checkpoints: everything that changes while a network is trained, in one safetensors file.
 *
 * Tensors: the state dict under its own names (torchvision reads it), the optimiser's state and averages
 * (optimiser.h). Metadata: "format" (pt), "imago", "config" (the run's config.json), "state" (counters, as JSON), "sha256"
 * (state_dict.h). Order, augmentation and noise of every step are functions of (seed, step), so that the step is the whole
 * position in the data and the whole state of the random numbers. */
#ifndef IM_TRAIN_STATE_H
#define IM_TRAIN_STATE_H

#include "data/files/fields.h"
#include "models/train/optimiser.h"
#include "models/train/run_folder.h"

typedef struct im_train_state {
    im_ctx *c;
    im_run_folder *run;
    const im_part_params *parts; int n_parts;
    im_optimiser *optimiser;
    const char *config;                                        /* text of config.json                                 */
    const im_field *const *fields;                             /* what of it decides (train_config.h)                 */
    int keep;                                                  /* newest checkpoints that stay; the best one stays too */
    /* what a checkpoint saves beside tensors */
    int64_t step;                                              /* taken                                               */
    int64_t tracked;                                           /* batches that the batch norms have seen              */
    double best;                                               /* the best score so far; NAN: none yet                */
    double loss_sum; int64_t losses;                           /* since a score was last made of them                 */
    /* what happened */
    int64_t last_good;                                         /* step of the newest checkpoint known to be good; -1  */
} im_train_state;

/* Does the disk take one checkpoint? False with an error; asked before any work. */
bool im_train_state_room(im_train_state *s);

/* Writes checkpoints/step-N and removes those past `keep`. score: higher is better, and the best so far stays as
 * best.safetensors; NAN: none. When the disk is full, and only then, the oldest one but one is given up for the new one;
 * where that does not help, it is a warning, false is returned, the last good one stays, and c has not failed. */
bool im_train_state_save(im_train_state *s, double score);

/* Loads the newest good checkpoint, or else the best one; damaged ones are skipped with a warning. *found false: there is
 * none. It is an error where all are damaged, or where the one was trained with another configuration. */
bool im_train_state_resume(im_train_state *s, bool *found);

/* Weights alone, averaged ones where there are, with the run's config: what evaluation and other programs read. */
bool im_train_state_export(const im_train_state *s, const char *path, int part);

#endif
