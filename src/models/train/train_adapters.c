/* train_adapters.c: see train_adapters.h. The layout of the file is that of diffusers' save_lora_weights:
 *
 *     unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight                  (r, K)
 *     text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_B.weight                        (N, r)  */
#include "models/train/train_adapters.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "models/checkpoints/state_dict.h"
#include "models/nets/resnet.h"

static const char *const unet_layers[] = { "to_q", "to_k", "to_v", "to_out.0", NULL };
static const char *const clip_layers[] = { "q_proj", "k_proj", "v_proj", "out_proj", NULL };

bool im_trained_lora_settle(im_ctx *c, im_train_diffusion_args *a)
{
    if (!a->lora)
        return (!a->lora_text && a->lora_alpha == 0 && !a->lora_from)
            || im_fail(c, "--%s is for training a LoRA; wanted --lora RANK with it",
                       a->lora_text ? "lora-text" : a->lora_from ? "lora-from" : "lora-alpha");
    if (!a->common.init)
        return im_fail(c, "--lora %d: a LoRA is trained beside a model's weights; wanted --init MODEL, a diffusers folder",
                       a->lora);
    if (a->lora_alpha == 0)
        a->lora_alpha = (float)a->lora;
    a->text = a->lora_text ? "train" : "frozen";
    return true;
}

bool im_trained_lora_open(im_ctx *c, im_trained_lora *l, const im_train_diffusion_args *a, im_unet *unet, im_clip *clip)
{
    im_params *u = im_unet_params(unet), *t = im_clip_params(clip);
    uint64_t seed = a->common.seed;
    *l = (im_trained_lora){ .scale = a->lora_alpha / (float)a->lora };
    im_params_init(&l->unet, c);
    im_params_init(&l->clip, c);
    u->frozen = l->unet.train = l->clip.train = true;
    t->frozen = a->lora_text;                                  /* else no gradient goes through it                     */
    return im_adapters_attach(&l->unet, u, unet_layers, a->lora, a->lora_alpha)
        && im_init_params_as(&l->unet, seed, IM_INIT_LORA)
        && (!a->lora_text || (im_adapters_attach(&l->clip, t, clip_layers, a->lora, a->lora_alpha)
                              && im_init_params_as(&l->clip, seed, IM_INIT_LORA)));
}

/* One layer's factors, b as this training scales it. */
static bool load_one(im_ctx *c, const im_lora *from, im_part part, const im_param *q)
{
    const im_adapter *a = q->layer->adapter;
    int64_t na = im_numel(a->a), nb = im_numel(a->b);
    float *v = malloc((size_t)(na + nb) * sizeof *v);
    bool ok = (v || im_fail(c, "out of memory for the adapter of %s", q->t->name))
        && im_lora_factors(c, from, part, q, v, v + na);
    for (int64_t i = na; ok && i < na + nb; i++) v[i] /= a->scale;
    ok = ok && im_upload(c, a->a, v) && im_upload(c, a->b, v + na);
    free(v);
    return ok;
}

/* How many layers were begun; -1: none of them can be. */
static int load_part(im_ctx *c, const im_lora *from, const char *path, im_part part, const im_params *net)
{
    int count = 0;
    for (int i = 0; i < net->n; i++) {
        const im_param *q = &net->v[i];
        if (!q->layer || !q->layer->adapter) continue;
        int rank = im_lora_rank(from, part, q), want = (int)q->layer->adapter->a->shape[0];
        if (rank != want) {
            im_fail(c, "%s: of %s it has %s rank %d, and --lora is %d; wanted one of every layer that is trained%s", path,
                    q->t->name, rank ? "an adapter of" : "no adapter:", rank, want,
                    part == IM_PART_CLIP && !rank ? ", or without --lora-text" : "");
            return -1;
        }
        if (!load_one(c, from, part, q)) return -1;
        count++;
    }
    return count;
}

bool im_trained_lora_load(im_ctx *c, im_trained_lora *l, im_checkpoint *k, const char *path, im_unet *unet, im_clip *clip)
{
    im_lora *from = im_lora_open(c, k, path);
    int unets = from ? load_part(c, from, path, IM_PART_UNET, im_unet_params(unet)) : -1;
    int texts = unets < 0 ? -1 : l->clip.n ? load_part(c, from, path, IM_PART_CLIP, im_clip_params(clip)) : 0;
    bool ok = texts >= 0;
    if (ok && unets + texts != im_lora_modules(from))
        ok = im_fail(c, "%s: has adapters of %d layers, and %d are trained: the attention's projections of the UNet%s; "
                     "wanted a file with these alone%s", path, im_lora_modules(from), unets + texts,
                     l->clip.n ? " and of the text encoder" : "",
                     l->clip.n ? "" : ", or --lora-text where the others are the text encoder's");
    im_lora_free(from);
    return ok;
}

void im_trained_lora_close(im_trained_lora *l)
{
    im_params_free(&l->unet);
    im_params_free(&l->clip);
}

/* Adds the factors of one network to the file; what is scaled belongs to the open scope. */
static bool add_factors(im_ctx *c, im_state *s, const im_trained_lora *l, const im_optimiser *o, int part)
{
    const im_params *p = part ? &l->clip : &l->unet;
    for (int i = 0; i < p->n; i++) {
        const im_param *q = &p->v[i];
        const im_tensor *mean = im_optimiser_average(o, part, i);
        const im_tensor *t = mean ? mean : q->t;
        if (strstr(q->t->name, ".lora_B.") && l->scale != 1.0f)
            t = im_scale(c, (im_tensor *)(uintptr_t)t, l->scale);
        if (!t || !im_state_add_one(s, part ? "text_encoder." : "unet.", q, t))
            return false;
    }
    return true;
}

bool im_trained_lora_write(im_ctx *c, const im_trained_lora *l, const im_optimiser *o, const char *path)
{
    static const char *const metadata[] = { "format", "pt", "imago", IM_VERSION };
    im_state s = { .c = c };
    im_scope_push(c);
    bool ok = add_factors(c, &s, l, o, 0) && add_factors(c, &s, l, o, 1) && im_state_write(&s, path, metadata, 2, false);
    im_state_free(&s);
    im_scope_pop(c);
    return ok;
}
