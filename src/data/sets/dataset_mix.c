/* dataset_mix.c: several sets of the same classes as one: so much of each of a fixed number of pictures, or all of them.
 * See im_dataset_mix in dataset.h. Used by train_resnet.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/sets/dataset_parts.h"
#include "data/sets/order.h"

enum { MOST = 16 };                                            /* sets of a mix                                       */

typedef struct part {
    char *name, *path;                                         /* malloc'd                                            */
    double share;                                              /* below 0: none was given                             */
    im_dataset *d;
    uint8_t *taken;                                            /* (d->count)                                          */
} part;

typedef struct mix { im_ctx *c; const char *text; part v[MOST]; int n; } mix;

static void mix_free(mix *m)
{
    for (int i = 0; i < m->n; i++) {
        free(m->v[i].name);
        free(m->v[i].path);
        free(m->v[i].taken);
        im_dataset_free(m->v[i].d);
    }
}

/* "NAME=PATH" or "NAME=PATH:SHARE"; a path may have colons. */
static bool read_part(mix *m, const char *text, size_t n)
{
    part *p = &m->v[m->n++];
    char *whole = im_copy_text(m->c, text, n), *equals = whole ? strchr(whole, '=') : NULL, *end = NULL;
    char *colon = equals ? strrchr(equals, ':') : NULL;
    *p = (part){ .share = -1 };
    if (!whole) return false;
    if (colon && colon[1]) {
        double share = strtod(colon + 1, &end);
        if (!*end) {
            p->share = share;
            *colon = '\0';
        }
    }
    bool ok = equals && equals > whole && equals[1] && !memchr(whole, '/', (size_t)(equals - whole))
           && (p->share == -1 || (p->share >= 0 && p->share <= 1));
    if (ok) {
        p->name = im_copy_text(m->c, whole, (size_t)(equals - whole));
        p->path = im_copy_text(m->c, equals + 1, strlen(equals + 1));
    }
    for (int i = 0; ok && p->name && i + 1 < m->n; i++) ok = strcmp(m->v[i].name, p->name) != 0;
    if (!ok)
        im_fail(m->c, "--mix: \"%.*s\": wanted NAME=DIR:SHARE, with names that differ and shares from 0 to 1: "
                "real=DIR:0.25,synth=SET:0.75", (int)n, text);
    free(whole);
    return ok && im_ok(m->c);
}

static bool read_mix(mix *m)
{
    for (const char *at = m->text; at; ) {
        size_t n = strcspn(at, ",");
        if (m->n == MOST) return im_fail(m->c, "--mix: names more than %d sets", MOST);
        if (!read_part(m, at, n)) return false;
        at = at[n] ? at + n + 1 : NULL;
    }
    return true;
}

/* Shares and a budget belong together. */
static bool check_shares(mix *m, int64_t budget)
{
    int given = 0;
    double sum = 0;
    for (int i = 0; i < m->n; i++)
        if (m->v[i].share >= 0) {
            given++;
            sum += m->v[i].share;
        }
    if (given && given < m->n) return im_fail(m->c, "--mix %s: some sets have a share and some have none", m->text);
    if (!given != !budget)
        return im_fail(m->c, given ? "--mix %s: shares are of a number of pictures: --budget N is missing"
                                   : "--mix %s: --budget needs shares: NAME=DIR:SHARE", m->text);
    if (given && fabs(sum - 1) > 1e-6)
        return im_fail(m->c, "--mix %s: its shares are %g together; wanted 1", m->text, sum);
    return true;
}

static bool open_parts(mix *m, const im_dataset_args *args)
{
    for (int i = 0; i < m->n; i++) {
        im_dataset_args a = *args;
        a.path = m->v[i].path;
        im_dataset *d = m->v[i].d = im_dataset_open(m->c, &a), *first = m->v[0].d;
        if (!d) return false;
        m->v[i].taken = calloc((size_t)d->count + 1, 1);
        if (!m->v[i].taken) return im_fail(m->c, "%s: out of memory for %lld pictures", d->path, (long long)d->count);
        if (d->n_classes != first->n_classes)
            return im_fail(m->c, "%s has %d classes and %s has %d; sets are mixed whose classes are the same", d->path,
                           d->n_classes, first->path, first->n_classes);
        for (int k = 0; k < d->n_classes; k++)
            if (strcmp(d->classes[k], first->classes[k]))
                return im_fail(m->c, "%s: its class %d is \"%s\", and that of %s is \"%s\"; sets are mixed whose classes "
                               "are the same", d->path, k, d->classes[k], first->path, first->classes[k]);
    }
    return true;
}

/* n of the pictures of p: one of each class in turn, in a drawn order, as long as a class has more. */
static bool take(mix *m, part *p, int64_t n, uint64_t seed)
{
    const im_dataset *d = p->d;
    if (n > d->count)
        return im_fail(m->c, "%s: holds %lld pictures, and its share of the budget is %lld; lower --budget or the share",
                       d->path, (long long)d->count, (long long)n);
    int64_t *first = calloc((size_t)d->n_classes + 2, sizeof *first), *own = calloc((size_t)d->count + 1, sizeof *own);
    uint32_t *order = calloc((size_t)d->count + 1, sizeof *order);
    bool ok = (first && own && order) || im_fail(m->c, "%s: out of memory for %lld pictures", d->path, (long long)d->count);
    for (int64_t i = 0; ok && i < d->count; i++) first[d->samples[i].label + 2]++;
    for (int k = 0; ok && k < d->n_classes; k++) first[k + 2] += first[k + 1];
    for (int64_t i = 0; ok && i < d->count; i++) own[first[d->samples[i].label + 1]++] = i;
    for (int k = 0; ok && k < d->n_classes; k++)
        im_order_fill(order + first[k], first[k + 1] - first[k], true, seed, (uint64_t)k);
    for (int64_t round = 0, left = n; ok && left > 0; round++)
        for (int k = 0; k < d->n_classes && left > 0; k++) {
            if (round >= first[k + 1] - first[k]) continue;
            p->taken[own[first[k] + order[first[k] + round]]] = 1;
            left--;
        }
    free(first);
    free(own);
    free(order);
    return ok;
}

static bool take_all(mix *m, int64_t budget, uint64_t seed)
{
    double before = 0;
    for (int i = 0; i < m->n; i++) {
        part *p = &m->v[i];
        double after = budget && i + 1 < m->n ? before + p->share : 1;
        if (!budget) memset(p->taken, 1, (size_t)p->d->count);
        else if (!take(m, p, llround(after * (double)budget) - llround(before * (double)budget), seed)) return false;
        before = after;
    }
    return true;
}

/* ---------------------------------------------------------------- one set of all */

static const char *prefixed(mix *m, im_dataset *out, const part *p, const char *name)
{
    size_t n = strlen(p->name) + strlen(name) + 2;
    char *text = malloc(n);
    if (!text) {
        im_fail(m->c, "%s: out of memory for names", m->text);
        return NULL;
    }
    snprintf(text, n, "%s/%s", p->name, name);
    const char *kept = im_texts_add(m->c, out->texts, text, n - 1);
    free(text);
    return kept;
}

static const char *copied(mix *m, im_dataset *out, const char *text)
{
    return text ? im_texts_add(m->c, out->texts, text, strlen(text)) : NULL;
}

static bool add_part(mix *m, im_dataset *out, int at)
{
    const part *p = &m->v[at];
    const im_dataset *d = p->d;
    out->roots[at] = (im_root){ copied(m, out, d->folder), strlen(p->name) + 1 };
    for (int i = 0; i < d->n_shards; i++) out->shards[out->n_shards + i] = copied(m, out, d->shards[i]);
    for (int64_t i = 0; i < d->count && im_ok(m->c); i++) {
        if (!p->taken[i]) continue;
        im_sample *s = &out->samples[out->count++];
        *s = d->samples[i];
        s->name = prefixed(m, out, p, d->samples[i].name);
        s->caption = copied(m, out, d->samples[i].caption);
        s->root = at;
        if (s->shard >= 0) s->shard += out->n_shards;
    }
    for (int64_t i = 0; i < d->n_broken && im_ok(m->c); i++)
        out->broken[out->n_broken++] = (im_broken){ prefixed(m, out, p, d->broken[i].name),
                                                    copied(m, out, d->broken[i].reason) };
    out->n_shards += d->n_shards;
    out->ignored += d->ignored;
    return im_ok(m->c);
}

static im_dataset *join(mix *m)
{
    const im_dataset *first = m->v[0].d;
    im_dataset *out = calloc(1, sizeof *out);
    size_t pictures = 1, broken = 1, shards = 1;
    for (int i = 0; i < m->n; i++) {
        pictures += (size_t)m->v[i].d->count;
        broken += (size_t)m->v[i].d->n_broken;
        shards += (size_t)m->v[i].d->n_shards;
    }
    bool ok = first && out && (out->texts = im_texts_new(m->c)) && (out->samples = calloc(pictures, sizeof *out->samples))
           && (out->broken = calloc(broken, sizeof *out->broken)) && (out->shards = calloc(shards, sizeof *out->shards))
           && (out->roots = calloc((size_t)m->n, sizeof *out->roots))
           && (out->classes = calloc((size_t)first->n_classes + 1, sizeof *out->classes));
    if (ok) {
        out->kind = IM_SET_CLASSES;
        out->path = copied(m, out, m->text);
        out->folder = "";
        out->n_classes = first->n_classes;
    }
    for (int k = 0; ok && k < first->n_classes; k++) ok = (out->classes[k] = copied(m, out, first->classes[k])) != NULL;
    for (int i = 0; ok && i < m->n; i++) ok = add_part(m, out, i);
    if (ok && im_ok(m->c)) return out;
    im_fail(m->c, "%s: out of memory for its pictures", m->text);
    im_dataset_free(out);
    return NULL;
}

im_dataset *im_dataset_mix(im_ctx *c, const char *text, int64_t budget, uint64_t seed, const im_dataset_args *args)
{
    mix m = { .c = c, .text = text };
    im_dataset *out = NULL;
    if (!im_ok(c)) return NULL;
    if (read_mix(&m) && check_shares(&m, budget) && open_parts(&m, args) && take_all(&m, budget, seed)) out = join(&m);
    mix_free(&m);
    return out;
}

char *im_mix_whole(im_ctx *c, const char *text)
{
    mix m = { .c = c, .text = text };
    char *out = NULL;
    size_t n = 0;
    FILE *f = im_ok(c) && read_mix(&m) ? open_memstream(&out, &n) : NULL;
    for (int i = 0; f && i < m.n; i++) {
        char *path = realpath(m.v[i].path, NULL);              /* patterns of shards are no path: as given            */
        fprintf(f, "%s%s=%s", i ? "," : "", m.v[i].name, path ? path : m.v[i].path);
        if (m.v[i].share >= 0) fprintf(f, ":%.9g", m.v[i].share);
        free(path);
    }
    if (im_ok(c) && (!f || fclose(f))) im_fail(c, "--mix: out of memory");
    mix_free(&m);
    if (im_ok(c)) return out;
    free(out);
    return NULL;
}
