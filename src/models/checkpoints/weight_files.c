/* weight_files.c: see weight_files.h. STEM is "model" for the text encoder, else "diffusion_pytorch_model"; V a variant:
 *
 *     STEM.safetensors               STEM.safetensors.index.json       plain: one file, or shards and their index
 *     STEM.V.safetensors             STEM.safetensors.index.V.json     variant
 *                                    STEM.safetensors.V.index.json     the same, as older diffusers wrote it
 *     STEM.V-00001-of-00002.safetensors, STEM-00001-of-00002.V.safetensors    shards, named by an index
 *
 * Where an index and a single file stand side by side, diffusers takes the index (models/modeling_utils.py), transformers
 * the file (_get_resolved_checkpoint_files): the text encoder is transformers'. */
#include "models/checkpoints/weight_files.h"
#include "data/files/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { NEITHER, ONE_FILE, INDEX, OLD_INDEX, SHARD, PICKLE } file_kind;

static const char *after(const char *text, const char *head)
{
    size_t n = strlen(head);
    return strncmp(text, head, n) ? NULL : text + n;
}

static bool ends(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && !strcmp(text + n - m, tail);
}

/* Does text hold "-00001-of-00002"? */
static bool numbered(const char *text)
{
    for (const char *p = text; (p = strchr(p, '-')); p++) {
        unsigned i, n;
        int used = 0;
        if (sscanf(p, "-%5u-of-%5u%n", &i, &n, &used) == 2 && used == 15)
            return true;
    }
    return false;
}

/* What lies between head and tail of ".V." is the variant: ".fp16" without its dot; "" for the plain file. */
static bool middle(const char *text, const char *tail, char variant[IM_VARIANT_BYTES])
{
    if (!ends(text, tail))
        return false;
    size_t n = strlen(text) - strlen(tail);
    if (n && (*text != '.' || n < 2 || n > IM_VARIANT_BYTES))
        return false;
    snprintf(variant, IM_VARIANT_BYTES, "%.*s", n ? (int)n - 1 : 0, text + (n > 0));
    return true;
}

static file_kind kind_of(const char *name, im_part part, char variant[IM_VARIANT_BYTES])
{
    const char *rest = after(name, part == IM_PART_CLIP ? "model" : "diffusion_pytorch_model"), *inner;
    *variant = 0;
    if (ends(name, ".bin") || ends(name, ".ckpt") || ends(name, ".pt"))
        return PICKLE;
    if (!rest)
        return NEITHER;
    if (numbered(rest) && ends(rest, ".safetensors"))
        return SHARD;
    if ((inner = after(rest, ".safetensors.index")) && middle(inner, ".json", variant))
        return INDEX;
    if ((inner = after(rest, ".safetensors")) && middle(inner, ".index.json", variant))
        return OLD_INDEX;
    return middle(rest, ".safetensors", variant) ? ONE_FILE : NEITHER;
}

/* Of two files for the same weights: does the new kind come before the old one? */
static bool before(file_kind new, const char *old, im_part part)
{
    if (!old)
        return true;
    file_kind before = !ends(old, ".json") ? ONE_FILE : ends(old, ".index.json") ? OLD_INDEX : INDEX;
    static const int places[2][4] = { { 0, 2, 0, 1 }, { 0, 0, 1, 2 } };                  /* by kind: 0 comes first    */
    const int *order = places[part == IM_PART_CLIP];
    return order[new] < order[before];
}

static char **place_of(im_weight_files *f, const char *variant)
{
    if (!*variant)
        return &f->plain;
    int i = 0;
    while (i < f->n && strcmp(f->name[i], variant) < 0)
        i++;
    if (i < f->n && !strcmp(f->name[i], variant))
        return &f->variant[i];
    if (f->n == IM_VARIANTS)
        return NULL;
    for (int k = f->n++; k > i; k--) {
        memcpy(f->name[k], f->name[k - 1], IM_VARIANT_BYTES);
        f->variant[k] = f->variant[k - 1];
    }
    memcpy(f->name[i], variant, IM_VARIANT_BYTES);
    f->variant[i] = NULL;
    return &f->variant[i];
}

static bool note_file(im_ctx *c, im_weight_files *f, const char *folder, im_part part, const char *name)
{
    char variant[IM_VARIANT_BYTES];
    file_kind kind = kind_of(name, part, variant);
    if (kind == NEITHER)
        return true;
    if (kind == SHARD)
        return f->shards = true;
    char **at = kind == PICKLE ? &f->pickle : place_of(f, variant);
    if (!at)
        return im_fail(c, "%s: holds more than %d variants of its weights; keep those that are used", folder, IM_VARIANTS);
    if (kind == PICKLE ? *at && strcmp(name, strrchr(*at, '/') + 1) > 0 : !before(kind, *at, part))
        return true;
    free(*at);
    return (*at = im_join(c, folder, name)) != NULL;
}

bool im_weight_files_list(im_ctx *c, im_weight_files *out, const char *folder, im_part part)
{
    *out = (im_weight_files){ 0 };
    if (!im_ok(c))
        return false;
    DIR *d = opendir(folder);
    if (!d)
        return im_fail(c, "%s: cannot be read: %s; is it a whole diffusers folder?", folder, strerror(errno));
    bool ok = true;
    for (const struct dirent *e; ok && (e = readdir(d)); )
        ok = note_file(c, out, folder, part, e->d_name);
    closedir(d);
    return ok;
}

void im_weight_files_free(im_weight_files *f)
{
    for (int i = 0; i < f->n; i++)
        free(f->variant[i]);
    free(f->plain);
    free(f->pickle);
    *f = (im_weight_files){ 0 };
}

/* ---------------------------------------------------------------- the choice */

static int find(const im_weight_files *f, const char *variant)
{
    for (int i = 0; variant && i < f->n; i++)
        if (!strcmp(f->name[i], variant))
            return i;
    return -1;
}

bool im_weight_files_has(const im_weight_files *f, const char *variant) { return find(f, variant) >= 0; }

void im_weight_files_names(const im_weight_files *f, char *out, size_t size)
{
    size_t used = 0;
    *out = 0;
    for (int i = 0; i < f->n && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", f->name[i]);
}

static bool refuse(im_ctx *c, const im_weight_files *f, const char *folder, im_part part)
{
    const char *stem = part == IM_PART_CLIP ? "model" : "diffusion_pytorch_model";
    if (f->shards)
        return im_fail(c, "%s: holds shards of weights, but no %s.safetensors.index.json that names them; fetch it", folder,
                       stem);
    if (f->pickle)
        return im_fail(c, "%s: the only weights in this folder are PyTorch pickles, which are refused: they can run any "
                       "program when they are read; where they are trusted, load the model with diffusers and write it "
                       "with save_pretrained(..., safe_serialization=True)", f->pickle);
    return im_fail(c, "%s: has no %s.safetensors, no %s.safetensors.index.json and no variant such as "
                   "%s.fp16.safetensors; is it a whole diffusers folder?", folder, stem, stem, stem);
}

const char *im_weight_files_choose(im_ctx *c, const im_weight_files *f, const char *folder, im_part part,
                                   const char **name)
{
    const char *wanted = im_weights_variant(c, NULL);
    int i = find(f, wanted);
    char names[IM_VARIANTS * IM_VARIANT_BYTES];
    *name = NULL;
    if (i < 0 && f->plain)
        return f->plain;
    if (i < 0 && f->n == 1 && !wanted)
        i = 0;
    if (i >= 0) {
        *name = f->name[i];
        return f->variant[i];
    }
    im_weight_files_names(f, names, sizeof names);
    if (!f->n)
        refuse(c, f, folder, part);
    else if (wanted)
        im_fail(c, "%s: has neither the variant %s nor a plain file of weights; found: %s (--variant NAME)", folder, wanted,
                names);
    else
        im_fail(c, "%s: has no plain file of weights, but %d variants: %s; choose one with --variant NAME", folder, f->n,
                names);
    return NULL;
}
