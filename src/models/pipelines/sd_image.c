/* sd_image.c: from latents to a picture: picture = decoder(x / scaling), one at a time, since the decoder's intermediates
 * are the largest of all. Used by sd_generate.c, and by who steps runs. */
#include "models/pipelines/sd_run.h"

#include <stdlib.h>

/* picture (H, W, 3), or NULL with an error in the context */
static float *decode(im_sd_run *r)
{
    size_t values = (size_t)r->size.width * (size_t)r->size.height * 3;
    float *picture = malloc(values * sizeof *picture), *z = malloc(2 * r->each * sizeof *z), *last = z + r->each;
    im_stage *s = im_sd_stage(r->sd, IM_NET_VAE_DECODER, 1, r->size, r->a.eager, NULL);
    bool ok = s && ((picture && z) || im_fail(r->c, "out of memory for a picture of %dx%d", r->size.width,
                                              r->size.height));
    float scaling = r->sd->config->vae.scaling_factor;
    for (size_t k = 0; ok && k < r->each; k++) z[k] = r->x[k] / scaling;
    if (ok) im_to_channels_last(z, r->channels, r->pixels, last);
    ok = ok && im_stage_run(s, last, NULL, picture);
    free(z);
    if (ok) return picture;
    free(picture);
    return NULL;
}

static bool decode_again(im_sd_run *r)
{
    float *picture = decode(r);
    free(picture);
    return picture != NULL;
}

im_image *im_sd_run_image(im_sd_run *r)
{
    if (!r || !im_ok(r->c) || r->state == IM_SD_FAILED) return NULL;
    if (r->state != IM_SD_FINISHED) {
        im_fail(r->c, "a picture was asked for after %d of %d steps; step the run to its end, or ask for a preview",
                r->done, im_scheduler_evaluations(r->scheduler));
        return NULL;
    }
    float *picture = decode(r);
    im_image *out = NULL;
    if (picture && !im_run_finite(r, picture, (size_t)r->size.width * (size_t)r->size.height * 3))
        im_run_not_finite(r, "the VAE decoder", "vae_decoder", decode_again, NULL);
    else if (picture)
        out = im_picture_of(r->c, picture, r->size.width, r->size.height);
    free(picture);
    return out;
}
