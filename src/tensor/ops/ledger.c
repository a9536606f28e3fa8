/* ledger.c: what a training step tells of itself, kept on the device until somebody reads it (imago_engine.h).
 *
 *     memory:  gate | parts of an even step | parts of an odd one          (im_step_gate, im_step_part)
 *
 * Losses, norms and counts are written there by kernels, and the gate, which the optimiser looks at, is made of them, so a
 * step needs no answer before the next one is asked for. im_ledger_end sends its parts off; im_ledger_read waits for them.
 * Used by train_loop.c. */
#include "tensor/tensor.h"

#include <stdlib.h>

struct im_ledger {
    im_storage *s;
    int parts;
    int64_t ended, read;                                       /* steps                                                */
    uint64_t mark[2];                                          /* of what was sent off                                 */
    im_step_part *sent[2];                                     /* (parts) each                                         */
};

im_ledger *im_ledger_new(im_ctx *c, int parts)
{
    if (!im_ok(c))
        return NULL;
    im_ledger *l = parts > 0 ? calloc(1, sizeof *l) : NULL;
    if (l) {
        size_t bytes = sizeof(im_step_gate) + 2 * (size_t)parts * sizeof(im_step_part);
        l->parts = parts;
        l->sent[0] = calloc(2 * (size_t)parts, sizeof(im_step_part));
        l->s = im_storage_new(c, bytes, false);
        if (l->s && l->sent[0] && im_done(c, c->dev.s.fill(&c->dev, l->s->data, 0, bytes), "ledger")) {
            l->sent[1] = l->sent[0] + parts;
            return l;
        }
    }
    im_fail(c, parts > 0 ? "out of memory for what %d parts of a step tell" : "ledger: found %d parts, wanted at least 1",
            parts);
    im_ledger_free(l);
    return NULL;
}

/* What is on its way must have arrived before its place goes. */
void im_ledger_free(im_ledger *l)
{
    if (!l)
        return;
    if (l->ended > l->read)
        l->s->dev->s.wait(l->s->dev, l->mark[(l->ended - 1) % 2]);
    im_storage_release(l->s);
    free(l->sent[0]);
    free(l);
}

static im_step_gate *gate_of(const im_ledger *l)
{
    return l->s->data;
}

const struct im_step_gate *im_ledger_gate(const im_ledger *l)
{
    return l ? gate_of(l) : NULL;
}

/* The parts of the step that is under way: on the device. */
static im_step_part *parts_of(const im_ledger *l)
{
    return (im_step_part *)(gate_of(l) + 1) + l->ended % 2 * l->parts;
}

/* Part number `part` of the step under way, NULL with an error. */
static im_step_part *part_of(im_ctx *c, const im_ledger *l, int part)
{
    if (!im_ok(c) || !l)
        return NULL;
    if (part >= 0 && part < l->parts && l->s->dev == &c->dev && l->ended - l->read < 2)
        return &parts_of(l)[part];
    im_fail(c, "ledger: part %d of %d%s; wanted 0 to %d of this context, and the steps before the last one read", part,
            l->parts, l->ended - l->read < 2 ? "" : " while two steps are open", l->parts - 1);
    return NULL;
}

bool im_ledger_loss(im_ctx *c, im_ledger *l, int part, const im_tensor *loss)
{
    im_step_part *p = loss ? part_of(c, l, part) : NULL;
    if (!p || !im_belongs(c, loss, "ledger"))
        return false;
    if (im_numel(loss) != 1 || loss->dtype != IM_F32 || !im_data(loss))
        return im_fail(c, "ledger: wanted a loss of one value in f32");
    return im_done(c, c->dev.s.copy(&c->dev, &p->loss, im_data(loss), sizeof p->loss), "ledger");
}

bool im_ledger_right(im_ctx *c, im_ledger *l, int part, const im_tensor *logits, const im_tensor *labels)
{
    im_step_part *p = logits && labels ? part_of(c, l, part) : NULL;
    if (!p || !im_belongs(c, logits, "ledger") || !im_belongs(c, labels, "ledger"))
        return false;
    if (logits->ndim != 2 || !im_contiguous(logits) || labels->dtype != IM_I32 || !im_contiguous(labels) ||
        im_numel(labels) != logits->shape[0])
        return im_fail(c, "ledger: wanted logits (R, K) and labels (R) in i32, contiguous");
    return im_done(c, c->dev.k.count_right(&c->dev, &(im_count_right_args){
        .rows = logits->shape[0], .classes = (int)logits->shape[1], .x = im_read_of(logits), .labels = im_data(labels),
        .right = &p->right }), "ledger");
}

bool im_ledger_norm(im_ctx *c, im_ledger *l, int part, const im_trained *params, int count)
{
    im_step_part *p = part_of(c, l, part);
    return p && im_sumsq_into(c, params, count, &p->sumsq, &p->first_bad);
}

/* The step under way has a first part that may be written: it is not one of two that wait to be read. */
bool im_ledger_get(im_ctx *c, im_ledger *l, im_step_part parts[])
{
    im_step_part *p = part_of(c, l, 0);
    uint64_t mark;
    return p && im_fetch_later(c, p, parts, (size_t)l->parts * sizeof *p, &mark) && im_wait_for(c, mark);
}

bool im_ledger_set(im_ctx *c, im_ledger *l, const im_step_part parts[])
{
    im_step_part *p = part_of(c, l, 0);
    return p && im_done(c, c->dev.s.upload(&c->dev, p, parts, (size_t)l->parts * sizeof *p), "ledger");
}

bool im_ledger_end(im_ctx *c, im_ledger *l, double mean, double clip)
{
    im_step_part *p = part_of(c, l, 0);
    if (!p || !im_done(c, c->dev.k.gate(&c->dev, &(im_gate_args){ .count = l->parts, .parts = p, .mean = mean, .clip = clip,
                                                                .gate = gate_of(l) }), "ledger"))
        return false;
    int at = (int)(l->ended % 2);
    l->ended++;
    return im_fetch_later(c, p, l->sent[at], (size_t)l->parts * sizeof *p, &l->mark[at]);
}

int im_ledger_open(const im_ledger *l)
{
    return l ? (int)(l->ended - l->read) : 0;
}

int im_ledger_lag(const im_ledger *l)
{
    return l && !l->s->dev->maps;                              /* host memory: what is asked for is done already       */
}

bool im_ledger_read(im_ctx *c, im_ledger *l, im_step_part parts[])
{
    if (!im_ok(c) || !l)
        return false;
    if (l->read == l->ended)
        return im_fail(c, "ledger: found no step that has ended and was not read");
    int at = (int)(l->read % 2);
    if (!im_wait_for(c, l->mark[at]))
        return false;
    l->read++;
    for (int i = 0; i < l->parts; i++)
        parts[i] = l->sent[at][i];
    return true;
}
