/* ask.c: see ask.h. */
#include "cli/serve/ask.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/files/fields.h"
#include "data/files/utf8.h"

/* ---------------------------------------------------------------- trouble */

bool trouble_is(trouble *t, int status, const char *param, const char *fmt, ...)
{
    if (t->status)
        return false;
    t->status = status;
    snprintf(t->param, sizeof t->param, "%s", param ? param : "");
    va_list args;
    va_start(args, fmt);
    vsnprintf(t->message, sizeof t->message, fmt, args);
    va_end(args);
    return false;
}

enum MHD_Result trouble_tell(visit *v, const trouble *t)
{
    /* What FastAPI finds wrong in a request has the status 422, with OpenAI it is 400. */
    int status = t->status == 422 && v->form == SAYS_ERROR ? 400 : t->status;
    const char *code = status == 429 ? "queue_full" : status == 503 ? "stopping" : v->form == SAYS_ERROR ? "invalid_value"
                                                                                                         : NULL;
    return answer_error(v, status, code, *t->param ? t->param : NULL, "%s", t->message);
}

/* ---------------------------------------------------------------- values */

static bool neutral(const asked_key *k, const json_t *value)
{
    if (json_is_number(value))
        return json_number_value(value) == k->min || json_number_value(value) == k->max;
    return json_is_false(value) || (json_is_string(value) && !json_string_length(value)) ||
           (k->at == KEY_TEXT && json_is_string(value) && !strcasecmp(json_string_value(value), "none")) ||
           (json_is_array(value) && !json_array_size(value)) || (json_is_object(value) && !json_object_size(value));
}

static bool wrong(const asked_key *k, const json_t *value, const char *wanted, trouble *t)
{
    char *found = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    trouble_is(t, 422, k->name, "%s is %.60s%s; wanted %s", k->name, found ? found : "?",
               found && strlen(found) > 60 ? "..." : "", wanted);
    free(found);
    return false;
}

static bool read_number(const asked_key *k, const json_t *value, bool whole, double *out, trouble *t)
{
    const im_range range = { .min = k->min, .max = k->max };
    char wanted[128];
    double x = json_number_value(value);
    im_range_text(&range, whole, wanted, sizeof wanted);
    if (!json_is_number(value) || !isfinite(x) || (whole && x != floor(x)) || !im_range_has(&range, x))
        return wrong(k, value, wanted, t);
    *out = x;
    return true;
}

static bool read_seed(const asked_key *k, const json_t *value, asked_seed *out, trouble *t)
{
    const char *text = json_string_value(value);
    double x = json_number_value(value);
    bool whole = json_is_number(value) && x >= -1 && x < 0x1p64 && x == floor(x), any = whole && x < 0;
    if (whole) {
        *out = (asked_seed){ !any, any ? 0 : json_is_integer(value) ? (uint64_t)json_integer_value(value) : (uint64_t)x };
        return true;
    }
    out->given = text && im_seed_of_text(text, &out->value);
    return out->given || (text && !strcmp(text, "-1")) ||
           wrong(k, value, "a whole number from 0 to 18446744073709551615, or -1 for any", t);
}

static bool read_value(const asked_key *k, json_t *value, asked *out, trouble *t)
{
    void *at = (char *)out + k->at;
    double x;
    switch (k->kind) {
    case KEY_TEXT:
        if (!json_is_string(value))
            return wrong(k, value, "a text", t);
        *(const char **)at = json_string_value(value);
        return true;
    case KEY_INT:
        if (!read_number(k, value, true, &x, t))
            return false;
        *(int *)at = (int)x;
        return true;
    case KEY_REAL:
        return read_number(k, value, false, at, t);
    case KEY_FLAG:
        if (!json_is_boolean(value))
            return wrong(k, value, "true or false", t);
        *(bool *)at = json_is_true(value);
        return true;
    case KEY_SWITCH:
        if (json_is_boolean(value) || (json_is_integer(value) && json_integer_value(value) >> 1 == 0)) {
            *(bool *)at = json_is_true(value) || json_integer_value(value) == 1;
            return true;
        }
        return wrong(k, value, "true, false, 0 or 1", t);
    case KEY_SEED:
        return read_seed(k, value, at, t);
    case KEY_JSON:
        *(json_t **)at = value;
        return true;
    case KEY_NEUTRAL:
        return neutral(k, value) || wrong(k, value, "it left out: this server does not offer it", t);
    default:
        return true;
    }
}

static const asked_key *key_named(const asked_key *keys, const char *name)
{
    while (keys->name && strcmp(keys->name, name) != 0)
        keys++;
    return keys->name ? keys : NULL;
}

bool ask_read(visit *v, const asked_key *keys, bool strict, asked *out, trouble *t)
{
    const char *name;
    json_t *value;
    json_object_foreach(v->asked, name, value) {
        const asked_key *k = key_named(keys, name);
        if (!k && strict)
            return trouble_is(t, 422, name, "there is no \"%.60s\" in a request of this kind; GET /openapi.json lists what "
                                            "there is", name);
        json_t *as = k && !strict ? lax_value(k, value) : NULL;
        if (as && json_object_iter_set_new(v->asked, json_object_key_to_iter(name), as))
            return trouble_is(t, 500, name, "out of memory");
        if (as)
            value = as;                                        /* the other is gone                                    */
        if (k && !json_is_null(value) && !read_value(k, value, out, t))
            return false;
    }
    return true;
}

/* ---------------------------------------------------------------- pictures */

im_decode_args ask_picture_limits(const server *s)
{
    return (im_decode_args){ .max_pixels = (int64_t)s->o->max_pixels * 16 };
}

static im_image *decode(server *s, const uint8_t *bytes, size_t n, const char *param, trouble *t)
{
    im_ctx *c = im_ctx_new("ref", 1);
    const im_decode_args limits = ask_picture_limits(s);
    im_image *i = c ? im_picture_decode(c, bytes, n, param, &limits) : NULL;
    if (!i)
        trouble_is(t, 422, param, "%s", c ? im_error(c) : "out of memory");
    im_ctx_free(c);
    return i;
}

uint8_t *ask_picture_bytes(const json_t *text, const char *param, size_t *n, trouble *t)
{
    uint8_t *bytes = json_is_string(text) ? base64_read(json_string_value(text), json_string_length(text), n) : NULL;
    if (!bytes)
        trouble_is(t, 422, param, "%s: wanted a PNG or JPEG in base64, or as a data URL", param);
    return bytes;
}

im_image *ask_picture(server *s, const json_t *text, const char *param, trouble *t)
{
    size_t n;
    uint8_t *bytes = ask_picture_bytes(text, param, &n, t);
    im_image *i = bytes ? decode(s, bytes, n, param, t) : NULL;
    free(bytes);
    return i;
}

/* ---------------------------------------------------------------- names of schedulers */

/* Steps evenly in time, as each of the samplers has them by itself. */
static bool own_steps(const char *scheduler)
{
    return !scheduler || !*scheduler || !strcasecmp(scheduler, "automatic") || !strcasecmp(scheduler, "normal") ||
           !strcasecmp(scheduler, "uniform");
}

const char *scheduler_named(const char *sampler, const char *scheduler)
{
    const char *ours = im_sampler_named(sampler);
    bool karras = scheduler && !strcasecmp(scheduler, "karras");
    if (!ours || (!karras && !own_steps(scheduler)))
        return NULL;
    if (karras && !strcmp(ours, "dpmpp_2m"))
        return "dpmpp_2m_karras";
    return !karras || strstr(ours, "karras") ? ours : NULL;
}

/* ---------------------------------------------------------------- a wish */

static bool take_text(const char *text, const char *name, char **out, trouble *t)
{
    *out = strdup(text ? text : "");
    return *out || trouble_is(t, 500, name, "out of memory");
}

/* [{"name": ..., "weight": ...}]: as if the prompt named them behind its end */
static bool take_list(const asked *a, wish *w, trouble *t)
{
    size_t i;
    json_t *one;
    if (a->loras && !json_is_array(a->loras))
        return trouble_is(t, 422, "loras", "loras: wanted a list of {\"name\": ..., \"weight\": ...}");
    json_array_foreach(a->loras, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        json_t *weight = json_object_get(one, "weight");
        if (!name || !*name || strpbrk(name, ":<>") || (weight && !json_is_number(weight)))
            return trouble_is(t, 422, "loras", "loras: wanted a list of {\"name\": ..., \"weight\": ...}");
        size_t size = strlen(w->prompt) + strlen(name) + 64;
        char *longer = malloc(size);
        if (!longer)
            return trouble_is(t, 500, "loras", "out of memory");
        snprintf(longer, size, "%s <lora:%s:%.9g>", w->prompt, name, weight ? json_number_value(weight) : 1);
        free(w->prompt);
        w->prompt = longer;
    }
    return true;
}

static bool take_syntax(const server *s, const asked *a, wish *w, trouble *t)
{
    const char *syntax = a->syntax ? a->syntax : s->o->reading.syntax;
    w->syntax = reading_syntax(&(reading){ .syntax = syntax });
    w->clip_skip = a->clip_skip;
    return im_words_have("plain|a1111", syntax) ||
           trouble_is(t, 422, "prompt_syntax", "prompt_syntax is \"%.40s\"; wanted plain or a1111", syntax);
}

static bool take_sampler(const server *s, const asked *a, wish *w, trouble *t)
{
    const char *named = a->sampler && *a->sampler ? a->sampler : a->sampler_index;
    if (!named && !own_steps(a->scheduler))
        named = a->scheduler;
    w->scheduler = named ? scheduler_named(named, named == a->scheduler ? NULL : a->scheduler) : s->own_scheduler;
    if (w->scheduler)
        return true;
    if (named && !scheduler_named(named, NULL))
        return trouble_is(t, 400, "sampler_name", "Sampler not found");
    if (named)
        return trouble_is(t, 400, "scheduler", "Scheduler not found: \"%.60s\" is not offered with the sampler \"%.60s\"",
                          a->scheduler, named);
    return trouble_is(t, 400, "sampler_name", "the model names no scheduler; name one");
}

static bool take_init(server *s, const asked *a, wish *w, trouble *t)
{
    const json_t *one = json_is_array(a->init) ? json_array_get(a->init, 0) : a->init;
    if (!one)
        return trouble_is(t, 404, "init_images", "Init image not found");
    if (json_is_array(a->init) && json_array_size(a->init) > 1)
        return trouble_is(t, 422, "init_images", "there are %zu pictures to begin from; wanted one",
                          json_array_size(a->init));
    w->init = ask_picture(s, one, "init_images", t);
    return w->init && ask_mask(s, a, w, t);
}

static bool fill_wish(server *s, const asked *a, bool init, wish *w, trouble *t)
{
    *w = (wish){ .steps = a->steps, .width = a->width, .height = a->height, .count = a->count * a->iterations,
                 .guidance = (float)a->guidance, .strength = (float)a->strength, .tile = s->o->tile,
                 .token_merging = (float)a->token_merging, .eta = (float)a->eta,
                 .seed = a->seed.given ? a->seed.value : random_seed() };
    if (w->count > MOST_PICTURES)
        return trouble_is(t, 422, "n_iter", "%d pictures are asked for; this server draws at most %d at a request",
                          w->count, MOST_PICTURES);
    if (w->steps > s->o->max_steps)
        return trouble_is(t, 422, "steps", "%d steps are asked for; this server does at most %d (--max-steps)", w->steps,
                          s->o->max_steps);
    if (a->format && !strcmp(a->format, "jpeg"))
        w->quality = a->compression < 0 ? IM_JPEG_QUALITY : a->compression ? a->compression : 1;
    if (!take_sampler(s, a, w, t) || !take_text(a->prompt, "prompt", &w->prompt, t) ||
        !take_text(a->negative, "negative_prompt", &w->negative, t) || !take_list(a, w, t) || !take_syntax(s, a, w, t))
        return false;
    if (a->loose_eta && a->eta == 1 && !im_sampler_has_eta(w->scheduler))
        w->eta = 0;
    return !init || take_init(s, a, w, t);
}

job *ask_job(visit *v, const asked *a, const char *kind, bool init, trouble *t)
{
    server *s = v->s;
    wish w;
    int evaluations = 0;
    job *j = NULL;
    bool ok = fill_wish(s, a, init, &w, t);
    if (ok && !wish_check(s, &w, &evaluations, t->message, sizeof t->message))
        ok = !(t->status = 422);
    if (!ok) {
        wish_free(&w);
        return NULL;
    }
    pthread_mutex_lock(&s->lock);
    j = job_new(s, &w, kind);
    pthread_mutex_unlock(&s->lock);
    if (j) {
        j->evaluations = evaluations;
        j->task = a->task ? strdup(a->task) : NULL;
    } else {
        trouble_is(t, 500, NULL, "out of memory");
    }
    return j;
}

bool ask_queue(visit *v, job *j, trouble *t)
{
    int status = queue_add(v->s, j);
    if (!status)
        return true;
    job_release(v->s, j);
    return trouble_is(t, status, NULL, status == 429 ? "the queue is full: %d requests wait; try again later"
                                                     : "the server is stopping%.0d", v->s->waiting);
}
