/* module_pattern.c: see module_pattern.h. Most of what Python's re reads is written alike in an extended regular
 * expression (POSIX.1-2017, Base Definitions 9.4); the rest is written anew: \d and \w, signs behind a backslash, (?:...),
 * and the lazy *? +? ??, which match the same names. */
#include "data/text/module_pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY = 400, GROWTH = 12, COPIES = 1000 };                /* bytes of a key; of what one of them becomes; below   */

typedef struct writer { const char *s; char *out; long copies; } writer;

static void put(writer *w, const char *text)
{
    size_t n = strlen(text);
    memcpy(w->out, text, n);
    w->out += n;
}

/* A backslash and what is behind it. In brackets signs lose their meaning, but for these four. */
static bool take_escape(writer *w, bool in_brackets)
{
    unsigned char c = (unsigned char)w->s[1];
    char sign[4] = { '[', (char)c, ']', '\0' };
    if (c == 'd') put(w, in_brackets ? "0-9" : "[0-9]");
    else if (c == 'w') put(w, in_brackets ? "[:alnum:]_" : "[[:alnum:]_]");
    else if (!ispunct(c) || (in_brackets && strchr("]\\^-", c))) return false;
    else if (in_brackets) *w->out++ = (char)c;
    else put(w, c == '^' ? "\\^" : sign);
    w->s += 2;
    return true;
}

/* [...]: a ] that comes first is one of its letters. */
static bool take_brackets(writer *w)
{
    *w->out++ = *w->s++;
    if (*w->s == '^') *w->out++ = *w->s++;
    if (*w->s == ']') *w->out++ = *w->s++;
    while (*w->s && *w->s != ']') {
        if (*w->s == '\\') {
            if (!take_escape(w, true)) return false;
        } else if (*w->s == '[') {
            return false;                                      /* would begin a class of POSIX                        */
        } else {
            *w->out++ = *w->s++;
        }
    }
    if (!*w->s) return false;
    *w->out++ = *w->s++;
    return true;
}

/* {2}, {2,}, {,2} or {2,3}. regcomp copies what is repeated: a file must not make it fill the memory. */
static bool take_count(writer *w)
{
    char *end;
    bool least = isdigit((unsigned char)w->s[1]);
    long from = least ? strtol(w->s + 1, &end, 10) : 0, to = from;
    const char *s = least ? end : w->s + 1;
    bool comma = *s == ',', most = comma && isdigit((unsigned char)s[1]);
    if (most) to = strtol(s + 1, &end, 10);
    s = most ? end : comma ? s + 1 : s;
    if (!(least || most) || *s != '}' || from > COPIES || to > COPIES) return false;
    long larger = to > from ? to : from;
    w->copies *= larger > 1 ? larger : 1;
    if (w->copies > COPIES) return false;
    if (!comma || most) w->out += snprintf(w->out, GROWTH, comma ? "{%ld,%ld}" : "{%ld}", from, to);
    else w->out += snprintf(w->out, GROWTH, "{%ld,}", from);
    w->s = s + 1;
    return true;
}

/* One element of the key. *can: what stands before can be repeated. */
static bool take_element(writer *w, bool *can, int *depth)
{
    bool could = *can;
    *can = true;
    switch (*w->s) {
    case '\\': return take_escape(w, false);
    case '[': return take_brackets(w);
    case '(':
        if (w->s[1] == '?' && w->s[2] != ':') return false;
        w->s += w->s[1] == '?' ? 3 : 1;
        *w->out++ = '(';
        *can = false;
        return ++*depth <= 50;
    case ')':
        *w->out++ = *w->s++;
        return --*depth >= 0;
    case '{':
    case '*': case '+': case '?':
        *can = false;
        if (!could) return false;
        if (*w->s != '{') *w->out++ = *w->s++;
        else if (!take_count(w)) return false;
        if (*w->s == '?') w->s++;                              /* lazy                                                */
        return true;
    case '|': case '^': case '$': *can = false; break;
    default: break;
    }
    *w->out++ = *w->s++;
    return true;
}

bool im_module_pattern_read(im_ctx *c, const char *where, const char *key, regex_t *out)
{
    static const char HEAD[] = "^(.*\\.)?(", TAIL[] = ")$";
    char text[sizeof HEAD + sizeof TAIL + KEY * GROWTH];
    writer w = { .s = key, .out = text, .copies = 1 };
    bool can = false, ok = strlen(key) <= KEY;
    int depth = 0, wrong;
    const char *at = key;
    put(&w, HEAD);
    while (ok && *(at = w.s)) ok = take_element(&w, &can, &depth);
    if (!ok || depth)
        return im_fail(c, "%s: \"%.100s\" cannot be read from \"%.40s\" on; wanted a regular expression of at most %d "
                          "letters that has . [] () | ^ $ * + ? {} and a backslash before a sign, d or w alone", where, key,
                       depth > 0 && !*at ? "(" : at, KEY);
    put(&w, TAIL);
    *w.out = '\0';
    if (!(wrong = regcomp(out, text, REG_EXTENDED | REG_NOSUB))) return true;
    char why[100];
    regerror(wrong, out, why, sizeof why);
    return im_fail(c, "%s: \"%.100s\" is no regular expression: %s", where, key, why);
}

bool im_module_pattern_matches(const regex_t *p, const char *name)
{
    return !regexec(p, name, 0, NULL, 0);
}
