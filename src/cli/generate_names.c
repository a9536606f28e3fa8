/* generate_names.c: where each picture goes, decided before any work. One picture: OUT is a file, unless it is a folder.
 * Several, or --prompts: OUT is a folder with SEED.png in it; where prompts share a seed, SEED-pN.png with N the number of
 * the prompt.
 * JPEGs, by --format or by the name of the one file, end in .jpg in a folder.
 * Files that are there are refused, or passed over with --skip-existing; no two files may have one name. Used by
 * cmd_generate.c. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/generate.h"
#include "cli/sheet.h"
#include "data/files/file.h"
#include "data/images/picture.h"

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static bool name_in_folder(run_state *r)
{
    int shared = 0;
    char **paths = calloc((size_t)r->jobs.n, sizeof *paths);
    if (!paths)
        return im_fail(r->c, "out of memory for %d names", r->jobs.n);
    bool ok = im_prompt_list_names(r->c, &r->prompts, r->o->out, r->format, paths, &shared);
    for (int i = 0; i < r->jobs.n; i++)
        r->jobs.v[i].path = paths[i];
    free(paths);
    if (ok && shared)
        progress_say(&r->bar, "%d seed%s shared by several prompts: those pictures are named SEED-pN.png, N the line of "
                              "the prompt", shared, shared > 1 ? "s are" : " is");
    return ok;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Where a file of this name is written, links followed, in folders that may be made yet; malloc'd. */
static char *true_path(im_ctx *c, const char *path)
{
    char *there = realpath(*path ? path : ".", NULL);
    size_t n = strlen(path);
    while (!there && n && path[n - 1] == '/')
        n--;
    if (there || !n)
        return there;
    char *name = im_copy_text(c, path, n), *folder = name ? im_copy_text(c, name, (size_t)(last_part(name) - name)) : NULL;
    char *whole = folder ? true_path(c, folder) : NULL, *slash = whole ? strrchr(whole, '/') : NULL;
    const char *last = name ? last_part(name) : "";
    bool up = !strcmp(last, ".."), here = up || !strcmp(last, ".");
    if (slash && up)
        slash[slash == whole] = 0;                             /* "/a": "/"                                           */
    there = !whole ? NULL : here ? im_copy_text(c, whole, strlen(whole)) : im_join(c, whole, last);
    free(name);
    free(folder);
    free(whole);
    return there;
}

static bool same_file(im_ctx *c, const char *a, const char *b)
{
    if (strcmp(last_part(a), last_part(b)) && (!exists(a) || !exists(b)))
        return false;                                          /* of many pictures nearly all end here                 */
    char *x = true_path(c, a), *y = true_path(c, b);
    bool same = x && y && !strcmp(x, y);
    free(x);
    free(y);
    return same;
}

/* Two files under one name: the later would be refused after all the work, or replace the earlier. Returns an exit code. */
static int refuse_same_names(const run_state *r)
{
    const generate_options *o = r->o;
    const char *const name[] = { "sheet", "save-latents" }, *const path[] = { o->sheet, o->save_latents };
    for (int k = 0; k < 2; k++)
        for (int i = 0; path[k] && i < r->jobs.n; i++)
            if (same_file(r->c, path[k], r->jobs.v[i].path))
                return usage_error(r->a->verb, "--%s %s names the file of a picture of this run, %s; give it another "
                                               "name", name[k], path[k], r->jobs.v[i].path);
    if (o->sheet && o->save_latents && same_file(r->c, o->sheet, o->save_latents))
        return usage_error(r->a->verb, "--sheet %s and --save-latents %s name the same file; give one of them another name",
                           o->sheet, o->save_latents);
    return CLI_OK;
}

static bool refuse_existing(run_state *r)
{
    job_list *l = &r->jobs;
    int there = 0, example = -1;
    for (int i = 0; i < l->n; i++)
        if (!l->v[i].unkept && exists(l->v[i].path)) {
            l->v[i].skip = r->o->skip_existing;
            example = there++ ? example : i;
        }
    if (!there || r->o->force || r->o->skip_existing)
        return true;
    struct stat st;
    if (there == 1 && stat(l->v[example].path, &st))
        return im_fail(r->c, "%s is a link to a file that is not there; --force writes in its place, -o names another "
                             "place", l->v[example].path);
    if (there == 1)
        return im_fail(r->c, "%s is there already; --force writes over it, -o names another place", l->v[example].path);
    return im_fail(r->c, "%s and %d more of the %d pictures are there already; --force writes over them, "
                         "--skip-existing makes the others", l->v[example].path, there - 1, l->n);
}

/* OUT as it is asked for: is it a folder, and in which format are the pictures? Returns an exit code. */
static int look_at_out(run_state *r, bool *folder)
{
    const char *out = r->o->out;
    const size_t length = strlen(out);
    const int n = r->jobs.n;
    im_picture_format named = IM_PNG;
    const bool is_folder = im_is_folder(out), by_name = im_picture_format_of(out, &named);
    bool list = r->o->prompts && !by_name;                     /* a list of one line is a list                         */
    *folder = is_folder || (length && out[length - 1] == '/') || n > 1 || list;
    if (*folder && !is_folder && by_name)
        return usage_error(r->a->verb, "-o %s names a file, but %d pictures were asked for; name a folder", out, n);
    if (*folder && exists(out) && !is_folder)
        return usage_error(r->a->verb, "-o %s is a file, but %d pictures were asked for; name a folder", out, n);
    if (!*folder && !by_name)
        return usage_error(r->a->verb, "-o %s: wanted a name ending in .png or .jpg for one picture, or a folder (%s/)",
                           out, out);
    r->format = r->o->format ? (strcmp(r->o->format, "jpeg") ? IM_PNG : IM_JPEG) : *folder ? IM_PNG : named;
    if (!*folder && r->format != named)
        return usage_error(r->a->verb, "-o %s is named like a %s, but --format is %s; change one of them", out,
                           named == IM_PNG ? "PNG" : "JPEG", r->o->format);
    im_picture_format sheet = IM_PNG;
    if (option_given(r->a, "quality") && r->format == IM_PNG
        && (!r->o->sheet || !im_picture_format_of(r->o->sheet, &sheet) || sheet == IM_PNG))
        return usage_error(r->a->verb, "--quality applies to JPEGs, but this run writes PNGs; add --format jpeg, or leave "
                                       "it out");
    return CLI_OK;
}

/* All of them go to one folder: what is true of the first one that is made is true of all. */
static bool may_write_pictures(run_state *r)
{
    int i = 0;
    while (i < r->jobs.n && (r->jobs.v[i].skip || r->jobs.v[i].unkept))
        i++;
    return i == r->jobs.n || im_may_write(r->c, r->jobs.v[i].path, r->o->force);
}

/* A grid in a file of its own: its pictures are seen there only. */
static int grid_alone(run_state *r)
{
    if (r->o->sheet)
        return usage_error(r->a->verb, "-o %s names the grid, and so does --sheet; leave one of them out, or let -o name a "
                                       "folder for the pictures", r->o->out);
    if (r->o->skip_existing)
        return usage_error(r->a->verb, "--skip-existing needs pictures that are kept; let -o name a folder for them");
    r->o->sheet = r->o->out;
    im_picture_format_of(r->o->out, &r->format);
    for (int i = 0; i < r->jobs.n; i++) {
        r->jobs.v[i].unkept = true;
        if (!(r->jobs.v[i].path = grid_cell_name(r, i)))
            return CLI_FAILED;
    }
    return CLI_OK;
}

/* Beside its pictures, where --sheet does not say. */
static bool grid_in_folder(run_state *r)
{
    if (r->grid.columns.n && !r->o->sheet)
        r->o->sheet = r->grid_path = im_join(r->c, r->o->out, "grid.png");
    return im_ok(r->c);
}

int names_assign(run_state *r)
{
    job_list *l = &r->jobs;
    bool folder = false, ok;
    im_picture_format named;
    bool alone = r->grid.columns.n && im_picture_format_of(r->o->out, &named) && !im_is_folder(r->o->out);
    int rc = alone ? grid_alone(r) : look_at_out(r, &folder);
    if (rc)
        return rc;
    if (alone)
        ok = true;
    else if (folder)
        ok = name_in_folder(r) && grid_in_folder(r);
    else
        ok = (l->v[0].path = im_copy_text(r->c, r->o->out, strlen(r->o->out))) != NULL;
    if (ok && refuse_same_names(r) != CLI_OK)
        return CLI_USAGE;
    ok = ok && refuse_existing(r) && may_write_pictures(r);
    ok = ok && (!r->o->sheet || (sheet_named(r->c, r->o->sheet) && im_may_write(r->c, r->o->sheet, r->o->force)));
    ok = ok && (!r->o->save_latents || im_may_write(r->c, r->o->save_latents, r->o->force));
    return ok ? CLI_OK : CLI_FAILED;
}
