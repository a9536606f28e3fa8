/* sd_report.c: what a run needs and what a network costs: memory, checked before a run begins; parameters, arithmetic
 * and time for `imago info` and `imago bench`. */
#define _GNU_SOURCE
#include "models/nets/vae_tiled.h"
#include "models/pipelines/sd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double MIB = 1024 * 1024;
/* Buffers of the kernels, padding of packed weights, small allocations: 42 MiB beside weights and arena, measured for
 * v1.4 at 512x512 in f16 on 2 threads. */
static const size_t KERNEL_SCRATCH = 48u << 20;

/* ---------------------------------------------------------------- memory */

size_t im_sd_bytes_needed(im_sd *sd, const im_sd_args *a, int batch)
{
    im_sd_size size;
    if (batch < 1 || !im_sd_sizes(sd, a, &size)) return 0;
    int chunks = a->prompt ? im_sd_text_chunks(sd, a) : 1;
    if (chunks > 1) size.tokens = chunks * sd->config->text_tokens;
    int rows = im_sd_guided(sd, a) ? 2 * batch : batch;
    const struct { im_net net; int batch; } parts[] = {
        { IM_NET_CLIP, 1 }, { IM_NET_UNET, rows }, { IM_NET_VAE_DECODER, 1 }, { IM_NET_VAE_ENCODER, 1 },
    };
    size_t most = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        im_plan_info info = { 0 };
        if (parts[i].net == IM_NET_VAE_ENCODER && !a->init) continue;
        bool tiled = a->tile && parts[i].net == IM_NET_VAE_DECODER;
        if (tiled) info.arena_bytes = im_vae_tiled_bytes(&sd->config->vae, size.h, size.w, im_dtype_size(sd->activations));
        else if (!im_stage_describe(sd, parts[i].net, parts[i].batch, size, &info)) return 0;
        if (info.arena_bytes > most) most = info.arena_bytes;                     /* arenas follow one another        */
    }
    size_t latent = (size_t)size.w * (size_t)size.h * (size_t)sd->config->vae.latent_channels * sizeof(float);
    size_t picture = (size_t)size.width * (size_t)size.height * 3;
    /* a deep cache: what a run keeps, what goes into a stage and comes out of it, a copy (sd_step.c) */
    size_t deep = a->deep_cache > 1 ? 4 * (size_t)rows * (size_t)size.w * (size_t)size.h * sizeof(float)
                                        * (size_t)im_unet_deep_channels(&sd->config->unet) : 0;
    size_t text = (size_t)chunks * im_sd_text_size(sd) * sizeof(float);
    /* a picture's latents, their noise and guess, what its scheduler keeps; pictures of 8 bits; the one being decoded */
    return most + (size_t)batch * (16 * latent + picture) + 4 * picture * sizeof(float) + 2 * (size_t)rows * text + deep
         + KERNEL_SCRATCH;
}

static double unloaded_bytes(im_sd *sd, bool encoder)
{
    double bytes = 0;
    for (int net = 0; net < IM_NET_COUNT; net++)
        if (!sd->loaded[net] && (encoder || net != IM_NET_VAE_ENCODER)
            && im_net_make(sd->c, sd->config, (im_net)net, &sd->nets))
            bytes += (double)im_params_bytes(im_net_params(&sd->nets, (im_net)net), im_net_dtype(sd, (im_net)net));
    return bytes;
}

/* Bytes beside the weights: for all; for one picture; for all when they are decoded in strips. */
typedef struct need { double all, one, tiled; } need;

/* What would help: whichever of weights and pictures can be made to fit. */
static void say_what_helps(im_sd *sd, need b, int batch, double weights, double available, char *out, size_t n)
{
    const struct { bool helps; const char *how; } ways[] = {
        { batch > 1 && b.one + weights <= available, "make fewer at once (--batch)" },
        { b.tiled + weights <= available, "decode strip by strip (--tile)" },
        { sd->dtype == IM_F32 && b.all + weights / 2 <= available, "hold the weights in 16 bits (--dtype f16)" },
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways && used < n; i++)
        if (ways[i].helps) used += (size_t)snprintf(out + used, n - used, "%s%s", used ? ", or " : "", ways[i].how);
    if (used) return;
    if (weights > available)
        snprintf(out, n, "the weights alone do not fit: %s", sd->dtype == IM_F32 && weights / 2 < available
                 ? "hold them in 16 bits (--dtype f16)" : "close other programs, or take a machine with more memory");
    else
        snprintf(out, n, "ask for a smaller size%s", batch > 1 ? ", and for fewer at once (--batch)" : "");
}

bool im_sd_check_memory(im_sd *sd, const im_sd_args *a, int batch)
{
    return im_sd_fits(sd, a, batch, (double)im_memory_available());
}

bool im_sd_fits(im_sd *sd, const im_sd_args *a, int batch, double available)
{
    im_sd_size size;
    if (!im_sd_sizes(sd, a, &size)) return false;
    /* Where the results alone are too many, the network is not asked what it needs: it would make room for its input. */
    double least = (double)batch * size.width * size.height * 3;
    bool absurd = available >= 0 && least > available;
    double needed = absurd ? least : (double)im_sd_bytes_needed(sd, a, batch);
    double weights = unloaded_bytes(sd, a->init != NULL);
    if (!im_ok(sd->c)) return false;
    if (available < 0 || needed + weights <= available) return true;
    char help[200];
    im_sd_args tiled = *a;
    tiled.tile = true;
    const need b = { needed, (double)im_sd_bytes_needed(sd, a, 1),
                     absurd ? least : (double)im_sd_bytes_needed(sd, &tiled, batch) };
    say_what_helps(sd, b, batch, weights, available, help, sizeof help);
    return im_fail(sd->c, "%d picture%s of %dx%d at once need%s %s %.0f MiB and the weights still to be loaded %.0f MiB, "
                   "but %.0f MiB of memory are free; %s", batch, batch > 1 ? "s" : "", size.width, size.height,
                   batch > 1 ? "" : "s", absurd ? "more than" : "about", needed / MIB, weights / MIB, available / MIB,
                   help);
}

/* ---------------------------------------------------------------- cost */

bool im_sd_net_info(im_sd *sd, im_net net, int width, int height, im_net_info *out)
{
    static const char *const names[IM_NET_COUNT] = { "text_encoder", "unet", "vae_decoder", "vae_encoder" };
    im_sd_size size;
    im_plan_info info;
    *out = (im_net_info){ .name = names[net] };
    if (!im_sd_sizes(sd, &(im_sd_args){ .width = width, .height = height }, &size)
        || !im_net_make(sd->c, sd->config, net, &sd->nets))
        return false;
    const im_params *p = im_net_params(&sd->nets, net);
    out->parameters = im_params_numel(p);
    out->tensors = p->n;
    out->bytes = (int64_t)im_params_bytes(p, im_net_dtype(sd, net));
    if (!im_stage_describe(sd, net, 1, size, &info)) return false;
    out->flop = info.flop;
    out->ops = info.nodes;
    out->arena_bytes = info.arena_bytes;
    return true;
}

static float *random_values(im_sd *sd, size_t n)
{
    im_rng *rng = im_rng_new(sd->c, IM_RNG_CPU, 1);
    float *x = rng ? malloc(n * sizeof *x) : NULL;
    if (rng && !x) im_fail(sd->c, "out of memory for %zu random values", n);
    if (x) im_randn(rng, x, n);
    im_rng_free(rng);
    return x;
}

/* Before any of its memory is asked for. */
static bool time_fits(im_sd *sd, im_net net, int batch, im_sd_size size)
{
    im_plan_info info = { 0 };
    if (!im_net_make(sd->c, sd->config, net, &sd->nets) || !im_stage_describe(sd, net, batch, size, &info)) return false;
    double needed = (double)(info.arena_bytes + KERNEL_SCRATCH), available = (double)im_memory_available();
    double weights = sd->loaded[net] ? 0 : (double)im_params_bytes(im_net_params(&sd->nets, net), im_net_dtype(sd, net));
    char help[200];
    if (available < 0 || needed + weights <= available) return true;
    say_what_helps(sd, (need){ needed, needed, needed }, 1, weights, available, help, sizeof help);
    return im_fail(sd->c, "one evaluation of %dx%d needs about %.0f MiB and the weights still to be loaded %.0f MiB, but "
                   "%.0f MiB of memory are free; %s", size.width, size.height, needed / MIB, weights / MIB, available / MIB,
                   help);
}

/* Tokens 0, 1, 2 ... for the text encoder, random values for the others; malloc'd. */
static void *any_input(im_sd *sd, im_net net, size_t n)
{
    if (net != IM_NET_CLIP) return random_values(sd, n);
    int32_t *ids = malloc(n * sizeof *ids);
    if (!ids) im_fail(sd->c, "out of memory for %zu tokens", n);
    for (size_t i = 0; ids && i < n; i++) ids[i] = (int32_t)(i % (size_t)sd->config->clip.vocab_size);
    return ids;
}

bool im_sd_time(im_sd *sd, im_net net, int batch, int width, int height, int rounds, double *seconds)
{
    im_sd_size size;
    if (!im_sd_sizes(sd, &(im_sd_args){ .width = width, .height = height }, &size)) return false;
    if (batch < 1) return im_fail(sd->c, "batch: found %d, wanted at least 1", batch);
    if (!time_fits(sd, net, batch, size)) return false;
    size_t outputs = net == IM_NET_CLIP ? im_sd_text_size(sd)
                   : net == IM_NET_VAE_DECODER ? (size_t)size.width * (size_t)size.height * 3
                   : (size_t)size.w * (size_t)size.h * (size_t)im_vae_moments(&sd->config->vae);
    float *out = malloc((size_t)batch * outputs * sizeof *out);
    float *text = net == IM_NET_UNET ? random_values(sd, (size_t)batch * im_sd_text_size(sd)) : NULL;
    float *times = malloc((size_t)batch * sizeof *times);
    im_stage s = { .c = sd->c };
    bool ok = (out && times) || im_fail(sd->c, "out of memory for the output of a network");
    for (int i = 0; ok && i < batch; i++) times[i] = 500;      /* in the middle                                       */
    ok = ok && im_ok(sd->c) && im_stage_open(sd, &s, net, batch, size, text, false);
    void *x = ok ? any_input(sd, net, (size_t)im_numel(s.in[0])) : NULL;
    const float *t = net == IM_NET_UNET ? times : NULL;
    ok = x && im_stage_run(&s, x, t, out);                     /* untimed: brings memory and caches up                */
    for (int i = 0; ok && i < rounds; i++) {
        double start = im_seconds();
        ok = im_stage_run(&s, x, t, out);
        seconds[i] = im_seconds() - start;
    }
    im_stage_close(&s);
    free(x);
    free(times);
    free(text);
    free(out);
    return ok;
}
