/* report_psnr.c: what the autoencoder keeps of pictures that it has not seen: encoded, the mean decoded, rounded to 8 bits
 * as every picture that is drawn. */
#include "report.h"

#include <stdlib.h>

#include "models/pipelines/sd.h"
#include "models/checkpoints/vae_folder.h"

enum { AT_ONCE = 32 };

/* Pictures [at, at + n): x = 2 (v / 255) - 1, through mean and decoder. */
static bool measure(im_ctx *c, const im_vae *vae, const im_vae_config *cfg, const side *s, int64_t at, int64_t n,
                    double *sum)
{
    int64_t each = 3 * (int64_t)s->size * s->size;
    im_scope_push(c);
    float *v = malloc((size_t)(n * each) * sizeof *v);
    if (!v)
        im_fail(c, "out of memory for %lld pictures", (long long)n);
    for (int64_t i = 0; v && i < n * each; i++)
        v[i] = 2.0f * ((float)s->rgb[at * each + i] / 255.0f) - 1.0f;
    im_tensor *x = v ? im_from(c, IM_F32, 4, (int64_t[]){ n, s->size, s->size, 3 }, v) : NULL;
    free(v);
    im_tensor *moments = im_vae_encode(c, vae, x);             /* (n, h, w, 2 channels)                               */
    im_tensor *mean = moments ? im_contiguous_copy(c, im_slice(c, moments, 3, 0, cfg->latent_channels)) : NULL;
    im_tensor *y = mean ? im_vae_decode(c, vae, mean) : NULL;  /* (n, size, size, 3)                                  */
    float *out = im_values(c, y);
    for (int64_t i = 0; out && i < n && im_ok(c); i++) {
        im_image *p = im_picture_of(c, out + i * each, s->size, s->size);
        if (p)
            *sum += im_psnr(p->pixels, s->rgb + (at + i) * each, each);
        im_image_free(p);
    }
    free(out);
    im_scope_pop(c);
    return im_ok(c);
}

bool report_psnr(im_ctx *c, const report_options *o, const side *held, findings *f)
{
    im_vae_config cfg;
    im_vae *vae = im_vae_folder_open(c, o->model, &cfg, false);
    int factor = vae ? im_vae_factor(&cfg) : 1;
    bool ok = vae && (held->size % factor == 0 || im_fail(c, "%s: its autoencoder wants pictures of a multiple of %d "
                                                          "pixels, and they have %d", o->model, factor, held->size));
    report_say(o, "through the autoencoder: %lld held-out pictures", (long long)held->seen.n);
    for (int64_t at = 0; ok && at < held->seen.n; at += AT_ONCE)
        ok = measure(c, vae, &cfg, held, at, held->seen.n - at < AT_ONCE ? held->seen.n - at : AT_ONCE, &f->psnr);
    f->psnr_pictures = held->seen.n;
    f->psnr /= (double)held->seen.n;
    im_vae_free(vae);
    return ok;
}
