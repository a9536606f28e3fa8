/* part_out.c: see part_out.h. Several files and their index as huggingface_hub's save_torch_state_dict writes them, and
 * diffusers and transformers look for them: names BASE-00001-of-00002.safetensors, and in BASE.safetensors.index.json
 *
 *     { "metadata": { "total_size": bytes of all tensors }, "weight_map": { tensor: file } }
 *
 * There the limit counts tensors only; here it is that of the file, since that is what a limit of files is about. */
#include "models/checkpoints/part_out.h"

#include "data/files/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
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

/* ---------------------------------------------------------------- several files */

static uint64_t data_bytes(const im_st_entry *e)
{
    int type = e->dtype < 0 ? im_st_type_find(e->dtype_name) : im_st_type_of((im_dtype)e->dtype);
    uint64_t n = 0;
    return im_st_bytes(type, e->ndim, e->shape, &n) ? n : UINT64_MAX / 4;
}

/* At most so many bytes of a file: the data, and in the header "NAME":{"dtype":"F8_E4M3","shape":[],"data_offsets":[,]},
 * of 58 characters beside the name and numbers of at most 20 digits with a comma. */
static uint64_t file_bytes(const im_st_entry *e)
{
    return data_bytes(e) + strlen(e->name) + 58 + 21 * ((uint64_t)e->ndim + 2);
}

enum { HEAD = 8 + 64 };                  /* the length, the metadata, spaces up to a multiple of 8                    */

int im_part_split(im_ctx *c, const char *file, const im_st_entry *e, int n, uint64_t max_file, int *ends)
{
    int count = 0;
    uint64_t used = HEAD;
    for (int i = 0; i < n; i++) {
        uint64_t more = file_bytes(&e[i]);
        if (HEAD + more > max_file) {
            im_fail(c, "%s: tensor %s takes %llu bytes; no file may have more than %llu: raise --max-file", file, e[i].name,
                    (unsigned long long)(HEAD + more), (unsigned long long)max_file);
            return 0;
        }
        if (used + more > max_file) {
            ends[count++] = i;
            used = HEAD;
        }
        used += more;
    }
    ends[count++] = n;
    return count;
}

/* The name of the part's file with `tail` in the place of ".safetensors". */
static char *with_tail(im_ctx *c, im_part part, const char *tail)
{
    const char *file = im_part_file(part);
    size_t stem = strlen(file) - strlen(".safetensors"), size = stem + strlen(tail) + 1;
    char *name = malloc(size);
    if (name)
        snprintf(name, size, "%.*s%s", (int)stem, file, tail);
    else
        im_fail(c, "out of memory for the name of %s", file);
    return name;
}

char *im_part_shard(im_ctx *c, im_part part, int i, int count)
{
    char tail[64];
    snprintf(tail, sizeof tail, "-%05d-of-%05d.safetensors", i + 1, count);
    return with_tail(c, part, tail);
}

char *im_part_index(im_ctx *c, im_part part)
{
    return with_tail(c, part, ".safetensors.index.json");
}

bool im_part_write_index(im_folder_out *f, im_part part, const im_st_entry *e, const int *ends, int count)
{
    json_t *map = json_object();
    uint64_t total = 0;
    for (int s = 0, i = 0; s < count; s++) {
        char *name = im_part_shard(f->c, part, s, count), *base = name ? strrchr(name, '/') + 1 : NULL;
        for (; base && i < ends[s]; i++) {
            json_object_set_new(map, e[i].name, json_string(base));
            total += data_bytes(&e[i]);
        }
        free(name);
    }
    json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL, *name = im_part_index(f->c, part);
    bool ok = (text && name) || im_fail(f->c, "%s: out of memory for its index", f->path);
    ok = ok && im_folder_write(f, name, text, strlen(text));
    free(name);
    free(text);
    json_decref(root);
    return ok;
}
