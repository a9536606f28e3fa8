/* embeddings.c: see embeddings.h. */
#include "models/checkpoints/embeddings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/files/file.h"
#include "data/files/named.h"
#include "data/files/safetensors.h"
#include "data/files/sha256.h"
#include "models/checkpoints/param_file.h"

static const char OF_FILE[] = "emb_params";

static bool check(im_ctx *c, const im_embeddings *e, const char *path, const im_st_entry *t, const char *name, int width,
                  int most)
{
    int64_t n = t->ndim == 1 ? 1 : t->ndim ? t->shape[0] : 0;
    char shape[96];
    im_file_shape_text(t->shape, t->ndim, shape, sizeof shape);
    if (!strcmp(t->name, "clip_g") || !strcmp(t->name, "clip_l"))
        return im_fail(c, "%s: is an embedding for SDXL (it has %s); wanted one of Stable Diffusion v1.x", path, t->name);
    if (!im_st_is_float(t) || t->ndim < 1 || t->ndim > 2 || n < 1)
        return im_fail(c, "%s: %s is %s %s; wanted the vectors of an embedding, (n, %d) in a float type", path, t->name,
                       t->dtype_name, shape, width);
    if (t->shape[t->ndim - 1] != width)
        return im_fail(c, "%s: its vectors have %lld values, this model's text encoder has %d; is it of another kind of "
                          "model?", path, (long long)t->shape[t->ndim - 1], width);
    if (n > most)
        return im_fail(c, "%s: \"%s\" has %lld vectors, but a chunk of text holds %d", path, name, (long long)n, most);
    for (int i = 0; i < e->n; i++)
        if (!strcasecmp(e->v[i].name, name))
            return im_fail(c, "%s: there is an embedding \"%s\" already (SHA-256 %.16s...); rename one of them", path,
                           e->v[i].name, e->v[i].sha256);
    return true;
}

static bool add(im_ctx *c, im_embeddings *e, const im_st_entry *t, const char *name, const char *sha256, int width)
{
    int n = t->ndim == 1 ? 1 : (int)t->shape[0];
    im_learned *v = realloc(e->v, (size_t)(e->n + 1) * sizeof *v);
    if (v) e->v = v;
    float *vectors = realloc(e->vectors, (size_t)(e->rows + n) * (size_t)width * sizeof *vectors);
    if (vectors) e->vectors = vectors;
    if (!v || !vectors) return im_fail(c, "out of memory for the embedding \"%s\"", name);
    e->width = width;
    v[e->n] = (im_learned){ .name = im_copy_text(c, name, strlen(name)), .n = n };
    if (!v[e->n].name) return false;
    memcpy(v[e->n++].sha256, sha256, sizeof v->sha256);
    im_st_read_f32(t, 0, (int64_t)n * width, vectors + (size_t)e->rows * (size_t)width);
    e->rows += n;
    return true;
}

static void shorten(im_embeddings *e, int n, int rows)
{
    while (e->n > n) free(e->v[--e->n].name);
    e->rows = rows;
}

bool im_embeddings_add(im_ctx *c, im_embeddings *e, const char *path, int width, int most)
{
    int had = e->n, rows = e->rows;
    char sha256[65];
    if (!im_ok(c)) return false;
    if (im_st_pickle_name(path)) return im_st_refuse_pickle(c, path);
    char *own = im_named_of(c, path);
    im_safetensors *file = own ? im_st_open(c, path) : NULL;
    bool ok = file && im_sha256_file_once(c, path, sha256);
    if (ok && !im_st_count(file)) ok = im_fail(c, "%s: has no tensors; wanted the vectors of an embedding", path);
    for (int i = 0; ok && i < im_st_count(file); i++) {
        const im_st_entry *t = im_st_at(file, i);
        const char *name = strcmp(t->name, OF_FILE) ? t->name : own;
        ok = check(c, e, path, t, name, width, most) && add(c, e, t, name, sha256, width);
    }
    im_st_close(file);
    free(own);
    if (!ok) shorten(e, had, rows);
    return ok;
}

void im_embeddings_free(im_embeddings *e)
{
    shorten(e, 0, 0);
    free(e->v);
    free(e->vectors);
    *e = (im_embeddings){ 0 };
}
