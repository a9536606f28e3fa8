/* vmath.cuh: exp, log, erf, sin, cos and the activations of one number: the polynomials of cpu/vmath.h, operation by
 * operation, so that f32 results have the CPU's bits. There stands where they come from and how exact they are. */
#ifndef IM_CUDA_VMATH_H
#define IM_CUDA_VMATH_H

#include "cuda/ptx.cuh"

/* The CPU's order of operands decides what a NaN becomes: b, where either is one. */
DEV float max_of(float a, float b) { return a > b ? a : b; }
DEV float min_of(float a, float b) { return a < b ? a : b; }
DEV int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
DEV float fnma(float a, float b, float c) { return fmaf(-a, b, c); }

/* v 2^n in two steps: the first product is exact, the second rounds once. */
DEV float ldexp_of(float v, float n)
{
    int i = (int)n, h = i >> 1;
    return v * float_of((uint32_t)(h + 127) << 23) * float_of((uint32_t)(i - h + 127) << 23);
}

DEV float exp2_fraction(float f)
{
    float p = fmaf(0x1.417ab8p-13f, f, 0x1.5f094ap-10f);
    p = fmaf(p, f, 0x1.3b2dd2p-7f);
    p = fmaf(p, f, 0x1.c6af7ap-5f);
    p = fmaf(p, f, 0x1.ebfbdcp-3f);
    p = fmaf(p, f, 0x1.62e430p-1f);
    return fmaf(p, f, 1.0f);
}

/* 2^x for x <= 0: a weight of a softmax; 0 below 2^-126. A NaN stays one. */
DEV float exp2_weight(float x)
{
    if (x < -126.0f)
        return 0.0f;
    float n = rintf(x);
    return x == x ? ldexp_of(exp2_fraction(x - n), n) : x;
}

DEV float exp_of(float x)
{
    if (!(x == x))
        return x;
    float t = max_of(-110.0f, min_of(95.0f, x));
    float n = rintf(t * 0x1.715476p+0f);
    float r = fnma(n, 0x1.0bfbe8p-15f, fnma(n, 0x1.62ep-1f, t));
    return ldexp_of(exp2_fraction(r * 0x1.715476p+0f), n);
}

DEV float log_of(float x)
{
    if (!(x >= 0.0f))
        return float_of(0x7fc00000u);
    if (x == 0.0f)
        return float_of(0xff800000u);
    if (x > 0x1.fffffep+127f)
        return x;
    bool tiny = x < 0x1p-126f;
    float t = tiny ? x * 0x1p25f : x, e = (float)((int)(bits_of(t) >> 23) - 127), m = ldexp_of(t, -e);
    bool upper = m > 0x1.6a09e6p+0f;
    float f = (upper ? m * 0.5f : m) - 1.0f;
    e = (upper ? e + 1.0f : e) - (tiny ? 25.0f : 0.0f);
    float p = fmaf(-0x1.38ce9ap-4f, f, 0x1.055fe0p-3f);
    p = fmaf(p, f, -0x1.0d81e0p-3f);
    p = fmaf(p, f, 0x1.22d8fep-3f);
    p = fmaf(p, f, -0x1.54728ep-3f);
    p = fmaf(p, f, 0x1.99a01ep-3f);
    p = fmaf(p, f, -0x1.000226p-2f);
    p = fmaf(p, f, 0x1.555554p-2f);
    float z = f * f, r = fmaf(z * f, p, e * 0x1.0bfbe8p-15f);
    return fmaf(-0.5f, z, r) + fmaf(e, 0x1.62ep-1f, f);
}

DEV float erfc_positive(float t)
{
    if (!(t <= 4.25f))
        return t == t ? 0.0f : t;
    float h = fmaf(-0x1.492918p-18f, t, 0x1.58bab0p-14f);
    h = fmaf(h, t, -0x1.1f501cp-11f);
    h = fmaf(h, t, 0x1.a79eacp-10f);
    h = fmaf(h, t, 0x1.797aa4p-11f);
    h = fmaf(h, t, -0x1.cf3ab4p-6f);
    h = fmaf(h, t, 0x1.3023e2p-3f);
    h = fmaf(h, t, 0x1.d639d2p-1f);
    h = fmaf(h, t, 0x1.a0bea6p+0f);
    float x = -(t * h), n = rintf(x);
    return ldexp_of(exp2_fraction(x - n), n);
}

/* sin(x + quarter pi/2), |x| up to 1e4. */
DEV float sin_quarter(float x, float quarter)
{
    float n = rintf(x * 0x1.45f306p-1f);
    float r = fnma(n, 0x1.920p+0f, x);
    r = fnma(n, 0x1.fb4p-12f, r);
    r = fnma(n, 0x1.444p-24f, r);
    r = fnma(n, 0x1.68c234p-39f, r);
    float q = n + quarter;
    q = fnma(floorf(q * 0.25f), 4.0f, q);
    float z = r * r;
    float s = fmaf(0x1.785f8ap-19f, z, -0x1.a04a6ap-13f);
    s = fmaf(s, z, 0x1.111166p-7f);
    s = fmaf(s, z, -0x1.555556p-3f);
    s = fmaf(s * z, r, r);
    float c = fmaf(0x1.99e0e6p-16f, z, -0x1.6c0c1ap-10f);
    c = fmaf(c, z, 0x1.55554ap-5f);
    c = fmaf(c, z, -0.5f);
    c = fmaf(c, z, 1.0f);
    float odd = q - 2.0f * floorf(q * 0.5f), y = odd > 0.5f ? c : s;
    return q > 1.5f ? -y : y;
}
DEV float sin_of(float x) { return sin_quarter(x, 0.0f); }
DEV float cos_of(float x) { return sin_quarter(x, 1.0f); }

DEV float sigmoid(float x) { return 1.0f / (1.0f + exp_of(-x)); }
DEV float times_sigmoid(float x, float s) { return x / (1.0f + exp_of(-s)); }
DEV float silu(float x) { return times_sigmoid(x, x); }

DEV float gelu_erf(float x)
{
    float w = 0.5f * erfc_positive(fabsf(x) * 0x1.6a09e6p-1f);
    return x * (x < 0.0f ? w : 1.0f - w);
}

DEV float gelu_tanh(float x)
{
    return times_sigmoid(x, x * fmaf(x * x, 0.0713548162726f, 1.59576912161f));
}

DEV float tanh_of(float x)
{
    float t = fabsf(x), z = x * x;
    float p = fmaf(-0x1.6970f0p-8f, z, 0x1.4f5eeep-6f);
    p = fmaf(p, z, -0x1.b7cff0p-5f);
    p = fmaf(p, z, 0x1.1103f2p-3f);
    p = fmaf(p, z, -0x1.555524p-2f);
    float far = 1.0f - 2.0f / (1.0f + exp_of(t + t));
    return t < 0.65f ? fmaf(z * p, x, x) : x < 0.0f ? -far : far;
}

DEV float activate(im_act act, float x)
{
    switch (act) {
    case IM_ACT_SILU:       return silu(x);
    case IM_ACT_GELU:       return gelu_erf(x);
    case IM_ACT_GELU_TANH:  return gelu_tanh(x);
    case IM_ACT_QUICK_GELU: return times_sigmoid(x, x * 1.702f);
    case IM_ACT_RELU:       return max_of(0.0f, x);
    case IM_ACT_TANH:       return tanh_of(x);
    default:                return x;
    }
}

/* s + u s (1 - s): the slope of x sigmoid(u(x)) where u = x u'(x). */
DEV float logistic_slope(float s, float u) { return fmaf(u * s, 1.0f - s, s); }

DEV float gelu_slope(float x)
{
    float w = 0.5f * erfc_positive(fabsf(x) * 0x1.6a09e6p-1f);
    float phi = 0.398942280401f * exp_of((x * x) * -0.5f);
    return fmaf(x, phi, x < 0.0f ? w : 1.0f - w);
}

DEV float slope(im_act act, float x)
{
    float z = x * x;
    switch (act) {
    case IM_ACT_SILU:       return logistic_slope(sigmoid(x), x);
    case IM_ACT_QUICK_GELU: return logistic_slope(sigmoid(x * 1.702f), x * 1.702f);
    case IM_ACT_GELU:       return gelu_slope(x);
    case IM_ACT_GELU_TANH:                                     /* 2 u = x (c1 + c3 x^2), its slope c1 + 3 c3 x^2       */
        return logistic_slope(sigmoid(x * fmaf(z, 0.0713548162726f, 1.59576912161f)),
                              x * fmaf(z, 3 * 0.0713548162726f, 1.59576912161f));
    case IM_ACT_RELU:       return x > 0.0f ? 1.0f : 0.0f;
    case IM_ACT_TANH:       return (1.0f - tanh_of(x)) * (1.0f + tanh_of(x));
    default:                return 1.0f;
    }
}

#endif
