/* warnings.h: warnings of threads that decode, each with a context of its own, brought together: the first is passed on,
 * once; the others say the same of other pictures. Used by loader.c and cache.c. */
#ifndef IM_WARNINGS_H
#define IM_WARNINGS_H

#include <pthread.h>

#include "imago.h"

typedef struct im_warnings {
    pthread_mutex_t lock;
    char *first;                                               /* NULL: none yet, or passed on                        */
    bool told;
} im_warnings;

void im_warnings_init(im_warnings *w);
void im_warnings_from(im_warnings *w, im_ctx *thread);         /* those of this context come here                     */
void im_warnings_tell(im_warnings *w, im_ctx *c, const char *set);        /* passes the first on, if it is new        */
void im_warnings_free(im_warnings *w);

#endif
