/* vae_folder.c: see vae_folder.h. The two halves of a VAE are registries of their own; their file is one. */
#include "models/checkpoints/vae_folder.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "data/files/safetensors.h"
#include "data/files/sha256.h"
#include "models/checkpoints/checkpoint_names.h"
#include "models/checkpoints/state_dict.h"
#include "models/checkpoints/weight_files.h"

/* The folder that holds config.json: FOLDER or FOLDER/vae, malloc'd. */
static char *resolve(im_ctx *c, const char *folder)
{
    if (im_st_pickle_name(folder) && !im_is_folder(folder)) {
        im_st_refuse_pickle(c, folder);
        return NULL;
    }
    char *inner = im_join(c, folder, "vae"), *file = inner ? im_join(c, inner, "config.json") : NULL;
    bool there = file && im_is_file(file);
    free(file);
    if (there)
        return inner;
    free(inner);
    return im_ok(c) ? im_copy_text(c, folder, strlen(folder)) : NULL;
}

/* any: an AutoencoderTiny will do, too. */
static bool read_config(im_ctx *c, const char *folder, bool any, im_vae_config *out)
{
    im_json j = { 0 };
    char *path = im_join(c, folder, "config.json");
    bool ok = path && im_json_load(c, &j, path, IM_JSON_CONFIG_BYTES) &&
              (any ? im_vae_any_config_read : im_vae_config_read)(c, &j, out);
    im_json_close(&j);
    free(path);
    return ok;
}

bool im_vae_folder_config(im_ctx *c, const char *folder, im_vae_config *out)
{
    char *path = resolve(c, folder);
    bool ok = path && read_config(c, path, false, out);
    free(path);
    return ok;
}

char *im_vae_folder_text(im_ctx *c, const char *folder)
{
    size_t bytes;
    char *path = resolve(c, folder), *file = path ? im_join(c, path, "config.json") : NULL;
    char *text = file ? im_read_file(c, file, IM_JSON_CONFIG_BYTES, &bytes) : NULL;
    free(file);
    free(path);
    return text;
}

im_params im_vae_all_params(im_ctx *c, im_vae *m)
{
    im_params *a = im_vae_params(m, IM_VAE_DECODER), *b = im_vae_params(m, IM_VAE_ENCODER);
    im_params all = { .c = c, .n = a->n + b->n, .train = a->train };
    all.v = malloc((size_t)all.n * sizeof *all.v);
    if (!all.v) {
        im_fail(c, "out of memory for the list of the autoencoder's weights");
        return (im_params){ .c = c };
    }
    memcpy(all.v, a->v, (size_t)a->n * sizeof *all.v);
    memcpy(all.v + a->n, b->v, (size_t)b->n * sizeof *all.v);
    return all;
}

bool im_vae_of_model(im_ctx *c, const char *folder, im_vae *m)
{
    im_checkpoint *k = im_checkpoint_open(c, folder);
    bool ok = im_checkpoint_need(k, IM_NEED_DECODER | IM_NEED_ENCODER) &&
              im_checkpoint_load(k, IM_PART_VAE, im_vae_params(m, IM_VAE_DECODER), IM_F32) &&
              im_checkpoint_load(k, IM_PART_VAE, im_vae_params(m, IM_VAE_ENCODER), IM_F32);
    im_checkpoint_close(k);
    return ok;
}

static bool older_spelling(const void *arg, const char *name, int i, char *out, size_t size)
{
    (void)arg;
    char other[IM_NAME_BYTES];
    return im_alias_name(IM_PART_VAE, name, false, i, other) && (size_t)snprintf(out, size, "%s", other) < size;
}

static bool load_alone(im_ctx *c, const char *folder, im_vae *m)
{
    static const im_state_rules rules = { .spelling = older_spelling };
    const char *variant = NULL, *path = NULL;
    im_weight_files f;
    if (im_weight_files_list(c, &f, folder, IM_PART_VAE))
        path = im_weight_files_choose(c, &f, folder, IM_PART_VAE, &variant);
    im_safetensors *s = path ? im_st_open(c, path) : NULL;
    im_params all = s && im_st_unwrap(c, s, true) ? im_vae_all_params(c, m) : (im_params){ .c = c };
    bool ok = s && all.v && im_state_read(&all, s, path, IM_F32, &rules);
    free(all.v);
    im_st_close(s);
    im_weight_files_free(&f);
    return ok;
}

static im_vae *open_any(im_ctx *c, const char *folder, im_vae_config *cfg, bool any, bool train)
{
    char *path = resolve(c, folder), *index = im_join(c, folder, "model_index.json");
    im_vae *m = path && read_config(c, path, any, cfg) ? im_vae_new(c, cfg) : NULL;
    if (m) {
        im_vae_params(m, IM_VAE_DECODER)->train = im_vae_params(m, IM_VAE_ENCODER)->train = train;
        /* a whole model may spell its names in the ways that checkpoint.h knows */
        if (!(index && im_is_file(index) ? im_vae_of_model(c, folder, m) : load_alone(c, path, m))) {
            im_vae_free(m);
            m = NULL;
        }
    }
    free(index);
    free(path);
    return m;
}

im_vae *im_vae_folder_open(im_ctx *c, const char *folder, im_vae_config *cfg, bool train)
{
    return open_any(c, folder, cfg, false, train);
}

im_vae *im_vae_folder_any(im_ctx *c, const char *folder, im_vae_config *cfg, bool train)
{
    return open_any(c, folder, cfg, true, train);
}

bool im_vae_folder_hash(im_ctx *c, im_vae *m, char hex[65])
{
    im_sha256 *h = im_sha256_new(c);
    bool ok = h != NULL;
    for (int half = 0; ok && half < 2; half++) {
        const im_params *p = im_vae_params(m, (im_vae_half)half);
        for (int i = 0; ok && i < p->n; i++) {
            float *v = im_values(c, p->v[i].t);
            ok = v && im_sha256_add(c, h, v, (size_t)im_numel(p->v[i].t) * sizeof *v);
            free(v);
        }
    }
    if (ok)
        return im_sha256_finish(c, h, hex);
    im_sha256_free(h);
    return false;
}

static char *with_scaling(im_ctx *c, const char *config, double scaling_factor)
{
    json_t *j = json_loads(config, JSON_REJECT_DUPLICATES, NULL);
    char *text = NULL;
    if (j && !json_object_set_new(j, "scaling_factor", json_real(scaling_factor)))
        text = json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(j);
    if (!text)
        im_fail(c, "the autoencoder's config.json could not be written: out of memory, or it is not a JSON object");
    return text;
}

static bool write_as(im_folder_out *f, im_vae *m, const char *in, const char *config, double scaling_factor, im_dtype as)
{
    static const char *const metadata[] = { "format", "pt" };
    im_ctx *c = f->c;
    im_state s = { .c = c, .as = as };
    char name[96];
    snprintf(name, sizeof name, "%sdiffusion_pytorch_model.safetensors", in);
    char *path = im_folder_file(f, name);
    bool ok = path != NULL;
    for (int half = 0; ok && half < 2; half++) {
        const im_params *p = im_vae_params(m, (im_vae_half)half);
        for (int i = 0; ok && i < p->n; i++)
            ok = im_state_add_one(&s, "", &p->v[i], p->v[i].t);
    }
    ok = ok && im_state_write(&s, path, metadata, 1, false);
    im_state_free(&s);
    free(path);
    char *text = !ok ? NULL : scaling_factor != 0 ? with_scaling(c, config, scaling_factor)
                                                  : im_copy_text(c, config, strlen(config));
    snprintf(name, sizeof name, "%sconfig.json", in);
    ok = text && im_folder_write(f, name, text, strlen(text));
    free(text);
    return ok;
}

bool im_vae_folder_write(im_folder_out *f, im_vae *m, const char *in, const char *config, double scaling_factor)
{
    return write_as(f, m, in, config, scaling_factor, IM_F32);
}

bool im_vae_folder_save(im_ctx *c, im_vae *m, const char *folder, const char *config, double scaling_factor)
{
    im_folder_out f;
    if (!im_folder_begin(c, &f, folder, true))
        return false;
    bool ok = im_vae_folder_write(&f, m, "", config, scaling_factor);
    return im_folder_end(&f) && ok;
}

/* ---------------------------------------------------------------- in another dtype */

bool im_is_vae(im_ctx *c, const char *folder)
{
    if (!im_ok(c) || !im_is_folder(folder))
        return false;
    char *path = im_join(c, folder, "config.json");
    im_json j = { 0 };
    const char *class = "";
    bool is = path && im_is_file(path) && im_json_load(c, &j, path, IM_JSON_CONFIG_BYTES) &&
              im_json_string(c, &j, "_class_name", IM_MAY, &class) && !strncmp(class, "Autoencoder", 11);
    im_json_close(&j);
    free(path);
    im_clear_error(c);                                         /* what is wrong with it, its reader says              */
    return is;
}

bool im_vae_convert(im_ctx *c, const char *in, const char *out, int dtype, bool force)
{
    im_folder_out f;
    im_vae_config cfg;
    if (dtype != IM_F32 && dtype != IM_F16 && dtype != IM_BF16)
        return im_fail(c, "%s: is a VAE by itself, which is written in one type; wanted --dtype f32, f16 or bf16", in);
    im_vae *m = im_vae_folder_any(c, in, &cfg, true);
    char *config = m ? im_vae_folder_text(c, in) : NULL;
    bool ok = config && im_folder_begin(c, &f, out, force);
    if (ok) {
        ok = write_as(&f, m, "", config, 0, (im_dtype)dtype);
        ok = im_folder_end(&f) && ok;
    }
    free(config);
    im_vae_free(m);
    return ok;
}
