/* synth_plan.c: what the pictures of a synthetic set are, before one is drawn: class, prompt, seed, guidance, file. Nothing
 * is kept a picture: each is computed from its number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/pipelines/synth.h"

im_synth_args im_synth_defaults(void)
{
    return (im_synth_args){ .lemmas = "all", .recipe = "name", .guidance = "2.0", .format = "png", .layout = "folders",
                            .shard_size = 1000, .parts = 1, .dtype = IM_F32, .steps = 50, .batch = 8, .quality = 95,
                            .strength = 0.75f, .keep = 1 };
}

im_synth *im_synth_open(im_ctx *c, const im_synth_args *a)
{
    if (!im_ok(c)) return NULL;
    im_synth *s = calloc(1, sizeof *s);
    if (!s) {
        im_fail(c, "out of memory for the plan of a set; close other programs");
        return NULL;
    }
    s->a = *a;
    s->finish_fd = s->claim_fd = -1;
    bool ok = (a->classes ? im_class_list_read(c, a->classes, a->lemmas, &s->classes)
                          : im_synth_recall_classes(c, a->out, &s->classes)) &&
              (s->prompts = im_prompts_open(c, a->recipe, &s->classes, a->seed)) &&
              im_guidance_parse(c, a->guidance, &s->guidance);
    s->count = a->per_class * s->classes.n;
    if (ok) return s;
    im_synth_close(s);
    return NULL;
}

void im_synth_close(im_synth *s)
{
    if (!s) return;
    im_synth_unclaim(s);
    im_synth_unlock(s);
    im_sd_free(s->sd);
    im_dataset_free(s->inits);
    free(s->init_first);
    free(s->init_order);
    free(s->dropped);
    json_decref(s->loras);
    json_decref(s->named);
    json_decref(s->manifest);
    im_prompts_free(s->prompts);
    im_class_list_free(&s->classes);
    free(s);
}

int64_t im_synth_count(const im_synth *s)
{
    return s ? s->count : 0;
}

int64_t im_synth_part(int64_t count, int64_t i, int64_t n)    /* count i / n without overflow: count = q n + r        */
{
    return count / n * i + count % n * i / n;
}

bool im_synth_goes_on(im_ctx *c)
{
    return im_ok(c) && (!im_cancelled(c) || im_fail(c, "stopped"));
}

void im_synth_locate(const im_synth *s, int64_t n, im_synth_picture *out)
{
    int k = (int)(n % s->classes.n);
    const char *end = im_synth_ending(s);
    *out = (im_synth_picture){ .number = n, .index = n / s->classes.n, .class = k };
    out->seed = im_prompts_seed(s->prompts, k, out->index);
    out->guidance = im_prompts_guidance(s->prompts, &s->guidance, k, out->index);
    if (im_synth_sharded(s))
        snprintf(out->file, sizeof out->file, "%06lld.tar/%09lld.%s", (long long)(n / s->a.shard_size), (long long)n, end);
    else
        snprintf(out->file, sizeof out->file, "%s/%06lld.%s", s->classes.v[k].folder, (long long)out->index, end);
}

bool im_synth_picture_at(im_ctx *c, const im_synth *s, int64_t n, im_synth_picture *out)
{
    im_synth_locate(s, n, out);
    return (out->prompt = im_prompts_text(c, s->prompts, out->class, out->index)) != NULL;
}

void im_synth_picture_free(im_synth_picture *p)
{
    free(p->prompt);
    *p = (im_synth_picture){ 0 };
}

json_t *im_synth_row(im_ctx *c, const im_synth *s, const im_synth_picture *p)
{
    json_t *row = json_pack("{s:s, s:I, s:s, s:s, s:I, s:f}", "class", s->classes.v[p->class].key, "index",
                            (json_int_t)p->index, "recipe", im_prompts_recipe(s->prompts), "prompt", p->prompt, "seed",
                            (json_int_t)p->seed, "guidance", p->guidance);
    if (!row) im_fail(c, "%s: its row cannot be made: out of memory", p->file);
    return row;
}

char *im_synth_dump(im_ctx *c, json_t *row)
{
    char *text = row ? json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (!text) im_fail(c, "out of memory for a row of the set; close other programs");
    json_decref(row);
    return text;
}

char *im_synth_line(im_ctx *c, const im_synth *s, int64_t n)
{
    im_synth_picture p;
    if (!im_synth_picture_at(c, s, n, &p)) return NULL;
    json_t *row = im_synth_row(c, s, &p);
    if (row) json_object_set_new(row, "file", json_string(p.file));
    char *text = row ? im_synth_dump(c, row) : NULL;
    im_synth_picture_free(&p);
    return text;
}
