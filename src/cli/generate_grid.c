/* generate_grid.c: --grid steps=10,20,50 guidance=1,2,7.5: one picture for each pair of values, drawn as the same command
 * with these options draws it, and a sheet with the values along its edges. The first option goes along the columns, the
 * second along the rows. Used by generate_jobs.c, generate_names.c and generate_sheet.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "cli/values.h"
#include "data/files/file.h"

static const char *const may_vary[] = {
    "steps", "guidance", "scheduler", "seed", "width", "height", "strength", "mask-blur", "mask-fill", "mask-only",
    "clip-skip", "prompt-syntax", "deep-cache", "token-merging", "eta", "prompt", "negative"
};

static bool is_text(const option *o) { return o->kind == OPT_PHRASE; }

static void free_axis(grid_axis *x)
{
    for (int i = 0; i < x->n; i++) {
        free(x->value[i]);
        free(x->label[i]);
    }
    free(x->value);
    free(x->label);
}

void grid_free(run_state *r)
{
    free_axis(&r->grid.columns);
    free_axis(&r->grid.rows);
    free(r->grid.cells);
    r->grid = (grid){ 0 };
}

/* The option of "steps=10,20"; an exit code. */
static int find_axis(const run_state *r, const char *text, option *out)
{
    char name[32] = "", list[240] = "";
    size_t n = strcspn(text, "=");
    if (n < sizeof name)
        snprintf(name, sizeof name, "%.*s", (int)n, text);
    for (char *p = name; *p; p++)
        *p = *p == '_' ? '-' : *p;
    for (size_t i = 0; i < sizeof may_vary / sizeof *may_vary; i++) {
        if (text[n] && !strcmp(name, may_vary[i]) && option_find(r->a->verb, name, out))
            return CLI_OK;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", may_vary[i]);
    }
    return usage_error(r->a->verb, "--grid %s: wanted OPTION=VALUE,VALUE..., OPTION one of %s", text, list);
}

/* The values, parted by commas; texts by |, since they may have commas. */
static int read_axis(const run_state *r, const char *text, grid_axis *x)
{
    int rc = find_axis(r, text, &x->option);
    if (rc)
        return rc;
    const char mark[2] = { is_text(&x->option) ? '|' : ',', '\0' }, *p = strchr(text, '=') + 1;
    generate_options look = *r->o;
    for (;; p++) {
        size_t n = strcspn(p, mark), size = n + strlen(x->option.name) + 2;
        char **value = realloc(x->value, (size_t)(x->n + 1) * sizeof *value);
        x->value = value ? value : x->value;
        char **label = realloc(x->label, (size_t)(x->n + 1) * sizeof *label);
        x->label = label ? label : x->label;
        if (!value || !label || !(value[x->n] = im_copy_text(r->c, p, n)))
            return CLI_FAILED;
        if ((label[x->n] = malloc(size)))
            snprintf(label[x->n], size, "%s %s", x->option.name, value[x->n]);
        x->n++;
        if (!label[x->n - 1])
            return im_fail(r->c, "out of memory for a grid"), CLI_FAILED;
        if ((!n && !is_text(&x->option)) || !value_set(&x->option, value[x->n - 1], &look))
            return value_refused(r->a->verb, &x->option, value[x->n - 1]);
        if (look.seed.drawn && !r->o->seed.drawn)
            return usage_error(r->a->verb, "--grid %s: wanted seeds of 0 or more", text);
        p += n;
        if (!*p)
            return CLI_OK;
    }
}

int grid_read(run_state *r)
{
    const option_list *l = &r->o->grid;
    const char *text[3] = { l->n > 0 ? l->v[0] : NULL, l->n > 1 ? l->v[1] : r->a->n_operands ? r->a->operands[0] : NULL };
    if (!l->n)
        return CLI_OK;
    if (l->n + r->a->n_operands > 2)
        return usage_error(r->a->verb, "--grid takes one or two options");
    int rc = read_axis(r, text[0], &r->grid.columns);
    if (!rc && text[1])
        rc = read_axis(r, text[1], &r->grid.rows);
    if (!rc && text[1] && !strcmp(r->grid.columns.option.name, r->grid.rows.option.name))
        return usage_error(r->a->verb, "--grid: both options are --%s; wanted two", r->grid.rows.option.name);
    return rc;
}

/* The one picture that was asked for becomes one for each cell, row by row. */
bool grid_expand(run_state *r)
{
    grid *g = &r->grid;
    im_prompt_list old = r->prompts, *l = &r->prompts;
    int rows = g->rows.n ? g->rows.n : 1, n = rows * g->columns.n;
    if (!g->columns.n)
        return true;
    *l = (im_prompt_list){ 0 };
    g->cells = calloc((size_t)n, sizeof *g->cells);
    bool ok = g->cells || im_fail(r->c, "out of memory for a grid of %d pictures", n);
    for (int i = 0; ok && i < n; i++) {
        generate_options *o = &g->cells[i];
        *o = *r->o;
        value_set(&g->columns.option, g->columns.value[i % g->columns.n], o);
        if (g->rows.n)
            value_set(&g->rows.option, g->rows.value[i / g->columns.n], o);
        uint64_t seed = o->seed.value;
        ok = im_prompt_list_add(r->c, l, o->prompt, o->negative, 1, &seed);
    }
    im_prompt_list_free(&old);
    return ok;
}

void grid_args(const generate_options *o, im_sd_args *a)
{
    a->steps = o->steps;
    a->guidance = o->guidance;
    a->strength = o->strength;
    mask_args(o, a);
    a->clip_skip = o->reading.clip_skip;
    a->deep_cache = o->deep_cache;
    a->token_merging = o->token_merging;
    a->eta = o->eta;
    a->syntax = reading_syntax(&o->reading);
    if (o->scheduler) a->scheduler = o->scheduler;
    if (o->width) a->width = o->width;
    if (o->height) a->height = o->height;
}

char *grid_cell_name(run_state *r, int i)
{
    const grid *g = &r->grid;
    const char *column = g->columns.label[i % g->columns.n], *row = g->rows.n ? g->rows.label[i / g->columns.n] : NULL;
    size_t size = strlen(column) + (row ? strlen(row) + 2 : 0) + 1;
    char *name = malloc(size);
    if (!name)
        im_fail(r->c, "out of memory for the names of pictures");
    else
        snprintf(name, size, "%s%s%s", column, row ? ", " : "", row ? row : "");
    return name;
}
