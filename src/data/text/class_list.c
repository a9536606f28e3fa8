/* class_list.c: see class_list.h. */
#include "data/text/class_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/files/file.h"
#include "data/files/names.h"
#include "data/files/utf8.h"
#include "data/text/carried_lists.h"
#include "data/text/wordnet.h"

enum { LIST_BYTES = 64 << 20, FOLDER_BYTES = 200, FIELDS = 3, NAMED = 2000 };

/* ---------------------------------------------------------------- one class more */

/* A key as a folder's name: no slash, no control character, no dot in front (such names are not read back), none of the
 * files beside it, not too long for a file system. The cut keeps whole characters. */
static char *folder_of(im_ctx *c, const char *key)
{
    static const char *const files[] = { "manifest.json", "metadata.jsonl", "dropped.jsonl" };
    size_t n = strlen(key);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!strcmp(key, files[i])) {
            char other[32] = "_";
            return im_copy_text(c, strcat(other, key), n + 1);
        }
    while (n > FOLDER_BYTES || (n && n < strlen(key) && ((unsigned char)key[n] & 0xC0) == 0x80)) n--;
    char *out = im_copy_text(c, key, n);
    for (char *p = out; p && *p; p++)
        if ((unsigned char)*p < ' ' || *p == '/' || *p == 127 || (p == out && *p == '.')) *p = '_';
    return out;
}

bool im_class_list_add(im_ctx *c, im_class_list *l, const char *where, const char *key, const char *name,
                       const char *hypernym, const char *definition)
{
    if (l->n == l->cap) {
        int cap = l->cap ? 2 * l->cap : 64;
        im_class *v = realloc(l->v, (size_t)cap * sizeof *v);
        if (!v) return im_fail(c, "%s: out of memory for a list of %d classes; close other programs", where, cap);
        l->v = v;
        l->cap = cap;
    }
    im_class *k = &l->v[l->n++];
    *k = (im_class){ .key = im_copy_text(c, key, strlen(key)), .name = im_copy_text(c, name, strlen(name)),
                     .folder = folder_of(c, key) };
    if (hypernym && *hypernym) k->hypernym = im_copy_text(c, hypernym, strlen(hypernym));
    if (definition && *definition) k->definition = im_copy_text(c, definition, strlen(definition));
    return im_ok(c);
}

void im_class_list_free(im_class_list *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->v[i].key);
        free(l->v[i].name);
        free(l->v[i].hypernym);
        free(l->v[i].definition);
        free(l->v[i].folder);
    }
    free(l->v);
    *l = (im_class_list){ 0 };
}

int im_class_find(const im_class_list *l, const char *key)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->v[i].key, key)) return i;
    return -1;
}

bool im_class_list_check(im_ctx *c, const im_class_list *l, const char *from)
{
    im_names keys = { 0 }, folders = { 0 };
    bool ok = (l->n || im_fail(c, "%s: holds no classes; wanted one per line: a wnid, or name | hypernym | definition",
                               from))
           && im_names_init(c, &keys, (size_t)l->n) && im_names_init(c, &folders, (size_t)l->n);
    for (int i = 0; ok && i < l->n; i++) {
        const im_class *k = &l->v[i];
        size_t n = strlen(k->key), m = strlen(k->folder);
        int twin = im_names_find(&folders, k->folder, m);
        if (im_names_find(&keys, k->key, n) >= 0)
            ok = im_fail(c, "%s: the class \"%s\" is there twice; wanted every class once", from, k->key);
        else if (twin >= 0)
            ok = im_fail(c, "%s: the classes \"%s\" and \"%s\" would share the folder \"%s\"; rename one", from,
                         l->v[twin].key, k->key, k->folder);
        ok = ok && im_names_add(c, &keys, k->key, n, i) && im_names_add(c, &folders, k->folder, m, i);
    }
    im_names_free(&keys);
    im_names_free(&folders);
    return ok;
}

/* ---------------------------------------------------------------- reading */

typedef struct reader {
    im_ctx *c;
    const char *from;
    bool first;                                                /* of the lemmas only                                  */
    im_class_list *list;
    im_wordnet *wordnet;                                       /* NULL until the first wnid                           */
    char unknown[NAMED]; int n_unknown;                        /* "n00000001, n00000002"                              */
} reader;

static bool add_wnid(reader *r, const char *wnid)
{
    im_synset s;
    if (!r->wordnet && !(r->wordnet = im_wordnet_open(r->c))) return false;
    bool found = im_wordnet_find(r->c, r->wordnet, wnid, &s);
    size_t have = strlen(r->unknown);
    if (!found && im_ok(r->c) && r->n_unknown++ < 50)
        snprintf(r->unknown + have, sizeof r->unknown - have, "%s%s", have ? ", " : "", wnid);
    bool ok = found ? im_class_list_add(r->c, r->list, r->from, wnid, r->first ? s.first : s.lemmas, s.hypernym,
                                        s.definition)
                    : im_ok(r->c);
    im_synset_free(&s);
    return ok;
}

/* Without the blanks around it, in place. */
static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n && strchr(" \t\r", s[n - 1])) n--;
    s[n] = '\0';
    return s;
}

static bool add_line(reader *r, char *line, int number)
{
    char where[600], *field[FIELDS] = { 0 };
    int n = 0;
    line = trim(line);
    if (!*line || *line == '#') return true;
    snprintf(where, sizeof where, "%.500s, line %d", r->from, number);
    if (!im_utf8_check(r->c, where, line, strlen(line))) return false;
    if (im_is_wnid(line)) return add_wnid(r, line);
    for (char *p = line, *end; p; p = end) {
        if ((end = strchr(p, '|'))) *end++ = '\0';
        if (n == FIELDS)
            return im_fail(r->c, "%s: has more than three fields; wanted name | hypernym | definition", where);
        field[n++] = trim(p);
    }
    if (!*field[0]) return im_fail(r->c, "%s: the name is empty; wanted name | hypernym | definition", where);
    char head[16];
    snprintf(head, sizeof head, "%.9s", field[0]);
    if (im_is_wnid(head))
        return im_fail(r->c, "%s: found more behind the wnid %s; wanted a wnid alone: WordNet says the rest", where, head);
    return im_class_list_add(r->c, r->list, where, field[0], field[0], field[1], field[2]);
}

static bool read_file(reader *r)
{
    if (!strchr(r->from, '/') && access(r->from, F_OK))        /* a name, perhaps, and no file was meant               */
        return im_fail(r->c, "--classes %s: there is no such file; wanted one with a class a line, wnids with commas "
                       "between them (n02123045,n02084071), imagenet100 or imagenet1k", r->from);
    char *text = im_read_text(r->c, r->from, LIST_BYTES, NULL), *p = text;
    bool ok = text != NULL;
    for (int number = 1; ok && p; number++) {
        char *end = strchr(p, '\n');
        if (end) *end++ = '\0';
        ok = add_line(r, p, number);
        p = end;
    }
    free(text);
    return ok;
}

static bool read_carried(reader *r, im_imagenet which)
{
    char (*wnid)[IM_WNID_BYTES] = malloc(IM_IMAGENET_CLASSES * sizeof *wnid);
    int n = wnid ? im_imagenet_wnids(which, wnid, NULL) : 0;
    bool ok = wnid || im_fail(r->c, "out of memory for a list of classes; close other programs");
    for (int i = 0; ok && i < n; i++) ok = add_wnid(r, wnid[i]);
    free(wnid);
    return ok;
}

/* "n01440764,n01443537": a list of its own. */
static bool is_wnid_list(const char *text)
{
    char word[16];
    for (const char *p = text; ; p++) {
        size_t n = strcspn(p, ",");
        snprintf(word, sizeof word, "%.*s", (int)(n < 15 ? n : 15), p);
        if (!im_is_wnid(word)) return false;
        p += n;
        if (!*p) return true;
    }
}

static bool read_typed(reader *r)
{
    bool ok = true;
    for (const char *p = r->from; ok && *p; p += *p == ',') {
        char wnid[IM_WNID_BYTES];
        snprintf(wnid, sizeof wnid, "%.9s", p);
        ok = add_wnid(r, wnid);
        p += IM_WNID_BYTES - 1;
    }
    return ok;
}

bool im_class_list_read(im_ctx *c, const char *from, const char *lemmas, im_class_list *out)
{
    *out = (im_class_list){ 0 };
    reader r = { .c = c, .from = from, .first = !strcmp(lemmas, "first"), .list = out };
    if (!im_ok(c)) return false;
    bool ok = !strcmp(from, "imagenet1k") ? read_carried(&r, IM_IMAGENET_1K)
            : !strcmp(from, "imagenet100") ? read_carried(&r, IM_IMAGENET_100)
            : is_wnid_list(from) ? read_typed(&r) : read_file(&r);
    im_wordnet_close(r.wordnet);
    if (ok && r.n_unknown)
        ok = im_fail(c, "%s: %d wnid%s not in WordNet 3.0: %s%s; wanted 'n' and the eight digits of a synset", from,
                     r.n_unknown, r.n_unknown > 1 ? "s are" : " is", r.unknown, r.n_unknown > 50 ? " ..." : "");
    return ok && im_class_list_check(c, out, from);
}
