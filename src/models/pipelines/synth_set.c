/* synth_set.c: the folder of a synthetic set and its manifest.
 *
 *     SET/manifest.json     all settings that decide about a picture's bits, and the classes; at the end, too, how many
 *                           pictures there are and the SHA-256 of metadata.jsonl: then the set is finished
 *     SET/metadata.jsonl    at the end: a JSON object a picture
 *     SET/dropped.jsonl     at the end, where pictures were dropped: which, and why
 *     SET/CLASS/INDEX.EXT   pictures, or SET/NNNNNN.tar with them
 *     SET/.parts            while it is drawn: who is at work (synth_claims.c)
 *     SET/.pictures         while it is drawn, for shards: pictures of those that are not full yet
 *
 * Every file appears under its name when it is whole. A picture that is there is done: there is no other state, and so a
 * run may end at any instant, and any number of them may share a set. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <dirent.h>

#include "data/files/fields.h"
#include "data/files/file.h"
#include "data/files/json.h"
#include "data/images/mark.h"
#include "models/pipelines/synth.h"

static const char MANIFEST[] = "manifest.json";
enum { MANIFEST_BYTES = 256 << 20, SAID = 3000 };

/* ---------------------------------------------------------------- the manifest */

static json_t *classes_json(const im_class_list *l)
{
    json_t *list = json_array();
    for (int i = 0; list && i < l->n; i++) {
        const im_class *k = &l->v[i];
        json_t *row = json_pack("{s:s, s:s, s:s*, s:s*}", "class", k->key, "name", k->name, "hypernym", k->hypernym,
                                "definition", k->definition);
        json_array_append_new(list, row);
    }
    return list;
}

/* "2", "1,2,7.5", "1.5:4": one text for one meaning. */
static void guidance_text(const im_guidance *g, char *out, size_t size)
{
    *out = '\0';
    for (int i = 0; i < g->n; i++) {
        size_t have = strlen(out);
        snprintf(out + have, size - have, "%s%.9g", !i ? "" : g->range ? ":" : ",", g->v[i]);
    }
}

im_origin im_synth_mark(const im_synth *s)
{
    return s->a.no_mark ? IM_ORIGIN_UNSAID : s->inits ? IM_ORIGIN_COMPOSITE : IM_ORIGIN_MODEL;
}

static json_t *manifest_of(im_ctx *c, const im_synth *s)
{
    char guidance[IM_GUIDANCES * 16], version[40];
    guidance_text(&s->guidance, guidance, sizeof guidance);
    snprintf(version, sizeof version, "imago %s", IM_VERSION);
    const im_synth_args *a = &s->a;
    json_t *m = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:s, s:i, s:i, s:s}", "made_by", version, "model",
                          s->model_name, "model_hash", s->model_hash, "arithmetic", s->arithmetic, "recipe",
                          im_prompts_recipe(s->prompts), "guidance", guidance, "seed", (json_int_t)a->seed, "per_class",
                          (json_int_t)a->per_class, "steps", a->steps, "scheduler", s->scheduler, "size", s->size,
                          "save_size", s->save_size, "format", a->format);
    if (m && im_prompts_captions_hash(s->prompts))
        json_object_set_new(m, "captions_hash", json_string(im_prompts_captions_hash(s->prompts)));
    if (m && !strcmp(a->format, "jpeg")) json_object_set_new(m, "quality", json_integer(a->quality));
    if (m && im_synth_mark(s))                                 /* sets of before there were marks have no such key     */
        json_object_set_new(m, "mark", json_string(s->inits ? IM_MARK_COMPOSITE : IM_MARK_MODEL));
    if (m) json_object_set_new(m, "layout", json_string(a->layout));
    if (m && im_synth_sharded(s)) json_object_set_new(m, "shard_size", json_integer(a->shard_size));
    if (m && s->inits) {
        json_object_set_new(m, "init_hash", json_string(s->init_hash));
        json_object_set_new(m, "strength", json_real(im_decimal(a->strength)));
    }
    if (m && a->eta > 0) json_object_set_new(m, "eta", json_real(im_decimal(a->eta)));
    if (m && a->dedup) json_object_set_new(m, "dedup", json_integer(a->dedup));
    if (m && a->filter) {
        json_object_set_new(m, "filter", json_string(a->filter));
        json_object_set_new(m, "keep", json_real(a->keep));
    }
    if (m) json_object_set_new(m, "classes", classes_json(&s->classes));
    if (m && !im_synth_put_loras(m, s)) {
        json_decref(m);
        m = NULL;
    }
    if (!m) im_fail(c, "%s: its manifest cannot be made: out of memory", a->out);
    return m;
}

static bool write_manifest(im_ctx *c, const im_synth *s, const json_t *m, bool force)
{
    char *path = im_join(c, s->a.out, MANIFEST), *text = json_dumps(m, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    size_t n = text ? strlen(text) : 0;
    bool ok = path && text && im_write_file(c, path, text, n, force);
    if (!text) im_fail(c, "%s: its manifest cannot be written: out of memory", s->a.out);
    free(text);
    free(path);
    return ok;
}

json_t *im_synth_read_manifest(im_ctx *c, const char *set)
{
    char *path = im_join(c, set, MANIFEST);
    json_t *m = NULL;
    if (path && im_is_file(path)) {
        im_json j = { 0 };
        if (im_json_load(c, &j, path, MANIFEST_BYTES)) m = json_incref(j.value);
        im_json_close(&j);
    }
    free(path);
    return m;
}

bool im_synth_finished(const json_t *manifest)
{
    return json_object_get(manifest, "metadata_hash") != NULL;
}

/* The file has nine digits of a number, which are all of a float's. */
static bool same_value(const json_t *there, const json_t *here)
{
    if (json_is_real(there) && json_is_real(here)) return (float)json_real_value(there) == (float)json_real_value(here);
    return json_equal(there, here);
}

/* Says what of two manifests differs; true where nothing does. */
static bool same_settings(im_ctx *c, const im_synth *s, json_t *there, json_t *here)
{
    const char *key;
    json_t *v;
    char said[SAID] = "";
    json_object_foreach(here, key, v) {
        json_t *w = json_object_get(there, key);
        if (same_value(w, v)) continue;
        bool whole = !strcmp(key, "classes");
        char one[600], other[600];
        if (im_synth_lora_words(key, w, one, sizeof one) && im_synth_lora_words(key, v, other, sizeof other)) {
            size_t at = strlen(said);
            snprintf(said + at, sizeof said - at, "%s%s: %s there and %s here", at ? "; " : "", key, one, other);
            continue;
        }
        char *x = w && !whole ? json_dumps(w, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
        char *y = whole ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        size_t have = strlen(said);
        if (whole) snprintf(said + have, sizeof said - have, "%sthe classes are others", have ? "; " : "");
        else snprintf(said + have, sizeof said - have, "%s%s is %.100s there and %.100s here", have ? "; " : "", key,
                      x ? x : "not given", y ? y : "?");
        free(x);
        free(y);
    }
    json_object_foreach(there, key, v) {
        size_t have = strlen(said);
        if (!json_object_get(here, key) && strcmp(key, "pictures") && strcmp(key, "metadata_hash"))
            snprintf(said + have, sizeof said - have, "%s%s is given there and not here", have ? "; " : "", key);
    }
    return !*said || im_fail(c, "%s: was begun with other settings: %s; ask for the same, or choose another folder",
                             s->a.out, said);
}

/* Nothing of anybody else lies in a folder without a manifest. */
static bool check_empty(im_ctx *c, const char *path)
{
    char *manifest = im_join(c, path, MANIFEST);
    bool ok = manifest != NULL, begun = ok && im_is_file(manifest);
    free(manifest);
    DIR *d = ok && !begun ? opendir(path) : NULL;
    for (struct dirent *e; ok && d && (e = readdir(d)); )
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strcmp(e->d_name, ".parts")
            && strncmp(e->d_name, MANIFEST, strlen(MANIFEST)))
            ok = im_fail(c, "%s: holds %s and no manifest.json, so it is no set that `imago synth` began; choose an empty "
                            "folder, or a new one", path, e->d_name);
    if (d) closedir(d);
    return ok;
}

bool im_synth_open_set(im_ctx *c, im_synth *s)
{
    json_t *here = manifest_of(c, s), *there = NULL;
    bool ok = here && im_make_folder(c, s->a.out) && check_empty(c, s->a.out) && im_synth_lock(c, s);
    if (ok) there = im_synth_read_manifest(c, s->a.out);
    ok = ok && im_ok(c);
    if (ok && !there) ok = write_manifest(c, s, here, false);
    else if (ok) ok = same_settings(c, s, there, here);
    s->finished = there && im_synth_finished(there);
    ok = ok && im_synth_claim(c, s);
    if (ok) im_synth_others(c, s);
    else if (s->finished) im_synth_leave(c, s);
    im_synth_unlock(s);
    json_decref(there);
    s->manifest = here;
    return im_ok(c);
}

bool im_synth_commit(im_ctx *c, im_synth *s, int64_t pictures, const char *metadata_hash)
{
    json_t *m = json_copy(s->manifest);
    if (!m) return im_fail(c, "%s: its manifest cannot be made: out of memory", s->a.out);
    json_object_set_new(m, "pictures", json_integer(pictures));
    json_object_set_new(m, "metadata_hash", json_string(metadata_hash));
    bool ok = write_manifest(c, s, m, true);
    json_decref(m);
    return ok;
}

/* ---------------------------------------------------------------- settings of a set that was begun */

struct im_synth_settings { json_t *manifest; };

static void recall_text(const json_t *m, const char *key, const char **out)
{
    const char *text = json_string_value(json_object_get(m, key));
    if (text) *out = text;
}

static int recall_int(const json_t *m, const char *key, int fallback)
{
    json_int_t v = json_is_integer(json_object_get(m, key)) ? json_integer_value(json_object_get(m, key)) : fallback;
    return v < 0 ? 0 : v > INT_MAX ? INT_MAX : (int)v;
}

im_synth_settings *im_synth_recall(im_ctx *c, im_synth_args *a, bool (*given)(void *arg, const char *option), void *arg)
{
    json_t *m = im_synth_read_manifest(c, a->out);
    if (!m) return NULL;
    im_synth_settings *settings = calloc(1, sizeof *settings);
    if (!settings) {
        im_fail(c, "%s: out of memory for its manifest", a->out);
        json_decref(m);
        return NULL;
    }
    settings->manifest = m;
    if (!given(arg, "recipe")) recall_text(m, "recipe", &a->recipe);
    if (!given(arg, "guidance")) recall_text(m, "guidance", &a->guidance);
    if (!given(arg, "scheduler")) recall_text(m, "scheduler", &a->scheduler);
    if (!given(arg, "eta")) a->eta = (float)json_number_value(json_object_get(m, "eta"));
    if (!given(arg, "format")) recall_text(m, "format", &a->format);
    if (!given(arg, "layout")) recall_text(m, "layout", &a->layout);
    if (!given(arg, "seed")) a->seed = (uint64_t)json_integer_value(json_object_get(m, "seed"));
    if (!given(arg, "per-class")) a->per_class = recall_int(m, "per_class", 0);
    if (!given(arg, "steps")) a->steps = recall_int(m, "steps", a->steps);
    if (!given(arg, "size")) a->size = recall_int(m, "size", a->size);
    if (!given(arg, "save-size")) a->save_size = recall_int(m, "save_size", a->save_size);
    if (!given(arg, "quality")) a->quality = recall_int(m, "quality", a->quality);
    if (!given(arg, "no-mark")) a->no_mark = !json_object_get(m, "mark");
    if (!given(arg, "shard-size")) a->shard_size = recall_int(m, "shard_size", a->shard_size);
    if (!given(arg, "dedup")) a->dedup = recall_int(m, "dedup", 0);
    if (!given(arg, "filter")) {
        recall_text(m, "filter", &a->filter);
        if (a->filter) a->keep = json_number_value(json_object_get(m, "keep"));
    }
    if (!given(arg, "strength") && json_is_real(json_object_get(m, "strength")))
        a->strength = (float)json_real_value(json_object_get(m, "strength"));
    return settings;
}

void im_synth_settings_free(im_synth_settings *settings)
{
    if (!settings) return;
    json_decref(settings->manifest);
    free(settings);
}

/* The classes of a set that was begun. */
bool im_synth_recall_classes(im_ctx *c, const char *set, im_class_list *out)
{
    json_t *m = im_synth_read_manifest(c, set), *row;
    size_t i;
    bool ok = m || (im_ok(c) && im_fail(c, "%s: holds no manifest.json of a set that was begun; say what to draw with "
                                           "--classes", set));
    json_array_foreach(json_object_get(m, "classes"), i, row) {
        const char *text[4] = { "class", "name", "hypernym", "definition" };
        for (int k = 0; k < 4; k++) text[k] = json_string_value(json_object_get(row, text[k]));
        ok = ok && ((text[0] && text[1]) || im_fail(c, "%s/%s: a class has no name: the file was changed", set, MANIFEST))
          && im_class_list_add(c, out, set, text[0], text[1], text[2], text[3]);
    }
    ok = ok && im_class_list_check(c, out, set);
    json_decref(m);
    return ok;
}
