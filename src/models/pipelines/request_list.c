/* request_list.c: lists of pictures to make: prompts, each with its seeds, typed or out of a file; and the names of their
 * files. A line of a file is a prompt, or a JSON object or a row of options (request_line.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/utf8.h"
#include "data/text/prompt_lines.h"
#include "models/pipelines/request.h"
#include "models/pipelines/request_line.h"

void im_prompt_list_free(im_prompt_list *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->v[i].prompt);
        free(l->v[i].negative);
    }
    free(l->v);
    *l = (im_prompt_list){ 0 };
}

static bool add(im_ctx *c, im_prompt_list *l, const im_prompt_line *line, uint64_t seed, int number)
{
    if (l->n == l->room) {
        int room = l->room ? 2 * l->room : 16;
        im_prompt *v = realloc(l->v, (size_t)room * sizeof *v);
        if (!v) return im_fail(c, "out of memory for a list of %d pictures", room);
        l->v = v;
        l->room = room;
    }
    im_prompt *p = &l->v[l->n++];
    *p = line->said;
    p->prompt = strdup(line->prompt);
    p->negative = strdup(line->negative);
    p->seed = seed;
    p->number = number;
    return (p->prompt && p->negative) || im_fail(c, "out of memory for the prompts");
}

enum { TEXT_BYTES = 1 << 30, PICTURES = 1000000 };              /* what a list may be                                  */

typedef struct reading {
    im_ctx *c;
    im_prompt_list *list;
    const char *path, *negative;
    int count;
    uint64_t *seed;
    int number;                                                /* of the line, from 1                                  */
    size_t texts;                                              /* bytes of the prompts                                 */
} reading;

static bool add_prompt(reading *r, const im_prompt_line *line)
{
    size_t texts = strlen(line->prompt) + strlen(line->negative);
    for (int k = 0; k < r->count; k++) {
        if (r->list->n == PICTURES || (r->texts += texts) > TEXT_BYTES)
            return im_fail(r->c, "%s, line %d: with it the list has more than %d %s; wanted fewer: part the list, or make "
                                 "--count smaller", r->path ? r->path : "the prompt", r->number,
                           r->list->n == PICTURES ? PICTURES : TEXT_BYTES,
                           r->list->n == PICTURES ? "pictures" : "bytes of prompts");
        uint64_t seed = line->has_seed ? line->said.seed + (uint64_t)k : (*r->seed)++;
        if (!add(r->c, r->list, line, seed, r->number)) return false;
    }
    return true;
}

static bool add_object(reading *r, const char *place, json_t *object)
{
    im_prompt_line line = { .negative = r->negative };
    bool ok = object && im_prompt_line_read(r->c, place, object, &line) && add_prompt(r, &line);
    json_decref(object);
    return ok;
}

static bool add_line(void *arg, const char *place, int number, const char *line)
{
    reading *r = arg;
    r->number = number;
    if (*line == '{') return add_object(r, place, im_prompt_line_json(r->c, place, line));
    if (!strncmp(line, "--", 2)) return add_object(r, place, im_prompt_line_options(r->c, place, line));
    return add_prompt(r, &(im_prompt_line){ .prompt = line, .negative = r->negative });
}

bool im_prompt_list_read(im_ctx *c, im_prompt_list *l, const char *path, const char *negative, int count, uint64_t *seed)
{
    reading r = { .c = c, .list = l, .path = path, .negative = negative, .count = count, .seed = seed };
    return im_prompt_lines(c, path, add_line, &r) &&
           (l->n || im_fail(c, "%s: has no prompts; wanted one per line", path));
}

bool im_prompt_list_add(im_ctx *c, im_prompt_list *l, const char *prompt, const char *negative, int count, uint64_t *seed)
{
    reading r = { .c = c, .list = l, .count = count, .seed = seed,
                  .number = l->n ? l->v[l->n - 1].number + 1 : 1 };
    return im_utf8_check(c, "the prompt", prompt, strlen(prompt)) &&
           im_utf8_check(c, "the negative prompt", negative, strlen(negative)) &&
           add_prompt(&r, &(im_prompt_line){ .prompt = prompt, .negative = negative });
}

/* ---------------------------------------------------------------- names of files */

static int by_seed(const void *a, const void *b)
{
    uint64_t x = (*(im_prompt *const *)a)->seed, y = (*(im_prompt *const *)b)->seed;
    return x < y ? -1 : x > y;
}

static char *name_of(im_ctx *c, const char *folder, const im_prompt *p, const char *ending, bool shared)
{
    char name[64];
    if (shared) snprintf(name, sizeof name, "%" PRIu64 "-p%d.%s", p->seed, p->number, ending);
    else snprintf(name, sizeof name, "%" PRIu64 ".%s", p->seed, ending);
    char *path = im_join(c, folder, name);
    if (path && !strncmp(path, "./", 2)) memmove(path, path + 2, strlen(path + 2) + 1);
    return path;
}

bool im_prompt_list_names(im_ctx *c, const im_prompt_list *l, const char *folder, im_picture_format format, char *out[],
                          int *shared)
{
    const im_prompt **sorted = malloc((size_t)(l->n + 1) * sizeof *sorted);
    if (!sorted) return im_fail(c, "out of memory for %d names", l->n);
    for (int i = 0; i < l->n; i++) sorted[i] = &l->v[i];
    qsort(sorted, (size_t)l->n, sizeof *sorted, by_seed);
    *shared = 0;
    for (int i = 0, end; im_ok(c) && i < l->n; i = end) {
        for (end = i + 1; end < l->n && sorted[end]->seed == sorted[i]->seed; ) end++;
        *shared += end - i > 1;
        for (int k = i; k < end; k++)
            out[sorted[k] - l->v] = name_of(c, folder, sorted[k], format == IM_JPEG ? "jpg" : "png", end - i > 1);
    }
    free(sorted);
    return im_ok(c);
}
