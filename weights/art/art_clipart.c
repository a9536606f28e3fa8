/* art_clipart.c: the pictorial folders of Debian's openclipart-png (public domain), in the order of their names. */
#include "art.h"
#include "data/files/file.h"

#include <dirent.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PIXELS = 25000000 };          /* there are files of 169 million                                            */

/* Straight 8-bit RGBA, malloc'd; NULL when the file is broken or too large. */
static uint8_t *read_rgba(const char *path, int *width, int *height)
{
    png_image p = { .version = PNG_IMAGE_VERSION };
    if (!png_image_begin_read_from_file(&p, path))
        return NULL;
    uint8_t *rgba = NULL;
    if ((int64_t)p.width * p.height <= MAX_PIXELS) {
        p.format = PNG_FORMAT_RGBA;
        *width = (int)p.width;
        *height = (int)p.height;
        rgba = malloc(PNG_IMAGE_SIZE(p));
        if (rgba && !png_image_finish_read(&p, NULL, rgba, 0, NULL)) {
            free(rgba);
            rgba = NULL;
        }
    }
    png_image_free(&p);
    return rgba;
}

/* "lemon_half_bw_ganson_01" -> "lemon half ganson": letters only, words of colour left out */
static char *stem_of(const char *name)
{
    char *out = malloc(strlen(name) + 1), *copy = strdup(name), *save = NULL;
    size_t n = 0;
    for (char *t = copy ? strtok_r(copy, "_-. ", &save) : NULL; out && t; t = strtok_r(NULL, "_-. ", &save)) {
        if (!strcmp(t, "bw") || !strcmp(t, "color") || !strcmp(t, "outline"))
            continue;
        if (n)
            out[n++] = ' ';
        for (; *t; t++)
            if (*t < '0' || *t > '9')
                out[n++] = *t;
    }
    if (out)
        out[n] = 0;
    free(copy);
    return out;
}

/* Of the flags' folders, what covers its corners: no cap or umbrella in a flag's colours. */
static bool is_flag(const uint8_t *rgba, int width, int height, const char *category)
{
    int64_t right = width - 1, bottom = (int64_t)width * (height - 1);
    return !strcmp(category, "flag") && rgba[3] > 127 && rgba[4 * right + 3] > 127 && rgba[4 * bottom + 3] > 127
        && rgba[4 * (bottom + right) + 3] > 127;
}

static bool add(im_ctx *c, art_list *l, const art_words *w, const char *folder, const char *name, const char *category,
                const char *path, int size)
{
    int width, height;
    l->seen++;
    uint8_t *rgba = read_rgba(path, &width, &height);
    if (!rgba) {
        l->unfit++;
        return true;
    }
    /* the line around a flag would make all flags alike: near copies are looked for without it                       */
    bool flag = is_flag(rgba, width, height, category);
    im_image *picture = art_fit(c, rgba, width, height, size, flag);
    im_image *likeness = flag ? art_fit(c, rgba, width, height, size, false) : NULL;
    free(rgba);
    if (!picture) {
        im_image_free(likeness);
        l->dropped++;
        return im_ok(c);
    }
    char *base = im_copy_text(c, name, strlen(name) - 4), *caption = NULL;
    char *file = malloc(strlen(folder) + strlen(name) + 8);
    if (base) {
        category = art_near_category(c, w, base, category);
        caption = art_caption(c, w, base, category, art_is_grey(picture) ? "line drawing" : "clip art");
    }
    if (caption && file) {
        sprintf(file, "oca_%s_%s", folder, base);
        for (char *s = file; *s; s++)
            if (*s == '/' || *s == ' ' || (unsigned char)*s >= 0x80)
                *s = '_';
        art_add(c, l, &(art_piece){ .source = ART_CLIPART, .file = file, .stem = stem_of(base), .caption = caption,
                                    .category = category, .picture = picture, .likeness = likeness });
    } else {
        free(caption);
        free(file);
        im_image_free(picture);
    }
    im_image_free(likeness);
    free(base);
    return im_ok(c);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);                 /* bytes: the same order in every language             */
}

static bool walk(im_ctx *c, art_list *l, const art_words *w, const char *root, const char *folder, int size)
{
    struct dirent **e;
    char *path = im_join(c, root, folder);
    int n = path ? scandir(path, &e, NULL, by_name) : -1;
    if (n < 0)
        im_fail(c, "%s/%s: cannot be read; install the package openclipart-png", root, folder);
    const char *category = art_category(w, 'o', folder);
    for (int i = 0; i < n; i++) {
        const char *name = e[i]->d_name;
        size_t length = strlen(name);
        char *sub = *name == '.' || !im_ok(c) ? NULL : *folder ? im_join(c, folder, name) : im_copy_text(c, name, length);
        char *full = sub ? im_join(c, root, sub) : NULL;
        if (full && im_is_folder(full))
            walk(c, l, w, root, sub, size);
        else if (full && category && length > 4 && !strcmp(name + length - 4, ".png"))
            add(c, l, w, folder, name, category, full, size);
        free(full);
        free(sub);
        free(e[i]);
    }
    if (n >= 0)
        free(e);
    free(path);
    return im_ok(c);
}

bool art_clipart(im_ctx *c, art_list *l, const art_words *w, const char *root, int size)
{
    return walk(c, l, w, root, "", size);
}
