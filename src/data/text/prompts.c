/* prompts.c: see prompts.h. */
#include "data/text/prompts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/side_json.h"
#include "data/files/sha256.h"
#include "data/files/stream.h"
#include "data/text/carried_lists.h"

/* Letters of `form`: c name, h hypernym, d definition, b scene; all else is itself. Kept apart from texts by \1. */
typedef struct recipe { const char *name, *form; } recipe;
static const recipe recipes[] = {
    { "name", "\1c" }, { "hypernym", "\1c, \1h" }, { "definition", "\1c, \1d" }, { "background", "\1c inside \1b" },
    { "hypernym-background", "\1c, \1h inside \1b" }, { "multiple", "multiple \1c" },
    { "multiple-different", "multiple different \1c" }, { NULL, NULL }
};
static const char CAPTIONS[] = "captions";
enum { CAPTION_BYTES = 1 << 30, DRAW_SCENE = 0, DRAW_GUIDANCE = 1 };

typedef struct captions { int n, cap; char **v; } captions;    /* of a class                                          */

struct im_prompts {
    const im_class_list *classes;
    const recipe *recipe;                                      /* NULL: captions                                      */
    uint64_t *hash;                                            /* (classes): of class, recipe, seed                   */
    captions *captions;                                        /* (classes), or NULL                                  */
    char captions_hash[65];
};

/* ---------------------------------------------------------------- captions */

/* The first of n fields that is a text. */
static const char *first_text(const im_side_field f[], int n)
{
    const char *found = NULL;
    for (int i = 0; !found && i < n; i++) found = f[i].kind == IM_SIDE_TEXT ? f[i].text : NULL;
    return found;
}

static bool add_caption(im_ctx *c, im_prompts *p, const char *where, const char *line, size_t bytes)
{
    enum { CLASS, LABEL, CAPTION, PROMPT, TEXT, FIELDS };
    im_side_field f[FIELDS] = { [CLASS].key = "class", [LABEL].key = "label", [CAPTION].key = "caption",
                                [PROMPT].key = "prompt", [TEXT].key = "text" };
    size_t at;
    bool ok = im_side_json(c, line, bytes, f, FIELDS, &at);
    const char *class = first_text(f, CAPTION), *text = first_text(f + CAPTION, FIELDS - CAPTION);
    int k = class ? im_class_find(p->classes, class) : -1;
    if (!ok) im_fail(c, "%s: column %zu: is not valid JSON; wanted {\"class\": ..., \"caption\": ...}", where, at + 1);
    else if (!class || !text) ok = im_fail(c, "%s: has no \"%s\"; wanted {\"class\": ..., \"caption\": ...}", where,
                                           class ? "caption" : "class");
    if (ok && k >= 0) {                                        /* captions of other classes may stand there           */
        captions *l = &p->captions[k];
        if (l->n == l->cap) {
            int cap = l->cap ? 2 * l->cap : 8;
            char **v = realloc(l->v, (size_t)cap * sizeof *v);
            if (v) l->v = v;
            if (v) l->cap = cap;
            ok = v || im_fail(c, "%s: out of memory for captions; close other programs", where);
        }
        ok = ok && (l->v[l->n] = im_copy_text(c, text, strlen(text)));
        l->n += ok;
    }
    im_side_free(f, FIELDS);
    return ok;
}

static bool read_captions(im_ctx *c, im_prompts *p, const char *path, im_sha256 *hash)
{
    size_t bytes;
    char *text = im_read_text(c, path, CAPTION_BYTES, &bytes), *end;
    bool ok = text && im_sha256_add(c, hash, text, bytes);
    int number = 1;
    for (char *line = text; ok && line < text + bytes; line = end + 1, number++) {
        char where[600];
        if (!(end = memchr(line, '\n', (size_t)(text + bytes - line)))) end = text + bytes;
        size_t n = (size_t)(end - line);
        while (n && strchr(" \t\r", line[n - 1]) && line[n - 1]) n--;
        snprintf(where, sizeof where, "%.500s, line %d", path, number);
        ok = !n || add_caption(c, p, where, line, n);
    }
    free(text);
    return ok;
}

/* files: "a.jsonl,b.jsonl" */
static bool open_captions(im_ctx *c, im_prompts *p, const char *files)
{
    im_sha256 *hash = im_sha256_new(c);
    p->captions = calloc((size_t)p->classes->n, sizeof *p->captions);
    bool ok = hash && (p->captions || im_fail(c, "out of memory for captions; close other programs"));
    if (ok && !*files) ok = im_fail(c, "--recipe captions= names no file; wanted captions=FILE[,FILE..]");
    for (const char *at = files, *end; ok && *at; at = end + (*end == ',')) {
        end = at + strcspn(at, ",");
        char *path = im_copy_text(c, at, (size_t)(end - at));
        ok = path && read_captions(c, p, path, hash);
        free(path);
    }
    if (ok) return im_sha256_finish(c, hash, p->captions_hash);
    im_sha256_free(hash);
    return false;
}

/* ---------------------------------------------------------------- opening */

static const char *part_of(const im_class *k, char letter)
{
    return letter == 'h' ? k->hypernym : letter == 'd' ? k->definition : k->name;
}

/* Names every class that lacks what the recipe says of it. */
static bool check_parts(im_ctx *c, const im_prompts *p)
{
    char names[1500] = "";
    int lacking = 0;
    char what = p->recipe && strstr(p->recipe->form, "\1h") ? 'h' : p->recipe && strstr(p->recipe->form, "\1d") ? 'd' : 'c';
    for (int k = 0; k < p->classes->n; k++) {
        const im_class *class = &p->classes->v[k];
        size_t have = strlen(names);
        if (p->captions ? p->captions[k].n > 0 : part_of(class, what) != NULL) continue;
        if (lacking++ < 20) snprintf(names + have, sizeof names - have, "%s%s", have ? ", " : "", class->key);
    }
    const char *noun = p->captions ? "caption" : what == 'h' ? "hypernym" : "definition";
    return !lacking || im_fail(c, "%d of %d classes have no %s, which the recipe %s needs: %s%s; %s", lacking,
                               p->classes->n, noun, im_prompts_recipe(p), names, lacking > 20 ? " ..." : "",
                               p->captions ? "add lines for them to the files of captions"
                                           : "write them as name | hypernym | definition, or choose another recipe");
}

static bool hash_classes(im_ctx *c, im_prompts *p, uint64_t seed)
{
    char number[32], hex[65];
    snprintf(number, sizeof number, "%llu", (unsigned long long)seed);
    if (!(p->hash = calloc((size_t)p->classes->n + 1, sizeof *p->hash)))
        return im_fail(c, "out of memory for %d classes; close other programs", p->classes->n);
    for (int k = 0; k < p->classes->n; k++) {
        const char *parts[] = { p->classes->v[k].key, im_prompts_recipe(p), number };
        im_sha256 *h = im_sha256_new(c);
        bool ok = h != NULL;
        for (int i = 0; ok && i < 3; i++) ok = im_sha256_add(c, h, parts[i], strlen(parts[i]) + 1);
        if (!ok) im_sha256_free(h);
        if (!ok || !im_sha256_finish(c, h, hex)) return false;
        hex[16] = '\0';
        p->hash[k] = strtoull(hex, NULL, 16);
    }
    return true;
}

im_prompts *im_prompts_open(im_ctx *c, const char *name, const im_class_list *classes, uint64_t seed)
{
    if (!im_ok(c)) return NULL;
    im_prompts *p = calloc(1, sizeof *p);
    if (!p) {
        im_fail(c, "out of memory for prompts; close other programs");
        return NULL;
    }
    p->classes = classes;
    for (const recipe *r = recipes; r->name; r++)
        if (!strcmp(r->name, name)) p->recipe = r;
    size_t n = strlen(CAPTIONS);
    bool ok = true, of_files = !strncmp(name, CAPTIONS, n) && name[n] == '=';
    if (!strcmp(name, CAPTIONS))
        ok = im_fail(c, "the files of captions are not named; wanted --recipe captions=FILE[,FILE..]");
    else if (of_files) ok = open_captions(c, p, name + n + 1);
    else if (!p->recipe)
        ok = im_fail(c, "there is no recipe \"%s\"; there is name, hypernym, definition, background, hypernym-background, "
                        "multiple, multiple-different and captions=FILE[,FILE..]", name);
    if (ok && check_parts(c, p) && hash_classes(c, p, seed)) return p;
    im_prompts_free(p);
    return NULL;
}

void im_prompts_free(im_prompts *p)
{
    if (!p) return;
    for (int k = 0; p->captions && k < p->classes->n; k++) {
        for (int i = 0; i < p->captions[k].n; i++) free(p->captions[k].v[i]);
        free(p->captions[k].v);
    }
    free(p->captions);
    free(p->hash);
    free(p);
}

const char *im_prompts_recipe(const im_prompts *p)
{
    return p->recipe ? p->recipe->name : CAPTIONS;
}

const char *im_prompts_captions_hash(const im_prompts *p)
{
    return p->captions ? p->captions_hash : NULL;
}

/* ---------------------------------------------------------------- one picture */

uint32_t im_prompts_seed(const im_prompts *p, int class, int64_t index)
{
    return (uint32_t)p->hash[class] + (uint32_t)index * 2654435761u;
}

char *im_prompts_text(im_ctx *c, const im_prompts *p, int class, int64_t index)
{
    const im_class *k = &p->classes->v[class];
    char scene[IM_PLACE_BYTES], *text = NULL;
    size_t size = 0;
    if (p->captions) {
        const captions *l = &p->captions[class];
        const char *caption = l->v[index % l->n];
        return im_copy_text(c, caption, strlen(caption));
    }
    FILE *f = open_memstream(&text, &size);
    for (const char *s = p->recipe->form; f && *s; s++) {
        if (*s != '\1') {
            putc(*s, f);
        } else if (*++s == 'b') {
            im_stream draw;
            im_stream_open(&draw, p->hash[class], IM_STREAM_SYNTH, (uint64_t)index, DRAW_SCENE);
            im_place((int)im_stream_below(&draw, IM_PLACES), scene);
            fputs(scene, f);
        } else {
            fputs(part_of(k, *s), f);
        }
    }
    if (f && !fclose(f)) return text;
    free(text);
    im_fail(c, "out of memory for a prompt; close other programs");
    return NULL;
}

/* ---------------------------------------------------------------- guidance */

bool im_guidance_parse(im_ctx *c, const char *text, im_guidance *out)
{
    *out = (im_guidance){ 0 };
    char end = ',', *rest;
    for (const char *p = text; end; p = rest + 1) {
        double v = strtod(p, &rest);
        if (rest == p || !isfinite(v) || v < -1000 || v > 1000 || (*rest && *rest != ',' && *rest != ':') ||
            (*rest == ':' && out->n) || (out->range && (*rest || v < out->v[0])))
            return im_fail(c, "--guidance %s: wanted a number (2.0), numbers that are used in turn (1,2,7.5), or an "
                              "interval to draw from (1.5:4), from -1000 to 1000", text);
        if (out->n == IM_GUIDANCES)
            return im_fail(c, "--guidance %s: found more than %d numbers", text, IM_GUIDANCES);
        out->v[out->n++] = v;
        end = *rest;
        out->range = out->range || end == ':';
    }
    return true;
}

double im_prompts_guidance(const im_prompts *p, const im_guidance *g, int class, int64_t index)
{
    if (!g->range) return g->v[index / (p->captions ? p->captions[class].n : 1) % g->n];   /* each caption with each  */
    im_stream draw;
    im_stream_open(&draw, p->hash[class], IM_STREAM_SYNTH, (uint64_t)index, DRAW_GUIDANCE);
    return round(1000 * (g->v[0] + (g->v[1] - g->v[0]) * im_stream_uniform(&draw))) / 1000;
}
