/* adapters.c: see adapters.h. Everything here is operations of imago.h, so autograd does the rest. */
#include "models/nets/adapters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

im_tensor *im_adapter_add(im_ctx *c, const im_adapter *a, im_tensor *x, im_tensor *y)
{
    if (!x || !y)
        return NULL;
    im_scope_push(c);
    im_tensor *h = im_linear(c, x, a->a, NULL, NULL, IM_ACT_NONE);                       /* (..., r)        */
    if (a->scale != 1.0f)
        h = im_scale(c, h, a->scale);                                                    /* (..., r)        */
    return im_scope_leave(c, im_linear(c, h, a->b, NULL, y, IM_ACT_NONE));               /* (..., N)        */
}

/* The name without ".weight" where it is one of ends[], or ends so behind a dot; its length, else 0. */
static size_t adapted(const char *name, const char *const ends[])
{
    static const char tail[] = ".weight";
    size_t n = strlen(name), m = sizeof tail - 1;
    if (n <= m || strcmp(name + n - m, tail))
        return 0;
    n -= m;
    for (; *ends; ends++) {
        m = strlen(*ends);
        if (n >= m && !strncmp(name + n - m, *ends, m) && (n == m || name[n - m - 1] == '.'))
            return n;
    }
    return 0;
}

static im_tensor *factor(im_params *out, const char *layer, size_t n, char which, int rows, int columns)
{
    size_t size = n + sizeof ".lora_A.weight";
    char *name = malloc(size);
    if (!name) {
        im_fail(out->c, "out of memory for the name of an adapter");
        return NULL;
    }
    snprintf(name, size, "%.*s.lora_%c.weight", (int)n, layer, which);
    im_tensor *t = im_matrix_init(out, name, rows, columns);
    free(name);
    return t;
}

bool im_adapters_attach(im_params *out, const im_params *net, const char *const ends[], int rank, float alpha)
{
    for (int i = 0; im_ok(out->c) && i < net->n; i++) {
        const im_param *q = &net->v[i];
        size_t n = q->layer ? adapted(q->t->name, ends) : 0;
        im_adapter *a = n ? im_params_alloc(out, 1, sizeof *a) : NULL;
        if (!a)
            continue;
        *a = (im_adapter){ .a = factor(out, q->t->name, n, 'A', rank, (int)q->t->shape[1]),
                           .b = factor(out, q->t->name, n, 'B', (int)q->t->shape[0], rank),
                           .scale = alpha / (float)rank };
        q->layer->adapter = a;
    }
    return im_ok(out->c) && (out->n || im_fail(out->c, "the network has no layer that a LoRA is for"));
}
