/* wish.c: can a wish be drawn? Asked of the model's files without its weights, in a context of its own, so that a client
 * hears at once what is wrong and the worker goes on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/serve.h"
#include "cli/session.h"
#include "data/files/sha256.h"

bool model_prepare(server *s, im_sd *sd)
{
    bool ok = reading_add(sd, &s->o->reading);
    im_sd_set_activations(sd, session_activations(&s->o->common));
    return ok;
}

im_sd_args wish_args(const wish *w, int i)
{
    im_sd_args a = im_sd_defaults(NULL);
    a.prompt = wish_prompt(w, i);
    a.negative = wish_negative(w, i);
    a.syntax = w->syntax;
    a.clip_skip = w->clip_skip;
    a.token_merging = w->token_merging;
    a.eta = w->eta;
    a.steps = w->steps;
    a.guidance = w->guidance;
    a.seed = w->seed;
    a.scheduler = w->scheduler;
    a.width = w->width;
    a.height = w->height;
    a.init = w->init;
    a.mask = w->mask;
    a.mask_blur = w->mask_blur;
    a.mask_fill = w->mask_fill;
    a.mask_only = w->mask_only;
    a.mask_padding = w->mask_padding;
    a.strength = w->strength;
    a.tile = w->tile;
    return a;
}

/* With an init picture the model may round the size down; what is told of a picture is what it really is. */
static bool settle(server *s, wish *w, int *evaluations)
{
    im_sd *sd = s->look;
    im_sd_args a = wish_args(w, 0);
    a.scheduler = im_sd_scheduler(sd, &a);
    if (!a.scheduler || !im_sd_settle_size(sd, &a))
        return false;
    w->scheduler = a.scheduler;
    w->width = a.width;
    w->height = a.height;
    w->picture_width = w->mask_only ? w->init->width : w->width;
    w->picture_height = w->mask_only ? w->init->height : w->height;
    *evaluations = im_sd_evaluations(sd, &a);
    bool ok = true;
    for (int i = 0; ok && i < (w->prompts ? w->count : 1); i++) {
        a = wish_args(w, i);
        im_sd_run *run = im_sd_run_open(sd, &a);               /* asks what is left: steps, texts, strength            */
        im_sd_run_close(run);
        ok = run && im_ok(s->look_c);
    }
    return ok;
}

static bool within_limits(const server *s, const wish *w, char *why, size_t size)
{
    uint64_t pixels = (uint64_t)w->width * (uint64_t)w->height;
    if (pixels <= s->o->max_pixels)
        return true;
    snprintf(why, size, "the size is %dx%d, %llu pixels; this server draws at most %llu (--max-pixels)", w->width,
             w->height, (unsigned long long)pixels, (unsigned long long)s->o->max_pixels);
    return false;
}

static bool hash_pixels(server *s, const im_image *i, char hash[65])
{
    return !i || im_sha256_of(s->look_c, i->pixels, (size_t)i->width * (size_t)i->height * (size_t)i->channels, hash);
}

bool wish_check(server *s, wish *w, int *evaluations, char *why, size_t size)
{
    pthread_mutex_lock(&s->look_lock);
    bool ok = hash_pixels(s, w->init, w->init_sha256) && hash_pixels(s, w->mask, w->mask_sha256);
    ok = ok && wish_fill(s, w) && settle(s, w, evaluations);
    if (!ok)
        snprintf(why, size, "%s", im_error(s->look_c));
    im_clear_error(s->look_c);
    pthread_mutex_unlock(&s->look_lock);
    return ok && within_limits(s, w, why, size);
}

int prompt_tokens(server *s, const char *prompt)
{
    int32_t ids[77];
    char *cut = NULL;
    int n = 0;
    pthread_mutex_lock(&s->look_lock);
    const im_tokenizer *t = im_sd_tokenizer(s->look);
    if (t && im_tokenize(s->look_c, t, prompt, 77, ids, &cut))
        while (n < 75 && strcmp(im_token_piece(t, ids[n + 1]), "<|endoftext|>") != 0)
            n++;
    free(cut);
    im_clear_error(s->look_c);
    pthread_mutex_unlock(&s->look_lock);
    return n;
}

/* ---------------------------------------------------------------- LoRAs */

static void add_name(void *arg, const char *name)
{
    server *s = arg;
    char **more = realloc(s->loras, (size_t)(s->n_loras + 1) * sizeof *more);
    if (more)
        s->loras = more;
    if (!more || !(s->loras[s->n_loras] = strdup(name)))
        im_fail(s->c, "out of memory for the names of LoRAs");
    else
        s->n_loras++;
}

bool loras_list(server *s)
{
    return im_sd_lora_names(s->sd, add_name, s) && im_ok(s->c);
}
