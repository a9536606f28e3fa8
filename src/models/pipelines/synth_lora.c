/* synth_lora.c: the adapters of a set: those that im_synth_args names, which every picture has, and those that prompts
 * name, <lora:NAME:WEIGHT>. The manifest knows all of them by their hashes, so that a set goes on with the same files
 * only; a picture's row has its own. Used by synth_draw.c, synth_set.c and synth_shards.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/pipelines/request.h"
#include "models/pipelines/synth.h"

/* The names in this prompt and their hashes into s->named. */
static bool note_tags(im_ctx *c, im_synth *s, const char *prompt)
{
    im_lora_tags t;
    if (!im_lora_tags_read(c, prompt, &t)) return false;
    for (int i = 0; i < t.n && im_ok(c); i++) {
        if (json_object_get(s->named, t.v[i].name)) continue;
        const char *hash = im_sd_tag_hash(s->sd, &t.v[i]);
        if (hash && json_object_set_new(s->named, t.v[i].name, json_string(hash)))
            im_fail(c, "<lora:%s>: the name is not UTF-8, which a manifest holds", t.v[i].name);
    }
    im_lora_tags_free(&t);
    return im_ok(c);
}

/* May a prompt have a tag? Classes and recipes have hardly ever one, and a set may have millions of prompts. */
static bool may_have_tags(const im_synth *s)
{
    if (im_prompts_captions_hash(s->prompts)) return true;
    for (int i = 0; i < s->classes.n; i++) {
        const im_class *k = &s->classes.v[i];
        if (strchr(k->name, '<') || (k->hypernym && strchr(k->hypernym, '<'))
            || (k->definition && strchr(k->definition, '<')))
            return true;
    }
    return false;
}

bool im_synth_begin_loras(im_ctx *c, im_synth *s)
{
    for (int i = 0; i < s->a.n_loras; i++)
        if (!im_sd_add_lora_text(s->sd, s->a.loras[i])) return false;
    if (s->a.lora_dir && !im_sd_lora_folder(s->sd, s->a.lora_dir)) return false;
    s->loras = im_loras_json(s->sd, NULL);
    if (!(s->named = json_object())) return im_fail(c, "out of memory for the LoRAs of a set");
    bool tags = may_have_tags(s);
    for (int64_t n = 0; tags && n < s->count && im_synth_goes_on(c); n++) {
        im_synth_picture p;
        if (im_synth_picture_at(c, s, n, &p)) note_tags(c, s, p.prompt);
        im_synth_picture_free(&p);
    }
    return im_ok(c);
}

/* Two threads make rows, and a count of references is nobody's: all of it is new. */
json_t *im_synth_loras_of(im_ctx *c, const json_t *manifest, const char *prompt)
{
    json_t *list = json_deep_copy(json_object_get(manifest, "loras"));
    const json_t *named = json_object_get(manifest, "prompt_loras");
    im_lora_tags t = { 0 };
    if (!named || !im_lora_tags_read(c, prompt, &t)) return list;
    for (int i = 0; i < t.n; i++) {
        const char *hash = json_string_value(json_object_get(named, t.v[i].name));
        if (!list) list = json_array();
        json_array_append_new(list, im_lora_json(t.v[i].name, hash ? hash : "", t.v[i].weight));
    }
    im_lora_tags_free(&t);
    return list;
}

bool im_synth_put_loras(json_t *manifest, const im_synth *s)
{
    return (!s->loras || !json_object_set(manifest, "loras", s->loras))
        && (!json_object_size(s->named) || !json_object_set(manifest, "prompt_loras", s->named));
}

static void add_words(char *out, size_t size, const char *name, double weight, const char *hash)
{
    size_t n = strlen(out);
    snprintf(out + n, size - n, "%s%.60s", n ? ", " : "", name ? name : "?");
    n = strlen(out);
    if (weight < HUGE_VAL) snprintf(out + n, size - n, " %.9g times", weight);
    n = strlen(out);
    snprintf(out + n, size - n, " (SHA-256 %.16s...)", hash ? hash : "?");
}

bool im_synth_lora_words(const char *key, json_t *list, char *out, size_t size)
{
    const char *name;
    json_t *v;
    size_t i;
    if (strcmp(key, "loras") && strcmp(key, "prompt_loras")) return false;
    snprintf(out, size, "%s", list ? "" : "none");
    json_array_foreach(list, i, v)
        add_words(out, size, json_string_value(json_object_get(v, "name")), json_number_value(json_object_get(v, "weight")),
                  json_string_value(json_object_get(v, "sha256")));
    json_object_foreach(list, name, v)
        add_words(out, size, name, HUGE_VAL, json_string_value(v));
    return true;
}
