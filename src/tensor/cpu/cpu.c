/* cpu.c: chooses the instruction set when a device is opened: the highest rung that this processor (and its operating
 * system) can run and that IMAGO_ISA allows. The one file here that is compiled once; tables come from table.c. */
#define _GNU_SOURCE
#include "tensor/cpu/tile.h"
#include "tensor/peak.h"
#include "tensor/host.h"

#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#define ISAS(X) X(portable) X(avx2) X(avx512) X(avx512bf16)
/* Sets of which micro.c alone is compiled: instructions for int8 that some processors with a set have. (name, beside) */
#define DOTS(X) X(avx2vnni, avx2) X(avx512vnni, avx512) X(avx512vnni, avx512bf16)
/* Sets that are another one with tile registers for products (tile.h): (name, kernels of) */
#define TILED(X) X(avx512amx, avx512bf16)
#else
#include <asm/hwcap.h>
#include <sys/auxv.h>
#define ISAS(X) X(portable) X(neon)
#define DOTS(X) X(neondot, neon)
#define TILED(X)
#endif

#define X(isa) void im_cpu_init_##isa(im_kernels *k); void im_cpu_peak_init_##isa(im_peak_loops *l); \
    const void *im_int8_tiles_##isa(uint8_t *flip);
ISAS(X)
#undef X

#ifdef __x86_64__
static bool has_portable(void)
{
    return true;
}

static bool has_avx2(void)                       /* the compiler's test includes that the system saves the registers */
{
    unsigned a, b, c, d;                         /* clang's knows no "f16c": leaf 1, ecx bit 29 */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid(1, &a, &b, &c, &d) &&
           (c & bit_F16C);
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

/* AVX-VNNI is in leaf 7.1, eax bit 4; its registers are those of AVX2. */
static bool has_avx2vnni(void)
{
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1u);
}

static bool has_avx512vnni(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

/* AMX: tiles, bf16, int8 in leaf 7, edx bits 24, 22, 25. The system saves tile registers for a process that asks for it
 * once (Linux: Documentation/arch/x86/xstate.rst), and says no where the processor or the machine above keeps them. */
static bool has_avx512amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d, all = 1u << 22 | 1u << 24 | 1u << 25;
    return has_avx512bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & all) == all &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

const im_amx *im_tiles_amx(void);                              /* amx.c                                                */

/* Where tile registers do it instead. */
static bool tiles_peak(im_peak_loops *out)
{
    const im_amx *amx = im_tiles_amx();
    for (int how = 0; how < IM_COMPUTE_COUNT; how++)
        if (amx->peak[how]) {
            out->multiply[how] = amx->peak[how];
            out->steps[how] = IM_AMX_PEAK;
        }
    return true;
}

/* Does vdpbf16ps pay against converting bf16 to f32? Rates measured by `imago bench peak` in G(FL)OP/s of one core, f32
 * fma against bf16 dots; a processor that is not listed multiplies in f32. Models: from..to, inclusive. */
static const struct { char vendor[13]; int family, from, to; bool pays; } dot_rates[] = {
    { "AuthenticAMD", 0x19, 0x10, 0x1f, true  },               /* Zen 4 (Genoa): 114, 228                            */
    { "AuthenticAMD", 0x19, 0x60, 0xaf, true  },               /* Zen 4 (desktop, mobile, Bergamo): the same core    */
    { "AuthenticAMD", 0x1a, 0x00, 0xff, true  },               /* Zen 5 (Turin): 250, 497                            */
    { "GenuineIntel", 6,    0x8f, 0x8f, false },               /* Sapphire Rapids: the core of Emerald Rapids        */
    { "GenuineIntel", 6,    0xcf, 0xcf, false },               /* Emerald Rapids: 172, 85                            */
};

static bool dots_pay(void)
{
    unsigned a, b, c, d;
    char vendor[13] = "";
    if (!__get_cpuid(0, &a, &b, &c, &d))
        return false;
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &d, 4);
    memcpy(vendor + 8, &c, 4);
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    int family = a >> 8 & 15, model = a >> 4 & 15;
    if (family == 6 || family == 15)
        model |= a >> 12 & 0xf0;
    if (family == 15)
        family += a >> 20 & 0xff;
    for (size_t i = 0; i < sizeof dot_rates / sizeof *dot_rates; i++)
        if (!strcmp(vendor, dot_rates[i].vendor) && family == dot_rates[i].family && model >= dot_rates[i].from &&
            model <= dot_rates[i].to)
            return dot_rates[i].pays;
    return false;
}
#else
static bool has_portable(void)
{
    return true;
}

static bool has_neon(void)                       /* every AArch64 processor */
{
    return true;
}

static bool dots_pay(void)
{
    return false;
}

static const im_amx *im_tiles_amx(void)
{
    return NULL;
}

static bool has_neondot(void)
{
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}
#endif

static const char dots_isa[] = "avx512bf16";                   /* the set that has an instruction for bf16 dots       */

const char *im_cpu_isas(void)
{
#define X(isa) " " #isa
#define TILES(isa, of) " " #isa
    return &ISAS(X) TILED(TILES)[1];
#undef TILES
#undef X
}

bool im_cpu_peak_loops(const char *isa, im_peak_loops *out)
{
    size_t n = strcspn(isa, "+");
#define X(name) if (n == sizeof #name - 1 && !memcmp(isa, #name, n)) return im_cpu_peak_init_##name(out), true;
    ISAS(X)
#undef X
#define X(name, of) if (n == sizeof #name - 1 && !memcmp(isa, #name, n)) return im_cpu_peak_init_##of(out), tiles_peak(out);
    TILED(X)
#undef X
    return false;
}

#define X(name, beside) const void *im_int8_tiles_##name(uint8_t *flip);
DOTS(X)
#undef X

/* The tiles of int8 for kernels of that set: those of an instruction for them, where the processor has it. The bits are the
 * same. */
static void choose_int8(im_host *h, const char *isa, const void *(*own)(uint8_t *flip))
{
    static const struct { const char *beside; bool (*has)(void); const void *(*tiles)(uint8_t *flip); } dots[] = {
#define X(name, beside) { #beside, has_##name, im_int8_tiles_##name },
        DOTS(X)
#undef X
    };
    h->int8_tiles = own(&h->int8_flip);
    for (size_t i = 0; i < sizeof dots / sizeof *dots; i++)
        if (!strcmp(dots[i].beside, isa) && dots[i].has())
            h->int8_tiles = dots[i].tiles(&h->int8_flip);
    h->compute[IM_INT8] = IM_COMPUTE_INT8;
}

static const char *product(const im_device *dev, im_dtype weights)
{
    im_compute how = im_host_of(dev)->compute[weights];
    if (weights == IM_F16 && im_host_of(dev)->split)
        return "each factor as two bf16, three products with f32 sums, in tile registers (AMX): a term loses 2^-15 at most";
    if (im_host_of(dev)->amx && how != IM_COMPUTE_F32)
        return how == IM_COMPUTE_INT8
             ? "int8 dot products with exact sums, in tile registers (AMX); rows of activations are rounded to int8"
             : "bf16 dot products with f32 sums, in tile registers (AMX); activations are rounded to bf16";
    if (weights == IM_INT8)
        return im_host_of(dev)->int8_flip
             ? "int8 dot products with exact sums (one instruction); rows of activations are rounded to int8"
             : "int8 dot products with exact sums; rows of activations are rounded to int8";
    if (how == IM_COMPUTE_BF16)
        return strncmp(dev->isa, dots_isa, strlen(dots_isa))
             ? "bf16 dot products with f32 sums, made of f32 multiply-adds; activations are rounded to bf16"
             : "bf16 dot products with f32 sums; activations are rounded to bf16";
    return weights == IM_F32 ? "f32 multiply-adds" : "widened to f32, then f32 multiply-adds";
}

/* isa and "isa+f32" and the like: the name where products are not computed as this set does it unasked. Their bits are
 * others, and whoever keeps the name of the set beside what was computed then keeps that, too. */
#define NAMES(isa) { #isa, has_##isa, im_cpu_init_##isa, im_int8_tiles_##isa, false, { IM_COMPUTES(WITH, #isa) } },
#define TILED_NAMES(isa, of) { #isa, has_##isa, im_cpu_init_##of, im_int8_tiles_##of, true, { IM_COMPUTES(WITH, #isa) } },
#define WITH(id, name, factors, per_step, words, isa) isa "+" #name,

const char *im_cpu_kernels(im_device *dev, bool asked, im_compute how)
{
    static const struct {
        const char *name;
        bool (*has)(void);
        void (*init)(im_kernels *);
        const void *(*int8_tiles)(uint8_t *flip);
        bool tiles;
        const char *with[IM_COMPUTE_COUNT];
    } rungs[] = { ISAS(NAMES) TILED(TILED_NAMES) };
    enum { N = sizeof rungs / sizeof *rungs };
    const char *cap = getenv("IMAGO_ISA");
    int top = N - 1;
    if (cap && *cap)
        for (top = 0; strcmp(cap, rungs[top].name); )
            if (++top == N)
                return NULL;
    int best = 0;
    while (best < top && rungs[best + 1].has())
        best++;
    /* bf16 dots have their own bits and are not faster everywhere: unasked, only where they pay. Tile registers do. */
    bool set = cap && *cap, tiles = rungs[best].tiles, dots = tiles || !strcmp(rungs[best].name, dots_isa);
    bool wanted = asked ? how == IM_COMPUTE_BF16 : dots && (set || tiles || dots_pay());
    if (dots && !wanted && !set && !tiles) {
        dots = false;
        best--;
    }
    rungs[best].init(&dev->k);
    choose_int8(im_host_of(dev), rungs[best].name, rungs[best].int8_tiles);
    if (tiles) {                                               /* they multiply both with a sign                       */
        im_host_of(dev)->amx = im_tiles_amx();
        im_host_of(dev)->int8_flip = 0;
        im_host_of(dev)->split = wanted;
    }
    dev->packs = true;                                         /* ref reads weights as the papers write them           */
    dev->s.product = product;
    if (wanted)
        im_host_of(dev)->compute[IM_BF16] = IM_COMPUTE_BF16;
    return wanted == dots ? rungs[best].name : rungs[best].with[how];
}
