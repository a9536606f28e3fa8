/* bpe.c: see bpe.h. The merging of one word; the tables come from bpe_load.c. */
#include "data/text/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool no_memory(im_ctx *c) { return im_fail(c, "out of memory in the tokenizer; close other programs"); }

bool im_ids_add(im_ctx *c, im_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        size_t cap = ids->cap ? 2 * ids->cap : 128;
        int32_t *v = realloc(ids->v, cap * sizeof *v);
        if (!v) return no_memory(c);
        ids->v = v;
        ids->cap = cap;
    }
    ids->v[ids->n++] = id;
    return true;
}

im_merge *im_bpe_merge(const im_bpe *b, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right, h = pair * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 32) & (b->cap - 1);
    while (b->merges[i].rank >= 0 && b->merges[i].pair != pair) i = (i + 1) & (b->cap - 1);
    return &b->merges[i];
}

void im_bpe_free(im_bpe *b)
{
    for (int i = 0; i < b->n; i++) free(b->pieces[i]);
    free(b->pieces);
    free(b->merges);
    im_names_free(&b->ids);
    *b = (im_bpe){ 0 };
}

/* Symbols of a word are a doubly linked list in an array. Possible merges wait in a heap by (rank, position); one whose
 * symbols have changed since is dropped when it comes up. n log n, as a word may be a whole file without a space. */
typedef struct symbol { int32_t id; int prev, next; } symbol;  /* id -1: merged into its left neighbour               */
typedef struct chance { int32_t rank, result, left, right; int at; } chance;        /* left, right: ids when seen     */
typedef struct work { symbol *s; chance *heap; int n_heap; } work;

static bool sooner(const chance *a, const chance *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(work *w, chance x)
{
    int i = w->n_heap++;
    for (; i && sooner(&x, &w->heap[(i - 1) / 2]); i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = x;
}

static chance heap_pop(work *w)
{
    chance top = w->heap[0], x = w->heap[--w->n_heap];
    int i = 0;
    for (int k = 1; k < w->n_heap; k = 2 * i + 1) {
        if (k + 1 < w->n_heap && sooner(&w->heap[k + 1], &w->heap[k])) k++;
        if (!sooner(&w->heap[k], &x)) break;
        w->heap[i] = w->heap[k];
        i = k;
    }
    w->heap[i] = x;
    return top;
}

/* Puts the pair that begins at symbol `at` into the heap when it can be merged. */
static void consider(const im_bpe *b, work *w, int at)
{
    if (at < 0 || w->s[at].next < 0) return;
    int32_t left = w->s[at].id, right = w->s[w->s[at].next].id;
    const im_merge *m = im_bpe_merge(b, left, right);
    if (m->rank >= 0) heap_push(w, (chance){ m->rank, m->result, left, right, at });
}

static void merge_all(const im_bpe *b, work *w, int n)
{
    for (int i = 0; i < n; i++) consider(b, w, i);
    while (w->n_heap) {
        chance x = heap_pop(w);
        symbol *l = &w->s[x.at];
        if (l->id != x.left || l->next < 0 || w->s[l->next].id != x.right) continue;
        symbol *r = &w->s[l->next];
        l->id = x.result;
        r->id = -1;
        l->next = r->next;
        if (l->next >= 0) w->s[l->next].prev = x.at;
        consider(b, w, l->prev);
        consider(b, w, x.at);
    }
}

bool im_bpe_word(im_ctx *c, const im_bpe *b, const char *word, size_t bytes, int32_t unknown, im_ids *out)
{
    if (!bytes) return true;
    if (bytes > INT32_MAX / 4) return im_fail(c, "a word of %zu bytes is too long to be tokenized; shorten it", bytes);
    int n = (int)bytes;
    /* Each symbol starts at most one chance, each merge adds at most two and uses up a symbol: 3n is enough. */
    work w = { .s = malloc(bytes * sizeof *w.s), .heap = malloc(3 * bytes * sizeof *w.heap) };
    bool ok = (w.s && w.heap) || no_memory(c);
    for (int i = 0; ok && i < n; i++) {
        char piece[8];
        snprintf(piece, sizeof piece, "%s%s", b->alphabet[(uint8_t)word[i]], i == n - 1 ? "</w>" : "");
        int id = im_names_find(&b->ids, piece, strlen(piece));
        w.s[i] = (symbol){ id < 0 ? unknown : id, i - 1, i == n - 1 ? -1 : i + 1 };
    }
    if (ok) merge_all(b, &w, n);
    for (int i = 0; ok && i >= 0; i = w.s[i].next) ok = im_ids_add(c, out, w.s[i].id);
    free(w.s);
    free(w.heap);
    return ok;
}
