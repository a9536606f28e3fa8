/* named.c: see named.h. */
#include "data/files/named.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"

static const char ENDING[] = ".safetensors";

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Is it a folder in which one of these lies? */
static bool holds(im_ctx *c, const char *folder, const char *entry, const char *const *files)
{
    char *path = files ? im_join(c, folder, entry) : NULL;
    bool found = false;
    for (; path && !found && *files && im_is_folder(path); files++) {
        char *file = im_join(c, path, *files);
        found = file && im_is_file(file);
        free(file);
    }
    free(path);
    return found;
}

static bool add(im_ctx *c, im_named *f, const char *entry, const char *const *files)
{
    size_t n = strlen(entry), e = strlen(ENDING);
    if (*entry == '.') return true;
    if (n > e && !strcmp(entry + n - e, ENDING)) {
        n -= e;
    } else if (!holds(c, f->folder, entry, files)) {
        return im_ok(c);
    }
    char **v = realloc(f->name, (size_t)(f->n + 1) * sizeof *v);
    if (!v) return im_fail(c, "%s: out of memory for the names in it", f->folder);
    f->name = v;
    return (v[f->n] = im_copy_text(c, entry, n)) && ++f->n;
}

bool im_named_list(im_ctx *c, im_named *out, const char *folder, const char *const *files)
{
    *out = (im_named){ .folder = im_copy_text(c, folder, strlen(folder)) };
    DIR *d = out->folder ? opendir(folder) : NULL;
    bool ok = d || im_fail(c, "%s: cannot be read: %s; wanted a folder", folder, strerror(errno));
    for (const struct dirent *e; ok && (e = readdir(d)); ) ok = add(c, out, e->d_name, files);
    if (d) closedir(d);
    if (!ok) im_named_free(out);
    else if (out->n) qsort(out->name, (size_t)out->n, sizeof *out->name, by_name);
    return ok;
}

void im_named_free(im_named *f)
{
    for (int i = 0; i < f->n; i++) free(f->name[i]);
    free(f->name);
    free(f->folder);
    *f = (im_named){ 0 };
}

static void list_text(const im_named *f, char *out, size_t size)
{
    size_t used = 0;
    *out = '\0';
    for (int i = 0; i < f->n && used < size; i++) {
        if (i && used + strlen(f->name[i]) + 20 > size) {
            snprintf(out + used, size - used, " and %d more", f->n - i);
            return;
        }
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", f->name[i]);
    }
}

char *im_named_path(im_ctx *c, const im_named *f, const char *name, const char *kind)
{
    char known[900], file[300];
    bool found = false;
    for (int i = 0; !found && i < f->n; i++) found = !strcmp(f->name[i], name);
    if (found && strlen(name) < sizeof file - sizeof ENDING) {
        snprintf(file, sizeof file, "%s%s", name, ENDING);
        char *path = im_join(c, f->folder, file);
        if (!path || im_is_file(path)) return path;
        free(path);
        return im_join(c, f->folder, name);
    }
    list_text(f, known, sizeof known);
    im_fail(c, "there is no %s \"%s\" in %s, which has %s", kind, name, f->folder, f->n ? known : "none");
    return NULL;
}

char *im_named_of(im_ctx *c, const char *path)
{
    size_t n = strlen(path), e = strlen(ENDING);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t from = n;
    while (from && path[from - 1] != '/') from--;
    if (n - from > e && !strncmp(path + n - e, ENDING, e)) n -= e;
    return im_copy_text(c, path + from, n - from);
}
