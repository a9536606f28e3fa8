/* synth_files.c: where the pictures of a set lie while it is drawn, and which are there. A picture of folders lies where it
 * stays, SET/CLASS/INDEX.EXT; one of shards lies in SET/.pictures until its shard is full. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files/beside.h"
#include "data/files/file.h"
#include "models/pipelines/synth.h"

static const char PICTURES[] = ".pictures";

bool im_synth_sharded(const im_synth *s)
{
    return !strcmp(s->a.layout, "shards");
}

const char *im_synth_ending(const im_synth *s)
{
    return !strcmp(s->a.format, "jpeg") ? "jpg" : s->a.format;
}

int64_t im_synth_shards(const im_synth *s)
{
    return (s->count + s->a.shard_size - 1) / s->a.shard_size;
}

static void place_of(const im_synth *s, const im_synth_picture *p, char *out, size_t size)
{
    if (im_synth_sharded(s)) snprintf(out, size, "%s/%s", PICTURES, strrchr(p->file, '/') + 1);
    else snprintf(out, size, "%s", p->file);
}

void im_synth_where(const im_synth *s, int64_t n, im_synth_place *out)
{
    im_synth_picture p;
    im_synth_locate(s, n, &p);
    *out = (im_synth_place){ .class_name = s->classes.v[p.class].key, .set = s->a.out };
    place_of(s, &p, out->file, sizeof out->file);
}

char *im_synth_path(im_ctx *c, const im_synth *s, const im_synth_picture *p)
{
    char name[320];
    place_of(s, p, name, sizeof name);
    return im_join(c, s->a.out, name);
}

char *im_synth_shard_path(im_ctx *c, const im_synth *s, int64_t shard)
{
    char name[40];
    snprintf(name, sizeof name, "%06lld.tar", (long long)shard);
    return im_join(c, s->a.out, name);
}

bool im_synth_make_folders(im_ctx *c, const im_synth *s)
{
    bool ok = im_ok(c);
    int n = im_synth_sharded(s) ? 1 : s->classes.n;
    for (int k = 0; ok && k < n; k++) {
        char *path = im_join(c, s->a.out, im_synth_sharded(s) ? PICTURES : s->classes.v[k].folder);
        ok = path && im_make_folder(c, path);
        free(path);
    }
    return ok;
}

/* The last n bytes of a file, and its size; false: it has fewer, or there is none. */
static bool read_end(const char *path, uint8_t *end, size_t n, off_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    bool read = *size >= (off_t)n && pread(fd, end, n, *size - (off_t)n) == (ssize_t)n;
    if (fd >= 0) close(fd);
    return read;
}

/* Does the file end as a PNG or a JPEG does? A power cut or a copy that broke off leaves one that does not. */
static bool is_whole(const char *path)
{
    static const uint8_t png[12] = { 0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82 }, jpeg[2] = { 0xff, 0xd9 };
    uint8_t end[sizeof png];
    off_t size;
    return read_end(path, end, sizeof end, &size)
        && (!memcmp(end, png, sizeof png) || !memcmp(end + sizeof end - sizeof jpeg, jpeg, sizeof jpeg));
}

/* A tar ends with two blocks of zeros. */
bool im_synth_packed(im_ctx *c, const im_synth *s, int64_t shard)
{
    static const uint8_t zeros[2 * 512];
    uint8_t end[sizeof zeros];
    off_t size;
    char *path = im_synth_shard_path(c, s, shard);
    bool packed = path && read_end(path, end, sizeof end, &size) && size % 512 == 0 && !memcmp(end, zeros, sizeof end);
    free(path);
    return packed;
}

bool im_synth_drawn(im_ctx *c, const im_synth *s, const im_synth_picture *p)
{
    if (s->dropped && s->dropped[p->number]) return true;
    char *path = im_synth_path(c, s, p);
    bool drawn = path && is_whole(path);
    free(path);
    return drawn;
}

bool im_synth_there(im_ctx *c, const im_synth *s, const im_synth_picture *p)
{
    return im_synth_drawn(c, s, p) || (im_synth_sharded(s) && im_synth_packed(c, s, p->number / s->a.shard_size));
}

/* Files of `folder` that a killed process was writing; everything where `all`. */
static void sweep(im_ctx *c, const char *folder, bool all)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)); ) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !(all || im_is_temp(e->d_name))) continue;
        char *path = im_join(c, folder, e->d_name);
        if (path) unlink(path);
        free(path);
    }
    if (d) closedir(d);
}

void im_synth_sweep(im_ctx *c, const im_synth *s)
{
    sweep(c, s->a.out, false);
    for (int k = 0; !im_synth_sharded(s) && k < s->classes.n; k++) {
        char *path = im_join(c, s->a.out, s->classes.v[k].folder);
        if (path) sweep(c, path, false);
        if (path) rmdir(path);                                 /* of a class that lost every picture                  */
        free(path);
    }
    char *pictures = im_join(c, s->a.out, PICTURES);
    if (pictures) {
        sweep(c, pictures, true);
        rmdir(pictures);
    }
    free(pictures);
}
