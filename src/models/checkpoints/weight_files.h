/* weight_files.h: which file of a network's folder holds its weights, as diffusers and transformers find it.
 * Used by checkpoint.c and vae_folder.c. */
#ifndef IM_WEIGHT_FILES_H
#define IM_WEIGHT_FILES_H

#include "models/checkpoints/checkpoint.h"

enum { IM_VARIANTS = 16, IM_VARIANT_BYTES = 64 };

typedef struct im_weight_files {         /* what a folder holds of one network                                        */
    char *plain;                         /* path, malloc'd; NULL: there is none                                       */
    int n;                               /* of the variants, in the order of their names                              */
    char name[IM_VARIANTS][IM_VARIANT_BYTES];
    char *variant[IM_VARIANTS];
    char *pickle;                        /* a PyTorch file, for the line that refuses it                              */
    bool shards;                         /* files of a set are there                                                  */
} im_weight_files;

/* Looks at folder (MODEL/unet) and fills out, which im_weight_files_free empties. */
bool im_weight_files_list(im_ctx *c, im_weight_files *out, const char *folder, im_part part);
void im_weight_files_free(im_weight_files *f);

/* The path that is read: the variant of im_weights_variant where there is such a one, else the plain file, else the only
 * variant, whose name goes to *name (else NULL). NULL with an error. Borrowed from f. */
const char *im_weight_files_choose(im_ctx *c, const im_weight_files *f, const char *folder, im_part part,
                                   const char **name);
bool im_weight_files_has(const im_weight_files *f, const char *variant);
/* "fp16, non_ema" */
void im_weight_files_names(const im_weight_files *f, char *out, size_t size);

#endif
