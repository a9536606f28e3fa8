/* step_parts.c: see step_parts.h. What ranks exchange in a step: one block each, of counts, what the ledger has of their
 * parts, and statistics of batch norms; then the gradients (im_ranks_sum). */
#include "models/train/step_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct head {                                          /* a block: head, im_step_part (mine), seen            */
    int64_t step, floats, seen, pictures, judged;
    double norm;                                               /* of the step before: the same everywhere             */
    int64_t stop;
} head;

bool im_step_parts_check(im_ctx *c, int parts, int ranks)
{
    int each = parts / ranks;
    if (ranks == 1 || (parts % ranks == 0 && each > 0 && !(each & (each - 1))))
        return true;
    return im_fail(c, "--accumulate %d on %d ranks: the parts of a step are summed by a tree, of which every rank computes "
                   "a branch of 1, 2, 4, 8 .. parts; wanted --accumulate %d, %d, %d .., or another number of ranks", parts,
                   ranks, ranks, 2 * ranks, 4 * ranks);
}

bool im_step_parts_open(im_step_parts *p, im_ranks *ranks, im_optimiser *o, int parts, bool together)
{
    im_ctx *c = ranks->c;
    *p = (im_step_parts){ .c = c, .ranks = ranks, .optimiser = o, .parts = parts, .mine = parts / ranks->size,
                          .first = parts / ranks->size * ranks->rank };
    if (!im_ok(c) || !(p->w = im_optimiser_weights(o, &p->n)) || !(p->tree = im_grad_tree_new(c, p->w, p->n)))
        return false;
    p->together = together && parts > 1;
    if (p->together && !im_lockstep_open(&p->lockstep, ranks, p->w, p->n, p->first, p->mine, parts))
        return false;
    if (ranks->size == 1)
        return true;
    size_t floats = 1;
    for (int i = 0; i < p->n; i++)
        floats += (size_t)im_numel(p->w[i]);
    p->log = p->together ? NULL : im_norm_log_new(c);
    p->flat = malloc(floats * sizeof *p->flat);
    if (!im_ok(c) || (!p->flat && !im_fail(c, "out of memory for the gradients that ranks exchange")))
        return false;
    if (p->mine == 1 && !p->together && im_ranks_by_turns(ranks))
        p->overlap = im_overlap_new(ranks, p->w, p->n, p->flat);
    return im_ok(c);
}

void im_step_parts_close(im_step_parts *p)
{
    if (p->together)
        im_lockstep_close(&p->lockstep);
    im_overlap_free(p->overlap);
    im_grad_tree_free(p->tree);
    im_norm_log_free(p->log);
    free(p->seen);
    free(p->flat);
    free(p->w);
}

/* ---------------------------------------------------------------- a part */

static bool run_part(void *arg, int k)
{
    im_step_parts *p = arg;
    im_optimiser_zero(p->optimiser);
    if (p->overlap && !im_overlap_begin(p->overlap))
        return false;
    return (!p->log || im_norm_log_open(p->c, p->log)) && p->part(p->arg, k);
}

static bool keep_seen(im_step_parts *p, int k)
{
    im_norm_log_close(p->c);
    int64_t n = im_norm_log_count(p->log);
    double *v = n ? im_norm_log_values(p->c, p->log) : NULL;
    if (!n)
        return im_ok(p->c);
    if (!p->seen && !(p->seen = malloc((size_t)(n * p->mine) * sizeof *p->seen)))
        im_fail(p->c, "out of memory for the statistics of batch norms");
    p->seen_a_part = n;
    if (v && p->seen)
        memcpy(p->seen + (k - p->first) * n, v, (size_t)n * sizeof *v);
    free(v);
    return im_ok(p->c);
}

/* The last part of the step has the norm of the sum, noted in im_step_parts_join. */
static bool end_part(void *arg, int k)
{
    im_step_parts *p = arg;
    return (!p->log || keep_seen(p, k)) && (k + 1 == p->parts || im_optimiser_note(p->optimiser, p->ledger, k)) &&
           im_grad_tree_add(p->tree, k - p->first, p->mine);
}

bool im_step_parts_run(im_step_parts *p, im_ledger *l, bool (*part)(void *arg, int k), void *arg)
{
    p->ledger = l;
    p->part = part;
    p->arg = arg;
    if (p->together)
        return im_lockstep_run(&p->lockstep, run_part, end_part, p);
    bool ok = true;
    for (int k = p->first; ok && k < p->first + p->mine; k++)
        ok = run_part(p, k) && end_part(p, k);
    return ok;
}

/* ---------------------------------------------------------------- all parts */

/* All that have a gradient, in a row or, `summed`, where im_overlap has put them; or back. Their number of floats. */
static int64_t flatten(im_step_parts *p, bool summed, bool back)
{
    int64_t floats = 0;
    for (int i = 0; i < p->n && im_ok(p->c); i++)
        if (p->w[i]->grad_set) {
            float *at = summed ? im_overlap_at(p->overlap, i) : p->flat + floats;
            if (back)
                im_upload(p->c, p->w[i]->grad, at);
            else if (!summed)
                im_download(p->c, p->w[i]->grad, at);
            floats += im_numel(p->w[i]);
        }
    return floats;
}

/* Block r is that of a rank that has done the same so far. */
static bool fits(const im_step_parts *p, const head *own, const head *h, int rank)
{
    if (h->step != own->step || h->floats != own->floats || h->seen != own->seen)
        return im_fail(p->c, "%s: is in step %lld with %lld gradients, and this rank is in step %lld with %lld; they do "
                       "not train the same", im_ranks_name(p->ranks, rank), (long long)h->step, (long long)h->floats,
                       (long long)own->step, (long long)own->floats);
    if (memcmp(&h->norm, &own->norm, sizeof h->norm))
        return im_fail(p->c, "%s: its sum of gradients of step %lld is not that of this rank, bit for bit (norms %.17g and "
                       "%.17g): one of both has computed wrongly; is a machine faulty?", im_ranks_name(p->ranks, rank),
                       (long long)own->step - 1, sqrt(h->norm), sqrt(own->norm));
    return true;
}

/* The blocks of all ranks are there: ledger, running statistics and counts of all parts. */
static bool take_blocks(im_step_parts *p, im_ledger *l, im_step_part *all, const char *blocks, size_t bytes,
                        im_step_told *told)
{
    const head *own = (const head *)(blocks + (size_t)p->ranks->rank * bytes);
    *told = (im_step_told){ .stop = false };
    for (int r = 0; r < p->ranks->size; r++) {
        const head *h = (const head *)(blocks + (size_t)r * bytes);
        const im_step_part *parts = (const im_step_part *)(h + 1);
        const double *seen = (const double *)(parts + p->mine);
        if (!fits(p, own, h, r))
            return false;
        memcpy(all + r * p->mine, parts, (size_t)p->mine * sizeof *parts);
        for (int k = 0; p->seen_a_part && k < p->mine; k++)
            if (!im_norm_log_move(p->c, p->log, seen + k * p->seen_a_part))
                return false;
        told->pictures += h->pictures;
        told->judged += h->judged;
        told->stop |= h->stop;
    }
    return im_ledger_set(p->c, l, all);
}

static bool exchange(im_step_parts *p, im_ledger *l, int64_t step, int64_t floats, im_step_told *told)
{
    size_t mine = (size_t)p->mine, seen = mine * (size_t)p->seen_a_part;
    size_t bytes = sizeof(head) + mine * sizeof(im_step_part) + seen * sizeof(double);
    char *blocks = malloc((size_t)p->ranks->size * bytes);
    im_step_part *all = malloc((size_t)p->parts * sizeof *all);
    bool ok = (blocks && all) || im_fail(p->c, "out of memory for what %d ranks tell", p->ranks->size);
    ok = ok && im_ledger_get(p->c, l, all);
    if (ok) {
        head *h = (head *)(blocks + (size_t)p->ranks->rank * bytes);
        im_step_part *parts = (im_step_part *)(h + 1);
        *h = (head){ .step = step, .floats = floats, .seen = p->seen_a_part, .pictures = told->pictures,
                     .judged = told->judged, .norm = p->norm, .stop = told->stop };
        memcpy(parts, all + p->first, mine * sizeof *parts);
        if (seen)
            memcpy(parts + mine, p->seen, seen * sizeof *p->seen);
    }
    ok = ok && im_ranks_share(p->ranks, blocks, bytes) && take_blocks(p, l, all, blocks, bytes, told);
    free(blocks);
    free(all);
    return ok;
}

/* Of the sum of all parts, for the check of the next step. */
static bool keep_norm(im_step_parts *p, im_ledger *l)
{
    im_step_part *all = malloc((size_t)p->parts * sizeof *all);
    bool ok = (all || im_fail(p->c, "out of memory for the parts of a step")) && im_ledger_get(p->c, l, all);
    if (ok)
        p->norm = all[p->parts - 1].sumsq;
    free(all);
    return ok;
}

bool im_step_parts_join(im_step_parts *p, im_ledger *l, int64_t step, im_step_told *told)
{
    if (p->ranks->size == 1)
        return im_optimiser_note(p->optimiser, l, p->parts - 1);
    double begun = im_seconds(), sums = 0;
    p->ranks->sent = p->steps ? p->ranks->sent : 0;            /* what went before was to begin with                  */
    bool summed = p->overlap && im_overlap_end(p->overlap, &sums);
    int64_t floats = im_ok(p->c) ? flatten(p, summed, false) : 0;
    if (!im_ok(p->c) || !exchange(p, l, step, floats, told))
        return false;
    double all_there = im_seconds();
    if (!summed && !im_ranks_sum(p->ranks, p->flat, floats))
        return false;
    p->waited += all_there - begun;
    p->exchanged += summed ? sums : im_seconds() - all_there;
    p->overlapped += summed;
    p->steps++;
    flatten(p, summed, true);
    return im_optimiser_note(p->optimiser, l, p->parts - 1) && keep_norm(p, l);
}
