/* sdapi.h: the addresses under /sdapi/v1 (sdapi.c draws, sdapi_lists.c lists, sdapi_progress.c tells and stops). */
#ifndef IM_CLI_SERVE_SDAPI_H
#define IM_CLI_SERVE_SDAPI_H

#include "cli/serve/http.h"

enum MHD_Result sdapi_txt2img(visit *v), sdapi_img2img(visit *v);
enum MHD_Result sdapi_progress(visit *v), sdapi_task(visit *v), sdapi_interrupt(visit *v), sdapi_skip(visit *v);
enum MHD_Result sdapi_options(visit *v), sdapi_set_options(visit *v), sdapi_png_info(visit *v);
enum MHD_Result sdapi_samplers(visit *v), sdapi_schedulers(visit *v), sdapi_models(visit *v), sdapi_loras(visit *v);
enum MHD_Result sdapi_scripts(visit *v), sdapi_cmd_flags(visit *v), sdapi_memory(visit *v), sdapi_embeddings(visit *v);
enum MHD_Result sdapi_upscalers(visit *v), sdapi_latent_upscalers(visit *v), sdapi_vaes(visit *v);
enum MHD_Result sdapi_empty_list(visit *v), sdapi_refreshed(visit *v);

/* The prompt, the negative prompt and the fields of a text `parameters` (infotext.c); NULL: no memory. */
json_t *infotext_json(const char *info);
/* Is this the model that is served, by title, name or hash? "": whichever it is. */
bool sdapi_is_model(const server *s, const char *name);
const char *sampler_named(const char *scheduler);              /* "Euler a" of "euler_a"                               */

#endif
