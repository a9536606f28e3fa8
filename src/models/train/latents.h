/* latents.h: what the diffusion model sees of pictures: the autoencoder's mean and log variance, made once and kept, or
 * made anew for every batch. Used by train_diffusion.c. */
#ifndef IM_LATENTS_H
#define IM_LATENTS_H

#include "models/train/train_pictures.h"
#include "models/nets/vae.h"

typedef struct im_latents {
    im_ctx *c;
    const im_vae *vae;
    int channels, side, size;            /* of a latent; pixels of a picture                                          */
    float scaling;                       /* config's scaling_factor                                                   */
    float flip; int shift, views;        /* views kept of a picture; 0: nothing is kept                               */
    uint64_t seed;
    float *kept;                         /* (views, pictures, side, side, 2 channels): mean, logvar                   */
    int64_t *shown;                      /* (pictures) the picture kept in each place: another where one is broken    */
    int64_t pictures;
} im_latents;

/* Encodes every picture of the set in `views` views (picture_view.h). p: the set, listed; it stays open. Fails with
 * "stopped" where hooks (may be NULL) say so. */
bool im_latents_keep(im_latents *l, im_pictures *p, const im_train_hooks *hooks);
void im_latents_free(im_latents *l);

/* x0 = (mean + exp(logvar / 2) noise) * scaling of pictures index[], the first of which is number
 * `first` that the run shows: view and noise are functions of seed and that number, however pictures are dealt into
 * batches. From what is kept, or from rgb (n, size, size, 3). (n, side, side, channels), of the open scope. */
im_tensor *im_latents_draw(const im_latents *l, const int64_t *index, const uint8_t *rgb, int n, uint64_t first);

#endif
