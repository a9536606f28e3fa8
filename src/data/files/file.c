/* file.c: see file.h. POSIX calls; renameat2 where the kernel has it, so that "do not overwrite" has no race. */
#define _GNU_SOURCE                                            /* renameat2, fallocate */
#include "data/files/file.h"
#include "data/files/beside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const char *im_hint(int err)
{
    switch (err) {
    case ENOSPC: case EDQUOT: return "free some space or choose another disk";
    case EFBIG: return "the file system or a limit (ulimit -f) allows no file of this size";
    case ENOENT: case ENOTDIR: return "check the path, and that its folder exists";
    case EACCES: case EPERM: case EROFS: return "check the permissions or choose another place";
    case ENAMETOOLONG: return "choose a shorter name";
    case EMFILE: case ENFILE: return "close other files or raise the limit (ulimit -n)";
    case ENOMEM: return "close other programs";
    case EIO: return "the disk reports an error: check it";
    default: return "check the path and the disk";
    }
}

static bool no_memory(im_ctx *c, const char *path)
{
    return im_fail(c, "%s: out of memory; close other programs", path);
}

char *im_copy_text(im_ctx *c, const char *text, size_t bytes)
{
    char *copy = malloc(bytes + 1);
    if (!copy) {
        im_fail(c, "out of memory for a text of %zu bytes; close other programs", bytes);
        return NULL;
    }
    if (bytes) memcpy(copy, text, bytes);
    copy[bytes] = 0;
    return copy;
}

char *im_join(im_ctx *c, const char *folder, const char *name)
{
    size_t a = strlen(folder), b = strlen(name);
    while (a > 1 && folder[a - 1] == '/') a--;
    char *path = malloc(a + b + 2);
    if (!path) {
        no_memory(c, name);
        return NULL;
    }
    memcpy(path, folder, a);
    if (a && folder[a - 1] != '/') path[a++] = '/';
    memcpy(path + a, name, b + 1);
    return path;
}

char *im_join_beside(im_ctx *c, const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *folder = im_copy_text(c, path, slash ? (size_t)(slash - path) + 1 : 0);
    char *joined = folder ? im_join(c, folder, name) : NULL;
    free(folder);
    return joined;
}

bool im_is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

bool im_is_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool im_make_folder(im_ctx *c, const char *path)
{
    if (!im_ok(c)) return false;
    char *part = im_copy_text(c, path, strlen(path));
    if (!part) return false;
    int err = 0;
    for (char *p = part + 1; *part && !err; p++) {             /* every prefix that ends before a slash or at the end */
        char end = *p;
        if (end && end != '/') continue;
        *p = 0;
        if (mkdir(part, 0777)) {
            err = errno;                                       /* taken now: the next line sets it anew               */
            if (im_is_folder(part)) err = 0;
        }
        *p = end;
        if (!end) break;
    }
    free(part);
    if (!*path) return im_fail(c, "cannot make a folder of an empty name; name a folder");
    if (err == EEXIST) return im_fail(c, "%s: cannot make the folder: a file of this name is in the way; remove it or "
                                      "choose another name", path);
    return !err || im_fail(c, "%s: cannot make the folder: %s; %s", path, strerror(err), im_hint(err));
}

/* ---------------------------------------------------------------- reading */

/* Opens a regular file; -1 after an error. */
static int open_file(im_ctx *c, const char *path, size_t *bytes)
{
    if (!im_ok(c)) return -1;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);    /* O_NONBLOCK: do not wait for the other end of a pipe */
    if (fd < 0 || fstat(fd, &st)) {
        int err = errno;
        if (fd >= 0) close(fd);
        im_fail(c, "%s: cannot open: %s; %s", path, strerror(err), im_hint(err));
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        im_fail(c, "%s: is %s; wanted a file", path, S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
        return -1;
    }
    *bytes = (size_t)st.st_size;
    return fd;
}

char *im_read_file(im_ctx *c, const char *path, size_t max_bytes, size_t *bytes)
{
    size_t size, have = 0;
    int fd = open_file(c, path, &size), err = 0;
    if (fd < 0) return NULL;
    char *text = NULL;
    if (size > max_bytes)
        im_fail(c, "%s: has %zu bytes; wanted at most %zu: is it the right file?", path, size, max_bytes);
    else if (!(text = malloc(size + 1)))
        no_memory(c, path);
    while (text && have < size) {
        ssize_t got = read(fd, text + have, size - have);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            err = got ? errno : 0;
            break;
        }
        have += (size_t)got;
    }
    close(fd);
    if (text && err) {
        im_fail(c, "%s: cannot read: %s; %s", path, strerror(err), im_hint(err));
        free(text);
        return NULL;
    }
    if (!text) return NULL;
    text[have] = 0;
    if (bytes) *bytes = have;
    return text;
}

char *im_read_text(im_ctx *c, const char *path, size_t max_bytes, size_t *bytes)
{
    size_t n = 0;
    char *text = im_read_file(c, path, max_bytes, &n);
    if (text && memchr(text, 0, n)) {
        im_fail(c, "%s: holds a zero byte; wanted text in UTF-8", path);
        free(text);
        return NULL;
    }
    if (text && !strncmp(text, IM_BYTE_ORDER_MARK, 3)) memmove(text, text + 3, (n -= 3) + 1);
    for (char *p = text; p && (p = strchr(p, '\r')); p++)
        if (p[1] != '\n' && p[1] != '\r') *p = '\n';
    if (text && bytes) *bytes = n;
    return text;
}

bool im_map_open(im_ctx *c, im_map *m, const char *path)
{
    *m = (im_map){ 0 };
    size_t size;
    int fd = open_file(c, path, &size);
    if (fd < 0) return false;
    if (!size) {
        close(fd);
        return true;
    }
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    int err = errno;
    close(fd);
    if (p == MAP_FAILED) return im_fail(c, "%s: cannot map %zu bytes: %s; %s", path, size, strerror(err), im_hint(err));
    *m = (im_map){ .data = p, .bytes = size };
    return true;
}

void im_map_close(im_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->bytes);
    *m = (im_map){ 0 };
}

/* ---------------------------------------------------------------- writing */

/* Bytes of a path up to the end of the folder that it stands in: 0 for the present one. */
static size_t folder_bytes(const char *path)
{
    const char *slash = strrchr(path, '/');
    while (slash > path && slash[-1] == '/') slash--;
    return slash ? slash == path ? 1 : (size_t)(slash - path) : 0;
}

/* Is the folder of `path`, or the first one above it that is there, one to write in? */
static bool may_make_in_folder_of(im_ctx *c, const char *path)
{
    struct stat st;
    char *folder = im_copy_text(c, path, strlen(path));
    if (!folder) return false;
    do folder[folder_bytes(folder)] = 0;
    while (*folder && lstat(folder, &st) && errno == ENOENT);
    const char *up = *folder ? folder : ".";
    bool ok = false;
    if (stat(up, &st)) im_fail(c, "%s: cannot write: %s: %s; %s", path, up, strerror(errno), im_hint(errno));
    else if (!S_ISDIR(st.st_mode)) im_fail(c, "%s: cannot write: %s is not a folder; choose another place", path, up);
    else if (access(up, W_OK | X_OK))
        im_fail(c, "%s: cannot write: its folder %s: %s; %s", path, up, strerror(errno), im_hint(errno));
    else ok = true;
    free(folder);
    return ok;
}

bool im_make_above(im_ctx *c, const char *path, size_t *made)
{
    size_t n = folder_bytes(path);
    char *folder = n && im_ok(c) ? im_copy_text(c, path, n) : NULL;
    *made = 0;
    for (size_t i = 1; folder && !*made && i <= n; i++) {
        char end = folder[i];
        if (end && end != '/') continue;
        folder[i] = 0;
        if (access(folder, F_OK)) *made = i;
        folder[i] = end;
    }
    bool ok = im_ok(c) && (!*made || im_make_folder(c, folder));
    if (!ok) im_remove_above(path, *made);
    free(folder);
    return ok;
}

void im_remove_above(const char *path, size_t made)
{
    char *folder = made ? strdup(path) : NULL;
    for (size_t n; folder && (n = folder_bytes(folder)) >= made; ) {
        folder[n] = 0;
        if (rmdir(folder) && errno != ENOENT) break;           /* something is in it                                  */
    }
    free(folder);
}

bool im_may_write(im_ctx *c, const char *path, bool force)
{
    struct stat st;
    if (!im_ok(c)) return false;
    if (!*path) return im_fail(c, "cannot write a file of an empty name; name a file");
    if (!stat(path, &st)) {
        if (S_ISDIR(st.st_mode)) return im_fail(c, "%s: is a folder; wanted the name of a file to write", path);
        if (!S_ISREG(st.st_mode)) return im_fail(c, "%s: is not a regular file; wanted the name of a file to write", path);
        if (!force) return im_fail(c, "%s: exists already and is kept; use --force to replace it, or another name", path);
        char *real = realpath(path, NULL);                     /* where a link leads, as im_out_open writes there     */
        bool may = may_make_in_folder_of(c, real ? real : path);
        free(real);
        return may;
    }
    if (errno != ENOENT) return im_fail(c, "%s: cannot write: %s; %s", path, strerror(errno), im_hint(errno));
    if (!force && !lstat(path, &st))
        return im_fail(c, "%s: is a link to a file that is not there; use --force to write a file in its place, or another "
                          "name", path);
    return may_make_in_folder_of(c, path);
}

bool im_out_fail(im_ctx *c, const im_out *o, int err)
{
    im_fail(c, "%s: cannot write: %s; %s (nothing was left behind)", o->path, strerror(err), im_hint(err));
    errno = err;
    return false;
}

bool im_out_open(im_ctx *c, im_out *o, const char *path, bool force)
{
    *o = (im_out){ .fd = -1, .force = force };
    if (!im_may_write(c, path, force) || !im_make_above(c, path, &o->made)) return false;
    struct stat st;                                            /* a link keeps pointing at what it pointed at         */
    o->path = !lstat(path, &st) && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    if (!o->path) o->path = im_copy_text(c, path, strlen(path));
    for (int attempt = 0; o->path && attempt < 1000; attempt++) {
        if (!(o->temp = im_beside(c, o->path, "tmp", attempt))) break;
        o->fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0 && im_lock_new(o->fd)) return true;
        if (o->fd < 0 && errno != EEXIST) break;
        if (o->fd >= 0) close(o->fd);                          /* taken for a leftover before it was locked           */
        o->fd = -1;
        free(o->temp);
        o->temp = NULL;
    }
    if (o->path && im_ok(c)) im_out_fail(c, o, errno);
    im_remove_above(path, o->made);
    free(o->path);
    free(o->temp);
    *o = (im_out){ .fd = -1 };
    return false;
}

bool im_out_reserve(im_ctx *c, im_out *o, uint64_t bytes)
{
    if (!im_ok(c)) return false;
    int err = 0;
    if (bytes > INT64_MAX) err = EFBIG;
    else if (bytes && fallocate(o->fd, 0, 0, (off_t)bytes)) {
        err = errno;                                           /* file systems without fallocate: size only           */
        if (err == EOPNOTSUPP || err == ENOSYS || err == EINTR) err = ftruncate(o->fd, (off_t)bytes) ? errno : 0;
    }
    return !err || im_out_fail(c, o, err);
}

int im_out_write_at(const im_out *o, const void *data, size_t bytes, uint64_t at)
{
    const char *p = data;
    while (bytes) {
        size_t piece = bytes < (1u << 30) ? bytes : 1u << 30;  /* Linux writes at most 2 GiB - 4 KiB at once          */
        ssize_t done = pwrite(o->fd, p, piece, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return done ? errno : ENOSPC;
        p += done;
        at += (uint64_t)done;
        bytes -= (size_t)done;
    }
    return 0;
}

bool im_out_write(im_ctx *c, im_out *o, const void *data, size_t bytes)
{
    if (!im_ok(c)) return false;
    off_t at = lseek(o->fd, 0, SEEK_END);
    int err = at < 0 ? errno : im_out_write_at(o, data, bytes, (uint64_t)at);
    return !err || im_out_fail(c, o, err);
}

/* Moves temp to path; without force an existing path is left alone (EEXIST). */
static int move_into_place(const im_out *o)
{
    if (o->force) return rename(o->temp, o->path) ? errno : 0;
    if (!renameat2(AT_FDCWD, o->temp, AT_FDCWD, o->path, RENAME_NOREPLACE)) return 0;
    if (errno != EINVAL && errno != ENOSYS) return errno;
    if (!access(o->path, F_OK)) return EEXIST;                 /* a file system without RENAME_NOREPLACE              */
    return rename(o->temp, o->path) ? errno : 0;
}

/* The rename itself is durable once the folder is synced; a failure here leaves a whole file, so it is no error. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];
    if (!slash) snprintf(folder, sizeof folder, ".");
    else snprintf(folder, sizeof folder, "%.*s", (int)(slash - path) + 1, path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

bool im_out_finish(im_ctx *c, im_out *o)
{
    int err = 0;
    if (im_ok(c) && fsync(o->fd) && errno != EINVAL) err = errno;
    if (close(o->fd) && !err && errno != EINTR) err = errno;
    o->fd = -1;
    if (im_ok(c) && !err) err = move_into_place(o);
    if (err == EEXIST) im_may_write(c, o->path, false);        /* it appeared while we wrote                          */
    if (err) im_out_fail(c, o, err);                           /* keeps the first message                             */
    bool done = im_ok(c);
    if (done) {
        sync_folder(o->path);
        free(o->temp);
        o->temp = NULL;
    }
    im_out_abandon(o);
    return done;
}

void im_out_abandon(im_out *o)
{
    int err = errno;
    if (o->fd >= 0) close(o->fd);
    if (o->temp) unlink(o->temp);
    if (o->temp) im_remove_above(o->path, o->made);
    free(o->temp);
    free(o->path);
    *o = (im_out){ .fd = -1 };
    errno = err;
}

bool im_write_file(im_ctx *c, const char *path, const void *data, size_t bytes, bool force)
{
    im_out o;
    if (!im_out_open(c, &o, path, force)) return false;
    im_out_write(c, &o, data, bytes);
    return im_out_finish(c, &o);
}
