/* rank_mpi.h: as much of MPI as ranks.c needs, out of the library of whoever started this process.
 *
 * The library is looked for when a launcher (mpirun, srun) is seen in the environment, by dlopen: building imago needs no
 * MPI, one program runs under every launcher, and without one nothing is loaded. The two families of libraries differ in
 * their binary interface: a handle (communicator, datatype, request) is a pointer in OpenMPI and an int in MPICH, whose
 * interface Intel MPI and MVAPICH share. So every call that takes a handle stands here twice, each with its own types: that
 * is a page, where small shared objects built by either mpicc would have to be built, found and installed. */
#ifndef IM_RANK_MPI_H
#define IM_RANK_MPI_H

#include "imago.h"

typedef struct im_launched {                                   /* what the environment says                           */
    int rank, size;                                            /* size 1: nobody, or one process; 0: not known         */
    const char *says;                                          /* the variable; NULL: nobody                           */
    bool mpich;                                                /* else OpenMPI                                         */
    bool no_mpi;                                               /* srun started several tasks, but without MPI          */
} im_launched;
im_launched im_launched_by(void);

typedef struct im_mpi im_mpi;
typedef union im_mpi_request { void *pointer; int number; } im_mpi_request;

/* Loads the library and starts it; NULL with an error. Once in a process: MPI can be left, but not joined again. */
im_mpi *im_mpi_start(im_ctx *c, const im_launched *by, int *rank, int *size);
/* Ends it in order (waits for the other processes), or just lets go of it where they may be dead. */
void im_mpi_end(im_mpi *m, bool in_order);

bool im_mpi_by_turns(const im_mpi *m);                         /* any thread may call it, one at a time               */

/* Bytes to and from another rank, in the order of the calls; done when im_mpi_done says so. False: MPI has failed. */
bool im_mpi_send(im_mpi *m, const void *v, int bytes, int to, im_mpi_request *q);
bool im_mpi_receive(im_mpi *m, void *v, int bytes, int from, im_mpi_request *q);
bool im_mpi_done(im_mpi *m, im_mpi_request *q, bool *done);

#endif
