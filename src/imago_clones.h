/* imago_clones.h: synthetic clones: from a list of class names to a set of pictures that a classifier is trained on, and
 * the measures of such sets and classifiers. What it stands on, and the rules that hold everywhere, are in imago.h.
 *
 *     im_synth_args a = im_synth_defaults();
 *     a.classes = "classes.txt";
 *     a.recipe = "hypernym";
 *     im_synth *s = im_synth_open(c, &a);
 *     for (int64_t i = 0; i < im_synth_count(s); i++) puts(im_synth_line(c, s, i));       // to be freed: a JSON object
 *     im_synth_close(s); */
#ifndef IMAGO_CLONES_H
#define IMAGO_CLONES_H

#include "imago.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- synthetic sets (models/pipelines/synth*.c)
 * Picture n of a set is picture n / K of class n % K, K classes: any first part of a set has the classes in balance. What
 * is drawn is a function of (class, index, recipe, guidance, seed) and the model, whatever was drawn before. */

typedef struct im_synth_args {                                 /* texts are borrowed                                   */
    const char *classes;                                       /* a file, wnids with commas between them, "imagenet1k",*/
                                                               /* "imagenet100" (data/text/class_list.h)               */
    const char *lemmas;                                        /* of wnids: "all", or the "first"                      */
    const char *recipe, *guidance;                             /* data/text/prompts.h                                  */
    int64_t per_class;
    uint64_t seed;                                             /* of the set; pictures have seeds of their own         */
    const char *format, *layout;                               /* "png"; "folders", "shards"                           */
    int shard_size;                                            /* pictures a shard                                     */
} im_synth_args;
im_synth_args im_synth_defaults(void);

typedef struct im_synth im_synth;
im_synth *im_synth_open(im_ctx *c, const im_synth_args *a);
void im_synth_close(im_synth *s);
int64_t im_synth_count(const im_synth *s);                     /* pictures                                             */
/* What picture n will be: class, index, recipe, prompt, seed, guidance, file; a JSON object in one line, malloc'd. */
char *im_synth_line(im_ctx *c, const im_synth *s, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
