/* optimiser.h: an optimiser as training sees it: groups of parameters, state, moving averages, its part of a checkpoint. */
#ifndef IM_OPTIMISER_H
#define IM_OPTIMISER_H

#include "models/checkpoints/state_dict.h"

typedef struct im_optimiser_args {
    im_optimiser_kind kind;
    double momentum; bool nesterov;                            /* SGD, LARS                                            */
    double beta1, beta2, eps;                                  /* AdamW                                                */
    double trust;                                              /* LARS                                                 */
    double decay;                                              /* of tensors with more than one dimension; others: 0   */
    double ema;                                                /* .9999: keep a moving average of all weights; 0: none */
    bool ema_rises;                                            /* after n steps at most (1 + n) / (10 + n): a young    */
                                                               /* average is not one of the first weights              */
} im_optimiser_args;

/* SGD: momentum .9, decay 1e-4. AdamW: .9, .999, 1e-8, decay 1e-2. LARS: momentum .9, trust 1e-3, eps 1e-8, decay 1e-4. */
im_optimiser_args im_optimiser_defaults(im_optimiser_kind kind);
bool im_optimiser_parse(im_ctx *c, const char *name, im_optimiser_kind *out);       /* "sgd", "adamw", "lars"          */

typedef struct im_part_params {                                /* one network of those trained together                */
    im_params *params;                                         /* loaded for training                                  */
    const char *prefix;                                        /* of its names in checkpoints: "" or "unet."           */
} im_part_params;

typedef struct im_optimiser im_optimiser;
im_optimiser *im_optimiser_new(im_ctx *c, const im_part_params *parts, int n, const im_optimiser_args *a);
void im_optimiser_free(im_optimiser *o);
double im_optimiser_bytes(const im_optimiser_args *a, const im_part_params *parts, int n);       /* of its state          */

/* Global L2 norm of the gradients times scale; *bad: the name of the first parameter whose gradient is not finite, or
 * NULL. False: c has failed. */
bool im_optimiser_norm(im_optimiser *o, double scale, double *norm, const char **bad);
/* The same, left in the ledger as that of its part; im_optimiser_name: of a parameter that it names. */
bool im_optimiser_note(im_optimiser *o, im_ledger *l, int part);
const char *im_optimiser_name(const im_optimiser *o, int param);
im_tensor **im_optimiser_weights(const im_optimiser *o, int *n);         /* all that is trained: malloc'd list         */
/* One step along scale * gradients; the average follows, that of running statistics too. ledger (or NULL): scale is what
 * im_ledger_end made of its norms, and a step that is not finite is none. */
bool im_optimiser_step(im_optimiser *o, double lr, double scale, const im_ledger *ledger);
void im_optimiser_zero(im_optimiser *o);                       /* before the first part of a step                      */
int64_t im_optimiser_steps(const im_optimiser *o);             /* taken so far                                         */
void im_optimiser_steps_are(im_optimiser *o, int64_t steps);   /* by the rank whose state this gets                    */

/* The moving average of parts[part].params->v[i], in the layout of the engine; NULL where there is none. */
const im_tensor *im_optimiser_average(const im_optimiser *o, int part, int i);
/* Weights and averages change places, so that the network can be run with its averages; once more puts them back. Nothing
 * where no averages are kept. */
void im_optimiser_swap(im_optimiser *o);

/* State and averages in a checkpoint: "optimizer.momentum.NAME", "optimizer.exp_avg.NAME", "optimizer.exp_avg_sq.NAME",
 * "ema.NAME", in the layout of files. */
bool im_optimiser_save(const im_optimiser *o, im_state *s);
/* Calls fn for every tensor of the state, in one order. */
bool im_optimiser_each(const im_optimiser *o, bool (*fn)(void *arg, const char *prefix, const im_param *q, im_tensor *t),
                       void *arg);
bool im_optimiser_load(im_optimiser *o, const im_safetensors *s, const char *path, int64_t steps);

#endif
