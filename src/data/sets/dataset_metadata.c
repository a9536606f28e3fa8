/* dataset_metadata.c: DIR/metadata.jsonl as Hugging Face's imagefolder reads it: an object a line, "file_name" below DIR,
 * "text" the caption, "label" a class by name or number; or the same as metadata.csv (dataset_csv.c). Sets of `imago synth`
 * have "prompt" and "class" for them. Other keys are left alone, whatever Python wrote there (side_json.h); a text or label
 * that is none, NaN say, is as good as absent, and said once for the set. Captions in shards have the same keys.
 * https://huggingface.co/docs/datasets/image_dataset */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/sets/dataset_parts.h"
#include "data/files/file.h"
#include "data/files/side_json.h"
#include "data/files/utf8.h"

/* A JSON object of the set, or a field of one, is not what was wanted: counted, and the first one said. */
static bool note_odd(im_gather *g, const char *where, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool note_odd(im_gather *g, const char *where, const char *fmt, ...)
{
    char what[200], text[600];
    va_list ap;
    if (g->n_odd++) return true;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    int n = snprintf(text, sizeof text, "%.380s: %s", where, what);
    return (g->odd = im_texts_add(g->c, g->d->texts, text, (size_t)n)) != NULL;
}

void im_warn_of_odd_texts(im_gather *g)
{
    if (g->n_foreign)
        im_warn(g->c, "%s: %lld of its texts %s not UTF-8, the first: %s; write %s as UTF-8", g->d->path,
                (long long)g->n_foreign, g->n_foreign > 1 ? "are" : "is", g->foreign, g->n_foreign > 1 ? "them" : "it");
    if (g->n_odd) im_warn(g->c, "%s: in %lld place%s its JSON is not understood and is ignored, the first: %s", g->d->path,
                          (long long)g->n_odd, g->n_odd > 1 ? "s" : "", g->odd);
}

/* A field's text into *out; a number of a class counts as its digits where `numbers`; anything else is odd. */
static bool text_of(im_gather *g, const char *where, const im_side_field *f, bool numbers, const char **out)
{
    bool whole = numbers && f->kind == IM_SIDE_WHOLE && f->text[0] != '-';
    if (f->kind == IM_SIDE_NONE) return true;
    if (f->kind != IM_SIDE_TEXT && !whole)
        return note_odd(g, where, "\"%s\" is %.60s; wanted a text%s", f->key, f->text,
                        numbers ? " or the number of a class" : "");
    *out = im_texts_add(g->c, g->d->texts, f->text, strlen(f->text));
    return *out != NULL;
}

static bool name_of(im_gather *g, const char *where, const im_side_field *f, const char **out)
{
    if (f->kind == IM_SIDE_TEXT) return text_of(g, where, f, false, out);
    return f->kind == IM_SIDE_NONE ? im_fail(g->c, "%s: \"file_name\" is missing; add it", where)
                                   : im_fail(g->c, "%s: \"file_name\" is %.60s; wanted a text", where, f->text);
}

/* What only sets of `imago synth` call so; under these names anything may stand in others. */
static bool synthetic(im_gather *g, const char *where, const im_side_field *f, const char **out)
{
    return f->kind != IM_SIDE_TEXT || text_of(g, where, f, false, out);
}

bool im_caption_json(im_gather *g, const char *where, const char *text, size_t bytes, const char **file_name,
                     const char **caption, const char **label)
{
    enum { FILE_NAME, TEXT, CAPTION, LABEL, PROMPT, CLASS, FIELDS };
    im_side_field f[FIELDS] = { [FILE_NAME].key = "file_name", [TEXT].key = "text", [CAPTION].key = "caption",
                                [LABEL].key = "label", [PROMPT].key = "prompt", [CLASS].key = "class" };
    size_t at;
    bool ok = im_side_json(g->c, text, bytes, f, FIELDS, &at);
    if (!ok && im_ok(g->c) && file_name)
        im_fail(g->c, "%s: column %zu: is not a valid JSON object; wanted { \"file_name\": \"...\", ... }", where, at + 1);
    else if (!ok && im_ok(g->c)) ok = note_odd(g, where, "is not a JSON object from byte %zu on", at);
    else
        ok = ok && (!file_name || name_of(g, where, &f[FILE_NAME], file_name)) &&
             text_of(g, where, &f[TEXT], false, caption) &&
             (*caption || text_of(g, where, &f[CAPTION], false, caption)) &&
             text_of(g, where, &f[LABEL], true, label) &&
             (*caption || synthetic(g, where, &f[PROMPT], caption)) && (*label || synthetic(g, where, &f[CLASS], label));
    im_side_free(f, FIELDS);
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

/* name, caption and label: texts of the set, the latter two or NULL. */
static bool add_file(im_gather *g, const char *where, const char *name, const char *caption, const char *label,
                     absent *gone)
{
    im_dataset *d = g->d;
    if (!*name) return im_fail(g->c, "%s: \"file_name\" is empty; name a file", where);
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
    if (!S_ISREG(st.st_mode)) return im_gather_broken(g, name, "is not a file");
    return im_gather_add(g,
                         (im_sample){ .name = name,
                                      .caption = caption,
                                      .label = -1,
                                      .shard = -1,
                                      .bytes = (uint64_t)st.st_size,
                                      .changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec },
                         label);
}

static bool add_line(im_gather *g, const char *where, const char *text, size_t bytes, absent *gone)
{
    const char *name = NULL, *caption = NULL, *label = NULL;
    return im_utf8_check(g->c, where, text, bytes) && im_caption_json(g, where, text, bytes, &name, &caption, &label) &&
           add_file(g, where, name, caption, label, gone);
}

typedef struct listed { im_gather *g; absent *gone; } listed;

static bool add_row(void *arg, const char *where, const char *name, const char *caption, const char *label)
{
    const listed *l = arg;
    const char **texts[] = { &name, &caption, &label };
    for (int i = 0; i < 3; i++)
        if (*texts[i] && !(*texts[i] = im_texts_add(l->g->c, l->g->d->texts, *texts[i], strlen(*texts[i])))) return false;
    return add_file(l->g, where, name, caption, label, l->gone);
}

static bool add_lines(im_gather *g, const char *path, char *text, size_t bytes, absent *gone)
{
    char *end;
    bool ok = true;
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
        ok = ok && add_line(g, where, p, n, gone);
        free(where);
    }
    return ok;
}

bool im_gather_metadata(im_gather *g)
{
    size_t bytes;
    char *path = im_join(g->c, g->d->path, "metadata.jsonl");
    bool csv = path && !im_is_file(path);
    absent gone = { 0 };
    if (csv) {
        free(path);
        path = im_join(g->c, g->d->path, IM_SET_CSV);
    }
    char *text = path ? im_read_text(g->c, path, IM_SET_LIST_BYTES, &bytes) : NULL;
    bool ok = text && (csv ? im_gather_csv(g, path, text, bytes, add_row, &(listed){ g, &gone })
                           : add_lines(g, path, text, bytes, &gone));
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

/* ---------------------------------------------------------------- beside shards */

/* "000002.tar" of "000002.tar/000000009.png", in `last`, if that is another one than before. */
static bool another_shard(const char *file, char last[300])
{
    const char *end = strstr(file, ".tar/");
    size_t n = end ? (size_t)(end - file) + strlen(".tar") : 0;
    if (!n || n >= 300 || (strlen(last) == n && !strncmp(last, file, n))) return false;
    memcpy(last, file, n);
    last[n] = '\0';
    return true;
}

bool im_listed_shards_are_there(im_gather *g)
{
    size_t bytes;
    char *path = im_join(g->c, g->d->path, "metadata.jsonl"), *end, last[300] = "", first[300] = "";
    char *text = path ? im_read_text(g->c, path, IM_SET_LIST_BYTES, &bytes) : NULL;
    int64_t missing = 0;
    for (char *p = text; im_ok(g->c) && p && p < text + bytes; p = end + 1) {
        im_side_field f = { .key = "file_name" };
        size_t at;
        end = memchr(p, '\n', (size_t)(text + bytes - p));
        if (!end) end = text + bytes;
        im_side_json(g->c, p, (size_t)(end - p), &f, 1, &at);
        if (f.kind == IM_SIDE_TEXT && another_shard(f.text, last)) {
            char *shard = im_join(g->c, g->d->path, last);
            if (shard && !im_is_file(shard) && !missing++) memcpy(first, last, sizeof first);
            free(shard);
        }
        im_side_free(&f, 1);
    }
    if (missing)
        im_fail(g->c, "%s: %lld of the shards that it lists %s not there, the first is %s; bring %s back, or name those "
                      "that are to be read: \"%s/*.tar\"", path, (long long)missing, missing == 1 ? "is" : "are", first,
                missing == 1 ? "it" : "them", g->d->path);
    free(text);
    free(path);
    return im_ok(g->c);
}
