/* asked.h: what `generate` and `serve` both make of what they are asked (asked.c). */
#ifndef IM_CLI_ASKED_H
#define IM_CLI_ASKED_H

#include "cli/options.h"
#include "imago.h"

/* A row for the member `tile` of the verb's struct `type`. */
#define TILE_OPTION(type) \
    OPTION_FLAG(0, "tile", offsetof(type, tile), \
                "decode pictures strip by strip, in less memory and more time; there are no seams, and few values " \
                "differ, by one level")

#define VAE_OPTION(type) \
    OPTION_TEXT(0, "vae", "FOLDER|FILE", offsetof(type, vae), NULL, \
                "another VAE than the model's own: a model, an AutoencoderKL or a tiny one (TAESD, AutoencoderTiny) by " \
                "itself, as a folder with its config.json or as a .safetensors file; tiny: the tiny one in the " \
                "model's own folder")

enum { MODEL_NAME_BYTES = 256 };
/* The last part of the model's path, without slashes at its end, cut to size; "imago-small" for NULL. Metadata holds no
 * paths of one machine, and only UTF-8. */
bool model_name_of(im_ctx *c, const char *path, char *out, size_t size);
uint64_t random_seed(void);                                    /* of 32 bits                                           */

#endif
