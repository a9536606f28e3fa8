/* scratch.h: a folder of its own for a test's files, under the system's temporary folder. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static inline void scratch_make(char *dir, size_t size)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, size, "%s/imago-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    ck_assert_msg(mkdtemp(dir) != NULL, "cannot make a folder %s", dir);
}

/* Removes the folder and all below it. */
static inline void scratch_remove(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)); ) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        size_t size = strlen(dir) + strlen(e->d_name) + 2;
        char *path = malloc(size);
        ck_assert_ptr_nonnull(path);
        snprintf(path, size, "%s/%s", dir, e->d_name);
        if (!lstat(path, &st) && S_ISDIR(st.st_mode)) scratch_remove(path);
        else unlink(path);
        free(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

/* "dir/name"; up to 8 results are alive at a time. */
static inline const char *scratch_path(const char *dir, const char *name)
{
    static char path[8][600];
    static unsigned turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static inline const char *scratch_write(const char *dir, const char *name, const void *data, size_t bytes)
{
    const char *path = scratch_path(dir, name);
    FILE *f = fopen(path, "wb");
    ck_assert_msg(f && fwrite(data, 1, bytes, f) == bytes && !fclose(f), "cannot write %s", path);
    return path;
}

/* Files in the folder, "." and ".." not counted. */
static inline int scratch_count(const char *dir)
{
    int n = -2;
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

#endif
