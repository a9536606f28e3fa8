/* sd.h: what the files sd*.c and pictures.c share; nobody else includes it but train/diffusion_once.c and the tests. */
#ifndef IM_SD_H
#define IM_SD_H

#include "data/text/chunks.h"
#include "data/text/lora_tags.h"
#include "models/checkpoints/embeddings.h"
#include "models/checkpoints/lora.h"
#include "models/checkpoints/weight_cache.h"
#include "models/nets/clip.h"
#include "models/schedulers/scheduler.h"
#include "models/nets/unet.h"
#include "models/nets/vae.h"

typedef struct im_networks { im_clip *clip; im_unet *unet; im_vae *vae; } im_networks;

typedef struct im_sd_size {              /* what one evaluation's shape depends on                                    */
    int width, height, w, h;             /* of a picture, of its latents                                              */
    int tokens;                          /* UNet: of its text; 0: as many as the text encoder has positions           */
    int skip;                            /* text encoder: layers at its end that are left out                         */
    im_unet_depth depth;                 /* UNet: how much of it (DeepCache)                                          */
    float merge;                         /* UNet: share of the tokens that are merged                                 */
} im_sd_size;

/* One network at one shape, ready to run again and again (sd_stage.c). */
typedef struct im_stage {
    im_ctx *c;
    const im_networks *nets;
    im_net net;
    int batch; im_sd_size size; bool eager;
    int mask_channels, guidance, deep;                         /* im_mask_channels, im_guidance_input; which input    */
                                                               /* is what was kept of an earlier evaluation, or 0     */
    uint64_t *runs; int n_runs;                                /* UNet: whose texts its keys and values are of        */
    uint64_t used;                                             /* when, to find the one that was used longest ago     */
    im_tensor **in;
    int n_in;
    im_plan *plan;                                             /* NULL: op by op                                      */
    bool open;
} im_stage;

enum { IM_STAGES = 16 };

typedef struct im_stage_info { im_net net; int batch; im_sd_size size; im_plan_info info; } im_stage_info;

struct im_sd {
    im_ctx *c;
    im_checkpoint *checkpoint;
    const im_model_config *config;
    im_dtype dtype;
    char file_hash[65];                                        /* "": not asked for yet                               */
    im_tokenizer *tokenizer;                                   /* NULL until the first text                           */
    im_networks nets;                                          /* each NULL until it is needed                        */
    bool loaded[IM_NET_COUNT];
    im_dtype activations;                                      /* im_sd_activations                                   */
    im_lora *loras;                                            /* in the weights, the last one first: those of the    */
    im_lora *fixed_loras;                                      /* prompt, then these, which im_sd_add_lora gave       */
    im_lora *idle_loras;                                       /* open, for prompts to come                           */
    char *lora_folder;                                         /* im_sd_lora_folder; NULL: beside the model           */
    im_model_config with_vae; char *vae_name, vae_hash[65];    /* with im_sd_use_vae; NULL, "": with the model's own  */
    im_embeddings embeddings;                                  /* words that prompts may use                          */
    bool own_embeddings;                                       /* those beside the model were looked for              */
    bool cache_weights;                                        /* im_sd_cache_weights                                 */
    im_map maps[IM_NET_COUNT];                                 /* what such weights lie in                            */
    char *scheduler_path;                                      /* of scheduler_config.json; NULL: v1.4's              */
    const char *scheduler_text;                                /* its content, where a single file carries it         */
    float *preview;                                            /* (3, C + 1): preview.h; NULL: not needed so far      */
    bool no_scheduler, told_no_scheduler;                      /* the folder has no such file; that was said          */
    struct im_text_states *texts;                              /* of prompts seen before (sd_text.c); NULL: none      */
    im_sd_progress progress;
    void *progress_arg;
    im_stage stages[IM_STAGES];                                /* those that were recorded                            */
    im_stage *stage;                                           /* the one that has memory for its intermediates; NULL */
    uint64_t stage_uses;
    im_stage_info known[IM_STAGES]; int n_known;               /* what stages of some sizes need (im_stage_describe)  */
    uint64_t opened; int open_runs;                            /* runs so far; those that are open                    */
};

/* ---------------------------------------------------------------- sd.c */

bool im_sd_need(im_sd *sd, im_net net);                        /* loads it if it is not loaded                        */
im_part im_net_part(im_net net);
im_params *im_net_params(const im_networks *nets, im_net net);
im_dtype im_net_dtype(const im_sd *sd, im_net net);            /* what its weights are held in                        */
bool im_net_make(im_ctx *c, const im_model_config *config, im_net net, im_networks *nets);          /* shapes only    */
void im_nets_free(im_networks *nets);
im_scheduler *im_sd_new_scheduler(im_sd *sd, const im_sd_args *a);

/* Picture size and latent size of a run, checked. Given an init picture, sizes are rounded down to what the VAE takes,
 * as diffusers does; else they must fit. */
bool im_sd_sizes(im_sd *sd, const im_sd_args *a, im_sd_size *out);
/* im_sd_check_memory where so many bytes are free; < 0: nobody knows (sd_report.c). */
bool im_sd_fits(im_sd *sd, const im_sd_args *a, int batch, double available);

/* ---------------------------------------------------------------- sd_lora.c */

/* Puts these adapters behind those that stay, in the place of the last prompt's; nothing is done where they are there. */
bool im_sd_use_tags(im_sd *sd, const im_lora_tags *t);
const char *im_sd_tag_hash(im_sd *sd, const im_lora_tag *t);   /* of its file, which is opened and checked; NULL: error */
void im_sd_loras_free(im_sd *sd);
/* The folder of that name in the model's, or beside it; malloc'd, NULL: neither. */
char *im_sd_beside(im_sd *sd, const char *name);

/* ---------------------------------------------------------------- sd_embed.c */

bool im_sd_need_embeddings(im_sd *sd);                         /* reads those beside the model, once                  */
im_vector_word *im_sd_vector_words(im_sd *sd, int *n);         /* of all; malloc'd, NULL with an error                */
bool im_sd_names_embedding(im_sd *sd, const im_sd_args *a, int i);        /* does one of its texts name number i?    */

/* ---------------------------------------------------------------- sd_stage.c */

int im_mask_channels(const im_model_config *m);                /* inputs of the UNet beside latents: 0, or 5 (sd_mask.c) */
int im_guidance_input(const im_model_config *m);               /* which input of the UNet is the guidance; 0: none    */
bool im_same_size(im_sd_size a, im_sd_size b);                 /* have the UNet's evaluations one shape?              */
/* Recorded as a plan, or op by op. What goes in and comes out, by network:
 *   CLIP         ids i32 (B, T)                                                        -> (B, T, C)
 *   UNET         x (B, h, w, 4), t (B), (B, h, w, 5) of a mask where the model has 9
 *                inputs, (B) of 1000 (guidance - 1) where it is told, deep where that
 *                is used again, then keys and values of the text       -> (B, h, w, 4), with deep where that is kept
 *   VAE_DECODER  z (B, h, w, 4)                                                        -> (B, H, W, 3)
 *   VAE_ENCODER  x (B, H, W, 3)                                                        -> (B, h, w, 8), tiny: 4
 * text: UNet only, (batch, T, C) of the text encoder. False with an error; close it all the same. */
bool im_stage_open(im_sd *sd, im_stage *s, im_net net, int batch, im_sd_size size, const float *text, bool eager);
/* With what its inputs hold now; of the open scope, valid until it runs again. NULL with an error. */
im_tensor *im_stage_forward(im_stage *s);
/* From the host and to it. x: ids, latents or a picture; times (B): UNet only, else NULL; out: all values of the output. */
bool im_stage_run(im_stage *s, const void *x, const float *times, float *out);
void im_stage_close(im_stage *s);

/* The texts of a UNet's batch: by whose they are, and as values where a stage has to be opened for them. */
typedef struct im_stage_text {
    const uint64_t *runs; int n_runs;
    float *(*join)(void *arg); void *arg;                      /* (batch, T, C), malloc'd                             */
} im_stage_text;
/* The model's stage of this kind, recorded where there is none yet; no other has memory for intermediates from then on.
 * NULL with an error. */
im_stage *im_sd_stage(im_sd *sd, im_net net, int batch, im_sd_size size, bool eager, const im_stage_text *t);
void im_sd_stages_rest(im_sd *sd);                             /* none has                                            */
void im_sd_stages_forget(im_sd *sd);                           /* keys and values of texts: computed again            */
void im_sd_stages_close(im_sd *sd);
/* What a stage would need and do, without loading anything. */
bool im_stage_describe(im_sd *sd, im_net net, int batch, im_sd_size size, im_plan_info *out);

/* ---------------------------------------------------------------- sd_text.c */

/* A text, how it is read, and what comes out: the states of its chunks one after the other. */
typedef struct im_sd_text {
    const char *text;                                          /* NULL: nothing is done                               */
    im_prompt_syntax syntax;
    int skip;                                                  /* layers of the text encoder that are left out        */
    bool negative;                                             /* what warnings call it                               */
    int chunks;                                                /* T tokens each                                       */
    float *states;                                             /* (chunks * T, C), malloc'd                           */
} im_sd_text;
/* Fills chunks and states; a text is encoded once. Warns of text that was cut, once. False: no states are left. */
bool im_sd_encode_texts(im_sd *sd, im_sd_text texts[], int n, bool eager);
im_sd_text im_sd_text_of(const im_sd_args *a, const char *text);                    /* read as a says                 */
/* Chunks that the prompt and the negative prompt of a run both get: as many as the longer needs. 0 with an error. */
int im_sd_text_chunks(im_sd *sd, const im_sd_args *a);
void im_text_states_free(struct im_text_states *k);
size_t im_sd_text_size(const im_sd *sd);                       /* values a chunk: T * C                               */

/* ---------------------------------------------------------------- pictures.c */

/* torch's (c, h, w) <-> imago's (h, w, c) */
void im_to_channels_last(const float *from, int channels, int64_t pixels, float *to);
void im_to_channels_first(const float *from, int channels, int64_t pixels, float *to);
/* (height, width, 3) near -1..1 -> 8 bits, as VaeImageProcessor and numpy_to_pil round. */
im_image *im_picture_of(im_ctx *c, const float *x, int width, int height);
/* An init picture at width x height, in -1..1, as VaeImageProcessor prepares it; malloc'd (height, width, 3). */
float *im_picture_values(im_ctx *c, const im_image *i, int width, int height);

#endif
