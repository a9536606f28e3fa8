/* model_files.h: the small files of a checkpoint beside its weights: configurations, scheduler, tokenizer.
 *
 * A diffusers folder has them as files; a single file made by `imago convert` has them in its safetensors metadata,
 * under the same names; other single files have none, and those of Stable Diffusion v1.4 stand in.
 * Used by init_weights.c, convert.c and train_diffusion.c. */
#ifndef IM_MODEL_FILES_H
#define IM_MODEL_FILES_H

#include "models/checkpoints/folder_out.h"

enum { IM_MODEL_FILES = 12 };

typedef struct im_model_files {
    char *text[IM_MODEL_FILES];          /* in the order of im_model_file_name; NULL: not there                       */
} im_model_files;

const char *im_model_file_name(int i);                         /* "unet/config.json"; model_index.json is the last    */

/* Each fills f, which im_model_files_free empties. model_index.json is freed of the safety checker, which imago neither
 * runs nor copies. */
bool im_model_files_v1(im_ctx *c, im_model_files *f);
bool im_model_files_folder(im_ctx *c, im_model_files *f, const char *folder);
bool im_model_files_metadata(im_ctx *c, im_model_files *f, const im_safetensors *s, const char *path);
void im_model_files_free(im_model_files *f);

/* The text encoder's configuration with "dtype": "float32", whatever type its weights have: that is what diffusers makes of
 * all other parts where it is not told a type, and transformers would follow the weights. For folders whose weights are
 * written in another type. */
bool im_model_files_as_f32(im_ctx *c, im_model_files *f);
/* vae/preview.json: how latents are turned to previews (models/pipelines/preview.h). */
bool im_model_files_preview(im_ctx *c, im_model_files *f, const char *text);
/* Of names and texts but those of model_index.json and previews: 64 hex digits. */
bool im_model_files_hash(im_ctx *c, const im_model_files *f, char hex[65]);
bool im_model_files_write(const im_model_files *f, im_folder_out *out);
/* Key, value, key, value ... for im_st_create: at most 2 * IM_MODEL_FILES texts, borrowed from f. The tokenizer is left
 * out where it is CLIP's own, which needs no copy. Returns the number of pairs, -1 after a failure. */
int im_model_files_pairs(im_ctx *c, const im_model_files *f, const char *pairs[2 * IM_MODEL_FILES]);

#endif
