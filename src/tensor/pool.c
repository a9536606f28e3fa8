/* pool.c: blocks that training gives back and asks for again, step after step.
 *
 * A step of ResNet50 makes and drops gigabytes of activations and gradients. Fresh pages from the system are zeroed first
 * and cost as much as a kernel; so blocks of 1 MiB and more are kept when they come back and lent out again, to a request
 * that fills at least 7/8 of one. What is kept never makes the whole larger than the most that was ever in use at once:
 * before a new block is made, kept ones are given to the system until it fits under that mark. */
#include "tensor/pool.h"
#include "tensor/memory.h"

#include <stdlib.h>

enum { MAX_KEPT = 512 };
static const size_t smallest = 1u << 20;

typedef struct { void *block; size_t bytes; } piece;           /* bytes: as the block was made                         */

struct im_pool {
    piece kept[MAX_KEPT], *lent;                               /* lent: blocks at work, to know their true size        */
    int n_kept, n_lent, cap_lent;
    size_t used, kept_bytes, most;                             /* most: largest `used` so far                          */
};

im_pool *im_pool_new(void)
{
    return calloc(1, sizeof(im_pool));
}

static void drop(im_pool *p, int i)
{
    im_pages_free(p->kept[i].block, p->kept[i].bytes);
    p->kept_bytes -= p->kept[i].bytes;
    p->kept[i] = p->kept[--p->n_kept];
}

void im_pool_free(im_pool *p)
{
    if (!p)
        return;
    while (p->n_kept)
        drop(p, p->n_kept - 1);
    free(p->lent);
    free(p);
}

/* The smallest kept block that holds the request without wasting more than an eighth, or -1. */
static int find(const im_pool *p, size_t bytes)
{
    int best = -1;
    for (int i = 0; i < p->n_kept; i++)
        if (p->kept[i].bytes >= bytes && p->kept[i].bytes - p->kept[i].bytes / 8 <= bytes
            && (best < 0 || p->kept[i].bytes < p->kept[best].bytes))
            best = i;
    return best;
}

static void drop_largest(im_pool *p)
{
    int at = 0;
    for (int i = 1; i < p->n_kept; i++)
        if (p->kept[i].bytes > p->kept[at].bytes)
            at = i;
    drop(p, at);
}

void *im_pool_get(im_pool *p, size_t bytes)
{
    if (bytes < smallest)
        return im_pages_new(bytes);
    if (p->n_lent == p->cap_lent) {
        int cap = p->cap_lent ? 2 * p->cap_lent : 256;
        piece *lent = realloc(p->lent, (size_t)cap * sizeof *lent);
        if (!lent)
            return NULL;
        p->lent = lent;
        p->cap_lent = cap;
    }
    piece got;
    int i = find(p, bytes);
    if (i >= 0) {
        got = p->kept[i];
        p->kept_bytes -= got.bytes;
        p->kept[i] = p->kept[--p->n_kept];
    } else {
        while (p->n_kept && p->used + p->kept_bytes + bytes > p->most)
            drop_largest(p);
        got = (piece){ im_pages_new(bytes), bytes };
        while (!got.block && p->n_kept) {                      /* the system has no more: what is kept may be in the way */
            drop_largest(p);
            got.block = im_pages_new(bytes);
        }
        if (!got.block)
            return NULL;
    }
    p->lent[p->n_lent++] = got;
    p->used += got.bytes;
    if (p->used > p->most)
        p->most = p->used;
    return got.block;
}

void im_pool_put(im_pool *p, void *block, size_t bytes)
{
    int i = p->n_lent - 1;
    while (i >= 0 && p->lent[i].block != block)                /* the youngest come back first                         */
        i--;
    if (i < 0) {                                               /* small, or older than the pool                        */
        im_pages_free(block, bytes);
        return;
    }
    piece got = p->lent[i];
    p->lent[i] = p->lent[--p->n_lent];
    p->used -= got.bytes;
    if (p->n_kept == MAX_KEPT) {
        im_pages_free(got.block, got.bytes);
        return;
    }
    p->kept[p->n_kept++] = got;
    p->kept_bytes += got.bytes;
}
