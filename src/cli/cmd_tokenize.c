/* cmd_tokenize.c: `imago tokenize`: the ids that the text encoder is given for a prompt, and their pieces. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/session.h"
#include "cli/verbs.h"

typedef struct tokenize_options {
    common_options common;
    const char *model;
    int length;
    bool json;
} tokenize_options;

#define AT(field) offsetof(tokenize_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "MODEL", AT(model), NULL,
                "a model folder, a folder that holds only tokenizer/, or a single file; without it, the built-in "
                "CLIP vocabulary"),
    OPTION_INT(0, "length", "N", AT(length), "77", 2, 65536, "number of ids to pad to, start and end included"),
    OPTION_FLAG(0, "json", AT(json), "print {\"ids\": [...], \"pieces\": [...]}"),
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

static void print_json(const im_tokenizer *t, const int32_t *ids, int n)
{
    json_t *list = json_array(), *pieces = json_array();
    for (int i = 0; i < n; i++) {
        const char *piece = im_token_piece(t, ids[i]);
        json_array_append_new(list, json_integer(ids[i]));
        json_array_append_new(pieces, json_string(piece ? piece : ""));
    }
    json_t *root = json_pack("{s:o, s:o}", "ids", list, "pieces", pieces);
    json_dumpf(root, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(root);
}

static void print_table(const im_tokenizer *t, const int32_t *ids, int n)
{
    int last = n - 1;
    while (last > 0 && ids[last - 1] == ids[n - 1])            /* the padding repeats the end                          */
        last--;
    for (int i = 0; i <= last; i++) {
        const char *piece = im_token_piece(t, ids[i]);
        printf("%6d  %s\n", ids[i], piece ? piece : "");
    }
    if (last < n - 1)
        printf("%6d  repeated to %d ids\n", ids[n - 1], n);
}

static int run(const arguments *a)
{
    const tokenize_options *o = a->values;
    im_ctx *c = session_open_files();
    if (!c)
        return CLI_FAILED;
    bool file = is_file(o->model), ok = file;
    char *folder = file ? NULL : tokenizer_folder(c, o->model, &ok), *cut = NULL;
    im_sd *model = file ? im_sd_look(c, o->model, IM_F32) : NULL;
    im_tokenizer *own = ok && !file ? im_tokenizer_open(c, folder) : NULL;
    const im_tokenizer *t = file ? im_sd_tokenizer(model) : own;
    int32_t *ids = calloc((size_t)o->length, sizeof *ids);
    if (!ids)
        im_fail(c, "out of memory for %d ids", o->length);
    if (t && ids && im_tokenize(c, t, a->operands[0], o->length, ids, &cut)) {
        if (cut)
            fprintf(stderr, "imago: warning: the prompt is longer than %d tokens; cut: \"%s\"\n", o->length - 2, cut);
        if (o->json)
            print_json(t, ids, o->length);
        else
            print_table(t, ids, o->length);
    }
    free(cut);
    free(ids);
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
             "for. Put -- before a prompt that begins with a hyphen.",
    .examples = "  imago tokenize -- \"a photograph of an astronaut\"\n  imago tokenize --json -m FOLDER -- \"a "
                "horse\"",
};
