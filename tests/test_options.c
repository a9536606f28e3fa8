/* test_options.c: the option tables of the program (cli/options.h): every default is the library's and is what the help
 * says, what is typed becomes what is meant, what is wrong is refused, the names of neighbours lead to our options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/names.h"
#include "cli/options.h"
#include "cli/values.h"
#include "cli/verbs.h"
#include "imago.h"
#include "suite.h"

/* The argument vector "imago VERB... WORD..." */
typedef struct line { char *argv[40]; int argc; char verb[40]; } line;

static line typed(const verb *v, const char *const words[])
{
    line l = { .argc = 0 };
    snprintf(l.verb, sizeof l.verb, "%s", v->name);
    l.argv[l.argc++] = "imago";
    for (char *w = strtok(l.verb, " "); w; w = strtok(NULL, " "))
        l.argv[l.argc++] = w;
    for (; *words; words++)
        l.argv[l.argc++] = (char *)*words;
    return l;
}

/* Parses; what is said of a refusal is in `said`. */
static char said[2000];

static bool parse(const verb *v, arguments *a, const char *const words[])
{
    static line l;
    l = typed(v, words);
    char *text = NULL;
    size_t n = 0;
    FILE *memory = open_memstream(&text, &n), *terminal = stderr;
    stderr = memory;
    bool ok = options_parse(v, l.argc, l.argv, a);
    stderr = terminal;
    fclose(memory);
    snprintf(said, sizeof said, "%s", text);
    free(text);
    return ok;
}
#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
static const char *const nothing[] = { NULL };

#define REFUSED(v, text, ...) do { \
    arguments a_; \
    ck_assert_msg(!parse(v, &a_, WORDS(__VA_ARGS__)), "taken: %s", #__VA_ARGS__); \
    ck_assert_msg(strstr(said, text), "\"%s\" is not in: %s", text, said); \
} while (0)

/* ---------------------------------------------------------------- defaults */

static const void *field_of(const void *values, const option *o)
{
    return (const char *)values + o->offset;
}

/* With nothing typed the struct of a training is the library's, byte for byte. */
START_TEST(nothing_typed_is_the_library)
{
    const verb *const verbs[] = { &verb_train_resnet, &verb_train_autoencoder, &verb_train_decoder, &verb_train_diffusion };
    im_train_resnet_args r = im_train_resnet_defaults();
    im_train_autoencoder_args e = im_train_autoencoder_defaults();
    im_train_decoder_args k = im_train_decoder_defaults();
    im_train_diffusion_args d = im_train_diffusion_defaults();
    const void *const library[] = { &r, &e, &k, &d };
    static const size_t sizes[] = { sizeof(char *), sizeof(int), sizeof(float), sizeof(bool), sizeof(uint64_t) };
    for (int i = 0; i < 4; i++) {
        arguments a;
        ck_assert(parse(verbs[i], &a, nothing));
        int fields = 0;
        for (const im_field *const *t = verbs[i]->fields(); *t; t++)
            for (const im_field *f = *t; f->name; f++, fields++) {
                option o;
                ck_assert_msg(option_find(verbs[i], f->name, &o), "%s has no option --%s", verbs[i]->name, f->name);
                ck_assert_msg(!o.fallback, "--%s has a default of its own", f->name);
                ck_assert_msg(!memcmp(field_of(a.values, &o), (const char *)library[i] + f->at, sizes[f->kind]),
                              "imago %s: --%s", verbs[i]->name, f->name);
            }
        ck_assert_int_ge(fields, 30);
        options_free(&a);
    }
    arguments a;
    option o;
    im_sd_args sd = im_sd_defaults(NULL);
    ck_assert(parse(&verb_generate, &a, nothing));
    ck_assert(option_find(&verb_generate, "steps", &o) && *(const int *)field_of(a.values, &o) == sd.steps);
    ck_assert(option_find(&verb_generate, "guidance", &o) && *(const float *)field_of(a.values, &o) == sd.guidance);
    ck_assert(option_find(&verb_generate, "strength", &o) && *(const float *)field_of(a.values, &o) == sd.strength);
    options_free(&a);
}
END_TEST

/* The help of a verb as one text without line breaks. */
static const char *help_of(const verb *v)
{
    static char out[40000];
    char *text = NULL, *to = out;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    help_verb(f, v);
    fclose(f);
    ck_assert_uint_lt(n, sizeof out);
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ' && text[i] != '\n')
            *to++ = text[i];
        else if (to > out && to[-1] != ' ')
            *to++ = ' ';
    *to = '\0';
    free(text);
    return out;
}

/* Where the option stands in the rest of a help: "--name VALUE "; its end for none. */
static const char *place_of(const char *help, const option *o, bool there)
{
    char head[80];
    snprintf(head, sizeof head, o->value ? "--%s %s " : "--%s ", o->name, o->value);
    const char *at = there ? strstr(help, head) : NULL;
    return at ? at : help + strlen(help);
}

/* "[..., default X]" in the help is what the option has when nothing is typed; and a default that is told can be typed. */
START_TEST(help_tells_the_defaults)
{
    int told = 0;
    for (const verb *const *v = all_verbs; *v; v++) {
        const char *at = strstr(help_of(*v), "] ");
        option o, next;
        for (int i = 0; option_at(*v, i, &o); i++) {
            char value[128], wanted[160];
            bool more = option_at(*v, i + 1, &next);
            at = place_of(at, &o, true);
            const char *end = place_of(at, &next, more);
            ck_assert_msg(*at && end > at, "imago help %s: no --%s", (*v)->name, o.name);
            ck_assert_msg(o.help && strlen(o.help) > 8, "imago help %s: --%s says nothing", (*v)->name, o.name);
            if (!*option_default(*v, &o, value, sizeof value))
                continue;
            snprintf(wanted, sizeof wanted, "default %s]", value);
            const char *found = strstr(at, wanted);
            ck_assert_msg(found && found < end, "imago help %s: --%s does not say %s", (*v)->name, o.name, wanted);
            void *values = calloc(1, (*v)->size);
            ck_assert_msg(value_set(&o, value, values), "imago %s: --%s cannot be %s", (*v)->name, o.name, value);
            free(values);
            told++;
        }
    }
    ck_assert_int_ge(told, 100);
}
END_TEST

/* ---------------------------------------------------------------- numbers and texts */

START_TEST(numbers)
{
    static const char *const bad_whole[] = { "12abc", " 5", "5 ", "0x10", "1e2", "1.5", "+5", "", "-", "0",
                                             "99999999999999999999", "4294967297" },
                      *const bad_real[] = { "12abc", " 5", "0x10", "1e400", "nan", "inf", "infinity", "1,5", "+5", "",
                                            "-", ".", "1e", "e5", "1e-400", "1e-60" },
                      *const bad_seed[] = { "abc", "0x10", " 5", "1.5", "18446744073709551616", "" };
    for (size_t i = 0; i < sizeof bad_whole / sizeof *bad_whole; i++)
        REFUSED(&verb_generate, "--steps is", "--steps", bad_whole[i]);
    for (size_t i = 0; i < sizeof bad_real / sizeof *bad_real; i++)
        REFUSED(&verb_train_resnet, "--clip is", "--clip", bad_real[i]);
    for (size_t i = 0; i < sizeof bad_seed / sizeof *bad_seed; i++)
        REFUSED(&verb_train_resnet, "--seed is", "--seed", bad_seed[i]);
    REFUSED(&verb_generate, "wanted a whole number from 1 to 1000000", "--count", "1000001");
    REFUSED(&verb_train_resnet, "wanted a whole number from 0 to 2147483647", "--checkpoint-every", "2147483648");
    ck_assert_ptr_nonnull(strstr(help_of(&verb_generate), "pictures per prompt [1..1000000, default 1]"));
    REFUSED(&verb_train_resnet, "wanted a number of at least 0 and below 1", "--ema", "1");
    REFUSED(&verb_train_resnet, "wanted a number of at least 0 and below 1", "--ema", "0.99999999999");
    REFUSED(&verb_train_resnet, "wanted a number from 0 to 1000000, or -1", "--warmup", "-0.5");
    static const struct { const char *text; double x; } good[] = { { "5", 5 }, { ".5", 0.5 }, { "2.", 2 }, { "1e-3", 1e-3 },
                                                                   { "1.5E2", 150 }, { "0", 0 } };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        arguments a;
        option o;
        ck_assert_msg(parse(&verb_train_resnet, &a, WORDS("--clip", good[i].text)), "%s", said);
        ck_assert(option_find(&verb_train_resnet, "clip", &o));
        ck_assert(*(const float *)field_of(a.values, &o) == (float)good[i].x);
        options_free(&a);
    }
}
END_TEST

START_TEST(shapes_of_options)
{
    arguments a;
    option o;
    ck_assert(parse(&verb_generate, &a, WORDS("-p", "", "--negative=", "-s3", "--steps=4", "-qf")));
    ck_assert(option_given(&a, "negative") && option_given(&a, "quiet") && option_given(&a, "force"));
    ck_assert(option_find(&verb_generate, "steps", &o) && *(const int *)field_of(a.values, &o) == 4);
    options_free(&a);
    ck_assert(parse(&verb_tokenize, &a, WORDS("--json", "--", "--steps")));
    ck_assert(a.n_operands == 1 && !strcmp(a.operands[0], "--steps"));
    options_free(&a);
    REFUSED(&verb_generate, "--model is empty: --model MODEL", "--model=");
    REFUSED(&verb_generate, "--out is empty", "-o", "");
    REFUSED(&verb_generate, "--steps needs a value: --steps N", "--steps");
    REFUSED(&verb_generate, "--steps needs a value", "--steps", "--seed", "1");
    REFUSED(&verb_generate, "--steps needs a value", "--steps", "--cfg-scale", "1");
    REFUSED(&verb_generate, "--negative needs a value: --negative TEXT; -o is an option, and as a value it is written "
                            "--negative=-o", "-n", "-o", "x.png");
    REFUSED(&verb_generate, "--out needs a value", "-o", "-qf");
    REFUSED(&verb_generate, "--out needs a value", "--out", "-s42");
    REFUSED(&verb_generate, "--prompt needs a value", "-qp", "-i", "x.png");
    REFUSED(&verb_generate, "--prompt needs a value", "-p", "--cfg-scale=3");
    REFUSED(&verb_train_resnet, "--out needs a value", "-o", "-j4");
    ck_assert(parse(&verb_generate, &a, WORDS("-p", "-masterpiece", "-n-f", "-g", "-1", "--scheduler", "-", "-s", "-1")));
    ck_assert(option_find(&verb_generate, "prompt", &o) &&
              !strcmp(*(const char *const *)field_of(a.values, &o), "-masterpiece"));
    ck_assert(option_find(&verb_generate, "negative", &o) && !strcmp(*(const char *const *)field_of(a.values, &o), "-f"));
    ck_assert(option_find(&verb_generate, "seed", &o) && ((const option_seed *)field_of(a.values, &o))->drawn);
    options_free(&a);
    ck_assert(parse(&verb_generate, &a, WORDS("-n", "-f me", "-s", "18446744073709551615")));
    ck_assert(option_find(&verb_generate, "seed", &o) && !((const option_seed *)field_of(a.values, &o))->drawn &&
              ((const option_seed *)field_of(a.values, &o))->value == UINT64_MAX);
    options_free(&a);
    REFUSED(&verb_generate, "or -1 for a random one", "--seed", "-2");
    REFUSED(&verb_trace, "--seed is \"-1\"", "--seed", "-1");
    REFUSED(&verb_generate, "--quiet takes no value", "--quiet=1");
    REFUSED(&verb_generate, "--steps is given twice", "--steps", "1", "--num-inference-steps", "2");
    REFUSED(&verb_trace, "one argument too many", "x");
    REFUSED(&verb_trace, "one argument too many", "--", "-p");
}
END_TEST

/* ---------------------------------------------------------------- other names */

/* Every name of a neighbour works in some verb, and hides no name of our own. */
START_TEST(aliases_lead_somewhere)
{
    const char *name, *own, *of;
    for (int i = 0; name_alias_at(i, &name, &own, &of); i++) {
        int verbs = 0;
        for (const verb *const *v = all_verbs; *v; v++) {
            option o, found;
            char word[64];
            if ((of && strncmp((*v)->name, of, strlen(of))) || !option_find(*v, own, &o) || option_find(*v, name, &found))
                continue;
            snprintf(word, sizeof word, "--%s", name);
            ck_assert_msg(option_typed(*v, word, &found), "imago %s: %s", (*v)->name, word);
            for (char *p = word + 2; *p; p++)
                if (*p == '-')
                    *p = '_';
            ck_assert_msg(option_typed(*v, word, &found), "imago %s: %s", (*v)->name, word);
            verbs++;
        }
        ck_assert_msg(verbs > 0, "--%s leads nowhere", name);
    }
}
END_TEST

static void leads_to(const verb *v, const char *word, const char *own)
{
    option o;
    ck_assert_msg(option_typed(v, word, &o) && !strcmp(o.name, own), "imago %s: %s is not --%s", v->name, word, own);
}

START_TEST(names_of_neighbours)
{
    static const char *const drawing[][2] = {
        { "--negative-prompt", "negative" }, { "--negative_prompt", "negative" }, { "--cfg-scale", "guidance" },
        { "--guidance_scale", "guidance" }, { "--sampling-method", "scheduler" }, { "--sampler", "scheduler" },
        { "--batch-size", "batch" }, { "--batch_size=2", "batch" }, { "--seed", "seed" },
        { "--num-inference-steps", "steps" }, { "--width", "width" }, { "--height=64", "height" }, { "--W", "width" },
        { "--output", "out" }, { "--outdir", "out" }, { "--ckpt", "model" }, { "--model", "model" },
        { "--init-img", "init" }, { "--num_images_per_prompt", "count" }, { "--skip_existing", "skip-existing" },
    }, *const training[][2] = {
        { "--learning-rate", "lr" }, { "--learning_rate", "lr" }, { "--weight-decay", "decay" }, { "--wd", "decay" },
        { "-j", "workers" }, { "-j4", "workers" }, { "--workers", "workers" }, { "--batch-size", "batch" },
        { "--model", "arch" }, { "--opt", "optimizer" }, { "--data-path", "data" }, { "--output_dir", "out" },
        { "--lr-scheduler", "schedule" }, { "--img-size", "size" }, { "--gradient_accumulation_steps", "accumulate" },
    };
    for (size_t i = 0; i < sizeof drawing / sizeof *drawing; i++)
        leads_to(&verb_generate, drawing[i][0], drawing[i][1]);
    for (size_t i = 0; i < sizeof training / sizeof *training; i++)
        leads_to(&verb_train_resnet, training[i][0], training[i][1]);
    leads_to(&verb_data, "-j", "decoders");
    REFUSED(&verb_generate, "use --count N makes N pictures", "--n_samples", "3");
    REFUSED(&verb_generate, "use --dtype f16", "--fp16");
    REFUSED(&verb_train_diffusion, "which counts in epochs", "--lr_warmup_steps", "3");
    REFUSED(&verb_train_resnet, "--init FILE", "--pretrained");
    REFUSED(&verb_generate, "did you mean --guidance?", "--guidance-rescale", "0.7");
    REFUSED(&verb_generate, "did you mean --guidance?", "--guidanse=3");
    REFUSED(&verb_generate, "did you mean --negative?", "--negativ-prompt", "x");
    REFUSED(&verb_generate, "did you mean --guidance?", "--guid", "3");
    REFUSED(&verb_generate, "did you mean f16?", "--dtype", "fp16");
    REFUSED(&verb_generate, "did you mean int8?", "--dtype", "fp8");
    static const char *const answered[][2] = {
        { "--taesd", "use --vae FILE" }, { "--size", "use --width W" },
        { "--image_size", "use --width W" }, { "--safe", "use nothing: no picture" }, { "--mode", "use another verb" },
        { "-M", "use another verb" }, { "-v", "use nothing: progress" }, { "--color", "use nothing: what is printed" }
    };
    for (size_t i = 0; i < sizeof answered / sizeof *answered; i++)
        REFUSED(&verb_generate, answered[i][1], answered[i][0]);
    leads_to(&verb_generate, "--vae-tiling", "tile");
    leads_to(&verb_generate, "--lora_model_dir", "lora-dir");
    REFUSED(&verb_train_resnet, "did you mean bf16?", "--dtype", "bfloat16");
    REFUSED(&verb_train_resnet, "did you mean cosine?", "--schedule", "cosin");
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(nothing_typed_is_the_library), ONCE(help_tells_the_defaults), ONCE(numbers),
                                 ONCE(shapes_of_options), ONCE(aliases_lead_somewhere), ONCE(names_of_neighbours) };
    return suite_run("options", NULL, NULL, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
