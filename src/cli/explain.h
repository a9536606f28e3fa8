/* explain.h: what `imago explain` knows of one traced run, and what its files share.
 *
 *     cmd_explain.c     options; gathers, then writes
 *     explain_run.c     the run: latents, noise, operations of every step; what the grid varies
 *     explain_maps.c    maps of words from queries and keys
 *     explain_text.c    tokens, words near them, the generator's first words
 *     explain_code.c    the source of operations, carried in the program
 *     explain_draw.c    values as pictures
 *     explain_page.c    the page, and what its sections share; the sections: explain_page_*.c
 *     explain_train.c   the page of a training */
#ifndef IM_CLI_EXPLAIN_H
#define IM_CLI_EXPLAIN_H

#include <jansson.h>
#include <stdio.h>

#include "bench/measure.h"
#include "cli/options.h"
#include "imago.h"

enum { EXPLAIN_DECODED = 5, EXPLAIN_NEAR = 5, EXPLAIN_PAIRS = 4, EXPLAIN_WORDS = 12, EXPLAIN_VARIED = 14 };

typedef struct explain_op {                                    /* one operation of an evaluation, in their order       */
    char *op, *layer, *block;                                  /* layer: its first parameter without ".weight", or ""  */
    char shape[64];
    double seconds, flop, bytes;                               /* seconds: the fastest of all steps                    */
} explain_op;

typedef struct explain_layer {                                 /* an attention over the text                           */
    char *name;
    int width, height, heads, d;
    float *keys;                                               /* (T, heads, d) of the prompt                          */
    bool used;                                                 /* not one of those that are too coarse                 */
    float *sum;                                                /* (tokens, h, w), over all steps                       */
} explain_layer;

typedef struct explain_word { int from, to; char text[64]; } explain_word;               /* tokens from .. to - 1       */

typedef struct explain_near { int token; int id[EXPLAIN_NEAR]; double cosine[EXPLAIN_NEAR]; } explain_near;

typedef struct explain_conv {                                  /* one output value of conv_in                          */
    int cin, cout, kh, kw, y, x, n;                            /* pixel (y, x), channel n                              */
    float *in, *w;                                             /* (kh, kw, cin): the window; outside the picture: 0    */
    float bias, traced;
} explain_conv;

typedef struct explain_varied {                                /* the picture with one thing changed                   */
    const char *what; char value[80];
    im_sd_args args;
    im_dtype dtype;
    bool same;                                                 /* the picture itself                                   */
    im_image *picture;
    double psnr;                                               /* beside the picture itself                            */
} explain_varied;

typedef struct explain {
    im_ctx *c;
    im_sd *sd;
    const char *model, *other;                                 /* -m, or NULL; the second prompt                       */
    im_sd_args args;
    char *command;
    im_peak peak;
    double seconds;                                            /* of gathering                                         */
    /* text */
    int length, tokens;                                        /* ids; those up to the end, start and end included     */
    int32_t *ids;
    char *cut;
    int n_words; explain_word words[EXPLAIN_WORDS];
    int n_near; explain_near near[EXPLAIN_WORDS];
    uint32_t draws[16]; float normals[16];                     /* of the seed; IM_RNG_CPU                              */
    /* the run; latents are (channels, h, w) */
    int channels, w, h, steps;
    size_t each;
    float *x, *guess, *e_u, *e_c;                              /* (steps, each): before the step, and what it found    */
    float *last;                                               /* (each)                                               */
    float *time, *abar;                                        /* (steps)                                              */
    im_image **preview;                                        /* (steps)                                              */
    im_image *decoded[EXPLAIN_DECODED]; int decoded_at[EXPLAIN_DECODED];
    im_image *picture;
    bool guided;
    int n_ops, cap_ops, at_op; explain_op *ops;
    int step;                                                  /* under way                                            */
    explain_conv conv;
    /* maps */
    int n_layers, cap_layers; explain_layer *layers;
    float *map_sum, *map_steps;                                /* (tokens, h, w); (steps, tokens, h, w)                */
    int seen_layers;                                           /* in the step under way                                */
    /* a step of training */
    im_once_args once_args;
    im_once once;
    char *no_once;                                             /* why there is none                                    */
    json_t *tape;                                              /* rows: op, layer, shape, kept, forward, backward      */
    int n_varied; explain_varied varied[EXPLAIN_VARIED];
} explain;

/* ---------------------------------------------------------------- gathering: false with an error */

bool explain_text(explain *e);                                 /* explain_text.c                                       */
bool explain_run(explain *e);                                  /* explain_run.c                                        */
bool explain_vary(explain *e);
bool explain_learn(explain *e);                                /* no memory for it: says so in no_once, and true       */
void explain_free(explain *e);

bool explain_keys(explain *e, const char *name, const im_tensor *k);                    /* explain_maps.c              */
bool explain_queries(explain *e, const char *name, const im_tensor *q);
bool explain_maps_end(explain *e);                             /* of a step                                            */

/* ---------------------------------------------------------------- explain_code.c */

typedef struct explain_code {
    const char *what;                                          /* "the operation", "its definition" ...                */
    const char *file; int line;                                /* where the function begins                            */
    const char *text; size_t bytes;                            /* with the comment above it                            */
} explain_code;
/* Piece i of the source of an operation ("conv2d"). False: there are no more, or, found being false, it is not where the
 * table says. */
bool explain_code_of(const char *op, int i, explain_code *out, bool *found);
const char *explain_op_at(int i);                              /* operations that have sources; NULL past the last     */
/* Other text that is carried: "explain.css", "explain.js". */
const char *explain_file(const char *name);

/* ---------------------------------------------------------------- explain_draw.c: RGB pictures, NULL with an error */

/* Frames side by side. values (frames, planes, h, w), the planes of a frame in two columns; blue below 0, orange above it,
 * white at 0; the ends of the scale: +-limit, 0: the largest of all. *used: that limit. */
im_image *draw_planes(im_ctx *c, const float *values, int frames, int planes, int w, int h, float limit, float *used);
/* values (frames, h, w) from 0 on: dark to bright; each frame by its own largest value. */
im_image *draw_heat(im_ctx *c, const float *values, int frames, int w, int h);
im_image *draw_row(im_ctx *c, im_image *const pictures[], int n);                        /* of one size, side by side   */
/* A PNG in memory, with a list of colours where there are at most 256: malloc'd, NULL with an error. */
unsigned char *draw_png(im_ctx *c, const im_image *i, size_t *bytes);

/* ---------------------------------------------------------------- explain_page.c */

typedef struct page { im_ctx *c; FILE *f; int figures; } page;
bool explain_write(explain *e, const char *path, bool force);
/* A page of any kind: head, style and script around body(). */
bool page_write(im_ctx *c, const char *title, const char *path, bool force, void (*body)(page *p, void *arg), void *arg);

void page_section(page *p, const char *id, const char *title);
void page_print(page *p, const char *fmt, ...) IM_PRINTF(2, 3);                          /* HTML                        */
void page_say(page *p, const char *text);                      /* text                                                 */
void page_command(page *p, const char *command);               /* "made by": a figure names what makes it              */
void page_generate(const explain *e, const im_sd_args *a, const char *more, char *out, size_t size);     /* such a one */
void page_picture(page *p, const im_image *i, const char *alt, const char *css);         /* <img>                       */
/* A strip of n frames of which one is shown; name: of the slider that moves it. */
void page_film(page *p, const im_image *strip, int n, const char *name, const char *alt, double aspect);
void page_slider(page *p, const char *name, int n, int at, const char *label);
/* Text that follows a slider: values[n]. */
void page_follow(page *p, const char *name, const char *const values[], int n, int at);
/* Curves over 0 .. n - 1 on one scale, with names. */
void page_curves(page *p, const char *const names[], const double *const y[], int lines, int n, const char *x_label,
                 const char *marked);
void page_code(page *p, const char *op);                       /* an operation's three sources, to be opened           */

void page_text_section(page *p, explain *e);
void page_noise_section(page *p, explain *e);
void page_steps_section(page *p, explain *e);
void page_words_section(page *p, explain *e);
void page_unet_section(page *p, explain *e);
void page_conv_section(page *p, explain *e);
void page_learn_section(page *p, explain *e);
void page_vary_section(page *p, explain *e);
void page_exercises(page *p, explain *e);

/* explain_train.c */
bool explain_training(im_ctx *c, const char *run, const char *out, bool force, const char *command);

#endif
