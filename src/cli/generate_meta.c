/* generate_meta.c: what a picture carries about its making, and --from, which reads it and makes the picture again.
 * Two texts: `parameters` as the AUTOMATIC1111 web interface writes it, for other programs, and `imago`, a JSON object with
 * everything that decides the bits. No paths are stored. Used by cmd_generate.c and generate_run.c. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "cli/session.h"
#include "data/files/fields.h"
#include "data/files/json.h"
#include "data/images/picture.h"

/* Names of samplers in that interface; "" where it has none of its own. */
static const char *sampler_name(const char *scheduler)
{
    static const char *const names[][2] = {
        { "pndm", "PLMS" }, { "ddim", "DDIM" }, { "euler", "Euler" }, { "euler_a", "Euler a" }, { "heun", "Heun" },
        { "lms", "LMS" }, { "dpmpp_2m", "DPM++ 2M" }, { "dpmpp_2m_karras", "DPM++ 2M Karras" }, { "unipc", "UniPC" },
        { "ddpm", "DDPM" }
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i][0], scheduler))
            return names[i][1];
    return scheduler;
}

static json_t *seed_json(uint64_t seed)
{
    char text[24];
    if (seed <= INT64_MAX)
        return json_integer((json_int_t)seed);
    snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
    return json_string(text);
}

json_t *meta_json(const run_state *r, const job *j)
{
    const generate_options *o = r->o;
    json_t *m = json_pack("{s:s, s:s, s:s, s:o, s:i, s:i, s:s, s:i, s:f, s:s, s:s, s:s, s:s, s:s, s:s}",
                          "version", IM_VERSION, "model", r->model_name, "model_hash", im_sd_hash(r->sd),
                          "seed", seed_json(j->seed), "width", r->base.width, "height", r->base.height,
                          "scheduler", r->base.scheduler, "steps", o->steps, "guidance", im_decimal(o->guidance),
                          "dtype", o->common.dtype, "device", im_device_name(r->c), "isa", im_device_isa(r->c),
                          "rng", o->rng, "prompt", j->prompt, "negative", j->negative);
    if (m && r->format == IM_JPEG)
        json_object_set_new(m, "quality", json_integer(o->quality));
    if (m && r->init) {
        json_object_set_new(m, "strength", json_real(im_decimal(o->strength)));
        json_object_set_new(m, "init_sha256", json_string(r->init_hash));
    }
    if (m && r->latents) {
        json_object_set_new(m, "latents_sha256", json_string(r->latents_hash));
        json_object_set_new(m, "latents_index", json_integer(latents_row(r, (int)(j - r->jobs.v))));
    }
    return m;
}

/* A value as that interface writes it: as JSON where a comma, a colon or a line break would end it; and where it begins
 * with a quotation mark, which would be taken for the beginning of such. malloc'd */
static char *quoted(const char *value)
{
    json_t *v = strpbrk(value, ",:\n\r") || *value == '"' ? json_string(value) : NULL;
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : strdup(value);
    json_decref(v);
    return text;
}

/* The one-paragraph text; malloc'd. Its hash is that of a single file; that interface opens no folders, and has none. */
static char *parameters_text(const run_state *r, const job *j)
{
    char *text = NULL, strength[48] = "", *model = quoted(r->model_name);
    const char *hash = im_sd_file_hash(r->sd);
    size_t size = 0;
    FILE *f = model ? open_memstream(&text, &size) : NULL;
    if (!f) {
        free(model);
        return NULL;
    }
    if (r->init)
        snprintf(strength, sizeof strength, "Denoising strength: %.9g, ", im_decimal(r->o->strength));
    fprintf(f, "%s\n", j->prompt);
    if (j->negative[0])
        fprintf(f, "Negative prompt: %s\n", j->negative);
    fprintf(f, "Steps: %d, Sampler: %s, CFG scale: %.9g, Seed: %llu, Size: %dx%d, ", r->o->steps,
            sampler_name(r->base.scheduler), im_decimal(r->o->guidance), (unsigned long long)j->seed, r->base.width,
            r->base.height);
    if (hash)
        fprintf(f, "Model hash: %.10s, ", hash);
    fprintf(f, "Model: %s, %sVersion: imago %s", model, strength, IM_VERSION);
    free(model);
    if (fclose(f)) {
        free(text);
        return NULL;
    }
    return text;
}

/* Writes the picture; where there is none, only looks whether its file can carry its texts. */
static bool with_texts(run_state *r, const job *j, const im_image *picture)
{
    json_t *m = meta_json(r, j);
    char *json = m ? json_dumps(m, JSON_COMPACT) : NULL, *parameters = parameters_text(r, j);
    if (!json || !parameters) {
        im_fail(r->c, "%s: its metadata cannot be written: out of memory", j->path);
    } else {
        const im_text texts[] = { { "parameters", parameters }, { "imago", json } };
        const im_picture_how how = { .format = r->format, .quality = r->o->quality, .texts = texts, .n_texts = 2 };
        if (picture)
            im_picture_write(r->c, j->path, picture, &how, r->o->force);
        else
            im_picture_texts_fit(r->c, j->path, &how);
    }
    free(json);
    free(parameters);
    json_decref(m);
    return im_ok(r->c);
}

bool meta_write(run_state *r, const job *j, const im_image *picture)
{
    return with_texts(r, j, picture);
}

bool meta_fits(run_state *r)
{
    for (int i = 0; r->format == IM_JPEG && i < r->jobs.n; i++)
        if (!with_texts(r, &r->jobs.v[i], NULL))
            return false;
    return true;
}

/* ---- --from */

static const char *text_of(const run_state *r, const char *key)
{
    return json_string_value(json_object_get(r->from.data, key));
}

/* A word of the picture that the command line leaves alone must be one that its option takes. */
static bool check_word(run_state *r, const char *key, const char *word)
{
    option o;
    return option_given(r->a, key) || (option_find(r->a->verb, key, &o) && option_allows(&o, word))
        || im_fail(r->c, "%s: \"%s\" is \"%s\", wanted one of %s; the text `imago` of this picture was changed: say "
                         "with --%s which it is", r->from.path, key, word, o.choices, key);
}

/* Copies texts and numbers of the picture into the options that the command line left alone. */
static bool fill_options(run_state *r, const im_json *j)
{
    generate_options *o = r->o;
    im_ctx *c = r->c;
    double guidance = 7.5, strength = 0.75;
    int steps = 0, width = 0, height = 0, quality = IM_JPEG_QUALITY;
    const char *prompt = NULL, *negative = "", *scheduler = NULL, *dtype = NULL, *device = NULL, *rng = NULL;
    uint64_t seed = 0;
    r->from.latents_index = -1;
    bool ok = im_json_string(c, j, "prompt", IM_MUST, &prompt) && im_json_string(c, j, "negative", IM_MAY, &negative)
        && im_json_string(c, j, "scheduler", IM_MUST, &scheduler) && im_json_string(c, j, "dtype", IM_MUST, &dtype)
        && im_json_string(c, j, "device", IM_MUST, &device) && im_json_string(c, j, "rng", IM_MUST, &rng)
        && im_json_int(c, j, "steps", IM_MUST, 1, 10000, &steps)
        && im_json_int(c, j, "width", IM_MUST, 1, 1 << 20, &width)
        && im_json_int(c, j, "height", IM_MUST, 1, 1 << 20, &height)
        && im_json_float(c, j, "guidance", IM_MUST, -1000, 1000, &guidance)
        && im_json_float(c, j, "strength", IM_MAY, 0, 1, &strength)
        && im_json_int(c, j, "quality", IM_MAY, 1, 100, &quality)
        && im_json_int(c, j, "latents_index", IM_MAY, 0, INT_MAX, &r->from.latents_index)
        && check_word(r, "dtype", dtype) && check_word(r, "rng", rng);
    if (ok && !read_seed(json_object_get(j->value, "seed"), &seed))
        ok = im_fail(c, "%s: \"seed\" is not a whole number; the text `imago` of this picture was changed", r->from.path);
    if (!ok)
        return false;
    const arguments *a = r->a;
    if (!option_given(a, "prompt") && !o->prompts) o->prompt = prompt;
    if (!option_given(a, "negative")) o->negative = negative;
    if (!option_given(a, "scheduler")) o->scheduler = scheduler;
    if (!option_given(a, "dtype")) o->common.dtype = dtype;
    if (!option_given(a, "device")) o->common.device = device;
    if (!option_given(a, "rng")) o->rng = rng;
    if (!option_given(a, "steps")) o->steps = steps;
    if (!option_given(a, "width")) o->width = width;
    if (!option_given(a, "height")) o->height = height;
    if (!option_given(a, "guidance")) o->guidance = (float)guidance;
    if (!option_given(a, "strength")) o->strength = (float)strength;
    if (!option_given(a, "seed")) o->seed.value = seed;
    if (!option_given(a, "quality")) o->quality = quality;
    r->from.quality = quality;
    return true;
}

bool meta_read(run_state *r)
{
    if (!r->from.path)
        return true;
    char *text = im_picture_text(r->c, r->from.path, "imago");
    if (!text)
        return im_fail(r->c, "%s: carries no text `imago`, so it does not say how it was made; wanted a PNG or JPEG "
                             "that imago wrote and no program has saved again", r->from.path);
    im_json j = { 0 };
    bool ok = im_json_parse(r->c, &j, r->from.path, text, strlen(text)) && fill_options(r, &j);
    if (ok) {
        r->from.data = json_incref(j.value);
        ok = (r->from.image = im_picture_read(r->c, r->from.path)) != NULL;
    }
    im_json_close(&j);
    free(text);
    return ok;
}

static void say_difference(const run_state *r, const char *what, const char *now)
{
    const char *then = text_of(r, what);
    if (then && strcmp(then, now))
        im_warn(r->c, "%s was made with %s %s, this is %s: the pixels may differ", r->from.path, what, then, now);
}

/* A picture that began from another picture, or from given latents, needs the same again. */
static bool check_input(run_state *r, const char *key, const char *name, bool given, const char *hash)
{
    const char *then = text_of(r, key);
    if (then && !given)
        return im_fail(r->c, "%s was made with %s (SHA-256 %s); give the same file", r->from.path, name, then);
    if (!then && given)
        im_warn(r->c, "%s was made without %s: the pixels will differ", r->from.path, name);
    else if (then && strcmp(then, hash))
        im_warn(r->c, "%s was made from another file for %s (SHA-256 %s, this one %s): the pixels will differ",
                r->from.path, name, then, hash);
    return true;
}

/* In f32 all instruction sets but portable have the same bits. */
bool meta_isa_decides(const run_state *r, const char *then)
{
    return strcmp(r->o->common.dtype, "f32") || !strcmp(im_device_isa(r->c), "portable")
        || (then && !strcmp(then, "portable"));
}

bool meta_check(run_state *r)
{
    if (!r->from.data)
        return true;
    const char *hash = im_sd_hash(r->sd), *then = text_of(r, "model_hash"), *model = text_of(r, "model");
    if (!hash)
        return false;
    if (then && strcmp(then, hash) && !r->o->any_model)
        return im_fail(r->c, "%s was made with the model %s (hash %.16s...), this is %s (%.16s...); give the same "
                             "with -m, or --any-model to use the settings with this "
                             "one", r->from.path, model ? model : "?", then,
                       r->model_name, hash);
    say_difference(r, "version", IM_VERSION);
    say_difference(r, "device", im_device_name(r->c));
    if (meta_isa_decides(r, text_of(r, "isa")))
        say_difference(r, "isa", im_device_isa(r->c));
    return check_input(r, "init_sha256", "--init", r->init != NULL, r->init_hash)
        && check_input(r, "latents_sha256", "--latents", r->latents != NULL, r->latents_hash);
}

/* With what was read from a JPEG, a picture is compared as a JPEG of the same quality shows it. */
void meta_compare(run_state *r, const im_image *picture)
{
    const im_image *then = r->from.image, *made = picture;
    bool jpeg = json_object_get(r->from.data, "quality");
    im_image *shown = jpeg ? im_picture_as_written(r->c, picture, r->from.quality) : NULL;
    if (jpeg && !(made = shown))
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
