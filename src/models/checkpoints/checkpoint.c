/* checkpoint.c: finds the files of a checkpoint, matches their tensors with the parameters that the configuration asks
 * for, and loads them (checkpoint.h).
 *
 * A checkpoint holds one network of each kind as a blueprint: parameters with names and shapes but no storage. Every
 * tensor of the files either belongs to one of them or is extra: EMA copies, schedules, a vision tower. */
#include "models/checkpoints/checkpoint.h"
#include "models/checkpoints/checkpoint_hash.h"
#include "models/checkpoints/checkpoint_kind.h"
#include "models/checkpoints/checkpoint_names.h"
#include "models/checkpoints/int8_file.h"
#include "models/checkpoints/lora.h"
#include "models/checkpoints/param_file.h"
#include "models/checkpoints/weight_files.h"
#include "models/nets/clip.h"
#include "models/nets/unet.h"
#include "models/nets/vae.h"
#include "data/files/file.h"
#include "data/files/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct item {                    /* a parameter and the tensor that fills it                                  */
    const im_param *param;
    const im_st_entry *entry;            /* NULL: missing                                                             */
    im_int8_parts int8;                  /* of integers (int8_file.h)                                                 */
} item;

typedef struct part {
    im_safetensors *file;                /* of a single file: shared by all parts                                     */
    char *path;
    item *items;
    int n, found;
    bool *claimed;                       /* of the file's tensors: those of a network; a single file has one list     */
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
    bool warned;                         /* of extra tensors                                                          */
    const im_lora *adapters;
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

/* A single file has none. */
im_int8_parts im_checkpoint_int8(const im_checkpoint *k, im_part p, const im_st_entry *e)
{
    return k->single ? (im_int8_parts){ NULL, NULL } : im_int8_parts_of(k->parts[p].file, e);
}

static void claim(part *t, const im_st_entry *e)
{
    if (e)
        t->claimed[e - im_st_at(t->file, 0)] = true;
}

static void match_params(im_checkpoint *k, im_part which, const im_params *p)
{
    part *t = &k->parts[which];
    for (int i = 0; i < p->n; i++) {
        const im_st_entry *e = find_entry(k, which, p->v[i].t->name);
        im_int8_parts int8 = im_checkpoint_int8(k, which, e);
        t->items[t->n++] = (item){ .param = &p->v[i], .entry = e, .int8 = int8 };
        t->found += e != NULL;
        claim(t, e);
        claim(t, int8.scale);
        claim(t, int8.multiplier);
    }
}

static bool match_part(im_checkpoint *k, im_part p, const im_params *a, const im_params *b)
{
    part *t = &k->parts[p];
    t->items = calloc((size_t)a->n + (size_t)(b ? b->n : 0), sizeof *t->items);
    t->claimed = k->single && p ? k->parts[0].claimed : calloc((size_t)im_st_count(t->file) + 1, sizeof *t->claimed);
    if (!t->items || !t->claimed)
        return im_fail(k->c, "%s: out of memory for the list of its tensors", t->path);
    match_params(k, p, a);
    if (b)
        match_params(k, p, b);
    return true;
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

static bool open_file(im_checkpoint *k, part *t, const char *path)
{
    t->path = im_copy_text(k->c, path, strlen(path));
    t->file = t->path ? im_st_open(k->c, path) : NULL;
    return t->file && im_st_unwrap(k->c, t->file, true);
}

/* A list of parts, "text_encoder, unet", that grows. */
static void add_name(char *list, size_t size, const char *name)
{
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used ? ", " : "", name);
}

/* What was chosen where it is not what was asked for, or where nothing was: one line. */
static void note_choice(im_checkpoint *k, const char *const chosen[IM_PART_COUNT])
{
    const char *wanted = im_weights_variant(k->c, NULL);
    char plain[100] = "", variants[400] = "", one[IM_VARIANT_BYTES + 40];
    for (int p = 0; p < IM_PART_COUNT; p++) {
        if (!chosen[p])
            add_name(plain, sizeof plain, im_part_name((im_part)p));
        snprintf(one, sizeof one, "%s of %s", chosen[p] ? chosen[p] : "", im_part_name((im_part)p));
        if (chosen[p])
            add_name(variants, sizeof variants, one);
    }
    if (wanted && *plain)
        im_warn(k->c, "%s: has no variant %s of %s; the plain files are read there", k->path, wanted, plain);
    else if (!wanted && *variants)
        im_warn(k->c, "%s: has no plain file of weights where only a variant is; it is read: %s", k->path, variants);
}

/* --variant NAME must name a variant of at least one network. */
static bool check_variant(im_checkpoint *k, const im_weight_files f[IM_PART_COUNT])
{
    const char *wanted = im_weights_variant(k->c, NULL);
    char found[1200] = "";
    for (int p = 0; wanted && p < IM_PART_COUNT; p++) {
        char names[IM_VARIANTS * IM_VARIANT_BYTES], one[400];
        if (im_weight_files_has(&f[p], wanted))
            return true;
        im_weight_files_names(&f[p], names, sizeof names);
        snprintf(one, sizeof one, "%.300s of %s", names, im_part_name((im_part)p));
        if (*names)
            add_name(found, sizeof found, one);
    }
    return !wanted || im_fail(k->c, "%s: has no variant %s of its weights; found: %s; leave --variant out for the plain "
                              "files", k->path, wanted, *found ? found : "none");
}

static bool open_folder(im_checkpoint *k)
{
    im_ctx *c = k->c;
    im_weight_files f[IM_PART_COUNT] = { 0 };
    const char *chosen[IM_PART_COUNT] = { NULL };
    char *folder[IM_PART_COUNT] = { NULL };
    bool ok = im_model_config_read(c, k->path, &k->config);
    for (int p = 0; ok && p < IM_PART_COUNT; p++) {
        folder[p] = im_join(c, k->path, im_part_name((im_part)p));
        ok = folder[p] && im_weight_files_list(c, &f[p], folder[p], (im_part)p);
    }
    ok = ok && check_variant(k, f);
    for (int p = 0; ok && p < IM_PART_COUNT; p++) {
        const char *path = im_weight_files_choose(c, &f[p], folder[p], (im_part)p, &chosen[p]);
        ok = path && open_file(k, &k->parts[p], path);
    }
    if (ok)
        note_choice(k, chosen);
    for (int p = 0; p < IM_PART_COUNT; p++) {
        im_weight_files_free(&f[p]);
        free(folder[p]);
    }
    return ok && match_all(k);
}

/* A single file must at least look like Stable Diffusion in the original layout. */
static bool check_single(im_checkpoint *k, const im_safetensors *s)
{
    for (int i = 0; i < im_st_count(s); i++)
        if (im_original_part(im_st_at(s, i)->name) >= 0)
            return true;
    const char *kind = im_other_kind(s);
    return im_fail(k->c, kind ? "%s: this is %s; imago wants a Stable Diffusion v1.x checkpoint"
                              : "%s: has no tensor named model.diffusion_model.* (its first is %s), so it is no Stable "
                                "Diffusion v1.x checkpoint in the original layout", k->path,
                   kind ? kind : im_st_count(s) ? im_st_at(s, 0)->name : "none");
}

static bool open_single(im_checkpoint *k)
{
    k->single = true;
    if (im_weights_variant(k->c, NULL))
        return im_fail(k->c, "%s: is a single file, which has no variants; leave --variant out", k->path);
    if (!open_file(k, &k->parts[0], k->path))
        return false;
    im_safetensors *s = k->parts[0].file;
    for (int p = 1; p < IM_PART_COUNT; p++) {
        k->parts[p].file = s;
        k->parts[p].path = im_copy_text(k->c, k->path, strlen(k->path));
    }
    return im_ok(k->c) && check_single(k, s) && im_model_config_metadata(k->c, s, k->path, &k->config) && match_all(k);
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
    else if (ok && im_st_pickle_name(path))
        ok = im_st_refuse_pickle(c, path);
    else if (ok)
        ok = im_fail(c, "%s: %s; a diffusers folder or a .safetensors file was expected", path,
                     access(path, F_OK) ? "there is no such file or folder" : "is neither a file nor a folder");
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
        if (!k->single || p == 0) {
            im_st_close(t->file);
            free(t->claimed);
        }
        free(t->path);
        free(t->items);
    }
    im_clip_free(k->clip);
    im_unet_free(k->unet);
    im_vae_free(k->vae);
    free(k->path);
    free(k);
}

const im_model_config *im_checkpoint_config(const im_checkpoint *k) { return &k->config; }
const char *im_checkpoint_path(const im_checkpoint *k) { return k->path; }
const char *im_checkpoint_folder(const im_checkpoint *k) { return k->single ? NULL : k->path; }
const char *im_checkpoint_weights(const im_checkpoint *k, im_part p) { return k->parts[p].path; }

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

/* ---------------------------------------------------------------- what does not fit */

static const im_params *blueprint(const im_checkpoint *k, unsigned network)
{
    switch (network) {
    case IM_NEED_CLIP:    return im_clip_params(k->clip);
    case IM_NEED_UNET:    return im_unet_params(k->unet);
    case IM_NEED_DECODER: return im_vae_params(k->vae, IM_VAE_DECODER);
    default:              return im_vae_params(k->vae, IM_VAE_ENCODER);
    }
}

static im_part part_of(unsigned network)
{
    return network == IM_NEED_CLIP ? IM_PART_CLIP : network == IM_NEED_UNET ? IM_PART_UNET : IM_PART_VAE;
}

/* Extra tensors of a part, or of the whole of a single file (p -1). */
static void list_extra(const im_checkpoint *k, int p, im_name_list *l)
{
    const part *t = &k->parts[p < 0 ? 0 : p];
    for (int i = 0; i < im_st_count(t->file); i++) {
        const char *name = im_st_at(t->file, i)->name;
        if (!t->claimed[i] && (!k->single || p < 0 || im_original_part(name) == p))
            im_name_list_add(l, name, "");
    }
}

static void add_misfits(im_misfits *m, const part *t, const im_params *p)
{
    int cursor = 0;
    for (int i = 0; i < p->n; i++) {
        const item *it = item_of(t, p->v[i].t->name, &cursor);
        im_misfits_add(m, &p->v[i], it ? it->entry : NULL, it && it->int8.scale, p->v[i].t->name);
    }
}

bool im_checkpoint_has(const im_checkpoint *k, unsigned network)
{
    im_misfits *m = calloc(1, sizeof *m);
    if (m)
        add_misfits(m, &k->parts[part_of(network)], blueprint(k, network));
    bool whole = m && !im_misfits_any(m);
    free(m);
    return whole;
}

/* One sentence on a part of which something is missing or misshapen; false when all is well. */
static bool describe_part(const im_checkpoint *k, im_part p, im_misfits *m, char *out, size_t size)
{
    char source[64], text[3600];
    if (!im_misfits_any(m))
        return false;
    list_extra(k, (int)p, &m->unexpected);
    snprintf(source, sizeof source, k->single ? "the %s of Stable Diffusion v1.x" : "%s/config.json", im_part_name(p));
    im_misfits_text(m, text, sizeof text);
    snprintf(out, size, "%s: its tensors are not those of %s: %s", k->parts[p].path, source, text);
    return true;
}

/* "no vae (first_stage_model.*)": networks of a single file of which no tensor is there; false: none. */
static bool describe_absent(const im_checkpoint *k, unsigned networks, char *out, size_t size)
{
    static const char *const heads[] = { "cond_stage_model.transformer.*", "model.diffusion_model.*",
                                         "first_stage_model.*" };
    size_t used = 0;
    *out = 0;
    for (int p = 0; k->single && p < IM_PART_COUNT; p++) {
        bool needed = false;
        for (unsigned n = 1; n <= IM_NEED_ENCODER; n *= 2)
            needed |= (networks & n) && part_of(n) == (im_part)p;
        if (needed && !k->parts[p].found && used < size)
            used += (size_t)snprintf(out + used, size - used, "%sno %s (no tensor named %s)", used ? " and " : "",
                                     im_part_name((im_part)p), heads[p]);
    }
    return used;
}

/* Fails with everything that is missing or misshapen in the networks. */
static bool check_networks(im_checkpoint *k, unsigned networks)
{
    im_misfits *m = calloc(IM_PART_COUNT, sizeof *m);
    char absent[400], text[8000] = "";
    bool bad = false;
    if (!m)
        return im_fail(k->c, "%s: out of memory", k->path);
    for (unsigned n = 1; n <= IM_NEED_ENCODER; n *= 2)
        if (networks & n)
            add_misfits(&m[part_of(n)], &k->parts[part_of(n)], blueprint(k, n));
    for (int p = 0; p < IM_PART_COUNT; p++) {
        size_t used = strlen(text), gap = used ? 2 : 0;
        if (used + gap < sizeof text && describe_part(k, (im_part)p, &m[p], text + used + gap, sizeof text - used - gap)) {
            memcpy(text + used, "; ", gap);
            bad = true;
        }
    }
    free(m);
    if (!bad)
        return true;
    const char *kind = k->single ? im_other_kind(k->parts[0].file) : im_other_unet(k->parts[IM_PART_UNET].file);
    if (kind && (k->single || (networks & IM_NEED_UNET)))
        return im_fail(k->c, "%s: this is %s; imago wants a Stable Diffusion v1.x checkpoint", k->path, kind);
    if (describe_absent(k, networks, absent, sizeof absent))
        return im_fail(k->c, "%s: holds %s; imago wants text encoder, UNet and VAE in one file: take one that has all "
                       "three, or a diffusers folder%s", k->path, absent,
                       k->parts[IM_PART_CLIP].found && k->parts[IM_PART_UNET].found
                           ? "; `imago generate --vae` draws it with another VAE" : "");
    return im_fail(k->c, "%s", text);
}

/* Tensors that no network asks for: a warning, or under strict rules an error. */
static bool check_extra(im_checkpoint *k, unsigned networks)
{
    im_name_list l = { .most = 4 };
    bool seen[IM_PART_COUNT] = { false };
    for (unsigned n = 1; n <= IM_NEED_ENCODER; n *= 2) {
        im_part p = part_of(n);
        if ((networks & n) && !seen[p] && (!k->single || !l.counted))
            list_extra(k, k->single ? -1 : (int)p, &l);
        seen[p] |= (networks & n) != 0;
    }
    for (int p = 0; p < IM_PART_COUNT; p++)
        for (int i = 0; seen[p] && i < im_st_count(k->parts[p].file); i++)
            if (!k->parts[p].claimed[i] && im_scales_others(im_st_at(k->parts[p].file, i)->name))
                return im_fail(k->c, "%s: %s is a scale of 8-bit weights, which imago does not apply; use a file with "
                               "plain weights (F16, BF16, or F8 without scales)", k->parts[p].path,
                               im_st_at(k->parts[p].file, i)->name);
    bool again = k->warned, strict;
    im_weights_variant(k->c, &strict);
    k->warned = true;
    return (again && !strict) || im_extra_report(k->c, k->path, &l, false);
}

bool im_checkpoint_need(im_checkpoint *k, unsigned networks)
{
    return k && im_ok(k->c) && check_networks(k, networks) && check_extra(k, networks);
}

bool im_checkpoint_check(im_checkpoint *k) { return im_checkpoint_need(k, IM_NEED_ALL); }

/* The networks that p is the parameters of. */
static bool check_params(im_checkpoint *k, im_part which, const im_params *p)
{
    im_misfits *m = calloc(1, sizeof *m);
    char text[4000];
    if (!m)
        return im_fail(k->c, "%s: out of memory", k->path);
    add_misfits(m, &k->parts[which], p);
    bool bad = describe_part(k, which, m, text, sizeof text);
    free(m);
    return !bad || im_fail(k->c, "%s", text);
}

bool im_checkpoint_no_room(const im_checkpoint *k, im_part which, const im_params *p, im_dtype dtype)
{
    if (strstr(im_error(k->c), "out of memory")) {
        im_clear_error(k->c);
        im_fail(k->c, "%s: out of memory for the weights of the %s, %.0f MiB in %s; %sclose other programs",
                k->parts[which].path, im_part_name(which), (double)im_params_bytes(p, dtype) / (1 << 20),
                im_dtype_name(dtype), dtype == IM_F32 ? "hold them in 16 bits (--dtype f16), or " : "");
    }
    return false;
}

/* Weights that lie in the file as the device would hold them need no copy. */
static bool map_param(const im_params *p, const im_param *q, im_dtype t, const im_st_entry *e)
{
    im_weight_layout layout = im_params_layout(p, q, t);
    return p->mapped && !p->train && q->kind != IM_PARAM_BUFFER && e->dtype >= 0
        && im_param_map_file(p->c, q->t, layout, e->data, (im_dtype)e->dtype, q->kind == IM_PARAM_CONV);
}

void im_checkpoint_adapt(im_checkpoint *k, const im_lora *adapters) { k->adapters = adapters; }

/* The file's values with those of the adapters, through f32. */
static bool read_adapted(const im_checkpoint *k, im_part which, const item *it, const im_param *q)
{
    im_ctx *c = k->c;
    const im_st_entry *e = it->entry;
    float *values = malloc((size_t)im_st_numel(e) * sizeof *values + 1);
    bool ok = values || im_fail(c, "out of memory for %s in f32", e->name);
    if (ok) im_st_floats(c, e, it->int8, values);
    ok = ok && im_lora_add(c, k->adapters, which, q, values) &&
         im_param_load(c, q->t, values, IM_F32, q->kind == IM_PARAM_CONV);
    free(values);
    im_st_release_pages(k->parts[which].file, e);
    return ok;
}

static bool read_item(const im_checkpoint *k, im_part which, const item *it, const im_param *q)
{
    const im_safetensors *file = k->parts[which].file;
    if (im_lora_changes(k->adapters, which, q))
        return read_adapted(k, which, it, q);
    return im_param_read(k->c, q, file, it->entry, it->int8);
}

bool im_checkpoint_load(im_checkpoint *k, im_part which, im_params *p, im_dtype dtype)
{
    if (!k || !im_ok(k->c) || !check_params(k, which, p))
        return false;
    const part *t = &k->parts[which];
    int cursor = 0;
    for (int i = 0; i < p->n; i++) {
        if (im_cancelled(k->c))
            return im_fail(k->c, "stopped");
        const im_param *q = &p->v[i];
        const item *it = item_of(t, q->t->name, &cursor);
        if (!im_lora_changes(k->adapters, which, q) && map_param(p, q, dtype, it->entry))
            continue;
        if (!im_params_store(p, q, dtype) || !read_item(k, which, it, q))
            return im_checkpoint_no_room(k, which, p, dtype);
    }
    return true;
}

/* ---------------------------------------------------------------- walking and naming */

bool im_checkpoint_is_int8(const im_checkpoint *k)
{
    const part *t = &k->parts[IM_PART_UNET];
    for (int i = 0; i < t->n; i++)
        if (t->items[i].int8.scale)
            return true;
    return false;
}

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

const char *im_checkpoint_fingerprint(im_checkpoint *k)
{
    if (!k || !im_ok(k->c) || (!k->fingerprint[0] && !im_checkpoint_hash(k->c, k, k->fingerprint)))
        return NULL;
    return k->fingerprint;
}
