/* init_params.c: random weights to train from, the same bits on every machine, in any order and layout.
 *
 *     convolutions      normal, deviation sqrt(2 / (Cout Kh Kw))              kaiming_normal_(fan_out), as torchvision
 *     linear layers     uniform in +-1 / sqrt(K), and so are their biases     torch's nn.Linear
 *     batch norm        gamma 1, beta 0, running mean 0, running variance 1
 *     embeddings        normal, deviation .02                                 as CLIP's
 *
 * The networks of diffusion have torch's uniform numbers in convolutions too; with zero ends the last layer of every
 * residual branch, and of the network, begins with 0, so that each block is the identity at first (Dhariwal & Nichol 2021).
 * Adapters have PEFT's "gaussian": A normal with deviation 1 / r, B zero.
 * (He et al. 2015, arXiv 1502.01852.) The i-th number of the tensor NAME, counted as files count (Cout, Cin, Kh, Kw), is a
 * function of seed, NAME and i: splitmix64 (Steele, Lea & Flood 2014) from a stream that seed and NAME choose. A normal
 * one is the sum of twelve uniforms of 16 bits (Irwin-Hall; within six deviations): integers, and one product in f32, so
 * that no library's logarithm comes in. torch's own numbers are others, of the same distribution. Used by training. */
#include "models/nets/resnet.h"
#include "data/files/mix64.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum { CONSTANT, NORMAL, UNIFORM } shape_of;

typedef struct recipe { shape_of kind; float value; } recipe;  /* the constant, the deviation, or half the width      */

/* FNV-1a of the name, mixed with the seed. */
static uint64_t stream_of(uint64_t seed, const char *name)
{
    return im_mix64(im_mix64(seed + IM_GOLDEN64) ^ im_fnv64(IM_FNV64, name));
}

static uint64_t word(uint64_t stream, int64_t i)
{
    return im_mix64(stream + (uint64_t)(i + 1) * IM_GOLDEN64);
}

static float normal(uint64_t stream, int64_t i, float deviation)
{
    int sum = 0;
    for (int k = 0; k < 3; k++) {
        uint64_t z = word(stream, 3 * i + k);
        sum += (int)(z & 0xffff) + (int)(z >> 16 & 0xffff) + (int)(z >> 32 & 0xffff) + (int)(z >> 48);
    }
    return deviation * ((float)(2 * sum - 12 * 65535) * (1.0f / 131072.0f));   /* the variance of twelve uniforms is 1 */
}

static float uniform(uint64_t stream, int64_t i, float half)
{
    return half * ((float)((int64_t)(word(stream, i) >> 40) * 2 + 1 - (1 << 24)) * (1.0f / 16777216.0f));
}

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

/* The weight that a bias belongs to, where that is a linear layer; NULL for norms. */
static const im_param *weight_of(const im_params *p, const char *bias)
{
    size_t stem = strlen(bias) - 4;
    for (int i = 0; i < p->n; i++)
        if (!strncmp(p->v[i].t->name, bias, stem) && !strcmp(p->v[i].t->name + stem, "weight"))
            return p->v[i].kind == IM_PARAM_VECTOR ? NULL : &p->v[i];
    return NULL;
}

static float torch_bound(const im_param *weight)
{
    return (float)(1 / sqrt((double)(im_numel(weight->t) / weight->t->shape[0])));
}

/* The layers after which a residual sum stands, and the last of the UNet: "...conv2.weight", "...proj_out.bias". */
static bool ends_branch(const char *name)
{
    static const char *const layers[] = { "conv2.", "proj_out.", "conv_out." };
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const char *at = strstr(name, layers[i]);
        if (at && !strchr(at + strlen(layers[i]), '.'))
            return true;
    }
    return false;
}

static recipe recipe_of(const im_params *p, const im_param *q, im_init_kind kind)
{
    const int64_t *s = q->t->shape;
    if (kind == IM_INIT_LORA)
        return ends(q->t->name, ".lora_A.weight") ? (recipe){ NORMAL, 1.0f / (float)s[0] } : (recipe){ CONSTANT, 0 };
    if (kind == IM_INIT_ZERO_ENDS && ends_branch(q->t->name))
        return (recipe){ CONSTANT, 0 };
    if (q->kind == IM_PARAM_EMBEDDING || (q->kind == IM_PARAM_VECTOR && q->t->ndim == 2))
        return (recipe){ NORMAL, 0.02f };
    if (q->kind == IM_PARAM_BUFFER)
        return (recipe){ CONSTANT, ends(q->t->name, ".running_var") };
    if (q->kind == IM_PARAM_VECTOR) {
        const im_param *w = ends(q->t->name, ".bias") ? weight_of(p, q->t->name) : NULL;
        return w ? (recipe){ UNIFORM, torch_bound(w) } : (recipe){ CONSTANT, !ends(q->t->name, ".bias") };
    }
    if (q->kind == IM_PARAM_CONV && kind == IM_INIT_RESNET)
        return (recipe){ NORMAL, (float)sqrt(2 / (double)(s[0] * s[1] * s[2])) };
    if (q->kind == IM_PARAM_POINTWISE && kind == IM_INIT_RESNET)
        return (recipe){ NORMAL, (float)sqrt(2 / (double)s[0]) };
    return (recipe){ UNIFORM, torch_bound(q) };
}

typedef struct job { float *out; int64_t n; uint64_t stream; recipe r; } job;

enum { CHUNK = 1 << 14 };                                      /* numbers a task                                      */

static void fill_task(void *arg, int task, int thread)
{
    (void)thread;
    const job *j = arg;
    int64_t from = (int64_t)task * CHUNK, to = from + CHUNK < j->n ? from + CHUNK : j->n;
    for (int64_t i = from; i < to; i++)
        j->out[i] = j->r.kind == NORMAL ? normal(j->stream, i, j->r.value)
                  : j->r.kind == UNIFORM ? uniform(j->stream, i, j->r.value) : j->r.value;
}

bool im_init_params(im_params *p, uint64_t seed)
{
    return im_init_params_as(p, seed, IM_INIT_RESNET);
}

bool im_init_params_as(im_params *p, uint64_t seed, im_init_kind kind)
{
    int64_t largest = 0;
    for (int i = 0; i < p->n; i++)
        if (im_numel(p->v[i].t) > largest)
            largest = im_numel(p->v[i].t);
    float *values = malloc((size_t)(largest + 1) * sizeof *values);
    if (!values)
        return im_fail(p->c, "out of memory for random weights");
    bool ok = im_ok(p->c);
    for (int i = 0; ok && i < p->n; i++) {
        const im_param *q = &p->v[i];
        job j = { .out = values, .n = im_numel(q->t), .stream = stream_of(seed, q->t->name),
                  .r = recipe_of(p, q, kind) };
        im_parallel(p->c, (int)((j.n + CHUNK - 1) / CHUNK), fill_task, &j);
        ok = (q->t->storage || im_params_store(p, q, IM_F32)) && im_param_load(p->c, q->t, values, IM_F32,
                                                                              q->kind == IM_PARAM_CONV);
    }
    free(values);
    return ok && im_ok(p->c);
}
