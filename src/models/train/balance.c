/* balance.c: see balance.h. Every picture gets a group: the listed thing it shows, or its first tag. */
#include "models/train/balance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/files/file.h"
#include "data/files/sha256.h"
#include "models/train/captions.h"

enum { MOST_BYTES = 1 << 20 };

typedef struct list { char *text; const char **v; int n; } list;
typedef struct named { const char *at; int length; int64_t picture; bool favoured; } named;

static bool read_list(im_ctx *c, list *l, const char *path, char hash[65])
{
    size_t bytes = 0, lines = 1;
    l->text = im_read_text(c, path, MOST_BYTES, &bytes);
    if (!l->text || (hash && !im_sha256_of(c, l->text, bytes, hash)))
        return false;
    for (size_t i = 0; i < bytes; i++)
        lines += l->text[i] == '\n';
    l->v = malloc(lines * sizeof *l->v);
    if (!l->v)
        return im_fail(c, "out of memory for the things of %s", path);
    char *rest = NULL;
    for (char *s = strtok_r(l->text, "\r\n", &rest); s; s = strtok_r(NULL, "\r\n", &rest)) {
        size_t k = strlen(s);
        while (k && s[k - 1] == ' ')
            s[--k] = '\0';
        if (k && *s != '#')
            l->v[l->n++] = s;
    }
    return l->n > 0 || im_fail(c, "%s: lists nothing; wanted a thing a line, as the first tags of captions name it", path);
}

int im_balance_thing(const char *tag, int length, const char *const *things, int n)
{
    static const char with[] = " with ";
    for (int i = 1; i + (int)sizeof with - 1 <= length; i++)
        if (!strncasecmp(tag + i, with, sizeof with - 1))
            length = i;
    int best = -1, longest = 0;
    for (int i = 0; i < n; i++) {
        int k = (int)strlen(things[i]);
        if (k <= longest || k > length || strncasecmp(tag + length - k, things[i], (size_t)k))
            continue;
        if (k == length || tag[length - k - 1] == ' ') {
            best = i;
            longest = k;
        }
    }
    return best;
}

static int by_name(const void *a, const void *b)
{
    const named *x = a, *y = b;
    if (x->favoured != y->favoured)
        return x->favoured - y->favoured;
    int n = x->length < y->length ? x->length : y->length, d = strncasecmp(x->at, y->at, (size_t)n);
    return d ? d : (x->length > y->length) - (x->length < y->length);
}

static named name_of(const char *caption, int64_t picture, const list *l)
{
    im_tags t = im_tags_of(caption);
    int i = t.n && l->v ? im_balance_thing(t.at[0], t.length[0], l->v, l->n) : -1;
    if (i >= 0)
        return (named){ l->v[i], (int)strlen(l->v[i]), picture, true };
    return t.n ? (named){ t.at[0], t.length[0], picture, false } : (named){ "", 0, picture, false };
}

/* Weights n^-p by the place in v, which is sorted; total[favoured]: their sums. */
static void weigh(const named *v, int64_t count, double p, double *weight, double total[2])
{
    for (int64_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && !by_name(&v[i], &v[end]);)
            end++;
        for (int64_t k = i; k < end; k++) {
            weight[v[k].picture] = pow((double)(end - i), -p);
            total[v[k].favoured] += weight[v[k].picture];
        }
    }
}

double *im_balance_sums(im_ctx *c, const im_dataset *d, const im_balance *b, char hash[65])
{
    list l = { 0 };
    double total[2] = { 0 }, *sums = malloc((size_t)d->count * sizeof *sums);
    named *v = malloc((size_t)d->count * sizeof *v);
    bool ok = (v && sums) || im_fail(c, "out of memory for the first tags of %lld pictures", (long long)d->count);
    ok = ok && (!b->favour || read_list(c, &l, b->favour, hash));
    for (int64_t i = 0; ok && i < d->count; i++)
        v[i] = name_of(d->samples[i].caption, i, &l);
    if (ok) {
        qsort(v, (size_t)d->count, sizeof *v, by_name);
        weigh(v, d->count, (double)b->power, sums, total);
        ok = !b->favour || total[true] > 0 ||
             im_fail(c, "%s: no picture of %s shows one of its %d things; wanted things that first tags of captions are or "
                     "end in", b->favour, d->path, l.n);
    }
    if (ok && b->favour && total[false] > 0) {
        double share[2] = { (1 - (double)b->favour_share) / total[false], (double)b->favour_share / total[true] };
        for (int64_t i = 0; i < d->count; i++)
            sums[v[i].picture] *= share[v[i].favoured];
    }
    for (int64_t i = 1; ok && i < d->count; i++)
        sums[i] += sums[i - 1];
    free(l.text);
    free(l.v);
    free(v);
    if (ok)
        return sums;
    free(sums);
    return NULL;
}
