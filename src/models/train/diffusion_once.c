/* diffusion_once.c: one step of training on one picture, so that every number of it can be shown (imago_train.h):
 *
 *     x_t = sqrt(abar) x_0 + sqrt(1 - abar) noise,   loss L = mean (unet(x_t, t, text) - noise)^2
 *     gradients of all parameters,   w' = w - lr dL/dw,   L again
 *     and of one weight (L(w + h) - L(w - h)) / 2h, which backpropagation has no part in.
 *
 * Used by `imago explain`; training itself is train_diffusion.c. */
#include "models/train/diffusion_loss.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "imago.h"
#include "models/checkpoints/checkpoint.h"
#include "models/pipelines/sd.h"

static const double MIB = 1 << 20;

typedef struct once {
    im_ctx *c;
    im_sd *sd;
    const im_once_args *a;
    im_once *out;
    im_unet *unet;
    im_diffusion_batch b;
    im_tensor *w;                                              /* the tensor that is looked at                        */
} once;

/* Weights and gradients in f32, and about as much again for what backward reads. */
static bool fits(const once *o)
{
    double needed = 3 * 4 * (double)im_params_numel(im_unet_params(o->unet));
    double available = (double)im_memory_available();
    return available < 0 || needed <= available
        || im_fail(o->c, "one step of training this UNet takes about %.0f MiB, and %.0f MiB of memory are free",
                   needed / MIB, available / MIB);
}

static bool load(once *o)
{
    o->unet = im_unet_new(o->c, &o->sd->config->unet);
    if (!o->unet || !fits(o)) return false;
    im_unet_params(o->unet)->train = true;
    if (!im_checkpoint_load(o->sd->checkpoint, IM_PART_UNET, im_unet_params(o->unet), IM_F32)) return false;
    const im_param *p = im_params_find(im_unet_params(o->unet), o->a->tensor);
    if (!p) return im_fail(o->c, "the UNet has no tensor %s", o->a->tensor);
    o->w = p->t;
    return true;
}

/* What the network is shown, on the device, of the open scope. */
static bool make_batch(once *o)
{
    im_ctx *c = o->c;
    const im_once_args *a = o->a;
    const im_model_config *m = o->sd->config;
    int channels = m->vae.latent_channels, count;
    int64_t pixels = (int64_t)a->w * a->h, latent[4] = { 1, a->h, a->w, channels };
    size_t each = (size_t)pixels * (size_t)channels;
    float *values = malloc(2 * each * sizeof *values), time = (float)a->time;
    im_sd_text text = { .text = a->prompt };
    bool read = im_sd_encode_texts(o->sd, &text, 1, false);
    im_rng *rng = im_rng_new(c, IM_RNG_CPU, a->seed);
    im_scheduler *s = im_sd_new_scheduler(o->sd, &(im_sd_args){ .width = 0 });
    bool ok = (values && rng) || im_fail(c, "out of memory for a picture's latents");
    if (ok && read && s && im_scheduler_plan(s, 1, 0)) {
        const float *abar = im_scheduler_alphas(s, &count);
        int t = a->time < count ? a->time : count - 1;
        im_to_channels_last(a->latents, channels, pixels, values);
        o->b.x = im_from(c, IM_F32, 4, latent, values);
        im_randn(rng, values, each);
        im_to_channels_last(values, channels, pixels, values + each);
        o->b.noise = im_from(c, IM_F32, 4, latent, values + each);
        o->b.t = im_from(c, IM_F32, 1, (int64_t[]){ 1 }, &time);
        o->b.text = im_from(c, IM_F32, 3, (int64_t[]){ 1, m->text_tokens, m->clip.hidden_size },
                            text.states);
        o->out->abar = (double)abar[t];
        ok = im_noise_latents(c, o->b.x, o->b.noise, &t, abar);
    }
    im_scheduler_free(s);
    im_rng_free(rng);
    free(text.states);
    free(values);
    return ok && im_ok(c);
}

static double loss_of(once *o)
{
    im_scope_push(o->c);
    im_tensor *loss = im_diffusion_loss(o->c, o->unet, NULL, &o->b);
    double value = loss ? im_item(o->c, loss) : 0;
    im_scope_pop(o->c);
    return value;
}

/* Forward, and back. */
static bool gradients(once *o)
{
    im_ctx *c = o->c;
    double start = im_seconds();
    im_scope_push(c);
    im_tape_begin(c);
    im_tensor *loss = im_diffusion_loss(c, o->unet, NULL, &o->b);
    if (loss) o->out->loss = im_item(c, loss);
    double middle = im_seconds();
    if (loss) im_backward(c, loss);
    else im_tape_end(c);
    im_scope_pop(c);
    o->out->forward_seconds = middle - start;
    o->out->backward_seconds = im_seconds() - middle;
    return im_ok(c);
}

/* ---------------------------------------------------------------- what is told of them */

static bool note_layers(once *o)
{
    const im_params *p = im_unet_params(o->unet);
    o->out->layers = calloc((size_t)p->n + 1, sizeof *o->out->layers);
    if (!o->out->layers) return im_fail(o->c, "out of memory for the norms of gradients");
    double all = 0;
    for (int i = 0; i < p->n && im_ok(o->c); i++) {
        im_once_layer *l = &o->out->layers[o->out->n++];
        im_trained one = { .w = p->v[i].t };
        double sum = 0;
        int bad;
        *l = (im_once_layer){ .name = strdup(p->v[i].t->name), .count = im_numel(p->v[i].t) };
        if (!l->name) return im_fail(o->c, "out of memory for the norms of gradients");
        im_sumsq(o->c, &one, 1, &sum, &bad);
        l->norm = sqrt(sum);
        all += sum;
    }
    o->out->norm = sqrt(all);
    return im_ok(o->c);
}

/* Where the tensor's gradient is largest. */
static int64_t choose(once *o)
{
    im_once *r = o->out;
    float *g = o->w->grad ? im_values(o->c, o->w->grad) : NULL;
    int64_t best = 0, n = im_numel(o->w);
    for (int64_t i = 1; g && i < n; i++)
        if (fabsf(g[i]) > fabsf(g[best])) best = i;
    if (g) r->gradient = (double)g[best];
    free(g);
    r->ndim = o->w->ndim;
    memcpy(r->shape, o->w->shape, sizeof r->shape);
    for (int64_t k = o->w->ndim - 1, left = best; k >= 0; k--) {
        r->at[k] = left % r->shape[k];
        left /= r->shape[k];
    }
    return best;
}

static double loss_with(once *o, float *values, int64_t at, double moved)
{
    float kept = values[at];
    values[at] = (float)((double)kept + moved);
    im_upload(o->c, o->w, values);
    double loss = im_ok(o->c) ? loss_of(o) : 0;
    values[at] = kept;
    return loss;
}

/* The gradient of one weight without backpropagation, and the step. */
static bool look_at_one(once *o)
{
    im_once *r = o->out;
    double h = o->a->h_step, start;
    int64_t at = choose(o);
    float *values = im_values(o->c, o->w);
    if (!values) return false;
    r->before = (double)values[at];
    r->loss_up = loss_with(o, values, at, h);
    r->loss_down = loss_with(o, values, at, -h);
    /* by what it was moved in f32 */
    double up = (double)(float)(r->before + h), down = (double)(float)(r->before - h);
    r->difference = (r->loss_up - r->loss_down) / (up - down);
    bool ok = im_upload(o->c, o->w, values);
    free(values);
    const im_params *p = im_unet_params(o->unet);
    im_trained *all = ok ? calloc((size_t)p->n, sizeof *all) : NULL;
    if (ok && !all) return im_fail(o->c, "out of memory for a step");
    for (int i = 0; all && i < p->n; i++) all[i].w = p->v[i].t;
    start = im_seconds();
    ok = ok && im_optimise(o->c, &(im_optimise_step){ .kind = IM_SGD, .params = all, .count = p->n, .scale = 1,
                                                      .lr = o->a->lr });
    free(all);
    values = ok ? im_values(o->c, o->w) : NULL;                /* waits for the step                                   */
    r->step_seconds = im_seconds() - start;
    if (values) r->after = (double)values[at];
    free(values);
    r->loss_after = im_ok(o->c) ? loss_of(o) : 0;
    return im_ok(o->c);
}

bool im_diffusion_once(im_sd *sd, const im_once_args *a, im_once *out)
{
    once o = { .c = sd->c, .sd = sd, .a = a, .out = out };
    *out = (im_once){ 0 };
    if (!im_ok(sd->c)) return false;
    im_scope_push(sd->c);
    bool ok = load(&o) && make_batch(&o) && gradients(&o) && note_layers(&o) && look_at_one(&o);
    im_scope_pop(sd->c);
    im_unet_free(o.unet);
    if (!ok) im_once_free(out);
    return ok;
}

void im_once_free(im_once *o)
{
    for (int i = 0; i < o->n; i++) free(o->layers[i].name);
    free(o->layers);
    *o = (im_once){ 0 };
}
