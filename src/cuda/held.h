/* held.h: work of a device that is held back, to be handed over as one graph (services.h: hold, hand_over). */
#ifndef IM_CUDA_HELD_H
#define IM_CUDA_HELD_H

#include "cuda/cu.h"

#include <stdint.h>

enum { IM_HELD_GRAPHS = 4, IM_HELD_STAGE = 1 << 20 };

typedef struct im_held {
    im_cu *cu;
    bool on, capturing;          /* between hold and hand_over; since the first kernel                                 */
    struct im_memory_pool *pool; /* where memory comes from meanwhile                                                  */
    void *graphs[IM_HELD_GRAPHS]; int n;                       /* of this time so far: its first, its second ...       */
    void **freed; int n_freed, cap_freed;                      /* to be given back when nothing is captured            */
    char *stage[2]; size_t staged;                             /* pinned: small uploads, this time's and last time's   */
    im_cu_event *done[2];                                      /* what was handed over of it                           */
    int turn;
} im_held;

bool im_held_open(im_held *h, im_cu *cu);                      /* false: out of pinned memory                          */
void im_held_close(im_held *h);
int im_held_begin(im_held *h);                                 /* 0, or im_cu_failed says why; so the others           */
void im_held_kernel(im_held *h);                               /* a kernel is about to be launched                     */
int im_held_flush(im_held *h);                                 /* hands over what is captured                          */
int im_held_end(im_held *h, bool ok);
void *im_held_alloc(im_held *h, size_t bytes);                 /* NULL: out of memory                                  */
size_t im_held_idle(const im_held *h);                         /* bytes of the pool that nobody has                    */
bool im_held_free(im_held *h, void *p, size_t bytes);          /* false: it is the caller's to free                    */
/* Pinned memory that stays as it is until the graph has read it; NULL: there is no more of it. */
char *im_held_staging(im_held *h, size_t bytes);

#endif
