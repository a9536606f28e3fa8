/* generate_from.c: --from: takes from a picture's text `imago` the settings that the command line leaves alone, and says
 * whether the same picture came out. Used by cmd_generate.c and generate_run.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "cli/session.h"
#include "data/images/picture.h"

/* The keys of the text are called as the options are, with _ for -. */
static bool given(void *arg, const char *key)
{
    const run_state *r = arg;
    char name[40];
    option o;
    if (!strcmp(key, "prompt") && r->o->prompts)
        return true;
    snprintf(name, sizeof name, "%s", key);
    for (char *p = name; *p; p++)
        if (*p == '_')
            *p = '-';
    return option_find(r->a->verb, name, &o) && option_given(r->a, name);
}

/* Copies texts and numbers of the picture into the options that the command line left alone. */
static void fill_options(run_state *r)
{
    generate_options *o = r->o;
    const im_request *q = im_request_of(r->from.text);
    const im_sd_args *a = &q->args;
    if (!given(r, "prompt")) o->prompt = a->prompt;
    if (!given(r, "negative")) o->negative = a->negative;
    if (!given(r, "scheduler")) o->scheduler = a->scheduler;
    if (!given(r, "dtype")) o->common.dtype = im_request_said(r->from.text, "dtype");
    const char *activations = im_request_said(r->from.text, "activations");
    if (!given(r, "activations")) o->common.activations = activations ? activations : "f32";
    if (!given(r, "device")) o->common.device = im_request_said(r->from.text, "device");
    if (!given(r, "rng")) o->rng = a->rng == IM_RNG_CUDA ? "cuda" : "cpu";
    if (!given(r, "prompt_syntax")) o->reading.syntax = a->syntax == IM_PROMPT_A1111 ? "a1111" : "plain";
    if (!given(r, "clip_skip")) o->reading.clip_skip = a->clip_skip ? a->clip_skip : 1;
    if (!given(r, "deep_cache")) o->deep_cache = a->deep_cache ? a->deep_cache : 1;
    if (!given(r, "token_merging")) o->token_merging = a->token_merging;
    if (!given(r, "eta")) o->eta = im_sampler_has_eta(o->scheduler) ? a->eta : 0;
    if (!given(r, "steps")) o->steps = a->steps;
    if (!given(r, "width")) o->width = a->width;
    if (!given(r, "height")) o->height = a->height;
    if (!given(r, "guidance")) o->guidance = a->guidance;
    if (!given(r, "strength")) o->strength = a->strength;
    if (!given(r, "mask_blur")) o->mask_blur = a->mask_blur;
    if (!given(r, "mask_fill")) o->mask_fill = im_mask_fill_name(a->mask_fill);
    if (!given(r, "mask_only")) o->mask_only = a->mask_only ? a->mask_padding : -1;
    if (!given(r, "tile")) o->tile = a->tile;
    if (!given(r, "seed")) o->seed.value = a->seed;
    if (!given(r, "quality") && q->quality) o->quality = q->quality;
}

bool from_read(run_state *r)
{
    if (!r->from.path)
        return true;
    r->from.text = im_request_read(r->c, r->from.path, given, r);
    char *error = error_put_aside(r->c);
    if (error) {
        im_fail(r->c, "%s%s", error, !strstr(error, ": its text `imago`") ? "" :
                " (the text was changed since; give what it no longer says as an option, or all of it, without --from)");
        free(error);
        return false;
    }
    if (!r->from.text)
        return im_ok(r->c) && im_fail(r->c, "%s: carries no text `imago`, so it does not say how it was made; wanted a PNG "
                                            "or JPEG that imago wrote and no program has saved again", r->from.path);
    fill_options(r);
    return (r->from.image = im_picture_read(r->c, r->from.path)) != NULL;
}

static void say_difference(const run_state *r, const char *what, const char *now)
{
    const char *then = im_request_said(r->from.text, what);
    if (then && strcmp(then, now))
        im_warn(r->c, "%s was made with %s %s, this is %s: the pixels may differ", r->from.path, what, then, now);
}

/* A picture that began from another picture, or from given latents, needs the same again. */
static bool check_input(run_state *r, const char *key, const char *name, bool given, const char *hash)
{
    const char *then = im_request_said(r->from.text, key);
    if (then && !given)
        return im_fail(r->c, "%s was made with %s (SHA-256 %s); give the same file", r->from.path, name, then);
    if (!then && given)
        im_warn(r->c, "%s was made without %s: the pixels will differ", r->from.path, name);
    else if (then && strcmp(then, hash))
        im_warn(r->c, "%s was made from another file for %s (SHA-256 %s, this one %s): the pixels will differ",
                r->from.path, name, then, hash);
    return true;
}

bool from_check(run_state *r)
{
    if (!r->from.text)
        return true;
    const char *hash = im_sd_hash(r->sd), *then = im_request_said(r->from.text, "model_hash");
    char what[400];
    const char *model = im_request_said(r->from.text, "model"), *isa = im_request_said(r->from.text, "isa");
    if (!hash)
        return false;
    if (then && strcmp(then, hash) && !r->o->any_model)
        return im_fail(r->c, "%s was made with the model %s (hash %.16s...), this is %s (%.16s...); give the same "
                             "with -m, or --any-model to use the settings with this "
                             "one", r->from.path, model ? model : "?", then,
                       r->model_name, hash);
    say_difference(r, "version", IM_VERSION);
    say_difference(r, "device", im_device_name(r->c));
    if (im_request_isa_decides(r->sd, isa))
        say_difference(r, "isa", im_device_isa(r->c));
    if (!im_request_same_loras(r->sd, r->from.text, r->jobs.v[0].p->prompt, what, sizeof what)) {
        if (!im_ok(r->c))
            return false;
        if (*what)
            return im_fail(r->c, "%s was made with %s; give the same with --lora", r->from.path, what);
        im_warn(r->c, "%s was made without --lora: the pixels will differ", r->from.path);
    }
    const im_sd_args first = job_args(r, &r->jobs.v[0]);
    if (!im_request_same_embeddings(r->sd, r->from.text, &first, what, sizeof what)) {
        if (!im_ok(r->c))
            return false;
        if (*what)
            return im_fail(r->c, "%s was made with %s; give the same with --embedding", r->from.path, what);
        im_warn(r->c, "%s was made without the embeddings that its words name here: the pixels will differ", r->from.path);
    }
    const char *vae_hash, *vae = im_sd_vae(r->sd, &vae_hash);
    return check_input(r, "vae_sha256", "--vae", vae != NULL, vae_hash)
        && check_input(r, "init_sha256", "--init", r->init != NULL, r->init_hash)
        && check_input(r, "mask_sha256", "--mask", r->mask != NULL, r->mask_hash)
        && check_input(r, "latents_sha256", "--latents", r->latents != NULL, r->latents_hash);
}

/* With what was read from a JPEG, a picture is compared as a JPEG of the same quality shows it. */
void from_compare(run_state *r, const im_image *picture)
{
    const im_image *then = r->from.image, *made = picture;
    const int quality = im_request_of(r->from.text)->quality;
    im_image *shown = quality ? im_picture_as_written(r->c, picture, quality) : NULL;
    if (quality && !(made = shown))
        return;
    int worst = 0;
    size_t differ = 0, n = (size_t)made->width * (size_t)made->height * (size_t)made->channels;
    if (then->width != made->width || then->height != made->height || then->channels != made->channels) {
        progress_say(&r->bar, "the picture differs in size from %s", r->from.path);
        im_image_free(shown);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int d = abs(then->pixels[i] - made->pixels[i]);
        differ += d != 0;
        worst = d > worst ? d : worst;
    }
    if (differ)
        progress_say(&r->bar, "%zu of %zu values differ from %s, by %d levels at most", differ, n, r->from.path, worst);
    else
        progress_say(&r->bar, "the same picture as %s, bit for bit", r->from.path);
    im_image_free(shown);
}
