/* request.c: the two texts that a picture carries of its making: `imago`, a JSON object with all that decides its bits, and
 * `parameters`, a paragraph as the AUTOMATIC1111 web interface writes it. What reads the first is in request_read.c. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/fields.h"
#include "data/images/picture.h"
#include "models/pipelines/request.h"
#include "models/schedulers/scheduler.h"

json_t *im_lora_json(const char *name, const char *sha256, float weight)
{
    return json_pack("{s:s, s:s, s:f}", "name", name, "sha256", sha256, "weight", im_decimal(weight));
}

static void add_lora(json_t **list, const char *name, const char *sha256, float weight)
{
    if (!*list) *list = json_array();
    json_array_append_new(*list, im_lora_json(name, sha256, weight));
}

json_t *im_loras_json(im_sd *sd, const char *prompt)
{
    const char *name, *sha256;
    float weight;
    json_t *list = NULL;
    im_lora_tags tags = { 0 };
    for (int i = 0; i < im_sd_lora(sd, i, &name, &sha256, &weight); i++) add_lora(&list, name, sha256, weight);
    if (prompt && !im_lora_tags_read(sd->c, prompt, &tags)) tags.n = 0;
    for (int i = 0; i < tags.n && (sha256 = im_sd_tag_hash(sd, &tags.v[i])); i++)
        add_lora(&list, tags.v[i].name, sha256, tags.v[i].weight);
    im_lora_tags_free(&tags);
    if (im_ok(sd->c)) return list;
    json_decref(list);
    return NULL;
}

json_t *im_embeddings_json(im_sd *sd, const im_sd_args *a)
{
    const char *name, *sha256;
    int vectors;
    json_t *list = NULL;
    if (!im_sd_need_embeddings(sd)) return NULL;
    for (int i = 0; i < im_sd_embedding(sd, i, &name, &sha256, &vectors); i++) {
        if (!im_sd_names_embedding(sd, a, i)) continue;
        if (!list) list = json_array();
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "sha256", sha256));
    }
    return list;
}

json_t *im_request_object(im_sd *sd, const im_request *q)
{
    const im_sd_args *a = &q->args;
    json_t *m = json_pack("{s:s, s:s, s:s, s:o, s:i, s:i, s:s, s:i, s:f, s:s, s:s, s:s, s:s, s:s, s:s}",
                          "version", IM_VERSION, "model", q->model_name, "model_hash", im_sd_hash(sd),
                          "seed", im_seed_json(a->seed), "width", a->width, "height", a->height,
                          "scheduler", a->scheduler, "steps", a->steps, "guidance", im_decimal(a->guidance),
                          "dtype", im_dtype_name(im_sd_dtype(sd)), "device", im_device_name(sd->c), "isa",
                          im_device_isa(sd->c), "rng", a->rng == IM_RNG_CUDA ? "cuda" : "cpu", "prompt", a->prompt,
                          "negative", a->negative ? a->negative : "");
    if (m && im_sd_activations(sd) != IM_F32)
        json_object_set_new(m, "activations", json_string(im_dtype_name(im_sd_activations(sd))));
    const char *vae_hash, *vae = im_sd_vae(sd, &vae_hash);
    if (m && vae) {
        json_object_set_new(m, "vae", json_string(vae));
        json_object_set_new(m, "vae_sha256", json_string(vae_hash));
    }
    json_t *loras = im_loras_json(sd, a->prompt);
    if (m && loras) json_object_set_new(m, "loras", loras);
    json_t *embeddings = im_embeddings_json(sd, a);
    if (m && embeddings) json_object_set_new(m, "embeddings", embeddings);
    if (m && q->prompt_template) json_object_set_new(m, "template", json_string(q->prompt_template));
    if (m && q->negative_template) json_object_set_new(m, "negative_template", json_string(q->negative_template));
    if (m && a->syntax == IM_PROMPT_A1111) json_object_set_new(m, "prompt_syntax", json_string("a1111"));
    if (m && a->clip_skip > 1) json_object_set_new(m, "clip_skip", json_integer(a->clip_skip));
    if (m && a->deep_cache > 1) json_object_set_new(m, "deep_cache", json_integer(a->deep_cache));
    if (m && a->token_merging > 0) json_object_set_new(m, "token_merging", json_real(im_decimal(a->token_merging)));
    if (m && a->eta > 0) json_object_set_new(m, "eta", json_real(im_decimal(a->eta)));
    if (m && a->tile) json_object_set_new(m, "tile", json_true());
    if (m && q->quality) json_object_set_new(m, "quality", json_integer(q->quality));
    if (m && q->init_sha256) {
        json_object_set_new(m, "strength", json_real(im_decimal(a->strength)));
        json_object_set_new(m, "init_sha256", json_string(q->init_sha256));
    }
    if (m && q->mask_sha256) json_object_set_new(m, "mask_sha256", json_string(q->mask_sha256));
    if (m && q->mask_sha256 && a->mask_blur > 0)
        json_object_set_new(m, "mask_blur", json_real(im_decimal(a->mask_blur)));
    if (m && q->mask_sha256 && a->mask_fill != IM_MASK_ORIGINAL)
        json_object_set_new(m, "mask_fill", json_string(im_mask_fill_name(a->mask_fill)));
    if (m && q->mask_sha256 && a->mask_only) json_object_set_new(m, "mask_only", json_integer(a->mask_padding));
    if (m && q->latents_sha256) {
        json_object_set_new(m, "latents_sha256", json_string(q->latents_sha256));
        json_object_set_new(m, "latents_index", json_integer(q->latents_index));
    }
    if (im_ok(sd->c)) return m;
    json_decref(m);
    return NULL;
}

char *im_request_json(im_sd *sd, const im_request *q)
{
    json_t *m = im_request_object(sd, q);
    char *text = m ? json_dumps(m, JSON_COMPACT) : NULL;
    json_decref(m);
    if (!text && im_ok(sd->c)) im_fail(sd->c, "out of memory for what is said of a picture");
    return text;
}

/* Names of samplers in that interface. */
static const char *const samplers[][2] = {
    { "pndm", "PLMS" }, { "ddim", "DDIM" }, { "euler", "Euler" }, { "euler_a", "Euler a" }, { "heun", "Heun" },
    { "lms", "LMS" }, { "dpmpp_2m", "DPM++ 2M" }, { "dpmpp_2m_karras", "DPM++ 2M Karras" }, { "unipc", "UniPC" },
    { "ddpm", "DDPM" }, { "lcm", "LCM" }, { "tcd", "TCD" }
};

bool im_sampler_at(int i, const char **scheduler, const char **name)
{
    if (i < 0 || i >= (int)(sizeof samplers / sizeof *samplers)) return false;
    *scheduler = samplers[i][0];
    *name = samplers[i][1];
    return true;
}

const char *im_sampler_named(const char *name)
{
    return im_scheduler_named(name);
}

bool im_sampler_has_eta(const char *name) { return im_scheduler_takes_eta(name); }

/* Our own where it has none. */
static const char *sampler_name(const char *scheduler)
{
    const char *ours, *theirs;
    for (int i = 0; im_sampler_at(i, &ours, &theirs); i++)
        if (!strcmp(ours, scheduler)) return theirs;
    return scheduler;
}

/* A value as that interface writes it: as JSON where a comma, a colon or a line break would end it; where it begins with a
 * quotation mark, which would be taken for the beginning of such; and where blanks at an end would be lost. malloc'd */
static char *quoted(const char *value)
{
    size_t n = strlen(value);
    bool blank = n && (strchr(" \t", *value) || strchr(" \t", value[n - 1]));
    json_t *v = strpbrk(value, ",:\n\r") || *value == '"' || blank ? json_string(value) : NULL;
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : strdup(value);
    json_decref(v);
    return text;
}

static void print_mask(FILE *f, const im_sd_args *a)
{
    fprintf(f, "Mask blur: %.9g, ", im_decimal(a->mask_blur));
    if (a->mask_only) fprintf(f, "Inpaint area: Only masked, Masked area padding: %d, ", a->mask_padding);
    if (a->mask_fill != IM_MASK_ORIGINAL) fprintf(f, "Masked content: %s, ", im_mask_fill_title(a->mask_fill));
}

/* Its hash is that of a single file; that interface opens no folders, and has none for them. */
static void print_parameters(FILE *f, im_sd *sd, const im_request *q, const char *model)
{
    const im_sd_args *a = &q->args;
    const char *hash = im_sd_file_hash(sd);
    const char *name, *sha256;
    float weight;
    fprintf(f, "%s", a->prompt);
    for (int i = 0; i < im_sd_lora(sd, i, &name, &sha256, &weight); i++)        /* as that interface asks for them     */
        fprintf(f, " <lora:%s:%.9g>", name, im_decimal(weight));
    fprintf(f, "\n");
    if (a->negative && *a->negative) fprintf(f, "Negative prompt: %s\n", a->negative);
    fprintf(f, "Steps: %d, Sampler: %s, CFG scale: %.9g, Seed: %llu, Size: %dx%d, ", a->steps, sampler_name(a->scheduler),
            im_decimal(a->guidance), (unsigned long long)a->seed, a->width, a->height);
    if (hash) fprintf(f, "Model hash: %.10s, ", hash);
    fprintf(f, "Model: %s, ", model);
    if (q->init_sha256) fprintf(f, "Denoising strength: %.9g, ", im_decimal(a->strength));
    if (q->mask_sha256) print_mask(f, a);
    if (a->clip_skip > 1) fprintf(f, "Clip skip: %d, ", a->clip_skip);
    if (a->deep_cache > 1) fprintf(f, "Deep cache: %d, ", a->deep_cache);
    if (a->token_merging > 0) fprintf(f, "Token merging ratio: %.9g, ", im_decimal(a->token_merging));
    if (a->eta > 0) fprintf(f, "Eta%s: %.9g, ", strcmp(a->scheduler, "ddim") ? "" : " DDIM", im_decimal(a->eta));
    fprintf(f, "Version: imago %s", IM_VERSION);
}

char *im_request_parameters(im_sd *sd, const im_request *q)
{
    char *text = NULL, *model = quoted(q->model_name);
    size_t size = 0;
    FILE *f = model ? open_memstream(&text, &size) : NULL;
    if (f) print_parameters(f, sd, q, model);
    free(model);
    if (f && !fclose(f)) return text;
    if (f) free(text);
    im_fail(sd->c, "out of memory for what is said of a picture");
    return NULL;
}

/* What the picture's file says of its making: two texts, malloc'd. False: the context has an error. */
static bool make_texts(im_sd *sd, const im_request *q, im_text texts[2])
{
    texts[1] = (im_text){ "imago", im_request_json(sd, q) };
    texts[0] = (im_text){ "parameters", texts[1].value ? im_request_parameters(sd, q) : NULL };
    return texts[0].value != NULL;
}

static void free_texts(im_text texts[2])
{
    for (int i = 0; i < 2; i++) free((char *)(uintptr_t)texts[i].value);
}

static im_picture_how how_of(const im_request *q, const im_text texts[2])
{
    im_origin mark = q->no_mark ? IM_ORIGIN_UNSAID : q->args.init || q->init_sha256 ? IM_ORIGIN_COMPOSITE : IM_ORIGIN_MODEL;
    return (im_picture_how){ .format = q->quality ? IM_JPEG : IM_PNG, .quality = q->quality, .texts = texts, .n_texts = 2,
                             .mark = mark };
}

bool im_request_write(im_sd *sd, const im_request *q, const char *path, const im_image *picture, bool force)
{
    im_text texts[2];
    if (make_texts(sd, q, texts)) {
        const im_picture_how how = how_of(q, texts);
        if (picture) im_picture_write(sd->c, path, picture, &how, force);
        else im_picture_texts_fit(sd->c, path, &how);
    }
    free_texts(texts);
    return im_ok(sd->c);
}

uint8_t *im_request_encode(im_sd *sd, const im_request *q, const char *name, const im_image *picture, size_t *bytes)
{
    im_text texts[2];
    uint8_t *file = NULL;
    if (make_texts(sd, q, texts)) {
        const im_picture_how how = how_of(q, texts);
        file = im_picture_encode(sd->c, picture, name, &how, bytes);
    }
    free_texts(texts);
    return file;
}
