/* report_output.c: the findings as a table, as OUT/report.json, and as a picture, OUT/nearest.png: of every category the
 * generated picture that has the nearest training picture; beside it that one (by features), and the nearest by pixels. */
#include "report.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"

/* What issue and card ask for. */
static const double WANTED_NAMES = 0.8, WANTED_SPREAD = 0.5, WANTED_PSNR = 29;

/* A category without held-out pictures has no accuracy there, and a ratio to 0 is none: null. */
static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

/* ---------------------------------------------------------------- JSON */

static json_t *category_object(const category *v)
{
    json_t *j = json_pack("{s:s, s:I, s:I}", "category", v->name, "training", (json_int_t)v->trained, "held_out",
                          (json_int_t)v->held);
    json_object_set_new(j, "top1_held_out", number(v->real));
    json_object_set_new(j, "top1_generated", number(v->made));
    json_object_set_new(j, "spread_training", number(v->spread_real));
    json_object_set_new(j, "spread_generated", number(v->spread_made));
    return j;
}

static json_t *copies_object(const copies *v)
{
    return json_pack("{s:o, s:o, s:o}", "near_copies", number(v->share), "median_features", number(v->features),
                     "median_pixels", number(v->pixels));
}

static bool write_json(im_ctx *c, const report_options *o, const side *train, const findings *f)
{
    json_t *j = json_pack("{s:s, s:s, s:s, s:f, s:i, s:i, s:I, s:i}", "model", o->model, "classifier", o->classifier,
                          "prompt", o->form, "guidance", o->guidance, "steps", o->steps, "count", o->count,
                          "training_pictures", (json_int_t)train->seen.n, "categories", f->n);
    json_object_set_new(j, "top1_held_out_all_classes", number(f->all_held));
    json_object_set_new(j, "top1_held_out", number(f->real));
    json_object_set_new(j, "top1_generated", number(f->made));
    json_object_set_new(j, "top1_ratio", number(f->made / f->real));
    json_object_set_new(j, "spread_training", number(f->spread_real));
    json_object_set_new(j, "spread_generated", number(f->spread_made));
    json_object_set_new(j, "spread_ratio", number(f->spread_made / f->spread_real));
    json_object_set_new(j, "psnr", number(f->psnr));
    json_object_set_new(j, "psnr_pictures", json_integer(f->psnr_pictures));
    json_object_set_new(j, "frechet_generated", number(f->frechet_made));
    json_object_set_new(j, "frechet_training", number(f->frechet_train));
    json_object_set_new(j, "frechet_pictures", json_integer(f->sample));
    json_object_set_new(j, "limit_features", number(f->limit_features));
    json_object_set_new(j, "limit_pixels", number(f->limit_pixels));
    json_object_set_new(j, "held_out_to_training", copies_object(&f->held));
    json_object_set_new(j, "generated_to_training", copies_object(&f->drawn));
    json_t *list = json_array();
    for (int i = 0; i < f->n; i++)
        json_array_append_new(list, category_object(&f->v[i]));
    json_object_set_new(j, "by_category", list);
    char *path = im_join(c, o->out, "report.json"), *text = json_dumps(j, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    bool ok = path && (text || im_fail(c, "%s: out of memory", path)) && im_write_file(c, path, text, strlen(text), true);
    free(text);
    free(path);
    json_decref(j);
    return ok;
}

/* ---------------------------------------------------------------- the table */

/* A ratio or figure beside what is asked for: the line says whether it is reached. A ratio to 0 reaches nothing. */
static void verdict(const char *what, double got, double wanted, const char *unit)
{
    if (isfinite(got))
        printf("%-60s %7.2f%s, wanted %g: %s\n", what, got, unit, wanted, got >= wanted ? "reached" : "not reached");
    else
        printf("%-60s %7s%s, wanted %g: cannot be said\n", what, "-", unit, wanted);
}

static void print_table(const report_options *o, const findings *f)
{
    printf("%-12s %6s %6s %10s %10s %10s %10s\n", "", "", "", "top-1", "top-1", "spread", "spread");
    printf("%-12s %6s %6s %10s %10s %10s %10s\n", "category", "train", "held", "held-out", "generated", "training",
           "generated");
    for (int i = 0; i < f->n; i++) {
        const category *v = &f->v[i];
        printf("%-12s %6lld %6lld %9.1f%% %9.1f%% %10.3f %10.3f\n", v->name, (long long)v->trained, (long long)v->held,
               100 * v->real, 100 * v->made, v->spread_real, v->spread_made);
    }
    printf("%-12s %6s %6s %9.1f%% %9.1f%% %10.3f %10.3f\n\n", "mean", "", "", 100 * f->real, 100 * f->made,
           f->spread_real, f->spread_made);
    printf("%s, \"%s\", guidance %g, %d steps, %d pictures of each of %d categories\n", o->model, o->form, o->guidance,
           o->steps, o->count, f->n);
    printf("%-60s %6.1f%%\n", "the classifier names of all held-out pictures, every class", 100 * f->all_held);
    verdict("its top-1 on generated pictures / on held-out ones", f->made / f->real, WANTED_NAMES, "");
    verdict("spread within a prompt / within training pictures", f->spread_made / f->spread_real, WANTED_SPREAD, "");
    verdict("autoencoder, mean PSNR on held-out pictures", f->psnr, WANTED_PSNR, " dB");
    printf("Frechet distance to held-out pictures, %lld a set: generated %.3f, training %.3f\n", (long long)f->sample,
           f->frechet_made, f->frechet_train);
    printf("nearest training picture, median in features / pixels: generated %.3f / %.1f, held-out %.3f / %.1f\n",
           f->drawn.features, f->drawn.pixels, f->held.features, f->held.pixels);
    printf("near copies (within %.3f and %.1f of one training picture): generated %.2f%%, held-out %.2f%%\n",
           f->limit_features, f->limit_pixels, 100 * f->drawn.share, 100 * f->held.share);
}

/* ---------------------------------------------------------------- the picture */

enum { ZOOM = 2, GAP = 8, COLUMNS = 5, TILES = 3 };

/* Picture `at` of a set with its pixels doubled, its corner at (left, top). */
static void place(im_image *to, const side *s, int64_t at, int left, int top)
{
    const uint8_t *from = s->rgb + at * 3 * s->size * s->size;
    for (int y = 0; y < ZOOM * s->size; y++)
        for (int x = 0; x < ZOOM * s->size; x++)
            memcpy(to->pixels + 3 * ((int64_t)(top + y) * to->width + left + x),
                   from + 3 * (y / ZOOM * s->size + x / ZOOM), 3);
}

/* The picture of the category that is the nearest to a training picture. */
static int64_t nearest_of(const side *made, int label, const findings *f)
{
    int64_t best = made->order[made->first[label]];
    for (int64_t i = made->first[label]; i < made->first[label + 1]; i++)
        if (f->drawn.near[made->order[i]].by_features.features < f->drawn.near[best].by_features.features)
            best = made->order[i];
    return best;
}

static bool draw_nearest(im_ctx *c, const report_options *o, const side *train, const side *made, const findings *f)
{
    int tile = ZOOM * made->size, width = TILES * tile + 2 * GAP, rows = (f->n + COLUMNS - 1) / COLUMNS;
    im_image *p = im_image_new(c, COLUMNS * width, rows * (tile + GAP) + GAP, 3);
    char *path = im_join(c, o->out, "nearest.png");
    if (p)
        memset(p->pixels, 200, 3 * (size_t)p->width * (size_t)p->height);
    for (int i = 0; p && i < f->n; i++) {
        int left = i % COLUMNS * width + GAP, top = i / COLUMNS * (tile + GAP) + GAP;
        int64_t at = nearest_of(made, f->v[i].label, f);
        place(p, made, at, left, top);
        place(p, train, f->drawn.near[at].by_features.at, left + tile, top);
        place(p, train, f->drawn.near[at].by_pixels.at, left + 2 * tile, top);
    }
    im_text about = { "Comment", "of every category: a generated picture, the nearest training picture by features, and by "
                                 "pixels" };
    bool ok = p && path && im_png_write(c, path, p, &about, 1, true);
    im_image_free(p);
    free(path);
    return ok;
}

bool report_output(im_ctx *c, const report_options *o, const side *train, const side *made, const findings *f)
{
    print_table(o, f);                                         /* first: an hour's findings outlive a full disk       */
    fflush(stdout);
    bool ok = write_json(c, o, train, f) && draw_nearest(c, o, train, made, f);
    if (ok)
        printf("%s/report.json, %s/nearest.png\n", o->out, o->out);
    return ok;
}
