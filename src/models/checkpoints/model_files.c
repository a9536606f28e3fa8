/* model_files.c: see model_files.h. The texts of v1.4 are in model_files_v1.c. */
#include "models/checkpoints/model_files.h"
#include "models/checkpoints/model_files_v1.h"
#include "data/files/file.h"
#include "data/files/sha256.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SCHEDULER, TEXT_ENCODER, MERGES, SPECIAL, TOKENIZER_CONFIG, VOCAB, TOKENIZER, ADDED, UNET, VAE, PREVIEW, INDEX };

static const char *const names[IM_MODEL_FILES] = {
    [SCHEDULER] = "scheduler/scheduler_config.json", [TEXT_ENCODER] = "text_encoder/config.json",
    [MERGES] = "tokenizer/merges.txt", [SPECIAL] = "tokenizer/special_tokens_map.json",
    [TOKENIZER_CONFIG] = "tokenizer/tokenizer_config.json", [VOCAB] = "tokenizer/vocab.json",
    [TOKENIZER] = "tokenizer/tokenizer.json", [ADDED] = "tokenizer/added_tokens.json", [UNET] = "unet/config.json",
    [VAE] = "vae/config.json", [PREVIEW] = "vae/preview.json", [INDEX] = "model_index.json",
};

static bool of_tokenizer(int i) { return i >= MERGES && i <= ADDED; }

const char *im_model_file_name(int i) { return names[i]; }

void im_model_files_free(im_model_files *f)
{
    for (int i = 0; i < IM_MODEL_FILES; i++)
        free(f->text[i]);
    *f = (im_model_files){ 0 };
}

static bool set(im_ctx *c, im_model_files *f, int i, const char *text)
{
    free(f->text[i]);
    f->text[i] = im_copy_text(c, text, strlen(text));
    return f->text[i] != NULL;
}

bool im_model_files_preview(im_ctx *c, im_model_files *f, const char *text)
{
    return set(c, f, PREVIEW, text);
}

/* ---------------------------------------------------------------- v1.4 */

static bool v1_tokenizer(im_ctx *c, im_model_files *f)
{
    free(f->text[MERGES]);
    free(f->text[VOCAB]);
    f->text[MERGES] = im_v1_merges(c);
    f->text[VOCAB] = im_v1_vocab(c);
    return set(c, f, SPECIAL, im_v1_special_tokens) && set(c, f, TOKENIZER_CONFIG, im_v1_tokenizer_config) &&
           f->text[MERGES] && f->text[VOCAB];
}

bool im_model_files_v1(im_ctx *c, im_model_files *f)
{
    *f = (im_model_files){ 0 };
    return set(c, f, SCHEDULER, im_v1_scheduler) && set(c, f, TEXT_ENCODER, im_v1_text_encoder) &&
           set(c, f, UNET, im_v1_unet) && set(c, f, VAE, im_v1_vae) && set(c, f, INDEX, im_v1_index) &&
           v1_tokenizer(c, f);
}

/* ---------------------------------------------------------------- folders and metadata */

/* The pipeline without the networks that are not copied: safety checker and what feeds it. */
static bool clean_index(im_ctx *c, im_model_files *f, const char *where)
{
    static const char *const parts[] = { "safety_checker", "feature_extractor", "image_encoder" };
    json_t *index = json_loads(f->text[INDEX], JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(index)) {
        json_decref(index);
        return im_fail(c, "%s: %s is not a JSON object", where, names[INDEX]);
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (i < 2 || json_object_get(index, parts[i]))
            json_object_set_new(index, parts[i], json_pack("[n,n]"));
    json_object_set_new(index, "requires_safety_checker", json_false());
    char *text = json_dumps(index, JSON_INDENT(2));
    json_decref(index);
    free(f->text[INDEX]);
    f->text[INDEX] = text;
    return text || im_fail(c, "%s: out of memory", where);
}

bool im_model_files_as_f32(im_ctx *c, im_model_files *f)
{
    json_t *config = json_loads(f->text[TEXT_ENCODER], JSON_REJECT_DUPLICATES, NULL);
    json_object_del(config, "torch_dtype");                    /* its name before transformers 5                      */
    bool ok = !json_object_set_new(config, "dtype", json_string("float32"));
    char *text = ok ? json_dumps(config, JSON_INDENT(2)) : NULL;
    json_decref(config);
    if (!text)
        return im_fail(c, "%s could not be written anew: out of memory, or no JSON object", names[TEXT_ENCODER]);
    free(f->text[TEXT_ENCODER]);
    f->text[TEXT_ENCODER] = text;
    return true;
}

static bool check_files(im_ctx *c, const im_model_files *f, const char *where)
{
    static const int wanted[] = { INDEX, SCHEDULER, TEXT_ENCODER, UNET, VAE };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!f->text[wanted[i]])
            return im_fail(c, "%s: has no %s; is it a whole diffusers folder?", where, names[wanted[i]]);
    if (!f->text[TOKENIZER] && (!f->text[VOCAB] || !f->text[MERGES]))
        return im_fail(c, "%s: has neither %s and %s nor %s; is it a whole diffusers folder?", where, names[VOCAB],
                       names[MERGES], names[TOKENIZER]);
    return true;
}

bool im_model_files_folder(im_ctx *c, im_model_files *f, const char *folder)
{
    *f = (im_model_files){ 0 };
    for (int i = 0; i < IM_MODEL_FILES && im_ok(c); i++) {
        char *path = im_join(c, folder, names[i]);
        if (path && im_is_file(path))
            f->text[i] = im_read_file(c, path, 64 << 20, NULL);
        free(path);
    }
    return im_ok(c) && check_files(c, f, folder) && clean_index(c, f, folder);
}

bool im_model_files_metadata(im_ctx *c, im_model_files *f, const im_safetensors *s, const char *path)
{
    if (!im_st_metadata(s, names[UNET]))
        return im_model_files_v1(c, f);
    *f = (im_model_files){ 0 };
    bool tokenizer = false;
    for (int i = 0; i < IM_MODEL_FILES && im_ok(c); i++) {
        const char *text = im_st_metadata(s, names[i]);
        if (text && set(c, f, i, text))
            tokenizer |= of_tokenizer(i);
    }
    if (!tokenizer && im_ok(c))
        v1_tokenizer(c, f);
    return im_ok(c) && check_files(c, f, path) && clean_index(c, f, path);
}

/* ---------------------------------------------------------------- writing */

bool im_model_files_hash(im_ctx *c, const im_model_files *f, char hex[65])
{
    im_sha256 *s = im_sha256_new(c);
    bool ok = s != NULL;
    for (int i = 0; ok && i < PREVIEW; i++)                    /* previews decide no bit                              */
        ok = !f->text[i] || (im_sha256_add(c, s, names[i], strlen(names[i]) + 1) &&
                             im_sha256_add(c, s, f->text[i], strlen(f->text[i]) + 1));
    if (!ok)
        im_sha256_free(s);
    return ok && im_sha256_finish(c, s, hex);
}

bool im_model_files_write(const im_model_files *f, im_folder_out *out)
{
    for (int i = 0; i < IM_MODEL_FILES; i++)
        if (!(f->text[i] ? im_folder_write(out, names[i], f->text[i], strlen(f->text[i])) : im_folder_drop(out, names[i])))
            return false;
    return im_ok(out->c);
}

int im_model_files_pairs(im_ctx *c, const im_model_files *f, const char *pairs[2 * IM_MODEL_FILES])
{
    im_model_files v1 = { 0 };
    bool own = v1_tokenizer(c, &v1) && !f->text[TOKENIZER] && !f->text[ADDED];
    for (int i = MERGES; i <= VOCAB && own; i++)
        own = f->text[i] && !strcmp(f->text[i], v1.text[i]);
    im_model_files_free(&v1);
    int n = 0;
    for (int i = 0; i < IM_MODEL_FILES; i++)
        if (f->text[i] && !(own && of_tokenizer(i))) {
            pairs[2 * n] = names[i];
            pairs[2 * n++ + 1] = f->text[i];
        }
    return im_ok(c) ? n : -1;
}
