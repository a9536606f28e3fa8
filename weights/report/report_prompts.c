/* report_prompts.c: what is to be drawn: a prompt a category, in the order of the classes. `imago generate --count N` draws
 * each N times, with seeds that count up from the first one, and names the pictures by them. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"

int report_categories(im_ctx *c, const im_dataset *train, int least, int *labels)
{
    int n = 0;
    for (int k = 0; k < train->n_classes; k++) {
        int have = 0;
        for (int64_t i = 0; i < train->count; i++)
            have += train->samples[i].label == k;
        if (have >= least)
            labels[n++] = k;
    }
    if (n >= 2)
        return n;
    im_fail(c, "%s: %d classes have %d pictures or more; wanted two at least: lower --least", train->path, n, least);
    return -1;
}

/* What captions call a category: its line in the text of --names, or its own name. *bytes: of the result. */
static const char *spoken(const char *names, const char *label, int *bytes)
{
    size_t n = strlen(label);
    for (const char *line = names; line && *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (!strncmp(line, label, n) && line[n] == '\t') {
            *bytes = (int)strcspn(line + n + 1, "\r\n");
            return line + n + 1;
        }
    *bytes = (int)n;
    return label;
}

/* The form with the category in the place of its one %s. */
static bool add_prompt(im_ctx *c, FILE *f, const char *form, const char *name, int bytes)
{
    const char *at = strstr(form, "%s");
    if (!at || strchr(at + 1, '%') || memchr(form, '%', (size_t)(at - form)))
        return im_fail(c, "the form of a prompt is \"%s\"; wanted one %%s in it, for the category", form);
    fprintf(f, "%.*s%.*s%s\n", (int)(at - form), form, bytes, name, at + 2);
    return true;
}

bool report_prompts(im_ctx *c, const report_options *o)
{
    char *path = im_join(c, o->data, "train"), *file = im_join(c, o->out, "prompts.txt"), *text = NULL;
    size_t bytes = 0;
    im_dataset *train = path ? im_dataset_open(c, &(im_dataset_args){ .path = path, .min_classes = 2 }) : NULL;
    int *labels = train ? calloc((size_t)train->n_classes, sizeof *labels) : NULL;
    FILE *f = labels ? open_memstream(&text, &bytes) : NULL;
    char *names = f && o->names ? im_read_file(c, o->names, 1 << 20, NULL) : NULL;
    int n = f ? report_categories(c, train, o->least, labels) : -1, length = 0;
    bool ok = n > 0 && im_ok(c);
    for (int i = 0; ok && i < n; i++) {
        const char *name = spoken(names, train->classes[labels[i]], &length);
        ok = add_prompt(c, f, o->form, name, length);
    }
    if (f)
        fclose(f);
    ok = ok && file && im_make_folder(c, o->out) && im_write_file(c, file, text, bytes, true);
    if (ok)
        report_say(o, "%d categories, %d pictures each: %d to draw", n, o->count, n * o->count);
    free(text);
    free(names);
    free(labels);
    im_dataset_free(train);
    free(file);
    free(path);
    return ok || (im_ok(c) && im_fail(c, "out of memory for the prompts"));
}
