/* dataset_texts.c: texts of a set, in blocks: a million names are a few hundred allocations. Used by dataset*.c. */
#include <stdlib.h>
#include <string.h>

#include "data/sets/dataset_parts.h"

enum { BLOCK = 64 << 10 };

typedef struct block { struct block *before; size_t used, bytes; char text[]; } block;
struct im_texts { block *last; };

im_texts *im_texts_new(im_ctx *c)
{
    im_texts *t = calloc(1, sizeof *t);
    if (!t) im_fail(c, "out of memory for the names of a data set; close other programs");
    return t;
}

const char *im_texts_add(im_ctx *c, im_texts *t, const char *text, size_t bytes)
{
    block *b = t->last;
    if (!b || b->bytes - b->used < bytes + 1) {
        size_t room = bytes + 1 > BLOCK ? bytes + 1 : BLOCK;
        b = malloc(sizeof *b + room);
        if (!b) {
            im_fail(c, "out of memory for the names of a data set; close other programs");
            return NULL;
        }
        *b = (block){ .before = t->last, .bytes = room };
        t->last = b;
    }
    char *out = b->text + b->used;
    memcpy(out, text, bytes);
    out[bytes] = '\0';
    b->used += bytes + 1;
    return out;
}

void im_texts_free(im_texts *t)
{
    for (block *b = t ? t->last : NULL, *before; b; b = before) {
        before = b->before;
        free(b);
    }
    free(t);
}
