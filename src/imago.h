/* imago.h: the public interface of imago, a numerical engine that runs Stable Diffusion v1.4.
 *
 *     im_ctx *c  = im_ctx_new("cpu", 0);
 *     im_sd  *sd = im_sd_open(c, "weights/sd-v1-4", IM_F32);
 *     im_sd_args a = im_sd_defaults(sd);
 *     a.prompt = "a photograph of an astronaut riding a horse";
 *     a.seed = 42;
 *     im_image *img = im_sd_generate(sd, &a);
 *     im_png_write(c, "astronaut.png", img, NULL, 0, true);   // does nothing if anything above failed
 *     if (!im_ok(c)) fprintf(stderr, "imago: %s\n", im_error(c));
 *     im_image_free(img); im_sd_free(sd); im_ctx_free(c);
 *
 * Rules that hold everywhere:
 *  - Errors stick. The first failure is kept in the context; later calls see NULL and return NULL; test once, at the end.
 *  - The library never prints and never exits.
 *  - Tensors belong to the open scope (im_scope_push / im_scope_pop, im_keep). A function that returns a tensor returns a
 *    borrowed pointer; nobody else frees it.
 *  - Activations are channels-last: (B, H, W, C). Convolution weights are (Cout, Kh, Kw, Cin), linear weights (N, K).
 *  - One context belongs to one thread; kernels run in parallel inside.
 */
#ifndef IMAGO_H
#define IMAGO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IM_VERSION "0.1.0"
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
/* Something the user should hear that is no failure; goes to the function set by im_on_warning (default: nowhere). */
void im_warn(im_ctx *c, const char *fmt, ...) IM_PRINTF(2, 3);
void im_on_warning(im_ctx *c, void (*fn)(void *arg, const char *text), void *arg);

/* im_cancel may be called from a signal handler or another thread: the running kernel ends, everything after it fails with
 * "stopped". It holds until im_uncancel; with im_clear_error as well the context works again, and its models with it. */
void im_cancel(im_ctx *c);
void im_uncancel(im_ctx *c);
bool im_cancelled(const im_ctx *c);

const char *im_device_name(const im_ctx *c);                   /* "cpu", "ref"                                         */
const char *im_device_isa(const im_ctx *c);                    /* "avx512", "ref" ...                                  */
int im_threads(const im_ctx *c);
/* Bytes that this process may still take: of the machine, and of every control group (v1, v2) around it. -1: not known. */
int64_t im_memory_available(void);

/* ---------------------------------------------------------------- tensors (tensor/tensor.c, tensor/scope.c) */

enum { IM_MAX_DIMS = 5, IM_MAX_IN = 6 };
typedef enum { IM_F32, IM_F16, IM_BF16, IM_I32 } im_dtype;
size_t im_dtype_size(im_dtype t);                              /* 0, and "none": no such type                         */
const char *im_dtype_name(im_dtype t);                         /* "f32", "f16", "bf16", "i32"                          */
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
    uint8_t halves;                                            /* 2: packed as two halves of rows (GEGLU); else 1      */
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
double im_item(im_ctx *c, const im_tensor *t);                 /* of a tensor of one value; 0 after a failure          */
bool im_fill(im_ctx *c, im_tensor *t, float value);            /* every element                                        */
bool im_assign(im_ctx *c, im_tensor *t, const im_tensor *from);         /* the values of another, as many of its dtype  */

/* Of a context so far. syncs: how often the host waited for the device; uploaded, downloaded: bytes. */
typedef struct im_counts { int64_t uploads, downloads, syncs; uint64_t uploaded, downloaded; } im_counts;
im_counts im_counted(const im_ctx *c);
/* Views: no copy. */
im_tensor *im_reshape(im_ctx *c, im_tensor *t, int ndim, const int64_t shape[]);    /* t contiguous; one -1 allowed    */
im_tensor *im_slice(im_ctx *c, im_tensor *t, int axis, int64_t from, int64_t to);

/* Parameters: weights of a model, owned by the caller, outside every scope. */
im_tensor *im_param_new(im_ctx *c, const char *name, im_dtype t, int ndim, const int64_t shape[]);   /* no storage yet */
/* Memory for it: plain, or packed in panels (weights of linear and conv2d on the cpu; halves 2: for im_linear_geglu). */
bool im_param_alloc(im_ctx *c, im_tensor *t, im_dtype hold, bool packed, int halves);
/* Converts and packs src (all elements, in src_dtype) into t, in parallel. oihw: src is (Cout, Cin, Kh, Kw) as in
 * checkpoints while t is (Cout, Kh, Kw, Cin). */
bool im_param_load(im_ctx *c, im_tensor *t, const void *src, im_dtype src_dtype, bool oihw);
bool im_packs_weights(const im_ctx *c);                        /* true where the device wants packed weights           */
void im_param_free(im_ctx *c, im_tensor *t);

/* Calls fn(arg, task, thread) for every task in [0, tasks) on the context's threads. Not nested. */
void im_parallel(im_ctx *c, int tasks, void (*fn)(void *arg, int task, int thread), void *arg);

void im_scope_push(im_ctx *c);
void im_scope_pop(im_ctx *c);                                  /* releases every tensor made since the push ...        */
im_tensor *im_keep(im_ctx *c, im_tensor *t);                   /* ... but those handed to the scope around it          */
im_tensor *im_own(im_ctx *c, im_tensor *t);                    /* out of every scope: the caller's, until im_param_free */

/* ---------------------------------------------------------------- operations (tensor/ops/) */

typedef enum { IM_ACT_NONE, IM_ACT_SILU, IM_ACT_GELU, IM_ACT_GELU_TANH, IM_ACT_QUICK_GELU, IM_ACT_RELU } im_act;

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

/* ---------------------------------------------------------------- plans (tensor/plan.c)
 * Record a function once per shape; run it as a loop over nodes with all intermediates in one arena. Bit-equal to eager. */

typedef struct im_plan im_plan;
typedef im_tensor *(*im_plan_fn)(im_ctx *c, void *arg, im_tensor *const in[], int n_in);
/* in: the plan's inputs, kept by the plan: im_upload new values to them before im_plan_run. */
im_plan *im_plan_record(im_ctx *c, im_plan_fn fn, void *arg, im_tensor *const in[], int n_in);
im_tensor *im_plan_run(im_ctx *c, im_plan *p);                 /* borrowed; valid until the next run                   */
void im_plan_free(im_ctx *c, im_plan *p);

typedef struct {
    int nodes;
    size_t arena_bytes, sum_bytes;                             /* planned peak; sum of all outputs                     */
    double flop, bytes;                                        /* arithmetic and compulsory traffic of one run         */
} im_plan_info;
im_plan_info im_plan_describe(const im_plan *p);

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
void im_set_products(im_ctx *c, im_dtype t);
im_dtype im_products(const im_ctx *c);

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
} im_optimise_step;

bool im_optimise(im_ctx *c, const im_optimise_step *s);
/* Sum of the squares of all gradients, in f64; *bad: the first parameter whose gradient holds a NaN or an infinity, -1
 * when all are finite. Gradients that are not set count as zeros. */
bool im_sumsq(im_ctx *c, const im_trained *params, int count, double *sum, int *bad);

/* ---------------------------------------------------------------- profile and trace (tensor/op.c) */

typedef struct { const char *op, *layer; double seconds, flop, bytes; } im_profile_row;
void im_on_profile(im_ctx *c, void (*fn)(void *arg, const im_profile_row *row), void *arg);

/* Models call im_trace with the diffusers path of a block; the function set by im_on_trace sees the tensor (eager only). */
void im_on_trace(im_ctx *c, void (*fn)(void *arg, const char *name, const im_tensor *t), void *arg);
void im_trace(im_ctx *c, const char *name, const im_tensor *t);

/* ---------------------------------------------------------------- random numbers (tensor/rng.c) */

typedef enum { IM_RNG_CPU, IM_RNG_CUDA } im_rng_kind;          /* torch's CPU generator; torch's CUDA one (philox)     */
typedef struct im_rng im_rng;
im_rng *im_rng_new(im_ctx *c, im_rng_kind kind, uint64_t seed);
void im_randn(im_rng *r, float *out, size_t n);                /* the bits of torch.randn(n, generator=...)            */
void im_rng_free(im_rng *r);

/* ---------------------------------------------------------------- files (data/) */

typedef struct im_st_entry {                                   /* one tensor of a safetensors file                     */
    const char *name;
    char dtype_name[8];                                        /* as written: "F32", "BF16", "I64" ...                 */
    int dtype;                                                 /* im_dtype, or -1 for one imago does not compute in    */
    int ndim;
    int64_t shape[8];
    const void *data;                                          /* mapped                                               */
    size_t bytes;
} im_st_entry;

typedef struct im_safetensors im_safetensors;
im_safetensors *im_st_open(im_ctx *c, const char *path);       /* FILE.safetensors, or FILE.safetensors.index.json     */
int im_st_count(const im_safetensors *s);
const im_st_entry *im_st_at(const im_safetensors *s, int i);   /* in the order of the file                             */
const im_st_entry *im_st_find(const im_safetensors *s, const char *name);
const char *im_st_metadata(const im_safetensors *s, const char *key);               /* NULL when absent                */
void im_st_release_pages(const im_safetensors *s, const im_st_entry *e);            /* copied: the mapping may go      */
void im_st_close(im_safetensors *s);

/* Written beside and renamed by im_st_finish; im_st_abandon leaves nothing. Entries need name, dtype, ndim, shape. */
typedef struct im_st_writer im_st_writer;
im_st_writer *im_st_create(im_ctx *c, const char *path, const im_st_entry *entries, int n, const char *const metadata[],
                           int n_metadata);                    /* pairs: key, value, key, value ...                    */
bool im_st_put(im_ctx *c, im_st_writer *w, int i, const void *data, size_t bytes);  /* all bytes of entry i            */
bool im_st_finish(im_ctx *c, im_st_writer *w);                 /* fsync, rename, free                                  */
void im_st_abandon(im_st_writer *w);

typedef struct im_image { int width, height, channels; uint8_t *pixels; } im_image; /* rows of RGB (3) or grey (1)     */
typedef struct im_text { const char *key, *value; } im_text;   /* what a picture carries beside its pixels             */
im_image *im_image_new(im_ctx *c, int width, int height, int channels);
void im_image_free(im_image *i);
/* JPEG or PNG, told by its content, as 8-bit RGB and turned upright: Pillow's exif_transpose(open(path)).convert("RGB") */
im_image *im_picture_read(im_ctx *c, const char *path);
char *im_picture_text(im_ctx *c, const char *path, const char *key);                /* malloc'd; NULL when absent      */
/* PNG, or JPEG with colour at full resolution (4:4:4); the same picture gives the same bytes. Texts are PNG's text chunks;
 * a JPEG has one, EXIF's UserComment: that of the key "parameters", and behind it the others as , key: "text in quotes".
 * how NULL: a PNG without texts. */
typedef enum { IM_PNG, IM_JPEG } im_picture_format;
typedef struct im_picture_how {
    im_picture_format format;
    int quality;                                               /* of a JPEG, 1 .. 100; 0: 95                           */
    const im_text *texts; int n_texts;
} im_picture_how;
bool im_picture_write(im_ctx *c, const char *path, const im_image *i, const im_picture_how *how, bool force);
bool im_png_write(im_ctx *c, const char *path, const im_image *i, const im_text *texts, int n_texts, bool force);

typedef struct im_tokenizer im_tokenizer;
im_tokenizer *im_tokenizer_open(im_ctx *c, const char *folder);/* holds vocab.json, merges.txt; NULL: built-in CLIP    */
/* <start> ids <end> padded to `length`. cut (may be NULL) receives a malloc'd copy of the text that did not fit, as
 * it was written, or NULL */
bool im_tokenize(im_ctx *c, const im_tokenizer *t, const char *utf8, int length, int32_t *ids, char **cut);
const char *im_token_piece(const im_tokenizer *t, int32_t id); /* "horse</w>"; NULL when out of range                  */
int im_tokenizer_size(const im_tokenizer *t);
void im_tokenizer_free(im_tokenizer *t);

/* ---------------------------------------------------------------- Stable Diffusion v1.x (models/pipelines/sd.c) */

/* How models are read from now on. strict: tensors that no network asks for are an error, not left out with a warning.
 * variant: "fp16", "non_ema" ... of a diffusers folder's files; NULL: the plain ones, or the only variant there is. */
bool im_weights_rules(im_ctx *c, bool strict, const char *variant);
const char *im_weights_variant(const im_ctx *c, bool *strict); /* NULL: none was chosen                                */
typedef struct im_sd im_sd;
/* A diffusers folder, or a single .safetensors file in the original layout. Weights are held in `hold`. Networks are
 * loaded when first used; that each finds its tensors is checked at once. path NULL: the embedded model. */
im_sd *im_sd_open(im_ctx *c, const char *path, im_dtype hold);
void im_sd_free(im_sd *sd);
im_sd *im_sd_look(im_ctx *c, const char *path, im_dtype hold); /* without that check, to be looked at (im_sd_file)     */
bool im_sd_whole(im_sd *sd);                                   /* the check, of all networks                           */
const char *im_sd_hash(im_sd *sd);                             /* 64 hex digits: SHA-256 over names, shapes, samples   */
/* Of a single file: SHA-256 of its bytes, as other programs name a model. Computed once and kept in the user's cache
 * ($XDG_CACHE_HOME/imago or ~/.cache/imago). NULL for a folder, and after an error. */
const char *im_sd_file_hash(im_sd *sd);

typedef struct im_sd_args {
    const char *prompt, *negative;                             /* UTF-8; negative NULL: ""                             */
    int steps;                                                 /* 50                                                   */
    float guidance;                                            /* 7.5; <= 1: a single pass                             */
    uint64_t seed;
    const char *scheduler;                                     /* NULL: the folder's own                               */
    int width, height;                                         /* pixels; 0: the model's own size                      */
    im_rng_kind rng;
    const im_image *init; float strength;                      /* image to image                                       */
    const float *latents;                                      /* (4, h, w) as torch has it, unscaled; NULL: randn     */
    float *latents_out;                                        /* receives the final (4, h, w) latents when not NULL   */
    bool eager;                                                /* run op by op instead of from a recorded plan         */
    const char *name;                                          /* what errors call it; NULL: by prompt and seed        */
} im_sd_args;
im_sd_args im_sd_defaults(const im_sd *sd);
/* Before the first evaluation of the UNet (done 0) and after each; false stops. */
typedef bool (*im_sd_progress)(void *arg, int done, int total);
void im_sd_on_progress(im_sd *sd, im_sd_progress fn, void *arg);
im_image *im_sd_generate(im_sd *sd, const im_sd_args *a);
/* n pictures at once; those of one size share every evaluation. out[i] is owned by the caller. False: something failed; the
 * pictures that came out all the same are in out[], the others are NULL. */
bool im_sd_generate_batch(im_sd *sd, const im_sd_args a[], int n, im_image *out[]);
/* The two halves of it: all but the decoder, to latents_out of each; the decoder, from such latents. */
bool im_sd_latents_batch(im_sd *sd, const im_sd_args a[], int n);
im_image *im_sd_decode(im_sd *sd, const im_sd_args *a, const float *latents);
/* A generation in steps: a run is one picture on its way (sd_run.c). Any number may be open on a model and be stepped
 * together: each has the bits of a picture made alone. Values that are not finite end a run, not the context. */
typedef struct im_sd_run im_sd_run;
typedef enum { IM_SD_RUNNING, IM_SD_FINISHED, IM_SD_CANCELLED, IM_SD_FAILED } im_sd_state;
im_sd_run *im_sd_run_open(im_sd *sd, const im_sd_args *a);     /* checks and copies all of it; computes nothing        */
/* An evaluation for each run under way, those of one size in one batch; NULLs and runs that have ended are passed over.
 * True: something moved. False: nothing is left to do, or the context has failed. */
bool im_sd_run_step(im_sd_run *const runs[], int n);
bool im_sd_run_begin(im_sd_run *const runs[], int n);          /* texts, first latents; else the first step does it    */
im_sd_state im_sd_run_state(const im_sd_run *r);
const char *im_sd_run_error(const im_sd_run *r);               /* why it failed; "": it did not                        */
int im_sd_run_done(const im_sd_run *r), im_sd_run_total(const im_sd_run *r);        /* evaluations                     */
void im_sd_run_cancel(im_sd_run *r);                           /* before its next step; from any thread                */
bool im_sd_run_latents(const im_sd_run *r, float *out);        /* (4, h, w), as they are now                           */
im_image *im_sd_run_image(im_sd_run *r);                       /* of a finished run, decoded; NULL: it failed          */
void im_sd_run_close(im_sd_run *r);                            /* finished or not; before im_sd_free                   */
/* Number of UNet evaluations of a run (pndm with 50 steps: 51), and bytes that a batch needs beside the weights. */
int im_sd_evaluations(im_sd *sd, const im_sd_args *a);
size_t im_sd_bytes_needed(im_sd *sd, const im_sd_args *a, int batch);
/* Is there memory for it, and for the networks that are not loaded yet? im_sd_generate_batch asks, too. */
bool im_sd_check_memory(im_sd *sd, const im_sd_args *a, int batch);
/* The scheduler that a run uses ("pndm"), and the shape (C, h, w) of its latents; NULL or false with an error. */
const char *im_sd_scheduler(im_sd *sd, const im_sd_args *a);
bool im_sd_latent_shape(im_sd *sd, const im_sd_args *a, int64_t shape[3]);

/* One guided evaluation with named intermediates (im_on_trace) as `imago trace` writes them. */
bool im_sd_trace(im_sd *sd, const im_sd_args *a);
typedef enum { IM_NET_CLIP, IM_NET_UNET, IM_NET_VAE_DECODER, IM_NET_VAE_ENCODER, IM_NET_COUNT } im_net;
typedef struct im_net_info {
    const char *name;                                          /* "text_encoder", "unet", "vae_decoder", "vae_encoder" */
    int64_t parameters, tensors, bytes;                        /* bytes as held                                        */
    double flop;                                               /* of one evaluation, one sample, at the given size     */
    int ops; size_t arena_bytes;
} im_net_info;
/* The file of its weights, or their index; *whole: all of its tensors are there and fit. */
const char *im_sd_file(const im_sd *sd, im_net net, bool *whole);
bool im_sd_net_info(im_sd *sd, im_net net, int width, int height, im_net_info *out);
/* Runs one network `rounds` times on random input and fills seconds[rounds]; batch 2 is a guided step. */
bool im_sd_time(im_sd *sd, im_net net, int batch, int width, int height, int rounds, double *seconds);
bool im_sd_init_weights(im_ctx *c, const char *like, uint64_t seed, im_dtype dtype, const char *out_folder, bool force);
/* dtype: im_dtype, or -1: as they are. max_file: a folder's weights in several files of at most so many bytes, as diffusers
 * splits them; 0: a file a network. */
bool im_sd_convert(im_ctx *c, const char *in, const char *out, int dtype, uint64_t max_file, bool force);

/* ---------------------------------------------------------------- training (models/train/train_loop.c, train_resnet.c)
 * A run is a folder: config.json, log.jsonl (an object a step), checkpoints, model.safetensors at the end. Killed at any
 * instant it goes on from its last good checkpoint and ends with the same bits as if nothing had happened. */

typedef struct im_train_common {                               /* what every training has; texts are borrowed          */
    const char *data, *out;                                    /* set of pictures (data/sets/dataset.h); run's folder   */
    const char *init;                                          /* weights to begin with; NULL: random                  */
    int epochs, steps;                                         /* steps > 0 counts instead of epochs                   */
    int batch, accumulate;                                     /* pictures a part; parts a step                        */
    float lr;                                                  /* at the peak; 0: the task's own default               */
    float warmup;                                              /* epochs; < 0: a tenth of the run                      */
    const char *schedule;                                      /* "cosine", "step", "constant"                         */
    const char *optimizer;                                     /* "sgd", "adamw", "lars"                               */
    float momentum, decay;                                     /* SGD, LARS; weight decay, < 0: the optimiser's own    */
    bool nesterov;
    float clip;                                                /* global norm of gradients; 0: not clipped             */
    float ema;                                                 /* .9999: a moving average of weights is kept; 0: none  */
    uint64_t seed;
    const char *dtype;                                         /* "f32", or "bf16": factors of products are rounded    */
    const char *order, *cache;                                 /* "shuffled", "listed"; "none", "ram", "disk"          */
    int workers;                                               /* decoding threads; 0: one a processor                 */
    int keep, checkpoint_every;                                /* checkpoints kept; steps between, 0: an epoch         */
    bool strict;                                               /* a broken picture stops the run                       */
    bool resume;
} im_train_common;

typedef struct im_train_resnet_args {
    im_train_common common;
    const char *arch;                                          /* "resnet18", 34, 50, 101                              */
    const char *classes, *val;                                 /* a class a line; a set to choose the best by; or NULL */
    const char *augment;                                       /* "none", "plain", "drawing", "dino"                   */
    float mixup;                                               /* 0 to 1: how far pictures of a batch are mixed        */
    int size;                                                  /* side of the (global) crop                            */
    int locals, local_size;                                    /* dino: number and side of local crops; < 0, 0: its own */
    const char *head; int head_layers;                         /* "linear", "cosine" and its hidden layers             */
    int width;                                                 /* channels of the first stage, 64 as torchvision's     */
    bool small_stem;                                           /* for pictures of 32 to 64 pixels                      */
    bool new_head;                                             /* init gives the encoder only                          */
} im_train_resnet_args;
im_train_resnet_args im_train_resnet_defaults(void);

typedef struct im_train_progress {
    int64_t step, steps, epoch, epochs;                        /* from 1                                               */
    double loss, lr, grad_norm, img_per_s, top1;               /* top1: NAN where there are no classes                 */
    double seconds_left;
} im_train_progress;

typedef struct im_train_hooks {                                /* any may be NULL                                      */
    void *arg;
    void (*step)(void *arg, const im_train_progress *p);
    bool (*stop)(void *arg);                                   /* after every step: true: write a checkpoint and end   */
    void (*note)(void *arg, const char *text);                 /* "goes on from step 120"                              */
    void (*saved)(void *arg, const char *run);                 /* after every checkpoint: time to draw curves          */
    void (*tape)(void *arg, const im_tape_row *row);           /* of the first step, last node first                   */
} im_train_hooks;
bool im_train_resnet(im_ctx *c, const im_train_resnet_args *a, const im_train_hooks *hooks);

/* To resume: takes from the run's config.json every option that was not given, and fails, naming all of them, where one
 * that was given and decides about the result differs. Options are named as `imago train` names them. The texts live until
 * im_train_config_free. NULL without an error: there is no such run yet. */
typedef struct im_train_config im_train_config;
struct im_field;                                               /* an option's type and range (data/files/fields.h)    */
const struct im_field *const *im_train_resnet_fields(void);    /* tables up to NULL, for im_train_resnet_args          */
const struct im_field *const *im_train_autoencoder_fields(void);
const struct im_field *const *im_train_diffusion_fields(void);
im_train_config *im_train_resnet_config(im_ctx *c, const char *run, im_train_resnet_args *a,
                                        bool (*given)(void *arg, const char *option), void *arg);
void im_train_config_free(im_train_config *f);

typedef struct im_train_autoencoder_args {
    im_train_common common;
    const char *config;                                        /* a model's folder, or one with the VAE's config.json  */
    const char *val;                                           /* pictures to measure PSNR on; or NULL                 */
    int size;                                                  /* pixels; 0: the config's sample_size                  */
    float flip; int shift;                                     /* views: mirrored with this probability, moved by this */
    float gradient_weight, kl_weight;                          /* of the loss                                          */
    const char *train;                                         /* "all"; "decoder": common.init's encoder stays as it is */
} im_train_autoencoder_args;
im_train_autoencoder_args im_train_autoencoder_defaults(void);
/* Writes RUN/vae (diffusers: AutoencoderKL.from_pretrained) after every checkpoint; scaling_factor is 1 / deviation of the
 * latents. common.init: a folder with a VAE to go on from. */
bool im_train_autoencoder(im_ctx *c, const im_train_autoencoder_args *a, const im_train_hooks *hooks);

typedef struct im_train_diffusion_args {
    im_train_common common;
    const char *config, *vae;                                  /* a model's folder; one with the VAE                   */
    const char *text;                                          /* "train", "frozen"                                    */
    bool cache_latents; int views;                             /* every picture is encoded once, in so many views      */
    int size;                                                  /* pixels; 0: the UNet's sample_size times the factor   */
    float flip; int shift;
    float drop;                                                /* share of captions that are left out: .1              */
    float drop_tags;                                           /* of the others, share of tags (parted by commas): 0   */
    float drop_first;                                          /* the same of first tags; below 0: drop_tags. -1       */
    float balance;                                             /* pictures of a first tag that n have: weight          */
                                                               /* n^-balance; 0: each once an epoch                    */
    const char *favour; float favour_share;                    /* file, a thing a line: what share of all that is      */
                                                               /* shown has one of them as its first tag; NULL, .75    */
    float snr_gamma, snr_power;                                /* weights gamma / snr above gamma, snr^-power below 1; */
                                                               /* 0: 1                                                */
} im_train_diffusion_args;
im_train_diffusion_args im_train_diffusion_defaults(void);
/* Writes RUN/model, a diffusers folder with averaged weights, after every checkpoint. common.init: a model's folder to go
 * on from (fine-tuning); without it weights are random. */
bool im_train_diffusion(im_ctx *c, const im_train_diffusion_args *a, const im_train_hooks *hooks);
im_train_config *im_train_autoencoder_config(im_ctx *c, const char *run, im_train_autoencoder_args *a,
                                             bool (*given)(void *arg, const char *option), void *arg);
im_train_config *im_train_diffusion_config(im_ctx *c, const char *run, im_train_diffusion_args *a,
                                           bool (*given)(void *arg, const char *option), void *arg);

/* A run of `imago train resnet`, or a file of a ResNet's weights? To one file of weights; dtype as im_sd_convert's; vectors
 * stay f32 (models/checkpoints/classifier_convert.c). */
bool im_is_classifier(im_ctx *c, const char *path);
bool im_classifier_convert(im_ctx *c, const char *in, const char *out, int dtype, bool force);

/* What is on a picture: the most likely class of a classifier, and its softmax. path: a run, or a file of weights that
 * tells the names of its classes; size: side of the crop where it does not tell at which it was trained. */
typedef struct im_namer im_namer;
typedef struct im_guess { int label; const char *name; double probability; } im_guess;  /* name: owned by the namer   */
im_namer *im_namer_open(im_ctx *c, const char *path, int size);
bool im_namer_guess(im_namer *n, const im_image *picture, im_guess *out);
void im_namer_free(im_namer *n);

/* ---------------------------------------------------------------- measuring (tensor/bench.c, tensor/bench_ops.c)
 * On the cpu device only. Compare figures of one run only: the clock and the neighbours change. */

typedef struct im_peak {                                       /* what this machine can do under the context's ISA     */
    const char *isa;
    int threads;
    double fma_gflops;                                         /* f32 multiply-adds, all in registers                  */
    double dot_gflops;                                         /* bf16 dot products; 0 where they are not used         */
    double f16_gvalues, bf16_gvalues;                          /* weights widened to f32 within L1, 1e9 a second       */
    double read_gbs;                                           /* memory, huge pages where the system gives them       */
} im_peak;
bool im_bench_peak(im_ctx *c, int threads, im_peak *out);      /* threads 0: those of the context                      */

typedef struct im_bench_row {                                  /* one op at one shape of Stable Diffusion v1.4, 512x512 */
    const char *op, *shape;                                    /* "conv", "2x64x64x320 -> 320, 3x3"                    */
    const char *part;                                          /* "step": a guided step; "text" and "decode": a picture */
    int count;                                                 /* how often the part runs it                           */
    im_dtype weights;
    bool dots;                                                 /* ran on bf16 dot products                             */
    double ms_min, ms_median;                                  /* wall                                                 */
    double flop, bytes;                                        /* of one call; bytes: compulsory traffic               */
    double gflops, gbs;                                        /* at ms_median; Winograd convolutions are counted as   */
                                                               /* direct sums: more than 100 % occurs                  */
    double percent;                                            /* of the peak that bounds it, in processor time        */
    bool memory_bound;                                         /* that peak is read_gbs, else fma or dot               */
} im_bench_row;
/* Weights and inputs are those of the round before: warm where they fit a cache. The rest is called once a row. */
bool im_bench_ops(im_ctx *c, im_dtype weights, int rounds, const im_peak *peak,
                  void (*row)(void *arg, const im_bench_row *r), void *arg);

/* One way of training, timed (models/train/bench_train.c): "resnet18" to "resnet101"; "unet-small", 64/128/192 channels
 * on 16x16 latents; "loader", pictures alone, with DINO's crops. Wall time, medians of the rounds, after one to warm up. */
typedef struct im_bench_train_args {
    const char *arch, *dtype, *data;                           /* data: "none", "memory", "jpeg": where pictures are   */
    const char *folder;                                        /* of JPEGs in class folders; for memory and jpeg       */
    int batch, size, rounds;
} im_bench_train_args;
im_bench_train_args im_bench_train_defaults(void);

typedef struct im_bench_train_row {
    double img_per_s, forward_ms, backward_ms, optimiser_ms;
    double step_ms;                                            /* all of a step, waiting for pictures included         */
    double cpu_ms_per_img;                                     /* processor time of the decoding threads               */
    size_t peak_bytes;                                         /* of this process so far                               */
} im_bench_train_row;
bool im_bench_train(im_ctx *c, const im_bench_train_args *a, im_bench_train_row *out);

#ifdef __cplusplus
}
#endif
#endif
