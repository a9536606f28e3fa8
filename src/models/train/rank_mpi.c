/* rank_mpi.c: MPI by dlopen (rank_mpi.h). Interfaces: the MPI standard 3.1; mpi.h of OpenMPI 4.1 and of MPICH 4.0.
 * OpenMPI's handles are addresses of objects of the library, MPICH's are numbers that its interface fixes. Used by
 * ranks.c. */
#include "models/train/rank_mpi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERIALIZED = 2, TAG = 14 };                             /* MPI_THREAD_SERIALIZED is 2 in both                   */
enum { MPICH_WORLD = 0x44000000, MPICH_BYTE = 0x4c00010d, MPICH_ERRORS_RETURN = 0x54000001 };

/* In this order in the tables below. */
enum { INIT, INITIALIZED, FINALIZED, FINALIZE, SIZE, RANK, HANDLER, SEND, RECEIVE, TEST, CALLS };
static const char *const names[CALLS] = {
    "MPI_Init_thread", "MPI_Initialized", "MPI_Finalized", "MPI_Finalize", "MPI_Comm_size", "MPI_Comm_rank",
    "MPI_Comm_set_errhandler", "MPI_Isend", "MPI_Irecv", "MPI_Test"
};

struct im_mpi {
    void *library;
    bool mpich;
    void *call[CALLS];
    void *world, *byte, *errors_return;                        /* OpenMPI's objects                                    */
    bool by_turns;
};

/* ---------------------------------------------------------------- who started us */

static int number_in(const char *name, int otherwise)
{
    const char *text = getenv(name);
    char *end;
    long v = text ? strtol(text, &end, 10) : -1;
    return text && end != text && !*end && v >= 0 && v <= 1 << 20 ? (int)v : otherwise;
}

im_launched im_launched_by(void)
{
    static const struct { const char *rank, *size; bool mpich; } known[] = {
        { "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", false }, { "PMIX_RANK", "SLURM_STEP_NUM_TASKS", false },
        { "PMI_RANK", "PMI_SIZE", true }
    };
    const char *mpi = getenv("IMAGO_MPI");
    if (mpi && !strcmp(mpi, "none"))
        return (im_launched){ .size = 1 };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (getenv(known[i].rank))
            return (im_launched){ .rank = number_in(known[i].rank, 0), .size = number_in(known[i].size, 0),
                                  .says = known[i].rank, .mpich = known[i].mpich };
    int tasks = number_in("SLURM_STEP_NUM_TASKS", 1);
    if (tasks > 1)
        return (im_launched){ .rank = number_in("SLURM_PROCID", 0), .size = tasks, .says = "SLURM_STEP_NUM_TASKS",
                              .no_mpi = true };
    return (im_launched){ .size = 1 };
}

/* ---------------------------------------------------------------- the library */

static void *open_library(im_ctx *c, const im_launched *by)
{
    static const char *const openmpi[] = { "libmpi.so.40", NULL };
    static const char *const mpich[] = { "libmpich.so.12", "libmpi.so.12", NULL };
    const char *chosen = getenv("IMAGO_MPI"), *only[] = { chosen, NULL }, *const *tried = by->mpich ? mpich : openmpi;
    if (chosen && *chosen)
        tried = only;
    void *library = NULL;
    for (; *tried && !library; tried++)
        library = dlopen(*tried, RTLD_NOW | RTLD_GLOBAL);      /* global: its own plug-ins look for its names          */
    if (!library)
        im_fail(c, "%s says that this is one of several processes, and there is no MPI library to speak to them: %s; "
                "install the one of the launcher (%s), name it (IMAGO_MPI=/path/to/libmpi.so), or train alone "
                "(IMAGO_MPI=none)", by->says, dlerror(), by->mpich ? "Debian: libmpich12" : "Debian: libopenmpi3");
    return library;
}

/* One of the two families, whatever its file is called. */
static bool find_calls(im_ctx *c, im_mpi *m)
{
    m->world = dlsym(m->library, "ompi_mpi_comm_world");
    m->byte = dlsym(m->library, "ompi_mpi_byte");
    m->errors_return = dlsym(m->library, "ompi_mpi_errors_return");
    m->mpich = !m->world;
    for (int i = 0; i < CALLS; i++)
        if (!(m->call[i] = dlsym(m->library, names[i])))
            return im_fail(c, "the MPI library has no %s; wanted OpenMPI 4 or 5, or MPICH 3 or 4 and what shares its "
                           "interface", names[i]);
    return true;
}

static int rank_or_size(const im_mpi *m, int call)
{
    int v = -1, failed;
    if (m->mpich) {
        int (*f)(int, int *) = m->call[call];
        failed = f(MPICH_WORLD, &v);
    } else {
        int (*f)(void *, int *) = m->call[call];
        failed = f(m->world, &v);
    }
    return failed ? -1 : v;
}

/* A failed call comes back instead of ending the process. */
static void errors_return(const im_mpi *m)
{
    if (m->mpich) {
        int (*f)(int, int) = m->call[HANDLER];
        f(MPICH_WORLD, MPICH_ERRORS_RETURN);
    } else {
        int (*f)(void *, void *) = m->call[HANDLER];
        f(m->world, m->errors_return);
    }
}

static bool init(im_ctx *c, im_mpi *m)
{
    int (*initialized)(int *) = m->call[INITIALIZED], (*finalized)(int *) = m->call[FINALIZED];
    int (*start)(int *, char ***, int, int *) = m->call[INIT];
    int begun = 0, over = 0, given = 0;
    finalized(&over);
    if (over)
        return im_fail(c, "this process has left MPI already, which cannot be joined again; wanted one training a process");
    initialized(&begun);
    if (!begun && start(NULL, NULL, SERIALIZED, &given))
        return im_fail(c, "MPI_Init_thread has failed");
    m->by_turns = given >= SERIALIZED;
    return true;
}

bool im_mpi_by_turns(const im_mpi *m)
{
    return m->by_turns;
}

im_mpi *im_mpi_start(im_ctx *c, const im_launched *by, int *rank, int *size)
{
    im_mpi *m = im_ok(c) ? calloc(1, sizeof *m) : NULL;
    if (!m)
        im_fail(c, "out of memory for MPI");
    bool ok = m && (m->library = open_library(c, by)) && find_calls(c, m) && init(c, m);
    if (ok) {
        errors_return(m);
        *rank = rank_or_size(m, RANK);
        *size = rank_or_size(m, SIZE);
        ok = (*rank >= 0 && *size > *rank) || im_fail(c, "MPI says rank %d of %d", *rank, *size);
        if (ok && by->size > 0 && (*size != by->size || *rank != by->rank))
            ok = im_fail(c, "%s says process %d of %d, and the MPI library that was found rank %d of %d: it is not that of "
                         "the launcher; name the right one (IMAGO_MPI=/path/to/libmpi.so)", by->says, by->rank, by->size,
                         *rank, *size);
    }
    if (ok)
        return m;
    free(m);                                                   /* the library stays: it may have threads               */
    return NULL;
}

void im_mpi_end(im_mpi *m, bool in_order)
{
    if (m && in_order) {
        int (*f)(void) = m->call[FINALIZE];
        f();
    }
    free(m);
}

/* ---------------------------------------------------------------- messages */

bool im_mpi_send(im_mpi *m, const void *v, int bytes, int to, im_mpi_request *q)
{
    if (m->mpich) {
        int (*f)(const void *, int, int, int, int, int, int *) = m->call[SEND];
        return !f(v, bytes, MPICH_BYTE, to, TAG, MPICH_WORLD, &q->number);
    }
    int (*f)(const void *, int, void *, int, int, void *, void **) = m->call[SEND];
    return !f(v, bytes, m->byte, to, TAG, m->world, &q->pointer);
}

bool im_mpi_receive(im_mpi *m, void *v, int bytes, int from, im_mpi_request *q)
{
    if (m->mpich) {
        int (*f)(void *, int, int, int, int, int, int *) = m->call[RECEIVE];
        return !f(v, bytes, MPICH_BYTE, from, TAG, MPICH_WORLD, &q->number);
    }
    int (*f)(void *, int, void *, int, int, void *, void **) = m->call[RECEIVE];
    return !f(v, bytes, m->byte, from, TAG, m->world, &q->pointer);
}

bool im_mpi_done(im_mpi *m, im_mpi_request *q, bool *done)
{
    int flag = 0, failed;
    if (m->mpich) {
        int (*f)(int *, int *, void *) = m->call[TEST];
        failed = f(&q->number, &flag, (void *)1);              /* MPI_STATUS_IGNORE                                    */
    } else {
        int (*f)(void **, int *, void *) = m->call[TEST];
        failed = f(&q->pointer, &flag, NULL);
    }
    *done = flag != 0;
    return !failed;
}
