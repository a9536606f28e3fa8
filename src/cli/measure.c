/* measure.c: see measure.h. Used by cmd_eval.c, cmd_analyze.c, cmd_transfer.c, cmd_compare.c. */
#include "cli/measure.h"

#include <math.h>
#include <stdio.h>

void measure_progress(void *arg, int64_t done, int64_t total)
{
    (void)arg;
    fprintf(stderr, "\r%lld/%lld\033[K", (long long)done, (long long)total);
    if (done == total)
        fputs("\r\033[K", stderr);
}

json_t *measure_seen(int size, bool whole)
{
    return json_pack("{s:i, s:i, s:s, s:[f,f,f], s:[f,f,f]}", "size", size, "resize", whole ? size : size * 8 / 7, "filter",
                     whole ? "bicubic" : "bilinear", "mean", 0.485, 0.456, 0.406, "std", 0.229, 0.224, 0.225);
}

json_t *measure_number(double x)
{
    return isnan(x) ? json_null() : json_real(x);
}

void measure_print(json_t *root)
{
    json_dumpf(root, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(root);
}
