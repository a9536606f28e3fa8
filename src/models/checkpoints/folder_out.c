/* folder_out.c: see folder_out.h. Each file by itself is written beside its name and renamed (data/files/file.h). */
#define _GNU_SOURCE
#include "models/checkpoints/folder_out.h"
#include "data/files/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_empty(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return false;
    int n = 0;
    for (const struct dirent *e; (e = readdir(d)); )
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n == 0;
}

/* Remembers a path for im_folder_end; takes it over, even when it fails. */
static bool remember(im_folder_out *f, char *path)
{
    if (f->n == f->cap) {
        int cap = f->cap ? 2 * f->cap : 32;
        char **made = realloc(f->made, (size_t)cap * sizeof *made);
        if (!made) {
            free(path);
            return im_fail(f->c, "%s: out of memory", f->path);
        }
        f->made = made;
        f->cap = cap;
    }
    f->made[f->n++] = path;
    return true;
}

static bool make_folder(im_folder_out *f, const char *path)
{
    if (im_is_folder(path))
        return true;
    char *copy = im_make_folder(f->c, path) ? im_copy_text(f->c, path, strlen(path)) : NULL;
    return copy && remember(f, copy);
}

bool im_folder_begin(im_ctx *c, im_folder_out *f, const char *path, bool force)
{
    *f = (im_folder_out){ .c = c, .force = force };
    if (!im_ok(c) || !(f->path = im_copy_text(c, path, strlen(path))))
        return false;
    if (im_is_folder(path) && !is_empty(path) && !force)
        im_fail(c, "%s: exists already and is not empty; use --force to write over its files, or another name", path);
    return (im_ok(c) && make_folder(f, path)) || im_folder_end(f);
}

char *im_folder_file(im_folder_out *f, const char *name)
{
    char *path = im_ok(f->c) ? im_join(f->c, f->path, name) : NULL;
    char *copy = path ? im_copy_text(f->c, path, strlen(path)) : NULL;
    if (!copy) {
        free(path);
        return NULL;
    }
    char *slash = strrchr(copy, '/');
    *slash = 0;
    bool ok = make_folder(f, copy);
    *slash = '/';
    ok = ok && im_may_write(f->c, path, f->force);
    if (!ok) {
        free(copy);
        free(path);
        return NULL;
    }
    if (!remember(f, copy)) {
        free(path);
        return NULL;
    }
    return path;
}

bool im_folder_write(im_folder_out *f, const char *name, const void *data, size_t bytes)
{
    char *path = im_folder_file(f, name);
    bool ok = path && im_write_file(f->c, path, data, bytes, f->force);
    free(path);
    return ok;
}

/* base-00001-of-00002.safetensors? */
static bool is_shard(const char *name, const char *base, size_t n)
{
    unsigned i, count;
    int used = 0;
    return !strncmp(name, base, n) && sscanf(name + n, "-%5u-of-%5u.safetensors%n", &i, &count, &used) == 2 &&
           used == 27 && !name[n + 27];
}

bool im_folder_drop(im_folder_out *f, const char *name)
{
    char *path = im_ok(f->c) ? im_join(f->c, f->path, name) : NULL;
    bool ok = path && (!unlink(path) || errno == ENOENT ||
                       im_fail(f->c, "%s: cannot be removed: %s", path, strerror(errno)));
    free(path);
    return ok;
}

static bool was_made(const im_folder_out *f, const char *folder, const char *name)
{
    size_t n = strlen(folder);
    for (int i = 0; i < f->n; i++)
        if (!strncmp(f->made[i], folder, n) && f->made[i][n] == '/' && !strcmp(f->made[i] + n + 1, name))
            return true;
    return false;
}

/* The stem of "unet/BASE.safetensors" or of "unet/BASE.safetensors.index.json": 0 where path is neither. */
static size_t weights_stem(const char *path)
{
    static const char *const ends[] = { ".safetensors", ".safetensors.index.json" };
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t m = strlen(ends[i]);
        if (n > m && !strcmp(path + n - m, ends[i]))
            return n - m;
    }
    return 0;
}

/* Readers prefer some of these to the files that were just written, and take them for another model. */
static void remove_stale(const im_folder_out *f, const char *path)
{
    size_t stem = weights_stem(path);
    const char *slash = strrchr(path, '/');
    char *folder = stem && slash ? im_copy_text(f->c, path, (size_t)(slash - path)) : NULL;
    DIR *d = folder ? opendir(folder) : NULL;
    for (const struct dirent *e; d && (e = readdir(d)); ) {
        const char *base = slash + 1;
        size_t n = stem - (size_t)(base - path);
        bool whole = !strncmp(e->d_name, base, n) && weights_stem(e->d_name) == n;
        if ((whole || is_shard(e->d_name, base, n)) && !was_made(f, folder, e->d_name))
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    free(folder);
}

bool im_folder_end(im_folder_out *f)
{
    for (int i = 0; im_ok(f->c) && i < f->n; i++)
        remove_stale(f, f->made[i]);
    for (int i = f->n - 1; i >= 0; i--) {                      /* folders come before the files in them               */
        if (!im_ok(f->c) && unlink(f->made[i]))
            rmdir(f->made[i]);
        free(f->made[i]);
    }
    free(f->made);
    free(f->path);
    bool ok = im_ok(f->c);
    *f = (im_folder_out){ .c = f->c };
    return ok;
}
