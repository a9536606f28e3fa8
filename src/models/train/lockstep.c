/* lockstep.c: see lockstep.h. A part runs on a stack of its own (makecontext, POSIX.1-2001; Conway 1963 has the idea),
 * which it leaves in `share` and at its end, always for im_lockstep_run, which goes round:
 *
 *     run        part 0 .. to its norm i     part 1 .. to its norm i     ...    all wait
 *     ranks      what the parts of other ranks have comes in
 *     run        part 0 .. to its norm i+1   part 1 .. to its norm i+1   ...    and so on, until all have ended
 *
 * While part 0 is on its way to norm i+1, part 1 has not read the values of norm i yet: there are two rooms for them. */
#define _GNU_SOURCE
#include "models/train/lockstep.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

typedef enum { RUNS, WAITS, HAS_ENDED } state;

typedef struct im_fiber {
    ucontext_t here, back;
    void *stack;
    im_flow *flow;                                             /* what of the context is its own, while it is away    */
    im_tensor **grad; uint8_t *set;                            /* (n): its gradients, while it is away                */
    state state;
    int64_t met;                                               /* norms so far                                        */
    bool ok;
} im_fiber;

enum { PAGE = 1 << 16 };
static const size_t stack_bytes = 8u << 20;                    /* as a thread has; pages come when they are touched   */

/* ---------------------------------------------------------------- from one part to another */

static void change_places(im_lockstep *l, im_fiber *f)
{
    im_flow_swap(l->c, f->flow);
    for (int i = 0; i < l->n; i++) {
        im_tensor *w = l->w[i], *grad = w->grad;
        uint8_t set = w->grad_set;
        w->grad = f->grad[i];
        w->grad_set = f->set[i];
        f->grad[i] = grad;
        f->set[i] = set;
    }
}

static void go_on(im_lockstep *l, int k)
{
    im_fiber *f = &l->fibers[k];
    l->running = k;
    f->state = RUNS;
    change_places(l, f);
    swapcontext(&f->back, &f->here);
    change_places(l, f);
}

/* makecontext hands over ints: a pointer goes as two of them. */
static void begin(unsigned high, unsigned low)
{
    im_lockstep *l = (im_lockstep *)(uintptr_t)((uint64_t)high << 32 | low);
    im_fiber *f = &l->fibers[l->running];
    f->ok = l->part(l->arg, l->first + l->running);
    f->state = HAS_ENDED;
    swapcontext(&f->here, &f->back);                           /* for good                                            */
}

static const double *share(void *arg, const double *own, int64_t n)
{
    im_lockstep *l = arg;
    im_fiber *f = &l->fibers[l->running];
    int room = (int)(f->met & 1);
    if (f->met == l->met) {                                    /* the first to come here                              */
        l->met++;
        l->count = n;
        if (l->shared[room].cap < n * l->parts) {
            free(l->shared[room].v);
            l->shared[room].v = malloc((size_t)(n * l->parts) * sizeof *own);
            l->shared[room].cap = l->shared[room].v ? n * l->parts : 0;
        }
    }
    if (!l->shared[room].v)
        im_fail(l->c, "out of memory for the statistics of batch norms");
    else if (n != l->count)
        im_fail(l->c, "part %d of a step has %lld numbers in a batch norm where the part before has %lld; wanted the same "
                "calls in every part", l->first + l->running, (long long)n, (long long)l->count);
    else
        memcpy(l->shared[room].v + n * (l->first + l->running), own, (size_t)n * sizeof *own);
    f->met++;
    f->state = WAITS;
    swapcontext(&f->here, &f->back);
    return im_ok(l->c) ? l->shared[room].v : NULL;
}

/* The running statistics are the same on every rank: one part of each moves them. */
static bool moves(void *arg)
{
    return ((im_lockstep *)arg)->running == 0;
}

/* ---------------------------------------------------------------- a step */

static bool prepare(im_lockstep *l, int k)
{
    im_fiber *f = &l->fibers[k];
    uint64_t self = (uint64_t)(uintptr_t)l;
    f->met = 0;
    f->ok = false;
    if (!(f->flow = im_flow_new(l->c)) || getcontext(&f->here))
        return im_ok(l->c) && im_fail(l->c, "a part of a step could not be given a stack");
    f->here.uc_stack.ss_sp = (char *)f->stack + PAGE;
    f->here.uc_stack.ss_size = stack_bytes - PAGE;
    f->here.uc_link = NULL;
    makecontext(&f->here, (void (*)(void))begin, 2, (unsigned)(self >> 32), (unsigned)self);
    return true;
}

/* Parts that are waiting; all of them do, or none. */
static int waiting(im_lockstep *l)
{
    int n = 0;
    for (int k = 0; k < l->mine; k++)
        n += l->fibers[k].state == WAITS;
    if (n && n < l->mine && im_ok(l->c))
        im_fail(l->c, "%d of %d parts of a step have a batch norm that the others have not; wanted the same calls in every "
                "part", n, l->mine);
    return n;
}

bool im_lockstep_run(im_lockstep *l, bool (*part)(void *arg, int k), bool (*end)(void *arg, int k), void *arg)
{
    bool ok = true;
    l->part = part;
    l->arg = arg;
    l->met = 0;
    for (int k = 0; ok && k < l->mine; k++)
        ok = prepare(l, k);
    if (ok) {
        change_places(l, &l->fibers[l->mine - 1]);             /* the gradients of the step before are those of its last */
        im_norms_over_parts(l->c, &l->norms);                  /* part, which has none else                           */
    }
    for (int k = 0; ok && k < l->mine; k++)
        go_on(l, k);
    while (ok && waiting(l)) {                                 /* after a failure they come back from `share` and end */
        if (im_ok(l->c))
            im_ranks_share(l->ranks, l->shared[(l->met - 1) & 1].v, (size_t)(l->count * l->mine) * sizeof(double));
        for (int k = 0; k < l->mine; k++)
            if (l->fibers[k].state == WAITS)
                go_on(l, k);
    }
    im_norms_over_parts(l->c, NULL);
    for (int k = 0; k < l->mine; k++) {
        im_fiber *f = &l->fibers[k];
        if (ok && k)
            change_places(l, &l->fibers[k - 1]);               /* the gradients of the one before go back             */
        if (ok)
            change_places(l, f);
        ok = ok && f->ok && im_ok(l->c) && end(arg, l->first + k);
    }
    for (int k = 0; k < l->mine; k++) {
        im_flow_free(l->fibers[k].flow);
        l->fibers[k].flow = NULL;
    }
    return ok;
}

/* ---------------------------------------------------------------- opening */

bool im_lockstep_open(im_lockstep *l, im_ranks *ranks, im_tensor *const *w, int n, int first, int mine, int parts)
{
    im_ctx *c = ranks->c;
    *l = (im_lockstep){ .c = c, .ranks = ranks, .w = w, .n = n, .first = first, .mine = mine, .parts = parts };
    l->norms = (im_norm_parts){ .parts = parts, .share = share, .moves = moves, .arg = l };
    l->fibers = calloc((size_t)mine, sizeof *l->fibers);
    bool ok = l->fibers != NULL;
    for (int k = 0; ok && k < mine; k++) {
        im_fiber *f = &l->fibers[k];
        f->grad = calloc((size_t)n + 1, sizeof(im_tensor *));
        f->set = calloc((size_t)n + 1, 1);
        void *stack = mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        f->stack = stack == MAP_FAILED ? NULL : stack;
        ok = f->grad && f->set && f->stack && !mprotect(f->stack, PAGE, PROT_NONE);        /* what runs over ends there */
    }
    return ok || im_fail(c, "out of memory for the %d parts of a step that run side by side", mine);
}

void im_lockstep_close(im_lockstep *l)
{
    for (int k = 0; l->fibers && k < l->mine; k++) {
        im_fiber *f = &l->fibers[k];
        for (int i = 0; f->grad && i < l->n; i++)
            im_param_free(l->c, f->grad[i]);
        free(f->grad);
        free(f->set);
        if (f->stack)
            munmap(f->stack, stack_bytes);
    }
    free(l->fibers);
    free(l->shared[0].v);
    free(l->shared[1].v);
    *l = (im_lockstep){ .c = l->c };
}
