/* help.c: `imago help`, `imago help VERB` and the man page, all printed from the option tables. Used by main.c. */
#include "cli/options.h"

#include <string.h>

#include "imago.h"

enum { WIDTH = 88, TEXT_COLUMN = 30 };

/* Prints text from `column` on, wrapped at WIDTH and indented; a newline in the text is kept. */
static void wrap(FILE *f, const char *text, int indent, int column)
{
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (column > indent && column + 1 + (int)word > WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', f);
            column++;
        }
        fprintf(f, "%.*s", (int)word, text);
        column += (int)word;
        text += word;
        if (*text == '\n') {
            fprintf(f, "\n%*s", indent, "");
            column = indent;
        }
        if (*text)
            text++;
    }
    fputc('\n', f);
}

/* "[1..1000, default 50]": what may be typed and what holds when nothing is; "" where there is nothing to say. */
static void limits_text(const verb *v, const option *o, char *out, size_t size)
{
    const im_range *r = &o->range;
    char text[256] = "", value[128];
    int n = 0;
    if (o->choices)
        n = snprintf(text, sizeof text, "%s", o->choices);
    else if ((o->kind == OPT_INT || o->kind == OPT_REAL) && r->max >= IM_RANGE_LARGE)
        n = snprintf(text, sizeof text, "%.10g or more", r->min);
    else if (o->kind == OPT_INT || o->kind == OPT_REAL)
        n = snprintf(text, sizeof text, "%.10g%s%.10g", r->min, r->below ? " to below " : "..", r->max);
    if (n && !o->choices && r->has_unset)
        n += snprintf(text + n, sizeof text - (size_t)n, ", or %.10g", r->unset);
    if (*option_default(v, o, value, sizeof value))
        snprintf(text + n, sizeof text - (size_t)n, "%sdefault %s", n ? ", " : "", value);
    snprintf(out, size, *text ? " [%s]" : "%s", text);
}

static void option_line(FILE *f, const verb *v, const option *o)
{
    char head[80], text[1024], limits[300];
    int n = o->letter ? snprintf(head, sizeof head, "  -%c, --%s", o->letter, o->name)
                      : snprintf(head, sizeof head, "      --%s", o->name);
    if (o->value)
        n += snprintf(head + n, sizeof head - (size_t)n, " %s", o->value);
    fputs(head, f);
    if (n + 2 > TEXT_COLUMN)
        fprintf(f, "\n%*s", TEXT_COLUMN, "");
    else
        fprintf(f, "%*s", TEXT_COLUMN - n, "");
    limits_text(v, o, limits, sizeof limits);
    snprintf(text, sizeof text, "%s%s", o->help, limits);
    wrap(f, text, TEXT_COLUMN, TEXT_COLUMN);
}

void help_program(FILE *f, const verb *const verbs[])
{
    fprintf(f, "imago %s: pictures from text with Stable Diffusion v1.x, and training, written from scratch in C\n\n"
               "usage: imago VERB [OPTION...]\n\n", IM_VERSION);
    for (int i = 0; verbs[i]; i++)
        fprintf(f, "  %-18s %s\n", verbs[i]->name, verbs[i]->summary);
    fprintf(f, "  %-18s %s\n\n", "help VERB", "show the options of a verb");
    fprintf(f, "  imago generate -p \"a red bicycle\"         draws a picture with the embedded model\n"
               "  imago generate -m FOLDER -p \"a horse\"     the same with Stable Diffusion v1.4 "
               "(weights/README.md)\n\n"
               "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 stopped by SIGTERM, 75 stopped\n"
               "where the same command goes on (synth).\n");
}

void help_verb(FILE *f, const verb *v)
{
    option o;
    fprintf(f, "usage: imago %s [OPTION...]%s%s\n\n", v->name, v->operands ? " " : "", v->operands ? v->operands : "");
    wrap(f, v->about, 0, 0);
    fputc('\n', f);
    for (int i = 0; option_at(v, i, &o); i++)
        option_line(f, v, &o);
    if (v->examples)
        fprintf(f, "\n%s\n", v->examples);
}

/* Text for roff: backslashes and hyphens escaped, a leading dot or quote guarded. */
static void roff(FILE *f, const char *text)
{
    bool line_start = true;
    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            fputs("\\&", f);
        line_start = *text == '\n';
        if (*text == '\\')
            fputs("\\e", f);
        else if (*text == '-')
            fputs("\\-", f);
        else
            fputc(*text, f);
    }
}

static void roff_option(FILE *f, const verb *v, const option *o)
{
    char limits[300];
    fputs(".TP\n", f);
    if (o->letter)
        fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", f);
    roff(f, o->name);
    fputs("\\fR", f);
    if (o->value)
        fprintf(f, " \\fI%s\\fR", o->value);
    fputc('\n', f);
    roff(f, o->help);
    limits_text(v, o, limits, sizeof limits);
    roff(f, limits);
    fputc('\n', f);
}

void help_man(FILE *f, const verb *const verbs[])
{
    fprintf(f, ".TH IMAGO 1 \"\" \"imago %s\" \"User Commands\"\n.SH NAME\n"
               "imago \\- pictures from text with Stable Diffusion v1.x; training\n.SH SYNOPSIS\n", IM_VERSION);
    for (int i = 0; verbs[i]; i++) {
        fputs(".B imago ", f);
        roff(f, verbs[i]->name);
        fputs("\n[\\fIOPTION\\fR...] ", f);
        if (verbs[i]->operands)
            roff(f, verbs[i]->operands);
        fputs("\n.br\n", f);
    }
    fputs(".SH DESCRIPTION\n", f);
    for (int i = 0; verbs[i]; i++) {
        const verb *v = verbs[i];
        option o;
        fputs(".SS imago ", f);
        roff(f, v->name);
        fputc('\n', f);
        roff(f, v->about);
        fputc('\n', f);
        for (int k = 0; option_at(v, k, &o); k++)
            roff_option(f, v, &o);
        if (v->examples) {
            fputs(".PP\n.nf\n", f);
            roff(f, v->examples);
            fputs("\n.fi\n", f);
        }
    }
    fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 stopped by SIGTERM, 75 stopped "
          "where the same command goes on (synth).\n"
          ".SH ENVIRONMENT\n.TP\n\\fBIMAGO_ISA\\fR\nUse no instruction set beyond this one: portable, avx2, avx512, "
          "avx512bf16, avx512amx, neon.\n"
          ".TP\n\\fBIMAGO_WEIGHTS\\fR\nThe embedded model: its folder, or one that holds imago-small. No other place is "
          "searched then.\n"
          ".TP\n\\fBIMAGO_MPI\\fR\nTraining under mpirun or srun: the MPI library to load, or none: every process "
          "trains for itself.\n"
          ".TP\n\\fBXDG_CACHE_HOME\\fR\nimago/ in it, or in ~/.cache without it, keeps the hashes of single-file "
          "models.\n"
          ".TP\n\\fBIMAGO_COMPUTE\\fR\nHow products are computed on device cpu. f32: always by f32 multiply-adds; bf16: "
          "weights in bf16 by dot products, also where the processor is slow at them or has no instruction for them.\n"
          ".TP\n\\fBIMAGO_WINOGRAD\\fR\n0: no convolution goes through Winograd's transform; 1, and without this "
          "variable: those that gain by it do. avx512amx: without this variable none with weights in 16 "
          "bits does. None that is multiplied in int8 ever does.\n", f);
}
