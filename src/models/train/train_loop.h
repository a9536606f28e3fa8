/* train_loop.h: the loop that every training shares. A task brings its networks and one function, forward and backward
 * of a part of a step; the loop owns the optimiser, the schedule, clipping, the log, checkpoints, resuming, and the search
 * for what is not finite.
 *
 *     im_run_folder run;
 *     if (im_run_open(c, &run, a->out)) {
 *         im_loop_task t = { .arg = my, .parts = parts, .n_parts = 1, .part = my_part, .parts_an_epoch = batches };
 *         im_train_loop(c, &run, &a->common, config_text, &t, hooks);
 *     }
 *     im_run_close(&run); */
#ifndef IM_TRAIN_LOOP_H
#define IM_TRAIN_LOOP_H

#include "data/files/fields.h"
#include "models/train/optimiser.h"
#include "models/train/run_folder.h"

enum { IM_WARMUP_SHARE = 10 };                                 /* of the steps, where --warmup is not given           */

/* What one part tells: im_ledger_loss, and im_ledger_right where there are classes, put values that stay on the device
 * where the loop reads them a step later; the rest is known on the host. */
typedef struct im_loop_result {
    im_ledger *ledger; int part;                               /* given; NULL: nobody asks for values                 */
    int64_t pictures;                                          /* seen: for the speed                                 */
    int64_t judged;                                            /* rows of im_ledger_right; 0: there are no classes    */
} im_loop_result;

/* The end of a part of n pictures, which began with im_tape_begin: the loss is told, and goes backward; NULL: it failed. */
void im_loop_loss(im_ctx *c, im_loop_result *r, int64_t n, im_tensor *loss);

typedef struct im_loop_task {
    void *arg;
    struct im_ranks *ranks;                                    /* this process and the others (ranks.h)               */
    const im_part_params *parts; int n_parts;                  /* networks, loaded for training                       */
    int64_t parts_an_epoch;                                    /* batches                                             */
    const im_field *const *fields;                             /* options of the run, in tables up to NULL            */
    int norms_a_part;                                          /* how often a part runs every batch norm              */
    bool together;                                             /* batch norms are over all parts (step_parts.h)       */
    bool averaged;                                             /* score and saved find the averages in the networks   */
    bool exported;                                             /* RUN/model.safetensors at the end: the first part    */
    /* Called when it is known where to begin: the next part is number `first` of the run; and again to go back to a part,
     * to see what was not finite. May be NULL. */
    bool (*begin)(void *arg, int64_t first);
    /* Forward and backward of part number `number` (accumulate of them are a step): where there are several ranks, of some
     * ascending ones. Gradients are added to what is there. A function of number and weights. */
    bool (*part)(void *arg, int64_t number, im_loop_result *r);
    /* At the end of an epoch: higher is better, and the best checkpoint is kept. NULL: minus the mean loss is taken.
     * score_name: its key in the log, "val_top1". */
    double (*score)(void *arg);
    const char *score_name;
    /* After every checkpoint and at the end; last: the run is over; o: its averages. May be NULL. */
    bool (*saved)(void *arg, const im_run_folder *run, const im_optimiser *o, bool last);
} im_loop_task;

/* Values that a->lr and a->decay stand for where they are left open (0, < 0): written into *a, so that config.json has
 * them. lr: what the task likes best. */
bool im_loop_settle(im_ctx *c, im_train_common *a, double lr);
im_optimiser_args im_loop_optimiser(im_ctx *c, const im_train_common *a);
int64_t im_loop_steps(const im_train_common *a, int64_t parts_an_epoch);            /* of the whole run               */

/* Trains. config: text of config.json, written when the run is new or gets another number of steps. False with an error
 * when it ended before its last step, by a signal too; what was last saved is in the message. */
bool im_train_loop(im_ctx *c, im_run_folder *run, const im_train_common *a, const char *config, const im_loop_task *t,
                   const im_train_hooks *hooks);

#endif
