/* tensor.cc: what kernels on tensor cores use: asynchronous copies, ldmatrix, and mma with a tensor core's own arithmetic.
 *
 * A copy is always late: its destination is as if never written until the thread that asked for it waits, and is written by
 * that thread then; so who reads it without that wait, or without a barrier behind it, is seen. That it overwrites what
 * others still read is looked at when it is asked for.
 *
 * An mma of 16 products is two of 8 on sm_80 to sm_89: the products are exact; they and c are aligned to the largest of their
 * exponents and cut off (not rounded) 24 bits behind it; the sum is exact and cut off to f32. One of 8 products on sm_75 is
 * one of these. (The model of MMA-Sim, Xie et al. 2025, arXiv:2511.10909, which its authors compared with devices;
 * tests/golden/mma.bin and mma_k8.bin were made by it.)
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

static unsigned me()
{
    dim3 t = sim_thread_index(), n = sim_block_size();
    return t.x + n.x * (t.y + n.y * t.z);
}

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

struct number { bool negative, finite; int e; uint32_t m; };   /* m 2^(e - 10) of a factor, m 2^(e - 23) of c          */

static number factor_of(uint16_t h, bool bf16)
{
    uint32_t u = bf16 ? (uint32_t)h << 16 : im_bits(im_half_to_f32(h)), m = u & 0x7fffffu;
    int e = (int)(u >> 23 & 255), least = bf16 ? -126 : -14;
    number x = { (u >> 31) != 0, e != 255, e ? e - 127 : -126, e ? m | 0x800000u : m };
    x.m >>= 13;                                                /* exact: f16 has 10 bits behind the point, bf16 7      */
    if (x.e < least) {
        x.m >>= least - x.e;
        x.e = least;
    }
    return x;
}

/* m 2^(e - point) as a multiple of 2^(top - 24), cut off. */
static int64_t aligned(uint64_t m, int e, int point, int top, bool negative)
{
    int down = top - e, up = 24 - point;
    uint64_t v = down > 63 ? 0 : (m << up) >> down;
    return negative ? -(int64_t)v : (int64_t)v;
}

static float eight(const uint16_t *a, const uint16_t *b, float c, bool bf16)
{
    number x[8], y[8];
    uint32_t u = im_bits(c);
    int e_c = (int)(u >> 23 & 255), top = -132;
    uint32_t m_c = e_c ? (u & 0x7fffffu) | 0x800000u : u & 0x7fffffu;
    bool finite = e_c != 255;
    e_c = e_c ? e_c - 127 : -126;
    if (m_c && e_c > top)
        top = e_c;
    for (int i = 0; i < 8; i++) {
        x[i] = factor_of(a[i], bf16);
        y[i] = factor_of(b[i], bf16);
        finite = finite && x[i].finite && y[i].finite;
        if (x[i].m && y[i].m && x[i].e + y[i].e > top)
            top = x[i].e + y[i].e;
    }
    if (!finite) {
        double sum = c;
        for (int i = 0; i < 8; i++)
            sum += (double)(bf16 ? im_bhalf_to_f32(a[i]) : im_half_to_f32(a[i])) *
                   (bf16 ? im_bhalf_to_f32(b[i]) : im_half_to_f32(b[i]));
        return (float)sum;
    }
    int64_t sum = aligned(m_c, e_c, 23, top, u >> 31);
    for (int i = 0; i < 8; i++)
        sum += aligned((uint64_t)x[i].m * y[i].m, x[i].e + y[i].e, 20, top, x[i].negative != y[i].negative);
    double v = ldexp((double)sum, top - 24);
    float f = (float)v;
    if (fabs((double)f) > fabs(v))
        f = nextafterf(f, 0.0f);
    return f + 0.0f;
}

float sim_mma_dot8(const uint16_t *a, const uint16_t *b, float c) { return eight(a, b, c, false); }

float sim_mma_dot(const uint16_t *a, const uint16_t *b, float c, bool bf16)
{
    return eight(a + 8, b + 8, eight(a, b, c, bf16), bf16);
}

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
        d[i] = sim_mma_dot(x, y, d[i], bf16);
    }
}
