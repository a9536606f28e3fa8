/* memory_pool.c: memory of activations and gradients, given back and asked for again, step after step.
 *
 * A step of ResNet50 makes and drops gigabytes. Fresh pages from the system are zeroed first, which took a quarter of a
 * step; so pages stay here once they were touched. Memory comes in segments, which double up to 1 GiB; a request takes the
 * lowest free range that holds it, of the oldest segment that has one, and ranges that come back join their free
 * neighbours (first fit by address: Knuth, The Art of Computer Programming 1, 2.5). Forward passes take and backward
 * passes return like a stack, so hardly anything is lost between the ranges; what was never needed is never touched, and
 * costs nothing. Requests below 1 MiB go to the system: malloc keeps such memory itself. */
#include "tensor/memory_pool.h"
#include "tensor/memory.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const size_t smallest = 1u << 20, unit = 1u << 16, first_segment = 64u << 20, largest_segment = 1u << 30;

typedef struct { size_t at, bytes; } range;                    /* free, within its segment                             */

typedef struct segment {
    char *base;
    size_t bytes;
    range *free;                                               /* ascending, no two adjacent: at most lent + 1         */
    int n, cap;
    int lent;                                                  /* blocks                                               */
} segment;

struct im_memory_pool {
    segment *v;
    int n, cap;
};

im_memory_pool *im_memory_pool_new(void)
{
    return calloc(1, sizeof(im_memory_pool));
}

void im_memory_pool_free(im_memory_pool *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n; i++) {
        im_pages_free(p->v[i].base, p->v[i].bytes);
        free(p->v[i].free);
    }
    free(p->v);
    free(p);
}

static size_t rounded(size_t bytes)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Room for all free ranges that there can be once a block more is lent, so that giving back never fails: between two free
 * ranges lies at least one lent block, so there is at most one range more than blocks. */
static bool grow(segment *s)
{
    if (s->lent + 2 <= s->cap)
        return true;
    int cap = s->cap ? 2 * s->cap : 64;
    range *v = realloc(s->free, (size_t)cap * sizeof *v);
    if (!v)
        return false;
    s->free = v;
    s->cap = cap;
    return true;
}

static bool add_segment(im_memory_pool *p, size_t bytes)
{
    size_t size = p->n ? 2 * p->v[p->n - 1].bytes : first_segment;
    if (size > largest_segment)
        size = largest_segment;
    if (size < bytes)
        size = bytes;
    if (p->n == p->cap) {
        int cap = p->cap ? 2 * p->cap : 16;
        segment *v = realloc(p->v, (size_t)cap * sizeof *v);
        if (!v)
            return false;
        p->v = v;
        p->cap = cap;
    }
    segment s = { .base = im_pages_new(size), .bytes = size };
    if (!s.base && size > bytes)                               /* so much is not to be had: just what is needed        */
        s = (segment){ .base = im_pages_new(bytes), .bytes = bytes };
    if (!s.base || !grow(&s)) {
        im_pages_free(s.base, s.bytes);
        return false;
    }
    s.free[s.n++] = (range){ 0, s.bytes };
    p->v[p->n++] = s;
    return true;
}

static void *take(segment *s, size_t bytes)
{
    for (int i = 0; i < s->n; i++) {
        range *r = &s->free[i];
        if (r->bytes < bytes)
            continue;
        char *block = s->base + r->at;
        r->at += bytes;
        r->bytes -= bytes;
        s->lent++;
        if (!r->bytes)
            memmove(r, r + 1, (size_t)(--s->n - i) * sizeof *r);
        return block;
    }
    return NULL;
}

void *im_memory_pool_get(im_memory_pool *p, size_t bytes)
{
    if (bytes < smallest)
        return im_pages_new(bytes);
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t need = rounded(bytes);
    for (int i = 0; i < p->n; i++) {
        void *block = grow(&p->v[i]) ? take(&p->v[i], need) : NULL;
        if (block)
            return block;
    }
    return add_segment(p, need) ? take(&p->v[p->n - 1], need) : NULL;
}

static void give_back(segment *s, size_t at, size_t bytes)
{
    int i = 0;
    while (i < s->n && s->free[i].at < at)
        i++;
    s->lent--;
    bool before = i > 0 && s->free[i - 1].at + s->free[i - 1].bytes == at, after = i < s->n && s->free[i].at == at + bytes;
    if (before && after) {
        s->free[i - 1].bytes += bytes + s->free[i].bytes;
        memmove(&s->free[i], &s->free[i + 1], (size_t)(--s->n - i) * sizeof *s->free);
    } else if (before) {
        s->free[i - 1].bytes += bytes;
    } else if (after) {
        s->free[i].at = at;
        s->free[i].bytes += bytes;
    } else {
        assert(s->n < s->cap);                                 /* see grow                                             */
        memmove(&s->free[i + 1], &s->free[i], (size_t)(s->n++ - i) * sizeof *s->free);
        s->free[i] = (range){ at, bytes };
    }
}

void im_memory_pool_put(im_memory_pool *p, void *block, size_t bytes)
{
    for (int i = 0; bytes >= smallest && i < p->n; i++) {
        segment *s = &p->v[i];
        uintptr_t at = (uintptr_t)block - (uintptr_t)s->base;
        if ((uintptr_t)block >= (uintptr_t)s->base && at < s->bytes) {
            give_back(s, at, rounded(bytes));
            return;
        }
    }
    im_pages_free(block, bytes);                               /* small, or older than the pool                        */
}
