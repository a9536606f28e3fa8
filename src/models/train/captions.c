/* captions.c: see captions.h. The rows of a picture are made once, at most 2^4 - 1, so that a step only copies ids. */
#include "models/train/captions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_space(char b)
{
    return b == ' ' || (b >= '\t' && b <= '\r');
}

im_tags im_tags_of(const char *caption)
{
    im_tags t = { .n = 0 };
    for (const char *s = caption; *s;) {
        size_t n = t.n == IM_TAGS_MAX - 1 ? strlen(s) : strcspn(s, ",");
        const char *end = s + n, *first = s;
        s = end + (*end == ',');
        while (first < end && is_space(*first))
            first++;
        while (end > first && is_space(end[-1]))
            end--;
        if (end > first) {
            t.at[t.n] = first;
            t.length[t.n++] = (int)(end - first);
        }
    }
    return t;
}

/* ---------------------------------------------------------------- rows of ids */

/* The tags of the bits of m, ", " between them. text: room for the caption and for a space behind every comma. */
static void join(const im_tags *t, int m, char *text)
{
    size_t used = 0;
    for (int i = 0; i < t->n; i++) {
        if (!(m >> i & 1))
            continue;
        if (used) {
            memcpy(text + used, ", ", 2);
            used += 2;
        }
        memcpy(text + used, t->at[i], (size_t)t->length[i]);
        used += (size_t)t->length[i];
    }
    text[used] = 0;
}

static bool read_one(im_ctx *c, im_captions *s, int64_t picture, const char *caption, const im_tokenizer *k)
{
    int all = (1 << s->n[picture]) - 1;
    int32_t *row = s->ids + s->first[picture] * s->tokens;
    im_tags t = im_tags_of(caption);
    char *text = malloc(strlen(caption) + 2 * IM_TAGS_MAX);
    bool ok = text || im_fail(c, "out of memory for a caption");
    for (int m = 1; ok && m < all; m++, row += s->tokens) {
        join(&t, m, text);
        ok = im_tokenize(c, k, text, s->tokens, row, NULL);
    }
    free(text);
    return ok && im_tokenize(c, k, caption, s->tokens, row, NULL);
}

/* An error of the tokenizer, which knows neither set nor picture. */
static bool say_whose(im_ctx *c, const im_dataset *d, int64_t picture)
{
    char why[512];
    snprintf(why, sizeof why, "%s", im_error(c));
    im_clear_error(c);
    return im_fail(c, "%s: the caption of %s: %s", d->path, d->samples[picture].name, why);
}

bool im_captions_read(im_ctx *c, im_captions *s, const im_dataset *d, const im_tokenizer *k, int tokens, bool subsets)
{
    *s = (im_captions){ .c = c, .tokens = tokens, .pictures = d->count };
    s->first = malloc((size_t)d->count * sizeof *s->first);
    s->n = malloc((size_t)d->count);
    s->empty = malloc((size_t)tokens * sizeof *s->empty);
    bool ok = s->first && s->n && s->empty;
    for (int64_t i = 0; ok && i < d->count; i++) {
        int n = subsets ? im_tags_of(d->samples[i].caption).n : 1;
        s->n[i] = (uint8_t)(n ? n : 1);
        s->first[i] = s->rows;
        s->rows += (1 << s->n[i]) - 1;
    }
    s->ids = ok ? malloc((size_t)(s->rows * tokens) * sizeof *s->ids) : NULL;
    ok = s->ids || im_fail(c, "%s: out of memory for the captions of %lld pictures%s", d->path, (long long)d->count,
                           subsets ? "; without --drop-tags there are fewer rows" : "");
    ok = ok && im_tokenize(c, k, "", tokens, s->empty, NULL);
    for (int64_t i = 0; ok && i < d->count; i++)
        ok = read_one(c, s, i, d->samples[i].caption, k) || say_whose(c, d, i);
    return ok;
}

void im_captions_free(im_captions *s)
{
    free(s->first);
    free(s->n);
    free(s->ids);
    free(s->empty);
}

const int32_t *im_captions_draw(const im_captions *s, int64_t picture, float first, float others, im_stream *r)
{
    int n = s->n[picture], all = (1 << n) - 1, m = 0;
    for (int i = 0; (first > 0 || others > 0) && i < n; i++)
        m |= (im_stream_uniform(r) >= (double)(i ? others : first)) << i;
    return s->ids + (s->first[picture] + (m ? m : all) - 1) * s->tokens;
}
