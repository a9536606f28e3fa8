/* picture_view.h: small changes of a whole picture that the training of pictures (not of classes) wants: mirrored, moved by
 * a few pixels. Used by autoencoder_set.c and latents.c. */
#ifndef IM_PICTURE_VIEW_H
#define IM_PICTURE_VIEW_H

#include "imago.h"

typedef struct im_view { bool flip; int dx, dy; } im_view;     /* moved right by dx and down by dy pixels             */

/* View `view` of picture `index`: 0 is the picture as it is; the others are mirrored with probability p_flip and moved by
 * up to `shift` pixels. A function of its arguments alone. */
im_view im_view_draw(uint64_t seed, uint64_t view, uint64_t index, float p_flip, int shift);

/* rgb (size, size, 3) -> out (size, size, 3) in -1..1, v / 127.5 - 1; edges are repeated. */
void im_view_apply(const im_view *v, const uint8_t *rgb, int size, float *out);

/* n of them: rgb (n, size, size, 3) -> (n, size, size, 3) in the open scope. */
im_tensor *im_views_of(im_ctx *c, const im_view views[], const uint8_t *rgb, int64_t n, int size);

#endif
