/* dataset_metadata.c: DIR/metadata.jsonl as Hugging Face's imagefolder reads it: an object a line, "file_name" below DIR,
 * "text" the caption, "label" a class by name or number. Sets of `imago synth` have "prompt" and "class" for them. Other
 * keys are left alone. Captions in shards have the same keys.
 * https://huggingface.co/docs/datasets/image_dataset */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/sets/dataset_parts.h"
#include "data/files/file.h"

/* The text of a key, or NULL; a whole number counts as its digits where `numbers`. */
static bool text_of(im_gather *g, const char *where, const json_t *object, const char *key, bool numbers,
                    const char **out)
{
    const json_t *v = json_object_get(object, key);
    char digits[32];
    if (!v || json_is_null(v)) return true;
    if (json_is_string(v)) *out = im_texts_add(g->c, g->d->texts, json_string_value(v), strlen(json_string_value(v)));
    else if (numbers && json_is_integer(v) && json_integer_value(v) >= 0) {
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(v));
        *out = im_texts_add(g->c, g->d->texts, digits, strlen(digits));
    } else
        return im_fail(g->c, "%s: \"%s\" is no text%s", where, key, numbers ? " and no number of a class" : "");
    return *out != NULL;
}

/* What only sets of `imago synth` call so; under these names anything may stand in others. */
static bool synthetic(im_gather *g, const char *where, const json_t *j, const char **caption, const char **label)
{
    const json_t *prompt = json_object_get(j, "prompt"), *class = json_object_get(j, "class");
    return (*caption || !json_is_string(prompt) || text_of(g, where, j, "prompt", false, caption)) &&
           (*label || !json_is_string(class) || text_of(g, where, j, "class", false, label));
}

bool im_caption_json(im_gather *g, const char *where, const char *text, size_t bytes, const char **file_name,
                     const char **caption, const char **label)
{
    json_error_t e;
    json_t *j = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    if (!j) return im_fail(g->c, "%s: column %d: is no valid JSON: %s", where, e.column, e.text);
    bool ok = json_is_object(j) || im_fail(g->c, "%s: is no JSON object; wanted { \"text\": \"...\", ... }", where);
    ok = ok && (!file_name || text_of(g, where, j, "file_name", false, file_name)) &&
         text_of(g, where, j, "text", false, caption) &&
         (*caption || text_of(g, where, j, "caption", false, caption)) &&
         text_of(g, where, j, "label", true, label) && synthetic(g, where, j, caption, label);
    json_decref(j);
    return ok;
}

static bool leaves_folder(const char *name)                    /* absolute, or through ".."                           */
{
    if (*name == '/') return true;
    for (const char *p = name; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/')) return true;
    }
    return false;
}

typedef struct absent { const char **names; int64_t n, cap; } absent;

static bool add_line(im_gather *g, const char *where, const char *text, size_t bytes, absent *gone)
{
    im_dataset *d = g->d;
    const char *name = NULL, *caption = NULL, *label = NULL;
    if (!im_caption_json(g, where, text, bytes, &name, &caption, &label)) return false;
    if (!name || !*name) return im_fail(g->c, "%s: \"file_name\" is missing; add it", where);
    if (leaves_folder(name))
        return im_fail(g->c, "%s: \"file_name\" is %.200s; wanted a name inside %s", where, name, d->path);
    if (!im_named_as_picture(name))
        return im_fail(g->c, "%s: \"file_name\" is %.200s; wanted a .jpg, .jpeg or .png file", where, name);
    char *path = im_join(g->c, d->path, name);
    struct stat st;
    int err = !path ? ENOMEM : stat(path, &st) ? errno : 0;
    free(path);
    if (err == ENOENT || err == ENOTDIR) {
        if (gone->n == gone->cap) {
            gone->cap = gone->cap ? 2 * gone->cap : 16;
            const char **names = realloc(gone->names, (size_t)gone->cap * sizeof *names);
            if (!names) return im_fail(g->c, "%s: out of memory for the names of missing files", d->path);
            gone->names = names;
        }
        gone->names[gone->n++] = name;
        return true;
    }
    if (err) return im_ok(g->c) && im_gather_broken(g, name, "cannot be read: %s", strerror(err));
    if (!S_ISREG(st.st_mode)) return im_gather_broken(g, name, "is no file");
    return im_gather_add(g,
                         (im_sample){ .name = name,
                                      .caption = caption,
                                      .label = -1,
                                      .shard = -1,
                                      .bytes = (uint64_t)st.st_size,
                                      .changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec },
                         label);
}

bool im_gather_metadata(im_gather *g)
{
    size_t bytes;
    char *path = im_join(g->c, g->d->path, "metadata.jsonl");
    char *text = path ? im_read_file(g->c, path, IM_SET_LIST_BYTES, &bytes) : NULL, *end;
    absent gone = { 0 };
    bool ok = text != NULL;
    int line = 1;
    for (char *p = text; ok && p < text + bytes; p = end + 1, line++) {
        end = memchr(p, '\n', (size_t)(text + bytes - p));
        if (!end) end = text + bytes;
        size_t n = (size_t)(end - p);
        while (n && strchr(" \t\r", p[n - 1]) && p[n - 1]) n--;
        if (!n) continue;
        size_t room = strlen(path) + 40;
        char *where = malloc(room);
        if (!where) ok = im_fail(g->c, "%s: out of memory; close other programs", path);
        else snprintf(where, room, "%s: line %d", path, line);
        ok = ok && add_line(g, where, p, n, &gone);
        free(where);
    }
    if (ok && gone.n) {
        char all[3000];
        im_name_all(all, sizeof all, gone.names, gone.n);
        ok = im_fail(g->c, "%s: %lld of the files that it lists are not there: %s", path, (long long)gone.n, all);
    }
    free(gone.names);
    free(text);
    free(path);
    return ok;
}
