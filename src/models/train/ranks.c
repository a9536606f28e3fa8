/* ranks.c: processes that train together: coming, going, and the few patterns by which they exchange bytes (ranks.h). Used
 * by step_parts.c, train_loop.c and the trainings. */
#include "models/train/ranks.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "data/files/sha256.h"
#include "models/train/rank_mpi.h"
#include "models/train/rank_watch.h"

/* A partner that computes is asked for now and then; one that exchanges answers at once. */
static const double EAGER = 0.02;                              /* s                                                    */
static const long BETWEEN = 200000;                            /* ns                                                   */
enum { MESSAGE = 1 << 26, SHARE = 1 << 20 };                   /* bytes at once; floats of a rank's share of a round   */

struct im_rank_name { char host[64]; int64_t pid; char text[128]; };

/* ---------------------------------------------------------------- what is wrong */

const char *im_ranks_name(const im_ranks *r, int rank)
{
    return r->names && rank >= 0 && rank < r->size ? r->names[rank].text : "a rank";
}

bool im_ranks_by_turns(const im_ranks *r)
{
    return r->mpi && im_mpi_by_turns(r->mpi);
}

static bool lost(const im_ranks *r)
{
    bool failed;
    return im_rank_watch_lost(r->watch, &failed) >= 0;
}

/* In the place of whatever the context says because of it. */
static bool say_lost(im_ranks *r)
{
    bool failed;
    int rank = im_rank_watch_lost(r->watch, &failed);
    if (rank < 0)
        return im_ok(r->c);
    im_clear_error(r->c);
    return failed ? im_fail(r->c, "%s has failed, and says why itself; this rank stops with it", im_ranks_name(r, rank))
                  : im_fail(r->c, "%s is gone: its process has ended, or its machine cannot be reached; this rank stops; "
                            "--resume goes on from the last checkpoint, with another number of ranks as well",
                            im_ranks_name(r, rank));
}

/* ---------------------------------------------------------------- two ranks */

static bool finished(im_ranks *r, im_mpi_request *q, int n, bool done[])
{
    for (int i = 0; i < n; i++)
        if (!done[i] && !im_mpi_done(r->mpi, &q[i], &done[i]))
            return im_fail(r->c, "MPI has lost a message between ranks");
    return true;
}

/* Until both have arrived. */
static bool wait_for(im_ranks *r, im_mpi_request q[2], bool done[2])
{
    double begun = im_seconds();
    while (finished(r, q, 2, done)) {
        if (done[0] && done[1])
            return true;
        if (lost(r))
            return say_lost(r);
        if (im_cancelled(r->c))
            return im_fail(r->c, "stopped");
        if (im_seconds() - begun < EAGER)
            sched_yield();
        else
            nanosleep(&(struct timespec){ .tv_nsec = BETWEEN }, NULL);
    }
    return false;
}

/* Sends n bytes to one rank while m come from another (each may be the same one, or -1: nobody). */
static bool swap(im_ranks *r, int to, const void *out, size_t n, int from, void *in, size_t m)
{
    for (size_t at = 0; im_ok(r->c) && at < (n > m ? n : m); at += MESSAGE) {
        size_t left = n > at ? n - at : 0, due = m > at ? m - at : 0;
        im_mpi_request q[2] = { { 0 }, { 0 } };
        bool done[2] = { from < 0 || !due, to < 0 || !left };
        if ((!done[0] && !im_mpi_receive(r->mpi, (char *)in + at, due < MESSAGE ? (int)due : MESSAGE, from, &q[0])) ||
            (!done[1] && !im_mpi_send(r->mpi, (const char *)out + at, left < MESSAGE ? (int)left : MESSAGE, to, &q[1])))
            return im_fail(r->c, "MPI takes no message between ranks");
        r->sent += done[1] ? 0 : left < MESSAGE ? left : MESSAGE;
        wait_for(r, q, done);
    }
    return im_ok(r->c);
}

/* ---------------------------------------------------------------- all ranks */

/* In turn d every rank sends d places up and receives from d places down: nobody waits for a third. */
bool im_ranks_share(im_ranks *r, void *blocks, size_t bytes)
{
    char *b = blocks;
    for (int d = 1; d < r->size; d++) {
        int to = (r->rank + d) % r->size, from = (r->rank - d + r->size) % r->size;
        if (!swap(r, to, b + (size_t)r->rank * bytes, bytes, from, b + (size_t)from * bytes, bytes))
            return false;
    }
    return im_ok(r->c);
}

/* Down a binomial tree: who has it passes it on to the rank `step` above. */
bool im_ranks_tell(im_ranks *r, void *v, size_t bytes)
{
    int top = 1;
    while (top < r->size)
        top *= 2;
    for (int step = top / 2; step > 0 && im_ok(r->c); step /= 2) {
        if (r->rank % (2 * step) == 0 && r->rank + step < r->size)
            swap(r, r->rank + step, v, bytes, -1, NULL, 0);
        else if (r->rank % (2 * step) == step)
            swap(r, -1, NULL, 0, r->rank - step, v, bytes);
    }
    return im_ok(r->c);
}

bool im_ranks_agree(im_ranks *r, const char *complaint)
{
    enum { MOST = 1024 };
    if (r->size == 1)
        return !complaint || !*complaint || im_fail(r->c, "%s", complaint);
    char *all = calloc((size_t)r->size, MOST);
    if (!all)
        return im_fail(r->c, "out of memory for the words of %d ranks", r->size);
    snprintf(all + (size_t)r->rank * MOST, MOST, "%s", complaint ? complaint : "");
    bool ok = im_ranks_share(r, all, MOST);
    for (int i = 0; ok && i < r->size; i++)
        if (all[(size_t)i * MOST]) {
            im_ranks_rest(r);
            ok = im_fail(r->c, "%s %.*s", im_ranks_name(r, i), MOST - 1, all + (size_t)i * MOST);
        }
    free(all);
    return ok;
}

/* slot (size, n): the pairwise tree, left in slot 0. */
static void sum_slots(float *slot, int size, int64_t n)
{
    for (int step = 1; step < size; step *= 2)
        for (int i = 0; i + step < size; i += 2 * step) {
            float *a = slot + i * n;
            const float *b = slot + (i + step) * n;
            for (int64_t k = 0; k < n; k++)
                a[k] = a[k] + b[k];
        }
}

static int64_t begin_of(int64_t n, int size, int rank)
{
    return n * rank / size;
}

/* A round: n floats of v, of which every rank sums its share. slot: room for (size, share). */
static bool sum_round(im_ranks *r, float *v, int64_t n, float *slot)
{
    int size = r->size;
    int64_t mine = begin_of(n, size, r->rank), share = begin_of(n, size, r->rank + 1) - mine;
    memcpy(slot + r->rank * share, v + mine, (size_t)share * sizeof *v);
    for (int pass = 0; pass < 2; pass++) {
        for (int d = 1; d < size; d++) {
            int to = (r->rank + d) % size, from = (r->rank - d + size) % size;
            int64_t theirs = begin_of(n, size, to), left = begin_of(n, size, to + 1) - theirs;
            int64_t hers = begin_of(n, size, from), right = begin_of(n, size, from + 1) - hers;
            size_t own = (size_t)share * sizeof *v;
            if (pass ? !swap(r, to, v + mine, own, from, v + hers, (size_t)right * sizeof *v)
                     : !swap(r, to, v + theirs, (size_t)left * sizeof *v, from, slot + from * share, own))
                return false;
        }
        if (!pass) {
            sum_slots(slot, size, share);
            memcpy(v + mine, slot, (size_t)share * sizeof *v);
        }
    }
    return true;
}

bool im_ranks_sum(im_ranks *r, float *v, int64_t n)
{
    if (r->size == 1 || !im_ok(r->c))
        return im_ok(r->c);
    int64_t round = (int64_t)r->size * SHARE < n ? (int64_t)r->size * SHARE : n;
    float *slot = malloc(((size_t)round + (size_t)r->size) * sizeof *slot);
    bool ok = slot || im_fail(r->c, "out of memory for gradients of %d ranks", r->size);
    for (int64_t at = 0; ok && at < n; at += round)
        ok = sum_round(r, v + at, n - at < round ? n - at : round, slot);
    free(slot);
    return ok;
}

bool im_ranks_same_program(im_ranks *r)
{
    char own[65] = "", theirs[65], complaint[200] = "";
    if (r->size == 1)
        return im_ok(r->c);
    bool ok = im_sha256_file(r->c, "/proc/self/exe", own);
    memcpy(theirs, own, sizeof own);
    ok = ok && im_ranks_tell(r, theirs, sizeof theirs);
    if (ok && strcmp(own, theirs))
        snprintf(complaint, sizeof complaint, "runs another program than rank 0: imago %s of SHA-256 %.12s.., and that of "
                 "rank 0 has %.12s..; wanted the same file on all machines", IM_VERSION, own, theirs);
    return ok && im_ranks_agree(r, complaint);
}

/* ---------------------------------------------------------------- coming and going */

static bool learn_names(im_ranks *r)
{
    struct im_rank_name *own = &r->names[r->rank];
    own->pid = (int64_t)getpid();
    if (gethostname(own->host, sizeof own->host - 1))
        snprintf(own->host, sizeof own->host, "unknown");
    snprintf(own->text, sizeof own->text, "rank %d (%s, process %lld)", r->rank, own->host, (long long)own->pid);
    return im_ranks_share(r, r->names, sizeof *r->names);
}

/* TCP connections with rank 0, whose address goes round by MPI. */
static bool watch(im_ranks *r)
{
    im_rank_watch_place place = { .port = 0 };
    r->watch = im_rank_watch_new(r->c, r->rank, r->size);
    return r->watch && (r->rank || im_rank_watch_listen(r->watch, &place)) && im_ranks_tell(r, &place, sizeof place) &&
           im_rank_watch_meet(r->watch, &place);
}

bool im_ranks_join(im_ctx *c, im_ranks *r)
{
    im_launched by = im_launched_by();
    *r = (im_ranks){ .c = c, .size = 1 };
    if (!im_ok(c) || by.size == 1)
        return im_ok(c);
    if (by.no_mpi)
        return im_fail(c, "srun has started %d tasks that cannot speak to each other; wanted srun --mpi=pmix (or pmi2) for "
                       "one training of %d ranks, -n 1, or IMAGO_MPI=none for trainings that have nothing to do with each "
                       "other", by.size, by.size);
    if (!(r->mpi = im_mpi_start(c, &by, &r->rank, &r->size)))
        return false;
    r->names = calloc((size_t)r->size, sizeof *r->names);
    if (!r->names)
        return im_fail(c, "out of memory for the names of %d ranks", r->size);
    return r->size == 1 || (learn_names(r) && watch(r));
}

int im_train_rank(void)
{
    return im_launched_by().rank;
}

void im_ranks_rest(im_ranks *r)
{
    im_rank_watch_rest(r->watch);
}

void im_ranks_leave(im_ranks *r)
{
    if (im_ok(r->c) || !strcmp(im_error(r->c), "stopped"))
        say_lost(r);
    bool ok = im_ok(r->c);
    im_rank_watch_free(r->watch, ok);
    im_mpi_end(r->mpi, ok);
    free(r->names);
    *r = (im_ranks){ .c = r->c, .size = 1 };
}
