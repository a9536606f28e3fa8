/* request.h: what the files request*.c share: requests as JSON. What they do for others stands in imago_generate.h. */
#ifndef IM_REQUEST_H
#define IM_REQUEST_H

#include <jansson.h>

#include "models/pipelines/sd.h"

/* [{"name":, "sha256":, "weight":}] of the model's and then of the prompt's (NULL: none); NULL: none, or an error. */
json_t *im_loras_json(im_sd *sd, const char *prompt);
json_t *im_lora_json(const char *name, const char *sha256, float weight);           /* one of them                    */
/* [{"name":, "sha256":}] of those that the texts use; NULL: none, or an error. */
json_t *im_embeddings_json(im_sd *sd, const im_sd_args *a);
json_t *im_request_object(im_sd *sd, const im_request *q);     /* the text `imago`; NULL: out of memory               */

/* A seed is a whole number; one beyond 2^63 is written as digits in quotes, since JSON readers lose it. */
json_t *im_seed_json(uint64_t seed);
bool im_seed_read(const json_t *v, uint64_t *out);

#endif
