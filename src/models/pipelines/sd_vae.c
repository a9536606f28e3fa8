/* sd_vae.c: another autoencoder in the place of the model's own. It is loaded whole and at once, in f32; everything that
 * is asked of the model's configuration is from then on said of it. Used by cmd_generate.c. */
#include "models/pipelines/sd.h"
#include "data/files/file.h"
#include "data/files/named.h"
#include "models/checkpoints/vae_file.h"

#include <stdlib.h>
#include <string.h>

/* Latents of the model must be what it reads. */
static bool fits(im_sd *sd, const char *path, const im_vae_config *v)
{
    const im_vae_config *own = &im_checkpoint_config(sd->checkpoint)->vae;
    return (v->latent_channels == own->latent_channels && im_vae_factor(v) == im_vae_factor(own))
        || im_fail(sd->c, "%s: its latents have %d channels and stand for %d pixels a side; wanted %d and %d, as the "
                          "model's own VAE has them", path, v->latent_channels, im_vae_factor(v), own->latent_channels,
                   im_vae_factor(own));
}

/* "tiny" is the one that lies in the model's own folder; malloc'd, NULL with an error. */
static char *place_of(im_sd *sd, const char *path)
{
    im_ctx *c = sd->c;
    if (strcmp(path, "tiny") != 0) return im_copy_text(c, path, strlen(path));
    const char *model = im_checkpoint_path(sd->checkpoint);
    char *folder = im_join(c, model, "tiny");
    if (folder && !im_is_folder(folder)) {
        im_fail(c, "%s: this model has no tiny VAE of its own, a folder tiny/ in it; `imago train decoder --vae MODEL` "
                   "trains one, which is given by its path (a folder of that name here: ./tiny)", model);
        free(folder);
        return NULL;
    }
    return folder;
}

static bool use(im_sd *sd, const char *path)
{
    im_vae_config v;
    char hash[65], *name = NULL;
    if (sd->open_runs || sd->loaded[IM_NET_VAE_DECODER] || sd->loaded[IM_NET_VAE_ENCODER])
        return im_fail(sd->c, "%s: the model has drawn with another VAE already", path);
    im_vae *plain = im_vae_any_open(sd->c, path, &v, true);                  /* its weights in the order of files   */
    bool ok = plain && fits(sd, path, &v) && im_vae_folder_hash(sd->c, plain, hash) && (name = im_named_of(sd->c, path));
    im_vae_free(plain);
    im_vae *m = ok ? im_vae_any_open(sd->c, path, &v, false) : NULL;
    if (!m) {
        free(name);
        return false;
    }
    im_vae_free(sd->nets.vae);
    free(sd->vae_name);
    sd->nets.vae = m;
    sd->loaded[IM_NET_VAE_DECODER] = sd->loaded[IM_NET_VAE_ENCODER] = true;
    sd->vae_name = name;
    memcpy(sd->vae_hash, hash, sizeof hash);
    sd->with_vae = *sd->config;
    sd->with_vae.vae = v;
    sd->config = &sd->with_vae;
    return im_ok(sd->c);
}

/* A model that was opened without a look at whether it is whole may lack its own VAE, but nothing else. */
bool im_sd_use_vae(im_sd *sd, const char *path)
{
    char *place = sd && im_ok(sd->c) ? place_of(sd, path) : NULL;
    bool ok = place && im_checkpoint_need(sd->checkpoint, IM_NEED_CLIP | IM_NEED_UNET) && use(sd, place);
    free(place);
    return ok;
}

const char *im_sd_vae(const im_sd *sd, const char **sha256)
{
    if (sha256) *sha256 = sd->vae_hash;
    return sd->vae_name;
}
