/* cmd_compare.c: `imago compare`: two sets of pictures beside each other (models/eval/compare.c). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/measure.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "data/files/file.h"

typedef struct compare_options {
    common_options common;
    im_compare_args a;
    bool json, quiet;
} compare_options;

#define AT(field) offsetof(compare_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "RUN|FILE", AT(a.measure.model), NULL,
             "the classifier whose features are compared: the folder of a run, or a safetensors file; without it that of "
             "the embedded model"),
    OPTION_TEXT(0, "recognizer", "RUN|FILE", AT(a.recognizer), NULL,
             "a classifier, trained on real pictures, say, whose top-1 on both sets is their recognizability; without it "
             "the one of -m"),
    OPTION_TEXT(0, "clip", "DIR", AT(a.clip), NULL,
             "a folder with CLIP (config.json, model.safetensors, tokenizer): CMMD of its features as well"),
    OPTION_INT(0, "k", "K", AT(a.k), NULL, 1, 10000, "the neighbour whose distance says how far a set reaches"),
    OPTION_TEXT(0, "save-features", "FILE", AT(a.save_features), NULL,
             "A.safetensors: write A.1.safetensors and A.2.safetensors: features (n, width), labels (n)"),
    MEASURE_OPTIONS,
    OPTION_END
};

static void print_json(const arguments *v, const im_comparison *r)
{
    const compare_options *o = v->values;
    json_t *sets = json_array(), *constants = measure_seen(r->size, false);
    for (int i = 0; i < 2; i++)
        json_array_append_new(sets, json_pack("{s:s, s:I, s:f, s:o}", "set", o->a.sets[i], "pictures",
                              (json_int_t)r->pictures[i], "vendi", r->vendi[i], "recognizability",
                              measure_number(r->recognizability[i])));
    json_object_set_new(constants, "k", json_integer(o->a.k));
    json_t *root = json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:o}", "feature_net", r->weights,
                             "recognizer", r->recognizer ? r->recognizer : r->weights, "width", r->width, "frechet",
                             r->frechet, "precision", r->precision, "recall", r->recall, "density", r->density, "coverage",
                             r->coverage, "vendi", r->vendi[1], "recognizability", measure_number(r->recognizability[1]),
                             "sets", sets, "constants", constants);
    json_object_set_new(root, "cmmd", measure_number(r->cmmd));
    if (o->a.clip)
        json_object_set_new(root, "clip", json_string(o->a.clip));
    measure_print(root, v);
}

static void print_table(const compare_options *o, const im_comparison *r)
{
    printf("%-40s %9s %9s %16s\n", "set", "pictures", "Vendi", "recognizability");
    for (int i = 0; i < 2; i++) {
        printf("%-40s %9lld %9.2f", o->a.sets[i], (long long)r->pictures[i], r->vendi[i]);
        if (isnan(r->recognizability[i]))
            printf(" %16s\n", "-");
        else
            printf(" %15.2f%%\n", 100 * r->recognizability[i]);
    }
    printf("Frechet distance %.4f; precision %.4f, recall %.4f, density %.4f, coverage %.4f of the second set beside the "
           "first (k = %d)\nfeatures: %d, of %s\n", r->frechet, r->precision, r->recall, r->density, r->coverage, o->a.k,
           r->width, r->weights);
    if (!isnan(r->cmmd))
        printf("CMMD %.4f, features of %s\n", r->cmmd, o->a.clip);
}

static void defaults(void *values)
{
    ((compare_options *)values)->a = im_compare_defaults();
}

static int run(const arguments *v)
{
    compare_options *o = v->values;
    im_ctx *c = session_open(&o->common);
    char *embedded = NULL, *own = NULL;
    if (!c)
        return CLI_FAILED;
    if (!o->a.measure.model) {
        embedded = im_embedded_model_path(c);
        o->a.measure.model = own = embedded ? im_join(c, embedded, "classifier") : NULL;
    }
    if (!o->quiet && isatty(STDERR_FILENO))
        o->a.measure.progress = measure_progress;
    o->a.sets[0] = v->operands[0];
    o->a.sets[1] = v->operands[1];
    im_comparison r;
    if (im_ok(c) && im_compare(c, &o->a, &r)) {
        if (o->json)
            print_json(v, &r);
        else
            print_table(o, &r);
        im_comparison_free(&r);
    }
    free(embedded);
    free(own);
    return session_close(c);
}

const verb verb_compare = {
    .name = "compare", .operands = "SET|DIR SET|DIR", .min_operands = 2, .max_operands = 2, .common = OPT_DEVICE,
    .options = options, .size = sizeof(compare_options), .run = run, .defaults = defaults,
    .summary = "how near two sets of pictures are to each other",
    .about = "The first set is the reference, real pictures, say, the second what is judged. Frechet distance of their "
             "features, precision (share of the second set within reach of the first), recall (the other way round), "
             "density and coverage, Vendi scores (effective number of different pictures), and recognizability: top-1 of a "
             "classifier on what the folders say, by names of classes. Numbers of different feature nets, or of sets of "
             "different sizes, cannot be compared with each other.",
    .examples = "  imago compare REAL SET\n"
                "  imago compare -m RUN --recognizer RUN REAL SET --json",
};
