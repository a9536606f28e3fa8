/* sets.c: see sets.h. */
#include "models/eval/sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/text/carried_lists.h"
#include "models/eval/evaluate.h"

typedef struct known {                                         /* a set by its name                                   */
    const char *name;
    bool numbered;                                             /* folders 0 to 999; else wnids                        */
    bool subset;                                               /* only the logits of its list count                   */
    im_imagenet list;                                          /* which wnids its folders may have                    */
} known;
static const known sets[] = {
    { "imagenet", false, false, IM_IMAGENET_1K }, { "imagenet-v2", true, false, IM_IMAGENET_1K },
    { "imagenet-sketch", false, false, IM_IMAGENET_1K }, { "imagenet-a", false, true, IM_IMAGENET_A },
    { "imagenet-r", false, true, IM_IMAGENET_R }, { "imagenet-o", false, true, IM_IMAGENET_O }
};

typedef char wnids[IM_IMAGENET_CLASSES][IM_WNID_BYTES];

static int place_of(const char *wnid, wnids list, int n)       /* list is sorted; -1: not there                       */
{
    int lo = 0, hi = n;
    while (lo < hi) {
        int mid = (lo + hi) / 2, d = strcmp(wnid, list[mid]);
        if (!d) return mid;
        if (d < 0) hi = mid;
        else lo = mid + 1;
    }
    return -1;
}

/* Where each of the 1000 classes stands among the classifier's, -1: it has it not. */
static bool place_classes(im_ctx *c, const im_classifier_info *info, wnids all, int place[IM_IMAGENET_CLASSES])
{
    int found = 0;
    for (int i = 0; i < IM_IMAGENET_CLASSES; i++) place[i] = info->n_names ? -1 : i;
    for (int k = 0; k < info->n_names; k++) {
        int i = place_of(info->names[k], all, IM_IMAGENET_CLASSES);
        if (i >= 0) place[i] = k;
        found += i >= 0;
    }
    if (!info->n_names && info->config.classes != IM_IMAGENET_CLASSES)
        return im_fail(c, "%s: does not tell the names of its %d classes; wanted a run of `imago train resnet` on wnid "
                       "folders, or the 1000 classes of ImageNet", info->path, info->config.classes);
    return found || !info->n_names ||
           im_fail(c, "%s: not one of its %d classes is a wnid of ImageNet; the first is \"%s\"; wanted a classifier that "
                      "was trained on wnid folders", info->path, info->n_names, info->names[0]);
}

/* The class of a folder among the 1000; -1 with an error. */
static int class_of(im_ctx *c, const known *k, const im_dataset *d, const char *folder, wnids all, wnids list, int n)
{
    char *end;
    if (k->numbered) {
        long i = strtol(folder, &end, 10);
        if (*folder >= '0' && *folder <= '9' && !*end && i < IM_IMAGENET_CLASSES) return (int)i;
        im_fail(c, "%s: its folder \"%s\" is not a number below 1000; wanted the folders of %s, 0 to 999", d->path, folder,
                k->name);
        return -1;
    }
    if (place_of(folder, list, n) >= 0) return place_of(folder, all, IM_IMAGENET_CLASSES);
    im_fail(c, "%s: its folder \"%s\" is none of the %d classes of %s; wanted folders named by wnid", d->path, folder, n,
            k->name);
    return -1;
}

static void drop_others(im_dataset *d, const int *label, int64_t *left_out)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < d->count; i++) {
        int was = d->samples[i].label, is = was < 0 ? -1 : label[was];
        if (is < 0) continue;
        d->samples[kept] = d->samples[i];
        d->samples[kept++].label = is;
    }
    *left_out = d->count - kept;
    d->count = kept;
}

static bool fit(im_ctx *c, const known *k, im_dataset *d, const im_classifier_info *info, wnids all, wnids list,
                im_fit *out)
{
    int place[IM_IMAGENET_CLASSES];
    im_imagenet_wnids(IM_IMAGENET_1K, all, NULL);
    int n = im_imagenet_wnids(k->list, list, NULL), *label = calloc((size_t)d->n_classes + 1, sizeof *label);
    bool ok = (label || im_fail(c, "out of memory for a map of labels")) && place_classes(c, info, all, place);
    for (int i = 0; ok && i < d->n_classes; i++) {
        int at = class_of(c, k, d, d->classes[i], all, list, n);
        ok = at >= 0;
        if (ok) label[i] = place[at];
        out->in_common += ok && label[i] >= 0;
    }
    if (ok && !out->in_common)
        ok = im_fail(c, "%s: has no class that %s was trained on", d->path, info->path);
    if (ok && k->subset && !(out->allowed = calloc((size_t)info->config.classes, 1)))
        ok = im_fail(c, "out of memory for a map of labels");
    for (int i = 0; ok && k->subset && i < n; i++) {
        int at = place[place_of(list[i], all, IM_IMAGENET_CLASSES)];
        if (at >= 0) out->allowed[at] = 1;
    }
    if (ok) drop_others(d, label, &out->left_out);
    if (ok && !d->count) ok = im_fail(c, "%s: holds no picture of a class that %s was trained on", d->path, info->path);
    free(label);
    return ok;
}

bool im_fit_set(im_ctx *c, const char *set, im_dataset *d, const im_classifier_info *info, im_fit *out)
{
    *out = (im_fit){ 0 };
    if (!im_ok(c)) return false;
    out->in_common = d->n_classes;
    if (!set || !strcmp(set, "folder"))
        return im_same_classes(c, info->path, info->config.classes, info->names, info->n_names, d);
    out->in_common = 0;
    const known *k = NULL;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (!strcmp(sets[i].name, set)) k = &sets[i];
    if (!k) return im_fail(c, "there is no set \"%s\"; there is folder, imagenet, imagenet-v2, imagenet-sketch, "
                           "imagenet-a, imagenet-r and imagenet-o", set);
    wnids *room = malloc(2 * sizeof *room);
    bool ok = room ? fit(c, k, d, info, room[0], room[1], out) : im_fail(c, "out of memory for a map of labels");
    free(room);
    return ok;
}

void im_fit_free(im_fit *f)
{
    free(f->allowed);
    *f = (im_fit){ 0 };
}
