/* generate_jobs.c: the pictures of a run, from -p or the lines of --prompts, times --count; and what each is made of.
 * Pictures without a seed of their own count up from --seed in the order of the list. Used by cmd_generate.c and
 * generate_run.c. */
#include <stdlib.h>

#include "cli/generate.h"

void jobs_free(run_state *r)
{
    for (int i = 0; i < r->jobs.n; i++) {
        free(r->jobs.v[i].path);
        free(r->jobs.v[i].guess_text);
        free(r->jobs.v[i].error);
    }
    free(r->jobs.v);
    r->jobs = (job_list){ 0 };
    im_prompt_list_free(&r->prompts);
}

bool jobs_build(run_state *r)
{
    const generate_options *o = r->o;
    uint64_t seed = o->seed.value;
    im_prompt_list *l = &r->prompts;
    if (o->prompts ? !im_prompt_list_read(r->c, l, o->prompts, o->negative, o->count, &seed)
                   : !im_prompt_list_add(r->c, l, o->prompt, o->negative, o->count, &seed))
        return false;
    r->jobs.v = calloc((size_t)l->n, sizeof *r->jobs.v);
    if (!r->jobs.v)
        return im_fail(r->c, "out of memory for a list of %d pictures", l->n);
    r->jobs.n = l->n;
    for (int i = 0; i < l->n; i++)
        r->jobs.v[i].p = &l->v[i];
    return true;
}

im_sd_args job_args(const run_state *r, const job *j)
{
    const int64_t *s = r->latent_shape;
    im_sd_args a = r->base;
    a.prompt = j->p->prompt;
    a.negative = j->p->negative;
    a.seed = j->p->seed;
    if (r->latents)
        a.latents = r->latents + (size_t)(s[0] * s[1] * s[2]) * (size_t)latents_row(r, (int)(j - r->jobs.v));
    return a;
}

im_request job_request(const run_state *r, const job *j)
{
    return (im_request){
        .args = job_args(r, j), .model_name = r->model_name,
        .init_sha256 = r->init ? r->init_hash : NULL, .mask_sha256 = r->mask ? r->mask_hash : NULL,
        .latents_sha256 = r->latents ? r->latents_hash : NULL,
        .latents_index = r->latents ? latents_row(r, (int)(j - r->jobs.v)) : 0,
        .quality = r->format == IM_JPEG ? r->o->quality : 0, .no_mark = r->o->no_mark,
    };
}
