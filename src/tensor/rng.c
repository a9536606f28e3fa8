/* rng.c: normal random numbers with the bits of torch.randn, so that a seed draws the picture that it draws elsewhere.
 *
 * CPU stream: Mersenne Twister mt19937 (Matsumoto & Nishimura 1998), seeded by the low 32 bits of the seed, and the
 * Box-Muller transform (1958). A call of 16 values or more fills its array with uniforms (24 bits each), then turns
 * every block of 16 into 8 pairs; where the length is no multiple of 16, the last 16 values are drawn again. A shorter
 * call goes value by value in f64 and keeps the second of each pair for the next short call.
 * On x86 torch takes logarithm, sine and cosine from the Cephes polynomials (Moshier) in f32 with fused multiply-adds;
 * log_f32 and sincos_f32 are these, written with fmaf, so that the bits are the same on every machine.
 *
 * CUDA stream: Philox4x32-10 (Salmon et al. 2011), counter {call, 0, element, 0}, key = the seed, and Box-Muller, here
 * in f64 as AUTOMATIC1111's web UI has it. A GPU's own stream (f32, the last digit differs) has this order while a call
 * has no more values than the GPU has threads in flight (270,336 on an H100), which is 16 latents of 64x64.
 *
 * Used by models/pipelines/sd.c: initial latents, the noise of ancestral schedulers and the sample of the VAE encoder. */
#include "imago_engine.h"

#include <math.h>
#include <stdlib.h>

enum { MT_WORDS = 624, MT_SHIFT = 397, BLOCK = 16, PHILOX_ROUNDS = 10 };
static const double PI = 3.14159265358979323846;

struct im_rng {
    im_rng_kind kind;
    uint32_t mt[MT_WORDS];                                     /* state of the twister                                */
    int at;                                                    /* next word; MT_WORDS: regenerate first               */
    double kept;                                               /* second value of the last pair of a short call       */
    bool has_kept;
    uint32_t key[2], calls;                                    /* philox                                              */
};

im_rng *im_rng_new(im_ctx *c, im_rng_kind kind, uint64_t seed)
{
    im_rng *r = calloc(1, sizeof *r);
    if (!r) {
        im_fail(c, "random numbers: no memory for the generator (%zu bytes)", sizeof *r);
        return NULL;
    }
    r->kind = kind;
    r->key[0] = (uint32_t)seed;
    r->key[1] = (uint32_t)(seed >> 32);
    r->mt[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < MT_WORDS; i++)
        r->mt[i] = 1812433253u * (r->mt[i - 1] ^ (r->mt[i - 1] >> 30)) + i;
    r->at = MT_WORDS;
    return r;
}

void im_rng_free(im_rng *r)
{
    free(r);
}

static uint32_t next_u32(im_rng *r)
{
    if (r->at == MT_WORDS) {
        uint32_t *w = r->mt;
        for (int i = 0; i < MT_WORDS; i++) {
            uint32_t y = (w[i] & 0x80000000u) | (w[(i + 1) % MT_WORDS] & 0x7fffffffu);
            w[i] = w[(i + MT_SHIFT) % MT_WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        r->at = 0;
    }
    uint32_t y = r->mt[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

void im_rng_words(im_rng *r, uint32_t *out, size_t n)
{
    for (size_t i = 0; r && i < n; i++) out[i] = next_u32(r);
}

static double uniform_f64(im_rng *r)                           /* 53 bits in [0, 1)                                   */
{
    uint64_t high = next_u32(r);
    uint64_t bits = high << 32 | next_u32(r);
    return (double)(bits & ((1ull << 53) - 1)) * 0x1p-53;
}

static void fill_uniform(im_rng *r, float *out, size_t n)      /* 24 bits in [0, 1)                                   */
{
    for (size_t i = 0; i < n; i++) out[i] = (float)(next_u32(r) & 0xffffff) * 0x1p-24f;
}

/* ln x for x in (0, 1]: x = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), ln(1 + f) = f - f^2/2 + f^3 P(f). */
static float log_f32(float x)
{
    static const float p[9] = {
        7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
        -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f,
    };
    int exponent;
    float m = frexpf(x, &exponent), e = (float)exponent;
    if (m < 0.707106781186547524f) {
        e -= 1;
        m = 2 * m - 1;
    } else {
        m -= 1;
    }
    float z = m * m, y = p[0];
    for (int i = 1; i < 9; i++) y = fmaf(y, m, p[i]);
    y *= m;
    y = fmaf(y, z, e * -2.12194440e-4f);                       /* ln 2 in two parts: 0.693359375 - 2.12194440e-4      */
    y = fmaf(-z, 0.5f, y);
    return fmaf(e, 0.693359375f, m + y);
}

/* sin x and cos x for x in [0, 2 pi): x is brought to [-pi/4, pi/4] by a multiple j of pi/4, in three parts. */
static void sincos_f32(float x, float *sine, float *cosine)
{
    int j = ((int)(x * 1.27323954473516f) + 1) & ~1;
    float k = (float)j;
    x = fmaf(k, -0.78515625f, x);
    x = fmaf(k, -2.4187564849853515625e-4f, x);
    x = fmaf(k, -3.77489497744594108e-8f, x);
    float z = x * x;
    float c = fmaf(fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f) * z;
    c = fmaf(c, z, -(z * 0.5f)) + 1;
    float s = fmaf(fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f) * z;
    s = fmaf(s, x, x);
    bool swap = j & 2;
    float sn = swap ? c : s, cs = swap ? s : c;
    *sine = j & 4 ? -sn : sn;
    *cosine = ~(j - 2) & 4 ? -cs : cs;
}

static void normal_block(float d[BLOCK])                       /* 16 uniforms -> 16 normals                           */
{
    for (int i = 0; i < BLOCK / 2; i++) {
        float radius = sqrtf(-2.0f * log_f32(1.0f - d[i])), s, c;
        sincos_f32((float)(2 * PI) * d[i + BLOCK / 2], &s, &c);
        d[i] = radius * c + 0.0f;                              /* + 0: torch adds the mean, which turns -0 into 0     */
        d[i + BLOCK / 2] = radius * s + 0.0f;
    }
}

static float normal_single(im_rng *r)
{
    if (r->has_kept) {
        r->has_kept = false;
        return (float)r->kept;
    }
    double u1 = uniform_f64(r), u2 = uniform_f64(r);
    double radius = sqrt(-2.0 * log1p(-u2)), angle = 2.0 * PI * u1;
    r->kept = radius * sin(angle);
    r->has_kept = true;
    return (float)(radius * cos(angle));
}

static void randn_cpu(im_rng *r, float *out, size_t n)
{
    if (n < BLOCK) {
        for (size_t i = 0; i < n; i++) out[i] = normal_single(r);
        return;
    }
    fill_uniform(r, out, n);
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK) normal_block(out + i);
    if (n % BLOCK) {
        fill_uniform(r, out + n - BLOCK, BLOCK);
        normal_block(out + n - BLOCK);
    }
}

static void philox(const uint32_t key[2], uint32_t g[4])       /* g: counter in, random words out                     */
{
    uint32_t k0 = key[0], k1 = key[1];
    for (int i = 0; i < PHILOX_ROUNDS; i++) {
        uint64_t a = (uint64_t)g[0] * 0xd2511f53u, b = (uint64_t)g[2] * 0xcd9e8d57u;
        uint32_t g1 = g[1], g3 = g[3];
        g[0] = (uint32_t)(b >> 32) ^ g1 ^ k0;
        g[1] = (uint32_t)b;
        g[2] = (uint32_t)(a >> 32) ^ g3 ^ k1;
        g[3] = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
}

static void randn_cuda(im_rng *r, float *out, size_t n)
{
    const double unit = 0x1p-32, turn = 0x1p-32 * 2 * PI;
    for (size_t i = 0; i < n; i++) {
        uint32_t g[4] = { r->calls, 0, (uint32_t)i, (uint32_t)((uint64_t)i >> 32) };
        philox(r->key, g);
        double u = g[0] * unit + unit / 2, v = g[1] * turn + turn / 2;
        out[i] = (float)(sqrt(-2.0 * log(u)) * sin(v));
    }
    r->calls++;
}

void im_randn(im_rng *r, float *out, size_t n)
{
    if (!r) return;                                            /* its creation failed and said so                     */
    if (r->kind == IM_RNG_CUDA)
        randn_cuda(r, out, n);
    else
        randn_cpu(r, out, n);
}
