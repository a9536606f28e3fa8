/* tensor.cc: what kernels on tensor cores use: asynchronous copies, ldmatrix, and mma with a tensor core's own arithmetic
 * (that of wgmma, too: wgmma.cc).
 *
 * A copy is always late: its destination is as if never written until the thread that asked for it waits, and is
 * written by that thread then; so who reads it without that wait, or without a barrier behind it, is seen. That it
 * overwrites what others still read is looked at when it is asked for.
 *
 * An mma of 16 products is two of 8 on sm_80 to sm_89: the products are exact; they and c are aligned to the largest
 * of their exponents and cut off (not rounded) 24 bits behind it; the sum is exact and cut off to f32. One of 8
 * products on sm_75 is one of these; on sm_90 16 products are one sum, with 25 bits, and so is a wgmma's. (The model
 * of MMA-Sim, Xie et al. 2025, arXiv:2511.10909, which its authors compared with devices; tests/golden/mma.bin,
 * mma_k8.bin and wgmma.bin were made by it.)
 *
 * What a device does not have is a fault: cp.async and m16n8k16 came with sm_80. Code for sm_75 is not launched on later
 * ones (CODE_FOR of cuda/ptx.cuh), so m16n8k8 is one there. */
#include "cuda/ptx.cuh"

#include <stdlib.h>

#include <vector>

#undef threadIdx

/* ---------------------------------------------------------------- copies */

struct copy { void *to; uint8_t data[16]; };
struct copies { std::vector<std::vector<copy>> groups; };      /* of a thread; the last one is open                    */
static thread_local std::vector<copies> under_way;

void sim_tensor_begin_block(unsigned threads)
{
    under_way.resize(threads);
    for (copies &c : under_way)
        c.groups.assign(1, std::vector<copy>());
}

static unsigned me() { return sim_here()->slot; }

static void wants(bool turing, const char *what)
{
    if ((sim_capability() < 80) != turing)
        sim_report(SIM_LAUNCH, "%s, which is for %s; the device is sm_%d", what, turing ? "sm_75" : "sm_80 and later",
                   sim_capability());
}

void sim_copy_async(void *to, const void *from, bool in)
{
    wants(false, "cp.async");
    copy c = { to, { 0 } };
    const char *pc = (const char *)__builtin_return_address(0);          /* pc + 1: the other half of it               */
    if (in && sim.checks)
        sim_access(from, 16, false, false, pc);
    if (in)
        memcpy(c.data, from, 16);
    if (sim.checks) {
        sim_access(to, 16, true, false, pc + 1);
        sim_shadow_poison(to, 16);
    }
    under_way[me()].groups.back().push_back(c);
}

void sim_copy_commit() { under_way[me()].groups.emplace_back(); }

void sim_copy_wait(int newest)
{
    auto &groups = under_way[me()].groups;
    bool counting = sim_counting;
    sim_counting = false;                                      /* it was counted when it was asked for                 */
    while ((int)groups.size() - 1 > newest) {
        for (const copy &c : groups.front()) {
            if (sim.checks)
                sim_access(c.to, 16, true, false, __builtin_return_address(0));
            memcpy(c.to, c.data, 16);
        }
        groups.erase(groups.begin());
    }
    sim_counting = counting;
}

/* ---------------------------------------------------------------- matrices */

void sim_ldmatrix4(uint32_t r[4], const void *row, bool turned, int line)
{
    uint32_t words[4];
    unsigned lane = me() % 32;
    if (sim.checks)
        sim_access(row, 16, false, false, __builtin_return_address(0));
    memcpy(words, row, 16);
    const uint32_t *all = sim_exchange(words, 4, "ldmatrix", line);
    for (unsigned i = 0; i < 4; i++) {
        const uint32_t *m = all + 8 * i * 16;                  /* row k of matrix i at m + 16 k, two numbers a word    */
        unsigned k = 2 * (lane % 4), c = lane / 4;
        uint32_t low = m[k * 16 + c / 2] >> 16 * (c % 2), high = m[(k + 1) * 16 + c / 2] >> 16 * (c % 2);
        r[i] = turned ? (low & 0xffffu) | high << 16 : m[c * 16 + k / 2];
    }
}

sim_factor sim_factor_of(uint16_t h, bool bf16)
{
    uint32_t u = bf16 ? (uint32_t)h << 16 : im_bits(im_half_to_f32(h)), m = u & 0x7fffffu;
    int e = (int)(u >> 23 & 255), least = bf16 ? -126 : -14;
    sim_factor x = { 0, e ? e - 127 : -126, im_from_bits(u) };
    m = (e ? m | 0x800000u : m) >> 13;                         /* exact: f16 has 10 bits behind the point, bf16 7      */
    if (x.e < least) {
        m >>= least - x.e;
        x.e = least;
    }
    x.m = u >> 31 ? -(int32_t)m : (int32_t)m;
    if (e == 255)
        x.e = 1000;                                            /* infinite or no number                                */
    else if (!m)
        x.e = -1000;                                           /* zero asks for no place                               */
    return x;
}

/* m 2^(e - point) as a multiple of 2^(top - bits), cut off. */
static int64_t aligned(int64_t m, int e, int point, int top, int bits)
{
    int down = top - e, up = bits - point;
    uint64_t v = down > 63 ? 0 : ((uint64_t)(m < 0 ? -m : m) << up) >> down;
    return m < 0 ? -(int64_t)v : (int64_t)v;
}

float sim_fused(const sim_factor *x, const sim_factor *y, int n, float c, int bits)
{
    uint32_t u = im_bits(c), m_c = u & 0x7fffffu;
    int e_c = (int)(u >> 23 & 255), top = -108 - bits, most = -4000;
    bool finite = e_c != 255;
    m_c = e_c ? m_c | 0x800000u : m_c;
    e_c = e_c ? e_c - 127 : -126;
    if (m_c && e_c > top)
        top = e_c;
    for (int i = 0; i < n; i++) {
        int e = x[i].e + y[i].e;
        most = e > most ? e : most;
        finite = finite && x[i].e < 1000 && y[i].e < 1000;
    }
    if (!finite) {
        double sum = c;
        for (int i = 0; i < n; i++)
            sum += (double)x[i].value * y[i].value;
        return (float)sum;
    }
    top = most > top ? most : top;
    int64_t sum = aligned(u >> 31 ? -(int64_t)m_c : (int64_t)m_c, e_c, 23, top, bits);
    for (int i = 0; i < n; i++)
        sum += aligned((int64_t)x[i].m * y[i].m, x[i].e + y[i].e, 20, top, bits);
    uint64_t power = (uint64_t)(1023 + top - bits) << 52;      /* 2^(top - bits): far from the smallest of f64         */
    double v;
    memcpy(&v, &power, sizeof v);
    v *= (double)sum;
    float f = (float)v;
    if (fabs((double)f) > fabs(v))
        f = nextafterf(f, 0.0f);
    return f + 0.0f;
}

static float fused(const uint16_t *a, const uint16_t *b, int n, float c, bool bf16, int bits)
{
    sim_factor x[16], y[16];
    for (int i = 0; i < n; i++) {
        x[i] = sim_factor_of(a[i], bf16);
        y[i] = sim_factor_of(b[i], bf16);
    }
    return sim_fused(x, y, n, c, bits);
}

float sim_mma_dot8(const uint16_t *a, const uint16_t *b, float c) { return fused(a, b, 8, c, false, 24); }

float sim_mma_dot(const uint16_t *a, const uint16_t *b, float c, bool bf16)
{
    return fused(a + 8, b + 8, 8, fused(a, b, 8, c, bf16, 24), bf16, 24);
}

float sim_wgmma_dot(const uint16_t *a, const uint16_t *b, float c, bool bf16) { return fused(a, b, 16, c, bf16, 25); }

/* PTX ISA, #warp-level-matrix-fragment-mma-1688, .f16: registers of a lane, g = lane / 4, t = lane % 4:
 * a0 a1 (g, 2t ..), a2 a3 (g + 8, 2t ..), b0 b1 (k 2t .., n g), c0 c1 (g, 2t ..), c2 c3 (g + 8, 2t ..). */
void sim_mma1688(float d[4], const uint32_t a[2], uint32_t b, int line)
{
    wants(true, "mma.m16n8k8");
    uint32_t words[3] = { a[0], a[1], b };
    unsigned lane = me() % 32;
    const uint32_t *all = sim_exchange(words, 3, "mma", line);
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = lane / 4, col = 2 * (lane % 4) + i % 2; /* row and row + 8: register i / 2                      */
        uint16_t x[8], y[8];
        for (unsigned k = 0; k < 8; k++) {
            x[k] = (uint16_t)(all[(4 * row + k / 2) * 16 + i / 2] >> 16 * (k % 2));
            y[k] = (uint16_t)(all[(4 * col + k / 2) * 16 + 2] >> 16 * (k % 2));
        }
        d[i] = sim_mma_dot8(x, y, d[i]);
    }
}

/* PTX ISA, #warp-level-matrix-fragment-mma-16816-float. */
void sim_mma16816(float d[4], const uint32_t a[4], const uint32_t b[2], bool bf16, int line)
{
    wants(false, "mma.m16n8k16");
    uint32_t words[6] = { a[0], a[1], a[2], a[3], b[0], b[1] };
    unsigned lane = me() % 32;
    const uint32_t *all = sim_exchange(words, 6, "mma", line);
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = lane / 4, col = 2 * (lane % 4) + i % 2;
        uint16_t x[16], y[16];
        for (unsigned k = 0; k < 16; k++) {                    /* who holds (row, k) and (k, col)                      */
            const uint32_t *from = all + (4 * row + k % 8 / 2) * 16, *of_b = all + (4 * col + k % 8 / 2) * 16;
            x[k] = (uint16_t)(from[i / 2 + k / 8 * 2] >> 16 * (k % 2));
            y[k] = (uint16_t)(of_b[4 + k / 8] >> 16 * (k % 2));
        }
        d[i] = sim_capability() < 90 ? sim_mma_dot(x, y, d[i], bf16) : sim_wgmma_dot(x, y, d[i], bf16);
    }
}
