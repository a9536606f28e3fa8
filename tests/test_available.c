/* test_available.c: how much memory there is (tensor/available.c), told by the files of another root: machines, containers
 * and batch jobs, with control groups of version 1, version 2 and both. */
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "imago.h"
#include "scratch.h"
#include "suite.h"
#include "tensor/memory.h"

static char dir[256];

static void setup(void) { scratch_make(dir, sizeof dir); }
static void teardown(void) { scratch_remove(dir); }

/* A file below the root, with its folders. */
static void put(const char *name, const char *text)
{
    char command[600];
    const char *path = scratch_path(dir, name), *slash = strrchr(path, '/');
    snprintf(command, sizeof command, "mkdir -p '%.*s'", (int)(slash - path), path);
    ck_assert_int_eq(system(command), 0);
    scratch_write(dir, name, text, strlen(text));
}

static void machine(const char *available)
{
    char text[200];
    snprintf(text, sizeof text, "MemTotal:       65536000 kB\nMemFree:          100000 kB\nMemAvailable:   %s kB\n"
             "Cached:          200000 kB\n", available);
    put("proc/meminfo", text);
}

#define WANT(bytes) ck_assert_int_eq(im_memory_available_at(dir), bytes)
static const int64_t MB = 1000000, KIB = 1024;

/* "file" counts shared memory too, which does not give way. */
static const char NO_STAT[] = "anon 5\nfile 700000000\n";

START_TEST(machines)
{
    WANT(-1);                                                  /* nothing is told                                     */
    put("proc/meminfo", "MemTotal: 1000 kB\nMemFree:   300 kB\nBuffers: 1 kB\nCached:    200 kB\nSwapCached: 9 kB\n");
    WANT(500 * KIB);                                           /* an old kernel                                       */
    machine("16000000");
    WANT(16000000 * KIB);
    ck_assert(im_memory_available() > 0);                      /* of this machine                                     */
}
END_TEST

/* A user's session or a batch job: the limit may stand at any level. */
START_TEST(nested_groups)
{
    machine("16000000");
    put("proc/self/cgroup", "0::/user.slice/user-1000.slice/job 7\n");
    put("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    put("sys/fs/cgroup/memory.stat", NO_STAT);                 /* at the root is no limit                             */
    WANT(16000000 * KIB);
    put("sys/fs/cgroup/user.slice/memory.max", "9000000000\n");
    put("sys/fs/cgroup/user.slice/memory.current", "1000000000\n");
    WANT(8000 * MB);
    put("sys/fs/cgroup/user.slice/user-1000.slice/memory.max", "max\n");
    put("sys/fs/cgroup/user.slice/user-1000.slice/memory.current", "900000000\n");
    WANT(8000 * MB);
    put("sys/fs/cgroup/user.slice/user-1000.slice/job 7/memory.max", "2000000000\n");
    put("sys/fs/cgroup/user.slice/user-1000.slice/job 7/memory.current", "800000000\n");
    put("sys/fs/cgroup/user.slice/user-1000.slice/job 7/memory.stat", NO_STAT);
    WANT(1200 * MB);
    put("sys/fs/cgroup/user.slice/user-1000.slice/job 7/memory.stat",
        "anon 100\nfile 600000000\ninactive_file 300000000\nactive_file 200000000\nslab_reclaimable 50000000\n"
        "inactive_file_x 7\n");
    WANT(1750 * MB);
    put("sys/fs/cgroup/user.slice/memory.max", "1000000001\n");/* the outer one is the smaller now                    */
    WANT(1);
    put("sys/fs/cgroup/user.slice/memory.max", "1\n");         /* used up                                             */
    WANT(0);
    put("sys/fs/cgroup/user.slice/memory.max", "99000000000\n");
    machine("1000");                                           /* the machine has less than any group                 */
    WANT(1000 * KIB);
}
END_TEST

/* A container sees its own group as the root, by a namespace, or under a path of the host that is not in its mount. */
START_TEST(containers)
{
    static const struct { const char *cgroup, *root; } seen[] = {
        { "0::/\n", "/" }, { "0::/docker/ab\n", "/docker/ab" }, { "0::/docker/ab\n", "/" }, { "0::/../other\n", "/" },
        { "0::/docker/ab/inner\n", "/docker/ab" }, { "0::/docker/abc\n", "/docker/ab" },
    };
    char mounts[300];
    machine("16000000");
    put("sys/fs/cgroup/memory.max", "4000000000\n");
    put("sys/fs/cgroup/memory.current", "1000000000\n");
    snprintf(mounts, sizeof mounts, "41 40 0:26 %s /sys/fs/cgroup ro - cgroup2 cgroup rw\n", seen[_i].root);
    put("proc/self/cgroup", seen[_i].cgroup);
    put("proc/self/mountinfo", mounts);
    WANT(3000 * MB);
    if (_i == 4) {
        put("sys/fs/cgroup/inner/memory.max", "500000000\n");
        put("sys/fs/cgroup/inner/memory.current", "0\n");
        WANT(500 * MB);
    }
}
END_TEST

/* Version 1, with the controllers on mounts of their own, beside a version 2 without memory. */
START_TEST(version_1)
{
    machine("16000000");
    put("proc/self/cgroup", "5:memoryless:/no\n4:cpu,memory,pids:/batch/job\n1:name=systemd:/\n0::/batch\n");
    put("proc/self/mountinfo",
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        "32 31 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,memoryless\n"
        "35 31 0:32 / /sys/fs/cgroup/my\\040memory rw - cgroup cgroup rw,cpu,memory,pids\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    put("sys/fs/cgroup/my memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/my memory/memory.usage_in_bytes", "100\n");
    put("sys/fs/cgroup/my memory/batch/job/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/my memory/batch/job/memory.usage_in_bytes", "100\n");
    WANT(16000000 * KIB);
    put("sys/fs/cgroup/my memory/batch/job/memory.usage_in_bytes", "200000000\n");      /* sampled apart: what gives way */
    put("sys/fs/cgroup/my memory/batch/job/memory.stat", "total_active_file 200100000\n");          /* may be more      */
    WANT(16000000 * KIB);
    put("sys/fs/cgroup/my memory/batch/job/memory.limit_in_bytes", "4000000000\n");
    WANT(4000 * MB);
    put("sys/fs/cgroup/my memory/batch/memory.limit_in_bytes", "3000000000\n");
    put("sys/fs/cgroup/my memory/batch/memory.usage_in_bytes", "2500000000\n");
    put("sys/fs/cgroup/my memory/batch/memory.stat", "cache 900000000\ninactive_file 1\nactive_file 1\n"
        "total_inactive_file 600000000\ntotal_active_file 100000000\n");
    WANT(1200 * MB);
    put("sys/fs/cgroup/unified/batch/memory.max", "700000000\n");
    put("sys/fs/cgroup/unified/batch/memory.current", "0\n");
    WANT(700 * MB);
}
END_TEST

int main(void)
{
    const suite_test tests[] = { ONCE(machines), ONCE(nested_groups), LOOP(containers, 6), ONCE(version_1) };
    return suite_run("available", setup, teardown, 30, tests, SUITE_COUNT(tests));
}
