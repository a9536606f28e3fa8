/* dataset_folders.c: sets in folders: DIR/CLASS/x.jpg, DIR/CLASS/FOLDER/x.jpg ... (torchvision's ImageFolder), and
 * DIR/x.jpg. */
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

static bool ends_in_one(const char *name, const char *const tails[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ends_in(name, tails[i])) return true;
    return false;
}

bool im_named_as_read(const char *name)
{
    static const char *const tails[] = { ".jpg", ".jpeg", ".png", ".jfif", ".jpe", ".apng" };
    return ends_in_one(name, tails, sizeof tails / sizeof *tails);
}

bool im_named_as_picture(const char *name)
{
    return im_named_as_read(name) || im_named_as_other(name);
}

bool im_named_as_other(const char *name)
{
    static const char *const tails[] = { ".webp", ".gif", ".heic", ".heif", ".avif", ".bmp", ".tif", ".tiff", ".jxl",
                                         ".jp2", ".ppm", ".pgm", ".pbm", ".pnm" };
    return ends_in_one(name, tails, sizeof tails / sizeof *tails);
}

bool im_named_as_shard(const char *name)
{
    static const char *const tails[] = { ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4" };
    return ends_in_one(name, tails, sizeof tails / sizeof *tails);
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

/* The folders that one lies in: a link back to one of them would be read for ever. */
typedef struct above { dev_t dev; ino_t ino; const struct above *up; } above;

typedef struct added { int64_t here, deeper; } added;          /* named as pictures: in a class folder, further below */

static bool stat_folder(im_gather *g, const char *path, above *a)
{
    struct stat st;
    if (stat(path, &st)) return im_fail(g->c, "%s: the folder cannot be read: %s", path, strerror(errno));
    a->dev = st.st_dev;
    a->ino = st.st_ino;
    return true;
}

/* The file `name` of the open folder; below: the same below the set's path, a text of the set. */
static bool add_picture(im_gather *g, int fd, const char *name, const char *below, int label)
{
    struct stat st;
    if (fstatat(fd, name, &st, 0)) return im_gather_broken(g, below, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(st.st_mode)) return im_gather_broken(g, below, "is not a file");
    return im_gather_add(g,
                         (im_sample){ .name = below,
                                      .label = label,
                                      .shard = -1,
                                      .bytes = (uint64_t)st.st_size,
                                      .changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec },
                         NULL);
}

static bool add_files(im_gather *g, const char *path, const char *below, int label, const im_listing *files, int64_t *n)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = true;
    for (int64_t i = 0; i < files->n && ok; i++) {
        if (!im_named_as_picture(files->names[i])) {
            g->d->ignored++;
            continue;
        }
        char *joined = *below ? im_join(g->c, below, files->names[i]) : NULL;
        const char *name = joined ? im_texts_add(g->c, g->d->texts, joined, strlen(joined)) : files->names[i];
        free(joined);
        ++*n;
        ok = im_ok(g->c) && add_picture(g, fd, files->names[i], name, label);
    }
    if (fd >= 0) close(fd);
    return ok;
}

/* The pictures of PATH/below and, in a class (label >= 0), of all folders in it. */
static bool add_pictures(im_gather *g, const char *below, int label, const above *up, added *n)
{
    im_listing files = { 0 }, folders = { 0 };
    above here = { .up = up };
    char *path = *below ? im_join(g->c, g->d->path, below) : im_copy_text(g->c, g->d->path, strlen(g->d->path));
    bool ok = path && stat_folder(g, path, &here), around = false;
    for (const above *a = up; ok && a; a = a->up) around = around || (a->dev == here.dev && a->ino == here.ino);
    if (around) im_warn(g->c, "%s: is a link to a folder that it lies in, and is not followed", path);
    ok = ok && (around || (im_list_folder(g, path, &files, &folders) &&
                           add_files(g, path, below, label, &files, up && up->up ? &n->deeper : &n->here)));
    for (int64_t i = 0; ok && label >= 0 && i < folders.n; i++) {
        char *inside = im_join(g->c, below, folders.names[i]);
        ok = inside && add_pictures(g, inside, label, &here, n);
        free(inside);
    }
    free(path);
    free(files.names);
    free(folders.names);
    return ok;
}

/* Folder by folder, these and their files sorted as bytes: torchvision's sorted(os.walk(...)). */
static int by_folder(const void *a, const void *b)
{
    const char *x = ((const im_sample *)a)->name, *y = ((const im_sample *)b)->name;
    size_t m = (size_t)(strrchr(x, '/') - x), n = (size_t)(strrchr(y, '/') - y);
    int order = memcmp(x, y, m < n ? m : n);
    return order ? order : m != n ? (m < n ? -1 : 1) : strcmp(x + m, y + n);
}

bool im_gather_flat(im_gather *g)
{
    added n = { 0 };
    return add_pictures(g, "", -1, NULL, &n);
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
        for (int64_t i = 1; i < folders->n; i++)
            d->by_number = d->by_number || strcmp(folders->names[i - 1], folders->names[i]) > 0;
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

/* Names of the parts that a set is cut into, by Hugging Face's imagefolder: no classes. */
static bool is_split(const char *name)
{
    static const char *const names[] = { "train", "training", "val", "valid", "validation", "dev", "test", "testing",
                                         "eval", "evaluation" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcasecmp(name, names[i])) return true;
    return false;
}

static bool has_list(im_gather *g, const char *folder)
{
    static const char *const lists[] = { "metadata.jsonl", IM_SET_CSV };
    bool has = false;
    for (int i = 0; i < 2; i++) {
        char *inside = im_join(g->c, folder, lists[i]), *path = inside ? im_join(g->c, g->d->path, inside) : NULL;
        has = has || (path && im_is_file(path));
        free(path);
        free(inside);
    }
    return has;
}

/* DIR/train/CLASS/x.jpg or DIR/train/metadata.jsonl, and DIR was named. */
static bool are_classes(im_gather *g, const added *sum)
{
    const im_dataset *d = g->d;
    bool splits = !g->args->classes && d->n_classes && (sum->here || sum->deeper);
    bool list = splits && has_list(g, d->classes[0]);
    for (int i = 0; i < d->n_classes && splits; i++) splits = is_split(d->classes[i]);
    if (!splits || (sum->here && !list)) return true;
    return im_fail(g->c, "%s: %s in it is a part of a set, and its %s inside; name that folder: %s/%s", d->path,
                   d->classes[0], list ? "metadata lie" : "classes lie", d->path, d->classes[0]);
}

/* All pictures of one class, in their order. */
static bool add_class(im_gather *g, int label, const above *root, added *n)
{
    im_dataset *d = g->d;
    int64_t first = d->count;
    bool ok = add_pictures(g, d->classes[label], label, root, n);
    if (n->deeper && d->count > first)                         /* texts of labels, which stay where they are, are none */
        qsort(d->samples + first, (size_t)(d->count - first), sizeof *d->samples, by_folder);
    return ok;
}

bool im_gather_class_folders(im_gather *g)
{
    im_dataset *d = g->d;
    im_listing files = { 0 }, folders = { 0 };
    bool ok = im_list_folder(g, d->path, &files, &folders) && choose_classes(g, &folders);
    const char **empty = ok ? calloc((size_t)d->n_classes + 1, sizeof *empty) : NULL;
    int64_t n_empty = 0;
    above root = { .up = NULL };
    added sum = { 0 };
    ok = ok && stat_folder(g, d->path, &root);
    if (ok && !empty)
        ok = im_fail(g->c, "%s: out of memory for %d classes; close other programs", d->path, d->n_classes);
    for (int i = 0; i < d->n_classes && ok; i++) {
        added n = { 0 };
        ok = add_class(g, i, &root, &n);
        if (ok && !n.here && !n.deeper) empty[n_empty++] = d->classes[i];
        sum.here += n.here;
        sum.deeper += n.deeper;
    }
    ok = ok && are_classes(g, &sum);
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
