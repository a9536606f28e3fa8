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
    int shard_size, quality;                                   /* pictures a shard; of JPEG                            */
    /* What follows is not looked at to say what would be drawn. */
    const char *model; im_dtype hold;                          /* as im_sd_open has them                               */
    const char *out;                                           /* folder of the set                                    */
    int64_t part, parts;                                       /* part i of n is drawn: 0 of 1                         */
    int steps, batch;
    int size, save_size;                                       /* sides in pixels: drawn, 0: the model's; written, 0:  */
                                                               /* as drawn, else resized by Pillow's Lanczos           */
    const char *scheduler;                                     /* NULL: the model's                                    */
    const char *init_data; float strength;                     /* NULL, or pictures of the classes to begin from       */
    int dedup;                                                 /* > 0: of pictures of a class whose perceptual hashes  */
                                                               /* differ in so many bits or fewer one stays            */
    const char *filter; double keep;                           /* NULL, or what scores pictures, for the manifest; the */
                                                               /* share of each class that stays                       */
} im_synth_args;
im_synth_args im_synth_defaults(void);

typedef struct im_synth im_synth;
im_synth *im_synth_open(im_ctx *c, const im_synth_args *a);
void im_synth_close(im_synth *s);
int64_t im_synth_count(const im_synth *s);                     /* pictures                                             */
int64_t im_synth_part(int64_t count, int64_t i, int64_t n);    /* floor(count i / n): where part i of n begins         */
/* What picture n will be: class, index, recipe, prompt, seed, guidance, file; a JSON object in one line, malloc'd. */
char *im_synth_line(im_ctx *c, const im_synth *s, int64_t n);

typedef struct im_synth_progress {
    int64_t done, wanted, there;                               /* pictures on the disk by this run, of so many; of the */
                                                               /* part, before it                                      */
    int batch, evaluation, evaluations;                        /* of the UNet, for the batch at work                   */
    double img_per_s, seconds_left;                            /* below 0: not known yet                               */
    bool last;
} im_synth_progress;

typedef struct im_synth_hooks {                                /* any may be NULL                                      */
    void *arg;
    void (*drawn)(void *arg, const im_synth_progress *p);
    void (*note)(void *arg, const char *text);
    /* with args.filter: a score of every picture of the set, the higher the better: score (count) */
    bool (*scores)(void *arg, im_ctx *c, const im_synth *s, double *score);
} im_synth_hooks;

/* Draws the pictures of the part that are not there; the last worker finishes the set. What a set looks like, and how
 * workers share one, is told in models/pipelines/synth_set.c. After im_cancel the error is "stopped", what is drawn stays,
 * and the same call goes on. */
bool im_synth_draw(im_ctx *c, im_synth *s, const im_synth_hooks *h);
/* Draws one picture of the set again, "CLASS:INDEX": puts it there where it is missing, and says whether the bytes are the
 * same where it is not; force: puts it in the place of other bytes. */
bool im_synth_one(im_ctx *c, im_synth *s, const char *which, bool force, const im_synth_hooks *h);
/* Is every picture of a finished set as it was drawn? Notes each that is not. */
bool im_synth_verify(im_ctx *c, const char *set, const im_synth_hooks *h);

/* To go on with a set: takes from OUT/manifest.json what was not given; options are named as `imago synth` names them. The
 * texts live until im_synth_settings_free. NULL without an error: there is no such set yet. */
typedef struct im_synth_settings im_synth_settings;
im_synth_settings *im_synth_recall(im_ctx *c, im_synth_args *a, bool (*given)(void *arg, const char *option), void *arg);
void im_synth_settings_free(im_synth_settings *settings);

/* ---------------------------------------------------------------- evaluation (models/eval/evaluate.c, sets.c) */

typedef struct im_eval_args {
    const char *model, *data, *classes;                        /* a run, or a safetensors file; classes: NULL, or a list */
    const char *set;                                           /* NULL: "folder"; "imagenet", "imagenet-v2",           */
                                                               /* "imagenet-sketch", "imagenet-a", -r, -o (eval/sets.h)*/
    const char *val;                                           /* imagenet-o: val of ImageNet, which holds what is no  */
                                                               /* anomaly                                              */
    const char *save_features;                                 /* NULL, or a safetensors file to write: features (n,   */
                                                               /* width), labels (n); metadata names, classes          */
    int batch, size;                                           /* size 0: as it was trained, or 224                    */
    bool strict;
} im_eval_args;
im_eval_args im_eval_defaults(void);

typedef struct im_eval_result {
    int64_t pictures, broken, left_out;                        /* left_out: of classes that the classifier has not     */
    int classes; char **names;
    int in_common;                                             /* classes of the set that it has                       */
    double top1, top5, loss;                                   /* shares of pictures; mean cross entropy; imagenet-o:  */
                                                               /* of the pictures of val                               */
    double aupr;                                               /* imagenet-o: area under precision and recall of -max  */
                                                               /* softmax, its pictures against those of val; else NAN */
    int64_t *confusion;                                        /* (classes, classes): [true][predicted]                */
    int64_t *top5_hits;                                        /* by true class                                        */
    char *weights;                                             /* the file that was read                               */
} im_eval_result;
bool im_eval_classifier(im_ctx *c, const im_eval_args *a, im_eval_result *out,
                        void (*progress)(void *arg, int64_t done, int64_t total), void *arg);
void im_eval_result_free(im_eval_result *r);

#ifdef __cplusplus
}
#endif
#endif
