/* classifier_file.c: finds out what a file of weights is, and loads it (classifier_file.h). Used by evaluate.c and
 * train_resnet.c. */
#include "models/checkpoints/classifier_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "data/files/safetensors.h"
#include "models/checkpoints/run_files.h"
#include "models/checkpoints/state_dict.h"

/* How many of fmt's names (with a number from 0 on) the file has. */
static int count(const im_safetensors *s, const char *fmt_head, const char *fmt_tail)
{
    char name[96];
    for (int i = 0; ; i++) {
        snprintf(name, sizeof name, "%s%d%s", fmt_head, i, fmt_tail);
        if (!im_st_find(s, name))
            return i;
    }
}

static int rows(const im_safetensors *s, const char *name)
{
    const im_st_entry *e = im_st_find(s, name);
    return e && e->ndim == 2 && e->shape[0] <= INT32_MAX ? (int)e->shape[0] : 0;
}

/* "layer1.0.conv1.weight", as torchvision has it, of a network with that many blocks in each of four layers? */
static bool in_a_block(const char *name, const int blocks[4])
{
    static const char *const parts[] = { "conv1.weight", "conv2.weight", "conv3.weight", "downsample.0.weight" };
    static const char *const norms[] = { "bn1.", "bn2.", "bn3.", "downsample.1." };
    char *rest;
    long layer = strtol(name + strlen("layer"), &rest, 10);
    if (layer < 1 || layer > 4 || *rest != '.')
        return false;
    long block = strtol(rest + 1, &rest, 10);
    if (block < 0 || block >= blocks[layer - 1] || *rest++ != '.')
        return false;
    for (int i = 0; i < 4; i++)
        if (!strcmp(rest, parts[i]) || !strncmp(rest, norms[i], strlen(norms[i])))
            return true;
    return false;
}

/* A network that has more than ours under our names gives other results: its tensors are not left out as others are. */
static bool is_plain(im_ctx *c, const im_safetensors *s, const char *path, const char *arch, const int blocks[4])
{
    const im_st_entry *e;
    bool ok = !im_st_find(s, "conv1.bias");
    const char *found = "conv1.bias";
    for (int i = 0; ok && (e = im_st_at(s, i)); i++)
        if (!strncmp(e->name, "layer", 5) && !in_a_block(e->name, blocks)) {
            ok = false;
            found = e->name;
        }
    for (int l = 0; ok && l < 4; l++) {
        char last[96];
        snprintf(last, sizeof last, "layer%d.%d.conv1.weight", l + 1, blocks[l] - 1);
        if (!im_st_find(s, last))
            return im_fail(c, "%s: has no %s, as %s has; wanted one of resnet18, 34, 50, 101 as torchvision has them", path,
                           last, arch);
    }
    return ok || im_fail(c, "%s: has %s, which %s has not: it is another network; wanted one of resnet18, 34, 50, 101 as "
                         "torchvision has them", path, found, arch);
}

bool im_classifier_infer(im_ctx *c, const im_safetensors *s, const char *path, im_classifier_config *cfg)
{
    static const struct { const char *name; bool bottleneck; int blocks[4]; } known[] = {
        { "resnet18", false, { 2, 2, 2, 2 } }, { "resnet34", false, { 3, 4, 6, 3 } },
        { "resnet50", true, { 3, 4, 6, 3 } }, { "resnet101", true, { 3, 4, 23, 3 } }
    };
    const int *blocks = NULL;
    const im_st_entry *stem = im_st_find(s, "conv1.weight");
    bool bottleneck = im_st_find(s, "layer1.0.conv3.weight");
    int third = count(s, "layer3.", ".conv1.weight");
    *cfg = (im_classifier_config){ .arch = NULL };
    for (size_t i = 0; stem && stem->ndim == 4 && i < sizeof known / sizeof *known; i++)
        if (known[i].bottleneck == bottleneck && known[i].blocks[2] == third) {
            cfg->arch = known[i].name;
            blocks = known[i].blocks;
        }
    if (!cfg->arch)
        return im_fail(c, "%s: its tensors are not those of resnet18, 34, 50 or 101 (wanted conv1.weight, "
                       "layer1.0.conv1.weight ... as torchvision names them; the first here is %s, and layer3 has %d "
                       "blocks)", path, im_st_count(s) ? im_st_at(s, 0)->name : "none", third);
    if (!is_plain(c, s, path, cfg->arch, blocks))
        return false;
    if (stem->shape[0] < 1 || stem->shape[0] > INT32_MAX)
        return im_fail(c, "%s: conv1.weight has %lld rows; wanted 1 to 2147483647", path, (long long)stem->shape[0]);
    cfg->width = (int)stem->shape[0];
    cfg->small_stem = stem->shape[2] == 3;
    cfg->classes = rows(s, "fc.weight");
    if (!cfg->classes) {
        cfg->head = IM_HEAD_COSINE;
        cfg->classes = rows(s, "head.classes.weight");
        cfg->head_layers = count(s, "head.hidden.", ".linear.weight");
    }
    return cfg->classes >= 2 || im_fail(c, "%s: has neither fc.weight nor head.classes.weight of at least 2 rows: the "
                                        "network has no classes", path);
}

bool im_classifier_read_info(im_ctx *c, const im_safetensors *s, im_classifier_info *info)
{
    const char *text = im_st_metadata(s, "config");
    im_json j = { 0 };
    if (!text)
        return true;
    bool ok = im_json_parse(c, &j, info->path, text, strlen(text)) &&
              im_json_int(c, &j, "size", IM_IF_THERE, 1, 1 << 16, &info->size);
    int n = ok ? im_json_length(c, &j, "class-names", IM_IF_THERE, 0, INT_MAX) : -1;
    const char **names = n > 0 ? calloc((size_t)n, sizeof *names) : NULL;
    ok = n >= 0;
    if (n > 0) {
        info->names = calloc((size_t)n, sizeof *info->names);
        ok = (names && info->names) || im_fail(c, "%s: out of memory for %d names of classes", info->path, n);
        ok = ok && im_json_strings(c, &j, "class-names", IM_MUST, names, n);
    }
    for (int i = 0; ok && i < n; i++)
        ok = (info->names[info->n_names++] = im_copy_text(c, names[i], strlen(names[i]))) != NULL;
    free(names);
    im_json_close(&j);
    return ok;
}

/* The newest whole checkpoint of a run, opened; *path is its name. */
static im_safetensors *newest_good(im_ctx *c, const char *run, char **path)
{
    int n;
    int64_t *steps = im_run_checkpoints(c, run, &n);
    im_safetensors *s = NULL;
    for (int i = 0; i < n && !s; i++) {
        *path = im_run_checkpoint(c, run, steps[i]);
        s = *path ? im_st_open(c, *path) : NULL;
        if (s && im_checkpoint_good(c, s))
            break;
        im_warn(c, "skipped the damaged checkpoint %s", *path ? *path : run);
        im_clear_error(c);
        im_st_close(s);
        free(*path);
        *path = NULL;
        s = NULL;
    }
    free(steps);
    if (!s)
        im_fail(c, "%s: has no model.safetensors and no good checkpoint; is it a folder that `imago train` made?", run);
    return s;
}

im_safetensors *im_classifier_file(im_ctx *c, const char *path)
{
    im_safetensors *s = im_st_open(c, path);
    if (!s || im_st_unwrap(c, s, false))
        return s;
    im_st_close(s);
    return NULL;
}

im_safetensors *im_classifier_weights(im_ctx *c, const char *path, char **found)
{
    if (!im_is_folder(path)) {
        *found = im_copy_text(c, path, strlen(path));
        return *found ? im_classifier_file(c, path) : NULL;
    }
    char *model = im_join(c, path, "model.safetensors");
    if (model && im_is_file(model)) {
        *found = model;
        return im_classifier_file(c, model);
    }
    free(model);
    return im_ok(c) ? newest_good(c, path, found) : NULL;
}

im_classifier *im_classifier_open(im_ctx *c, const char *path, im_classifier_info *info)
{
    *info = (im_classifier_info){ .size = 0 };
    if (!im_ok(c))
        return NULL;
    im_safetensors *s = im_classifier_weights(c, path, &info->path);
    im_classifier *m = NULL;
    if (s && im_classifier_read_info(c, s, info) && im_classifier_infer(c, s, info->path, &info->config))
        m = im_classifier_new(c, &info->config);
    if (m && info->n_names && info->n_names != info->config.classes)
        im_fail(c, "%s: names %d classes, but its tensors have %d", info->path, info->n_names, info->config.classes);
    im_state_rules rules = { .ours = true, .from = s && im_st_find(s, "ema.conv1.weight") ? "ema." : NULL };
    if (m && !im_state_read(im_classifier_params(m), s, info->path, IM_F32, &rules)) {
        im_classifier_free(m);
        m = NULL;
    }
    im_st_close(s);
    return m;
}

void im_classifier_info_free(im_classifier_info *info)
{
    for (int i = 0; i < info->n_names; i++)
        free(info->names[i]);
    free(info->names);
    free(info->path);
    *info = (im_classifier_info){ .size = 0 };
}
