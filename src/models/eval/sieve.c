/* sieve.c: a classifier's opinion of the pictures of a synthetic set: for each the log of the softmax of the class that
 * its prompt named (He et al. 2023, arXiv 2210.07574, with CLIP in the classifier's place). Pictures are cut as in
 * evaluation (run_set.h). Used by `imago synth --filter`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/files/file.h"
#include "data/files/sha256.h"
#include "models/checkpoints/classifier_file.h"
#include "models/eval/run_set.h"

enum { BATCH = 32, USUAL_SIZE = 224 };

struct im_sieve {
    im_classifier *m;
    im_classifier_info info;
    double keep;
    char text[80];
};

/* "classifier=RUN:keep=.8": RUN, malloc'd; it may hold colons. */
static char *read_text(im_ctx *c, const char *text, double *keep)
{
    static const char kind[] = "classifier=", share[] = ":keep=";
    const char *from = strncmp(text, kind, sizeof kind - 1) ? NULL : text + sizeof kind - 1, *at = NULL;
    char *end = NULL;
    for (const char *p = from; p && (p = strstr(p, share)); p++) at = p;
    *keep = at ? strtod(at + sizeof share - 1, &end) : 0;
    if (at && at > from && end != at + sizeof share - 1 && !*end && *keep > 0 && *keep <= 1)
        return im_copy_text(c, from, (size_t)(at - from));
    im_fail(c, "--filter %s: wanted classifier=RUN:keep=Q: the folder of a run of `imago train resnet`, or a safetensors "
            "file, and the share of each class that stays, above 0 and up to 1", text);
    return NULL;
}

im_sieve *im_sieve_open(im_ctx *c, const char *text)
{
    if (!im_ok(c)) return NULL;
    im_sieve *f = calloc(1, sizeof *f);
    if (!f) {
        im_fail(c, "out of memory for a filter");
        return NULL;
    }
    char hash[65], *path = read_text(c, text, &f->keep);
    f->m = path ? im_classifier_open(c, path, &f->info) : NULL;
    bool ok = f->m && im_sha256_file(c, f->info.path, hash);
    if (ok) snprintf(f->text, sizeof f->text, "classifier %s", hash);
    free(path);
    if (ok) return f;
    im_sieve_free(f);
    return NULL;
}

void im_sieve_free(im_sieve *f)
{
    if (!f) return;
    im_classifier_free(f->m);
    im_classifier_info_free(&f->info);
    free(f);
}

const char *im_sieve_text(const im_sieve *f) { return f->text; }
double im_sieve_keep(const im_sieve *f) { return f->keep; }

static int class_of(const im_sieve *f, const char *name)
{
    for (int k = 0; k < f->info.n_names; k++)
        if (!strcmp(f->info.names[k], name)) return k;
    return -1;
}

bool im_sieve_fits(im_ctx *c, im_sieve *f, const im_synth *s)
{
    int64_t n = im_synth_count(s);
    im_synth_place first, p;
    if (!f->info.n_names)
        return im_fail(c, "%s: does not tell the names of its %d classes; wanted a run of `imago train resnet`, which "
                       "holds them", f->info.path, f->info.config.classes);
    for (int64_t i = 0; i < n; i++) {                          /* classes come in turn: one round shows all           */
        im_synth_where(s, i, &p);
        if (!i) first = p;
        else if (!strcmp(p.class_name, first.class_name)) break;
        if (class_of(f, p.class_name) < 0)
            return im_fail(c, "%s: has no class \"%s\", which the set has; a filter must know every class", f->info.path,
                           p.class_name);
    }
    return true;
}

/* ---------------------------------------------------------------- scores */

typedef struct scoring { int classes; double *score; } scoring;

static bool score_one(void *arg, const im_seen *x)
{
    const scoring *s = arg;
    double most = x->logits[0], sum = 0;
    for (int k = 1; k < s->classes; k++) most = x->logits[k] > most ? x->logits[k] : most;
    for (int k = 0; k < s->classes; k++) sum += exp(x->logits[k] - most);
    s->score[x->index] = x->logits[x->label] - most - log(sum);
    return true;
}

/* The pictures as they lie there now, labelled by the classifier's classes; names: where they are kept. */
static bool list_pictures(im_ctx *c, const im_sieve *f, const im_synth *s, im_dataset *d, char (*names)[320])
{
    for (int64_t i = 0; i < d->count; i++) {
        im_synth_place p;
        struct stat st;
        im_synth_where(s, i, &p);
        d->path = d->folder = p.set;
        memcpy(names[i], p.file, sizeof p.file);
        char *path = im_join(c, p.set, p.file);
        if (path && stat(path, &st)) im_fail(c, "%s: is missing; draw the set again", path);
        free(path);
        if (!im_ok(c)) return false;
        d->samples[i] = (im_sample){ .name = names[i], .label = class_of(f, p.class_name), .shard = -1,
                                     .bytes = (uint64_t)st.st_size };
    }
    return true;
}

bool im_sieve_scores(im_ctx *c, im_sieve *f, const im_synth *s, double *score)
{
    im_dataset d = { .kind = IM_SET_CLASSES, .count = im_synth_count(s), .n_classes = f->info.config.classes,
                     .classes = (const char **)f->info.names };
    if (!im_ok(c) || !im_sieve_fits(c, f, s)) return false;
    char (*names)[320] = malloc(((size_t)d.count + 1) * sizeof *names);
    d.samples = malloc(((size_t)d.count + 1) * sizeof *d.samples);
    im_run_args run = { .batch = BATCH, .size = f->info.size > 0 ? f->info.size : USUAL_SIZE, .strict = true };
    bool ok = (names && d.samples) || im_fail(c, "out of memory for a list of %lld pictures", (long long)d.count);
    ok = ok && list_pictures(c, f, s, &d, names)
       && im_run_set(c, f->m, f->info.config.classes, &d, &run, score_one,
                     &(scoring){ f->info.config.classes, score }, NULL);
    free(d.samples);
    free(names);
    return ok;
}
