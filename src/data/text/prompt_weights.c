/* prompt_weights.c: see prompt_weights.h. */
#include "data/text/prompt_weights.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/text/clip_text.h"

static const double ROUND = 1.1, SQUARE = 1 / 1.1;

/* Open brackets of one kind: the spans that each began at. */
typedef struct open_brackets { int *at, n, room; } open_brackets;

typedef struct reading { im_ctx *c; im_spans *out; open_brackets round, square; } reading;

static bool add(reading *r, const char *text, size_t bytes)                          /* text NULL: BREAK               */
{
    im_spans *s = r->out;
    if (text && !bytes) return true;
    if (s->n == s->room) {
        int room = s->room ? 2 * s->room : 16;
        im_span *v = realloc(s->v, (size_t)room * sizeof *v);
        if (!v) return im_fail(r->c, "out of memory for the parts of a prompt");
        s->v = v;
        s->room = room;
    }
    char *copy = text ? im_copy_text(r->c, text, bytes) : NULL;
    if (text && !copy) return false;
    s->v[s->n++] = (im_span){ .text = copy, .weight = 1 };
    return true;
}

static bool begin(reading *r, open_brackets *b)
{
    if (b->n == b->room) {
        int room = b->room ? 2 * b->room : 8;
        int *at = realloc(b->at, (size_t)room * sizeof *at);
        if (!at) return im_fail(r->c, "out of memory for the brackets of a prompt");
        b->at = at;
        b->room = room;
    }
    b->at[b->n++] = r->out->n;
    return true;
}

static void end(reading *r, open_brackets *b, double weight)
{
    for (int i = b->at[--b->n]; i < r->out->n; i++) r->out->v[i].weight *= weight;
}

/* ": 1.3 )", a number without exponent: its length, else 0. */
static size_t weight_end(const char *s, double *weight)
{
    const char *p = s + 1;
    while (isspace((unsigned char)*p)) p++;
    const char *number = p;
    p += *p == '+' || *p == '-';
    const char *digits = p;
    p += strspn(p, "0123456789.");
    char *stop;
    *weight = strtod(number, &stop);
    if (p == digits || stop != p) return 0;
    while (isspace((unsigned char)*p)) p++;
    return *p == ')' ? (size_t)(p + 1 - s) : 0;
}

/* Text without brackets: split at the word BREAK, which takes the white space around it with it. */
static bool add_words(reading *r, const char *text, size_t bytes)
{
    static const char BREAK[] = "BREAK";
    size_t n = strlen(BREAK), from = 0;
    for (size_t at = 0; at + n <= bytes; at++) {
        if (memcmp(text + at, BREAK, n) || !im_clip_stands_alone(text, bytes, at, at + n)) continue;
        size_t to = at;
        while (to > from && isspace((unsigned char)text[to - 1])) to--;
        if (!add(r, text + from, to - from) || !add(r, NULL, 0)) return false;
        from = at + n;
        while (from < bytes && isspace((unsigned char)text[from])) from++;
        at = from - 1;
    }
    return add(r, text + from, bytes - from);
}

/* What s begins with, taken in; returns its length, 0 with an error. */
static size_t take(reading *r, const char *s)
{
    double weight;
    size_t n = *s == ':' ? weight_end(s, &weight) : 0;
    if (n && r->round.n) {
        end(r, &r->round, weight);
        return n;
    }
    switch (*s) {
    case '\\':
        if (!s[1] || !strchr("()[]\\", s[1])) return 1;
        return add(r, s + 1, 1) ? 2 : 0;
    case '(': return begin(r, &r->round);
    case '[': return begin(r, &r->square);
    case ')':
        if (!r->round.n) break;
        end(r, &r->round, ROUND);
        return 1;
    case ']':
        if (!r->square.n) break;
        end(r, &r->square, SQUARE);
        return 1;
    default: break;
    }
    if (!n) n = strchr("()[]:", *s) ? 1 : strcspn(s, "\\()[]:");
    return add_words(r, s, n) ? n : 0;
}

/* Neighbours of one weight are one text to the tokenizer. */
static bool join(im_ctx *c, im_spans *s)
{
    int to = 0;
    for (int i = 0; i < s->n; i++) {
        im_span *last = to ? &s->v[to - 1] : NULL;
        if (!last || !last->text || !s->v[i].text || last->weight != s->v[i].weight) {
            s->v[to++] = s->v[i];
            continue;
        }
        size_t had = strlen(last->text), more = strlen(s->v[i].text);
        char *text = realloc(last->text, had + more + 1);
        if (!text) {                                           /* every text is freed once                             */
            while (i < s->n) s->v[to++] = s->v[i++];
            s->n = to;
            return im_fail(c, "out of memory for the parts of a prompt");
        }
        memcpy(text + had, s->v[i].text, more + 1);
        free(s->v[i].text);
        last->text = text;
    }
    s->n = to;
    return true;
}

bool im_spans_read(im_ctx *c, const char *prompt, im_spans *out)
{
    reading r = { .c = c, .out = out };
    *out = (im_spans){ 0 };
    bool ok = true;
    for (const char *s = prompt; ok && *s; ) {
        size_t n = take(&r, s);
        ok = n > 0;
        s += n;
    }
    while (ok && r.round.n) end(&r, &r.round, ROUND);
    while (ok && r.square.n) end(&r, &r.square, SQUARE);
    free(r.round.at);
    free(r.square.at);
    ok = ok && join(c, out);
    if (!ok) im_spans_free(out);
    return ok;
}

void im_spans_free(im_spans *s)
{
    for (int i = 0; i < s->n; i++) free(s->v[i].text);
    free(s->v);
    *s = (im_spans){ 0 };
}
