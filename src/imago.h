/* imago.h: the public interface of imago, a numerical engine that runs Stable Diffusion v1.4.
 *
 *     im_ctx *c  = im_ctx_new("cpu", 0);
 *     im_sd  *sd = im_sd_open(c, "weights/sd-v1-4", IM_F32);
 *     im_sd_args a = im_sd_defaults(sd);
 *     a.prompt = "a photograph of an astronaut riding a horse";
 *     a.seed = 42;
 *     im_image *img = im_sd_generate(sd, &a);
 *     im_png_write(c, "astronaut.png", img, NULL, 0, true);   // does nothing if anything above failed
 *     if (!im_ok(c)) fprintf(stderr, "imago: %s\n", im_error(c));
 *     im_image_free(img); im_sd_free(sd); im_ctx_free(c);
 *
 * Rules that hold everywhere:
 *  - Errors stick. The first failure is kept in the context; later calls see NULL and return NULL; test once, at the end.
 *  - The library never prints and never exits.
 *  - Tensors belong to the open scope (im_scope_push / im_scope_pop, im_keep). A function that returns a tensor returns a
 *    borrowed pointer; nobody else frees it.
 *  - Activations are channels-last: (B, H, W, C). Convolution weights are (Cout, Kh, Kw, Cin), linear weights (N, K).
 *  - One context belongs to one thread; kernels run in parallel inside.
 *
 * It is in three parts: the engine, generation and training.
 */
#ifndef IMAGO_H
#define IMAGO_H

#define IM_VERSION "0.1.0"

#include "imago_engine.h"
#include "imago_generate.h"
#include "imago_train.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For callers that were not compiled with these headers (data/files/interface.c): IM_VERSION of the library, and the bytes
 * that it takes a public struct for, by name; 0: it has none of that name. */
const char *im_version(void);
size_t im_struct_size(const char *name);

#ifdef __cplusplus
}
#endif
#endif
