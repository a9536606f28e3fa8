/* test_vmath.c: the functions of cpu/vmath.h on every instruction set that this machine can run: errors against libm in
 * double over the whole range of f32, special values, and equal bits wherever there is a fused multiply-add. */
#include "products.h"

typedef bool array_fn(const char *name, int64_t n, const float *x, float *y);
#ifdef __x86_64__
#define ISAS(X) X(portable) X(avx2) X(avx512) X(avx512bf16)
#define TILED(X) X(avx512amx, avx512bf16)                      /* the kernels of another one                           */
#else
#define ISAS(X) X(portable) X(neon)
#define TILED(X)
#endif
#define X(isa) array_fn im_cpu_vmath_##isa;
ISAS(X)
#undef X

/* isa may say how products are computed, too ("avx2+bf16"), which is nothing to these. */
static array_fn *of_isa(const char *isa)
{
    size_t n = strcspn(isa, "+");
#define X(name) if (n == strlen(#name) && !strncmp(isa, #name, n)) return im_cpu_vmath_##name;
    ISAS(X)
#undef X
#define X(name, of) if (n == strlen(#name) && !strncmp(isa, #name, n)) return im_cpu_vmath_##of;
    TILED(X)
#undef X
    ck_abort_msg("no vmath of %s", isa);
    return NULL;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double exp2_weight(double x) { return x < -126 ? 0 : exp2(x); }
static double silu(double x) { return x * sigmoid(x); }
static double gelu_erf(double x) { return x * 0.5 * erfc(-x * sqrt(0.5)); }
static double gelu_tanh(double x) { return x * sigmoid(2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)); }
static double quick_gelu(double x) { return x * sigmoid(1.702 * x); }
static double relu(double x) { return x > 0 ? x : 0; }

/* Errors allowed: ulp of the true value (above the smallest normal number) plus an absolute part. One rounding is 0.5
 * ulp.
 * exp: 0.5 and what the polynomial's last but one step leaves. Quotients add the roundings of 1 + e and of the
 * division.
 * Where an argument is computed first (1.702 x, the cubic), its rounding times the slope of exp is felt: a few ulp of
 * the factor for each unit of the argument, so that far tails have the larger figure.
 * erf, gelu: erfc is fitted to 2.3e-8 near 0. sin, cos: absolute, as the argument is reduced. */
typedef struct {
    const char *name;
    double (*truth)(double);
    double from, to;
    double ulp, absolute, absolute_per_x;
} function;

static const function functions[] = {
    { "exp2_weight", exp2_weight, -130, 0, 1.0, 0, 0 },
    { "exp", exp, -87.3, 88.72, 1.0, 0, 0 },
    { "exp", exp, -104, -87.3, 0, 0x1p-149, 0 },
    { "exp", exp, -1, 1, 1.0, 0, 0 },
    { "log", log, 1e-38, 3e38, 1.5, 0, 0 },
    { "log", log, 0.5, 2, 1.5, 0, 0 },
    { "log", log, 1e-45, 1e-38, 1.5, 0, 0 },
    { "erf", erf, -6, 6, 1.5, 0, 0 },
    { "erf", erf, -1e-3, 1e-3, 1.0, 0, 0 },
    { "sin", sin, -1000, 1000, 0, 1e-7, 0 },
    { "cos", cos, -1000, 1000, 0, 1e-7, 0 },
    { "sin", sin, -10000, 10000, 0, 1e-7, 0 },
    { "cos", cos, -10000, 10000, 0, 1e-7, 0 },
    { "sin", sin, -0.8, 0.8, 1.0, 0, 0 },
    { "sigmoid", sigmoid, -87, 20, 2.5, 0, 0 },
    { "silu", silu, -87, 100, 2.5, 0, 0 },
    { "gelu_erf", gelu_erf, -20, 20, 2.0, 0, 4e-8 },
    { "gelu_tanh", gelu_tanh, -10, 10, 4.0, 0, 1e-7 },
    { "quick_gelu", quick_gelu, -20, 20, 4.0, 0, 1e-7 },
    { "relu", relu, -10, 10, 0, 0, 0 },
    { "tanh", tanh, -10, 10, 2.0, 0, 0 },
    { "tanh", tanh, -0.65, 0.65, 1.0, 0, 0 },
};

enum { N = 200001 };
static float x[N], y[N], other[N];

/* Between from and to: evenly, or by bit patterns where the range spans more than a thousandfold and one sign. */
static void fill(double from, double to)
{
    if (from > 0 && to > 1000 * from) {
        float a = (float)from, b = (float)to;
        uint32_t ua, ub;
        memcpy(&ua, &a, 4);
        memcpy(&ub, &b, 4);
        for (uint32_t i = 0; i < N; i++) {
            uint32_t u = ua + (uint32_t)((uint64_t)(ub - ua) * i / (N - 1));
            memcpy(&x[i], &u, 4);
        }
        return;
    }
    for (int i = 0; i < N; i++)
        x[i] = (float)(from + (to - from) * i / (N - 1));
}

static double ulp_of(double v)
{
    int e;
    frexp(v, &e);
    return ldexp(1, e < -125 ? -149 : e - 24);
}

START_TEST(errors_against_libm)
{
    for (int d = 0; d < n_devices; d++)
        for (int f = 0; f < COUNT(functions); f++) {
            const function *t = &functions[f];
            /* two roundings in place of one for each fused multiply-add */
            double slack = strcmp(devices[d].isa, "portable") ? 1 : 3, worst = -1;
            fill(t->from, t->to);
            ck_assert(of_isa(devices[d].isa)(t->name, N, x, y));
            int at = 0;
            for (int i = 0; i < N; i++) {
                double truth = t->truth(x[i]), error = fabs(y[i] - truth);
                double allowed = slack * (t->ulp * ulp_of(truth) + t->absolute + t->absolute_per_x * fabs(x[i]));
                double excess = error == 0 ? 0 : error / allowed;
                if (!(excess <= worst)) {
                    worst = excess;
                    at = i;
                }
            }
            ck_assert_msg(worst <= 1, "%s: %s(%.9g) = %.9g, wanted %.9g: %g of what is allowed", devices[d].isa,
                          t->name, x[at], y[at], t->truth(x[at]), worst);
        }
}
END_TEST

START_TEST(special_values)
{
    static const struct { const char *name; float x, y; } cases[] = {
        { "exp", 0, 1 }, { "exp", -INFINITY, 0 }, { "exp", INFINITY, INFINITY }, { "exp", 88.73f, INFINITY },
        { "exp", 1e30f, INFINITY }, { "exp", -1e30f, 0 }, { "exp", -104.5f, 0 }, { "exp", NAN, NAN },
        { "exp2_weight", 0, 1 }, { "exp2_weight", -1, 0.5f }, { "exp2_weight", -126, 0x1p-126f },
        { "exp2_weight", -126.01f, 0 }, { "exp2_weight", -1e30f, 0 }, { "exp2_weight", -INFINITY, 0 },
        { "exp2_weight", NAN, NAN },
        { "log", 1, 0 }, { "log", 0, -INFINITY }, { "log", -1, NAN }, { "log", INFINITY, INFINITY },
        { "log", NAN, NAN },
        { "log", -INFINITY, NAN }, { "erf", 0, 0 }, { "erf", INFINITY, 1 }, { "erf", -INFINITY, -1 },
        { "erf", NAN, NAN },
        { "erf", 1e30f, 1 }, { "sin", 0, 0 }, { "cos", 0, 1 }, { "sin", NAN, NAN }, { "cos", NAN, NAN },
        { "sin", INFINITY, NAN }, { "cos", -INFINITY, NAN }, { "sigmoid", 0, 0.5f }, { "sigmoid", INFINITY, 1 },
        { "sigmoid", -INFINITY, 0 }, { "sigmoid", -1e30f, 0 }, { "sigmoid", NAN, NAN }, { "silu", 0, 0 },
        { "silu", INFINITY, INFINITY }, { "silu", -1e30f, 0 }, { "silu", 1e30f, 1e30f }, { "silu", NAN, NAN },
        { "gelu_erf", 0, 0 }, { "gelu_erf", INFINITY, INFINITY }, { "gelu_erf", -1e30f, 0 },
        { "gelu_erf", 1e30f, 1e30f },
        { "gelu_erf", NAN, NAN }, { "gelu_tanh", INFINITY, INFINITY }, { "gelu_tanh", -1e10f, 0 },
        { "gelu_tanh", 1e10f, 1e10f }, { "gelu_tanh", NAN, NAN }, { "quick_gelu", INFINITY, INFINITY },
        { "quick_gelu", -1e30f, 0 }, { "quick_gelu", NAN, NAN }, { "relu", -INFINITY, 0 },
        { "relu", INFINITY, INFINITY },
        { "relu", NAN, NAN }, { "relu", -1, 0 },
        { "tanh", 0, 0 }, { "tanh", INFINITY, 1 }, { "tanh", -INFINITY, -1 }, { "tanh", -1e30f, -1 }, { "tanh", NAN, NAN },
    };
    for (int d = 0; d < n_devices; d++)
        for (int i = 0; i < COUNT(cases); i++) {
            float in[16], out[16];
            for (int j = 0; j < 16; j++)
                in[j] = cases[i].x;
            ck_assert(of_isa(devices[d].isa)(cases[i].name, 16, in, out));
            for (int j = 0; j < 16; j++)
                ck_assert_msg(isnan(cases[i].y) ? isnan(out[j]) : out[j] == cases[i].y, "%s: %s(%g) = %g, wanted %g",
                              devices[d].isa, cases[i].name, cases[i].x, out[j], cases[i].y);
        }
    ck_assert(!im_cpu_vmath_portable("none", 0, NULL, NULL));
}
END_TEST

static bool same(float in, float a, float b, double (*f)(double))
{
    return (in > 0 && f == exp2_weight) || (isnan(a) && isnan(b)) || !memcmp(&a, &b, sizeof a);
}

/* Bit patterns from all of f32: every exponent, subnormal, Inf and NaN. A fresh NaN has the machine's sign; exp2_weight
 * is for x <= 0 alone. */
START_TEST(equal_bits)
{
    for (uint32_t i = 0; i < N; i++) {
        uint32_t u = i * 21473u;
        memcpy(&x[i], &u, 4);
    }
    for (int f = 0; f < COUNT(functions); f++) {
        int first = -1;
        for (int d = 0; d < n_devices; d++) {
            if (!strcmp(devices[d].isa, "portable"))
                continue;
            ck_assert(of_isa(devices[d].isa)(functions[f].name, N, x, first < 0 ? other : y));
            for (int i = 0; first >= 0 && i < N; i++)
                ck_assert_msg(same(x[i], y[i], other[i], functions[f].truth),
                              "%s(%.9g): %.9g on %s, %.9g on %s", functions[f].name, x[i], other[i], devices[first].isa,
                              y[i], devices[d].isa);
            first = first < 0 ? d : first;
        }
    }
}
END_TEST

int main(void)
{
    const suite_test tests[] = {
        ONCE(errors_against_libm), ONCE(special_values), ONCE(equal_bits),
    };
    return suite_run("vmath", open_devices, close_devices, SUITE_SECONDS, tests, SUITE_COUNT(tests));
}
