/* autoencoder_set.h: pictures as an autoencoder sees them: squares that are mirrored and moved, noise for their latents,
 * and what is measured on held-out ones. Used by train_autoencoder.c and train_decoder.c. */
#ifndef IM_AUTOENCODER_SET_H
#define IM_AUTOENCODER_SET_H

#include "models/nets/vae.h"
#include "models/train/train_pictures.h"

typedef struct im_ae_set {
    im_ctx *c;
    const im_train_common *a;
    const im_vae_config *cfg;
    const im_train_hooks *hooks;
    float flip; int shift;
    im_dataset *data, *val;              /* val: held-out pictures; NULL: none                                        */
    im_pictures pictures;
    char hash[65];                       /* of data                                                                   */
} im_ae_set;

/* Opens both sets; c, a, cfg, hooks, flip and shift are given. size 0: the config's sample_size; val NULL: none. */
bool im_ae_set_open(im_ae_set *s, const char *val, int size, const im_ranks *ranks);
void im_ae_set_close(im_ae_set *s);

int64_t im_ae_set_side(const im_ae_set *s);                    /* of the latents                                      */
/* Batch b, part `number` of the run, as the network sees it: (B, size, size, 3) in -1..1. Functions of the seed and of the
 * number of the picture in the run, however pictures are dealt into batches. */
im_tensor *im_ae_set_views(const im_ae_set *s, const im_batch *b, int64_t number);
/* Noise for the latents of n pictures of part `number`: (n, side, side, latent channels), one generator a picture. */
im_tensor *im_ae_set_noise(const im_ae_set *s, int64_t n, int64_t number);

/* Calls fn with the first pictures of a set as they are, x (B, size, size, 3), 512 at most; their number, -1 with an
 * error. */
typedef bool (*im_ae_seen)(void *arg, im_tensor *x);
int64_t im_ae_set_each(const im_ae_set *s, const im_dataset *data, im_ae_seen fn, void *arg);

/* Sum over n pictures of their PSNR in dB, peak 2: x, y (n, values) as they are to be and as they came, both cut to
 * -1..1. */
double im_ae_psnr(const float *x, const float *y, int64_t n, int64_t values);
/* Tells the mean of held-out pictures and returns it; against: of what. NAN where sum is. */
double im_ae_set_score(const im_ae_set *s, double sum, int64_t pictures, const char *against);

#endif
