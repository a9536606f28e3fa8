/* part.c: see part.h. Conventions: slurm's srun(1) and sbatch(1), OpenMPI's mpirun(1), MPICH's PMI, torchrun.
 * Used by `imago synth`. */
#include "cli/part.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 30 };

static bool whole(const char *text, char end, int64_t *out, const char **rest)
{
    char *after;
    if (!text || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoll(text, &after, 10);
    *rest = after;
    return !errno && *after == end && *out <= MOST;
}

/* The number in a variable; false with an error where it is none. */
static bool number_in(im_ctx *c, const char *name, int64_t *out)
{
    const char *text = getenv(name), *rest;
    return whole(text, '\0', out, &rest)
        || im_fail(c, "%s is \"%s\"; wanted a whole number: unset it, or give --part I/N", name, text ? text : "not set");
}

static bool in_range(im_ctx *c, const char *name, int64_t i, int64_t n)
{
    return i < n || im_fail(c, "%s says process %lld (from 0) of %lld; wanted less than that: give --part I/N", name,
                            (long long)i, (long long)n);
}

/* One of an array's tasks; *n is 1 where there is no array. */
static bool find_array(im_ctx *c, part *out)
{
    int64_t id, least, count, step = 1;
    if (!getenv("SLURM_ARRAY_TASK_ID"))
        return true;
    if (!number_in(c, "SLURM_ARRAY_TASK_ID", &id) || !number_in(c, "SLURM_ARRAY_TASK_MIN", &least)
        || !number_in(c, "SLURM_ARRAY_TASK_COUNT", &count)
        || (getenv("SLURM_ARRAY_TASK_STEP") && !number_in(c, "SLURM_ARRAY_TASK_STEP", &step)))
        return false;
    if (step < 1 || id < least || (id - least) % step || (id - least) / step >= count)
        return im_fail(c, "SLURM_ARRAY_TASK_ID is %lld in an array of %lld from %lld on: its numbers have gaps; number "
                          "the array without gaps, or give --part I/N", (long long)id, (long long)count, (long long)least);
    *out = (part){ .i = (id - least) / step, .n = count };
    snprintf(out->said_by, sizeof out->said_by, "SLURM_ARRAY_TASK_ID");
    return true;
}

/* One of the processes that a launcher started. */
static bool find_process(im_ctx *c, part *out)
{
    static const char *const launchers[][2] = {
        { "SLURM_PROCID", "SLURM_NTASKS" }, { "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE" },
        { "PMI_RANK", "PMI_SIZE" }, { "RANK", "WORLD_SIZE" }
    };
    for (size_t k = 0; k < sizeof launchers / sizeof *launchers; k++) {
        int64_t i, n;
        const char *const *names = launchers[k];
        if (!getenv(names[0]) || !getenv(names[1]))
            continue;
        if (!number_in(c, names[0], &i) || !number_in(c, names[1], &n) || !in_range(c, names[0], i, n))
            return false;
        size_t said = strlen(out->said_by);
        snprintf(out->said_by + said, sizeof out->said_by - said, "%s%s/%s", said ? " and " : "", names[0], names[1]);
        out->i = out->i * n + i;
        out->n *= n;
        return true;
    }
    return true;
}

bool part_find(im_ctx *c, const char *option, part *out)
{
    *out = (part){ .n = 1 };
    if (!strcmp(option, "none"))
        return im_ok(c);
    if (!strcmp(option, "auto"))
        return find_array(c, out) && find_process(c, out);
    const char *rest;
    int64_t i, n;
    if (!whole(option, '/', &i, &rest) || !whole(rest + 1, '\0', &n, &rest) || i < 1 || i > n)
        return im_fail(c, "--part %s: wanted I/N with I from 1 to N, such as 2/3, or auto, or none", option);
    *out = (part){ .i = i - 1, .n = n, .said_by = "--part" };
    return true;
}
