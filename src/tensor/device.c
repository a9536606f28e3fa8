/* device.c: opens a device by name, and lends scratch memory to its kernels. */
#include "tensor/device.h"
#include "tensor/memory.h"
#include "tensor/pool.h"
#include "tensor/parallel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* IMAGO_WINOGRAD (device.h); empty is as if it were not there, as for every variable of ours. */
static bool read_winograd(im_ctx *c, im_device *dev)
{
    const char *text = getenv("IMAGO_WINOGRAD");
    bool given = text && *text;
    dev->winograd = given ? *text - '0' : 1;
    return !given || (*text >= '0' && *text <= '2' && !text[1]) ||
           im_fail(c, "IMAGO_WINOGRAD is \"%s\"; wanted 0 (never), 1 (where it pays) or 2 (in every 3x3 convolution)",
                   text);
}

bool im_device_open(im_ctx *c, im_device *dev, const char *name, int threads, const volatile int *stop)
{
    int cores = im_cores();
    if (!name)
        return im_fail(c, "device: found no name; wanted cpu or ref");
    if (threads < 0 || threads > 1024)
        return im_fail(c, "threads: found %d, wanted 1 to 1024, or 0 for one a core", threads);
    *dev = (im_device){ .threads = threads ? threads : cores, .stop = stop };
    dev->scratch = calloc((size_t)dev->threads + 1, sizeof *dev->scratch);
    dev->scratch_bytes = calloc((size_t)dev->threads + 1, sizeof *dev->scratch_bytes);
    if (!dev->scratch || !dev->scratch_bytes)
        return im_fail(c, "out of memory while opening the device \"%s\"", name);
    if (!strcmp(name, "ref")) {
        dev->name = "ref";
        dev->isa = "ref";
        im_ref_kernels(&dev->k);
        return true;
    }
    if (!strcmp(name, "cpu")) {
        dev->name = "cpu";
        dev->isa = im_cpu_kernels(dev);
        if (!dev->isa)
            return im_fail(c, "instruction set \"%s\" (--isa or IMAGO_ISA) is not in this build, which has %s; choose one "
                           "of these", getenv("IMAGO_ISA"), im_cpu_isas());
        return read_winograd(c, dev);
    }
    if (!strncmp(name, "cuda", 4) && (!name[4] || name[4] == ':'))
        return im_cuda_open(c, dev, name);
    return im_fail(c, "device \"%s\" is unknown; this build has cpu and ref", name);
}

void im_device_close(im_device *dev)
{
    for (int i = 0; dev->scratch && dev->scratch_bytes && i <= dev->threads; i++)
        im_pages_free(dev->scratch[i], dev->scratch_bytes[i]);
    free(dev->scratch);
    free(dev->scratch_bytes);
    im_pool_free(dev->pool);
    *dev = (im_device){ 0 };
}

void *im_scratch(im_device *dev, int thread, size_t bytes)
{
    if (bytes > dev->scratch_bytes[thread]) {
        im_pages_free(dev->scratch[thread], dev->scratch_bytes[thread]);
        dev->scratch[thread] = im_pages_new(bytes);
        dev->scratch_bytes[thread] = dev->scratch[thread] ? bytes : 0;
    }
    return dev->scratch[thread];
}
