/* openai.c: /v1/images/generations and /v1/images/edits as OpenAI has them, with more keys, by the names that other servers
 * give them. A key that is not known is an error. Streams send pictures as they come along, and keep waiting clients from
 * giving up and asking again. */
#include "cli/serve/openai.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(asked, field)
#define INT(name, field, lo, hi) { name, KEY_INT, AT(field), lo, hi }
#define REAL(name, field, lo, hi) { name, KEY_REAL, AT(field), lo, hi }
#define TEXT(name, field) { name, KEY_TEXT, AT(field), 0, 0 }
#define ANY(name) { name, KEY_IGNORED, 0, 0, 0 }
static const asked_key keys[] = {
    TEXT("prompt", prompt), INT("n", count, 1, 10), TEXT("size", size), TEXT("output_format", format),
    TEXT("response_format", response_format), INT("output_compression", compression, 0, 100),
    { "stream", KEY_FLAG, AT(stream), 0, 0 }, INT("partial_images", partials, 0, 3), TEXT("background", background),
    { "image", KEY_JSON, AT(init), 0, 0 }, { "mask", KEY_JSON, AT(mask), 0, 0 }, REAL("mask_blur", mask_blur, 0, 1000),
    TEXT("mask_fill", mask_fill), INT("mask_only", mask_only, -1, 1 << 16),
    { "seed", KEY_SEED, AT(seed), 0, 0 }, { "rng_seed", KEY_SEED, AT(seed), 0, 0 },
    INT("steps", steps, 1, 100000), INT("num_inference_steps", steps, 1, 100000), INT("step", steps, 1, 100000),
    REAL("cfg_scale", guidance, -1000, 1000), REAL("guidance_scale", guidance, -1000, 1000),
    REAL("guidance", guidance, -1000, 1000),
    TEXT("negative_prompt", negative), TEXT("negative", negative), TEXT("sampler_name", sampler),
    TEXT("sampler", sampler), TEXT("scheduler", scheduler), REAL("strength", strength, 0, 1),
    REAL("denoising_strength", strength, 0, 1), INT("width", width, 1, 1 << 16), INT("height", height, 1, 1 << 16),
    { "loras", KEY_JSON, AT(loras), 0, 0 }, TEXT("prompt_syntax", syntax), INT("clip_skip", clip_skip, 1, 1000),
    REAL("token_merging", token_merging, 0, 0.9), REAL("eta", eta, 0, 1),
    ANY("model"), ANY("quality"), ANY("moderation"), ANY("style"), ANY("user"), ANY("safety_identifier"),
    ANY("input_fidelity"),
    { .name = NULL }
};

static bool take_size(asked *a, trouble *t)
{
    int width, height, end = 0;
    if (!a->size || !strcmp(a->size, "auto"))
        return true;
    if (sscanf(a->size, "%dx%d%n", &width, &height, &end) != 2 || a->size[end] || width < 1 || height < 1 ||
        width > 1 << 16 || height > 1 << 16)
        return trouble_is(t, 422, "size", "size is \"%.40s\"; wanted WIDTHxHEIGHT in pixels, or auto", a->size);
    a->width = width;
    a->height = height;
    return true;
}

static bool one_of(const char *name, const char *value, const char *const words[], trouble *t)
{
    char list[128] = "";
    for (int i = 0; words[i]; i++) {
        if (!value || !strcmp(value, words[i]))
            return true;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", words[i]);
    }
    return trouble_is(t, 422, name, "%s is \"%.40s\"; wanted one of: %s", name, value, list);
}

bool openai_read(visit *v, asked *a, trouble *t)
{
    im_sd_args d = im_sd_defaults(NULL);
    *a = (asked){ .steps = d.steps, .guidance = (double)d.guidance, .count = 1, .iterations = 1, .compression = -1,
                  .strength = 0.75, .clip_skip = 1, .mask_transparent = true, .mask_only = -1 };
    return (is_form(v) ? ask_form(v, keys, t) : ask_body(v, t)) && ask_read(v, keys, true, a, t) && take_size(a, t) &&
           one_of("output_format", a->format, (const char *const[]){ "png", "jpeg", NULL }, t) &&
           one_of("response_format", a->response_format, (const char *const[]){ "b64_json", "url", NULL }, t) &&
           one_of("background", a->background, (const char *const[]){ "auto", "opaque", NULL }, t) &&
           (a->prompt || trouble_is(t, 422, "prompt", "prompt is missing; wanted a text")) &&
           (!json_is_array(a->init) || json_array_size(a->init) ||
            trouble_is(t, 422, "image", "image is an empty list; wanted a picture")) &&
           (!a->mask || a->init || trouble_is(t, 422, "mask", "there is a mask and no image; wanted the picture that it is "
                                                              "for"));
}

/* ---------------------------------------------------------------- answers */

const char *openai_format(const job *j)
{
    return j->w.quality ? "jpeg" : "png";
}

json_t *openai_size(const job *j)
{
    return json_sprintf("%dx%d", j->w.picture_width, j->w.picture_height);
}

json_t *openai_picture(const job *j, int i, bool url)
{
    const drawing *d = &j->v[i];
    if (d->state != DRAWING_DONE)
        return NULL;
    json_t *one = json_object();
    char *text = base64_of(d->file, d->bytes, NULL);
    if (url)
        json_object_set_new(one, "url", json_sprintf("data:image/%s;base64,%s", openai_format(j), text ? text : ""));
    else
        json_object_set_new(one, "b64_json", json_string(text ? text : ""));
    free(text);
    if (j->w.prompts)
        json_object_set_new(one, "revised_prompt", json_string(j->w.prompts[i]));
    json_object_set_new(one, "seed", seed_json(d->seed));
    return one;
}

/* Tokens are those of the prompt; of a picture that is drawn, its places in latents. */
static json_t *usage_json(server *s, const job *j)
{
    int text = prompt_tokens(s, j->w.prompt), image = j->w.init_sha256[0] ? 1 : 0;
    int out = j->w.width / 8 * (j->w.height / 8) * j->w.count;
    return json_pack("{s:i, s:{s:i, s:i}, s:i, s:i}", "input_tokens", text + image, "input_tokens_details", "image_tokens",
                     image, "text_tokens", text, "output_tokens", out, "total_tokens", text + image + out);
}

static int status_of(const job *j)
{
    return j->status ? j->status : 400;
}

static const char *code_of(const job *j)
{
    return j->state == JOB_FAILED ? NULL : j->status == 503 ? "stopping" : "cancelled";
}

static enum MHD_Result tell_failed(visit *v, const job *j)
{
    return answer_error(v, status_of(j), code_of(j), NULL, "%s", job_why(j));
}

static enum MHD_Result tell(visit *v)
{
    job *j = v->j;
    if (j->state != JOB_DONE)
        return tell_failed(v, j);
    json_t *list = json_array();
    for (int i = 0; i < j->w.count; i++)
        json_array_append_new(list, openai_picture(j, i, v->brief));
    return answer_json(v, 200, json_pack("{s:I, s:o, s:s, s:o, s:s, s:s, s:o}", "created", (json_int_t)j->created, "data",
                                         list, "output_format", openai_format(j), "size", openai_size(j), "quality", "auto",
                                         "background", "opaque", "usage", usage_json(v->s, j)));
}

/* ---------------------------------------------------------------- streams */

static json_t *event_json(const visit *v, const char *type, const char *format, const uint8_t *file, size_t bytes)
{
    return json_pack("{s:s, s:o, s:I, s:o, s:s, s:s, s:s}", "type", type, "b64_json", base64_json(file, bytes),
                     "created_at", (json_int_t)clock_now(), "size", openai_size(v->j), "quality", "auto", "background",
                     "opaque", "output_format", format);
}

static void name_event(const visit *v, const char *what, char out[64])
{
    snprintf(out, 64, "%s.%s", v->j->w.init_sha256[0] ? "image_edit" : "image_generation", what);
}

static void say_partial(visit *v)
{
    const job *j = v->j;
    char name[64];
    name_event(v, "partial_image", name);
    json_t *e = event_json(v, name, "png", j->preview, j->preview_bytes);
    json_object_set_new(e, "partial_image_index", json_integer(v->told_previews++));
    visit_say(v, name, e);
}

static void say_picture(visit *v, int i)
{
    const drawing *d = &v->j->v[i];
    char name[64];
    name_event(v, "completed", name);
    json_t *e = event_json(v, name, openai_format(v->j), d->file, d->bytes);
    json_object_set_new(e, "usage", usage_json(v->s, v->j));
    json_object_set_new(e, "seed", seed_json(d->seed));
    visit_say(v, name, e);
}

static bool next_part(visit *v)
{
    job *j = v->j;
    int position = queue_position(v->s, j), done, total;
    job_progress(j, &done, &total);
    if (position && position != v->told_position)
        visit_note(v, "queued, position %d", v->told_position = position);
    if (!position && !job_ended(j) && done != v->told_step)
        visit_note(v, "step %d of %d", v->told_step = done, total);
    int due = j->evaluations * (v->told_previews + 1) / (v->wanted_previews + 1);
    if (v->told_previews < v->wanted_previews && j->preview && j->preview_step >= due)
        say_partial(v);
    for (; v->told_pictures < j->w.count && j->v[v->told_pictures].state > DRAWING_RUNS; v->told_pictures++)
        if (j->v[v->told_pictures].state == DRAWING_DONE)
            say_picture(v, v->told_pictures);
    if (job_ended(j) && j->state != JOB_DONE)
        visit_say(v, "error", error_json(job_why(j), status_of(j), code_of(j), NULL));
    return job_ended(j);
}

/* ---------------------------------------------------------------- requests */

static enum MHD_Result draw(visit *v, bool init)
{
    server *s = v->s;
    trouble t = { 0 };
    asked a;
    job *j = NULL;
    bool ok = openai_read(v, &a, &t);
    if (ok && init && !a.init)
        ok = trouble_is(&t, 422, "image", "image is missing; wanted the picture to begin from");
    if (ok && !init && (a.init || a.mask))
        ok = trouble_is(&t, 422, "image", "pictures to begin from belong to /v1/images/edits");
    if (ok)
        j = ask_job(v, &a, init ? "img2img" : "txt2img", init, &t);
    if (!j)
        return trouble_tell(v, &t);
    v->brief = a.response_format && !strcmp(a.response_format, "url");
    v->wanted_previews = a.stream ? a.partials : 0;
    json_decref(v->asked);
    v->asked = NULL;
    pthread_mutex_lock(&s->lock);
    ok = ask_queue(v, j, &t);
    enum MHD_Result rc = ok && !a.stream ? visit_wait(v, j, tell) : MHD_NO;
    pthread_mutex_unlock(&s->lock);
    if (!ok)
        return trouble_tell(v, &t);
    return a.stream ? visit_stream(v, j, next_part) : rc;
}

enum MHD_Result openai_generations(visit *v)
{
    return draw(v, false);
}

enum MHD_Result openai_edits(visit *v)
{
    return draw(v, true);
}

static json_t *model_json(const server *s)
{
    return json_pack("{s:s, s:s, s:I, s:s}", "id", s->model_name, "object", "model", "created", (json_int_t)s->created,
                     "owned_by", "imago");
}

enum MHD_Result openai_models(visit *v)
{
    return answer_json(v, 200, json_pack("{s:s, s:[o]}", "object", "list", "data", model_json(v->s)));
}

enum MHD_Result openai_model(visit *v)
{
    if (strcmp(v->part, v->s->model_name) != 0)
        return answer_error(v, 404, "model_not_found", "model", "there is no model \"%s\" here; GET /v1/models lists them",
                            v->part);
    return answer_json(v, 200, model_json(v->s));
}
