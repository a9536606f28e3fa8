/* safetensors.h: what the reader and the writer of safetensors files share.
 *
 * Format (huggingface/safetensors, README): u64 little-endian N, N bytes of JSON, then the tensors' bytes. The JSON
 * maps name -> { "dtype", "shape", "data_offsets": [begin, end) after the header }, and "__metadata__" -> texts.
 * Tensors cover the rest of the file without holes or overlaps. */
#ifndef IM_SAFETENSORS_H
#define IM_SAFETENSORS_H

#include "imago.h"

enum { IM_ST_HEADER_MAX = 100 * 1000 * 1000 };                 /* the limit of the reference implementation           */

typedef struct im_st_type {
    const char *name;                                          /* as written in files                                 */
    int bits;
    int dtype;                                                 /* im_dtype, or -1                                     */
} im_st_type;

int im_st_type_find(const char *name);                         /* index into the table below; -1: unknown             */
int im_st_type_of(im_dtype t);
extern const im_st_type im_st_types[];                         /* in the order of alignment that writers sort by      */

/* Bytes of a tensor; false when the product overflows or is not a whole number of bytes. */
bool im_st_bytes(int type, int ndim, const int64_t shape[], uint64_t *bytes);

/* The types that a weight may have in a file: F32, F16, BF16, F64, F8_E4M3, F8_E5M2. im_dtype knows the first three. */
bool im_st_is_float(const im_st_entry *e);
int64_t im_st_numel(const im_st_entry *e);                     /* of a file's own entry: it was checked not to overflow */
/* Values [from, from + n) of a tensor of such a type: F64 is rounded to nearest even, all others are exact. */
void im_st_read_f32(const im_st_entry *e, int64_t from, int64_t n, float *out);
/* The first value, of such a type by way of f32 or of whole numbers. False: it is of another type. */
bool im_st_number(const im_st_entry *e, double *out);
void im_st_from_f32(const float *x, int64_t n, im_dtype t, void *out);              /* t: f32, f16 or bf16            */
/* All of its values, in parallel; by way of f32, as torch goes from one type to another. */
void im_st_cast(im_ctx *c, const im_st_entry *e, im_dtype to, void *out);
/* False with an error where one of its finite values became infinite when it was written as `to`. */
bool im_st_finite_stay(im_ctx *c, const im_st_entry *e, im_dtype to, const void *written);
/* False with an error where weights cannot be written in that type; -1: as they are. */
bool im_st_writes(im_ctx *c, int dtype);

bool im_st_pickle_name(const char *path);                      /* .ckpt, .bin, .pt, .pth, .pkl                        */
bool im_st_refuse_pickle(im_ctx *c, const char *path);         /* says what to do instead, whether it is there or not */

/* Takes "_orig_mod." and "module." from the front of names, in any number and order: torch.compile and DataParallel put
 * them there. whole: only where every tensor has one. An error where two tensors would have one name. */
bool im_st_unwrap(im_ctx *c, im_safetensors *s, bool whole);
/* Some bytes of entry i of a file being written, from byte `at` of it on. Whoever writes parts writes all of them: what was
 * not written is zeros. */
bool im_st_put_part(im_ctx *c, im_st_writer *w, int i, const void *data, size_t bytes, uint64_t at);

#endif
