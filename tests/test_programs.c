/* test_programs.c: random programs of the engine (program.h), each run on ref and on every instruction set of this machine.
 *
 * Wanted, for values and gradients: near ref's; on cpu equal bits with one thread and two, with im_recompute and without,
 * with a tape and without, eager and as a plan, and in f32 on all instruction sets but portable. Under the sanitizers
 * (`make check`, `make fuzz`) memory is watched at the same time. The seeds are the same every time:
 *
 *     test_programs [--seconds N] [--seed FIRST] [--count N] [--print SEED]        PROGRAM_SECONDS=N
 *
 * A child runs the programs, so that the seed is told even where a sanitizer ends it. tests/fuzz/mutants.sh shows that
 * faults are found which the engine once had. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arithmetic.h"
#include "isa.h"
#include "program.h"
#include "tensor/host.h"

enum { MAX_DEVICES = 8 };

typedef struct { const char *isa; im_ctx *one, *two; } device;

static int open_devices(device d[MAX_DEVICES])
{
    static const char *const names[] = { "ref", TEST_ISAS };
    int n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (i && !isa_wanted(names[i]))
            continue;
        choose_isa(i ? names[i] : NULL);
        const char *name = i ? "cpu" : "ref";
        device x = { names[i], im_ctx_new(name, 1), im_ctx_new(name, 2) };
        if (x.one && x.two && im_ok(x.one) && im_ok(x.two) && !strcmp(im_device_isa(x.one), names[i])) {
            d[n++] = x;
            continue;
        }
        im_ctx_free(x.one);
        im_ctx_free(x.two);
    }
    return n;
}

/* ---------------------------------------------------------------- two runs of one program */

static bool report(const program *p, const device *d, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", d->isa, what, why);
    program_print(stderr, p);
    return false;
}

static bool same_float(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));                   /* zeros of either sign                                 */
}

/* gradients: compares these as well; only: the parts of this variable, or -1. */
static bool same(const program *p, const device *d, const char *what, const numbers *a, const numbers *b, bool gradients)
{
    int j = 0;
    for (int i = 0; i < a->n_parts; i++) {
        const seen *x = &a->parts[i];
        if (x->gradient && !gradients)
            continue;
        while (j < b->n_parts && b->parts[j].gradient && !gradients)
            j++;
        const seen *y = &b->parts[j++];
        char why[200];
        if (j > b->n_parts || x->var != y->var || x->n != y->n) {
            snprintf(why, sizeof why, "v%d, step %d%s: not in both", x->var, x->step, x->gradient ? ", gradient" : "");
            return report(p, d, what, why);
        }
        for (int64_t k = 0; k < x->n; k++)
            if (!same_float(a->x[x->at + k], b->x[y->at + k])) {
                snprintf(why, sizeof why, "v%d, step %d%s, element %lld: %.9g and %.9g", x->var, x->step,
                         x->gradient ? ", gradient" : "", (long long)k, (double)a->x[x->at + k], (double)b->x[y->at + k]);
                return report(p, d, what, why);
            }
    }
    return true;
}

static double rms(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum / (double)n);
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]) || fabsf(x[i]) > 1e18f)
            return false;
    return true;
}

enum { SHAKES = 4 };

/* ref again with leaves that differ by a few units in the last place, those of bf16 where something is rounded to that: how
 * well the program determines its results. */
static bool shake(im_ctx *ref, const program *p, numbers m[SHAKES])
{
    bool ok = true;
    double noise = p->bf16 ? 0x1p-8 : 1e-6;
    for (int i = 0; i < SHAKES && ok; i++)
        ok = program_run(ref, p, &(way){ .recompute = true, .tape = true, .noise = noise, .noise_seed = (uint64_t)i + 1 },
                         &m[i]);
    return ok;
}

/* Where products have bits of their own. */
static bool other_bits(const program *p, const device *d)
{
    return (p->bf16 && own_bits(&d->one->dev, IM_BF16)) || (p->f16 && own_bits(&d->one->dev, IM_F16));
}

/* |got - ref| within base (|ref| + rms), or within what ref itself moves by when it is shaken, 30 times over (4 times by
 * bf16's units, as each operation rounds once). Bf16 loses
 * 2^-8 of a term, split f16 2^-15: base is 13 times that. */
static bool part_near(const program *p, const device *d, const float *got, const float *ref, const numbers *m, int64_t at,
                      int64_t n, double *worst)
{
    double base = p->bf16 ? 0.05 : p->f16 && other_bits(p, d) ? 4e-4 : 1e-4, unit = rms(ref, n), moved = 0;
    double times = p->bf16 ? 4 : 30;
    *worst = 0;
    for (int s = 0; m && s < SHAKES; s++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += pow((double)m[s].x[at + i] - ref[i], 2);
        moved = fmax(moved, sqrt(sum / (double)n));
    }
    for (int64_t i = 0; i < n; i++) {
        double own = moved, e = fabs((double)got[i] - ref[i]);
        for (int s = 0; m && s < SHAKES; s++)
            own = fmax(own, fabs((double)m[s].x[at + i] - ref[i]));
        double over = e / (base * (fabs((double)ref[i]) + unit + 0.01) + times * own);
        *worst = fmax(*worst, isnan(e) ? INFINITY : over);
    }
    return *worst <= 1;
}

static bool near(const program *p, const device *d, im_ctx *ref, const numbers *got, const numbers *want)
{
    numbers m[SHAKES] = { 0 };
    bool shaken = false, ok = true;
    double worst;
    if (got->n_parts != want->n_parts || got->n != want->n)
        return report(p, d, "beside ref", "other results");
    for (int i = 0; i < got->n_parts && ok; i++) {
        const seen *x = &want->parts[i];
        const float *a = got->x + x->at, *b = want->x + x->at;
        if (x->n != got->parts[i].n || x->var != got->parts[i].var)
            ok = report(p, d, "beside ref", "other results");
        if (!ok || !all_finite(b, x->n))                       /* what overflows in ref says nothing                   */
            break;
        if (part_near(p, d, a, b, NULL, x->at, x->n, &worst))
            continue;
        if (!shaken && !(shaken = shake(ref, p, m)))
            ok = report(p, d, "shaking ref", im_error(ref));
        if (ok && !part_near(p, d, a, b, m, x->at, x->n, &worst)) {
            char why[200];
            snprintf(why, sizeof why, "v%d, step %d%s: %g times as far as it may be", x->var, x->step,
                     x->gradient ? ", gradient" : "", worst);
            ok = report(p, d, "beside ref", why);
        }
    }
    for (int i = 0; i < SHAKES; i++)
        numbers_free(&m[i]);
    return ok;
}

/* ---------------------------------------------------------------- all runs of one program */

/* Another way on the same device: the same bits. */
static bool other_way(const program *p, const device *d, im_ctx *c, const char *what, const way *w, const numbers *first)
{
    numbers m = { 0 };
    bool ok = program_run(c, p, w, &m) || report(p, d, what, im_error(c));
    ok = ok && same(p, d, what, first, &m, w->tape);
    numbers_free(&m);
    return ok;
}

static bool as_plan(const program *p, const device *d, const numbers *first)
{
    numbers m = { 0 };
    bool ok = true;
    for (int times = 1; times <= (p->trains_norms ? 1 : 2) && ok; times++) {
        ok = program_run_plan(d->one, p, times, &m) || report(p, d, "as a plan", im_error(d->one));
        for (int i = 0; ok && i < first->n_parts; i++) {
            const seen *x = &first->parts[i];
            if (x->gradient || x->step || x->var != p->plan_out)
                continue;
            numbers one = { .x = first->x, .n = first->n, .parts = (seen *)x, .n_parts = 1 };
            ok = same(p, d, "as a plan", &one, &m, false);
        }
        numbers_free(&m);
    }
    return ok;
}

static bool check(const program *p, const device d[], int devices)
{
    const way usual = { .recompute = true, .tape = true }, inline_ = { .tape = true }, forward = { .recompute = true };
    numbers m[MAX_DEVICES] = { 0 };
    int chain = -1, turn = 1 + (int)(p->seed % (uint64_t)(devices - 1));
    bool ok = true;
    for (int i = 0; i < devices && ok; i++) {
        ok = program_run(d[i].one, p, &usual, &m[i]) || report(p, &d[i], "run", im_error(d[i].one));
        ok = ok && (!i || near(p, &d[i], d[0].two, &m[i], &m[0]));
        bool exact = i && strcmp(d[i].isa, "portable") && !other_bits(p, &d[i]);
        if (ok && exact && chain >= 0)
            ok = same(p, &d[i], "beside the first instruction set", &m[chain], &m[i], true);
        chain = exact && chain < 0 ? i : chain;
    }
    ok = ok && other_way(p, &d[turn], d[turn].two, "two threads", &usual, &m[turn]);
    if (!p->hands_through)
        ok = ok && other_way(p, &d[turn], d[turn].one, "without im_recompute", &inline_, &m[turn]);
    ok = ok && other_way(p, &d[turn], d[turn].one, "without a tape", &forward, &m[turn]);
    ok = ok && (p->plan_out < 0 || as_plan(p, &d[turn], &m[turn]));
    for (int i = 0; i < devices; i++)
        numbers_free(&m[i]);
    return ok;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct { uint64_t seed, programs; } shared;

static int child(shared *at, uint64_t first, uint64_t count, double seconds)
{
    static program p;
    device d[MAX_DEVICES];
    int devices = open_devices(d), failed = devices < 2;
    double start = seconds_now();
    for (uint64_t i = 0; i < count && !failed && seconds_now() - start < seconds; i++) {
        at->seed = first + i;
        program_draw(&p, at->seed);
        failed = !check(&p, d, devices);
        at->programs += !failed;
    }
    for (int i = 0; i < devices; i++) {
        im_ctx_free(d[i].one);
        im_ctx_free(d[i].two);
    }
    return failed;
}

int main(int argc, char **argv)
{
    uint64_t first = 1, count = UINT64_MAX;
    const char *given = getenv("PROGRAM_SECONDS");
    double seconds = given ? atof(given) : 3;
    static program p;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = strtoull(argv[i + 1], NULL, 10);
        if (!strcmp(argv[i], "--seconds"))
            seconds = (double)n;
        else if (!strcmp(argv[i], "--seed"))
            first = n;
        else if (!strcmp(argv[i], "--count"))
            count = n;
        else if (!strcmp(argv[i], "--print")) {
            program_draw(&p, n);
            program_print(stdout, &p);
            return 0;
        } else {
            fprintf(stderr, "usage: test_programs [--seconds N] [--seed FIRST] [--count N] [--print SEED]\n");
            return 2;
        }
    }
    shared *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double start = seconds_now();
    pid_t pid = at == MAP_FAILED ? -1 : fork();
    if (pid < 0)
        return 1;
    if (!pid) {
        int failed = child(at, first, count, seconds);
        fflush(stderr);
        exit(failed);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    bool ok = WIFEXITED(status) && !WEXITSTATUS(status);
    if (!ok)
        printf("seed %llu failed after %.1f s: test_programs --seed %llu --count 1\n", (unsigned long long)at->seed,
               seconds_now() - start, (unsigned long long)at->seed);
    printf("%llu programs\n%d passed, %d failed, 0 skipped\n", (unsigned long long)at->programs, ok, !ok);
    return !ok;
}
