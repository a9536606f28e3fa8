/* beside.c: see beside.h. Locks are flock's: they end with the process, however it ends. On a disk without locks the number
 * of the process must do. */
#define _GNU_SOURCE                                            /* O_NOFOLLOW */
#include "data/files/beside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/files/file.h"

enum { BASE = 200 };

const char *im_last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *im_beside(im_ctx *c, const char *path, const char *kind, int n)
{
    const char *base = im_last_name(path);
    size_t size = strlen(path) + 64;
    char *name = malloc(size);
    if (!name) im_fail(c, "%s: out of memory; close other programs", path);
    else snprintf(name, size, "%.*s%.*s.%s.%ld.%d", (int)(base - path), path, BASE, base, kind, (long)getpid(), n);
    return name;
}

bool im_is_beside(const char *name, const char *base, const char *kind, long *pid)
{
    size_t n = strnlen(base, BASE), k = strlen(kind);
    int end = 0;
    if (strncmp(name, base, n) || name[n] != '.' || strncmp(name + n + 1, kind, k)) return false;
    name += n + 1 + k;
    return sscanf(name, ".%ld.%*[0-9]%n", pid, &end) == 1 && end && !name[end] && *pid > 0;
}

bool im_is_temp(const char *name)
{
    const char *last = NULL;
    int end = 0;
    for (const char *p = name; (p = strstr(p, ".tmp.")); p++) last = p;
    if (last) sscanf(last, ".tmp.%*[0-9].%*[0-9]%n", &end);    /* end stays 0 where a number is missing               */
    return last && last > name && end && !last[end];
}

int im_lock_beside(const char *path, long pid)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || !flock(fd, LOCK_EX | LOCK_NB)) return fd;
    bool locked = errno == EWOULDBLOCK;                        /* else: a disk without locks; is the process gone?    */
    if (!locked && (pid == getpid() || (kill((pid_t)pid, 0) && errno == ESRCH))) return fd;
    close(fd);
    return -1;
}

bool im_lock_new(int fd)
{
    struct stat st;
    bool locked = !flock(fd, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK;
    return locked && !fstat(fd, &st) && st.st_nlink;
}

void im_clean_beside(im_ctx *c, const char *path)
{
    char *folder = im_join_beside(c, path, ".");
    DIR *d = folder ? opendir(folder) : NULL;
    long pid;
    for (const struct dirent *e; d && (e = readdir(d)); ) {
        char *left = im_is_beside(e->d_name, im_last_name(path), "tmp", &pid) ? im_join_beside(c, path, e->d_name) : NULL;
        struct stat st;
        bool file = left && !lstat(left, &st) && S_ISREG(st.st_mode);
        int lock = file ? im_lock_beside(left, pid) : -1;
        if (lock >= 0) {
            unlink(left);
            close(lock);
        }
        free(left);
    }
    if (d) closedir(d);
    free(folder);
}
