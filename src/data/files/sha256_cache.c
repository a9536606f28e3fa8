/* sha256_cache.c: the hash of a large file is computed once and kept in the user's cache, a file of JSON each:
 *
 *     $XDG_CACHE_HOME/imago/sha256/HASH-OF-PATH.json, or below ~/.cache         (XDG Base Directory Specification)
 *     { "path", "size", "mtime", "ctime": seconds.nanoseconds, "sha256" }
 *
 * It holds as long as all of these are the file's; ctime, which no program sets, tells a file that was replaced by one of
 * the same size and time. Where no cache can be written the hash is computed every time, and that is no error.
 * Used by models/pipelines/sd.c. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/files/file.h"
#include "data/files/sha256.h"

typedef struct key { char *path; long long size; char mtime[40], ctime[40]; } key;

static void time_text(const struct timespec *t, char out[40])
{
    snprintf(out, 40, "%lld.%09ld", (long long)t->tv_sec, t->tv_nsec);
}

static bool key_of(const char *path, key *k)
{
    struct stat st;
    *k = (key){ .path = realpath(path, NULL) };
    if (!k->path || stat(k->path, &st)) return false;
    k->size = (long long)st.st_size;
    time_text(&st.st_mtim, k->mtime);
    time_text(&st.st_ctim, k->ctime);
    return true;
}

static bool same_text(const json_t *entry, const char *name, const char *text)
{
    const char *found = json_string_value(json_object_get(entry, name));
    return found && !strcmp(found, text);
}

/* The file that keeps the hash, malloc'd; NULL where the user has no cache. Relative paths in XDG_CACHE_HOME are to be
 * ignored, says the specification. */
static char *place_of(im_ctx *c, const key *k)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool own = cache && *cache == '/';
    char hex[65], name[128];
    if ((!own && (!home || *home != '/')) || !im_sha256_of(c, k->path, strlen(k->path), hex)) return NULL;
    snprintf(name, sizeof name, "%simago/sha256/%.32s.json", own ? "" : ".cache/", hex);
    return im_join(c, own ? cache : home, name);
}

static bool recall(const char *place, const key *k, char hex[65])
{
    json_t *entry = place ? json_load_file(place, 0, NULL) : NULL;
    const char *found = json_string_value(json_object_get(entry, "sha256"));
    bool ok = found && strlen(found) == 64 && strspn(found, "0123456789abcdef") == 64 &&
              json_integer_value(json_object_get(entry, "size")) == k->size && same_text(entry, "path", k->path) &&
              same_text(entry, "mtime", k->mtime) && same_text(entry, "ctime", k->ctime);
    if (ok) memcpy(hex, found, 65);
    json_decref(entry);
    return ok;
}

static void keep(im_ctx *c, const char *place, const key *k, const char hex[65])
{
    json_t *entry = json_pack("{s:s, s:I, s:s, s:s, s:s}", "path", k->path, "size", (json_int_t)k->size, "mtime", k->mtime,
                              "ctime", k->ctime, "sha256", hex);
    char *text = entry ? json_dumps(entry, JSON_INDENT(1)) : NULL;
    if (text && place && !im_write_file(c, place, text, strlen(text), true)) im_clear_error(c);
    free(text);
    json_decref(entry);
}

bool im_sha256_file_once(im_ctx *c, const char *path, char hex[65])
{
    key k, after;
    if (!im_ok(c)) return false;
    bool known = key_of(path, &k);
    char *place = known ? place_of(c, &k) : NULL;
    bool ok = known && recall(place, &k, hex);
    if (!ok && (ok = im_sha256_file(c, path, hex))) {
        bool same = key_of(path, &after) && known && after.size == k.size && !strcmp(after.mtime, k.mtime) &&
                    !strcmp(after.ctime, k.ctime);             /* nobody wrote meanwhile                              */
        if (same) keep(c, place, &k, hex);
        free(after.path);
    }
    free(k.path);
    free(place);
    return ok;
}
