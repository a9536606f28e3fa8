/* copies.c: see copies.h. A weight has two or three copies (forward, backward, a phase of a stride), so they are a list.
 * Used by cpu/pack_weights.c, cpu/conv_dx.c; owned by storages (tensor.c). */
#include "tensor/copies.h"
#include "tensor/device.h"

#include <stdlib.h>
#include <string.h>

typedef struct copy {
    im_copy_key key;
    uint64_t version;                                          /* of the weight when it was made                       */
    void *data;
    size_t bytes;
    struct copy *next;
} copy;

struct im_copies {
    uint64_t version;
    copy *first;
};

im_copies *im_copies_new(void)
{
    return calloc(1, sizeof(im_copies));
}

void im_copies_free(im_device *dev, im_copies *c)
{
    for (copy *p = c ? c->first : NULL, *next; p; p = next) {
        next = p->next;
        dev->s.free(dev, p->data, p->bytes);
        free(p);
    }
    free(c);
}

void im_copies_change(im_copies *c)
{
    if (c)
        c->version++;
}

static copy *add(im_device *dev, im_copies *c, const im_copy_key *key, size_t bytes)
{
    copy *p = malloc(sizeof *p);
    void *data = p ? dev->s.alloc(dev, bytes) : NULL;
    if (!data) {
        free(p);
        return NULL;
    }
    *p = (copy){ .key = *key, .version = c->version - 1, .data = data, .bytes = bytes, .next = c->first };
    dev->counts.blocks++;
    return c->first = p;
}

void *im_copies_get(im_device *dev, im_copies *c, const im_copy_key *key, size_t bytes, bool *made)
{
    copy *p = c->first;
    while (p && (p->bytes != bytes || memcmp(&p->key, key, sizeof *key)))
        p = p->next;
    *made = p && p->version == c->version;
    if (!p && !(p = add(dev, c, key, bytes)))
        return NULL;
    dev->counts.copies += !*made;
    p->version = c->version;
    return p->data;
}
