/* lora_tags.h: the adapters that a prompt names, <lora:NAME:WEIGHT>, as the AUTOMATIC1111 web interface has them. They are
 * taken out of the text. A tag without :WEIGHT has weight 1; what is not closed by > is text. */
#ifndef IM_LORA_TAGS_H
#define IM_LORA_TAGS_H

#include "imago.h"

typedef struct im_lora_tag { char *name; float weight; } im_lora_tag;               /* name malloc'd                  */
typedef struct im_lora_tags {
    char *text;                                                /* the prompt without them, malloc'd                   */
    im_lora_tag *v; int n;                                     /* in the order of the prompt                          */
} im_lora_tags;

/* False with an error (a name that is no file's, a weight that is no number from -100 to 100); out holds nothing then. */
bool im_lora_tags_read(im_ctx *c, const char *prompt, im_lora_tags *out);
void im_lora_tags_free(im_lora_tags *t);
bool im_lora_tags_same(const im_lora_tags *a, const im_lora_tags *b);               /* names and weights, in order    */

#endif
