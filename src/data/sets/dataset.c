/* dataset.c: opens a set of pictures: tells the four forms apart, has one of them gather the samples, looks at the first
 * bytes of every file, and checks what the caller needs. See dataset.h. */
#include "data/sets/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/sets/dataset_parts.h"
#include "data/files/file.h"
#include "data/files/sha256.h"
#include "data/files/utf8.h"
#include "data/images/picture.h"

const char *im_set_kind_name(im_set_kind k)
{
    static const char *const names[] = { "class folders", "a folder of pictures", "metadata.jsonl or .csv", "tar shards" };
    return names[k];
}

bool im_gather_add(im_gather *g, im_sample s, const char *label)
{
    im_dataset *d = g->d;
    if (d->count == g->cap) {
        int64_t cap = g->cap ? 2 * g->cap : 256;
        im_sample *samples = realloc(d->samples, (size_t)cap * sizeof *samples);
        if (samples) d->samples = samples;
        const char **labels = realloc(g->labels, (size_t)cap * sizeof *labels);
        if (labels) g->labels = labels;
        if (!samples || !labels) return im_fail(g->c, "%s: out of memory for %lld pictures; close other programs",
                                                d->path, (long long)cap);
        g->cap = cap;
    }
    g->labels[d->count] = label && *label ? label : NULL;      /* an empty text names no class                        */
    d->samples[d->count++] = s;
    return true;
}

bool im_gather_broken(im_gather *g, const char *name, const char *fmt, ...)
{
    im_dataset *d = g->d;
    char reason[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    if (d->n_broken == g->cap_broken) {
        int64_t cap = g->cap_broken ? 2 * g->cap_broken : 16;
        im_broken *v = realloc(d->broken, (size_t)cap * sizeof *v);
        if (!v) return im_fail(g->c, "%s: out of memory for a list of broken files; close other programs", d->path);
        d->broken = v;
        g->cap_broken = cap;
    }
    const char *text = im_texts_add(g->c, d->texts, reason, strlen(reason));
    d->broken[d->n_broken++] = (im_broken){ name, text };
    return text != NULL;
}

/* ---------------------------------------------------------------- the first bytes of every file */

enum { HEAD = 16, FEW = 64 };                                  /* bytes looked at; files a task of im_parallel        */

typedef struct head {                                          /* what the first look at a sample found               */
    int err;                                                   /* errno of opening or reading it                      */
    int n;                                                     /* bytes read                                          */
    uint8_t bytes[HEAD];
} head;

typedef struct looker { const im_dataset *d; head *heads; } looker;

static char *path_of(const im_dataset *d, const im_sample *s)
{
    if (s->shard >= 0) return strdup(d->shards[s->shard]);
    im_root root = d->roots ? d->roots[s->root] : (im_root){ d->folder, 0 };
    size_t n = strlen(root.folder) + strlen(s->name) + 2;
    char *path = malloc(n);
    if (path) snprintf(path, n, "%s/%s", root.folder, s->name + root.skip);
    return path;
}

static void look(void *arg, int task, int thread)
{
    const looker *l = arg;
    (void)thread;
    int64_t first = (int64_t)task * FEW, last = first + FEW < l->d->count ? first + FEW : l->d->count;
    for (int64_t i = first; i < last; i++) {
        const im_sample *s = &l->d->samples[i];
        char *path = path_of(l->d, s);
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
        ssize_t n = fd < 0 ? -1 : pread(fd, l->heads[i].bytes, s->bytes < HEAD ? s->bytes : HEAD, (off_t)s->offset);
        l->heads[i].err = n < 0 ? path ? errno : ENOMEM : 0;
        l->heads[i].n = n < 0 ? 0 : (int)n;
        if (fd >= 0) close(fd);
        free(path);
    }
}

static bool note_broken(im_gather *g, const im_sample *s, const head *h)
{
    if (h->err) return im_gather_broken(g, s->name, "cannot be read: %s", strerror(h->err));
    if (!s->bytes) return im_gather_broken(g, s->name, "has 0 bytes");
    const char *other = im_picture_other(h->bytes, (size_t)h->n);
    if (other) return im_gather_broken(g, s->name, "is %s; convert it to JPEG or PNG", other);
    char hex[3 * HEAD + 1] = "";
    for (int i = 0; i < h->n && i < 4; i++) snprintf(hex + 3 * i, 4, " %02x", h->bytes[i]);
    return im_gather_broken(g, s->name, "is neither JPEG nor PNG (begins with%s)", hex);
}

/* Moves what is not a picture from samples to broken. */
static bool sort_out(im_gather *g)
{
    im_dataset *d = g->d;
    looker l = { d, calloc((size_t)d->count + 1, sizeof(head)) };
    if (!l.heads) return im_fail(g->c, "%s: out of memory for %lld pictures; close other programs", d->path,
                                 (long long)d->count);
    im_parallel(g->c, (int)((d->count + FEW - 1) / FEW), look, &l);
    int64_t kept = 0;
    bool ok = true;
    for (int64_t i = 0; i < d->count && ok; i++)
        if (im_picture_kind(l.heads[i].bytes, (size_t)l.heads[i].n)) {
            g->labels[kept] = g->labels[i];
            d->samples[kept++] = d->samples[i];
        } else
            ok = note_broken(g, &d->samples[i], &l.heads[i]);
    d->count = kept;
    free(l.heads);
    return ok;
}

/* ---------------------------------------------------------------- which form */

static bool is_pattern(const char *path)
{
    return strpbrk(path, "*?[{") != NULL;
}

/* Of the first n names of files those stay that are no archive of what lies unpacked beside them: "cat.tar" of a folder
 * "cat", and beside any folder what is compressed, which is no shard. How many. */
static int64_t drop_archives(im_gather *g, const char **files, int64_t n, const im_listing *folders)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        size_t stem = strlen(files[i]) - strlen(".tar");
        bool unpacked = folders->n && strcasecmp(files[i] + stem, ".tar");
        for (int64_t k = 0; k < folders->n && !unpacked; k++)
            unpacked = strlen(folders->names[k]) == stem && !memcmp(files[i], folders->names[k], stem);
        if (unpacked) g->d->ignored++;
        else files[kept++] = files[i];
    }
    return kept;
}

static bool gather_folder(im_gather *g)
{
    im_dataset *d = g->d;
    im_listing files = { 0 }, folders = { 0 };
    if (!im_list_folder(g, d->path, &files, &folders)) return false;
    int64_t shards = 0, pictures = 0;
    bool metadata = false, csv = false;
    for (int64_t i = 0; i < files.n; i++) {
        if (im_named_as_shard(files.names[i])) files.names[shards++] = files.names[i];
        else if (im_named_as_picture(files.names[i])) pictures++;
        metadata = metadata || !strcmp(files.names[i], "metadata.jsonl");
        csv = csv || !strcmp(files.names[i], IM_SET_CSV);
    }
    shards = drop_archives(g, files.names, shards, &folders);
    csv = csv && !shards && !metadata && im_is_metadata_csv(g);
    d->folder = d->path;
    d->kind = shards ? IM_SET_SHARDS : metadata || csv ? IM_SET_METADATA : folders.n ? IM_SET_CLASSES : IM_SET_FLAT;
    bool ok = true;
    if (d->kind == IM_SET_METADATA) ok = im_gather_metadata(g);
    else if (d->kind == IM_SET_CLASSES) {
        if (pictures) im_warn(g->c, "%s: %lld pictures lie beside the class folders and are not read", d->path,
                              (long long)pictures);
        ok = im_gather_class_folders(g);
    } else if (d->kind == IM_SET_FLAT) ok = im_gather_flat(g);
    else if (folders.n)
        ok = im_fail(g->c, "%s: holds %lld tar shards and %lld folders; name the shards, \"%s/*.tar\", or move them away, "
                     "the first is %s, to read the folders", d->path, (long long)shards, (long long)folders.n, d->path,
                     files.names[0]);
    else {
        for (int64_t i = 0; i < shards && ok; i++) {
            char *path = im_join(g->c, d->path, files.names[i]);
            ok = path && (files.names[i] = im_texts_add(g->c, d->texts, path, strlen(path))) != NULL;
            free(path);
        }
        ok = ok && (!metadata || im_listed_shards_are_there(g)) && im_gather_shards(g, files.names, shards);
    }
    free(files.names);
    free(folders.names);
    return ok;
}

static bool gather(im_gather *g)
{
    im_dataset *d = g->d;
    struct stat st;
    if (stat(d->path, &st)) {
        if (errno != ENOENT || !is_pattern(d->path))
            return im_fail(g->c, "%s: cannot be opened: %s; wanted a folder of pictures, or tar shards", d->path,
                           strerror(errno));
        im_listing shards = { 0 };
        d->kind = IM_SET_SHARDS;
        bool ok = im_shard_paths(g, d->path, &shards) && im_gather_shards(g, shards.names, shards.n);
        free(shards.names);
        return ok;
    }
    if (S_ISDIR(st.st_mode)) return gather_folder(g);
    d->kind = IM_SET_SHARDS;
    return im_gather_shards(g, &d->path, 1);
}

/* ---------------------------------------------------------------- what the caller needs */

/* A class folder none of whose pictures can be read is as good as empty. */
static bool check_folders(im_gather *g)
{
    im_dataset *d = g->d;
    bool *any = d->kind == IM_SET_CLASSES ? calloc((size_t)d->n_classes, sizeof *any) : NULL;
    int64_t empty = 0, first = -1;
    if (d->kind != IM_SET_CLASSES) return true;
    if (!any) return im_fail(g->c, "%s: out of memory for %d classes; close other programs", d->path, d->n_classes);
    for (int64_t i = 0; i < d->count; i++) any[d->samples[i].label] = true;
    for (int64_t i = 0; i < d->n_classes; i++)
        if (!any[i] && !empty++) first = i;
    free(any);
    return !empty || im_fail(g->c, "%s: of %lld class folders, the first is %s, no picture can be read; of the whole set "
                                   "%lld files are broken, the first, %s, %s", d->path, (long long)empty, d->classes[first],
                             (long long)d->n_broken, d->broken[0].name, d->broken[0].reason);
}

/* Those of shards are bytes of a file of their own; those of JSON were looked at when it was read. */
static bool check_captions(im_gather *g)
{
    const im_dataset *d = g->d;
    int64_t without = 0, first = -1;
    for (int64_t i = 0; i < d->count; i++) {
        const im_sample *s = &d->samples[i];
        char where[512];
        snprintf(where, sizeof where, "%.400s: its caption", s->name);
        if (!s->caption && !without++) first = i;
        if (s->caption && !im_utf8_check(g->c, where, s->caption, strlen(s->caption))) return false;
    }
    return !without || im_fail(g->c,
                               "%s: %lld of %lld pictures have no caption, the first is %s; wanted metadata.jsonl with "
                               "file_name and text, or KEY.txt in shards",
                               d->path, (long long)without, (long long)d->count, d->samples[first].name);
}

static bool check_classes(im_gather *g)
{
    im_dataset *d = g->d;
    int need = g->args->min_classes;
    if (!need) return true;
    if (!d->n_classes)
        return im_fail(g->c, "%s: %s without classes; wanted DIR/CLASS/*.jpg, KEY.cls in shards or \"label\" in "
                             "metadata.jsonl", d->path, im_set_kind_name(d->kind));
    if (d->n_classes < need)
        return im_fail(g->c, "%s: holds one class, %s; wanted at least %d to tell apart", d->path, d->classes[0], need);
    int64_t without = 0, first = -1;
    for (int64_t i = 0; i < d->count; i++)
        if (d->samples[i].label < 0 && !without++) first = i;
    if (!without && !check_folders(g)) return false;
    return !without || im_fail(g->c,
                               "%s: %lld of %lld pictures have no class, the first is %s; give each a class, or leave "
                               "it out",
                               d->path, (long long)without, (long long)d->count, d->samples[first].name);
}

static bool check(im_gather *g)
{
    im_dataset *d = g->d;
    if (g->args->strict && d->n_broken)
        return im_fail(g->c, "%s: %lld of %lld files are no pictures; the first, %s, %s; remove them, or go without "
                             "--strict", d->path, (long long)d->n_broken, (long long)(d->count + d->n_broken),
                       d->broken[0].name, d->broken[0].reason);
    if (!d->count) {
        if (!d->n_broken)
            return im_fail(g->c,
                           "%s: holds no pictures; wanted .jpg, .jpeg or .png files in it or in class "
                           "folders, tar shards, or metadata.jsonl",
                           d->path);
        return im_fail(g->c, "%s: none of %lld files is a picture; the first, %s, %s", d->path, (long long)d->n_broken,
                       d->broken[0].name, d->broken[0].reason);
    }
    if (!check_classes(g)) return false;
    return !g->args->need_captions || check_captions(g);
}

im_dataset *im_dataset_open(im_ctx *c, const im_dataset_args *a)
{
    if (!im_ok(c)) return NULL;
    im_dataset *d = calloc(1, sizeof *d);
    im_gather g = { .c = c, .d = d, .args = a };
    size_t n = strlen(a->path);
    while (n > 1 && a->path[n - 1] == '/') n--;
    bool ok = d && (d->texts = im_texts_new(c)) && (d->path = im_texts_add(c, d->texts, a->path, n)) &&
              (d->folder = "") && (!a->classes || im_read_class_list(&g)) && gather(&g) && sort_out(&g) &&
              im_resolve_labels(&g);
    if (ok) im_warn_of_odd_texts(&g);
    ok = ok && check(&g);
    free(g.labels);
    if (ok) return d;
    if (!d) im_fail(c, "%s: out of memory; close other programs", a->path);
    im_dataset_free(d);
    return NULL;
}

void im_dataset_free(im_dataset *d)
{
    if (!d) return;
    im_texts_free(d->texts);
    free(d->samples);
    free(d->classes);
    free(d->shards);
    free(d->roots);
    free(d->broken);
    free(d);
}

/* ---------------------------------------------------------------- reading */

uint8_t *im_dataset_read(im_ctx *c, const im_dataset *d, int64_t index, size_t *bytes)
{
    const im_sample *s = &d->samples[index];
    *bytes = 0;
    if (!im_ok(c)) return NULL;
    char *path = path_of(d, s);
    uint8_t *data = path ? malloc(s->bytes ? s->bytes : 1) : NULL;
    int fd = data ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (!data)
        im_fail(c, "%s: out of memory for %llu bytes; close other programs", s->name, (unsigned long long)s->bytes);
    else if (fd < 0) im_fail(c, "%s: cannot be opened: %s", s->name, strerror(errno));
    while (fd >= 0 && im_ok(c) && *bytes < s->bytes) {
        ssize_t n = pread(fd, data + *bytes, s->bytes - *bytes, (off_t)(s->offset + *bytes));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) im_fail(c, "%s: cannot be read: %s", s->name, strerror(errno));
        else if (!n) im_fail(c, "%s: ends after %zu bytes; it had %llu when the set was opened", s->name, *bytes,
                             (unsigned long long)s->bytes);
        else *bytes += (size_t)n;
    }
    if (fd >= 0) close(fd);
    free(path);
    if (im_ok(c)) return data;
    free(data);
    return NULL;
}

static bool hash_text(im_ctx *c, im_sha256 *h, const char *text)
{
    return im_sha256_add(c, h, text ? text : "", text ? strlen(text) + 1 : 1);      /* the zero byte parts texts      */
}

bool im_dataset_hash(im_ctx *c, const im_dataset *d, bool times, char hex[65])
{
    im_sha256 *h = im_sha256_new(c);
    bool ok = h != NULL;
    for (int i = 0; i < d->n_classes && ok; i++) ok = hash_text(c, h, d->classes[i]);
    for (int64_t i = 0; i < d->count && ok; i++) {
        const im_sample *s = &d->samples[i];
        char numbers[100];
        snprintf(numbers, sizeof numbers, "%d %llu %lld", s->label, (unsigned long long)s->bytes,
                 times ? (long long)s->changed : 0);
        ok = hash_text(c, h, s->name) && hash_text(c, h, numbers) && hash_text(c, h, s->caption);
    }
    if (ok) return im_sha256_finish(c, h, hex);
    im_sha256_free(h);
    return false;
}
