/* run_files.c: names and state of a run's checkpoints (run_files.h). Used by classifier_file.c and by train/. */
#include "models/checkpoints/run_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/files/file.h"
#include "models/checkpoints/state_dict.h"

const char *const im_checkpoint_keys[] = { "format", "imago", "config", "state" };

bool im_run_begun(im_ctx *c, const char *path)
{
    char *config = *path ? im_join(c, path, "config.json") : NULL;     /* "": not that of the present folder          */
    bool there = config && im_is_file(config);
    free(config);
    return there;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

int64_t *im_run_checkpoints(im_ctx *c, const char *run, int *n)
{
    char *folder = im_join(c, run, IM_RUN_CHECKPOINTS);
    DIR *d = folder ? opendir(folder) : NULL;
    int64_t *steps = NULL;
    int cap = 0;
    *n = 0;
    for (struct dirent *e; d && (e = readdir(d)); ) {
        long long step;
        int end = 0;
        if (sscanf(e->d_name, "step-%lld.safetensors%n", &step, &end) != 1 || !end || e->d_name[end] || step < 0)
            continue;
        if (*n == cap) {
            int64_t *grown = realloc(steps, (size_t)(cap = 2 * cap + 16) * sizeof *steps);
            if (!grown) {
                im_fail(c, "%s: out of memory for the list of checkpoints", folder);
                break;
            }
            steps = grown;
        }
        steps[(*n)++] = step;
    }
    if (d)
        closedir(d);
    if (*n)
        qsort(steps, (size_t)*n, sizeof *steps, newest_first);
    free(folder);
    return steps;
}

char *im_run_checkpoint(im_ctx *c, const char *run, int64_t step)
{
    char name[64];
    if (step < 0)
        snprintf(name, sizeof name, "%s/best.safetensors", IM_RUN_CHECKPOINTS);
    else
        snprintf(name, sizeof name, "%s/step-%08lld.safetensors", IM_RUN_CHECKPOINTS, (long long)step);
    return im_join(c, run, name);
}

bool im_checkpoint_good(im_ctx *c, const im_safetensors *file)
{
    return im_state_verify(c, file, im_checkpoint_keys, IM_CHECKPOINT_KEYS);
}
