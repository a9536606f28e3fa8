/* bench_train.c: `imago bench train`: pictures a second while a network is trained, without data, with data from memory and
 * with JPEGs, so that a loader that cannot keep up shows. The measuring is bench/training.c. */
#include <jansson.h>
#include <string.h>

#include "cli/bench_jpegs.h"
#include "cli/session.h"
#include "cli/verbs.h"

typedef struct bench_train_options {
    common_options common;
    im_bench_train_args a;
    const char *where;
    bool json;
} bench_train_options;

#define AT(field) offsetof(bench_train_options, field)
static const option options[] = {
    OPTION_CHOICE('a', "arch", "NAME", AT(a.arch), NULL, "resnet18|resnet34|resnet50|resnet101|unet-small|loader",
                  "resnet18, resnet34, resnet50 or resnet101; unet-small (64/128/192 channels, 16x16 latents); "
                  "loader (pictures only, with DINO's nine crops)"),
    OPTION_INT('b', "batch", "B", AT(a.batch), NULL, 1, 65536, "pictures at once"),
    OPTION_INT(0, "size", "PIXELS", AT(a.size), NULL, 32, 4096, "side of the pictures"),
    OPTION_CHOICE(0, "dtype", "TYPE", AT(a.dtype), NULL, "f32|bf16", "type in which products are computed"),
    OPTION_FLAG(0, "recompute", AT(a.recompute),
                "compute again what backward needs of a block, as `imago train --recompute` does"),
    OPTION_CHOICE(0, "from", "WHERE", AT(where), "all", "all|none|memory|jpeg",
                  "source of the pictures: none (the same batch again), memory (decoded), jpeg (files), or all of "
                  "them in turn"),
    OPTION_TEXT(0, "data", "DIR", AT(a.folder), NULL, "JPEGs in class folders; without it, some are made"),
    OPTION_INT('r', "rounds", "N", AT(a.rounds), NULL, 1, 10000, "number of measured steps, after one to warm up"),
    OPTION_FLAG(0, "json", AT(json), "print one JSON object per row"),
    OPTION_END
};

static void print_row(im_ctx *c, const bench_train_options *o, const im_bench_train_row *r, bool first)
{
    const im_bench_train_args *a = &o->a;
    bool loader = !strcmp(a->arch, "loader"), unet = !strcmp(a->arch, "unet-small");
    int batch = loader ? 16 : a->batch, size = unet ? 16 : a->size;
    char peak[32];
    if (o->json) {
        json_t *v = json_pack("{s:s, s:i, s:i, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:b, s:i, s:s, s:s}",
                              "arch", a->arch, "batch", batch, "size", size, "dtype", a->dtype, "data", a->data,
                              "img_per_s", r->img_per_s, "forward_ms", r->forward_ms, "backward_ms", r->backward_ms,
                              "optimiser_ms", r->optimiser_ms, "step_ms", r->step_ms, "cpu_ms_per_img", r->cpu_ms_per_img,
                              "peak_bytes", (json_int_t)r->peak_bytes, "recompute", a->recompute, "threads", im_threads(c),
                              "isa", im_device_isa(c), "commit", commit_name());
        json_dumpf(v, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(v);
    } else {
        if (first)
            printf("%-11s %5s %5s %-5s %-7s %9s %11s %11s %11s %11s %10s %9s\n", "arch", "batch", "size", "dtype", "data",
                   "img/s", "forward ms", "backward ms", "update ms", "step ms", "cpu ms/img", "peak");
        printf("%-11s %5d %5d %-5s %-7s %9.2f %11.1f %11.1f %11.1f %11.1f %10.2f %9s\n", a->arch, batch, size, a->dtype,
               a->data, r->img_per_s, r->forward_ms, r->backward_ms, r->optimiser_ms, r->step_ms, r->cpu_ms_per_img,
               bytes_text((double)r->peak_bytes, peak));
    }
    fflush(stdout);
}

/* A network of pictures has three rows; the others have one that makes sense. */
static bool wanted(const bench_train_options *o, const char *where)
{
    if (!strcmp(o->a.arch, "unet-small"))
        return !strcmp(where, "none");
    if (!strcmp(o->a.arch, "loader") && !strcmp(where, "none"))
        return false;
    return !strcmp(o->where, "all") ? strcmp(o->a.arch, "loader") || !strcmp(where, "jpeg") : !strcmp(o->where, where);
}

static void defaults(void *values)
{
    ((bench_train_options *)values)->a = im_bench_train_defaults();
}

static int run(const arguments *arguments_)
{
    static const char *const places[] = { "none", "memory", "jpeg" };
    bench_train_options *o = arguments_->values;
    im_ctx *c = session_open(&o->common);
    if (!c)
        return CLI_FAILED;
    char *made = NULL;
    int count = o->a.batch > 64 ? o->a.batch : 64;
    bool first = true;
    for (int i = 0; i < 3 && im_ok(c); i++) {
        im_bench_train_row r;
        if (!wanted(o, places[i]))
            continue;
        o->a.data = places[i];
        if (strcmp(places[i], "none") && !o->a.folder)
            o->a.folder = made = bench_jpegs_make(c, count);
        if (im_ok(c) && im_bench_train(c, &o->a, &r)) {
            print_row(c, o, &r, first);
            first = false;
        }
    }
    bench_jpegs_remove(made, count);
    return session_close(c);
}

const verb verb_bench_train = {
    .name = "bench train", .common = OPT_DEVICE, .options = options, .size = sizeof(bench_train_options), .run = run,
    .defaults = defaults,
    .summary = "measure how fast networks train here",
    .about = "Times steps of training (forward, backward and the optimiser's pass) and prints the median wall time. "
             "Pictures are always the same batch (none), decoded in memory (memory), or JPEG files of 256x256 "
             "(jpeg); if jpeg is slower than none, the loader starves the network. The peak is the memory of the "
             "whole process so far.",
    .examples = "  imago bench train -t 2 --json\n  imago bench train --arch unet-small --dtype bf16\n"
                "  imago bench train --arch loader --data DIR",
};
