/* classifier_file.h: a classifier from a run's folder or a safetensors file, of ours, torchvision's or timm's. */
#ifndef IM_CLASSIFIER_FILE_H
#define IM_CLASSIFIER_FILE_H

#include "imago.h"
#include "models/nets/resnet.h"

/* The network that the file's tensors are those of: names and shapes say everything (blocks a stage, the width, the stem,
 * the head). cfg->arch is a constant. path: for errors. */
bool im_classifier_infer(im_ctx *c, const im_safetensors *s, const char *path, im_classifier_config *cfg);

typedef struct im_classifier_info {
    im_classifier_config config;
    char *path;                                                /* the file that was read                              */
    int size;                                                  /* of the pictures in training; 0: not known           */
    int n_names; char **names;                                 /* of the classes; 0: not known                        */
} im_classifier_info;

/* What training wrote beside the weights of s, which is info->path: names of classes, size of pictures. Files of others
 * have neither. */
bool im_classifier_read_info(im_ctx *c, const im_safetensors *s, im_classifier_info *info);

/* A file of weights, opened, its names without "_orig_mod." and "module.". */
im_safetensors *im_classifier_file(im_ctx *c, const char *path);
/* The file of weights of RUN (its model.safetensors, or else its newest good checkpoint) or FILE; *found: its path. */
im_safetensors *im_classifier_weights(im_ctx *c, const char *path, char **found);

/* Opens RUN (its model.safetensors, or else the newest good checkpoint) or FILE, and loads it to be run. Averaged weights
 * are taken where a checkpoint has them. NULL with an error; info is to be freed in either case. */
im_classifier *im_classifier_open(im_ctx *c, const char *path, im_classifier_info *info);
void im_classifier_info_free(im_classifier_info *info);

#endif
