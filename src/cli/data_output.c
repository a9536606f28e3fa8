/* data_output.c: what `imago data` writes: the sheet of pictures, the tensors, and everything that was drawn, as JSON. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/data.h"
#include "cli/session.h"
#include "cli/sheet.h"
#include "data/files/file.h"

enum { BETWEEN = 4 };                                          /* pixels between the crops of a picture               */

/* (size, size, 3): crop j of one kind, of picture i. */
static const uint8_t *crop_at(const data_view *v, int kind, int j, int i)
{
    const im_crops *k = &v->b->crops[kind];
    return k->u8 + ((size_t)j * (size_t)v->b->n + (size_t)i) * (size_t)k->size * (size_t)k->size * 3;
}

/* ---------------------------------------------------------------- the sheet */

/* A kind of crops is a grid as high as the first kind's crops allow. */
static void grid_of(const im_batch *b, int kind, int *rows, int *columns)
{
    const im_crops *k = &b->crops[kind];
    *rows = (b->crops[0].size + BETWEEN) / (k->size + BETWEEN);
    if (*rows < 1)
        *rows = 1;
    if (*rows > k->count)
        *rows = k->count ? k->count : 1;
    *columns = (k->count + *rows - 1) / *rows;
}

/* All crops of picture i, one kind beside the other. */
static im_image *strip_of(const data_view *v, int i)
{
    int width = 0, height = 1, rows, columns;
    for (int kind = 0; kind < v->b->kinds; kind++) {
        grid_of(v->b, kind, &rows, &columns);
        int size = v->b->crops[kind].size + BETWEEN;
        width += columns * size;
        height = rows * size - BETWEEN > height ? rows * size - BETWEEN : height;
    }
    im_image *out = im_image_new(v->c, width > BETWEEN ? width - BETWEEN : 1, height, 3);
    if (!out)
        return NULL;
    memset(out->pixels, 255, (size_t)out->width * (size_t)out->height * 3);
    for (int kind = 0, x0 = 0; kind < v->b->kinds; kind++) {
        size_t size = (size_t)v->b->crops[kind].size;
        grid_of(v->b, kind, &rows, &columns);
        for (int j = 0; j < v->b->crops[kind].count; j++) {
            const uint8_t *from = crop_at(v, kind, j, i);
            size_t x = (size_t)x0 + (size_t)(j / rows) * (size + BETWEEN), y = (size_t)(j % rows) * (size + BETWEEN);
            for (size_t line = 0; line < size; line++)
                memcpy(out->pixels + ((y + line) * (size_t)out->width + x) * 3, from + line * size * 3, size * 3);
        }
        x0 += columns * (int)(size + BETWEEN);
    }
    return out;
}

bool data_write_sheet(const data_view *v)
{
    int n = v->b->n;
    sheet_cell *cells = calloc((size_t)n, sizeof *cells);
    im_image **strips = calloc((size_t)n, sizeof *strips);
    char title[400];
    bool ok = (cells && strips) || im_fail(v->c, "%s: out of memory for a sheet of %d pictures", v->o->sheet, n);
    for (int i = 0; i < n && ok; i++) {
        const im_sample *s = &v->d->samples[v->b->indices[i]];
        strips[i] = strip_of(v, i);
        const char *label = s->caption ? s->caption : s->label >= 0 ? v->d->classes[s->label] : "";
        cells[i] = (sheet_cell){ .picture = strips[i], .label = label, .note = s->name };
        ok = strips[i] != NULL;
    }
    snprintf(title, sizeof title, "%.200s: %s, seed %llu, epoch %lld, %s", v->d->path, v->r->name,
             (unsigned long long)v->o->seed, (long long)v->b->epoch, v->o->order);
    im_image *sheet = ok ? sheet_draw(v->c, title, cells, n, NULL) : NULL;
    ok = sheet && sheet_save(v->c, v->o->sheet, sheet, 0, IM_ORIGIN_UNSAID, v->o->force);
    im_image_free(sheet);
    for (int i = 0; strips && i < n; i++) im_image_free(strips[i]);
    free(strips);
    free(cells);
    return ok;
}

/* ---------------------------------------------------------------- the tensors */

/* crop0, crop1 ... (n, size, size, 3) U8, counted over all kinds; labels (n) I32, indices (n) I64. */
bool data_write_dump(const data_view *v)
{
    const im_batch *b = v->b;
    im_st_entry e[IM_RECIPE_MAX_CROPS + 2];
    const void *data[IM_RECIPE_MAX_CROPS + 2];
    char names[IM_RECIPE_MAX_CROPS][16];
    int n = 0;
    for (int kind = 0; kind < b->kinds; kind++)
        for (int j = 0; j < b->crops[kind].count; j++, n++) {
            int size = b->crops[kind].size;
            snprintf(names[n], sizeof names[n], "crop%d", n);
            e[n] = (im_st_entry){ .name = names[n],
                                  .dtype_name = "U8",
                                  .dtype = -1,
                                  .ndim = 4,
                                  .shape = { b->n, size, size, 3 },
                                  .bytes = (size_t)b->n * (size_t)size * (size_t)size * 3 };
            data[n] = crop_at(v, kind, j, 0);
        }
    e[n] = (im_st_entry){ .name = "labels", .dtype = IM_I32, .ndim = 1, .shape = { b->n }, .bytes = (size_t)b->n * 4 };
    data[n++] = b->labels;
    e[n] = (im_st_entry){ .name = "indices", .dtype_name = "I64", .dtype = -1, .ndim = 1, .shape = { b->n },
                          .bytes = (size_t)b->n * 8 };
    data[n++] = b->indices;
    const char *const metadata[] = { "imago", IM_VERSION };
    im_st_writer *w = im_st_create(v->c, v->o->dump, e, n, metadata, 1);
    bool ok = w != NULL;
    for (int i = 0; i < n && ok; i++) ok = im_st_put(v->c, w, i, data[i], e[i].bytes);
    if (ok)
        return im_st_finish(v->c, w);
    im_st_abandon(w);
    return false;
}

/* ---------------------------------------------------------------- what was drawn */

/* A factor as Python reads it back to the same f32: nine digits, as a real. */
static json_t *real(float x)
{
    return json_real((double)x);
}

static json_t *draw_json(const im_draw *d, const im_crop_recipe *k, bool random, int kind)
{
    static const char *const names[] = { "brightness", "contrast", "saturation", "hue" };
    json_t *jitter = json_array();
    for (int i = 0; i < d->jitters; i++)
        json_array_append_new(
            jitter, json_pack("{s:s, s:o}", "op", names[d->order[i]], "factor", real(d->factor[d->order[i]])));
    json_t *j = json_pack("{s:i, s:[iiii], s:[ii], s:[iiii], s:s, s:b, s:o, s:b, s:o, s:o}", "kind", kind, "box", d->x,
                          d->y, d->x + d->w, d->y + d->h, "resize", d->resize_w, d->resize_h, "window", d->cut_x,
                          d->cut_y, d->cut_x + k->size, d->cut_y + k->size, "filter",
                          random && k->filter == IM_FILTER_BICUBIC ? "bicubic" : "bilinear", "flip", d->flip, "jitter",
                          jitter, "grey", d->grey, "blur", d->sigma > 0 ? real(d->sigma) : json_null(), "solarize",
                          d->solarize ? json_integer(d->solarize_threshold) : json_null());
    return j;
}

static json_t *picture_json(const data_view *v, int i)
{
    const im_batch *b = v->b;
    const im_sample *s = &v->d->samples[b->indices[i]];
    int n = im_recipe_crops(v->r);
    const im_draw *d = b->draws + (size_t)i * (size_t)n;
    json_t *crops = json_array();
    for (int kind = 0, k = 0; kind < b->kinds; kind++)
        for (int j = 0; j < b->crops[kind].count; j++, k++)
            json_array_append_new(crops, draw_json(&d[k], im_recipe_crop(v->r, k), v->r->random, kind));
    return json_pack("{s:o, s:I, s:I, s:i, s:o, s:o, s:i, s:i, s:i, s:o}", "file", clean_json(v->c, s->name), "index",
                     (json_int_t)b->indices[i], "meant", (json_int_t)b->meant[i], "label", s->label, "class",
                     clean_json(v->c, s->label >= 0 ? v->d->classes[s->label] : NULL), "caption",
                     clean_json(v->c, s->caption),
                     "width", d->width, "height", d->height, "shrink", v->o->shrink ? im_augment_shrink(d, n) : 1,
                     "crops", crops);
}

bool data_write_json(const data_view *v)
{
    const im_dataset *d = v->d;
    json_t *pictures = json_array(), *broken = json_array(), *classes = json_array();
    for (int i = 0; i < v->b->n; i++) json_array_append_new(pictures, picture_json(v, i));
    for (int64_t i = 0; i < v->n_broken; i++)
        json_array_append_new(broken,
                              json_pack("{s:o, s:o}", "file", clean_json(v->c, v->broken[i].name), "reason",
                                        clean_json(v->c, v->broken[i].reason)));
    for (int i = 0; i < d->n_classes; i++) json_array_append_new(classes, clean_json(v->c, d->classes[i]));
    json_t *root =
        json_pack("{s:o, s:s, s:I, s:o, s:s, s:I, s:I, s:s, s:[fff], s:[fff], s:o, s:o}", "path",
                  clean_json(v->c, d->path), "form", im_set_kind_name(d->kind), "count", (json_int_t)d->count, "classes",
                  classes, "augment", v->r->name, "seed", (json_int_t)v->o->seed, "epoch", (json_int_t)v->b->epoch,
                  "order", v->o->order, "mean", 0.485, 0.456, 0.406, "std", 0.229, 0.224, 0.225, "pictures", pictures,
                  "broken", broken);
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (!text)
        return im_fail(v->c, "%s: out of memory for what was drawn", v->o->json);
    size_t n = strlen(text);
    text[n] = '\n';                                            /* in place of the zero byte                           */
    bool ok = im_write_file(v->c, v->o->json, text, n + 1, v->o->force);
    free(text);
    return ok;
}
