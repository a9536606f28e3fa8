/* synth_claims.c: who is at work on a set, so that exactly one of its workers finishes it.
 *
 * A worker holds a lock (flock) on a file of its own, SET/.parts/I-of-N.HOST.PID, as long as it runs; a file whose lock can
 * be had belongs to a worker that was killed. The lock of SET/.parts/finish is held
 *   - by a worker that begins, while it puts its file there and looks whether the set is finished
 *   - by a worker that ends, while it looks whether it was the last one and finishes the set
 * so that whoever begins sees either an unfinished set that nobody else will finish before it, or a finished one. Where a
 * file system has no locks, workers do not see each other: then parts must not be started while others end. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "data/files/file.h"
#include "models/pipelines/synth.h"

static const char PARTS[] = ".parts", FINISH[] = "finish";

static char *parts_path(im_ctx *c, const im_synth *s, const char *name)
{
    char *folder = im_join(c, s->a.out, PARTS), *path = folder && name ? im_join(c, folder, name) : NULL;
    if (!name) return folder;
    free(folder);
    return path;
}

/* False: somebody else holds it. */
static bool lock(int fd, int how)
{
    int rc;
    do rc = flock(fd, how);
    while (rc && errno == EINTR);
    return !rc || errno != EWOULDBLOCK;
}

bool im_synth_lock(im_ctx *c, im_synth *s)
{
    char *folder = parts_path(c, s, NULL), *path = parts_path(c, s, FINISH);
    bool ok = folder && path && im_make_folder(c, folder);
    s->finish_fd = ok ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (ok && s->finish_fd < 0) ok = im_fail(c, "%s: cannot be opened: %s; check the permissions of the set", path,
                                             strerror(errno));
    if (ok) lock(s->finish_fd, LOCK_EX);
    free(path);
    free(folder);
    return ok;
}

void im_synth_unlock(im_synth *s)
{
    if (s->finish_fd >= 0) close(s->finish_fd);
    s->finish_fd = -1;
}

bool im_synth_claim(im_ctx *c, im_synth *s)
{
    char name[200], host[100] = "host";
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "%lld-of-%lld.%.80s.%ld", (long long)s->a.part + 1, (long long)s->a.parts, host,
             (long)getpid());
    s->claim = parts_path(c, s, name);
    s->claim_fd = s->claim ? open(s->claim, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (s->claim && s->claim_fd < 0)
        im_fail(c, "%s: cannot be opened: %s; check the permissions of the set", s->claim, strerror(errno));
    if (s->claim_fd >= 0) lock(s->claim_fd, LOCK_EX);
    return s->claim_fd >= 0;
}

void im_synth_unclaim(im_synth *s)
{
    if (s->claim_fd >= 0) {
        unlink(s->claim);
        close(s->claim_fd);
    }
    free(s->claim);
    s->claim = NULL;
    s->claim_fd = -1;
}

/* Is the worker of this file alive? Files of dead ones go. */
static bool alive(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return false;
    bool other = !lock(fd, LOCK_EX | LOCK_NB);
    if (!other) unlink(path);
    close(fd);
    return other;
}

/* Do [i/n, (i+1)/n) and [j/m, (j+1)/m) share anything, other than being the same? */
static bool overlap(int64_t i, int64_t n, int64_t j, int64_t m)
{
    bool same = i == j && n == m;
    return !same && i * m < (j + 1) * n && j * n < (i + 1) * m;
}

int im_synth_others(im_ctx *c, im_synth *s)
{
    char *folder = parts_path(c, s, NULL);
    DIR *d = folder ? opendir(folder) : NULL;
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d)); ) {
        long long i, of;
        if (sscanf(e->d_name, "%lld-of-%lld.", &i, &of) != 2) continue;
        char *path = im_join(c, folder, e->d_name);
        if (path && (!s->claim || strcmp(path, s->claim)) && alive(path)) {
            n++;
            if (s->claim && overlap(s->a.part, s->a.parts, i - 1, of))
                im_fail(c, "%s: part %lld/%lld shares pictures with part %lld/%lld, which is being drawn (%s/%s/%s); wait "
                           "for it, or ask for parts of the same number", s->a.out, (long long)s->a.part + 1,
                        (long long)s->a.parts, i, of, s->a.out, PARTS, e->d_name);
        }
        free(path);
    }
    if (d) closedir(d);
    free(folder);
    return n;
}

void im_synth_leave(im_ctx *c, im_synth *s)
{
    char *finish = parts_path(c, s, FINISH), *folder = parts_path(c, s, NULL);
    if (finish) unlink(finish);
    if (folder) rmdir(folder);
    free(finish);
    free(folder);
}
