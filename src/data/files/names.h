/* names.h: a hash table from text to a number >= 0. Keys are borrowed and must outlive it. Used for tensor names of
 * safetensors files and for the pieces of the tokenizer's vocabulary. */
#ifndef IM_NAMES_H
#define IM_NAMES_H

#include "imago.h"

typedef struct im_name { const char *key; size_t bytes; int value; } im_name;
typedef struct im_names { im_name *v; size_t cap, n; } im_names;                    /* cap: a power of two            */

bool im_names_init(im_ctx *c, im_names *m, size_t expected);
bool im_names_add(im_ctx *c, im_names *m, const char *key, size_t bytes, int value);/* false: no memory (error in c)  */
int im_names_find(const im_names *m, const char *key, size_t bytes);                /* -1: not there                  */
void im_names_free(im_names *m);

#endif
