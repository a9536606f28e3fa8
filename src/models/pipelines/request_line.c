/* request_line.c: see request_line.h. Two ways of saying the same:
 *
 *     {"prompt": "a cat", "negative": "dogs", "steps": 20, "seed": 5}
 *     --prompt "a cat" --negative_prompt "dogs" --steps 20 --seed 5 --sampler_name "Euler a" --cfg_scale 7
 *
 * The second is what "prompts from file or textbox" of the AUTOMATIC1111 web interface reads: words as in a shell, and all
 * words behind --prompt and --negative_prompt, up to the next that begins with --, are the text. */
#include "models/pipelines/request_line.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/json.h"
#include "data/text/words.h"
#include "models/pipelines/request.h"

typedef enum { KEY_PROMPT, KEY_NEGATIVE, KEY_SEED, KEY_STEPS, KEY_WIDTH, KEY_HEIGHT, KEY_GUIDANCE, KEY_SCHEDULER } key_of;

static const struct { const char *name; key_of key; } keys[] = {
    { "prompt", KEY_PROMPT }, { "negative", KEY_NEGATIVE }, { "negative_prompt", KEY_NEGATIVE }, { "seed", KEY_SEED },
    { "steps", KEY_STEPS }, { "width", KEY_WIDTH }, { "height", KEY_HEIGHT }, { "guidance", KEY_GUIDANCE },
    { "cfg_scale", KEY_GUIDANCE }, { "scheduler", KEY_SCHEDULER }, { "sampler_name", KEY_SCHEDULER },
};
#define KEYS "prompt, negative (negative_prompt), seed, steps, width, height, guidance (cfg_scale), scheduler " \
             "(sampler_name)"

static bool key_named(const char *name, key_of *out)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(keys[i].name, name)) {
            *out = keys[i].key;
            return true;
        }
    return false;
}

/* Numbers too large for jansson, seeds of 2^63 and more, are texts in what it returns. */
json_t *im_prompt_line_json(im_ctx *c, const char *place, const char *line)
{
    json_error_t e;
    json_t *root = json_loads(line, JSON_REJECT_DUPLICATES, &e);
    char *plain = root ? NULL : im_json_from_python(c, line, strlen(line), true);
    if (plain) root = json_loads(plain, JSON_REJECT_DUPLICATES, &e);
    free(plain);
    if (json_is_object(root)) return root;
    json_decref(root);
    im_fail(c, "%s: begins with { but is not a JSON object: %s", place, e.text);
    return NULL;
}

/* The words from `from` on up to the next option, with spaces between; a new reference. */
static json_t *text_of(const im_word_list *l, int from, int *next)
{
    json_t *text = json_string("");
    for (*next = from; *next < l->n && strncmp(l->v[*next], "--", 2); ++*next) {
        json_t *longer = json_sprintf("%s%s%s", json_string_value(text), *next > from ? " " : "", l->v[*next]);
        json_decref(text);
        text = longer;
    }
    return text;
}

/* As int() and float() of Python read a number: +7, 08, .5, 7. are ones, 0x10 and inf are not taken. */
static json_t *value_of(key_of key, const char *word)
{
    const char *p = word + (*word == '+' || *word == '-');
    size_t whole = strspn(p, "0123456789"), part = p[whole] == '.' ? strspn(p + whole + 1, "0123456789") : 0;
    bool digits = whole + part && key != KEY_SCHEDULER;
    errno = 0;
    if (digits && !p[whole]) {
        long long n = strtoll(word, NULL, 10);
        return errno ? json_string(word + (*word == '+')) : json_integer(n);
    }
    char *end;
    double x = digits && !strpbrk(p, "xX") ? strtod(word, &end) : NAN;
    return isfinite(x) && !*end ? json_real(x) : json_string(word);
}

json_t *im_prompt_line_options(im_ctx *c, const char *place, const char *line)
{
    im_word_list words;
    if (!im_words_split(c, place, line, &words)) return NULL;
    json_t *root = json_object();
    bool ok = root || im_fail(c, "%s: out of memory", place);
    for (int i = 0, next = 0; ok && i < words.n; i = next) {
        char *name = words.v[i] + 2;
        key_of key;
        for (char *p = name; *p; p++) *p = *p == '-' ? '_' : *p;
        if (strncmp(words.v[i], "--", 2) || !key_named(name, &key)) {
            ok = im_fail(c, "%s: \"%s\" is none of the options that a line may have; wanted %s, each behind --", place,
                         words.v[i], KEYS);
        } else if (key <= KEY_NEGATIVE) {
            json_object_set_new(root, name, text_of(&words, i + 1, &next));
        } else if (i + 1 == words.n) {
            ok = im_fail(c, "%s: --%s has no value", place, name);
        } else {
            json_object_set_new(root, name, value_of(key, words.v[i + 1]));
            next = i + 2;
        }
    }
    im_words_free(&words);
    if (ok) return root;
    json_decref(root);
    return NULL;
}

/* ---------------------------------------------------------------- what it says */

static bool whole(const json_t *v, int most, int *out)
{
    *out = (int)json_integer_value(v);
    return json_is_integer(v) && json_integer_value(v) >= 1 && json_integer_value(v) <= most;
}

static bool read_key(key_of key, const json_t *v, im_prompt_line *out)
{
    im_prompt *p = &out->said;
    switch (key) {
    case KEY_PROMPT: return (out->prompt = json_string_value(v)) != NULL;
    case KEY_NEGATIVE: return (out->negative = json_string_value(v)) != NULL;
    case KEY_SEED:
        if (json_is_integer(v) && json_integer_value(v) == -1) return true;            /* any: as if it were not said  */
        return out->has_seed = im_seed_read(v, &p->seed);
    case KEY_STEPS: return whole(v, 100000, &p->steps);
    case KEY_WIDTH: return whole(v, 1 << 16, &p->width);
    case KEY_HEIGHT: return whole(v, 1 << 16, &p->height);
    case KEY_GUIDANCE:
        p->guidance = (float)json_number_value(v);
        return p->has_guidance = json_is_number(v) && fabs(json_number_value(v)) <= 1000;
    default: return (p->scheduler = im_sampler_named(json_string_value(v))) != NULL;
    }
}

static const char *wanted(key_of key)
{
    switch (key) {
    case KEY_PROMPT: case KEY_NEGATIVE: return "a text";
    case KEY_SEED: return "a whole number from 0 to 18446744073709551615, or -1";
    case KEY_STEPS: return "a whole number from 1 to 100000";
    case KEY_WIDTH: case KEY_HEIGHT: return "a whole number from 1 to 65536";
    case KEY_GUIDANCE: return "a number from -1000 to 1000";
    default: return "a scheduler: pndm, ddim, euler, euler_a ... or Euler, Euler a, DPM++ 2M Karras ...";
    }
}

bool im_prompt_line_read(im_ctx *c, const char *place, json_t *object, im_prompt_line *out)
{
    const char *name;
    json_t *v;
    json_object_foreach(object, name, v) {
        key_of key;
        if (!key_named(name, &key))
            return im_fail(c, "%s: \"%s\" is unknown; wanted %s", place, name, KEYS);
        if (read_key(key, v, out)) continue;
        char *found = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        im_fail(c, "%s: \"%s\" is %.80s; wanted %s", place, name, found ? found : "?", wanted(key));
        free(found);
        return false;
    }
    return out->prompt || im_fail(c, "%s: has no \"prompt\"", place);
}
