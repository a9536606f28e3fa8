/* services.h: memory and order of work, which a device owns: the second half of the contract of device.h.
 *
 * Nobody outside a device follows a pointer into its memory: the engine asks these services, kernels get such pointers in
 * their arguments, everybody above src/tensor has im_upload, im_download, im_item and im_fill (transfer.c). Work is in
 * order: every kernel and every service begins when what was asked for before it has ended, as on one CUDA stream. A host
 * device does everything at once, so its order is that of the calls. Only `wait` tells that something has happened.
 *
 * What a CUDA device does behind each of them, without a change to the engine:
 *   alloc       cudaMallocAsync(&p, bytes, stream) from a pool whose cudaMemPoolAttrReleaseThreshold is at its maximum (so
 *               that `reuse` of device.h is always on); NULL where it says cudaErrorMemoryAllocation
 *   free        cudaFreeAsync(p, stream): what still reads p was ordered before
 *   upload      the bytes go into a ring of pinned memory (cudaMallocHost, two halves, an event each), then
 *               cudaMemcpyAsync(dst, pinned, bytes, cudaMemcpyHostToDevice, stream); src may be overwritten on return
 *   load        packs into pinned memory on the host's threads (or uploads as it is and runs a kernel), then as upload
 *   weight_*    what its kernels read: plain rows as long as these pack in shared memory; tiles in the order of the tensor
 *               cores where they do not, with load's kernel that makes them
 *   download    cudaMemcpyAsync(pinned, src, bytes, cudaMemcpyDeviceToHost, stream) and a note that `wait` copies it to dst
 *   fill        cuMemsetD32Async(dst, word, bytes / 4, stream), and cuMemsetD16Async or D8 for what is left
 *   copy        cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream)
 *   mark        cudaEventRecord(event, stream) on an event out of a ring; its number is the mark
 *   wait        cudaEventSynchronize(event of the mark); then the downloads that were ordered before it reach their dst
 *   plan_begin  *captured there: cudaGraphLaunch(*captured, stream), and *run false: nothing is left to do. Else
 *               cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), and *run true
 *   plan_end    cudaStreamEndCapture, cudaGraphInstantiate into *captured, cudaGraphLaunch; ok false: it is dropped
 *   plan_free   cudaGraphExecDestroy
 *   hold        cudaStreamBeginCapture before the first kernel; memory comes from a pool of the device's own meanwhile
 *   hand_over   cudaStreamEndCapture, cudaGraphExecUpdate of the graph of the time before, cudaGraphLaunch
 *   close       cudaStreamSynchronize, then all of its own goes: stream, events, pinned rings, memory pool */
#ifndef IM_SERVICES_H
#define IM_SERVICES_H

#include "imago_engine.h"

enum im_status { IM_DONE = 0, IM_NO_MEMORY, IM_NO_KERNEL, IM_STOPPED };

struct im_device;
struct im_pack_args;

typedef struct im_services {     /* int: enum im_status                                                             */
    void *(*alloc)(struct im_device *, size_t bytes);                     /* uninitialised, 64-byte aligned, or NULL */
    void (*free)(struct im_device *, void *p, size_t bytes);              /* bytes as asked for; p may be NULL      */
    int (*upload)(struct im_device *, void *dst, const void *src, size_t bytes);
    /* How it holds weights is the device's own: their order, their padding, how GEGLU's values and gates lie. Nobody else
     * knows more than the bytes that one takes, and whether it is `packed`: held otherwise than in plain rows.
     * weight_as_is: a weight that lies where src says has just the bytes that `load` would make of it (dst is not read). */
    size_t (*weight_bytes)(const struct im_device *, const struct im_pack_args *);
    bool (*weight_as_is)(const struct im_device *, const struct im_pack_args *);
    int (*load)(struct im_device *, const struct im_pack_args *);         /* a weight from the host, converted and packed */
    int (*download)(struct im_device *, void *dst, const void *src, size_t bytes);  /* dst holds it after a `wait`  */
    int (*fill)(struct im_device *, void *dst, uint32_t word, size_t bytes);        /* the word again and again     */
    int (*copy)(struct im_device *, void *dst, const void *src, size_t bytes);      /* within the device            */
    uint64_t (*mark)(struct im_device *);                                 /* of all that was asked for so far        */
    int (*wait)(struct im_device *, uint64_t mark);                       /* until all that was has happened         */
    int (*plan_begin)(struct im_device *, void **captured, bool *run);   /* run: the nodes are to be run, one by one */
    int (*plan_end)(struct im_device *, void **captured, bool ok);
    void (*plan_free)(struct im_device *, void *captured);
    /* Between both, work is held back, to be handed over as one; before a `wait` for what was held back, it is handed over
     * so far. Not nested. ok false: what is still held back may be dropped. NULL: everything is done as it is asked for. */
    int (*hold)(struct im_device *);
    int (*hand_over)(struct im_device *, bool ok);
    const char *(*product)(const struct im_device *, im_dtype weights);   /* how they are multiplied, in words      */
    /* Whose the memory is, in words, for the message that there is not enough of it; NULL: nothing is known of that. */
    void (*memory)(struct im_device *, char *text, size_t size);
    void (*about)(struct im_device *, char *text, size_t size);           /* what it is, in words; NULL: isa says all */
    /* Its kernels beside ref, a row each (im_device_check); NULL: the device has no check of its own.               */
    int (*check)(struct im_device *, void (*row)(void *arg, const im_check_row *), void *arg);
    void (*close)(struct im_device *);
} im_services;

#endif
