/* bench_networks.c: times of single networks and of whole pictures. Used by cmd_bench.c. */
#include <stdlib.h>

#include "cli/bench.h"
#include "cli/session.h"

#define PROMPT "a photograph of an astronaut riding a horse"

static im_sd *open_model(bench_output *out, im_sd_args *a)
{
    im_sd *sd = im_sd_open(out->c, out->o->model, out->dtype);
    *a = im_sd_defaults(sd);
    im_sd_set_activations(sd, session_activations(&out->o->common));
    if (out->o->width)
        a->width = out->o->width;
    if (out->o->height)
        a->height = out->o->height;
    return sd;
}

/* Behind a shape: ", activations f16"; "" in f32. */
static const char *activations_name(const bench_output *out)
{
    static const char *const names[] = { [IM_F32] = "", [IM_F16] = ", activations f16", [IM_BF16] = ", activations bf16" };
    return names[session_activations(&out->o->common)];
}

bool bench_network(bench_output *out, im_net net)
{
    static const char *const names[IM_NET_COUNT] = { "clip", "unet", "vae", "vae_encoder" };
    const bench_options *o = out->o;
    int batch = o->batch ? o->batch : net == IM_NET_UNET ? 2 : 1;
    im_sd_args a;
    im_net_info info;
    char shape[64];
    im_sd *sd = open_model(out, &a);
    double *seconds = calloc((size_t)o->rounds, sizeof *seconds);
    if (!seconds)
        im_fail(out->c, "out of memory for %d times", o->rounds);
    if (sd && seconds && im_sd_net_info(sd, net, a.width, a.height, &info)
        && im_sd_time(sd, net, batch, a.width, a.height, o->rounds, seconds)) {
        bench_row row = { .bench = names[net], .shape = shape, .dtype = im_dtype_name(out->dtype) };
        snprintf(shape, sizeof shape, "%dx%dx%d%s", batch, a.width, a.height, activations_name(out));
        bench_summary(out, seconds, o->rounds, batch * info.flop, &row);
        bench_emit(out, &row);
    }
    free(seconds);
    im_sd_free(sd);
    return im_ok(out->c);
}

/* Arithmetic of one guided picture. */
static double picture_flop(im_sd *sd, const im_sd_args *a)
{
    im_net_info clip, unet, vae;
    if (!im_sd_net_info(sd, IM_NET_CLIP, a->width, a->height, &clip)
        || !im_sd_net_info(sd, IM_NET_UNET, a->width, a->height, &unet)
        || !im_sd_net_info(sd, IM_NET_VAE_DECODER, a->width, a->height, &vae))
        return 0;
    return 2 * clip.flop + 2 * im_sd_evaluations(sd, a) * unet.flop + vae.flop;
}

static bool stop_at_first_step(void *arg, int done, int total)
{
    (void)done, (void)total;
    *(double *)arg = im_seconds();
    return false;
}

/* Seconds from `start` to the moment when the UNet begins. */
static double until_first_step(bench_output *out, im_sd *sd, im_sd_args *a, double start)
{
    double there = 0;
    im_sd_on_progress(sd, stop_at_first_step, &there);
    im_image_free(im_sd_generate(sd, a));
    im_sd_on_progress(sd, NULL, NULL);
    if (there > 0)
        im_clear_error(out->c);                                /* "stopped", as wanted                                */
    return there - start;
}

/* Two rows: from nothing (opening, loading and packing weights, the text, recording the plan), and from an open model, as
 * for a second picture. The difference is opening and packing; the files are in the system's cache from the second
 * round on. */
static bool first_step(bench_output *out)
{
    const bench_options *o = out->o;
    im_sd_args a = { 0 };
    double *seconds[2] = { calloc((size_t)o->rounds, sizeof(double)), calloc((size_t)o->rounds, sizeof(double)) };
    bool room = (seconds[0] && seconds[1]) || im_fail(out->c, "out of memory for %d times", o->rounds);
    for (int i = 0; room && i < o->rounds && im_ok(out->c); i++) {
        double start = im_seconds();
        im_sd *sd = open_model(out, &a);
        a.prompt = PROMPT;
        a.steps = o->steps;
        seconds[0][i] = until_first_step(out, sd, &a, start);
        seconds[1][i] = until_first_step(out, sd, &a, im_seconds());
        im_sd_free(sd);
    }
    for (int i = 0; i < 2 && im_ok(out->c); i++) {
        char shape[80];
        bench_row row = { .bench = "generate", .shape = shape, .dtype = im_dtype_name(out->dtype) };
        snprintf(shape, sizeof shape, "%s to first step %dx%d%s", i ? "open model" : "start", a.width, a.height,
                 activations_name(out));
        bench_summary(out, seconds[i], o->rounds, 0, &row);
        bench_emit(out, &row);
    }
    free(seconds[0]);
    free(seconds[1]);
    return im_ok(out->c);
}

/* Draws n pictures, at most `batch` at once, of prompts in turn. */
static bool draw_all(im_ctx *c, im_sd *sd, const im_sd_args *a, int n, int batch)
{
    static const char *const subjects[] = { PROMPT, "a strawberry", "a lighthouse at night", "a bowl of soup",
                                            "a train in the snow", "an old map", "a cat on a sofa", "a city from above" };
    im_sd_args *args = malloc((size_t)batch * sizeof *args);
    im_image **out = calloc((size_t)batch, sizeof(im_image *));
    bool ok = (args && out) || im_fail(c, "out of memory for the list of %d pictures", batch);
    for (int first = 0; ok && first < n; first += batch) {
        int members = n - first < batch ? n - first : batch;
        for (int i = 0; i < members; i++) {
            args[i] = *a;
            args[i].seed = (uint64_t)(first + i);
            args[i].prompt = subjects[(first + i) % (int)(sizeof subjects / sizeof *subjects)];
        }
        ok = im_sd_generate_batch(sd, args, members, out);
        for (int i = 0; i < members; i++) {
            im_image_free(out[i]);
            out[i] = NULL;
        }
    }
    free(args);
    free(out);
    return ok;
}

bool bench_generate(bench_output *out)
{
    const bench_options *o = out->o;
    int batch = o->batch ? o->batch : 1, count = o->count > batch ? o->count : batch;
    im_sd_args a;
    char shape[96], several[40] = "";
    double *seconds = calloc((size_t)o->rounds, sizeof *seconds);
    if (!seconds)
        return im_fail(out->c, "out of memory for %d times", o->rounds);
    im_sd *sd = open_model(out, &a);
    a.steps = o->steps;
    if (count > 1)                                             /* plans and weights of a batch are there then         */
        draw_all(out->c, sd, &a, batch, batch);
    for (int i = 0; i < o->rounds && im_ok(out->c); i++) {
        double start = im_seconds();
        draw_all(out->c, sd, &a, count, batch);
        seconds[i] = im_seconds() - start;
    }
    if (im_ok(out->c)) {
        bench_row row = { .bench = "generate", .shape = shape, .dtype = im_dtype_name(out->dtype), .pictures = count };
        if (count > 1)
            snprintf(several, sizeof several, "%d pictures, %d at once, ", count, batch);
        snprintf(shape, sizeof shape, "%s%d steps %dx%d%s", several, o->steps, a.width, a.height, activations_name(out));
        bench_summary(out, seconds, o->rounds, count * picture_flop(sd, &a), &row);
        bench_emit(out, &row);
    }
    free(seconds);
    im_sd_free(sd);
    return im_ok(out->c) && first_step(out);
}
