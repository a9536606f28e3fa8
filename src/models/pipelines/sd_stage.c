/* sd_stage.c: one network at one shape, as something that takes values and gives values.
 *
 * A stage records its network once (imago_engine.h, plans) and runs the plan, or runs op by op; the bits are the same. Keys
 * and values of the text depend on the text alone: they are inputs, computed when the texts change.
 * A model keeps its stages, so a second picture of a size records nothing; but only the one in use has memory for its
 * intermediates, so that of two networks is never held at once. Used by sd_text.c, sd_begin.c, sd_step.c,
 * sd_image.c, sd_report.c. */
#include "models/pipelines/sd.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- what is recorded */

/* Of the UNet, before keys and values. */
static int own_inputs(const im_stage *s)
{
    return 2 + (s->mask_channels > 0) + (s->guidance > 0) + (s->deep > 0);
}

/* arg: the stage, of which nets, size and the kinds of inputs are looked at. */
static im_tensor *clip_fn(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    const im_stage *s = arg;
    im_scope_push(c);
    return im_scope_leave(c, im_clip_encode(c, s->nets->clip, im_clip_tokens(c, s->nets->clip, in[0]), s->size.skip));
}

static im_tensor *unet_fn(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    const im_stage *s = arg;
    im_tensor *w = s->guidance ? in[s->guidance] : NULL;
    im_scope_push(c);
    im_tensor *x = s->mask_channels ? im_concat(c, in[0], in[2]) : in[0];
    im_tensor *deep = s->deep ? in[s->deep] : NULL;
    const im_unet_way way = { s->size.depth, deep, s->size.merge };
    return im_scope_leave(c, im_unet_forward_as(c, s->nets->unet, x, in[1], w, in + own_inputs(s), &way));
}

static im_tensor *decoder_fn(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    return im_vae_decode(c, ((const im_stage *)arg)->nets->vae, in[0]);
}

static im_tensor *encoder_fn(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    return im_vae_encode(c, ((const im_stage *)arg)->nets->vae, in[0]);
}

static const im_plan_fn functions[IM_NET_COUNT] = {
    [IM_NET_CLIP] = clip_fn, [IM_NET_UNET] = unet_fn, [IM_NET_VAE_DECODER] = decoder_fn,
    [IM_NET_VAE_ENCODER] = encoder_fn,
};

/* ---------------------------------------------------------------- inputs */

int im_guidance_input(const im_model_config *m)
{
    return !m->unet.time_cond_proj_dim ? 0 : im_mask_channels(m) ? 3 : 2;
}

/* Which input of the UNet is what an earlier evaluation kept; 0: none. */
static int deep_input(const im_model_config *m, im_sd_size size)
{
    return size.depth != IM_UNET_REUSE ? 0 : 2 + (im_mask_channels(m) > 0) + (im_guidance_input(m) > 0);
}

/* Every input but the UNet's text. */
static bool make_inputs(im_ctx *c, const im_model_config *m, im_net net, int batch, im_sd_size size, im_tensor **in)
{
    int64_t latent[4] = { batch, size.h, size.w, m->vae.latent_channels };
    int64_t picture[4] = { batch, size.height, size.width, m->vae.in_channels };
    switch (net) {
    case IM_NET_CLIP:
        in[0] = im_new(c, IM_I32, 2, (int64_t[]){ batch, m->text_tokens });
        break;
    case IM_NET_UNET:
        in[0] = im_new(c, IM_F32, 4, latent);
        in[1] = im_new(c, IM_F32, 1, (int64_t[]){ batch });
        if (im_mask_channels(m)) {
            in[2] = im_new(c, IM_F32, 4, (int64_t[]){ batch, size.h, size.w, im_mask_channels(m) });
            im_fill(c, in[2], 0);
        }
        if (im_guidance_input(m)) {
            in[im_guidance_input(m)] = im_new(c, IM_F32, 1, (int64_t[]){ batch });
            im_fill(c, in[im_guidance_input(m)], 0);
        }
        if (deep_input(m, size)) {
            int64_t deep[4] = { batch, size.h, size.w, im_unet_deep_channels(&m->unet) };
            in[deep_input(m, size)] = im_new(c, IM_F32, 4, deep);
            im_fill(c, in[deep_input(m, size)], 0);
        }
        break;
    case IM_NET_VAE_DECODER: in[0] = im_new(c, IM_F32, 4, latent); break;
    default: in[0] = im_new(c, IM_F32, 4, picture);
    }
    return im_ok(c);
}

static int tokens_of(const im_model_config *m, im_sd_size size)
{
    return size.tokens ? size.tokens : m->text_tokens;
}

/* Keys and values of a text (batch, T, C). */
static bool make_context(im_stage *s, const im_model_config *m, const float *text, im_tensor **kv)
{
    int64_t shape[3] = { s->batch, tokens_of(m, s->size), m->clip.hidden_size };
    return im_unet_context(s->c, s->nets->unet, im_from(s->c, IM_F32, 3, shape, text), kv);
}

bool im_stage_open(im_sd *sd, im_stage *s, im_net net, int batch, im_sd_size size, const float *text, bool eager)
{
    im_ctx *c = sd->c;
    *s = (im_stage){ .c = c, .nets = &sd->nets, .net = net, .batch = batch, .size = size, .eager = eager,
                     .mask_channels = im_mask_channels(sd->config), .guidance = im_guidance_input(sd->config),
                     .deep = net == IM_NET_UNET ? deep_input(sd->config, size) : 0 };
    if (!im_sd_need(sd, net)) return false;
    s->n_in = net == IM_NET_UNET ? own_inputs(s) + im_unet_context_count(sd->nets.unet) : 1;
    s->in = calloc((size_t)s->n_in, sizeof *s->in);
    if (!s->in) return im_fail(c, "out of memory for the inputs of a network");
    im_scope_push(c);
    bool ok = make_inputs(c, sd->config, net, batch, size, s->in)
        && (net != IM_NET_UNET || make_context(s, sd->config, text, s->in + own_inputs(s)));
    if (ok && !eager) s->plan = im_plan_record(c, functions[net], s, s->in, s->n_in);
    s->open = ok && (eager || s->plan);
    for (int i = 0; s->open && eager && i < s->n_in; i++) im_own(c, s->in[i]);    /* a plan owns its inputs           */
    im_scope_pop(c);
    return s->open && im_ok(c);
}

im_tensor *im_stage_forward(im_stage *s)
{
    return s->plan ? im_plan_run(s->c, s->plan) : functions[s->net](s->c, s, s->in, s->n_in);
}

bool im_stage_run(im_stage *s, const void *x, const float *times, float *out)
{
    if (!im_ok(s->c) || !im_upload(s->c, s->in[0], x) || (times && !im_upload(s->c, s->in[1], times))) return false;
    im_scope_push(s->c);
    bool ok = im_download(s->c, im_stage_forward(s), out);
    im_scope_pop(s->c);
    return ok;
}

void im_stage_close(im_stage *s)
{
    im_plan_free(s->c, s->plan);
    for (int i = 0; s->open && s->eager && i < s->n_in; i++) im_param_free(s->c, s->in[i]);
    free(s->in);
    free(s->runs);
    *s = (im_stage){ .c = s->c };
}

/* ---------------------------------------------------------------- the stages of a model */

bool im_same_size(im_sd_size a, im_sd_size b)
{
    return a.width == b.width && a.height == b.height && a.tokens == b.tokens && a.depth == b.depth
        && a.merge == b.merge;
}

static bool same_size(im_net net, im_sd_size a, im_sd_size b)
{
    if (net != IM_NET_UNET) {
        a.depth = b.depth = IM_UNET_WHOLE;
        a.merge = b.merge = 0;
    }
    return net == IM_NET_CLIP ? a.skip == b.skip : im_same_size(a, b);
}

/* The stage of this kind, or the place of the next one: a free one, or that of the one used longest ago. */
static im_stage *find_stage(im_sd *sd, im_net net, int batch, im_sd_size size, bool eager)
{
    im_stage *place = &sd->stages[0];
    for (im_stage *s = sd->stages; s < sd->stages + IM_STAGES; s++) {
        if (s->open && s->net == net && s->batch == batch && s->eager == eager && same_size(net, s->size, size))
            return s;
        if (place->open && (!s->open || s->used < place->used)) place = s;
    }
    im_stage_close(place);
    return place;
}

static bool has_text(const im_stage *s, const im_stage_text *t)
{
    return s->open && s->n_runs == t->n_runs && !memcmp(s->runs, t->runs, (size_t)t->n_runs * sizeof *t->runs);
}

/* Keys and values of other texts into the inputs. */
static bool set_text(im_stage *s, const im_model_config *m, const float *text)
{
    im_ctx *c = s->c;
    int own = own_inputs(s), n = s->n_in - own;
    im_tensor **kv = calloc((size_t)n + 1, sizeof *kv);
    if (!kv) return im_fail(c, "out of memory for the keys and values of a text");
    im_scope_push(c);
    bool ok = make_context(s, m, text, kv);
    for (int i = 0; ok && i < n; i++) ok = im_assign(c, s->in[own + i], kv[i]);
    im_scope_pop(c);
    free(kv);
    return ok;
}

static bool note_text(im_stage *s, const im_stage_text *t)
{
    free(s->runs);
    s->n_runs = 0;
    s->runs = malloc((size_t)t->n_runs * sizeof *s->runs);
    if (!s->runs) return im_fail(s->c, "out of memory for the list of a batch");
    memcpy(s->runs, t->runs, (size_t)t->n_runs * sizeof *s->runs);
    s->n_runs = t->n_runs;
    return true;
}

im_stage *im_sd_stage(im_sd *sd, im_net net, int batch, im_sd_size size, bool eager, const im_stage_text *t)
{
    im_stage *s = find_stage(sd, net, batch, size, eager);
    if (sd->stage != s) im_sd_stages_rest(sd);
    bool known = t && has_text(s, t), ok = im_ok(sd->c);
    float *text = ok && t && !known ? t->join(t->arg) : NULL;
    if (t && !known) ok = text != NULL;
    if (ok && !s->open) ok = im_stage_open(sd, s, net, batch, size, text, eager);
    else if (ok && text) ok = set_text(s, sd->config, text);
    if (ok && text) ok = note_text(s, t);
    free(text);
    s->used = ++sd->stage_uses;
    sd->stage = s;
    if (ok) return s;
    im_stage_close(s);
    return NULL;
}

void im_sd_stages_rest(im_sd *sd)
{
    if (sd->stage) im_plan_rest(sd->c, sd->stage->plan);
    sd->stage = NULL;
}

void im_sd_stages_forget(im_sd *sd)
{
    for (int i = 0; i < IM_STAGES; i++) sd->stages[i].n_runs = 0;
}

void im_sd_stages_close(im_sd *sd)
{
    for (int i = 0; i < IM_STAGES; i++)
        if (sd->stages[i].open) im_stage_close(&sd->stages[i]);
    sd->stage = NULL;
}

/* ---------------------------------------------------------------- describing */

/* The UNet from its text on: what a description records, since without weights there are no keys and values. */
static im_tensor *unet_from_text(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    const im_stage *s = arg;
    const im_unet *unet = s->nets->unet;
    int own = own_inputs(s);
    im_tensor **all = calloc((size_t)(own + im_unet_context_count(unet)) + 1, sizeof(im_tensor *));
    if (!all) {
        im_fail(c, "out of memory for the inputs of a network");
        return NULL;
    }
    memcpy(all, in, (size_t)own * sizeof(im_tensor *));
    im_tensor *y = im_unet_context(c, unet, in[own], all + own) ? unet_fn(c, arg, all, 0) : NULL;
    free(all);
    return y;
}

static im_tensor *context_fn(im_ctx *c, void *arg, im_tensor *const in[], int n_in)
{
    (void)n_in;
    const im_unet *unet = ((const im_stage *)arg)->nets->unet;
    int n = im_unet_context_count(unet);
    im_tensor **kv = calloc((size_t)n + 1, sizeof(im_tensor *)), *last = in[0];
    if (!kv) {
        im_fail(c, "out of memory for the inputs of a network");
        return NULL;
    }
    if (!im_unet_context(c, unet, in[0], kv)) last = NULL;
    else if (n) last = kv[n - 1];
    free(kv);
    return last;
}

static bool describe(im_ctx *c, im_plan_fn fn, im_stage *s, im_tensor *const in[], int n_in, im_plan_info *out)
{
    im_plan *p = im_plan_record(c, fn, s, in, n_in);
    if (p) *out = im_plan_describe(p);
    im_plan_free(c, p);
    return p && im_ok(c);
}

/* Storage for every parameter that has none, as the loader would make it. It is never touched, so it costs address
 * space and no memory. */
static bool pretend_loaded(im_ctx *c, const im_params *p, im_dtype t)
{
    bool ok = true;
    for (int i = 0; ok && i < p->n; i++)
        ok = im_param_alloc(c, p->v[i].t, im_params_layout(p, &p->v[i], t));
    return ok;
}

static bool describe_stage(im_sd *sd, im_net net, int batch, im_sd_size size, im_plan_info *out)
{
    im_ctx *c = sd->c;
    const im_model_config *m = sd->config;
    im_networks own = { 0 }, *nets = &sd->nets;
    if (!im_ok(c)) return false;
    if (!sd->loaded[net]) {
        nets = &own;
        bool made = im_net_make(c, m, net, nets);
        im_dtype dtype = im_net_dtype(sd, net);
        if (!made || !pretend_loaded(c, im_net_params(nets, net), dtype)) {
            if (made) im_checkpoint_no_room(sd->checkpoint, im_net_part(net), im_net_params(nets, net), dtype);
            im_nets_free(&own);
            return false;
        }
        im_net_params(nets, net)->activations = sd->activations;
    }
    im_scope_push(c);
    im_tensor *in[4] = { 0 };
    im_stage s = { .c = c, .nets = nets, .net = net, .batch = batch, .size = size,
                   .mask_channels = im_mask_channels(m) };
    int64_t text[3] = { batch, tokens_of(m, size), m->clip.hidden_size };
    im_plan_info context = { 0 };
    bool ok = make_inputs(c, m, net, batch, size, in);
    if (ok && net == IM_NET_UNET) {
        in[own_inputs(&s)] = im_new(c, IM_F32, 3, text);
        ok = describe(c, unet_from_text, &s, in, own_inputs(&s) + 1, out);
        im_tensor *alone = im_new(c, IM_F32, 3, text);
        ok = ok && describe(c, context_fn, &s, &alone, 1, &context);
    } else if (ok) {
        ok = describe(c, functions[net], &s, in, 1, out);
    }
    out->nodes -= context.nodes;                               /* done once a picture, not once an evaluation         */
    out->flop -= context.flop;
    out->bytes -= context.bytes;
    out->sum_bytes -= context.sum_bytes;
    im_scope_pop(c);
    im_nets_free(&own);
    return ok;
}

bool im_stage_describe(im_sd *sd, im_net net, int batch, im_sd_size size, im_plan_info *out)
{
    int seen = sd->n_known < IM_STAGES ? sd->n_known : IM_STAGES;
    for (int i = 0; i < seen; i++) {
        const im_stage_info *k = &sd->known[i];
        if (k->net == net && k->batch == batch && same_size(net, k->size, size)) {
            *out = k->info;
            return im_ok(sd->c);
        }
    }
    if (!describe_stage(sd, net, batch, size, out)) return false;
    sd->known[sd->n_known++ % IM_STAGES] = (im_stage_info){ .net = net, .batch = batch, .size = size, .info = *out };
    return true;
}
