/* memory.h: 64-byte aligned memory; large pieces come from the kernel in huge pages, and go back to it when freed. And how
 * much there still is. */
#ifndef IM_MEMORY_H
#define IM_MEMORY_H

#include <stddef.h>
#include <stdint.h>

void *im_pages_new(size_t bytes);                              /* uninitialised; NULL when out; 0 bytes: still valid   */
void im_pages_free(void *p, size_t bytes);                     /* the bytes asked for; NULL is fine                    */
/* im_memory_available with the files of another root than "", for tests. */
int64_t im_memory_available_at(const char *root);

#endif
