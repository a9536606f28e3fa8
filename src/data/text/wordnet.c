/* wordnet.c: reads a synset from its line in data.noun (wordnet.h):
 *
 *     02123045 05 n 02 tabby 0 tabby_cat 0 002 @ 02121808 n 0000 #m 02121620 n 0000 | a cat with a ... coat; "example"
 *     offset   file pos, number of words (hexadecimal), words each with an id,
 *     number of pointers (decimal), pointers: symbol offset pos source/target,
 *     bar, gloss
 * A hypernym is a pointer with the symbol @, or @i (an instance of it). The definition is the parts of the gloss, between
 * semicolons, before the first that opens with a quote. */
#include "data/text/wordnet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"

enum { DIGITS = 8 };                                           /* of an offset                                        */
static const char PLACE[] = "/usr/share/wordnet/data.noun";

struct im_wordnet {
    im_map map;
    const char *path;
};

im_wordnet *im_wordnet_open(im_ctx *c)
{
    const char *given = getenv("IMAGO_WORDNET");
    if (!im_ok(c)) return NULL;
    im_wordnet *w = calloc(1, sizeof *w);
    if (!w) {
        im_fail(c, "out of memory for WordNet; close other programs");
        return NULL;
    }
    w->path = given && *given ? given : PLACE;
    if (!im_is_file(w->path))
        im_fail(c, "%s: is not there, and classes given by wnid are looked up in it; install the Debian package "
                   "wordnet-base (apt-get install wordnet-base), or name WordNet 3.0's data.noun in IMAGO_WORDNET",
                w->path);
    if (im_map_open(c, &w->map, w->path)) return w;
    free(w);
    return NULL;
}

void im_wordnet_close(im_wordnet *w)
{
    if (!w) return;
    im_map_close(&w->map);
    free(w);
}

static size_t digits(const char *s)
{
    return strspn(s, "0123456789");
}

bool im_is_wnid(const char *text)
{
    return *text == 'n' && digits(text + 1) == DIGITS && !text[1 + DIGITS];
}

/* A copy of the line of the synset at `offset`, eight digits; NULL: no synset begins there. */
static char *line_at(im_ctx *c, const im_wordnet *w, const char *offset)
{
    size_t at = (size_t)strtoul(offset, NULL, 10), bytes = w->map.bytes;
    const char *text = (const char *)w->map.data;
    if (at + DIGITS >= bytes || (at && text[at - 1] != '\n') || memcmp(text + at, offset, DIGITS)
        || text[at + DIGITS] != ' ')
        return NULL;
    const char *end = memchr(text + at, '\n', bytes - at);
    return im_copy_text(c, text + at, end ? (size_t)(end - text) - at : bytes - at);
}

static bool damaged(im_ctx *c, const im_wordnet *w, const char *offset)
{
    return im_fail(c, "%s: the line at byte %.8s is not as WordNet 3.0 has it; reinstall wordnet-base", w->path, offset);
}

/* The next word of a line, ended by a zero byte in place of its blank; NULL at the end. */
static char *next(char **at)
{
    char *word = *at, *end = word + strcspn(word, " ");
    if (end == word) return NULL;
    *at = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

/* The words of a line from its number of words on, "a, b c"; leaves *at behind them. */
static char *lemmas_of(im_ctx *c, char **at)
{
    for (int i = 0; i < 3; i++)
        if (!next(at)) return NULL;
    char *count = next(at);
    long n = count ? strtol(count, NULL, 16) : 0;
    char *out = im_copy_text(c, "", 0);
    for (long i = 0; out && i < n; i++) {
        char *word = next(at);
        if (!word || !next(at)) {
            free(out);
            return NULL;
        }
        for (char *p = word; *p; p++)
            if (*p == '_') *p = ' ';
        size_t have = strlen(out), room = have + strlen(word) + 3;
        char *more = realloc(out, room);
        if (!more) {
            free(out);
            im_fail(c, "out of memory for the words of a synset; close other programs");
            return NULL;
        }
        out = more;
        snprintf(out + have, room - have, "%s%s", i ? ", " : "", word);
    }
    return out;
}

/* The offset of the first hypernym, NULL: none. Sets *ok to false where the pointers are damaged. */
static char *hypernym_of(char **at, bool *ok)
{
    char *count = next(at), *found = NULL;
    long n = count ? strtol(count, NULL, 10) : -1;
    for (long i = 0; i < n; i++) {
        char *symbol = next(at), *offset = next(at);
        if (!next(at) || !next(at)) n = -1;
        else if (!found && (!strcmp(symbol, "@") || !strcmp(symbol, "@i"))) found = offset;
    }
    *ok = n >= 0 && (!found || digits(found) == DIGITS);
    return found;
}

/* "a; b" of the gloss: a; b; "example". Works in place. */
static char *definition_of(im_ctx *c, char *gloss)
{
    char *out = malloc(2 * strlen(gloss) + 1);                 /* "a;b" grows by a blank a semicolon                  */
    size_t have = 0;
    if (!out) im_fail(c, "out of memory for the gloss of a synset; close other programs");
    for (char *part = gloss, *end; out && *part; part = end) {
        end = part + strcspn(part, ";");
        size_t n = (size_t)(end - part);
        if (*end) end++;
        while (n && *part == ' ') part++, n--;
        while (n && part[n - 1] == ' ') n--;
        if (n && *part == '"') break;
        if (have) memcpy(out + have, "; ", 2);
        have += have ? 2 : 0;
        memcpy(out + have, part, n);
        have += n;
    }
    if (out) out[have] = '\0';
    return out;
}

static bool read_line(im_ctx *c, const im_wordnet *w, char *line, im_synset *out)
{
    char *at = line, *bar = strstr(line, " | "), offset[DIGITS + 1];
    snprintf(offset, sizeof offset, "%.8s", line);
    if (!bar) return damaged(c, w, offset);
    *bar = '\0';
    bool ok = (out->lemmas = lemmas_of(c, &at)) && *out->lemmas;
    char *up = ok ? hypernym_of(&at, &ok) : NULL;
    if (ok && up) {
        char *above = line_at(c, w, up), *p = above;
        ok = above && (out->hypernym = lemmas_of(c, &p));
        free(above);
    }
    ok = ok && (out->definition = definition_of(c, bar + 3)) &&
         (out->first = im_copy_text(c, out->lemmas, strcspn(out->lemmas, ",")));
    return ok || !im_ok(c) || damaged(c, w, offset);
}

bool im_wordnet_find(im_ctx *c, const im_wordnet *w, const char *wnid, im_synset *out)
{
    *out = (im_synset){ 0 };
    char *line = im_is_wnid(wnid) ? line_at(c, w, wnid + 1) : NULL;
    bool ok = line && read_line(c, w, line, out) && im_ok(c);
    free(line);
    if (!ok) im_synset_free(out);
    return ok;
}

void im_synset_free(im_synset *s)
{
    free(s->lemmas);
    free(s->first);
    free(s->hypernym);
    free(s->definition);
    *s = (im_synset){ 0 };
}
