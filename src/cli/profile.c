/* profile.c: the table of --profile: time, share, GFLOP/s, GB/s and % of the measured peak, by op and by layer, and what
 * went to the device and back.
 * An op runs at best at the larger of its two limits, so its "% of peak" is the better of arithmetic and traffic.
 * Used by `imago generate --profile`. */
#include "cli/profile.h"

#include <stdlib.h>
#include <string.h>

enum { LAYERS_SHOWN = 30 };

typedef struct row {
    char *op, *layer;                                          /* layer NULL in the table by op                        */
    double seconds, flop, bytes;
    int64_t calls;
} row;

struct profile {
    im_ctx *c;
    row *v;                                                    /* by op and layer                                      */
    int n, cap;
    im_counts before, during;                                  /* what went to the device and back                     */
};

/* A layer is named by its first parameter: "conv_in.weight" belongs to "conv_in". */
static size_t layer_length(const char *name)
{
    static const char tail[] = ".weight";
    size_t n = strlen(name), m = sizeof tail - 1;
    return n > m && !strcmp(name + n - m, tail) ? n - m : n;
}

static row *find_row(profile *p, const im_profile_row *x)
{
    const char *layer = x->layer ? x->layer : "";
    size_t length = layer_length(layer);
    for (int i = 0; i < p->n; i++)
        if (!strncmp(p->v[i].layer, layer, length) && !p->v[i].layer[length] && !strcmp(p->v[i].op, x->op))
            return &p->v[i];
    if (p->n == p->cap) {
        int cap = p->cap ? 2 * p->cap : 256;
        row *v = realloc(p->v, (size_t)cap * sizeof *v);
        if (!v)
            return NULL;
        p->v = v;
        p->cap = cap;
    }
    row *r = &p->v[p->n];
    *r = (row){ .op = strdup(x->op), .layer = strndup(layer, length) };
    if (!r->op || !r->layer) {
        free(r->op);
        free(r->layer);
        return NULL;
    }
    p->n++;
    return r;
}

static void add(void *arg, const im_profile_row *x)
{
    profile *p = arg;
    row *r = find_row(p, x);
    if (!r) {
        im_fail(p->c, "out of memory for the profile");
        return;
    }
    r->seconds += x->seconds;
    r->flop += x->flop;
    r->bytes += x->bytes;
    r->calls++;
}

profile *profile_start(im_ctx *c)
{
    profile *p = calloc(1, sizeof *p);
    if (!p) {
        im_fail(c, "out of memory for the profile");
        return NULL;
    }
    p->c = c;
    p->before = im_counted(c);
    im_on_profile(c, add, p);
    return p;
}

void profile_stop(im_ctx *c, profile *p)
{
    if (!p)
        return;
    im_on_profile(c, NULL, NULL);
    im_counts now = im_counted(c);
    p->during = (im_counts){ .uploads = now.uploads - p->before.uploads, .downloads = now.downloads - p->before.downloads,
                             .syncs = now.syncs - p->before.syncs, .uploaded = now.uploaded - p->before.uploaded,
                             .downloaded = now.downloaded - p->before.downloaded };
}

void profile_free(profile *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n; i++) {
        free(p->v[i].op);
        free(p->v[i].layer);
    }
    free(p->v);
    free(p);
}

static int slower_first(const void *a, const void *b)
{
    double x = ((const row *)a)->seconds, y = ((const row *)b)->seconds;
    return x > y ? -1 : x < y;
}

/* Rows of the same op added together; malloc'd, names borrowed. */
static row *by_op(const profile *p, int *n)
{
    row *v = calloc((size_t)p->n + 1, sizeof *v);
    *n = 0;
    for (int i = 0; v && i < p->n; i++) {
        int k = 0;
        while (k < *n && strcmp(v[k].op, p->v[i].op))
            k++;
        if (k == *n)
            v[(*n)++].op = p->v[i].op;
        v[k].seconds += p->v[i].seconds;
        v[k].flop += p->v[i].flop;
        v[k].bytes += p->v[i].bytes;
        v[k].calls += p->v[i].calls;
    }
    if (v)
        qsort(v, (size_t)*n, sizeof *v, slower_first);
    return v;
}

static row *by_layer(const profile *p)
{
    row *v = malloc(((size_t)p->n + 1) * sizeof *v);
    if (v) {
        memcpy(v, p->v, (size_t)p->n * sizeof *v);
        qsort(v, (size_t)p->n, sizeof *v, slower_first);
    }
    return v;
}

double profile_percent(double seconds, double flop, double bytes, double peak_gflops, double peak_gbs)
{
    double a = peak_gflops > 0 ? flop / seconds * 1e-9 / peak_gflops : 0;
    double b = peak_gbs > 0 ? bytes / seconds * 1e-9 / peak_gbs : 0;
    return seconds > 0 ? 100 * (a > b ? a : b) : 0;
}

static void print_row(FILE *f, const row *r, double total, double peak_gflops, double peak_gbs)
{
    double s = r->seconds > 0 ? r->seconds : 1;
    fprintf(f, "%-11s %8lld %10.3f %6.1f %9.1f %8.1f %7.1f  %s\n", r->op, (long long)r->calls, r->seconds,
            100 * r->seconds / total, r->flop / s * 1e-9, r->bytes / s * 1e-9,
            profile_percent(r->seconds, r->flop, r->bytes, peak_gflops, peak_gbs), r->layer ? r->layer : "");
}

void profile_print(const profile *p, FILE *f, double peak_gflops, double peak_gbs)
{
    int n_ops = 0;
    double total = 0, rest = 0;
    row *ops = by_op(p, &n_ops), *layers = by_layer(p);
    for (int i = 0; i < p->n; i++)
        total += p->v[i].seconds;
    if (!ops || !layers || !(total > 0)) {
        fprintf(f, "profile: nothing was run\n");
    } else {
        fprintf(f, "peak of this machine: %.1f GFLOP/s, %.1f GB/s\n", peak_gflops, peak_gbs);
        fprintf(f, "%-11s %8s %10s %6s %9s %8s %7s  %s\n", "op", "calls", "seconds", "%", "GFLOP/s", "GB/s",
                "% peak", "layer");
        for (int i = 0; i < n_ops; i++)
            print_row(f, &ops[i], total, peak_gflops, peak_gbs);
        fprintf(f, "to the device: %lld uploads, %.3f MB; back: %lld downloads, %.3f MB; waited for it %lld times\n\n",
                (long long)p->during.uploads, (double)p->during.uploaded * 1e-6, (long long)p->during.downloads,
                (double)p->during.downloaded * 1e-6, (long long)p->during.syncs);
        for (int i = 0; i < p->n && i < LAYERS_SHOWN; i++)
            print_row(f, &layers[i], total, peak_gflops, peak_gbs);
        for (int i = LAYERS_SHOWN; i < p->n; i++)
            rest += layers[i].seconds;
        if (p->n > LAYERS_SHOWN)
            fprintf(f, "%d more layers took %.3f s (%.1f %%); --json lists all of them\n", p->n - LAYERS_SHOWN, rest,
                    100 * rest / total);
    }
    free(ops);
    free(layers);
}

static json_t *row_json(const row *r, double peak_gflops, double peak_gbs)
{
    double s = r->seconds > 0 ? r->seconds : 1;
    json_t *o = json_pack("{s:s, s:I, s:f, s:f, s:f, s:f}", "op", r->op, "calls", (json_int_t)r->calls,
                          "seconds", r->seconds, "gflops", r->flop / s * 1e-9, "gbs", r->bytes / s * 1e-9,
                          "percent_of_peak", profile_percent(r->seconds, r->flop, r->bytes, peak_gflops, peak_gbs));
    if (r->layer)
        json_object_set_new(o, "layer", json_string(r->layer));
    return o;
}

json_t *profile_json(const profile *p, double peak_gflops, double peak_gbs)
{
    int n_ops = 0;
    row *ops = by_op(p, &n_ops), *layers = by_layer(p);
    json_t *a = json_array(), *b = json_array();
    for (int i = 0; ops && i < n_ops; i++)
        json_array_append_new(a, row_json(&ops[i], peak_gflops, peak_gbs));
    for (int i = 0; layers && i < p->n; i++)
        json_array_append_new(b, row_json(&layers[i], peak_gflops, peak_gbs));
    free(ops);
    free(layers);
    return json_pack("{s:f, s:f, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "peak_gflops", peak_gflops, "peak_gbs", peak_gbs,
                     "ops", a, "layers", b, "uploads", (json_int_t)p->during.uploads, "uploaded_bytes",
                     (json_int_t)p->during.uploaded, "downloads", (json_int_t)p->during.downloads, "downloaded_bytes",
                     (json_int_t)p->during.downloaded, "syncs", (json_int_t)p->during.syncs);
}
