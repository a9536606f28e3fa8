/* winograd.h: 3x3 convolutions of stride 1 with a quarter of the multiplications; see winograd.c and
 * winograd_transforms.c. Called by conv.c. */
#ifndef IM_WINOGRAD_H
#define IM_WINOGRAD_H

#include "tensor/cpu/simd.h"
#include "tensor/host.h"

/* Outputs and inputs along one side of a tile; points where the polynomials are multiplied. */
enum { IM_WINO_OUT = 4, IM_WINO_IN = 6, IM_WINO_POINTS = IM_WINO_IN * IM_WINO_IN };

/* May this convolution come here, and does it pay? The answer depends on the layer and the size of one picture only. */
bool IM_FN(im_winograd_takes)(const im_device *dev, const im_conv_args *c);
/* Are direct sums with w faster wherever it is, for it is multiplied in tile registers? */
bool IM_FN(im_winograd_loses)(const im_device *dev, const im_weight *w);
int IM_FN(im_winograd_conv)(im_device *dev, const im_conv_args *c);

/* The transforms, from activations in dtype t and to those of im_wino_output. Points lie `apart` floats from one another in
 * u, v and m. */

/* Weights of one panel, input channels ci0 .. ci1-1: u[point][16 * (ci - ci0) + row]. */
void IM_FN(im_winograd_weights)(const im_weight *w, int cin, int panel, int ci0, int ci1, float *u, size_t apart);
/* One tile, n channels: v[point][channel], whole groups of 16 are written. next: the tile that follows, for prefetching. */
typedef struct { const void *at[IM_WINO_IN][IM_WINO_IN]; } im_wino_pixels;               /* [column][row]: channel 0 */
void IM_FN(im_winograd_input)(im_dtype t, const im_wino_pixels *src, const im_wino_pixels *next, int n, float *v,
                              size_t apart);

/* One tile of output: its first `rows` x `cols` pixels get n (1..16) channels each, + bias + chan + res where given.
 * y and res: at the tile's first pixel and channel, pixels ldy and rows ldrow elements apart. */
typedef struct im_wino_output {
    const float *bias;
    im_cbuf chan, res;
    im_buf y;
    int64_t ldy, ldrow;
    int rows, cols, n;
} im_wino_output;
void IM_FN(im_winograd_output)(const float *m, size_t apart, const im_wino_output *o);

/* ---- Gradients: winograd_dw.c; that of the input is im_winograd_conv again (conv_dx.c). Panels of
 * 16 channels lie panel_apart floats from one another. */

/* Training has batches, which make smaller pictures worth it. */
bool IM_FN(im_winograd_takes_dx)(const im_device *dev, const im_conv_args *turned);
bool IM_FN(im_winograd_takes_dw)(const im_device *dev, const im_conv_dw_args *d);
int IM_FN(im_winograd_dw)(im_device *dev, const im_conv_dw_args *d);

/* im_winograd_input with v[point][panel][channel % 16]. */
void IM_FN(im_winograd_input_panels)(im_dtype t, const im_wino_pixels *src, const im_wino_pixels *next, int n, float *v,
                                     size_t apart, size_t panel_apart);
/* One tile of dy, n channels: z[point][panel][channel % 16] = A dy A^T. at: [column][row], channel 0. */
typedef struct { const void *at[IM_WINO_OUT][IM_WINO_OUT]; } im_wino_tile;
void IM_FN(im_winograd_dy)(im_dtype t, const im_wino_tile *src, const im_wino_tile *next, int n, float *z, size_t apart,
                           size_t panel_apart);
/* n (1..16) input channels of one filter: dw[tap * ld + channel] (+)= G^T u G. */
void IM_FN(im_winograd_dw_output)(const float *u, size_t apart, int n, float *dw, int64_t ld, bool add);

#endif
