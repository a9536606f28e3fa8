/* memory.c: how much memory this process may still take: what the machine has free, and what its control group allows.
 * Used by `imago generate` to refuse a size before starting and not in the middle. */
#include <stdio.h>

#include "cli/generate.h"

static double read_number_file(const char *path)
{
    double x = -1;
    FILE *f = fopen(path, "r");
    if (!f)
        return -1;
    if (fscanf(f, "%lf", &x) != 1)                             /* "max": no limit                                      */
        x = -1;
    fclose(f);
    return x;
}

/* Pages of files count as used in a control group but give way. */
static double cgroup_file_pages(void)
{
    char line[256];
    double bytes = 0;
    FILE *f = fopen("/sys/fs/cgroup/memory.stat", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "file %lf", &bytes) == 1)
            break;
    if (f)
        fclose(f);
    return bytes;
}

double memory_available(void)
{
    char line[256];
    double kb, available = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf kB", &kb) == 1)
            available = 1024 * kb;
    if (f)
        fclose(f);
    double limit = read_number_file("/sys/fs/cgroup/memory.max");
    double used = read_number_file("/sys/fs/cgroup/memory.current");
    if (limit > 0 && used >= 0) {
        double left = limit - used + cgroup_file_pages();
        if (available == 0 || left < available)
            available = left > 0 ? left : 0;
    }
    return available;
}
