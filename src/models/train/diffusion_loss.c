/* diffusion_loss.c: see diffusion_loss.h. Everything here is operations of imago.h, so autograd does the rest. */
#include "models/train/diffusion_loss.h"

#include <math.h>
#include <stdlib.h>

bool im_noise_latents(im_ctx *c, im_tensor *x, im_tensor *noise, const int *t, const float *abar)
{
    bool ok = x && noise;
    for (int64_t b = 0; ok && b < x->shape[0]; b++) {
        im_tensor *one = im_slice(c, x, 0, b, b + 1);
        ok = im_combine(c, one, &(im_combination){ .count = 2, .x = { one, im_slice(c, noise, 0, b, b + 1) }, .by = 1,
                                                   .limit = INFINITY,
                                                   .w = { sqrtf(abar[t[b]]), sqrtf(1.0f - abar[t[b]]) } });
    }
    return ok && im_ok(c);
}

float im_snr_weight(float abar, float power, float gamma)
{
    float snr = abar / (1.0f - abar);
    if (gamma > 0 && snr > gamma)
        return gamma / snr;
    return snr < 1 ? powf(snr, -power) : 1.0f;
}

im_tensor *im_diffusion_loss(im_ctx *c, const im_unet *unet, const im_clip *clip, const im_diffusion_batch *b)
{
    im_tensor **kv = calloc((size_t)im_unet_context_count(unet) + 1, sizeof *kv), *loss = NULL;
    if (!kv) {
        im_fail(c, "out of memory for the keys and values of the text");
        return NULL;
    }
    im_scope_push(c);
    im_tensor *text = clip ? im_clip_forward(c, clip, b->ids) : b->text;                 /* (B, T, width)   */
    if (text && im_unet_context(c, unet, text, kv)) {
        im_tensor *e = im_unet_forward(c, unet, b->x, b->t, kv);                         /* (B, h, w, C)    */
        loss = e ? im_mse(c, e, b->noise, b->weight) : NULL;                             /* (1)             */
    }
    free(kv);
    return im_scope_leave(c, loss);
}

/* Differences of neighbours along an axis of (B, H, W, C): x[.., 1:] - x[.., :-1]. */
static im_tensor *differences(im_ctx *c, im_tensor *x, int axis)
{
    if (!x)
        return NULL;
    int64_t n = x->shape[axis];
    im_tensor *next = im_contiguous_copy(c, im_slice(c, x, axis, 1, n));
    im_tensor *here = im_contiguous_copy(c, im_slice(c, x, axis, 0, n - 1));
    return here ? im_add(c, next, im_scale(c, here, -1.0f)) : NULL;
}

/* Distances of decode(z) and x, and their sum; KL where there are moments. */
static bool loss_of(im_ctx *c, const im_vae *vae, im_tensor *x, im_tensor *z, im_tensor *moments,
                    const im_autoencoder_weights *w, im_autoencoder_loss *out, im_tensor **y)
{
    im_tensor *image = z ? im_vae_decode(c, vae, z) : NULL;                              /* (B, H, W, 3)    */
    *out = (im_autoencoder_loss){ 0 };
    if (image) {
        out->l1 = im_l1(c, image, x, NULL);
        im_tensor *across = im_l1(c, differences(c, image, 2), differences(c, x, 2), NULL);
        im_tensor *down = im_l1(c, differences(c, image, 1), differences(c, x, 1), NULL);
        out->gradient = im_ok(c) ? im_add(c, across, down) : NULL;
        out->kl = moments ? im_kl(c, moments) : NULL;
        if (im_ok(c))
            out->loss = im_add(c, out->l1, im_scale(c, out->gradient, w->gradient));
        if (im_ok(c) && out->kl)
            out->loss = im_add(c, out->loss, im_scale(c, out->kl, w->kl));
    }
    out->l1 = im_keep(c, out->l1);
    out->gradient = im_keep(c, out->gradient);
    out->kl = im_keep(c, out->kl);
    out->loss = im_keep(c, out->loss);
    if (y)
        *y = im_keep(c, image);
    return im_ok(c);
}

bool im_autoencoder_loss_of(im_ctx *c, const im_vae *vae, im_tensor *x, im_tensor *noise,
                            const im_autoencoder_weights *w, im_autoencoder_loss *out, im_tensor **y)
{
    im_scope_push(c);
    im_tensor *moments = im_vae_encode(c, vae, x);                                       /* (B, h, w, 2C)   */
    im_tensor *z = moments ? im_gaussian_sample(c, moments, noise) : NULL;               /* (B, h, w, C)    */
    bool ok = loss_of(c, vae, x, z, moments, w, out, y);
    im_scope_pop(c);
    return ok;
}

bool im_decoder_loss_of(im_ctx *c, const im_vae *vae, im_tensor *x, im_tensor *z, const im_autoencoder_weights *w,
                        im_autoencoder_loss *out, im_tensor **y)
{
    im_scope_push(c);
    bool ok = loss_of(c, vae, x, z, NULL, w, out, y);
    im_scope_pop(c);
    return ok;
}

im_tensor *im_autoencoder_draw(im_ctx *c, const im_vae *vae, im_tensor *x, im_tensor *noise)
{
    im_scope_push(c);
    im_tensor *moments = im_vae_encode(c, vae, x);                                       /* (B, h, w, 2C)   */
    return im_scope_leave(c, moments ? im_gaussian_sample(c, moments, noise) : NULL);
}

im_tensor *im_tiny_loss(im_ctx *c, const im_vae *tiny, const im_tiny_lesson *l)
{
    im_scope_push(c);
    im_tensor *y = im_vae_decode(c, tiny, l->z);                                         /* (B, H, W, 3)    */
    im_tensor *mean = y ? im_vae_encode(c, tiny, l->x) : NULL;                           /* (B, h, w, C)    */
    im_tensor *loss = mean ? im_add(c, im_mse(c, y, l->y, NULL), im_mse(c, mean, l->mean, NULL)) : NULL;
    return im_scope_leave(c, loss);
}
