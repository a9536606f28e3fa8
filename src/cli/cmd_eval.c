/* cmd_eval.c: `imago eval`: how often a classifier is right, class by class, and what it takes for what. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/events.h"
#include "cli/measure.h"
#include "cli/options.h"
#include "cli/plot.h"
#include "cli/session.h"
#include "cli/shown.h"
#include "cli/verbs.h"
#include "data/files/file.h"
#include "imago.h"

typedef struct eval_options {
    common_options common;
    im_eval_args a;
    const char *out;
    bool json, quiet;
} eval_options;

#define AT(field) offsetof(eval_options, field)
static const option options[] = {
    OPTION_TEXT('m', "model", "RUN|FILE", AT(a.model), NULL,
                "folder of a run (its model.safetensors, or its newest good checkpoint), or a safetensors file"),
    OPTION_TEXT(0, "data", "DIR|SHARDS", AT(a.data), NULL, "pictures in class folders or tar shards"),
    OPTION_TEXT(0, "classes", "FILE", AT(a.classes), NULL,
                "names of classes, one per line, in the order of their numbers"),
    OPTION_CHOICE(0, "set", "SET", AT(a.set), NULL,
             "folder|imagenet|imagenet-v2|imagenet-sketch|imagenet-a|imagenet-r|imagenet-o",
             "what DIR is: folder (class folders with the classifier's own classes), imagenet, imagenet-v2 (folders 0 to "
             "999), imagenet-sketch, imagenet-a, imagenet-r (200 classes: only theirs count), imagenet-o (anomalies: AUPR "
             "beside --val)"),
    OPTION_TEXT(0, "val", "DIR", AT(a.val), NULL, "with --set imagenet-o: ImageNet's val, of which 200 classes count"),
    OPTION_TEXT(0, "zero-shot", "NAMES", AT(a.zero_shot), NULL,
             "take CLIP as the classifier: -m is a folder with config.json, model.safetensors and tokenizer; NAMES are its "
                "classes, a file or list as for synth --classes, whose wnids or names are the folders of DIR"),
    OPTION_TEXT(0, "template", "TEXT", AT(a.form), NULL,
                "with --zero-shot: the text to compare with; %s is the name of a class"),
    OPTION_TEXT(0, "save-features", "FILE", AT(a.save_features), NULL,
                "also write a safetensors file with features (n, width) and labels (n); its metadata holds names "
                "and classes"),
    OPTION_INT('b', "batch", "B", AT(a.batch), NULL, 1, 65536, "pictures at once; no result depends on it"),
    OPTION_INT(0, "size", "PIXELS", AT(a.size), NULL, 0, 4096, "side of the crop; 0: as in training, or 224"),
    OPTION_TEXT('o', "out", "FOLDER", AT(out), NULL,
                "folder for confusion.csv and confusion.png; without it, that of the run or of FILE"),
    OPTION_FLAG(0, "strict", AT(a.strict), "stop at a broken picture, and at a tensor that no network uses"),
    OPTION_FLAG(0, "json", AT(json), "print one JSON object"),
    OPTION_FLAG('q', "quiet", AT(quiet), "show no progress"),
    OPTION_END
};

/* ---------------------------------------------------------------- the confusion matrix */

enum { MOST_NAMES = 60, LABEL = 120, MARGIN = 16 };

static int cell_of(int classes)
{
    int cell = 900 / classes;
    return cell < 1 ? 1 : cell > 40 ? 40 : cell;
}

static int label_of(int classes) { return classes <= MOST_NAMES ? LABEL : 30; }

static int64_t row_sum(const im_eval_result *r, int i)
{
    int64_t sum = 0;
    for (int j = 0; j < r->classes; j++)
        sum += r->confusion[(int64_t)i * r->classes + j];
    return sum;
}

/* A class a line: white is none of its pictures, dark blue all of them; the diagonal is what is right. */
static void draw_confusion(void *arg, cairo_t *g)
{
    const im_eval_result *r = arg;
    int cell = cell_of(r->classes), left = label_of(r->classes) + MARGIN, top = left;
    double size = cell < 12 ? cell < 8 ? 6 : cell - 2 : 11;
    for (int i = 0; i < r->classes; i++) {
        int64_t all = row_sum(r, i);
        for (int j = 0; j < r->classes; j++) {
            double share = all ? (double)r->confusion[(int64_t)i * r->classes + j] / (double)all : 0;
            cairo_set_source_rgb(g, 1 - 0.92 * share, 1 - 0.75 * share, 1 - 0.45 * share);
            cairo_rectangle(g, left + j * cell, top + i * cell, cell, cell);
            cairo_fill(g);
        }
        cairo_set_source_rgb(g, 0.15, 0.15, 0.15);
        if (r->classes <= MOST_NAMES) {
            plot_text(g, MARGIN, top + (i + 0.5) * cell + 0.35 * size, size, r->names[i]);
            cairo_save(g);
            cairo_translate(g, left + (i + 0.5) * cell + 0.35 * size, top - 6);
            cairo_rotate(g, -1.5707963267948966);
            plot_text(g, 0, 0, size, r->names[i]);
            cairo_restore(g);
        }
    }
    cairo_set_source_rgb(g, 0.6, 0.6, 0.6);
    cairo_set_line_width(g, 1);
    cairo_rectangle(g, left - 0.5, top - 0.5, r->classes * cell + 1, r->classes * cell + 1);
    cairo_stroke(g);
    plot_text(g, MARGIN, MARGIN, 11, "lines: what it is; columns: what it was taken for");
}

/* A name as a field of CSV (RFC 4180): quoted, quotes doubled. */
static void csv_name(FILE *f, const char *name)
{
    fputc('"', f);
    for (; *name; name++) {
        if (*name == '"')
            fputc('"', f);
        fputc(*name, f);
    }
    fputc('"', f);
}

static bool write_csv(im_ctx *c, const im_eval_result *r, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return im_fail(c, "%s: out of memory", path);
    fputs("class", f);
    for (int j = 0; j < r->classes; j++) {
        fputc(',', f);
        csv_name(f, r->names[j]);
    }
    fputc('\n', f);
    for (int i = 0; i < r->classes; i++) {
        csv_name(f, r->names[i]);
        for (int j = 0; j < r->classes; j++)
            fprintf(f, ",%lld", (long long)r->confusion[(int64_t)i * r->classes + j]);
        fputc('\n', f);
    }
    bool ok = !fclose(f) || im_fail(c, "%s: out of memory", path);
    ok = ok && im_write_file(c, path, text, n, true);
    free(text);
    return ok;
}

/* ---------------------------------------------------------------- output */

static void print_json(im_ctx *c, const arguments *a, const im_eval_result *r, const char *csv, const char *png)
{
    const eval_options *o = a->values;
    json_t *root = json_pack("{s:o, s:s, s:I, s:I, s:I, s:i, s:i, s:f, s:f, s:o, s:o, s:o}", "model",
                             clean_json(c, r->weights), "set", o->a.set, "pictures", (json_int_t)r->pictures, "broken",
                             (json_int_t)r->broken, "left_out", (json_int_t)r->left_out, "classes", r->classes,
                             "classes_in_common", r->in_common, "top1", r->top1, "top5", r->top5, "loss",
                             event_number(r->loss), "confusion_csv", clean_json(c, csv), "confusion_png",
                             clean_json(c, png));
    if (!isnan(r->aupr))
        json_object_set_new(root, "aupr", json_real(r->aupr));
    json_t *list = json_array();
    for (int i = 0; i < r->classes; i++) {
        int64_t all = row_sum(r, i), right = r->confusion[(int64_t)i * r->classes + i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:f, s:f}", "class", r->names[i], "pictures", (json_int_t)all,
                              "top1", all ? (double)right / (double)all : 0.0, "top5",
                              all ? (double)r->top5_hits[i] / (double)all : 0.0));
    }
    json_object_set_new(root, "constants", o->a.zero_shot ? measure_clip(r->size, o->a.form)
                                                             : measure_seen(r->size, false));
    json_object_set_new(root, "per_class", list);
    measure_print(root, a);
}

static void print_table(const im_eval_result *r)
{
    printf("%-32s %9s %8s %8s\n", "class", "pictures", "top-1", "top-5");
    for (int i = 0; i < r->classes; i++) {
        int64_t all = row_sum(r, i), right = r->confusion[(int64_t)i * r->classes + i];
        shown_text(stdout, r->names[i], 32);
        if (all)
            printf(" %9lld %7.2f%% %7.2f%%\n", (long long)all, 100.0 * (double)right / (double)all,
                   100.0 * (double)r->top5_hits[i] / (double)all);
        else
            printf(" %9d %8s %8s\n", 0, "-", "-");
    }
    printf("%-32s %9lld %7.2f%% %7.2f%%   loss %.4f, %lld broken\n", "all", (long long)r->pictures, 100 * r->top1,
           100 * r->top5, r->loss, (long long)r->broken);
    if (r->left_out)
        printf("%lld pictures of classes that the classifier has not were left out\n", (long long)r->left_out);
    if (!isnan(r->aupr))
        printf("AUPR %.2f%%: -max softmax of the pictures of ImageNet-O beside those of val\n", 100 * r->aupr);
}

/* Where confusion.csv and confusion.png go. */
static bool find_files(im_ctx *c, const eval_options *o, char *files[2])
{
    static const char *const names[] = { "confusion.csv", "confusion.png" };
    for (int i = 0; i < 2; i++)
        files[i] = o->out || im_is_folder(o->a.model) ? im_join(c, o->out ? o->out : o->a.model, names[i])
                                                      : im_join_beside(c, o->a.model, names[i]);
    return im_ok(c);
}

/* Before the work, which goes on all the same: the figures are printed in any case. */
static void warn_of_files(im_ctx *c, char *const files[2])
{
    if (im_may_write(c, files[0], true) && im_may_write(c, files[1], true))
        return;
    char *error = error_put_aside(c);
    im_warn(c, "%s; the figures will be printed all the same; -o FOLDER names another place", error ? error : "");
    free(error);
}

/* The figures first: an evaluation may have taken hours, and a file may be refused. */
static bool show_results(im_ctx *c, const arguments *a, const im_eval_result *r, char *const files[2])
{
    const eval_options *o = a->values;
    if (o->json)
        print_json(c, a, r, files[0], files[1]);
    else
        print_table(r);
    fflush(stdout);
    int side = label_of(r->classes) + 2 * MARGIN + r->classes * cell_of(r->classes);
    for (int i = 0; i < 2; i++) {
        char *error = error_put_aside(c);
        bool ok = i ? plot_write(c, files[i], side < 320 ? 320 : side, side, draw_confusion, (void *)r)
                    : write_csv(c, r, files[i]);
        if (ok && !o->json)
            printf("%s\n", files[i]);
        error_put_back(c, error);
    }
    return im_ok(c);
}

static void defaults(void *values)
{
    ((eval_options *)values)->a = im_eval_defaults();
}

static int run(const arguments *a)
{
    eval_options *o = a->values;
    if (!o->a.model || !o->a.data)
        return usage_error(a->verb, "%s is missing", o->a.model ? "--data DIR" : "-m RUN|FILE");
    bool odd = !strcmp(o->a.set, "imagenet-o");
    if (odd != (o->a.val != NULL))
        return usage_error(a->verb, odd ? "--set imagenet-o is judged beside ordinary pictures: --val DIR is missing"
                                        : "--val goes with --set imagenet-o");
    if (option_given(a, "template") && !o->a.zero_shot)
        return usage_error(a->verb, "--template goes with --zero-shot");
    o->common.strict = o->a.strict;
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    if (o->a.save_features && !im_may_write(c, o->a.save_features, true))
        return session_close(c);
    im_eval_result r = { 0 };
    char *files[2] = { NULL, NULL };
    bool show = !o->quiet && isatty(STDERR_FILENO);
    if (find_files(c, o, files))
        warn_of_files(c, files);
    if (im_eval_classifier(c, &o->a, &r, show ? measure_progress : NULL, NULL))
        show_results(c, a, &r, files);
    im_eval_result_free(&r);
    free(files[0]);
    free(files[1]);
    return session_close(c);
}

const verb verb_eval = {
    .name = "eval", .common = OPT_DEVICE, .options = options, .size = sizeof(eval_options), .run = run,
    .defaults = defaults,
    .summary = "measure how often a classifier is right",
    .about = "Measures top-1 and top-5 of a ResNet on labelled pictures, class by class, and writes the confusion "
             "matrix to confusion.csv and confusion.png. Pictures are resized (shorter side to size * 8 / 7, "
             "bilinear as in Pillow), cropped to the centre and normalised. The classes must be those that the "
             "network was trained on; with --set, for ImageNet's test sets, those that both have count.",
    .examples = "  imago eval -m RUN --data DIR\n"
                "  imago eval -m resnet50.safetensors --data VAL --classes names.txt --json\n"
                "  imago eval -m resnet50.safetensors --data imagenet-a --set imagenet-a",
};
