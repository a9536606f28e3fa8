/* folder_out.h: writes a folder of files so that a failure leaves nothing half-written: whatever was written or made
 * since the beginning is removed again. Used by init_weights.c and convert.c. */
#ifndef IM_FOLDER_OUT_H
#define IM_FOLDER_OUT_H

#include "imago.h"

typedef struct im_folder_out {
    im_ctx *c;
    char *path;
    bool force;
    char **made; int n, cap;             /* files and folders made, in order                                          */
} im_folder_out;

/* The folder must be new or empty, unless force: then files in it are replaced. False with the failure in c, and then
 * im_folder_end is not wanted. */
bool im_folder_begin(im_ctx *c, im_folder_out *f, const char *path, bool force);
/* The malloc'd path of a file to be written, "unet/config.json"; its folder is made. NULL after a failure. */
char *im_folder_file(im_folder_out *f, const char *name);
bool im_folder_write(im_folder_out *f, const char *name, const void *data, size_t bytes);
/* Removes a file of an earlier model, where there is one, before what replaces it is written: an index must never stand
 * beside shards that are not its own. */
bool im_folder_drop(im_folder_out *f, const char *name);
/* Ends the writing; removes what was made where the context has failed, and else what an earlier model left beside it: the
 * shards and index (BASE-00001-of-00002.safetensors, BASE.safetensors.index.json) beside a BASE.safetensors, that file and
 * other shards beside an index. Returns im_ok. */
bool im_folder_end(im_folder_out *f);

#endif
