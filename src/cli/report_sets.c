/* report_sets.c: the sets that the runs of a report were trained on: their settings, the prompts, a sheet. Used by
 * report_page.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"
#include "data/files/file.h"
#include "data/files/json.h"
#include "data/images/jpeg.h"
#include "data/images/picture.h"
#include "data/images/resize.h"
#include "data/sets/dataset.h"

enum { SIDE = 72, SHOWN = 36, PROMPTS = 200, QUALITY = 88, LIST_BYTES = 1 << 30 };

/* ---------------------------------------------------------------- which */

/* Adds the set's path once. */
static void add_path(json_t *list, const char *path)
{
    json_t *v;
    size_t i;
    json_array_foreach(list, i, v) {
        if (!strcmp(json_string_value(v), path))
            return;
    }
    json_array_append_new(list, json_string(path));
}

/* "real=DIR:0.25,synth=SET:0.75" */
static void add_mix(im_ctx *c, json_t *list, const char *mix)
{
    char *text = im_copy_text(c, mix, strlen(mix)), *save = NULL;
    for (char *p = text ? strtok_r(text, ",", &save) : NULL; p; p = strtok_r(NULL, ",", &save)) {
        char *path = strchr(p, '='), *colon = strrchr(p, ':'), *end = NULL;
        if (colon && colon > path && strtod(colon + 1, &end) >= 0 && end != colon + 1 && !*end)
            *colon = '\0';
        if (path)
            add_path(list, path + 1);
    }
    free(text);
}

/* ---------------------------------------------------------------- what a synthetic set is */

static void settings_table(FILE *f, const json_t *manifest)
{
    static const char *const keys[] = { "model", "model_hash", "recipe", "guidance", "steps", "scheduler", "eta", "seed",
                                        "size", "save_size", "per_class", "pictures", "dedup", "filter", "keep", "format",
                                        "quality", "made_by", "arithmetic" };
    fputs("<table class=\"facts\">\n", f);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(manifest, keys[i]);
        char *text = v ? json_is_string(v) ? strdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY) : NULL;
        if (text) {
            fprintf(f, "<tr><th>%s</th><td>", keys[i]);
            page_text(f, text);
            fputs("</td></tr>\n", f);
        }
        free(text);
    }
    fputs("</table>\n", f);
}

/* The first prompt of every class, and how many there are. */
static void prompts_list(im_ctx *c, FILE *f, const char *set)
{
    char *path = im_join(c, set, "metadata.jsonl"), *save = NULL;
    size_t bytes;
    char *text = path && im_is_file(path) ? im_read_file(c, path, LIST_BYTES, &bytes) : NULL;
    json_t *classes = json_object(), *prompts = json_object();
    fputs("<details><summary>Prompts</summary><table>\n<tr><th>class</th><th>first prompt</th></tr>\n", f);
    for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        json_t *row = json_loads(line, 0, NULL);
        const char *class_name = json_string_value(json_object_get(row, "class"));
        const char *prompt = json_string_value(json_object_get(row, "prompt"));
        if (prompt)
            json_object_set_new(prompts, prompt, json_true());
        if (class_name && prompt && !json_object_get(classes, class_name)) {
            if (json_object_size(classes) < PROMPTS) {
                fputs("<tr><td>", f);
                page_text(f, class_name);
                fputs("</td><td>", f);
                page_text(f, prompt);
                fputs("</td></tr>\n", f);
            }
            json_object_set_new(classes, class_name, json_true());
        }
        json_decref(row);
    }
    fprintf(f, "</table>\n<p>%zu classes%s, %zu different prompts; all of them stand in the set's metadata.jsonl.</p>"
            "</details>\n", json_object_size(classes), json_object_size(classes) > PROMPTS ? " (not all are shown)" : "",
            json_object_size(prompts));
    json_decref(classes);
    json_decref(prompts);
    free(text);
    free(path);
}

/* ---------------------------------------------------------------- a sheet */

static void thumbnail(im_ctx *c, FILE *f, const im_dataset *d, int64_t at)
{
    size_t bytes, n;
    uint8_t *data = im_dataset_read(c, d, at, &bytes), *jpeg = NULL;
    im_image *p = data ? im_picture_decode(c, data, bytes, d->samples[at].name, NULL) : NULL, *small = NULL;
    if (p) {
        int most = p->width > p->height ? p->width : p->height;
        int w = p->width * SIDE / most, h = p->height * SIDE / most;
        small = im_resize(c, p, w < 1 ? 1 : w, h < 1 ? 1 : h, IM_FILTER_LANCZOS);
        jpeg = small ? im_jpeg_encode(c, small, d->samples[at].name, QUALITY, NULL, 0, &n) : NULL;
    }
    if (jpeg)
        page_data(f, "image/jpeg", jpeg, n, d->samples[at].label >= 0 ? d->classes[d->samples[at].label] : "");
    im_image_free(small);
    im_image_free(p);
    free(jpeg);
    free(data);
}

/* The first picture of every class, up to SHOWN; of few classes more of each. */
static void sheet(im_ctx *c, FILE *f, const char *set)
{
    im_dataset *d = im_dataset_open(c, &(im_dataset_args){ .path = set });
    if (!d)
        return;
    int classes = d->n_classes ? d->n_classes : 1, each = classes >= SHOWN ? 1 : SHOWN / classes, shown = 0;
    int *seen = calloc((size_t)classes + 1, sizeof *seen);
    fprintf(f, "<p>%lld pictures, %d classes.</p>\n<div class=\"sheet\">\n", (long long)d->count, d->n_classes);
    for (int64_t i = 0; seen && i < d->count && shown < SHOWN && im_ok(c); i++) {
        int k = d->samples[i].label < 0 ? 0 : d->samples[i].label;
        if (seen[k]++ >= each)
            continue;
        thumbnail(c, f, d, i);
        shown++;
    }
    fputs("</div>\n", f);
    free(seen);
    im_dataset_free(d);
}

/* What is gone by now, or broken, is said on the page and is no reason to have none. */
static void one_set(im_ctx *c, FILE *f, const char *set)
{
    char *path = im_join(c, set, "manifest.json");
    im_json j = { 0 };
    fputs("<h3>", f);
    page_paths(f, set);
    fputs("</h3>\n", f);
    if (path && im_is_file(path) && im_json_load(c, &j, path, LIST_BYTES)) {
        settings_table(f, j.value);
        prompts_list(c, f, set);
    }
    if (im_ok(c))
        sheet(c, f, set);
    if (!im_ok(c)) {
        fputs("<p class=\"missing\">", f);
        page_text(f, im_error(c));
        fputs("</p>\n", f);
        im_clear_error(c);
    }
    im_json_close(&j);
    free(path);
}

void report_sets(const report *r, FILE *f)
{
    json_t *list = json_array(), *v;
    size_t i;
    for (int k = 0; k < r->n; k++) {
        const char *mix = json_string_value(json_object_get(r->runs[k].config, "mix"));
        const char *data = json_string_value(json_object_get(r->runs[k].config, "data"));
        if (mix)
            add_mix(r->c, list, mix);
        else if (data)
            add_path(list, data);
    }
    json_array_foreach(list, i, v) {
        one_set(r->c, f, json_string_value(v));
    }
    json_decref(list);
}
