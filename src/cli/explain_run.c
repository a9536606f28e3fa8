/* explain_run.c: one run, op by op, with everything of it that the page shows; the pictures with one thing changed; a step
 * of training. What is traced is what `imago trace` writes. Used by cmd_explain.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"
#include "cli/session.h"

/* ---------------------------------------------------------------- what the run is heard to say */

static bool ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), m = strlen(tail);
    return n > m && !strcmp(name + n - m, tail);
}

/* conv_out: (rows, h, w, C), the prompt's sample last -> (C, h, w) */
static void take_noise(explain *e, const im_tensor *t)
{
    size_t pixels = (size_t)(e->w * e->h), channels = (size_t)e->channels;
    float *all = t->dtype == IM_F32 && (size_t)im_numel(t) >= e->each ? im_values(e->c, t) : NULL;
    for (int half = 0; all && half < 2; half++) {
        const float *from = all + (size_t)(half ? t->shape[0] - 1 : 0) * e->each;
        float *to = (half ? e->e_c : e->e_u) + (size_t)e->step * e->each;
        for (size_t i = 0; i < e->each; i++)
            to[i % channels * pixels + i / channels] = from[i];
    }
    free(all);
}

/* The picture's middle; the channel that answers most. */
static void take_conv_out(explain *e, const im_tensor *t)
{
    explain_conv *v = &e->conv;
    float *all = im_values(e->c, t);
    int cout = (int)t->shape[3];
    v->y = (int)t->shape[1] / 2;
    v->x = (int)t->shape[2] / 2;
    const float *at = all ? all + (((size_t)(t->shape[0] - 1) * (size_t)t->shape[1] + (size_t)v->y) * (size_t)t->shape[2]
                                   + (size_t)v->x) * (size_t)cout : NULL;
    for (int n = 0; at && n < cout; n++)
        if (n == 0 || fabsf(at[n]) > fabsf(v->traced)) {
            v->traced = at[n];
            v->n = n;
        }
    free(all);
}

/* The network's input (rows, h, w, C), kept whole until the window is known. */
static void take_conv_in(explain *e, const im_tensor *t)
{
    float *all = im_values(e->c, t);
    size_t n = all ? (size_t)(im_numel(t) / t->shape[0]) : 0;
    e->conv.cin = (int)t->shape[3];
    free(e->conv.in);
    e->conv.in = all ? malloc(n * sizeof *all) : NULL;
    if (e->conv.in)
        memcpy(e->conv.in, all + (size_t)(t->shape[0] - 1) * n, n * sizeof *all);
    else
        im_fail(e->c, "out of memory for the input of a convolution");
    free(all);
}

static void on_trace(void *arg, const char *name, const im_tensor *t)
{
    explain *e = arg;
    if (!im_ok(e->c))
        return;
    if (ends_in(name, ".attn2.to_k"))
        explain_keys(e, name, t);
    else if (ends_in(name, ".attn2.to_q"))
        explain_queries(e, name, t);
    else if (!strcmp(name, "conv_out"))
        take_noise(e, t);
    else if (!strcmp(name, "conv_in") && e->step == 0)
        take_conv_out(e, t);
    else if (!strcmp(name, "sample") && e->step == 0)
        take_conv_in(e, t);
}

/* ---------------------------------------------------------------- operations */

/* "down_blocks.0.resnets.0.norm1" -> "down_blocks.0.resnets.0": up to the number of a block in a level; else up to the
 * first dot ("conv_in", "time_embedding"). */
static size_t block_length(const char *layer)
{
    static const char *const kinds[] = { "resnets.", "attentions.", "downsamplers.", "upsamplers." };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *p = strstr(layer, kinds[i]);
        if (p)
            return (size_t)(p - layer) + strlen(kinds[i]) + strspn(p + strlen(kinds[i]), "0123456789");
    }
    return strcspn(layer, ".");
}

/* An operation without parameters is of the block before it (attention, what follows the time), or behind it. */
static bool follows(const char *op)
{
    return !strcmp(op, "attention") || !strcmp(op, "activate");
}

static void name_blocks(explain *e)
{
    for (int i = 0; i < e->n_ops; i++) {
        explain_op *o = &e->ops[i], *from = o;
        if (!*o->layer && follows(o->op) && i > 0)
            from = o - 1;
        for (; !*o->layer && !follows(o->op) && from < e->ops + e->n_ops - 1 && !*from->layer; )
            from++;
        o->block = *from->layer ? strndup(from->layer, block_length(from->layer)) : strdup(from->block ? from->block : "");
        if (!o->block)
            im_fail(e->c, "out of memory for the list of operations");
    }
}

static void on_profile(void *arg, const im_profile_row *row)
{
    explain *e = arg;
    int at = e->at_op++;
    if (e->step == 0 && at == e->n_ops) {
        if (e->n_ops == e->cap_ops) {
            int cap = e->cap_ops ? 2 * e->cap_ops : 256;
            explain_op *v = realloc(e->ops, (size_t)cap * sizeof *v);
            if (!v) {
                im_fail(e->c, "out of memory for the list of operations");
                return;
            }
            e->ops = v;
            e->cap_ops = cap;
        }
        explain_op *o = &e->ops[e->n_ops++];
        size_t n = strlen(row->layer), tail = strlen(".weight");
        *o = (explain_op){ .op = strdup(row->op), .flop = row->flop, .bytes = row->bytes, .seconds = row->seconds,
                           .layer = strndup(row->layer, ends_in(row->layer, ".weight") ? n - tail : n) };
        im_shape_text(row->out, o->shape, sizeof o->shape);
        if (!o->op || !o->layer)
            im_fail(e->c, "out of memory for the list of operations");
    } else if (at < e->n_ops) {
        e->ops[at].seconds = fmin(e->ops[at].seconds, row->seconds);
    }
}

/* ---------------------------------------------------------------- the run */

static bool make_room(explain *e)
{
    size_t n = (size_t)e->steps, map = (size_t)e->tokens * (size_t)(e->w * e->h);
    e->x = calloc(n * e->each, sizeof(float));
    e->guess = calloc(n * e->each, sizeof(float));
    e->e_u = calloc(n * e->each, sizeof(float));
    e->e_c = calloc(n * e->each, sizeof(float));
    e->last = calloc(e->each, sizeof(float));
    e->time = calloc(n, sizeof(float));
    e->abar = calloc(n, sizeof(float));
    e->map_sum = calloc(map, sizeof(float));
    e->map_steps = calloc(n * map, sizeof(float));
    e->preview = calloc(n, sizeof(im_image *));
    return (e->x && e->guess && e->e_u && e->e_c && e->last && e->time && e->abar && e->map_sum && e->map_steps &&
            e->preview) || im_fail(e->c, "out of memory for %d steps", e->steps);
}

static bool one_step(explain *e, im_sd_run *r)
{
    size_t at = (size_t)e->step * e->each;
    e->at_op = 0;
    return im_sd_run_latents(r, e->x + at) && im_sd_run_level(r, e->step, &e->time[e->step], &e->abar[e->step]) &&
           im_sd_run_step(&r, 1) && im_ok(e->c) && im_sd_run_guess(r, e->guess + at) &&
           (e->preview[e->step] = im_sd_run_preview(r)) != NULL && explain_maps_end(e);
}

/* Five of the guesses, from first to last, through the whole decoder. */
static bool decode_some(explain *e)
{
    for (int i = 0; i < EXPLAIN_DECODED && im_ok(e->c); i++) {
        e->decoded_at[i] = (e->steps - 1) * i / (EXPLAIN_DECODED - 1);
        e->decoded[i] = im_sd_decode(e->sd, &e->args, e->guess + (size_t)e->decoded_at[i] * e->each);
    }
    return im_ok(e->c);
}

/* The window of the one output that is opened, and its weights. */
static bool open_conv(explain *e)
{
    explain_conv *v = &e->conv;
    im_net_param p, b;
    float *w = im_sd_param_values(e->sd, IM_NET_UNET, "conv_in.weight", &p);
    float *bias = w ? im_sd_param_values(e->sd, IM_NET_UNET, "conv_in.bias", &b) : NULL;
    float *window = NULL;
    if (bias && v->in) {
        v->cout = (int)p.shape[0];
        v->kh = (int)p.shape[2];
        v->kw = (int)p.shape[3];
        v->bias = bias[v->n];
        size_t n = (size_t)(v->kh * v->kw * v->cin);
        window = calloc(n, sizeof *window);
        v->w = calloc(n, sizeof *v->w);
    }
    bool ok = (window && v->w) || im_fail(e->c, "out of memory for a convolution");
    for (int i = 0; ok && i < v->kh; i++)
        for (int j = 0; j < v->kw; j++)
            for (int k = 0; k < v->cin; k++) {
                int y = v->y + i - (v->kh - 1) / 2, x = v->x + j - (v->kw - 1) / 2, to = (i * v->kw + j) * v->cin + k;
                if (y >= 0 && y < e->h && x >= 0 && x < e->w)
                    window[to] = v->in[((size_t)y * (size_t)e->w + (size_t)x) * (size_t)v->cin + (size_t)k];
                v->w[to] = w[(((size_t)v->n * (size_t)v->cin + (size_t)k) * (size_t)v->kh + (size_t)i) * (size_t)v->kw
                             + (size_t)j];
            }
    free(v->in);
    v->in = window;
    free(w);
    free(bias);
    return ok;
}

static bool go(explain *e, im_sd_run *r)
{
    bool ok = im_sd_run_begin(&r, 1);
    im_on_profile(e->c, on_profile, e);
    for (e->step = 0; ok && e->step < e->steps && im_sd_run_state(r) == IM_SD_RUNNING; e->step++)
        ok = one_step(e, r);
    im_on_profile(e->c, NULL, NULL);
    im_on_trace(e->c, NULL, NULL);
    if (ok && im_sd_run_state(r) == IM_SD_FAILED)
        return im_fail(e->c, "%s", im_sd_run_error(r));
    return ok && im_sd_run_latents(r, e->last) && (e->picture = im_sd_run_image(r)) != NULL;
}

bool explain_run(explain *e)
{
    int64_t shape[3];
    im_sd_args a = e->args;
    a.eager = true;                                            /* a plan has no names                                  */
    if (!im_sd_latent_shape(e->sd, &a, shape))
        return false;
    e->channels = (int)shape[0];
    e->h = (int)shape[1];
    e->w = (int)shape[2];
    e->each = (size_t)(shape[0] * shape[1] * shape[2]);
    e->guided = im_sd_guided(e->sd, &a);
    im_sd_run *r = im_sd_run_open(e->sd, &a);
    if (!r)
        return false;
    e->steps = im_sd_run_total(r);
    im_on_trace(e->c, on_trace, e);
    bool ok = make_room(e) && go(e, r);
    im_on_trace(e->c, NULL, NULL);
    im_sd_run_close(r);
    if (ok)
        name_blocks(e);
    return ok && im_ok(e->c) && open_conv(e) && decode_some(e);
}

/* ---------------------------------------------------------------- one thing changed */

static explain_varied *vary(explain *e, const char *what, const char *value)
{
    explain_varied *v = &e->varied[e->n_varied++];
    *v = (explain_varied){ .what = what, .args = e->args, .dtype = IM_F32 };
    snprintf(v->value, sizeof v->value, "%s", value);
    return v;
}

static void list_varied(explain *e)
{
    static const float guidances[] = { 1, 2, 7.5f };
    static const char *const schedulers[] = { "ddim", "euler", "dpmpp_2m_karras" };
    char text[80];
    vary(e, "nothing", "")->same = true;
    vary(e, "prompt", e->other)->args.prompt = e->other;
    snprintf(text, sizeof text, "%llu", (unsigned long long)e->args.seed + 1);
    vary(e, "seed", text)->args.seed = e->args.seed + 1;
    for (size_t i = 0; i < sizeof guidances / sizeof *guidances; i++) {
        snprintf(text, sizeof text, "%g", (double)guidances[i]);
        vary(e, "guidance", text)->args.guidance = guidances[i];
    }
    for (int i = 0; i < 2; i++) {
        int steps = i ? 2 * e->args.steps : e->args.steps >= 8 ? e->args.steps / 4 : 1;
        snprintf(text, sizeof text, "%d", steps);
        vary(e, "steps", text)->args.steps = steps;
    }
    for (size_t i = 0; i < sizeof schedulers / sizeof *schedulers; i++) {
        im_sd_args *a = &vary(e, "scheduler", schedulers[i])->args;
        a->scheduler = schedulers[i];
        if (!im_sampler_has_eta(a->scheduler))
            a->eta = 0;
    }
    vary(e, "dtype", "f16")->dtype = IM_F16;
    vary(e, "dtype", "bf16")->dtype = IM_BF16;
}

/* Those of one dtype together: one evaluation for all. */
static bool draw_varied(explain *e, im_sd *sd, im_dtype dtype)
{
    im_sd_args a[EXPLAIN_VARIED] = { 0 };
    im_image *out[EXPLAIN_VARIED] = { 0 };
    int which[EXPLAIN_VARIED], n = 0;
    for (int i = 0; i < e->n_varied; i++)
        if (e->varied[i].dtype == dtype && !e->varied[i].same) {
            which[n] = i;
            a[n++] = e->varied[i].args;
        }
    bool ok = im_sd_generate_batch(sd, a, n, out);
    for (int i = 0; i < n; i++)
        e->varied[which[i]].picture = out[i];
    return ok;
}

static double psnr_of(const im_image *a, const im_image *b)
{
    double sum = 0;
    size_t n = (size_t)a->width * (size_t)a->height * 3;
    for (size_t i = 0; i < n; i++)
        sum += pow((double)a->pixels[i] - (double)b->pixels[i], 2);
    return sum > 0 ? 10 * log10(255.0 * 255.0 * (double)n / sum) : HUGE_VAL;
}

bool explain_vary(explain *e)
{
    static const im_dtype halves[] = { IM_F16, IM_BF16 };
    list_varied(e);
    bool ok = draw_varied(e, e->sd, IM_F32);
    for (int i = 0; ok && i < 2; i++) {
        im_sd *sd = im_sd_open(e->c, e->model, halves[i]);
        ok = sd && draw_varied(e, sd, halves[i]);
        im_sd_free(sd);
    }
    for (int i = 0; ok && i < e->n_varied; i++)
        if (!e->varied[i].same)
            e->varied[i].psnr = psnr_of(e->picture, e->varied[i].picture);
    return ok;
}

/* ---------------------------------------------------------------- a step of training */

static void on_tape(void *arg, const im_tape_row *row)
{
    explain *e = arg;
    char shape[64];
    im_shape_text(row->out, shape, sizeof shape);
    /* the last node comes first */
    json_array_insert_new(e->tape, 0, json_pack("{s:s, s:s, s:s, s:I, s:f, s:f}", "op", row->op, "layer", row->layer,
                                                "shape", shape, "kept", (json_int_t)row->kept_bytes, "forward",
                                                row->forward_seconds, "backward", row->backward_seconds));
}

bool explain_learn(explain *e)
{
    e->once_args = (im_once_args){ .prompt = e->args.prompt, .latents = e->last, .w = e->w, .h = e->h, .time = 500,
                                   .seed = e->args.seed + 1, .lr = 0.01, .tensor = "conv_in.weight", .h_step = 0.01 };
    e->tape = json_array();
    im_on_tape(e->c, on_tape, e);
    bool ok = im_diffusion_once(e->sd, &e->once_args, &e->once);
    im_on_tape(e->c, NULL, NULL);
    if (ok || im_cancelled(e->c))
        return ok;
    e->no_once = error_put_aside(e->c);
    return e->no_once != NULL;
}

/* ---------------------------------------------------------------- the end */

void explain_free(explain *e)
{
    float *const floats[] = { e->x, e->guess, e->e_u, e->e_c, e->last, e->time, e->abar, e->map_sum, e->map_steps,
                              e->conv.in, e->conv.w };
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        free(floats[i]);
    for (int i = 0; e->preview && i < e->steps; i++)
        im_image_free(e->preview[i]);
    for (int i = 0; i < EXPLAIN_DECODED; i++)
        im_image_free(e->decoded[i]);
    for (int i = 0; i < e->n_varied; i++)
        im_image_free(e->varied[i].picture);
    for (int i = 0; i < e->n_ops; i++) {
        free(e->ops[i].op);
        free(e->ops[i].layer);
        free(e->ops[i].block);
    }
    for (int i = 0; i < e->n_layers; i++) {
        free(e->layers[i].name);
        free(e->layers[i].keys);
        free(e->layers[i].sum);
    }
    free(e->preview);
    im_image_free(e->picture);
    free(e->ops);
    free(e->layers);
    free(e->ids);
    free(e->cut);
    free(e->no_once);
    free(e->command);
    json_decref(e->tape);
    im_once_free(&e->once);
    im_sd_free(e->sd);
}
