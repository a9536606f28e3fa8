/* sd_text.c: from prompts to the states that the UNet attends to: ids (data/text/chunks.c), then the text encoder's last
 * hidden state, or that of an earlier layer, (T, C) a chunk, times the weights of its words. States are kept, up to a
 * limit: a set of a million pictures has a thousand prompts, and each is encoded once. Used by sd_begin.c and
 * sd_report.c. */
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
    int n;
    size_t chunks;                                             /* of all                                              */
    im_sd_text *v;                                             /* text and states are its own; the oldest first       */
};

size_t im_sd_text_size(const im_sd *sd)
{
    return (size_t)sd->config->text_tokens * (size_t)sd->config->clip.hidden_size;
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
static void warn_of_marks(im_sd *sd, const im_sd_text *t)
{
    static const char *const why[] = {
        [IM_MARK_FILE] = "nothing is loaded for it; <lora:NAME:WEIGHT>, so written, stands in the prompt, not in the "
                         "negative one",
        [IM_MARK_WEIGHT] = "words have no weights here; --prompt-syntax a1111 reads it as one",
        [IM_MARK_CHANGE] = "a prompt stays the same from the first step to the last",
    };
    bool told[4] = { false };
    char mark[100];
    size_t at = 0;
    told[t->syntax == IM_PROMPT_PLAIN ? IM_MARK_CHANGE : IM_MARK_WEIGHT] = true;
    for (im_mark kind; (kind = im_prompt_mark(t->text, &at, mark, sizeof mark)) != IM_MARK_NONE; told[kind] = true)
        if (!told[kind])
            im_warn(sd->c, "\"%s\" in the %sprompt is read as text, letter by letter: %s", mark,
                    t->negative ? "negative " : "", why[kind]);
}

static bool chunks_of(im_sd *sd, const char *text, im_prompt_syntax syntax, im_chunks *out, char **cut)
{
    int n, length = sd->config->text_tokens;
    im_vector_word *words = im_sd_vector_words(sd, &n);
    bool ok = words && im_chunks_of(sd->c, sd->tokenizer, (im_vector_words){ words, n }, text, syntax, length, out, cut);
    free(words);
    return ok;
}

static bool read_text(im_sd *sd, const im_sd_text *t, im_chunks *out)
{
    int length = sd->config->text_tokens;
    char *cut = NULL;
    warn_of_marks(sd, t);
    bool ok = chunks_of(sd, t->text, t->syntax, out, &cut);
    if (ok && cut)
        im_warn(sd->c, "the %sprompt is longer than the %d tokens that the model reads; left out: \"%s\"; --prompt-syntax "
                       "a1111 reads it in parts", t->negative ? "negative " : "", length - 2, cut);
    free(cut);
    return ok;
}

im_sd_text im_sd_text_of(const im_sd_args *a, const char *text)
{
    return (im_sd_text){ .text = text, .syntax = a->syntax, .skip = a->clip_skip > 1 ? a->clip_skip - 1 : 0 };
}

bool im_sd_guided(const im_sd *sd, const im_sd_args *a)
{
    return a->guidance > 1 && !sd->config->unet.time_cond_proj_dim;
}

int im_sd_text_chunks(im_sd *sd, const im_sd_args *a)
{
    const char *texts[2] = { a->prompt, im_sd_guided(sd, a) && a->negative ? a->negative : "" };
    int most = 1;
    if (a->syntax == IM_PROMPT_PLAIN) return 1;
    if (!need_tokenizer(sd)) return 0;
    for (int i = 0; i < 2; i++) {
        im_chunks k;
        if (!chunks_of(sd, texts[i], a->syntax, &k, NULL)) return 0;
        most = k.n > most ? k.n : most;
        im_chunks_free(&k);
    }
    return most;
}

/* ---------------------------------------------------------------- states that are kept */

void im_text_states_free(struct im_text_states *k)
{
    for (int i = 0; k && i < k->n; i++) {
        free((char *)k->v[i].text);
        free(k->v[i].states);
    }
    if (k) free(k->v);
    free(k);
}

static bool same(const im_sd_text *a, const im_sd_text *b)
{
    return a->syntax == b->syntax && a->skip == b->skip && !strcmp(a->text, b->text);
}

static float *copy_states(const im_sd *sd, const im_sd_text *t)
{
    size_t n = (size_t)t->chunks * im_sd_text_size(sd);
    float *copy = malloc(n * sizeof *copy);
    return copy ? memcpy(copy, t->states, n * sizeof *copy) : NULL;
}

/* Gives t a copy of what is kept of it; false: there is nothing, or no memory. */
static bool recall(const im_sd *sd, im_sd_text *t)
{
    const struct im_text_states *k = sd->texts;
    for (int i = 0; k && i < k->n; i++)
        if (same(&k->v[i], t)) {
            t->chunks = k->v[i].chunks;
            return (t->states = copy_states(sd, &k->v[i])) != NULL;
        }
    return false;
}

/* A copy for later; the oldest go where there are too many. Without memory there is none, and nothing is lost. */
static void keep(im_sd *sd, const im_sd_text *t)
{
    size_t room = 1 + KEPT_BYTES / (im_sd_text_size(sd) * sizeof(float));                /* chunks                     */
    struct im_text_states *k = sd->texts;
    im_sd_text copy = *t;
    if (!k && !(k = sd->texts = calloc(1, sizeof *k))) return;
    if (!k->v && !(k->v = calloc(room, sizeof *k->v))) return;
    if ((size_t)t->chunks > room) return;
    int drop = 0;
    for (; k->chunks + (size_t)t->chunks > room; drop++) {
        k->chunks -= (size_t)k->v[drop].chunks;
        free((char *)k->v[drop].text);
        free(k->v[drop].states);
    }
    k->n -= drop;
    memmove(k->v, k->v + drop, (size_t)k->n * sizeof *k->v);
    copy.text = strdup(t->text);
    copy.states = copy_states(sd, t);
    if (!copy.text || !copy.states) {
        free((char *)copy.text);
        free(copy.states);
        return;
    }
    k->chunks += (size_t)t->chunks;
    k->v[k->n++] = copy;
}

/* ---------------------------------------------------------------- encoding */

/* z = w z, then as it was in the mean: z mean / mean(w z). (chunk) values, T rows. */
static void emphasise(float *z, const float *weight, int tokens, size_t width)
{
    double before = 0, after = 0;
    for (int t = 0; t < tokens; t++)
        for (size_t i = 0; i < width; i++) {
            float *x = z + (size_t)t * width + i;
            before += (double)*x;
            *x *= weight[t];
            after += (double)*x;
        }
    float by = after != 0 ? (float)(before / after) : 1;
    for (size_t i = 0; i < (size_t)tokens * width; i++) z[i] *= by;
}

/* Chunks with vectors in them go op by op, since a plan begins with ids; its bits are the same. ids (n, T). */
static bool encode_vectors(im_sd *sd, const int32_t *ids, int n, int skip, float *states)
{
    im_ctx *c = sd->c;
    size_t width = (size_t)sd->config->clip.hidden_size;
    int64_t tokens = sd->config->text_tokens, shape[3] = { n, tokens, (int64_t)width };
    int32_t *plain = malloc((size_t)(n * tokens) * sizeof *plain);
    if (!plain) return im_fail(c, "out of memory for the ids of a prompt");
    for (int64_t i = 0; i < n * tokens; i++) plain[i] = ids[i] < 0 ? 0 : ids[i];
    im_sd_stages_rest(sd);
    im_scope_push(c);
    float *x = !im_sd_need(sd, IM_NET_CLIP) ? NULL
             : im_values(c, im_clip_tokens(c, sd->nets.clip, im_from(c, IM_I32, 2, shape, plain)));
    for (int64_t i = 0; x && i < n * tokens; i++)
        if (ids[i] < 0)
            memcpy(x + (size_t)i * width, sd->embeddings.vectors + (size_t)(-1 - ids[i]) * width, width * sizeof *x);
    bool ok = x && im_download(c, im_clip_encode(c, sd->nets.clip, im_from(c, IM_F32, 3, shape, x), skip), states);
    im_scope_pop(c);
    free(x);
    free(plain);
    return ok;
}

/* The chunks of one text or more, which leave out the same layers: ids (n, T) -> states (n, T, C). */
static bool encode_ids(im_sd *sd, const int32_t *ids, int n, int skip, bool eager, float *states)
{
    size_t length = (size_t)sd->config->text_tokens;
    int at_once = eager ? n : 1;                               /* whatever their number, there is one plan            */
    im_stage *s = im_sd_stage(sd, IM_NET_CLIP, at_once, (im_sd_size){ .skip = skip }, eager, NULL);
    bool ok = s != NULL;
    for (int i = 0; ok && i < n; i += at_once)
        ok = im_stage_run(s, ids + (size_t)i * length, NULL, states + (size_t)i * im_sd_text_size(sd));
    return ok;
}

/* Gives every new text (k[i].n > 0) its states; those of an evaluation lie side by side in `all`. */
static bool encode(im_sd *sd, im_sd_text t[], const im_chunks k[], int n, bool eager, int32_t *ids, float *all)
{
    size_t length = (size_t)sd->config->text_tokens, size = im_sd_text_size(sd);
    for (int i = 0, end; i < n; i = end) {
        int count = 0;
        for (end = i; end < n && (!k[end].n || t[end].skip == t[i].skip); count += k[end++].n)
            if (k[end].n) memcpy(ids + (size_t)count * length, k[end].ids, (size_t)k[end].n * length * sizeof *ids);
        bool vectors = false;
        for (int j = 0; j < count * (int)length; j++) vectors = vectors || ids[j] < 0;
        if (count && !(vectors ? encode_vectors(sd, ids, count, t[i].skip, all)
                               : encode_ids(sd, ids, count, t[i].skip, eager, all)))
            return false;
        const float *from = all;
        for (int j = i; j < end; from += (size_t)k[j++].n * size) {
            if (!k[j].n) continue;
            t[j].chunks = k[j].n;
            if (!(t[j].states = malloc((size_t)k[j].n * size * sizeof *t[j].states)))
                return im_fail(sd->c, "out of memory for the states of a text");
            memcpy(t[j].states, from, (size_t)k[j].n * size * sizeof *from);
            for (int part = 0; part < k[j].n; part++)
                if (im_chunk_weighted(&k[j], part))
                    emphasise(t[j].states + (size_t)part * size, k[j].weight + (size_t)part * length, (int)length,
                              size / length);
        }
    }
    return true;
}

static int first_like(const im_sd_text t[], int i)
{
    int first = 0;
    while (first < i && !(t[first].text && same(&t[first], &t[i]))) first++;
    return first;
}

/* Reads the texts that are neither kept nor there twice; returns the number of their chunks, -1 with an error. */
static int read_new(im_sd *sd, im_sd_text t[], im_chunks k[], int n)
{
    int chunks = 0;
    for (int i = 0; i < n; i++) {
        if (!t[i].text || first_like(t, i) < i || recall(sd, &t[i])) continue;
        if (!read_text(sd, &t[i], &k[i])) return -1;
        chunks += k[i].n;
    }
    return chunks;
}

static bool encode_new(im_sd *sd, im_sd_text t[], const im_chunks k[], int n, int chunks, bool eager)
{
    if (!chunks) return true;
    int32_t *ids = malloc((size_t)chunks * (size_t)sd->config->text_tokens * sizeof *ids);
    float *all = malloc((size_t)chunks * im_sd_text_size(sd) * sizeof *all);
    bool ok = (ids && all) || im_fail(sd->c, "out of memory for the states of %d texts", n);
    ok = ok && encode(sd, t, k, n, eager, ids, all);
    free(ids);
    free(all);
    for (int i = 0; ok && i < n; i++)
        if (k[i].n) keep(sd, &t[i]);
    return ok;
}

static bool copy_twins(im_sd *sd, im_sd_text t[], int n)
{
    for (int i = 0; i < n; i++) {
        int first = t[i].text ? first_like(t, i) : i;
        if (first == i) continue;
        t[i].chunks = t[first].chunks;
        if (!(t[i].states = copy_states(sd, &t[first]))) return im_fail(sd->c, "out of memory for the states of a text");
    }
    return true;
}

bool im_sd_encode_texts(im_sd *sd, im_sd_text t[], int n, bool eager)
{
    im_chunks *k = need_tokenizer(sd) ? calloc((size_t)n, sizeof *k) : NULL;
    if (!k && im_ok(sd->c)) im_fail(sd->c, "out of memory for %d texts", n);
    int chunks = k ? read_new(sd, t, k, n) : -1;
    bool ok = chunks >= 0 && encode_new(sd, t, k, n, chunks, eager) && copy_twins(sd, t, n);
    for (int i = 0; k && i < n; i++) im_chunks_free(&k[i]);
    free(k);
    for (int i = 0; !ok && i < n; i++) {
        free(t[i].states);
        t[i].states = NULL;
    }
    return ok;
}
