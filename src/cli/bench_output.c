/* bench_output.c: rows of `imago bench`, on the terminal, as JSON or in a CSV file. Used by the other bench_*.c. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/session.h"

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void bench_summary(const bench_output *out, double seconds[], int n, double flop, bench_row *row)
{
    qsort(seconds, (size_t)n, sizeof *seconds, ascending);
    double median = n % 2 ? seconds[n / 2] : 0.5 * (seconds[n / 2 - 1] + seconds[n / 2]);
    double peak = bench_peak_gflops(out);
    row->ms = 1e3 * median;
    row->ms_min = 1e3 * seconds[0];
    row->gflops = median > 0 ? flop / median * 1e-9 : 0;
    row->percent = peak > 0 ? 100 * row->gflops / peak : 0;
}

/* The processor as the system names it. */
static void cpu_name(char *out, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(out, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (!strncmp(line, "model name", 10) && colon) {
            snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

/* How many are drawn in an hour, and the seconds of a core that one takes: with n threads, n times those of the clock. */
static double pictures_per_hour(const bench_row *r)
{
    return r->ms > 0 ? r->pictures * 3.6e6 / r->ms : 0;
}

static double core_seconds(const bench_output *out, const bench_row *r)
{
    return im_threads(out->c) * r->ms / 1e3 / r->pictures;
}

void bench_emit(bench_output *out, const bench_row *r)
{
    char cpu[160];
    cpu_name(cpu, sizeof cpu);
    if (out->o->json) {
        json_t *o = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:i, s:s, s:s, s:s}",
                              "bench", r->bench, "shape", r->shape, "dtype", r->dtype, "ms", r->ms, "ms_min", r->ms_min,
                              "gflops", r->gflops, "gbs", r->gbs, "percent_of_peak", r->percent,
                              "threads", im_threads(out->c), "isa", im_device_isa(out->c), "cpu", cpu,
                              "commit", commit_name());
        if (r->pictures) {
            json_object_set_new(o, "pictures", json_integer(r->pictures));
            json_object_set_new(o, "pictures_per_hour", json_real(pictures_per_hour(r)));
            json_object_set_new(o, "core_seconds", json_real(core_seconds(out, r)));
        }
        json_dumpf(o, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(o);
    } else {
        if (!out->header)
            printf("%-9s %-56s %-5s %10s %10s %9s %8s %7s\n", "bench", "shape", "dtype", "ms", "ms min",
                   "GFLOP/s", "GB/s", "% peak");
        printf("%-9s %-56s %-5s %10.3f %10.3f %9.1f %8.1f %7.1f\n", r->bench, r->shape, r->dtype, r->ms, r->ms_min,
               r->gflops, r->gbs, r->percent);
        if (r->pictures)
            printf("%-9s %.1f pictures per hour, %.2f core-seconds per picture\n", "", pictures_per_hour(r),
                   core_seconds(out, r));
        out->header = true;
    }
    fflush(stdout);
    if (!out->csv)
        return;
    fprintf(out->csv, "%s,\"%s\",%s,%d,%s,\"%s\",%s,%.4f,%.4f,%.2f,%.2f,%.1f\n", commit_name(), cpu,
            im_device_isa(out->c), im_threads(out->c), r->bench, r->shape, r->dtype, r->ms, r->ms_min, r->gflops, r->gbs,
            r->percent);
    fflush(out->csv);                                          /* a row that was shown is not lost by a kill           */
}
