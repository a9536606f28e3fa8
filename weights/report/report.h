/* report.h: `make model-report`: what the embedded model can do, in figures. The program has two halves, with
 * `imago generate` between them: report_prompts.c writes what is to be drawn, report_sets.c and report_judge.c look at
 * what came out, report_output.c prints it and draws the nearest training pictures; model_report.c is the program. */
#ifndef REPORT_H
#define REPORT_H

#include "data/sets/dataset.h"
#include "models/eval/features.h"
#include "models/eval/measures.h"

typedef struct report_options {
    const char *data;                    /* the folder with train/ and heldout/ (make model-data)                     */
    const char *model;                   /* whose autoencoder is measured, and whose pictures these are               */
    const char *classifier;              /* a run or a file of `imago train resnet`                                   */
    const char *form;                    /* of a prompt: "%s, clip art", %s being the category                        */
    const char *names;                   /* lines of category, tab, how captions call it; NULL: by its own name       */
    const char *out;                     /* folder: prompts.txt, pictures/, report.json, nearest.png                  */
    int count, least;                    /* pictures a category; training pictures that make one worth a prompt       */
    int first_seed, threads;             /* threads 0: all                                                            */
    double guidance; int steps;          /* as they were given to `imago generate`: to be told                        */
    bool quiet;
} report_options;

typedef struct side {                    /* one of the three sets of pictures                                         */
    im_dataset *data;
    im_features seen;                    /* in the order of the set; features as the encoder gives them               */
    float *unit;                         /* the same of length 1                                                      */
    int size; uint8_t *rgb;              /* (n, size, size, 3)                                                        */
    int64_t *order, *first;              /* pictures by label: those of k are order[first[k]] .. order[first[k + 1]]  */
} side;

typedef struct category {
    int label; const char *name;
    double real, made;                   /* share that the classifier names rightly: held-out, generated pictures     */
    double spread_real, spread_made;     /* mean distance of pairs: training pictures, generated ones                 */
    int64_t trained, held;               /* pictures                                                                  */
} category;

typedef struct copies {                  /* of the generated, and of the held-out pictures beside the training ones   */
    im_nearest *near;
    double features, pixels;             /* medians of the distance to the nearest one                                */
    double share;                        /* of near copies                                                            */
} copies;

typedef struct findings {
    int n; category *v;                  /* those with at least `least` training pictures                             */
    double all_held;                     /* share of all held-out pictures, of every class, that is named rightly     */
    double real, made;                   /* means over the categories                                                 */
    double spread_real, spread_made;
    int64_t sample;                      /* pictures a set, for both Frechet distances                                */
    double frechet_made, frechet_train;  /* to held-out pictures                                                      */
    double limit_features, limit_pixels; /* below both lies a near copy                                               */
    copies held, drawn;
    double psnr; int64_t psnr_pictures;
} findings;

static inline int64_t side_count(const side *s, int label) { return s->first[label + 1] - s->first[label]; }

/* The classes of the training set that are worth a prompt, in its order: labels[n]; -1 with an error. */
int report_categories(im_ctx *c, const im_dataset *train, int least, int *labels);
bool report_prompts(im_ctx *c, const report_options *o);

/* Opens train, held-out and generated pictures with the classifier's classes, and looks at them. */
bool report_sets(im_ctx *c, const report_options *o, side *train, side *held, side *made);
void report_side_free(side *s);

bool report_judge(im_ctx *c, const report_options *o, const side *train, const side *held, const side *made, findings *f);
/* Mean PSNR of held-out pictures that went through mean and decoder of the model's autoencoder, rounded to 8 bits. */
bool report_psnr(im_ctx *c, const report_options *o, const side *held, findings *f);

bool report_output(im_ctx *c, const report_options *o, const side *train, const side *made, const findings *f);
void report_findings_free(findings *f);

/* Said on stderr while the program works, a line each. */
void report_say(const report_options *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
