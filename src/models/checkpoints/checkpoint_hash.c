/* checkpoint_hash.c: the fingerprint of a checkpoint: SHA-256 over the parts in order, and in each over its tensors
 * sorted by diffusers name: name, dtype, shape without trailing ones and at most 4 KiB of the bytes. Scales of integers and
 * their multipliers (int8_file.h) come behind them, in the same order. */
#include "models/checkpoints/checkpoint_hash.h"
#include "models/checkpoints/param_file.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct item { const char *name; const im_st_entry *entry; } item;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const item *)a)->name, ((const item *)b)->name);
}

static void hash_entry(EVP_MD_CTX *md, const char *name, const im_st_entry *e)
{
    const char *bytes = e->data;
    char shape[96];
    int ndim = e->ndim;
    while (ndim > 1 && e->shape[ndim - 1] == 1)
        ndim--;
    im_file_shape_text(e->shape, ndim, shape, sizeof shape);
    EVP_DigestUpdate(md, name, strlen(name) + 1);
    EVP_DigestUpdate(md, e->dtype_name, strlen(e->dtype_name) + 1);
    EVP_DigestUpdate(md, shape, strlen(shape) + 1);
    if (e->bytes <= 4096) {
        EVP_DigestUpdate(md, bytes, e->bytes);
        return;
    }
    EVP_DigestUpdate(md, bytes, 1024);
    EVP_DigestUpdate(md, bytes + e->bytes / 2 - 1024, 2048);
    EVP_DigestUpdate(md, bytes + e->bytes - 1024, 1024);
}

static bool hash_part(EVP_MD_CTX *md, const im_checkpoint *k, im_part part)
{
    int n = im_checkpoint_count(k, part);
    item *order = calloc((size_t)n + 1, sizeof *order);
    if (!order)
        return false;
    for (int i = 0; i < n; i++) {
        const im_param *p = NULL;
        order[i].entry = im_checkpoint_at(k, part, i, &p);
        order[i].name = p->t->name;
    }
    qsort(order, (size_t)n, sizeof *order, by_name);
    for (int i = 0; i < n; i++)
        hash_entry(md, order[i].name, order[i].entry);
    for (int i = 0; i < n; i++) {
        im_int8_parts int8 = im_checkpoint_int8(k, part, order[i].entry);
        if (int8.scale)
            hash_entry(md, int8.scale->name, int8.scale);
        if (int8.multiplier)
            hash_entry(md, int8.multiplier->name, int8.multiplier);
    }
    free(order);
    return true;
}

bool im_checkpoint_hash(im_ctx *c, const im_checkpoint *k, char hex[65])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    for (int p = 0; ok && p < IM_PART_COUNT; p++)
        ok = hash_part(md, k, (im_part)p);
    ok = ok && EVP_DigestFinal_ex(md, sum, &size) && size == 32;
    EVP_MD_CTX_free(md);
    for (unsigned i = 0; ok && i < size; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return ok || im_fail(c, "%s: out of memory for its fingerprint", im_checkpoint_path(k));
}
