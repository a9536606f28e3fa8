/* steps.c: arithmetic of samplers on values that stay on the device (imago_engine.h): weighted sums, and a mark where
 * something is not finite. The kernels are those of host_steps.c. Used by models/schedulers and models/pipelines. */
#include "tensor/tensor.h"

static bool fits(im_ctx *c, const im_tensor *t, im_dtype dtype, int64_t n, const char *what)
{
    if (!t || !im_ok(c))
        return false;
    char shape[160];
    if (!im_belongs(c, t, what))
        return false;
    if (im_data(t) && t->dtype == dtype && im_contiguous(t) && !t->packed && im_numel(t) == n)
        return true;
    im_shape_text(t, shape, sizeof shape);
    return im_fail(c, "%s: found %s %s%s; wanted %lld contiguous values in %s", what, shape,
                   im_dtype_name((im_dtype)t->dtype), im_data(t) ? "" : " without data", (long long)n,
                   im_dtype_name(dtype));
}

static bool done(im_ctx *c, int status, const char *what)
{
    return !status || im_fail(c, status == IM_STOPPED ? "%.0sstopped" : "%s: the kernel failed", what);
}

bool im_combine(im_ctx *c, im_tensor *y, const im_combination *a)
{
    int64_t n = im_numel(y);
    if (!im_ok(c) || !y)
        return false;
    if (!a || a->count < 1 || a->count > IM_COMBINE_MAX)
        return im_fail(c, "combine: found %d terms, wanted 1 to %d", a ? a->count : 0, IM_COMBINE_MAX);
    if (!fits(c, y, IM_F32, n, "combine") || (a->unless && !fits(c, a->unless, IM_I32, 1, "combine")))
        return false;
    im_combine_args k = { .n = n, .count = a->count, .by = a->by, .limit = a->limit, .y = im_data(y),
                          .unless = a->unless ? im_data(a->unless) : NULL };
    for (int i = 0; i < a->count; i++) {
        if (!a->x[i])
            return im_fail(c, "combine: term %d is missing", i);
        if (!fits(c, a->x[i], IM_F32, n, "combine"))
            return false;
        k.x[i] = im_data(a->x[i]);
        k.w[i] = a->w[i];
    }
    im_storage_changed(y->storage);
    return done(c, c->dev.k.combine(&c->dev, &k), "combine");
}

bool im_watch(im_ctx *c, const im_tensor *x, int code, im_tensor *mark)
{
    if (!fits(c, x, IM_F32, im_numel(x), "watch") || !fits(c, mark, IM_I32, 1, "watch"))
        return false;
    mark->storage->ranged = false;
    return done(c, c->dev.k.watch(&c->dev, &(im_watch_args){ .n = im_numel(x), .x = im_data(x), .code = code,
                                                             .mark = im_data(mark) }), "watch");
}

bool im_draw_latent(im_ctx *c, im_tensor *z, const im_tensor *moments, const im_tensor *noise, float scaling)
{
    static const char what[] = "draw_latent";
    int64_t n = im_numel(z), each = z && z->ndim ? z->shape[z->ndim - 1] : 1;
    if (!fits(c, z, IM_F32, n, what) || !fits(c, moments, IM_F32, 2 * n, what) || !fits(c, noise, IM_F32, n, what))
        return false;
    return done(c, c->dev.k.draw_latent(&c->dev, &(im_draw_latent_args){
        .rows = n / each, .n = (int)each, .scaling = scaling, .moments = im_data(moments), .noise = im_data(noise),
        .z = im_data(z) }), what);
}
