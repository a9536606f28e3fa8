/* cu.cu: cu.h by the CUDA runtime, which is linked statically and looks for the driver when it is first asked: a program
 * built with this starts on a machine without one. */
#include "cuda/ptx.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct im_cu {
    int index, capability;
    char name[300], failed[300];
    cudaStream_t stream;
    cudaMemPool_t pool;
};

struct im_cu_event { cudaEvent_t e; };

/* Keeps the first failure: what was asked for, and what the runtime says. */
static int check(im_cu *cu, cudaError_t e, const char *what)
{
    if (e == cudaSuccess)
        return 0;
    cudaGetLastError();
    if (!cu->failed[0])
        snprintf(cu->failed, sizeof cu->failed, "%s: %s (%s)", what, cudaGetErrorString(e), cudaGetErrorName(e));
    return 1;
}

static const char *without(cudaError_t e)
{
    switch (e) {
    case cudaErrorInsufficientDriver: return "no CUDA driver is installed, or one older than this build needs (13.0)";
    case cudaErrorNoDevice:           return "there is no CUDA device";
    default:                          return cudaGetErrorString(e);
    }
}

/* The runtime keeps a device for each thread of the host, and launches a kernel on no other; any thread may use any cu. */
static void here(im_cu *cu) { check(cu, cudaSetDevice(cu->index), "choosing the device"); }

static int set_up(im_cu *cu)
{
    cudaDeviceProp prop;
    uint64_t all = UINT64_MAX;
    here(cu);
    if (cu->failed[0] || check(cu, cudaGetDeviceProperties(&prop, cu->index), "asking for its properties") ||
        check(cu, cudaStreamCreateWithFlags(&cu->stream, cudaStreamNonBlocking), "making a stream") ||
        check(cu, cudaDeviceGetDefaultMemPool(&cu->pool, cu->index), "asking for its memory pool") ||
        check(cu, cudaMemPoolSetAttribute(cu->pool, cudaMemPoolAttrReleaseThreshold, &all), "setting up its memory pool"))
        return 1;
    cu->capability = 10 * prop.major + prop.minor;
    snprintf(cu->name, sizeof cu->name, "%s, sm_%d", prop.name, cu->capability);
    return 0;
}

int im_cu_count(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

const char *im_cu_code(void) { return IM_CUDA_CODE; }

im_cu *im_cu_open(int index, char *why, size_t size)
{
    int count = 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    im_cu *cu = (im_cu *)calloc(1, sizeof *cu);
    if (!cu || e != cudaSuccess || index >= count) {
        if (!cu)
            snprintf(why, size, "out of memory");
        else if (e != cudaSuccess)
            snprintf(why, size, "%s", without(e));
        else
            snprintf(why, size, "there are %d CUDA devices, counted from cuda:0", count);
        free(cu);
        return NULL;
    }
    cu->index = index;
    if (!set_up(cu) && cu->capability >= 75)
        return cu;
    if (cu->failed[0])
        snprintf(why, size, "%s", cu->failed);
    else
        snprintf(why, size, "%s is older than sm_75, the oldest that this build has kernels for", cu->name);
    im_cu_close(cu);
    return NULL;
}

void im_cu_close(im_cu *cu)
{
    if (cu->stream) {
        cudaStreamSynchronize(cu->stream);
        cudaStreamDestroy(cu->stream);
    }
    free(cu);
}

const char *im_cu_name(const im_cu *cu) { return cu->name; }
int im_cu_capability(const im_cu *cu) { return cu->capability; }

int im_cu_driver(const im_cu *)
{
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

const char *im_cu_failed(const im_cu *cu) { return cu->failed; }

cudaStream_t im_cu_stream(im_cu *cu)
{
    here(cu);
    return cu->stream;
}

int im_cu_launched(im_cu *cu, const char *kernel) { return check(cu, cudaGetLastError(), kernel); }

void *im_cu_alloc(im_cu *cu, size_t bytes)
{
    here(cu);
    void *p = NULL;
    cudaError_t e = cudaMallocAsync(&p, bytes ? bytes : 1, cu->stream);
    if (e == cudaErrorMemoryAllocation)
        cudaGetLastError();
    else
        check(cu, e, "asking for memory");
    return e == cudaSuccess ? p : NULL;
}

void im_cu_free(im_cu *cu, void *p)
{
    if (p)
        check(cu, cudaFreeAsync(p, cu->stream), "giving memory back");
}

/* cudaMalloc may wait for the device, which a thread that captures must not do, unless it says that it knows. */
void *im_cu_lasting(im_cu *cu, size_t bytes)
{
    here(cu);
    void *p = NULL;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    cudaThreadExchangeStreamCaptureMode(&mode);
    cudaError_t e = cudaMalloc(&p, bytes);
    if (e == cudaErrorMemoryAllocation && cudaMemPoolTrimTo(cu->pool, 0) == cudaSuccess)       /* what the pool keeps  */
        e = cudaMalloc(&p, bytes);
    cudaThreadExchangeStreamCaptureMode(&mode);
    if (e == cudaErrorMemoryAllocation)
        cudaGetLastError();
    else
        check(cu, e, "asking for workspace");
    return e == cudaSuccess ? p : NULL;
}

void im_cu_lasting_free(im_cu *cu, void *p)
{
    if (p)
        check(cu, cudaFree(p), "giving workspace back");
}

void im_cu_memory(im_cu *cu, size_t *available, size_t *total)
{
    *available = *total = 0;
    here(cu);
    check(cu, cudaMemGetInfo(available, total), "asking how much memory there is");
}

void *im_cu_pinned(im_cu *cu, size_t bytes)
{
    here(cu);
    void *p = NULL;
    cudaError_t e = cudaMallocHost(&p, bytes ? bytes : 1);
    if (e != cudaErrorMemoryAllocation)
        check(cu, e, "asking for pinned memory");
    else
        cudaGetLastError();
    return e == cudaSuccess ? p : NULL;
}

void im_cu_unpin(im_cu *cu, void *p)
{
    if (p)
        check(cu, cudaFreeHost(p), "giving pinned memory back");
}

int im_cu_to_device(im_cu *cu, void *dst, const void *pinned, size_t bytes)
{
    return check(cu, cudaMemcpyAsync(dst, pinned, bytes, cudaMemcpyHostToDevice, cu->stream), "a copy to the device");
}

int im_cu_to_host(im_cu *cu, void *pinned, const void *src, size_t bytes)
{
    return check(cu, cudaMemcpyAsync(pinned, src, bytes, cudaMemcpyDeviceToHost, cu->stream), "a copy from the device");
}

int im_cu_move(im_cu *cu, void *dst, const void *src, size_t bytes)
{
    return check(cu, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, cu->stream), "a copy on the device");
}

KERNEL(256) fill_words(uint32_t *dst, uint32_t word, size_t words, size_t bytes)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < words)
        dst[i] = word;
    else if (i < words + bytes)                                /* what is left of a word                               */
        ((uint8_t *)(dst + words))[i - words] = (uint8_t)(word >> 8 * (i - words));
}

int im_cu_fill(im_cu *cu, void *dst, uint32_t word, size_t bytes)
{
    if (word == (word & 0xff) * 0x01010101u)
        return check(cu, cudaMemsetAsync(dst, (int)(word & 0xff), bytes, cu->stream), "a fill");
    unsigned blocks = (unsigned)((bytes / 4 + 3 + 255) / 256);
    return LAUNCH(cu, blocks, 256, fill_words, (uint32_t *)dst, word, bytes / 4, bytes % 4);
}

im_cu_event *im_cu_event_new(im_cu *cu)
{
    im_cu_event *e = (im_cu_event *)calloc(1, sizeof *e);
    here(cu);
    if (!e || !check(cu, cudaEventCreateWithFlags(&e->e, cudaEventDisableTiming), "making an event"))
        return e;
    free(e);
    return NULL;
}

void im_cu_event_free(im_cu *cu, im_cu_event *e)
{
    if (e)
        check(cu, cudaEventDestroy(e->e), "an event");
    free(e);
}

int im_cu_event_record(im_cu *cu, im_cu_event *e)
{
    return check(cu, cudaEventRecord(e->e, cu->stream), "recording an event");
}

int im_cu_event_wait(im_cu *cu, im_cu_event *e)
{
    return check(cu, cudaEventSynchronize(e->e), "waiting for the device");
}

int im_cu_capture_begin(im_cu *cu)
{
    return check(cu, cudaStreamBeginCapture(cu->stream, cudaStreamCaptureModeThreadLocal), "beginning a graph");
}

void *im_cu_capture_end(im_cu *cu)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t ready = NULL;
    if (check(cu, cudaStreamEndCapture(cu->stream, &graph), "ending a graph"))
        return NULL;
    if (check(cu, cudaGraphInstantiate(&ready, graph, 0), "making a graph"))
        ready = NULL;
    cudaGraphDestroy(graph);
    return ready;
}

void *im_cu_capture_again(im_cu *cu, void *graph)
{
    cudaGraph_t captured = NULL;
    cudaGraphExec_t ready = (cudaGraphExec_t)graph;
    cudaGraphExecUpdateResultInfo how;
    if (check(cu, cudaStreamEndCapture(cu->stream, &captured), "ending a graph"))
        return graph;
    if (ready && cudaGraphExecUpdate(ready, captured, &how) != cudaSuccess) {
        cudaGetLastError();                                    /* of another shape: it is made anew                    */
        im_cu_graph_free(cu, ready);
        ready = NULL;
    }
    if (!ready && check(cu, cudaGraphInstantiate(&ready, captured, 0), "making a graph"))
        ready = NULL;
    cudaGraphDestroy(captured);
    return ready;
}

int im_cu_graph_launch(im_cu *cu, void *graph)
{
    return check(cu, cudaGraphLaunch((cudaGraphExec_t)graph, cu->stream), "launching a graph");
}

void im_cu_graph_free(im_cu *cu, void *graph)
{
    if (graph)
        check(cu, cudaGraphExecDestroy((cudaGraphExec_t)graph), "freeing a graph");
}
