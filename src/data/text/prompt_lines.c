/* prompt_lines.c: see prompt_lines.h. */
#include "data/text/prompt_lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/utf8.h"

enum { LINE_BYTES = 1 << 20, FILE_BYTES = 1 << 28 };           /* a stream may never end                               */

typedef struct lines {
    im_ctx *c;
    const char *path;
    int number;                                                /* of the line, from 1                                  */
    size_t bytes;                                              /* of the file so far                                   */
    bool returned;                                             /* the last line ended in a CR: an LF belongs to it     */
    char *line; size_t room;
} lines;

/* The next line into l->line, without its end, which is LF, CR LF or CR; false: that was the last, or an error. */
static bool read_line(lines *l, FILE *f)
{
    size_t n = 0;
    int k = getc_unlocked(f);
    if (k == '\n' && l->returned) k = getc_unlocked(f);
    l->returned = false;
    if (k == EOF) return false;
    l->number++;
    for (; k != EOF; k = getc_unlocked(f)) {
        if (n + 2 > l->room) {
            size_t room = l->room ? 2 * l->room : 512;
            char *longer = realloc(l->line, room);
            if (!longer) return im_fail(l->c, "%s, line %d: out of memory; close other programs", l->path, l->number);
            l->line = longer;
            l->room = room;
        }
        if (!k)
            return im_fail(l->c, "%s, line %d: holds a zero byte; wanted text in UTF-8", l->path, l->number);
        if (n == LINE_BYTES)
            return im_fail(l->c, "%s, line %d: has more than %d bytes; wanted a prompt: is it the right file?", l->path,
                           l->number, LINE_BYTES);
        if ((l->returned = k == '\r') || k == '\n') break;
        l->line[n++] = (char)k;
    }
    l->line[n] = '\0';
    return (l->bytes += n + 1) <= FILE_BYTES ||
           im_fail(l->c, "%s, line %d: is behind %d bytes; wanted a shorter list of prompts: is it the right file?",
                   l->path, l->number, FILE_BYTES);
}

/* Blank lines are no prompts. */
static bool take_line(lines *l, im_prompt_line_taker take, void *arg)
{
    char *line = l->line;
    if (l->number == 1 && !strncmp(line, IM_BYTE_ORDER_MARK, 3)) line += 3;
    line += strspn(line, " \t");
    if (!*line) return true;
    char place[512];
    snprintf(place, sizeof place, "%s, line %d", l->path, l->number);
    return im_utf8_check(l->c, place, line, strlen(line)) && take(arg, place, l->number, line);
}

bool im_prompt_lines(im_ctx *c, const char *path, im_prompt_line_taker take, void *arg)
{
    lines l = { .c = c, .path = path };
    FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
    if (!f) return im_fail(c, "%s: %s; wanted a file with one prompt per line", path, strerror(errno));
    bool ok = true;
    while (ok && read_line(&l, f)) ok = take_line(&l, take, arg);
    ok = ok && im_ok(c);
    if (ok && ferror(f)) ok = im_fail(c, "%s: %s; wanted a file with one prompt per line", path, strerror(errno));
    free(l.line);
    if (f != stdin) fclose(f);
    return ok;
}
