/* beside.h: what is being written stands beside the name that it will have, as NAME.tmp.PID.N, and is locked as long as its
 * process lives; so what a killed process left is known and can be removed. Used by file.c, and by folder_out.c of
 * models/checkpoints, which has NAME.old.PID.N too. */
#ifndef IM_BESIDE_H
#define IM_BESIDE_H

#include "imago.h"

char *im_beside(im_ctx *c, const char *path, const char *kind, int n);    /* "PATH.tmp.PID.N", malloc'd; kind: "tmp"   */
/* Is the name "BASE.tmp.PID.N"? *pid: whose it is. A base of more than 200 bytes is cut there: names have 255 at most. */
bool im_is_beside(const char *name, const char *base, const char *kind, long *pid);
bool im_is_temp(const char *name);                                        /* NAME.tmp.PID.N of any name                */
const char *im_last_name(const char *path);                               /* what follows its last slash               */

/* Opens and locks a file or a folder that pid made; -1 where its process is alive, or where it cannot be opened. */
int im_lock_beside(const char *path, long pid);
bool im_lock_new(int fd);                                                 /* of ours: false where another removed it   */
void im_clean_beside(im_ctx *c, const char *path);                        /* removes the files that killed ones left   */

#endif
