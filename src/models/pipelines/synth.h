/* synth.h: what the files synth*.c share; nobody else includes it. */
#ifndef IM_SYNTH_H
#define IM_SYNTH_H

#include <jansson.h>

#include "data/text/class_list.h"
#include "data/text/prompts.h"
#include "imago_clones.h"

struct im_synth {
    im_synth_args a;
    im_class_list classes;
    im_prompts *prompts;
    im_guidance guidance;
    int64_t count;                                             /* pictures of the set                                 */
};

typedef struct im_synth_picture {
    int64_t number, index;                                     /* in the set; in its class                            */
    int class;
    char *prompt;                                              /* malloc'd                                            */
    uint32_t seed;
    double guidance;
    char file[300];                                            /* below the set                                       */
} im_synth_picture;

bool im_synth_picture_at(im_ctx *c, const im_synth *s, int64_t n, im_synth_picture *out);
void im_synth_picture_free(im_synth_picture *p);
/* {"class": ..., "index", "recipe", "prompt", "seed", "guidance"}; NULL with an error. */
json_t *im_synth_row(im_ctx *c, const im_synth *s, const im_synth_picture *p);
char *im_synth_dump(im_ctx *c, json_t *row);                   /* in one line, malloc'd; row is released              */

#endif
