/* generate_latents.c: --latents: the noise that pictures begin from, and --save-latents: the latents that they end in, as a
 * safetensors file with one tensor "latents" (N, C, h, w) in torch's order. Used by cmd_generate.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "data/files/sha256.h"

static const char NAME[] = "latents";

/* --from, one picture and a file of several: the row that the picture was made from. */
static bool find_row(run_state *r, int64_t count)
{
    r->first_latents = im_request_of(r->from.text)->latents_index;
    return r->first_latents < count
        || im_fail(r->c, "%s: holds latents of %lld pictures, but %s began from number %lld of its file; give the file "
                         "that it was made with", r->o->latents, (long long)count, r->from.path,
                   r->first_latents + 1LL);
}

static bool check_shape(run_state *r, const im_st_entry *e, const int64_t want[3], int64_t *count)
{
    const int64_t *s = e->ndim == 4 ? e->shape + 1 : e->shape;
    *count = e->ndim == 4 ? e->shape[0] : 1;
    if ((e->ndim != 3 && e->ndim != 4) || s[0] != want[0] || s[1] != want[1] || s[2] != want[2])
        return im_fail(r->c, "%s: \"latents\" does not fit pictures of %dx%d: wanted (N, %lld, %lld, %lld), or without N; "
                             "see -W and -H", r->o->latents, r->base.width, r->base.height, (long long)want[0],
                       (long long)want[1], (long long)want[2]);
    if (*count > 1 && r->jobs.n == 1 && r->from.text && im_request_of(r->from.text)->latents_index >= 0)
        return find_row(r, *count);
    if (*count != 1 && *count != r->jobs.n)
        return im_fail(r->c, "%s: holds latents of %lld pictures, but %d are to be made; wanted 1 (for all) or %d",
                       r->o->latents, (long long)*count, r->jobs.n, r->jobs.n);
    return true;
}

static void widen(float *to, const im_st_entry *e, size_t n)
{
    const uint16_t *half = e->data;
    for (size_t i = 0; i < n; i++)
        to[i] = e->dtype == IM_F16 ? im_f32_from_f16(half[i]) : im_f32_from_bf16(half[i]);
}

bool latents_load(run_state *r)
{
    const int64_t *want = r->latent_shape;
    int64_t count = 0;
    if (!r->o->latents)
        return true;
    im_safetensors *f = im_st_open(r->c, r->o->latents);
    const im_st_entry *e = f ? im_st_find(f, NAME) : NULL;
    if (!f)
        return false;
    if (!e || (e->dtype != IM_F32 && e->dtype != IM_F16 && e->dtype != IM_BF16))
        im_fail(r->c, "%s: has no tensor \"latents\" in F32, F16 or BF16", r->o->latents);
    else if (check_shape(r, e, want, &count)) {
        size_t n = (size_t)(count * want[0] * want[1] * want[2]);
        r->latents = malloc(n * sizeof(float));
        if (!r->latents)
            im_fail(r->c, "out of memory for the latents of %lld pictures", (long long)count);
        else if (e->dtype == IM_F32)
            memcpy(r->latents, e->data, n * sizeof(float));
        else
            widen(r->latents, e, n);
        r->n_latents = (int)count;
        if (r->latents)
            im_sha256_of(r->c, r->latents, n * sizeof(float), r->latents_hash);
    }
    im_st_close(f);
    return im_ok(r->c);
}

int latents_row(const run_state *r, int index)
{
    return r->n_latents > 1 ? r->first_latents + index : 0;
}

/* Writes the latents of all pictures in the order of the run, with their seeds beside. */
bool latents_save(run_state *r)
{
    const int64_t *s = r->latent_shape;
    if (!r->o->save_latents)
        return true;
    json_t *seeds = json_array();
    for (int i = 0; i < r->jobs.n; i++) {
        char seed[24];
        snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->jobs.v[i].p->seed);
        json_array_append_new(seeds, json_string(seed));
    }
    char *text = json_dumps(seeds, JSON_COMPACT);
    json_decref(seeds);
    im_st_entry e = { .name = NAME, .dtype_name = "F32", .dtype = IM_F32, .ndim = 4,
                      .shape = { r->jobs.n, s[0], s[1], s[2] } };
    const char *const metadata[] = { "format", "pt", "seeds", text ? text : "" };
    im_st_writer *w = im_st_create(r->c, r->o->save_latents, &e, 1, metadata, 2);
    size_t bytes = (size_t)r->jobs.n * (size_t)(s[0] * s[1] * s[2]) * sizeof(float);
    if (w && im_st_put(r->c, w, 0, r->saved, bytes))
        im_st_finish(r->c, w);
    else
        im_st_abandon(w);
    free(text);
    return im_ok(r->c);
}
