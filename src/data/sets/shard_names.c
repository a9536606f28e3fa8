/* shard_names.c: the files that a pattern of shards names, in its order: braces first ("{a,b}", "{000..012}", which keeps
 * leading zeros, as a shell and WebDataset do), then *, ? and [...] (sorted). A name from braces must be there. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/sets/dataset_parts.h"
#include "data/files/file.h"

enum { MOST_SHARDS = 1 << 20, LONGEST = 9 };                   /* digits of a number in a range                        */

typedef struct names { im_gather *g; const char *pattern; im_listing *out; int64_t cap; } names;

static bool add_path(names *s, const char *path)
{
    if (s->out->n == MOST_SHARDS) return im_fail(s->g->c, "%s: names more than %d shards", s->pattern, MOST_SHARDS);
    if (s->out->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 64;
        const char **v = realloc(s->out->names, (size_t)s->cap * sizeof *v);
        if (!v) return im_fail(s->g->c, "%s: out of memory for the names of shards", s->pattern);
        s->out->names = v;
    }
    const char *text = im_texts_add(s->g->c, s->g->d->texts, path, strlen(path));
    s->out->names[s->out->n++] = text;
    return text != NULL;
}

/* No braces are left. */
static bool add_glob(names *s, const char *path)
{
    if (!strpbrk(path, "*?["))
        return im_is_file(path) ? add_path(s, path) : im_fail(s->g->c, "%s: %s is not there", s->pattern, path);
    glob_t found = { 0 };
    int rc = glob(path, GLOB_ERR, NULL, &found);
    bool ok = !rc || im_fail(s->g->c, "%s: %s", s->pattern, rc == GLOB_NOMATCH ? "matches no file"
                             : rc == GLOB_NOSPACE ? "out of memory" : "a folder of it cannot be read");
    for (size_t i = 0; ok && i < found.gl_pathc; i++) ok = add_path(s, found.gl_pathv[i]);
    globfree(&found);
    return ok;
}

static bool expand(names *s, const char *path, int depth);

/* before + middle + after, expanded further. */
static bool put_in(names *s, const char *before, size_t n_before, const char *middle, size_t n, const char *after,
                   int depth)
{
    size_t room = n_before + n + strlen(after) + 1;
    char *path = malloc(room);
    if (!path) return im_fail(s->g->c, "%s: out of memory", s->pattern);
    snprintf(path, room, "%.*s%.*s%s", (int)n_before, before, (int)n, middle, after);
    bool ok = expand(s, path, depth + 1);
    free(path);
    return ok;
}

/* "{0..4294967296}": a range whose numbers are too long. */
static bool is_long_range(const char *in, size_t n)
{
    size_t first = strspn(in, "0123456789");
    size_t second = strncmp(in + first, "..", 2) ? 0 : strspn(in + first + 2, "0123456789");
    return first && second && first + 2 + second == n && (first > LONGEST || second > LONGEST);
}

/* "{7..12}" and "{007..012}": true when it is one, with its ends and the width of its numbers. */
static bool is_range(const char *in, size_t n, long *from, long *to, int *width)
{
    size_t first = strspn(in, "0123456789");
    if (!first || first > LONGEST || first + 2 >= n || strncmp(in + first, "..", 2)) return false;
    size_t second = strspn(in + first + 2, "0123456789");
    if (!second || second > LONGEST || first + 2 + second != n) return false;
    *from = strtol(in, NULL, 10);
    *to = strtol(in + first + 2, NULL, 10);
    bool zeros = (in[0] == '0' && first > 1) || (in[first + 2] == '0' && second > 1);
    *width = zeros ? (int)(first > second ? first : second) : 1;
    return true;
}

/* The first brace of path, then the rest. */
static bool expand(names *s, const char *path, int depth)
{
    const char *open = strchr(path, '{'), *close = open;
    int nested = 0;
    if (depth > 16) return im_fail(s->g->c, "%s: has more than 16 braces", s->pattern);
    if (!open) return add_glob(s, path);
    do {
        nested += *close == '{' ? 1 : *close == '}' ? -1 : 0;
    } while (nested && *++close);
    if (nested) return im_fail(s->g->c, "%s: a brace is open; wanted {000..012} or {a,b}", s->pattern);
    const char *in = open + 1;
    size_t before = (size_t)(open - path), n = (size_t)(close - in);
    long from, to;
    int width;
    if (is_long_range(in, n))
        return im_fail(s->g->c, "%s: a number of {%.*s} has more than %d digits; wanted a range such as {000..012}",
                       s->pattern, n < 100 ? (int)n : 100, in, LONGEST);
    if (is_range(in, n, &from, &to, &width)) {
        long step = from <= to ? 1 : -1;
        for (long v = from; ; v += step) {
            char digits[24];
            int length = snprintf(digits, sizeof digits, "%0*ld", width, v);
            if (!put_in(s, path, before, digits, (size_t)length, close + 1, depth)) return false;
            if (v == to) return true;
        }
    }
    for (const char *p = in; p <= close; p++) {
        const char *part = p;
        for (nested = 0; p < close && (nested || *p != ','); p++) nested += *p == '{' ? 1 : *p == '}' ? -1 : 0;
        if (!put_in(s, path, before, part, (size_t)(p - part), close + 1, depth)) return false;
    }
    return true;
}

bool im_shard_paths(im_gather *g, const char *pattern, im_listing *out)
{
    names s = { .g = g, .pattern = pattern, .out = out };
    return expand(&s, pattern, 0);
}
