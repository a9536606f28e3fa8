/* art_family.c: which pieces are the same drawing, and which families are kept from training.
 *
 * Two pieces are of one family if their names differ in numbers and colour words only, or if their difference hashes
 * (rows and columns of brightness, 64 bits each; Krawetz 2013, "Kind of like that") are nearly equal: a drawing in colour
 * and in black and white, a numbered variant, a copy in another folder. Families are joined until nothing changes. */
#include "art.h"
#include "data/images/resize.h"

#include <stdlib.h>
#include <string.h>

enum { NEAR = 5 };                       /* differing bits of 128                                                     */

static int root(art_list *l, int i)
{
    while (l->v[i].family != i)
        i = l->v[i].family = l->v[l->v[i].family].family;
    return i;
}

static void join(art_list *l, int a, int b)
{
    a = root(l, a);
    b = root(l, b);
    if (a < b)
        l->v[b].family = a;
    else
        l->v[a].family = b;
}

void art_families(art_list *l)
{
    for (int i = 0; i < l->n; i++)
        l->v[i].family = i;
    for (int i = 0; i < l->n; i++)
        for (int j = 0; j < i; j++) {
            const art_piece *a = &l->v[i], *b = &l->v[j];
            int bits = __builtin_popcountll(a->hash[0] ^ b->hash[0]) + __builtin_popcountll(a->hash[1] ^ b->hash[1]);
            if (bits <= NEAR || (a->category == b->category && !strcmp(a->stem, b->stem)))
                join(l, i, j);
        }
    for (int i = 0; i < l->n; i++)
        l->v[i].family = root(l, i);
}

/* FNV-1a: an order of families that depends on nothing but their names. */
static uint64_t name_hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h ^ h >> 29;
}

typedef struct { uint64_t key; int family; } ticket;

static int by_key(const void *a, const void *b)
{
    const ticket *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static void split_category(art_list *l, const char *category, int percent, ticket *t)
{
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (l->v[i].family == i && l->v[i].category == category)
            t[n++] = (ticket){ name_hash(l->v[i].file), i };
    qsort(t, (size_t)n, sizeof *t, by_key);
    for (int k = 0; k < (n * percent + 50) / 100; k++)
        l->v[t[k].family].held_out = true;
}

void art_split(art_list *l, int percent)
{
    ticket *t = malloc(((size_t)l->n + 1) * sizeof *t);
    for (int i = 0; t && i < l->n; i++) {                      /* each category once: at its first family             */
        int first = 0;
        while (l->v[first].family != first || l->v[first].category != l->v[i].category)
            if (++first > i)
                break;
        if (first == i)
            split_category(l, l->v[i].category, percent, t);
    }
    for (int i = 0; i < l->n; i++)
        l->v[i].held_out = l->v[l->v[i].family].held_out;
    free(t);
}
