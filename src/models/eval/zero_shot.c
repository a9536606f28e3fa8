/* zero_shot.c: see zero_shot.h (Radford et al. 2021, arXiv 2103.00020, section 3.1). */
#include "models/eval/zero_shot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/text/class_list.h"

static const float SMALLEST_NORM = 1e-12f;

static int by_key(const void *a, const void *b)
{
    return strcmp(((const im_class *)a)->key, ((const im_class *)b)->key);
}

/* "a photo of a %s." with the name in its place, malloc'd. */
static char *text_of(im_ctx *c, const char *form, const char *name)
{
    const char *at = strstr(form, "%s");
    size_t n = strlen(form) + strlen(name) + 1;
    char *text = at ? malloc(n) : NULL;
    if (!at) im_fail(c, "\"%s\": wanted one %%s in it, the place of a class's name", form);
    else if (!text) im_fail(c, "out of memory for a text");
    else snprintf(text, n, "%.*s%s%s", (int)(at - form), form, name, at + 2);
    return text;
}

static bool read_names(im_ctx *c, const char *names, const char *form, im_zero_shot *z, im_classifier_info *info)
{
    im_class_list l = { .n = 0 };
    bool ok = im_class_list_read(c, names, "first", &l);
    if (ok) qsort(l.v, (size_t)l.n, sizeof *l.v, by_key);                      /* as folders of a set are sorted      */
    char **texts = calloc((size_t)l.n + 1, sizeof *texts);
    info->names = calloc((size_t)l.n + 1, sizeof *info->names);
    z->texts = malloc(((size_t)l.n + 1) * (size_t)im_clip_pair_width(z->pair) * sizeof *z->texts);
    if (ok && (!texts || !info->names || !z->texts)) ok = im_fail(c, "%s: out of memory for %d classes", names, l.n);
    for (int i = 0; ok && i < l.n; i++) {
        texts[i] = text_of(c, form, l.v[i].name);
        info->names[i] = im_copy_text(c, l.v[i].key, strlen(l.v[i].key));
        info->n_names = i + 1;
        ok = texts[i] && info->names[i];
    }
    ok = ok && im_clip_pair_texts(c, z->pair, (const char *const *)texts, l.n, z->texts);
    z->classes = info->config.classes = l.n;
    for (int i = 0; texts && i < l.n; i++) free(texts[i]);
    free(texts);
    im_class_list_free(&l);
    return ok;
}

bool im_zero_shot_open(im_ctx *c, const char *folder, const char *names, const char *form, im_zero_shot *out,
                       im_classifier_info *info)
{
    *out = (im_zero_shot){ .classes = 0 };
    *info = (im_classifier_info){ .size = 0 };
    if (!(out->pair = im_clip_pair_open(c, folder))) return false;
    const char *path = im_clip_pair_path(out->pair);
    info->size = im_clip_pair_size(out->pair);
    info->path = im_copy_text(c, path, strlen(path));
    return info->path && (!names || read_names(c, names, form, out, info));
}

void im_zero_shot_free(im_zero_shot *z)
{
    im_clip_pair_free(z->pair);
    free(z->texts);
    *z = (im_zero_shot){ .classes = 0 };
}

/* in: pictures, zeros, and the texts where there are any -> (B, width + classes) */
static im_tensor *see(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    const im_zero_shot *z = arg;
    im_tensor *f = im_clip_image_forward(c, im_clip_pair_image(z->pair), in[0], in[1]);
    f = im_normalize(c, f, SMALLEST_NORM);                                                 /* (B, width)              */
    if (n_in < 3) return f;
    im_tensor *y = im_linear(c, f, in[2], NULL, NULL, IM_ACT_NONE);                        /* (B, classes)            */
    return im_concat(c, f, im_scale(c, y, (float)im_clip_pair_scale(z->pair)));
}

bool im_zero_shot_run(im_ctx *c, const im_zero_shot *z, const im_dataset *d, const im_run_args *a, im_seen_fn fn, void *arg,
                      int64_t *broken)
{
    im_run_args run = *a;
    im_run_net net = { .fn = see, .arg = (void *)z, .width = im_clip_pair_width(z->pair), .classes = z->classes };
    im_clip_pair_colours(z->pair, &net.mean, &net.deviation);
    run.size = im_clip_pair_size(z->pair);
    run.whole = true;
    int32_t *none = calloc((size_t)run.batch, sizeof *none);
    if (!none) return im_fail(c, "out of memory for a batch of %d pictures", run.batch);
    im_scope_push(c);
    net.more[net.n_more++] = im_from(c, IM_I32, 2, (int64_t[]){ run.batch, 1 }, none);
    if (z->texts)
        net.more[net.n_more++] = im_from(c, IM_F32, 2, (int64_t[]){ z->classes, net.width }, z->texts);
    bool ok = im_ok(c) && im_run_pictures(c, &net, d, &run, fn, arg, broken);
    im_scope_pop(c);
    free(none);
    return ok;
}

typedef struct rows { float *x; int width; } rows;

static bool take(void *arg, const im_seen *s)
{
    const rows *r = arg;
    memcpy(r->x + s->index * r->width, s->features, (size_t)r->width * sizeof *r->x);
    return true;
}

float *im_zero_shot_features(im_ctx *c, const im_zero_shot *z, const im_dataset *d, const im_run_args *a)
{
    rows r = { .width = im_clip_pair_width(z->pair) };
    im_run_args run = *a;
    run.strict = true;
    r.x = malloc(((size_t)d->count + 1) * (size_t)r.width * sizeof *r.x);
    if (!r.x) im_fail(c, "%s: out of memory for the features of %lld pictures", d->path, (long long)d->count);
    if (r.x && im_zero_shot_run(c, z, d, &run, take, &r, NULL)) return r.x;
    free(r.x);
    return NULL;
}
