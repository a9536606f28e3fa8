/* tree.c: see tree.h. POSIX calls, and renameat2 with RENAME_EXCHANGE where kernel and disk have it. */
#define _GNU_SOURCE                                            /* renameat2, statx */
#include "data/files/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/files/file.h"

/* The next entry that is neither "." nor "..". */
static const struct dirent *next(DIR *d)
{
    const struct dirent *e;
    do e = readdir(d);
    while (e && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")));
    return e;
}

static bool is_folder_itself(const char *path)
{
    struct stat st;
    return !lstat(path, &st) && S_ISDIR(st.st_mode);
}

/* ---------------------------------------------------------------- checked, removed, synced */

bool im_is_mount(const char *path)
{
    struct statx x;
    if (!statx(AT_FDCWD, path, 0, STATX_TYPE, &x) && (x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
        (x.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        return true;
    size_t n = strlen(path);
    char *up = malloc(n + 4);
    struct stat here, there;
    if (up) snprintf(up, n + 4, "%s/..", path);
    bool other = up && !stat(path, &here) && !stat(up, &there) && here.st_dev != there.st_dev;
    free(up);
    return other;
}

bool im_tree_check(im_ctx *c, const char *path)
{
    if (access(path, R_OK | W_OK | X_OK))
        return im_fail(c, "%s: cannot be replaced: %s; change its permissions or choose another place", path,
                       strerror(errno));
    DIR *d = opendir(path);
    if (!d) return im_fail(c, "%s: cannot be read: %s", path, strerror(errno));
    bool ok = true;
    for (const struct dirent *e; ok && (e = next(d)); ) {
        char *sub = im_join(c, path, e->d_name);
        if (!sub) ok = false;
        else if (is_folder_itself(sub))
            ok = !im_is_mount(sub) ? im_tree_check(c, sub)
                                   : im_fail(c, "%s: another disk is mounted there, in a folder that would be replaced "
                                             "whole; unmount it or choose another place", sub);
        free(sub);
    }
    closedir(d);
    return ok;
}

bool im_tree_remove(const char *path)
{
    DIR *d = opendir(path);
    bool ok = d || errno == ENOENT;
    for (const struct dirent *e; d && (e = next(d)); ) {
        size_t size = strlen(path) + strlen(e->d_name) + 2;
        char *sub = malloc(size);
        if (sub) snprintf(sub, size, "%s/%s", path, e->d_name);
        if (!sub) ok = false;
        else if (is_folder_itself(sub)) ok &= im_tree_remove(sub);
        else if (unlink(sub) && errno != ENOENT) ok = false;
        free(sub);
    }
    if (d) closedir(d);
    return (!rmdir(path) || errno == ENOENT) && ok;
}

/* 0 or errno. Disks that cannot sync a folder have nothing to sync. */
static int sync_one(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd < 0 ? errno : fsync(fd) ? errno : 0;
    if (fd >= 0) close(fd);
    return err == EINVAL || err == ENOTSUP || err == ENOSYS ? 0 : err;
}

bool im_tree_sync(im_ctx *c, const char *path)
{
    DIR *d = opendir(path);
    bool ok = true;
    for (const struct dirent *e; ok && d && (e = next(d)); ) {
        char *sub = im_join(c, path, e->d_name);
        ok = sub && (!is_folder_itself(sub) || im_tree_sync(c, sub));
        free(sub);
    }
    if (d) closedir(d);
    int err = ok ? sync_one(path) : 0;
    return ok && (!err || im_fail(c, "%s: cannot be written to the disk: %s; check the disk", path, strerror(err)));
}

void im_sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    char *up = malloc(n + 2);
    if (!up) return;
    if (n) memcpy(up, path, n);
    else up[n++] = '.';
    up[n] = 0;
    sync_one(up);
    free(up);
}

/* ---------------------------------------------------------------- carried over */

typedef struct carry {
    im_ctx *c;
    bool (*keep)(void *arg, const char *name);
    void *arg;
} carry;

static bool cannot(const carry *x, const char *path, int err)
{
    return im_fail(x->c, "%s: cannot be carried over into the new folder: %s; move it away or choose another place", path,
                   strerror(err));
}

static bool copy_link(const carry *x, const char *from, const char *to)
{
    char target[4096];
    ssize_t n = readlink(from, target, sizeof target);
    if (n < 0) return cannot(x, from, errno);
    if (n == (ssize_t)sizeof target) return cannot(x, from, ENAMETOOLONG);
    target[n] = 0;
    return !symlink(target, to) || cannot(x, from, errno);
}

static bool copy_file(const carry *x, const char *from, const char *to, const struct stat *st)
{
    im_map m;
    if (!im_map_open(x->c, &m, from)) return false;
    bool ok = im_write_file(x->c, to, m.data, m.bytes, false);
    im_map_close(&m);
    struct timespec times[2] = { st->st_atim, st->st_mtim };
    return ok && ((!chmod(to, st->st_mode & 07777) && !utimensat(AT_FDCWD, to, times, 0)) || cannot(x, from, errno));
}

static bool carry_one(const carry *x, const char *from, const char *to, const struct stat *st)
{
    if (!link(from, to)) return true;
    return S_ISLNK(st->st_mode) ? copy_link(x, from, to) : copy_file(x, from, to, st);
}

static bool carry_folder(const carry *x, const char *from, const char *to, const char *name);

/* from, to: one entry of the folders; name: its path in them. */
static bool carry_entry(const carry *x, const char *from, const char *to, const char *name)
{
    struct stat st, there;
    if (lstat(from, &st)) return cannot(x, from, errno);
    bool has = !lstat(to, &there);
    if (has && S_ISDIR(st.st_mode) != S_ISDIR(there.st_mode) && !S_ISLNK(st.st_mode))
        return im_fail(x->c, "%s: is in the way of a %s of this name; move it away or choose another place", from,
                       S_ISDIR(st.st_mode) ? "file" : "folder");
    if (!S_ISDIR(st.st_mode)) return has || !x->keep(x->arg, name) || carry_one(x, from, to, &st);
    if (!has && mkdir(to, 0700)) return cannot(x, from, errno);
    return carry_folder(x, from, to, name) && (!chmod(to, st.st_mode & 07777) || cannot(x, from, errno));
}

static bool carry_folder(const carry *x, const char *from, const char *to, const char *name)
{
    DIR *d = opendir(from);
    if (!d) return cannot(x, from, errno);
    bool ok = true;
    for (const struct dirent *e; ok && (e = next(d)); ) {
        char *a = im_join(x->c, from, e->d_name), *b = im_join(x->c, to, e->d_name);
        char *n = *name ? im_join(x->c, name, e->d_name) : im_copy_text(x->c, e->d_name, strlen(e->d_name));
        ok = a && b && n && carry_entry(x, a, b, n);
        free(a);
        free(b);
        free(n);
    }
    closedir(d);
    return ok;
}

bool im_tree_carry(im_ctx *c, const char *from, const char *to, bool (*keep)(void *arg, const char *name), void *arg)
{
    const carry x = { c, keep, arg };
    struct stat st;
    if (stat(from, &st)) return cannot(&x, from, errno);
    /* Root gives the folder back to whose it was; others cannot, and own it anyway. */
    int whose = chown(to, st.st_uid, st.st_gid);
    (void)whose;
    return carry_folder(&x, from, to, "") && (!chmod(to, st.st_mode & 07777) || cannot(&x, from, errno));
}

/* ---------------------------------------------------------------- exchanged */

int im_swap_folders(const char *made, const char *path, const char *aside, bool *lost)
{
    *lost = false;
    if (!renameat2(AT_FDCWD, made, AT_FDCWD, path, RENAME_EXCHANGE)) return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) return errno;
    if (rename(path, aside)) return errno;
    int err = rename(made, path) ? errno : 0;
    if (err) *lost = rename(aside, path);
    else rename(aside, made);                                  /* where that fails, the caller finds it aside         */
    return err;
}
