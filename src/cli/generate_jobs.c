/* generate_jobs.c: the list of pictures of a run: from -p, or from the lines of --prompts, times --count.
 * A line is a prompt, or a JSON object {"prompt": ..., "negative": ..., "seed": ...}. Pictures without a seed of their own
 * count up from --seed in the order of the list. Used by cmd_generate.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "data/files/file.h"
#include "data/files/utf8.h"

void jobs_free(job_list *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->v[i].prompt);
        free(l->v[i].negative);
        free(l->v[i].path);
        free(l->v[i].guess_text);
        free(l->v[i].error);
    }
    free(l->v);
    *l = (job_list){ 0 };
}

static bool add_job(run_state *r, const char *prompt, const char *negative, uint64_t seed, int number)
{
    job_list *l = &r->jobs;
    if (l->n == l->cap) {
        int cap = l->cap ? 2 * l->cap : 16;
        job *v = realloc(l->v, (size_t)cap * sizeof *v);
        if (!v)
            return im_fail(r->c, "out of memory for a list of %d pictures", cap);
        l->v = v;
        l->cap = cap;
    }
    job *j = &l->v[l->n++];
    *j = (job){ .prompt = strdup(prompt), .negative = strdup(negative), .seed = seed, .number = number };
    return (j->prompt && j->negative) || im_fail(r->c, "out of memory for the prompts");
}

static bool add_prompt(run_state *r, const char *prompt, const char *negative, const uint64_t *own_seed, int number,
                       uint64_t *next_seed)
{
    for (int k = 0; k < r->o->count; k++) {
        uint64_t seed = own_seed ? *own_seed + (uint64_t)k : (*next_seed)++;
        if (!add_job(r, prompt, negative, seed, number))
            return false;
    }
    return true;
}

/* A seed is a whole number; one beyond 2^63 is written as a string, since JSON readers lose it. */
bool read_seed(const json_t *v, uint64_t *out)
{
    if (json_is_integer(v) && json_integer_value(v) >= 0) {
        *out = (uint64_t)json_integer_value(v);
        return true;
    }
    const char *s = json_string_value(v);
    char *end = NULL;
    errno = 0;
    if (!s || *s < '0' || *s > '9')
        return false;
    *out = strtoull(s, &end, 10);
    return !*end && !errno;
}

static bool add_json_line(run_state *r, const char *line, int number, uint64_t *next_seed)
{
    const char *file = r->o->prompts, *key, *prompt = NULL, *negative = r->o->negative;
    uint64_t seed = 0;
    bool has_seed = false, ok = true;
    json_error_t e;
    json_t *value, *root = json_loads(line, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(root)) {
        json_decref(root);
        return im_fail(r->c, "%s, line %d: begins with { but is not a JSON object: %s", file, number, e.text);
    }
    json_object_foreach(root, key, value) {
        if (!strcmp(key, "prompt") && json_is_string(value))
            prompt = json_string_value(value);
        else if (!strcmp(key, "negative") && json_is_string(value))
            negative = json_string_value(value);
        else if (!strcmp(key, "seed") && read_seed(value, &seed))
            has_seed = true;
        else
            ok = ok && im_fail(r->c, "%s, line %d: \"%s\" is unknown or of the wrong kind; wanted prompt and negative "
                                     "(texts) and seed (a whole number)", file, number, key);
    }
    if (ok && !prompt)
        ok = im_fail(r->c, "%s, line %d: has no \"prompt\"", file, number);
    ok = ok && add_prompt(r, prompt, negative, has_seed ? &seed : NULL, number, next_seed);
    json_decref(root);
    return ok;
}

/* `line` without its end; blank lines are no pictures. */
static bool add_line(run_state *r, char *line, int number, uint64_t *next_seed)
{
    size_t n = strcspn(line, "\r\n");
    line[n] = '\0';
    if (number == 1 && !strncmp(line, IM_BYTE_ORDER_MARK, 3))
        line += 3;
    line += strspn(line, " \t");
    if (!*line)
        return true;
    char where[512];
    snprintf(where, sizeof where, "%s, line %d", r->o->prompts, number);
    if (!im_utf8_check(r->c, where, line, strlen(line)))
        return false;
    if (*line == '{')
        return add_json_line(r, line, number, next_seed);
    return add_prompt(r, line, r->o->negative, NULL, number, next_seed);
}

static bool read_prompts(run_state *r, uint64_t *next_seed)
{
    const char *name = r->o->prompts;
    FILE *f = strcmp(name, "-") ? fopen(name, "r") : stdin;
    char *line = NULL;
    size_t cap = 0;
    bool ok = true;
    if (!f)
        return im_fail(r->c, "%s: %s; wanted a file with one prompt per line", name, strerror(errno));
    ssize_t got = 0;
    for (int number = 1; ok && (got = getline(&line, &cap, f)) >= 0; number++) {
        if (strlen(line) != (size_t)got)
            ok = im_fail(r->c, "%s, line %d: holds a zero byte; wanted text in UTF-8", name, number);
        ok = ok && add_line(r, line, number, next_seed);
    }
    if (ok && ferror(f))
        ok = im_fail(r->c, "%s: %s; wanted a file with one prompt per line", name, strerror(errno));
    if (ok && r->jobs.n == 0)
        ok = im_fail(r->c, "%s: has no prompts; wanted one per line", name);
    free(line);
    if (f != stdin)
        fclose(f);
    return ok;
}

bool jobs_build(run_state *r)
{
    uint64_t next_seed = r->o->seed.value;
    if (r->o->prompts)
        return read_prompts(r, &next_seed);
    return im_utf8_check(r->c, "the prompt", r->o->prompt, strlen(r->o->prompt))
        && im_utf8_check(r->c, "the negative prompt", r->o->negative, strlen(r->o->negative))
        && add_prompt(r, r->o->prompt, r->o->negative, NULL, 1, &next_seed);
}
