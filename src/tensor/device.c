/* device.c: opens a device by name. */
#include "tensor/device.h"
#include "tensor/host.h"
#include "tensor/parallel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* IMAGO_WINOGRAD (device.h); empty is as if it were not there, as for every variable of ours. */
static bool read_winograd(im_ctx *c, im_device *dev)
{
    const char *text = getenv("IMAGO_WINOGRAD");
    bool given = text && *text;
    im_host_of(dev)->winograd = given ? *text - '0' : 1;
    im_host_of(dev)->direct = im_host_of(dev)->amx && !given;
    return !given || (*text >= '0' && *text <= '2' && !text[1]) ||
           im_fail(c, "IMAGO_WINOGRAD is \"%s\"; wanted 0 (never), 1 (where it pays) or 2 (in every 3x3 convolution)",
                   text);
}

bool im_device_open(im_ctx *c, im_device *dev, const char *name, int threads, const volatile int *stop)
{
    *dev = (im_device){ .stop = stop };
    if (!name)
        return im_fail(c, "device: found no name; wanted cpu or ref");
    if (threads < 0 || threads > 1024)
        return im_fail(c, "threads: found %d, wanted 1 to 1024, or 0 for one a core", threads);
    threads = threads ? threads : im_cores();
    snprintf(dev->place, sizeof dev->place, "%s", name);
    if (!strcmp(name, "ref")) {
        dev->name = dev->isa = "ref";
        im_ref_kernels(&dev->k);
        return im_host_open(c, dev, name, threads, 0);
    }
    if (!strcmp(name, "cpu")) {
        if (!im_host_open(c, dev, name, threads, 0))
            return false;
        bool asked;
        im_compute how;
        if (!im_compute_asked(c, &asked, &how))
            return false;
        dev->name = "cpu";
        dev->isa = im_cpu_kernels(dev, asked, how);
        if (!dev->isa)
            return im_fail(c, "instruction set \"%s\" (--isa or IMAGO_ISA) is not in this build, which has %s; choose one "
                           "of these", getenv("IMAGO_ISA"), im_cpu_isas());
        return read_winograd(c, dev);
    }
    if (!strcmp(name, "far"))
        return im_far_open(c, dev, threads);
    if (!strncmp(name, "cuda", 4) && (!name[4] || name[4] == ':'))
        return im_cuda_open(c, dev, name);
    return im_fail(c, "device \"%s\" is unknown; this build has cpu and ref", name);
}

void im_device_close(im_device *dev)
{
    if (dev->impl)
        dev->s.close(dev);
    *dev = (im_device){ 0 };
}
