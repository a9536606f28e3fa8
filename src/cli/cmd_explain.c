/* cmd_explain.c: `imago explain`: one run with everything of it on one page (explain.h), or a training (--train). */
#include <stdlib.h>
#include <string.h>

#include "cli/asked.h"
#include "cli/bench.h"
#include "cli/explain.h"
#include "cli/measure.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "data/files/file.h"

typedef struct explain_options {
    common_options common;
    const char *model, *prompt, *negative, *other, *scheduler, *train, *out;
    int width, height, steps;
    float guidance, eta;
    option_seed seed;
    bool force, quiet;
} explain_options;

#define AT(field) offsetof(explain_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "MODEL", AT(model), NULL, "as for generate"),
    OPTION_PHRASE('p', "prompt", "TEXT", AT(prompt), NULL, "what to draw (required, but for --train)"),
    OPTION_PHRASE('n', "negative", "TEXT", AT(negative), "", "what the picture should not show"),
    OPTION_PHRASE(0, "other", "TEXT", AT(other), "lemon", "the prompt of the grid that stands beside the first"),
    OPTION_DRAWN_SEED('s', "seed", "SEED", AT(seed), "seed of the noise; -1: a random one; without it, 1"),
    OPTION_INT(0, "steps", "N", AT(steps), "20", 1, 1000, "number of denoising steps"),
    OPTION_REAL('g', "guidance", "G", AT(guidance), "5", -1000, 1000, "at 1 or less, a single pass"),
    OPTION_TEXT(0, "scheduler", "NAME", AT(scheduler), NULL, "as for generate"),
    OPTION_REAL(0, "eta", "E", AT(eta), "0", 0, 1, "as for generate"),
    OPTION_INT('W', "width", "PIXELS", AT(width), "0", 0, 1 << 16, "width of the picture; 0: the model's own"),
    OPTION_INT('H', "height", "PIXELS", AT(height), "0", 0, 1 << 16, "height of the picture; 0: the model's own"),
    OPTION_TEXT(0, "train", "RUN", AT(train), NULL, "explain a training instead: the folder of a run of `imago train`"),
    OPTION_TEXT('o', "out", "PAGE.html", AT(out), NULL, "the page (required)"),
    OPTION_FLAG('f', "force", AT(force), "overwrite an existing page"),
    OPTION_FLAG('q', "quiet", AT(quiet), "say nothing"),
    OPTION_END
};

static void say(const explain_options *o, const char *what)
{
    if (!o->quiet)
        fprintf(stderr, "imago: %s\n", what);
}

static bool open_model(const explain_options *o, explain *e)
{
    e->sd = im_sd_open(e->c, o->model, IM_F32);
    if (!e->sd)
        return false;
    e->args = im_sd_defaults(e->sd);
    e->args.prompt = o->prompt;
    e->args.negative = o->negative;
    e->args.seed = o->seed.drawn ? random_seed() : o->seed.value;
    e->args.steps = o->steps;
    e->args.guidance = o->guidance;
    e->args.scheduler = o->scheduler;
    e->args.eta = o->eta;
    e->args.width = o->width ? o->width : e->args.width;
    e->args.height = o->height ? o->height : e->args.height;
    return im_sd_check_memory(e->sd, &e->args, 1);
}

/* What the same model and prompt say again is left out. */
static void hear_nothing(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

static bool gather(const explain_options *o, explain *e)
{
    double start = im_seconds();
    if (!open_model(o, e) || !explain_text(e))
        return false;
    say(o, "measures what this machine can do");
    if (!bench_measure_peak(e->c, &e->peak))
        return false;
    say(o, "draws the picture, op by op");
    if (!explain_run(e))
        return false;
    im_on_warning(e->c, hear_nothing, NULL);
    say(o, "draws it with one thing changed");
    if (!explain_vary(e))
        return false;
    say(o, "takes a step of training");
    bool ok = explain_learn(e);
    e->seconds = im_seconds() - start;
    return ok;
}

static int run(const arguments *a)
{
    const explain_options *o = a->values;
    if (!o->out)
        return usage_error(a->verb, "-o PAGE.html is missing: where to write the page");
    if (!o->prompt && !o->train)
        return usage_error(a->verb, "-p TEXT is missing: what to draw; or --train RUN: which training to explain");
    if (o->prompt && o->train)
        return usage_error(a->verb, "-p and --train RUN are two pages; wanted one of them");
    im_ctx *c = o->train ? session_open_files() : session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    explain e = { .c = c, .model = o->model, .other = o->other, .command = measure_command(a) };
    if (!e.command)
        im_fail(c, "out of memory for the command");
    bool ok = im_ok(c) && im_may_write(c, o->out, o->force);
    if (ok && o->train)
        ok = explain_training(c, o->train, o->out, o->force, e.command);
    else if (ok)
        ok = gather(o, &e) && explain_write(&e, o->out, o->force);
    if (ok)
        printf("%s\n", o->out);
    explain_free(&e);
    return session_close(c);
}

static void defaults(void *values)
{
    ((explain_options *)values)->seed.value = 1;
}

const verb verb_explain = {
    .name = "explain", .common = OPT_MODEL | OPT_DEVICE, .options = options, .size = sizeof(explain_options), .run = run,
    .defaults = defaults,
    .summary = "write a page that shows how one picture comes about",
    .about = "Draws one picture and writes a page that opens every number of it: tokens, noise, each step, maps of "
        "words, the "
             "UNet block by block with time and source, one convolution down to its multiply-adds, one step of "
             "training with "
             "its gradients, the picture with one thing changed, and exercises. With --train RUN the page is of a "
             "training: "
             "curves, samples and what each epoch changed. The page is one HTML file that needs no network; every figure "
             "names the command that makes it.",
    .examples = "  imago explain -p strawberry -o page.html\n"
                "  imago explain -m FOLDER -p \"a horse\" --other \"a zebra\" -s 42 -o horse.html\n"
                "  imago explain --train RUN -o run.html",
};
