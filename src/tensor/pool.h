/* pool.h: memory that is given back and asked for again, step after step: see pool.c. */
#ifndef IM_POOL_H
#define IM_POOL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct im_pool im_pool;
im_pool *im_pool_new(void);                                    /* NULL: out of memory                                  */
void im_pool_free(im_pool *p);                                 /* with all that is still lent out                      */
void *im_pool_get(im_pool *p, size_t bytes);                   /* as im_pages_new                                      */
void im_pool_put(im_pool *p, void *block, size_t bytes);       /* bytes as asked for; what is not the pool's: freed    */

#endif
