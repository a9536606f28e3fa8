/* state_dict.h: the parameters of one network as a state dict in a safetensors file: torchvision's, timm's, ours.
 *
 * Names are those of the registry, convolutions stand as (Cout, Cin, Kh, Kw). torch's num_batches_tracked (how often a
 * batch norm has seen a batch) is no parameter here: that of a norm of the network is passed over when read, and written,
 * one count for all.
 * Used by training, evaluation and the tests. */
#ifndef IM_STATE_DICT_H
#define IM_STATE_DICT_H

#include "imago.h"
#include "models/nets/nn.h"

typedef struct im_state_rules {
    const char *keep;                    /* parameters whose names begin so keep what they hold; NULL: none           */
    bool ours;                           /* the file is a checkpoint of training: "optimizer.*", "ema.*" are known    */
    bool shared;                         /* it holds other networks beside this one: their names are not unexpected   */
    bool exact;                          /* tensors that no network asks for are an error                             */
    const char *from;                    /* "ema.": take NAME from "ema.NAME"; NULL: from NAME                        */
    /* The i-th other spelling of a name, or false where there is none; NULL: no other spellings. */
    bool (*spelling)(const void *arg, const char *name, int i, char *out, size_t size);
    const void *arg;
} im_state_rules;

/* Fills every parameter from s, reporting all missing and misshapen tensors at once; then nothing is loaded. Tensors that
 * no network asks for are left out with a warning (im_weights_rules). path: for errors. */
bool im_state_read(im_params *p, const im_safetensors *s, const char *path, im_dtype dtype, const im_state_rules *rules);

/* The check alone; and whether the network has a use for a tensor of that name, num_batches_tracked included. */
bool im_state_check(const im_params *p, const im_safetensors *s, const char *path, const im_state_rules *rules);
bool im_state_knows(const im_params *p, const char *name);

/* The state dict as entries and values of a file. Writing: for each i, im_state_value(s, i, buffer), then im_st_put. */
typedef struct im_state_entry {
    char *name;                          /* malloc'd                                                                  */
    const im_param *param;               /* what its shape is like; NULL: num_batches_tracked                         */
    const im_tensor *t;                  /* plain f32, in the layout of the engine; read when the file is written     */
} im_state_entry;

typedef struct im_state {
    im_ctx *c;
    im_state_entry *v;
    int n, cap;
    int64_t tracked;                     /* the value of every num_batches_tracked                                    */
    im_dtype as;                         /* of parameters in the file: f32, f16 or bf16                               */
} im_state;

/* Adds prefix + NAME for every parameter of p (trained ones: plain f32), and its num_batches_tracked. */
bool im_state_add(im_state *s, const char *prefix, const im_params *p);
bool im_state_add_one(im_state *s, const char *prefix, const im_param *q, const im_tensor *t);
void im_state_free(im_state *s);
size_t im_state_bytes(const im_state *s);                      /* of the values                                       */

/* Writes the file: beside, synced, renamed. With hash, metadata gets one more pair, "sha256": that of im_state_hash. */
bool im_state_write(const im_state *s, const char *path, const char *const metadata[], int n_metadata, bool hash);
/* SHA-256 over name, shape and bytes of every tensor in the order of the file, and over all metadata but "sha256". Does
 * the file agree with what its metadata says? False without an error where it does not. */
bool im_state_verify(im_ctx *c, const im_safetensors *file, const char *const keys[], int n_keys);

/* Values of q from the engine's layout to that of files; im_param_load goes the other way. */
void im_param_to_file(const im_param *q, const float *data, float *out);

#endif
