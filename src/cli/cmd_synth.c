/* cmd_synth.c: `imago synth`: from a list of class names to a set of pictures (models/pipelines/synth*.c). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/events.h"
#include "cli/part.h"
#include "cli/session.h"
#include "cli/shown.h"
#include "cli/verbs.h"
#include "imago.h"

typedef struct synth_options {
    common_options common;
    im_synth_args a;
    const char *part, *one, *filter;
    int per_class;
    option_list loras;
    bool prompts_only, verify, force, quiet;
} synth_options;

#define AT(field) offsetof(synth_options, field)
static const option options[] = {
    OPTION_TEXT(0, "classes", "FILE|LIST", AT(a.classes), NULL,
                "a file with one class per line (a wnid, or name | hypernym | definition); or wnids separated by "
                "commas; or imagenet100, imagenet1k"),
    OPTION_TEXT(0, "recipe", "RECIPE", AT(a.recipe), "name",
                "what prompts are made of: name, hypernym, definition, background, hypernym-background, multiple, "
                "multiple-different, or captions=FILE[,FILE..]: JSON lines with class and caption, used in turn"),
    OPTION_INT(0, "per-class", "N", AT(per_class), NULL, 1, 1000000, "pictures per class"),
    OPTION_CHOICE(0, "lemmas", "WHICH", AT(a.lemmas), "all", "all|first", "which words of a wnid make its name"),
    OPTION_TEXT('o', "out", "SET", AT(a.out), NULL,
                "folder of the set; one that was begun goes on with its own settings"),
    OPTION_TEXT('m', "model", "MODEL", AT(a.model), NULL,
                "a diffusers folder or a single .safetensors file; without it, the small embedded model"),
    OPTION_TEXT('g', "guidance", "G", AT(a.guidance), "2.0",
                "one value for every picture (2.0), several used in turn (1,2,7.5), or an interval to draw from "
                "(1.5:4)"),
    OPTION_INT(0, "steps", "N", AT(a.steps), "50", 1, 1000, "number of denoising steps"),
    OPTION_TEXT(0, "scheduler", "NAME", AT(a.scheduler), NULL, "as for generate"),
    OPTION_REAL(0, "eta", "E", AT(a.eta), "0", 0, 1, "as for generate"),
    OPTION_SEED('s', "seed", "SEED", AT(a.seed), "0", "seed of the set, from which every picture's own seed is made"),
    OPTION_INT(0, "size", "PIXELS", AT(a.size), "0", 0, 1 << 16, "side of the drawn pictures; 0: the model's own"),
    OPTION_INT(0, "save-size", "PIXELS", AT(a.save_size), "0", 0, 1 << 16,
               "side of the written pictures, resized by Lanczos; 0: as drawn"),
    OPTION_CHOICE(0, "format", "FORMAT", AT(a.format), "png", "png|jpeg", "format of the pictures"),
    OPTION_FLAG(0, "no-mark", AT(a.no_mark),
                "leave out the XMP that says a model drew the pictures (IPTC trainedAlgorithmicMedia)"),
    OPTION_INT(0, "quality", "Q", AT(a.quality), "95", 1, 100, "JPEG quality, on libjpeg's scale"),
    OPTION_CHOICE(0, "layout", "LAYOUT", AT(a.layout), "folders", "folders|shards",
                  "folders: SET/CLASS/INDEX; shards: tar files in WebDataset form"),
    OPTION_INT(0, "shard-size", "N", AT(a.shard_size), "1000", 1, 1000000, "pictures per shard"),
    OPTION_INT('b', "batch", "B", AT(a.batch), "8", 1, 4096, "pictures drawn at once; it changes no picture"),
    OPTION_TEXT(0, "init-data", "DIR", AT(a.init_data), NULL,
                "start from pictures of the same class, in class folders, used in turn"),
    OPTION_REAL(0, "strength", "S", AT(a.strength), "0.75", 0, 1,
                "with --init-data: how much to change them; 0 keeps a picture, 1 ignores it"),
    OPTION_LIST(0, "lora", "FILE[:WEIGHT]", AT(loras),
                "a LoRA in the weights of all pictures, as for generate; may be given several times"),
    OPTION_TEXT(0, "lora-dir", "FOLDER", AT(a.lora_dir), NULL,
                "where the LoRAs lie that captions name by <lora:NAME:WEIGHT>, as for generate"),
    OPTION_INT(0, "dedup", "BITS", AT(a.dedup), "0", 0, 64,
               "at the end, keep only the first of the pictures of a class whose perceptual hashes (pHash, 64 bits) "
               "differ in at most this many bits, such as 8; 0: keep all"),
    OPTION_TEXT(0, "filter", "classifier=RUN:keep=Q", AT(filter), NULL,
                "at the end, after --dedup, keep the share Q of each class that the classifier RUN finds most likely to be "
                "of that class; or clip=DIR:keep=Q: the share whose cosine with the prompt is largest for CLIP"),
    OPTION_TEXT(0, "part", "I/N", AT(part), "auto",
                "draw only part I of N; auto: as the environment says (Slurm, MPI, torchrun); none: everything"),
    OPTION_FLAG(0, "prompts-only", AT(prompts_only),
                "draw nothing; print what would be drawn, one JSON object per picture"),
    OPTION_FLAG(0, "verify", AT(verify), "draw nothing; check every file of a finished set"),
    OPTION_TEXT(0, "one", "CLASS:INDEX", AT(one), NULL,
                "draw this picture again, and add it to the set or say whether its bytes are the same"),
    OPTION_FLAG('f', "force", AT(force), "with --one: replace a picture whose bytes differ"),
    OPTION_FLAG('q', "quiet", AT(quiet), "show no progress"),
    OPTION_END
};

/* ---------------------------------------------------------------- what is shown */

enum { WARNINGS = 3 };                                         /* of long prompts, say: the others are counted         */
static const double PLAIN_EVERY = 10, DRAW_EVERY = 0.2;        /* seconds between lines; between states of the bar     */

typedef struct view {
    im_ctx *c;
    im_sieve *filter;                                         /* NULL: none                                           */
    bool quiet, terminal, drawn, events;                      /* drawn: a bar; events: --progress json                */
    bool drew;                                                /* a set, or a part of one, up to its end               */
    double start, last;
    int warnings;
    im_synth_progress shown;                                  /* the last one                                         */
} view;

static void erase(view *v)
{
    if (v->drawn)
        fputs("\r\033[K", stderr);
    v->drawn = false;
}

static void on_note(void *arg, const char *text)
{
    view *v = arg;
    erase(v);
    if (v->events)
        event_text(v->c, "note", text);
    else if (!v->quiet)
        shown_line(stderr, "%s", text);
}

static void warn(view *v, const char *text)
{
    erase(v);
    if (v->events)
        event_text(v->c, "warning", text);
    else
        shown_line(stderr, "imago: warning: %s", text);
}

static void on_warning(void *arg, const char *text)
{
    view *v = arg;
    if (v->warnings++ < WARNINGS)
        warn(v, text);
}

static void warn_of_others(view *v)
{
    char text[64];
    if (v->warnings <= WARNINGS)
        return;
    snprintf(text, sizeof text, "%d more of this kind", v->warnings - WARNINGS);
    warn(v, text);
}

static bool on_scores(void *arg, im_ctx *c, const im_synth *s, double *score)
{
    view *v = arg;
    if (!v->filter)
        return im_fail(c, "the set was begun with a filter; name it again: --filter classifier=RUN:keep=Q, or "
                       "clip=DIR:keep=Q");
    return im_sieve_scores(c, v->filter, s, score);
}

static void step_event(const im_synth_progress *p)
{
    double left = p->last ? 0 : p->seconds_left < 0 ? NAN : p->seconds_left;
    event_print("step", json_pack("{s:i, s:i, s:i, s:I, s:I, s:I, s:o, s:o}", "step", p->evaluation, "steps",
                                  p->evaluations, "batch", p->batch, "drawn", (json_int_t)p->done, "pictures",
                                  (json_int_t)p->wanted, "there", (json_int_t)p->there, "img_per_s",
                                  event_number(p->img_per_s), "seconds_left", event_number(left)));
}

/* "pictures 120/600, 3.41 img/s, 2 min 20 s left" */
static void on_drawn(void *arg, const im_synth_progress *p)
{
    view *v = arg;
    double now = im_seconds();
    char rate[64] = "", left[32], step[48] = "";
    v->shown = *p;
    if (v->events)
        step_event(p);
    if (v->quiet || v->events || (!p->last && now - v->last < (v->terminal ? DRAW_EVERY : PLAIN_EVERY)))
        return;
    v->last = now;
    if (p->done)
        snprintf(rate, sizeof rate, ", %.2f img/s", p->img_per_s);
    if (p->seconds_left >= 0 && !p->last)
        snprintf(rate + strlen(rate), sizeof rate - strlen(rate), ", %s left", duration_text(p->seconds_left, left));
    if (!p->last && p->evaluations)
        snprintf(step, sizeof step, ", %d at step %d/%d", p->batch, p->evaluation, p->evaluations);
    fprintf(stderr, "%spictures %lld/%lld%s%s%s", v->terminal ? "\r" : "", (long long)(p->there + p->done),
            (long long)(p->there + p->wanted), rate, step, v->terminal && !p->last ? "\033[K" : "\n");
    fflush(stderr);
    v->drawn = v->terminal && !p->last;
}

/* ---------------------------------------------------------------- running */

static int check_options(const arguments *a)
{
    const synth_options *o = a->values;
    if (!o->a.out && !o->prompts_only)
        return usage_error(a->verb, "-o SET is missing: the folder of the set");
    if ((o->verify != 0) + (o->one != NULL) + (o->prompts_only != 0) > 1)
        return usage_error(a->verb, "--verify, --one and --prompts-only cannot be combined");
    if (o->quiet && events_wanted(&o->common))
        return usage_error(a->verb, "--quiet and --progress json cannot be combined");
    if (o->force && !o->one)
        return usage_error(a->verb, "--force needs --one");
    if (option_given(a, "strength") && !o->a.init_data)
        return usage_error(a->verb, "--strength needs pictures to begin from: --init-data DIR");
    return CLI_OK;
}

/* What only a set that was begun can do without. */
static int check_begun(const arguments *a, const im_synth_settings *begun)
{
    const synth_options *o = a->values;
    if (begun)
        return CLI_OK;
    if (!o->a.classes)
        return usage_error(a->verb, "--classes FILE is missing");
    if (!o->a.per_class)
        return usage_error(a->verb, "--per-class N is missing");
    return CLI_OK;
}

static bool print_prompts(im_ctx *c, const im_synth *s, const im_synth_args *a)
{
    int64_t count = im_synth_count(s), end = im_synth_part(count, a->part + 1, a->parts);
    for (int64_t i = im_synth_part(count, a->part, a->parts); i < end && im_ok(c) && !session_interrupted(); i++) {
        char *line = im_synth_line(c, s, i);
        if (line)
            puts(line);
        free(line);
    }
    return !session_interrupted() || im_fail(c, "stopped");
}

static bool find_part(im_ctx *c, synth_options *o, view *v)
{
    part p;
    char text[192];
    if (o->one || !part_find(c, o->part, &p))
        return im_ok(c);
    snprintf(text, sizeof text, "part %lld/%lld, as %s says", (long long)p.i + 1, (long long)p.n, p.said_by);
    if (*p.said_by)
        on_note(v, text);
    o->a.part = p.i;
    o->a.parts = p.n;
    return true;
}

static bool draw(im_ctx *c, im_synth *s, const im_synth_args *a, view *v, const im_synth_hooks *hooks)
{
    int64_t count = im_synth_count(s);
    v->shown.there = im_synth_part(count, a->part + 1, a->parts) - im_synth_part(count, a->part, a->parts);
    v->drew = im_synth_draw(c, s, hooks);                      /* which says at once what of these is missing          */
    return v->drew;
}

static bool work(im_ctx *c, synth_options *o, view *v)
{
    im_synth_hooks hooks = { .arg = v, .drawn = on_drawn, .note = on_note, .scores = on_scores };
    if (o->verify)
        return im_synth_verify(c, o->a.out, &hooks);
    im_synth *s = find_part(c, o, v) ? im_synth_open(c, &o->a) : NULL;
    bool ok = s != NULL;
    if (o->a.filter && !v->filter && !o->prompts_only && !o->one)
        im_warn(c, "%s was begun with a filter, without which it cannot be finished once all is drawn: name it again with "
                   "--filter", o->a.out);
    if (ok && o->prompts_only)
        ok = print_prompts(c, s, &o->a);
    else if (ok && o->one)
        ok = im_synth_one(c, s, o->one, o->force, &hooks);
    else if (ok)
        ok = (!v->filter || im_sieve_fits(c, v->filter, s)) && draw(c, s, &o->a, v, &hooks);
    im_synth_close(s);
    erase(v);
    return ok;
}

static bool given(void *arg, const char *name)
{
    return option_given(arg, name);
}

static void start_events(im_ctx *c, const arguments *a)
{
    const synth_options *o = a->values;
    event_print("start", json_pack("{s:s, s:s, s:o}", "verb", a->verb->name, "version", IM_VERSION, "set",
                                   clean_json(c, o->a.out)));
    if (!o->prompts_only && !o->verify)
        event_print("load", json_pack("{s:o}", "model", clean_json(c, o->a.model)));
}

/* Stopped in order: no error in plain words, but a code of its own. */
static int end_stopped(im_ctx *c, view *v)
{
    static const char text[] = "stopped: what is drawn stays, and the same command goes on";
    im_clear_error(c);
    if (v->events)
        event_error(c, text, CLI_STOPPED);
    else
        fprintf(stderr, "%s\n", text);
    session_close(c);
    return CLI_STOPPED;
}

static int end(im_ctx *c, const synth_options *o, view *v, int rc)
{
    const im_synth_progress *p = &v->shown;
    if (session_interrupted() && !im_ok(c) && strstr(im_error(c), "stopped"))
        return end_stopped(c, v);
    if (rc) {                                                  /* wrong usage: told already                            */
        session_close(c);
        return rc;
    }
    return session_end(c, &o->common, !v->drew ? NULL : json_pack("{s:I, s:I, s:I, s:f}", "pictures", (json_int_t)p->done,
                       "there", (json_int_t)p->there, "wanted", (json_int_t)p->wanted, "seconds",
                       im_seconds() - v->start));
}

static int run(const arguments *a)
{
    synth_options *o = a->values;
    int rc = check_options(a);
    if (rc)
        return rc;
    im_ctx *c = o->prompts_only || o->verify ? session_open_files() : session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    session_signals_more();
    bool events = events_wanted(&o->common);
    view v = { .c = c, .quiet = o->quiet, .events = events, .terminal = !events && isatty(STDERR_FILENO),
               .start = im_seconds() };
    im_on_warning(c, on_warning, &v);
    im_synth_args defaults = im_synth_defaults();
    o->a.dtype = session_dtype(&o->common);
    o->a.per_class = o->per_class;
    o->a.parts = defaults.parts;
    o->a.loras = o->loras.v;
    o->a.n_loras = o->loras.n;
    o->a.keep = defaults.keep;
    if (o->filter && (v.filter = im_sieve_open(c, o->filter))) {
        o->a.filter = im_sieve_text(v.filter);
        o->a.keep = im_sieve_keep(v.filter);
    }
    im_synth_settings *begun = im_ok(c) && o->a.out && !o->verify ? im_synth_recall(c, &o->a, given, (void *)a) : NULL;
    if (im_ok(c) && !o->verify)
        rc = check_begun(a, begun);
    if (im_ok(c) && !rc) {
        if (events)
            start_events(c, a);
        work(c, o, &v);
    }
    im_synth_settings_free(begun);
    im_sieve_free(v.filter);
    warn_of_others(&v);
    return end(c, o, &v, rc);
}

const verb verb_synth = {
    .name = "synth", .common = OPT_PROGRESS | OPT_DEVICE | OPT_DTYPE, .options = options, .size = sizeof(synth_options),
    .run = run,
    .summary = "draw a training set from a list of classes",
    .about = "Draws N pictures of every class in a list. A recipe makes the prompts from the name of the class, its "
             "hypernym and its definition (\"Fake it till you make it\", arXiv 2212.08420); classes given by wnid "
             "are looked up in WordNet (Debian: wordnet-base). A picture depends only on class, index, recipe, "
             "guidance, seed and model, so that a set has the same bytes whatever the order, the batch, the number "
             "of workers and of restarts. A run that was killed loses only the pictures in progress; the same "
             "command goes on, and so does `imago synth -o SET` alone. Several processes may draw one set (--part); "
             "the last one writes metadata.jsonl and completes the manifest. SIGINT, SIGTERM, SIGHUP, SIGUSR1 and "
             "SIGUSR2 stop a run in order, with exit code 75.",
    .examples = "  imago synth --classes imagenet100 --recipe hypernym --per-class 1300 --prompts-only\n"
                "  imago synth --classes classes.txt --per-class 50 -o SET\n"
                "  imago synth -m FOLDER --classes imagenet1k --recipe definition --per-class 1300 --part 1/8 -o SET\n"
                "  imago synth --verify -o SET\n"
                "  imago synth --one n01440764:12 -o SET",
};
