/* cmd_data.c: `imago data`: what a set of pictures holds and what the loader makes of it, for the eye (a sheet), for other
 * programs (tensors) and to be repeated with Pillow (JSON). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/data.h"
#include "cli/session.h"
#include "cli/sheet.h"
#include "cli/shown.h"
#include "cli/verbs.h"
#include "data/files/file.h"
#include "data/images/picture.h"

enum { MOST_LOOKED_AT = 1000, MOST_NAMED = 10 };

#define AT(field) offsetof(data_options, field)
static const option options[] = {
    OPTION_TEXT('o', "out", "SHEET.png", AT(sheet), NULL, "draw the pictures as a network gets them (.png or .jpg)"),
    OPTION_TEXT(0, "dump", "FILE", AT(dump), NULL,
                "write them as tensors (.safetensors): crop0, crop1 ... (n, size, size, 3) U8, labels I32, indices "
                "I64"),
    OPTION_TEXT(0, "json", "FILE", AT(json), NULL,
                "write the random choices for every crop, enough to repeat them with Pillow"),
    OPTION_CHOICE(0, "augment", "RECIPE", AT(augment), "none", "none|plain|drawing|dino",
                  "none: resize and crop the centre; plain: random crop and flip; drawing: larger crops, flip, some "
                  "change of light and saturation; dino: several crops per picture, with colours and blur"),
    OPTION_INT(0, "size", "N", AT(size), "224", 1, 4096, "side of the (global) crop"),
    OPTION_INT(0, "locals", "N", AT(locals), NULL, 0, IM_RECIPE_MAX_CROPS - 1,
               "dino: number of small crops per picture; without it, 8"),
    OPTION_INT(0, "local-size", "N", AT(local_size), NULL, 1, 4096,
               "dino: side of the small crops; without it, 3/7 of --size"),
    OPTION_INT('n', "count", "N", AT(count), "16", 1, 100000, "pictures to show, from the start of the epoch"),
    OPTION_SEED('s', "seed", "SEED", AT(seed), "0", "seed of the order and the augmentation"),
    OPTION_CHOICE(0, "order", "ORDER", AT(order), "shuffled", "shuffled|listed", "order of the pictures"),
    OPTION_INT(0, "epoch", "N", AT(epoch), "0", 0, 1000000000, "which epoch to show"),
    OPTION_TEXT(0, "classes", "FILE", AT(classes), NULL,
                "names of classes, one per line: use only these, numbered in this order"),
    OPTION_FLAG(0, "strict", AT(strict), "stop at a broken picture instead of leaving it out"),
    OPTION_FLAG(0, "shrink", AT(shrink),
                "decode large JPEGs at a smaller size where every crop allows it, as training may"),
    OPTION_INT(0, "decoders", "N", AT(threads), "0", 0, 256, "decoding threads; 0: one per core"),
    OPTION_FLAG('f', "force", AT(force), "overwrite existing files"),
    OPTION_END
};

/* ---------------------------------------------------------------- the summary */

static int by_area(const void *a, const void *b)
{
    const int *x = a, *y = b;
    int64_t p = (int64_t)x[0] * x[1], q = (int64_t)y[0] * y[1];
    return p != q ? (p < q ? -1 : 1) : x[0] - y[0];
}

/* Sizes of up to MOST_LOOKED_AT pictures, evenly spread; what has none is left to the loader to name. */
static void print_sizes(im_ctx *c, const im_dataset *d)
{
    int64_t n = d->count < MOST_LOOKED_AT ? d->count : MOST_LOOKED_AT;
    int(*sizes)[2] = calloc((size_t)n, sizeof *sizes), found = 0;
    for (int64_t i = 0; sizes && i < n && im_ok(c); i++) {
        int64_t index = i * d->count / n;
        size_t bytes;
        uint8_t *data = im_dataset_read(c, d, index, &bytes);
        if (data && im_picture_size(c, data, bytes, d->samples[index].name, NULL, &sizes[found][0], &sizes[found][1]))
            found++;
        im_clear_error(c);
        free(data);
    }
    if (found) {
        qsort(sizes, (size_t)found, sizeof *sizes, by_area);
        const int *small = sizes[0], *middle = sizes[found / 2], *large = sizes[found - 1];
        printf("sizes by area: %dx%d to %dx%d, median %dx%d (of %d looked at)\n", small[0], small[1], large[0],
               large[1], middle[0], middle[1], found);
    }
    free(sizes);
}

static void print_classes(const im_dataset *d)
{
    int64_t *count = calloc((size_t)d->n_classes + 1, sizeof *count), least = INT64_MAX, most = 0;
    for (int64_t i = 0; count && i < d->count; i++)
        if (d->samples[i].label >= 0) count[d->samples[i].label]++;
    for (int i = 0; count && i < d->n_classes; i++) {
        least = count[i] < least ? count[i] : least;
        most = count[i] > most ? count[i] : most;
    }
    if (count && d->n_classes)
        shown_line(stdout, "classes: %d, of %lld to %lld pictures: %s%s%s", d->n_classes, (long long)least, (long long)most,
               d->classes[0], d->n_classes > 1 ? " .. " : "", d->n_classes > 1 ? d->classes[d->n_classes - 1] : "");
    free(count);
}

static void print_set(im_ctx *c, const im_dataset *d)
{
    int64_t captions = 0;
    uint64_t bytes = 0;
    for (int64_t i = 0; i < d->count; i++) {
        captions += d->samples[i].caption != NULL;
        bytes += d->samples[i].bytes;
    }
    char size[32];
    shown_line(stdout, "%s: %s, %lld picture%s, %s", d->path, im_set_kind_name(d->kind), (long long)d->count,
           d->count == 1 ? "" : "s", bytes_text((double)bytes, size));
    print_classes(d);
    if (captions)
        printf("captions: %lld\n", (long long)captions);
    print_sizes(c, d);
    if (d->ignored)
        printf("ignored: %lld file%s not named as pictures\n", (long long)d->ignored, d->ignored == 1 ? "" : "s");
}

static void print_broken(const im_broken *broken, int64_t n)
{
    if (n)
        printf("broken: %lld\n", (long long)n);
    for (int64_t i = 0; i < n && i < MOST_NAMED; i++) shown_line(stdout, "  %s: %s", broken[i].name, broken[i].reason);
    if (n > MOST_NAMED)
        printf("  and %lld more (--json FILE lists all)\n", (long long)(n - MOST_NAMED));
}

/* ---------------------------------------------------------------- the verb */

static bool make_recipe(im_ctx *c, const arguments *a, im_recipe *r)
{
    const data_options *o = a->values;
    if (!im_recipe_named(c, o->augment, o->size, r))
        return false;
    if (option_given(a, "locals"))
        r->crop[1].count = o->locals;
    if (option_given(a, "local-size"))
        r->crop[1].size = o->local_size;
    return im_recipe_check(c, r);
}

static bool show(im_ctx *c, const data_options *o, const im_dataset *d, const im_recipe *r)
{
    int64_t batch = o->count < d->count ? o->count : d->count;
    im_loader_args args = { .data = d, .recipe = r, .batch = (int)batch, .seed = o->seed, .strict = o->strict,
                            .shuffled = !strcmp(o->order, "shuffled"), .exact = !o->shrink, .bytes = true,
                            .threads = o->threads, .ahead = 1, .first_epoch = o->epoch };
    im_loader *l = im_loader_open(c, &args);
    data_view v = { .c = c, .o = o, .d = d, .r = r, .b = im_loader_next(c, l) };
    if (v.b)
        v.broken = im_loader_broken(c, l, &v.n_broken);
    if (v.broken)
        print_broken(v.broken, v.n_broken);
    const struct { const char *file; bool (*write)(const data_view *v); } files[] = {
        { o->sheet, data_write_sheet }, { o->dump, data_write_dump }, { o->json, data_write_json }
    };
    for (int i = 0; i < 3 && v.broken; i++) {                  /* each, whether the others can be written or not       */
        char *error = error_put_aside(c);
        if (files[i].file && files[i].write(&v))
            printf("%s  %d picture%s\n", files[i].file, v.b->n, v.b->n == 1 ? "" : "s");
        error_put_back(c, error);
    }
    im_loader_close(l);
    return im_ok(c);
}

static int run(const arguments *a)
{
    const data_options *o = a->values;
    if (strcmp(o->augment, "dino") && (option_given(a, "locals") || option_given(a, "local-size")))
        return usage_error(a->verb, "--locals and --local-size belong to --augment dino");
    if (o->seed > INT64_MAX)
        return usage_error(a->verb, "--seed: JSON holds seeds up to %lld only", (long long)INT64_MAX);
    im_ctx *c = session_open_files();
    if (!c)
        return CLI_FAILED;
    const char *const files[] = { o->sheet, o->dump, o->json };
    if (o->sheet)
        sheet_named(c, o->sheet);
    for (int i = 0; i < 3 && im_ok(c); i++)
        if (files[i])
            im_may_write(c, files[i], o->force);
    im_recipe r;
    im_dataset_args args = { .path = a->operands[0], .classes = o->classes, .strict = o->strict };
    im_dataset *d = make_recipe(c, a, &r) ? im_dataset_open(c, &args) : NULL;
    if (d) {
        print_set(c, d);
        show(c, o, d, &r);
    }
    im_dataset_free(d);
    return session_close(c);
}

const verb verb_data = {
    .name = "data", .operands = "DIR|SHARDS", .min_operands = 1, .max_operands = 1, .options = options,
    .size = sizeof(data_options), .run = run,
    .summary = "show what a set of pictures holds, and what training gets of it",
    .about = "Reads class folders (DIR/CLASS/x.jpg), a folder of pictures, a folder with metadata.jsonl or .csv "
             "(file_name, text, label), or tar shards in WebDataset form (X.tar, a folder of them, "
             "\"x-{000..012}.tar\"), and prints what they contain and what is broken. With -o, --dump or --json it "
             "also shows the first pictures of an epoch exactly as training gets them: order and augmentation depend "
             "only on seed, epoch and picture.",
    .examples = "  imago data DIR -o sheet.png\n"
                "  imago data DIR --augment dino -s 1 --epoch 3 -o sheet.png --json drawn.json\n"
                "  imago data \"train-{000..012}.tar\" --order listed --dump tensors.safetensors",
};
