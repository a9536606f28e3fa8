/* param_file.h: a parameter and the tensor of a file that fills it: does it fit, how it is read, and one report of all
 * those that do not fit. Used by checkpoint.c and state_dict.c. */
#ifndef IM_PARAM_FILE_H
#define IM_PARAM_FILE_H

#include "imago.h"
#include "models/checkpoints/int8_file.h"

/* Is the tensor of the parameter's shape? Linear layers are stored as (N, K) by some writers and as 1x1 convolutions
 * (N, K, 1, 1) by others. */
bool im_param_fits(const im_param *p, const im_st_entry *e);
/* Reads e, of the same shape, into p, which has storage; the pages of the file may go then. parts: of integers
 * (int8_file.h), which are taken as they are where p is held in int8. Types that im_dtype does not know pass
 * through f32, as do integers elsewhere. */
bool im_param_read(im_ctx *c, const im_param *p, const im_safetensors *s, const im_st_entry *e, im_int8_parts parts);

/* "(24, 4, 3, 3)" */
void im_file_shape_text(const int64_t *shape, int ndim, char *out, size_t size);

/* A list of names that is counted whole and told in part: "a, b, c and 21 more". */
typedef struct im_name_list { char text[1200]; size_t used; int most, listed, counted; } im_name_list;
void im_name_list_add(im_name_list *l, const char *name, const char *detail);       /* most 0: at most 8 are told     */
void im_name_list_text(const im_name_list *l, char *out, size_t size);

/* Tensors that no network asks for: a warning, an error where strict or im_weights_rules says so. True for none. */
bool im_extra_report(im_ctx *c, const char *path, const im_name_list *extra, bool strict);

/* What does not fit, by kind of trouble. Zeroed at first. */
typedef struct im_misfits { im_name_list missing, unexpected, shape, type; } im_misfits;
/* e NULL: missing; scaled: of integers with their scales (int8_file.h). name: of the tensor that is wanted. */
void im_misfits_add(im_misfits *m, const im_param *p, const im_st_entry *e, bool scaled, const char *name);
bool im_misfits_any(const im_misfits *m);                      /* unexpected ones alone are no trouble                */
/* "3 missing: a, b, c; 1 of another shape: d is (2), wanted (3)" */
void im_misfits_text(const im_misfits *m, char *out, size_t size);

#endif
