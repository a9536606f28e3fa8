/* rank_watch.h: notices within seconds that another rank has died: a TCP connection of every rank with rank 0, which the
 * kernel closes when a process ends, however it ends. A machine that is gone, or cut off, is found by the kernel's own
 * probes (keepalive: after 3 s of silence, one a second, three without an answer). MPI itself says nothing of a dead
 * partner: whoever waits for its message waits for ever, or is ended by the launcher without a word of who it was.
 *
 * A thread sleeps on the connections. Rank 0 passes what it hears on to all others; the work under way is cancelled. */
#ifndef IM_RANK_WATCH_H
#define IM_RANK_WATCH_H

#include "imago.h"

enum { IM_RANK_HOSTS = 8 };
typedef struct im_rank_watch_place {                           /* where rank 0 listens                                */
    int port, hosts;
    char host[IM_RANK_HOSTS][46];                             /* its addresses: IPv4, IPv6                           */
    uint64_t secret;                                           /* who connects must know it                           */
} im_rank_watch_place;

typedef struct im_rank_watch im_rank_watch;
/* Rank 0 opens a place, tells it to the others (by MPI), who connect; rank 0 waits for all of them. */
im_rank_watch *im_rank_watch_new(im_ctx *c, int rank, int size);
bool im_rank_watch_listen(im_rank_watch *w, im_rank_watch_place *place);
bool im_rank_watch_meet(im_rank_watch *w, const im_rank_watch_place *place);

/* The first rank that was lost, or -1; *failed: it said before that it has an error, which it prints itself. */
int im_rank_watch_lost(im_rank_watch *w, bool *failed);
/* From now on nothing is noticed any more: the end is near, and ranks end when they like. */
void im_rank_watch_rest(im_rank_watch *w);
/* Says goodbye, in order or not, and ends the thread. */
void im_rank_watch_free(im_rank_watch *w, bool in_order);

#endif
