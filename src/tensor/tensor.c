/* tensor.c: shapes laid over storages; views share a storage and cost nothing. The gradient of a view is the same view of
 * the gradient of its base (tape.c). */
#include "tensor/copies.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>

im_storage *im_storage_new(im_ctx *c, size_t bytes, bool virtual_)
{
    im_storage *s = malloc(sizeof *s);
    if (s)
        *s = (im_storage){ .dev = &c->dev, .bytes = bytes, .refs = 1, .owned = !virtual_, .slot = -1 };
    if (s && !virtual_ && (!c->dev.s.alloc || !(s->data = c->dev.s.alloc(&c->dev, bytes)))) {
        free(s);
        s = NULL;
    }
    if (!s)
        im_fail_memory(c, "out of memory: a tensor of %zu bytes could not be had; use a smaller batch or picture", bytes);
    else if (!virtual_) {
        c->dev.counts.blocks++;
        c->dev.held[IM_HELD_TENSORS] += bytes;
    }
    return s;
}

void im_storage_release(im_storage *s)
{
    if (!s || --s->refs > 0)
        return;
    if (s->owned) {
        s->dev->s.free(s->dev, s->data, s->bytes);
        s->dev->held[s->parameter ? IM_HELD_PARAMETERS : IM_HELD_TENSORS] -= s->bytes;
    }
    im_copies_free(s->dev, s->copies);
    free(s);
}

void im_storage_changed(im_storage *s)
{
    im_copies_change(s->copies);
}

im_tensor *im_tensor_over(im_ctx *c, im_storage *s, const im_tensor *meta)
{
    im_tensor *t = s ? malloc(sizeof *t) : NULL;
    if (!t) {
        im_storage_release(s);
        im_fail(c, "out of memory while making a tensor");
        return NULL;
    }
    *t = *meta;
    t->storage = s;
    t->name = NULL;
    t->grad = NULL;
    t->grad_set = t->on_tape = 0;
    if (!im_scope_add(c, t)) {
        im_tensor_free(t);
        return NULL;
    }
    return t;
}

void im_tensor_free(im_tensor *t)
{
    if (!t)
        return;
    if (!t->on_tape)                                           /* else the nodes of the tape hold what is needed       */
        im_storage_release(t->storage);
    im_tensor_free(t->grad);
    free(t);
}

void im_contiguous_strides(im_tensor *t)
{
    int64_t step = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        t->stride[i] = step;
        step *= t->shape[i];
    }
}

int64_t im_numel(const im_tensor *t)
{
    int64_t n = t ? 1 : 0;                                     /* no overflow: im_checked_bytes has seen the shape     */
    for (int i = 0; t && i < t->ndim; i++)
        n *= t->shape[i];
    return n;
}

bool im_contiguous(const im_tensor *t)
{
    if (!t)
        return false;
    int64_t step = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != step)
            return false;
        step *= t->shape[i];
    }
    return true;
}

void *im_data(const im_tensor *t)
{
    if (!t || !t->storage || !t->storage->data)
        return NULL;
    return (char *)t->storage->data + (size_t)t->offset * im_dtype_size((im_dtype)t->dtype);
}

void im_shape_text(const im_tensor *t, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "(");
    for (int i = 0; t && i < t->ndim && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    if (at < size)
        snprintf(out + at, size - at, ")");
}

bool im_count(int ndim, const int64_t shape[], int64_t *n)
{
    *n = 1;
    for (int i = 0; i < ndim; i++)
        if (shape[i] < 1 || __builtin_mul_overflow(*n, shape[i], n))
            return false;
    return true;
}

bool im_checked_bytes(im_ctx *c, const im_tensor *meta, size_t *bytes)
{
    int64_t n, size = (int64_t)im_dtype_size((im_dtype)meta->dtype);
    if (!size)
        return im_fail(c, "tensor: found dtype %d, wanted f32, f16, bf16 or i32", meta->dtype);
    if (!im_count(meta->ndim, meta->shape, &n) || n > PTRDIFF_MAX / size) {
        char text[160];
        im_shape_text(meta, text, sizeof text);
        return im_fail(c, "tensor of shape %s: found a size below 1 or too many bytes to count", text);
    }
    *bytes = (size_t)(n * size);
    return true;
}

im_tensor *im_new(im_ctx *c, im_dtype t, int ndim, const int64_t shape[])
{
    if (!im_ok(c))
        return NULL;
    if (ndim < 0 || ndim > IM_MAX_DIMS || (ndim && !shape)) {
        im_fail(c, "tensor: found %d axes%s, wanted 0 to %d", ndim, shape ? "" : " and no sizes", IM_MAX_DIMS);
        return NULL;
    }
    im_tensor meta = { .dtype = (uint8_t)t, .ndim = (uint8_t)ndim };
    for (int i = 0; i < ndim; i++)
        meta.shape[i] = shape[i];
    size_t bytes;
    if (!im_checked_bytes(c, &meta, &bytes))
        return NULL;
    im_contiguous_strides(&meta);
    im_tensor *x = im_tensor_over(c, im_storage_new(c, bytes, false), &meta);
    return x && t == IM_I32 && !im_fill(c, x, 0) ? NULL : x;   /* ids that nobody has uploaded yet name row 0          */
}

im_tensor *im_from(im_ctx *c, im_dtype t, int ndim, const int64_t shape[], const void *data)
{
    if (im_ok(c) && !data)
        im_fail(c, "tensor: found no data to copy");
    im_tensor *x = im_new(c, t, ndim, shape);
    return x && im_upload(c, x, data) ? x : NULL;
}

static im_tensor *view_of(im_ctx *c, im_tensor *t, im_tensor *meta)
{
    if (!t->storage) {
        im_fail(c, "view: \"%s\" was used before it was loaded", t->name ? t->name : "a tensor");
        return NULL;
    }
    meta->base = !t->wants_grad ? NULL : t->base ? t->base : t;
    t->storage->refs++;
    return im_tensor_over(c, t->storage, meta);
}

/* The size that stands for -1, the one of all sizes that is not above 0; false where these do not make numel. */
static bool fill_in(im_tensor *meta, int64_t numel)
{
    int open = -1;
    int64_t known;
    for (int i = 0; i < meta->ndim && open < 0; i++)
        if (meta->shape[i] == -1)
            open = i;
    if (open >= 0)
        meta->shape[open] = 1;
    bool counted = im_count(meta->ndim, meta->shape, &known);
    if (open >= 0)
        meta->shape[open] = counted && numel % known == 0 ? numel / known : -1;
    return counted && (open < 0 ? known == numel : numel % known == 0);
}

im_tensor *im_reshape(im_ctx *c, im_tensor *t, int ndim, const int64_t shape[])
{
    if (!t || !im_ok(c) || !im_belongs(c, t, "reshape"))
        return NULL;
    char have[160], want[160];
    im_shape_text(t, have, sizeof have);
    if (ndim < 0 || ndim > IM_MAX_DIMS || (ndim && !shape) || !im_contiguous(t) || t->packed) {
        im_fail(c, "reshape of %s: wanted a contiguous tensor and at most %d axes", have, IM_MAX_DIMS);
        return NULL;
    }
    im_tensor meta = *t;
    meta.ndim = (uint8_t)ndim;
    for (int i = 0; i < ndim; i++)
        meta.shape[i] = shape[i];
    if (!fill_in(&meta, im_numel(t))) {
        im_shape_text(&meta, want, sizeof want);
        im_fail(c, "reshape of %s to %s: the numbers of elements differ", have, want);
        return NULL;
    }
    im_contiguous_strides(&meta);
    return view_of(c, t, &meta);
}

im_tensor *im_slice(im_ctx *c, im_tensor *t, int axis, int64_t from, int64_t to)
{
    if (!t || !im_ok(c) || !im_belongs(c, t, "slice"))
        return NULL;
    if (t->packed || axis < 0 || axis >= t->ndim || from < 0 || from >= to || to > t->shape[axis]) {
        char have[160];
        im_shape_text(t, have, sizeof have);
        im_fail(c, "slice of %s: found axis %d from %lld to %lld, wanted a part of the shape", have, axis,
                (long long)from, (long long)to);
        return NULL;
    }
    im_tensor meta = *t;
    meta.offset += from * t->stride[axis];
    meta.shape[axis] = to - from;
    return view_of(c, t, &meta);
}

bool im_rows(const im_tensor *t, int64_t *rows, int64_t *ld)
{
    int last = t->ndim - 1;
    if (last < 0 || (t->shape[last] != 1 && t->stride[last] != 1))
        return false;
    *rows = 1;
    *ld = t->shape[last];
    bool first = true;
    for (int i = last - 1; i >= 0; i--) {
        if (t->shape[i] == 1)
            continue;
        if (first)
            *ld = t->stride[i];                                /* the innermost axis that counts sets the distance     */
        else if (t->stride[i] != *rows * *ld)
            return false;
        first = false;
        *rows *= t->shape[i];
    }
    return true;
}

im_cbuf im_read_of(const im_tensor *t)
{
    return t ? (im_cbuf){ im_data(t), (im_dtype)t->dtype } : (im_cbuf){ NULL, IM_F32 };
}

im_buf im_write_of(const im_tensor *t)
{
    return t ? (im_buf){ im_data(t), (im_dtype)t->dtype } : (im_buf){ NULL, IM_F32 };
}

im_common im_overlap(const im_tensor *a, const im_tensor *b)
{
    int64_t origin = (a->base ? a->base : a)->offset, at_a = a->offset - origin, at_b = b->offset - origin;
    int64_t end_a = at_a, end_b = at_b, row = INT64_MAX;
    bool alike = a->ndim == b->ndim, equal = alike && at_a == at_b;
    for (int i = 0; i < a->ndim; i++)
        end_a += (a->shape[i] - 1) * a->stride[i];
    for (int i = 0; i < b->ndim; i++)
        end_b += (b->shape[i] - 1) * b->stride[i];
    if (end_a < at_b || end_b < at_a)
        return IM_NOWHERE;
    for (int i = 0; alike && i < a->ndim; i++) {
        alike = a->stride[i] == b->stride[i];
        equal &= alike && a->shape[i] == b->shape[i];
    }
    for (int i = 0; alike && i < a->ndim; i++) {               /* boxes of one grid: apart along an axis?              */
        int64_t step = a->stride[i], from_a = at_a / step, from_b = at_b / step;
        if (at_a + (a->shape[i] - 1) * step >= row || at_b + (b->shape[i] - 1) * step >= row)
            break;                                             /* one runs over the end of a row of the grid           */
        if (from_a + a->shape[i] <= from_b || from_b + b->shape[i] <= from_a)
            return IM_NOWHERE;
        at_a %= step;
        at_b %= step;
        row = step;
    }
    return equal ? IM_EVERYWHERE : IM_PARTLY;
}

/* Where copies in 16 bits are kept: of a parameter that is trained, while that is what products are computed in. Without
 * memory for the list: nowhere. */
static im_copies *copies_of(const im_tensor *t)
{
    im_storage *s = t->storage;
    if (!t->name || !t->wants_grad || !s->owned || s->dev->compute_dtype == IM_F32)
        return NULL;
    if (!s->copies)
        s->copies = im_copies_new();
    return s->copies;
}

bool im_is_weight(const im_tensor *t)
{
    return im_is_real((im_dtype)t->dtype) || (t->dtype == IM_INT8 && t->packed);
}

im_weight im_weight_of(const im_tensor *t)
{
    int k = (int)(im_numel(t) / t->shape[0]);
    return (im_weight){ .data = im_data(t), .dtype = (im_dtype)t->dtype, .packed = t->packed, .geglu = t->geglu,
                        .widened = t->widened, .n = (int)t->shape[0], .k = k, .ld = k, .copies = copies_of(t) };
}
