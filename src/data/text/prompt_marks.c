/* prompt_marks.c: the marks that the AUTOMATIC1111 web interface and its kin read in a prompt. Here they are text like any
 * other, as in diffusers, and whoever copied the prompt from there should hear of it. Used by sd_text.c. */
#include "data/text/prompt_marks.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* "<lora:NAME...>": its length, else 0. Also where it is not quite one: in capitals, with blanks, to the end of the line
 * where it is not closed; whoever wrote it meant a file. */
static size_t file_mark(const char *s)
{
    static const char *const kinds[] = { "lora:", "lyco:", "hypernet:" };
    if (*s != '<') return 0;
    size_t blanks = 1 + strspn(s + 1, " \t");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strncasecmp(s + blanks, kinds[i], strlen(kinds[i]))) {
            size_t n = strcspn(s, ">"), line = strcspn(s, "\r\n");
            return s[n] ? n + 1 : line;
        }
    return 0;
}

/* "((words))", no bracket inside: its length, else 0. */
static size_t double_mark(const char *s)
{
    size_t n = !strncmp(s, "((", 2) ? 2 + strcspn(s + 2, "()") : 0;
    return n > 2 && !strncmp(s + n, "))", 2) ? n + 2 : 0;
}

/* "[a:b:0.5]", "[a:5]" or "[a|b]", no bracket inside: its length, else 0. */
static size_t change_mark(const char *s)
{
    size_t n = s[0] == '[' ? 1 + strcspn(s + 1, "[]()") : 0;
    if (!n || s[n] != ']') return 0;
    size_t number = n;
    while (number > 1 && strchr("0123456789. ", s[number - 1])) number--;
    bool when = strcspn(s + number, "0123456789") < n - number && s[number - 1] == ':';
    return when || memchr(s, '|', n) ? n + 1 : 0;
}

/* "(words:1.3)", no bracket inside: its length, else 0. */
static size_t weight_mark(const char *s)
{
    size_t n = s[0] == '(' ? 1 + strcspn(s + 1, "()") : 0;
    if (!n || s[n] != ')') return 0;
    size_t number = n;
    while (number > 1 && strchr("0123456789. ", s[number - 1])) number--;
    bool digit = strcspn(s + number, "0123456789") < n - number;
    return digit && s[number - 1] == ':' && number > 2 ? n + 1 : 0;
}

im_mark im_prompt_mark(const char *text, size_t *at, char *mark, size_t size)
{
    for (; text[*at]; ++*at) {
        size_t file = file_mark(text + *at), change = change_mark(text + *at), weight = weight_mark(text + *at);
        if (!weight) weight = double_mark(text + *at);
        size_t n = file + change + weight;                     /* they begin with different letters                   */
        if (!n) continue;
        snprintf(mark, size, "%.*s", (int)(n < size ? n : size - 1), text + *at);
        *at += n;
        return file ? IM_MARK_FILE : change ? IM_MARK_CHANGE : IM_MARK_WEIGHT;
    }
    return IM_MARK_NONE;
}
