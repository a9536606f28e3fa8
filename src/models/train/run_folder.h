/* run_folder.h: the folder that a training leaves behind.
 *
 *     RUN/config.json              everything needed to repeat the run
 *     RUN/log.jsonl                an object a step
 *     RUN/checkpoints/             step-00000100.safetensors ..., best.safetensors (train_state.h)
 *     RUN/model.safetensors        the trained network, when the run has ended
 *     RUN/broken.txt               pictures that could not be read, with the reason
 *     RUN/curves.svg, curves.png   drawn by the command line
 *
 * One process at a time works in it (a lock on the folder, which goes with the process). */
#ifndef IM_RUN_FOLDER_H
#define IM_RUN_FOLDER_H

#include "models/checkpoints/run_files.h"

/* checkpoints/best.safetensors while it is made: a second name of a checkpoint, which data/files/file.h has written. */
#define IM_RUN_BEST_TEMP "checkpoints/best.tmp.0"

typedef struct im_run_folder {
    im_ctx *c;
    char *path, *log_path;
    int lock, log;                                             /* descriptors, -1: none                               */
    char *waiting; size_t n_waiting, cap_waiting;              /* lines that the disk has not taken yet               */
    bool warned;
    bool idle;                                                 /* the folder of rank 0, which alone writes there       */
} im_run_folder;

/* Makes the folder, takes its lock and removes what killed processes left half-written. Refuses one without config.json
 * that holds checkpoints or what a run would write over. */
bool im_run_open(im_ctx *c, im_run_folder *r, const char *path);
/* Another process writes there: nothing is made, locked, removed or written. */
bool im_run_open_idle(im_ctx *c, im_run_folder *r, const char *path);
void im_run_close(im_run_folder *r);

char *im_run_file(const im_run_folder *r, const char *name);   /* malloc'd RUN/name */
bool im_run_write(const im_run_folder *r, const char *name, const char *text); /* beside, synced, renamed */

/* Opens the log after the lines of the first `steps` steps; later ones, and half a line, are cut off. Where there are lines
 * that are none of a log, a copy of what it was stays as log.jsonl.damaged, with a warning. */
bool im_run_log_open(im_run_folder *r, int64_t steps);
int64_t im_run_log_last(const im_run_folder *r);               /* the last step that it has; 0: none                  */
/* One object. A full disk is a warning: the line is kept and tried again with the next one. */
void im_run_log(im_run_folder *r, const char *line);

#endif
