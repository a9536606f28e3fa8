/* host.c: the services (services.h) of every device whose memory is the host's: everything is done when it is asked for.
 * Used by device.c, for cpu and ref; far/far.c puts its own memory beneath them. */
#include "tensor/host.h"
#include "tensor/memory.h"
#include "tensor/parallel.h"
#include "tensor/memory_pool.h"

#include <stdlib.h>
#include <string.h>

static void *host_alloc(im_device *dev, size_t bytes)
{
    im_host *h = im_host_of(dev);
    if (dev->reuse && !h->pool && !(h->pool = im_memory_pool_new()))
        return NULL;
    return h->pool ? im_memory_pool_get(h->pool, bytes) : im_pages_new(bytes);
}

static void host_free(im_device *dev, void *p, size_t bytes)
{
    im_host *h = im_host_of(dev);
    if (h->pool)
        im_memory_pool_put(h->pool, p, bytes);
    else
        im_pages_free(p, bytes);
}

static int host_move(im_device *dev, void *dst, const void *src, size_t bytes)
{
    (void)dev;
    memcpy(dst, src, bytes);
    return IM_DONE;
}

static int host_fill(im_device *dev, void *dst, uint32_t word, size_t bytes)
{
    (void)dev;
    if (word == (word & 0xff) * 0x01010101u) {
        memset(dst, (int)(word & 0xff), bytes);
        return IM_DONE;
    }
    char *p = dst;
    for (size_t at = 0; at < bytes; at += sizeof word)
        memcpy(p + at, &word, bytes - at < sizeof word ? bytes - at : sizeof word);
    return IM_DONE;
}

static uint64_t host_mark(im_device *dev)
{
    (void)dev;
    return 0;
}

static int host_wait(im_device *dev, uint64_t mark)
{
    (void)dev;
    (void)mark;
    return IM_DONE;
}

static int host_plan_begin(im_device *dev, void **captured, bool *run)
{
    (void)dev;
    (void)captured;
    *run = true;                                               /* a host runs the nodes themselves                     */
    return IM_DONE;
}

static int host_plan_end(im_device *dev, void **captured, bool ok)
{
    (void)dev;
    (void)captured;
    (void)ok;
    return IM_DONE;
}

static void host_plan_free(im_device *dev, void *captured)
{
    (void)dev;
    (void)captured;
}

static const char *host_product(const im_device *dev, im_dtype weights)
{
    (void)dev;
    (void)weights;
    return "plain loops, sums in f64";
}

static void host_close(im_device *dev)
{
    im_host *h = im_host_of(dev);
    for (int i = 0; h->scratch && h->scratch_bytes && i <= h->threads; i++)
        im_pages_free(h->scratch[i], h->scratch_bytes[i]);
    free(h->scratch);
    free(h->scratch_bytes);
    im_memory_pool_free(h->pool);
    free(h);
}

void *im_scratch(im_device *dev, int thread, size_t bytes)
{
    im_host *h = im_host_of(dev);
    if (bytes > h->scratch_bytes[thread]) {
        im_pages_free(h->scratch[thread], h->scratch_bytes[thread]);
        h->scratch[thread] = im_pages_new(bytes);
        h->scratch_bytes[thread] = h->scratch[thread] ? bytes : 0;
        __atomic_fetch_add(&dev->counts.blocks, 1, __ATOMIC_RELAXED);          /* threads ask side by side             */
    }
    return h->scratch[thread];
}

bool im_host_open(im_ctx *c, im_device *dev, const char *name, int threads, size_t bytes)
{
    im_host *h = calloc(1, bytes > sizeof *h ? bytes : sizeof *h);
    if (!h)
        return im_fail(c, "out of memory while opening the device \"%s\"", name);
    dev->impl = h;
    dev->s = (im_services){
        .alloc = host_alloc, .free = host_free, .upload = host_move, .weight_bytes = im_weight_bytes,
        .weight_as_is = im_weight_as_is, .load = im_host_load, .download = host_move,
        .fill = host_fill, .copy = host_move, .mark = host_mark, .wait = host_wait, .plan_begin = host_plan_begin,
        .plan_end = host_plan_end, .plan_free = host_plan_free, .product = host_product, .close = host_close };
    h->threads = threads;
    dev->maps = true;
    dev->int8 = true;
    h->scratch = calloc((size_t)threads + 1, sizeof *h->scratch);
    h->scratch_bytes = calloc((size_t)threads + 1, sizeof *h->scratch_bytes);
    return (h->scratch && h->scratch_bytes) || im_fail(c, "out of memory while opening the device \"%s\"", name);
}
