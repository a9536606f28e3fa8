/* generate.h: the parts of `imago generate`: options, the list of pictures to make, their names, metadata, running. */
#ifndef IM_CLI_GENERATE_H
#define IM_CLI_GENERATE_H

#include <jansson.h>

#include "cli/options.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/reading.h"
#include "imago.h"

typedef struct generate_options {
    common_options common;
    const char *model, *prompt, *prompts, *negative, *scheduler, *rng, *init, *mask, *out, *latents;
    const char *save_latents, *from, *sheet, *classify, *format, *vae, *wildcards;
    int steps, width, height, count, batch, quality;
    float guidance, strength, mask_blur;
    int deep_cache;
    float token_merging, eta;
    const char *mask_fill; int mask_only;                      /* mask_only < 0: the whole picture                     */
    option_seed seed;
    reading reading;
    option_list grid;
    bool no_mark, any_model, cache_weights, profile, json, quiet, force, skip_existing, eager, tile;
} generate_options;

typedef struct grid_axis {                                     /* an option that varies: n values and "OPTION VALUE"   */
    option option;
    char **value, **label;
    int n;
} grid_axis;

typedef struct grid {                                          /* of --grid; columns.n 0: there is none                */
    grid_axis columns, rows;                                   /* rows.n 0: one row                                    */
    generate_options *cells;                                   /* by picture, row by row: as if each were typed        */
} grid;

typedef struct job {                                           /* one picture                                          */
    const im_prompt *p;                                        /* in run_state.prompts                                 */
    char *template, *negative_template;                        /* its texts before wildcards were put in; NULL: same   */
    int width, height;                                         /* pixels, as it is drawn                               */
    char *path;
    const generate_options *o;                                 /* its own of a grid; NULL: those of the run            */
    bool unkept;                                               /* seen on the grid only: path is what it is called     */
    bool skip, done;                                           /* there already (--skip-existing); made in this run    */
    double seconds;                                            /* its share of its batch                               */
    im_guess guess;                                            /* of --classify; name NULL: none                       */
    char *guess_text;                                          /* "apple 93 %"; NULL: none                             */
    char *error;                                               /* why it did not come out; NULL: nothing is wrong      */
} job;

typedef struct job_list { job *v; int n; } job_list;

typedef struct source {                                        /* what --from reads out of a picture                   */
    const char *path;
    im_request_text *text;                                     /* NULL without --from                                  */
    im_image *image;
} source;

typedef struct run_state {
    const arguments *a;
    generate_options *o;
    im_ctx *c;
    im_sd *sd;
    im_namer *namer;                                           /* of --classify; NULL: none                            */
    im_sd_args base;                                           /* all but prompt, seed and latents                     */
    im_prompt_list prompts;
    job_list jobs;                                             /* one for each of them                                 */
    im_picture_format format;                                  /* of all pictures                                      */
    source from;
    grid grid;
    char *grid_path;                                           /* malloc'd; NULL: -o or --sheet says it                */
    im_image *init, *mask;
    char init_hash[65], mask_hash[65], latents_hash[65];       /* hex SHA-256, "" when not used                        */
    char model_name[256];                                      /* last part of its path                                */
    int64_t latent_shape[3];                                   /* (C, h, w)                                            */
    float *latents;                                            /* from --latents: (n_latents, C, h, w)                 */
    int n_latents, first_latents;                              /* and which of them the first picture begins from      */
    float *saved;                                              /* for --save-latents: (jobs, C, h, w)                  */
    im_image **pictures;                                       /* by job; kept for --sheet only                        */
    int finished, failed;
    json_t *summary;                                           /* of run_report, for the last event; NULL: none yet    */
    progress bar;
    profile *profile;
} run_state;

/* cmd_generate.c */
void mask_args(const generate_options *o, im_sd_args *a);      /* what options say of a mask, but the mask itself      */

/* generate_jobs.c */
bool jobs_build(run_state *r);                                 /* prompts x count, with seeds                          */
void jobs_free(run_state *r);
bool jobs_settle(run_state *r);                                /* sizes; can each be drawn? With the model open        */
int jobs_evaluations(const run_state *r);                      /* of those that are not skipped                        */
im_sd_args job_args(const run_state *r, const job *j);
im_request job_request(const run_state *r, const job *j);

/* generate_grid.c */
int grid_read(run_state *r);                                   /* --grid; returns an exit code                         */
bool grid_expand(run_state *r);
void grid_args(const generate_options *o, im_sd_args *a);      /* what a cell may have of its own                      */
char *grid_cell_name(run_state *r, int i);                     /* "steps 10, guidance 7.5", malloc'd                   */
void grid_free(run_state *r);

/* generate_names.c */
int names_assign(run_state *r);                                /* paths, before any work; returns an exit code         */

/* generate_from.c */
bool from_read(run_state *r);                                  /* --from: fills options that were not given            */
bool from_check(run_state *r);                                 /* model, init and latents are those of the picture     */
void from_compare(run_state *r, const im_image *picture);      /* says whether the same pixels came out                */

/* generate_existing.c */
bool existing_check(run_state *r);                             /* --skip-existing: those that are there are the same   */

/* generate_latents.c */
bool latents_load(run_state *r);
int latents_row(const run_state *r, int index);                /* of --latents, for the picture `index` of the run     */
bool latents_save(run_state *r);

/* generate_sheet.c: what --classify and --sheet say of the pictures */
bool classify_open(run_state *r);
bool classify_picture(run_state *r, job *j, const im_image *picture);
bool sheet_check(run_state *r);                                /* before the work: will the sheet be drawn?            */
bool sheet_write(run_state *r);

/* generate_run.c */
bool run_jobs(run_state *r);
void run_report(run_state *r, double seconds);                 /* the last lines: totals, and how to go on             */

/* generate_stopped.c */
void say_how_to_go_on(const run_state *r, FILE *f);            /* after Ctrl-C                                         */

#endif
