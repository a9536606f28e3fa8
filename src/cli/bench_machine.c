/* bench_machine.c: the peak of this machine, and the operations at the shapes of Stable Diffusion v1.4, as the library
 * measures them. Used by cmd_bench.c and by `imago generate --profile`. */
#include <string.h>

#include "cli/bench.h"

bool bench_measure_peak(im_ctx *c, im_peak *out)
{
    *out = (im_peak){ .isa = im_device_isa(c), .threads = im_threads(c) };
    return strcmp(im_device_name(c), "cpu") || im_bench_peak(c, 0, out);
}

bool bench_peak(bench_output *out)
{
    const im_peak *p = &out->peak;
    for (int how = 0; how < IM_COMPUTE_COUNT; how++)
        if (p->gflops[how] > 0)
            bench_emit(out, &(bench_row){ .bench = "peak", .shape = im_compute_words((im_compute)how), .percent = 100,
                                          .dtype = im_dtype_name(im_factors_of((im_compute)how)),
                                          .gflops = p->gflops[how] });
    if (p->split_gflops > 0)
        bench_emit(out, &(bench_row){ .bench = "peak", .shape = "three bf16 dot products", .percent = 100, .dtype = "f16",
                                      .gflops = p->split_gflops });
    const bench_row rows[] = {
        { .bench = "peak", .shape = "f16 weights widened in L1", .dtype = "f16", .gbs = 2 * p->f16_gvalues },
        { .bench = "peak", .shape = "bf16 weights widened in L1", .dtype = "bf16", .gbs = 2 * p->bf16_gvalues },
        { .bench = "peak", .shape = "memory read", .dtype = "f32", .gbs = p->read_gbs, .percent = 100 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].gbs > 0)
            bench_emit(out, &rows[i]);
    return im_ok(out->c);
}

double bench_peak_gflops(const bench_output *out)
{
    if (out->dtype == IM_F16 && out->peak.split_gflops > 0)
        return out->peak.split_gflops;
    for (int how = 0; how < IM_COMPUTE_COUNT; how++)
        if (im_factors_of((im_compute)how) == out->dtype && out->peak.gflops[how] > 0)
            return out->peak.gflops[how];
    return out->peak.gflops[IM_COMPUTE_F32];
}

typedef struct part { const char *name; double ms, ms_min, flop; } part;       /* sums over a step, a text, a decode   */
enum { PARTS = 8 };
typedef struct ops_run { bench_output *out; part parts[PARTS]; } ops_run;

static void add_to_part(ops_run *o, const im_bench_row *r)
{
    part *p = o->parts;
    while (p < o->parts + PARTS && p->name && strcmp(p->name, r->part))
        p++;
    if (p == o->parts + PARTS) {
        im_fail(o->out->c, "ops: the library names more than %d parts of a picture", PARTS);
        return;
    }
    p->name = r->part;
    p->ms += r->count * r->ms_median;
    p->ms_min += r->count * r->ms_min;
    p->flop += r->count * r->flop;
}

static void on_row(void *arg, const im_bench_row *r)
{
    ops_run *o = arg;
    char shape[160];
    snprintf(shape, sizeof shape, "%s %s (%dx in %s)", r->op, r->shape, r->count, r->part);
    bench_emit(o->out, &(bench_row){ .bench = "ops", .shape = shape, .dtype = im_dtype_name(r->weights),
                                     .ms = r->ms_median, .ms_min = r->ms_min, .gflops = r->gflops, .gbs = r->gbs,
                                     .percent = r->percent });
    add_to_part(o, r);
}

bool bench_ops(bench_output *out)
{
    ops_run o = { .out = out };
    if (!im_bench_ops(out->c, out->dtype, out->o->rounds, &out->peak, on_row, &o))
        return false;
    double peak = bench_peak_gflops(out);
    for (int i = 0; i < PARTS && o.parts[i].name; i++) {
        const part *p = &o.parts[i];
        char shape[64];
        double gflops = p->ms > 0 ? p->flop / p->ms * 1e-6 : 0;
        snprintf(shape, sizeof shape, "all of these in %s", p->name);
        bench_emit(out, &(bench_row){ .bench = "ops", .shape = shape, .dtype = im_dtype_name(out->dtype), .ms = p->ms,
                                      .ms_min = p->ms_min, .gflops = gflops,
                                      .percent = peak > 0 ? 100 * gflops / peak : 0 });
    }
    if (!out->o->json)
        puts("Shares are of processor time in the best round, rates of wall time in the median one. Convolutions are\n"
             "counted as direct sums; by Winograd's method they may pass 100 % of the peak.");
    return im_ok(out->c);
}
