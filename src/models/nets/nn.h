/* nn.h: layers and the parameter registry that every network is built from.
 *
 * A network's _new walks its structure once: im_path_push / im_path_pop keep the path, every layer's _init registers
 * its tensors under path + name. So a parameter's name *is* its name in the checkpoint's state dict
 * ("down_blocks.0.resnets.1.conv1.weight") and loading (checkpoint.h) is one loop over the registry.
 * Parameters have a shape from the start and storage only once they are loaded.
 * Used by clip.c, unet.c, unet_blocks.c, vae.c, resnet.c, head.c, adapters.c. */
#ifndef IM_NN_H
#define IM_NN_H

#include "imago_engine.h"

enum { IM_MAX_LEVELS = 12 };             /* resolutions of a UNet or VAE (4 in v1.4); more is an error                */

typedef enum {
    IM_PARAM_LINEAR,                     /* (N, K), packed in panels                                                  */
    IM_PARAM_POINTWISE,                  /* the same, but checkpoints hold the 1x1 convolution (N, K, 1, 1)           */
    IM_PARAM_GEGLU,                      /* (2N, K), packed as values and gates                                       */
    IM_PARAM_CONV,                       /* (Cout, Kh, Kw, Cin), packed; checkpoints hold (Cout, Cin, Kh, Kw)         */
    IM_PARAM_EMBEDDING,                  /* (V, C), plain                                                             */
    IM_PARAM_DIRECTIONS,                 /* (N, K), of which only the rows' directions count: f32, as normalize takes */
    IM_PARAM_VECTOR,                     /* (C): biases, norms; (T, C): positions. f32 whatever the weights are in    */
    IM_PARAM_BUFFER,                     /* (C): running statistics of batch norm: f32, loaded, saved, never trained  */
} im_param_kind;

typedef struct im_param {
    im_tensor *t;                        /* t->name: the state-dict name; owned by the registry                       */
    im_param_kind kind;
    bool wide;                           /* stays in f32 where the others are int8                                    */
    struct im_linear_layer *layer;       /* whose weight it is; NULL: none of im_linear_init's                        */
} im_param;

typedef struct im_params {               /* one network's parameters, in the order of its construction               */
    im_ctx *c;
    im_param *v;
    int n, cap;
    char *path;                          /* "down_blocks.0.resnets.1"; "" at the root                                 */
    size_t path_cap;
    void **memory;                       /* what im_params_alloc gave out                                             */
    int n_memory, cap_memory;
    bool train;                          /* set before loading: weights are held plain in f32 and want gradients      */
    bool frozen;                         /* set before loading: the same without gradients, for what is trained       */
                                         /* before them or beside them (adapters.h)                                   */
    bool batch_statistics;               /* batch norm takes those of its batch, and moves the running ones           */
    bool mapped;                         /* the file stays open: weights that the device takes as they stand in it    */
                                         /* stay there                                                                */
    im_dtype activations;                /* what values between a network's first and last layers are held in         */
    bool widened;                        /* f16 weights are multiplied as f32, whose bits all sets share (sd.c)       */
    bool wide;                           /* what is registered now stays in f32 where the others are int8             */
    bool recompute;                      /* training: blocks keep their inputs only, and run again in backward        */
} im_params;

void im_params_init(im_params *p, im_ctx *c);
void im_params_free(im_params *p);
/* The dtype whose arithmetic products with w have: f32's where it is f16 that is widened. */
im_dtype im_products_of(const im_tensor *w);
/* h as values between layers are held. */
im_tensor *im_as_activation(const im_params *p, im_tensor *h);
/* Zeroed memory that lives as long as the registry: a network's lists of blocks. NULL: the context has the failure. */
void *im_params_alloc(im_params *p, size_t count, size_t size);
/* The parameter of that name, or NULL. */
const im_param *im_params_find(const im_params *p, const char *name);
int64_t im_params_numel(const im_params *p);
size_t im_params_bytes(const im_params *p, im_dtype t);        /* as stored, without the padding of panels            */

/* Storage for q as this registry wants it: in training plain f32 with gradients, else in dtype t, packed where the device
 * likes that; vectors and buffers in f32. int8 is for products that are not `wide`, and always packed; the rest is f32
 * then. And the layout that this is. */
bool im_params_store(const im_params *p, const im_param *q, im_dtype t);
im_weight_layout im_params_layout(const im_params *p, const im_param *q, im_dtype t);

/* Shape as the checkpoint has it: convolutions are (Cout, Cin, Kh, Kw). Returns the number of axes. */
int im_param_file_shape(const im_param *p, int64_t shape[IM_MAX_DIMS]);

/* The path of what is registered next: mark = im_path_push(p, "down_blocks.%d", 0); ...; im_path_pop(p, mark). */
size_t im_path_push(im_params *p, const char *fmt, ...)
#ifdef __GNUC__
    __attribute__((format(printf, 2, 3)))
#endif
    ;
void im_path_pop(im_params *p, size_t mark);
/* The present path, kept as long as the registry: blocks hand it to im_trace. */
const char *im_path_name(im_params *p);

typedef struct im_linear_layer {
    im_tensor *w, *b;                    /* (N, K), (N) or NULL                                                       */
    const struct im_adapter *adapter;    /* trained beside w (adapters.h); NULL: none                                 */
} im_linear_layer;
typedef struct im_conv_layer {
    im_tensor *w, *b;                    /* (Cout, Kh, Kw, Cin), (Cout)                                               */
    im_conv_attrs at;
} im_conv_layer;
typedef struct im_norm_layer {
    im_tensor *w, *b;                    /* gamma (C), beta (C)                                                       */
    int groups;                          /* 0: layer norm                                                             */
    float eps;
} im_norm_layer;
typedef struct im_batchnorm_layer {
    im_tensor *w, *b;                    /* gamma (C), beta (C)                                                       */
    im_tensor *mean, *var;               /* (C): running statistics                                                   */
    const im_params *of;                 /* whose batch_statistics counts                                             */
} im_batchnorm_layer;

/* A failure is kept by the context: whoever builds the network asks im_ok once, at its end. */
void im_linear_init(im_params *p, const char *name, im_linear_layer *l, int in, int out, bool bias);
void im_directions_init(im_params *p, const char *name, im_linear_layer *l, int in, int out);   /* rows to normalise  */
void im_pointwise_init(im_params *p, const char *name, im_linear_layer *l, int in, int out);
void im_geglu_init(im_params *p, const char *name, im_linear_layer *l, int in, int out);        /* weight (2 out, in) */
void im_conv_init(im_params *p, const char *name, im_conv_layer *l, int cin, int cout, int kernel, int stride, int pad);
void im_conv_plain_init(im_params *p, const char *name, im_conv_layer *l, int cin, int cout, int kernel, int stride,
                        int pad);        /* without bias                                                              */
void im_pointwise_plain_init(im_params *p, const char *name, im_linear_layer *l, int in, int out);      /* the same   */
void im_batchnorm_init(im_params *p, const char *name, im_batchnorm_layer *l, int channels);
void im_groupnorm_init(im_params *p, const char *name, im_norm_layer *l, int channels, int groups, float eps);
void im_layernorm_init(im_params *p, const char *name, im_norm_layer *l, int channels, float eps);
im_tensor *im_embedding_init(im_params *p, const char *name, int rows, int channels);           /* (rows, channels)   */
im_tensor *im_vector_init(im_params *p, const char *name, int channels);                /* (channels), f32           */
im_tensor *im_matrix_init(im_params *p, const char *name, int rows, int columns);               /* of a linear layer  */
im_tensor *im_positions_init(im_params *p, const char *name, int rows, int channels);           /* the same, f32      */

/* y = act(x w^T + b) + res.    x (..., K)  res (..., N) or NULL  ->  (..., N) */
im_tensor *im_linear_forward(im_ctx *c, const im_linear_layer *l, im_tensor *x, im_tensor *res, im_act act);
/* y = v * gelu(g).             x (..., K)  ->  (..., N) */
im_tensor *im_geglu_forward(im_ctx *c, const im_linear_layer *l, im_tensor *x);
/* y = conv(x) + b + chan + res.   x (B, H, W, Cin)  chan (B, Cout) or NULL  res (B, Ho, Wo, Cout) or NULL */
im_tensor *im_conv_forward(im_ctx *c, const im_conv_layer *l, im_tensor *x, im_tensor *chan, im_tensor *res);
/* The same on x enlarged to (up_h, up_w) by nearest neighbour first. */
im_tensor *im_conv_forward_up(im_ctx *c, const im_conv_layer *l, im_tensor *x, int up_h, int up_w);
/* Group or layer norm as the layer says; silu (group norm only): followed by SiLU.   x of any shape (..., C) */
im_tensor *im_norm_forward(im_ctx *c, const im_norm_layer *l, im_tensor *x, bool silu);

/* Batch norm, then + res (NULL: none), then ReLU where asked.   x of any shape (..., C) */
im_tensor *im_batchnorm_forward(im_ctx *c, const im_batchnorm_layer *l, im_tensor *x, im_tensor *res, bool relu);

/* Closes the scope that the caller opened; h moves to the scope around it. Returns h. */
im_tensor *im_scope_leave(im_ctx *c, im_tensor *h);

#endif
