/* available.c: how much memory this process may still take: of what the machine has (proc(5), MemAvailable), and of what
 * every control group around it allows. A group gives
 *
 *     limit - used + what gives way when memory runs short (pages of files, and slabs that can be reclaimed)
 *
 * and the least of all counts: containers, batch systems and desktops set limits at several levels. Version 2 (kernel's
 * admin-guide/cgroup-v2) has memory.max, memory.current, memory.stat; version 1 memory.limit_in_bytes and so on.
 * Where the groups are says /proc/self/mountinfo, which of them are ours /proc/self/cgroup; in a container the mount may
 * begin below the root of the latter's paths. Used by every check of memory, and by caches. */
#include "tensor/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "imago_engine.h"

enum { PATH = 4096 };

typedef struct version {                                       /* of control groups                                    */
    const char *type, *limit, *used;
    const char *gives_way[3];                                  /* lines of memory.stat                                 */
} version;
static const version versions[2] = {
    { "cgroup", "memory.limit_in_bytes", "memory.usage_in_bytes", { "total_inactive_file", "total_active_file", NULL } },
    { "cgroup2", "memory.max", "memory.current", { "inactive_file", "active_file", "slab_reclaimable" } },
};

static FILE *open_at(const char *folder, const char *name)
{
    char path[2 * PATH];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n < (int)sizeof path ? fopen(path, "re") : NULL;
}

/* The number that a line "NAME 123" or "NAME: 123 kB" has; -1 where there is none. */
static int64_t line_value(const char *line, const char *name)
{
    size_t n = strlen(name);
    char *end;
    if (strncmp(line, name, n) || (line[n] != ' ' && line[n] != ':'))
        return -1;
    const char *from = line + n + (line[n] == ':');
    int64_t v = strtoll(from, &end, 10);
    return end == from || v < 0 ? -1 : !strncmp(end, " kB", 3) ? 1024 * v : v;
}

/* The sum of some lines of a file; -1 where it has none of them. */
static int64_t sum_of(const char *folder, const char *file, const char *const names[], int n)
{
    char line[512];
    int64_t sum = -1, v;
    FILE *f = open_at(folder, file);
    while (f && fgets(line, sizeof line, f))
        for (int i = 0; i < n && names[i]; i++)
            if ((v = line_value(line, names[i])) >= 0)
                sum = (sum < 0 ? 0 : sum) + v;
    if (f)
        fclose(f);
    return sum;
}

/* The only number of a file; -1 for "max" and where there is none. What version 1 takes for no limit, 2^63 less a page, is
 * more than any machine has and needs no word of its own. */
static int64_t number_in(const char *folder, const char *file)
{
    char text[64] = "";
    FILE *f = open_at(folder, file);
    bool read = f && fgets(text, sizeof text, f);
    if (f)
        fclose(f);
    return read && *text >= '0' && *text <= '9' ? strtoll(text, NULL, 10) : -1;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* ---------------------------------------------------------------- control groups */

/* What one group leaves; -1: it has no limit. */
static int64_t group_leaves(const char *folder, const version *v)
{
    int64_t limit = number_in(folder, v->limit), used = number_in(folder, v->used);
    if (limit < 0 || used < 0)
        return -1;
    int64_t way = sum_of(folder, "memory.stat", v->gives_way, 3);
    int64_t stays = way < 0 ? used : used > way ? used - way : 0;        /* the two are not counted at one instant */
    return limit > stays ? limit - stays : 0;
}

/* The path of this process in the groups of a version: "/docker/abc". */
static bool own_path(const char *root, const version *v, char path[PATH])
{
    char line[PATH + 256];
    bool found = false;
    FILE *f = open_at(root, "proc/self/cgroup");
    while (f && !found && fgets(line, sizeof line, f)) {       /* "4:cpu,memory:/a" of version 1, "0::/a" of version 2 */
        char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;
        if (!at)
            continue;
        *at++ = 0;
        at[strcspn(at, "\n")] = 0;
        *names = ',';
        bool second = !strcmp(names, ","), memory = false;
        for (char *p = names; (p = strstr(p, ",memory")); p++)
            memory |= !p[7] || p[7] == ',';
        found = v == &versions[1] ? second : memory;
        if (found)
            snprintf(path, PATH, "%.*s", PATH - 1, at);
    }
    if (f)
        fclose(f);
    return found;
}

/* "\040" of mountinfo is a blank. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++)
        if (*s == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    *to = 0;
}

/* Where the groups of a version are mounted, and which of their paths is at the root there. A line of mountinfo:
 *     35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory */
static bool find_mount(const char *root, const version *v, char at[PATH], char of[PATH])
{
    char line[3 * PATH], type[64], options[512];
    bool found = false;
    FILE *f = open_at(root, "proc/self/mountinfo");
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(rest, " - %63s %*s %511s", type, options) != 2 || strcmp(type, v->type) ||
            sscanf(line, "%*s %*s %*s %4095s %4095s", of, at) != 2)
            continue;
        bool memory = false;
        for (char *p = options; (p = strstr(p, "memory")); p++)
            memory |= (p == options || p[-1] == ',') && (!p[6] || p[6] == ',');
        found = v == &versions[1] || memory;
    }
    if (f)
        fclose(f);
    unescape(at);
    unescape(of);
    return found;
}

/* The least of what the groups from ours up to the mount leave. */
static int64_t groups_leave(const char *root, const version *v)
{
    char path[PATH] = "", at[PATH] = "", of[PATH] = "", folder[3 * PATH];
    if (!own_path(root, v, path) || !find_mount(root, v, at, of))
        return -1;
    size_t n = strcmp(of, "/") ? strlen(of) : 0;
    bool below = !strncmp(path, of, n) && (!path[n] || path[n] == '/') && !strstr(path, "/..");
    int top = snprintf(folder, sizeof folder, "%s%s", root, at);
    int end = top + snprintf(folder + top, sizeof folder - (size_t)top, "%s", below ? path + n : "");
    int64_t left = -1;
    while (end > top && folder[end - 1] == '/')
        end--;
    for (;;) {
        folder[end] = 0;
        left = least(left, group_leaves(folder, v));
        if (end == top)
            return left;
        while (end > top && folder[end - 1] != '/')
            end--;
        while (end > top && folder[end - 1] == '/')
            end--;
    }
}

/* ---------------------------------------------------------------- all of it */

int64_t im_memory_available_at(const char *root)
{
    static const char *const whole[] = { "MemAvailable", NULL }, *const old[] = { "MemFree", "Cached" };
    int64_t left = sum_of(root, "proc/meminfo", whole, 1);
    if (left < 0)                                              /* kernels before 3.14                                  */
        left = sum_of(root, "proc/meminfo", old, 2);
    if (left < 0 && !*root && sysconf(_SC_AVPHYS_PAGES) > 0)
        left = (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
    for (int i = 0; i < 2; i++)
        left = least(left, groups_leave(root, &versions[i]));
    return left;
}

int64_t im_memory_available(void)
{
    return im_memory_available_at("");
}
