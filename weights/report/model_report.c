/* model_report.c: the program of `make model-report`.
 *
 *     model_report prompts --data D -o OUT [--form F] [--count N]         writes OUT/prompts.txt, a prompt a category
 *     imago generate -m MODEL --prompts OUT/prompts.txt --count N -s 1 ... -o OUT/pictures
 *     model_report judge --data D --model MODEL --classifier FILE -o OUT  ...prints the figures
 */
#include "report.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void report_say(const report_options *o, const char *fmt, ...)
{
    va_list ap;
    if (o->quiet)
        return;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static int usage(void)
{
    fputs("usage: model_report prompts|judge --data DIR -o OUT [--model FOLDER] [--classifier RUN|FILE] [--form TEXT]\n"
          "       [--names FILE] [--count N] [--least N] [--seed S] [--guidance G] [--steps N]\n"
          "       [-t THREADS] [-q]\n", stderr);
    return 2;
}

static bool whole(const char *text, int *out)
{
    char *end;
    long v = strtol(text, &end, 10);
    *out = (int)v;
    return end != text && !*end && v >= 1 && v <= 1000000;
}

static bool parse(int argc, char **argv, report_options *o)
{
    static const struct option known[] = {
        { "data", 1, 0, 'd' }, { "model", 1, 0, 'm' }, { "classifier", 1, 0, 'c' }, { "form", 1, 0, 'f' },
        { "names", 1, 0, 'N' },
        { "count", 1, 0, 'n' }, { "least", 1, 0, 'l' }, { "seed", 1, 0, 's' }, { "guidance", 1, 0, 'g' },
        { "steps", 1, 0, 'T' }, { "threads", 1, 0, 't' }, { "out", 1, 0, 'o' }, { "quiet", 0, 0, 'q' },
        { 0, 0, 0, 0 }
    };
    bool ok = true;
    for (int k; ok && (k = getopt_long(argc, argv, "o:t:q", known, NULL)) >= 0; )
        switch (k) {
        case 'd': o->data = optarg; break;
        case 'm': o->model = optarg; break;
        case 'c': o->classifier = optarg; break;
        case 'f': o->form = optarg; break;
        case 'N': o->names = optarg; break;
        case 'o': o->out = optarg; break;
        case 'g': o->guidance = atof(optarg); break;
        case 'n': ok = whole(optarg, &o->count); break;
        case 'l': ok = whole(optarg, &o->least); break;
        case 's': ok = whole(optarg, &o->first_seed); break;
        case 'T': ok = whole(optarg, &o->steps); break;
        case 't': o->threads = atoi(optarg); break;
        case 'q': o->quiet = true; break;
        default: ok = false;
        }
    return ok && optind == argc && o->data && o->out;
}

static bool judge(im_ctx *c, const report_options *o)
{
    side train = { .size = 0 }, held = { .size = 0 }, made = { .size = 0 };
    findings f = { .n = 0 };
    bool ok = report_sets(c, o, &train, &held, &made) && report_judge(c, o, &train, &held, &made, &f) &&
              report_psnr(c, o, &held, &f) && report_output(c, o, &train, &made, &f);
    report_findings_free(&f);
    report_side_free(&made);
    report_side_free(&held);
    report_side_free(&train);
    return ok;
}

int main(int argc, char **argv)
{
    report_options o = { .form = "%s, clip art", .count = 32, .least = 24, .first_seed = 1 };
    bool prompts = argc > 1 && !strcmp(argv[1], "prompts"), judges = argc > 1 && !strcmp(argv[1], "judge");
    if ((!prompts && !judges) || !parse(argc - 1, argv + 1, &o) || (judges && (!o.model || !o.classifier)))
        return usage();
    im_ctx *c = im_ctx_new("cpu", o.threads > 0 ? o.threads : 0);
    if (!c)
        return 1;
    if (prompts)
        report_prompts(c, &o);
    else
        judge(c, &o);
    if (!im_ok(c))
        fprintf(stderr, "model_report: %s\n", im_error(c));
    int rc = !im_ok(c);
    im_ctx_free(c);
    return rc;
}
