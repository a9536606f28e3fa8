/* cmd_trace.c: `imago trace`: the named intermediate tensors of one guided evaluation, as a safetensors file. The names are
 * the paths of the blocks in diffusers; activations are channels-last, (B, H, W, C) or (B, T, C). */
#include <stdlib.h>
#include <string.h>

#include "cli/reading.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "data/files/file.h"

typedef struct trace_options {
    common_options common;
    const char *model, *prompt, *negative, *scheduler, *rng, *out;
    reading reading;
    int width, height, steps;
    float guidance, eta;
    uint64_t seed;
    bool force;
} trace_options;

#define AT(field) offsetof(trace_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "MODEL", AT(model), NULL, "as for generate"),
    OPTION_PHRASE('p', "prompt", "TEXT", AT(prompt), NULL, "what to draw (required)"),
    OPTION_PHRASE('n', "negative", "TEXT", AT(negative), "", "what the picture should not show"),
    SYNTAX_OPTION(trace_options),
    CLIP_SKIP_OPTION(trace_options),
    OPTION_SEED('s', "seed", "SEED", AT(seed), "0", "seed of the noise"),
    OPTION_INT(0, "steps", "N", AT(steps), NULL, 1, 100000, "number of denoising steps, of which the first is traced"),
    OPTION_REAL('g', "guidance", "G", AT(guidance), NULL, -1000, 1000, "at 1 or less, a single pass"),
    OPTION_TEXT(0, "scheduler", "NAME", AT(scheduler), NULL, "as for generate"),
    OPTION_REAL(0, "eta", "E", AT(eta), "0", 0, 1, "as for generate"),
    OPTION_INT('W', "width", "PIXELS", AT(width), "0", 0, 1 << 16, "width of the picture; 0: the model's own"),
    OPTION_INT('H', "height", "PIXELS", AT(height), "0", 0, 1 << 16, "height of the picture; 0: the model's own"),
    OPTION_CHOICE(0, "rng", "KIND", AT(rng), "cpu", "cpu|cuda", "which of torch's generators the noise follows"),
    LORA_OPTIONS(trace_options),
    EMBEDDING_OPTION(trace_options),
    OPTION_TEXT('o', "out", "FILE.safetensors", AT(out), NULL, "file to write the tensors to (required)"),
    OPTION_FLAG('f', "force", AT(force), "overwrite an existing file"),
    OPTION_END
};

typedef struct trace {                                         /* copies of all tensors seen                           */
    im_ctx *c;
    im_st_entry *v;
    int n, cap;
} trace;

static bool has_name(const trace *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (!strcmp(t->v[i].name, name))
            return true;
    return false;
}

/* "NAME", or "NAME#2" and so on for what is computed more than once; malloc'd. */
static char *free_name(const trace *t, const char *name)
{
    size_t size = strlen(name) + 16;
    char *out = malloc(size);
    if (out)
        snprintf(out, size, "%s", name);
    for (int k = 2; out && has_name(t, out); k++)
        snprintf(out, size, "%s#%d", name, k);
    return out;
}

static void on_trace(void *arg, const char *name, const im_tensor *x)
{
    static const char *const dtype_names[] = { "F32", "F16", "BF16", "I32" };
    trace *t = arg;
    size_t bytes = (size_t)im_numel(x) * im_dtype_size((im_dtype)x->dtype);
    if (t->n == t->cap) {
        int cap = t->cap ? 2 * t->cap : 256;
        im_st_entry *v = realloc(t->v, (size_t)cap * sizeof *v);
        if (!v) {
            im_fail(t->c, "out of memory for the list of traced tensors");
            return;
        }
        t->v = v;
        t->cap = cap;
    }
    char *copy = malloc(bytes ? bytes : 1), *own_name = free_name(t, name);
    if (!copy || !own_name) {
        free(copy);
        free(own_name);
        im_fail(t->c, "out of memory for the traced tensor %s of %zu bytes", name, bytes);
        return;
    }
    if (!im_download(t->c, x, copy))
        memset(copy, 0, bytes);                                /* the context has the failure                          */
    im_st_entry *e = &t->v[t->n++];
    *e = (im_st_entry){ .name = own_name, .dtype = x->dtype, .ndim = x->ndim, .data = copy, .bytes = bytes };
    snprintf(e->dtype_name, sizeof e->dtype_name, "%s", dtype_names[x->dtype]);
    memcpy(e->shape, x->shape, sizeof x->shape);
}

static bool write_trace(const trace *t, const char *path)
{
    static const char *const metadata[] = { "format", "pt", "layout", "channels-last" };
    if (t->n == 0)
        return im_fail(t->c, "the model named no tensors; nothing to write");
    im_st_writer *w = im_st_create(t->c, path, t->v, t->n, metadata, 2);
    bool ok = w != NULL;
    for (int i = 0; ok && i < t->n; i++)
        ok = im_st_put(t->c, w, i, t->v[i].data, t->v[i].bytes);
    if (ok)
        return im_st_finish(t->c, w);
    im_st_abandon(w);
    return false;
}

static void defaults(void *values)
{
    trace_options *o = values;
    im_sd_args d = im_sd_defaults(NULL);
    o->steps = d.steps;
    o->guidance = d.guidance;
}

static int run(const arguments *a)
{
    const trace_options *o = a->values;
    if (!o->prompt)
        return usage_error(a->verb, "-p TEXT is missing: what to draw");
    if (!o->out)
        return usage_error(a->verb, "-o FILE.safetensors is missing: where to write the tensors");
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    trace t = { .c = c };
    im_sd *sd = im_may_write(c, o->out, o->force) ? im_sd_open(c, o->model, session_dtype(&o->common)) : NULL;
    if (sd && reading_add(sd, &o->reading)) {
        im_sd_set_activations(sd, session_activations(&o->common));
        im_sd_args args = im_sd_defaults(sd);
        args.prompt = o->prompt;
        args.negative = o->negative;
        args.seed = o->seed;
        args.steps = o->steps;
        args.guidance = o->guidance;
        args.eta = o->eta;
        args.syntax = reading_syntax(&o->reading);
        args.clip_skip = o->reading.clip_skip;
        args.rng = strcmp(o->rng, "cuda") ? IM_RNG_CPU : IM_RNG_CUDA;
        if (o->scheduler)
            args.scheduler = o->scheduler;
        if (o->width)
            args.width = o->width;
        if (o->height)
            args.height = o->height;
        im_on_trace(c, on_trace, &t);
        if (im_sd_trace(sd, &args) && im_ok(c) && write_trace(&t, o->out))
            printf("%s  %d tensors\n", o->out, t.n);
        im_on_trace(c, NULL, NULL);
    }
    for (int i = 0; i < t.n; i++) {
        free((char *)t.v[i].name);
        free((void *)t.v[i].data);
    }
    free(t.v);
    im_sd_free(sd);
    return session_close(c);
}

const verb verb_trace = {
    .name = "trace", .common = OPT_MODEL | OPT_DEVICE | OPT_DTYPE | OPT_ACTIVATIONS, .options = options,
    .size = sizeof(trace_options), .run = run, .defaults = defaults,
    .summary = "write the intermediate tensors of one evaluation",
    .about = "Runs the text encoder and one guided evaluation of the UNet, and writes every named intermediate "
             "tensor to a safetensors file, for comparison with another program. Names are the paths of diffusers' "
             "blocks; the layout is channels-last. What is computed twice appears as NAME and NAME#2.",
    .examples = "  imago trace -m FOLDER -p \"a horse\" -s 1 -o trace.safetensors",
};
