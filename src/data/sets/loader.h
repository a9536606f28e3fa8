/* loader.h: batches of augmented pictures, decoded by threads beside the compute.
 *
 *     im_loader *l = im_loader_open(c, &(im_loader_args){ .data = d, .recipe = &r, .batch = 256, .seed = 1,
 *                                                         .shuffled = true, .drop_last = true });
 *     for (const im_batch *b; (b = im_loader_next(c, l)); ) ...
 *     im_loader_close(l);
 *
 * What a batch holds is a function of the set, the recipe, (seed, epoch, step) and `exact` alone, whatever the threads, the
 * cache and the batches before it: (epoch, step) is all that a resumed run needs. Place p of an epoch shows sample
 * order[p] (order.h); its crops are drawn from (seed, epoch, order[p]).
 * A broken picture is named in a list, and its place shows the next sample of the epoch's order that is whole:
 * order[p + 1], order[p + 2] ... (behind the last comes the first), with the draws of (seed, epoch, order[p]), so that the
 * neighbour has other crops here than in its own place. strict: the batch that meets one is an error instead.
 * Used by training, evaluation and `imago data`. */
#ifndef IM_LOADER_H
#define IM_LOADER_H

#include "data/images/augment.h"
#include "data/sets/cache.h"
#include "data/sets/dataset.h"
#include "imago.h"

typedef struct im_loader_args {
    const im_dataset *data;                                    /* outlives the loader, as recipe's texts do           */
    const im_recipe *recipe;                                   /* copied                                              */
    int batch;                                                 /* pictures                                            */
    uint64_t seed;
    bool shuffled;                                             /* false: as the set lists them                        */
    const double *sums;                                        /* of im_order_draw, or NULL; outlives the loader      */
    bool drop_last;                                            /* false: the last batch of an epoch may be smaller    */
    bool strict;
    bool exact;                                                /* never shrink while decoding: exactly Pillow's crops; */
                                                               /* a cache implies it                                   */
    bool bytes;                                                /* pixels stay u8; else f32, normalised                */
    int threads;                                               /* that decode; 0: one a processor                     */
    int ahead;                                                 /* batches in the ring, the one in use included; 0: 3  */
    int64_t max_pixels;                                        /* of a picture; 0: IM_PICTURE_MAX_PIXELS              */
    im_cache_kind cache;
    const char *cache_folder;                                  /* disk                                                */
    uint64_t cache_bytes;                                      /* ram; 0: half of what is available                   */
    int64_t first_epoch, first_step;                           /* where to begin                                      */
    int64_t run, every;                                        /* from there `run` batches of every `every`: the rest */
                                                               /* is another process's; 0: all                        */
    int64_t epochs;                                            /* end before this epoch; 0: never                     */
} im_loader_args;

typedef struct im_crops {                                      /* of one kind of the recipe; one of both is NULL      */
    int count, size;
    const float *f32;                                          /* (count, n, size, size, 3) normalised (im_normalise) */
    const uint8_t *u8;                                         /* the same, 8 bits                                    */
} im_crops;

typedef struct im_batch {
    int64_t epoch, step, steps;                                /* position; steps of every epoch                      */
    int n;                                                     /* pictures: batch, or fewer at the end of an epoch    */
    int kinds;
    im_crops crops[IM_RECIPE_KINDS];
    const int32_t *labels;                                     /* (n), -1: none                                       */
    const int64_t *indices;                                    /* (n) of the samples shown                            */
    const int64_t *meant;                                      /* (n) of the samples whose places they are; they      */
                                                               /* differ where one is broken                           */
    const im_draw *draws;                                      /* (n, im_recipe_crops)                                */
    double waited;                                             /* seconds that im_loader_next waited for it           */
} im_batch;

typedef struct im_loader im_loader;
im_loader *im_loader_open(im_ctx *c, const im_loader_args *a);
void im_loader_close(im_loader *l);                            /* at any time; ends the threads                       */

/* The next batch, lent until the next call. NULL: an error is in c, or the epochs asked for are over. */
const im_batch *im_loader_next(im_ctx *c, im_loader *l);
/* x (batch, picture) = the first crops of b, `picture` values each, and zeros where b has fewer pictures than batch. */
void im_batch_fill(const im_batch *b, int batch, size_t picture, float *x);
int64_t im_loader_steps(const im_loader *l);                   /* of an epoch                                         */

typedef struct im_loader_stats {
    int64_t batches, pictures;                                 /* handed out; decoded or had from the cache           */
    double waited;                                             /* seconds that the consumer waited: high when starved */
    double busy;                                               /* processor time of the decoding threads, s           */
    int64_t broken;                                            /* met so far, those of im_dataset_open not counted    */
} im_loader_stats;
im_loader_stats im_loader_report(im_loader *l);

/* Everything broken that is known: what opening the set found, then what decoding found, by index. Lent until the next
 * call of it. */
const im_broken *im_loader_broken(im_ctx *c, im_loader *l, int64_t *n);
/* The same as a file, "name<tab>reason" a line, over one that is there; no file where nothing is broken. */
bool im_loader_write_broken(im_ctx *c, im_loader *l, const char *path);

#endif
