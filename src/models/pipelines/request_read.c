/* request_read.c: the text `imago` of a picture's file, read back into a request, and what differs between one that is
 * there and one that would be made. Used by `generate --from` and `--skip-existing`. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/fields.h"
#include "data/files/json.h"
#include "models/pipelines/request.h"

struct im_request_text {
    im_json json;
    im_request request;
};

json_t *im_seed_json(uint64_t seed)
{
    return seed <= INT64_MAX ? json_integer((json_int_t)seed) : json_sprintf("%llu", (unsigned long long)seed);
}

bool im_seed_read(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v)) return im_seed_of_text(json_string_value(v), out);
    *out = (uint64_t)json_integer_value(v);
    return json_integer_value(v) >= 0;
}

/* ---------------------------------------------------------------- reading */

typedef struct reader {
    im_ctx *c;
    const im_json *json;
    bool (*given)(void *arg, const char *key);
    void *arg;
} reader;

static bool wanted(const reader *r, const char *key) { return !r->given || !r->given(r->arg, key); }

static bool text(const reader *r, const char *key, im_need need, const char **out)
{
    return !wanted(r, key) || im_json_string(r->c, r->json, key, need, out);
}

static bool word(const reader *r, const char *key, im_need need, const char *words, const char **out)
{
    if (!wanted(r, key)) return true;
    return im_json_string(r->c, r->json, key, need, out) &&
           (im_words_have(words, *out) ||
            im_fail(r->c, "%s: \"%s\" is \"%s\", wanted one of %s", r->json->file, key, *out, words));
}

static bool whole(const reader *r, const char *key, im_need need, int min, int max, int *out)
{
    return !wanted(r, key) || im_json_int(r->c, r->json, key, need, min, max, out);
}

static bool real(const reader *r, const char *key, im_need need, double min, double max, float *out)
{
    double x = *out;
    bool ok = !wanted(r, key) || im_json_float(r->c, r->json, key, need, min, max, &x);
    *out = (float)x;
    return ok;
}

static bool flag(const reader *r, const char *key, bool *out)
{
    return !wanted(r, key) || im_json_bool(r->c, r->json, key, IM_MAY, out);
}

static bool seed(const reader *r, uint64_t *out)
{
    return !wanted(r, "seed") || im_seed_read(json_object_get(r->json->value, "seed"), out) ||
           im_fail(r->c, "%s: \"seed\" is not a whole number", r->json->file);
}

static bool read_all(const reader *r, im_request *q)
{
    const char *rng = "cpu", *activations = "f32", *syntax = "plain", *fill = "original", *dtype = NULL, *device = NULL;
    const char *const also[] = { "model_hash", "version", "isa", "vae_sha256" }, *said;     /* of whoever asks         */
    int padding = -1;
    im_sd_args *a = &q->args;
    *q = (im_request){ .args = im_sd_defaults(NULL), .latents_index = -1, .model_name = "" };
    a->negative = "";
    a->strength = 0.75f;
    bool ok = text(r, "prompt", IM_MUST, &a->prompt) && text(r, "negative", IM_MAY, &a->negative) &&
              text(r, "scheduler", IM_MUST, &a->scheduler) && word(r, "dtype", IM_MUST, "f32|f16|bf16|int8", &dtype) &&
              word(r, "activations", IM_MAY, "f32|f16|bf16", &activations) &&
              text(r, "device", IM_MUST, &device) && word(r, "rng", IM_MUST, "cpu|cuda", &rng) &&
              whole(r, "steps", IM_MUST, 1, 100000, &a->steps) && whole(r, "width", IM_MUST, 1, 1 << 20, &a->width) &&
              whole(r, "height", IM_MUST, 1, 1 << 20, &a->height) &&
              real(r, "guidance", IM_MUST, -1000, 1000, &a->guidance) &&
              real(r, "strength", IM_MAY, 0, 1, &a->strength) && flag(r, "tile", &a->tile) &&
              whole(r, "quality", IM_MAY, 1, 100, &q->quality) &&
              whole(r, "latents_index", IM_MAY, 0, INT_MAX, &q->latents_index) && seed(r, &a->seed) &&
              text(r, "model", IM_MAY, &q->model_name) && text(r, "init_sha256", IM_MAY, &q->init_sha256) &&
              text(r, "template", IM_MAY, &q->prompt_template) &&
              text(r, "negative_template", IM_MAY, &q->negative_template) &&
              text(r, "latents_sha256", IM_MAY, &q->latents_sha256) &&
              word(r, "prompt_syntax", IM_MAY, "plain|a1111", &syntax) &&
              whole(r, "clip_skip", IM_MAY, 1, 1000, &a->clip_skip) &&
              whole(r, "deep_cache", IM_MAY, 1, 1000, &a->deep_cache) &&
              real(r, "token_merging", IM_MAY, 0, 0.9, &a->token_merging) && real(r, "eta", IM_MAY, 0, 1, &a->eta) &&
              text(r, "mask_sha256", IM_MAY, &q->mask_sha256) && real(r, "mask_blur", IM_MAY, 0, 1000, &a->mask_blur) &&
              word(r, "mask_fill", IM_MAY, "original|fill|noise|nothing", &fill) &&
              whole(r, "mask_only", IM_MAY, 0, 1 << 16, &padding) && im_mask_fill_named(fill, &a->mask_fill);
    for (int i = 0; ok && i < 4; i++) ok = text(r, also[i], IM_MAY, &said);
    a->mask_only = padding >= 0;
    a->mask_padding = padding < 0 ? 0 : padding;
    a->syntax = strcmp(syntax, "a1111") ? IM_PROMPT_PLAIN : IM_PROMPT_A1111;
    a->rng = strcmp(rng, "cuda") ? IM_RNG_CPU : IM_RNG_CUDA;
    return ok;
}

im_request_text *im_request_read(im_ctx *c, const char *path, bool (*given)(void *arg, const char *key), void *arg)
{
    char *json = im_picture_text(c, path, "imago");
    im_request_text *t = json ? calloc(1, sizeof *t) : NULL;
    static const char its_text[] = ": its text `imago`";
    char *name = t ? malloc(strlen(path) + sizeof its_text) : NULL;
    if (json && !name) im_fail(c, "%s: out of memory while it was read", path);
    if (name) sprintf(name, "%s%s", path, its_text);
    if (name && im_json_parse(c, &t->json, name, json, strlen(json)))
        read_all(&(reader){ .c = c, .json = &t->json, .given = given, .arg = arg }, &t->request);
    free(name);
    free(json);
    if (im_ok(c)) return t;
    im_request_free(t);
    return NULL;
}

void im_request_free(im_request_text *t)
{
    if (!t) return;
    im_json_close(&t->json);
    free(t);
}

const im_request *im_request_of(const im_request_text *t) { return &t->request; }

const char *im_request_said(const im_request_text *t, const char *key)
{
    return json_string_value(json_object_get(t->json.value, key));
}

/* ---------------------------------------------------------------- comparing */

/* What decides the bits of a picture, and how an error calls it. Other keys (version, isa) are looked at apart. */
static const char *const keys[][2] = {
    { "prompt", "prompt" }, { "negative", "negative prompt" }, { "seed", "seed" }, { "model_hash", "model, by its hash," },
    { "vae_sha256", "VAE, by the SHA-256 of its weights," },
    { "width", "width" }, { "height", "height" }, { "scheduler", "scheduler" }, { "steps", "number of steps" },
    { "guidance", "guidance" }, { "init_sha256", "picture of -i, by its SHA-256," }, { "strength", "strength" },
    { "latents_sha256", "file of --latents, by its SHA-256," }, { "latents_index", "place in the file of --latents" },
    { "dtype", "dtype" }, { "activations", "type of activations" }, { "rng", "rng" }, { "device", "device" },
    { "quality", "quality as a JPEG" }, { "loras", "list of LoRAs" }, { "embeddings", "list of embeddings" },
    { "mask_sha256", "mask, by the SHA-256 of its pixels," }, { "mask_blur", "blur of the mask" },
    { "mask_fill", "filling of the mask" }, { "mask_only", "padding of the masked part" },
    { "prompt_syntax", "syntax of prompts" }, { "clip_skip", "clip skip" }, { "deep_cache", "deep cache" },
    { "token_merging", "share of merged tokens" }, { "eta", "eta" }, { "tile", "decoding in tiles" },
};

static bool equal(const json_t *a, const json_t *b)
{
    bool whole = json_is_integer(a) && json_is_integer(b);     /* seeds have more digits than a double                 */
    if (!whole && json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return (!a && !b) || (a && b && json_equal(a, b));
}

/* A value for an error: JSON, of long texts the beginning. */
static void value_words(const json_t *v, char out[96])
{
    enum { SHOWN = 72 };                                       /* bytes                                                */
    char *words = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : strdup("none");
    size_t n = words ? strlen(words) : 0, cut = SHOWN;
    while (n > SHOWN && cut && (words[cut] & 0xc0) == 0x80) cut--;                       /* never within a character  */
    snprintf(out, 96, "%.*s%s", (int)(n > SHOWN ? cut : n), words ? words : "", n > SHOWN ? "...\"" : "");
    free(words);
}

/* The list without the last ones, which the prompt of then names; a new reference, NULL: none. */
static json_t *without_prompted(im_sd *sd, const im_request_text *then, json_t *list)
{
    const char *prompt = im_request_said(then, "prompt");
    im_lora_tags tags = { 0 };
    json_t *rest = json_copy(list);
    if (prompt && im_lora_tags_read(sd->c, prompt, &tags))
        for (int i = 0; i < tags.n; i++) json_array_remove(rest, json_array_size(rest) - 1);
    im_lora_tags_free(&tags);
    if (json_array_size(rest)) return rest;
    json_decref(rest);
    return NULL;
}

/* "the LoRA a (SHA-256 1234...) 0.8 times, ..." */
static void adapter_words(const char *kind, json_t *list, char *out, size_t size)
{
    size_t i, used = 0;
    json_t *one;
    *out = '\0';
    json_array_foreach(list, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *sha256 = json_string_value(json_object_get(one, "sha256"));
        const json_t *weight = json_object_get(one, "weight");
        if (used < size)
            used += (size_t)snprintf(out + used, size - used, "%sthe %s %s (SHA-256 %.16s...)", i ? ", " : "", kind,
                                     name ? name : "?", sha256 ? sha256 : "?");
        if (used < size && weight)
            used += (size_t)snprintf(out + used, size - used, " %g times", json_number_value(weight));
    }
}

bool im_request_same_embeddings(im_sd *sd, const im_request_text *then, const im_sd_args *now, char *out, size_t size)
{
    json_t *old = json_object_get(then->json.value, "embeddings"), *own = im_embeddings_json(sd, now);
    const char *prompt = im_request_said(then, "prompt"), *negative = im_request_said(then, "negative");
    bool same_texts = prompt && !strcmp(prompt, now->prompt) && negative && !strcmp(negative, now->negative);
    bool same = !same_texts || equal(old, own);
    adapter_words("embedding", old, out, size);
    json_decref(own);
    return same;
}

bool im_request_same_loras(im_sd *sd, const im_request_text *then, const char *prompt, char *out, size_t size)
{
    const char *old_prompt = im_request_said(then, "prompt");
    json_t *list = json_object_get(then->json.value, "loras");
    bool both = old_prompt && !strcmp(prompt, old_prompt);
    json_t *now = im_loras_json(sd, both ? prompt : NULL);
    json_t *old = both || !list ? json_incref(list) : without_prompted(sd, then, list);
    bool same = equal(old, now);
    adapter_words("LoRA", old, out, size);
    json_decref(now);
    json_decref(old);
    return same;
}

bool im_request_isa_decides(im_sd *sd, const char *then)
{
    im_dtype dtype = im_sd_dtype(sd);
    return (dtype != IM_F32 && dtype != IM_INT8) || im_sd_activations(sd) != IM_F32 ||
           !strcmp(im_device_isa(sd->c), "portable") || (then && !strcmp(then, "portable"));
}

bool im_request_differences(im_sd *sd, const im_request_text *then, const im_request *now, char *out, size_t size)
{
    char old[96], new[96];
    const char *isa = im_request_said(then, "isa");
    json_t *wanted_now = im_request_object(sd, now);
    *out = '\0';
    if (!wanted_now) return im_ok(sd->c) && im_fail(sd->c, "out of memory for what is said of a picture");
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const json_t *a = json_object_get(then->json.value, keys[k][0]), *b = json_object_get(wanted_now, keys[k][0]);
        size_t n = strlen(out);
        if (equal(a, b)) continue;
        value_words(a, old);
        value_words(b, new);
        snprintf(out + n, size - n, "%sits %s is %s, wanted %s", n ? "; " : "", keys[k][1], old, new);
    }
    json_decref(wanted_now);
    if (!*out && im_request_isa_decides(sd, isa) && isa && strcmp(isa, im_device_isa(sd->c)))
        snprintf(out, size, "it was drawn with the instruction set %s, wanted %s", isa, im_device_isa(sd->c));
    return true;
}
