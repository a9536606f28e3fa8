/* shown.c: see shown.h. */
#define _GNU_SOURCE                                            /* vasprintf                                           */
#include "cli/shown.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "data/files/utf8.h"

/* Bytes of the character at p; 0: it is no UTF-8. */
static size_t character_bytes(const char *p)
{
    size_t n = strlen(p), k = 1;
    while (k <= 4 && k <= n && !im_is_utf8(p, k)) k++;
    return k <= 4 && k <= n ? k : 0;
}

/* The next character of *p as it is shown. C1 controls are 0x80 to 0x9f, in UTF-8 behind a 0xc2. */
static void next(const char **p, char out[8])
{
    const unsigned char *b = (const unsigned char *)*p;
    size_t n = character_bytes(*p);
    if (*b == '\n' || *b == '\t' || *b == '\r')
        snprintf(out, 8, "\\%c", *b == '\n' ? 'n' : *b == '\t' ? 't' : 'r');
    else if (*b < 0x20 || *b == 0x7f)
        snprintf(out, 8, "\\u%04x", *b);
    else if (n == 2 && b[0] == 0xc2 && b[1] < 0xa0)
        snprintf(out, 8, "\\u%04x", b[1]);
    else if (!n && *b < 0xa0)
        snprintf(out, 8, "\\x%02x", *b);
    else
        snprintf(out, 8, "%.*s", n ? (int)n : 1, *p);
    *p += n ? n : 1;
}

/* f NULL: only counted. */
static int put(FILE *f, const char *text)
{
    int width = 0;
    for (const char *p = text; *p; ) {
        char out[8];
        next(&p, out);
        if (f)
            fputs(out, f);
        width += *out == '\\' && out[1] ? (int)strlen(out) : 1;
    }
    return width;
}

int shown_width(const char *text)
{
    return put(NULL, text);
}

void shown_text(FILE *f, const char *text, int width)
{
    for (int n = put(f, text); n < width; n++)
        putc(' ', f);
}

/* The line as it is shown, with its end; NULL: memory is short. */
static char *line_of(const char *text)
{
    char *line = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&line, &size);
    if (!memory)
        return NULL;
    put(memory, text);
    putc('\n', memory);
    if (!fclose(memory))
        return line;
    free(line);
    return NULL;
}

/* In one piece, as standard error has no buffer and other processes may write there, too. */
void shown_line(FILE *f, const char *fmt, ...)
{
    char *text = NULL, *line = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) >= 0)
        line = line_of(text);
    else
        text = NULL;
    va_end(ap);
    fputs(line ? line : "out of memory for a line\n", f);
    free(line);
    free(text);
}
