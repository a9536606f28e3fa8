/* init_weights.c: writes a whole diffusers folder with random weights, the same bytes on every machine. It stands in
 * for a real checkpoint where none can be had: in tests, benchmarks and comparisons with diffusers.
 *
 * Element i of the tensor NAME is   mean + scale * (u0 + u1 + u2 + u3 - 131070),
 * where u0..u3 are the 16-bit quarters of splitmix64 (Steele, Lea & Flood 2014) number i of the stream that seed and
 * NAME choose. A sum of four uniforms is nearly normal (at most 3.5 sigma), and integers, one product and one sum in
 * f32 are exact or rounded alike everywhere. scale is gain / sqrt(fan-in) by the table below: products keep unit size,
 * the last layer of each residual branch is small, so that the sum over all of them stays near unit size too. */
#include "models/checkpoints/checkpoint.h"
#include "models/nets/clip.h"
#include "models/checkpoints/model_files.h"
#include "models/checkpoints/part_out.h"
#include "models/nets/unet.h"
#include "models/nets/vae.h"
#include "data/files/file.h"
#include "data/files/mix64.h"
#include "data/files/safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Gains of weights whose names contain a text; the first that fits counts; 1 for the rest. Inputs after SiLU have mean
 * square 0.36, after a norm 1. */
static const struct { const char *text; double gain; } gains[] = {
    { "post_quant_conv.", 0.18215 },     /* latents / scaling_factor -> unit size                                     */
    { "decoder.conv_out.", 0.8 },        /* -> pictures in -1..1 with a standard deviation near 0.5                   */
    { "encoder.conv_out.", 1.7 },
    { "quant_conv.", 5.5 },              /* unit size -> 1 / scaling_factor                                           */
    { "conv_out.", 2.1 },                /* -> noise of unit size                                                     */
    { "time_emb_proj.", 1.5 },
    { "conv1.", 1.7 },
    { "conv2.", 0.6 },                   /* residual branches end here                                                */
    { "proj_out.", 0.5 },
    { "ff.net.2.", 0.7 },
    { "attn2.to_out.0.", 0.3 },          /* guidance multiplies what the text changes                                 */
    { "to_out.0.", 1.0 },                /* an average over keys is small already                                     */
    { "out_proj.", 1.0 },
    { "mlp.fc2.", 0.7 },
    { "to_q.", 1.5 }, { "to_k.", 1.5 },  /* scores of standard deviation 2: some keys matter more than others         */
    { "q_proj.", 1.5 }, { "k_proj.", 1.5 },
};

typedef struct recipe { float mean, scale; } recipe;

static const double quarters_deviation = 37837.227;            /* of u0 + u1 + u2 + u3: sqrt(4 (2^32 - 1) / 12)       */

static recipe normal(double mean, double deviation)
{
    return (recipe){ (float)mean, (float)(deviation / quarters_deviation) };
}

static recipe recipe_of(const im_param *p)
{
    const char *name = p->t->name;
    size_t n = strlen(name);
    if (p->kind == IM_PARAM_EMBEDDING)
        return normal(0, 0.02);                                /* as CLIP's own before training                       */
    if (p->kind == IM_PARAM_VECTOR && p->t->ndim == 2)
        return normal(0, 0.01);
    if (p->kind == IM_PARAM_VECTOR)
        return n > 5 && !strcmp(name + n - 5, ".bias") ? normal(0, 0.02) : normal(1, 0.05);
    double gain = 1;
    for (size_t i = 0; i < sizeof gains / sizeof *gains; i++)
        if (strstr(name, gains[i].text)) {
            gain = gains[i].gain;
            break;
        }
    return normal(0, gain / sqrt((double)(im_numel(p->t) / p->t->shape[0])));
}

/* ---------------------------------------------------------------- numbers */

/* FNV-1a of "unet/conv_in.weight", mixed with the seed. */
static uint64_t stream_of(uint64_t seed, const char *part, const char *name)
{
    uint64_t h = im_fnv64(im_fnv64(im_fnv64(IM_FNV64, part), "/"), name);
    return im_mix64(im_mix64(seed + IM_GOLDEN64) ^ h);
}

static void fill(float *out, int64_t from, int64_t n, uint64_t stream, recipe r)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = im_mix64(stream + (uint64_t)(from + i + 1) * IM_GOLDEN64);
        int sum = (int)(z & 0xffff) + (int)(z >> 16 & 0xffff) + (int)(z >> 32 & 0xffff) + (int)(z >> 48);
        float x = r.scale * (float)(sum - 131070);
        out[i] = r.mean + x;
    }
}

enum { CHUNK = 1 << 16 };                                      /* elements a task                                     */

typedef struct job {
    void *out;
    im_dtype dtype;
    int64_t n, split;                    /* elements from `split` on follow the second recipe                         */
    uint64_t stream;
    recipe r[2];
} job;

/* Elements [from, to), all of one recipe. */
static void fill_range(const job *j, int64_t from, int64_t to, recipe r)
{
    float part[1024];
    if (j->dtype == IM_F32) {
        fill((float *)j->out + from, from, to - from, j->stream, r);
        return;
    }
    for (int64_t n; from < to; from += n) {
        n = to - from < 1024 ? to - from : 1024;
        fill(part, from, n, j->stream, r);
        im_st_from_f32(part, n, j->dtype, (uint16_t *)j->out + from);
    }
}

static void fill_task(void *arg, int task, int thread)
{
    (void)thread;
    const job *j = arg;
    int64_t from = (int64_t)task * CHUNK, to = from + CHUNK < j->n ? from + CHUNK : j->n;
    int64_t middle = j->split < from ? from : j->split > to ? to : j->split;
    fill_range(j, from, middle, j->r[0]);
    fill_range(j, middle, to, j->r[1]);
}

/* The second half of quant_conv gives log variances: small variances, so that encoding is nearly its mean. */
static void second_recipe(job *j, const im_param *p)
{
    j->split = j->n;
    if (strncmp(p->t->name, "quant_conv.", 11))
        return;
    j->split = j->n / 2;
    j->r[1].scale *= 0.1f;
    if (p->kind == IM_PARAM_VECTOR)
        j->r[1].mean = -10.0f;
}

/* ---------------------------------------------------------------- files */

static bool write_tensors(im_ctx *c, im_st_writer *w, im_part part, const im_params *p, int first, uint64_t seed,
                          im_dtype dtype, void *buffer)
{
    for (int i = 0; i < p->n; i++) {
        if (im_cancelled(c))
            return im_fail(c, "stopped");
        const im_param *q = &p->v[i];
        recipe r = recipe_of(q);
        job j = { .out = buffer, .dtype = dtype, .n = im_numel(q->t), .r = { r, r },
                  .stream = stream_of(seed, im_part_name(part), q->t->name) };
        second_recipe(&j, q);
        im_parallel(c, (int)((j.n + CHUNK - 1) / CHUNK), fill_task, &j);
        if (!im_st_put(c, w, first + i, buffer, (size_t)j.n * im_dtype_size(dtype)))
            return false;
    }
    return im_ok(c);
}

/* One network: the parameters of a and, for the VAE, b. */
static bool write_part(im_folder_out *f, im_part part, const im_params *a, const im_params *b, uint64_t seed,
                       im_dtype dtype)
{
    static const char *const metadata[] = { "format", "pt" };
    im_ctx *c = f->c;
    int n = a->n + (b ? b->n : 0);
    int64_t largest = 0;
    char *path = im_folder_file(f, im_part_file(part));
    im_st_entry *entries = calloc((size_t)n, sizeof *entries);
    for (int i = 0; entries && i < n; i++) {
        const im_param *p = i < a->n ? &a->v[i] : &b->v[i - a->n];
        im_part_entry(p, dtype, &entries[i]);
        if (im_numel(p->t) > largest)
            largest = im_numel(p->t);
    }
    void *buffer = malloc((size_t)largest * im_dtype_size(dtype));
    if (path && (!entries || !buffer))
        im_fail(c, "%s: out of memory", path);
    im_st_writer *w = im_ok(c) ? im_st_create(c, path, entries, n, metadata, 1) : NULL;
    bool ok = w && write_tensors(c, w, part, a, 0, seed, dtype, buffer) &&
              (!b || write_tensors(c, w, part, b, a->n, seed, dtype, buffer));
    if (ok)
        ok = im_st_finish(c, w);
    else
        im_st_abandon(w);
    free(buffer);
    free(entries);
    free(path);
    return ok;
}

static bool write_networks(im_folder_out *f, const im_model_config *m, uint64_t seed, im_dtype dtype)
{
    im_ctx *c = f->c;
    im_clip *clip = im_clip_new(c, &m->clip);
    im_unet *unet = im_unet_new(c, &m->unet);
    im_vae *vae = im_vae_new(c, &m->vae);
    bool ok = clip && unet && vae && write_part(f, IM_PART_CLIP, im_clip_params(clip), NULL, seed, dtype) &&
              write_part(f, IM_PART_UNET, im_unet_params(unet), NULL, seed, dtype) &&
              write_part(f, IM_PART_VAE, im_vae_params(vae, IM_VAE_DECODER), im_vae_params(vae, IM_VAE_ENCODER), seed,
                         dtype);
    im_clip_free(clip);
    im_unet_free(unet);
    im_vae_free(vae);
    return ok;
}

bool im_sd_init_weights(im_ctx *c, const char *like, uint64_t seed, im_dtype dtype, const char *out_folder, bool force)
{
    if (!im_ok(c))
        return false;
    if (!im_st_writes(c, (int)dtype))
        return false;
    im_model_config m = im_model_config_v1();
    im_model_files files = { 0 };
    bool v1 = !strcmp(like, "sd-v1-4");
    if (!v1 && !im_is_folder(like))
        return im_fail(c, "--like %s: is neither \"sd-v1-4\" nor a folder with the configuration of a model", like);
    bool ok = v1 ? im_model_files_v1(c, &files)
                 : im_model_config_read(c, like, &m) && im_model_files_folder(c, &files, like);
    im_folder_out f;
    if (ok && im_folder_begin(c, &f, out_folder, force)) {
        ok = write_networks(&f, &m, seed, dtype) && im_model_files_write(&files, &f);
        ok &= im_folder_end(&f);
    }
    im_model_files_free(&files);
    return ok && im_ok(c);
}
