/* file.h: files as imago reads and writes them.
 *
 * Output is written beside its name (NAME.tmp.PID.N), synced and renamed, so that a reader sees the old file, the new
 * one, or none, and never half of one. Folders that are missing are made, and removed again where the file cannot be
 * written. Every error names the file, the system's reason and what to do; of a write that failed errno keeps the reason,
 * for a caller who can make room.
 * Used by everything in data/ and models/ that touches a disk. */
#ifndef IM_FILE_H
#define IM_FILE_H

#include "imago.h"

/* A file being written. im_out_finish and im_out_abandon both end it; an im_out that failed to open needs neither. */
typedef struct im_out {
    int fd;
    char *path, *temp;                                         /* final name; name while it is written                */
    bool force;                                                /* may replace an existing file                        */
    size_t made;                                               /* of im_make_above                                    */
} im_out;

bool im_out_open(im_ctx *c, im_out *o, const char *path, bool force);
bool im_out_reserve(im_ctx *c, im_out *o, uint64_t bytes);     /* final size; a full disk is known here               */
bool im_out_write(im_ctx *c, im_out *o, const void *data, size_t bytes);            /* at the end                     */
int im_out_write_at(const im_out *o, const void *data, size_t bytes, uint64_t at);  /* 0 or errno; any thread         */
bool im_out_fail(im_ctx *c, const im_out *o, int err);         /* im_fail in the words used for every failed write    */
bool im_out_finish(im_ctx *c, im_out *o);                      /* fsync, rename; abandons when c has failed           */
void im_out_abandon(im_out *o);                                /* leaves nothing, but for errno                       */

/* May `path` be written? False with an error for a folder that cannot be written in, a folder of this name, or an existing
 * file without force. Ask before long work; im_out_open asks again. */
bool im_may_write(im_ctx *c, const char *path, bool force);
bool im_write_file(im_ctx *c, const char *path, const void *data, size_t bytes, bool force);

/* The whole file, malloc'd, with a zero byte after the end; an error when it is larger than max_bytes. */
char *im_read_file(im_ctx *c, const char *path, size_t max_bytes, size_t *bytes);

/* The same of a text: without the byte order mark that some editors write in front, and with LF for a CR that ends a line
 * by itself; a zero byte is an error. */
#define IM_BYTE_ORDER_MARK "\xEF\xBB\xBF"
char *im_read_text(im_ctx *c, const char *path, size_t max_bytes, size_t *bytes);

/* A regular file mapped for reading; data is NULL when it is empty. */
typedef struct im_map { const uint8_t *data; size_t bytes; } im_map;
bool im_map_open(im_ctx *c, im_map *m, const char *path);
void im_map_close(im_map *m);

bool im_is_file(const char *path);
bool im_is_folder(const char *path);
bool im_make_folder(im_ctx *c, const char *path);              /* with its parents; no error where it exists          */
const char *im_hint(int err);                                  /* what to do about an errno: ends a sentence          */
/* Makes what is missing of the folders that path stands in. *made: bytes of path up to the end of the first one, 0: none;
 * im_remove_above removes those again that are empty. */
bool im_make_above(im_ctx *c, const char *path, size_t *made);
void im_remove_above(const char *path, size_t made);
char *im_join(im_ctx *c, const char *folder, const char *name);                     /* "folder/name", malloc'd        */
char *im_join_beside(im_ctx *c, const char *path, const char *name);                /* name in the folder of path     */
char *im_copy_text(im_ctx *c, const char *text, size_t bytes); /* malloc'd, ended by a zero byte                      */

#endif
