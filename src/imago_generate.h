/* imago_generate.h: generation: files of tensors, pictures and tokens; Stable Diffusion; synthetic sets. */
#ifndef IMAGO_GENERATE_H
#define IMAGO_GENERATE_H

#include "imago_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- files (data/) */

typedef struct im_st_entry {                                   /* one tensor of a safetensors file                     */
    const char *name;
    char dtype_name[8];                                        /* as written: "F32", "BF16", "I64" ...                 */
    int dtype;                                                 /* im_dtype, or -1 for one imago does not compute in    */
    int ndim;
    int64_t shape[8];
    const void *data;                                          /* mapped                                               */
    size_t bytes;
} im_st_entry;

typedef struct im_safetensors im_safetensors;
im_safetensors *im_st_open(im_ctx *c, const char *path);       /* FILE.safetensors, or FILE.safetensors.index.json     */
int im_st_count(const im_safetensors *s);
const im_st_entry *im_st_at(const im_safetensors *s, int i);   /* in the order of the file                             */
const im_st_entry *im_st_find(const im_safetensors *s, const char *name);
const char *im_st_metadata(const im_safetensors *s, const char *key);               /* NULL when absent                */
void im_st_release_pages(const im_safetensors *s, const im_st_entry *e);            /* copied: the mapping may go      */
void im_st_close(im_safetensors *s);

/* Written beside and renamed by im_st_finish; im_st_abandon leaves nothing. Entries need name, dtype, ndim, shape. */
typedef struct im_st_writer im_st_writer;
im_st_writer *im_st_create(im_ctx *c, const char *path, const im_st_entry *entries, int n, const char *const metadata[],
                           int n_metadata);                    /* pairs: key, value, key, value ...                    */
bool im_st_put(im_ctx *c, im_st_writer *w, int i, const void *data, size_t bytes);  /* all bytes of entry i            */
bool im_st_finish(im_ctx *c, im_st_writer *w);                 /* fsync, rename, free                                  */
void im_st_abandon(im_st_writer *w);

typedef struct im_image { int width, height, channels; uint8_t *pixels; } im_image; /* rows of RGB (3) or grey (1)     */
typedef struct im_text { const char *key, *value; } im_text;   /* what a picture carries beside its pixels             */
im_image *im_image_new(im_ctx *c, int width, int height, int channels);
void im_image_free(im_image *i);
/* JPEG or PNG, told by its content, as 8-bit RGB and turned upright: Pillow's exif_transpose(open(path)).convert("RGB") */
im_image *im_picture_read(im_ctx *c, const char *path);
char *im_picture_text(im_ctx *c, const char *path, const char *key);                /* malloc'd; NULL when absent      */
/* PNG, or JPEG with colour at full resolution (4:4:4); the same picture gives the same bytes. Texts are PNG's text chunks;
 * a JPEG has one, EXIF's UserComment: that of the key "parameters", and behind it the others as , key: "text in quotes".
 * how NULL: a PNG without texts. */
typedef enum { IM_PNG, IM_JPEG } im_picture_format;
/* XMP that tells where the picture comes from, in IPTC's terms: trainedAlgorithmicMedia, drawn by a model; or
 * compositeWithTrainedAlgorithmicMedia, from another picture. */
typedef enum { IM_ORIGIN_UNSAID, IM_ORIGIN_MODEL, IM_ORIGIN_COMPOSITE } im_origin;
typedef struct im_picture_how {
    im_picture_format format;
    int quality;                                               /* of a JPEG, 1 .. 100; 0: 95                           */
    const im_text *texts; int n_texts;
    im_origin mark;
} im_picture_how;
bool im_picture_write(im_ctx *c, const char *path, const im_image *i, const im_picture_how *how, bool force);
bool im_png_write(im_ctx *c, const char *path, const im_image *i, const im_text *texts, int n_texts, bool force);

typedef struct im_tokenizer im_tokenizer;
im_tokenizer *im_tokenizer_open(im_ctx *c, const char *folder);/* holds vocab.json, merges.txt; NULL: built-in CLIP    */
/* <start> ids <end> padded to `length`. cut (may be NULL) receives a malloc'd copy of the text that did not fit, as
 * it was written, or NULL */
bool im_tokenize(im_ctx *c, const im_tokenizer *t, const char *utf8, int length, int32_t *ids, char **cut);
const char *im_token_piece(const im_tokenizer *t, int32_t id); /* "horse</w>"; NULL when out of range                  */
int im_tokenizer_size(const im_tokenizer *t);
void im_tokenizer_free(im_tokenizer *t);

/* ---------------------------------------------------------------- Stable Diffusion v1.x (models/pipelines/sd.c) */

typedef struct im_sd im_sd;
/* A diffusers folder, or a single .safetensors file in the original layout. Weights are stored in `dtype`. Networks are
 * loaded when first used; that each finds its tensors is checked at once. path NULL: the embedded model. */
im_sd *im_sd_open(im_ctx *c, const char *path, im_dtype dtype);
#define IM_AS_MODEL ((im_dtype)63)                             /* that dtype: int8 of a model that holds it, else f32 */
void im_sd_free(im_sd *sd);
/* What the UNet and the VAE hold between their first and last layers: f32, or half the memory in f16 or bf16; sums stay in
 * f32. Before anything is drawn. In f16 a value above 65504 ends a picture; bf16 holds any, to 8 bits. */
void im_sd_set_activations(im_sd *sd, im_dtype t);
im_dtype im_sd_activations(const im_sd *sd);
/* A low-rank adapter (LoRA) in diffusers', PEFT's or kohya's layout, a file or a folder: from now on text encoder and UNet
 * have weight times its change in their weights, beside those of adapters given before; networks are loaded anew when they
 * are needed. False with an error: all is as before. im_sd_clear_loras: as the file has them again, to the bit. Neither
 * while a run is open. im_sd_lora: how many; number i's name, SHA-256 of its file, weight (each may be NULL), as given. */
bool im_sd_add_lora(im_sd *sd, const char *path, float weight);                             /* weight: -100 to 100    */
/* FILE:WEIGHT, where what is behind the last colon is a number; else all of it is the name, and the weight 1. */
bool im_sd_add_lora_text(im_sd *sd, const char *text);
bool im_sd_clear_loras(im_sd *sd);
int im_sd_lora(const im_sd *sd, int i, const char **name, const char **sha256, float *weight);
/* A prompt names adapters, too: <lora:NAME:WEIGHT> is taken out of its text, and from the opening of its run on the weights
 * have that of NAME.safetensors (or the folder NAME) in this folder; without one in loras/ in the model's folder or beside
 * the model, and nowhere else. Runs that are open together must name the same: do these two prompts? */
bool im_sd_lora_folder(im_sd *sd, const char *folder);
bool im_sd_lora_names(im_sd *sd, void (*each)(void *arg, const char *name), void *arg);     /* those that there are    */
bool im_sd_same_loras(im_sd *sd, const char *prompt, const char *other);
/* Another autoencoder in the place of the model's own, before anything is drawn: a model's folder, or one with config.json
 * and weights of an AutoencoderKL or AutoencoderTiny, or a file (models/checkpoints/vae_file.h), whose latents are like the
 * model's; "tiny": the folder of that name in the model's own. im_sd_vae: its name, NULL: the model's own. */
bool im_sd_use_vae(im_sd *sd, const char *path);
const char *im_sd_vae(const im_sd *sd, const char **sha256);   /* of its weights, as f32                              */
/* A word that stands for learned vectors (textual inversion): a safetensors file in diffusers' or AUTOMATIC1111's layout,
 * or a folder of such. Prompts use it by its name; those in embeddings/ in the model's folder or beside it are there
 * without asking. False with an error: all is as before. im_sd_embedding: how many; number i's name, hash of its file,
 * vectors. */
bool im_sd_add_embedding(im_sd *sd, const char *path);
int im_sd_embedding(const im_sd *sd, int i, const char **name, const char **sha256, int *vectors);
/* From now on weights are kept as the device holds them (as large as the model in memory), in MODEL/imago-cache or, where
 * that cannot be written, in the user's cache; the next start maps them. Files that do not fit any more are made anew. */
void im_sd_cache_weights(im_sd *sd, bool on);
im_sd *im_sd_look(im_ctx *c, const char *path, im_dtype dtype); /* without that check, to be looked at (im_sd_file)    */
bool im_sd_whole(im_sd *sd);                                   /* the check, of all networks                           */
const im_tokenizer *im_sd_tokenizer(im_sd *sd);                /* the model's own; lives as long as the model          */
im_dtype im_sd_dtype(const im_sd *sd);                         /* what its weights are held in                         */
const char *im_sd_hash(im_sd *sd);                             /* 64 hex digits: SHA-256 over names, shapes, samples   */
/* Of a single file: SHA-256 of its bytes, as other programs name a model. Computed once and kept in the user's cache
 * ($XDG_CACHE_HOME/imago or ~/.cache/imago). NULL for a folder, and after an error. */
const char *im_sd_file_hash(im_sd *sd);

/* How prompts are read (docs/prompts.md): as plain text, cut where the text encoder's positions end; or with weights, BREAK
 * and as many chunks as they need, as the AUTOMATIC1111 web interface reads them. */
typedef enum { IM_PROMPT_PLAIN, IM_PROMPT_A1111 } im_prompt_syntax;

/* What a masked part begins from, before noise is added: what is there; the colours around it, blurred into it; latents
 * that are noise, the same that is added; latents of 0. At strength 1 nothing of it is left. */
typedef enum { IM_MASK_ORIGINAL, IM_MASK_FILL, IM_MASK_NOISE, IM_MASK_NOTHING } im_mask_fill;
const char *im_mask_fill_name(im_mask_fill fill);              /* "original", "fill", "noise", "nothing"               */
const char *im_mask_fill_title(im_mask_fill fill);             /* the same in the AUTOMATIC1111 web interface          */
bool im_mask_fill_named(const char *name, im_mask_fill *out);  /* false: there is none such                            */

typedef struct im_sd_args {
    const char *prompt, *negative;                             /* UTF-8; negative NULL: ""                             */
    im_prompt_syntax syntax;
    int clip_skip;                                             /* the text encoder's layer from the end: 1, or 0: last */
    int steps;                                                 /* 50                                                   */
    float guidance;                                            /* 7.5; <= 1: a single pass                             */
    int deep_cache;                                            /* N > 1: all of the UNet in one step of N alone, of    */
                                                               /* the others the outermost layers (DeepCache); 0: all  */
    float token_merging;                                       /* share of the UNet's finest tokens that attention     */
                                                               /* sees merged (models/nets/token_merging.c); 0: none   */
    uint64_t seed;
    const char *scheduler;                                     /* NULL: the folder's own                               */
    float eta;                                                 /* ddim and tcd: share of noise put back in a step; 0   */
    int width, height;                                         /* pixels; 0: the model's own size                      */
    im_rng_kind rng;
    const im_image *init; float strength;                      /* image to image                                       */
    const im_image *mask; float mask_blur;                     /* where init is drawn anew, white; blurred by pixels   */
    im_mask_fill mask_fill;
    bool mask_only; int mask_padding;                          /* only the masked part, and so many pixels around it,  */
                                                               /* is drawn, at width x height, and put back into init; */
                                                               /* pixels 0: the model's own size                       */
    const float *latents;                                      /* (4, h, w) as torch has it, unscaled; NULL: randn     */
    float *latents_out;                                        /* receives the final (4, h, w) latents when not NULL   */
    bool eager;                                                /* run op by op instead of from a recorded plan         */
    bool tile;                                                 /* decode strip by strip: little memory, more time,     */
                                                               /* other rounding                                       */
    const char *name;                                          /* what errors call it; NULL: by prompt and seed        */
} im_sd_args;
im_sd_args im_sd_defaults(const im_sd *sd);
bool im_sd_check_prompt(im_sd *sd, const im_sd_args *a);       /* is all there that its texts name? Draws nothing      */

/* The folder of the embedded model, malloc'd: $IMAGO_WEIGHTS (the model, or a folder with imago-small in it),
 * weights/imago-small here, beside the program (or the shared library), or where it was installed. NULL with an error that
 * lists them. */
char *im_embedded_model_path(im_ctx *c);
/* Before the first evaluation of the UNet (done 0) and after each; false stops. */
typedef bool (*im_sd_progress)(void *arg, int done, int total);
void im_sd_on_progress(im_sd *sd, im_sd_progress fn, void *arg);
im_image *im_sd_generate(im_sd *sd, const im_sd_args *a);
/* n pictures at once; those of one size share every evaluation. out[i] is owned by the caller. False: something failed; the
 * pictures that came out all the same are in out[], the others are NULL. */
bool im_sd_generate_batch(im_sd *sd, const im_sd_args a[], int n, im_image *out[]);
/* The two halves of it: all but the decoder, to latents_out of each; the decoder, from such latents. */
bool im_sd_latents_batch(im_sd *sd, const im_sd_args a[], int n);
im_image *im_sd_decode(im_sd *sd, const im_sd_args *a, const float *latents);
/* A generation in steps: a run is one picture on its way (sd_run.c). Any number may be open on a model and be stepped
 * together: each has the bits of a picture made alone. Values that are not finite end a run, not the context. */
typedef struct im_sd_run im_sd_run;
typedef enum { IM_SD_RUNNING, IM_SD_FINISHED, IM_SD_CANCELLED, IM_SD_FAILED } im_sd_state;
im_sd_run *im_sd_run_open(im_sd *sd, const im_sd_args *a);     /* checks and copies all of it; computes nothing        */
/* An evaluation for each run under way, those of one size in one batch; NULLs and runs that have ended are passed over.
 * True: something moved. False: nothing is left to do, or the context has failed. */
bool im_sd_run_step(im_sd_run *const runs[], int n);
bool im_sd_run_begin(im_sd_run *const runs[], int n);          /* texts, first latents; else the first step does it    */
im_sd_state im_sd_run_state(const im_sd_run *r);
const char *im_sd_run_error(const im_sd_run *r);               /* why it failed; "": it did not                        */
int im_sd_run_done(const im_sd_run *r), im_sd_run_total(const im_sd_run *r);        /* evaluations                     */
void im_sd_run_cancel(im_sd_run *r);                           /* before its next step; from any thread                */
bool im_sd_run_latents(const im_sd_run *r, float *out);        /* (4, h, w), as they are now                           */
/* (4, h, w): what the last evaluation takes for the finished latents: its scheduler's x0; before the first one an error. */
bool im_sd_run_guess(const im_sd_run *r, float *out);
/* The time that evaluation i is told, and what is left there of the picture: abar, the share of its variance. False: there
 * is no such evaluation. */
bool im_sd_run_level(const im_sd_run *r, int i, float *time, float *abar);
/* What it is becoming, at the size of the latents: the last evaluation's guess of the finished latents through a linear map
 * to colours. Costs next to nothing but for the first of a model that has no vae/preview.json: the map is fitted then. */
im_image *im_sd_run_preview(im_sd_run *r);
im_image *im_sd_run_image(im_sd_run *r);                       /* of a finished run, decoded; NULL: it failed          */
void im_sd_run_close(im_sd_run *r);                            /* finished or not; before im_sd_free                   */
/* Number of UNet evaluations of a run (pndm with 50 steps: 51), and bytes that a batch needs beside the weights. */
int im_sd_evaluations(im_sd *sd, const im_sd_args *a);
/* Is each of them of two samples, without the prompt and with it? Not at a guidance of 1 or less, and not where the UNet is
 * told the guidance (time_cond_proj_dim). */
bool im_sd_guided(const im_sd *sd, const im_sd_args *a);
size_t im_sd_bytes_needed(im_sd *sd, const im_sd_args *a, int batch);
/* Is there memory for it, and for the networks that are not loaded yet? im_sd_generate_batch asks, too. */
bool im_sd_check_memory(im_sd *sd, const im_sd_args *a, int batch);
/* The scheduler that a run uses ("pndm"), and the shape (C, h, w) of its latents; NULL or false with an error. */
const char *im_sd_scheduler(im_sd *sd, const im_sd_args *a);
bool im_sd_latent_shape(im_sd *sd, const im_sd_args *a, int64_t shape[3]);
/* Width and height become those of the picture that is drawn: the model may round those of an init picture down. */
bool im_sd_settle_size(im_sd *sd, im_sd_args *a);

/* One guided evaluation with named intermediates (im_on_trace) as `imago trace` writes them. */
bool im_sd_trace(im_sd *sd, const im_sd_args *a);
typedef enum { IM_NET_CLIP, IM_NET_UNET, IM_NET_VAE_DECODER, IM_NET_VAE_ENCODER, IM_NET_COUNT } im_net;
typedef struct im_net_info {
    const char *name;                                          /* "text_encoder", "unet", "vae_decoder", "vae_encoder" */
    int64_t parameters, tensors, bytes;                        /* bytes as held                                        */
    double flop;                                               /* of one evaluation, one sample, at the given size     */
    int ops; size_t arena_bytes;
} im_net_info;
/* The file of its weights, or their index; *whole: all of its tensors are there and fit. */
const char *im_sd_file(const im_sd *sd, im_net net, bool *whole);
bool im_sd_net_info(im_sd *sd, im_net net, int width, int height, im_net_info *out);
/* Tensor i that belongs to a network (of the VAE: to one of its halves): diffusers' name, and the shape of the file, where
 * convolutions are (Cout, Cin, Kh, Kw). False past the last one. */
typedef struct im_net_param { const char *name; int ndim; int64_t shape[8], count; } im_net_param;
bool im_sd_param(im_sd *sd, im_net net, int i, im_net_param *out);
/* The values of one, as the file has them, in f32: malloc'd, NULL with an error. No LoRA is in them. */
float *im_sd_param_values(im_sd *sd, im_net net, const char *name, im_net_param *out);
/* Runs one network `rounds` times on random input and fills seconds[rounds]; batch 2 is a guided step. */
bool im_sd_time(im_sd *sd, im_net net, int batch, int width, int height, int rounds, double *seconds);
bool im_sd_init_weights(im_ctx *c, const char *like, uint64_t seed, im_dtype dtype, const char *out_folder, bool force);
/* dtype: im_dtype, or -1: as they are; IM_INT8: a folder that imago alone reads. max_file: a folder's weights in
 * several files of at most so many bytes, as diffusers splits them; 0: a file a network. */
bool im_sd_convert(im_ctx *c, const char *in, const char *out, int dtype, uint64_t max_file, bool force);
/* A folder with an AutoencoderKL or AutoencoderTiny alone? To another, all weights in dtype: f32, f16 or bf16. */
bool im_is_vae(im_ctx *c, const char *folder);
bool im_vae_convert(im_ctx *c, const char *in, const char *out, int dtype, bool force);

/* ---------------------------------------------------------------- requests (models/pipelines/request*.c)
 * A request is all that decides the bits of a picture. Its file carries it in two texts: `imago`, a JSON object that is
 * read back, and `parameters`, as the AUTOMATIC1111 web interface writes it, for other programs. Neither holds a path. */

typedef struct im_request {                                    /* texts are borrowed                                   */
    im_sd_args args;                                           /* scheduler, width, height: as they are used           */
    const char *model_name;                                    /* for people                                           */
    const char *init_sha256, *latents_sha256;                  /* hex, of the pixels of args.init and of the file of   */
    int latents_index;                                         /* args.latents, with its row there; NULL: none         */
    const char *mask_sha256;                                   /* hex, of the pixels of args.mask; NULL: none          */
    int quality;                                               /* of a JPEG; 0: it is a PNG                            */
    bool no_mark;                                              /* no XMP that says a model drew it                     */
    const char *prompt_template, *negative_template;           /* args.prompt and args.negative as they were written,  */
                                                               /* with wildcards; NULL: the same                       */
} im_request;

/* malloc'd; NULL: the model's context has an error. */
char *im_request_json(im_sd *sd, const im_request *q);
char *im_request_parameters(im_sd *sd, const im_request *q);
/* The picture's file with both texts; picture NULL: only, can its file carry them? (A JPEG has 64 kB for them.) */
bool im_request_write(im_sd *sd, const im_request *q, const char *path, const im_image *picture, bool force);
/* The bytes of that file, malloc'd; NULL with an error, which begins with name. */
uint8_t *im_request_encode(im_sd *sd, const im_request *q, const char *name, const im_image *picture, size_t *bytes);
/* Scheduler i ("euler_a") and what that interface calls it ("Euler a"); false: there are no more. */
bool im_sampler_at(int i, const char **scheduler, const char **name);
const char *im_sampler_named(const char *name);                /* the scheduler of either name; NULL: there is none    */
bool im_sampler_has_eta(const char *name);

/* The text `imago` of a picture's file, read back. NULL without an error: the file carries none. What `given` says true
 * of ("prompt", "steps" ...) is not looked at and may be anything: the caller has another value. given NULL: no key. */
typedef struct im_request_text im_request_text;
im_request_text *im_request_read(im_ctx *c, const char *path, bool (*given)(void *arg, const char *key), void *arg);
void im_request_free(im_request_text *t);
const im_request *im_request_of(const im_request_text *t);     /* init and latents NULL; latents_index -1: not said    */
const char *im_request_said(const im_request_text *t, const char *key);            /* any text in it: "isa"; or NULL   */
/* What differs between a picture that is there and one that would be made: "its seed is 1, wanted 2; ...", cut to size; ""
 * where nothing does that decides bits. */
bool im_request_differences(im_sd *sd, const im_request_text *then, const im_request *now, char *out, size_t size);
/* Are the LoRAs of then those of sd and of this prompt? Else `out`: those of then, "the LoRA a (SHA-256 1234...) 0.8
 * times"; "": none. Those that a prompt names are compared only where the prompt is the same. */
bool im_request_same_loras(im_sd *sd, const im_request_text *then, const char *prompt, char *out, size_t size);
/* The same of the embeddings that the texts of then use: those that these texts use here. */
bool im_request_same_embeddings(im_sd *sd, const im_request_text *then, const im_sd_args *now, char *out, size_t size);
/* Has a picture made with this dtype here, and with the instruction set `then` there, the bits of its instruction set? In
 * f32 and int8 all but "portable" agree. */
bool im_request_isa_decides(im_sd *sd, const char *then);

typedef struct im_prompt {                                     /* a picture to be made                                 */
    char *prompt, *negative;                                   /* malloc'd                                             */
    uint64_t seed;
    int number;                                                /* of its prompt, from 1: its line in a file            */
    /* What its line says of it; else the caller's: */
    int steps, width, height;                                  /* 0: nothing                                           */
    bool has_guidance; float guidance;
    const char *scheduler;                                     /* of the library's table; NULL: nothing                */
} im_prompt;
typedef struct im_prompt_list { im_prompt *v; int n, room; } im_prompt_list;
/* count pictures of a prompt: seeds *seed, *seed + 1 ..., and *seed moves on. */
bool im_prompt_list_add(im_ctx *c, im_prompt_list *l, const char *prompt, const char *negative, int count, uint64_t *seed);
/* The lines of a file ("-": standard input), each a prompt; an object {"prompt":, "negative":, "seed":, "steps":, "width":,
 * "height":, "guidance":, "scheduler":}; or the same as options, --prompt "..." --steps 20, as the AUTOMATIC1111 web
 * interface reads them from a file. What a line does not say is `negative`, and seeds as above. */
bool im_prompt_list_read(im_ctx *c, im_prompt_list *l, const char *path, const char *negative, int count, uint64_t *seed);
void im_prompt_list_free(im_prompt_list *l);
/* SEED.png, or .jpg, below folder for each: out[i] malloc'd. SEED-pN.png, N the prompt's number, where several prompts
 * share a seed; *shared: so many seeds. */
bool im_prompt_list_names(im_ctx *c, const im_prompt_list *l, const char *folder, im_picture_format format, char *out[],
                      int *shared);

/* im_sd_convert to int8, with multipliers of the input channels of those products of the UNet where they pay (SmoothQuant,
 * Xiao et al. 2023, arXiv 2211.10438): found by drawing the prompts in f32, with `steps` where they say none. */
typedef struct im_calibration {
    const im_prompt_list *prompts;
    int steps;                                                 /* 1 .. 1000                                            */
    bool (*progress)(void *arg, int done, int total);          /* pictures; false stops; may be NULL                   */
    void *progress_arg;
    int products, multiplied;                                  /* out: products in int8, and those with multipliers    */
    double error;                                              /* out: of these, the mean of their error over what it  */
                                                               /* is without (geometric)                               */
} im_calibration;
bool im_sd_convert_calibrated(im_ctx *c, const char *in, const char *out, im_calibration *a, uint64_t max_file, bool force);

/* ---------------------------------------------------------------- synthetic sets (models/pipelines/synth*.c)
 * Picture n of a set is picture n / K of class n % K, K classes: any first part of a set has the classes in balance. What
 * is drawn is a function of (class, index, recipe, guidance, seed) and the model, whatever was drawn before.
 *
 *     im_synth_args a = im_synth_defaults();
 *     a.classes = "classes.txt";
 *     a.recipe = "hypernym";
 *     im_synth *s = im_synth_open(c, &a);
 *     for (int64_t i = 0; i < im_synth_count(s); i++) puts(im_synth_line(c, s, i));       // to be freed: a JSON object
 *     im_synth_close(s); */

typedef struct im_synth_args {                                 /* texts are borrowed                                   */
    const char *classes;                                       /* a file, wnids with commas between them, "imagenet1k",*/
                                                               /* "imagenet100" (data/text/class_list.h)               */
    const char *lemmas;                                        /* of wnids: "all", or the "first"                      */
    const char *recipe, *guidance;                             /* data/text/prompts.h                                  */
    int64_t per_class;
    uint64_t seed;                                             /* of the set; pictures have seeds of their own         */
    const char *format, *layout;                               /* "png", "jpeg"; "folders", "shards"                   */
    int shard_size, quality;                                   /* pictures a shard; of JPEG                            */
    bool no_mark;                                              /* no XMP in them that says a model drew them           */
    /* What follows is not looked at to say what would be drawn. */
    const char *model; im_dtype dtype;                         /* as im_sd_open has them                               */
    const char *out;                                           /* folder of the set                                    */
    int64_t part, parts;                                       /* part i of n is drawn: 0 of 1                         */
    int steps, batch;
    int size, save_size;                                       /* sides in pixels: drawn, 0: the model's; written, 0:  */
                                                               /* as drawn, else resized by Pillow's Lanczos           */
    const char *scheduler;                                     /* NULL: the model's                                    */
    float eta;                                                 /* as im_sd_args has it                                 */
    const char *init_data; float strength;                     /* NULL, or pictures of the classes to begin from       */
    const char **loras; int n_loras;                           /* (n_loras) FILE[:WEIGHT]: in the weights of all       */
    const char *lora_dir;                                      /* of those that prompts name; NULL: beside the model   */
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

typedef struct im_synth_place {                                /* where picture n lies until the set is finished       */
    const char *class_name, *set;                              /* owned by the plan                                    */
    char file[320];                                            /* below the set                                        */
} im_synth_place;
void im_synth_where(const im_synth *s, int64_t n, im_synth_place *out);

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

#ifdef __cplusplus
}
#endif
#endif
