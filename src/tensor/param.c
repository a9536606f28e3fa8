/* param.c: weights of a model. They live outside every scope, owned by the model's registry, and are stored either plain or
 * in the panels of device.h that the products read. Loading converts and packs in one pass over the source. */
#include "tensor/int8.h"
#include "tensor/tensor.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

im_tensor *im_param_new(im_ctx *c, const char *name, im_dtype t, int ndim, const int64_t shape[])
{
    if (!im_ok(c))
        return NULL;
    if (!name || !shape) {
        im_fail(c, "parameter %s: found no %s", name ? name : "(without a name)", name ? "shape" : "name");
        return NULL;
    }
    im_tensor meta = { .dtype = (uint8_t)t, .ndim = (uint8_t)ndim };
    for (int i = 0; i < ndim && i < IM_MAX_DIMS; i++)
        meta.shape[i] = shape[i];
    size_t bytes;
    if (ndim < 1 || ndim > IM_MAX_DIMS || !im_checked_bytes(c, &meta, &bytes)) {
        im_fail(c, "parameter %s: found %d axes, wanted 1 to %d", name, ndim, IM_MAX_DIMS);
        return NULL;
    }
    im_contiguous_strides(&meta);
    im_tensor *p = malloc(sizeof *p);
    char *copy = p ? strdup(name) : NULL;
    if (!copy) {
        free(p);
        im_fail(c, "out of memory while making the parameter %s", name);
        return NULL;
    }
    *p = meta;
    p->name = copy;
    return p;
}

void im_param_free(im_ctx *c, im_tensor *t)
{
    (void)c;
    if (!t)
        return;
    free((char *)t->name);
    im_tensor_free(t);
}

bool im_packs_weights(const im_ctx *c)
{
    return c->dev.packs;
}

bool im_has_int8(const im_ctx *c)
{
    return c->dev.int8;
}

/* t, which has its layout, from the rows at src; oihw: taps are innermost there, (Cout, Cin, Kh, Kw). */
static im_pack_args pack_args(const im_tensor *t, const void *src, im_dtype src_dtype, bool oihw)
{
    int64_t n = t->ndim ? t->shape[0] : 1, k = im_numel(t) / n;
    im_pack_args p = { .src = src, .src_dtype = src_dtype, .dtype = (im_dtype)t->dtype, .n = (int)n, .geglu = t->geglu,
                       .channels = t->ndim ? (int)t->shape[t->ndim - 1] : 1,
                       .taps = 1, .cin = (int)k, .row_stride = k, .tap_stride = k, .cin_stride = 1, .packed = t->packed };
    if (oihw && t->ndim == 4) {
        p.taps = (int)(t->shape[1] * t->shape[2]);
        p.cin = (int)t->shape[3];
        p.tap_stride = 1;
        p.cin_stride = p.taps;
    }
    return p;
}

static bool int8_fits(im_ctx *c, const im_tensor *t, im_weight_layout layout, int64_t k)
{
    const char *name = t->name ? t->name : "";
    if (layout.dtype != IM_INT8)
        return true;
    if (!c->dev.int8)
        return im_fail(c, "parameter %s: device %s has no products in int8; wanted --device cpu, or another dtype", name,
                       c->dev.name);
    return (layout.packed && k <= IM_INT8_MOST_K) ||
           im_fail(c, "parameter %s: %lld values a row cannot be held in int8%s; wanted at most %d, packed", name,
                   (long long)k, layout.packed ? "" : " plain", IM_INT8_MOST_K);
}

/* t's own header in that layout, and the bytes of it; 0 with an error. */
static size_t laid_out(im_ctx *c, im_tensor *t, im_weight_layout layout)
{
    int64_t n = t->ndim ? t->shape[0] : 0, k = n ? im_numel(t) / n : 0;
    bool geglu = layout.packed && layout.geglu;
    if (!int8_fits(c, t, layout, k))
        return 0;
    if (layout.packed && (n < 1 || n > INT_MAX - IM_PANEL || k > INT_MAX - 1 || (geglu && n % 2)
                          || layout.dtype == IM_I32))
        return (size_t)im_fail(c, "parameter %s: %lld rows of %lld in %s cannot be packed%s; wanted f32, f16, bf16 or "
                               "int8, and as many rows of values as of gates for GEGLU", t->name ? t->name : "",
                               (long long)n, (long long)k, im_dtype_name(layout.dtype), geglu ? " for GEGLU" : "");
    t->dtype = (uint8_t)layout.dtype;
    t->packed = layout.packed;
    t->geglu = geglu;
    t->widened = layout.widened;
    size_t bytes;
    if (!im_checked_bytes(c, t, &bytes))
        return 0;
    if (n > INT_MAX || k > INT_MAX)                            /* never a weight of a product                          */
        return bytes;
    im_pack_args p = pack_args(t, NULL, layout.dtype, false);
    return c->dev.s.weight_bytes(&c->dev, &p);
}

bool im_param_alloc(im_ctx *c, im_tensor *t, im_weight_layout layout)
{
    size_t bytes = t && im_ok(c) ? laid_out(c, t, layout) : 0;
    if (!bytes)
        return false;
    im_storage_release(t->storage);
    t->storage = im_storage_new(c, bytes, false);
    if (t->storage) {
        t->storage->parameter = true;
        c->dev.held[IM_HELD_TENSORS] -= bytes;
        c->dev.held[IM_HELD_PARAMETERS] += bytes;
    }
    return t->storage != NULL;
}

size_t im_param_stored_bytes(im_ctx *c, const im_tensor *t, im_weight_layout layout)
{
    im_tensor form = t ? *t : (im_tensor){ 0 };
    return t && im_ok(c) ? laid_out(c, &form, layout) : 0;
}

void *im_param_stored(im_ctx *c, const im_tensor *t)
{
    if (!im_ok(c) || !t)
        return NULL;
    if (t->storage && t->storage->data && im_belongs(c, t, "parameter"))
        return im_storage_values(c, t->storage);
    im_fail(c, "parameter %s: was not loaded yet", t->name ? t->name : "");
    return NULL;
}

bool im_param_map(im_ctx *c, im_tensor *t, im_weight_layout layout, const void *stored)
{
    if (!t || !stored || !im_ok(c) || !c->dev.maps || t->wants_grad
        || (uintptr_t)stored % im_dtype_size(layout.dtype))    /* kernels want values at places that their size divides */
        return false;
    size_t bytes = laid_out(c, t, layout);
    im_storage *s = bytes ? im_storage_new(c, bytes, true) : NULL;
    if (!s)
        return false;
    im_storage_release(t->storage);
    s->data = (void *)(uintptr_t)stored;                       /* not owned: it stays as it is                         */
    t->storage = s;
    return true;
}

bool im_param_map_file(im_ctx *c, im_tensor *t, im_weight_layout layout, const void *src, im_dtype src_dtype, bool oihw)
{
    im_tensor form = t ? *t : (im_tensor){ 0 };
    if (!t || !src || !im_ok(c) || !c->dev.maps || !laid_out(c, &form, layout))
        return false;
    im_pack_args p = pack_args(&form, src, src_dtype, oihw);
    return c->dev.s.weight_as_is(&c->dev, &p) && im_param_map(c, t, layout, src);
}

static bool load(im_ctx *c, im_tensor *t, const void *src, im_dtype src_dtype, const float *scales,
                 const float *multipliers, bool oihw)
{
    if (!t || !im_ok(c))
        return false;
    int64_t rows = t->ndim ? t->shape[0] : 1, k = im_numel(t) / rows;
    if (!src || !t->storage || !im_dtype_size(src_dtype) || rows > INT_MAX || k > INT_MAX)
        return im_fail(c, "parameter %s: wanted data to load, in a dtype that there is, and memory to load them into "
                       "(im_param_alloc)", t->name ? t->name : "");
    im_pack_args p = pack_args(t, src, src_dtype, oihw);
    p.dst = im_data(t);
    p.scales = scales;
    p.multipliers = multipliers;
    im_storage_changed(t->storage);
    int status = c->dev.s.load(&c->dev, &p);
    return im_done(c, status, t->name ? t->name : "a parameter");
}

bool im_param_load(im_ctx *c, im_tensor *t, const void *src, im_dtype src_dtype, bool oihw)
{
    if (t && im_ok(c) && !im_is_real(src_dtype) && src_dtype != IM_I32)
        return im_fail(c, "parameter %s: found values of dtype %s, wanted f32, f16, bf16 or i32", t->name ? t->name : "",
                       im_dtype_name(src_dtype));
    return load(c, t, src, src_dtype, NULL, NULL, oihw);
}

/* What the rows are multiplied with: every one finite, and above 0. */
static bool can_multiply(im_ctx *c, const im_tensor *t, const float *multipliers)
{
    int64_t cin = t->shape[t->ndim - 1];
    for (int64_t i = 0; multipliers && i < cin; i++)
        if (!(multipliers[i] > 0 && multipliers[i] <= 0x1.fffffep127f))
            return im_fail(c, "parameter %s: multiplier %lld is %g; wanted finite ones above 0", t->name ? t->name : "",
                           (long long)i, (double)multipliers[i]);
    return true;
}

bool im_param_load_int8(im_ctx *c, im_tensor *t, const int8_t *src, const float *scales, const float *multipliers,
                        bool oihw)
{
    if (t && im_ok(c) && (t->dtype != IM_INT8 || !scales))
        return im_fail(c, "parameter %s: is held in %s; wanted int8, and a scale for each row", t->name ? t->name : "",
                       im_dtype_name((im_dtype)t->dtype));
    return (!t || !im_ok(c) || can_multiply(c, t, multipliers)) && load(c, t, src, IM_INT8, scales, multipliers, oihw);
}
