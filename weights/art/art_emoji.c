/* art_emoji.c: the emoji of Noto Color Emoji that are one code point, drawn by FreeType from the font's own bitmaps at
 * full resolution (136 x 128), named by Unicode's emoji-test.txt. Sequences (skin tones, families, flags) are left out. */
#include "art.h"
#include "data/files/file.h"

#include <ft2build.h>
#include FT_FREETYPE_H
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

static bool open_font(im_ctx *c, FT_Library *lib, FT_Face *face, const char *path)
{
    if (FT_Init_FreeType(lib))
        return im_fail(c, "FreeType could not be started");
    if (FT_New_Face(*lib, path, 0, face) || (*face)->num_fixed_sizes < 1 || FT_Select_Size(*face, 0)) {
        FT_Done_FreeType(*lib);
        return im_fail(c, "%s: is no font with colour bitmaps; install the package fonts-noto-color-emoji", path);
    }
    return true;
}

/* The glyph as straight RGBA, malloc'd; NULL when the font has none. */
static uint8_t *glyph(FT_Face face, unsigned long code, int *width, int *height)
{
    FT_UInt index = FT_Get_Char_Index(face, code);
    if (!index || FT_Load_Glyph(face, index, FT_LOAD_COLOR) || face->glyph->bitmap.pixel_mode != FT_PIXEL_MODE_BGRA)
        return NULL;
    const FT_Bitmap *b = &face->glyph->bitmap;
    uint8_t *rgba = malloc((size_t)b->width * b->rows * 4 + 4);
    *width = (int)b->width;
    *height = (int)b->rows;
    for (unsigned y = 0; rgba && y < b->rows; y++)
        for (unsigned x = 0; x < b->width; x++) {
            const uint8_t *p = b->buffer + (ptrdiff_t)y * b->pitch + 4 * x;          /* premultiplied BGRA            */
            uint8_t *q = rgba + 4 * ((size_t)y * b->width + x);
            for (int k = 0; k < 3; k++)
                q[k] = p[3] ? (uint8_t)((p[2 - k] * 255 + p[3] / 2) / p[3] > 255 ? 255
                                        : (p[2 - k] * 255 + p[3] / 2) / p[3]) : 0;
            q[3] = p[3];
        }
    return rgba;
}

/* "1F34E  ; fully-qualified  # X E0.6 red apple": code point and name; false for anything else. */
static bool parse(char *line, unsigned long *code, char **name)
{
    char *end, *hash = strchr(line, '#');
    *code = strtoul(line, &end, 16);
    if (end == line || !hash || !strstr(line, "; fully-qualified"))
        return false;
    while (*end == ' ')
        end++;
    if (!strncmp(end, "FE0F ", 5))
        end += 5;
    while (*end == ' ')
        end++;
    char *version = strstr(hash, " E");
    *name = version ? strchr(version + 1, ' ') : NULL;
    if (*end != ';' || !*name)
        return false;
    (*name)++;
    return true;
}

static bool add(im_ctx *c, art_list *l, const art_words *words, FT_Face face, unsigned long code, const char *name,
                const char *category, int size)
{
    int w, h;
    l->seen++;
    uint8_t *rgba = glyph(face, code, &w, &h);
    im_image *picture = rgba ? art_fit(c, rgba, w, h, size, false) : NULL;
    free(rgba);
    if (!picture) {
        l->dropped++;
        return im_ok(c);
    }
    char file[64], *caption = art_emoji_caption(c, words, name, category);
    snprintf(file, sizeof file, "emoji_%05lx", code);
    return art_add(c, l, &(art_piece){ .source = ART_EMOJI, .file = strdup(file), .stem = strdup(name), .caption = caption,
                                       .category = category, .picture = picture });
}

bool art_emoji(im_ctx *c, art_list *l, const art_words *w, const char *font, const char *list, int size)
{
    FT_Library lib;
    FT_Face face;
    size_t bytes;
    char *text = im_read_file(c, list, 16 << 20, &bytes), *save = NULL;
    if (!text || !open_font(c, &lib, &face, font)) {
        free(text);
        return false;
    }
    const char *category = NULL;
    for (char *line = strtok_r(text, "\n", &save); line && im_ok(c); line = strtok_r(NULL, "\n", &save)) {
        unsigned long code;
        char *name;
        if (!strncmp(line, "# subgroup: ", 12))
            category = art_category(w, 'e', line + 12);
        else if (category && parse(line, &code, &name))
            add(c, l, w, face, code, name, category, size);
    }
    FT_Done_Face(face);
    FT_Done_FreeType(lib);
    free(text);
    return im_ok(c);
}
