/* explain_maps.c: where in the picture each token is looked for, by DAAM's rule (Tang et al. 2022, arXiv 2210.04885):
 *
 *     p = softmax(q k^T / sqrt(d)) over all keys        of every attention over the text, in the half that sees the prompt
 *     map = mean over layers and heads of max(0, bicubic(p)), bicubic to the size of the latents; sum over steps
 *
 * Layers that are 8 times coarser than the latents, or more, are left out. Attention itself never stores p
 * (tensor/cpu/attention.c); here it is computed once more from traced queries and keys. Used by explain_run.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"

enum { TOO_COARSE = 8 };

/* ---------------------------------------------------------------- bicubic, as torch's interpolate has it */

static double cubic(double x)                                  /* a = -0.75                                            */
{
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static int clamp(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }

/* from (h, w) -> to (big_h, big_w), what is below 0 becoming 0; added. */
static void enlarge(const double *from, int w, int h, double *to, int big_w, int big_h)
{
    for (int y = 0; y < big_h; y++) {
        double sy = (y + 0.5) * h / big_h - 0.5, fy = floor(sy);
        for (int x = 0; x < big_w; x++) {
            double sx = (x + 0.5) * w / big_w - 0.5, fx = floor(sx), sum = 0;
            for (int i = -1; i <= 2; i++)
                for (int j = -1; j <= 2; j++)
                    sum += cubic(sy - fy - i) * cubic(sx - fx - j)
                         * from[clamp((int)fy + i, h) * w + clamp((int)fx + j, w)];
            to[y * big_w + x] += sum > 0 ? sum : 0;
        }
    }
}

/* ---------------------------------------------------------------- one layer */

typedef struct job {
    const explain *e;
    const explain_layer *l;
    const float *q;                                            /* (pixels, heads, d)                                   */
    double *maps;                                              /* (heads, tokens, h, w)                                */
    bool failed;
} job;

/* p (pixels, tokens) of a head: those keys that are shown. */
static void probabilities(const job *j, int head, double *scores, double *p)
{
    const explain_layer *l = j->l;
    int keys = j->e->length, tokens = j->e->tokens, d = l->d;
    for (int i = 0; i < l->width * l->height; i++) {
        const float *q = j->q + ((size_t)i * (size_t)l->heads + (size_t)head) * (size_t)d;
        double most = -HUGE_VAL, sum = 0;
        for (int t = 0; t < keys; t++) {
            const float *k = l->keys + ((size_t)t * (size_t)l->heads + (size_t)head) * (size_t)d;
            double s = 0;
            for (int a = 0; a < d; a++)
                s += (double)q[a] * (double)k[a];
            scores[t] = s / sqrt(d);
            most = fmax(most, scores[t]);
        }
        for (int t = 0; t < keys; t++)
            sum += scores[t] = exp(scores[t] - most);
        for (int t = 0; t < tokens; t++)
            p[(size_t)t * (size_t)(l->width * l->height) + (size_t)i] = scores[t] / sum;
    }
}

static void head_task(void *arg, int head, int thread)
{
    job *j = arg;
    const explain *e = j->e;
    size_t pixels = (size_t)(j->l->width * j->l->height), latent = (size_t)(e->w * e->h);
    double *scores = malloc((size_t)e->length * sizeof *scores), *p = malloc((size_t)e->tokens * pixels * sizeof *p);
    (void)thread;
    if (scores && p) {
        probabilities(j, head, scores, p);
        for (int t = 0; t < e->tokens; t++)
            enlarge(p + (size_t)t * pixels, j->l->width, j->l->height,
                    j->maps + ((size_t)head * (size_t)e->tokens + (size_t)t) * latent, e->w, e->h);
    } else {
        j->failed = true;
    }
    free(scores);
    free(p);
}

/* Means over heads go to the layer's sum and to the step's. */
static void add_heads(explain *e, explain_layer *l, const double *maps)
{
    size_t n = (size_t)e->tokens * (size_t)(e->w * e->h);
    float *step = e->map_steps + (size_t)e->step * n;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < l->heads; k++)
            sum += maps[(size_t)k * n + i];
        l->sum[i] += (float)(sum / l->heads);
        step[i] += (float)(sum / l->heads);
    }
}

static explain_layer *layer_of(explain *e, const char *name, size_t n)
{
    for (int i = 0; i < e->n_layers; i++)
        if (!strncmp(e->layers[i].name, name, n) && !e->layers[i].name[n])
            return &e->layers[i];
    if (e->n_layers == e->cap_layers) {
        int cap = e->cap_layers ? 2 * e->cap_layers : 32;
        explain_layer *v = realloc(e->layers, (size_t)cap * sizeof *v);
        if (!v)
            return NULL;
        e->layers = v;
        e->cap_layers = cap;
    }
    explain_layer *l = &e->layers[e->n_layers];
    *l = (explain_layer){ .name = strndup(name, n) };
    return l->name ? &e->layers[e->n_layers++] : NULL;
}

/* Of (B, T, heads, d) the last sample, which is the prompt's; malloc'd. */
static float *last_sample(explain *e, const im_tensor *t)
{
    size_t n = (size_t)(im_numel(t) / t->shape[0]);
    float *all = NULL, *out = malloc(n * sizeof *out);
    if (t->dtype != IM_F32)
        im_fail(e->c, "maps of words need queries and keys in f32");
    else if (out)
        all = im_values(e->c, t);
    else
        im_fail(e->c, "out of memory for the maps of words");
    if (all)
        memcpy(out, all + (size_t)(t->shape[0] - 1) * n, n * sizeof *out);
    free(all);
    if (all)
        return out;
    free(out);
    return NULL;
}

bool explain_keys(explain *e, const char *name, const im_tensor *k)
{
    explain_layer *l = layer_of(e, name, strlen(name) - strlen(".to_k"));
    if (!l)
        return im_fail(e->c, "out of memory for the maps of words");
    l->heads = (int)k->shape[2];
    l->d = (int)k->shape[3];
    free(l->keys);
    l->keys = last_sample(e, k);
    return l->keys != NULL;
}

/* Width and height of a layer of so many pixels: the latents' size, halved (rounded up) so often. */
static bool find_size(const explain *e, explain_layer *l, int64_t pixels, int *coarse)
{
    l->width = e->w;
    l->height = e->h;
    for (*coarse = 1; (int64_t)l->width * l->height > pixels; *coarse *= 2) {
        l->width = (l->width + 1) / 2;
        l->height = (l->height + 1) / 2;
    }
    return (int64_t)l->width * l->height == pixels;
}

bool explain_queries(explain *e, const char *name, const im_tensor *q)
{
    explain_layer *l = layer_of(e, name, strlen(name) - strlen(".to_q"));
    int coarse;
    if (!l || !l->keys || !find_size(e, l, q->shape[1], &coarse))
        return im_fail(e->c, "%s: its queries and keys do not fit the latents", name);
    l->used = coarse < TOO_COARSE;
    if (!l->used)
        return true;
    size_t latent = (size_t)(e->w * e->h), n = (size_t)e->tokens * latent;
    if (!l->sum)
        l->sum = calloc(n, sizeof *l->sum);
    float *values = last_sample(e, q);
    double *maps = calloc((size_t)l->heads * n, sizeof *maps);
    job j = { .e = e, .l = l, .q = values, .maps = maps, .failed = !values || !maps || !l->sum };
    if (!j.failed)
        im_parallel(e->c, l->heads, head_task, &j);
    if (!j.failed)
        add_heads(e, l, maps);
    free(values);
    free(maps);
    return !j.failed || im_fail(e->c, "out of memory for the maps of words");
}

bool explain_maps_end(explain *e)
{
    size_t n = (size_t)e->tokens * (size_t)(e->w * e->h);
    float *step = e->map_steps + (size_t)e->step * n;
    int used = 0;
    for (int i = 0; i < e->n_layers; i++)
        used += e->layers[i].used;
    for (size_t i = 0; i < n && used; i++) {
        step[i] /= (float)used;
        e->map_sum[i] += step[i];
    }
    return im_ok(e->c);
}
