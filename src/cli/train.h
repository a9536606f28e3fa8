/* train.h: what the verbs `imago train ...` share: rows of their option tables, the progress line, the curves, the tape. */
#ifndef IM_CLI_TRAIN_H
#define IM_CLI_TRAIN_H

#include "cli/options.h"
#include "imago.h"

/* Rows for im_train_common as the member `common` of the arguments that lie at `member` of the verb's struct `type`. */
#define TRAIN_AT(type, member, field) (offsetof(type, member) + offsetof(im_train_common, field))
#define TRAIN_OPTIONS(type, member, batch_text, epochs_text, optimiser_text, clip_text, ema_text) \
    OPTION_TEXT(0, "data", "DIR|SHARDS", TRAIN_AT(type, member, data), NULL, \
             "the pictures: class folders, tar shards, or a folder with metadata.jsonl (imago help data)"), \
    OPTION_TEXT('o', "out", "RUN", TRAIN_AT(type, member, out), NULL, "the folder of the run"), \
    OPTION_FLAG(0, "resume", TRAIN_AT(type, member, resume), \
             "go on with the run in RUN from its last good checkpoint; options not given are those of the run"), \
    OPTION_TEXT(0, "init", "WHAT", TRAIN_AT(type, member, init), NULL, \
             "weights to begin with: a safetensors file of a ResNet, the folder of an autoencoder or model; without it " \
             "random ones"), \
    OPTION_INT('e', "epochs", "N", TRAIN_AT(type, member, epochs), epochs_text, 1, 1000000, "times through the set"), \
    OPTION_INT(0, "steps", "N", TRAIN_AT(type, member, steps), "0", 0, 2147483647, \
             "end after N steps, whatever the epochs"), \
    OPTION_INT('b', "batch", "B", TRAIN_AT(type, member, batch), batch_text, 1, 65536, \
             "pictures at once; what does not fill the last batch of an epoch is left out"), \
    OPTION_INT(0, "accumulate", "N", TRAIN_AT(type, member, accumulate), "1", 1, 65536, \
             "add the gradients of N batches up to a step: as a batch of N * B, in the memory of B"), \
    OPTION_REAL(0, "lr", "RATE", TRAIN_AT(type, member, lr), NULL, 1e-12, 1e6, \
             "learning rate after the warm-up; without it the verb's own choice (see above)"), \
    OPTION_REAL(0, "warmup", "EPOCHS", TRAIN_AT(type, member, warmup), "-1", -1, 1e6, \
             "epochs in which the rate rises in a line, step by step; -1: a tenth of the run"), \
    OPTION_CHOICE(0, "schedule", "NAME", TRAIN_AT(type, member, schedule), "cosine", "cosine|step|constant", \
             "after it: cosine to 1e-6, step (a tenth after every 30 epochs), or constant"), \
    OPTION_CHOICE(0, "optimizer", "NAME", TRAIN_AT(type, member, optimizer), optimiser_text, "sgd|adamw|lars", \
             "sgd, adamw or lars"), \
    OPTION_REAL(0, "momentum", "M", TRAIN_AT(type, member, momentum), "0.9", 0, 1, "of sgd and lars"), \
    OPTION_FLAG(0, "nesterov", TRAIN_AT(type, member, nesterov), "sgd: look ahead along the momentum"), \
    OPTION_REAL(0, "decay", "D", TRAIN_AT(type, member, decay), "-1", -1, 1000, \
             "weight decay, of tensors with more than one dimension; -1: 1e-4, adamw 1e-2"), \
    OPTION_REAL(0, "clip", "NORM", TRAIN_AT(type, member, clip), clip_text, 0, 1e9, \
             "scale gradients down to this global norm; 0: leave them"), \
    OPTION_REAL(0, "ema", "D", TRAIN_AT(type, member, ema), ema_text, 0, 1, \
             "keep a moving average of the weights, 0.9999 say, which is what the finished model then holds; 0: none"), \
    OPTION_SEED('s', "seed", "SEED", TRAIN_AT(type, member, seed), "0", \
             "of initial weights, order and augmentation"), \
    OPTION_CHOICE(0, "dtype", "TYPE", TRAIN_AT(type, member, dtype), "f32", "f32|bf16", \
             "bf16: factors of products are rounded to bf16; weights, sums and statistics stay f32"), \
    OPTION_CHOICE(0, "order", "NAME", TRAIN_AT(type, member, order), "shuffled", "shuffled|listed", \
             "of the pictures in an epoch"), \
    OPTION_CHOICE(0, "cache", "WHERE", TRAIN_AT(type, member, cache), "none", "none|ram|disk", \
             "keep decoded pictures in memory, or in RUN/cache"), \
    OPTION_INT(0, "workers", "N", TRAIN_AT(type, member, workers), "0", 0, 256, "decoding threads; 0: one a core"), \
    OPTION_INT(0, "keep", "N", TRAIN_AT(type, member, keep), "3", 1, 1000000, \
             "newest checkpoints that stay, beside the best one"), \
    OPTION_INT(0, "checkpoint-every", "N", TRAIN_AT(type, member, checkpoint_every), "0", 0, 2147483647, \
             "steps between checkpoints; 0: one an epoch"), \
    OPTION_FLAG(0, "strict", TRAIN_AT(type, member, strict), "a broken picture is an error, not a line of broken.txt; "\
                "so is a tensor of --init that no network asks for")

/* Sheets of samples (train_samples.c): `file` holds a prompt a line; NULL with an error when it cannot be read. */
typedef struct train_samples train_samples;
train_samples *train_samples_open(im_ctx *c, const char *file, float guidance, const common_options *device);
/* RUN/samples/step-N.png from RUN/model; a warning of `training` where it does not work. */
void train_samples_draw(im_ctx *training, const train_samples *s, const char *run, int64_t step);
void train_samples_free(train_samples *s);

/* One training with its progress line, curves and printed tape. */
typedef struct train_view {
    im_ctx *c;
    bool quiet, terminal, drawn;
    double start, last, last_curves;
    struct train_tape *tape;                                   /* --trace-tape                                         */
    const train_samples *samples;                              /* drawn after every checkpoint; or NULL                */
    int64_t step;                                              /* the last one                                         */
} train_view;

/* Fills h for v; signals end the run in order from now on. */
void train_view_open(train_view *v, im_ctx *c, bool quiet, bool trace_tape, im_train_hooks *h);
/* Last curves, end of the progress line. */
void train_view_close(train_view *v, const char *run);

/* Options of a resumed run (im_train_resnet_config and its like): a callback and its argument. */
bool train_option_given(void *arguments, const char *name);

bool train_draw_curves(im_ctx *c, const char *run);            /* RUN/curves.svg and .png from RUN/log.jsonl           */

/* train_tape.c */
struct train_tape *train_tape_new(void);
void train_tape_row(struct train_tape *t, const im_tape_row *row);
void train_tape_print(struct train_tape *t, FILE *f);          /* once; frees t                                        */

#endif
