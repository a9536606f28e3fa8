/* explain_page_unet.c: the sections of the UNet, block by block, and of one convolution. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"
#include "cli/profile.h"

/* ---------------------------------------------------------------- what a part of it costs */

static bool below(const char *name, const char *layer)
{
    size_t n = strlen(layer);
    return n && !strncmp(name, layer, n) && name[n] == '.';
}

static int64_t parameters_below(const explain *e, const char *layer)
{
    im_net_param q;
    int64_t sum = 0;
    for (int i = 0; im_sd_param(e->sd, IM_NET_UNET, i, &q); i++)
        sum += below(q.name, layer) ? q.count : 0;
    return sum;
}

static double peak_of(const explain *e) { return e->peak.gflops[IM_COMPUTE_F32]; }

static double percent(const explain *e, double seconds, double flop, double bytes)
{
    return profile_percent(seconds, flop, bytes, peak_of(e), e->peak.read_gbs);
}

/* ---------------------------------------------------------------- blocks */

static bool has_source(const char *op)
{
    const char *name;
    for (int i = 0; (name = explain_op_at(i)); i++)
        if (!strcmp(name, op))
            return true;
    return false;
}

static void op_row(page *p, const explain *e, const explain_op *o)
{
    explain_code code;
    bool found = false, source = has_source(o->op);
    if (source)
        explain_code_of(o->op, 0, &code, &found);
    page_print(p, "<tr><td>");
    if (source)
        page_print(p, "<a href=\"#op-%s\">%s</a>", o->op, o->op);
    else
        page_print(p, "%s", o->op);
    page_print(p, "<br><code>%s</code></td><td>%s</td><td>%lld</td><td>%.4f</td><td>%.3f</td><td>%.1f</td><td>%.0f</td>"
               "<td><code>", o->layer, o->shape, (long long)parameters_below(e, o->layer), o->flop * 1e-9, 1e3 * o->seconds,
               o->flop / fmax(o->seconds, 1e-12) * 1e-9, percent(e, o->seconds, o->flop, o->bytes));
    if (found)
        page_print(p, "%s:%d", code.file, code.line);
    page_print(p, "</code></td></tr>\n");
}

/* Operations from .. to - 1. */
static void block(page *p, const explain *e, int from, int to)
{
    double seconds = 0, flop = 0, bytes = 0;
    const explain_op *o = &e->ops[from];
    for (int i = from; i < to; i++) {
        seconds += e->ops[i].seconds;
        flop += e->ops[i].flop;
        bytes += e->ops[i].bytes;
    }
    page_print(p, "<details class=\"block\"><summary><b><code>%s</code></b><span>%s</span><span>%lld parameters</span>"
               "<span>%.3f GFLOP</span><span>%.2f ms</span><span>%.1f GFLOP/s</span><span>%.0f %% of "
               "peak</span></summary>\n"
               "<div class=\"wide\"><table><thead><tr><th>operation, "
               "layer</th><th>gives</th><th>parameters</th><th>GFLOP</th>"
               "<th>ms</th><th>GFLOP/s</th><th>%% of peak</th><th>source</th></tr></thead>\n", o->block,
               e->ops[to - 1].shape,
               (long long)parameters_below(e, o->block), flop * 1e-9, 1e3 * seconds, flop / fmax(seconds, 1e-12) * 1e-9,
               percent(e, seconds, flop, bytes));
    for (int i = from; i < to; i++)
        op_row(p, e, &e->ops[i]);
    page_print(p, "</table></div></details>\n");
}

static void networks(page *p, const explain *e)
{
    im_net_info n;
    page_print(p, "<div class=\"wide\"><table><thead><tr><th>network</th><th>parameters</th><th>tensors</th>"
               "<th>GFLOP, once</th>"
               "<th>operations</th></tr></thead>\n");
    for (int net = 0; net < IM_NET_COUNT; net++)
        if (im_sd_net_info(e->sd, (im_net)net, e->picture->width, e->picture->height, &n))
            page_print(p, "<tr><td>%s</td><td>%lld</td><td>%lld</td><td>%.3f</td><td>%d</td></tr>\n", n.name,
                       (long long)n.parameters, (long long)n.tensors, n.flop * 1e-9, n.ops);
    page_print(p, "</table></div>\n<span class=\"made\">made by <code>imago info");
    if (e->model)
        page_say(p, " MODEL");
    else
        page_say(p, " weights/imago-small");
    page_print(p, "</code></span>\n");
}

void page_unet_section(page *p, explain *e)
{
    char command[1024];
    const char *op;
    page_section(p, "unet", "5. The UNet, block by block");
    networks(p, e);
    page_print(p, "<p>On the way down the picture gets smaller and the channels more; on the way up what was seen "
               "there is put "
               "beside it again (<code>concat</code>). One evaluation with guidance, both halves at once, so the "
               "first axis of "
               "every shape is %d. Times are the fastest of %d steps; the peak of this machine, measured just before, "
               "is %.1f "
               "GFLOP/s and %.1f GB/s, and each row is set beside the one that bounds it. Winograd's convolutions do fewer "
               "multiply-adds than are counted and may pass 100 %%. Open a block for its operations, and an operation "
               "for its "
               "source.</p>\n<div id=\"blocks\">", e->guided ? 2 : 1, e->steps, peak_of(e), e->peak.read_gbs);
    for (int from = 0, to; from < e->n_ops; from = to) {
        for (to = from + 1; to < e->n_ops && !strcmp(e->ops[to].block, e->ops[from].block); )
            to++;
        block(p, e, from, to);
    }
    page_print(p, "</div>\n");
    page_generate(e, &e->args, " --profile --json", command, sizeof command);
    page_command(p, command);
    page_print(p, "<h3>What an operation is</h3>\n<p>Three sources each: the operation checks shapes and calls a "
               "kernel; the "
               "definition is what every kernel is tested against; the fast kernel is what has just run. They are the "
               "lines "
               "that were compiled into this program.</p>\n");
    for (int i = 0; (op = explain_op_at(i)); i++)
        page_code(p, op);
    page_print(p, "<span class=\"made\">made by <code>imago info --ops</code></span>\n");
}

/* ---------------------------------------------------------------- one convolution */

/* The order that tensor/device.h promises: one chain of fused multiply-adds in ascending (kh, kw, cin), then the bias. */
static float chain(const explain_conv *v)
{
    float sum = 0;
    for (int k = 0; k < v->kh * v->kw * v->cin; k++)
        sum = fmaf(v->in[k], v->w[k], sum);
    return sum + v->bias;
}

static void products_table(page *p, const explain_conv *v)
{
    float sum = 0;
    page_print(p, "<div class=\"wide\"><table><thead><tr><th>row, column</th><th>plane</th><th>input</th><th>weight</th>"
               "<th>product</th><th>sum so far</th></tr></thead>\n");
    for (int k = 0; k < v->kh * v->kw * v->cin; k++) {
        int tap = k / v->cin;
        sum = fmaf(v->in[k], v->w[k], sum);
        page_print(p, "<tr><td>%d, %d</td><td>%d</td><td>%.6f</td><td>%.6f</td><td>%.6f</td><td>%.6f</td></tr>\n",
                   tap / v->kw - (v->kh - 1) / 2, tap % v->kw - (v->kw - 1) / 2, k % v->cin, (double)v->in[k],
                                  (double)v->w[k],
                   (double)v->in[k] * (double)v->w[k], (double)sum);
    }
    page_print(p, "<tr><td colspan=\"5\">+ bias %.6f</td><td>%.6f</td></tr></table></div>\n", (double)v->bias,
               (double)(sum + v->bias));
}

void page_conv_section(page *p, explain *e)
{
    const explain_conv *v = &e->conv;
    float sum = chain(v), difference = fabsf(sum - v->traced);
    page_section(p, "convolution", "6. One convolution, opened");
    page_print(p, "<p>The first layer, <code>conv_in</code>, makes %d channels of %d planes. Here is one of its %lld "
               "output "
               "numbers of the first step: channel %d at row %d, column %d. It is the sum of %d products of the %d x "
               "%d window "
               "of the latents around that place and as many weights, and a bias.</p>\n", v->cout, v->cin,
               (long long)v->cout * e->w * e->h, v->n, v->y, v->x, v->kh * v->kw * v->cin, v->kh, v->kw);
    products_table(p, v);
    page_print(p, "<p id=\"opened\" data-sum=\"%.9g\" data-traced=\"%.9g\">Added up here: <b>%.9g</b>. In the trace "
               "of the run: "
               "<b>%.9g</b>. %s</p>\n", (double)sum, (double)v->traced, (double)sum, (double)v->traced,
               sum == v->traced ? "The same, to the last bit: the order of the sum is part of the operation's definition "
                                  "(<code>src/tensor/device.h</code>)."
                                : "They differ by rounding: this device adds in another order.");
    if (sum != v->traced)
        page_print(p, "<p>The difference is %.3g.</p>\n", (double)difference);
    char command[1024];
    page_generate(e, &e->args, "", command, sizeof command);
    memcpy(command, "imago trace   ", strlen("imago generate"));
    char *end = strstr(command, " -o picture.png");
    if (end)
        snprintf(end, sizeof command - (size_t)(end - command), " -o trace.safetensors");
    page_command(p, command);
    page_print(p, "<p class=\"note\">The trace holds <code>sample</code>, the input, and <code>conv_in</code>, the output, "
               "channels last; the weights are <code>conv_in.weight</code> of the UNet's file.</p>\n");
}
