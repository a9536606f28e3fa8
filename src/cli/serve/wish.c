/* wish.c: can a wish be drawn? Asked of the model's files without its weights, in a context of its own, so that a client
 * hears at once what is wrong and the worker goes on. Also: the LoRAs that prompts may name. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/serve/serve.h"
#include "data/files/file.h"
#include "data/files/sha256.h"

/* With an init picture the model may round the size down; what is told of a picture is what it really is. */
static bool settle(server *s, wish *w, int *evaluations)
{
    im_sd *sd = s->look;
    im_sd_args own = im_sd_defaults(sd), a = own;
    int64_t shape[3], own_shape[3];
    a.prompt = w->prompt;
    a.negative = w->negative;
    a.steps = w->steps;
    a.guidance = w->guidance;
    a.scheduler = w->scheduler;
    a.width = w->width ? w->width : w->init ? w->init->width : own.width;
    a.height = w->height ? w->height : w->init ? w->init->height : own.height;
    a.init = w->init;
    a.strength = w->strength;
    a.scheduler = im_sd_scheduler(sd, &a);
    if (!a.scheduler || !im_sd_latent_shape(sd, &own, own_shape) || !im_sd_latent_shape(sd, &a, shape))
        return false;
    w->scheduler = a.scheduler;
    w->width = a.width = (int)(shape[2] * own.width / own_shape[2]);
    w->height = a.height = (int)(shape[1] * own.height / own_shape[1]);
    *evaluations = im_sd_evaluations(sd, &a);
    im_sd_run *run = im_sd_run_open(sd, &a);                   /* asks what is left: steps, texts, strength            */
    im_sd_run_close(run);
    return run && im_ok(s->look_c);
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

bool wish_check(server *s, wish *w, int *evaluations, char *why, size_t size)
{
    pthread_mutex_lock(&s->look_lock);
    bool ok = !w->init || im_sha256_of(s->look_c, w->init->pixels, (size_t)w->init->width * (size_t)w->init->height *
                                       (size_t)w->init->channels, w->init_sha256);
    ok = ok && settle(s, w, evaluations);
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

static bool add_lora(server *s, const char *name, size_t bytes)
{
    lora_file *more = realloc(s->loras, (size_t)(s->n_loras + 1) * sizeof *more);
    if (!more)
        return im_fail(s->c, "out of memory for the names of LoRAs");
    s->loras = more;
    lora_file *l = &s->loras[s->n_loras];
    l->path = im_join(s->c, s->o->loras, name);
    snprintf(l->name, sizeof l->name, "%.*s", (int)bytes, name);
    s->n_loras += l->path != NULL;
    return im_ok(s->c);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const lora_file *)a)->name, ((const lora_file *)b)->name);
}

bool loras_list(server *s)
{
    static const char ending[] = ".safetensors";
    if (!s->o->loras)
        return true;
    DIR *d = opendir(s->o->loras);
    if (!d)
        return im_fail(s->c, "--loras %s: cannot be read; wanted a folder with LoRAs (NAME.safetensors)", s->o->loras);
    for (struct dirent *e; im_ok(s->c) && (e = readdir(d)); ) {
        size_t n = strlen(e->d_name), k = sizeof ending - 1;
        if (n > k && n - k < LORA_NAME_BYTES && e->d_name[0] != '.' && !strcmp(e->d_name + n - k, ending))
            add_lora(s, e->d_name, n - k);
    }
    closedir(d);
    if (s->n_loras)
        qsort(s->loras, (size_t)s->n_loras, sizeof *s->loras, by_name);
    return im_ok(s->c);
}

/* NAME:WEIGHT or NAME, up to `end` */
static bool take_lora(const server *s, wish *w, const char *from, const char *end, char *why, size_t size)
{
    const char *colon = memchr(from, ':', (size_t)(end - from));
    size_t n = (size_t)((colon ? colon : end) - from);
    char *rest = NULL;
    double weight = colon ? strtod(colon + 1, &rest) : 1;
    for (int i = 0; i < s->n_loras; i++) {
        if (strlen(s->loras[i].name) != n || strncmp(s->loras[i].name, from, n))
            continue;
        if (colon && (rest != end || !(fabs(weight) <= 100))) {
            snprintf(why, size, "<lora:%.*s> has no weight from -100 to 100 behind its name", (int)(end - from), from);
            return false;
        }
        if (w->n_loras == MOST_LORAS) {
            snprintf(why, size, "the prompt names more than %d LoRAs", MOST_LORAS);
            return false;
        }
        w->loras[w->n_loras++] = (lora_use){ i, (float)weight };
        return true;
    }
    snprintf(why, size, "there is no LoRA \"%.*s\" here; GET /sdapi/v1/loras lists those that there are", (int)n, from);
    return false;
}

bool wish_take_loras(const server *s, wish *w, char *why, size_t size)
{
    static const char mark[] = "<lora:";
    for (char *at = w->prompt; (at = strstr(at, mark)); ) {
        char *from = at + sizeof mark - 1, *end = strchr(from, '>');
        if (!end)
            return true;
        if (!take_lora(s, w, from, end, why, size))
            return false;
        while (at > w->prompt && at[-1] == ' ')                /* the blank before it goes, too                        */
            at--;
        memmove(at, end + 1, strlen(end + 1) + 1);
    }
    return true;
}
