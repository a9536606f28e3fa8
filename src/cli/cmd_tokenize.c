/* cmd_tokenize.c: `imago tokenize`: the ids that the text encoder is given for a prompt, and their pieces. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/reading.h"
#include "cli/session.h"
#include "cli/shown.h"
#include "cli/verbs.h"
#include "data/text/chunks.h"

typedef struct tokenize_options {
    common_options common;
    const char *model;
    reading reading;
    int length;
    bool json;
} tokenize_options;

#define AT(field) offsetof(tokenize_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "MODEL", AT(model), NULL,
                "a model folder, a folder that holds only tokenizer/, or a single file; without it, the built-in "
                "CLIP vocabulary"),
    OPTION_INT(0, "length", "N", AT(length), "77", 2, 65536, "number of ids to pad to, start and end included"),
    SYNTAX_OPTION(tokenize_options),
    OPTION_LIST(0, "embedding", "FILE|FOLDER", READING_AT(tokenize_options, embeddings),
                "a word of textual inversion, as for generate, which wants a whole model; may be given several times"),
    OPTION_FLAG(0, "json", AT(json),
                "print {\"ids\": [...], \"pieces\": [...]}; with a1111 \"weights\" too, and lists of all chunks in a row"),
    OPTION_END
};

static bool is_file(const char *model)
{
    struct stat st;
    return model && stat(model, &st) == 0 && S_ISREG(st.st_mode);
}

/* MODEL, MODEL/tokenizer, or NULL with *ok true for the built-in vocabulary; malloc'd. */
static char *tokenizer_folder(im_ctx *c, const char *model, bool *ok)
{
    static const char *const tail[] = { "", "/tokenizer" }, *const file[] = { "vocab.json", "tokenizer.json" };
    struct stat st;
    char path[4096];
    *ok = true;
    if (!model)
        return NULL;
    for (int i = 0; i < 4; i++) {                              /* transformers 5 writes tokenizer.json alone           */
        snprintf(path, sizeof path, "%s%s/%s", model, tail[i / 2], file[i % 2]);
        if (stat(path, &st) == 0) {
            snprintf(path, sizeof path, "%s%s", model, tail[i / 2]);
            return strdup(path);
        }
    }
    *ok = im_fail(c, "%s: found no vocab.json and no tokenizer.json in it nor in its tokenizer/; name a model folder, or "
                     "leave -m out for the built-in vocabulary", model);
    return NULL;
}

typedef struct reader {                                        /* who says what an id is                              */
    const im_tokenizer *t;
    im_vector_word *words; int n_words;                        /* of --embedding                                      */
    bool weighted;
} reader;

/* The piece of an id; of a vector the word's name and which of its vectors it is. */
static const char *piece_of(const reader *r, int32_t id, char *out, size_t size)
{
    if (id >= 0)
        return im_token_piece(r->t, id) ? im_token_piece(r->t, id) : "";
    for (int i = 0; i < r->n_words; i++)
        if (-1 - id < r->words[i].first + r->words[i].n && -1 - id >= r->words[i].first)
            snprintf(out, size, "%s, vector %d of %d", r->words[i].name, -id - r->words[i].first, r->words[i].n);
    return out;
}

static void print_json(const reader *r, const im_chunks *k)
{
    char name[300];
    json_t *list = json_array(), *pieces = json_array(), *weights = json_array();
    for (int i = 0; i < k->n * k->length; i++) {
        json_array_append_new(list, json_integer(k->ids[i]));
        json_array_append_new(pieces, json_string(piece_of(r, k->ids[i], name, sizeof name)));
        json_array_append_new(weights, json_real((double)k->weight[i]));
    }
    json_t *root = json_pack("{s:o, s:o}", "ids", list, "pieces", pieces);
    if (r->weighted)
        json_object_set(root, "weights", weights);
    json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(weights);
    json_decref(root);
}

/* One chunk; the padding repeats the end. */
static void print_table(const reader *r, const int32_t *ids, const float *weight, int n)
{
    char name[300];
    int last = n - 1;
    while (last > 0 && ids[last - 1] == ids[n - 1])
        last--;
    for (int i = 0; i <= last; i++) {
        char by[24] = "";
        if (weight[i] < 1 || weight[i] > 1)
            snprintf(by, sizeof by, "  %.6g times", (double)weight[i]);
        shown_line(stdout, "%6d  %s%s", ids[i], piece_of(r, ids[i], name, sizeof name), by);
    }
    if (last < n - 1)
        printf("%6d  repeated to %d ids\n", ids[n - 1], n);
}

/* The words of --embedding as the model knows them; their vectors are numbered through. */
static bool read_words(im_ctx *c, im_sd *model, reader *r)
{
    const char *name, *hash;
    int n = im_sd_embedding(model, -1, &name, &hash, NULL), vectors = 0, first = 0;
    r->words = calloc((size_t)n + 1, sizeof *r->words);
    if (!r->words)
        return im_fail(c, "out of memory for the names of embeddings");
    for (; r->n_words < n; first += vectors) {
        im_sd_embedding(model, r->n_words, &name, &hash, &vectors);
        r->words[r->n_words++] = (im_vector_word){ .name = name, .first = first, .n = vectors };
    }
    return true;
}

static bool print_ids(im_ctx *c, const tokenize_options *o, const reader *r, const char *prompt)
{
    im_chunks k;
    char *cut = NULL;
    if (!im_chunks_of(c, r->t, (im_vector_words){ r->words, r->n_words }, prompt, reading_syntax(&o->reading), o->length,
                      &k, &cut))
        return false;
    if (cut)
        shown_line(stderr, "imago: warning: the prompt is longer than %d tokens; cut: \"%s\"", o->length - 2, cut);
    if (o->json)
        print_json(r, &k);
    for (int i = 0; i < k.n && !o->json; i++) {
        if (k.n > 1)
            printf("chunk %d of %d\n", i + 1, k.n);
        print_table(r, k.ids + i * k.length, k.weight + i * k.length, k.length);
    }
    free(cut);
    im_chunks_free(&k);
    return true;
}

static int run(const arguments *a)
{
    const tokenize_options *o = a->values;
    im_ctx *c = session_open_files();
    if (!c)
        return CLI_FAILED;
    bool whole = is_file(o->model) || o->reading.embeddings.n, ok = whole;
    char *folder = whole ? NULL : tokenizer_folder(c, o->model, &ok);
    im_sd *model = whole ? im_sd_look(c, o->model, IM_F32) : NULL;
    im_tokenizer *own = ok && !whole ? im_tokenizer_open(c, folder) : NULL;
    reader r = { .t = own, .weighted = reading_syntax(&o->reading) != IM_PROMPT_PLAIN };
    if (model && reading_add(model, &o->reading) && read_words(c, model, &r))
        r.t = im_sd_tokenizer(model);
    if (r.t)
        print_ids(c, o, &r, a->operands[0]);
    free(r.words);
    free(folder);
    im_tokenizer_free(own);
    im_sd_free(model);
    return session_close(c);
}

const verb verb_tokenize = {
    .name = "tokenize", .operands = "PROMPT", .min_operands = 1, .max_operands = 1, .options = options,
    .size = sizeof(tokenize_options), .run = run,
    .summary = "print the token ids of a prompt",
    .about = "Prints the token ids that the text encoder gets for PROMPT, and the piece of text that each stands "
             "for; with --prompt-syntax a1111 chunk by chunk, with their weights. Put -- before a prompt that begins "
             "with a hyphen.",
    .examples = "  imago tokenize -- \"a photograph of an astronaut\"\n  imago tokenize --json -m FOLDER -- \"a "
                "horse\"",
};
