/* reading.c: see reading.h. */
#include "cli/reading.h"

#include <string.h>

im_prompt_syntax reading_syntax(const reading *r)
{
    return strcmp(r->syntax, "a1111") ? IM_PROMPT_PLAIN : IM_PROMPT_A1111;
}

bool reading_add(im_sd *sd, const reading *r)
{
    for (int i = 0; i < r->loras.n; i++)
        if (!im_sd_add_lora_text(sd, r->loras.v[i]))
            return false;
    if (r->lora_dir && !im_sd_lora_folder(sd, r->lora_dir))
        return false;
    for (int i = 0; i < r->embeddings.n; i++)
        if (!im_sd_add_embedding(sd, r->embeddings.v[i]))
            return false;
    return true;
}
