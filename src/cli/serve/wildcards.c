/* wildcards.c: __name__ in the texts of a request stands for a line of name.txt in the folder of --wildcards, chosen by the
 * seed of each picture as `imago generate --wildcards` chooses it (data/text/wildcards.h). Files are read anew for every
 * request; what a request names cannot lead out of the folder. */
#include <stdlib.h>

#include "cli/serve/serve.h"
#include "data/text/wildcards.h"

/* (count) of one text, malloc'd; NULL: an error. */
static char **fill_all(server *s, im_wildcards *w, const wish *from, const char *name, const char *text, uint32_t stream)
{
    char **all = calloc((size_t)from->count, sizeof *all);
    bool ok = all || im_fail(s->look_c, "out of memory for %d prompts", from->count);
    for (int i = 0; ok && i < from->count; i++)
        ok = (all[i] = im_wildcards_fill(s->look_c, w, name, text, from->seed + (uint64_t)i, stream)) != NULL;
    return all;
}

bool wish_fill(server *s, wish *w)
{
    if (!s->o->wildcards || (!im_wildcards_in(w->prompt) && !im_wildcards_in(w->negative)))
        return true;
    im_wildcards *cards = im_wildcards_open(s->look_c, s->o->wildcards, true);
    if (cards) {
        w->prompts = fill_all(s, cards, w, "the prompt", w->prompt, 0);
        w->negatives = fill_all(s, cards, w, "the negative prompt", w->negative, 1);
    }
    im_wildcards_free(cards);
    return im_ok(s->look_c);
}

const char *wish_prompt(const wish *w, int i)
{
    return w->prompts ? w->prompts[i] : w->prompt;
}

const char *wish_negative(const wish *w, int i)
{
    return w->negatives ? w->negatives[i] : w->negative;
}
