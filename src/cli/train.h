/* train.h: what the verbs `imago train ...` share: rows of their option tables, the progress line, the curves, the tape. */
#ifndef IM_CLI_TRAIN_H
#define IM_CLI_TRAIN_H

#include "cli/options.h"
#include "imago.h"

/* Rows for im_train_common as the member `common` of the arguments `a` in the verb's struct `type`. Their defaults, limits
 * and words are the library's (im_train_*_defaults, im_train_*_fields). `lr`: what the rate is where it is not given;
 * `init`: what gives weights to begin with. */
#define TRAIN_AT(type, field) (offsetof(type, a.common) + offsetof(im_train_common, field))
#define TRAIN_OPTIONS(type, lr, init) \
    OPTION_FIELD(0, "data", "DIR|SHARDS", \
                 "pictures to train on: class folders, tar shards, or a folder with metadata.jsonl (imago help data)"), \
    OPTION_TEXT('o', "out", "RUN", TRAIN_AT(type, out), NULL, "folder of the run (required)"), \
    OPTION_FLAG(0, "resume", TRAIN_AT(type, resume), \
                "continue the run in RUN from its last good checkpoint; options that are not given stay as they were"), \
    OPTION_FIELD(0, "init", "WHAT", "initial weights: " init "; without it, random ones"), \
    OPTION_FIELD('e', "epochs", "N", "passes over the pictures"), \
    OPTION_FIELD(0, "steps", "N", "stop after N steps, whatever --epochs says; 0: as --epochs says"), \
    OPTION_FIELD('b', "batch", "B", \
                 "pictures per batch; an incomplete last batch of an epoch is dropped"), \
    OPTION_FIELD(0, "accumulate", "N", \
                 "batches per step, whose gradients are averaged: the batch of a step is N * B, in the memory of B; " \
                 "under mpirun they are shared out, and 1 means one per process (docs/many-machines.md)"), \
    OPTION_FIELD(0, "lr", "RATE", "learning rate after the warm-up; 0: " lr), \
    OPTION_FIELD(0, "warmup", "EPOCHS", \
                 "epochs over which the learning rate rises linearly from 0; -1: a tenth of the run"), \
    OPTION_FIELD(0, "schedule", "NAME", \
                 "learning rate after the warm-up: cosine falls to 1e-6 at the last step, step falls to a tenth every 30 " \
                 "epochs, constant stays"), \
    OPTION_FIELD(0, "optimizer", "NAME", "how gradients change the weights"), \
    OPTION_FIELD(0, "momentum", "M", "momentum of sgd and lars"), \
    OPTION_FIELD(0, "nesterov", NULL, "sgd: Nesterov momentum"), \
    OPTION_FIELD(0, "decay", "D", \
                 "weight decay, applied to tensors of two or more dimensions; -1: 1e-4, or 1e-2 with adamw"), \
    OPTION_FIELD(0, "clip", "NORM", "scale the gradient down to this norm over all tensors; 0: never"), \
    OPTION_FIELD(0, "ema", "D", \
                 "decay of a moving average of the weights, such as 0.9999, which becomes the finished model; 0: no " \
                 "average"), \
    OPTION_FIELD('s', "seed", "SEED", "seed of the initial weights, the order and the augmentation"), \
    OPTION_FIELD(0, "dtype", "TYPE", \
                 "type in which products are computed; weights, sums and statistics are always f32"), \
    OPTION_FIELD(0, "recompute", NULL, \
                 "keep only the input of every block and compute the rest again for the gradients: less memory, more " \
                 "time, the same bits"), \
    OPTION_FIELD(0, "order", "NAME", "order of the pictures in an epoch"), \
    OPTION_FIELD(0, "cache", "WHERE", "keep decoded pictures: in memory (ram) or in RUN/cache (disk)"), \
    OPTION_FIELD(0, "workers", "N", "decoding threads; 0: one per core"), \
    OPTION_FIELD(0, "keep", "N", "number of checkpoints to keep, besides the best one"), \
    OPTION_FIELD(0, "checkpoint-every", "N", "steps between checkpoints; 0: one per epoch"), \
    OPTION_FIELD(0, "strict", NULL, \
                 "stop at a broken picture instead of listing it in RUN/broken.txt, and at a tensor of --init that no " \
                 "network asks for")

/* Sheets of samples (train_samples.c): `file` holds a prompt a line; NULL with an error when it cannot be read. */
typedef struct train_samples train_samples;
/* base: of a LoRA, where the model is told that it is for; NULL: a whole model is trained. */
train_samples *train_samples_open(im_ctx *c, const char *file, float guidance, const common_options *device,
                                  const char *const *base);
/* RUN/samples/step-N.png from RUN/model, or from base with RUN's LoRA; a warning of `training` where it does not work. */
void train_samples_draw(im_ctx *training, const train_samples *s, const char *run, int64_t step);
void train_samples_free(train_samples *s);

typedef struct train_shown {                                   /* what the command line says of it                     */
    const arguments *a;
    const common_options *common;
    const im_train_common *task;
    bool quiet, trace_tape;
} train_shown;

/* One training with its progress line, curves and printed tape. */
typedef struct train_view {
    im_ctx *c;
    bool quiet, terminal, drawn, events;                       /* events: --progress json                              */
    bool leads;                                                /* this is rank 0: it alone prints and draws            */
    double start, last, last_curves;
    struct train_tape *tape;                                   /* --trace-tape                                         */
    const train_samples *samples;                              /* drawn after every checkpoint; or NULL                */
    int64_t step, epoch;                                       /* the last ones                                        */
} train_view;

/* Fills h for v; signals end the run in order from now on. */
void train_view_open(train_view *v, im_ctx *c, const train_shown *s, im_train_hooks *h);
/* The usage error of -q with --progress json; CLI_OK: there is none. */
int train_check_shown(const arguments *a, const train_shown *s);
/* Last curves, end of the progress line. */
void train_view_close(train_view *v, const char *run);
/* session_end; of several ranks the first alone says that it is done. */
int train_end(im_ctx *c, const common_options *o);

/* Options of a resumed run (im_train_resnet_config and its like): a callback and its argument. */
bool train_option_given(void *arguments, const char *name);

bool train_draw_curves(im_ctx *c, const char *run);            /* RUN/curves.svg and .png from RUN/log.jsonl           */

/* train_tape.c */
struct train_tape *train_tape_new(void);
void train_tape_row(struct train_tape *t, const im_tape_row *row);
void train_tape_print(struct train_tape *t, FILE *f);          /* once; frees t                                        */

#endif
