/* synth.h: what the files synth*.c share; nobody else includes it.
 *
 * Reading order: synth_plan.c (what the pictures are), synth_set.c (the folder), synth_draw.c (the loop), synth_writer.c
 * (the thread beside it), synth_finish.c (the end); synth_claims.c, synth_shards.c, synth_drop.c, synth_lora.c,
 * synth_check.c. */
#ifndef IM_SYNTH_H
#define IM_SYNTH_H

#include <jansson.h>

#include "data/sets/dataset.h"
#include "data/text/class_list.h"
#include "data/text/prompts.h"
#include "imago.h"

struct im_synth {
    im_synth_args a;
    im_class_list classes;
    im_prompts *prompts;
    im_guidance guidance;
    int64_t count;                                             /* pictures of the set                                 */
    /* from im_synth_begin on */
    im_sd *sd;
    im_sd_args base;                                           /* all but prompt, seed, guidance, init                */
    char model_name[256], model_hash[65], init_hash[65], arithmetic[80];
    const char *scheduler;
    int size, save_size;                                       /* drawn; written                                      */
    int64_t latent;                                            /* values of a picture's latents                       */
    im_dataset *inits;                                         /* NULL, or pictures to begin from                     */
    int64_t *init_first, *init_order;                          /* those of class k: inits->samples[init_order[i]], i  */
                                                               /* from init_first[k] to init_first[k + 1]             */
    json_t *loras, *named;                                     /* as in the manifest; NULL, {}: none                  */
    json_t *manifest;
    bool finished;                                             /* the set was finished when it was opened             */
    bool again;                                                /* ... but lacks something, and is finished anew        */
    uint8_t *dropped;                                          /* (count), then: what it left out; or NULL             */
    int finish_fd, claim_fd; char *claim;                      /* -1: not held                                        */
};

typedef struct im_synth_picture {
    int64_t number, index;                                     /* in the set; in its class                            */
    int class;
    char *prompt;                                              /* malloc'd                                            */
    uint32_t seed;
    double guidance;
    char file[300];                                            /* below the set; of a shard, behind its name          */
} im_synth_picture;

/* ---------------------------------------------------------------- synth_plan.c */
bool im_synth_goes_on(im_ctx *c);        /* in loops over all pictures: false with an error, also where c is to stop     */
void im_synth_locate(const im_synth *s, int64_t n, im_synth_picture *out);         /* all but the prompt               */
bool im_synth_picture_at(im_ctx *c, const im_synth *s, int64_t n, im_synth_picture *out);
void im_synth_picture_free(im_synth_picture *p);
/* {"class": ..., "index", "recipe", "prompt", "seed", "guidance"}; NULL with an error. */
json_t *im_synth_row(im_ctx *c, const im_synth *s, const im_synth_picture *p);
char *im_synth_dump(im_ctx *c, json_t *row);                   /* in one line, malloc'd; row is released              */

/* ---------------------------------------------------------------- synth_set.c */
bool im_synth_open_set(im_ctx *c, im_synth *s);                /* folder and manifest; refuses another set            */
json_t *im_synth_read_manifest(im_ctx *c, const char *set);    /* NULL without an error: there is none                */
bool im_synth_finished(const json_t *manifest);
bool im_synth_commit(im_ctx *c, im_synth *s, int64_t pictures, const char *metadata_hash);
bool im_synth_recall_classes(im_ctx *c, const char *set, im_class_list *out);

/* ---------------------------------------------------------------- synth_claims.c */
bool im_synth_lock(im_ctx *c, im_synth *s);                    /* SET/.parts/finish; waits for others                 */
void im_synth_unlock(im_synth *s);
bool im_synth_claim(im_ctx *c, im_synth *s);                   /* this process is at work on its part                 */
void im_synth_unclaim(im_synth *s);
/* Other live workers; an error where a part is not this one and shares pictures with it. */
int im_synth_others(im_ctx *c, im_synth *s);
void im_synth_leave(im_ctx *c, im_synth *s);                   /* removes SET/.parts, where nobody is in it           */

/* ---------------------------------------------------------------- synth_files.c */
bool im_synth_sharded(const im_synth *s);
im_origin im_synth_mark(const im_synth *s);                      /* of its pictures                                      */
const char *im_synth_ending(const im_synth *s);                /* "jpg", "png"                                        */
/* Where a picture lies as a file of its own, malloc'd: below SET, or for shards below SET/.pictures. */
char *im_synth_path(im_ctx *c, const im_synth *s, const im_synth_picture *p);
char *im_synth_shard_path(im_ctx *c, const im_synth *s, int64_t shard);
int64_t im_synth_shards(const im_synth *s);
bool im_synth_make_folders(im_ctx *c, const im_synth *s);
bool im_synth_packed(im_ctx *c, const im_synth *s, int64_t shard);                  /* a whole shard                  */
bool im_synth_drawn(im_ctx *c, const im_synth *s, const im_synth_picture *p);       /* a whole file, or left out      */
bool im_synth_there(im_ctx *c, const im_synth *s, const im_synth_picture *p);       /* or its shard is there          */
void im_synth_sweep(im_ctx *c, const im_synth *s);             /* removes what killed workers left half-written       */

/* ---------------------------------------------------------------- synth_writer.c */
typedef struct im_synth_writer im_synth_writer;
im_synth_writer *im_synth_writer_open(im_ctx *c, const im_synth *s);
/* Takes over p->prompt; latents (s->latent) are copied. Waits for room. False with the error of the thread. */
bool im_synth_writer_add(im_ctx *c, im_synth_writer *w, im_synth_picture *p, const float *latents);
int64_t im_synth_writer_done(im_synth_writer *w);              /* pictures on the disk                                */
/* After the last is written; *done (or NULL): how many were. */
bool im_synth_writer_close(im_ctx *c, im_synth_writer *w, int64_t *done);
/* One picture from its latents to its file. */
bool im_synth_write(im_ctx *c, const im_synth *s, im_sd *sd, const im_synth_picture *p, const float *latents,
                    const char *path);

/* ---------------------------------------------------------------- synth_draw.c */
bool im_synth_begin(im_ctx *c, im_synth *s);                   /* opens the model                                     */
/* The latents of n pictures, all guided or none: (n, s->latent). */
bool im_synth_latents(im_ctx *c, im_synth *s, const im_synth_picture p[], int n, float *latents);

/* ---------------------------------------------------------------- synth_lora.c */
bool im_synth_begin_loras(im_ctx *c, im_synth *s);             /* puts them on; finds those that prompts name         */
/* "loras": [{"name":, "sha256":, "weight":}] of every picture; "prompt_loras": {NAME: SHA-256}. */
bool im_synth_put_loras(json_t *manifest, const im_synth *s);
json_t *im_synth_loras_of(im_ctx *c, const json_t *manifest, const char *prompt);  /* of a row; NULL: none, or an error */
/* "style 0.8 times (SHA-256 0123456789abcdef...), ..."; false: key is another one of the manifest. */
bool im_synth_lora_words(const char *key, json_t *list, char *out, size_t size);

/* ---------------------------------------------------------------- synth_shards.c */
/* Writes shard `shard` from its pictures in .pictures, where all are there; dropped (count) or NULL. *from: where to look
 * for the first that is missing, and where it was; NULL: from the shard's first. */
bool im_synth_pack(im_ctx *c, const im_synth *s, int64_t shard, int64_t *from, const uint8_t *dropped);
/* Calls fn for every picture of a shard, in order: its row as it stands in the shard. */
bool im_synth_shard_rows(im_ctx *c, const im_synth *s, int64_t shard, bool (*fn)(void *arg, const char *row), void *arg);
/* ... and for every member of the tar at `path`, bytes ended by a zero. False without an error: fn said so. */
bool im_synth_shard_members(im_ctx *c, const char *path,
                            bool (*fn)(void *arg, const char *name, const char *bytes, size_t n), void *arg);
/* The row of a picture in metadata.jsonl, malloc'd; bytes (n): its file. */
char *im_synth_file_row(im_ctx *c, const im_synth *s, const im_synth_picture *p, const void *bytes, size_t n);

/* ---------------------------------------------------------------- synth_finish.c, synth_drop.c */
bool im_synth_finish(im_ctx *c, im_synth *s, const im_synth_hooks *h);
/* Marks the pictures that the set leaves out, as SET/dropped.jsonl has them or is to have them: dropped (count). */
bool im_synth_choose_dropped(im_ctx *c, const im_synth *s, const im_synth_hooks *h, uint8_t *dropped);
void im_synth_note(const im_synth_hooks *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
