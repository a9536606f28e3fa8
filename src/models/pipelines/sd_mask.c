/* sd_mask.c: a picture redrawn where a mask is white, as diffusers' StableDiffusionInpaintPipeline does it.
 *
 *     mask      grey, blurred, resized by Lanczos to the picture's size, white from 1/2 on; of a latent its first pixel
 *     ordinary  after every step  x = (1 - m) (z with the noise of the next step) + m x       z: latents of init
 *     9 inputs  the UNet sees [x, m, latents of the init picture with the mask's part grey]
 *
 * What the masked part begins from (mask_fill) and how only a part of the picture is drawn (mask_only) are rules of the
 * AUTOMATIC1111 web interface (data/images/redraw.h; modules/processing.py there):
 *
 *     fill      the picture, at its size as drawn, has the colours around the mask in the mask's place
 *     noise     z = (1 - m) z + m n, n the noise that is added to z afterwards;   nothing: z = (1 - m) z
 *     only      picture and blurred mask are cut to the mask's box, widened to the proportions of the drawing, and fitted
 *               to its size; what is drawn is fitted back to the box, and the picture laid over it where the mask is black
 *
 * Draws come in diffusers' order: the init picture's latent (not where 9 inputs begin from noise alone), the noise, the
 * masked picture's latent, which is drawn for an ordinary model, too, and thrown away. The sum of two pictures happens on
 * the host: it costs two copies of a latent a step. Used by sd_run.c, sd_begin.c and sd_step.c. */
#include "models/pipelines/sd_run.h"
#include "data/images/blur.h"
#include "data/images/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- the mask */

/* Pillow's convert("L") of a picture. */
static im_image *grey_of(im_ctx *c, const im_image *i)
{
    im_image *out = im_image_new(c, i->width, i->height, 1);
    for (size_t p = 0; out && p < (size_t)i->width * (size_t)i->height; p++) {
        const uint8_t *v = i->pixels + p * (size_t)i->channels;
        uint32_t sum = i->channels == 1 ? 0 : v[0] * 19595u + v[1] * 38470u + v[2] * 7471u + 0x8000u;
        out->pixels[p] = i->channels == 1 ? v[0] : (uint8_t)(sum >> 16);
    }
    return out;
}

static bool blur(im_ctx *c, im_image *grey, float radius)
{
    if (radius <= 0) return true;
    uint8_t *scratch = malloc(im_blur_bytes(grey->width, grey->height, radius));
    if (!scratch) return im_fail(c, "out of memory for a mask of %dx%d", grey->width, grey->height);
    im_blur(grey->pixels, grey->width, grey->height, radius, scratch);
    free(scratch);
    return true;
}

/* Sides in the same proportion, to a pixel of the smaller picture or two in a hundred. */
static bool same_shape(const im_image *a, const im_image *b)
{
    double x = (double)a->width * b->height, y = (double)b->width * a->height;
    return fabs(x - y) <= 0.02 * fmax(x, y);
}

static bool replace(im_image **old, im_image *by)
{
    im_image_free(*old);
    *old = by;
    return by != NULL;
}

/* mask_only: init and mask become their part; mask (grey, blurred) is of any size and taken over. */
static bool cut_out(im_sd_run *r, im_image *mask)
{
    im_ctx *c = r->c;
    int width = r->init->width, height = r->init->height;
    r->whole = r->init;
    r->whole_mask = mask;
    r->init = NULL;
    if (!im_mask_box(mask, 0, &r->box)) return true;           /* black: told by who looks at r->mask                  */
    if (mask->width != width || mask->height != height)
        if (!replace(&r->whole_mask, im_resize(c, mask, width, height, IM_FILTER_LANCZOS))) return false;
    if (!im_mask_box(r->whole_mask, r->a.mask_padding, &r->box)) return true;
    im_box_widen(&r->box, r->size.width, r->size.height, width, height);
    im_image *part = im_cut(c, r->whole, r->box), *part_mask = im_cut(c, r->whole_mask, r->box);
    if (part && part_mask) {
        r->init = im_fit_within(c, part, r->size.width, r->size.height);
        r->mask = im_fit_within(c, part_mask, r->size.width, r->size.height);
    }
    im_image_free(part);
    im_image_free(part_mask);
    return im_ok(c);
}

/* mask_fill: all but what is there begins from a picture that is filled. */
static bool fill(im_sd_run *r)
{
    im_ctx *c = r->c;
    if (r->a.mask_fill == IM_MASK_ORIGINAL) return true;
    return replace(&r->init, im_resize(c, r->init, r->size.width, r->size.height, IM_FILTER_LANCZOS)) &&
           replace(&r->init, im_fill_masked(c, r->init, r->mask));
}

static bool has_white(const im_sd_run *r, const im_image *given)
{
    bool any = false;
    for (size_t p = 0; r->mask && p < (size_t)r->size.width * (size_t)r->size.height; p++)
        any |= r->mask->pixels[p] > 127;
    if (any) return true;
    const size_t n = (size_t)given->width * (size_t)given->height * (size_t)given->channels;
    for (size_t i = 0; i < n && r->a.mask_blur > 0 && !any; i++) any = given->pixels[i] > 127;
    if (any)
        return im_fail(r->c, "blurred by %g pixels the mask has no white part any more, so nothing would be redrawn; "
                             "wanted a smaller --mask-blur", (double)r->a.mask_blur);
    return im_fail(r->c, "the mask has no white part, so nothing would be redrawn; white is drawn anew");
}

bool im_mask_take(im_sd_run *r, const im_sd_args *a)
{
    im_ctx *c = r->c;
    bool needed = im_mask_channels(r->sd->config) > 0;
    if (!a->mask)
        return !needed || im_fail(c, "this is an inpainting model, which redraws a part of a picture; wanted a picture "
                                     "(-i) and a mask (--mask)");
    if (!a->init) return im_fail(c, "a mask needs a picture to redraw; wanted an init picture (-i)");
    if (!(a->mask_blur >= 0 && a->mask_blur <= 1000))
        return im_fail(c, "mask blur: found %g, wanted a radius from 0 to 1000 pixels", (double)a->mask_blur);
    if (!same_shape(a->mask, a->init))
        return im_fail(c, "the mask has %dx%d pixels and the picture %dx%d: found other proportions, wanted the same; "
                          "cut one of them", a->mask->width, a->mask->height, a->init->width, a->init->height);
    if ((unsigned)a->mask_fill > IM_MASK_NOTHING)
        return im_fail(c, "mask fill: found %d, wanted IM_MASK_ORIGINAL to IM_MASK_NOTHING", (int)a->mask_fill);
    if (a->mask_only && a->mask_padding < 0)
        return im_fail(c, "padding of the masked part: found %d, wanted 0 pixels or more", a->mask_padding);
    im_image *grey = grey_of(c, a->mask);
    bool ok = grey && blur(c, grey, a->mask_blur);
    if (ok && a->mask_only) {
        ok = cut_out(r, grey);
        grey = NULL;
    } else if (ok) {
        r->mask = im_resize(c, grey, r->size.width, r->size.height, IM_FILTER_LANCZOS);
    }
    im_image_free(grey);
    ok = ok && im_ok(c) && has_white(r, a->mask) && fill(r);
    r->a.init = r->init;
    return ok;
}

im_image *im_mask_back(const im_sd_run *r, im_image *drawn)
{
    if (!r->whole || !drawn) return drawn;
    im_image *part = im_fit_over(r->c, drawn, r->box.x1 - r->box.x0, r->box.y1 - r->box.y0);
    im_image *out = part ? im_put_back(r->c, r->whole, r->whole_mask, part, r->box) : NULL;
    im_image_free(part);
    im_image_free(drawn);
    return out;
}

/* Is latent (x, y) drawn anew? */
static bool is_white(const im_sd_run *r, int64_t pixel)
{
    int x = (int)(pixel % r->size.w), y = (int)(pixel / r->size.w), factor = r->size.width / r->size.w;
    return r->mask->pixels[(size_t)(y * factor) * (size_t)r->size.width + (size_t)(x * factor)] > 127;
}

void im_mask_hide(const im_sd_run *r, float *values)
{
    for (size_t p = 0; p < (size_t)r->size.width * (size_t)r->size.height; p++)
        if (r->mask->pixels[p] > 127) memset(values + 3 * p, 0, 3 * sizeof *values);
}

bool im_mask_begin(im_sd_run *r, const im_tensor *noise)
{
    bool noisy = r->a.mask_fill == IM_MASK_NOISE;
    if (!r->mask || (!noisy && r->a.mask_fill != IM_MASK_NOTHING)) return true;
    float *x = im_values(r->c, r->x), *n = x ? im_values(r->c, noise) : NULL;
    for (int64_t p = 0; n && p < r->pixels; p++)
        for (int64_t k = p * r->channels; is_white(r, p) && k < (p + 1) * r->channels; k++) x[k] = noisy ? n[k] : 0;
    bool ok = n && im_upload(r->c, r->x, x);
    free(x);
    free(n);
    return ok;
}

/* ---------------------------------------------------------------- what a part begins from, by name */

static const char *const fills[] = { "original", "fill", "noise", "nothing" };

const char *im_mask_fill_name(im_mask_fill fill) { return fills[fill]; }

const char *im_mask_fill_title(im_mask_fill fill)
{
    static const char *const titles[] = { "original", "fill", "latent noise", "latent nothing" };
    return titles[fill];
}

bool im_mask_fill_named(const char *name, im_mask_fill *out)
{
    for (int i = 0; i <= IM_MASK_NOTHING; i++) {
        if (strcmp(name, fills[i]) != 0) continue;
        *out = (im_mask_fill)i;
        return true;
    }
    return false;
}

/* ---------------------------------------------------------------- ordinary models */

bool im_mask_keep(im_sd_run *r, const im_tensor *noise)
{
    if (!noise) return (r->kept = im_values(r->c, r->x)) != NULL;
    return im_assign(r->c, r->mask_noise, noise);
}

bool im_mask_step(im_sd_run *r)
{
    if (!r->kept) return true;
    im_ctx *c = r->c;
    bool last = r->done == im_scheduler_evaluations(r->scheduler), ok = true;
    float *x = im_values(c, r->x), *z = NULL;
    im_scope_push(c);
    im_tensor *old = x ? im_from(c, IM_F32, 4, r->x->shape, r->kept) : NULL;
    if (old && !last) ok = im_scheduler_add_noise_now(r->scheduler, old, r->mask_noise, old);
    if (old && ok) z = im_values(c, old);
    for (int64_t p = 0; z && p < r->pixels; p++)
        if (!is_white(r, p)) memcpy(x + p * r->channels, z + p * r->channels, (size_t)r->channels * sizeof *x);
    ok = z && im_upload(c, r->x, x);
    im_scope_pop(c);
    free(x);
    free(z);
    return ok;
}

/* ---------------------------------------------------------------- models with 9 inputs */

bool im_mask_inputs(im_sd_run *r, const im_tensor *hidden)
{
    int inputs = 1 + r->channels;
    float *z = im_values(r->c, hidden), *all = malloc((size_t)(r->pixels * inputs) * sizeof *all);
    bool ok = z && (all || im_fail(r->c, "out of memory for the mask of a picture"));
    for (int64_t p = 0; ok && p < r->pixels; p++) {
        all[p * inputs] = is_white(r, p) ? 1 : 0;
        memcpy(all + p * inputs + 1, z + p * r->channels, (size_t)r->channels * sizeof *all);
    }
    ok = ok && im_upload(r->c, r->mask_inputs, all);
    free(z);
    free(all);
    return ok;
}

bool im_mask_open(im_sd_run *r)
{
    int64_t shape[4] = { 1, r->size.h, r->size.w, r->channels };
    if (!r->mask) return true;
    int inputs = im_mask_channels(r->sd->config);
    if (inputs) shape[3] = inputs;
    *(inputs ? &r->mask_inputs : &r->mask_noise) = im_own(r->c, im_new(r->c, IM_F32, 4, shape));
    return im_ok(r->c);
}

int im_mask_channels(const im_model_config *m) { return m->unet.in_channels - m->vae.latent_channels; }
