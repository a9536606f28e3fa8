/* token_merging.h: attention over fewer tokens: those of a picture that are much alike are merged before it and taken apart
 * behind it (token_merging.c). Used by unet_blocks.c. */
#ifndef IM_TOKEN_MERGING_H
#define IM_TOKEN_MERGING_H

#include "imago_engine.h"

typedef struct im_tokens {
    im_tensor *row;                      /* (B, H W) f32: where each token is among those left; NULL: none is merged  */
    int left;                            /* how many those are                                                        */
} im_tokens;

/* Of tokens h (B, H W, C), a share `ratio` of which is merged: at most the three of four that are not kept, and none of a
 * picture that is narrower than two. In the open scope. */
im_tokens im_tokens_match(im_ctx *c, im_tensor *h, int height, int width, float ratio);
im_tensor *im_tokens_merge(im_ctx *c, im_tokens t, im_tensor *x);         /* (B, H W, C) -> (B, left, C), x's dtype     */
im_tensor *im_tokens_spread(im_ctx *c, im_tokens t, im_tensor *x);        /* and back                                   */

#endif
