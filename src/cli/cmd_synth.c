/* cmd_synth.c: `imago synth`: from a list of class names to a set of pictures. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/part.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "imago_clones.h"

typedef struct synth_options {
    const char *classes, *recipe, *lemmas, *guidance, *format, *layout, *part;
    int per_class, shard_size;
    uint64_t seed;
    bool prompts_only, quiet;
} synth_options;

#define AT(field) offsetof(synth_options, field)
static const option options[] = {
    OPTION_TEXT(0, "classes", "FILE|LIST", AT(classes), NULL,
             "a file with a class a line: a wnid, or name | hypernym | definition; or wnids with commas between them; or "
             "imagenet100, imagenet1k"),
    OPTION_TEXT(0, "recipe", "RECIPE", AT(recipe), "name",
             "what prompts are made of: name, hypernym, definition, background, hypernym-background, multiple, "
             "multiple-different, or captions=FILE[,FILE..]: JSON lines with class and caption, used in turn"),
    OPTION_INT(0, "per-class", "N", AT(per_class), NULL, 1, 1000000, "pictures a class"),
    OPTION_CHOICE(0, "lemmas", "WHICH", AT(lemmas), "all", "all|first", "words of a wnid that make its name"),
    OPTION_TEXT('g', "guidance", "G", AT(guidance), "2.0",
             "of every picture (2.0); several, in turn (1,2,7.5); or an interval to draw from (1.5:4)"),
    OPTION_SEED('s', "seed", "SEED", AT(seed), "0", "of the set; every picture has one of its own, made from it"),
    OPTION_CHOICE(0, "format", "FORMAT", AT(format), "png", "png", "of the pictures"),
    OPTION_CHOICE(0, "layout", "LAYOUT", AT(layout), "folders", "folders|shards",
             "folders: SET/CLASS/INDEX; shards: tar files in WebDataset form"),
    OPTION_INT(0, "shard-size", "N", AT(shard_size), "1000", 1, 1000000, "pictures a shard"),
    OPTION_TEXT(0, "part", "I/N", AT(part), "auto",
             "make part I of N only; auto: as the environment says (Slurm, MPI, torchrun); none: everything"),
    OPTION_FLAG(0, "prompts-only", AT(prompts_only), "draw nothing: print what would be drawn, a JSON object a picture"),
    OPTION_FLAG('q', "quiet", AT(quiet), "no progress"),
    OPTION_END
};

static int check_options(const arguments *a)
{
    const synth_options *o = a->values;
    if (!o->classes)
        return usage_error(a->verb, "--classes FILE is missing");
    if (!o->per_class)
        return usage_error(a->verb, "--per-class N is missing");
    if (!o->prompts_only)
        return usage_error(a->verb, "--prompts-only is missing: nothing is drawn yet");
    return CLI_OK;
}

static bool print_prompts(im_ctx *c, const im_synth *s, const part *p)
{
    int64_t count = im_synth_count(s), end = part_end(p, count);
    for (int64_t i = part_begin(p, count); i < end && im_ok(c) && !session_interrupted(); i++) {
        char *line = im_synth_line(c, s, i);
        if (line)
            puts(line);
        free(line);
    }
    return im_ok(c);
}

static int run(const arguments *a)
{
    const synth_options *o = a->values;
    int rc = check_options(a);
    if (rc)
        return rc;
    im_ctx *c = session_open_files();
    if (!c)
        return CLI_FAILED;
    im_synth_args args = im_synth_defaults();
    args.classes = o->classes;
    args.lemmas = o->lemmas;
    args.recipe = o->recipe;
    args.guidance = o->guidance;
    args.per_class = o->per_class;
    args.seed = o->seed;
    args.format = o->format;
    args.layout = o->layout;
    args.shard_size = o->shard_size;
    part p;
    im_synth *s = part_find(c, o->part, &p) ? im_synth_open(c, &args) : NULL;
    if (s && *p.said_by && !o->quiet)
        fprintf(stderr, "part %lld/%lld, as %s says\n", (long long)p.i + 1, (long long)p.n, p.said_by);
    if (s)
        print_prompts(c, s, &p);
    im_synth_close(s);
    return session_close(c);
}

const verb verb_synth = {
    .name = "synth", .options = options, .size = sizeof(synth_options), .run = run,
    .summary = "what a training set made from a list of classes is drawn from",
    .about = "Prints what N pictures of every class of a list are drawn from: prompts that a recipe makes of its name, its "
             "hypernym and its definition (\"Fake it till you make it\", arXiv 2212.08420), seeds and guidance. Classes "
             "given by wnid are looked up in WordNet (Debian: wordnet-base).",
    .examples = "  imago synth --classes imagenet100 --recipe hypernym --per-class 1300 --prompts-only",
};
