/* stream.cc: src/cuda/cu.h by the simulator: one device, its memory (shadow.cc), a stream, graphs.
 *
 * The stream is a list of things to do. Early (sim.late false) each is done at once; late, nothing is done before
 * somebody waits for an event, so that what the host does too soon (it reads a result that is not there, it overwrites
 * what is still to be copied) gives wrong numbers. A graph is such a list that is kept. */
#include "cuda/ptx.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <vector>

typedef std::vector<std::function<void()>> list;

struct im_cu {
    list todo;
    list *capture = NULL;        /* between im_cu_capture_begin and _end                                               */
    char failed[200] = "";
};

struct im_cu_event { size_t behind; };

static void do_all(im_cu *cu)
{
    list now;
    now.swap(cu->todo);
    for (auto &f : now)
        f();
}

static int fail(im_cu *cu, const char *text)
{
    if (!cu->failed[0])
        snprintf(cu->failed, sizeof cu->failed, "%s", text);
    return 1;
}

sim_stream_counts sim_asked;

static int ask(im_cu *cu, std::function<void()> f)
{
    if (cu->capture)
        cu->capture->push_back(f);
    else if (sim.late)
        cu->todo.push_back(f);
    else
        f();
    return cu->failed[0] != 0;
}

int sim_enqueue(im_cu *cu, const char *kernel, dim3 grid, dim3 block, sim_cluster cluster, void (*call)(void *),
                const void *args, size_t bytes)
{
    sim_body body = { call, std::shared_ptr<void>(malloc(bytes), free), bytes };
    memcpy(body.args.get(), args, bytes);
    cu->capture ? sim_asked.captured++ : sim_asked.launches++;
    return ask(cu, [=] { sim_run(kernel, grid, block, cluster, body); });
}

/* SIM_DEVICES: several of them, which are all the same. */
int im_cu_count(void)
{
    const char *text = getenv("SIM_DEVICES");
    return text ? atoi(text) : 1;
}

const char *im_cu_code(void) { return "the simulator"; }

im_cu *im_cu_open(int index, char *why, size_t size)
{
    if (index < im_cu_count())
        return new im_cu;
    snprintf(why, size, "there are %d devices of the simulator, counted from cuda:0", im_cu_count());
    return NULL;
}

/* SIM_COUNTS=1: what was asked of it, when it is closed. */
void im_cu_close(im_cu *cu)
{
    do_all(cu);
    if (getenv("SIM_COUNTS"))
        fprintf(stderr, "sim: %ld kernels by themselves, %ld captured; %ld graphs; the host waited %ld times\n",
                sim_asked.launches, sim_asked.captured, sim_asked.graphs, sim_asked.waits);
    delete cu;
}

static int capability = 75;
void sim_set_capability(int sm) { capability = sm; }
int sim_capability() { return capability; }
const char *im_cu_name(const im_cu *)
{
    return capability < 80 ? "simulator, sm_75" : capability < 90 ? "simulator, sm_80" : "simulator, sm_90";
}
int im_cu_capability(const im_cu *) { return capability; }
int im_cu_driver(const im_cu *) { return 0; }
const char *im_cu_failed(const im_cu *cu) { return cu->failed; }

/* In the stream's order, as on a device: the memory of a buffer that is given back is not lent again before what uses
 * it is done. */
void *im_cu_alloc(im_cu *cu, size_t bytes)
{
    if (cu->capture)
        return NULL;
    void *p = sim_memory_new(bytes ? bytes : 1);
    if (!p && !cu->todo.empty()) {
        do_all(cu);
        p = sim_memory_new(bytes ? bytes : 1);
    }
    return p;
}

void im_cu_free(im_cu *cu, void *p)
{
    if (!p)
        return;
    if (cu->capture)
        (void)fail(cu, "memory that was had outside of a graph is given back within it");
    else if (sim.late)
        cu->todo.push_back([=] { sim_memory_free(p); });
    else
        sim_memory_free(p);
}

void *im_cu_lasting(im_cu *, size_t bytes) { return sim_memory_new(bytes); }

void im_cu_lasting_free(im_cu *cu, void *p)
{
    do_all(cu);
    sim_memory_free(p);
}

void im_cu_memory(im_cu *, size_t *available, size_t *total)
{
    *total = sim_memory_limit;
    *available = sim_memory_limit - sim_memory_used();
}

void *im_cu_pinned(im_cu *, size_t bytes) { return malloc(bytes ? bytes : 1); }
void im_cu_unpin(im_cu *, void *p) { free(p); }

static bool held(im_cu *cu, const void *p, size_t bytes)
{
    return !bytes || sim_memory_holds(p, bytes) || (fail(cu, "a copy or a fill leaves the buffers of the device"), false);
}

int im_cu_to_device(im_cu *cu, void *dst, const void *pinned, size_t bytes)
{
    return ask(cu, [=] {
        if (held(cu, dst, bytes)) {
            memcpy(dst, pinned, bytes);
            sim_memory_wrote(dst, bytes);
        }
    });
}

int im_cu_to_host(im_cu *cu, void *pinned, const void *src, size_t bytes)
{
    return ask(cu, [=] {
        if (held(cu, src, bytes))
            memcpy(pinned, src, bytes);
    });
}

int im_cu_move(im_cu *cu, void *dst, const void *src, size_t bytes)
{
    return ask(cu, [=] {
        if (held(cu, dst, bytes) && held(cu, src, bytes)) {
            memmove(dst, src, bytes);
            sim_memory_copied(dst, src, bytes);
        }
    });
}

int im_cu_fill(im_cu *cu, void *dst, uint32_t word, size_t bytes)
{
    return ask(cu, [=] {
        if (!held(cu, dst, bytes))
            return;
        for (size_t at = 0; at < bytes; at += 4)
            memcpy((char *)dst + at, &word, bytes - at < 4 ? bytes - at : 4);
        sim_memory_wrote(dst, bytes);
    });
}

im_cu_event *im_cu_event_new(im_cu *) { return new im_cu_event(); }
void im_cu_event_free(im_cu *, im_cu_event *e) { delete e; }
int im_cu_event_record(im_cu *cu, im_cu_event *) { return cu->capture ? fail(cu, "an event within a graph") : 0; }

int im_cu_event_wait(im_cu *cu, im_cu_event *)
{
    if (cu->capture)
        return fail(cu, "the host waits within a graph");
    sim_asked.waits++;
    do_all(cu);
    return cu->failed[0] != 0;
}

int im_cu_capture_begin(im_cu *cu)
{
    if (cu->capture)
        return fail(cu, "a graph within a graph");
    cu->capture = new list;
    return 0;
}

void *im_cu_capture_end(im_cu *cu)
{
    list *l = cu->capture;
    cu->capture = NULL;
    return l;
}

void *im_cu_capture_again(im_cu *cu, void *graph)
{
    list *now = (list *)im_cu_capture_end(cu);
    if (!graph)
        return now;
    *(list *)graph = *now;                                     /* what was launched of it before is a copy             */
    delete now;
    return graph;
}

int im_cu_graph_launch(im_cu *cu, void *graph)
{
    sim_asked.graphs++;
    for (auto &f : *(list *)graph)
        ask(cu, f);
    return cu->failed[0] != 0;
}

void im_cu_graph_free(im_cu *cu, void *graph)
{
    do_all(cu);
    delete (list *)graph;
}
