/* sdapi.c: txt2img and img2img as the AUTOMATIC1111 web interface has them, for its many clients: its names, its defaults,
 * its answers. What it can do and this server cannot is an error where it would change the picture, and not silence. Keys
 * that it does not know it passes over, and so does this. */
#include "cli/serve/sdapi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/serve/ask.h"
#include "data/files/fields.h"

#define AT(field) offsetof(asked, field)
#define NEUTRAL(name, kind, ...) { name, KEY_NEUTRAL, kind, __VA_ARGS__ }
static const asked_key keys[] = {
    { "prompt", KEY_TEXT, AT(prompt), 0, 0 },
    { "negative_prompt", KEY_TEXT, AT(negative), 0, 0 },
    { "seed", KEY_SEED, AT(seed), 0, 0 },
    { "sampler_name", KEY_TEXT, AT(sampler), 0, 0 },
    { "sampler_index", KEY_TEXT, AT(sampler_index), 0, 0 },
    { "scheduler", KEY_TEXT, AT(scheduler), 0, 0 },
    { "batch_size", KEY_INT, AT(count), 1, MOST_PICTURES },
    { "n_iter", KEY_INT, AT(iterations), 1, MOST_PICTURES },
    { "steps", KEY_INT, AT(steps), 1, 100000 },
    { "cfg_scale", KEY_REAL, AT(guidance), -1000, 1000 },
    { "eta", KEY_REAL, AT(eta), 0, 1 },
    { "width", KEY_INT, AT(width), 1, 1 << 16 },
    { "height", KEY_INT, AT(height), 1, 1 << 16 },
    { "denoising_strength", KEY_REAL, AT(strength), 0, 1 },
    { "send_images", KEY_FLAG, AT(send_images), 0, 0 },
    { "force_task_id", KEY_TEXT, AT(task), 0, 0 },
    { "override_settings", KEY_JSON, AT(overrides), 0, 0 },
    { "alwayson_scripts", KEY_JSON, AT(scripts), 0, 0 },
    { "prompt_syntax", KEY_TEXT, AT(syntax), 0, 0 },
    { "script_name", KEY_JSON, AT(script), 0, 0 },
    { "styles", KEY_JSON, AT(styles), 0, 0 },
    { "init_images", KEY_JSON, AT(init), 0, 0 },
    { "mask", KEY_JSON, AT(mask), 0, 0 },
    { "mask_blur", KEY_REAL, AT(mask_blur), 0, 1000 },
    { "inpainting_mask_invert", KEY_SWITCH, AT(mask_invert), 0, 0 },
    { "inpainting_fill", KEY_INT, AT(fill), 0, 3 },
    { "inpaint_full_res", KEY_SWITCH, AT(full_res), 0, 0 },
    { "inpaint_full_res_padding", KEY_INT, AT(padding), 0, 1 << 16 },
    { "mask_blur_x", KEY_REAL, AT(blur_x), 0, 1000 },
    { "mask_blur_y", KEY_REAL, AT(blur_y), 0, 1000 },
    { "mask_round", KEY_SWITCH, AT(mask_round), 0, 0 },
    { "include_init_images", KEY_FLAG, AT(include_init), 0, 0 },
    NEUTRAL("enable_hr", KEY_FLAG, 0, 0), NEUTRAL("restore_faces", KEY_FLAG, 0, 0), NEUTRAL("tiling", KEY_FLAG, 0, 0),
    NEUTRAL("subseed_strength", KEY_REAL, 0, 0), NEUTRAL("s_churn", KEY_REAL, 0, 0), NEUTRAL("s_tmin", KEY_REAL, 0, 0),
    NEUTRAL("s_noise", KEY_REAL, 1, 1), NEUTRAL("s_min_uncond", KEY_REAL, 0, 0),
    NEUTRAL("refiner_checkpoint", KEY_TEXT, 0, 0), NEUTRAL("initial_noise_multiplier", KEY_REAL, 1, 1),
    NEUTRAL("infotext", KEY_TEXT, 0, 0), NEUTRAL("seed_resize_from_w", KEY_INT, 0, -1),
    NEUTRAL("seed_resize_from_h", KEY_INT, 0, -1), NEUTRAL("resize_mode", KEY_INT, 0, 0),
    { .name = NULL }
};

/* ---------------------------------------------------------------- the answer */

const char *sampler_named(const char *scheduler)
{
    const char *ours, *theirs;
    for (int i = 0; im_sampler_at(i, &ours, &theirs); i++)
        if (!strcmp(ours, scheduler))
            return theirs;
    return scheduler;
}

/* Of a picture with a mask, by that interface's names. */
static json_t *mask_json(const wish *w)
{
    json_t *m = json_pack("{s:f}", "Mask blur", im_decimal(w->mask_blur));
    if (m && w->mask_only)
        json_object_update_new(m, json_pack("{s:s, s:i}", "Inpaint area", "Only masked", "Masked area padding",
                                            w->mask_padding));
    if (m && w->mask_fill != IM_MASK_ORIGINAL)
        json_object_set_new(m, "Masked content", json_string(im_mask_fill_title(w->mask_fill)));
    return m;
}

/* What that interface says of a generation. */
static json_t *info_json(const server *s, const job *j)
{
    const wish *w = &j->w;
    json_t *prompts = json_array(), *negatives = json_array(), *seeds = json_array(), *subseeds = json_array();
    json_t *texts = json_array(), *first = NULL;
    char stamp[32];
    time_t t = (time_t)j->created;
    struct tm utc;
    int shown = 0;
    strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", gmtime_r(&t, &utc));
    for (int i = 0; i < w->count; i++) {
        if (j->v[i].state != DRAWING_DONE)
            continue;
        json_array_append_new(prompts, json_string(wish_prompt(w, i)));
        json_array_append_new(negatives, json_string(wish_negative(w, i)));
        json_array_append_new(seeds, seed_json(j->v[i].seed));
        json_array_append_new(subseeds, json_integer(-1));
        json_array_append_new(texts, json_string(j->v[i].parameters));
        shown = first ? shown : i;
        first = first ? first : seed_json(j->v[i].seed);
    }
    json_t *strength = w->init_sha256[0] ? json_real(im_decimal(w->strength)) : json_null();
    json_t *extra = w->mask_sha256[0] ? mask_json(w) : json_object();
    json_t *info = json_pack(
        "{s:s, s:o, s:s, s:o, s:o, s:o, s:i, s:o, s:i, s:i, s:i, s:s, s:f, s:i, s:i, s:b, s:n}",
        "prompt", wish_prompt(w, shown), "all_prompts", prompts, "negative_prompt", wish_negative(w, shown),
        "all_negative_prompts", negatives,
        "seed", first ? first : seed_json(w->seed), "all_seeds", seeds, "subseed", -1, "all_subseeds", subseeds,
        "subseed_strength", 0, "width", w->width, "height", w->height, "sampler_name", sampler_named(w->scheduler),
        "cfg_scale", im_decimal(w->guidance), "steps", w->steps, "batch_size", w->count, "restore_faces", 0,
        "face_restoration_model");
    json_t *more = json_pack(
        "{s:s, s:s, s:n, s:n, s:i, s:i, s:o, s:o, s:i, s:o, s:[], s:s, s:i, s:b, s:s, s:b}",
        "sd_model_name", s->model_name, "sd_model_hash", s->hash, "sd_vae_name", "sd_vae_hash", "seed_resize_from_w", -1,
        "seed_resize_from_h", -1, "denoising_strength", strength, "extra_generation_params", extra,
        "index_of_first_image", 0, "infotexts", texts, "styles", "job_timestamp", stamp, "clip_skip", w->clip_skip,
        "is_using_inpainting_conditioning", 0, "version", "imago " IM_VERSION, "interrupted", j->state == JOB_CANCELLED);
    if (info && more)
        json_object_update(info, more);
    json_decref(more);
    return info;
}

static json_t *pictures_json(const job *j)
{
    json_t *list = json_array();
    for (int i = 0; i < j->w.count; i++)
        if (j->v[i].state == DRAWING_DONE)
            json_array_append_new(list, base64_json(j->v[i].file, j->v[i].bytes));
    return list;
}

static bool any_done(const job *j)
{
    bool any = false;
    for (int i = 0; i < j->w.count; i++)
        any = any || j->v[i].state == DRAWING_DONE;
    return any;
}

/* The job has ended: nothing of it changes any more. */
static enum MHD_Result tell(visit *v)
{
    job *j = v->j;
    bool stopped = j->state == JOB_CANCELLED && j->status == 503 && !any_done(j);
    if (j->state == JOB_FAILED || stopped)                     /* unlike an interrupt, which the client asked for      */
        return answer_error(v, j->status, NULL, NULL, "%s", job_why(j));
    json_t *info = info_json(v->s, j);
    char *text = info ? json_dumps(info, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_t *images = v->brief ? json_array() : pictures_json(j);
    json_decref(info);
    json_t *all = json_pack("{s:o, s:O, s:s}", "images", images, "parameters", v->asked, "info", text ? text : "");
    free(text);
    return answer_json(v, 200, all);
}

/* ---------------------------------------------------------------- the request */

/* Of a file also without its ending. */
bool sdapi_is_model(const server *s, const char *name)
{
    size_t n = strlen(name);
    return !n || !strcmp(name, s->title) || !strcmp(name, s->model_name) || !strcmp(name, s->hash) ||
           (n >= 8 && !strncmp(name, s->hash, n)) ||
           (!strncmp(name, s->model_name, n) && !strcmp(s->model_name + n, ".safetensors"));
}

static bool take_overrides(const server *s, asked *a, trouble *t)
{
    const json_t *model = json_object_get(a->overrides, "sd_model_checkpoint");
    const json_t *clip = json_object_get(a->overrides, "CLIP_stop_at_last_layers");
    const json_t *ratio = json_object_get(a->overrides, "token_merging_ratio");
    if (a->overrides && !json_is_object(a->overrides))
        return trouble_is(t, 422, "override_settings", "override_settings: wanted an object");
    if (json_is_string(model) && !sdapi_is_model(s, json_string_value(model)))
        return trouble_is(t, 422, "override_settings", "sd_model_checkpoint is \"%.80s\"; this server has one model, "
                                                       "\"%s\"", json_string_value(model), s->title);
    if (clip && !json_is_null(clip) && (!json_is_integer(clip) || json_integer_value(clip) < 1 ||
                                        json_integer_value(clip) > 1000))
        return trouble_is(t, 422, "override_settings", "CLIP_stop_at_last_layers: wanted a whole number of 1 or more");
    if (json_is_integer(clip))
        a->clip_skip = (int)json_integer_value(clip);
    if (ratio && !json_is_null(ratio) && !(json_is_number(ratio) && json_number_value(ratio) >= 0 &&
                                           json_number_value(ratio) <= 0.9))
        return trouble_is(t, 422, "override_settings", "token_merging_ratio: wanted a number from 0 to 0.9");
    if (json_is_number(ratio))
        a->token_merging = json_number_value(ratio);
    return true;
}

static bool check_scripts(const asked *a, trouble *t)
{
    const char *name = json_object_iter_key(json_object_iter(a->scripts));
    if (a->scripts && !json_is_object(a->scripts) && json_array_size(a->scripts))
        return trouble_is(t, 422, "alwayson_scripts", "alwayson_scripts: wanted an object");
    if (name)
        return trouble_is(t, 422, "alwayson_scripts", "always on script %.80s not found", name);
    if (json_is_string(a->script) && json_string_length(a->script))
        return trouble_is(t, 422, "script_name", "Script '%.80s' not found", json_string_value(a->script));
    if (json_array_size(a->styles))
        return trouble_is(t, 422, "styles", "this server has no styles; leave them out");
    return true;
}

/* That interface's ways of inpainting, in our words. What is not offered is told by name; without a mask these keys decide
 * nothing. */
static bool take_mask(asked *a, trouble *t)
{
    static const im_mask_fill fills[] = { IM_MASK_FILL, IM_MASK_ORIGINAL, IM_MASK_NOISE, IM_MASK_NOTHING };
    bool said = a->mask_blur >= 0;                             /* then it is that of both directions                   */
    a->mask_fill = im_mask_fill_name(fills[a->fill]);
    a->mask_only = a->full_res ? a->padding : -1;
    a->mask_blur = said ? a->mask_blur : a->blur_x;
    if (!a->mask || (json_is_string(a->mask) && !json_string_length(a->mask)))
        return true;
    if (!a->mask_round)
        return trouble_is(t, 422, "mask_round", "mask_round: this server does not offer that: a place is drawn anew or "
                                                "kept, and nothing between (true)");
    return said || a->blur_x == a->blur_y ||
           trouble_is(t, 422, "mask_blur_x", "mask_blur_x is %g and mask_blur_y is %g (4 where one is not given); this "
                                             "server blurs a mask alike in both directions", a->blur_x, a->blur_y);
}

static enum MHD_Result draw(visit *v, bool init)
{
    server *s = v->s;
    trouble t = { 0 };
    asked a = { .sampler_index = "Euler", .steps = 50, .guidance = 7, .count = 1, .iterations = 1, .strength = 0.75,
                .send_images = true, .clip_skip = 1, .mask_blur = -1, .blur_x = 4, .blur_y = 4, .mask_round = true,
                .full_res = true, .loose_eta = true };
    job *j = NULL;
    if (ask_body(v, &t) && ask_read(v, keys, false, &a, &t) && take_overrides(s, &a, &t) && check_scripts(&a, &t) &&
        (!init || take_mask(&a, &t)))
        j = ask_job(v, &a, init ? "img2img" : "txt2img", init, &t);
    if (!j)
        return trouble_tell(v, &t);
    j->webui = true;
    v->brief = !a.send_images;
    if (init && !a.include_init) {
        json_object_set_new(v->asked, "init_images", json_null());
        if (a.mask)
            json_object_set_new(v->asked, "mask", json_null());
    }
    pthread_mutex_lock(&s->lock);
    bool ok = ask_queue(v, j, &t);
    enum MHD_Result rc = ok ? visit_wait(v, j, tell) : MHD_NO;
    pthread_mutex_unlock(&s->lock);
    return ok ? rc : trouble_tell(v, &t);
}

enum MHD_Result sdapi_txt2img(visit *v)
{
    return draw(v, false);
}

enum MHD_Result sdapi_img2img(visit *v)
{
    return draw(v, true);
}
