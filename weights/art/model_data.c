/* model_data.c: builds the pictures that the embedded model is trained on and judged by.
 *
 *     model_data OUT [SIZE]
 *
 * OUT/train/CATEGORY/NAME.png and OUT/heldout/CATEGORY/NAME.png, SIZE x SIZE (default 64), each with a metadata.jsonl
 * (file_name, text, label) as Hugging Face's imagefolder reads it; OUT/tokenizer: a vocabulary for the captions.
 * A family of near copies is on one side only; 20 % of
 * the families of every category are held out. Two runs write the same bytes; the hash that it prints tells. */
#include "art.h"
#include "data/files/file.h"
#include "data/images/resize.h"
#include "data/files/sha256.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_OUT_PERCENT = 20, MAX_FLAGS = 120, LEAST = 12 };   /* LEAST: pieces of a category that is worth its name  */
static const char clipart[] = "/usr/share/openclipart/png", wordnet[] = "/usr/share/wordnet",
                  font[] = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
                  emoji[] = "/usr/share/unicode/emoji/emoji-test.txt";

static void free_piece(art_piece *p)
{
    free(p->file);
    free(p->stem);
    free(p->caption);
    im_image_free(p->picture);
}

/* Brightness of a small copy: bits say where it falls from left to right, and from top to bottom. */
static bool hash_piece(im_ctx *c, art_piece *p)
{
    const im_image *seen = p->likeness ? p->likeness : p->picture;
    im_image *wide = im_resize(c, seen, 9, 8, IM_FILTER_BOX), *high = im_resize(c, seen, 8, 9, IM_FILTER_BOX);
    for (int i = 0; wide && high && i < 64; i++) {
        const uint8_t *a = wide->pixels + 3 * (i / 8 * 9 + i % 8), *b = high->pixels + 3 * i;
        p->hash[0] |= (uint64_t)(a[0] + 2 * a[1] + a[2] > a[3] + 2 * a[4] + a[5] + 8) << i;
        p->hash[1] |= (uint64_t)(b[0] + 2 * b[1] + b[2] > b[24] + 2 * b[25] + b[26] + 8) << i;
    }
    im_image_free(wide);
    im_image_free(high);
    return im_ok(c);
}

bool art_add(im_ctx *c, art_list *l, const art_piece *piece)
{
    art_piece p = *piece;
    if (l->n == l->cap) {
        int cap = l->cap ? 2 * l->cap : 1024;
        art_piece *v = realloc(l->v, (size_t)cap * sizeof *v);
        if (v) {
            l->v = v;
            l->cap = cap;
        }
    }
    if (l->n == l->cap || !p.file || !p.stem || !p.caption || !hash_piece(c, &p)) {
        free_piece(&p);
        return im_fail(c, "out of memory for the list of pictures");
    }
    p.likeness = NULL;
    l->v[l->n++] = p;
    return true;
}

static int count(const art_list *l, const char *category, int held)
{
    int n = 0;
    for (int i = 0; i < l->n; i++)
        n += l->v[i].category == category && (held < 0 || l->v[i].held_out == held);
    return n;
}

/* Drops categories that are too small to be learnt, and flags beyond their share. */
static void keep_balance(art_list *l)
{
    int n = 0, flags = 0;
    bool *keep = calloc((size_t)l->n + 1, sizeof *keep);
    for (int i = 0; keep && i < l->n; i++)
        keep[i] = count(l, l->v[i].category, -1) >= LEAST
               && (strcmp(l->v[i].category, "flag") || flags++ < MAX_FLAGS);
    for (int i = 0; keep && i < l->n; i++) {
        if (keep[i])
            l->v[n++] = l->v[i];
        else {
            free_piece(&l->v[i]);
            l->dropped++;
        }
    }
    if (keep)
        l->n = n;
    free(keep);
}

static bool write_side(im_ctx *c, const art_list *l, const char *out, bool held, im_sha256 *sum)
{
    char *folder = im_join(c, out, held ? "heldout" : "train"), *lines = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&lines, &bytes);
    for (int i = 0; folder && f && i < l->n && im_ok(c); i++) {
        const art_piece *p = &l->v[i];
        if (p->held_out != held)
            continue;
        char name[512];
        snprintf(name, sizeof name, "%s/%s.png", p->category, p->file);
        char *path = im_join(c, folder, name), *slash = path ? strrchr(path, '/') : NULL;
        if (slash) {
            *slash = 0;
            im_make_folder(c, path);
            *slash = '/';
        }
        im_png_write(c, path, p->picture, NULL, 0, true);
        json_t *j = json_pack("{s:s, s:s, s:s, s:i}", "file_name", name, "text", p->caption, "label", p->category, "family",
                              p->family);
        char *text = json_dumps(j, JSON_COMPACT | JSON_ENSURE_ASCII);
        fprintf(f, "%s\n", text);
        im_sha256_add(c, sum, text, strlen(text));
        im_sha256_add(c, sum, p->picture->pixels, (size_t)p->picture->width * (size_t)p->picture->height * 3);
        free(text);
        json_decref(j);
        free(path);
    }
    if (f)
        fclose(f);
    char *path = folder && im_ok(c) ? im_join(c, folder, "metadata.jsonl") : NULL;
    if (path)
        im_write_file(c, path, lines, bytes, true);
    free(path);
    free(lines);
    free(folder);
    return im_ok(c);
}

static void report(const art_list *l)
{
    int emoji_count = 0, families = 0, held = 0;
    for (int i = 0; i < l->n; i++) {
        emoji_count += l->v[i].source == ART_EMOJI;
        families += l->v[i].family == i;
        held += l->v[i].held_out;
    }
    printf("%-10s %6s %8s\n", "category", "train", "heldout");
    for (int i = 0; i < l->n; i++) {
        int first = 0;
        while (l->v[first].category != l->v[i].category)
            first++;
        if (first == i)
            printf("%-10s %6d %8d\n", l->v[i].category, count(l, l->v[i].category, 0), count(l, l->v[i].category, 1));
    }
    printf("%d pictures in %d families: %d to train, %d held out\n", l->n, families, l->n - held, held);
    printf("looked at %d, unreadable or over 25 megapixels %d, dropped %d\n", l->seen, l->unfit, l->dropped);
    printf("openclipart-png: %d, public domain; Noto Color Emoji: %d, SIL Open Font License 1.1\n", l->n - emoji_count,
           emoji_count);
}

int main(int argc, char **argv)
{
    int size = argc > 2 ? atoi(argv[2]) : 64;
    if (argc < 2 || argc > 3 || size < 16 || size > 1024) {
        fprintf(stderr, "usage: model_data OUT [SIZE], SIZE from 16 to 1024\n");
        return 2;
    }
    im_ctx *c = im_ctx_new("ref", 1);
    char *tables = getenv("ART_TABLES");
    if (tables && !im_is_folder(tables))
        im_fail(c, "ART_TABLES is \"%s\"; wanted the folder of the tables, such as weights/art", tables);
    art_words *w = art_words_open(c, tables ? tables : "weights/art", wordnet);
    art_list l = { 0 };
    if (w && art_clipart(c, &l, w, clipart, size) && art_emoji(c, &l, w, font, emoji, size)) {
        art_families(&l);
        keep_balance(&l);
        art_families(&l);
        art_split(&l, HELD_OUT_PERCENT);
        im_sha256 *sum = im_sha256_new(c);
        char hex[65] = "";
        if (write_side(c, &l, argv[1], false, sum) && write_side(c, &l, argv[1], true, sum)) {
            char *vocabulary = im_join(c, argv[1], "tokenizer");
            report(&l);
            art_vocabulary(c, &l, vocabulary);
            free(vocabulary);
            if (im_sha256_finish(c, sum, hex))
                printf("sha256 %s\n", hex);
        } else {
            im_sha256_free(sum);
        }
    }
    if (!im_ok(c))
        fprintf(stderr, "model_data: %s\n", im_error(c));
    int rc = !im_ok(c);
    for (int i = 0; i < l.n; i++)
        free_piece(&l.v[i]);
    free(l.v);
    art_words_close(w);
    im_ctx_free(c);
    return rc;
}
