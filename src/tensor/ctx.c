/* ctx.c: makes and frees a context, and answers questions about it. */
#include "tensor/parallel.h"
#include "tensor/tensor.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

im_ctx *im_ctx_new(const char *device, int threads)
{
    im_ctx *c = calloc(1, sizeof *c);
    im_scope *root = calloc(1, sizeof *root);
    if (!c || !root) {
        free(c);
        free(root);
        return NULL;
    }
    c->scope = root;
    c->threads = threads > 0 ? threads : im_cores();
    c->open = im_device_open(c, &c->dev, device, threads, &c->stop);
    return c;
}

/* ---------------------------------------------------------------- works that take turns */

struct im_flow {
    im_mode mode;
    struct im_plan *plan;
    struct im_tape *tape;
    bool recomputing, marking;
    im_tensor **apart;
    im_scope *scope;
    int lost_scopes;
};

static im_flow flow_of(const im_ctx *c)
{
    return (im_flow){ .mode = c->mode, .plan = c->plan, .tape = c->tape, .recomputing = c->recomputing,
                      .marking = c->marking, .apart = c->apart, .scope = c->scope, .lost_scopes = c->lost_scopes };
}

im_flow *im_flow_new(im_ctx *c)
{
    im_flow *f = malloc(sizeof *f);
    if (f)
        *f = flow_of(c);
    else
        im_fail(c, "out of memory for another work of a context");
    return f;
}

void im_flow_swap(im_ctx *c, im_flow *f)
{
    im_flow now = flow_of(c);
    c->mode = f->mode;
    c->plan = f->plan;
    c->tape = f->tape;
    c->recomputing = f->recomputing;
    c->marking = f->marking;
    c->apart = f->apart;
    c->scope = f->scope;
    c->lost_scopes = f->lost_scopes;
    *f = now;
}

void im_flow_free(im_flow *f)
{
    free(f);
}

void im_ctx_free(im_ctx *c)
{
    if (!c)
        return;
    while (c->tape)
        im_tape_end(c);
    while (c->scope) {
        im_scope *up = c->scope->up;
        im_scope_list_free(c->scope);
        free(c->scope);
        c->scope = up;
    }
    im_device_close(&c->dev);
    free(c);
}

const char *im_device_place(const im_ctx *c) { return c->dev.place; }

void im_device_about(im_ctx *c, char *text, size_t size)
{
    if (size)
        *text = 0;
    if (size && im_ok(c) && c->dev.s.about)
        c->dev.s.about(&c->dev, text, size);
}

const char *im_device_name(const im_ctx *c)
{
    return c->dev.name ? c->dev.name : "none";
}

const char *im_device_isa(const im_ctx *c)
{
    return c->dev.isa ? c->dev.isa : "none";
}

int im_threads(const im_ctx *c)
{
    return c->threads;
}

void im_parallel(im_ctx *c, int tasks, void (*fn)(void *arg, int task, int thread), void *arg)
{
    im_parallel_for(c->threads, tasks, fn, arg);
}

double im_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool im_weights_rules(im_ctx *c, bool strict, const char *variant)
{
    size_t n = variant ? strlen(variant) : 0;
    if (n >= sizeof c->variant || (variant && (!n || strchr(variant, '/'))))
        return im_fail(c, "--variant \"%.80s\": wanted the middle of a file's name, such as fp16 of model.fp16.safetensors",
                       variant);
    c->strict_weights = strict;
    memcpy(c->variant, n ? variant : "", n + 1);
    return im_ok(c);
}

const char *im_weights_variant(const im_ctx *c, bool *strict)
{
    if (strict)
        *strict = c->strict_weights;
    return *c->variant ? c->variant : NULL;
}

void im_on_profile(im_ctx *c, void (*fn)(void *arg, const im_profile_row *row), void *arg)
{
    c->profile = fn;
    c->profile_arg = arg;
}

void im_on_trace(im_ctx *c, void (*fn)(void *arg, const char *name, const im_tensor *t), void *arg)
{
    c->trace = fn;
    c->trace_arg = arg;
}

bool im_tracing(const im_ctx *c)
{
    return c->trace && c->mode != IM_PLAN;
}

void im_trace(im_ctx *c, const char *name, const im_tensor *t)
{
    if (im_tracing(c) && t)
        c->trace(c->trace_arg, name, t);
}

void im_on_input(im_ctx *c, void (*fn)(void *arg, const im_tensor *w, const im_tensor *x), void *arg)
{
    c->input = fn;
    c->input_arg = arg;
}

void im_show_input(im_ctx *c, const im_tensor *w, const im_tensor *x)
{
    if (c->input && c->mode != IM_PLAN && w && x)
        c->input(c->input_arg, w, x);
}
