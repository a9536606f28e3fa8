/* explain_page_end.c: the last sections: a step of training, the picture with one thing changed, exercises. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"

/* ---------------------------------------------------------------- a step of training */

typedef struct sum { char name[64]; double squares; int64_t count; } sum;

/* Gradients by block: the first two or four parts of a name ("down_blocks.0.resnets.0", "mid_block.attentions.0"). */
static int by_block(const im_once *r, sum *out, int most)
{
    int n = 0;
    for (int i = 0; i < r->n; i++) {
        const char *name = r->layers[i].name, *end = name;
        int parts = !strncmp(name, "mid_block", 9) ? 3 : strstr(name, "_blocks.") ? 4 : 1;
        for (int k = 0; k < parts; k++)
            end += strcspn(end + (k > 0), ".") + (size_t)(k > 0);
        size_t length = (size_t)(end - name);
        if (length >= sizeof out->name)
            length = sizeof out->name - 1;
        if (!n || strncmp(out[n - 1].name, name, length) || out[n - 1].name[length]) {
            if (n == most)
                break;
            out[n] = (sum){ 0 };
            memcpy(out[n++].name, name, length);
        }
        out[n - 1].squares += r->layers[i].norm * r->layers[i].norm;
        out[n - 1].count += r->layers[i].count;
    }
    return n;
}

static void norms(page *p, const im_once *r)
{
    enum { MOST = 128 };
    sum *blocks = calloc(MOST, sizeof *blocks);
    int n = blocks ? by_block(r, blocks, MOST) : 0;
    double most = 1e-30;
    for (int i = 0; i < n; i++)
        most = fmax(most, sqrt(blocks[i].squares));
    page_print(p, "<figure>");
    for (int i = 0; i < n; i++)
        page_print(p, "<div class=\"bar\"><span><code>%s</code></span><span><i "
                   "style=\"width:%.1f%%\"></i></span><b>%.5f</b>"
                   "</div>\n", blocks[i].name, 100 * sqrt(blocks[i].squares) / most, sqrt(blocks[i].squares));
    page_print(p, "<figcaption>Length of the gradient of each block's parameters; all together %.5f. A block with a "
               "long bar is "
               "one that this picture wants changed.</figcaption></figure>\n", r->norm);
    free(blocks);
}

static void tape(page *p, const explain *e)
{
    json_t *row;
    size_t i;
    page_print(p, "<details><summary>the tape: %zu operations, in the order in which they ran; backward walks from the end"
               "</summary><div class=\"wide\"><table><thead><tr><th>operation, first "
               "parameter</th><th>gives</th><th>kept, bytes"
               "</th><th>forward, ms</th><th>backward, ms</th></tr></thead>\n", json_array_size(e->tape));
    json_array_foreach(e->tape, i, row) {
        const char *layer = json_string_value(json_object_get(row, "layer"));
        page_print(p, "<tr><td>%s<br><code>%s</code></td><td>%s</td><td>%lld</td><td>%.3f</td><td>%.3f</td></tr>\n",
                   json_string_value(json_object_get(row, "op")), layer ? layer : "",
                   json_string_value(json_object_get(row, "shape")),
                   (long long)json_integer_value(json_object_get(row, "kept")),
                   1e3 * json_real_value(json_object_get(row, "forward")),
                   1e3 * json_real_value(json_object_get(row, "backward")));
    }
    page_print(p, "</table></div></details>\n");
}

static void one_weight(page *p, const explain *e)
{
    const im_once *r = &e->once;
    const im_once_args *a = &e->once_args;
    int64_t all = 0;
    for (int i = 0; i < r->n; i++)
        all += r->layers[i].count;
    double apart = fabs(r->gradient - r->difference) / fmax(fabs(r->gradient), 1e-30);
    page_print(p, "<h3>One weight</h3>\n<p><code>%s</code>, the number with the largest gradient: ", a->tensor);
    for (int k = 0; k < r->ndim; k++)
        page_print(p, "%s%lld", k ? ", " : "index (", (long long)r->at[k]);
    page_print(p, ") of (output channel, row, column, input plane).</p>\n<div class=\"wide\"><table>\n"
               "<tr><th>before</th><td>%.9g</td></tr><tr><th>gradient, by backpropagation</th><td>%.9g</td></tr>"
               "<tr><th>after: before - %g x gradient</th><td>%.9g</td></tr>"
               "<tr><th>loss with the weight %g higher</th><td>%.9g</td></tr><tr><th>loss with it %g "
               "lower</th><td>%.9g</td></tr>"
               "<tr><th>their difference by %g: the gradient again</th><td>%.9g</td></tr></table></div>\n",
               r->before, r->gradient,
               a->lr, r->after, a->h_step, r->loss_up, a->h_step, r->loss_down, 2 * a->h_step, r->difference);
    page_print(p, "<p id=\"difference\" data-gradient=\"%.9g\" data-difference=\"%.9g\" data-before=\"%.9g\" "
               "data-after=\"%.9g\">"
               "The two are %.3f %% apart. Backpropagation gave all %lld gradients at once in %.0f ms; by differences each "
               "would take two evaluations of its own.</p>\n", r->gradient, r->difference, r->before, r->after, 100 * apart,
               (long long)all,
               1e3 * r->backward_seconds);
}

void page_learn_section(page *p, explain *e)
{
    const im_once *r = &e->once;
    const im_once_args *a = &e->once_args;
    page_section(p, "training", "7. One step of training on this picture");
    if (e->no_once) {
        page_print(p, "<p class=\"note\">There is none: ");
        page_say(p, e->no_once);
        page_print(p, "</p>\n");
        return;
    }
    page_print(p, "<p>Training goes the other way: the finished latents get noise of another seed (%llu), as much as "
               "at time %d, "
               "where &radic;%.4f of the picture is left, and the UNet has to say what of it is noise. The loss is "
               "the mean "
               "square of what it misses. Backpropagation finds for each weight how the loss changes with it, and "
               "each weight "
               "goes a little the other way (SGD, rate %g; a real training uses AdamW and many pictures).</p>\n"
               "<p>Loss before <b>%.6f</b>, after the step, for the same noise, <b>%.6f</b>. Forward %.0f ms, "
               "backward %.0f ms, "
               "the step %.0f ms.</p>\n", (unsigned long long)a->seed, a->time, r->abar, a->lr, r->loss, r->loss_after,
               1e3 * r->forward_seconds, 1e3 * r->backward_seconds, 1e3 * r->step_seconds);
    norms(p, r);
    tape(p, e);
    one_weight(p, e);
    page_command(p, e->command);
    page_print(p, "<p class=\"note\">The same of a real step: <code>imago train diffusion ... --trace-tape</code>.</p>\n");
}

/* ---------------------------------------------------------------- one thing changed */

void page_vary_section(page *p, explain *e)
{
    char command[1024];
    page_section(p, "change", "8. Change one thing");
    page_print(p, "<p>The first is the picture of this page; in each of the others one thing is different. PSNR says "
               "how far "
               "its pixels are from the first: 20 dB is another picture, 50 dB cannot be seen.</p>\n<div class=\"row\">");
    for (int i = 0; i < e->n_varied; i++) {
        const explain_varied *v = &e->varied[i];
        const im_image *picture = v->same ? e->picture : v->picture;
        char more[40] = "";
        page_print(p, "<figure>");
        page_picture(p, picture, v->what, picture->width < 176 ? "pixels" : "");
        page_print(p, "<figcaption><b>%s</b> ", v->same ? "nothing changed" : v->what);
        page_say(p, v->value);
        if (!v->same && isinf(v->psnr))
            page_print(p, "<br>the same to the last pixel");
        else if (!v->same)
            page_print(p, "<br>%.1f dB", v->psnr);
        page_print(p, "</figcaption>");
        if (v->dtype != IM_F32)
            snprintf(more, sizeof more, " --dtype %s", im_dtype_name(v->dtype));
        page_generate(e, &v->args, more, command, sizeof command);
        page_print(p, "<details><summary>command</summary>");
        page_command(p, command);
        page_print(p, "</details></figure>\n");
    }
    page_print(p, "</div>\n");
}

/* ---------------------------------------------------------------- exercises */

static void question(page *p, const char *text) { page_print(p, "<li><p>%s</p><details><summary>answer</summary><p>",
                     text); }
static void answered(page *p) { page_print(p, "</p></details></li>\n"); }

static double flop_of(const explain *e, const char *layer)
{
    for (int i = 0; i < e->n_ops; i++)
        if (!strcmp(e->ops[i].layer, layer))
            return e->ops[i].flop;
    return 0;
}

void page_exercises(page *p, explain *e)
{
    const explain_conv *v = &e->conv;
    int rows = e->guided ? 2 : 1;
    double macs = (double)rows * e->w * e->h * v->cout * v->kh * v->kw * v->cin;
    page_section(p, "exercises", "9. Exercises");
    page_print(p, "<p>Think first; then open.</p>\n<ol>\n");
    question(p, "How many ids does the text encoder get for a prompt of one word that is in the vocabulary? How many "
             "for an "
                "empty prompt?");
    page_print(p, "%d both times: start, the word if there is one, end, and the end again and again. Only its place "
               "tells the "
               "network where the text stops.", e->length);
    answered(p);
    question(p, "How many multiply-adds does <code>conv_in</code> do in one guided evaluation, and how many FLOP is that?");
    page_print(p, "%d samples x %d x %d places x %d channels x %d x %d window x %d planes = %.0f multiply-adds; two "
               "FLOP each and "
               "the bias: counted above as %.4f GFLOP.", rows, e->h, e->w, v->cout, v->kh, v->kw, v->cin, macs,
               flop_of(e, "conv_in") * 1e-9);
    answered(p);
    question(p, "A convolution of 3 x 3 with stride 2 and a border of one zero gets 16 x 16. What shape comes out?");
    page_print(p, "(16 + 2 - 3) / 2 + 1, rounded down: 8 x 8. Look at the first <code>downsamplers</code> above.");
    answered(p);
    question(p, "With guidance 1, what is e? Why is a step then half the work?");
    page_print(p, "e<sub>u</sub> + 1 (e<sub>c</sub> - e<sub>u</sub>) = e<sub>c</sub>: the empty prompt cancels out, "
               "so nobody has "
               "to ask for it. See the picture with guidance 1 in section 8.");
    answered(p);
    question(p, "The weights in bf16 have 8 bits of precision, the picture has 8 bits a colour. Why is the picture "
             "still nearly "
                "the same?");
    page_print(p, "Each output is a sum of hundreds of products, kept in f32; the roundings of single weights are "
               "independent and "
               "mostly cancel. The dB in section 8 say how well.");
    answered(p);
    question(p, "In the table of section 2, change only the last bit of word 0. Which of the eight numbers change?");
    page_print(p, "The first, and the one eight places on, which is made of the same two words with a sine. No other: "
               "each pair of "
               "words makes a pair of numbers.");
    answered(p);
    if (!e->no_once) {
        question(p, "Take the gradient and the rate of section 7 and compute the weight after the step by hand.");
        page_print(p, "%.9g - %g x %.9g = %.9g; the page has %.9g.", e->once.before, e->once_args.lr, e->once.gradient,
                   e->once.before - e->once_args.lr * e->once.gradient, e->once.after);
        answered(p);
    }
    page_print(p, "</ol>\n");
}
