/* part_out.c: see part_out.h. */
#include "models/part_out.h"

#include <string.h>

const char *im_part_file(im_part part)
{
    static const char *const files[] = { "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
                                         "vae/diffusion_pytorch_model.safetensors" };
    return files[part];
}

void im_part_entry(const im_param *p, im_dtype dtype, im_st_entry *e)
{
    int64_t shape[IM_MAX_DIMS];
    *e = (im_st_entry){ .name = p->t->name, .dtype = dtype };
    e->ndim = im_param_file_shape(p, shape);
    memcpy(e->shape, shape, (size_t)e->ndim * sizeof *shape);
}
