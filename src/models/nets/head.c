/* head.c: the two heads of a classifier.
 *
 *     linear   y = x w^T + b                                       torchvision's fc
 *     cosine   z = out(h_L),  h_0 = x / |x|,  h_i = gelu(norm_i(hidden_i h_{i-1}))
 *              y = (z / |z|) (w / |w|)^T / tau                     tau = 0.1
 *
 * The cosine head is that of t-ReX (Sariyildiz et al. 2023, arXiv 2206.15369): hidden layers of 2048 with batch norm,
 * then 256 values without bias, and a weight a class of which only the direction counts. A hidden layer has no bias: the
 * batch norm behind it would take it away. Used by resnet.c. */
#include "models/nets/head.h"

static const float TAU = 0.1f, SMALLEST_NORM = 1e-12f;         /* torch's F.normalize                                 */

void im_head_init(im_params *p, im_head *h, im_head_kind kind, int layers, int width, int classes)
{
    *h = (im_head){ .kind = kind, .layers = layers };
    if (kind == IM_HEAD_LINEAR) {
        im_linear_init(p, "fc", &h->fc, width, classes, true);
        return;
    }
    size_t mark = im_path_push(p, "head");
    for (int i = 0; i < layers; i++, width = IM_HEAD_HIDDEN) {
        size_t inner = im_path_push(p, "hidden.%d", i);
        im_linear_init(p, "linear", &h->hidden[i], width, IM_HEAD_HIDDEN, false);
        im_batchnorm_init(p, "norm", &h->norm[i], IM_HEAD_HIDDEN);
        im_path_pop(p, inner);
    }
    im_linear_init(p, "out", &h->out, width, IM_HEAD_OUT, false);
    im_directions_init(p, "classes", &h->classes, IM_HEAD_OUT, classes);
    im_path_pop(p, mark);
}

im_tensor *im_head_forward(im_ctx *c, const im_head *h, im_tensor *features)
{
    if (h->kind == IM_HEAD_LINEAR)
        return im_linear_forward(c, &h->fc, features, NULL, IM_ACT_NONE);                  /* (B, K)                  */
    im_scope_push(c);
    im_tensor *x = im_normalize(c, features, SMALLEST_NORM);                               /* (B, width)              */
    for (int i = 0; i < h->layers; i++) {
        x = im_linear_forward(c, &h->hidden[i], x, NULL, IM_ACT_NONE);                     /* (B, 2048)               */
        x = im_activate(c, im_batchnorm_forward(c, &h->norm[i], x, NULL, false), IM_ACT_GELU);
    }
    x = im_normalize(c, im_linear_forward(c, &h->out, x, NULL, IM_ACT_NONE), SMALLEST_NORM);             /* (B, 256)  */
    im_tensor *w = im_normalize(c, h->classes.w, SMALLEST_NORM);                           /* (K, 256)                */
    return im_scope_leave(c, im_scale(c, im_linear(c, x, w, NULL, NULL, IM_ACT_NONE), 1.0f / TAU));
}
