/* named.h: folders in which what a prompt names is looked up: NAME.safetensors, or a folder NAME. Used for LoRAs and
 * embeddings (models/pipelines). */
#ifndef IM_NAMED_H
#define IM_NAMED_H

#include "imago.h"

/* Names in a folder, sorted, without the ending .safetensors; and its folders in which one of `files` lies (names, NULL at
 * the end; NULL: no folders). */
typedef struct im_named { char *folder; char **name; int n; } im_named;
bool im_named_list(im_ctx *c, im_named *out, const char *folder, const char *const *files);
void im_named_free(im_named *f);
/* The path of that name, malloc'd. NULL with an error that lists what there is; kind: "LoRA". */
char *im_named_path(im_ctx *c, const im_named *f, const char *name, const char *kind);

/* The name of a file or folder: without the folders above it and without the ending. malloc'd */
char *im_named_of(im_ctx *c, const char *path);

#endif
