/* cu.h: what the backend needs of a CUDA device and its driver, as plain C functions: one device, its memory and one stream
 * on which everything happens in order. cu.cu makes it of the CUDA runtime, tests/sim/stream.cc of the simulator; nothing
 * else in src/cuda knows which. Kernels are launched on it by LAUNCH of cuda/ptx.cuh. */
#ifndef IM_CU_H
#define IM_CU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct im_cu im_cu;

int im_cu_count(void);                                         /* devices, as far as the driver shows them             */
const char *im_cu_code(void);                                  /* what this build has code for: "sm_75 ... and PTX"    */
/* Device `index`; NULL: there is none, and `why` says so in a few words ("no CUDA driver is installed"). */
im_cu *im_cu_open(int index, char *why, size_t size);
void im_cu_close(im_cu *cu);                                   /* waits for everything, then all of it goes            */
const char *im_cu_name(const im_cu *cu);                       /* "NVIDIA H100 PCIe, sm_90"                            */
int im_cu_capability(const im_cu *cu);                         /* 90: sm_90                                            */
int im_cu_driver(const im_cu *cu);                             /* its version: 13000 is 13.0                           */
/* The first failure of anything that was asked for, in words; "" when there was none. It stays. */
const char *im_cu_failed(const im_cu *cu);

/* Memory of the device, in the stream's order: what was asked for before still finds it. 256-byte aligned. */
void *im_cu_alloc(im_cu *cu, size_t bytes);                    /* NULL: out of memory, which is no failure             */
void im_cu_free(im_cu *cu, void *p);
/* Outside of the stream's order, and so while a graph is captured, too; freed when nothing uses it any more. */
void *im_cu_lasting(im_cu *cu, size_t bytes);
void im_cu_lasting_free(im_cu *cu, void *p);
void im_cu_memory(im_cu *cu, size_t *available, size_t *total);
void *im_cu_pinned(im_cu *cu, size_t bytes);                   /* of the host, which copies need; NULL: out of it      */
void im_cu_unpin(im_cu *cu, void *p);

/* 0, or not: im_cu_failed says why. Host memory is pinned, and in use until an event behind the copy has happened. */
int im_cu_to_device(im_cu *cu, void *dst, const void *pinned, size_t bytes);
int im_cu_to_host(im_cu *cu, void *pinned, const void *src, size_t bytes);
int im_cu_move(im_cu *cu, void *dst, const void *src, size_t bytes);
int im_cu_fill(im_cu *cu, void *dst, uint32_t word, size_t bytes);     /* the word again and again, from dst on        */

typedef struct im_cu_event im_cu_event;
im_cu_event *im_cu_event_new(im_cu *cu);
void im_cu_event_free(im_cu *cu, im_cu_event *e);
int im_cu_event_record(im_cu *cu, im_cu_event *e);             /* behind all that was asked for so far                 */
int im_cu_event_wait(im_cu *cu, im_cu_event *e);               /* the host waits                                       */

/* Between begin and end nothing is done but noted; the graph does it, as often as it is launched. */
int im_cu_capture_begin(im_cu *cu);
void *im_cu_capture_end(im_cu *cu);                            /* NULL: failed                                         */
void *im_cu_capture_again(im_cu *cu, void *graph);             /* in the place of this one, which may be NULL          */
int im_cu_graph_launch(im_cu *cu, void *graph);
void im_cu_graph_free(im_cu *cu, void *graph);

#endif
