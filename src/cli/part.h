/* part.h: which part of a set this process makes, when several share the work. */
#ifndef IM_CLI_PART_H
#define IM_CLI_PART_H

#include "imago.h"

typedef struct part {
    int64_t i, n;                                              /* part i of n, from 0                                  */
    char said_by[120];                                         /* "--part", or the variables; "": nobody, the whole    */
} part;

/* option: "I/N" (I from 1), "none", or "auto": the environment says, the first of
 *     SLURM_ARRAY_TASK_ID (with _MIN and _COUNT)
 *     SLURM_PROCID/SLURM_NTASKS, OMPI_COMM_WORLD_RANK/_SIZE, PMI_RANK/PMI_SIZE, RANK/WORLD_SIZE
 * and an array whose tasks are started several times (srun, mpirun) has the product of both: (task of the array, process of
 * the task). */
bool part_find(im_ctx *c, const char *option, part *out);

#endif
