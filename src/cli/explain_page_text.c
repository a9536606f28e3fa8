/* explain_page_text.c: the first two sections: how a prompt becomes numbers, and how a seed becomes noise. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"
#include "cli/measure.h"

static const char *piece_of(const explain *e, int id)
{
    const char *piece = im_token_piece(im_sd_tokenizer(e->sd), id);
    return piece ? piece : "";
}

/* ---------------------------------------------------------------- tokens */

static void near_table(page *p, const explain *e)
{
    page_print(p, "<p>Each id is the number of a row of a table of vectors "
               "(<code>text_model.embeddings.token_embedding</code>)."
               " The rows that point in nearly the same direction are words that training has used alike; the number "
               "is the "
               "cosine of the angle.</p>\n<div class=\"wide\"><table "
               "class=\"text\"><thead><tr><th>token</th><th>nearest rows"
               "</th></tr></thead>\n");
    for (int i = 0; i < e->n_near; i++) {
        page_print(p, "<tr><td><code>");
        page_say(p, piece_of(e, e->ids[e->near[i].token]));
        page_print(p, "</code></td><td>");
        for (int k = 0; k < EXPLAIN_NEAR; k++) {
            page_print(p, "<span class=\"token\"><code>");
            page_say(p, piece_of(e, e->near[i].id[k]));
            page_print(p, "</code> <small>%.2f</small></span>", e->near[i].cosine[k]);
        }
        page_print(p, "</td></tr>\n");
    }
    page_print(p, "</table></div>\n");
}

static void tokenize_command(page *p, const explain *e)
{
    char command[1024];
    FILE *f = fmemopen(command, sizeof command, "w");
    if (!f)
        return;
    fputs("imago tokenize -m ", f);
    measure_word(f, e->model ? e->model : "weights/imago-small");
    fputs(" -- ", f);
    measure_word(f, e->args.prompt);
    fclose(f);
    command[sizeof command - 1] = '\0';
    page_command(p, command);
}

void page_text_section(page *p, explain *e)
{
    page_section(p, "prompt", "1. The prompt becomes numbers");
    page_print(p, "<p>The text is cut into pieces of a fixed vocabulary of %d; <code>&lt;/w&gt;</code> marks the end "
               "of a word. "
               "A start and an end are put around them, and the end is repeated up to %d ids: the network always reads so "
               "many.</p>\n<figure><p id=\"tokens\">", im_tokenizer_size(im_sd_tokenizer(e->sd)), e->length);
    for (int i = 0; i < e->tokens; i++) {
        page_print(p, "<span class=\"token\" data-id=\"%d\"><code>", e->ids[i]);
        page_say(p, piece_of(e, e->ids[i]));
        page_print(p, "</code> <small>%d</small></span>", e->ids[i]);
    }
    if (e->tokens < e->length)
        page_print(p, " <span class=\"token\">%d more of the last, as padding</span>", e->length - e->tokens);
    page_print(p, "</p>\n<figcaption>");
    if (e->cut) {
        page_print(p, "Longer than %d tokens. Cut, and not seen by the model: <b>", e->length - 2);
        page_say(p, e->cut);
        page_print(p, "</b>");
    } else {
        page_print(p, "%d of %d places are taken; nothing was cut.", e->tokens - 2, e->length - 2);
    }
    page_print(p, "</figcaption>\n");
    tokenize_command(p, e);
    page_print(p, "</figure>\n");
    near_table(p, e);
    page_print(p, "<p>The text encoder, a transformer, turns the %d rows into %d vectors that know of each other: %s. "
               "The UNet "
               "reads those.</p>\n", e->length, e->length,
               "each is a mixture of itself and of what stands before it");
}

/* ---------------------------------------------------------------- noise */

static void draws_table(page *p, const explain *e)
{
    page_print(p, "<div class=\"wide\"><table><thead><tr><th>j</th><th>word j</th><th>u</th><th>word j + 8</th><th>v</th>"
               "<th>&radic;(-2 ln(1 - u)) cos(2&pi;v)</th><th>in the latents</th></tr></thead>\n");
    for (int j = 0; j < 8; j++) {
        double u = (e->draws[j] & 0xffffff) * 0x1p-24, v = (e->draws[j + 8] & 0xffffff) * 0x1p-24;
        page_print(p, "<tr><td>%d</td><td>%u</td><td>%.7f</td><td>%u</td><td>%.7f</td><td>%.5f</td><td>%.5f</td></tr>\n", j,
                   e->draws[j], u, e->draws[j + 8], v, sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v), (double)e->normals[j]);
    }
    page_print(p, "</table></div>\n");
}

void page_noise_section(page *p, explain *e)
{
    float limit;
    char command[1024];
    im_image *planes = draw_planes(p->c, e->x, 1, e->channels, e->w, e->h, 0, &limit);
    page_section(p, "noise", "2. The noise that a seed makes");
    page_print(p, "<p>The picture begins as %d normal random numbers: %d planes of %d x %d, the <em>latents</em>. "
               "Seed %llu is all "
               "that decides them. The generator (mt19937) makes words of 32 bits; the low 24 of each are a number "
               "between 0 and 1, and two of those are a normal number (Box and Muller 1958; in blocks of 16 as torch "
               "has it, "
               "to the bit).</p>\n<figure class=\"beside\">", (int)e->each, e->channels, e->w, e->h,
               (unsigned long long)e->args.seed);
    page_picture(p, planes, "the planes of the first latents", "pixels");
    page_print(p, "<figcaption>The %d planes. Blue is below 0, orange above, the ends are "
               "&plusmn;%.2f.</figcaption></figure>\n",
               e->channels, (double)limit);
    page_generate(e, &e->args, " --save-latents latents.safetensors", command, sizeof command);
    page_print(p, "<p>The first eight numbers:</p>\n");
    draws_table(p, e);
    page_command(p, p->c ? e->command : "");
    im_image_free(planes);
}
