/* cmd_init_weights.c: `imago init-weights`: a whole model folder with random weights, the same bytes on every machine. */
#include "cli/session.h"
#include "cli/verbs.h"

typedef struct init_options {
    common_options common;
    const char *like, *out;
    uint64_t seed;
    bool force;
} init_options;

#define AT(field) offsetof(init_options, field)
static const option options[] = {
    OPTION_TEXT(0, "like", "SHAPE", AT(like), "sd-v1-4",
             "sd-v1-4, or a model folder whose config.json files give the shape"),
    OPTION_SEED('s', "seed", "SEED", AT(seed), "0", "seed of the weights"),
    OPTION_TEXT('o', "out", "FOLDER", AT(out), NULL, "folder to write (required)"),
    OPTION_FLAG('f', "force", AT(force), "replace the model in the folder; your own files there are kept"),
    OPTION_END
};

static int run(const arguments *a)
{
    const init_options *o = a->values;
    if (!o->out)
        return usage_error(a->verb, "-o FOLDER is missing: where to write the model");
    im_ctx *c = session_open_files();
    if (!c)
        return CLI_FAILED;
    im_dtype dtype = session_dtype(&o->common);
    im_sd_init_weights(c, o->like, o->seed, dtype == IM_AS_MODEL ? IM_F32 : dtype, o->out, o->force);
    return session_close(c);
}

const verb verb_init_weights = {
    .name = "init-weights", .common = OPT_DTYPE, .options = options, .size = sizeof(init_options), .run = run,
    .summary = "write a model folder with random weights",
    .about = "Writes a complete model folder of the given shape with random weights, scaled so that activations "
             "stay near unit size. It stands in for a real checkpoint in tests and benchmarks; the same seed gives "
             "the same bytes on every machine.",
    .examples = "  imago init-weights --like sd-v1-4 -s 1 --dtype f16 -o FOLDER",
};
