/* names.c: open addressing with linear probing, at most half full; hash: FNV-1a (Fowler, Noll, Vo). */
#include "data/files/names.h"

#include <stdlib.h>
#include <string.h>

static im_name *slot_of(const im_names *m, const char *key, size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++) h = (h ^ (uint8_t)key[i]) * 0x100000001b3u;
    size_t i = (size_t)(h ^ h >> 32) & (m->cap - 1);
    while (m->v[i].key && (m->v[i].bytes != bytes || memcmp(m->v[i].key, key, bytes))) i = (i + 1) & (m->cap - 1);
    return &m->v[i];
}

bool im_names_init(im_ctx *c, im_names *m, size_t expected)
{
    size_t cap = 16;
    while (cap / 2 <= expected) cap *= 2;
    *m = (im_names){ .v = calloc(cap, sizeof *m->v), .cap = cap };
    return m->v || im_fail(c, "out of memory for a table of %zu names; close other programs", expected);
}

bool im_names_add(im_ctx *c, im_names *m, const char *key, size_t bytes, int value)
{
    if ((m->n + 1) * 2 > m->cap) {
        im_names wider;
        if (!im_names_init(c, &wider, m->cap)) return false;
        for (size_t i = 0; i < m->cap; i++)
            if (m->v[i].key) *slot_of(&wider, m->v[i].key, m->v[i].bytes) = m->v[i];
        wider.n = m->n;
        im_names_free(m);
        *m = wider;
    }
    im_name *s = slot_of(m, key, bytes);
    if (!s->key) m->n++;
    *s = (im_name){ key, bytes, value };
    return true;
}

int im_names_find(const im_names *m, const char *key, size_t bytes)
{
    if (!m->v) return -1;
    const im_name *s = slot_of(m, key, bytes);
    return s->key ? s->value : -1;
}

void im_names_free(im_names *m)
{
    free(m->v);
    *m = (im_names){ 0 };
}
