/* generate_sheet.c: what a classifier takes the pictures of a run for (--classify), and the sheet of all of them (--sheet).
 * Used by cmd_generate.c and generate_run.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "cli/sheet.h"

bool classify_open(run_state *r)
{
    int w = r->base.width, h = r->base.height;
    return !r->o->classify || (r->namer = im_namer_open(r->c, r->o->classify, w < h ? w : h)) != NULL;
}

bool classify_picture(run_state *r, job *j, const im_image *picture)
{
    if (!r->namer)
        return true;
    if (!im_namer_guess(r->namer, picture, &j->guess))
        return false;
    size_t n = strlen(j->guess.name) + 16;
    j->guess_text = malloc(n);
    if (!j->guess_text)
        return im_fail(r->c, "out of memory for the name of a picture");
    snprintf(j->guess_text, n, "%s %.0f %%", j->guess.name, 100 * j->guess.probability);
    return true;
}

/* Pictures that --skip-existing passed over are read from their files. */
static bool read_skipped(run_state *r)
{
    for (int i = 0; i < r->jobs.n; i++) {
        job *j = &r->jobs.v[i];
        if (!j->skip || r->pictures[i])
            continue;
        r->pictures[i] = im_picture_read(r->c, j->path);
        if (!r->pictures[i] || !classify_picture(r, j, r->pictures[i]))
            return false;
    }
    return true;
}

static bool varies(const run_state *r, const char *name)
{
    const grid *g = &r->grid;
    return (g->columns.n && !strcmp(g->columns.option.name, name)) || (g->rows.n && !strcmp(g->rows.option.name, name));
}

/* What is the same all over a grid. */
static void write_grid_title(const run_state *r, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "%s", r->model_name);
    char part[6][80] = { "" };
    if (!varies(r, "scheduler")) snprintf(part[0], 80, ", %s", r->base.scheduler);
    if (!varies(r, "steps")) snprintf(part[1], 80, ", %d steps", r->o->steps);
    if (!varies(r, "guidance")) snprintf(part[2], 80, ", guidance %g", (double)r->o->guidance);
    if (!varies(r, "seed")) snprintf(part[3], 80, ", seed %llu", (unsigned long long)r->jobs.v[0].p->seed);
    for (int i = 0; i < 4 && n < size; i++) n += (size_t)snprintf(out + n, size - n, "%s", part[i]);
    if (!varies(r, "prompt") && n < size) snprintf(out + n, size - n, ": %s", r->jobs.v[0].p->prompt);
}

static void write_title(const run_state *r, char *out, size_t size)
{
    if (r->grid.columns.n) {
        write_grid_title(r, out, size);
        return;
    }
    snprintf(out, size, "imago %s, %s, %s, %d steps, guidance %g, %dx%d%s", IM_VERSION, r->model_name, r->base.scheduler,
             r->o->steps, (double)r->o->guidance, r->base.width, r->base.height,
             r->namer ? "; blue: what a classifier takes it for" : "");
}

/* The seed, and what a line of --prompts says of its own. */
static void note(const run_state *r, const job *j, char out[64])
{
    const im_prompt *p = j->p;
    int n = snprintf(out, 64, "seed %llu", (unsigned long long)p->seed);
    if (p->steps && n < 64) n += snprintf(out + n, (size_t)(64 - n), ", %d steps", p->steps);
    if (p->has_guidance && n < 64) n += snprintf(out + n, (size_t)(64 - n), ", guidance %g", (double)p->guidance);
    if ((j->width != r->base.width || j->height != r->base.height) && n < 64)
        n += snprintf(out + n, (size_t)(64 - n), ", %dx%d", j->width, j->height);
    if (p->scheduler && n < 64) snprintf(out + n, (size_t)(64 - n), ", %s", p->scheduler);
}

/* The cells, and their seeds in `notes`. A picture that is still to be made stands as `coming`, and its guess as "?". */
static void fill_cells(const run_state *r, const im_image *coming, sheet_cell cells[], char (*notes)[64])
{
    for (int i = 0; i < r->jobs.n; i++) {
        const job *j = &r->jobs.v[i];
        if (!r->grid.columns.n)
            note(r, j, notes[i]);
        cells[i] = (sheet_cell){ .picture = r->pictures[i] ? r->pictures[i] : coming,
                                 .label = r->grid.columns.n ? "" : j->p->prompt,
                                 .guess = j->guess_text ? j->guess_text : r->namer ? "?" : NULL, .note = notes[i] };
    }
}

/* Draws and writes the sheet, or only looks whether it can be drawn. */
static bool make_sheet(run_state *r, bool draw)
{
    int n = r->jobs.n;
    char title[512];
    im_origin mark = r->o->no_mark ? IM_ORIGIN_UNSAID : r->init ? IM_ORIGIN_COMPOSITE : IM_ORIGIN_MODEL;
    im_image coming = { .channels = 3 };                       /* as large as the largest                              */
    for (int i = 0; i < n; i++) {
        coming.width = r->jobs.v[i].width > coming.width ? r->jobs.v[i].width : coming.width;
        coming.height = r->jobs.v[i].height > coming.height ? r->jobs.v[i].height : coming.height;
    }
    char (*notes)[64] = calloc((size_t)n, sizeof *notes);
    sheet_cell *cells = calloc((size_t)n, sizeof *cells);
    im_image *sheet = NULL;
    if (cells && notes)
        fill_cells(r, draw ? NULL : &coming, cells, notes);
    else
        im_fail(r->c, "out of memory for the sheet");
    write_title(r, title, sizeof title);
    const sheet_axes axes = { r->grid.columns.n, r->grid.rows.n, r->grid.columns.label, r->grid.rows.label };
    if (im_ok(r->c) && draw)
        sheet = sheet_draw(r->c, title, cells, n, axes.columns ? &axes : NULL);
    else if (im_ok(r->c))
        sheet_fits(r->c, cells, n, axes.columns ? &axes : NULL);
    if (sheet && sheet_save(r->c, r->o->sheet, sheet, r->o->quality, mark, r->o->force))
        progress_say(&r->bar, "%s  all %d pictures", r->o->sheet, n);
    im_image_free(sheet);
    free(cells);
    free(notes);
    return im_ok(r->c);
}

bool sheet_check(run_state *r)
{
    return read_skipped(r) && make_sheet(r, false);
}

bool sheet_write(run_state *r)
{
    return make_sheet(r, true);
}
