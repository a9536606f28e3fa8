/* tree.h: folders with all that is in them, for writers that build a folder beside the one it replaces. Links in them are
 * taken for themselves and never followed. Used by models/checkpoints/folder_out.c. */
#ifndef IM_TREE_H
#define IM_TREE_H

#include "imago.h"

/* Can the folder be replaced and removed? False with an error that names the first folder in it that is write-protected or
 * a mount point. */
bool im_tree_check(im_ctx *c, const char *path);
bool im_is_mount(const char *path);                            /* a mount point, or on another disk than its parent?   */
bool im_tree_remove(const char *path);                         /* false where something could not be removed           */
bool im_tree_sync(im_ctx *c, const char *path);                /* fsync of the folders; files are synced when written  */
void im_sync_parent(const char *path);                         /* of the folder that path stands in, as far as it can  */

/* Gives `to` what only `from` has: hard links, or copies where the disk has no links; folders with their permissions.
 * keep(arg, "unet/name") says whether a file of `from` that `to` lacks is wanted. */
bool im_tree_carry(im_ctx *c, const char *from, const char *to, bool (*keep)(void *arg, const char *name), void *arg);

/* Puts folder `made` in the place of folder `path`, which is then under the name `made`; one rename that exchanges both.
 * Where the disk cannot do that: path is renamed to `aside`, then made to path; a process killed in between leaves the old
 * one whole under the name `aside`. 0, or errno and all is as it was; *lost: it is not, and the old one is at `aside`. */
int im_swap_folders(const char *made, const char *path, const char *aside, bool *lost);

#endif
