/* report_sets.c: the three sets of pictures as the classifier and the eye see them. The training set's classes must be the
 * classifier's; the others are opened with that list, so that a label is the same number everywhere. */
#include "report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/sets/loader.h"
#include "models/checkpoints/classifier_file.h"
#include "models/eval/evaluate.h"

enum { BATCH = 32 };

/* OUT/classes.txt: a class a line, as dataset.h reads it. */
static char *write_classes(im_ctx *c, const report_options *o, const im_classifier_info *info, const im_dataset *train)
{
    char *path = im_join(c, o->out, "classes.txt"), *text = NULL;
    size_t bytes = 0;
    if (!info->n_names)
        im_fail(c, "%s: does not say what its classes are; wanted a file that `imago train resnet` wrote", info->path);
    im_same_classes(c, info->path, info->config.classes, info->names, info->n_names, train);
    FILE *f = open_memstream(&text, &bytes);
    for (int i = 0; f && i < info->n_names; i++)
        fprintf(f, "%s\n", info->names[i]);
    bool ok = f && !fclose(f) && path && im_ok(c) && im_write_file(c, path, text, bytes, true);
    free(text);
    if (ok)
        return path;
    free(path);
    return NULL;
}

/* Names and labels of the pictures that were drawn: PICTURES/metadata.jsonl. */
static bool label_pictures(im_ctx *c, const report_options *o, const im_dataset *train, const char *pictures)
{
    int *labels = calloc((size_t)train->n_classes, sizeof *labels);
    char *path = im_join(c, pictures, "metadata.jsonl"), *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    int n = labels && path && f ? report_categories(c, train, o->least, labels) : -1;
    for (int64_t i = 0; i < (int64_t)n * o->count; i++) {
        char name[40];
        snprintf(name, sizeof name, "%lld.png", (long long)(o->first_seed + i));
        json_t *line = json_pack("{s:s, s:s}", "file_name", name, "label", train->classes[labels[i / o->count]]);
        char *words = json_dumps(line, JSON_COMPACT);
        fprintf(f, "%s\n", words ? words : "");
        free(words);
        json_decref(line);
    }
    bool ok = f && !fclose(f) && n > 0 && im_write_file(c, path, text, bytes, true);
    free(text);
    free(path);
    free(labels);
    return ok;
}

/* Pictures sorted by label: counted, then dealt out. */
static bool sort_side(im_ctx *c, side *s)
{
    int classes = s->data->n_classes;
    s->order = calloc((size_t)s->data->count + 1, sizeof *s->order);
    s->first = calloc((size_t)classes + 2, sizeof *s->first);
    if (!s->order || !s->first)
        return im_fail(c, "%s: out of memory for %lld pictures", s->data->path, (long long)s->data->count);
    for (int64_t i = 0; i < s->data->count; i++)
        s->first[s->data->samples[i].label + 2]++;
    for (int k = 2; k <= classes; k++)
        s->first[k] += s->first[k - 1];
    for (int64_t i = 0; i < s->data->count; i++)               /* first[k + 1] runs to the end of k                   */
        s->order[s->first[s->data->samples[i].label + 1]++] = i;
    return true;
}

/* The pictures themselves, at the size of the generated ones. */
static bool read_pixels(im_ctx *c, side *s)
{
    im_recipe r;
    size_t each = 3 * (size_t)s->size * (size_t)s->size;
    s->rgb = malloc((size_t)s->data->count * each + 1);
    if (!s->rgb)
        return im_fail(c, "%s: out of memory for %lld pictures", s->data->path, (long long)s->data->count);
    if (!im_recipe_named(c, "none", s->size, &r))
        return false;
    r.resize = s->size;                                        /* the whole picture                                   */
    im_loader *l = im_loader_open(c, &(im_loader_args){ .data = s->data, .recipe = &r, .batch = BATCH, .strict = true,
                                                        .exact = true, .bytes = true, .epochs = 1 });
    for (const im_batch *b; l && (b = im_loader_next(c, l)); )
        for (int i = 0; i < b->n; i++)
            memcpy(s->rgb + (size_t)b->indices[i] * each, b->crops[0].u8 + (size_t)i * each, each);
    im_loader_close(l);
    return im_ok(c);
}

static bool open_side(im_ctx *c, const char *path, const char *classes, side *s)
{
    *s = (side){ .size = 0 };
    return (s->data = im_dataset_open(c, &(im_dataset_args){ .path = path, .classes = classes, .min_classes = 2,
                                                             .strict = true })) && sort_side(c, s);
}

static bool look(im_ctx *c, const report_options *o, im_classifier *m, const im_classifier_info *info, int pixels, side *s)
{
    report_say(o, "looking at %lld pictures of %s", (long long)s->data->count, s->data->path);
    im_run_args a = { .batch = BATCH, .size = info->size > 0 ? info->size : 224 };
    s->size = pixels;
    if (!im_features_of(c, m, info->config.classes, s->data, &a, &s->seen) || !read_pixels(c, s))
        return false;
    size_t bytes = (size_t)s->seen.n * (size_t)s->seen.width * sizeof *s->unit;
    s->unit = malloc(bytes + 1);
    if (!s->unit)
        return im_fail(c, "%s: out of memory for features", s->data->path);
    memcpy(s->unit, s->seen.features, bytes);
    im_unit_rows(s->unit, s->seen.n, s->seen.width);
    return true;
}

static int size_of_first(im_ctx *c, const report_options *o, const char *pictures)
{
    char name[40];
    snprintf(name, sizeof name, "%d.png", o->first_seed);
    char *path = im_join(c, pictures, name);
    im_image *i = path ? im_picture_read(c, path) : NULL;
    int size = i ? i->width < i->height ? i->width : i->height : 0;
    im_image_free(i);
    free(path);
    return size;
}

bool report_sets(im_ctx *c, const report_options *o, side *train, side *held, side *made)
{
    im_classifier_info info;
    char *path[3] = { im_join(c, o->data, "train"), im_join(c, o->data, "heldout"), im_join(c, o->out, "pictures") };
    im_classifier *m = im_classifier_open(c, o->classifier, &info);
    bool ok = m && path[0] && path[1] && path[2] && open_side(c, path[0], NULL, train);
    char *classes = ok && im_make_folder(c, o->out) ? write_classes(c, o, &info, train->data) : NULL;
    ok = classes && open_side(c, path[1], classes, held) && label_pictures(c, o, train->data, path[2]) &&
         open_side(c, path[2], classes, made);
    int size = ok ? size_of_first(c, o, path[2]) : 0;
    ok = ok && size > 0 && look(c, o, m, &info, size, train) && look(c, o, m, &info, size, held) &&
         look(c, o, m, &info, size, made);
    free(classes);
    im_classifier_free(m);
    im_classifier_info_free(&info);
    for (int i = 0; i < 3; i++)
        free(path[i]);
    return ok;
}

void report_side_free(side *s)
{
    im_dataset_free(s->data);
    im_features_free(&s->seen);
    free(s->unit);
    free(s->rgb);
    free(s->order);
    free(s->first);
    *s = (side){ .size = 0 };
}
