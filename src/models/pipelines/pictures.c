/* pictures.c: between pictures of 8 bits and the values that the autoencoder takes and gives, and between the two
 * orders of axes: torch's (C, H, W), in which noise is drawn and latents are stored in files, and (H, W, C).
 *
 *     out of the decoder: v = round_half_even(255 clamp(x/2 + 1/2, 0, 1))
 *     into the encoder:   x = 2 (v/255) - 1, after Pillow's Lanczos filter
 * each one rounded operation in f32, as diffusers' VaeImageProcessor has it. Used by sd_begin.c, sd_step.c, sd_image.c. */
#include "data/images/resize.h"
#include "models/pipelines/sd.h"

#include <math.h>
#include <stdlib.h>

void im_to_channels_last(const float *from, int channels, int64_t pixels, float *to)
{
    for (int64_t p = 0; p < pixels; p++)
        for (int k = 0; k < channels; k++) to[p * channels + k] = from[k * pixels + p];
}

void im_to_channels_first(const float *from, int channels, int64_t pixels, float *to)
{
    for (int k = 0; k < channels; k++)
        for (int64_t p = 0; p < pixels; p++) to[k * pixels + p] = from[p * channels + k];
}

im_image *im_picture_of(im_ctx *c, const float *x, int width, int height)
{
    im_image *out = im_image_new(c, width, height, 3);
    if (!out) return NULL;
    size_t n = (size_t)width * (size_t)height * 3;
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * 0.5f + 0.5f;
        v = v > 1 ? 1 : v > 0 ? v : 0;                         /* a NaN becomes 0                                     */
        out->pixels[i] = (uint8_t)nearbyintf(v * 255);
    }
    return out;
}

float *im_picture_values(im_ctx *c, const im_image *i, int width, int height)
{
    if (i->channels != 3) {
        im_fail(c, "init picture: found %d channels, wanted RGB (3)", i->channels);
        return NULL;
    }
    im_image *fit = im_resize(c, i, width, height, IM_FILTER_LANCZOS);
    if (!fit) return NULL;
    size_t n = (size_t)width * (size_t)height * 3;
    float *out = malloc(n * sizeof *out);
    if (!out) im_fail(c, "out of memory for an init picture of %dx%d", width, height);
    for (size_t k = 0; out && k < n; k++) out[k] = 2.0f * ((float)fit->pixels[k] / 255.0f) - 1.0f;
    im_image_free(fit);
    return out;
}
