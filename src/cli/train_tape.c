/* train_tape.c: the tape of the first step as a table (--trace-tape): one row a node, in the order in which it was
 * recorded; backward runs through it from the end. Used by cmd_train.c through train_view.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/session.h"
#include "cli/train.h"

typedef struct line { im_tape_row row; char shape[64]; } line;
struct train_tape { line *v; int n, cap; bool full; };

struct train_tape *train_tape_new(void)
{
    return calloc(1, sizeof(struct train_tape));
}

void train_tape_row(struct train_tape *t, const im_tape_row *row)
{
    if (t->n == t->cap) {
        line *v = realloc(t->v, (size_t)(2 * t->cap + 256) * sizeof *v);
        if (!v) {
            t->full = true;
            return;
        }
        t->v = v;
        t->cap = 2 * t->cap + 256;
    }
    line *l = &t->v[t->n++];
    l->row = *row;
    im_shape_text(row->out, l->shape, sizeof l->shape);
    l->row.out = NULL;
}

/* Rows come last node first, part by part: each part is turned round. */
static void print_part(const line *first, int n, FILE *f)
{
    char bytes[32];
    double forward = 0, backward = 0, kept = 0;
    for (int i = n - 1; i >= 0; i--) {
        const im_tape_row *r = &first[i].row;
        fprintf(f, "%5d  %-14s %-34s %-22s %9s %9.3f %9.3f\n", r->index, r->op, r->layer, first[i].shape,
                bytes_text((double)r->kept_bytes, bytes), 1e3 * r->forward_seconds, 1e3 * r->backward_seconds);
        forward += r->forward_seconds;
        backward += r->backward_seconds;
        kept += (double)r->kept_bytes;
    }
    fprintf(f, "%5d  %-72s %9s %9.3f %9.3f\n", n, "nodes in all (kept bytes of shared tensors are counted once a node)",
            bytes_text(kept, bytes), 1e3 * forward, 1e3 * backward);
}

void train_tape_print(struct train_tape *t, FILE *f)
{
    fprintf(f, "%5s  %-14s %-34s %-22s %9s %9s %9s\n", "node", "op", "first parameter", "output",
            "kept", "fwd ms", "bwd ms");
    for (int from = 0, to; from < t->n; from = to) {
        for (to = from + 1; to < t->n && t->v[to].row.index < t->v[to - 1].row.index; )
            to++;
        print_part(t->v + from, to - from, f);
    }
    if (t->full)
        fprintf(f, "out of memory: the table ends here\n");
    fflush(f);
    free(t->v);
    free(t);
}
