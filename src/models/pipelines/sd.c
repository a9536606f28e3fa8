/* sd.c: Stable Diffusion v1.x as one thing: opens a checkpoint, loads its networks when they are first needed, and
 * answers questions about a run before it begins. The run itself is sd_run.c.
 *
 * Reading order: sd.c, sd_generate.c, sd_run.c, sd_lora.c, sd_text.c, sd_begin.c, sd_step.c, sd_stage.c, then unet.c;
 * sd_image.c, sd_vae.c. */
#define _GNU_SOURCE
#include "models/pipelines/sd.h"
#include "data/files/file.h"
#include "data/files/sha256.h"
#include "models/checkpoints/scheduler_file.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PIXELS = 1 << 16 };                               /* of a side of a picture, as -W and -H have it         */

static const char EMBEDDED[] = "imago-small";
static const char SCHEDULER_FILE[] = "scheduler/scheduler_config.json";

/* ---------------------------------------------------------------- the embedded model */

static bool is_model(im_ctx *c, const char *folder)
{
    char *index = im_join(c, folder, "model_index.json");
    bool found = index && im_is_file(index);
    free(index);
    return found;
}

/* folder, or imago-small in it; malloc'd, NULL when neither is a model. */
static char *model_in(im_ctx *c, const char *folder)
{
    if (is_model(c, folder)) return im_copy_text(c, folder, strlen(folder));
    char *inner = im_join(c, folder, EMBEDDED);
    if (inner && is_model(c, inner)) return inner;
    free(inner);
    return NULL;
}

/* The folder of the program, or of the shared library where that is what another program uses; "" where it is not known. */
static void own_folder(char out[PATH_MAX])
{
    Dl_info in;
    const char *file = dladdr(EMBEDDED, &in) && in.dli_fname ? strrchr(in.dli_fname, '/') : NULL;
    bool library = file && !strncmp(file, "/libimago.so", strlen("/libimago.so"));
    out[0] = '\0';
    if (!realpath(library ? in.dli_fname : "/proc/self/exe", out)) out[0] = '\0';
    char *slash = strrchr(out, '/');
    if (slash) *slash = '\0';
}

char *im_embedded_model_path(im_ctx *c)
{
    const char *given = getenv("IMAGO_WEIGHTS");
    char folder[PATH_MAX], beside[PATH_MAX + 30], shared[PATH_MAX + 30];
    if (given && *given) {                                     /* there or nowhere: another model is another picture  */
        char *found = model_in(c, given);
        if (!found)
            im_fail(c, "IMAGO_WEIGHTS is \"%s\", %s; wanted the folder of a model, with a model_index.json, or one that "
                    "holds %s", given, im_is_folder(given) ? "in which there is no model" : "which is not a folder",
                    EMBEDDED);
        return found;
    }
    own_folder(folder);
    snprintf(beside, sizeof beside, "%s/../weights", folder);
    snprintf(shared, sizeof shared, "%s/../share/imago/weights", folder);
    const char *const places[] = { "weights", beside, shared, IM_WEIGHTS };
    for (size_t i = 0; i < sizeof places / sizeof places[0] && im_ok(c); i++) {
        char *found = model_in(c, places[i]);
        if (found) return found;
    }
    im_fail(c, "the embedded model was not found: looked for %s in ./weights, %s, %s and %s; name a model with -m, or its "
            "folder in IMAGO_WEIGHTS", EMBEDDED, beside, shared, IM_WEIGHTS);
    return NULL;
}

/* ---------------------------------------------------------------- opening */

im_sd *im_sd_look(im_ctx *c, const char *path, im_dtype dtype)
{
    if (!im_ok(c)) return NULL;
    if (dtype == IM_I32) {
        im_fail(c, "weights cannot be held as i32; wanted f32, f16, bf16 or int8");
        return NULL;
    }
    char *embedded = path ? NULL : im_embedded_model_path(c);
    if (!path && !embedded) return NULL;
    im_sd *sd = calloc(1, sizeof *sd);
    if (!sd) im_fail(c, "out of memory for a model");
    if (sd) *sd = (im_sd){ .c = c, .dtype = dtype, .checkpoint = im_checkpoint_open(c, path ? path : embedded) };
    free(embedded);
    if (!sd || !sd->checkpoint) {
        im_sd_free(sd);
        return NULL;
    }
    if (dtype == IM_AS_MODEL) sd->dtype = im_checkpoint_is_int8(sd->checkpoint) ? IM_INT8 : IM_F32;
    if (sd->dtype == IM_INT8 && !im_has_int8(c)) {
        im_fail(c, "device %s has no products in int8; wanted --device cpu, or --dtype f16", im_device_name(c));
        im_sd_free(sd);
        return NULL;
    }
    sd->config = im_checkpoint_config(sd->checkpoint);
    const char *place = im_checkpoint_path(sd->checkpoint);
    if (!im_checkpoint_folder(sd->checkpoint))
        sd->scheduler_text = im_st_metadata(im_checkpoint_file(sd->checkpoint, IM_PART_UNET), SCHEDULER_FILE);
    if (im_checkpoint_folder(sd->checkpoint) || sd->scheduler_text)
        sd->scheduler_path = im_join(c, place, SCHEDULER_FILE);
    sd->no_scheduler = sd->scheduler_path && !sd->scheduler_text && !im_is_file(sd->scheduler_path);
    if (!im_ok(c)) {
        im_sd_free(sd);
        return NULL;
    }
    return sd;
}

/* The encoder is needed by image to image only, and asked for there. */
im_sd *im_sd_open(im_ctx *c, const char *path, im_dtype dtype)
{
    im_sd *sd = im_sd_look(c, path, dtype);
    if (!sd || im_checkpoint_need(sd->checkpoint, IM_NEED_CLIP | IM_NEED_UNET | IM_NEED_DECODER)) return sd;
    im_sd_free(sd);
    return NULL;
}

bool im_sd_whole(im_sd *sd) { return sd && im_checkpoint_check(sd->checkpoint); }

const char *im_sd_file(const im_sd *sd, im_net net, bool *whole)
{
    static const unsigned network[IM_NET_COUNT] = { IM_NEED_CLIP, IM_NEED_UNET, IM_NEED_DECODER, IM_NEED_ENCODER };
    *whole = im_checkpoint_has(sd->checkpoint, network[net]);
    return im_checkpoint_weights(sd->checkpoint, im_net_part(net));
}

void im_nets_free(im_networks *nets)
{
    im_clip_free(nets->clip);
    im_unet_free(nets->unet);
    im_vae_free(nets->vae);
    *nets = (im_networks){ 0 };
}

void im_sd_free(im_sd *sd)
{
    if (!sd) return;
    im_sd_stages_close(sd);
    im_nets_free(&sd->nets);
    im_text_states_free(sd->texts);
    im_tokenizer_free(sd->tokenizer);
    for (int i = 0; i < IM_NET_COUNT; i++) im_map_close(&sd->maps[i]);        /* after the networks that lie in them */
    im_sd_loras_free(sd);
    im_embeddings_free(&sd->embeddings);
    im_checkpoint_close(sd->checkpoint);
    free(sd->scheduler_path);
    free(sd->vae_name);
    free(sd->preview);
    free(sd);
}

im_dtype im_sd_dtype(const im_sd *sd) { return sd->dtype; }

/* int8 is for the network that runs at every step. The others run once: in f16 they take half the memory, and are computed
 * in f32 (im_sd_need), so that pictures have the same bits on every set. */
im_dtype im_net_dtype(const im_sd *sd, im_net net)
{
    return sd->dtype == IM_INT8 && net != IM_NET_UNET ? IM_F16 : sd->dtype;
}

const char *im_sd_hash(im_sd *sd)
{
    return sd ? im_checkpoint_fingerprint(sd->checkpoint) : NULL;
}

const char *im_sd_file_hash(im_sd *sd)
{
    if (!sd || im_checkpoint_folder(sd->checkpoint)) return NULL;
    if (!*sd->file_hash && !im_sha256_file_once(sd->c, im_checkpoint_path(sd->checkpoint), sd->file_hash)) return NULL;
    return sd->file_hash;
}

void im_sd_on_progress(im_sd *sd, im_sd_progress fn, void *arg)
{
    if (!sd) return;
    sd->progress = fn;
    sd->progress_arg = arg;
}

/* ---------------------------------------------------------------- networks */

im_part im_net_part(im_net net)
{
    return net == IM_NET_CLIP ? IM_PART_CLIP : net == IM_NET_UNET ? IM_PART_UNET : IM_PART_VAE;
}

im_params *im_net_params(const im_networks *nets, im_net net)
{
    switch (net) {
    case IM_NET_CLIP: return im_clip_params(nets->clip);
    case IM_NET_UNET: return im_unet_params(nets->unet);
    default: return im_vae_params(nets->vae, net == IM_NET_VAE_DECODER ? IM_VAE_DECODER : IM_VAE_ENCODER);
    }
}

bool im_net_make(im_ctx *c, const im_model_config *config, im_net net, im_networks *nets)
{
    switch (im_net_part(net)) {
    case IM_PART_CLIP: return nets->clip || (nets->clip = im_clip_new(c, &config->clip));
    case IM_PART_UNET: return nets->unet || (nets->unet = im_unet_new(c, &config->unet));
    default: return nets->vae || (nets->vae = im_vae_new(c, &config->vae));
    }
}

/* ---------------------------------------------------------------- loading */

void im_sd_set_activations(im_sd *sd, im_dtype t)
{
    if (!sd) return;
    sd->activations = t;
    for (int net = 0; net < IM_NET_COUNT; net++)
        if (sd->loaded[net]) im_net_params(&sd->nets, (im_net)net)->activations = t;
}

im_dtype im_sd_activations(const im_sd *sd) { return sd->activations; }

void im_sd_cache_weights(im_sd *sd, bool on)
{
    if (sd) sd->cache_weights = on;
}

/* From the file of packed weights where there is one that fits, else from the checkpoint, to be kept from then on. */
bool im_sd_need(im_sd *sd, im_net net)
{
    static const char *const names[IM_NET_COUNT] = {
        [IM_NET_CLIP] = "text_encoder", [IM_NET_UNET] = "unet", [IM_NET_VAE_DECODER] = "vae_decoder",
        [IM_NET_VAE_ENCODER] = "vae_encoder" };
    if (!im_ok(sd->c)) return false;
    if (sd->loaded[net]) return true;
    if (!im_net_make(sd->c, sd->config, net, &sd->nets)) return false;
    im_params *p = im_net_params(&sd->nets, net);
    p->activations = sd->activations;
    p->widened = sd->dtype == IM_INT8;
    im_weight_cache w = { .c = sd->c, .k = sd->checkpoint, .part = im_net_part(net), .name = names[net],
                          .dtype = im_net_dtype(sd, net) };
    p->mapped = true;                                          /* the checkpoint is closed after the networks         */
    bool cache = sd->cache_weights && !sd->loras;              /* adapted weights are not those of the file           */
    bool kept = cache && im_weight_cache_map(&w, p, &sd->maps[net]);
    sd->loaded[net] = kept || im_checkpoint_load(sd->checkpoint, w.part, p, w.dtype);
    if (cache && !kept && sd->loaded[net]) im_weight_cache_keep(&w, p);
    return sd->loaded[net] && im_ok(sd->c);
}

/* ---------------------------------------------------------------- a run before it begins */

im_sd_args im_sd_defaults(const im_sd *sd)
{
    im_sd_args a = { .prompt = "", .steps = 50, .guidance = 7.5f, .rng = IM_RNG_CPU, .strength = 0.75f };
    if (!sd) return a;
    int factor = im_vae_factor(&sd->config->vae);
    a.width = sd->config->unet.sample_width * factor;
    a.height = sd->config->unet.sample_height * factor;
    return a;
}

static bool fits(im_sd *sd, const char *what, int pixels, int factor)
{
    if (pixels > MOST_PIXELS)                                  /* before a layer finds its own sizes too large         */
        return im_fail(sd->c, "%s: found %d pixels, wanted at most %d", what, pixels, MOST_PIXELS);
    if (pixels >= factor && pixels % factor == 0) return true;
    int below = pixels / factor * factor;
    if (below < factor)
        return im_fail(sd->c, "%s: found %d pixels, wanted a multiple of %d, such as %d", what, pixels, factor, factor);
    return im_fail(sd->c, "%s: found %d pixels, wanted a multiple of %d, such as %d or %d", what, pixels, factor, below,
                   below + factor);
}

bool im_sd_sizes(im_sd *sd, const im_sd_args *a, im_sd_size *out)
{
    if (!sd || !im_ok(sd->c)) return false;
    int factor = im_vae_factor(&sd->config->vae);
    im_sd_args own = im_sd_defaults(sd);
    int width = a->width, height = a->height;
    if (width < 0 || height < 0)
        return im_fail(sd->c, "size: found %dx%d pixels, wanted positive numbers", width, height);
    bool whole = a->init && !(a->mask && a->mask_only);
    if (!width) width = whole ? a->init->width : own.width;
    if (!height) height = whole ? a->init->height : own.height;
    if (whole && ((!a->width && width < factor) || (!a->height && height < factor)))
        return im_fail(sd->c, "the picture to begin from (-i) has %dx%d pixels; wanted at least %dx%d: enlarge it, or say "
                              "with --width and --height how large to draw", width, height, factor, factor);
    if (a->init) {
        width -= width % factor;
        height -= height % factor;
    }
    if (!fits(sd, "width", width, factor) || !fits(sd, "height", height, factor)) return false;
    *out = (im_sd_size){ .width = width, .height = height, .w = width / factor, .h = height / factor,
                         .merge = a->token_merging };
    return true;
}

/* A folder without the file leaves open how the model was trained. Who names a scheduler gets v1.4's noise with it. */
static im_scheduler *open_scheduler(im_sd *sd, const char *name, bool mask)
{
    im_scheduler_mends mends = sd->config->scheduler_as_written ? IM_MEND_NOTHING : mask ? IM_MEND_MASKS : IM_MEND_PICTURES;
    if (sd->no_scheduler && !name) {
        im_fail(sd->c, "%s is missing, so the model names no scheduler; name one with --scheduler: %s", sd->scheduler_path,
                im_scheduler_known());
        return NULL;
    }
    if (sd->no_scheduler && !sd->told_no_scheduler)
        im_warn(sd->c, "%s is missing: %s runs with the noise of Stable Diffusion v1.4 (1000 steps, scaled_linear from "
                       "0.00085 to 0.012)", sd->scheduler_path, name);
    sd->told_no_scheduler |= sd->no_scheduler;
    if (sd->no_scheduler) return im_scheduler_new_for_pipeline(sd->c, name, NULL, NULL, NULL, mends);
    const char *class_name = *sd->config->scheduler ? sd->config->scheduler : NULL;
    return im_scheduler_new_for_pipeline(sd->c, name, sd->scheduler_path, sd->scheduler_text, class_name, mends);
}

im_scheduler *im_sd_new_scheduler(im_sd *sd, const im_sd_args *a)
{
    im_scheduler *s = open_scheduler(sd, a->scheduler, a->mask);
    if (im_scheduler_set_eta(s, a->eta)) return s;
    im_scheduler_free(s);
    return NULL;
}

const char *im_sd_scheduler(im_sd *sd, const im_sd_args *a)
{
    if (!sd) return NULL;
    im_scheduler *s = im_sd_new_scheduler(sd, a);
    const char *name = s ? im_scheduler_name(s) : NULL;        /* of the table: outlives the scheduler                */
    im_scheduler_free(s);
    return name;
}

bool im_sd_latent_shape(im_sd *sd, const im_sd_args *a, int64_t shape[3])
{
    im_sd_size size;
    if (!im_sd_sizes(sd, a, &size)) return false;
    shape[0] = sd->config->vae.latent_channels;
    shape[1] = size.h;
    shape[2] = size.w;
    return true;
}

bool im_sd_settle_size(im_sd *sd, im_sd_args *a)
{
    im_sd_size size;
    if (!im_sd_sizes(sd, a, &size)) return false;
    a->width = size.w * im_vae_factor(&sd->config->vae);
    a->height = size.h * im_vae_factor(&sd->config->vae);
    return true;
}

int im_sd_evaluations(im_sd *sd, const im_sd_args *a)
{
    if (!sd) return 0;
    im_scheduler *s = im_sd_new_scheduler(sd, a);
    bool ok = im_scheduler_plan(s, a->steps, 0) && (!a->init || im_scheduler_begin(s, a->strength));
    int n = ok ? im_scheduler_evaluations(s) : 0;
    im_scheduler_free(s);
    return n;
}
