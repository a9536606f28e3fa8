/* imago_engine.h: the engine: contexts, tensors, operations, plans, gradients, optimisers, random numbers.
 * Rules that hold everywhere, and an example, are in imago.h. */
#ifndef IMAGO_ENGINE_H
#define IMAGO_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#define IM_PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define IM_PRINTF(at, first)
#endif

/* ---------------------------------------------------------------- context and errors (tensor/error.c, tensor/ctx.c) */

typedef struct im_ctx im_ctx;

/* device: "cpu" (fast), "ref" (plain loops with f64 sums: the specification) or "cuda[:N]". threads 0: all cores.
 * Returns NULL only when memory is out; an unknown or absent device is an error kept in the context. */
im_ctx *im_ctx_new(const char *device, int threads);
void im_ctx_free(im_ctx *c);

bool im_ok(const im_ctx *c);                                   /* no failure yet                                       */
const char *im_error(const im_ctx *c);                         /* the first failure, "" when there is none             */
void im_clear_error(im_ctx *c);                                /* but for a device that could not be opened            */
/* Keeps the first failure. Names the thing, what was found, what was wanted, what to do. Always returns false. */
bool im_fail(im_ctx *c, const char *fmt, ...) IM_PRINTF(2, 3);
bool im_out_of_memory(const im_ctx *c);                        /* the failure is that the device's memory is too small */
/* Something the user should hear that is no failure; goes to the function set by im_on_warning. One that comes before there
 * is a function, while a device is opened, waits for it. */
void im_warn(im_ctx *c, const char *fmt, ...) IM_PRINTF(2, 3);
void im_on_warning(im_ctx *c, void (*fn)(void *arg, const char *text), void *arg);

/* im_cancel may be called from a signal handler or another thread: the running kernel ends, everything after it fails with
 * "stopped". It holds until im_uncancel; with im_clear_error as well the context works again, and its models with it. */
void im_cancel(im_ctx *c);
void im_uncancel(im_ctx *c);
bool im_cancelled(const im_ctx *c);

const char *im_device_name(const im_ctx *c);                   /* "cpu", "ref", "cuda"                                 */
const char *im_device_place(const im_ctx *c);                  /* what opens the same one again: "cpu", "cuda:1"       */
const char *im_device_isa(const im_ctx *c);                    /* "avx512", "ref" ...                                  */
/* What more there is to say of a GPU, in words: code in this build, its memory, driver. "" for others. */
void im_device_about(im_ctx *c, char *text, size_t size);
int im_threads(const im_ctx *c);
/* Bytes that this process may still take: of the machine, and of every control group (v1, v2) around it. -1: not known. */
int64_t im_memory_available(void);
double im_seconds(void);                                      /* of a clock that only goes forward (tensor/ctx.c)     */

/* How models are read from now on. strict: tensors that no network asks for are an error, not left out with a warning.
 * variant: "fp16", "non_ema" ... of a diffusers folder's files; NULL: the plain ones, or the only variant there is. */
bool im_weights_rules(im_ctx *c, bool strict, const char *variant);
const char *im_weights_variant(const im_ctx *c, bool *strict); /* NULL: none was chosen                                */

/* ---------------------------------------------------------------- tensors (tensor/tensor.c, tensor/scope.c) */

enum { IM_MAX_DIMS = 5, IM_MAX_IN = 6 };
typedef enum { IM_F32, IM_F16, IM_BF16, IM_I32, IM_INT8 } im_dtype;      /* int8: packed weights, nothing else   */
size_t im_dtype_size(im_dtype t);                              /* 0, and "none": no such type                         */
const char *im_dtype_name(im_dtype t);                         /* "f32", "f16", "bf16", "i32", "int8"                  */
bool im_dtype_parse(const char *name, im_dtype *out);
uint16_t im_f16_from_f32(float x);                             /* round to nearest even, as the hardware does          */
float im_f32_from_f16(uint16_t h);
uint16_t im_bf16_from_f32(float x);
float im_f32_from_bf16(uint16_t h);

typedef struct im_storage im_storage;                          /* bytes on one device, shared by all views of them     */
typedef struct im_tensor {                                     /* a shape laid over a storage; a view shares storage   */
    im_storage *storage;                                       /* NULL: a parameter that has not been loaded           */
    int64_t offset;                                            /* in elements                                          */
    int64_t shape[IM_MAX_DIMS], stride[IM_MAX_DIMS];           /* in elements                                          */
    uint8_t ndim, dtype;
    uint8_t wants_grad;                                        /* a parameter in training, or computed from one        */
    uint8_t grad_set;                                          /* grad holds a value: what comes next is added         */
    uint8_t on_tape;                                           /* its scope has closed: the tape's nodes hold the data */
    uint8_t packed;                                            /* 1: weight in panels of IM_PANEL rows (device.h)      */
    uint8_t geglu;                                             /* packed as values and gates (im_linear_geglu)         */
    uint8_t widened;                                           /* f16 whose products are those of f32                  */
    const char *name;                                          /* parameters: the state-dict name; else NULL           */
    struct im_tensor *base;                                    /* a view of what wants a gradient: whose gradient it is */
    struct im_tensor *grad;                                    /* same shape, NULL until backward reaches it           */
} im_tensor;

im_tensor *im_new(im_ctx *c, im_dtype t, int ndim, const int64_t shape[]);          /* uninitialised; i32: zeros      */
im_tensor *im_from(im_ctx *c, im_dtype t, int ndim, const int64_t shape[], const void *data);     /* a copy of data    */
int64_t im_numel(const im_tensor *t);
bool im_contiguous(const im_tensor *t);
void im_shape_text(const im_tensor *t, char *out, size_t size);                     /* "(2, 64, 64, 320)"              */

/* All values of a tensor, in the order of its shape (tensor/transfer.c). Its memory is the device's: there is no pointer to
 * it. What is written is contiguous; views with gaps can be read. Of i32 none may name a row that its op does not have. */
bool im_upload(im_ctx *c, im_tensor *t, const void *values);
bool im_download(im_ctx *c, const im_tensor *t, void *values); /* waits for what was asked for before                  */
void *im_values(im_ctx *c, const im_tensor *t);                /* the same, malloc'd; NULL after a failure             */
/* Where the device's memory is the host's: the values as they lie, to be read only, in t's strides; they are there as long
 * as t is, and change when t does. NULL, and no failure: the memory is out of reach, im_download has a copy. */
const void *im_host_values(im_ctx *c, const im_tensor *t);
double im_item(im_ctx *c, const im_tensor *t);                 /* of a tensor of one value; 0 after a failure          */
bool im_fill(im_ctx *c, im_tensor *t, float value);            /* every element                                        */
bool im_assign(im_ctx *c, im_tensor *t, const im_tensor *from);         /* the values of another, as many of its dtype  */

/* Of a context so far. syncs: how often the host waited for the device; uploaded, downloaded: bytes; blocks: pieces of
 * memory that the device was asked for, scratch of kernels too; plans: how many were recorded; copies: how often a weight
 * in training was put into 16 bits. */
typedef struct im_counts {
    int64_t uploads, downloads, syncs, blocks, plans, copies;
    uint64_t uploaded, downloaded;
} im_counts;
im_counts im_counted(const im_ctx *c);

/* Plain arithmetic on values that stay on the device: what samplers need (tensor/ops/steps.c). No operation: nothing is
 * recorded. All is f32, contiguous and of one size. */
typedef struct im_combination {                                /* y = (w[0] x[0] + w[1] x[1] + ...) / by, each product, */
    int count;                                                 /* sum and quotient rounded to f32, in this order; then */
    const im_tensor *x[6]; float w[6];                         /* into -limit .. limit                                 */
    float by, limit;                                           /* 1, and INFINITY: neither                             */
    const im_tensor *unless;                                   /* i32 (1): not 0: y stays as it is; NULL               */
} im_combination;
bool im_combine(im_ctx *c, im_tensor *y, const im_combination *a);        /* y may be one of the x                     */
/* mark (i32, 1) becomes code where it is 0 and x holds a value that is not finite: the first code stays. */
bool im_watch(im_ctx *c, const im_tensor *x, int code, im_tensor *mark);
/* z = scaling im_gaussian_sample(moments, noise), by the C library's exponential. moments (..., 2C)  noise, z (..., C) */
bool im_draw_latent(im_ctx *c, im_tensor *z, const im_tensor *moments, const im_tensor *noise, float scaling);
/* Views: no copy. */
im_tensor *im_reshape(im_ctx *c, im_tensor *t, int ndim, const int64_t shape[]);    /* t contiguous; one -1 allowed    */
im_tensor *im_slice(im_ctx *c, im_tensor *t, int axis, int64_t from, int64_t to);

/* Parameters: weights of a model, owned by the caller, outside every scope. */
im_tensor *im_param_new(im_ctx *c, const char *name, im_dtype t, int ndim, const int64_t shape[]);   /* no storage yet */
/* How a weight is to be stored: in what dtype; packed: in the device's own form (weights of linear and conv2d on the cpu:
 * in panels), and then geglu: the values and the gates of im_linear_geglu. Order and padding are the device's. widened: f16
 * that is multiplied as f32, whose bits all instruction sets share. */
typedef struct im_weight_layout { im_dtype dtype; bool packed, geglu, widened; } im_weight_layout;
bool im_param_alloc(im_ctx *c, im_tensor *t, im_weight_layout layout);              /* memory for it                  */
/* Converts and packs src (all elements, in src_dtype) into t, in parallel. oihw: src is (Cout, Cin, Kh, Kw) as in
 * checkpoints while t is (Cout, Kh, Kw, Cin). */
bool im_param_load(im_ctx *c, im_tensor *t, const void *src, im_dtype src_dtype, bool oihw);
/* The same from integers and a scale for each row of them, into t in int8: nothing is rounded. multipliers: of the input
 * channels, (Cin), with which the other factor is multiplied before it is rounded (tensor/int8.h); or NULL. */
bool im_param_load_int8(im_ctx *c, im_tensor *t, const int8_t *src, const float *scales, const float *multipliers,
                        bool oihw);
/* Rounds rows of k values to int8 (tensor/int8.h), in parallel: the integers, the scale of each row; either may be NULL. */
void im_round_int8(im_ctx *c, const float *values, int64_t rows, int64_t k, int8_t *q, float *scales);
bool im_has_int8(const im_ctx *c);                             /* weights may be held in int8 on this device           */
bool im_packs_weights(const im_ctx *c);                        /* true where the device wants packed weights           */
/* Bytes as the device stores a weight: what im_param_alloc asks for; all of them, malloc'd, or NULL after a failure; and a
 * weight made of such bytes without a copy: of a mapped file, say, that stays as long as t, to which nothing may be written
 * then. False, and no failure: this device has to be given them by im_param_load. */
size_t im_param_stored_bytes(im_ctx *c, const im_tensor *t, im_weight_layout layout);
void *im_param_stored(im_ctx *c, const im_tensor *t);
bool im_param_map(im_ctx *c, im_tensor *t, im_weight_layout layout, const void *stored);
/* The same of data as im_param_load takes them, where the device would store just these bytes. */
bool im_param_map_file(im_ctx *c, im_tensor *t, im_weight_layout layout, const void *src, im_dtype src_dtype, bool oihw);
void im_param_free(im_ctx *c, im_tensor *t);

/* Calls fn(arg, task, thread) for every task in [0, tasks) on the context's threads. Not nested. */
void im_parallel(im_ctx *c, int tasks, void (*fn)(void *arg, int task, int thread), void *arg);

void im_scope_push(im_ctx *c);
void im_scope_pop(im_ctx *c);                                  /* releases every tensor made since the push ...        */
im_tensor *im_keep(im_ctx *c, im_tensor *t);                   /* ... but those handed to the scope around it          */
im_tensor *im_own(im_ctx *c, im_tensor *t);                    /* out of every scope: the caller's, until im_param_free */

/* ---------------------------------------------------------------- operations (tensor/ops/) */

typedef enum { IM_ACT_NONE, IM_ACT_SILU, IM_ACT_GELU, IM_ACT_GELU_TANH, IM_ACT_QUICK_GELU, IM_ACT_RELU,
               IM_ACT_TANH } im_act;

/* y = act(x w^T + b) + res.   x (..., K)  w (N, K)  b (N) or NULL  res (..., N) or NULL -> (..., N) */
im_tensor *im_linear(im_ctx *c, im_tensor *x, im_tensor *w, im_tensor *b, im_tensor *res, im_act act);
/* y = v * gelu(g), [v g] = x w^T + b.   x (..., K)  w (2N, K)  b (2N) -> (..., N)   (Shazeer 2020, GLU variants) */
im_tensor *im_linear_geglu(im_ctx *c, im_tensor *x, im_tensor *w, im_tensor *b);

typedef struct {
    int stride;                                                /* both axes                                            */
    int pad_top, pad_left, pad_bottom, pad_right;              /* zeros around the (upsampled) input                   */
    int up_h, up_w;                                            /* > 0: input is first enlarged to this, nearest        */
} im_conv_attrs;
/* y = conv(x, w) + b + chan[:, None, None, :] + res.
 * x (B, H, W, Cin)  w (Cout, Kh, Kw, Cin)  b (Cout)  chan (B, Cout) or NULL  res (B, Ho, Wo, Cout) or NULL */
im_tensor *im_conv2d(im_ctx *c, im_tensor *x, im_tensor *w, im_tensor *b, im_tensor *chan, im_tensor *res,
                     const im_conv_attrs *at);

/* Group norm over (H, W, C / groups), then SiLU where asked (Wu & He 2018). x (B, H, W, C) or (B, T, C) */
im_tensor *im_groupnorm(im_ctx *c, im_tensor *x, im_tensor *gamma, im_tensor *beta, int groups, float eps, bool silu);
im_tensor *im_layernorm(im_ctx *c, im_tensor *x, im_tensor *gamma, im_tensor *beta, float eps);

/* Batch norm over all axes but the last, + res, ReLU where asked (Ioffe & Szegedy 2015). x, res (B, ..., C), the others
 * (C). training: by the statistics of this batch, and running = (1 - momentum) running + momentum new, with the unbiased
 * variance (not again in im_recompute's second run); else by the running ones. */
typedef struct im_batchnorm_attrs { float eps, momentum; bool training, relu; } im_batchnorm_attrs;
im_tensor *im_batchnorm(im_ctx *c, im_tensor *x, im_tensor *gamma, im_tensor *beta, im_tensor *res /* or NULL */,
                        im_tensor *running_mean, im_tensor *running_var, const im_batchnorm_attrs *at);
/* The largest value of each window; padding (at most half a window) never wins. x (B, H, W, C) -> (B, Ho, Wo, C) */
im_tensor *im_maxpool(im_ctx *c, im_tensor *x, int kernel, int stride, int pad);
im_tensor *im_avgpool(im_ctx *c, im_tensor *x);                /* mean over pixels: (B, ..., C) -> (B, C)              */

/* softmax(q k^T / sqrt(d)) v by tiles, scores never stored (Dao et al. 2022).
 * q (B, Tq, heads*d)  k, v (B, Tk, heads*d), last axis contiguous; causal: query i sees keys 0..i */
im_tensor *im_attention(im_ctx *c, im_tensor *q, im_tensor *k, im_tensor *v, int heads, bool causal);
/* The same beside weights in that dtype, without a tape. A device with tile registers rounds q, k, v and the weights of the
 * softmax to bf16 beside bf16, and splits each into two beside f16 (cpu/split.h). int8: products of integers on every
 * device (tensor/int8.h). */
im_tensor *im_attention_beside(im_ctx *c, im_tensor *q, im_tensor *k, im_tensor *v, int heads, bool causal,
                               im_dtype weights);

im_tensor *im_activate(im_ctx *c, im_tensor *x, im_act act);
im_tensor *im_add(im_ctx *c, im_tensor *a, im_tensor *b);      /* b of a's shape, or (…) trailing part of it           */
im_tensor *im_scale(im_ctx *c, im_tensor *x, float s);         /* s * x                                                */
im_tensor *im_concat(im_ctx *c, im_tensor *a, im_tensor *b);   /* along the last axis (channels)                       */
im_tensor *im_stack(im_ctx *c, im_tensor *a, im_tensor *b);    /* along the first axis (batches)                       */
im_tensor *im_contiguous_copy(im_ctx *c, im_tensor *x);
/* x in t, f32 or bf16. Convolutions and linear layers (without bias, activation and sums), batch norm and the pools take
 * bf16 as well and give it back, but for im_avgpool, which gives f32; gradients have the dtype of what they belong to. */
im_tensor *im_cast(im_ctx *c, im_tensor *x, im_dtype t);
im_tensor *im_embedding(im_ctx *c, im_tensor *table, im_tensor *ids);     /* (V, C), i32 (B, T) -> (B, T, C)           */
/* [cos(t f), sin(t f)] or sines first; f_i = exp(-ln(10000) i / (dim/2 - shift)).   t f32 (B) -> (B, dim) */
im_tensor *im_timestep_embedding(im_ctx *c, im_tensor *t, int dim, bool cos_first, float shift);
/* x / max(|x|, eps) over the last axis; torch's F.normalize has eps 1e-12 */
im_tensor *im_normalize(im_ctx *c, im_tensor *x, float eps);
/* Token merging without a tape (Bolya & Hoffman 2023, arXiv 2303.17604). Of h w tokens those of even row and column (where
 * sizes are odd, of the even part) are kept, T = (h / 2) (w / 2) of them; `merged` of the others, those of the highest
 * score, join the kept token that gave it. scores (B, h w, T) -> (B, h w), always f32: of each token its row among the
 * h w - merged that are left. Merged: means of the tokens of a row, in x's dtype; spread: each token has its row again. */
im_tensor *im_token_match(im_ctx *c, im_tensor *scores, int h, int w, int merged);
im_tensor *im_token_merge(im_ctx *c, im_tensor *x, im_tensor *row, int rows);       /* (B, N, C), (B, N) -> (B, rows, C) */
im_tensor *im_token_spread(im_ctx *c, im_tensor *y, im_tensor *row);                /* (B, M, C), (B, N) -> (B, N, C)  */

/* Losses: one number, (1). */
/* Mean over rows of -log softmax(logits)[label].   logits (R, K)  labels i32 (R) -> (1) */
im_tensor *im_cross_entropy(im_ctx *c, im_tensor *logits, im_tensor *labels);
/* Mean of squares, of absolute values, of x - t; weight (B) or NULL multiplies samples.   x, t (B, ...) -> (1) */
im_tensor *im_mse(im_ctx *c, im_tensor *x, im_tensor *t, im_tensor *weight);
im_tensor *im_l1(im_ctx *c, im_tensor *x, im_tensor *t, im_tensor *weight);
/* The VAE's diagonal Gaussian (Kingma & Welling 2014), moments (B, ..., 2C) = [mean logvar], logvar clamped to [-30, 20]:
 * mean + exp(logvar / 2) noise, noise (B, ..., C); divergence from the standard normal, summed, over B -> (1) */
im_tensor *im_gaussian_sample(im_ctx *c, im_tensor *moments, im_tensor *noise);
im_tensor *im_kl(im_ctx *c, im_tensor *moments);

/* What this build and this machine run, for `imago info` (tensor/describe.c). */
bool im_op_describe(int i, const char **name, const char **formula);                /* false past the last op          */
const char *im_device_kernel(const im_ctx *c, im_dtype weights);                    /* how such weights are multiplied */
/* The device's kernels on small problems beside "ref", a row each: what a GPU does by itself when it is first used. error:
 * of the worst number, relative to its size and that of its neighbours. A kernel that disagrees is replaced by its plain
 * form from then on; false, with an error, where that disagrees as well, and for a device that has no such check. */
typedef struct im_check_row { const char *kernel, *form, *path; double error, limit; bool agrees; } im_check_row;
bool im_device_check(im_ctx *c, void (*row)(void *arg, const im_check_row *row), void *arg);

/* ---------------------------------------------------------------- plans (tensor/plan.c)
 * Record a function once per shape; run it as a loop over nodes with all intermediates in one arena. Bit-equal to eager. */

typedef struct im_plan im_plan;
typedef im_tensor *(*im_plan_fn)(im_ctx *c, void *arg, im_tensor *const in[], int n_in);
/* in: the plan's inputs, kept by the plan: im_upload new values to them before im_plan_run. */
im_plan *im_plan_record(im_ctx *c, im_plan_fn fn, void *arg, im_tensor *const in[], int n_in);
im_tensor *im_plan_run(im_ctx *c, im_plan *p);                 /* borrowed; valid until the next run                   */
void im_plan_rest(im_ctx *c, im_plan *p);                      /* gives its memory back until it is run again          */
void im_plan_free(im_ctx *c, im_plan *p);

typedef struct {
    int nodes;
    size_t arena_bytes, sum_bytes;                             /* planned peak; sum of all outputs                     */
    double flop, bytes;                                        /* arithmetic and compulsory traffic of one run         */
} im_plan_info;
im_plan_info im_plan_describe(const im_plan *p);
/* What is asked for between both is handed to the device as one, a graph where it is a GPU: the same operations in the same
 * order, so bit-equal. Who waits for a number in between gets it, and what comes then is a second one. For a step of a
 * training; not nested, and with no effect while operations are looked at (profiles, im_find_not_finite). */
bool im_work_begin(im_ctx *c);
bool im_work_end(im_ctx *c);                                   /* false: im_error says why; then nothing more is done  */

/* ---------------------------------------------------------------- gradients (tensor/tape.c)
 * Between im_tape_begin and im_backward every operation whose inputs want gradients is written down; im_backward walks
 * the list from its end, adds to the gradients of what wants them and lets go of each node on the way. What was made in
 * between is a constant afterwards.
 *
 *     im_want_grad(w);                                        // once: parameters
 *     im_scope_push(c);
 *     im_tape_begin(c);
 *     im_tensor *loss = im_cross_entropy(c, im_linear(c, x, w, NULL, NULL, IM_ACT_NONE), labels);
 *     im_backward(c, loss);                                   // w->grad is set, or added to
 *     im_scope_pop(c); */

/* A plain (not packed) f32 tensor gets a gradient from now on. */
bool im_want_grad(im_ctx *c, im_tensor *t);
void im_zero_grad(im_tensor *t);                               /* the next gradient is stored, not added               */
bool im_tape_begin(im_ctx *c);
void im_tape_end(im_ctx *c);                                   /* without gradients: the list is dropped               */
bool im_backward(im_ctx *c, im_tensor *loss);                  /* d loss / d loss = 1; ends the tape                   */
bool im_backward_from(im_ctx *c, im_tensor *y, const im_tensor *dy);      /* the same from dy, of y's shape            */

/* Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): fn runs without a tape, keeps only its inputs, and runs
 * again when backward comes by, with the same arg, which must still be there; gradients have the bits that they have
 * without it. Inputs and result may be views. Without an open tape: just fn. At most IM_MAX_IN inputs. */
typedef im_tensor *(*im_recompute_fn)(im_ctx *c, void *arg, im_tensor *const in[], int n_in);
im_tensor *im_recompute(im_ctx *c, im_recompute_fn fn, void *arg, im_tensor *const in[], int n_in);

/* What products of plain f32 weights are computed in: IM_F32, or IM_BF16: both factors rounded to bf16, sums in f32. */
void im_set_compute_dtype(im_ctx *c, im_dtype t);
im_dtype im_compute_dtype(const im_ctx *c);

/* A result was not finite: runs again() with every output and gradient looked at, and writes to out which layer gave the
 * first; *weights: its own are not finite. False, and "", when all is finite now. Leaves no failure but "stopped". */
bool im_find_not_finite(im_ctx *c, bool (*again)(void *arg), void *arg, char *out, size_t size, bool *weights);

typedef struct im_tape_row {                                   /* one node as backward leaves it                       */
    int index;
    const char *op, *layer;
    const im_tensor *out;                                      /* shape only                                           */
    size_t kept_bytes;                                         /* memory that the node held for backward               */
    double forward_seconds, backward_seconds;
} im_tape_row;
void im_on_tape(im_ctx *c, void (*fn)(void *arg, const im_tape_row *row), void *arg);

/* fn is told of every parameter, during im_backward, as soon as its gradient will not change any more in it: others can
 * send it away meanwhile. In the order of the tape, the same every time. A tape with im_recompute on it tells nothing: what
 * its functions use is not known before they run again. NULL: nobody is told. */
void im_on_gradient(im_ctx *c, void (*fn)(void *arg, im_tensor *w), void *arg);

/* ---------------------------------------------------------------- optimisers (tensor/ops/optimise.c)
 * One call moves all parameters by one step along their gradients. SGD and AdamW are torch's (torch.optim), LARS is that
 * of You et al. 2017 (arXiv 1708.03888) as timm has it. State begins as zeros. Gradients stay: im_zero_grad. */

typedef enum { IM_SGD, IM_ADAMW, IM_LARS } im_optimiser_kind;

typedef struct im_trained {                                    /* a parameter and its state: f32, contiguous, w's shape */
    im_tensor *w;                                              /* without a gradient (w->grad_set 0) it does not move  */
    im_tensor *m, *v;                                          /* SGD, LARS: m, NULL without momentum; AdamW: both     */
    im_tensor *ema;                                            /* moving average of w, or NULL                         */
    double decay;                                              /* weight decay (AdamW: decoupled)                      */
    bool adapt;                                                /* LARS: by |w| / |gradient|; false: plain SGD          */
} im_trained;

typedef struct im_optimise_step {
    im_optimiser_kind kind;
    const im_trained *params; int count;
    double scale;                                              /* of every gradient: 1; clipping, accumulation         */
    double lr, momentum; bool nesterov;
    double beta1, beta2, eps; int64_t step;                    /* AdamW; step counts from 1                            */
    double trust;                                              /* LARS: 0.001, with eps 1e-8                           */
    double ema_decay;                                          /* ema += (1 - ema_decay) (w - ema), after the step     */
    const struct im_ledger *ledger;                            /* NULL, or: scale is that of im_ledger_end, and after a */
                                                               /* step that was not finite nothing moves               */
} im_optimise_step;

bool im_optimise(im_ctx *c, const im_optimise_step *s);
/* Sum of the squares of all gradients, in f64; *bad: the first parameter whose gradient holds a NaN or an infinity, -1
 * when all are finite. Gradients that are not set count as zeros. */
bool im_sumsq(im_ctx *c, const im_trained *params, int count, double *sum, int *bad);

/* What a step of training tells of itself (tensor/ops/ledger.c): losses, norms and right answers stay on the device, where
 * the optimiser finds how much to clip and whether all is finite; they are read when the step after them has been asked
 * for. A step that is not finite moves no weight, and neither does any that follows.
 *
 *     for (;;) {
 *         ... for each part k: im_backward, im_ledger_loss(c, l, k, loss), im_ledger_norm(c, l, k, params, n) ...
 *         im_ledger_end(c, l, 1.0 / parts, clip);             // ... im_optimise with .ledger = l
 *         if (im_ledger_open(l) > im_ledger_lag(l)) im_ledger_read(c, l, row);        // of the step before
 *     } */
typedef struct im_step_part {
    double sumsq;                                              /* of its gradients; the last part: of the sum of all   */
    float loss;
    int32_t first_bad;                                         /* parameter whose gradient is not finite, or -1        */
    int64_t right;                                             /* rows that got their label                            */
} im_step_part;
typedef struct im_ledger im_ledger;
im_ledger *im_ledger_new(im_ctx *c, int parts);                /* parts of a step                                      */
void im_ledger_free(im_ledger *l);
bool im_ledger_loss(im_ctx *c, im_ledger *l, int part, const im_tensor *loss);
bool im_ledger_right(im_ctx *c, im_ledger *l, int part, const im_tensor *logits, const im_tensor *labels);
bool im_ledger_norm(im_ctx *c, im_ledger *l, int part, const im_trained *params, int count);
/* All parts of the step under way as they are by now, and back again: parts that another process has computed come from
 * there. The first waits. */
bool im_ledger_get(im_ctx *c, im_ledger *l, im_step_part parts[]);
bool im_ledger_set(im_ctx *c, im_ledger *l, const im_step_part parts[]);
bool im_ledger_end(im_ctx *c, im_ledger *l, double mean, double clip);    /* mean: 1 / parts; clip 0: never            */
int im_ledger_open(const im_ledger *l);                        /* steps that have ended and were not read: 0 to 2      */
int im_ledger_lag(const im_ledger *l);                         /* how many of them are best left: 1 where the device   */
                                                               /* works while the host goes on, else 0                 */
bool im_ledger_read(im_ctx *c, im_ledger *l, im_step_part parts[]);       /* the oldest of them; waits for it          */

/* What batch norms in training see (tensor/ops/norm_log.c): while a log is open, mean and unbiased variance of every call
 * go there in f64, and the running ones stay. So statistics of parts that other processes computed move the running ones
 * afterwards, part by part: the same bits as if the parts had run here one after the other.
 *
 *     im_norm_log_open(c, l);  ... a part, forward and backward ...  im_norm_log_close(c);
 *     double *v = im_norm_log_values(c, l);                   // malloc'd: im_norm_log_count(l) of them
 *     ... for each part, ascending: im_norm_log_move(c, l, values of that part) ... */
typedef struct im_norm_log im_norm_log;
im_norm_log *im_norm_log_new(im_ctx *c);
void im_norm_log_free(im_norm_log *l);                         /* closed                                               */
bool im_norm_log_open(im_ctx *c, im_norm_log *l);              /* from the first call on                               */
void im_norm_log_close(im_ctx *c);
int64_t im_norm_log_count(const im_norm_log *l);               /* doubles: two a channel of every call since the open  */
double *im_norm_log_values(im_ctx *c, im_norm_log *l);
bool im_norm_log_move(im_ctx *c, const im_norm_log *l, const double *values);

/* Batch norms in training over all parts of a step instead of each by itself (tensor/ops/norm_sync.c): in every one of
 * them, forward and backward, share takes n numbers of this part and gives those of all, (parts, n), in the order of the
 * parts, the same for each; NULL: the context has failed. moves: does this part move the running statistics? One of a
 * process has to. */
typedef struct im_norm_parts {
    int parts;
    const double *(*share)(void *arg, const double *own, int64_t n);
    bool (*moves)(void *arg);
    void *arg;
} im_norm_parts;
void im_norms_over_parts(im_ctx *c, const im_norm_parts *p);   /* borrowed; NULL: as ever                              */

/* What of a context belongs to the work under way: scopes, tape, mode. Two works that take turns on one thread (each on a
 * stack of its own) have one each: new is as the context is now, swap changes places with the context's. */
typedef struct im_flow im_flow;
im_flow *im_flow_new(im_ctx *c);
void im_flow_swap(im_ctx *c, im_flow *f);
void im_flow_free(im_flow *f);

/* ---------------------------------------------------------------- profile and trace (tensor/op.c) */

typedef struct {
    const char *op, *layer;                                    /* layer: its first parameter, or ""                    */
    const im_tensor *out;                                      /* shape only                                           */
    double seconds, flop, bytes;
} im_profile_row;
void im_on_profile(im_ctx *c, void (*fn)(void *arg, const im_profile_row *row), void *arg);

/* Models call im_trace with the diffusers path of a block; the function set by im_on_trace sees the tensor (eager only). */
void im_on_trace(im_ctx *c, void (*fn)(void *arg, const char *name, const im_tensor *t), void *arg);
void im_trace(im_ctx *c, const char *name, const im_tensor *t);
bool im_tracing(const im_ctx *c);                              /* does anybody see what im_trace is given?             */
/* Layers show what their weight w is multiplied with: x, a matrix or a picture (eager only). */
void im_on_input(im_ctx *c, void (*fn)(void *arg, const im_tensor *w, const im_tensor *x), void *arg);
void im_show_input(im_ctx *c, const im_tensor *w, const im_tensor *x);

/* ---------------------------------------------------------------- random numbers (tensor/rng.c) */

typedef enum { IM_RNG_CPU, IM_RNG_CUDA } im_rng_kind;          /* torch's CPU generator; torch's CUDA one (philox)     */
typedef struct im_rng im_rng;
im_rng *im_rng_new(im_ctx *c, im_rng_kind kind, uint64_t seed);
void im_randn(im_rng *r, float *out, size_t n);                /* the bits of torch.randn(n, generator=...)            */
/* torch's CPU generator as it is: its next n words of 32 bits (mt19937), of which im_randn makes normal numbers. */
void im_rng_words(im_rng *r, uint32_t *out, size_t n);
void im_rng_free(im_rng *r);

#ifdef __cplusplus
}
#endif
#endif
