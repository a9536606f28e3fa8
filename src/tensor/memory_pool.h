/* memory_pool.h: memory that is given back and asked for again, step after step: see memory_pool.c. */
#ifndef IM_MEMORY_POOL_H
#define IM_MEMORY_POOL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct im_memory_pool im_memory_pool;
im_memory_pool *im_memory_pool_new(void);                      /* NULL: out of memory                                  */
/* Where segments come from, and what never leaves the pool for it: requests below `smallest`. unit: of all sizes. */
typedef struct im_memory_source {
    void *(*get)(void *arg, size_t bytes);                     /* NULL when out                                        */
    void (*put)(void *arg, void *p, size_t bytes);
    void *arg;
    size_t smallest, unit, first_segment;
} im_memory_source;
im_memory_pool *im_memory_pool_over(const im_memory_source *s);
bool im_memory_pool_has(const im_memory_pool *p, const void *block);
size_t im_memory_pool_idle(const im_memory_pool *p);           /* bytes of its segments that are not lent              */
void im_memory_pool_free(im_memory_pool *p);                   /* with all that is still lent out                      */
void *im_memory_pool_get(im_memory_pool *p, size_t bytes);     /* as im_pages_new                                      */
/* bytes as asked for; what is not the pool's is freed */
void im_memory_pool_put(im_memory_pool *p, void *block, size_t bytes);

#endif
