/* dataset_folders.c: sets in folders: DIR/CLASS/x.jpg (torchvision's ImageFolder, one level) and DIR/x.jpg. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/sets/dataset_parts.h"
#include "data/files/file.h"

/* ---------------------------------------------------------------- names */

static bool ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), t = strlen(tail);
    return n > t && !strcasecmp(name + n - t, tail);
}

bool im_named_as_picture(const char *name)
{
    return ends_in(name, ".jpg") || ends_in(name, ".jpeg") || ends_in(name, ".png") || im_named_as_other(name);
}

bool im_named_as_other(const char *name)
{
    static const char *const tails[] = { ".webp", ".gif", ".heic", ".heif", ".avif", ".bmp", ".tif", ".tiff", ".jxl" };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (ends_in(name, tails[i])) return true;
    return false;
}

bool im_named_as_shard(const char *name)
{
    static const char *const tails[] = { ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4" };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++)
        if (ends_in(name, tails[i])) return true;
    return false;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Whole numbers of any length: the longer is the larger; "1" and "01" by their bytes. */
static int by_number(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    x += strspn(x, "0");
    y += strspn(y, "0");
    size_t m = strlen(x), n = strlen(y);
    int order = m != n ? (m < n ? -1 : 1) : strcmp(x, y);
    return order ? order : by_bytes(a, b);
}

void im_sort_names(const char **names, int64_t n, bool numbers_too)
{
    bool numbers = numbers_too;
    for (int64_t i = 0; i < n && numbers; i++) numbers = names[i][strspn(names[i], "0123456789")] == '\0';
    if (n) qsort(names, (size_t)n, sizeof *names, numbers ? by_number : by_bytes);
}

/* ---------------------------------------------------------------- listing */

static bool push_name(im_gather *g, im_listing *l, int64_t *cap, const char *name)
{
    if (l->n == *cap) {
        *cap = *cap ? 2 * *cap : 64;
        const char **names = realloc(l->names, (size_t)*cap * sizeof *names);
        if (!names) return im_fail(g->c, "%s: out of memory for %lld names; close other programs", g->d->path,
                                   (long long)*cap);
        l->names = names;
    }
    const char *text = im_texts_add(g->c, g->d->texts, name, strlen(name));
    l->names[l->n++] = text;
    return text != NULL;
}

bool im_list_folder(im_gather *g, const char *path, im_listing *files, im_listing *folders)
{
    int64_t cap_files = 0, cap_folders = 0;
    DIR *dir = opendir(path);
    if (!dir) return im_fail(g->c, "%s: the folder cannot be read: %s", path, strerror(errno));
    bool ok = true;
    for (struct dirent *e; ok && (errno = 0, e = readdir(dir)); ) {
        if (e->d_name[0] == '.') continue;
        struct stat st;
        bool folder = e->d_type == DT_DIR;
        if (e->d_type != DT_DIR && e->d_type != DT_REG)        /* a link, or a file system that does not tell         */
            folder = !fstatat(dirfd(dir), e->d_name, &st, 0) && S_ISDIR(st.st_mode);
        ok = folder ? push_name(g, folders, &cap_folders, e->d_name) : push_name(g, files, &cap_files, e->d_name);
    }
    if (ok && errno) ok = im_fail(g->c, "%s: the folder cannot be read to its end: %s", path, strerror(errno));
    closedir(dir);
    if (ok) {
        im_sort_names(files->names, files->n, false);
        im_sort_names(folders->names, folders->n, true);
        return true;
    }
    free(files->names);
    free(folders->names);
    *files = *folders = (im_listing){ 0 };
    return false;
}

/* ---------------------------------------------------------------- pictures of one folder */

/* The pictures of PATH/below; below may be "". n: how many were named as pictures. */
static bool add_pictures(im_gather *g, const char *below, int label, int64_t *n)
{
    im_dataset *d = g->d;
    im_listing files = { 0 }, folders = { 0 };
    *n = 0;
    char *path = *below ? im_join(g->c, d->path, below) : im_copy_text(g->c, d->path, strlen(d->path));
    bool ok = path && im_list_folder(g, path, &files, &folders);
    int fd = ok ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (ok && folders.n && *below)
        im_warn(g->c, "%s: holds %lld folder(s), the first is %s; folders inside class folders are not read", path,
                (long long)folders.n, folders.names[0]);
    for (int64_t i = 0; i < files.n && ok; i++) {
        if (!im_named_as_picture(files.names[i])) {
            d->ignored++;
            continue;
        }
        char *joined = *below ? im_join(g->c, below, files.names[i]) : NULL;
        const char *name = joined ? im_texts_add(g->c, d->texts, joined, strlen(joined)) : files.names[i];
        free(joined);
        struct stat st;
        ++*n;
        if (!im_ok(g->c)) ok = false;
        else if (fstatat(fd, files.names[i], &st, 0))
            ok = im_gather_broken(g, name, "cannot be read: %s", strerror(errno));
        else if (!S_ISREG(st.st_mode)) ok = im_gather_broken(g, name, "is not a file");
        else
            ok = im_gather_add(g,
                               (im_sample){ .name = name,
                                            .label = label,
                                            .shard = -1,
                                            .bytes = (uint64_t)st.st_size,
                                            .changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec },
                               NULL);
    }
    if (fd >= 0) close(fd);
    free(path);
    free(files.names);
    free(folders.names);
    return ok;
}

bool im_gather_flat(im_gather *g)
{
    int64_t n;
    return add_pictures(g, "", -1, &n);
}

/* ---------------------------------------------------------------- class folders */

/* The classes: the folders, or those of the list, which must all be there. */
static bool choose_classes(im_gather *g, const im_listing *folders)
{
    im_dataset *d = g->d;
    if (!g->args->classes) {
        d->classes = calloc((size_t)folders->n + 1, sizeof *d->classes);
        if (!d->classes) return im_fail(g->c, "%s: out of memory for %lld classes; close other programs", d->path,
                                        (long long)folders->n);
        for (int64_t i = 0; i < folders->n; i++) d->classes[i] = folders->names[i];
        d->n_classes = (int)folders->n;
        return true;
    }
    const char **missing = calloc((size_t)d->n_classes + 1, sizeof *missing);
    int64_t n = 0;
    if (!missing) return im_fail(g->c, "%s: out of memory for %d classes; close other programs", d->path, d->n_classes);
    for (int i = 0; i < d->n_classes; i++) {
        bool here = false;
        char *path = im_join(g->c, d->path, d->classes[i]);
        here = path && im_is_folder(path);
        free(path);
        if (!here) missing[n++] = d->classes[i];
    }
    if (n && im_ok(g->c)) {
        char all[3000];
        im_name_all(all, sizeof all, missing, n);
        im_fail(g->c, "%s: %lld of the %d classes of %s have no folder: %s", d->path, (long long)n, d->n_classes,
                g->args->classes, all);
    }
    free(missing);
    return im_ok(g->c);
}

bool im_gather_class_folders(im_gather *g)
{
    im_dataset *d = g->d;
    im_listing files = { 0 }, folders = { 0 };
    bool ok = im_list_folder(g, d->path, &files, &folders) && choose_classes(g, &folders);
    const char **empty = ok ? calloc((size_t)d->n_classes + 1, sizeof *empty) : NULL;
    int64_t n_empty = 0;
    if (ok && !empty)
        ok = im_fail(g->c, "%s: out of memory for %d classes; close other programs", d->path, d->n_classes);
    for (int i = 0; i < d->n_classes && ok; i++) {
        int64_t n;
        ok = add_pictures(g, d->classes[i], i, &n);
        if (ok && !n) empty[n_empty++] = d->classes[i];
    }
    if (ok && n_empty == d->n_classes)
        ok = im_fail(g->c, "%s: holds no pictures: none of its %d folders has a .jpg, .jpeg or .png file", d->path,
                     d->n_classes);
    if (ok && n_empty) {
        char all[3000];
        im_name_all(all, sizeof all, empty, n_empty);
        ok = im_fail(g->c,
                     "%s: %lld of %d class folders hold no .jpg, .jpeg or .png file: %s; fill them, remove them, or "
                     "list the classes to use with --classes FILE",
                     d->path, (long long)n_empty, d->n_classes, all);
    }
    free(empty);
    free(files.names);
    free(folders.names);
    return ok;
}
