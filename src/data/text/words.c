/* words.c: see words.h. */
#include "data/text/words.h"

#include <stdlib.h>
#include <string.h>

void im_words_free(im_word_list *l)
{
    for (int i = 0; i < l->n; i++) free(l->v[i]);
    free(l->v);
    *l = (im_word_list){ 0 };
}

static bool is_space(char k) { return k == ' ' || k == '\t' || k == '\r' || k == '\n'; }

/* The word at p, into out; its end, or NULL where a quote is not closed. */
static const char *take_word(const char *p, char *out)
{
    for (char quote = 0; *p && (quote || !is_space(*p)); p++) {
        if (quote ? *p == quote : *p == '"' || *p == '\'') {
            quote = quote ? 0 : *p;
            if (!quote || strchr(p + 1, quote)) continue;
            return NULL;
        }
        if (*p == '\\' && quote != '\'' && (!quote || p[1] == '"' || p[1] == '\\')) p++;
        if (!*p) return NULL;
        *out++ = *p;
    }
    *out = '\0';
    return p;
}

bool im_words_split(im_ctx *c, const char *place, const char *line, im_word_list *out)
{
    size_t most = strlen(line) / 2 + 1;                        /* words of one letter                                  */
    *out = (im_word_list){ .v = calloc(most, sizeof *out->v) };
    bool ok = out->v || im_fail(c, "out of memory for a line of %zu bytes", strlen(line));
    for (const char *p = line; ok; ) {
        while (is_space(*p)) p++;
        if (!*p) break;
        char *word = malloc(strlen(p) + 1);
        ok = word || im_fail(c, "out of memory for a line of %zu bytes", strlen(line));
        if (!word) break;
        out->v[out->n++] = word;
        p = take_word(p, word);
        ok = p || im_fail(c, "%s: a quotation mark, or a \\ at the end, is not followed by what it needs; wanted --prompt "
                             "\"...\" --steps 20, quoted as in a shell", place);
    }
    if (!ok) im_words_free(out);
    return ok;
}
