/* ref/movement.c: kernels that move elements and compute nothing but sums: strided copies, look-up.
 *
 *     copy           dst[i0][i1][i2][i3] = src[i0][i1][i2][i3], each side with its own strides; or dst += src
 *     embedding      y[i][:] = table[ids[i]][:], widened to f32
 *     its gradient   dtable[v][:] = sum over the i with ids[i] = v of dy[i][:]
 *
 * Called by ops/movement.c (contiguous copy, concatenation, embedding). */
#include <string.h>

#include "tensor/ref/ref.h"

/* The innermost axis at (i0, i1, i2), numbered in that order. */
static void run(const void *arg, int64_t index, int thread)
{
    const im_copy_args *p = arg;
    int64_t i2 = index % p->shape[2], i1 = index / p->shape[2] % p->shape[1], i0 = index / p->shape[2] / p->shape[1];
    int64_t s = i0 * p->ss[0] + i1 * p->ss[1] + i2 * p->ss[2], d = i0 * p->ds[0] + i1 * p->ds[1] + i2 * p->ds[2];
    (void)thread;
    for (int64_t i3 = 0; i3 < p->shape[3]; i3++, s += p->ss[3], d += p->ds[3])
        if (p->add)
            im_ref_put((im_buf){ p->dst, p->dtype }, d, im_ref_load(p->src, p->dtype, s), true);
        else
            memcpy(im_at(p->dst, p->dtype, d), im_at(p->src, p->dtype, s), im_dtype_size(p->dtype));
}

int im_ref_copy(im_device *dev, const im_copy_args *p)
{
    return im_ref_each(dev, p->shape[0] * p->shape[1] * p->shape[2], run, p);
}

static void table_row(const void *arg, int64_t i, int thread)
{
    const im_embedding_args *p = arg;
    (void)thread;
    for (int c = 0; c < p->channels; c++)
        p->y[i * p->channels + c] = im_ref_load(p->table, p->dtype, (int64_t)p->ids[i] * p->channels + c);
}

int im_ref_embedding(im_device *dev, const im_embedding_args *p)
{
    return im_ref_each(dev, p->n, table_row, p);
}

/* Row v of the table. */
static void gradient_row(const void *arg, int64_t v, int thread)
{
    const im_embedding_bwd_args *p = arg;
    (void)thread;
    for (int c = 0; c < p->channels; c++) {
        float *d = &p->dtable[v * p->channels + c];
        double sum = p->add ? *d : 0;
        for (int64_t i = 0; i < p->n; i++)
            sum += p->ids[i] == v ? p->dy[i * p->channels + c] : 0;
        *d = (float)sum;
    }
}

int im_ref_embedding_bwd(im_device *dev, const im_embedding_bwd_args *p)
{
    return im_ref_each(dev, p->rows, gradient_row, p);
}
