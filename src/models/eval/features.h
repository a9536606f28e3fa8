/* features.h: what a classifier sees in the pictures of a set, and what it takes them for: in memory, or in a safetensors
 * file that is written picture by picture and mapped to be read.
 *
 *     features  (n, width)    as they come out of the encoder      labels  i64 (n), -1: none
 *     logits    (n, classes)                                       metadata: names, classes: JSON lists */
#ifndef IM_FEATURES_H
#define IM_FEATURES_H

#include "models/checkpoints/classifier_file.h"
#include "models/eval/run_set.h"

/* ---------------------------------------------------------------- in memory */

typedef struct im_features {                                   /* in the order of the set                             */
    int64_t n;
    int width; float *features;                                /* (n, width)                                          */
    int classes; float *logits;                                /* (n, classes)                                        */
    int32_t *named;                                            /* (n): the class of the largest logit                 */
} im_features;

/* Every picture must be whole. False with an error; *out is to be freed in either case. */
bool im_features_of(im_ctx *c, im_classifier *m, int classes, const im_dataset *d, const im_run_args *a, im_features *out);
void im_features_free(im_features *f);

/* ---------------------------------------------------------------- in a file */

typedef struct im_features_out im_features_out;
/* For every picture of d. names: of the classes that labels count, n_names of them. classes: of the logits, 0: none are
 * written. */
im_features_out *im_features_create(im_ctx *c, const char *path, const im_dataset *d, int width, int classes,
                                    const char *const names[], int n_names);
bool im_features_add(void *out, const im_seen *s);             /* an im_seen_fn                                       */
/* An error where a picture is missing: it could not be read. Nothing stays of the file after an error. */
bool im_features_finish(im_ctx *c, im_features_out *o);
void im_features_abandon(im_features_out *o);

/* "a.safetensors", "test" -> "a.test.safetensors", malloc'd: for verbs that look at two sets. */
char *im_features_name(im_ctx *c, const char *path, const char *of);

typedef struct im_feature_file {                               /* such a file, mapped                                 */
    im_safetensors *file;
    int64_t n;
    int width, classes;
    const float *features, *logits;                            /* (n, width); (n, classes) or NULL                    */
    const int64_t *labels;                                     /* (n)                                                 */
} im_feature_file;

/* The features of a set, from the file that an earlier call left beside the weights (RUN/features, or FILE.features), or
 * extracted into it: named by a hash of the weights, of the set with its times of change, and of how pictures are cut.
 * Where nothing can be written there, a temporary file does. Every picture must be whole. model: as it was opened. */
bool im_features_cached(im_ctx *c, im_classifier *m, const im_classifier_info *info, const char *model,
                        const im_dataset *d, const im_run_args *a, im_feature_file *out);
bool im_features_open(im_ctx *c, const char *path, im_feature_file *out);
void im_features_close(im_feature_file *f);

#endif
