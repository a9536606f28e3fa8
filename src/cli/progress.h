/* progress.h: how far a run is, on stderr: a bar on a terminal, plain lines elsewhere, nothing when quiet; or
 * events (events.h). */
#ifndef IM_CLI_PROGRESS_H
#define IM_CLI_PROGRESS_H

#include <stdbool.h>

typedef struct progress {
    bool quiet, terminal, events;                              /* events: --progress json                              */
    int pictures, first, members;                              /* of the run; of the batch at work: first and how many */
    int before, total;                                         /* evaluations of finished batches; of the whole run    */
    int done, wanted;                                          /* of this batch                                        */
    double start, last, batch_start;                           /* of the run, of the last drawing, of the batch        */
    bool drawn;                                                /* a bar is on the screen                               */
} progress;

void progress_start(progress *p, bool quiet, bool events, int pictures, int total_evaluations);
void progress_batch(progress *p, int first, int members, int evaluations);
void progress_step(progress *p, int done);
void progress_finish_batch(progress *p);
/* A line above the bar, or an event "note"; nothing when quiet. */
void progress_say(progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
