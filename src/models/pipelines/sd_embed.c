/* sd_embed.c: the embeddings that a model's prompts may name (models/checkpoints/embeddings.h): those that
 * im_sd_add_embedding gave, and those of a folder embeddings/ in the model's folder or beside the model, which is read
 * with the first prompt. Used by sd_text.c and request.c. */
#include "models/pipelines/sd.h"
#include "data/files/file.h"
#include "data/files/named.h"
#include "data/files/safetensors.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool add_file(im_sd *sd, const char *path)
{
    const im_clip_config *clip = &sd->config->clip;
    return im_embeddings_add(sd->c, &sd->embeddings, path, clip->hidden_size, sd->config->text_tokens - 2);
}

/* Names the pickles that are passed over. */
static void warn_of_pickles(im_sd *sd, const char *folder)
{
    char names[400] = "";
    int n = 0;
    DIR *d = opendir(folder);
    for (const struct dirent *e; d && (e = readdir(d)); ) {
        size_t used = strlen(names);
        if (!im_st_pickle_name(e->d_name)) continue;
        if (n++ < 5) snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", e->d_name);
    }
    if (d) closedir(d);
    if (n) im_warn(sd->c, "%s: %d PyTorch pickle%s, which can run any program when read, left out: %s%s; convert to "
                          ".safetensors", folder, n, n > 1 ? "s are" : " is", names, n > 5 ? " ..." : "");
}

/* Every file of a folder. What is no embedding of this model is left out with a warning; names that are there stay. */
static bool add_folder(im_sd *sd, const char *folder)
{
    im_named files;
    if (!im_named_list(sd->c, &files, folder, NULL)) return false;
    for (int i = 0; i < files.n && im_ok(sd->c); i++) {
        char *path = im_named_path(sd->c, &files, files.name[i], "embedding");
        if (path && !add_file(sd, path)) {
            char *why = strdup(im_error(sd->c));
            im_clear_error(sd->c);
            im_warn(sd->c, "left out: %s", why ? why : path);
            free(why);
        }
        free(path);
    }
    warn_of_pickles(sd, folder);
    im_named_free(&files);
    return im_ok(sd->c);
}

bool im_sd_add_embedding(im_sd *sd, const char *path)
{
    if (!sd || !im_ok(sd->c)) return false;
    im_text_states_free(sd->texts);                            /* texts may read otherwise                             */
    sd->texts = NULL;
    int had = sd->embeddings.n;
    bool folder = im_is_folder(path), ok = folder ? add_folder(sd, path) : add_file(sd, path);
    return ok && (sd->embeddings.n > had || im_fail(sd->c, "%s: has no embedding for this model", path));
}

bool im_sd_need_embeddings(im_sd *sd)
{
    if (sd->own_embeddings || !im_ok(sd->c)) return im_ok(sd->c);
    sd->own_embeddings = true;
    char *folder = im_sd_beside(sd, "embeddings");
    bool ok = !folder || add_folder(sd, folder);
    free(folder);
    return ok && im_ok(sd->c);
}

int im_sd_embedding(const im_sd *sd, int i, const char **name, const char **sha256, int *vectors)
{
    const im_embeddings *e = &sd->embeddings;
    if (i < 0 || i >= e->n) return e->n;
    if (name) *name = e->v[i].name;
    if (sha256) *sha256 = e->v[i].sha256;
    if (vectors) *vectors = e->v[i].n;
    return e->n;
}

im_vector_word *im_sd_vector_words(im_sd *sd, int *n)
{
    if (!im_sd_need_embeddings(sd)) return NULL;
    const im_embeddings *e = &sd->embeddings;
    im_vector_word *v = calloc((size_t)e->n + 1, sizeof *v);
    if (!v) im_fail(sd->c, "out of memory for the names of embeddings");
    for (int i = 0, row = 0; v && i < e->n; row += e->v[i++].n)
        v[i] = (im_vector_word){ .name = e->v[i].name, .first = row, .n = e->v[i].n };
    *n = e->n;
    return v;
}

bool im_sd_names_embedding(im_sd *sd, const im_sd_args *a, int i)
{
    const char *texts[2] = { a->prompt, im_sd_guided(sd, a) && a->negative ? a->negative : "" };
    int n;
    bool found = false;
    im_vector_word *v = im_sd_vector_words(sd, &n);
    for (int t = 0; v && t < 2; t++) {
        const char *text = texts[t];
        size_t at;
        for (const im_vector_word *w; (w = im_vector_word_in((im_vector_words){ v, n }, text, strlen(text), &at)); ) {
            found = found || w == &v[i];
            text += at + strlen(w->name);
        }
    }
    free(v);
    return found;
}
