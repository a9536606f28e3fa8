/* explain_page_steps.c: the sections of the steps and of the words. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"

/* ---------------------------------------------------------------- what is shown of a step */

/* Guided noise of every step, (steps, each); malloc'd. */
static float *guided_noise(const explain *e)
{
    size_t n = (size_t)e->steps * e->each;
    float *out = malloc(n * sizeof *out), g = e->guided ? e->args.guidance : 1;
    for (size_t i = 0; out && i < n; i++)
        out[i] = e->e_u[i] + g * (e->e_c[i] - e->e_u[i]);
    return out;
}

/* |e_c - e_u|, mean over planes: (steps, h, w); malloc'd. And its mean of every step. */
static float *guidance_maps(const explain *e, double *means)
{
    size_t pixels = (size_t)(e->w * e->h), n = (size_t)e->steps * pixels;
    float *out = calloc(n, sizeof *out);
    for (size_t s = 0; out && s < (size_t)e->steps; s++) {
        means[s] = 0;
        for (size_t i = 0; i < e->each; i++) {
            float d = fabsf(e->e_c[s * e->each + i] - e->e_u[s * e->each + i]) / (float)e->channels;
            out[s * pixels + i % pixels] += d;
            means[s] += (double)d / (double)pixels;
        }
    }
    return out;
}

static char *text_of(const char *fmt, double a) __attribute__((format(printf, 1, 0)));
static char *text_of(const char *fmt, double a)
{
    char text[64];
    snprintf(text, sizeof text, fmt, a);
    return strdup(text);
}

/* "time 751, ..." that follows the slider. */
static void numbers(page *p, const explain *e, const double *means)
{
    static const char *const names[] = { "time", "left of the picture", "noise in it", "mean |prompt - no prompt|" };
    page_print(p, "<p>");
    for (int k = 0; k < 4; k++) {
        char **v = calloc((size_t)e->steps, sizeof *v);
        bool ok = v != NULL;
        for (int i = 0; ok && i < e->steps; i++) {
            double a = (double)e->abar[i];
            v[i] = k == 0 ? text_of("%.4g", (double)e->time[i]) : k == 1 ? text_of("%.1f %%", 100 * a)
                 : k == 2 ? text_of("%.3f", sqrt(1 - a)) : text_of("%.4f", means[i]);
            ok = v[i] != NULL;
        }
        page_print(p, "%s%s <b>", k ? ", " : "", names[k]);
        if (ok)
            page_follow(p, "steps", (const char *const *)v, e->steps, e->steps - 1);
        page_print(p, "</b>");
        for (int i = 0; v && i < e->steps; i++)
            free(v[i]);
        free(v);
    }
    page_print(p, "</p>\n");
}

static void film(page *p, const im_image *strip, const explain *e, const char *what, const char *caption, double aspect)
{
    page_print(p, "<figure>");
    page_film(p, strip, e->steps, "steps", what, aspect);
    page_print(p, "<figcaption><b>%s</b><br>%s</figcaption></figure>\n", what, caption);
}

static void films(page *p, const explain *e, const float *noise, const float *guidance)
{
    char caption[200];
    float limit, limit_noise;
    double aspect = (double)e->w / e->h;
    im_image *x = draw_planes(p->c, e->x, e->steps, e->channels, e->w, e->h, 0, &limit);
    im_image *n = draw_planes(p->c, noise, e->steps, e->channels, e->w, e->h, 0, &limit_noise);
    im_image *g = draw_heat(p->c, guidance, e->steps, e->w, e->h), *look = draw_row(p->c, e->preview, e->steps);
    page_print(p, "<div class=\"row\">");
    snprintf(caption, sizeof caption, "before the step, 4 planes; &plusmn;%.2f", (double)limit);
    film(p, x, e, "latents", caption, aspect);
    snprintf(caption, sizeof caption, "what the UNet takes for noise; &plusmn;%.2f", (double)limit_noise);
    film(p, n, e, "predicted noise", caption, aspect);
    film(p, look, e, "predicted picture", "if this step were the last, by a linear map to colours", aspect);
    film(p, g, e, "what guidance adds", e->guided ? "|with the prompt - without it|; brightest: the most of this step"
                                                  : "nothing: guidance is off", aspect);
    page_print(p, "</div>\n");
    im_image_free(x);
    im_image_free(n);
    im_image_free(g);
    im_image_free(look);
}

static void levels(page *p, const explain *e, const double *means)
{
    const char *names[] = { "noise", "picture", "guidance" };
    double *y[3];
    for (int k = 0; k < 3; k++)
        y[k] = calloc((size_t)e->steps, sizeof *y[k]);
    double most = 0;
    for (int i = 0; i < e->steps; i++)
        most = fmax(most, means[i]);
    for (int i = 0; y[0] && y[1] && y[2] && i < e->steps; i++) {
        y[0][i] = sqrt(1 - (double)e->abar[i]);
        y[1][i] = sqrt((double)e->abar[i]);
        y[2][i] = most > 0 ? means[i] / most : 0;
    }
    page_print(p, "<figure>");
    if (y[0] && y[1] && y[2])
        page_curves(p, names, (const double *const *)y, 3, e->steps, "step", "steps");
    page_print(p, "<figcaption>How much of the latents is noise, &radic;(1 - &#257;), and how much is picture, "
               "&radic;&#257;, at "
               "each step; and where guidance changes most (as a share of its largest).</figcaption></figure>\n");
    for (int k = 0; k < 3; k++)
        free(y[k]);
}

void page_steps_section(page *p, explain *e)
{
    char command[1024];
    double *means = calloc((size_t)e->steps, sizeof *means);
    float *noise = guided_noise(e), *guidance = means ? guidance_maps(e, means) : NULL;
    page_section(p, "steps", "3. Step by step from noise to picture");
    page_print(p, "<p>In every step the UNet is asked twice what in the latents is noise: once with the prompt "
               "(e<sub>c</sub>), "
               "once with an empty one (e<sub>u</sub>). Guidance goes further in the direction in which they differ: "
               "e = e<sub>u</sub> + %g (e<sub>c</sub> - e<sub>u</sub>). The scheduler takes some of e away, and the "
               "next step "
               "begins.</p>\n", (double)e->args.guidance);
    page_slider(p, "steps", e->steps, e->steps - 1, "step");
    if (noise && guidance) {
        numbers(p, e, means);
        films(p, e, noise, guidance);
        levels(p, e, means);
    }
    page_generate(e, &e->args, " --eager", command, sizeof command);
    page_command(p, command);
    page_print(p, "<h3>Five of the guesses through the whole decoder</h3>\n<div class=\"row small\">");
    for (int i = 0; i < EXPLAIN_DECODED; i++) {
        page_print(p, "<figure>");
        page_picture(p, e->decoded[i], "a guess, decoded", e->decoded[i] && e->decoded[i]->width < 128 ? "pixels" : "");
        page_print(p, "<figcaption>step %d</figcaption></figure>\n", e->decoded_at[i] + 1);
    }
    page_print(p, "</div>\n");
    free(means);
    free(noise);
    free(guidance);
}

/* ---------------------------------------------------------------- maps of words */

/* Mean of a word's tokens out of (tokens, h, w), or of (steps, tokens, h, w). */
static float *word_map(const explain *e, const float *maps, int frames, const explain_word *w)
{
    size_t pixels = (size_t)(e->w * e->h), all = (size_t)e->tokens * pixels;
    float *out = calloc((size_t)frames * pixels, sizeof *out);
    for (int f = 0; out && f < frames; f++)
        for (int t = w->from; t < w->to; t++)
            for (size_t i = 0; i < pixels; i++)
                out[(size_t)f * pixels + i] += maps[(size_t)f * all + (size_t)t * pixels + i] / (float)(w->to - w->from);
    return out;
}

static void layer_maps(page *p, const explain *e, const explain_word *w)
{
    page_print(p, "<details><summary>by layer: ");
    page_say(p, w->text);
    page_print(p, "</summary><div class=\"row small\">\n");
    for (int i = 0; i < e->n_layers; i++) {
        const explain_layer *l = &e->layers[i];
        float *map = l->used ? word_map(e, l->sum, 1, w) : NULL;
        im_image *heat = map ? draw_heat(p->c, map, 1, e->w, e->h) : NULL;
        page_print(p, "<figure>");
        page_picture(p, heat, l->name, "pixels");
        char name[64];
        const char *end = strstr(l->name, ".transformer_blocks");
        snprintf(name, sizeof name, "%.*s", end ? (int)(end - l->name) : 63, l->name);
        page_print(p, "<figcaption><code>");
        page_say(p, name);
        page_print(p, "</code><br>%d x %d, %d heads%s</figcaption></figure>\n", l->width, l->height, l->heads,
                   l->used ? "" : ": too coarse, left out");
        im_image_free(heat);
        free(map);
    }
    page_print(p, "</div></details>\n");
}

static void one_word(page *p, const explain *e, const explain_word *w)
{
    float *sum = word_map(e, e->map_sum, 1, w), *steps = word_map(e, e->map_steps, e->steps, w);
    im_image *heat = sum ? draw_heat(p->c, sum, 1, e->w, e->h) : NULL;
    im_image *strip = steps ? draw_heat(p->c, steps, e->steps, e->w, e->h) : NULL;
    page_print(p, "<figure>");
    page_picture(p, heat, w->text, "pixels");
    page_print(p, "<figcaption><b>");
    page_say(p, w->text);
    page_print(p, "</b>, all steps</figcaption></figure><figure>");
    page_film(p, strip, e->steps, "words", w->text, (double)e->w / e->h);
    page_print(p, "<figcaption><b>");
    page_say(p, w->text);
    page_print(p, "</b>, one step</figcaption></figure>\n");
    im_image_free(heat);
    im_image_free(strip);
    free(sum);
    free(steps);
}

void page_words_section(page *p, explain *e)
{
    explain_word ends[2] = { { 0, 1, "(start)" }, { e->tokens - 1, e->tokens, "(end)" } };
    page_section(p, "words", "4. Which word goes where");
    page_print(p, "<p>Every pixel of every level of the UNet asks the text: its query meets the keys of all %d "
               "tokens, and the "
               "softmax shares out one whole among them. The maps show the share that a word gets (DAAM's rule, Tang "
               "et al. "
               "2022: the half that sees the prompt, mean over layers and heads, summed over steps; words of several "
               "tokens "
               "get the mean). The start takes what no word wants.</p>\n", e->length);
    page_slider(p, "words", e->steps, e->steps - 1, "step");
    page_print(p, "<div class=\"row small\"><figure>");
    page_picture(p, e->picture, "the picture, to compare with", e->picture->width < 128 ? "pixels" : "");
    page_print(p, "<figcaption>the picture</figcaption></figure>\n");
    for (int i = 0; i < e->n_words; i++)
        one_word(p, e, &e->words[i]);
    for (int i = 0; i < 2; i++)
        one_word(p, e, &ends[i]);
    page_print(p, "</div>\n");
    for (int i = 0; i < e->n_words; i++)
        layer_maps(p, e, &e->words[i]);
    page_command(p, e->command);
}
