/* sieve.c: a classifier's opinion of the pictures of a synthetic set: for each the log of the softmax of the class that
 * its prompt named; or CLIP's, the cosine of the picture with its own prompt (He et al. 2023, arXiv 2210.07574). Pictures
 * are cut as in evaluation (run_set.h). Used by `imago synth --filter`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/files/file.h"
#include "data/files/json.h"
#include "data/files/names.h"
#include "data/files/sha256.h"
#include "data/text/lora_tags.h"
#include "models/checkpoints/classifier_file.h"
#include "models/eval/run_set.h"
#include "models/eval/zero_shot.h"

enum { BATCH = 32, USUAL_SIZE = 224 };

struct im_sieve {
    im_classifier *m;                                          /* or NULL, and CLIP                                   */
    im_zero_shot clip;
    im_classifier_info info;
    double keep;
    char text[80];
};

/* "classifier=RUN:keep=.8", "clip=DIR:keep=.8": RUN or DIR, malloc'd; it may hold colons. */
static char *read_text(im_ctx *c, const char *text, bool *clip, double *keep)
{
    static const char *const kinds[] = { "classifier=", "clip=" };
    static const char share[] = ":keep=";
    const char *from = NULL, *at = NULL;
    char *end = NULL;
    for (int i = 0; i < 2 && !from; i++) {
        from = strncmp(text, kinds[i], strlen(kinds[i])) ? NULL : text + strlen(kinds[i]);
        *clip = i == 1;
    }
    for (const char *p = from; p && (p = strstr(p, share)); p++) at = p;
    *keep = at ? strtod(at + sizeof share - 1, &end) : 0;
    if (at && at > from && end != at + sizeof share - 1 && !*end && *keep > 0 && *keep <= 1)
        return im_copy_text(c, from, (size_t)(at - from));
    im_fail(c, "--filter %s: wanted classifier=RUN:keep=Q (the folder of a run of `imago train resnet`, or a safetensors "
            "file) or clip=DIR:keep=Q (a folder with CLIP), and the share of each class that stays, above 0 and up to 1",
            text);
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
    bool clip = false;
    char hash[65], *path = read_text(c, text, &clip, &f->keep);
    if (path && clip) im_zero_shot_open(c, path, NULL, NULL, &f->clip, &f->info);
    else if (path) f->m = im_classifier_open(c, path, &f->info);
    bool ok = im_ok(c) && im_sha256_file(c, f->info.path, hash);
    if (ok) snprintf(f->text, sizeof f->text, "%s %s", clip ? "clip" : "classifier", hash);
    free(path);
    if (ok) return f;
    im_sieve_free(f);
    return NULL;
}

void im_sieve_free(im_sieve *f)
{
    if (!f) return;
    im_classifier_free(f->m);
    im_zero_shot_free(&f->clip);
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
    if (!f->m) return true;                                    /* CLIP knows everything that has a name               */
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
    s->score[x->index] = x->logits[x->label] - most - log(fmax(sum, 1));
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
        d->samples[i] = (im_sample){ .name = names[i], .label = f->m ? class_of(f, p.class_name) : 0, .shard = -1,
                                     .bytes = (uint64_t)st.st_size };
    }
    return true;
}

/* ---------------------------------------------------------------- CLIP: the prompts */

typedef struct prompts {
    char **texts; int n, cap;                                  /* different ones                                      */
    int *of;                                                   /* (pictures)                                          */
    im_names index;
    float *vectors;                                            /* (n, width)                                          */
} prompts;

static bool add_prompt(im_ctx *c, prompts *p, int64_t picture, const char *text)
{
    int at = im_names_find(&p->index, text, strlen(text));
    if (at < 0 && p->n == p->cap) {
        int cap = p->cap ? 2 * p->cap : 64;
        char **texts = realloc(p->texts, (size_t)cap * sizeof *texts);
        if (!texts) return im_fail(c, "out of memory for %d prompts", cap);
        p->texts = texts;
        p->cap = cap;
    }
    if (at < 0) {
        if (!(p->texts[p->n] = im_copy_text(c, text, strlen(text)))) return false;
        at = p->n++;
        if (!im_names_add(c, &p->index, p->texts[at], strlen(text), at)) return false;
    }
    p->of[picture] = at;
    return true;
}

static bool read_prompts(im_ctx *c, const im_synth *s, prompts *p)
{
    int64_t n = im_synth_count(s);
    p->of = malloc(((size_t)n + 1) * sizeof *p->of);
    bool ok = (p->of || im_fail(c, "out of memory for the prompts of %lld pictures", (long long)n))
           && im_names_init(c, &p->index, 256);
    for (int64_t i = 0; ok && i < n; i++) {
        char *line = im_synth_line(c, s, i);
        im_json j = { 0 };
        const char *text = NULL;
        im_lora_tags t = { 0 };                                /* <lora:...> is no word of the prompt                  */
        ok = line && im_json_parse(c, &j, "a prompt", line, strlen(line)) && im_json_string(c, &j, "prompt", IM_MUST, &text)
          && im_lora_tags_read(c, text, &t) && add_prompt(c, p, i, t.text);
        if (ok) im_lora_tags_free(&t);
        im_json_close(&j);
        free(line);
    }
    return ok;
}

static void free_prompts(prompts *p)
{
    for (int i = 0; i < p->n; i++) free(p->texts[i]);
    free(p->texts);
    free(p->of);
    free(p->vectors);
    im_names_free(&p->index);
}

typedef struct matching { const prompts *p; int width; double *score; } matching;

static bool match_one(void *arg, const im_seen *x)
{
    const matching *m = arg;
    const float *text = m->p->vectors + (int64_t)m->p->of[x->index] * m->width;
    double sum = 0;
    for (int k = 0; k < m->width; k++) sum += (double)x->features[k] * text[k];
    m->score[x->index] = sum;
    return true;
}

static bool match(im_ctx *c, im_sieve *f, const im_synth *s, const im_dataset *d, const im_run_args *run, double *score)
{
    prompts p = { .n = 0 };
    int width = im_clip_pair_width(f->clip.pair);
    bool ok = read_prompts(c, s, &p);
    if (ok) ok = (p.vectors = malloc((size_t)p.n * (size_t)width * sizeof *p.vectors)) ||
                 im_fail(c, "out of memory for %d prompts", p.n);
    ok = ok && im_clip_pair_texts(c, f->clip.pair, (const char *const *)p.texts, p.n, p.vectors)
       && im_zero_shot_run(c, &f->clip, d, run, match_one, &(matching){ &p, width, score }, NULL);
    free_prompts(&p);
    return ok;
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
    ok = ok && list_pictures(c, f, s, &d, names);
    if (ok && f->m)
        ok = im_run_set(c, f->m, f->info.config.classes, &d, &run, score_one,
                        &(scoring){ f->info.config.classes, score }, NULL);
    else if (ok)
        ok = match(c, f, s, &d, &run, score);
    free(d.samples);
    free(names);
    return ok;
}
