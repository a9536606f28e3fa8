/* keep.c: see keep.h. A picture is named by the moment it was finished (UTC), its job and its seed: no name comes twice,
 * and none is made of what a client said. */
#include "cli/serve/keep.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/shown.h"
#include "data/files/file.h"

void keep_picture(server *s, const job *j, int index, const uint8_t *file, size_t bytes)
{
    char name[128], date[32];
    double now = clock_now();
    time_t seconds = (time_t)now;
    struct tm utc;
    if (!s->o->keep)
        return;
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", gmtime_r(&seconds, &utc));
    snprintf(name, sizeof name, "%s-%03d-job%llu-%d-seed%llu.%s", date, (int)((now - (double)seconds) * 1000),
             (unsigned long long)j->id, index + 1, (unsigned long long)j->v[index].seed, j->w.quality ? "jpg" : "png");
    char *path = im_join(s->c, s->o->keep, name);
    if (path)
        im_write_file(s->c, path, file, bytes, false);
    free(path);
    if (!im_ok(s->c)) {
        shown_line(stderr, "imago: a picture is not kept: %s", im_error(s->c));
        im_clear_error(s->c);
    }
}

bool keep_check(server *s)
{
    char *path = s->o->keep ? im_join(s->c, s->o->keep, "picture.png") : NULL;
    if (path && im_make_folder(s->c, s->o->keep))
        im_may_write(s->c, path, true);
    free(path);
    return im_ok(s->c);
}
