/* checkpoint.c: finds the files of a checkpoint, matches their tensors with the parameters that the configuration asks
 * for, and loads them (checkpoint.h).
 *
 * A checkpoint holds one network of each kind as a blueprint: parameters with names and shapes but no storage. Every
 * tensor of the files either belongs to one of them, is known to be of no use, or is unexpected. */
#include "models/checkpoints/checkpoint.h"
#include "models/checkpoints/checkpoint_names.h"
#include "models/checkpoints/param_file.h"
#include "models/nets/clip.h"
#include "models/nets/unet.h"
#include "models/nets/vae.h"
#include "data/files/file.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {                    /* a parameter and the tensor that fills it                                  */
    const im_param *param;
    const im_st_entry *entry;            /* NULL: missing                                                             */
} item;

typedef struct part {
    im_safetensors *file;                /* of a single file: shared by all parts                                     */
    char *path;
    item *items;
    int n, found;
    const char **unexpected;
    int n_unexpected;
} part;

struct im_checkpoint {
    im_ctx *c;
    char *path;
    bool single;
    im_model_config config;
    im_clip *clip;                       /* blueprints                                                                */
    im_unet *unet;
    im_vae *vae;
    part parts[IM_PART_COUNT];
    bool *claimed;                       /* single file: tensors that a part has taken                                */
    char fingerprint[65];
};

const char *im_part_name(im_part p)
{
    static const char *const names[] = { "text_encoder", "unet", "vae" };
    return names[p];
}

/* ---------------------------------------------------------------- matching */

/* The tensor of a diffusers name under any of its spellings, or NULL. */
static const im_st_entry *find_entry(const im_checkpoint *k, im_part p, const char *name)
{
    char spelling[IM_NAME_BYTES], other[IM_NAME_BYTES];
    if (!k->single)
        snprintf(spelling, sizeof spelling, "%s", name);
    else if (!im_original_name(&k->config, p, name, spelling))
        return NULL;
    const im_st_entry *e = im_st_find(k->parts[p].file, spelling);
    for (int i = 0; !e && im_alias_name(p, spelling, k->single, i, other); i++)
        e = im_st_find(k->parts[p].file, other);
    return e;
}

static void match_params(im_checkpoint *k, im_part which, const im_params *p, bool *claimed)
{
    part *t = &k->parts[which];
    for (int i = 0; i < p->n; i++) {
        const im_st_entry *e = find_entry(k, which, p->v[i].t->name);
        t->items[t->n++] = (item){ .param = &p->v[i], .entry = e };
        if (e) {
            claimed[e - im_st_at(t->file, 0)] = true;
            t->found++;
        }
    }
}

/* Whose fault an unexpected tensor of a single file is. */
static im_part part_of(const char *original)
{
    if (!strncmp(original, "cond_stage_model.", 17))
        return IM_PART_CLIP;
    return strncmp(original, "first_stage_model.", 18) ? IM_PART_UNET : IM_PART_VAE;
}

static void list_unexpected(im_checkpoint *k, im_part p, const bool *claimed)
{
    part *t = &k->parts[p];
    for (int i = 0; i < im_st_count(t->file); i++) {
        const char *name = im_st_at(t->file, i)->name;
        if (!claimed[i] && !im_ignored_name(p, name, k->single) && (!k->single || part_of(name) == p))
            t->unexpected[t->n_unexpected++] = name;
    }
}

static bool match_part(im_checkpoint *k, im_part p, const im_params *a, const im_params *b)
{
    part *t = &k->parts[p];
    size_t tensors = (size_t)im_st_count(t->file) + 1;
    t->items = calloc((size_t)a->n + (size_t)(b ? b->n : 0), sizeof *t->items);
    t->unexpected = calloc(tensors, sizeof *t->unexpected);
    bool *claimed = k->single && k->claimed ? k->claimed : calloc(tensors, sizeof *claimed);
    bool ok = t->items && t->unexpected && claimed;
    if (ok) {
        match_params(k, p, a, claimed);
        if (b)
            match_params(k, p, b, claimed);
        list_unexpected(k, p, claimed);
    } else {
        im_fail(k->c, "%s: out of memory for the list of its tensors", t->path);
    }
    if (claimed != k->claimed)
        free(claimed);
    return ok;
}

static bool match_all(im_checkpoint *k)
{
    k->clip = im_clip_new(k->c, &k->config.clip);
    k->unet = im_unet_new(k->c, &k->config.unet);
    k->vae = im_vae_new(k->c, &k->config.vae);
    return k->clip && k->unet && k->vae && match_part(k, IM_PART_CLIP, im_clip_params(k->clip), NULL) &&
           match_part(k, IM_PART_UNET, im_unet_params(k->unet), NULL) &&
           match_part(k, IM_PART_VAE, im_vae_params(k->vae, IM_VAE_DECODER), im_vae_params(k->vae, IM_VAE_ENCODER));
}

/* ---------------------------------------------------------------- files */

/* Opens folder/part/NAME, the first that is there; a pickle is opened last, for the line that refuses it. */
static bool open_part(im_checkpoint *k, im_part p)
{
    static const char *const endings[] = { ".safetensors", ".safetensors.index.json", ".fp16.safetensors",
                                           ".safetensors.index.fp16.json", ".bin", ".bin.index.json" };
    const char *stem = p == IM_PART_CLIP ? "model" : "diffusion_pytorch_model";
    part *t = &k->parts[p];
    char name[96];
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        bool pickle = i > 3;
        snprintf(name, sizeof name, "%s/%s%s%s", im_part_name(p), pickle && p == IM_PART_CLIP ? "pytorch_" : "", stem,
                 endings[i]);
        t->path = im_join(k->c, k->path, name);
        if (!t->path)
            return false;
        if (im_is_file(t->path)) {
            if (i == 5)
                return im_fail(k->c, "%s: the weights beside it are PyTorch pickles, which can run any program when "
                               "they are read; save the model with diffusers' save_pretrained(..., "
                               "safe_serialization=True) and use that", t->path);
            t->file = im_st_open(k->c, t->path);
            return t->file != NULL;
        }
        free(t->path);
        t->path = NULL;
    }
    return im_fail(k->c, "%s: %s has no %s.safetensors (nor .fp16.safetensors, nor %s.safetensors.index.json)",
                   k->path, im_part_name(p), stem, stem);
}

static bool open_folder(im_checkpoint *k)
{
    if (!im_model_config_read(k->c, k->path, &k->config))
        return false;
    for (int p = 0; p < IM_PART_COUNT; p++)
        if (!open_part(k, (im_part)p))
            return false;
    return match_all(k);
}

/* A single file must at least look like Stable Diffusion in the original layout. */
static bool check_single(im_checkpoint *k, const im_safetensors *s)
{
    bool unet = false;
    for (int i = 0; i < im_st_count(s); i++)
        unet |= !strncmp(im_st_at(s, i)->name, "model.diffusion_model.", 22);
    const char *kind = im_other_kind(s);
    if (kind)
        return im_fail(k->c, "%s: this is %s; imago wants a Stable Diffusion v1.x checkpoint", k->path, kind);
    if (!unet)
        return im_fail(k->c, "%s: has no tensor named model.diffusion_model.* (its first is %s), so it is no Stable "
                       "Diffusion v1.x checkpoint in the original layout", k->path,
                       im_st_count(s) ? im_st_at(s, 0)->name : "none");
    return true;
}

static bool open_single(im_checkpoint *k)
{
    k->single = true;
    im_safetensors *s = im_st_open(k->c, k->path);
    for (int p = 0; s && p < IM_PART_COUNT; p++) {
        k->parts[p].file = s;
        k->parts[p].path = im_copy_text(k->c, k->path, strlen(k->path));
    }
    if (!s || !im_ok(k->c) || !check_single(k, s) || !im_model_config_metadata(k->c, s, k->path, &k->config))
        return false;
    k->claimed = calloc((size_t)im_st_count(s) + 1, sizeof *k->claimed);
    if (!k->claimed)
        return im_fail(k->c, "%s: out of memory for the list of its tensors", k->path);
    return match_all(k);
}

im_checkpoint *im_checkpoint_open(im_ctx *c, const char *path)
{
    if (!im_ok(c))
        return NULL;
    im_checkpoint *k = calloc(1, sizeof *k);
    if (!k) {
        im_fail(c, "%s: out of memory", path);
        return NULL;
    }
    k->c = c;
    k->path = im_copy_text(c, path, strlen(path));
    bool ok = k->path != NULL;
    if (ok && im_is_folder(path))
        ok = open_folder(k);
    else if (ok && im_is_file(path))
        ok = open_single(k);
    else if (ok)
        ok = im_fail(c, "%s: there is no such file or folder; a diffusers folder or a .safetensors file was expected",
                     path);
    if (ok)
        return k;
    im_checkpoint_close(k);
    return NULL;
}

void im_checkpoint_close(im_checkpoint *k)
{
    if (!k)
        return;
    for (int p = 0; p < IM_PART_COUNT; p++) {
        part *t = &k->parts[p];
        if (!k->single || p == 0)
            im_st_close(t->file);
        free(t->path);
        free(t->items);
        free(t->unexpected);
    }
    im_clip_free(k->clip);
    im_unet_free(k->unet);
    im_vae_free(k->vae);
    free(k->claimed);
    free(k->path);
    free(k);
}

const im_model_config *im_checkpoint_config(const im_checkpoint *k) { return &k->config; }
const char *im_checkpoint_path(const im_checkpoint *k) { return k->path; }
const char *im_checkpoint_folder(const im_checkpoint *k) { return k->single ? NULL : k->path; }

/* ---------------------------------------------------------------- loading */

/* The item of that name. Registries are walked in the same order, so the cursor is nearly always right. */
static const item *item_of(const part *t, const char *name, int *cursor)
{
    for (int i = 0; i < t->n; i++) {
        const item *it = &t->items[(*cursor + i) % t->n];
        if (!strcmp(it->param->t->name, name)) {
            *cursor = (*cursor + i + 1) % t->n;
            return it;
        }
    }
    return NULL;
}

static bool check_part(im_checkpoint *k, im_part which, const im_params *p)
{
    const part *t = &k->parts[which];
    im_misfits *m = calloc(1, sizeof *m);
    if (!m)
        return im_fail(k->c, "%s: out of memory", t->path);
    int cursor = 0;
    for (int i = 0; i < p->n; i++) {
        const item *it = item_of(t, p->v[i].t->name, &cursor);
        im_misfits_add(m, &p->v[i], it ? it->entry : NULL, p->v[i].t->name);
    }
    for (int i = 0; i < t->n_unexpected; i++)
        im_name_list_add(&m->unexpected, t->unexpected[i], "");
    char source[64], text[3600];
    snprintf(source, sizeof source, k->single ? "the %s of Stable Diffusion v1.x" : "%s/config.json",
             im_part_name(which));
    im_misfits_text(m, text, sizeof text);
    free(m);
    return !*text || im_fail(k->c, "%s: its tensors are not those of %s: %s", t->path, source, text);
}

bool im_checkpoint_load(im_checkpoint *k, im_part which, im_params *p, im_dtype hold)
{
    if (!k || !im_ok(k->c) || !check_part(k, which, p))
        return false;
    const part *t = &k->parts[which];
    int cursor = 0;
    for (int i = 0; i < p->n; i++) {
        if (im_cancelled(k->c))
            return im_fail(k->c, "stopped");
        const im_param *q = &p->v[i];
        if (!im_params_hold(p, q, hold) || !im_param_read(k->c, q, t->file, item_of(t, q->t->name, &cursor)->entry))
            return false;
    }
    return true;
}

bool im_checkpoint_check(im_checkpoint *k)
{
    return k && im_ok(k->c) && check_part(k, IM_PART_CLIP, im_clip_params(k->clip)) &&
           check_part(k, IM_PART_UNET, im_unet_params(k->unet)) &&
           check_part(k, IM_PART_VAE, im_vae_params(k->vae, IM_VAE_DECODER)) &&
           check_part(k, IM_PART_VAE, im_vae_params(k->vae, IM_VAE_ENCODER));
}

/* ---------------------------------------------------------------- walking and naming */

int im_checkpoint_count(const im_checkpoint *k, im_part p) { return k->parts[p].found; }
const im_safetensors *im_checkpoint_file(const im_checkpoint *k, im_part p) { return k->parts[p].file; }

const im_st_entry *im_checkpoint_at(const im_checkpoint *k, im_part which, int i, const im_param **param)
{
    const part *t = &k->parts[which];
    for (int j = 0; j < t->n; j++)
        if (t->items[j].entry && i-- == 0) {
            *param = t->items[j].param;
            return t->items[j].entry;
        }
    return NULL;
}

void im_checkpoint_release(const im_checkpoint *k, im_part p, const im_st_entry *e)
{
    im_st_release_pages(k->parts[p].file, e);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const item *const *)a)->param->t->name, (*(const item *const *)b)->param->t->name);
}

static void hash_entry(EVP_MD_CTX *md, const item *it)
{
    const im_st_entry *e = it->entry;
    const char *name = it->param->t->name, *bytes = e->data;
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

static bool hash_part(EVP_MD_CTX *md, const part *t)
{
    const item **order = calloc((size_t)t->n + 1, sizeof *order);
    if (!order)
        return false;
    int n = 0;
    for (int i = 0; i < t->n; i++)
        if (t->items[i].entry)
            order[n++] = &t->items[i];
    qsort(order, (size_t)n, sizeof *order, by_name);
    for (int i = 0; i < n; i++)
        hash_entry(md, order[i]);
    free(order);
    return true;
}

const char *im_checkpoint_fingerprint(im_checkpoint *k)
{
    if (!k || !im_ok(k->c))
        return NULL;
    if (k->fingerprint[0])
        return k->fingerprint;
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    for (int p = 0; ok && p < IM_PART_COUNT; p++)
        ok = hash_part(md, &k->parts[p]);
    ok = ok && EVP_DigestFinal_ex(md, sum, &size) && size == 32;
    EVP_MD_CTX_free(md);
    if (!ok) {
        im_fail(k->c, "%s: out of memory for its fingerprint", k->path);
        return NULL;
    }
    for (unsigned i = 0; i < size; i++)
        snprintf(k->fingerprint + 2 * i, 3, "%02x", sum[i]);
    return k->fingerprint;
}
