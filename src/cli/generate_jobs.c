/* generate_jobs.c: the pictures of a run, from -p or the lines of --prompts, times --count; and what each is made of.
 * Pictures without a seed of their own count up from --seed in the order of the list. Wildcards of a text are chosen by the
 * seed of its picture. Used by cmd_generate.c and generate_run.c. */
#include <stdlib.h>
#include <string.h>

#include "cli/generate.h"
#include "data/text/wildcards.h"

void jobs_free(run_state *r)
{
    for (int i = 0; i < r->jobs.n; i++) {
        free(r->jobs.v[i].path);
        free(r->jobs.v[i].guess_text);
        free(r->jobs.v[i].error);
        free(r->jobs.v[i].template);
        free(r->jobs.v[i].negative_template);
    }
    free(r->jobs.v);
    r->jobs = (job_list){ 0 };
    im_prompt_list_free(&r->prompts);
}

/* *text with lines in the place of its wildcards; as it was written in *template. */
static bool fill_text(run_state *r, im_wildcards *w, int number, uint64_t seed, uint32_t stream, char **text,
                      char **template)
{
    char place[64];
    if (!im_wildcards_in(*text))
        return true;
    snprintf(place, sizeof place, "%s %d", stream ? "negative prompt" : "prompt", number);
    char *filled = im_wildcards_fill(r->c, w, place, *text, seed, stream);
    *template = *text;
    *text = filled ? filled : strdup("");
    return filled && *text;
}

static bool fill_wildcards(run_state *r)
{
    im_prompt_list *l = &r->prompts;
    bool any = false, ok = true;
    for (int i = 0; i < l->n && !any; i++)
        any = im_wildcards_in(l->v[i].prompt) || im_wildcards_in(l->v[i].negative);
    if (any && !r->o->wildcards)
        im_warn(r->c, "a prompt looks as if it had wildcards (__name__), which are read as text; --wildcards FOLDER puts "
                      "lines of FOLDER/name.txt in their place");
    im_wildcards *w = r->o->wildcards ? im_wildcards_open(r->c, r->o->wildcards, false) : NULL;
    for (int i = 0; w && ok && i < l->n; i++) {
        im_prompt *p = &l->v[i];
        ok = fill_text(r, w, p->number, p->seed, 0, &p->prompt, &r->jobs.v[i].template) &&
             fill_text(r, w, p->number, p->seed, 1, &p->negative, &r->jobs.v[i].negative_template);
    }
    im_wildcards_free(w);
    return im_ok(r->c);
}

bool jobs_build(run_state *r)
{
    const generate_options *o = r->o;
    uint64_t seed = o->seed.value;
    im_prompt_list *l = &r->prompts;
    if (o->prompts ? !im_prompt_list_read(r->c, l, o->prompts, o->negative, o->count, &seed)
                   : !im_prompt_list_add(r->c, l, o->prompt, o->negative, o->count, &seed))
        return false;
    if (!grid_expand(r))
        return false;
    r->jobs.v = calloc((size_t)l->n, sizeof *r->jobs.v);
    if (!r->jobs.v)
        return im_fail(r->c, "out of memory for a list of %d pictures", l->n);
    r->jobs.n = l->n;
    for (int i = 0; i < l->n; i++) {
        r->jobs.v[i].p = &l->v[i];
        r->jobs.v[i].o = r->grid.cells ? &r->grid.cells[i] : NULL;
    }
    return fill_wildcards(r);
}

static bool says_more(const job *j)
{
    const im_prompt *p = j->p;
    return j->o || p->steps || p->width || p->height || p->has_guidance || p->scheduler;
}

/* What a line of the list asks for is looked at before anything is drawn. */
static bool settle(run_state *r, job *j)
{
    im_sd_args a = job_args(r, j);
    int64_t shape[3];
    j->width = r->base.width;
    j->height = r->base.height;
    if (!says_more(j))
        return true;
    if (!im_sd_latent_shape(r->sd, &a, shape) || !im_sd_settle_size(r->sd, &a))
        return false;
    j->width = a.width;
    j->height = a.height;
    if ((r->latents || r->o->save_latents) && memcmp(shape, r->latent_shape, sizeof shape))
        return im_fail(r->c, "prompt %d: is %dx%d, others are %dx%d; --latents and --save-latents need one size",
                       j->p->number, j->width, j->height, r->base.width, r->base.height);
    im_sd_run *run = im_sd_run_open(r->sd, &a);
    im_sd_run_close(run);
    return run && im_sd_check_memory(r->sd, &a, r->o->batch < r->jobs.n ? r->o->batch : r->jobs.n);
}

bool jobs_settle(run_state *r)
{
    bool ok = true;
    for (int i = 0; ok && i < r->jobs.n; i++)
        ok = settle(r, &r->jobs.v[i]);
    return ok;
}

int jobs_evaluations(const run_state *r)
{
    int all = 0, usual = im_sd_evaluations(r->sd, &r->base);
    for (int i = 0; i < r->jobs.n; i++) {
        const job *j = &r->jobs.v[i];
        const im_sd_args a = job_args(r, j);
        if (!j->skip)
            all += says_more(j) ? im_sd_evaluations(r->sd, &a) : usual;
    }
    return all;
}

im_sd_args job_args(const run_state *r, const job *j)
{
    const int64_t *s = r->latent_shape;
    im_sd_args a = r->base;
    a.prompt = j->p->prompt;
    a.negative = j->p->negative;
    a.seed = j->p->seed;
    if (j->o) grid_args(j->o, &a);
    if (j->p->width) a.width = j->p->width;
    if (j->p->height) a.height = j->p->height;
    if (j->width) a.width = j->width;
    if (j->height) a.height = j->height;
    if (j->p->steps) a.steps = j->p->steps;
    if (j->p->has_guidance) a.guidance = j->p->guidance;
    if (j->p->scheduler) a.scheduler = j->p->scheduler;
    if (r->latents)
        a.latents = r->latents + (size_t)(s[0] * s[1] * s[2]) * (size_t)latents_row(r, (int)(j - r->jobs.v));
    return a;
}

im_request job_request(const run_state *r, const job *j)
{
    const im_request *from = r->from.text && r->o->prompt ? im_request_of(r->from.text) : NULL;
    bool again = from && from->args.prompt == r->o->prompt && !r->o->wildcards;        /* not another text             */
    return (im_request){
        .prompt_template = j->template ? j->template : again ? from->prompt_template : NULL,
        .negative_template = j->negative_template ? j->negative_template : again ? from->negative_template : NULL,
        .args = job_args(r, j), .model_name = r->model_name,
        .init_sha256 = r->init ? r->init_hash : NULL, .mask_sha256 = r->mask ? r->mask_hash : NULL,
        .latents_sha256 = r->latents ? r->latents_hash : NULL,
        .latents_index = r->latents ? latents_row(r, (int)(j - r->jobs.v)) : 0,
        .quality = r->format == IM_JPEG ? r->o->quality : 0, .no_mark = r->o->no_mark,
    };
}
