/* wildcards.c: see wildcards.h. The rule, as neighbours have it (the wildcards and dynamic prompts of the AUTOMATIC1111 web
 * interface), with a choice that a seed decides:
 *
 * (1) A name is letters, digits, - _ and /, between two underscores and the next two. Its file is FOLDER/name.txt.
 * (2) Lines of a file are trimmed; empty ones and those that begin with # do not count.
 * (3) The k-th choice in a text, from 0, takes line floor(x n / 2^64) of n, where
 *         x = mix(seed + mix(2^32 stream + k)),   mix: a step of splitmix64 (data/files/mix64.h)
 *     in 64 bits.
 * (4) What a line holds is read in its place, so lines may name wildcards; more than 8 deep is an error, and a text of more
 *     than 1 MiB. */
#include "data/text/wildcards.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/mix64.h"
#include "data/files/utf8.h"

enum { DEEPEST = 8, LARGEST = 16 << 20, LONGEST = 1 << 20 };

typedef struct list { char *name, *bytes; const char **lines; int n; } list;
struct im_wildcards { char *folder, *real; list *v; int n; };  /* real: without links; NULL: they may lead out        */
typedef struct filling {
    im_ctx *c;
    im_wildcards *w;
    const char *place;
    uint64_t seed;
    uint32_t stream, chosen;
    size_t bytes;
    FILE *out;
} filling;

static uint64_t mix(uint64_t z)
{
    return im_mix64(z + IM_GOLDEN64);
}

static int choose(filling *f, int n)
{
    uint64_t x = mix(f->seed + mix(((uint64_t)f->stream << 32) + f->chosen++));
    return (int)((unsigned __int128)x * (unsigned)n >> 64);
}

/* Bytes of the wildcard that s begins with, underscores and all; 0: none. */
static size_t wildcard_length(const char *s)
{
    if (strncmp(s, "__", 2) || !s[2]) return 0;
    const char *end = strstr(s + 3, "__");
    size_t n = end ? (size_t)(end - s) - 2 : 0;
    for (size_t i = 0; i < n; i++) {
        char k = s[2 + i];
        bool letter = (k >= 'a' && k <= 'z') || (k >= 'A' && k <= 'Z') || (k >= '0' && k <= '9');
        if (!letter && k != '-' && k != '_' && (k != '/' || i == 0)) return 0;
    }
    return n ? n + 4 : 0;
}

bool im_wildcards_in(const char *text)
{
    for (; *text; text++)
        if (wildcard_length(text)) return true;
    return false;
}

/* ---------------------------------------------------------------- files */

im_wildcards *im_wildcards_open(im_ctx *c, const char *folder, bool within)
{
    if (!im_is_folder(folder)) {
        im_fail(c, "%s: there is no such folder; wanted one with files NAME.txt, of which __NAME__ is a line", folder);
        return NULL;
    }
    im_wildcards *w = calloc(1, sizeof *w);
    if (w && (w->folder = strdup(folder)) && (!within || (w->real = realpath(folder, NULL)))) return w;
    im_wildcards_free(w);
    im_fail(c, "out of memory for wildcards");
    return NULL;
}

void im_wildcards_free(im_wildcards *w)
{
    for (int i = 0; w && i < w->n; i++) {
        free(w->v[i].name);
        free(w->v[i].bytes);
        free(w->v[i].lines);
    }
    if (!w) return;
    free(w->v);
    free(w->folder);
    free(w->real);
    free(w);
}

/* Lines of l->bytes, in their place. */
static bool take_lines(im_ctx *c, list *l, const char *path)
{
    int room = 1;
    for (const char *p = l->bytes; *p; p++) room += *p == '\n';
    if (!(l->lines = malloc((size_t)room * sizeof *l->lines))) return im_fail(c, "%s: out of memory for its lines", path);
    for (char *p = l->bytes, *next; p; p = next) {
        if ((next = strchr(p, '\n'))) *next++ = '\0';
        p += strspn(p, " \t\r");
        size_t n = strlen(p);
        while (n && strchr(" \t\r", p[n - 1])) p[--n] = '\0';
        if (n && *p != '#') l->lines[l->n++] = p;
    }
    return l->n || im_fail(c, "%s: holds no line to choose; wanted one choice a line", path);
}

/* Is the file there, and in the folder where it has to be? */
static bool is_there(const im_wildcards *w, const char *path)
{
    char *real = w->real ? realpath(path, NULL) : NULL;
    size_t n = w->real ? strlen(w->real) : 0;
    bool within = !w->real || (real && !strncmp(real, w->real, n) && (real[n] == '/' || n == 1));
    free(real);
    return within && im_is_file(path);
}

static list *list_named(filling *f, const char *name, size_t bytes)
{
    im_wildcards *w = f->w;
    for (int i = 0; i < w->n; i++)
        if (strlen(w->v[i].name) == bytes && !strncmp(w->v[i].name, name, bytes)) return &w->v[i];
    list *v = realloc(w->v, (size_t)(w->n + 1) * sizeof *v), l = { .name = im_copy_text(f->c, name, bytes) };
    char *file = malloc(bytes + 5), *path = NULL;
    if (v) w->v = v;
    if (v && file && l.name) {
        snprintf(file, bytes + 5, "%s.txt", l.name);
        path = im_join(f->c, w->folder, file);
    } else {
        im_fail(f->c, "out of memory for wildcards");
    }
    size_t n;
    const char *shown = w->real ? file : path;
    if (path && !is_there(w, path))
        im_fail(f->c, "%s: names the wildcard __%s__, but there is no file %s; wanted one with a choice a line", f->place,
                l.name, shown);
    else if (path && (l.bytes = im_read_text(f->c, path, LARGEST, &n)) && im_utf8_check(f->c, shown, l.bytes, n))
        take_lines(f->c, &l, shown);
    free(file);
    free(path);
    if (v && im_ok(f->c)) {
        w->v[w->n] = l;
        return &w->v[w->n++];
    }
    free(l.name);
    free(l.bytes);
    free(l.lines);
    return NULL;
}

/* ---------------------------------------------------------------- texts */

static bool fill(filling *f, const char *text, int deep)
{
    while (*text) {
        size_t n = wildcard_length(text);
        if (!n) {
            fputc(*text++, f->out);
            if (++f->bytes > LONGEST)
                return im_fail(f->c, "%s: is longer than %d bytes with its wildcards; wanted a shorter one", f->place,
                               LONGEST);
            continue;
        }
        if (deep == DEEPEST)
            return im_fail(f->c, "%s: wildcards name wildcards more than %d deep, the last %.*s; does one name itself?",
                           f->place, DEEPEST, (int)n, text);
        const list *l = list_named(f, text + 2, n - 4);
        const char *line = l ? l->lines[choose(f, l->n)] : NULL;
        if (!line || !fill(f, line, deep + 1)) return false;
        text += n;
    }
    return true;
}

char *im_wildcards_fill(im_ctx *c, im_wildcards *w, const char *place, const char *text, uint64_t seed, uint32_t stream)
{
    char *out = NULL;
    size_t size = 0;
    filling f = { .c = c, .w = w, .place = place, .seed = seed, .stream = stream, .out = open_memstream(&out, &size) };
    bool ok = f.out && fill(&f, text, 0);
    if (f.out && fclose(f.out)) ok = false;
    if (ok) return out;
    free(out);
    if (im_ok(c)) im_fail(c, "out of memory for a prompt");
    return NULL;
}
