/* names.c: see names.h. The names are those of diffusers' scripts, the AUTOMATIC1111 web interface, CompVis' txt2img.py,
 * stable-diffusion.cpp, and of the training scripts of timm and torchvision. */
#include "cli/names.h"

#include <string.h>

typedef struct alias {
    const char *typed, *option;
    const char *verbs;                                         /* the verbs begin so; NULL: any that has the option    */
} alias;

/* They mean what the option means, in the same unit. */
static const alias aliases[] = {
    { "negative-prompt", "negative", NULL }, { "neg-prompt", "negative", NULL }, { "cfg-scale", "guidance", NULL },
    { "guidance-scale", "guidance", NULL }, { "cfg", "guidance", NULL }, { "scale", "guidance", NULL },
    { "num-inference-steps", "steps", NULL }, { "inference-steps", "steps", NULL }, { "sampling-steps", "steps", NULL },
    { "sample-steps", "steps", NULL }, { "ddim-steps", "steps", NULL }, { "num-steps", "steps", NULL },
    { "max-train-steps", "steps", "train" }, { "max-steps", "steps", "train" }, { "sampler", "scheduler", NULL },
    { "sampler-name", "scheduler", NULL }, { "sampling-method", "scheduler", NULL }, { "sample-method", "scheduler", NULL },
    { "vae-tiling", "tile", NULL }, { "lora-model-dir", "lora-dir", NULL }, { "lora-path", "lora", NULL },
    { "batch-size", "batch", NULL }, { "train-batch-size", "batch", NULL }, { "batch-count", "count", NULL },
    { "num-images", "count", NULL }, { "num-images-per-prompt", "count", NULL }, { "n-iter", "count", NULL },
    { "output", "out", NULL }, { "output-dir", "out", NULL }, { "output-file", "out", NULL },
    { "output-path", "out", NULL },
    { "outdir", "out", NULL }, { "out-dir", "out", NULL }, { "outfile", "out", NULL }, { "ckpt", "model", NULL },
    { "ckpt-path", "model", NULL }, { "checkpoint", "model", NULL }, { "model-path", "model", NULL },
    { "pretrained-model-name-or-path", "model", NULL }, { "model", "arch", NULL }, { "model-name", "arch", NULL },
    { "init-img", "init", "generate" }, { "init-image", "init", "generate" }, { "input-image", "init", "generate" },
    { "image", "init", "generate" }, { "denoising-strength", "strength", NULL }, { "from-file", "prompts", NULL },
    { "prompts-file", "prompts", NULL }, { "prompt-file", "prompts", NULL }, { "H", "height", NULL },
    { "W", "width", NULL }, { "ddim-eta", "eta", NULL },
    { "type", "dtype", NULL }, { "torch-dtype", "dtype", NULL }, { "precision", "dtype", NULL },
    { "mixed-precision", "dtype", NULL }, { "amp-dtype", "dtype", NULL }, { "learning-rate", "lr", NULL },
    { "weight-decay", "decay", NULL }, { "adam-weight-decay", "decay", NULL }, { "wd", "decay", NULL },
    { "opt", "optimizer", NULL }, { "optim", "optimizer", NULL }, { "optimiser", "optimizer", NULL },
    { "sched", "schedule", NULL }, { "lr-scheduler", "schedule", NULL }, { "lr-schedule", "schedule", NULL },
    { "warmup-epochs", "warmup", NULL }, { "lr-warmup-epochs", "warmup", NULL }, { "num-workers", "workers", NULL },
    { "dataloader-num-workers", "workers", NULL }, { "workers", "decoders", NULL }, { "num-workers", "decoders", NULL },
    { "data-dir", "data", NULL }, { "data-path", "data", NULL }, { "train-data-dir", "data", NULL },
    { "dataset", "data", NULL }, { "val-dir", "val", NULL }, { "val-data", "val", NULL }, { "img-size", "size", NULL },
    { "image-size", "size", NULL }, { "input-size", "size", NULL }, { "resolution", "size", NULL },
    { "train-crop-size", "size", NULL }, { "gradient-accumulation-steps", "accumulate", NULL },
    { "grad-accum-steps", "accumulate", NULL }, { "num-train-epochs", "epochs", NULL }, { "num-epochs", "epochs", NULL },
    { "max-epochs", "epochs", NULL }, { "clip-grad", "clip", NULL }, { "clip-grad-norm", "clip", NULL },
    { "max-grad-norm", "clip", NULL }, { "ema-decay", "ema", NULL }, { "model-ema-decay", "ema", NULL },
    { "checkpointing-steps", "checkpoint-every", NULL }, { "save-every", "checkpoint-every", NULL },
    { "checkpoints-total-limit", "keep", NULL }, { "checkpoint-hist", "keep", NULL },
    { "initial-checkpoint", "init", "train" }, { "favor", "favour", NULL }, { "favor-share", "favour-share", NULL },
    { "num-threads", "threads", NULL }, { "n-threads", "threads", NULL }, { "overwrite", "force", NULL },
};
enum { ALIASES = sizeof aliases / sizeof *aliases };

/* They mean something else than any option here, or in another unit: what is answered. */
static const alias answers[] = {
    { "n-samples", "--count N makes N pictures of a prompt, --batch B draws B of them at once", "generate" },
    { "lr-warmup-steps", "--warmup EPOCHS, which counts in epochs", "train" },
    { "warmup-steps", "--warmup EPOCHS, which counts in epochs", "train" },
    { "mixup-alpha", "--mixup A, from 0 (none) to 1", "train resnet" },
    { "pretrained", "--init FILE, a file of weights", "train" },
    { "weights", "--init FILE, a file of weights", "train" },
    { "weights", "--model MODEL", NULL },
    { "pretrained-model-name-or-path", "--config MODEL for its shape, --init MODEL for its weights", "train" },
    { "resume-from-checkpoint", "--resume, with -o RUN", "train" },
    { "model-ema", "--ema 0.9999", "train" },
    { "use-ema", "--ema 0.9999", "train" },
    { "amp", "--dtype bf16", NULL }, { "bf16", "--dtype bf16", NULL }, { "fp16", "--dtype f16", NULL },
    { "half", "--dtype f16", NULL },
    { "num-classes", "nothing: the set says how many there are, or --classes FILE", "train resnet" },
    { "class-map", "--classes FILE, a class a line", NULL },
    { "test-only", "imago eval", "train" },
    { "random-flip", "--augment plain, which flips", "train resnet" },
    { "random-flip", "--flip P", "train" },
    { "no-progress", "--quiet", NULL },
    { "plms", "--scheduler pndm", "generate" },
    { "loop", "--count N", "generate" },
    { "taesd", "--vae FILE, which takes a tiny autoencoder, too", NULL },
    { "size", "--width W and --height H", "generate" }, { "image-size", "--width W and --height H", "generate" },
    { "img-size", "--width W and --height H", "generate" }, { "resolution", "--width W and --height H", "generate" },
    { "safe", "nothing: no picture is held back", NULL }, { "safety-checker", "nothing: no picture is held back", NULL },
    { "disable-safety-checker", "nothing: no picture is held back", NULL },
    { "mode", "another verb: imago generate draws, imago convert writes models", NULL },
    { "M", "another verb: imago generate draws, imago convert writes models", NULL },
    { "v", "nothing: progress and warnings are shown anyway", NULL },
    { "verbose", "nothing: progress and warnings are shown anyway", NULL },
    { "color", "nothing: what is printed has no colours", NULL },
};

/* What other programs call a value of a choice, and a verb. */
static const char *const values[][2] = {
    { "fp16", "f16" }, { "float16", "f16" }, { "half", "f16" }, { "fp32", "f32" }, { "float32", "f32" }, { "float", "f32" },
    { "full", "f32" }, { "no", "f32" }, { "bfloat16", "bf16" }, { "fp8", "int8" }, { "q8_0", "int8" },
    { "gpu", "cuda" }, { "adam", "adamw" }, { "momentum", "sgd" },
    { "cosineannealing", "cosine" }, { "steplr", "step" }, { "multistep", "step" },
};
static const char *const other_verbs[][2] = {
    { "txt2img", "generate" }, { "img2img", "generate" }, { "draw", "generate" }, { "sample", "generate" },
    { "infer", "generate" }, { "inference", "generate" }, { "create", "generate" }, { "evaluate", "eval" },
    { "validate", "eval" }, { "test", "eval" }, { "predict", "eval" }, { "classify", "eval" }, { "benchmark", "bench" },
    { "quantize", "convert" }, { "export", "convert" }, { "inspect", "info" }, { "show", "info" },
    { "tokenise", "tokenize" }, { "dataset", "data" }, { "finetune", "train diffusion" },
    { "fine-tune", "train diffusion" }, { "init", "init-weights" },
};

static bool of_verb(const alias *a, const verb *v)
{
    return !a->verbs || !strncmp(v->name, a->verbs, strlen(a->verbs));
}

const char *name_alias(const verb *v, const char *name)
{
    option o;
    for (int i = 0; i < ALIASES; i++)
        if (!strcmp(aliases[i].typed, name) && of_verb(&aliases[i], v) && option_find(v, aliases[i].option, &o))
            return o.name;
    return NULL;
}

bool name_alias_at(int i, const char **typed, const char **option_, const char **verbs)
{
    if (i >= ALIASES)
        return false;
    *typed = aliases[i].typed;
    *option_ = aliases[i].option;
    *verbs = aliases[i].verbs;
    return true;
}

const char *name_of_letter(const verb *v, char letter)
{
    return letter == 'j' ? option_find(v, "workers", &(option){ 0 }) ? "workers" : name_alias(v, "workers") : NULL;
}

static const char *pair_of(const char *const pairs[][2], size_t n, const char *typed)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(pairs[i][0], typed))
            return pairs[i][1];
    return NULL;
}

const char *name_of_verb(const char *typed)
{
    return pair_of(other_verbs, sizeof other_verbs / sizeof *other_verbs, typed);
}

/* ---------------------------------------------------------------- what is nearly right */

/* Levenshtein distance of two short words, one row at a time. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t n = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || strlen(a) > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

typedef struct guess {
    const char *typed, *best;
    size_t distance;
} guess;

static guess guess_begin(const char *typed)
{
    size_t n = strlen(typed);
    /* more than three slips, or as many as letters, is another word */
    return (guess){ .typed = typed, .distance = n <= 2 ? n : n <= 4 ? 3 : 4 };
}

/* `whole` has `part` at its beginning or its end, set off by a hyphen. */
static bool has_part(const char *whole, const char *part)
{
    size_t n = strlen(whole), k = strlen(part);
    return n > k + 1 && k >= 2 && ((!strncmp(whole, part, k) && whole[k] == '-') ||
                                   (!strcmp(whole + n - k, part) && whole[n - k - 1] == '-'));
}

/* guid: guidance; guidance-rescale: guidance; guidanse: guidance. `word` is looked at, `result` is the guess. */
static void guess_try(guess *g, const char *word, const char *result)
{
    size_t n = strlen(g->typed);
    bool begun = n >= 2 && !strncmp(word, g->typed, n);
    size_t d = begun ? 0 : has_part(g->typed, word) ? 2 : edit_distance(g->typed, word);
    if (d < g->distance) {
        g->distance = d;
        g->best = result;
    }
}

const char *nearest_word(const char *typed, const char *const words[], int n)
{
    guess g = guess_begin(typed);
    for (int i = 0; i < n; i++)
        guess_try(&g, words[i], words[i]);
    return g.best;
}

bool name_near_choice(const char *choices, const char *typed, char *out, size_t size)
{
    const char *other = pair_of(values, sizeof values / sizeof *values, typed);
    guess g = guess_begin(typed);
    if (other && im_words_have(choices, other)) {
        snprintf(out, size, "%s", other);
        return true;
    }
    for (const char *w = choices; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL) {
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)strcspn(w, "|"), w);
        guess_try(&g, word, w);
    }
    if (g.best)
        snprintf(out, size, "%.*s", (int)strcspn(g.best, "|"), g.best);
    return g.best;
}

/* An answer that names an option of this verb, or none at all. */
static const char *answer_to(const verb *v, const char *typed)
{
    char name[32];
    option o;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const char *text = answers[i].option;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(text + 2, " ,"), text + 2);
        if (!strcmp(answers[i].typed, typed) && of_verb(&answers[i], v) &&
            (strncmp(text, "--", 2) || option_find(v, name, &o)))
            return text;
    }
    return NULL;
}

int name_unknown(const verb *v, const char *arg)
{
    char typed[64];
    option o;
    int length = (int)strcspn(arg, "=");
    snprintf(typed, sizeof typed, "%.*s", length < 60 ? length : 60, arg);
    for (char *p = typed; *p; p++)
        if (*p == '_')
            *p = '-';
    const char *name = typed + strspn(typed, "-"), *answer = answer_to(v, name);
    if (answer)
        return usage_error(v, "there is no option %.*s; use %s", length, arg, answer);
    guess g = guess_begin(name);
    for (int i = 0; option_at(v, i, &o); i++)
        guess_try(&g, o.name, o.name);
    for (int i = 0; i < ALIASES; i++)
        if (of_verb(&aliases[i], v) && option_find(v, aliases[i].option, &o))
            guess_try(&g, aliases[i].typed, aliases[i].option);
    if (g.best && name[1])                                     /* -Z is a letter, not a word to guess at              */
        return usage_error(v, "there is no option %.*s; did you mean --%s?", length, arg, g.best);
    return usage_error(v, "there is no option %.*s", length, arg);
}
