/* memory_pool.c: memory of activations and gradients, given back and asked for again, step after step.
 *
 * A step of ResNet50 makes and drops gigabytes. Fresh pages from the system are zeroed first, which took a quarter of a
 * step; so pages stay here once they were touched. Memory comes in segments, which double up to 1 GiB; a request takes the
 * lowest free range that holds it, of the oldest segment that has one, and ranges that come back join their free
 * neighbours (first fit by address: Knuth, The Art of Computer Programming 1, 2.5). Forward passes take and backward
 * passes return like a stack, so hardly anything is lost between the ranges; what was never needed is never touched, and
 * costs nothing. Requests below 1 MiB go to the system: malloc keeps such memory itself. (A GPU's pool, of
 * src/cuda/held.c, has segments of its memory and keeps small ones, too.) */
#include "tensor/memory_pool.h"
#include "tensor/memory.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const size_t largest_segment = 1u << 30;

typedef struct { size_t at, bytes; } range;                    /* free, within its segment                             */

typedef struct segment {
    char *base;
    size_t bytes;
    range *free;                                               /* ascending, no two adjacent: at most lent + 1         */
    int n, cap;
    int lent;                                                  /* blocks                                               */
} segment;

struct im_memory_pool {
    im_memory_source from;
    segment *v;
    int n, cap;
};

static void *get_pages(void *arg, size_t bytes)
{
    (void)arg;
    return im_pages_new(bytes);
}

static void put_pages(void *arg, void *p, size_t bytes)
{
    (void)arg;
    im_pages_free(p, bytes);
}

im_memory_pool *im_memory_pool_new(void)
{
    return im_memory_pool_over(&(im_memory_source){ get_pages, put_pages, NULL, 1u << 20, 1u << 16, 64u << 20 });
}

im_memory_pool *im_memory_pool_over(const im_memory_source *s)
{
    im_memory_pool *p = calloc(1, sizeof *p);
    if (p)
        p->from = *s;
    return p;
}

void im_memory_pool_free(im_memory_pool *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n; i++) {
        p->from.put(p->from.arg, p->v[i].base, p->v[i].bytes);
        free(p->v[i].free);
    }
    free(p->v);
    free(p);
}

static size_t rounded(const im_memory_pool *p, size_t bytes)
{
    size_t unit = p->from.unit;
    return (bytes ? bytes + unit - 1 : unit) / unit * unit;
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
    size_t size = p->n ? 2 * p->v[p->n - 1].bytes : p->from.first_segment;
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
    segment s = { .base = p->from.get(p->from.arg, size), .bytes = size };
    if (!s.base && size > bytes)                               /* so much is not to be had: just what is needed        */
        s = (segment){ .base = p->from.get(p->from.arg, bytes), .bytes = bytes };
    if (!s.base || !grow(&s)) {
        p->from.put(p->from.arg, s.base, s.bytes);
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
    if (bytes < p->from.smallest)
        return p->from.get(p->from.arg, bytes);
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t need = rounded(p, bytes);
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

static segment *segment_of(const im_memory_pool *p, const void *block)
{
    for (int i = 0; i < p->n; i++)
        if ((uintptr_t)block >= (uintptr_t)p->v[i].base && (uintptr_t)block - (uintptr_t)p->v[i].base < p->v[i].bytes)
            return &p->v[i];
    return NULL;
}

bool im_memory_pool_has(const im_memory_pool *p, const void *block)
{
    return segment_of(p, block) != NULL;
}

size_t im_memory_pool_idle(const im_memory_pool *p)
{
    size_t bytes = 0;
    for (int i = 0; i < p->n; i++)
        for (int k = 0; k < p->v[i].n; k++)
            bytes += p->v[i].free[k].bytes;
    return bytes;
}

void im_memory_pool_put(im_memory_pool *p, void *block, size_t bytes)
{
    segment *s = bytes >= p->from.smallest ? segment_of(p, block) : NULL;
    if (s)
        give_back(s, (size_t)((uintptr_t)block - (uintptr_t)s->base), rounded(p, bytes));
    else
        p->from.put(p->from.arg, block, bytes);                /* small, or older than the pool                        */
}
