/* folder_out.c: see folder_out.h. Trees of files are data/files/tree.c's business; here is what belongs to a model. */
#define _GNU_SOURCE
#include "models/checkpoints/folder_out.h"
#include "data/files/beside.h"
#include "data/files/file.h"
#include "data/files/tree.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------- names */

/* Where the last part of a path begins. */
static size_t base_at(const char *path)
{
    return (size_t)(im_last_name(path) - path);
}

/* Without slashes at the end, and where it is a link or one of "." and "..", what it stands for. */
static char *resolve(im_ctx *c, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *name = im_copy_text(c, path, n);
    struct stat st;
    if (!name || lstat(name, &st))
        return name;
    const char *base = name + base_at(name);
    if (!S_ISLNK(st.st_mode) && strcmp(base, ".") && strcmp(base, ".."))
        return name;
    char *real = realpath(name, NULL);
    if (!real)
        im_fail(c, "%s: is a link that leads nowhere: %s; wanted a folder", name, strerror(errno));
    free(name);
    return real;
}

/* ---------------------------------------------------------------- what killed processes left */

static void clean_one(im_ctx *c, const char *path, const char *left, bool aside, long pid)
{
    struct stat st;
    bool folder = !lstat(left, &st) && S_ISDIR(st.st_mode);
    int lock = folder ? im_lock_beside(left, pid) : -1;
    if (lock < 0)
        return;
    bool cut = strncmp(left, path, strlen(path));              /* a long name, and perhaps another's                  */
    if (aside && !cut && lstat(path, &st)) {
        if (!rename(left, path))
            im_warn(c, "%s: put back; a process that was killed while replacing it had left it as %s", path, left);
    } else if (!(aside && cut) && !im_tree_remove(left)) {
        im_warn(c, "%s: was left by a process that was killed, and cannot be removed completely; remove it yourself", left);
    }
    close(lock);
}

void im_folder_clean(im_ctx *c, const char *path)
{
    char *folder = im_join_beside(c, path, ".");
    DIR *d = folder ? opendir(folder) : NULL;
    long pid;
    for (const struct dirent *e; d && (e = readdir(d)); ) {
        bool aside = im_is_beside(e->d_name, path + base_at(path), "old", &pid);
        bool tmp = im_is_beside(e->d_name, path + base_at(path), "tmp", &pid);
        char *left = aside || tmp ? im_join_beside(c, path, e->d_name) : NULL;
        if (left)
            clean_one(c, path, left, aside, pid);
        free(left);
    }
    if (d)
        closedir(d);
    free(folder);
}

/* ---------------------------------------------------------------- begin */

static bool is_empty(const char *path)
{
    DIR *d = opendir(path);
    int n = 0;
    for (const struct dirent *e; d && (e = readdir(d)); )
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    if (d)
        closedir(d);
    return d && n == 0;
}

/* Is this process in the folder, or in one below it? Whoever started it is there too, and would find itself nowhere. */
static bool is_inside(const char *path)
{
    struct stat st, here, up;
    char at[4096] = ".";
    if (stat(path, &st) || stat(at, &here))
        return false;
    for (size_t n = 1; n + 4 < sizeof at; n += 3, here = up) {
        if (here.st_dev == st.st_dev && here.st_ino == st.st_ino)
            return true;
        snprintf(at + n, sizeof at - n, "/..");
        if (stat(at, &up) || (up.st_dev == here.st_dev && up.st_ino == here.st_ino))
            return false;
    }
    return false;
}

/* Why the folder that is there cannot be exchanged with one beside it; NULL: it can. */
static const char *stuck(const char *path, const char *folder)
{
    return is_inside(path) ? "is the folder you are in, or one above it"
         : im_is_mount(path) ? "is where a disk is mounted"
         : access(folder, W_OK | X_OK) ? "stands in a folder that cannot be written"
         : NULL;
}

static bool may_replace(im_folder_out *f, bool force)
{
    im_ctx *c = f->c;
    bool empty = is_empty(f->path);
    if (!empty && !force)
        return im_fail(c, "%s: exists already and is not empty; use --force to replace the model in it, or another name",
                       f->path);
    char *folder = im_join_beside(c, f->path, ".");
    const char *why = folder ? stuck(f->path, folder) : NULL;
    free(folder);
    if (why && !empty)
        return im_fail(c, "%s: %s, so that it cannot be replaced as a whole; write to another folder", f->path, why);
    f->fill = why != NULL;
    return im_ok(c) && im_tree_check(c, f->path);
}

/* Where it is built. The lock says that this process is alive; another may have cleared the folder away before it stood. */
static bool make_build(im_folder_out *f)
{
    char *in = f->fill ? im_join(f->c, f->path, "model") : NULL;
    int err = EEXIST;
    for (int n = 0; n < 1000 && err == EEXIST && im_ok(f->c); n++) {
        struct stat st;
        free(f->build);
        if (!(f->build = im_beside(f->c, in ? in : f->path, "tmp", n)))
            break;
        err = mkdir(f->build, 0777) ? errno : 0;
        f->lock = err ? -1 : im_lock_beside(f->build, getpid());
        if (!err && (f->lock < 0 || fstat(f->lock, &st) || !st.st_nlink)) {
            if (f->lock >= 0)
                close(f->lock);
            rmdir(f->build);
            err = EEXIST;
        }
    }
    free(in);
    if (!err)
        return true;
    free(f->build);                                            /* it was not made here                                */
    f->build = NULL;
    return im_fail(f->c, "%s: cannot make the folder: %s; %s", f->path, strerror(err), im_hint(err));
}

bool im_folder_begin(im_ctx *c, im_folder_out *f, const char *path, bool force)
{
    *f = (im_folder_out){ .c = c, .lock = -1 };
    if (!im_ok(c) || !(f->path = resolve(c, path)))
        return false;
    im_folder_clean(c, f->path);
    f->there = im_is_folder(f->path);
    char *in = f->there ? im_join(c, f->path, "model") : NULL; /* of those that filled it                             */
    if (in)
        im_folder_clean(c, in);
    free(in);
    struct stat st;
    bool blocked = !f->there && (!*path || !lstat(f->path, &st));      /* no name, or a file: the error says which    */
    bool ok = im_ok(c) && (f->there ? may_replace(f, force)
                           : blocked ? im_make_folder(c, f->path) : im_make_above(c, f->path, &f->made));
    return (ok && make_build(f)) || im_folder_end(f);
}

/* ---------------------------------------------------------------- writing */

static bool remember(im_folder_out *f, const char *name)
{
    if (f->n == f->cap) {
        int cap = f->cap ? 2 * f->cap : 32;
        char **names = realloc(f->names, (size_t)cap * sizeof *names);
        if (!names)
            return im_fail(f->c, "%s: out of memory", f->path);
        f->names = names;
        f->cap = cap;
    }
    f->names[f->n] = im_copy_text(f->c, name, strlen(name));
    return f->names[f->n] && ++f->n;
}

char *im_folder_file(im_folder_out *f, const char *name)
{
    im_ctx *c = f->c;
    char *path = im_ok(c) ? im_join(c, f->build, name) : NULL, *old = path ? im_join(c, f->path, name) : NULL;
    char *folder = old ? im_join_beside(c, path, ".") : NULL;
    bool ok = folder && im_make_folder(c, folder) && remember(f, name) &&
              (!im_is_folder(old) || im_fail(c, "%s: is a folder; wanted the name of a file to write", old));
    free(folder);
    free(old);
    if (ok)
        return path;
    free(path);
    return NULL;
}

bool im_folder_write(im_folder_out *f, const char *name, const void *data, size_t bytes)
{
    char *path = im_folder_file(f, name);
    bool ok = path && im_write_file(f->c, path, data, bytes, true);
    free(path);
    return ok;
}

bool im_folder_drop(im_folder_out *f, const char *name)
{
    return im_ok(f->c) && remember(f, name);
}

/* ---------------------------------------------------------------- what an earlier model left */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n > m && !strcmp(name + n - m, end);
}

/* base-00001-of-00002.safetensors? */
static bool is_shard(const char *name, const char *base, size_t n)
{
    unsigned i, count;
    int used = 0;
    return !strncmp(name, base, n) && sscanf(name + n, "-%5u-of-%5u.safetensors%n", &i, &count, &used) == 2 &&
           used == 27 && !name[n + 27];
}

/* The stem of "unet/BASE.safetensors" or of "unet/BASE.safetensors.index.json": 0 where path is neither. */
static size_t weights_stem(const char *path)
{
    static const char *const ends[] = { ".safetensors", ".safetensors.index.json" };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends_with(path, ends[i]))
            return strlen(path) - strlen(ends[i]);
    return 0;
}

static bool is_weights(const char *name)
{
    static const char *const ends[] = { ".safetensors", ".bin", ".ckpt", ".msgpack" };
    bool is = false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        is |= ends_with(name, ends[i]);
    return is;
}

/* Is file `name` of the folder that is replaced to stay in the new one, which lacks it? Readers prefer some forms of
 * weights to those that were written, and take them for another model. */
static bool is_kept(void *arg, const char *name)
{
    im_folder_out *f = arg;
    bool weights = false;
    for (int i = 0; i < f->n; i++) {
        const char *written = f->names[i];
        size_t at = base_at(written), stem = weights_stem(written);
        if (!strcmp(name, written))
            return false;
        if (!stem || base_at(name) != at || strncmp(name, written, at))
            continue;
        bool whole = !strncmp(name, written, stem) && weights_stem(name) == stem;
        if (whole || is_shard(name + at, written + at, stem - at))
            return false;
        weights = true;
    }
    if (weights && is_weights(name) && !f->n_others++)
        f->others = im_copy_text(f->c, name, strlen(name));
    return im_ok(f->c);
}

/* ---------------------------------------------------------------- end */

/* Moves what was built into the folder that it was built in: model_index.json last. */
static bool fill_folder(im_folder_out *f)
{
    static const char *const last = "model_index.json";
    im_ctx *c = f->c;
    for (int round = 0; round < 2 && im_ok(c); round++) {
        DIR *d = opendir(f->build);
        for (const struct dirent *e; d && im_ok(c) && (e = readdir(d)); ) {
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || (strcmp(e->d_name, last) == 0) != round)
                continue;
            char *from = im_join(c, f->build, e->d_name), *to = from ? im_join(c, f->path, e->d_name) : NULL;
            struct stat st;
            if (to && !lstat(to, &st))
                im_fail(c, "%s: appeared while the model was written, and is kept", to);
            else if (to && rename(from, to))
                im_fail(c, "%s: cannot write: %s; %s", to, strerror(errno), im_hint(errno));
            else if (to)
                remember(f, e->d_name);                        /* for unfill                                          */
            free(from);
            free(to);
        }
        if (d)
            closedir(d);
    }
    im_tree_remove(f->build);
    return im_ok(c);
}

/* After a failure: what fill_folder had moved. */
static void unfill(im_folder_out *f, int first)
{
    for (int i = first; i < f->n; i++) {
        char *path = im_join(f->c, f->path, f->names[i]);
        if (path && unlink(path))
            im_tree_remove(path);
        free(path);
    }
}

static bool remove_both(const char *a, const char *b)
{
    bool gone = im_tree_remove(a);
    return im_tree_remove(b) && gone;
}

/* Exchanges the folder that is there with the new one, and removes it. *lost: neither stands under its name. */
static bool replace(im_folder_out *f, bool *lost)
{
    im_ctx *c = f->c;
    char *aside = im_copy_text(c, f->build, strlen(f->build));
    if (!aside)
        return false;
    char *kind = strstr(aside + base_at(aside), ".tmp.");      /* the last one, as the name itself may hold one       */
    for (char *p = kind; p && (p = strstr(p + 1, ".tmp.")); )
        kind = p;
    memcpy(kind, ".old.", 5);
    int old = im_lock_beside(f->path, getpid());
    int err = im_swap_folders(f->build, f->path, aside, lost);
    im_sync_parent(f->path);
    if (*lost)
        im_fail(c, "%s: cannot be replaced: %s; the old folder is now %s, and the new one %s: rename one of them",
                f->path, strerror(err), aside, f->build);
    else if (err)
        im_fail(c, "%s: cannot be replaced: %s; move it away, or write to another folder", f->path, strerror(err));
    else if (!remove_both(aside, f->build))
        im_warn(c, "%s: the folder that was replaced could not be removed completely; remove it yourself", f->build);
    if (old >= 0)
        close(old);
    free(aside);
    return !err;
}

static bool place(im_folder_out *f, bool *lost)
{
    im_ctx *c = f->c;
    bool carried = f->there && !f->fill;
    if ((carried && !im_tree_carry(c, f->path, f->build, is_kept, f)) || !im_tree_sync(c, f->build))
        return false;
    int first = f->n;
    if (f->fill && !fill_folder(f))
        unfill(f, first);
    else if (!f->there && rename(f->build, f->path))
        im_fail(c, "%s: cannot make the folder: %s; %s", f->path, strerror(errno), im_hint(errno));
    else if (carried)
        replace(f, lost);
    im_sync_parent(f->path);
    if (im_ok(c) && f->n_others > 1)
        im_warn(c, "%s: keeps %s and %d more files of weights that are not those written now", f->path, f->others,
                f->n_others - 1);
    else if (im_ok(c) && f->n_others)
        im_warn(c, "%s: keeps %s, whose weights are not those written now", f->path, f->others);
    return im_ok(c);
}

/* The error in the words of who looks for the files afterwards: under their final names, and what became of those. */
static void reword(const im_folder_out *f)
{
    static const char *const nothing = " (nothing was left behind)";
    im_ctx *c = f->c;
    const char *error = im_error(c);
    size_t n = f->build ? strlen(f->build) : 0, used = 0, m = strlen(nothing);
    char text[4096];
    for (const char *p = error; *p && used + strlen(f->path) + 1 < sizeof text; ) {
        if (n && !strncmp(p, f->build, n)) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s", f->path);
            p += n;
        } else {
            text[used++] = *p++;
        }
    }
    text[used] = 0;
    if (used > m && !strcmp(text + used - m, nothing))
        text[used -= m] = 0;
    im_clear_error(c);
    if (f->there && !f->fill)
        im_fail(c, "%s (%s is as it was)", text, f->path);
    else
        im_fail(c, "%s%s", text, nothing);
}

bool im_folder_end(im_folder_out *f)
{
    bool lost = false, begun = f->build != NULL;
    if (begun && im_ok(f->c))
        place(f, &lost);
    bool ok = im_ok(f->c);
    if (!ok && begun && !lost && !im_tree_remove(f->build))
        im_warn(f->c, "%s: could not be removed completely; remove it yourself", f->build);
    if (!ok)
        im_remove_above(f->path, f->made);
    if (!ok && begun && !lost)
        reword(f);
    if (f->lock >= 0)
        close(f->lock);
    for (int i = 0; i < f->n; i++)
        free(f->names[i]);
    free(f->names);
    free(f->others);
    free(f->build);
    free(f->path);
    *f = (im_folder_out){ .c = f->c, .lock = -1 };
    return ok;
}
