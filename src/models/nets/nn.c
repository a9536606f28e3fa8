/* nn.c: the parameter registry and the layers of nn.h. A layer is a name for an op and its weights, nothing more:
 *     linear       y = act(x w^T + b) + res
 *     convolution  y = conv(x, w) + b + chan + res
 *     norms        y = (x - mean) / sqrt(var + eps) * gamma + beta
 * Used by clip.c, unet.c, unet_blocks.c, vae.c, resnet.c, head.c; the registry also by checkpoint.c, init_weights.c and
 * convert.c. */
#include "models/nets/adapters.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void im_params_init(im_params *p, im_ctx *c)
{
    memset(p, 0, sizeof *p);
    p->c = c;
}

im_dtype im_products_of(const im_tensor *w)
{
    return w->widened ? IM_F32 : (im_dtype)w->dtype;
}

im_tensor *im_as_activation(const im_params *p, im_tensor *h)
{
    return h && h->dtype != p->activations ? im_cast(p->c, h, p->activations) : h;
}

void im_params_free(im_params *p)
{
    for (int i = 0; i < p->n; i++)
        im_param_free(p->c, p->v[i].t);
    for (int i = 0; i < p->n_memory; i++)
        free(p->memory[i]);
    free(p->v);
    free(p->memory);
    free(p->path);
    memset(p, 0, sizeof *p);
}

void *im_params_alloc(im_params *p, size_t count, size_t size)
{
    if (p->n_memory == p->cap_memory) {
        int cap = p->cap_memory ? 2 * p->cap_memory : 64;
        void **memory = realloc(p->memory, (size_t)cap * sizeof *memory);
        if (!memory) {
            im_fail(p->c, "out of memory for the lists of a network");
            return NULL;
        }
        p->memory = memory;
        p->cap_memory = cap;
    }
    void *got = calloc(count ? count : 1, size);
    if (!got) {
        im_fail(p->c, "out of memory for the lists of a network");
        return NULL;
    }
    return p->memory[p->n_memory++] = got;
}

const im_param *im_params_find(const im_params *p, const char *name)
{
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->v[i].t->name, name))
            return &p->v[i];
    return NULL;
}

int64_t im_params_numel(const im_params *p)
{
    int64_t n = 0;
    for (int i = 0; i < p->n; i++)
        n += im_numel(p->v[i].t);
    return n;
}

/* What q is held in where weights are in t. */
static im_dtype held_in(const im_params *p, const im_param *q, im_dtype t)
{
    bool plain = q->kind >= IM_PARAM_DIRECTIONS || (t == IM_INT8 && (q->wide || q->kind == IM_PARAM_EMBEDDING));
    return plain || p->train || p->frozen ? IM_F32 : t;
}

size_t im_params_bytes(const im_params *p, im_dtype t)
{
    size_t bytes = 0;
    for (int i = 0; i < p->n; i++)
        bytes += (size_t)im_numel(p->v[i].t) * im_dtype_size(held_in(p, &p->v[i], t));
    return bytes;
}

im_weight_layout im_params_layout(const im_params *p, const im_param *q, im_dtype t)
{
    bool plain = q->kind >= IM_PARAM_DIRECTIONS;
    im_dtype dtype = held_in(p, q, t);
    bool trained = p->train || p->frozen;
    bool packed = !trained && !plain && q->kind != IM_PARAM_EMBEDDING && (im_packs_weights(p->c) || dtype == IM_INT8);
    return (im_weight_layout){ .dtype = dtype, .packed = packed, .geglu = q->kind == IM_PARAM_GEGLU,
                               .widened = p->widened };
}

bool im_params_store(const im_params *p, const im_param *q, im_dtype t)
{
    if (!im_param_alloc(p->c, q->t, im_params_layout(p, q, t)))
        return false;
    return !p->train || q->kind == IM_PARAM_BUFFER || im_want_grad(p->c, q->t);
}

int im_param_file_shape(const im_param *p, int64_t shape[IM_MAX_DIMS])
{
    const int64_t *s = p->t->shape;
    switch (p->kind) {
    case IM_PARAM_CONV:                                        /* (Cout, Kh, Kw, Cin) -> (Cout, Cin, Kh, Kw)          */
        shape[0] = s[0], shape[1] = s[3], shape[2] = s[1], shape[3] = s[2];
        return 4;
    case IM_PARAM_POINTWISE:
        shape[0] = s[0], shape[1] = s[1], shape[2] = shape[3] = 1;
        return 4;
    default:
        memcpy(shape, s, sizeof p->t->shape[0] * p->t->ndim);
        return p->t->ndim;
    }
}

/* ---------------------------------------------------------------- the path and what is registered under it */

size_t im_path_push(im_params *p, const char *fmt, ...)
{
    size_t used = p->path ? strlen(p->path) : 0;
    va_list ap;
    va_start(ap, fmt);
    int extra = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    size_t need = used + (size_t)extra + 2;                    /* a dot and the final zero                            */
    if (need > p->path_cap) {
        char *path = realloc(p->path, 2 * need);
        if (!path) {
            im_fail(p->c, "out of memory for a parameter's name");
            return used;
        }
        p->path = path;
        p->path_cap = 2 * need;
    }
    char *end = p->path + used;
    if (used)
        *end++ = '.';
    va_start(ap, fmt);
    vsnprintf(end, (size_t)extra + 1, fmt, ap);
    va_end(ap);
    return used;
}

void im_path_pop(im_params *p, size_t mark)
{
    if (p->path)
        p->path[mark] = 0;
}

/* A malloc'd path.name + suffix. */
static char *full_name(im_params *p, const char *name, const char *suffix)
{
    const char *path = p->path ? p->path : "";
    size_t size = strlen(path) + strlen(name) + strlen(suffix) + 2;
    char *out = malloc(size);
    if (!out) {
        im_fail(p->c, "out of memory for a parameter's name");
        return NULL;
    }
    snprintf(out, size, "%s%s%s%s", path, *path && *name ? "." : "", name, suffix);
    return out;
}

const char *im_path_name(im_params *p)
{
    const char *path = p->path ? p->path : "";
    char *name = im_params_alloc(p, strlen(path) + 1, 1);
    return name ? strcpy(name, path) : "";
}

static im_tensor *add_param(im_params *p, const char *name, const char *suffix, im_param_kind kind, int ndim,
                            const int64_t shape[])
{
    if (!im_ok(p->c))
        return NULL;
    if (p->n == p->cap) {
        int cap = p->cap ? 2 * p->cap : 256;
        im_param *v = realloc(p->v, (size_t)cap * sizeof *v);
        if (!v) {
            im_fail(p->c, "out of memory for the parameter list");
            return NULL;
        }
        p->v = v;
        p->cap = cap;
    }
    char *full = full_name(p, name, suffix);
    if (!full)
        return NULL;
    im_tensor *t = im_param_new(p->c, full, IM_F32, ndim, shape);
    free(full);
    if (t)
        p->v[p->n++] = (im_param){ .t = t, .kind = kind, .wide = p->wide };
    return t;
}

static im_tensor *add_vector(im_params *p, const char *name, const char *suffix, int n)
{
    return add_param(p, name, suffix, IM_PARAM_VECTOR, 1, (int64_t[]){ n });
}

/* ---------------------------------------------------------------- layers */

void im_linear_init(im_params *p, const char *name, im_linear_layer *l, int in, int out, bool bias)
{
    l->w = add_param(p, name, ".weight", IM_PARAM_LINEAR, 2, (int64_t[]){ out, in });
    if (l->w)
        p->v[p->n - 1].layer = l;
    l->b = bias ? add_vector(p, name, ".bias", out) : NULL;
}

void im_directions_init(im_params *p, const char *name, im_linear_layer *l, int in, int out)
{
    l->w = add_param(p, name, ".weight", IM_PARAM_DIRECTIONS, 2, (int64_t[]){ out, in });
    l->b = NULL;
}

void im_pointwise_init(im_params *p, const char *name, im_linear_layer *l, int in, int out)
{
    l->w = add_param(p, name, ".weight", IM_PARAM_POINTWISE, 2, (int64_t[]){ out, in });
    l->b = add_vector(p, name, ".bias", out);
}

void im_pointwise_plain_init(im_params *p, const char *name, im_linear_layer *l, int in, int out)
{
    l->w = add_param(p, name, ".weight", IM_PARAM_POINTWISE, 2, (int64_t[]){ out, in });
    l->b = NULL;
}

void im_geglu_init(im_params *p, const char *name, im_linear_layer *l, int in, int out)
{
    l->w = add_param(p, name, ".weight", IM_PARAM_GEGLU, 2, (int64_t[]){ 2 * (int64_t)out, in });
    l->b = add_vector(p, name, ".bias", 2 * out);
}

void im_conv_plain_init(im_params *p, const char *name, im_conv_layer *l, int cin, int cout, int kernel, int stride,
                        int pad)
{
    l->w = add_param(p, name, ".weight", IM_PARAM_CONV, 4, (int64_t[]){ cout, kernel, kernel, cin });
    l->b = NULL;
    l->at = (im_conv_attrs){ .stride = stride, .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad };
}

void im_conv_init(im_params *p, const char *name, im_conv_layer *l, int cin, int cout, int kernel, int stride, int pad)
{
    im_conv_plain_init(p, name, l, cin, cout, kernel, stride, pad);
    l->b = add_vector(p, name, ".bias", cout);
}

static const float BATCHNORM_EPS = 1e-5f, BATCHNORM_MOMENTUM = 0.1f;                /* torch's                       */

void im_batchnorm_init(im_params *p, const char *name, im_batchnorm_layer *l, int channels)
{
    l->w = add_vector(p, name, ".weight", channels);
    l->b = add_vector(p, name, ".bias", channels);
    l->mean = add_param(p, name, ".running_mean", IM_PARAM_BUFFER, 1, (int64_t[]){ channels });
    l->var = add_param(p, name, ".running_var", IM_PARAM_BUFFER, 1, (int64_t[]){ channels });
    l->of = p;
}

static void norm_init(im_params *p, const char *name, im_norm_layer *l, int channels, int groups, float eps)
{
    l->w = add_vector(p, name, ".weight", channels);
    l->b = add_vector(p, name, ".bias", channels);
    l->groups = groups;
    l->eps = eps;
}

void im_groupnorm_init(im_params *p, const char *name, im_norm_layer *l, int channels, int groups, float eps)
{
    norm_init(p, name, l, channels, groups, eps);
}

void im_layernorm_init(im_params *p, const char *name, im_norm_layer *l, int channels, float eps)
{
    norm_init(p, name, l, channels, 0, eps);
}

im_tensor *im_embedding_init(im_params *p, const char *name, int rows, int channels)
{
    return add_param(p, name, ".weight", IM_PARAM_EMBEDDING, 2, (int64_t[]){ rows, channels });
}

im_tensor *im_vector_init(im_params *p, const char *name, int channels)
{
    return add_param(p, name, "", IM_PARAM_VECTOR, 1, (int64_t[]){ channels });
}

im_tensor *im_matrix_init(im_params *p, const char *name, int rows, int columns)
{
    return add_param(p, name, "", IM_PARAM_LINEAR, 2, (int64_t[]){ rows, columns });
}

im_tensor *im_positions_init(im_params *p, const char *name, int rows, int channels)
{
    return add_param(p, name, ".weight", IM_PARAM_VECTOR, 2, (int64_t[]){ rows, channels });
}

im_tensor *im_linear_forward(im_ctx *c, const im_linear_layer *l, im_tensor *x, im_tensor *res, im_act act)
{
    im_show_input(c, l->w, x);
    im_tensor *y = im_linear(c, x, l->w, l->b, res, act);                                /* (..., N)        */
    return l->adapter && act == IM_ACT_NONE ? im_adapter_add(c, l->adapter, x, y) : y;
}

im_tensor *im_geglu_forward(im_ctx *c, const im_linear_layer *l, im_tensor *x)
{
    im_show_input(c, l->w, x);
    return im_linear_geglu(c, x, l->w, l->b);
}

im_tensor *im_conv_forward(im_ctx *c, const im_conv_layer *l, im_tensor *x, im_tensor *chan, im_tensor *res)
{
    im_show_input(c, l->w, x);
    return im_conv2d(c, x, l->w, l->b, chan, res, &l->at);
}

im_tensor *im_conv_forward_up(im_ctx *c, const im_conv_layer *l, im_tensor *x, int up_h, int up_w)
{
    im_conv_attrs at = l->at;
    at.up_h = up_h;
    at.up_w = up_w;
    im_show_input(c, l->w, x);
    return im_conv2d(c, x, l->w, l->b, NULL, NULL, &at);
}

im_tensor *im_norm_forward(im_ctx *c, const im_norm_layer *l, im_tensor *x, bool silu)
{
    if (l->groups)
        return im_groupnorm(c, x, l->w, l->b, l->groups, l->eps, silu);
    return im_layernorm(c, x, l->w, l->b, l->eps);
}

im_tensor *im_batchnorm_forward(im_ctx *c, const im_batchnorm_layer *l, im_tensor *x, im_tensor *res, bool relu)
{
    im_batchnorm_attrs at = { .eps = BATCHNORM_EPS, .momentum = BATCHNORM_MOMENTUM, .training = l->of->batch_statistics,
                              .relu = relu };
    return im_batchnorm(c, x, l->w, l->b, res, l->mean, l->var, &at);
}

im_tensor *im_scope_leave(im_ctx *c, im_tensor *h)
{
    if (h)
        im_keep(c, h);
    im_scope_pop(c);
    return h;
}
