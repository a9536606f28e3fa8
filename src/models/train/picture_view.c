/* picture_view.c: see picture_view.h. */
#include "models/train/picture_view.h"

#include "data/files/stream.h"

#include <stdlib.h>

im_view im_view_draw(uint64_t seed, uint64_t view, uint64_t index, float p_flip, int shift)
{
    im_view v = { 0 };
    im_stream s;
    if (view == 0)
        return v;
    im_stream_open(&s, seed, IM_STREAM_CROP, view, index);
    v.flip = im_stream_uniform(&s) < (double)p_flip;
    v.dx = (int)im_stream_below(&s, (uint64_t)(2 * shift + 1)) - shift;
    v.dy = (int)im_stream_below(&s, (uint64_t)(2 * shift + 1)) - shift;
    return v;
}

static int inside(int i, int size)
{
    return i < 0 ? 0 : i >= size ? size - 1 : i;
}

void im_view_apply(const im_view *v, const uint8_t *rgb, int size, float *out)
{
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            int sx = inside(x - v->dx, size), sy = inside(y - v->dy, size);
            const uint8_t *p = rgb + 3 * ((int64_t)sy * size + (v->flip ? size - 1 - sx : sx));
            for (int k = 0; k < 3; k++)
                *out++ = (float)p[k] / 127.5f - 1.0f;
        }
}

im_tensor *im_views_of(im_ctx *c, const im_view views[], const uint8_t *rgb, int64_t n, int size)
{
    int64_t each = 3 * (int64_t)size * size;
    float *v = malloc((size_t)(n * each) * sizeof *v);
    if (!v) {
        im_fail(c, "out of memory for %lld pictures of %dx%d", (long long)n, size, size);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        im_view_apply(&views[i], rgb + i * each, size, v + i * each);
    im_tensor *x = im_from(c, IM_F32, 4, (int64_t[]){ n, size, size, 3 }, v);
    free(v);
    return x;
}
