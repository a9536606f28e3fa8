/* vae_file.c: see vae_file.h. What a file is is told by the names of its tensors:
 *
 *     "model.diffusion_model."*            a whole model
 *     [first_stage_model.]decoder.conv_in  AutoencoderKL, by either names, which spell each other (checkpoint_names.h)
 *     decoder.layers.0                     AutoencoderTiny
 *     1, 3.conv.0                          TAESD's decoder: layer n of ours is its n + 1, since it counts the tanh
 *     0, 1.conv.0                          TAESD's encoder (madebyollin/taesd, taesd.py) */
#include "models/checkpoints/vae_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "data/files/safetensors.h"
#include "models/checkpoints/checkpoint_names.h"
#include "models/checkpoints/state_dict.h"

typedef enum { WHOLE_MODEL, KL, TINY, TAESD_DECODER, TAESD_ENCODER, UNKNOWN } kind;

static const char original[] = "first_stage_model.";

static bool has(const im_safetensors *s, const char *name) { return im_st_find(s, name) != NULL; }

static kind kind_of(const im_safetensors *s)
{
    for (int i = 0; i < im_st_count(s); i++)
        if (!strncmp(im_st_at(s, i)->name, "model.diffusion_model.", 22)) return WHOLE_MODEL;
    if (has(s, "decoder.conv_in.weight") || has(s, "first_stage_model.decoder.conv_in.weight")) return KL;
    if (has(s, "decoder.layers.0.weight")) return TINY;
    if (has(s, "1.weight") && has(s, "3.conv.0.weight")) return TAESD_DECODER;
    if (has(s, "0.weight") && has(s, "1.conv.0.weight")) return TAESD_ENCODER;
    return UNKNOWN;
}

/* ---------------------------------------------------------------- configuration */

static bool parse(im_ctx *c, im_json *j, const char *name, const char *text, bool tiny, im_vae_config *out)
{
    bool ok = im_json_parse(c, j, name, text, strlen(text)) && im_vae_any_config_read(c, j, out);
    im_json_close(j);
    return ok && ((out->tiny.levels > 0) == tiny ||
                  im_fail(c, "%s: is the configuration of an %s, but the weights are those of an %s", name,
                          tiny ? "AutoencoderKL" : "AutoencoderTiny", tiny ? "AutoencoderTiny" : "AutoencoderKL"));
}

/* config.json beside the file, malloc'd; NULL: there is none. */
static char *beside(im_ctx *c, const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? im_copy_text(c, path, (size_t)(slash - path) + 1) : im_copy_text(c, ".", 1);
    char *file = folder ? im_join(c, folder, name) : NULL;
    free(folder);
    if (file && im_is_file(file)) return file;
    free(file);
    return NULL;
}

static bool config_of(im_ctx *c, const im_safetensors *s, const char *path, bool tiny, im_vae_config *out)
{
    im_json j = { 0 };
    const char *own = im_st_metadata(s, "vae/config.json");
    if (own) return parse(c, &j, path, own, tiny, out);
    char *file = beside(c, path, "config.json"), *text = file ? im_read_file(c, file, IM_JSON_CONFIG_BYTES, NULL) : NULL;
    bool ok = im_ok(c) && (!text || parse(c, &j, file, text, tiny, out));
    if (ok && !text) *out = tiny ? im_tiny_config_default() : im_model_config_v1().vae;
    free(file);
    free(text);
    return ok;
}

/* ---------------------------------------------------------------- weights */

/* arg: im_model_config. Names of the original layout, with their beginning and without; then those of older diffusers. */
static bool spelling_kl(const void *arg, const char *name, int i, char *out, size_t size)
{
    char other[IM_NAME_BYTES];
    if (i < 2) {
        const char *from = im_original_name(arg, IM_PART_VAE, name, other) ? other + (i ? 0 : sizeof original - 1) : name;
        return (size_t)snprintf(out, size, "%s", from) < size;
    }
    return im_alias_name(IM_PART_VAE, name, false, i - 2, other) && (size_t)snprintf(out, size, "%s", other) < size;
}

static bool spelling_taesd(const void *arg, const char *name, int i, char *out, size_t size)
{
    const char *half = arg;
    int layer, end = 0;
    size_t n = strlen(half);
    if (i || strncmp(name, half, n) != 0 || sscanf(name + n, ".layers.%d%n", &layer, &end) != 1 || !end) return false;
    return (size_t)snprintf(out, size, "%d%s", layer + (*half == 'd'), name + n + end) < size;
}

static bool read_whole(im_ctx *c, const im_safetensors *s, const char *path, im_vae *m, const im_vae_config *cfg)
{
    const im_model_config config = { .vae = *cfg };
    const im_state_rules kl = { .spelling = spelling_kl, .arg = &config }, tiny = { 0 };
    im_params all = im_vae_all_params(c, m);
    bool ok = all.v && im_state_read(&all, s, path, IM_F32, cfg->tiny.levels ? &tiny : &kl);
    free(all.v);
    return ok;
}

/* The other half's file: the same name with the other word in it, malloc'd. NULL with an error. */
static char *other_half(im_ctx *c, const char *path, const char *here, const char *there)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *at = strstr(name, here);
    size_t size = strlen(name) + 8;
    char *other = at ? malloc(size) : NULL;
    if (other) snprintf(other, size, "%.*s%s%s", (int)(at - name), name, there, at + strlen(here));
    char *file = other ? beside(c, path, other) : NULL;
    if (!file && im_ok(c))
        im_fail(c, "%s: is the %s of a tiny VAE, and its %s is not there; wanted %s beside it", path, here, there,
                other ? other : there);
    free(other);
    return file;
}

static bool read_half(const im_safetensors *s, const char *path, im_vae *m, bool decoder)
{
    const im_state_rules rules = { .spelling = spelling_taesd, .arg = decoder ? "decoder" : "encoder" };
    return im_state_read(im_vae_params(m, decoder ? IM_VAE_DECODER : IM_VAE_ENCODER), s, path, IM_F32, &rules);
}

static bool read_both(im_ctx *c, const im_safetensors *s, const char *path, im_vae *m, bool decoder)
{
    char *other = other_half(c, path, decoder ? "decoder" : "encoder", decoder ? "encoder" : "decoder");
    im_safetensors *t = other ? im_st_open(c, other) : NULL;
    bool ok = t && im_st_unwrap(c, t, true) && read_half(s, path, m, decoder) && read_half(t, other, m, !decoder);
    im_st_close(t);
    free(other);
    return ok;
}

/* ---------------------------------------------------------------- all of it */

static bool read_weights(im_ctx *c, const im_safetensors *s, const char *path, kind k, im_vae *m, const im_vae_config *cfg)
{
    if (k == WHOLE_MODEL) return im_vae_of_model(c, path, m);
    if (k == TAESD_DECODER || k == TAESD_ENCODER) return read_both(c, s, path, m, k == TAESD_DECODER);
    return read_whole(c, s, path, m, cfg);
}

static bool config_for(im_ctx *c, const im_safetensors *s, const char *path, kind k, im_vae_config *cfg)
{
    im_model_config whole;
    if (k == UNKNOWN)
        return im_fail(c, "%s: holds no VAE that imago knows, %s is one of its %d tensors; wanted an AutoencoderKL or "
                          "AutoencoderTiny by itself, or a whole model", path,
                       im_st_count(s) ? im_st_at(s, 0)->name : "none", im_st_count(s));
    if (k != WHOLE_MODEL) return config_of(c, s, path, k != KL, cfg);
    if (!im_model_config_metadata(c, s, path, &whole)) return false;
    *cfg = whole.vae;
    return true;
}

im_vae *im_vae_any_open(im_ctx *c, const char *path, im_vae_config *cfg, bool train)
{
    if (!im_ok(c)) return NULL;
    if (im_is_folder(path)) return im_vae_folder_any(c, path, cfg, train);
    if (im_st_pickle_name(path)) {
        im_st_refuse_pickle(c, path);
        return NULL;
    }
    im_safetensors *s = im_st_open(c, path);
    bool ok = s && im_st_unwrap(c, s, true);
    kind k = ok ? kind_of(s) : UNKNOWN;
    im_vae *m = ok && config_for(c, s, path, k, cfg) ? im_vae_new(c, cfg) : NULL;
    if (m) im_vae_params(m, IM_VAE_DECODER)->train = im_vae_params(m, IM_VAE_ENCODER)->train = train;
    if (m && !read_weights(c, s, path, k, m, cfg)) {
        im_vae_free(m);
        m = NULL;
    }
    im_st_close(s);
    return m;
}
