/* imago_train.h: training of classifiers, autoencoders and diffusion models; evaluation, analysis, transfer and
 * comparison. */
#ifndef IMAGO_TRAIN_H
#define IMAGO_TRAIN_H

#include "imago_generate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- training (models/train/train_loop.c, train_resnet.c)
 * A run is a folder: config.json, log.jsonl (an object a step), checkpoints, model.safetensors at the end. Killed at any
 * instant it goes on from its last good checkpoint and ends with the same bits as if nothing had happened. */

typedef struct im_train_common {                               /* what every training has; texts are borrowed          */
    const char *data, *out;                                    /* set of pictures (data/sets/dataset.h); run's folder   */
    const char *init;                                          /* weights to begin with; NULL: random                  */
    int epochs, steps;                                         /* steps > 0 counts instead of epochs                   */
    int batch, accumulate;                                     /* pictures a part; parts a step                        */
    float lr;                                                  /* at the peak; 0: the task's own default               */
    float warmup;                                              /* epochs; < 0: a tenth of the run                      */
    const char *schedule;                                      /* "cosine", "step", "constant"                         */
    const char *optimizer;                                     /* "sgd", "adamw", "lars"                               */
    float momentum, decay;                                     /* SGD, LARS; weight decay, < 0: the optimiser's own    */
    bool nesterov;
    float clip;                                                /* global norm of gradients; 0: not clipped             */
    float ema;                                                 /* .9999: a moving average of weights is kept; 0: none  */
    uint64_t seed;
    const char *dtype;                                         /* "f32", or "bf16": factors of products are rounded    */
    const char *order, *cache;                                 /* "shuffled", "listed"; "none", "ram", "disk"          */
    int workers;                                               /* decoding threads; 0: one a processor                 */
    int keep, checkpoint_every;                                /* checkpoints kept; steps between, 0: an epoch         */
    bool recompute;                                            /* blocks run again in backward: less memory, same bits */
    bool strict;                                               /* a broken picture stops the run                       */
    bool resume;
} im_train_common;

typedef struct im_train_resnet_args {
    im_train_common common;
    const char *arch;                                          /* "resnet18", 34, 50, 101                              */
    const char *classes, *val;                                 /* a class a line; a set to choose the best by; or NULL */
    const char *mix; int budget;                               /* in the place of common.data (dataset.h): several sets */
    const char *augment;                                       /* "none", "plain", "drawing", "dino"                   */
    float mixup;                                               /* 0 to 1: how far pictures of a batch are mixed        */
    int size;                                                  /* side of the (global) crop                            */
    int locals, local_size;                                    /* dino: number and side of local crops; < 0, 0: its own */
    const char *head; int head_layers;                         /* "linear"; "cosine" or "trex", which is the same, and */
                                                               /* its hidden layers                                    */
    int width;                                                 /* channels of the first stage, 64 as torchvision's     */
    bool small_stem;                                           /* for pictures of 32 to 64 pixels                      */
    bool new_head;                                             /* init gives the encoder only                          */
    bool sync_batchnorm;                                       /* batch norms see all parts of a step, of all ranks    */
} im_train_resnet_args;
im_train_resnet_args im_train_resnet_defaults(void);

typedef struct im_train_progress {
    int64_t step, steps, epoch, epochs;                        /* from 1                                               */
    double loss, lr, grad_norm, img_per_s, top1;               /* top1: NAN where there are no classes                 */
    double seconds_left;
} im_train_progress;

typedef struct im_train_hooks {                                /* any may be NULL                                      */
    void *arg;
    void (*step)(void *arg, const im_train_progress *p);
    bool (*stop)(void *arg);                                   /* after every step: true: write a checkpoint and end   */
    void (*note)(void *arg, const char *text);                 /* "goes on from step 120"                              */
    void (*saved)(void *arg, const char *run);                 /* after every checkpoint: time to draw curves          */
    void (*tape)(void *arg, const im_tape_row *row);           /* of the first step, last node first                   */
} im_train_hooks;
bool im_train_resnet(im_ctx *c, const im_train_resnet_args *a, const im_train_hooks *hooks);

/* Several processes that a launcher (mpirun, srun) has started train one network together (models/train/ranks.h): each
 * calls the same im_train_*, rank 0 alone writes and calls hooks but `stop`. This process's rank as the environment has it;
 * 0: the first one, or nobody has started several. */
int im_train_rank(void);

/* To resume: takes from the run's config.json every option that was not given, and fails, naming all of them, where one
 * that was given and decides about the result differs. Options are named as `imago train` names them. The texts live until
 * im_train_config_free. NULL without an error: there is no such run yet. */
typedef struct im_train_config im_train_config;
struct im_field;                                               /* an option's type and range (data/files/fields.h)    */
const struct im_field *const *im_train_resnet_fields(void);    /* tables up to NULL, for im_train_resnet_args          */
const struct im_field *const *im_train_autoencoder_fields(void);
const struct im_field *const *im_train_decoder_fields(void);
const struct im_field *const *im_train_diffusion_fields(void);
im_train_config *im_train_resnet_config(im_ctx *c, const char *run, im_train_resnet_args *a,
                                        bool (*given)(void *arg, const char *option), void *arg);
void im_train_config_free(im_train_config *f);

typedef struct im_train_autoencoder_args {
    im_train_common common;
    const char *config;                                        /* a model's folder, or one with the VAE's config.json  */
    const char *val;                                           /* pictures to measure PSNR on; or NULL                 */
    int size;                                                  /* pixels; 0: the config's sample_size                  */
    float flip; int shift;                                     /* views: mirrored with this probability, moved by this */
    float gradient_weight, kl_weight;                          /* of the loss                                          */
    const char *train;                                         /* "all"; "decoder": common.init's encoder stays as it is */
} im_train_autoencoder_args;
im_train_autoencoder_args im_train_autoencoder_defaults(void);
/* Writes RUN/vae (diffusers: AutoencoderKL.from_pretrained) after every checkpoint; scaling_factor is 1 / deviation of the
 * latents. common.init: a folder with a VAE to go on from. */
bool im_train_autoencoder(im_ctx *c, const im_train_autoencoder_args *a, const im_train_hooks *hooks);

typedef struct im_train_decoder_args {
    im_train_common common;
    const char *vae;                                           /* whose pictures and latents are learnt: a model's     */
                                                               /* folder, or what im_sd_use_vae takes, not tiny itself */
    const char *val;                                           /* pictures to measure PSNR on; or NULL                 */
    int size;                                                  /* pixels; 0: the VAE's sample_size                     */
    float flip; int shift;                                     /* views: mirrored with this probability, moved by this */
    int width, blocks;                                         /* channels; blocks a level, the finest has 1. 0: those */
                                                               /* of common.init, else 64 and 3, TAESD's               */
    const char *target;                                        /* "decoded": what the VAE makes of the latents;        */
                                                               /* "picture": the picture itself                        */
} im_train_decoder_args;
im_train_decoder_args im_train_decoder_defaults(void);
/* A tiny decoder and encoder for the latents of a VAE (models/train/train_decoder.c). Writes RUN/vae (diffusers:
 * AutoencoderTiny.from_pretrained; im_sd_use_vae) after every checkpoint. common.init: a tiny VAE to go on from. */
bool im_train_decoder(im_ctx *c, const im_train_decoder_args *a, const im_train_hooks *hooks);

typedef struct im_train_diffusion_args {
    im_train_common common;
    const char *config, *vae;                                  /* a model's folder; one with the VAE                   */
    const char *text;                                          /* "train", "frozen"                                    */
    bool cache_latents; int views;                             /* every picture is encoded once, in so many views      */
    int size;                                                  /* pixels; 0: the UNet's sample_size times the factor   */
    float flip; int shift;
    float drop;                                                /* share of captions that are left out: .1              */
    float drop_tags;                                           /* of the others, share of tags (parted by commas): 0   */
    float drop_first;                                          /* the same of first tags; below 0: drop_tags. -1       */
    float balance;                                             /* pictures of a first tag that n have: weight          */
                                                               /* n^-balance; 0: each once an epoch                    */
    const char *favour; float favour_share;                    /* file, a thing a line: what share of all that is      */
                                                               /* shown has one of them as its first tag; NULL, .75    */
    int lora;                                                  /* rank: adapters of the attention are trained, and     */
                                                               /* nothing else; 0: the networks                        */
    bool lora_text; float lora_alpha;                          /* in the text encoder too; 0: as the rank              */
    const char *lora_from;                                     /* a LoRA to begin with; NULL: B is zero                */
    float snr_gamma, snr_power;                                /* weights gamma / snr above gamma, snr^-power below 1; */
                                                               /* 0: 1                                                */
} im_train_diffusion_args;
im_train_diffusion_args im_train_diffusion_defaults(void);
/* Writes RUN/model, a diffusers folder with averaged weights, after every checkpoint; with lora
 * RUN/pytorch_lora_weights.safetensors in its place. common.init: a model's folder to go on from (fine-tuning), which also
 * gives config and vae where they are NULL; without it weights are random. */
bool im_train_diffusion(im_ctx *c, const im_train_diffusion_args *a, const im_train_hooks *hooks);
im_train_config *im_train_autoencoder_config(im_ctx *c, const char *run, im_train_autoencoder_args *a,
                                             bool (*given)(void *arg, const char *option), void *arg);
im_train_config *im_train_decoder_config(im_ctx *c, const char *run, im_train_decoder_args *a,
                                         bool (*given)(void *arg, const char *option), void *arg);
im_train_config *im_train_diffusion_config(im_ctx *c, const char *run, im_train_diffusion_args *a,
                                           bool (*given)(void *arg, const char *option), void *arg);

/* One step of training, looked at from all sides (models/train/diffusion_once.c): the UNet of a model, in f32, on the
 * latents of one picture; its text encoder stays as it is. SGD without momentum: after = before - lr gradient. What
 * im_on_tape sees of it is its tape. */
typedef struct im_once_args {
    const char *prompt;
    const float *latents; int w, h;                            /* (C, h, w), as im_sd_run_latents gives them           */
    int time;                                                  /* 0 .. 999: how much noise is added                    */
    uint64_t seed;                                             /* of that noise                                        */
    double lr;
    const char *tensor;                                        /* whose weight is looked at: that of the largest       */
    double h_step;                                             /* gradient; by how much it is moved both ways          */
} im_once_args;
typedef struct im_once_layer { char *name; int64_t count; double norm; } im_once_layer;
typedef struct im_once {
    double abar;                                               /* what is left of the picture at that time             */
    double loss, loss_after;                                   /* of the same noise and time, before and after         */
    double norm;                                               /* of all gradients                                     */
    double forward_seconds, backward_seconds, step_seconds;
    int n; im_once_layer *layers;                              /* (n) every parameter's gradient, in order             */
    int ndim; int64_t shape[5], at[5];                         /* the tensor as the engine holds it: (Cout, Kh, Kw,    */
                                                               /* Cin); where in it the weight is                      */
    double before, after, gradient;
    double loss_up, loss_down, difference;                     /* at weight +- h_step; (up - down) / (2 h_step)        */
} im_once;
bool im_diffusion_once(im_sd *sd, const im_once_args *a, im_once *out);
void im_once_free(im_once *o);

/* A run of `imago train resnet`, or a file of a ResNet's weights? To one file of weights; dtype as im_sd_convert's; vectors
 * stay f32 (models/checkpoints/classifier_convert.c). */
bool im_is_classifier(im_ctx *c, const char *path);
bool im_classifier_convert(im_ctx *c, const char *in, const char *out, int dtype, bool force);

/* What is on a picture: the most likely class of a classifier, and its softmax. path: a run, or a file of weights that
 * tells the names of its classes; size: side of the crop where it does not tell at which it was trained. */
typedef struct im_namer im_namer;
typedef struct im_guess { int label; const char *name; double probability; } im_guess;  /* name: owned by the namer   */
im_namer *im_namer_open(im_ctx *c, const char *path, int size);
bool im_namer_guess(im_namer *n, const im_image *picture, im_guess *out);
void im_namer_free(im_namer *n);

/* ---------------------------------------------------------------- evaluation (models/eval/evaluate.c, sets.c) */

typedef struct im_eval_args {
    const char *model, *data, *classes;                        /* a run, or a safetensors file; classes: NULL, or a list */
    const char *set;                                           /* NULL: "folder"; "imagenet", "imagenet-v2",           */
                                                               /* "imagenet-sketch", "imagenet-a", -r, -o (eval/sets.h)*/
    const char *val;                                           /* imagenet-o: val of ImageNet, which holds what is no  */
                                                               /* anomaly                                              */
    const char *save_features;                                 /* NULL, or a safetensors file to write: features (n,   */
                                                               /* width), labels (n); metadata names, classes          */
    const char *zero_shot, *form;                              /* NULL; or a list of classes: model is a folder with   */
                                                               /* CLIP, and a class is the text that form makes of its */
                                                               /* name, in the place of %s                             */
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
    int size;                                                  /* side of the crop                                     */
} im_eval_result;
bool im_eval_classifier(im_ctx *c, const im_eval_args *a, im_eval_result *out,
                        void (*progress)(void *arg, int64_t done, int64_t total), void *arg);
void im_eval_result_free(im_eval_result *r);

/* ---------------------------------------------------------------- features of a classifier's encoder (models/eval)
 * What analyze, transfer and compare have in common: a classifier, and a set of pictures whose features it gives. They are
 * extracted once and kept beside the weights (models/eval/features.h); every picture must be whole. */

typedef struct im_measure_args {                               /* texts are borrowed                                   */
    const char *model;                                         /* a run, or a safetensors file                         */
    const char *classes;                                       /* NULL, or a file with a class a line                  */
    int batch, size;                                           /* size 0: as it was trained, or 224                    */
    bool strict;
    void (*progress)(void *arg, int64_t done, int64_t total); void *arg;                   /* may be NULL              */
} im_measure_args;
im_measure_args im_measure_defaults(void);

/* analyze.c. x: features (n, d) as they come out of the encoder; z: its rows with length 1; logarithms are natural. */
typedef struct im_analyze_args {
    im_measure_args measure;
    const char *data, *set;                                    /* set: as im_eval_args has it                          */
    const char *save_features;
    float threshold, eps2;                                     /* of sparsity; of the coding length                    */
} im_analyze_args;
im_analyze_args im_analyze_defaults(void);

typedef struct im_analysis {
    int64_t pictures, left_out;
    int width, size;                                           /* of the features; side of the crop                   */
    double sparsity;                                           /* share of all values of x below the threshold         */
    double intra_class_distance;                               /* mean distance of pairs of z within a class, averaged */
                                                               /* over classes of two pictures or more; NAN: none      */
    double feature_redundancy; int flat;                       /* mean |Pearson correlation| over pairs of columns of  */
                                                               /* x; columns that are the same on all pictures, left out */
    double coding_length;                                      /* 1/2 log det(I + d / (n eps2) z^T z)                  */
    double top1;                                               /* NAN: the set has not the classifier's classes        */
    int classes; char **names;
    int64_t *count;                                            /* (classes): pictures                                  */
    double *class_distance, *class_top1;                       /* (classes), NAN: not known                            */
    char *weights;                                             /* the file that was read                               */
} im_analysis;
bool im_analyze(im_ctx *c, const im_analyze_args *a, im_analysis *out);
void im_analysis_free(im_analysis *a);

/* transfer.c: a linear classifier on the features of a frozen encoder: what it is worth for classes that it never saw. */
typedef struct im_transfer_args {
    im_measure_args measure;
    const char *train, *test;                                  /* sets of the same classes                            */
    const char *protocol;                                      /* "logreg", "sgd"                                      */
    const char *save_features;                                 /* A.safetensors: A.train.safetensors, A.test.safetensors */
    int trials;                                                /* settings drawn, of which validation chooses           */
    float cost;                                                /* logreg: C, not chosen; 0: by trials                  */
    float lr, decay;                                           /* sgd: the same; 0, < 0: by trials                     */
    int epochs;                                                /* sgd                                                  */
    const int *shots; int n_shots;                             /* also with so many pictures a class, ...              */
    int seeds;                                                 /* drawn so often                                       */
    uint64_t seed;
} im_transfer_args;
im_transfer_args im_transfer_defaults(void);

typedef struct im_transfer_score {
    int shots, seed;                                           /* pictures a class, 0: all; number of the draw         */
    double top1, mean_per_class;                               /* on the test set                                      */
    double log_odds;                                           /* log((right + 1/2) / (wrong + 1/2))                   */
    double val_top1;                                           /* of the setting chosen; NAN: it was given             */
    double cost, lr, decay;
    int iterations; bool converged;                            /* logreg                                               */
} im_transfer_score;

typedef struct im_transfer_result {
    int64_t train, test, validation;                           /* pictures; of train, held out to choose by            */
    int classes, width, size;
    int n; im_transfer_score *scores;                          /* the first with all pictures                          */
    char *weights;
} im_transfer_result;
bool im_transfer(im_ctx *c, const im_transfer_args *a, im_transfer_result *out);
void im_transfer_result_free(im_transfer_result *r);

/* compare.c: two sets beside each other, by the features of one net: the first is the reference (real pictures, say). */
typedef struct im_compare_args {
    im_measure_args measure;                                   /* model: the net that gives the features               */
    const char *recognizer;                                    /* NULL: the same net; else another classifier          */
    const char *sets[2];
    const char *save_features;                                 /* A.safetensors: A.1.safetensors, A.2.safetensors      */
    const char *clip;                                          /* NULL, or a folder with CLIP, for CMMD                */
    int k;                                                     /* nearest neighbour that says how far a set reaches    */
} im_compare_args;
im_compare_args im_compare_defaults(void);

typedef struct im_comparison {
    int64_t pictures[2];
    int width, size;
    double frechet;
    double precision, recall;                                  /* share of the second set within reach of the first;   */
                                                               /* of the first within reach of the second              */
    double density, coverage;                                  /* Naeem et al. 2020                                    */
    double vendi[2];                                           /* effective number of different pictures               */
    double recognizability[2];                                 /* top-1 of the recognizer; NAN: it has not the classes */
    double cmmd;                                               /* NAN: without CLIP                                    */
    char *weights, *recognizer;                                /* the files that were read                             */
} im_comparison;
bool im_compare(im_ctx *c, const im_compare_args *a, im_comparison *out);
void im_comparison_free(im_comparison *r);

/* sieve.c: which pictures of a synthetic set stay: those that a classifier takes most surely for what they are meant to
 * be, or whose cosine with their prompt is the largest for CLIP. text: "classifier=RUN:keep=.8", RUN a run or a safetensors
 * file, or "clip=DIR:keep=.8"; .8 of each class stay. */
typedef struct im_sieve im_sieve;
im_sieve *im_sieve_open(im_ctx *c, const char *text);
const char *im_sieve_text(const im_sieve *f);                /* "classifier SHA-256", "clip ..": for im_synth_args   */
double im_sieve_keep(const im_sieve *f);
bool im_sieve_fits(im_ctx *c, im_sieve *f, const im_synth *s);               /* it knows every class of the set      */
/* score (pictures of the set): log of the softmax of the class that is meant, or the cosine. All must be there. */
bool im_sieve_scores(im_ctx *c, im_sieve *f, const im_synth *s, double *score);
void im_sieve_free(im_sieve *f);

#ifdef __cplusplus
}
#endif
#endif
