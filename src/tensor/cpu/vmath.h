/* vmath.h: exp, log, erf, sin, cos and the activations over 16 lanes.
 *
 * Each function is an argument reduction and a polynomial in explicit fused multiply-adds, so that avx2, avx512 and
 * neon give the same bits. The coefficients were fitted for these files: minimax by weighted least squares (Lawson's
 * iteration), rounded to f32 from the lowest power upwards with the rest fitted again. Errors are measured by
 * tests/test_vmath.c.
 * A NaN goes through every function. Used by the epilogues of gemm.c and by norm.c, attention.c, map.c, movement.c. */
#ifndef IM_VMATH_H
#define IM_VMATH_H

#include "imago_engine.h"
#include "tensor/cpu/simd.h"

#include <math.h>

/* 2^f = 1 + f (c1 + f (c2 + ... c6)) for |f| <= 1/2; relative error of the polynomial 3e-9. */
IM_INLINE v16 v_exp2_fraction(v16 f)
{
    v16 p = v_fma(v_set1(0x1.417ab8p-13f), f, v_set1(0x1.5f094ap-10f));
    p = v_fma(p, f, v_set1(0x1.3b2dd2p-7f));
    p = v_fma(p, f, v_set1(0x1.c6af7ap-5f));
    p = v_fma(p, f, v_set1(0x1.ebfbdcp-3f));
    p = v_fma(p, f, v_set1(0x1.62e430p-1f));
    return v_fma(p, f, v_set1(1.0f));
}

/* 2^x for x <= 0, the weights of a softmax: 0 below 2^-126. No subnormal number arises on the way to that: it takes some
 * processors 100 ns (bench/LOG.md). */
IM_INLINE v16 v_exp2_weight(v16 x)
{
    m16 small = v_lt(x, v_set1(-126.0f));
    v16 n = v_round(x), p = v_ldexp(v_exp2_fraction(v_sub(x, n)), v_select(small, v_zero(), n));
    return v_select(small, v_zero(), p);
}

/* The same for weights that are rounded to bf16 (2^-9) behind it, x of any sign: 2^floor(x) times a cubic of the fraction,
 * relative error 7.5e-5. Where one instruction takes the fraction (rounded down, as here), what is below 2^-126 is left to
 * the processor. */
IM_INLINE v16 v_exp2_weight_short(v16 x)
{
#ifdef V_HAS_FRACTION
    v16 f = v_fraction(x), n = x;
#else
    v16 y = v_max(x, v_set1(-127.0f)), n = v_floor(y), near = v_sub(y, n);
    v16 f = v_sub(near, v_select(v_gt(v_add(near, n), y), v_set1(0x1p-24f), v_zero()));
#endif
    v16 p = v_fma(v_set1(0x1.3f96a6p-4f), f, v_set1(0x1.cefc4ap-3f));
    p = v_fma(p, f, v_set1(0x1.64444cp-1f));
    p = v_ldexp(v_fma(p, f, v_set1(0x1.fff632p-1f)), n);
#ifndef V_HAS_FRACTION
    p = v_select(v_lt(x, v_set1(-126.0f)), v_zero(), p);
#endif
    return p;
}

/* e^x = 2^n 2^f with n = round(x log2 e), f = (x - n ln 2) log2 e; ln 2 in two parts, the first of 12 bits, so that its
 * product with n is exact, fused or not. The clamp (operands so ordered that a NaN stays) keeps n where v_ldexp is
 * defined; beyond it lie 0 and Inf. */
IM_INLINE v16 v_exp(v16 x)
{
    v16 t = v_max(v_set1(-110.0f), v_min(v_set1(95.0f), x));
    v16 n = v_round(v_mul(t, v_set1(0x1.715476p+0f)));
    v16 r = v_fnma(n, v_set1(0x1.0bfbe8p-15f), v_fnma(n, v_set1(0x1.62ep-1f), t));
    return v_ldexp(v_exp2_fraction(v_mul(r, v_set1(0x1.715476p+0f))), n);
}

/* log x = e ln 2 + log(1 + f), x = 2^e (1 + f), 1 + f in [sqrt 1/2, sqrt 2];  log(1 + f) = f - f^2/2 + f^3 P(f),
 * relative error 6e-9. ln 2 in two parts, the first of 12 bits: its product with e is exact. Subnormals are scaled up
 * first. */
IM_INLINE v16 v_log(v16 x)
{
    m16 tiny = v_lt(x, v_set1(0x1p-126f));
    v16 t = v_select(tiny, v_mul(x, v_set1(0x1p25f)), x), e = v_exponent(t), m = v_ldexp(t, v_neg(e));
    m16 upper = v_gt(m, v_set1(0x1.6a09e6p+0f));
    v16 f = v_sub(v_select(upper, v_mul(m, v_set1(0.5f)), m), v_set1(1.0f));
    e = v_sub(v_select(upper, v_add(e, v_set1(1.0f)), e), v_select(tiny, v_set1(25.0f), v_zero()));
    v16 p = v_fma(v_set1(-0x1.38ce9ap-4f), f, v_set1(0x1.055fe0p-3f));
    p = v_fma(p, f, v_set1(-0x1.0d81e0p-3f));
    p = v_fma(p, f, v_set1(0x1.22d8fep-3f));
    p = v_fma(p, f, v_set1(-0x1.54728ep-3f));
    p = v_fma(p, f, v_set1(0x1.99a01ep-3f));
    p = v_fma(p, f, v_set1(-0x1.000226p-2f));
    p = v_fma(p, f, v_set1(0x1.555554p-2f));
    v16 z = v_mul(f, f), r = v_fma(v_mul(z, f), p, v_mul(e, v_set1(0x1.0bfbe8p-15f)));
    r = v_add(v_fma(v_set1(-0.5f), z, r), v_fma(e, v_set1(0x1.62ep-1f), f));
    r = v_select(v_gt(x, v_set1(0x1.fffffep+127f)), x, r);
    r = v_select(v_eq(x, v_zero()), v_set1(-INFINITY), r);
    return v_select(v_ge(x, v_zero()), r, v_set1(NAN));
}

/* 1 - erf(t) for t >= 0, as 2^-(t h(t)), h of degree 8 fitted on [0, 4.25] to an absolute error of 2.3e-8 near 0,
 * falling with erfc; 0 beyond, where erfc is below 2e-9. */
IM_INLINE v16 v_erfc_positive(v16 t)
{
    v16 h = v_fma(v_set1(-0x1.492918p-18f), t, v_set1(0x1.58bab0p-14f));
    h = v_fma(h, t, v_set1(-0x1.1f501cp-11f));
    h = v_fma(h, t, v_set1(0x1.a79eacp-10f));
    h = v_fma(h, t, v_set1(0x1.797aa4p-11f));
    h = v_fma(h, t, v_set1(-0x1.cf3ab4p-6f));
    h = v_fma(h, t, v_set1(0x1.3023e2p-3f));
    h = v_fma(h, t, v_set1(0x1.d639d2p-1f));
    h = v_fma(h, t, v_set1(0x1.a0bea6p+0f));
    v16 x = v_neg(v_mul(t, h)), n = v_round(x);
    return v_select(v_gt(t, v_set1(4.25f)), v_zero(), v_ldexp(v_exp2_fraction(v_sub(x, n)), n));
}

/* erf: x + x P(x^2) below 0.85, else 1 - erfc with the sign of x. */
IM_INLINE v16 v_erf(v16 x)
{
    v16 t = v_abs(x), z = v_mul(x, x);
    v16 p = v_fma(v_set1(-0x1.4cd860p-11f), z, v_set1(0x1.4b7630p-8f));
    p = v_fma(p, z, v_set1(-0x1.b735eap-6f));
    p = v_fma(p, z, v_set1(0x1.ce256ap-4f));
    p = v_fma(p, z, v_set1(-0x1.812726p-2f));
    p = v_fma(p, z, v_set1(0x1.06eba8p-3f));
    v16 far = v_sub(v_set1(1.0f), v_erfc_positive(t));
    far = v_select(v_lt(x, v_zero()), v_neg(far), far);
    return v_select(v_lt(t, v_set1(0.85f)), v_fma(x, p, x), far);
}

/* sin(x + quarter pi/2): r = x - n pi/2, |r| <= pi/4, then the polynomial of the quadrant n + quarter. pi/2 in four
 * parts of which three have 11 bits: their products with n are exact up to |x| = 1e4, fused or not. */
IM_INLINE v16 v_sin_quarter(v16 x, float quarter)
{
    v16 n = v_round(v_mul(x, v_set1(0x1.45f306p-1f)));
    v16 r = v_fnma(n, v_set1(0x1.920p+0f), x);
    r = v_fnma(n, v_set1(0x1.fb4p-12f), r);
    r = v_fnma(n, v_set1(0x1.444p-24f), r);
    r = v_fnma(n, v_set1(0x1.68c234p-39f), r);
    v16 q = v_add(n, v_set1(quarter));
    q = v_fnma(v_floor(v_mul(q, v_set1(0.25f))), v_set1(4.0f), q);                       /* 0, 1, 2 or 3 */
    v16 z = v_mul(r, r);
    v16 s = v_fma(v_set1(0x1.785f8ap-19f), z, v_set1(-0x1.a04a6ap-13f));
    s = v_fma(s, z, v_set1(0x1.111166p-7f));
    s = v_fma(s, z, v_set1(-0x1.555556p-3f));
    s = v_fma(v_mul(s, z), r, r);
    v16 c = v_fma(v_set1(0x1.99e0e6p-16f), z, v_set1(-0x1.6c0c1ap-10f));
    c = v_fma(c, z, v_set1(0x1.55554ap-5f));
    c = v_fma(c, z, v_set1(-0.5f));
    c = v_fma(c, z, v_set1(1.0f));
    v16 odd = v_sub(q, v_mul(v_set1(2.0f), v_floor(v_mul(q, v_set1(0.5f)))));
    v16 y = v_select(v_gt(odd, v_set1(0.5f)), c, s);
    return v_select(v_gt(q, v_set1(1.5f)), v_neg(y), y);
}
IM_INLINE v16 v_sin(v16 x) { return v_sin_quarter(x, 0.0f); }
IM_INLINE v16 v_cos(v16 x) { return v_sin_quarter(x, 1.0f); }

/* x / (1 + e^-x): silu and its relatives are x sigmoid(s), one division. */
IM_INLINE v16 v_sigmoid(v16 x) { return v_div(v_set1(1.0f), v_add(v_set1(1.0f), v_exp(v_neg(x)))); }
IM_INLINE v16 v_times_sigmoid(v16 x, v16 s) { return v_div(x, v_add(v_set1(1.0f), v_exp(v_neg(s)))); }

/* silu(x) = x sigmoid(x)                                                          (Elfwing et al. 2017) */
IM_INLINE v16 v_silu(v16 x) { return v_times_sigmoid(x, x); }

/* gelu(x) = x Phi(x) = x (1 + erf(x / sqrt 2)) / 2                                (Hendrycks & Gimpel 2016)
 * From erfc of |x|, so that nothing cancels for negative x. */
IM_INLINE v16 v_gelu_erf(v16 x)
{
    v16 w = v_mul(v_set1(0.5f), v_erfc_positive(v_mul(v_abs(x), v_set1(0x1.6a09e6p-1f))));
    return v_mul(x, v_select(v_lt(x, v_zero()), w, v_sub(v_set1(1.0f), w)));
}

/* x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
IM_INLINE v16 v_gelu_tanh(v16 x)
{
    v16 c = v_fma(v_mul(x, x), v_set1(0.0713548162726f), v_set1(1.59576912161f));
    return v_times_sigmoid(x, v_mul(x, c));
}

/* x sigmoid(1.702 x): CLIP's activation */
IM_INLINE v16 v_quick_gelu(v16 x) { return v_times_sigmoid(x, v_mul(x, v_set1(1.702f))); }
IM_INLINE v16 v_relu(v16 x) { return v_max(v_zero(), x); }                               /* a NaN stays */

/* tanh: x + x^3 P(x^2) below 0.65, P of degree 4 fitted to 7e-9 of tanh; else 1 - 2 / (1 + e^2|x|) with the sign of x. */
IM_INLINE v16 v_tanh(v16 x)
{
    v16 t = v_abs(x), z = v_mul(x, x);
    v16 p = v_fma(v_set1(-0x1.6970f0p-8f), z, v_set1(0x1.4f5eeep-6f));
    p = v_fma(p, z, v_set1(-0x1.b7cff0p-5f));
    p = v_fma(p, z, v_set1(0x1.1103f2p-3f));
    p = v_fma(p, z, v_set1(-0x1.555524p-2f));
    v16 far = v_sub(v_set1(1.0f), v_div(v_set1(2.0f), v_add(v_set1(1.0f), v_exp(v_add(t, t)))));
    far = v_select(v_lt(x, v_zero()), v_neg(far), far);
    return v_select(v_lt(t, v_set1(0.65f)), v_fma(v_mul(z, p), x, x), far);
}

/* Callers hoist the switch: act is a constant where the loop is. */
IM_INLINE v16 v_activate(im_act act, v16 x)
{
    switch (act) {
    case IM_ACT_SILU: return v_silu(x);
    case IM_ACT_GELU: return v_gelu_erf(x);
    case IM_ACT_GELU_TANH: return v_gelu_tanh(x);
    case IM_ACT_QUICK_GELU: return v_quick_gelu(x);
    case IM_ACT_RELU: return v_relu(x);
    case IM_ACT_TANH: return v_tanh(x);
    case IM_ACT_NONE: break;
    }
    return x;
}

#endif
