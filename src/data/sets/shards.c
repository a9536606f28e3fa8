/* shards.c: tar shards in WebDataset form (github.com/webdataset/webdataset): the index of every member is made in one
 * pass through libarchive, which knows ustar, pax and GNU headers; pictures are then read by offset. A sample is a run of
 * members with one key; the key of dir/a.b.jpg is dir/a, what follows the first dot of the file's name says what it is:
 *     jpg jpeg png   the picture (exactly one)        cls   its class: a name or a number, as Python's int() reads one
 *     txt            its caption                      json  {"text" or "caption", "label"}
 * Members with other endings are counted as ignored. A tar ends with a block of zeros; what follows it counts for nothing,
 * as for Python's tarfile, but is said. A file that ends before (a download that broke off, a full disk) is read to its
 * last whole sample, with a warning; not so where the set is to be strict. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/sets/dataset_parts.h"
#include "data/files/file.h"
#include "data/files/utf8.h"

enum { BLOCK = 512, READ_AT_ONCE = 20 * BLOCK, PICTURE = 1, CLS = 2, TXT = 4, JSON = 8 };

static const char BLANKS[] = " \t\r\n\v\f";

typedef struct run {                                           /* the sample that is being gathered                   */
    const char *key;                                           /* NULL: none yet                                      */
    im_sample sample;                                          /* name NULL: no picture yet                           */
    const char *label, *broken;                                /* broken: why its picture cannot be read              */
    char other[8];                                             /* ".webp": of a member in a format that is not read   */
    unsigned kinds;                                            /* of its members: picture 1, cls 2, txt 4, json 8     */
    uint64_t at;                                               /* of its first member                                 */
} run;

typedef struct reader {
    im_gather *g;
    const char *path, *base;                                   /* of the shard; its last part                         */
    int shard, fd;
    uint64_t size;
    int64_t changed;
    run run;
    uint64_t end;                                              /* of the last member with its padding                 */
    const char *last; int64_t whole;                           /* key of the last whole sample, and how many there are */
    unsigned kinds;                                            /* of members that every whole sample has              */
    bool alone;                                                /* the only shard of its set                           */
} reader;

static bool wrong(reader *r, uint64_t at, const char *what)
{
    if (!r->last)
        return im_fail(r->g->c, "%s: byte %llu: %s; no sample before it is whole; fetch the shard again", r->path,
                       (unsigned long long)at, what);
    return im_fail(r->g->c, "%s: byte %llu: %s; the last whole sample is %s, %lld %s whole; fetch the shard again",
                   r->path, (unsigned long long)at, what, r->last, (long long)r->whole, r->whole == 1 ? "is" : "are");
}

/* The run is over: one sample more, if it has a picture. */
static bool finish_run(reader *r)
{
    run *u = &r->run;
    im_gather *g = r->g;
    bool ok = true;
    if (!u->key) return true;
    if (u->broken) ok = im_gather_broken(g, u->sample.name, "%s", u->broken);
    else if (u->sample.name) ok = im_gather_add(g, u->sample, u->label);
    else {
        size_t n = strlen(r->base) + strlen(u->key) + 2;
        char *name = malloc(n);
        if (!name) return im_fail(g->c, "%s: out of memory; close other programs", r->path);
        snprintf(name, n, "%s/%s", r->base, u->key);
        const char *kept = im_texts_add(g->c, g->d->texts, name, n - 1);
        free(name);
        ok = kept && (*u->other ? im_gather_broken(g, kept, "is a %s; convert it to JPEG or PNG", u->other)
                                : im_gather_broken(g, kept, "has no .jpg, .jpeg or .png"));
    }
    r->last = u->key;
    r->kinds = r->whole++ ? r->kinds & u->kinds : u->kinds;
    *u = (run){ 0 };
    return ok;
}

static const char no_end[] = "is cut: its end, a block of zeros, is missing";

/* Has the sample that is being gathered all that those before it have? The first one, where nothing says otherwise. */
static bool looks_whole(const reader *r, bool first)
{
    const run *u = &r->run;
    return u->key && u->sample.name && !(r->kinds & ~u->kinds) && (r->whole || first);
}

/* The file ends before the tar does. The sample that is being gathered is taken for whole when it has what all before it
 * have, and no member of it is cut (in_member); the first one, when the file ends between two members. */
static bool cut(reader *r, const char *what, bool in_member)
{
    run *u = &r->run;
    const char *lost = NULL;
    bool whole = !in_member && looks_whole(r, what == no_end);
    if (u->key && !whole) lost = u->key;
    if (whole && !finish_run(r)) return false;
    if (r->g->args->strict || (r->alone && !r->whole)) return wrong(r, r->size, what);
    im_warn(r->g->c, "%s: %s; %lld whole sample%s of it %s read%s%s%s%s; fetch the shard again", r->path, what,
            (long long)r->whole, r->whole == 1 ? "" : "s", r->whole == 1 ? "is" : "are", r->last ? ", the last is " : "",
            r->last ? r->last : "", lost ? ", and left out is " : "", lost ? lost : "");
    return true;
}

/* The bytes of a small member, malloc'd, without blanks at its end. */
static char *member_bytes(reader *r, const char *name, uint64_t at, uint64_t *bytes, int most)
{
    if (*bytes > (uint64_t)most) {
        im_fail(r->g->c, "%s: %s has %llu bytes; wanted a text of at most %d", r->path, name, (unsigned long long)*bytes,
                most);
        return NULL;
    }
    char *text = malloc(*bytes + 1);
    ssize_t n = text ? pread(r->fd, text, *bytes, (off_t)at) : -1;
    if (n != (ssize_t)*bytes) {
        im_fail(r->g->c, "%s: %s cannot be read: %s", r->path, name, strerror(n < 0 ? errno : EIO));
        free(text);
        return NULL;
    }
    while (*bytes && text[*bytes - 1] && strchr(BLANKS, text[*bytes - 1])) --*bytes;
    text[*bytes] = '\0';
    return text;
}

/* A text that is not UTF-8 is said once for the set; who needs it refuses it. */
static bool note_foreign(reader *r, const char *name, const char *text)
{
    im_gather *g = r->g;
    if (im_is_utf8(text, strlen(text)) || g->n_foreign++) return true;
    char *where = im_join(g->c, r->path, name);
    if (where) g->foreign = im_texts_add(g->c, g->d->texts, where, strlen(where));
    free(where);
    return g->foreign != NULL;
}

/* A .cls or .txt: a text of the set, without a byte order mark. */
static const char *member_text(reader *r, const char *name, uint64_t at, uint64_t bytes, bool is_class)
{
    const char *out = NULL;
    char *text = member_bytes(r, name, at, &bytes, IM_SET_TEXT_BYTES);
    size_t mark = text && bytes >= 3 && !memcmp(text, IM_BYTE_ORDER_MARK, 3) ? 3 : 0;
    if (text && memchr(text, 0, bytes))
        im_fail(r->g->c, "%s: %s holds a zero byte; wanted a text", r->path, name);
    else if (text && note_foreign(r, name, text)) {
        const char *from = is_class ? im_class_text(text + mark) : text + mark;
        if (*from == '-' && !r->g->args->classes && im_is_whole(from + 1))
            im_fail(r->g->c, "%s: %s is %.20s; wanted the number of a class, from 0 on, or its name", r->path, name, from);
        else out = im_texts_add(r->g->c, r->g->d->texts, from, strlen(from));
    }
    free(text);
    return out;
}

/* A .json: .txt and .cls go before what it says. */
static bool add_json(reader *r, const char *name, uint64_t at, uint64_t bytes)
{
    run *u = &r->run;
    const char *caption = NULL, *label = NULL;
    char *text = member_bytes(r, name, at, &bytes, IM_SET_JSON_BYTES);
    char *where = text ? im_join(r->g->c, r->path, name) : NULL;
    bool ok = where && im_caption_json(r->g, where, text, bytes, NULL, &caption, &label);
    if (!u->sample.caption) u->sample.caption = caption;
    if (!u->label) u->label = label;
    free(where);
    free(text);
    return ok;
}

static bool add_picture(reader *r, const char *name, uint64_t at, uint64_t bytes, bool is_file)
{
    run *u = &r->run;
    if (u->sample.name)
        return im_fail(r->g->c,
                       "%s: byte %llu: the sample %s has a second picture, %s; wanted one, and every "
                       "key once",
                       r->path, (unsigned long long)at, u->key, name);
    u->kinds |= PICTURE;
    size_t n = strlen(r->base) + strlen(name) + 2;
    char *full = malloc(n);
    if (!full) return im_fail(r->g->c, "%s: out of memory; close other programs", r->path);
    snprintf(full, n, "%s/%s", r->base, name);
    u->sample = (im_sample){ .name = im_texts_add(r->g->c, r->g->d->texts, full, n - 1), .caption = u->sample.caption,
                             .label = -1, .shard = r->shard, .offset = at, .bytes = bytes, .changed = r->changed };
    if (!is_file) u->broken = "is a link inside the tar";
    free(full);
    return u->sample.name != NULL;
}

/* One member of the tar; `what`: its ending in small letters. */
static bool add_member(reader *r, const char *name, const char *what, uint64_t at, uint64_t bytes, bool is_file)
{
    run *u = &r->run;
    char ending[16];
    snprintf(ending, sizeof ending, "x.%s", what);
    if (im_named_as_read(ending))
        return add_picture(r, name, at, bytes, is_file);
    if (im_named_as_other(ending)) {                           /* a JPEG or PNG beside it may be read                 */
        snprintf(u->other, sizeof u->other, ".%s", what);
        return true;
    }
    bool cls = !strcmp(what, "cls"), txt = !strcmp(what, "txt"), json = !strcmp(what, "json");
    if (!is_file || (!cls && !txt && !json)) {
        r->g->d->ignored++;
        return true;
    }
    u->kinds |= cls ? CLS : txt ? TXT : JSON;
    if (json) return add_json(r, name, at, bytes);
    const char *text = member_text(r, name, at, bytes, cls);
    if (cls) u->label = text;
    else u->sample.caption = text;
    return text != NULL;
}

/* *over: the file ends in this member. */
static bool add_entry(reader *r, struct archive_entry *e, uint64_t header, uint64_t at, bool *over)
{
    const char *name = archive_entry_pathname(e);
    if (!name) name = archive_entry_pathname_utf8(e);
    uint64_t bytes = archive_entry_size_is_set(e) ? (uint64_t)archive_entry_size(e) : 0;
    bool regular = archive_entry_filetype(e) == AE_IFREG && !archive_entry_hardlink(e);
    if (!regular) bytes = 0;
    uint64_t end = at + (bytes + BLOCK - 1) / BLOCK * BLOCK;
    char text[400];
    if (!name) return wrong(r, header, "a member without a name");
    if (archive_entry_sparse_count(e) > 0) return wrong(r, header, "a sparse member; wanted a tar of plain files");
    const char *file = strrchr(name, '/') ? strrchr(name, '/') + 1 : name, *dot = strchr(file, '.');
    bool counts = archive_entry_filetype(e) != AE_IFDIR && dot && dot != file;
    size_t n = counts ? (size_t)(dot - name) : 0;
    /* A member of another key ends the run before the new member is looked at: a cut belongs to its own sample. */
    if (counts && r->run.key && (strlen(r->run.key) != n || memcmp(r->run.key, name, n)) && !finish_run(r))
        return false;
    if (bytes > r->size || at > r->size - bytes) {
        snprintf(text, sizeof text, "is cut: %.200s needs %llu bytes to byte %llu, the file has %llu", name,
                 (unsigned long long)bytes, (unsigned long long)(at + bytes), (unsigned long long)r->size);
        *over = true;
        return cut(r, text, counts && r->run.key);
    }
    r->end = end;
    if (!counts) {
        if (archive_entry_filetype(e) != AE_IFDIR) r->g->d->ignored++;
        return true;
    }
    char what[8] = "";
    if (!r->run.key) {
        r->run.key = im_texts_add(r->g->c, r->g->d->texts, name, n);
        r->run.at = header;
    }
    for (size_t i = 0; dot[1 + i] && i < sizeof what - 1; i++) {
        what[i] = dot[1 + i];
        if (what[i] >= 'A' && what[i] <= 'Z') what[i] = (char)(what[i] - 'A' + 'a');
        if (i == sizeof what - 2) what[0] = '\0';              /* longer than any that is read                        */
    }
    return r->run.key && add_member(r, name, what, at, bytes, regular);
}

/* Does a member's head stand at a block of the shard from `at` on? */
static bool is_head(const reader *r, uint64_t at)
{
    char h[BLOCK];
    return pread(r->fd, h, BLOCK, (off_t)at) == BLOCK && !memcmp(h + 257, "ustar", 5);
}

/* Behind the last member: a block of zeros. What follows it is no part of the tar, as for Python's tarfile; a second tar
 * there would be lost without a word. */
static bool check_end(reader *r)
{
    char buffer[READ_AT_ONCE];
    uint64_t at = r->end, stray = 0;
    while (!stray) {
        ssize_t n = pread(r->fd, buffer, sizeof buffer, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return im_fail(r->g->c, "%s: cannot be read: %s", r->path, strerror(errno));
        for (ssize_t i = 0; i < n && !stray; i++)
            if (buffer[i]) stray = at + (uint64_t)i;
        at += (uint64_t)n;
        if (!n) break;
    }
    if (!stray && at < r->end + BLOCK) return cut(r, no_end, false);
    if (!finish_run(r)) return false;
    if (stray && (r->g->args->strict || stray < r->end + BLOCK || is_head(r, stray / BLOCK * BLOCK)))
        return wrong(r, stray, "bytes follow the end of the tar; if it was joined from several, name them one by one");
    if (stray)
        im_warn(r->g->c, "%s: byte %llu: what follows the end of the tar is left alone; its %lld sample%s %s read", r->path,
                (unsigned long long)stray, (long long)r->whole, r->whole == 1 ? "" : "s", r->whole == 1 ? "is" : "are");
    return true;
}

/* Does the file end in the head of the next member? That is a block, perhaps behind blocks with a long name (x, g: pax;
 * L, K: GNU) and their data. */
static bool ends_in_head(const reader *r)
{
    for (uint64_t at = r->end; r->size >= at; ) {
        uint8_t h[BLOCK];
        uint64_t bytes = 0;
        if (r->size - at < BLOCK) return true;
        if (pread(r->fd, h, BLOCK, (off_t)at) != BLOCK || !memchr("xgLK", h[156], 4)) return false;
        for (int i = 124; i < 136 && h[i] >= '0' && h[i] <= '7'; i++) bytes = bytes * 8 + (uint64_t)(h[i] - '0');
        at += BLOCK + (bytes + BLOCK - 1) / BLOCK * BLOCK;
    }
    return true;
}

static bool index_members(reader *r, struct archive *a)
{
    struct archive_entry *e;
    if (archive_read_support_format_tar(a) != ARCHIVE_OK || archive_read_open_fd(a, r->fd, READ_AT_ONCE) != ARCHIVE_OK)
        return wrong(r, 0, "is not a tar header");
    for (;;) {
        if (im_cancelled(r->g->c)) return im_fail(r->g->c, "stopped");
        int rc = archive_read_next_header(a, &e);
        if (rc == ARCHIVE_EOF) return check_end(r);
        if (rc == ARCHIVE_RETRY) continue;
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN && r->end && ends_in_head(r))
            return cut(r, r->size > r->end ? "is cut in the head of a member" : no_end, false);
        /* ARCHIVE_WARN: a name that the locale cannot show; its bytes are what counts here. */
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN) {
            char text[300];
            const char *said = archive_error_string(a);
            snprintf(text, sizeof text, "%.200s", said ? said : "is not a tar header");
            return (!looks_whole(r, false) || finish_run(r)) && wrong(r, r->end, text);
        }
        bool over = false;
        if (!add_entry(r, e, (uint64_t)archive_read_header_position(a), (uint64_t)archive_filter_bytes(a, 0), &over))
            return false;
        if (over) return true;
    }
}

/* Compressed tars have no offsets to read at. */
static bool refuse_compressed(reader *r)
{
    static const struct { const char *name, *head; int n; } kinds[] = {
        { "gzip", "\x1F\x8B", 2 }, { "bzip2", "BZh", 3 }, { "xz", "\xFD" "7zXZ", 5 }, { "zstd", "\x28\xB5\x2F\xFD", 4 },
        { "lz4", "\x04\x22\x4D\x18", 4 }, { "zip", "PK\x03\x04", 4 }, { "7z", "7z\xBC\xAF", 4 }
    };
    char head[8] = "";
    if (pread(r->fd, head, sizeof head, 0) < 0)
        return im_fail(r->g->c, "%s: cannot be read: %s", r->path, strerror(errno));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!memcmp(head, kinds[i].head, (size_t)kinds[i].n))
            return im_fail(r->g->c,
                           "%s: is compressed (%s); wanted a plain .tar, whose pictures can be read in any order: "
                           "unpack it first",
                           r->path, kinds[i].name);
    return true;
}

bool im_gather_shard(im_gather *g, const char *path, int shard)
{
    const char *slash = strrchr(path, '/');
    reader r = { .g = g, .path = path, .base = slash ? slash + 1 : path, .shard = shard, .alone = g->d->n_shards == 1 };
    struct stat st;
    r.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (r.fd < 0 || fstat(r.fd, &st)) {
        im_fail(g->c, "%s: cannot be opened: %s; wanted a tar shard", path, strerror(errno));
        if (r.fd >= 0) close(r.fd);
        return false;
    }
    r.size = (uint64_t)st.st_size;
    r.changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    struct archive *a = archive_read_new();
    bool ok = a || im_fail(g->c, "%s: out of memory; close other programs", path);
    if (ok && !S_ISREG(st.st_mode)) ok = im_fail(g->c, "%s: is not a file; wanted a tar shard", path);
    if (ok && !st.st_size && (r.alone || g->args->strict))
        ok = im_fail(g->c, "%s: has 0 bytes; wanted a tar shard", path);
    else if (ok && !st.st_size) ok = cut(&r, "has 0 bytes", false);
    else ok = ok && refuse_compressed(&r) && index_members(&r, a);
    archive_read_free(a);
    close(r.fd);
    return ok;
}

bool im_gather_shards(im_gather *g, const char *const paths[], int64_t n)
{
    im_dataset *d = g->d;
    d->shards = calloc((size_t)n + 1, sizeof *d->shards);
    if (!d->shards)
        return im_fail(g->c, "%s: out of memory for %lld shards; close other programs", d->path, (long long)n);
    for (int64_t i = 0; i < n; i++) d->shards[d->n_shards++] = paths[i];
    bool ok = true;
    for (int64_t i = 0; i < n && ok; i++) ok = im_gather_shard(g, paths[i], (int)i);
    return ok;
}
