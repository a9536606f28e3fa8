/* prompts.h: what the pictures of a synthetic set are drawn from: for picture `index` of a class a prompt, a seed and a
 * guidance, each a function of (class, index, recipe, seed of the set) alone.
 *
 *     recipe                prompt                        c: the class's name, h: its hypernym, d: its definition,
 *     name                  c                             b: a scene of Places365, drawn for each picture
 *     hypernym              c, h
 *     definition            c, d
 *     background            c inside b
 *     hypernym-background   c, h inside b
 *     multiple              multiple c
 *     multiple-different    multiple different c
 *     captions=FILE[,..]    a caption of the class, in turn
 * (Sariyildiz et al. 2023, arXiv 2212.08420). A file of captions holds a JSON object a line, {"class": ..., "caption":
 * ...}; "label" is taken for "class", "prompt" and "text" for "caption".
 *
 * Seed of a picture: h + index * 2654435761 mod 2^32, h from SHA-256 of class, recipe and seed of the set: torch's CPU
 * generator knows 32 bits of a seed, and so no two pictures of a class and recipe share one. Guidance is no part of it: a
 * sweep over guidance draws from the same noise.
 * Used by `imago synth` and models/pipelines/synth.c. */
#ifndef IM_PROMPTS_H
#define IM_PROMPTS_H

#include "data/text/class_list.h"
#include "imago.h"

typedef struct im_prompts im_prompts;
/* Classes that lack what the recipe says of them are named. `classes` outlives it. */
im_prompts *im_prompts_open(im_ctx *c, const char *recipe, const im_class_list *classes, uint64_t seed);
void im_prompts_free(im_prompts *p);

const char *im_prompts_recipe(const im_prompts *p);            /* "name" ...; "captions"                              */
const char *im_prompts_captions_hash(const im_prompts *p);     /* SHA-256 of the files of captions; NULL: none        */
char *im_prompts_text(im_ctx *c, const im_prompts *p, int class, int64_t index);    /* malloc'd                       */
uint32_t im_prompts_seed(const im_prompts *p, int class, int64_t index);

/* "2.0"; "1,2,7.5": in turn; "1.5:4": drawn evenly from the interval, to three decimals. */
enum { IM_GUIDANCES = 64 };
typedef struct im_guidance { int n; bool range; double v[IM_GUIDANCES]; } im_guidance;
bool im_guidance_parse(im_ctx *c, const char *text, im_guidance *out);
double im_prompts_guidance(const im_prompts *p, const im_guidance *g, int class, int64_t index);

#endif
