/* run_set.h: runs a classifier over a set of pictures, one pass, a call for every picture. Evaluation, transfer, analysis,
 * comparison and filters stand on it. */
#ifndef IM_RUN_SET_H
#define IM_RUN_SET_H

#include "data/sets/dataset.h"
#include "models/nets/resnet.h"

typedef struct im_run_args {
    int batch, size;                                           /* pictures at once; side of the crop                  */
    bool whole;                                                /* the shorter side becomes size, by a bicubic filter   */
                                                               /* (transfer); else size * 8 / 7, bilinear (evaluation) */
    int workers;                                               /* decoding threads; 0: one a processor                */
    bool strict;                                               /* a broken picture is an error                        */
    void (*progress)(void *arg, int64_t done, int64_t total); void *arg;
} im_run_args;

typedef struct im_seen {                                       /* a picture as the network sees it                    */
    int64_t index; int32_t label;                              /* of the set                                          */
    const float *features;                                     /* (width): means over pixels, out of the encoder      */
    const float *logits;                                       /* (classes)                                           */
} im_seen;

/* A network as the loop sees it: fn gives (B, width + classes) of pictures in[0] (B, size, size, 3), and of `more`. mean,
 * deviation: of its colours, where they are not ImageNet's (im_normalise), or NULL. */
typedef struct im_run_net {
    im_tensor *(*fn)(im_ctx *c, void *arg, im_tensor *const in[], int n_in);
    void *arg;
    int width, classes;
    im_tensor *more[2]; int n_more;
    const float *mean, *deviation;                             /* (3)                                                 */
} im_run_net;

/* Calls fn for every picture that can be read, in the order of the set; false from fn ends the pass, as an error in c does.
 * *broken (or NULL): how many could not. The mode of m's batch norms is put back afterwards. */
typedef bool (*im_seen_fn)(void *arg, const im_seen *s);
bool im_run_pictures(im_ctx *c, const im_run_net *net, const im_dataset *d, const im_run_args *a, im_seen_fn fn, void *arg,
                     int64_t *broken);
bool im_run_set(im_ctx *c, im_classifier *m, int classes, const im_dataset *d, const im_run_args *a, im_seen_fn fn,
                void *arg, int64_t *broken);

#endif
