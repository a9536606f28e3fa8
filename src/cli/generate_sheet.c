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

static void write_title(const run_state *r, char *out, size_t size)
{
    snprintf(out, size, "imago %s, %s, %s, %d steps, guidance %g, %dx%d%s", IM_VERSION, r->model_name, r->base.scheduler,
             r->o->steps, (double)r->o->guidance, r->base.width, r->base.height,
             r->namer ? "; blue: what a classifier takes it for" : "");
}

/* The cells, and their seeds in `notes`. A picture that is still to be made stands as `coming`, and its guess as "?". */
static void fill_cells(const run_state *r, const im_image *coming, sheet_cell cells[], char (*notes)[64])
{
    for (int i = 0; i < r->jobs.n; i++) {
        const job *j = &r->jobs.v[i];
        snprintf(notes[i], sizeof notes[i], "seed %llu", (unsigned long long)j->p->seed);
        cells[i] = (sheet_cell){ .picture = r->pictures[i] ? r->pictures[i] : coming, .label = j->p->prompt,
                                 .guess = j->guess_text ? j->guess_text : r->namer ? "?" : NULL, .note = notes[i] };
    }
}

/* Draws and writes the sheet, or only looks whether it can be drawn. */
static bool make_sheet(run_state *r, bool draw)
{
    int n = r->jobs.n;
    char title[512];
    im_origin mark = r->o->no_mark ? IM_ORIGIN_UNSAID : r->init ? IM_ORIGIN_COMPOSITE : IM_ORIGIN_MODEL;
    const im_image coming = { .width = r->base.width, .height = r->base.height, .channels = 3 };
    char (*notes)[64] = calloc((size_t)n, sizeof *notes);
    sheet_cell *cells = calloc((size_t)n, sizeof *cells);
    im_image *sheet = NULL;
    if (cells && notes)
        fill_cells(r, draw ? NULL : &coming, cells, notes);
    else
        im_fail(r->c, "out of memory for the sheet");
    write_title(r, title, sizeof title);
    if (im_ok(r->c) && draw)
        sheet = sheet_draw(r->c, title, cells, n);
    else if (im_ok(r->c))
        sheet_fits(r->c, cells, n);
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
