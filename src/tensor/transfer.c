/* transfer.c: the one way into the memory of a device and out of it, for everybody above src/tensor (services.h).
 *
 * Whole numbers name rows of tables: tokens, labels. Kernels trust them, so they are looked at here, on the host, when they
 * are uploaded: their range is kept beside them, and an op compares it with its table without reading anything back. What
 * an op of a recorded plan wants of an input is kept, too: a plan is replayed without its ops being asked again. */
#include "tensor/tensor.h"
#include "tensor/half.h"

#include <stdlib.h>
#include <string.h>

bool im_belongs(im_ctx *c, const im_tensor *t, const char *what)
{
    return !t->storage || t->storage->dev == &c->dev ||
           im_fail(c, "%s: %s belongs to another context; wanted a tensor that was made in this one", what,
                   t->name ? t->name : "a tensor");
}

static bool here(im_ctx *c, const im_tensor *t, const char *what)
{
    if (!t || !im_ok(c))
        return false;
    const char *name = t->name ? t->name : "a tensor";
    if (!t->storage || !t->storage->data)
        return im_fail(c, "%s: %s has no data: it was not loaded yet, or a plan is being recorded", what, name);
    if (!im_belongs(c, t, what))
        return false;
    return !t->packed || im_fail(c, "%s: %s is packed as the device likes it; wanted a plain tensor", what, name);
}

/* here(), and in one piece. */
static bool whole(im_ctx *c, const im_tensor *t, const char *what)
{
    char shape[160];
    if (!here(c, t, what))
        return false;
    if (im_contiguous(t))
        return true;
    im_shape_text(t, shape, sizeof shape);
    return im_fail(c, "%s: found a view %s with gaps; wanted a contiguous tensor", what, shape);
}

static size_t bytes_of(const im_tensor *t)
{
    return (size_t)im_numel(t) * im_dtype_size((im_dtype)t->dtype);
}

im_counts im_counted(const im_ctx *c)
{
    return c ? c->dev.counts : (im_counts){ 0 };
}

/* ---------------------------------------------------------------- ids */

static void range_of(const int32_t *v, int64_t n, int32_t *low, int32_t *high)
{
    *low = *high = v[0];
    for (int64_t i = 1; i < n; i++) {
        *low = v[i] < *low ? v[i] : *low;
        *high = v[i] > *high ? v[i] : *high;
    }
}

/* Every value in 0 .. limit - 1? Else the first that is not is named. */
static bool all_within(im_ctx *c, const int32_t *v, int64_t n, int64_t limit, im_ids_say say)
{
    for (int64_t i = 0; i < n; i++)
        if (v[i] < 0 || v[i] >= limit) {
            say(c, i, v[i], limit);
            return false;
        }
    return true;
}

static bool ids_arrive(im_ctx *c, const im_tensor *t, const int32_t *v)
{
    im_storage *s = t->storage;
    int64_t n = im_numel(t);
    int32_t low, high;
    if (s->say && !all_within(c, v, n, s->limit, s->say))
        return false;
    range_of(v, n, &low, &high);
    bool all = (size_t)n * sizeof *v == s->bytes;
    s->low = all || (s->ranged && low < s->low) ? low : s->low;
    s->high = all || (s->ranged && high > s->high) ? high : s->high;
    s->ranged |= all;                                          /* of a part the rest would have to be known            */
    return true;
}

bool im_want_ids(im_ctx *c, const im_node *n, int input, int64_t limit, im_ids_say say)
{
    const im_tensor *t = n->in[input];
    im_storage *s = t->storage;
    if (c->mode == IM_PLAN) {
        if (s->say && s->limit <= limit)
            return true;
        s->limit = limit;
        s->say = say;
        return im_want(c, n, s->data != NULL, "ids that are an input of the plan, so that they are uploaded");
    }
    if (s->ranged && s->low >= 0 && s->high < limit)
        return true;
    int32_t *v = im_values(c, t);                              /* their range is not known, or other ids share storage */
    bool ok = v && all_within(c, v, im_numel(t), limit, say);
    free(v);
    return ok;
}

/* ---------------------------------------------------------------- to and fro */

bool im_upload(im_ctx *c, im_tensor *t, const void *src)
{
    if (im_ok(c) && t && !src)
        return im_fail(c, "upload: found no values");
    if (!whole(c, t, "upload") || (t->dtype == IM_I32 && !ids_arrive(c, t, src)))
        return false;
    im_storage_changed(t->storage);
    c->dev.counts.uploads++;
    c->dev.counts.uploaded += bytes_of(t);
    return im_done(c, c->dev.s.upload(&c->dev, im_data(t), src, bytes_of(t)), "upload");
}

bool im_wait_for(im_ctx *c, uint64_t mark)
{
    c->dev.counts.syncs++;
    return im_done(c, c->dev.s.wait(&c->dev, mark), "wait");
}

bool im_fetch_later(im_ctx *c, const void *data, void *dst, size_t bytes, uint64_t *mark)
{
    c->dev.counts.downloads++;
    c->dev.counts.downloaded += bytes;
    bool ok = im_done(c, c->dev.s.download(&c->dev, dst, data, bytes), "download");
    *mark = c->dev.s.mark(&c->dev);
    return ok;
}

static bool fetch(im_ctx *c, const void *data, void *dst, size_t bytes)
{
    uint64_t mark;
    return im_fetch_later(c, data, dst, bytes, &mark) && im_wait_for(c, mark);
}

/* A view with gaps is put together on the device first. */
static bool fetch_view(im_ctx *c, const im_tensor *t, void *dst)
{
    im_tensor flat = *t;
    im_storage *s = im_storage_new(c, bytes_of(t), false);
    if (!s)
        return false;
    flat.storage = s;
    flat.offset = 0;
    im_contiguous_strides(&flat);
    bool ok = im_done(c, im_copy_tensor(c, t, &flat, false), "download") && fetch(c, s->data, dst, bytes_of(t));
    im_storage_release(s);
    return ok;
}

bool im_download(im_ctx *c, const im_tensor *t, void *dst)
{
    if (im_ok(c) && t && !dst)
        return im_fail(c, "download: found no place for the values");
    if (!here(c, t, "download"))
        return false;
    if (im_contiguous(t))
        return fetch(c, im_data(t), dst, bytes_of(t));
    if (t->ndim <= 4)
        return fetch_view(c, t, dst);
    return im_fail(c, "download: found a view of %d axes with gaps; wanted at most 4 axes", t->ndim);
}

void *im_values(im_ctx *c, const im_tensor *t)
{
    if (!here(c, t, "download"))
        return NULL;
    void *v = malloc(bytes_of(t));
    if (!v)
        im_fail(c, "out of memory for %zu bytes that are downloaded", bytes_of(t));
    if (v && im_download(c, t, v))
        return v;
    free(v);
    return NULL;
}

const void *im_host_values(im_ctx *c, const im_tensor *t)
{
    return here(c, t, "values") && c->dev.maps ? im_data(t) : NULL;
}

void *im_storage_values(im_ctx *c, im_storage *s)
{
    void *v = malloc(s->bytes ? s->bytes : 1);
    if (!v)
        im_fail(c, "out of memory for %zu bytes that are downloaded", s->bytes);
    if (v && fetch(c, s->data, v, s->bytes))
        return v;
    free(v);
    return NULL;
}

double im_item(im_ctx *c, const im_tensor *t)
{
    union { float f; int32_t i; uint16_t h; } v = { .i = 0 };
    if (t && im_ok(c) && im_numel(t) != 1) {
        char shape[160];
        im_shape_text(t, shape, sizeof shape);
        im_fail(c, "item: found a tensor %s; wanted one value", shape);
    }
    if (!im_download(c, t, &v))
        return 0;
    switch (t->dtype) {
    case IM_F16: return (double)im_half_to_f32(v.h);
    case IM_BF16: return (double)im_bhalf_to_f32(v.h);
    case IM_I32: return v.i;
    default: return (double)v.f;
    }
}

static uint32_t word_of(im_dtype t, float value)
{
    uint32_t word;
    if (t == IM_I32)
        return (uint32_t)(int32_t)value;
    if (t == IM_F32) {
        memcpy(&word, &value, sizeof word);
        return word;
    }
    return (t == IM_F16 ? im_half_from_f32(value) : im_bhalf_from_f32(value)) * 0x10001u;
}

bool im_fill(im_ctx *c, im_tensor *t, float value)
{
    if (!whole(c, t, "fill"))
        return false;
    int32_t same = t->dtype == IM_I32 ? (int32_t)value : 0;
    bool all = bytes_of(t) == t->storage->bytes;
    t->storage->ranged = t->dtype == IM_I32 && all;
    t->storage->low = t->storage->high = same;
    im_storage_changed(t->storage);
    return im_done(c, c->dev.s.fill(&c->dev, im_data(t), word_of((im_dtype)t->dtype, value), bytes_of(t)), "fill");
}

bool im_assign(im_ctx *c, im_tensor *dst, const im_tensor *src)
{
    if (!whole(c, dst, "assign") || !whole(c, src, "assign"))
        return false;
    if (dst->dtype != src->dtype || im_numel(dst) != im_numel(src)) {
        char a[160], b[160];
        im_shape_text(src, a, sizeof a);
        im_shape_text(dst, b, sizeof b);
        return im_fail(c, "assign: found %s %s, wanted as many values in %s as %s", a, im_dtype_name((im_dtype)src->dtype),
                       im_dtype_name((im_dtype)dst->dtype), b);
    }
    dst->storage->ranged = false;
    im_storage_changed(dst->storage);
    return im_done(c, c->dev.s.copy(&c->dev, im_data(dst), im_data(src), bytes_of(src)), "assign");
}
