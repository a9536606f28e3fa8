/* sd_lora.c: the adapters in a model's weights: those that im_sd_add_lora gave, which stay, and behind them those that the
 * prompt of a run names, <lora:NAME:WEIGHT> (data/text/lora_tags.h). They are merged while the networks are loaded
 * (lora.h), so a run that names others than the run before costs a loading of text encoder and UNet, and one that names
 * the same nothing; files stay open for the next prompt that names them. Used by sd_run.c and request.c. */
#include "models/pipelines/sd.h"
#include "data/files/file.h"
#include "data/files/named.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPEN_FILES = 32 };                                      /* that are kept for later prompts                      */

/* Text encoder and UNet are loaded anew when they are needed next, from the file: nothing is subtracted. */
static bool adapt(im_sd *sd, im_lora *loras)
{
    im_sd_stages_close(sd);
    im_clip_free(sd->nets.clip);
    im_unet_free(sd->nets.unet);
    sd->nets.clip = NULL;
    sd->nets.unet = NULL;
    sd->loaded[IM_NET_CLIP] = sd->loaded[IM_NET_UNET] = false;
    im_text_states_free(sd->texts);
    sd->texts = NULL;
    sd->loras = loras;
    im_checkpoint_adapt(sd->checkpoint, loras);
    return im_ok(sd->c);
}

static bool no_run_open(const im_sd *sd)
{
    return !sd->open_runs || im_fail(sd->c, "adapters cannot change while %d run%s of this model %s open", sd->open_runs,
                                     sd->open_runs > 1 ? "s" : "", sd->open_runs > 1 ? "are" : "is");
}

static int length(const im_lora *l, const im_lora *end)
{
    int n = 0;
    for (; l != end; l = im_lora_next(l)) n++;
    return n;
}

/* ---------------------------------------------------------------- files that are open */

static void free_list(im_lora *l)
{
    for (im_lora *next; l; l = next) {
        next = im_lora_next(l);
        im_lora_free(l);
    }
}

/* Takes the one of this path out of *list; NULL: it is not there, or the file is another one now. */
static im_lora *take(im_lora **list, const char *path)
{
    im_lora *before = NULL;
    for (im_lora *l = *list; l; before = l, l = im_lora_next(l)) {
        if (!im_lora_is_of(l, path)) continue;
        if (before) im_lora_link(before, 1, im_lora_next(l));
        else *list = im_lora_next(l);
        im_lora_link(l, 1, NULL);
        return l;
    }
    return NULL;
}

static im_lora *take_or_open(im_sd *sd, const char *path)
{
    im_lora *l = take(&sd->idle_loras, path);
    return l ? l : im_lora_open(sd->c, sd->checkpoint, path);
}

/* Takes the adapters of the last prompt out of the list: their files stay open, the last OPEN_FILES of them. */
static im_lora *without_prompted(im_sd *sd)
{
    im_lora *l = sd->loras;
    while (l != sd->fixed_loras) {
        im_lora *next = im_lora_next(l);
        im_lora_link(l, 1, sd->idle_loras);
        sd->idle_loras = l;
        l = next;
    }
    int n = 0;
    for (im_lora *at = sd->idle_loras; at; at = im_lora_next(at))
        if (++n == OPEN_FILES) {
            free_list(im_lora_next(at));
            im_lora_link(at, 1, NULL);
        }
    return l;
}

void im_sd_loras_free(im_sd *sd)
{
    free_list(sd->loras);
    free_list(sd->idle_loras);
    free(sd->lora_folder);
}

/* ---------------------------------------------------------------- those that stay */

bool im_sd_add_lora(im_sd *sd, const char *path, float weight)
{
    if (!sd || !im_ok(sd->c) || !no_run_open(sd)) return false;
    if (!(weight >= -100 && weight <= 100))
        return im_fail(sd->c, "%s: the weight of the LoRA is %g; wanted a number from -100 to 100", path, (double)weight);
    im_lora *l = im_lora_open(sd->c, sd->checkpoint, path);
    if (!l) return false;
    im_lora_link(l, weight, without_prompted(sd));
    sd->fixed_loras = l;
    return adapt(sd, l);
}

bool im_sd_add_lora_text(im_sd *sd, const char *text)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    double weight = colon ? strtod(colon + 1, &end) : 1;
    bool has_weight = colon && end != colon + 1 && !*end;
    if (!sd || !im_ok(sd->c)) return false;
    if (has_weight && !(weight >= -100 && weight <= 100))
        return im_fail(sd->c, "--lora %s: the weight is %s, wanted a number from -100 to 100", text, colon + 1);
    char *path = im_copy_text(sd->c, text, has_weight ? (size_t)(colon - text) : strlen(text));
    if (path && colon && access(path, F_OK))
        im_fail(sd->c, "--lora %s: there is no file \"%s\"; wanted FILE, or FILE:WEIGHT with one number", text, path);
    bool ok = path && im_sd_add_lora(sd, path, has_weight ? (float)weight : 1);
    free(path);
    return ok;
}

bool im_sd_clear_loras(im_sd *sd)
{
    if (!sd || !im_ok(sd->c) || !no_run_open(sd)) return false;
    im_lora *old = without_prompted(sd);
    sd->fixed_loras = NULL;
    bool ok = adapt(sd, NULL);
    free_list(old);
    return ok;
}

int im_sd_lora(const im_sd *sd, int i, const char **name, const char **sha256, float *weight)
{
    int n = length(sd->fixed_loras, NULL);
    const im_lora *l = i >= 0 && i < n ? sd->fixed_loras : NULL;
    for (int back = n - 1 - i; l && back > 0; back--) l = im_lora_next(l);
    if (!l) return n;
    if (name) *name = im_lora_name(l);
    if (sha256) *sha256 = im_lora_hash(l);
    if (weight) *weight = im_lora_weight(l);
    return n;
}

/* ---------------------------------------------------------------- those that a prompt names */

bool im_sd_lora_folder(im_sd *sd, const char *folder)
{
    if (!sd || !im_ok(sd->c)) return false;
    if (!im_is_folder(folder))
        return im_fail(sd->c, "%s: is not a folder; wanted the one that holds the LoRAs that prompts name", folder);
    free(sd->lora_folder);
    return (sd->lora_folder = im_copy_text(sd->c, folder, strlen(folder))) != NULL;
}

char *im_sd_beside(im_sd *sd, const char *name)
{
    const char *folder = im_checkpoint_folder(sd->checkpoint);
    char *within = folder ? im_join(sd->c, folder, name) : NULL;
    if (within && im_is_folder(within)) return within;
    free(within);
    const char *path = im_checkpoint_path(sd->checkpoint);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    char *plain = im_copy_text(sd->c, path, n), *beside = plain ? im_join_beside(sd->c, plain, name) : NULL;
    free(plain);
    if (beside && im_is_folder(beside)) return beside;
    free(beside);
    return NULL;
}

/* What is in the folder; *there: there is one. */
static bool list_names(im_sd *sd, im_named *names, bool *there)
{
    char *own = sd->lora_folder ? NULL : im_sd_beside(sd, "loras");
    const char *folder = own ? own : sd->lora_folder;
    *names = (im_named){ 0 };
    *there = folder != NULL;
    bool ok = im_ok(sd->c) && (!folder || im_named_list(sd->c, names, folder, im_lora_files));
    free(own);
    return ok;
}

bool im_sd_lora_names(im_sd *sd, void (*each)(void *arg, const char *name), void *arg)
{
    im_named names;
    bool there;
    if (!sd || !list_names(sd, &names, &there)) return false;
    for (int i = 0; i < names.n; i++) each(arg, names.name[i]);
    im_named_free(&names);
    return true;
}

static char *path_of(im_sd *sd, const im_lora_tag *t)
{
    im_named names;
    bool there;
    if (!list_names(sd, &names, &there)) return NULL;
    if (!there)
        im_fail(sd->c, "<lora:%s> in the prompt: there is no folder loras in or beside %s; make one, or name "
                       "another with --lora-dir, which generate, trace, synth and serve have", t->name,
                im_checkpoint_path(sd->checkpoint));
    char *path = there ? im_named_path(sd->c, &names, t->name, "LoRA") : NULL;
    im_named_free(&names);
    return path;
}

/* Are the adapters behind those that stay these, and their files still the same? */
static bool has_now(const im_sd *sd, const im_lora_tags *t, char *const path[])
{
    const im_lora *l = sd->loras;
    if (length(l, sd->fixed_loras) != t->n) return false;
    for (int i = t->n - 1; i >= 0; i--, l = im_lora_next(l))
        if (im_lora_weight(l) != t->v[i].weight || !im_lora_is_of(l, path[i])) return false;
    return true;
}

static bool put_on(im_sd *sd, const im_lora_tags *t, char *const path[])
{
    im_lora *own = NULL;                                       /* all are opened before any is taken off               */
    if (has_now(sd, t, path)) return true;
    if (sd->open_runs > 1)                                     /* beside the run that asks                             */
        return im_fail(sd->c, "a prompt names other LoRAs than the pictures under way; pictures that are drawn together "
                              "have the same weights");
    im_lora *top = without_prompted(sd);
    for (int i = 0; i < t->n; i++) {
        im_lora *l = take_or_open(sd, path[i]);
        if (!l) break;
        im_lora_link(l, t->v[i].weight, own ? own : top);
        own = l;
    }
    if (im_ok(sd->c)) return adapt(sd, own ? own : top);
    while (own && own != top) {
        im_lora *next = im_lora_next(own);
        im_lora_free(own);
        own = next;
    }
    char *error = strdup(im_error(sd->c));                     /* the model is as without them                         */
    im_clear_error(sd->c);
    adapt(sd, top);
    im_fail(sd->c, "%s", error ? error : "out of memory for the LoRAs of a prompt");
    free(error);
    return false;
}

static void free_paths(char **path, int n)
{
    for (int i = 0; path && i < n; i++) free(path[i]);
    free(path);
}

/* Where the files of all are; NULL with an error. */
static char **paths_of(im_sd *sd, const im_lora_tags *t)
{
    char **path = calloc((size_t)t->n + 1, sizeof *path);
    if (!path) im_fail(sd->c, "out of memory for the LoRAs of a prompt");
    for (int i = 0; path && i < t->n && im_ok(sd->c); i++) path[i] = path_of(sd, &t->v[i]);
    if (im_ok(sd->c)) return path;
    free_paths(path, t->n);
    return NULL;
}

bool im_sd_use_tags(im_sd *sd, const im_lora_tags *t)
{
    if (!im_ok(sd->c)) return false;
    char **path = paths_of(sd, t);
    bool ok = path && put_on(sd, t, path);
    free_paths(path, t->n);
    return ok;
}

static const im_lora *find(const im_lora *l, const char *path)
{
    while (l && !im_lora_is_of(l, path)) l = im_lora_next(l);
    return l;
}

const char *im_sd_tag_hash(im_sd *sd, const im_lora_tag *t)
{
    char *path = im_ok(sd->c) ? path_of(sd, t) : NULL;
    const im_lora *found = path ? find(sd->loras, path) : NULL;
    if (path && !found) found = find(sd->idle_loras, path);
    if (path && !found) {
        im_lora *l = im_lora_open(sd->c, sd->checkpoint, path);
        if (l) im_lora_link(l, 1, sd->idle_loras);
        if (l) sd->idle_loras = l;
        found = l;
    }
    free(path);
    return found ? im_lora_hash(found) : NULL;
}

bool im_sd_check_prompt(im_sd *sd, const im_sd_args *a)
{
    im_lora_tags t;
    if (!sd || !im_lora_tags_read(sd->c, a->prompt, &t)) return false;
    for (int i = 0; i < t.n && im_sd_tag_hash(sd, &t.v[i]); i++);
    im_lora_tags_free(&t);
    return im_ok(sd->c);
}

bool im_sd_same_loras(im_sd *sd, const char *a, const char *b)
{
    im_lora_tags x, y;
    if (!sd || !im_lora_tags_read(sd->c, a, &x)) return false;
    bool read = im_lora_tags_read(sd->c, b, &y), same = read && im_lora_tags_same(&x, &y);
    im_lora_tags_free(&x);
    if (read) im_lora_tags_free(&y);
    return same;
}
