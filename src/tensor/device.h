/* device.h: a device: its kernel table, which is the one contract that every backend (ref, cpu, cuda) fills, and beside it
 * the services by which it owns its memory and its work (services.h). The engine knows of a device what stands in
 * im_device, and nothing of `impl`: threads, choices and pools of the host's devices are there (host.h, host.c), and
 * streams, pinned memory and graphs of a GPU will be.
 *
 * A kernel takes the device and a struct of plain pointers, sizes and strides. Strides (ld_) are in elements. It returns
 * IM_DONE or an error of enum im_status; shapes were checked by the op before, a kernel only asserts them.
 * Activations and their gradients are im_buf and im_cbuf (buffer.h): f32, f16 or bf16, in any mix. Weights come in f32, f16
 * or bf16, plain or packed, or in int8, packed (int8.h has their arithmetic; every order below is of the others).
 *
 * Order of sums (so that f32 bits agree on avx2, avx512 and neon, whatever the threads, batch and tiling):
 *  - a product or convolution output is one chain acc = fma(a_k, b_k, acc) from acc = 0 in ascending k (convolution:
 *    k = (kh, kw, cin), padding contributes exact zeros), then + bias, + chan, act, + res, each one rounded operation;
 *  - on cpu, 3x3 convolutions of stride 1 with cin >= 64 and pictures of oh * ow >= 49 outputs (the rule looks at nothing
 *    else) go through Winograd's F(4x4, 3x3): 6x6 inputs and 3x3 weights are transformed in f32, down the columns and then
 *    along the rows, each of the 36 points is one chain over ascending cin, the way back runs along the rows and then down
 *    the columns (the operations: cpu/winograd_transforms.c), then + bias, + chan, + res as above. Weights of every dtype
 *    are multiplied in f32. The relative error is 1.7 times that of direct sums; a NaN or an infinity reaches the whole of
 *    the 4x4 tiles whose inputs hold it;
 *    In tile registers (cpu/tile.h: bf16) they are direct sums, unless IMAGO_WINOGRAD says which rule holds;
 *  - bf16 in tile registers: groups of 32 values of k, each two chains, over even and odd k, from 0, added to the sum;
 *    weights in f16 there: three such groups of halves (cpu/tile.h, cpu/split.h), unless a weight is `widened` (weight.h);
 *  - on tensor cores (cuda, 16-bit factors) an output is one ascending chain of steps of 16 k (sm_75: 8), whatever the
 *    batch (but gradients of weights are split: train_args.h): a picture has them alone and in a batch, not those above;
 *  - other reductions run in 16 virtual lanes (element i into lane i % 16, ascending), then the fixed tree
 *    8+8, 4+4, 2+2, 1+1 (lane j += lane j + half);
 *  - group norm: chunks of IM_GN_CHUNK pixels; within a chunk each channel is one ascending chain in f32; chunks are
 *    combined in f64 in ascending order (Chan et al. 1979), then channels of the group in ascending order;
 *  - attention: keys in blocks of IM_ATT_BLOCK; scores are chains over d, the output a chain over keys, rescaled once a
 *    block when the running maximum grows; exponentials are summed in 16 lanes and the tree per block, then added on.
 *    In tile registers (cpu/tile.h, args.products IM_BF16 or IM_F16): IM_ATT_TILE keys a block, scores and outputs in the
 *    order of those, weights beside bf16 by a shorter polynomial (vmath.h), summed as two chains a block, over even and
 *    over odd keys; a maximum, of 32 keys at a time, counts where it grows by more than 2^8 (cpu/attention_tiles.c);
 *    Beside weights in int8 (args.products IM_INT8) int8.h has it, on every set and on ref to the bit;
 * ref computes with f64 sums in plain loops and is met within tolerance. */
#ifndef IM_DEVICE_H
#define IM_DEVICE_H

#include "tensor/compute.h"
#include "tensor/services.h"
#include "tensor/token_args.h"
#include "tensor/train_args.h"

enum { IM_GN_CHUNK = 32, IM_ATT_BLOCK = 64, IM_ATT_TILE = 256 };

/* c[m][n] = act(sum_k a[m][k] b[n][k] + bias[n]) + res[m][n];  geglu (b.geglu, b.n = 2 n): c = v * gelu(g)       */
typedef struct im_gemm_args {
    int64_t m;
    int n, k;                    /* n: columns of c                                                                 */
    im_cbuf a;   int64_t lda;
    im_weight b;
    const float *bias;           /* (b.n) or NULL                                                                   */
    im_cbuf res; int64_t ldres;  /* p NULL: none                                                                    */
    im_buf c;    int64_t ldc;
    im_act act;
    bool geglu;
} im_gemm_args;

/* y[b][oy][ox][n] = sum_{kh,kw,ci} x[b][..][..][ci] w[n][kh][kw][ci] + bias[n] + chan[b][n] + res[b][oy][ox][n]
 * Input pixel of (oy, kh): uy = oy*stride + kh - pad_top in the enlarged image of up_h rows, zero outside it;
 * source row floor(uy * h / up_h). Without enlargement up_h = h, up_w = w. x is contiguous (B, h, w, cin).       */
typedef struct im_conv_args {
    int batch, h, w, cin, cout, kh, kw;
    int oh, ow;
    int stride, pad_top, pad_left, up_h, up_w;
    im_cbuf x;
    im_weight wt;                /* n = cout, k = kh*kw*cin                                                         */
    const float *bias;           /* (cout) or NULL                                                                  */
    im_cbuf chan; int64_t ldchan;                                         /* (B, cout), or p NULL                   */
    im_cbuf res;                 /* (B, oh, ow, cout) contiguous, or p NULL                                         */
    im_buf y;                    /* (B, oh, ow, cout) contiguous                                                    */
} im_conv_args;

/* Group norm: y = (x - mean) * rstd * gamma + beta [, silu];  x, y contiguous (batch, pixels, channels), y may be x */
typedef struct im_groupnorm_args {
    int batch; int64_t pixels; int channels, groups;
    float eps; bool silu;
    im_cbuf x; im_buf y;
    const float *gamma, *beta;
    float *mean, *rstd;          /* (batch, groups), for backward; or NULL                                          */
} im_groupnorm_args;

/* Layer norm of each row; y may be x */
typedef struct im_layernorm_args {
    int64_t rows; int channels;
    float eps;
    im_cbuf x; int64_t ldx;
    const float *gamma, *beta;
    im_buf y; int64_t ldy;
    float *mean, *rstd;          /* (rows), for backward; or NULL                                                   */
} im_layernorm_args;

/* o[b][i][h][:] = sum_j softmax_j(scale * q[b][i][h] . k[b][j][h]) v[b][j][h]; head h is at column h*d of a row   */
typedef struct im_attention_args {
    int batch, heads, d;
    int tq, tk;
    float scale; bool causal;
    im_cbuf q; int64_t ldq, bsq;                                          /* row stride, batch stride               */
    im_cbuf k; int64_t ldk, bsk;
    im_cbuf v; int64_t ldv, bsv;
    im_buf o;  int64_t ldo, bso;
    float *lse;                  /* (batch, heads, tq): log2 sum exp of the scaled scores, for backward; or NULL    */
    im_dtype products;           /* IM_BF16: a device that multiplies bf16 fast may round q, k, v and weights to it; */
                                 /* IM_F16: it may split each into two bf16 (cpu/split.h);                           */
                                 /* IM_INT8, without lse: in integers, as int8.h has it                              */
} im_attention_args;

/* y[i] = f(a[i] [, b[i % nb]]); y may be a. Elementwise over n contiguous elements. */
typedef enum { IM_MAP_ACT, IM_MAP_ADD, IM_MAP_SCALE } im_map_kind;
typedef struct im_map_args {
    im_map_kind kind; im_act act; float s;
    int64_t n, nb;               /* nb: elements of b, divides n                                                    */
    im_cbuf a, b;
    im_buf y;
} im_map_args;

/* dst[i0][i1][i2][i3] = src[...]: copies between strided views of up to 4 axes, both in `dtype`; concat is two           */
typedef struct im_copy_args {
    int64_t shape[4], ss[4], ds[4];                                       /* axis sizes, source and target strides  */
    im_dtype dtype;
    const void *src; void *dst;
    bool add;                    /* dst += src; not of i32                                                          */
} im_copy_args;

/* y[i][:] = table[ids[i]][:]; the table in f32, f16 or bf16, plain; ids were checked by the op */
typedef struct im_embedding_args {
    int64_t n; int channels; im_dtype dtype;
    const void *table; const int32_t *ids;
    float *y;
} im_embedding_args;

/* y (batch, dim): angles t * exp(-ln(10000) i / (dim/2 - shift)), i < dim/2, in f32; an odd dim ends in a zero */
typedef struct im_timestep_args {
    int batch, dim; bool cos_first; float shift;
    const float *t; float *y;
} im_timestep_args;

struct im_device;
#define IM_KERNELS_OWN(X) /* of which every backend has its own */ \
    X(gemm) X(conv) X(groupnorm) X(layernorm) X(attention) X(map) X(copy) X(embedding) X(timestep) \
    IM_KERNELS_PRODUCTS(X) IM_KERNELS_NORMS(X) IM_KERNELS_ATTENTION(X) IM_KERNELS_ELEMENTS(X) IM_KERNELS_OPTIMISERS(X)
#define IM_KERNELS(X) IM_KERNELS_OWN(X) IM_KERNELS_STEPS(X) IM_KERNELS_TOKENS(X)

typedef struct im_kernels {      /* one table per backend; `make check` wants no NULL                               */
#define X(name) int (*name)(struct im_device *, const struct im_##name##_args *);
    IM_KERNELS(X)
#undef X
} im_kernels;

enum im_holder { IM_HELD_TENSORS, IM_HELD_PARAMETERS, IM_HELD_PLANS };

typedef struct im_device {       /* "ref", "cpu", "far", "cuda"                                                     */
    const char *name, *isa;
    char place[16];              /* what opens the same device again: "cpu", "cuda:1"                               */
    im_kernels k;
    im_services s;
    const volatile int *stop;    /* set by im_cancel; long kernels look at it between tiles and return IM_STOPPED   */
    im_dtype compute_dtype;      /* plain f32 weights are multiplied in this (im_set_compute_dtype): IM_F32, IM_BF16 */
    bool packs;                  /* weights of products are held in panels (weight.h)                               */
    bool int8;                   /* products of weights in int8 (int8.h)                                            */
    bool maps;                   /* weights that lie in the host's memory may be used where they are                */
    bool reuse;                  /* training: memory that comes back is soon asked for again, and is better kept    */
    im_counts counts;            /* what went to and fro (tensor/transfer.c)                                        */
    size_t held[3];              /* bytes that tensors, parameters, arenas of plans have now: enum im_holder        */
    void *impl;                  /* what is the device's own; cpu, ref, far: host.h                                 */
} im_device;

/* Fills dev for "cpu", "ref", "far" or "cuda[:N]"; false with an error in c. */
bool im_device_open(im_ctx *c, im_device *dev, const char *name, int threads, const volatile int *stop);
void im_device_close(im_device *dev);

/* The backends' fillers. */
/* host.c: services of cpu and ref; impl has at least `bytes`, of which the first are an im_host. */
bool im_host_open(im_ctx *c, im_device *dev, const char *name, int threads, size_t bytes);
void im_host_kernels(im_kernels *k);                           /* host_steps.c: IM_KERNELS_STEPS, and those of ...     */
void im_host_tokens(im_kernels *k);                            /* host_tokens.c: IM_KERNELS_TOKENS                     */
bool im_far_open(im_ctx *c, im_device *dev, int threads);      /* far/far.c: a device for tests; no help names it      */
void im_ref_kernels(im_kernels *k);
/* Fills dev->k for the best allowed ISA and returns its name; NULL: IMAGO_ISA names none. asked: IMAGO_COMPUTE says how. */
const char *im_cpu_kernels(im_device *dev, bool asked, im_compute how);
const char *im_cpu_isas(void);                   /* "portable avx2 avx512 ...": what this build holds               */
bool im_cuda_open(im_ctx *c, im_device *dev, const char *name);

/* Packing of weights (tensor/pack.c), shared by loader and kernels; plain portable C, the same bytes on every machine.*/
size_t im_packed_bytes(im_dtype dtype, int n, int k, bool geglu);
/* The services weight_bytes and weight_as_is of devices that hold weights in plain rows or in these panels.            */
size_t im_weight_bytes(const struct im_device *dev, const struct im_pack_args *p);
bool im_weight_as_is(const struct im_device *dev, const struct im_pack_args *p);
/* Packs rows row0 .. row0+rows-1 (row0 a multiple of IM_PANEL) from src rows of k elements in src_dtype.
 * elem_stride, row_stride: in elements; three nested k-axes (kh*kw outer, cin inner) let it read OIHW in place:
 * source index of (n, kk, ci) = n*row_stride + kk*kk_stride + ci*ci_stride, k = kk*cin + ci. */
typedef struct im_pack_args {
    bool packed;                                                          /* false: plain rows of taps * cin values  */
    const void *src; im_dtype src_dtype, dtype;
    int n, taps, cin;                                                     /* k = taps * cin                         */
    bool geglu;
    int64_t row_stride, tap_stride, cin_stride;
    const float *scales;                                                  /* src in int8: of its rows (int8.h)      */
    int channels; const float *multipliers;                               /* src in int8: of the input; or NULL      */
    void *dst;
} im_pack_args;
void im_pack_panels(const im_pack_args *p, int panel0, int panel1);      /* panels [panel0, panel1)                */
int im_pack_panel_count(int n, bool geglu);
/* pack_int8.c: source rows first_row .. first_row+rows-1 (at most IM_PANEL) to one panel in int8.                     */
void im_pack_int8(const im_pack_args *p, int64_t first_row, int rows, void *panel);
void im_pack_multipliers(const im_pack_args *p, void *tail);              /* what stands behind the panels            */

#endif
