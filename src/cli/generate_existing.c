/* generate_existing.c: --skip-existing. A picture that is there is passed over only where its own text `imago` says that
 * it was made of all that this run would make it of, and its file can be read to the end; any other is an error that names
 * what differs. All are looked at before anything is drawn. Used by cmd_generate.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "cli/session.h"

static bool any_key(void *arg, const char *key)
{
    (void)arg;
    (void)key;
    return true;                                               /* values are compared as they stand                    */
}

/* What cannot be read is no picture to pass over: how to go on. */
static bool say_what_helps(im_ctx *c)
{
    char *error = error_put_aside(c);
    if (error)
        im_fail(c, "%s (--skip-existing passes over whole pictures only: remove this file, or draw over it with --force in "
                   "its place)", error);
    free(error);
    return im_ok(c);
}

/* Is the file there the picture that would be made? Else an error, or what differs in `what`. */
static bool look_at(run_state *r, const job *j, char *what, size_t size, int *other_version)
{
    im_request_text *then = im_request_read(r->c, j->path, any_key, NULL);
    if (!then)
        return say_what_helps(r->c) &&
               im_fail(r->c, "%s is there already, and carries no text `imago` that says how it was made; move it away, or "
                             "--force writes over it", j->path);
    const im_request now = job_request(r, j);
    const char *version = im_request_said(then, "version");
    im_image *picture = im_picture_read(r->c, j->path);
    if (picture && im_request_differences(r->sd, then, &now, what, size) && !*what
        && (picture->width != j->width || picture->height != j->height))
        snprintf(what, size, "it has %dx%d pixels, wanted %dx%d", picture->width, picture->height, j->width, j->height);
    *other_version += !version || strcmp(version, IM_VERSION);
    im_image_free(picture);
    im_request_free(then);
    return say_what_helps(r->c);
}

bool existing_check(run_state *r)
{
    char first[1600] = "", what[1600];
    int there = 0, differ = 0, other_version = 0, example = 0;
    for (int i = 0; i < r->jobs.n; i++) {
        if (!r->jobs.v[i].skip)
            continue;
        there++;
        *what = '\0';
        if (!look_at(r, &r->jobs.v[i], what, sizeof what, &other_version))
            return false;
        if (*what && !differ++) {
            memcpy(first, what, sizeof first);
            example = i;
        }
    }
    char more[96] = "";
    if (differ > 1)
        snprintf(more, sizeof more, " (and %d more of the %d that are there are others, too)", differ - 1, there);
    if (differ)
        return im_fail(r->c, "%s is there already, but is another picture: %s%s; -o names another place, --force writes "
                             "over what is there", r->jobs.v[example].path, first, more);
    if (other_version)
        im_warn(r->c, "of the pictures that are there %d were drawn by another version, this is imago %s: drawn anew their "
                      "pixels might differ", other_version, IM_VERSION);
    return true;
}
