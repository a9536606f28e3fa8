/* explain_text.c: what `imago explain` says of a prompt and a seed: tokens, the words that they are of, the nearest rows of
 * the text encoder's table; and the first draws of the generator. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"

static const char TABLE[] = "text_model.embeddings.token_embedding.weight";

/* Tokens of one word end with the one whose piece ends in "</w>". */
static void find_words(explain *e, const im_tokenizer *t)
{
    int from = 1;
    char text[64] = "";
    for (int i = 1; i < e->tokens - 1; i++) {
        const char *piece = im_token_piece(t, e->ids[i]);
        size_t n = piece ? strlen(piece) : 0, used = strlen(text);
        bool end = n >= 4 && !strcmp(piece + n - 4, "</w>");
        snprintf(text + used, sizeof text - used, "%.*s", (int)(end ? n - 4 : n), piece ? piece : "");
        if (!end && i + 1 < e->tokens - 1)
            continue;
        if (e->n_words < EXPLAIN_WORDS) {
            explain_word *w = &e->words[e->n_words++];
            *w = (explain_word){ .from = from, .to = i + 1 };
            memcpy(w->text, text, sizeof w->text);
        }
        from = i + 1;
        text[0] = '\0';
    }
}

/* The rows of the table (rows, d) that point most nearly where row `of` does. */
static void nearest(const float *table, int64_t rows, int d, const float *norms, explain_near *out, int of)
{
    int n = 0;
    const float *a = table + (size_t)of * (size_t)d;
    for (int64_t r = 0; r < rows; r++) {
        const float *b = table + (size_t)r * (size_t)d;
        double dot = 0;
        for (int k = 0; k < d; k++)
            dot += (double)a[k] * (double)b[k];
        double cosine = dot / ((double)norms[of] * (double)norms[r] + 1e-30);
        if (r == of || (n == EXPLAIN_NEAR && cosine <= out->cosine[n - 1]))
            continue;
        int at = n < EXPLAIN_NEAR ? n++ : n - 1;
        for (; at > 0 && out->cosine[at - 1] < cosine; at--) {
            out->cosine[at] = out->cosine[at - 1];
            out->id[at] = out->id[at - 1];
        }
        out->cosine[at] = cosine;
        out->id[at] = (int)r;
    }
}

static bool find_near(explain *e)
{
    im_net_param p;
    float *table = im_sd_param_values(e->sd, IM_NET_CLIP, TABLE, &p);
    float *norms = table ? malloc((size_t)p.shape[0] * sizeof *norms) : NULL;
    int d = table ? (int)p.shape[1] : 0;
    if (table && !norms)
        im_fail(e->c, "out of memory for the lengths of tokens' vectors");
    for (int64_t r = 0; norms && r < p.shape[0]; r++) {
        double sum = 0;
        for (int k = 0; k < d; k++)
            sum += pow((double)table[r * d + k], 2);
        norms[r] = (float)sqrt(sum);
    }
    for (int i = 1; norms && i < e->tokens - 1 && e->n_near < EXPLAIN_WORDS; i++) {
        explain_near *n = &e->near[e->n_near++];
        *n = (explain_near){ .token = i };
        if (e->ids[i] < p.shape[0])
            nearest(table, p.shape[0], d, norms, n, e->ids[i]);
    }
    free(norms);
    free(table);
    return im_ok(e->c);
}

/* The first 16 words of the seed's generator; torch turns the first call's values in blocks of 16. */
static bool find_draws(explain *e)
{
    im_rng *r = im_rng_new(e->c, IM_RNG_CPU, e->args.seed), *again = im_rng_new(e->c, IM_RNG_CPU, e->args.seed);
    im_rng_words(r, e->draws, 16);
    im_randn(again, e->normals, 16);
    im_rng_free(r);
    im_rng_free(again);
    return im_ok(e->c);
}

bool explain_text(explain *e)
{
    const im_tokenizer *t = im_sd_tokenizer(e->sd);
    im_net_param p;
    float *positions = t ? im_sd_param_values(e->sd, IM_NET_CLIP, "text_model.embeddings.position_embedding.weight", &p)
                         : NULL;
    if (!positions)
        return false;
    free(positions);
    e->length = (int)p.shape[0];
    e->ids = calloc((size_t)e->length, sizeof *e->ids);
    if (!e->ids)
        return im_fail(e->c, "out of memory for %d ids", e->length);
    if (!im_tokenize(e->c, t, e->args.prompt, e->length, e->ids, &e->cut))
        return false;
    e->tokens = e->length;
    while (e->tokens > 2 && e->ids[e->tokens - 2] == e->ids[e->length - 1])               /* the padding repeats the end */
        e->tokens--;
    find_words(e, t);
    return find_near(e) && find_draws(e);
}
