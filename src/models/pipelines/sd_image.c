/* sd_image.c: from latents to a picture: picture = decoder(x / scaling), one at a time, since the decoder's intermediates
 * are the largest of all; and to a preview, which needs no network. Used by sd_generate.c, and by who steps runs. */
#include "models/pipelines/sd_run.h"
#include "data/files/file.h"
#include "models/nets/vae_tiled.h"
#include "models/pipelines/preview.h"

#include <math.h>
#include <stdlib.h>

/* The same strip by strip; no recorded network keeps memory meanwhile. */
static float *decode_tiled(im_sd_run *r)
{
    im_ctx *c = r->c;
    float scaling = r->sd->config->vae.scaling_factor;
    im_combination z = { .count = 1, .x = { r->x }, .w = { 1 }, .by = scaling, .limit = INFINITY };
    float *picture = malloc((size_t)r->size.width * (size_t)r->size.height * 3 * sizeof *picture);
    bool ok = (picture || im_fail(c, "out of memory for a picture of %dx%d", r->size.width, r->size.height))
        && im_sd_need(r->sd, IM_NET_VAE_DECODER);
    im_sd_stages_rest(r->sd);
    im_scope_push(c);
    im_tensor *in = ok ? im_new(c, IM_F32, 4, r->x->shape) : NULL;
    ok = in && im_combine(c, in, &z) && im_vae_decode_tiled(c, r->sd->nets.vae, in, 0, picture);
    im_scope_pop(c);
    if (ok) return picture;
    free(picture);
    return NULL;
}

/* picture (H, W, 3), or NULL with an error in the context */
static float *decode(im_sd_run *r)
{
    im_ctx *c = r->c;
    if (r->a.tile) return decode_tiled(r);
    im_stage *s = im_sd_stage(r->sd, IM_NET_VAE_DECODER, 1, r->size, r->a.eager, NULL);
    float scaling = r->sd->config->vae.scaling_factor;
    im_combination z = { .count = 1, .x = { r->x }, .w = { 1 }, .by = scaling, .limit = INFINITY };
    im_scope_push(c);
    float *picture = s && im_combine(c, s->in[0], &z) ? im_values(c, im_stage_forward(s)) : NULL;
    im_scope_pop(c);
    return picture;
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
        out = im_mask_back(r, im_picture_of(r->c, picture, r->size.width, r->size.height));
    free(picture);
    return out;
}

/* ---------------------------------------------------------------- previews */

/* The text of the model's map; *own: malloc'd. NULL: it has none, or an error. */
static const char *preview_text(im_sd *sd, const char *path, char **own)
{
    *own = NULL;
    if (!im_checkpoint_folder(sd->checkpoint))
        return im_st_metadata(im_checkpoint_file(sd->checkpoint, IM_PART_VAE), IM_PREVIEW_FILE);
    return *own = im_is_file(path) ? im_read_file(sd->c, path, 1 << 20, NULL) : NULL;
}

/* Read with the model, or fitted here, once. */
static const float *preview_map(im_sd *sd)
{
    if (sd->preview || !im_ok(sd->c)) return sd->preview;
    char *own, *path = im_join(sd->c, im_checkpoint_path(sd->checkpoint), IM_PREVIEW_FILE);
    const char *text = path ? preview_text(sd, path, &own) : (own = NULL);
    if (text)
        sd->preview = im_preview_read(sd->c, path, text, sd->config->vae.latent_channels);
    else if (path && im_sd_need(sd, IM_NET_VAE_ENCODER))
        sd->preview = im_preview_fit(sd->c, sd->nets.vae, &sd->config->vae);
    free(own);
    free(path);
    return sd->preview;
}

im_image *im_sd_run_preview(im_sd_run *r)
{
    if (!r || !im_ok(r->c)) return NULL;
    if (!r->begun) {
        im_fail(r->c, "a preview was asked for before the picture has begun; call im_sd_run_begin or step it first");
        return NULL;
    }
    const float *map = preview_map(r->sd);
    float *latents = map ? im_values(r->c, r->done ? r->guess : r->x) : NULL;
    im_image *out = latents ? im_preview_picture(r->c, map, latents, r->channels, r->size.w, r->size.h) : NULL;
    free(latents);
    return out;
}
