/* far.c: "far", a device that cannot be reached: the ref kernels over memory that nobody may touch (PROT_NONE) but while a
 * kernel or a service runs. It computes what ref computes, bit for bit, and proves without a GPU what one will need:
 *
 *   - a pointer into its memory that is followed anywhere else ends the program, and a line says why;
 *   - fresh memory is full of NaN, so what is read before it is written shows;
 *   - a download reaches its place when somebody waits, not before;
 *   - a weight takes more bytes than its values do;
 *   - a plan is captured: the second run calls the same kernels with the same arguments and asks no op, as a graph would.
 *
 * A hidden device: `--device far` and im_ctx_new("far", ...) open it, no help lists it. tests/test_far.c and
 * tests/cli/far.sh run everything on it. It sees no more of ref than its table (device.h). */
#define _GNU_SOURCE
#include "tensor/host.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, UNIT = 64 };
static const size_t reach = (size_t)1 << 38;                   /* of addresses: memory comes when it is touched        */

typedef struct range { size_t at, bytes; } range;
typedef struct pending { void *dst, *data; size_t bytes; } pending;

typedef struct far {
    im_host host;                                              /* first: im_host_of                                    */
    im_kernels ref;
    char *base;
    size_t top;                                                /* what was ever lent ends here                         */
    range *holes; int n_holes, cap_holes;                      /* below top, ascending, no two adjacent                */
    int open;                                                  /* > 0: memory can be touched                           */
    pending *waits; int n_waits, cap_waits;                    /* downloads on their way: copied, not yet there        */
    uint64_t asked, arrived;                                   /* downloads so far                                     */
    struct record *recording;                                  /* between plan_begin and plan_end                      */
    int (*fill)(im_device *, void *, uint32_t, size_t);        /* the host's own                                       */
    void (*close_host)(im_device *);
} far;

static far *far_of(const im_device *dev) { return (far *)dev->impl; }

/* ---------------------------------------------------------------- the door */

static void set_door(far *f, int protection)
{
    size_t bytes = (f->top + PAGE - 1) / PAGE * PAGE;
    if (bytes)
        mprotect(f->base, bytes, protection);
}

static void open_door(far *f)
{
    if (f->open++ == 0)
        set_door(f, PROT_READ | PROT_WRITE);
}

static void close_door(far *f)
{
    if (--f->open == 0)
        set_door(f, PROT_NONE);
}

/* Where memory is that must not be touched; a signal handler has nothing else to ask. */
enum { DEVICES = 8 };
static char *volatile bases[DEVICES];
static struct sigaction before;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    static const char text[] = "imago: device \"far\": its memory was touched outside of a kernel or a transfer; what is "
                               "read has to be downloaded (im_download), what is written uploaded (im_upload)\n";
    const char *at = info->si_addr;
    (void)context;
    for (int i = 0; i < DEVICES; i++)
        if (bases[i] && at >= bases[i] && at < bases[i] + reach && write(STDERR_FILENO, text, sizeof text - 1) < 0)
            break;
    sigaction(sig, &before, NULL);                             /* it faults again, and ends as it would have           */
}

static void watch(char *base)
{
    struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, now;
    sigemptyset(&ours.sa_mask);
    for (int i = 0; i < DEVICES; i++)
        if (!bases[i]) {
            bases[i] = base;
            break;
        }
    if (!sigaction(SIGSEGV, NULL, &now) && !(now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_fault))
        sigaction(SIGSEGV, &ours, &before);
}

static void unwatch(const char *base)
{
    for (int i = 0; i < DEVICES; i++)
        if (bases[i] == base)
            bases[i] = NULL;
}

/* ---------------------------------------------------------------- memory */

static size_t rounded(size_t bytes)
{
    return bytes ? (bytes + UNIT - 1) / UNIT * UNIT : UNIT;
}

/* The lowest hole that holds it, or behind everything. */
static void *far_alloc(im_device *dev, size_t bytes)
{
    far *f = far_of(dev);
    if (f->recording || bytes > reach / 2)                     /* a graph must not ask for memory                      */
        return NULL;
    size_t need = rounded(bytes), at = f->top;
    int i = 0;
    while (i < f->n_holes && f->holes[i].bytes < need)
        i++;
    if (i < f->n_holes) {
        at = f->holes[i].at;
        f->holes[i].at += need;
        f->holes[i].bytes -= need;
        if (!f->holes[i].bytes)
            memmove(&f->holes[i], &f->holes[i + 1], (size_t)(--f->n_holes - i) * sizeof *f->holes);
    } else if (at + need > reach) {
        return NULL;
    } else {
        f->top = at + need;
    }
    open_door(f);
    memset(f->base + at, 0xff, need);                          /* NaN, and no row of any table                         */
    close_door(f);
    return f->base + at;
}

static void far_free(im_device *dev, void *p, size_t bytes)
{
    far *f = far_of(dev);
    if (!p)
        return;
    if (f->n_holes == f->cap_holes) {
        int cap = f->cap_holes ? 2 * f->cap_holes : 256;
        range *v = realloc(f->holes, (size_t)cap * sizeof *v);
        if (!v)
            return;                                            /* it stays lent: nothing worse                         */
        f->holes = v;
        f->cap_holes = cap;
    }
    range r = { (size_t)((char *)p - f->base), rounded(bytes) };
    int i = 0;
    while (i < f->n_holes && f->holes[i].at < r.at)
        i++;
    memmove(&f->holes[i + 1], &f->holes[i], (size_t)(f->n_holes++ - i) * sizeof r);
    f->holes[i] = r;
    for (int k = i > 0 ? i - 1 : 0; k < f->n_holes - 1 && k <= i; )      /* joins its neighbours                       */
        if (f->holes[k].at + f->holes[k].bytes == f->holes[k + 1].at) {
            f->holes[k].bytes += f->holes[k + 1].bytes;
            memmove(&f->holes[k + 1], &f->holes[k + 2], (size_t)(--f->n_holes - k - 1) * sizeof r);
        } else {
            k++;
        }
    const range *last = &f->holes[f->n_holes - 1];
    if (last->at + last->bytes == f->top) {
        f->top = last->at;
        f->n_holes--;
    }
}

/* ---------------------------------------------------------------- what is called, and called again by a plan */

typedef int (*call_fn)(im_device *dev, const void *args);

typedef struct step { call_fn fn; void *args; } step;
typedef struct record { step *v; int n, cap; } record;

static void free_record(record *r)
{
    for (int i = 0; r && i < r->n; i++)
        free(r->v[i].args);
    if (r)
        free(r->v);
    free(r);
}

static bool keep_step(record *r, call_fn fn, const void *args, size_t bytes)
{
    if (r->n == r->cap) {
        int cap = r->cap ? 2 * r->cap : 256;
        step *v = realloc(r->v, (size_t)cap * sizeof *v);
        if (!v)
            return false;
        r->v = v;
        r->cap = cap;
    }
    void *copy = malloc(bytes);
    if (!copy)
        return false;
    memcpy(copy, args, bytes);
    r->v[r->n++] = (step){ fn, copy };
    return true;
}

static int behind_door(im_device *dev, call_fn fn, const void *args)
{
    far *f = far_of(dev);
    open_door(f);
    int status = fn(dev, args);
    close_door(f);
    return status;
}

static int call(im_device *dev, call_fn fn, const void *args, size_t bytes)
{
    far *f = far_of(dev);
    if (f->recording && !keep_step(f->recording, fn, args, bytes))
        return IM_NO_MEMORY;
    return behind_door(dev, fn, args);
}

#define X(name) \
    static int ref_##name(im_device *dev, const void *args) { return far_of(dev)->ref.name(dev, args); } \
    static int kernel_##name(im_device *dev, const struct im_##name##_args *a) \
    { \
        return call(dev, ref_##name, a, sizeof *a); \
    }
IM_KERNELS(X)
#undef X

typedef struct { void *dst; const void *src; size_t bytes; uint32_t word; } moved;

static int do_move(im_device *dev, const void *args)
{
    const moved *m = args;
    (void)dev;
    memcpy(m->dst, m->src, m->bytes);
    return IM_DONE;
}

static int do_fill(im_device *dev, const void *args)
{
    const moved *m = args;
    return far_of(dev)->fill(dev, m->dst, m->word, m->bytes);
}

static int do_load(im_device *dev, const void *args)
{
    return im_host_load(dev, args);
}

static int far_fill(im_device *dev, void *dst, uint32_t word, size_t bytes)
{
    moved m = { .dst = dst, .bytes = bytes, .word = word };
    return call(dev, do_fill, &m, sizeof m);
}

static int far_copy(im_device *dev, void *dst, const void *src, size_t bytes)
{
    moved m = { .dst = dst, .src = src, .bytes = bytes };
    return call(dev, do_move, &m, sizeof m);
}

/* ---------------------------------------------------------------- to and fro: never within a plan */

static int far_upload(im_device *dev, void *dst, const void *src, size_t bytes)
{
    moved m = { .dst = dst, .src = src, .bytes = bytes };
    return far_of(dev)->recording ? IM_NO_KERNEL : behind_door(dev, do_move, &m);
}

static int far_load(im_device *dev, const im_pack_args *p)
{
    return far_of(dev)->recording ? IM_NO_KERNEL : behind_door(dev, do_load, p);
}

static int far_download(im_device *dev, void *dst, const void *src, size_t bytes)
{
    far *f = far_of(dev);
    if (f->recording)
        return IM_NO_KERNEL;
    if (f->n_waits == f->cap_waits) {
        int cap = f->cap_waits ? 2 * f->cap_waits : 16;
        pending *v = realloc(f->waits, (size_t)cap * sizeof *v);
        if (!v)
            return IM_NO_MEMORY;
        f->waits = v;
        f->cap_waits = cap;
    }
    void *data = malloc(bytes ? bytes : 1);
    if (!data)
        return IM_NO_MEMORY;
    moved m = { .dst = data, .src = src, .bytes = bytes };
    behind_door(dev, do_move, &m);
    f->waits[f->n_waits++] = (pending){ .dst = dst, .data = data, .bytes = bytes };
    f->asked++;
    return IM_DONE;
}

static uint64_t far_mark(im_device *dev)
{
    return far_of(dev)->asked;
}

/* The downloads up to the mark arrive. */
static int far_wait(im_device *dev, uint64_t mark)
{
    far *f = far_of(dev);
    int n = 0;
    for (; n < f->n_waits && f->arrived < mark; n++, f->arrived++) {
        memcpy(f->waits[n].dst, f->waits[n].data, f->waits[n].bytes);
        free(f->waits[n].data);
    }
    f->n_waits -= n;
    memmove(f->waits, f->waits + n, (size_t)f->n_waits * sizeof *f->waits);
    return f->recording ? IM_NO_KERNEL : IM_DONE;
}

/* ---------------------------------------------------------------- plans */

static int far_plan_begin(im_device *dev, void **captured, bool *run)
{
    far *f = far_of(dev);
    const record *r = *captured;
    int status = IM_DONE;
    *run = !r;
    for (int i = 0; r && i < r->n && !status; i++)
        status = behind_door(dev, r->v[i].fn, r->v[i].args);
    if (!r && !(f->recording = calloc(1, sizeof *f->recording)))
        status = IM_NO_MEMORY;
    return status;
}

static int far_plan_end(im_device *dev, void **captured, bool ok)
{
    far *f = far_of(dev);
    if (ok)
        *captured = f->recording;
    else
        free_record(f->recording);
    f->recording = NULL;
    return IM_DONE;
}

static void far_plan_free(im_device *dev, void *captured)
{
    (void)dev;
    free_record(captured);
}

/* More than plain rows take, so that who counts the bytes of a weight himself is found. */
static size_t far_weight_bytes(const im_device *dev, const im_pack_args *p)
{
    return im_weight_bytes(dev, p) + UNIT;
}

/* ---------------------------------------------------------------- opening */

static void far_close(im_device *dev)
{
    far *f = far_of(dev);
    void (*close_host)(im_device *) = f->close_host;
    for (int i = 0; i < f->n_waits; i++)
        free(f->waits[i].data);
    free(f->waits);
    free(f->holes);
    if (f->base) {
        unwatch(f->base);
        munmap(f->base, reach);
    }
    close_host(dev);
}

bool im_far_open(im_ctx *c, im_device *dev, int threads)
{
    if (!im_host_open(c, dev, "far", threads, sizeof(far)))
        return false;
    far *f = far_of(dev);
    im_services *s = &dev->s;
    f->close_host = s->close;
    f->fill = s->fill;
    s->close = far_close;
    s->alloc = far_alloc;
    s->free = far_free;
    s->upload = far_upload;
    s->weight_bytes = far_weight_bytes;
    s->load = far_load;
    s->download = far_download;
    s->fill = far_fill;
    s->copy = far_copy;
    s->mark = far_mark;
    s->wait = far_wait;
    s->plan_begin = far_plan_begin;
    s->plan_end = far_plan_end;
    s->plan_free = far_plan_free;
    dev->maps = false;
    im_ref_kernels(&f->ref);
#define X(name) dev->k.name = kernel_##name;
    IM_KERNELS(X)
#undef X
    dev->name = dev->isa = "far";
    char *base = mmap(NULL, reach, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return im_fail(c, "device \"far\": %zu GiB of addresses could not be had", reach >> 30);
    f->base = base;
    watch(base);
    return true;
}
