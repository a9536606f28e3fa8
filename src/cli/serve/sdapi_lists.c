/* sdapi_lists.c: what clients of the AUTOMATIC1111 web interface ask before they draw: names, options, lists. Lists of what
 * this server has not are empty. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/serve/ask.h"
#include "cli/serve/sdapi.h"
#include "data/images/picture.h"

enum MHD_Result sdapi_empty_list(visit *v)
{
    return answer_json(v, 200, json_array());
}

enum MHD_Result sdapi_refreshed(visit *v)
{
    return answer_json(v, 200, json_null());                   /* the model and the LoRAs are those of the start       */
}

enum MHD_Result sdapi_samplers(visit *v)
{
    json_t *list = json_array();
    const char *ours, *theirs;
    for (int i = 0; im_sampler_at(i, &ours, &theirs); i++)
        json_array_append_new(list, json_pack("{s:s, s:[s], s:{}}", "name", theirs, "aliases", ours, "options"));
    return answer_json(v, 200, list);
}

enum MHD_Result sdapi_schedulers(visit *v)
{
    return answer_json(v, 200, json_pack(
        "[{s:s, s:s, s:n, s:f, s:b}, {s:s, s:s, s:n, s:f, s:b}, {s:s, s:s, s:n, s:f, s:b}]",
        "name", "normal", "label", "Normal", "aliases", "default_rho", -1.0, "need_inner_model", 0,
        "name", "automatic", "label", "Automatic", "aliases", "default_rho", -1.0, "need_inner_model", 0,
        "name", "karras", "label", "Karras", "aliases", "default_rho", 7.0, "need_inner_model", 0));
}

enum MHD_Result sdapi_models(visit *v)
{
    const server *s = v->s;
    return answer_json(v, 200, json_pack("[{s:s, s:s, s:s#, s:s, s:s, s:n}]", "title", s->title, "model_name",
                                         s->model_name, "hash", s->hash, 10, "sha256", s->hash, "filename", s->model_name,
                                         "config"));
}

enum MHD_Result sdapi_loras(visit *v)
{
    json_t *list = json_array();
    for (int i = 0; i < v->s->n_loras; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:{}}", "name", v->s->loras[i], "alias",
                                              v->s->loras[i], "path", v->s->loras[i], "metadata"));
    return answer_json(v, 200, list);
}

enum MHD_Result sdapi_scripts(visit *v)
{
    return answer_json(v, 200, json_pack("{s:[], s:[]}", "txt2img", "img2img"));
}

/* Those of the start, which do not change. Their files tell nothing of how they were trained. */
enum MHD_Result sdapi_embeddings(visit *v)
{
    const server *s = v->s;
    json_t *loaded = json_object();
    const char *name, *hash;
    int n = im_sd_embedding(s->sd, -1, &name, &hash, NULL), vectors;
    for (int i = 0; i < n; i++) {
        im_sd_embedding(s->sd, i, &name, &hash, &vectors);
        json_object_set_new(loaded, name, json_pack("{s:n, s:n, s:n, s:i, s:i}", "step", "sd_checkpoint",
                                                    "sd_checkpoint_name", "shape", s->text_width, "vectors", vectors));
    }
    return answer_json(v, 200, json_pack("{s:o, s:{}}", "loaded", loaded, "skipped"));
}

enum MHD_Result sdapi_upscalers(visit *v)
{
    return answer_json(v, 200, json_pack("[{s:s, s:n, s:n, s:n, s:i}]", "name", "None", "model_name", "model_path",
                                         "model_url", "scale", 1));
}

enum MHD_Result sdapi_latent_upscalers(visit *v)
{
    return answer_json(v, 200, json_pack("[{s:s}]", "name", "None"));
}

enum MHD_Result sdapi_vaes(visit *v)
{
    return sdapi_empty_list(v);                                /* the model's own is not listed there                  */
}

enum MHD_Result sdapi_cmd_flags(visit *v)
{
    const server *s = v->s;
    return answer_json(v, 200, json_pack("{s:b, s:b, s:b, s:b, s:n, s:i}", "api", 1, "nowebui", 0, "listen", !s->loopback,
                                         "no_half", strcmp(im_dtype_name(im_sd_dtype(s->look)), "f32") == 0, "data_dir",
                                         "port", s->port));
}

/* Bytes of this process in memory; 0: not known. */
static double resident(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

enum MHD_Result sdapi_memory(visit *v)
{
    double used = resident(), left = (double)im_memory_available();
    if (left < 0)
        left = 0;
    return answer_json(v, 200, json_pack("{s:{s:f, s:f, s:f}, s:{s:s}}", "ram", "free", left, "used", used, "total",
                                         left + used, "cuda", "error", "not looked at"));
}

/* ---------------------------------------------------------------- options */

enum MHD_Result sdapi_options(visit *v)
{
    const server *s = v->s;
    const char *hash;
    return answer_json(v, 200, json_pack("{s:s, s:s, s:s, s:i, s:s, s:i, s:b, s:f, s:s?}", "sd_model_checkpoint", s->title,
                                         "sd_checkpoint_hash", s->hash, "samples_format", "png",
                                         "CLIP_stop_at_last_layers", 1, "randn_source", "CPU", "eta_noise_seed_delta", 0,
                                         "enable_pnginfo", 1, "initial_noise_multiplier", 1.0, "sd_vae",
                                         im_sd_vae(s->sd, &hash)));
}

/* Clients post all of it back, and more: what does not ask for another picture passes. */
static const asked_key option_keys[] = {
    { "sd_model_checkpoint", KEY_TEXT, offsetof(asked, prompt), 0, 0 },
    { "CLIP_stop_at_last_layers", KEY_INT, offsetof(asked, clip_skip), 1, 1 },
    { .name = NULL }
};

enum MHD_Result sdapi_set_options(visit *v)
{
    trouble t = { 0 };
    asked a = { 0 };
    if (!ask_body(v, &t))
        return trouble_tell(v, &t);
    if (!ask_read(v, option_keys, false, &a, &t))
        return trouble_tell(v, &t);
    if (a.prompt && !sdapi_is_model(v->s, a.prompt))
        return answer_error(v, 422, NULL, "sd_model_checkpoint", "there is no model \"%.80s\" here; this server has one, "
                                                                 "\"%s\"", a.prompt, v->s->title);
    return answer_json(v, 200, json_null());
}

/* ---------------------------------------------------------------- png-info */

enum MHD_Result sdapi_png_info(visit *v)
{
    trouble t = { 0 };
    size_t n = 0;
    if (!ask_body(v, &t))
        return trouble_tell(v, &t);
    const json_t *image = json_object_get(v->asked, "image");
    uint8_t *bytes = json_is_string(image) ? base64_read(json_string_value(image), json_string_length(image), &n) : NULL;
    im_ctx *c = bytes ? im_ctx_new("ref", 1) : NULL;
    int width, height;
    im_decode_args limits = { .max_pixels = (int64_t)v->s->o->max_pixels * 16 };
    char *info = NULL, *own = NULL;
    if (c && im_picture_size(c, bytes, n, "image", &limits, &width, &height)) {
        info = im_picture_text_in(c, bytes, n, "image", "parameters");
        own = im_picture_text_in(c, bytes, n, "image", "imago");
    }
    free(bytes);
    json_t *items = json_object();
    if (info)
        json_object_set_new(items, "parameters", json_string(info));
    if (own)
        json_object_set_new(items, "imago", json_string(own));
    json_t *all = json_pack("{s:s, s:o, s:o}", "info", info ? info : "", "items", items, "parameters",
                            infotext_json(info ? info : ""));
    free(info);
    free(own);
    bool ok = c && im_ok(c);
    enum MHD_Result rc = ok ? answer_json(v, 200, all)
                            : answer_error(v, 422, NULL, "image", "%s", c ? im_error(c)
                                                                          : "image: wanted a PNG or JPEG in base64");
    if (!ok)
        json_decref(all);
    im_ctx_free(c);
    return rc;
}
