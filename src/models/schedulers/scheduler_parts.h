/* scheduler_parts.h: what the files scheduler*.c and checkpoints/scheduler_file.c share; nobody else includes it. */
#ifndef IM_SCHEDULER_PARTS_H
#define IM_SCHEDULER_PARTS_H

#include "models/schedulers/scheduler.h"

#include <math.h>

typedef enum { IM_BETA_LINEAR, IM_BETA_SCALED_LINEAR, IM_BETA_COSINE } im_beta_schedule;
typedef enum { IM_PREDICT_EPSILON, IM_PREDICT_V, IM_PREDICT_SAMPLE } im_prediction;
typedef enum { IM_SPACE_LINSPACE, IM_SPACE_LEADING, IM_SPACE_TRAILING } im_spacing;
typedef enum { IM_SIGMAS_PLAIN, IM_SIGMAS_KARRAS, IM_SIGMAS_EXPONENTIAL, IM_SIGMAS_LU } im_sigma_rule;
typedef enum { IM_ALGO_DPM, IM_ALGO_DPMPP, IM_ALGO_SDE_DPM, IM_ALGO_SDE_DPMPP } im_dpm_algorithm;
typedef enum { IM_VAR_SMALL, IM_VAR_SMALL_LOG, IM_VAR_LARGE } im_variance;

typedef struct im_scheduler_config {                           /* names as in scheduler_config.json                   */
    int num_train_timesteps;
    double beta_start, beta_end;
    im_beta_schedule beta_schedule;
    double *trained_betas;                                     /* num_train_timesteps values, or NULL                 */
    bool rescale_betas_zero_snr;
    im_prediction prediction_type;
    im_spacing timestep_spacing;
    int steps_offset;
    bool set_alpha_to_one, clip_sample, skip_prk_steps;
    double clip_sample_range;
    im_variance variance_type;
    im_sigma_rule sigma_rule;                                  /* use_karras_sigmas and its like                      */
    double sigma_min, sigma_max;                               /* NAN: not given                                      */
    bool final_sigma_min;                                      /* final_sigmas_type "sigma_min", else "zero"          */
    int solver_order;
    im_dpm_algorithm algorithm_type;
    bool solver_heun;                                          /* solver_type "heun", else "midpoint"                 */
    bool solver_bh1;                                           /* solver_type "bh1", else "bh2"                       */
    bool predict_x0, lower_order_final, euler_at_final;
    int *disable_corrector, n_disable_corrector;
    double lambda_min_clipped;
    int original_inference_steps;                              /* lcm, tcd: of the distillation                       */
    double timestep_scaling;                                   /* lcm                                                 */
} im_scheduler_config;

enum {                                                         /* fields that only some classes have                  */
    IM_HAS_CLIP = 1,                                           /* clip_sample, clip_sample_range                      */
    IM_HAS_FINAL_ALPHA = 2,                                    /* set_alpha_to_one                                    */
    IM_HAS_PRK = 4,                                            /* skip_prk_steps                                      */
    IM_HAS_VARIANCE = 8,                                       /* variance_type                                       */
    IM_HAS_RULE = 16,                                          /* use_karras_sigmas, use_exponential_sigmas           */
    IM_HAS_LU = 32,                                            /* use_lu_lambdas                                      */
    IM_HAS_RANGE = 64,                                         /* sigma_min, sigma_max                                */
    IM_HAS_FINAL_SIGMA = 128,                                  /* final_sigmas_type                                   */
    IM_HAS_DPM = 256,                                          /* algorithm_type, euler_at_final, lambda_min_clipped  */
    IM_HAS_UNIPC = 512,                                        /* predict_x0, disable_corrector                       */
    IM_HAS_SOLVER = 1024,                                      /* solver_order, solver_type, lower_order_final        */
    IM_HAS_ZERO_SNR = 2048,                                    /* rescale_betas_zero_snr                              */
    IM_HAS_THRESHOLD = 4096,                                   /* thresholding                                        */
    IM_HAS_EULER = 8192,                                       /* interpolation_type, timestep_type                   */
    IM_HAS_DISTILLED = 32768,                                  /* original_inference_steps, timestep_scaling          */
    IM_HAS_SAMPLE = 16384,                                     /* prediction_type may be "sample"                     */
};

enum { IM_SCHEDULER_BUFFERS = 7, IM_SCHEDULER_WORK = 3 };

typedef struct im_scheduler_kind {
    const char *name, *class_name;
    unsigned fields;
    int order;                                                 /* evaluations a step after the first                  */
    int buffers;                                               /* arrays of n values that step keeps or works in      */
    bool by_sigma;                                             /* the sample is x0 + sigma noise, not scaled to unit  */
    bool karras;                                               /* the name itself asks for Karras sigmas              */
    double beta_start, beta_end;                               /* defaults of the class                               */
    im_spacing spacing;
    bool (*times)(im_scheduler *s, int steps);                 /* fills times, sigmas and count                       */
    bool (*step)(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
} im_scheduler_kind;

struct im_scheduler {
    im_ctx *c;
    const im_scheduler_kind *kind;
    im_scheduler_config cfg;
    float *alphas;                                             /* (num_train_timesteps) cumulative products           */
    float final_alpha;                                         /* in place of the product before time 0               */
    int steps, count;                                          /* asked for; evaluations of a whole run               */
    float *times;                                              /* (count)                                             */
    float *sigmas;                                             /* (count + 1), or NULL                                */
    int first, done;                                           /* evaluations left out; made since                    */
    double eta;                                                /* ddim, tcd                                           */
    size_t n;
    im_tensor *buf[IM_SCHEDULER_BUFFERS];                      /* (n) each: history; on the device                    */
    im_tensor *work[IM_SCHEDULER_WORK];                        /* (n) each: free at the beginning of a step           */
    int kept;                                                  /* buffers that hold history                           */
    int last_order;                                            /* unipc: order of the last prediction                 */
};

extern const im_scheduler_kind im_scheduler_kinds[];
extern const int im_scheduler_kind_count;

/* scheduler.c */
const im_scheduler_kind *im_scheduler_find(const char *name);  /* short, or of the class; NULL: none                  */
im_scheduler_config im_scheduler_defaults(const im_scheduler_kind *k);
/* Takes over what config owns, also where it fails. name: what was asked for, or NULL: a short one decides about Karras. */
im_scheduler *im_scheduler_make(im_ctx *c, const im_scheduler_kind *k, const char *name, const im_scheduler_config *config);
void im_scheduler_config_free(im_scheduler_config *f);

/* scheduler_betas.c */
bool im_scheduler_products(im_scheduler *s);                   /* betas -> alphas                                     */

/* scheduler_times.c: time grids and noise levels */
bool im_times_grid(im_scheduler *s, int steps, int points, int last, bool whole);   /* fills times, count             */
bool im_times_whole(im_scheduler *s, int steps);               /* ddim, ddpm: whole times, no sigmas                  */
bool im_times_sigma(im_scheduler *s, int steps);               /* euler, euler_a, lms: times and count + 1 sigmas     */
bool im_times_heun(im_scheduler *s, int steps);                /* every time but the first twice                      */
bool im_times_multistep(im_scheduler *s, int steps);           /* dpm, unipc: whole times and sigmas                  */
bool im_times_distilled(im_scheduler *s, int steps);           /* lcm, tcd: some of the distillation's times          */
bool im_times_pndm(im_scheduler *s, int steps);                /* scheduler_pndm.c                                    */
float im_train_sigma(const im_scheduler *s, int t);            /* sqrt((1 - a) / a)                                   */

/* Index into sigmas of the evaluation at hand; time of the evaluation at hand. */
static inline int im_step_index(const im_scheduler *s) { return s->first + s->done; }
static inline int im_step_time(const im_scheduler *s) { return (int)s->times[im_step_index(s)]; }
static inline float im_alpha_at(const im_scheduler *s, int t) { return t >= 0 ? s->alphas[t] : s->final_alpha; }

/* Where clip_sample holds x0. */
static inline float im_limit(const im_scheduler *s)
{
    return s->cfg.clip_sample ? (float)s->cfg.clip_sample_range : INFINITY;
}

/* y = (sum of w x) / by, kept within limit; every operation rounded by itself, in this order (im_combine). a - w b is
 * a + (-w) b, the same number. */
typedef struct im_term { const im_tensor *x; float w; } im_term;
bool im_mix(const im_scheduler *s, im_tensor *y, float by, float limit, const im_term terms[], int n);
#define IM_TERMS(...) (im_term[]){ __VA_ARGS__ }, (int)(sizeof((im_term[]){ __VA_ARGS__ }) / sizeof(im_term))
#define IM_MIX(s, y, ...) im_mix(s, y, 1, INFINITY, IM_TERMS(__VA_ARGS__))
#define IM_MIX_BY(s, y, by, ...) im_mix(s, y, by, INFINITY, IM_TERMS(__VA_ARGS__))

/* Moves the newest history array to the front: buf[0] is free to be written, the others age by one. */
static inline void im_history_push(im_scheduler *s, int length)
{
    im_tensor *oldest = s->buf[length - 1];
    for (int i = length - 1; i > 0; i--) s->buf[i] = s->buf[i - 1];
    s->buf[0] = oldest;
    if (s->kept < length) s->kept++;
}

/* Variance-preserving scaling of a noise level: x = alpha x0 + sigma noise with alpha^2 + sigma^2 = 1. */
typedef struct im_vp { float alpha, sigma, lambda; } im_vp;    /* lambda = ln(alpha / sigma)                          */
im_vp im_vp_at(float sigma);                                   /* scheduler_dpm.c                                     */
/* What dpm and unipc integrate, as the network's output e has it: x0, or the noise. */
bool im_vp_convert(const im_scheduler *s, const im_tensor *e, const im_tensor *x, bool x0, im_tensor *m);

bool im_step_pndm(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_ddim(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_ddpm(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_lcm(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_tcd(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_euler(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_euler_a(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_heun(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_lms(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_dpm(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);
bool im_step_unipc(im_scheduler *s, const im_tensor *e, im_tensor *x, im_noise noise);

#endif
