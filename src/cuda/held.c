/* held.c: a step of a training as one graph.
 *
 * A step is asked for anew every time, by the same calls that would run it: from the first kernel on they are captured, not
 * run, and at the end what was captured takes the place of the last step's graph and is launched. So numbers that travel in
 * a kernel's arguments (the learning rate, the number of the step) may change, and nothing depends on a step being like the
 * one before; where it is, as nearly always, the graph is updated and not made again (im_cu_capture_again).
 *
 *     memory    is not had in the stream's order while it captures. It comes from a pool of its own (tensor/memory_pool.h),
 *               whose segments stay; as the graph runs in order, a range may be lent again as soon as it is given back.
 *               What was had before, and is given back meanwhile, goes when the graph has been launched. Outside of steps
 *               the pool lends where there is nothing else
 *     uploads   are copied by the graph, from pinned memory that waits for it: two halves, for two steps. Large ones, and
 *               those before the first kernel, go as ever (device.c)
 *     waits     of the host: what was captured is launched first, and a second graph begins with the next kernel */
#include "cuda/held.h"

#include <stdlib.h>

#include "tensor/memory_pool.h"

static void *get_segment(void *arg, size_t bytes) { return im_cu_lasting(arg, bytes); }
static void put_segment(void *arg, void *p, size_t bytes)
{
    (void)bytes;
    im_cu_lasting_free(arg, p);
}

bool im_held_open(im_held *h, im_cu *cu)
{
    *h = (im_held){ .cu = cu };
    h->pool = im_memory_pool_over(&(im_memory_source){ get_segment, put_segment, cu, 0, 256, 4u << 20 });
    for (int i = 0; i < 2; i++)
        if (!(h->stage[i] = im_cu_pinned(cu, IM_HELD_STAGE)) || !(h->done[i] = im_cu_event_new(cu)))
            return false;
    return h->pool != NULL;
}

void im_held_close(im_held *h)
{
    for (int i = 0; i < IM_HELD_GRAPHS; i++)
        im_cu_graph_free(h->cu, h->graphs[i]);
    for (int i = 0; i < 2; i++) {
        im_cu_unpin(h->cu, h->stage[i]);
        im_cu_event_free(h->cu, h->done[i]);
    }
    im_memory_pool_free(h->pool);
    free(h->freed);
}

int im_held_begin(im_held *h)
{
    h->on = true;
    h->n = 0;
    h->turn ^= 1;
    h->staged = 0;
    return im_cu_event_wait(h->cu, h->done[h->turn]);          /* of the time before the last: done long ago           */
}

void im_held_kernel(im_held *h)
{
    if (h->on && !h->capturing)
        h->capturing = !im_cu_capture_begin(h->cu);
}

/* Nothing is captured any more. */
static void give_back(im_held *h)
{
    for (int i = 0; i < h->n_freed; i++)
        im_cu_free(h->cu, h->freed[i]);
    h->n_freed = 0;
}

int im_held_flush(im_held *h)
{
    if (!h->capturing)
        return 0;
    void **graph = &h->graphs[h->n < IM_HELD_GRAPHS ? h->n : IM_HELD_GRAPHS - 1];
    h->capturing = false;
    h->n++;
    *graph = im_cu_capture_again(h->cu, *graph);
    int failed = !*graph || im_cu_graph_launch(h->cu, *graph);
    give_back(h);
    return failed;
}

int im_held_end(im_held *h, bool ok)
{
    int failed = 0;
    if (ok) {
        failed = im_held_flush(h);
    } else if (h->capturing) {
        h->capturing = false;
        im_cu_graph_free(h->cu, im_cu_capture_end(h->cu));
        give_back(h);
    }
    if (h->on && !failed)
        failed = im_cu_event_record(h->cu, h->done[h->turn]);
    h->on = false;
    return failed;
}

void *im_held_alloc(im_held *h, size_t bytes) { return im_memory_pool_get(h->pool, bytes); }

size_t im_held_idle(const im_held *h) { return im_memory_pool_idle(h->pool); }

bool im_held_free(im_held *h, void *p, size_t bytes)
{
    if (!p || im_memory_pool_has(h->pool, p)) {
        if (p)
            im_memory_pool_put(h->pool, p, bytes);
        return true;
    }
    if (!h->capturing)
        return false;
    if (h->n_freed == h->cap_freed) {
        int cap = h->cap_freed ? 2 * h->cap_freed : 64;
        void **v = realloc(h->freed, (size_t)cap * sizeof *v);
        if (!v)
            return true;                                       /* it stays until the device is closed                  */
        h->freed = v;
        h->cap_freed = cap;
    }
    h->freed[h->n_freed++] = p;
    return true;
}

char *im_held_staging(im_held *h, size_t bytes)
{
    size_t at = (h->staged + 63) / 64 * 64;
    if (bytes > IM_HELD_STAGE || at > IM_HELD_STAGE - bytes)
        return NULL;
    h->staged = at + bytes;
    return h->stage[h->turn] + at;
}
