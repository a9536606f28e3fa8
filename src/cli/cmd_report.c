/* cmd_report.c: `imago report`: runs and what was measured of them on one page (report_page.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/measure.h"
#include "cli/report.h"
#include "cli/session.h"
#include "cli/verbs.h"
#include "data/files/file.h"

typedef struct report_options {
    common_options common;
    const char *out, *title, *plots;
} report_options;

#define AT(field) offsetof(report_options, field)
static const option options[] = {
    OPTION_TEXT('o', "out", "PAGE.html", AT(out), NULL, "the page (required); replaced where it exists"),
    OPTION_TEXT(0, "title", "TEXT", AT(title), "Trained on synthetic pictures", "heading of the page"),
    OPTION_TEXT(0, "plots", "DIR", AT(plots), NULL,
                "also write every plot of the page there, as 01-NAME.svg and 01-NAME.png; replaced where they exist"),
    OPTION_END
};

/* A page that is there is written anew; any other file is not ours to replace. */
static bool may_replace(im_ctx *c, const char *path)
{
    static const char begin[] = "<!DOCTYPE html>";
    char found[sizeof begin - 1] = "";
    FILE *f = im_is_file(path) ? fopen(path, "rb") : NULL;
    bool page = !f || (fread(found, 1, sizeof found, f) == sizeof found && !memcmp(found, begin, sizeof found));
    if (f)
        fclose(f);
    return im_may_write(c, path, true) &&
           (page || im_fail(c, "%s: is there already and is no page of HTML; name another file, or remove it", path));
}

static int run(const arguments *a)
{
    const report_options *o = a->values;
    if (!o->out)
        return usage_error(a->verb, "-o PAGE.html is missing");
    im_ctx *c = session_open_files();
    if (!c)
        return CLI_FAILED;
    report_files files = { .folder = o->plots };
    report r = { .c = c, .files = o->plots ? &files : NULL };
    char *command = measure_command(a);
    if (!command)
        im_fail(c, "out of memory for the command");
    if (im_ok(c) && may_replace(c, o->out) && (!o->plots || im_make_folder(c, o->plots)) &&
        report_read(&r, a->operands, a->n_operands))
        report_write(&r, o->title, o->out, command);
    report_free(&r);
    free(command);
    return session_close(c);
}

const verb verb_report = {
    .name = "report", .operands = "RUN|RESULT.json..", .min_operands = 1, .max_operands = -1, .options = options,
    .size = sizeof(report_options), .run = run,
    .summary = "runs and what was measured of them, on one page",
    .about = "Reads folders of runs of `imago train`, what lies in RUN/results (files NAME.json: what eval, transfer, "
             "analyze and compare print with --json), and other files of such results. Runs whose names differ in a "
             "number at the end (real-s1, real-s2) are seeds of one training: they are averaged. The first training is "
             "what the others are set beside. The page holds tables, spider plots, bars, curves, gaps of classes, sheets "
             "of the sets, their prompts, all commands and constants, and needs no other file; its plots can be had as "
             "files, too.",
    .examples = "  mkdir -p RUN/results; imago eval -m RUN --data DIR --json > RUN/results/eval-photos.json\n"
                "  imago report real-s1 real-s2 synth-s1 synth-s2 -o page.html\n"
                "  imago report real synth compare-synth.json -o page.html --plots figures",
};
