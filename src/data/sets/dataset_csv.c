/* dataset_csv.c: DIR/metadata.csv as Hugging Face's imagefolder reads it: columns like the keys of metadata.jsonl, whose
 * names stand in the first line; fields as in RFC 4180, in quotes where they hold a comma, a quote or a line break. A field
 * that is empty or not there is as good as none; other columns are left alone. Used by dataset_metadata.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/sets/dataset_parts.h"
#include "data/files/file.h"
#include "data/files/utf8.h"

enum { FILE_NAME, TEXT, CAPTION, LABEL, COLUMNS };
static const char *const names[COLUMNS] = { "file_name", "text", "caption", "label" };

/* One field, unquoted in place; *at moves behind it, *line with it. 1: another one follows; 0: it was the last of its row;
 * -1: its quote is not closed. */
static int next_field(char **at, int *line, char **out)
{
    char *p = *at, *to = p;
    *out = p;
    if (*p == '"') {
        for (p++; *p && (*p != '"' || p[1] == '"'); p++) {
            p += *p == '"';
            *line += *p == '\n';
            *to++ = *p;
        }
        if (!*p) return -1;
        p++;
    }
    while (*p && *p != ',' && *p != '\n' && (*p != '\r' || p[1] != '\n')) *to++ = *p++;
    int more = *p == ',';
    *line += !more;
    p += *p == '\r';
    *at = p + (*p != '\0');
    *to = '\0';
    return more;
}

/* A row: those of its fields that are read, NULL where they are empty or not there. column: where they stand, -1: nowhere.
 * Its number of fields, or -1. */
static int next_row(char **at, int *line, const int column[COLUMNS], const char *field[COLUMNS])
{
    memset(field, 0, COLUMNS * sizeof *field);
    for (int n = 0, more = 1; ; n++) {
        char *text;
        if (more <= 0) return more < 0 ? -1 : n;
        more = next_field(at, line, &text);
        for (int k = 0; k < COLUMNS; k++)
            if (column[k] == n && *text) field[k] = text;
    }
}

/* The columns of the first line; how many there are, or -1. */
static int read_header(char **at, int *line, int column[COLUMNS])
{
    for (int k = 0; k < COLUMNS; k++) column[k] = -1;
    for (int n = 0, more = 1; ; n++) {
        char *text;
        if (more <= 0) return more < 0 ? -1 : n;
        more = next_field(at, line, &text);
        for (int k = 0; k < COLUMNS; k++)
            if (column[k] < 0 && !strcmp(text, names[k])) column[k] = n;
    }
}

bool im_is_metadata_csv(im_gather *g)
{
    char *path = im_join(g->c, g->d->path, IM_SET_CSV);
    char *text = path ? im_read_text(g->c, path, IM_SET_LIST_BYTES, NULL) : NULL, *at = text;
    int column[COLUMNS], line = 1;
    bool is = text && read_header(&at, &line, column) > 0 && column[FILE_NAME] >= 0;
    im_clear_error(g->c);                                      /* what is no text lists nothing                       */
    free(text);
    free(path);
    return is;
}

bool im_gather_csv(im_gather *g, const char *path, char *text, size_t bytes, im_listed_fn add, void *arg)
{
    int column[COLUMNS], line = 1;
    const char *field[COLUMNS];
    char where[600], *at = text;
    if (!im_utf8_check(g->c, path, text, bytes)) return false;
    int columns = read_header(&at, &line, column);
    while (columns > 0 && *at) {
        snprintf(where, sizeof where, "%.500s: line %d", path, line);
        int n = next_row(&at, &line, column, field);
        if (n < 0)
            return im_fail(g->c, "%s: a quote is opened and not closed; close it, and write quotes inside twice", where);
        if (n > columns)
            return im_fail(g->c, "%s: has %d fields, and the first line names %d; put fields with commas in quotes", where,
                           n, columns);
        if (n == 1 && !field[FILE_NAME] && columns > 1) continue;                   /* an empty line                  */
        if (!field[FILE_NAME]) return im_fail(g->c, "%s: \"file_name\" is empty; name a file", where);
        if (!add(arg, where, field[FILE_NAME], field[TEXT] ? field[TEXT] : field[CAPTION], field[LABEL])) return false;
    }
    return true;
}
