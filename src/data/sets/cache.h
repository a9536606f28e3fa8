/* cache.h: decoded pictures of a set, kept in memory or in one file. Always decoded at full size (never shrunk), so that
 * what a loader makes of them does not depend on what was kept. Used by loader.c. */
#ifndef IM_CACHE_H
#define IM_CACHE_H

#include "data/sets/dataset.h"
#include "imago.h"

typedef enum { IM_CACHE_NONE, IM_CACHE_RAM, IM_CACHE_DISK } im_cache_kind;

typedef struct im_cache_args {
    im_cache_kind kind;
    const char *folder;                                        /* disk: where its file lies or is made                */
    uint64_t bytes;                                            /* ram: limit; 0: half of what is available at the start */
    int64_t max_pixels;                                        /* as im_decode_args has it                            */
} im_cache_args;

/* ram: starts empty and fills as pictures are decoded. disk: opens FOLDER/imago-HASH.pictures, or decodes the whole set
 * into it first, on the context's threads (about 200 kB a picture of 256x256; free space is asked for as it is needed).
 * HASH stands for the names, sizes and times of change of all files: another set, or a changed one, has another file. */
typedef struct im_cache im_cache;
im_cache *im_cache_open(im_ctx *c, const im_dataset *d, const im_cache_args *a);
void im_cache_free(im_cache *k);

/* Any thread. get: true and the picture, whose pixels belong to the cache. put: takes the picture when it returns true;
 * false once the limit is reached, or from a file. */
bool im_cache_get(const im_cache *k, int64_t index, im_image *out);
bool im_cache_put(im_cache *k, int64_t index, im_image *picture);

/* Pictures and bytes kept; full: one at least had no room. */
typedef struct im_cache_state { int64_t pictures; uint64_t bytes, limit; bool full; } im_cache_state;
im_cache_state im_cache_report(const im_cache *k);

#endif
