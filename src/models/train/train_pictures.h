/* train_pictures.h: what the trainings of pictures (autoencoder, diffusion) share: batches of whole pictures, noise,
 * checks. */
#ifndef IM_TRAIN_PICTURES_H
#define IM_TRAIN_PICTURES_H

#include "data/sets/loader.h"
#include "models/nets/nn.h"
#include "models/train/ranks.h"
#include "models/train/run_folder.h"
#include "models/train/train_config.h"

typedef struct im_pictures {             /* batches of squares, 8 bits: the shorter side resized, the middle cut out  */
    im_ctx *c;
    const im_dataset *data;
    int size, batch;
    uint64_t seed;
    const char *order, *cache, *out;     /* "shuffled", "listed"; "none", "ram", "disk"; the run's folder             */
    const double *sums;                  /* of weights of the pictures (im_order_draw); NULL: each once an epoch      */
    int workers;
    bool strict;
    int64_t run, every;                  /* of the batches (im_loader_args)                                           */
    im_loader *loader;
    const im_batch *now; int64_t at;     /* batch number `at` of the run; -1: none yet                                */
} im_pictures;

/* Opens a loader whose cache is named: "none", "ram", or "disk", which lies in the run's folder `out`. */
im_loader *im_cached_loader(im_ctx *c, im_loader_args a, const char *cache, const char *out);

bool im_pictures_check(const im_pictures *p);                  /* is at least one batch whole?                        */
int64_t im_pictures_batches(const im_pictures *p);             /* of an epoch; "listed" sets keep the last, cut one   */
bool im_pictures_open(im_pictures *p, int64_t first);          /* the next batch is number `first`; again: from there */
/* Batch `number`: the one last given, or the next. NULL with an error. pixels in crops[0].u8 (n, size, size, 3). */
const im_batch *im_pictures_batch(im_pictures *p, int64_t number);
void im_pictures_close(im_pictures *p);
/* RUN/broken.txt: what l could not read so far (l NULL: nothing to say). A full disk is a warning. */
void im_write_broken(im_loader *l, const im_run_folder *run);

/* n normal numbers of picture `item` of part `number`: a generator of their own (Philox, as torch's on CUDA). */
bool im_normal_fill(im_ctx *c, uint64_t seed, uint64_t number, uint64_t item, float *out, int64_t n);

/* What every training begins with: the ranks it has, a->accumulate of them where it is 1 and the run is new; own: the hooks
 * as this rank calls them: only rank 0 speaks. im_ranks_leave ends it, whatever this says. */
bool im_train_join(im_ctx *c, im_train_common *a, im_ranks *r, const im_train_hooks *hooks, im_train_hooks *own);
/* Rank 0 opens the run's folder, the others know where it is. */
bool im_train_open_run(const im_ranks *r, im_run_folder *run, const char *path);

/* Checks before anything is opened: the fields of tables in the struct that a begins; settles a (train_loop.h). *begun:
 * there is a run in a->out. */
bool im_train_begin(im_ctx *c, const im_field *const tables[], im_train_common *a, double lr, bool *begun);
/* When the pictures are known: the text of config.json (malloc'd). begun: the run must be that of the folder; it may get
 * another number of steps where no rate depends on it, and keeps its warm-up. All ranks must have the same program, options
 * and data; nothing was written before they agree. */
char *im_train_config_text(im_ranks *r, const im_field *const tables[], im_train_common *a, const im_config_extra *extra,
                           bool begun, int64_t parts_an_epoch);

#endif
