/* loader_parts.h: what loader.c (the ring, the consumer) and loader_work.c (the threads) share. Nobody else includes it. */
#ifndef IM_LOADER_PARTS_H
#define IM_LOADER_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "data/sets/loader.h"
#include "data/sets/warnings.h"

typedef struct im_loader_slot {  /* a batch of the ring                                 */
    int64_t serial;                                            /* counts batches from the first; -1: empty            */
    int64_t epoch, step;
    int n, left;                                               /* pictures; of them not finished                      */
    const uint32_t *order;                                     /* of its epoch                                        */
    uint8_t *crops[IM_RECIPE_KINDS];                           /* (count, n, size, size, 3)                           */
    int32_t *labels;
    int64_t *indices, *meant;
    im_draw *draws;                                            /* (n, crops of the recipe)                            */
    char *error; int error_place;                              /* of the lowest place that failed                     */
} im_loader_slot;

typedef struct im_worker { struct im_loader *loader; im_ctx *c; im_crop_scratch *scratch; pthread_t id; } im_worker;

typedef struct im_epoch_order { int64_t epoch; uint32_t *places; } im_epoch_order;

struct im_loader {
    im_loader_args a;
    im_recipe recipe;
    int n_crops;
    int64_t count, steps, serials;                             /* of the set; of an epoch; all, or INT64_MAX          */
    im_cache *cache;
    int depth;                                                 /* slots                                               */
    im_loader_slot *slots;
    im_worker *workers; int n_workers;
    float *f32[IM_RECIPE_KINDS];                               /* the batch that is lent                              */
    im_batch batch;
    bool lent, told_full;
    im_warnings warnings;                                      /* of the threads                                      */

    pthread_mutex_t lock;                                      /* all below                                           */
    pthread_cond_t work, done;                                 /* a slot has become free; a batch is complete         */
    bool quit;
    int64_t given, next; int next_place;                       /* batches that came back; next (batch, place) to make */
    im_epoch_order *orders;                                    /* (depth + 1), epoch e in e % (depth + 1)             */
    im_loader_stats stats;
    char **reasons;                                            /* by index; NULL: not known to be broken              */
    im_broken *list;                                           /* of im_loader_broken                                 */
    atomic_uchar *broken;                                      /* by index: 1 once known; read without the lock       */
};

void *im_loader_work(void *worker);                            /* a thread                                            */

#endif
