/* dataset_labels.c: classes by name and number: the list of --classes, and the texts of .cls files and of "label". */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/sets/dataset_parts.h"
#include "data/files/file.h"
#include "data/files/names.h"
#include "data/files/utf8.h"

void im_name_all(char *out, size_t size, const char *const names[], int64_t n)
{
    size_t used = 0;
    out[0] = '\0';
    for (int64_t i = 0; i < n; i++) {
        if (used + strlen(names[i]) + 40 > size) {
            snprintf(out + used, size - used, " and %lld more", (long long)(n - i));
            return;
        }
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", names[i]);
    }
}

static bool no_memory(im_gather *g)
{
    return im_fail(g->c, "%s: out of memory for its classes; close other programs", g->d->path);
}

/* ---------------------------------------------------------------- the list of classes */

/* A class a line, whose end is LF, CRLF or CR; blanks at the end of a line do not count; empty lines only at the end. */
static bool split_list(im_gather *g, const char *path, char *text)
{
    im_dataset *d = g->d;
    int cap = 1;
    for (const char *p = text; (p = strchr(p, '\n')); p++) cap++;
    d->classes = calloc((size_t)cap, sizeof *d->classes);
    im_names seen = { 0 };
    if (!d->classes || !im_names_init(g->c, &seen, (size_t)cap)) return no_memory(g);
    int line = 1, empty = 0;
    bool ok = true;
    for (char *p = text, *end; ok && *p; p = end, line++) {
        end = p + strcspn(p, "\n");
        char *last = end;
        if (*end) end++;
        while (last > p && strchr(" \t\r", last[-1])) last--;
        if (last == p) {
            empty = empty ? empty : line;
            continue;
        }
        char where[512];
        snprintf(where, sizeof where, "%.400s: line %d", path, line);
        if (!im_utf8_check(g->c, where, p, (size_t)(last - p))) ok = false;
        const char *name = ok ? im_texts_add(g->c, d->texts, p, (size_t)(last - p)) : NULL;
        int before = name ? im_names_find(&seen, name, strlen(name)) : -1;
        if (empty)
            ok = im_fail(g->c, "%s: line %d is empty; wanted one class per line, the label is the number of the line", path,
                         empty);
        else if (before >= 0) ok = im_fail(g->c, "%s: line %d: \"%s\" is already in line %d", path, line, name,
                                           before + 1);
        else ok = name && im_names_add(g->c, &seen, name, strlen(name), line - 1);
        if (ok) d->classes[d->n_classes++] = name;
    }
    im_names_free(&seen);
    return ok && (d->n_classes || im_fail(g->c, "%s: holds no classes; wanted one per line", path));
}

bool im_read_class_list(im_gather *g)
{
    const char *path = g->args->classes;
    char *text = im_read_text(g->c, path, 64 << 20, NULL);
    bool ok = text && split_list(g, path, text);
    free(text);
    return ok;
}

/* ---------------------------------------------------------------- labels that came as texts */

bool im_is_whole(const char *text) { return *text && !text[strspn(text, "0123456789")]; }

const char *im_class_text(const char *text)
{
    text += strspn(text, " \t\r\n\v\f");
    bool zero = *text == '-' && text[1] && !text[1 + strspn(text + 1, "0")];
    return zero || (*text == '+' && im_is_whole(text + 1)) ? text + 1 : text;
}

/* The value of a text of digits; -1: it is none; INT64_MAX: a very large one. */
static int64_t number_of(const char *text)
{
    if (!im_is_whole(text)) return -1;
    errno = 0;
    long long v = strtoll(text, NULL, 10);
    return errno ? INT64_MAX : v;
}

/* All labels are numbers: the classes are named 0, 1, ... to the largest. */
static bool number_classes(im_gather *g)
{
    im_dataset *d = g->d;
    int64_t largest = -1;
    for (int64_t i = 0; i < d->count; i++) {
        int64_t v = g->labels[i] ? number_of(g->labels[i]) : -1;
        if (v >= IM_SET_MAX_CLASSES) return im_fail(g->c, "%s: the label is %s; wanted less than %d",
                                                    d->samples[i].name, g->labels[i], IM_SET_MAX_CLASSES);
        largest = v > largest ? v : largest;
    }
    d->n_classes = (int)largest + 1;
    d->classes = calloc((size_t)d->n_classes + 1, sizeof *d->classes);
    if (!d->classes) return no_memory(g);
    for (int i = 0; i < d->n_classes; i++) {
        char name[20];
        snprintf(name, sizeof name, "%d", i);
        d->classes[i] = im_texts_add(g->c, d->texts, name, strlen(name));
    }
    return im_ok(g->c);
}

/* A number among names is a name, and then the number of its class is another one. */
static void warn_of_numbers(const im_gather *g)
{
    const char *number = NULL, *name = NULL;
    int64_t numbers = 0, all = 0;
    for (int64_t i = 0; i < g->d->count; i++) {
        const char *label = g->labels[i];
        if (!label) continue;
        bool is_number = number_of(label) >= 0;
        all++;
        numbers += is_number;
        if (is_number && !number) number = label;
        if (!is_number && !name) name = label;
    }
    if (numbers)
        im_warn(g->c, "%s: of its %lld labels %lld %s a number, as \"%.20s\", and others are names, as \"%.60s\": all are "
                      "read as names and numbered by their order; --classes FILE says which is which", g->d->path,
                (long long)all, (long long)numbers, numbers == 1 ? "is" : "are", number, name);
}

/* The distinct labels, sorted as bytes, are the classes. */
static bool name_classes(im_gather *g)
{
    im_dataset *d = g->d;
    im_names seen;
    warn_of_numbers(g);
    if (!im_names_init(g->c, &seen, 256)) return false;
    bool ok = true;
    for (int64_t i = 0; i < d->count && ok; i++) {
        const char *name = g->labels[i];
        if (name && im_names_find(&seen, name, strlen(name)) < 0)
            ok = im_names_add(g->c, &seen, name, strlen(name), (int)seen.n);
    }
    d->classes = ok ? calloc(seen.n + 1, sizeof *d->classes) : NULL;
    for (size_t i = 0; i < seen.cap && d->classes; i++)
        if (seen.v[i].key) d->classes[d->n_classes++] = seen.v[i].key;
    im_names_free(&seen);
    if (!d->classes) return no_memory(g);
    im_sort_names(d->classes, d->n_classes, false);
    return true;
}

static bool find_labels(im_gather *g)
{
    im_dataset *d = g->d;
    im_names index;
    if (!im_names_init(g->c, &index, (size_t)d->n_classes)) return false;
    bool ok = true;
    for (int i = 0; i < d->n_classes && ok; i++)
        ok = im_names_add(g->c, &index, d->classes[i], strlen(d->classes[i]), i);
    for (int64_t i = 0; i < d->count && ok; i++) {
        const char *name = g->labels[i];
        if (!name) continue;
        int label = im_names_find(&index, name, strlen(name));
        int64_t number = number_of(name);
        if (label < 0 && number >= 0 && number < d->n_classes) label = (int)number;
        d->samples[i].label = label;
        if (label < 0)
            ok = im_fail(g->c, "%s: %s: its class \"%.100s\" is none of the %d of %s", d->path, d->samples[i].name,
                         name, d->n_classes, g->args->classes ? g->args->classes : "the set");
    }
    im_names_free(&index);
    return ok;
}

bool im_resolve_labels(im_gather *g)
{
    im_dataset *d = g->d;
    bool any = false, numbers = true;
    for (int64_t i = 0; i < d->count; i++)
        if (g->labels[i]) {
            any = true;
            numbers = numbers && number_of(g->labels[i]) >= 0;
        }
    if (d->kind == IM_SET_CLASSES) return true;
    if (!any) {                                                /* a list of classes without labels names nothing      */
        d->n_classes = 0;
        return true;
    }
    if (!d->n_classes && !(numbers ? number_classes(g) : name_classes(g))) return false;
    return find_labels(g);
}
