/* weight_cache.h: weights as the device holds them (packed, converted), kept in a file, so that the next start maps them
 * instead of converting and packing anew. Used by sd.c, for `--cache-weights`. */
#ifndef IM_WEIGHT_CACHE_H
#define IM_WEIGHT_CACHE_H

#include "data/files/file.h"
#include "models/checkpoints/checkpoint.h"

typedef struct im_weight_cache {                               /* which weights                                       */
    im_ctx *c;
    im_checkpoint *k; im_part part;
    const char *name;                                          /* of the network: "unet", "vae_decoder"               */
    im_dtype dtype;
} im_weight_cache;

/* Gives p the weights that are kept: mapped, so that *map has to live as long as p. False, without an error, where there
 * are none, where they are of another file, program or instruction set, or damaged, and where the device takes no mapped
 * weights: p is then to be loaded as ever. */
bool im_weight_cache_map(const im_weight_cache *w, im_params *p, im_map *map);
/* Keeps them, beside the model, or in the user's cache where that folder cannot be written. A failure is a warning. */
void im_weight_cache_keep(const im_weight_cache *w, const im_params *p);

#endif
