/* clip_pair.c: see clip_pair.h. A text's vector is that of its end token (transformers' CLIPTextModel: the first of
 * eos_token_id; the token of the highest number where that is 2, as old configurations have it). */
#include "models/checkpoints/clip_pair.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "models/checkpoints/config.h"
#include "models/checkpoints/state_dict.h"

enum { TEXTS = 16, OLD_END = 2 };                              /* texts at once                                       */

struct im_clip_pair {
    im_clip_config text_config;
    im_clip_image_config image_config;
    im_clip *text;
    im_clip_image *image;
    im_tokenizer *tokenizer;
    float mean[3], deviation[3];
    double scale;
    char *path;
};

static bool read_config(im_ctx *c, const char *folder, im_clip_pair *p)
{
    im_json j = { 0 };
    char *path = im_join(c, folder, "config.json");
    bool ok = path && im_json_load(c, &j, path, IM_JSON_CONFIG_BYTES) &&
              im_clip_pair_config_read(c, &j, &p->text_config, &p->image_config);
    im_json_close(&j);
    free(path);
    return ok;
}

/* Mean and deviation of colours; CLIP's own where nothing is said. */
static bool read_colours(im_ctx *c, const char *folder, im_clip_pair *p)
{
    double mean[3] = { 0.48145466, 0.4578275, 0.40821073 }, deviation[3] = { 0.26862954, 0.26130258, 0.27577711 };
    im_json j = { 0 };
    char *path = im_join(c, folder, "preprocessor_config.json");
    bool ok = path != NULL;
    if (ok && im_is_file(path))
        ok = im_json_load(c, &j, path, IM_JSON_CONFIG_BYTES) &&
             im_json_floats(c, &j, "image_mean", IM_MAY, -10, 10, mean, 3) &&
             im_json_floats(c, &j, "image_std", IM_MAY, 1e-6, 100, deviation, 3);
    for (int i = 0; i < 3; i++) {
        p->mean[i] = (float)mean[i];
        p->deviation[i] = (float)deviation[i];
    }
    im_json_close(&j);
    free(path);
    return ok;
}

static bool read_scale(im_ctx *c, const im_safetensors *s, im_clip_pair *p)
{
    const im_st_entry *e = im_st_find(s, "logit_scale");
    if (!e || e->dtype != IM_F32 || e->bytes != sizeof(float))
        return im_fail(c, "%s: has no logit_scale, one number in f32; wanted the weights of CLIPModel", p->path);
    float v;
    memcpy(&v, e->data, sizeof v);
    p->scale = exp((double)v);
    return isfinite(p->scale) || im_fail(c, "%s: its logit_scale is %g", p->path, (double)v);
}

static bool read_weights(im_ctx *c, const char *folder, im_clip_pair *p)
{
    p->path = im_join(c, folder, "model.safetensors");
    im_safetensors *s = p->path ? im_st_open(c, p->path) : NULL;
    im_state_rules rules = { .shared = true };
    bool ok = s && read_scale(c, s, p) && (p->text = im_clip_new(c, &p->text_config)) &&
              (p->image = im_clip_image_new(c, &p->image_config)) &&
              im_state_read(im_clip_params(p->text), s, p->path, IM_F32, &rules) &&
              im_state_read(im_clip_image_params(p->image), s, p->path, IM_F32, &rules);
    im_st_close(s);
    return ok;
}

im_clip_pair *im_clip_pair_open(im_ctx *c, const char *folder)
{
    if (!im_ok(c))
        return NULL;
    im_clip_pair *p = calloc(1, sizeof *p);
    if (!p) {
        im_fail(c, "%s: out of memory", folder);
        return NULL;
    }
    bool ok = read_config(c, folder, p) && read_colours(c, folder, p) && read_weights(c, folder, p) &&
              (p->tokenizer = im_tokenizer_open(c, folder));
    int words = ok ? im_tokenizer_size(p->tokenizer) : 0;
    if (ok && words > p->text_config.vocab_size)
        ok = im_fail(c, "%s: its tokenizer has %d tokens, but its text encoder knows %d", folder, words,
                     p->text_config.vocab_size);
    if (ok)
        return p;
    im_clip_pair_free(p);
    return NULL;
}

void im_clip_pair_free(im_clip_pair *p)
{
    if (!p)
        return;
    im_clip_free(p->text);
    im_clip_image_free(p->image);
    im_tokenizer_free(p->tokenizer);
    free(p->path);
    free(p);
}

const im_clip_image *im_clip_pair_image(const im_clip_pair *p) { return p->image; }
int im_clip_pair_width(const im_clip_pair *p) { return p->image_config.projection_dim; }
int im_clip_pair_size(const im_clip_pair *p) { return p->image_config.image_size; }
const char *im_clip_pair_path(const im_clip_pair *p) { return p->path; }
double im_clip_pair_scale(const im_clip_pair *p) { return p->scale; }

void im_clip_pair_colours(const im_clip_pair *p, const float **mean, const float **deviation)
{
    *mean = p->mean;
    *deviation = p->deviation;
}

/* ---------------------------------------------------------------- texts */

static int end_of(const im_clip_config *cfg, const int32_t *ids)
{
    int length = cfg->max_position_embeddings, best = 0;
    for (int i = 0; i < length; i++) {
        if (cfg->eos_token_id != OLD_END && ids[i] == cfg->eos_token_id)
            return i;
        best = ids[i] > ids[best] ? i : best;
    }
    return best;
}

/* Up to TEXTS of them. */
static bool encode(im_ctx *c, const im_clip_pair *p, const int32_t *ids, int n, float *out)
{
    int64_t length = p->text_config.max_position_embeddings, width = p->text_config.hidden_size;
    im_tensor *at = im_from(c, IM_I32, 2, (int64_t[]){ n, length }, ids);
    float *states = im_values(c, im_clip_forward(c, p->text, at));                       /* (n, T, C)  */
    for (int i = 0; states && i < n; i++)
        memmove(states + i * width, states + (i * length + end_of(&p->text_config, ids + i * length)) * width,
                (size_t)width * sizeof *states);
    im_tensor *ends = states ? im_from(c, IM_F32, 2, (int64_t[]){ n, width }, states) : NULL;
    float *v = ends ? im_values(c, im_normalize(c, im_clip_text_project(c, p->image, ends), 1e-12f)) : NULL;
    if (v)
        memcpy(out, v, (size_t)n * (size_t)p->image_config.projection_dim * sizeof *out);
    free(states);
    free(v);
    return im_ok(c);
}

bool im_clip_pair_texts(im_ctx *c, im_clip_pair *p, const char *const texts[], int n, float *out)
{
    int length = p->text_config.max_position_embeddings;
    int32_t *ids = malloc((size_t)TEXTS * (size_t)length * sizeof *ids);
    bool ok = ids || im_fail(c, "out of memory for the tokens of %d texts", n);
    for (int from = 0; ok && from < n; from += TEXTS) {
        int some = n - from < TEXTS ? n - from : TEXTS;
        for (int i = 0; ok && i < some; i++) {
            char *cut = NULL;
            ok = im_tokenize(c, p->tokenizer, texts[from + i], length, ids + (int64_t)i * length, &cut);
            if (ok && cut)
                im_warn(c, "a text is longer than the %d tokens that the model reads; left out: \"%s\"", length - 2, cut);
            free(cut);
        }
        im_scope_push(c);
        ok = ok && encode(c, p, ids, some, out + (int64_t)from * p->image_config.projection_dim);
        im_scope_pop(c);
    }
    free(ids);
    return ok;
}
