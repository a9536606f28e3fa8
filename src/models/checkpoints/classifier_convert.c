/* classifier_convert.c: the weights of a classifier alone, in another dtype: from a run, a checkpoint or a file to a file.
 *
 * Matrices and convolutions become f32, f16 or bf16; vectors (norms, their statistics, biases) stay f32, under two
 * percent of the bytes. Averaged weights are taken where a checkpoint has them; the state of the optimiser stays behind.
 * "config" goes along: it names the classes (classifier_file.c reads it). torchvision's load_state_dict takes the result,
 * as it converts on its own. Used by `imago convert`. */
#include <stdlib.h>
#include <string.h>

#include "data/files/file.h"
#include "data/files/safetensors.h"
#include "models/checkpoints/classifier_file.h"
#include "models/checkpoints/state_dict.h"

bool im_is_classifier(im_ctx *c, const char *path)
{
    if (!im_ok(c))
        return false;
    char *index = im_join(c, path, "model_index.json"), *model = im_join(c, path, "model.safetensors"),
         *run = im_join(c, path, "checkpoints");
    bool is = index && model && run && im_is_folder(path) && !im_is_file(index) && (im_is_file(model) || im_is_folder(run));
    free(index);
    free(model);
    free(run);
    if (is || !im_is_file(path))
        return is;
    im_safetensors *s = im_classifier_file(c, path);
    is = s && im_st_find(s, "conv1.weight") && im_st_find(s, "layer1.0.conv1.weight");
    im_st_close(s);
    im_clear_error(c);                                         /* what is wrong with it, its reader says              */
    return is;
}

/* Pairs of what is written: in[i] becomes out[i]. */
typedef struct list { const im_st_entry **in; im_st_entry *out; int n; } list;

/* Weights under their own names; of averages where there are any. Counts of batches are neither: they go along. */
static bool collect(im_ctx *c, const im_safetensors *s, const im_params *p, int dtype, list *l)
{
    size_t n = (size_t)im_st_count(s) + 1;
    l->in = calloc(n, sizeof *l->in);
    l->out = calloc(n, sizeof *l->out);
    if (!l->in || !l->out)
        return im_fail(c, "out of memory for the list of %d tensors", im_st_count(s));
    for (int i = 0; i < im_st_count(s); i++) {
        const im_st_entry *e = im_st_at(s, i);
        char average[512];
        if (!im_state_knows(p, e->name))
            continue;
        size_t length = strlen(e->name);
        memcpy(average, "ema.", 4);
        if (length < sizeof average - 4)
            memcpy(average + 4, e->name, length + 1);
        const im_st_entry *from = length < sizeof average - 4 ? im_st_find(s, average) : NULL;
        l->in[l->n] = from ? from : e;
        l->out[l->n] = *l->in[l->n];
        l->out[l->n].name = e->name;
        if (dtype >= 0 && im_st_is_float(l->in[l->n]) && (e->ndim > 1 || e->dtype < 0))
            l->out[l->n].dtype = e->ndim > 1 ? dtype : IM_F32;
        l->n++;
    }
    return true;
}

static bool put(im_ctx *c, im_st_writer *w, int i, const im_st_entry *in, int to)
{
    if (to == in->dtype)
        return im_st_put(c, w, i, in->data, in->bytes);
    size_t bytes = (size_t)im_st_numel(in) * im_dtype_size((im_dtype)to);
    void *v = malloc(bytes + 1);
    if (!v)
        return im_fail(c, "out of memory for %s", in->name);
    im_st_cast(c, in, (im_dtype)to, v);
    bool ok = im_st_finite_stay(c, in, (im_dtype)to, v) && im_st_put(c, w, i, v, bytes);
    free(v);
    return ok;
}

static bool write_list(im_ctx *c, const list *l, const im_safetensors *s, const char *out)
{
    static const char *const keys[] = { "format", "imago", "config" };
    const char *metadata[6];
    int n = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (im_st_metadata(s, keys[i])) {
            metadata[2 * n] = keys[i];
            metadata[2 * n++ + 1] = im_st_metadata(s, keys[i]);
        }
    im_st_writer *w = im_st_create(c, out, l->out, l->n, metadata, n);
    for (int i = 0; w && im_ok(c) && i < l->n; i++)
        put(c, w, i, l->in[i], l->out[i].dtype);
    if (w && im_ok(c))
        return im_st_finish(c, w);
    im_st_abandon(w);
    return false;
}

bool im_classifier_convert(im_ctx *c, const char *in, const char *out, int dtype, bool force)
{
    static const char tail[] = ".safetensors";
    size_t n = strlen(out), m = sizeof tail - 1;
    im_classifier_config cfg;
    if (!im_st_writes(c, dtype))
        return false;
    if (n <= m || strcmp(out + n - m, tail))
        return im_fail(c, "%s: %s is a classifier, which becomes one file; wanted a name that ends in %s", out, in, tail);
    if (!im_may_write(c, out, force))
        return false;
    char *path = NULL;
    list l = { .n = 0 };
    im_safetensors *s = im_classifier_weights(c, in, &path);
    im_classifier *net = s && im_classifier_infer(c, s, path, &cfg) ? im_classifier_new(c, &cfg) : NULL;
    bool ok = net && im_state_check(im_classifier_params(net), s, path, &(im_state_rules){ .ours = true }) &&
              collect(c, s, im_classifier_params(net), dtype, &l) && write_list(c, &l, s, out);
    im_classifier_free(net);
    im_st_close(s);
    free(l.in);
    free(l.out);
    free(path);
    return ok;
}
