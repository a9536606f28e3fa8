/* folder_out.h: writes a folder of files as one: it is built whole beside its name (NAME.tmp.PID.N), synced, and put in the
 * place of what is there by one rename, so that a whole folder stands under the name at every instant. A failure leaves
 * what was there as it was, and nothing else; a killed process leaves the folder that it was building, which the next one
 * that writes to the name removes.
 *
 * Of the folder that is replaced everything stays that is not part of the model: files are carried over, but for those
 * that were written anew, those named to im_folder_drop, and the other forms of weights that were written (shards and
 * index beside a whole file, and the other way round), which readers would prefer or mix with the new ones.
 *
 * An empty folder that cannot be replaced (the folder one is in, a mount point, in a folder without write permission) is
 * filled instead; one that is not empty is refused there. Used by init_weights.c, convert.c, vae_folder.c and training. */
#ifndef IM_FOLDER_OUT_H
#define IM_FOLDER_OUT_H

#include "imago.h"

typedef struct im_folder_out {
    im_ctx *c;
    char *path, *build;                  /* the folder, links resolved; where it is built                             */
    bool there, fill;                    /* it exists; it is filled, not replaced                                     */
    int lock;                            /* on `build`: its process is alive                                          */
    size_t made;                         /* of im_make_above                                                          */
    char **names; int n, cap;            /* what was written or dropped, "unet/config.json"                           */
    char *others; int n_others;          /* weights of another form that were carried over: the first, how many       */
} im_folder_out;

/* The folder must be new or empty, unless force. False with the failure in c, and then im_folder_end is not wanted. */
bool im_folder_begin(im_ctx *c, im_folder_out *f, const char *path, bool force);
/* The malloc'd path of a file to be written, "unet/config.json"; its folder is made. NULL after a failure. */
char *im_folder_file(im_folder_out *f, const char *name);
bool im_folder_write(im_folder_out *f, const char *name, const void *data, size_t bytes);
/* A file of this name is not part of what is written, and one of an earlier model must not pass for it. */
bool im_folder_drop(im_folder_out *f, const char *name);
/* Puts the folder in its place; where the context has failed, removes it, and the error says what became of the name. Files
 * of weights in other forms ("NAME.fp16.safetensors", "NAME.bin") stay, with a warning. Returns im_ok. */
bool im_folder_end(im_folder_out *f);

/* Removes what killed processes left of `path`, and gives it back a folder that one of them had moved aside.
 * im_folder_begin does so too. */
void im_folder_clean(im_ctx *c, const char *path);

#endif
