/* openai.h: what openai.c and jobs.c share: the keys of a request, and a picture in an answer. */
#ifndef IM_CLI_SERVE_OPENAI_H
#define IM_CLI_SERVE_OPENAI_H

#include "cli/serve/ask.h"

enum MHD_Result openai_generations(visit *v), openai_edits(visit *v), openai_models(visit *v), openai_model(visit *v);
enum MHD_Result jobs_post(visit *v), jobs_list(visit *v), jobs_get(visit *v), jobs_cancel(visit *v), jobs_events(visit *v);
enum MHD_Result jobs_picture(visit *v), server_facts(visit *v);

/* Body and keys; asked.init where there is a picture. False: trouble. */
bool openai_read(visit *v, asked *a, trouble *t);
json_t *openai_picture(const job *j, int i, bool url);         /* {"b64_json":, "seed":}; NULL: it did not come out    */
/* "png", "512x512" of a job's pictures */
const char *openai_format(const job *j);
json_t *openai_size(const job *j);

#endif
