/* sd_text.c: from prompts to the states that the UNet attends to: tokens (data/text/tokenizer.c), then the text encoder's
 * last hidden state, (T, C) a text. States are kept, up to a limit: a set of a million pictures has a thousand prompts, and
 * each is encoded once. Used by sd_begin.c and sd_report.c. */
#define _GNU_SOURCE
#include "models/pipelines/sd.h"
#include "models/checkpoints/model_files.h"
#include "data/files/file.h"
#include "data/text/prompt_marks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEPT_BYTES = 256 << 20 };                               /* of states: 1,135 texts of v1.4                      */

struct im_text_states {
    size_t n, cap, next;                                       /* kept; room; the one to be replaced when it is full  */
    struct { char *text; float *states; } *v;                  /* states (T, C)                                       */
};

size_t im_sd_text_size(const im_sd *sd)
{
    return (size_t)sd->config->clip.max_position_embeddings * (size_t)sd->config->clip.hidden_size;
}

/* Writes the tokenizer files of a single file's metadata to out (a folder), or removes them again. */
static int unpack(im_sd *sd, const char *out, bool write)
{
    const im_safetensors *file = im_checkpoint_file(sd->checkpoint, IM_PART_CLIP);
    int found = 0;
    for (int i = 0; i < IM_MODEL_FILES; i++) {
        const char *name = im_model_file_name(i), *text = im_st_metadata(file, name);
        if (!text || strncmp(name, "tokenizer/", 10)) continue;
        char *path = im_join(sd->c, out, name + 10);
        if (path && write) im_write_file(sd->c, path, text, strlen(text), true);
        else if (path) remove(path);
        free(path);
        found++;
    }
    return found;
}

/* A single file that `imago convert` made carries a tokenizer other than CLIP's own in its metadata, as the text of the
 * files it was. The tokenizer reads files, so they pass through a folder of their own. */
static im_tokenizer *open_packed(im_sd *sd)
{
    const char *tmp = getenv("TMPDIR");
    char folder[1024];
    snprintf(folder, sizeof folder, "%.900s/imago-tokenizer-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) {
        im_fail(sd->c, "%s: a temporary folder for the tokenizer could not be made: %s; set TMPDIR", folder,
                strerror(errno));
        return NULL;
    }
    int found = unpack(sd, folder, true);
    im_tokenizer *t = im_tokenizer_open(sd->c, found ? folder : NULL);
    unpack(sd, folder, false);
    rmdir(folder);
    return t;
}

static bool need_tokenizer(im_sd *sd)
{
    if (sd->tokenizer || !im_ok(sd->c)) return im_ok(sd->c);
    const char *folder = im_checkpoint_folder(sd->checkpoint);
    char *path = folder ? im_join(sd->c, folder, "tokenizer") : NULL;
    if (folder && !path) return false;
    sd->tokenizer = folder ? im_tokenizer_open(sd->c, path) : open_packed(sd);
    free(path);
    if (!sd->tokenizer) return false;
    int words = im_tokenizer_size(sd->tokenizer), rows = sd->config->clip.vocab_size;
    return words <= rows || im_fail(sd->c, "%s: its tokenizer has %d tokens, but its text encoder knows %d",
                                    im_checkpoint_path(sd->checkpoint), words, rows);
}

const im_tokenizer *im_sd_tokenizer(im_sd *sd)
{
    return sd && need_tokenizer(sd) ? sd->tokenizer : NULL;
}

/* A warning a kind: the first mark of files, the first of weights. */
static void warn_of_marks(im_sd *sd, const char *text)
{
    static const char *const why[] = { [IM_MARK_FILE] = "nothing is loaded for it; <lora:NAME:WEIGHT> stands "
                                                       "in the prompt, not in the negative one",
                                       [IM_MARK_WEIGHT] = "words have no weights here" };
    bool told[3] = { false };
    char mark[100];
    size_t at = 0;
    for (im_mark kind; (kind = im_prompt_mark(text, &at, mark, sizeof mark)) != IM_MARK_NONE; told[kind] = true)
        if (!told[kind]) im_warn(sd->c, "\"%s\" in the prompt is read as text, letter by letter: %s", mark, why[kind]);
}

static bool tokens_of(im_sd *sd, const char *text, int32_t *ids)
{
    int length = sd->config->clip.max_position_embeddings;
    char *cut = NULL;
    warn_of_marks(sd, text);
    bool ok = im_tokenize(sd->c, sd->tokenizer, text, length, ids, &cut);
    if (ok && cut)
        im_warn(sd->c, "the prompt is longer than the %d tokens that the model reads; left out: \"%s\"", length - 2,
                cut);
    free(cut);
    return ok;
}

/* ---------------------------------------------------------------- states that are kept */

void im_text_states_free(struct im_text_states *k)
{
    for (size_t i = 0; k && i < k->n; i++) {
        free(k->v[i].text);
        free(k->v[i].states);
    }
    if (k) free(k->v);
    free(k);
}

static const float *kept(const im_sd *sd, const char *text)
{
    const struct im_text_states *k = sd->texts;
    for (size_t i = 0; k && i < k->n; i++)
        if (!strcmp(k->v[i].text, text)) return k->v[i].states;
    return NULL;
}

/* A copy for later; without memory there is none, and nothing is lost. */
static void keep(im_sd *sd, const char *text, const float *states)
{
    size_t bytes = im_sd_text_size(sd) * sizeof *states;
    struct im_text_states *k = sd->texts;
    if (!k && !(k = sd->texts = calloc(1, sizeof *k))) return;
    if (!k->v) k->v = calloc((k->cap = 1 + KEPT_BYTES / bytes), sizeof *k->v);
    char *name = strdup(text);
    float *copy = malloc(bytes);
    if (!k->v || !name || !copy) {
        free(name);
        free(copy);
        return;
    }
    memcpy(copy, states, bytes);
    size_t at = k->n < k->cap ? k->n++ : k->next++ % k->cap;
    free(k->v[at].text);
    free(k->v[at].states);
    k->v[at].text = name;
    k->v[at].states = copy;
}

/* ---------------------------------------------------------------- encoding */

/* which[i]: the place of text i among the different texts that are not kept, -1: it is; returns their number. */
static int number_texts(const im_sd *sd, const char *const texts[], int n, int *which)
{
    int different = 0;
    for (int i = 0; i < n; i++) {
        int same = 0;
        while (same < i && strcmp(texts[same], texts[i])) same++;
        which[i] = same < i ? which[same] : kept(sd, texts[i]) ? -1 : different++;
    }
    return different;
}

static bool encode(im_sd *sd, const char *const texts[], const int *which, int n, int different, bool eager, float *out)
{
    if (!different) return true;
    int length = sd->config->clip.max_position_embeddings, next = 0;
    int32_t *ids = malloc((size_t)different * (size_t)length * sizeof *ids);
    bool ok = ids || im_fail(sd->c, "out of memory for the tokens of %d texts", different);
    for (int i = 0; ok && i < n; i++)
        if (which[i] == next)                                  /* the first of its kind                               */
            ok = tokens_of(sd, texts[i], ids + (size_t)next++ * (size_t)length);
    int at_once = eager ? different : 1;                       /* whatever their number, there is one plan            */
    im_stage *s = ok ? im_sd_stage(sd, IM_NET_CLIP, at_once, (im_sd_size){ 0 }, eager, NULL) : NULL;
    for (int i = 0; ok && i < different; i += at_once)
        ok = s && im_stage_run(s, ids + (size_t)i * (size_t)length, NULL, out + (size_t)i * im_sd_text_size(sd));
    free(ids);
    return ok;
}

/* all (n, T, C): states of the new texts, (different, T, C), and of those that are kept. The new ones are kept last: they
 * may take the place of others that are needed here. */
static void gather(im_sd *sd, const char *const texts[], const int *which, int n, const float *states, float *all)
{
    size_t size = im_sd_text_size(sd);
    for (int i = 0; i < n; i++)
        memcpy(all + (size_t)i * size, which[i] < 0 ? kept(sd, texts[i]) : states + (size_t)which[i] * size,
               size * sizeof *all);
    for (int i = 0, next = 0; i < n; i++)
        if (which[i] == next) keep(sd, texts[i], states + (size_t)next++ * size);
}

float *im_sd_encode_texts(im_sd *sd, const char *const texts[], int n, bool eager)
{
    size_t size = im_sd_text_size(sd);
    int *which = malloc((size_t)n * sizeof *which);
    float *all = malloc((size_t)n * size * sizeof *all), *states = NULL;
    if (!which || !all) {
        im_fail(sd->c, "out of memory for the states of %d texts", n);
    } else if (need_tokenizer(sd)) {
        int different = number_texts(sd, texts, n, which);
        states = malloc((size_t)different * size * sizeof *states + 1);
        if (!states) im_fail(sd->c, "out of memory for the states of %d texts", different);
        if (states && encode(sd, texts, which, n, different, eager, states)) gather(sd, texts, which, n, states, all);
    }
    free(which);
    free(states);
    if (im_ok(sd->c)) return all;
    free(all);
    return NULL;
}
