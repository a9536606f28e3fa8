/* device.c: the services of a CUDA device (tensor/services.h, which says what stands behind each), made of cu.h.
 *
 *     up      two halves of pinned memory; a piece of an upload waits for the half that was used before the last, is copied
 *             there by the host and from there by the device: src may be overwritten on return, and both copies overlap
 *     down    pinned memory where downloads arrive; `wait` takes them to their places, so does a download that finds it
 *     full marks   a ring of events; a mark is the number of one, and those that are older have happened, too
 *     held   a step of a training as one graph (held.c); marks that are made meanwhile are recorded behind it
 *     workspace   one for all kernels, as they run in order; it grows, and what it was stays until the end, as a graph may
 *                 still use it */
#include "cuda/check.h"
#include "cuda/held.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HALF = 4 << 20, MARKS = 16, SPACES = 48 };

typedef struct arrival { void *dst; const char *from; size_t bytes; uint64_t mark; } arrival;

struct im_cuda {
    im_cu *cu;
    im_ctx *ctx;                 /* where failures are told                                                            */
    char *up[2], *down;
    im_cu_event *up_done[2], *marks[MARKS];
    int half;                    /* the next of up                                                                     */
    size_t down_used;
    arrival *arrivals; int n_arrivals, cap_arrivals;
    uint64_t marked, recorded, happened;                       /* marks given; with an event; known to be over         */
    im_held held;
    bool planning;               /* a plan is captured                                                                 */
    void *space; size_t space_bytes;
    void *old_spaces[SPACES]; int n_old; size_t old_bytes;
    int winograd;
    int tensor_cores;            /* 0 none, 75 those of sm_75, 80 those since sm_80                                   */
    uint64_t plain;              /* slots that must not use them: a bit each                                           */
    size_t refused;              /* bytes of the last thing that could not be had                                      */
};

im_cu *im_cuda_stream(const im_device *dev)
{
    im_cuda *d = im_cuda_of(dev);
    im_held_kernel(&d->held);
    return d->cu;
}

bool im_cuda_stopped(const im_device *dev) { return dev->stop && *dev->stop; }

bool im_cuda_winograd(const im_device *dev, bool *always)
{
    *always = im_cuda_of(dev)->winograd == 2;
    return im_cuda_of(dev)->winograd != 0;
}

bool im_cuda_has_cores(const im_device *dev) { return im_cuda_of(dev)->tensor_cores != 0; }

im_cuda_cores im_cuda_mma(const im_device *dev, int slot, im_dtype half)
{
    const im_cuda *d = im_cuda_of(dev);
    if (!d->tensor_cores || d->plain >> slot & 1)
        return IM_CUDA_NO_CORES;
    if (d->tensor_cores < 80)
        return half == IM_F16 ? IM_CUDA_F16_75 : IM_CUDA_NO_CORES;
    return half == IM_F16 ? IM_CUDA_F16 : IM_CUDA_BF16;
}

void im_cuda_keep_plain(im_device *dev, uint64_t slots) { im_cuda_of(dev)->plain |= slots; }
uint64_t im_cuda_kept_plain(const im_device *dev) { return im_cuda_of(dev)->plain; }
im_ctx *im_cuda_context(const im_device *dev) { return im_cuda_of(dev)->ctx; }

int im_cuda_done(im_device *dev, int failed)
{
    im_cuda *d = im_cuda_of(dev);
    if (!failed)
        return IM_DONE;
    im_fail(d->ctx, "device %s: %s", dev->name, im_cu_failed(d->cu));
    return IM_NO_KERNEL;
}

void *im_cuda_workspace(im_device *dev, size_t bytes)
{
    im_cuda *d = im_cuda_of(dev);
    if (bytes <= d->space_bytes)
        return d->space;
    size_t more = bytes < 2 * d->space_bytes ? 2 * d->space_bytes : bytes;
    void *p = d->n_old < SPACES ? im_cu_lasting(d->cu, more) : NULL;
    if (!p) {
        d->refused = more;
        return NULL;
    }
    d->old_bytes += d->space_bytes;
    if (d->space)
        d->old_spaces[d->n_old++] = d->space;
    d->space = p;
    d->space_bytes = more;
    return p;
}

/* ---------------------------------------------------------------- memory */

static void *cuda_alloc(im_device *dev, size_t bytes)
{
    im_cuda *d = im_cuda_of(dev);
    void *p = d->held.on ? NULL : im_cu_alloc(d->cu, bytes);
    if (!p && !d->planning)                                    /* a plan is launched again: it may not borrow          */
        p = im_held_alloc(&d->held, bytes);
    d->refused = p ? d->refused : bytes;
    return p;
}

static void in_words(size_t bytes, char text[24])
{
    bool large = bytes >= 10u << 20;
    snprintf(text, 24, large ? "%.0f MiB" : "%.2f MiB", (double)bytes / (1 << 20));
}

/* What was wanted, what is free, who has the rest: tensor.c, param.c and plan.c count theirs, this file the workspace. */
static void cuda_memory(im_device *dev, char *text, size_t size)
{
    enum { WANTED, FREE, ALL, TENSORS, PARAMETERS, PLANS, SPACE, STEPS, OTHERS, WORDS };
    im_cuda *d = im_cuda_of(dev);
    char words[WORDS][24];
    size_t n[WORDS] = { [WANTED] = d->refused, [TENSORS] = dev->held[IM_HELD_TENSORS],
                        [PARAMETERS] = dev->held[IM_HELD_PARAMETERS], [PLANS] = dev->held[IM_HELD_PLANS],
                        [SPACE] = d->space_bytes + d->old_bytes, [STEPS] = im_held_idle(&d->held) };
    im_cu_memory(d->cu, &n[FREE], &n[ALL]);
    size_t known = n[FREE] + n[TENSORS] + n[PARAMETERS] + n[PLANS] + n[SPACE] + n[STEPS];
    n[OTHERS] = n[ALL] > known ? n[ALL] - known : 0;
    for (int i = 0; i < WORDS; i++)
        in_words(n[i], words[i]);
    snprintf(text, size, "Device %s: %s were wanted, %s of %s are free; parameters have %s, plans %s, other tensors %s, "
             "workspace of kernels %s, %s are kept for steps, CUDA itself and other programs %s", dev->name, words[WANTED],
             words[FREE], words[ALL], words[PARAMETERS], words[PLANS], words[TENSORS], words[SPACE], words[STEPS],
             words[OTHERS]);
}

static void cuda_free(im_device *dev, void *p, size_t bytes)
{
    im_cuda *d = im_cuda_of(dev);
    if (!im_held_free(&d->held, p, bytes))
        im_cu_free(d->cu, p);
}

static int cuda_fill(im_device *dev, void *dst, uint32_t word, size_t bytes)
{
    return bytes ? im_cuda_done(dev, im_cu_fill(im_cuda_of(dev)->cu, dst, word, bytes)) : IM_DONE;
}

static int cuda_copy(im_device *dev, void *dst, const void *src, size_t bytes)
{
    return bytes ? im_cuda_done(dev, im_cu_move(im_cuda_of(dev)->cu, dst, src, bytes)) : IM_DONE;
}

/* ---------------------------------------------------------------- to and fro */

/* What is captured goes off, and the marks behind it are events. */
static int hand_over(im_cuda *d)
{
    int failed = im_held_flush(&d->held);
    while (d->recorded < d->marked)
        im_cu_event_record(d->cu, d->marks[++d->recorded % MARKS]);
    return failed;
}

static int cuda_upload(im_device *dev, void *dst, const void *src, size_t bytes)
{
    im_cuda *d = im_cuda_of(dev);
    char *staged = d->held.capturing ? im_held_staging(&d->held, bytes) : NULL;
    if (staged) {
        memcpy(staged, src, bytes);
        return im_cuda_done(dev, im_cu_to_device(d->cu, dst, staged, bytes));
    }
    int failed = hand_over(d);
    for (size_t at = 0; at < bytes && !failed; at += HALF) {
        size_t n = bytes - at < HALF ? bytes - at : HALF;
        failed = im_cu_event_wait(d->cu, d->up_done[d->half]);
        if (failed)
            break;
        memcpy(d->up[d->half], (const char *)src + at, n);
        failed = im_cu_to_device(d->cu, (char *)dst + at, d->up[d->half], n) ||
                 im_cu_event_record(d->cu, d->up_done[d->half]);
        d->half ^= 1;
    }
    return im_cuda_done(dev, failed);
}

static uint64_t cuda_mark(im_device *dev)
{
    im_cuda *d = im_cuda_of(dev);
    d->marked++;
    if (!d->held.capturing)
        hand_over(d);
    return d->marked;
}

static int cuda_wait(im_device *dev, uint64_t mark)
{
    im_cuda *d = im_cuda_of(dev);
    if (mark > d->recorded && hand_over(d))
        return im_cuda_done(dev, 1);
    if (mark > d->happened) {
        uint64_t known = d->marked - mark < MARKS ? mark : d->marked - MARKS + 1;        /* its event was used again  */
        if (im_cu_event_wait(d->cu, d->marks[known % MARKS]))
            return im_cuda_done(dev, 1);
        d->happened = known;
    }
    int n = 0;
    for (; n < d->n_arrivals && d->arrivals[n].mark <= d->happened; n++)
        memcpy(d->arrivals[n].dst, d->arrivals[n].from, d->arrivals[n].bytes);
    d->n_arrivals -= n;
    memmove(d->arrivals, d->arrivals + n, (size_t)d->n_arrivals * sizeof *d->arrivals);
    if (!d->n_arrivals)
        d->down_used = 0;
    return IM_DONE;
}

static bool room_for_arrival(im_cuda *d)
{
    if (d->n_arrivals < d->cap_arrivals)
        return true;
    int cap = d->cap_arrivals ? 2 * d->cap_arrivals : 16;
    arrival *v = realloc(d->arrivals, (size_t)cap * sizeof *v);
    if (!v)
        return false;
    d->arrivals = v;
    d->cap_arrivals = cap;
    return true;
}

static int cuda_download(im_device *dev, void *dst, const void *src, size_t bytes)
{
    im_cuda *d = im_cuda_of(dev);
    for (size_t at = 0, n; at < bytes; at += n) {
        if (d->down_used == HALF && cuda_wait(dev, cuda_mark(dev)))
            return IM_NO_KERNEL;
        n = bytes - at < HALF - d->down_used ? bytes - at : HALF - d->down_used;
        if (!room_for_arrival(d))
            return IM_NO_MEMORY;
        char *to = d->down + d->down_used;
        if (im_cu_to_host(d->cu, to, (const char *)src + at, n))
            return im_cuda_done(dev, 1);
        d->arrivals[d->n_arrivals++] = (arrival){ (char *)dst + at, to, n, d->marked + 1 };
        d->down_used += n;
    }
    return IM_DONE;
}

/* As it is into memory of the device, where a kernel turns and converts it. */
static int cuda_load(im_device *dev, const im_pack_args *p)
{
    size_t bytes = (size_t)p->n * (size_t)p->taps * (size_t)p->cin * im_dtype_size(p->src_dtype);
    if (p->src_dtype == p->dtype && p->taps == 1)
        return cuda_upload(dev, p->dst, p->src, bytes);
    void *raw = cuda_alloc(dev, bytes);
    if (!raw)
        return IM_NO_MEMORY;
    int status = cuda_upload(dev, raw, p->src, bytes);
    status = status ? status : im_cuda_convert(dev, p, raw);
    cuda_free(dev, raw, bytes);
    return status;
}

/* ---------------------------------------------------------------- plans */

static int cuda_plan_begin(im_device *dev, void **captured, bool *run)
{
    im_cuda *d = im_cuda_of(dev);
    *run = d->held.on || !*captured;
    if (d->held.on)                                            /* within work that is held back: a part of that        */
        return IM_DONE;
    if (*captured)
        return im_cuda_done(dev, im_cu_graph_launch(d->cu, *captured));
    d->planning = true;
    return im_cuda_done(dev, im_cu_capture_begin(d->cu));
}

static int cuda_plan_end(im_device *dev, void **captured, bool ok)
{
    im_cuda *d = im_cuda_of(dev);
    if (d->held.on)
        return IM_DONE;
    void *graph = im_cu_capture_end(d->cu);
    d->planning = false;
    if (!ok || !graph) {
        im_cu_graph_free(d->cu, graph);
        return im_cuda_done(dev, ok);
    }
    *captured = graph;
    return im_cuda_done(dev, im_cu_graph_launch(d->cu, graph));
}

static void cuda_plan_free(im_device *dev, void *captured)
{
    if (captured)
        im_cu_graph_free(im_cuda_of(dev)->cu, captured);
}

static int cuda_hold(im_device *dev)
{
    return im_cuda_done(dev, im_held_begin(&im_cuda_of(dev)->held));
}

static int cuda_hand_over(im_device *dev, bool ok)
{
    im_cuda *d = im_cuda_of(dev);
    int failed = im_held_end(&d->held, ok);
    return im_cuda_done(dev, hand_over(d) || failed);
}

/* ---------------------------------------------------------------- opening */

static const char *cuda_product(const im_device *dev, im_dtype weights)
{
    bool rounded = weights == IM_F32 && dev->compute_dtype == IM_BF16;
    im_cuda_cores cores = im_cuda_mma(dev, IM_CUDA_SLOT_gemm, weights == IM_F16 ? IM_F16 : IM_BF16);
    if (weights == IM_F32 && !rounded)
        return "f32 multiply-adds";
    if (cores)
        return "tensor cores with f32 sums; both factors are rounded to the weights' 16 bits";
    return rounded ? "both factors rounded to bf16, then f32 multiply-adds" : "widened to f32, then f32 multiply-adds";
}

static void cuda_about(im_device *dev, char *text, size_t size)
{
    im_cu *cu = im_cuda_of(dev)->cu;
    size_t available, total;
    char words[2][24];
    int driver = im_cu_driver(cu), devices = im_cu_count();
    im_cu_memory(cu, &available, &total);
    in_words(available, words[0]);
    in_words(total, words[1]);
    snprintf(text, size, "this build has code for %s; driver %d.%d; %d device%s; %s of %s are free", im_cu_code(),
             driver / 1000, driver % 1000 / 10, devices, devices == 1 ? "" : "s", words[0], words[1]);
}

static int cuda_check(im_device *dev, void (*row)(void *arg, const im_check_row *), void *arg)
{
    return im_cuda_check(dev, -1, row, arg);
}

static void cuda_close(im_device *dev)
{
    im_cuda *d = im_cuda_of(dev);
    for (int i = 0; i < 2; i++) {
        im_cu_unpin(d->cu, d->up[i]);
        im_cu_event_free(d->cu, d->up_done[i]);
    }
    im_cu_unpin(d->cu, d->down);
    for (int i = 0; i < MARKS; i++)
        im_cu_event_free(d->cu, d->marks[i]);
    for (int i = 0; i < d->n_old; i++)
        im_cu_lasting_free(d->cu, d->old_spaces[i]);
    im_cu_lasting_free(d->cu, d->space);
    im_held_close(&d->held);
    im_cu_close(d->cu);
    free(d->arrivals);
    free(d);
}

/* Pinned memory and events; false: out of memory. */
static bool set_up(im_cuda *d)
{
    bool all = (d->down = im_cu_pinned(d->cu, HALF)) != NULL && im_held_open(&d->held, d->cu);
    for (int i = 0; i < 2; i++)
        all = all && (d->up[i] = im_cu_pinned(d->cu, HALF)) && (d->up_done[i] = im_cu_event_new(d->cu));
    for (int i = 0; i < MARKS; i++)
        all = all && (d->marks[i] = im_cu_event_new(d->cu));
    return all;
}

/* IMAGO_CUDA: "plain" keeps products off the tensor cores; IMAGO_WINOGRAD: as on the cpu. */
static bool read_choices(im_ctx *c, im_cuda *d)
{
    const char *path = getenv("IMAGO_CUDA");
    bool plain = path && !strcmp(path, "plain");
    if (path && *path && !plain)
        return im_fail(c, "IMAGO_CUDA is \"%s\"; wanted plain (no tensor cores), or nothing", path);
    d->tensor_cores = plain ? 0 : im_cu_capability(d->cu) >= 80 ? 80 : 75;
    const char *text = getenv("IMAGO_WINOGRAD");
    bool given = text && *text, good = given && *text >= '0' && *text <= '2' && !text[1];
    d->winograd = good ? *text - '0' : 1;
    return !given || good || im_fail(c, "IMAGO_WINOGRAD is \"%s\"; wanted 0 (never), 1 (where it pays) or 2 (in every 3x3 "
                                     "convolution)", text);
}

/* "cuda" where several processes were started on this machine: each its own device, as far as they go. */
static int own_device(void)
{
    static const char *const ranks[] = { "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID", "LOCAL_RANK" };
    int devices = im_cu_count();
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks && devices > 0; i++) {
        const char *text = getenv(ranks[i]);
        if (text && *text >= '0' && *text <= '9')
            return (int)(strtoul(text, NULL, 10) % (unsigned)devices);
    }
    return 0;
}

/* -1: something else than a number stands behind the colon. */
static int index_of(const char *name)
{
    if (!name[4])
        return own_device();
    const char *digits = name + 5;
    int n = 0;
    for (const char *p = digits; *p; p++)
        if (*p < '0' || *p > '9' || (n = 10 * n + *p - '0') > 1023)
            return -1;
    return *digits ? n : -1;
}

bool im_cuda_open(im_ctx *c, im_device *dev, const char *name)
{
    char why[300] = "";
    int index = index_of(name);
    if (index < 0)
        return im_fail(c, "device \"%s\": wanted cuda, or cuda:N with the number of a device", name);
    im_cuda *d = calloc(1, sizeof *d);
    if (!d)
        return im_fail(c, "out of memory while opening the device \"%s\"", name);
    if (!(d->cu = im_cu_open(index, why, sizeof why))) {
        free(d);
        return im_fail(c, "device \"%s\": %s; use --device cpu", name, why);
    }
    d->ctx = c;
    dev->impl = d;
    dev->s = (im_services){
        .alloc = cuda_alloc, .free = cuda_free, .upload = cuda_upload, .weight_bytes = im_weight_bytes,
        .weight_as_is = im_weight_as_is, .load = cuda_load, .download = cuda_download,
        .fill = cuda_fill, .copy = cuda_copy, .mark = cuda_mark, .wait = cuda_wait, .plan_begin = cuda_plan_begin,
        .plan_end = cuda_plan_end, .plan_free = cuda_plan_free, .hold = cuda_hold, .hand_over = cuda_hand_over,
        .product = cuda_product, .memory = cuda_memory,
        .about = cuda_about, .check = cuda_check, .close = cuda_close };
    dev->name = "cuda";
    snprintf(dev->place, sizeof dev->place, "cuda:%d", index);
    dev->isa = im_cu_name(d->cu);
#define X(slot) dev->k.slot = im_cuda_##slot;
    IM_KERNELS(X)
#undef X
    return read_choices(c, d) &&
           (set_up(d) || im_fail(c, "device \"%s\": out of pinned memory: %d MiB are needed", name, 3 * HALF >> 20)) &&
           im_cuda_check_first(dev);
}
