/* checkpoint_names.c: diffusers' names against those of the original layout (CompVis/stable-diffusion, and the names
 * that its .ckpt and single .safetensors files have).
 *
 * The original counts blocks where diffusers counts levels: with n_i resnets on level i,
 *     down_blocks.i.resnets.j           input_blocks.(1 + sum_{k<i} (n_k + 1) + j).0
 *     down_blocks.i.downsamplers.0      input_blocks.(1 + sum_{k<i} (n_k + 1) + n_i).0
 *     up_blocks.i.resnets.j             output_blocks.(sum over coarser levels (n_k + 1) + j).0
 * with the transformer of a block at .1 and the upsampler as the last member of its level's last block.
 * Used by checkpoint.c and convert.c. */
#include "models/checkpoints/checkpoint_names.h"

#include <stdio.h>
#include <string.h>

typedef struct pair { const char *diffusers, *original; } pair;

static const pair unet_resnet[] = {
    { "norm1.", "in_layers.0." },         { "conv1.", "in_layers.2." }, { "time_emb_proj.", "emb_layers.1." },
    { "norm2.", "out_layers.0." },        { "conv2.", "out_layers.3." }, { "conv_shortcut.", "skip_connection." },
};
static const pair unet_ends[] = {
    { "conv_in.", "input_blocks.0.0." },  { "time_embedding.linear_1.", "time_embed.0." },
    { "conv_norm_out.", "out.0." },       { "time_embedding.linear_2.", "time_embed.2." },
    { "conv_out.", "out.2." },
};
static const pair vae_resnet[] = {
    { "norm1.", "norm1." }, { "conv1.", "conv1." }, { "norm2.", "norm2." }, { "conv2.", "conv2." },
    { "conv_shortcut.", "nin_shortcut." },
};
static const pair vae_attention[] = {
    { "group_norm.", "norm." }, { "to_q.", "q." }, { "to_k.", "k." }, { "to_v.", "v." }, { "to_out.0.", "proj_out." },
};
static const pair vae_ends[] = {
    { "conv_in.", "conv_in." }, { "conv_norm_out.", "norm_out." }, { "conv_out.", "conv_out." },
};
static const pair vae_old_attention[] = {                      /* diffusers before 0.18                               */
    { "to_q.", "query." }, { "to_k.", "key." }, { "to_v.", "value." }, { "to_out.0.", "proj_attn." },
};
#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

/* The rest of text after prefix, or NULL. */
static const char *after(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(text, prefix, n) ? NULL : text + n;
}

static bool finish(char out[IM_NAME_BYTES], const char *head, const char *middle, const char *tail)
{
    int n = snprintf(out, IM_NAME_BYTES, "%s%s%s", head, middle, tail);
    return n > 0 && n < IM_NAME_BYTES;
}

/* head + name with the one pair that fits its beginning exchanged. */
static bool exchange(char out[IM_NAME_BYTES], const char *head, const pair *pairs, int n, const char *name)
{
    for (int i = 0; i < n; i++) {
        const char *tail = after(name, pairs[i].diffusers);
        if (tail)
            return finish(out, head, pairs[i].original, tail);
    }
    return false;
}

/* "resnets.2.rest" -> 2 and rest; NULL where name has another head. */
static const char *member(const char *name, const char *list, int *i)
{
    const char *rest = after(name, list);
    int used = 0;
    if (!rest || sscanf(rest, ".%d.%n", i, &used) != 1 || !used || *i < 0)
        return NULL;
    return rest + used;
}

/* ---------------------------------------------------------------- UNet */

static bool unet_block(char out[IM_NAME_BYTES], const char *where, int block, int layers, const char *rest,
                       const char *resampler, const char *resampler_at)
{
    char head[80];
    int j;
    const char *tail = member(rest, "resnets", &j);
    if (tail && j < layers) {
        snprintf(head, sizeof head, "model.diffusion_model.%s.%d.0.", where, block + j);
        return exchange(out, head, unet_resnet, COUNT(unet_resnet), tail);
    }
    if ((tail = member(rest, "attentions", &j)) && j < layers) {
        snprintf(head, sizeof head, "model.diffusion_model.%s.%d.1.", where, block + j);
        return finish(out, head, tail, "");
    }
    if ((tail = after(rest, resampler))) {
        snprintf(head, sizeof head, "model.diffusion_model.%s.%d.", where,
                 where[0] == 'i' ? block + layers : block + layers - 1);
        return finish(out, head, resampler_at, tail);
    }
    return false;
}

static bool unet_name(const im_unet_config *u, const char *name, char out[IM_NAME_BYTES])
{
    int i, block;
    const char *rest = member(name, "down_blocks", &i);
    if (rest && i < u->levels) {
        block = 1;
        for (int k = 0; k < i; k++)
            block += u->level[k].layers + 1;
        return unet_block(out, "input_blocks", block, u->level[i].layers, rest, "downsamplers.0.conv.", "0.op.");
    }
    if ((rest = member(name, "up_blocks", &i)) && i < u->levels) {
        const im_unet_level *l = &u->level[u->levels - 1 - i];
        block = 0;
        for (int k = 0; k < i; k++)
            block += u->level[u->levels - 1 - k].layers + 1;
        return unet_block(out, "output_blocks", block, l->layers + 1, rest, "upsamplers.0.conv.",
                          l->up_attention ? "2.conv." : "1.conv.");
    }
    if ((rest = after(name, "mid_block.resnets.0.")))
        return exchange(out, "model.diffusion_model.middle_block.0.", unet_resnet, COUNT(unet_resnet), rest);
    if ((rest = after(name, "mid_block.attentions.0.")))
        return finish(out, "model.diffusion_model.middle_block.1.", rest, "");
    if ((rest = after(name, "mid_block.resnets.1.")))
        return exchange(out, "model.diffusion_model.middle_block.2.", unet_resnet, COUNT(unet_resnet), rest);
    return exchange(out, "model.diffusion_model.", unet_ends, COUNT(unet_ends), name);
}

/* ---------------------------------------------------------------- VAE */

/* half: "encoder" or "decoder"; rest: the name below it */
static bool vae_half_name(const im_vae_config *v, const char *half, const char *rest, char out[IM_NAME_BYTES])
{
    char head[80];
    int i, j;
    bool up = half[0] == 'd';
    const char *tail = member(rest, up ? "up_blocks" : "down_blocks", &i), *inner;
    if (tail && i < v->levels) {
        int level = up ? v->levels - 1 - i : i;
        const char *side = up ? "up" : "down";
        if ((inner = member(tail, "resnets", &j))) {
            snprintf(head, sizeof head, "first_stage_model.%s.%s.%d.block.%d.", half, side, level, j);
            return exchange(out, head, vae_resnet, COUNT(vae_resnet), inner);
        }
        snprintf(head, sizeof head, "first_stage_model.%s.%s.%d.%ssample.conv.", half, side, level, side);
        inner = after(tail, up ? "upsamplers.0.conv." : "downsamplers.0.conv.");
        return inner && finish(out, head, inner, "");
    }
    if ((tail = member(rest, "mid_block.resnets", &j)) && j < 2) {
        snprintf(head, sizeof head, "first_stage_model.%s.mid.block_%d.", half, j + 1);
        return exchange(out, head, vae_resnet, COUNT(vae_resnet), tail);
    }
    if ((tail = after(rest, "mid_block.attentions.0."))) {
        snprintf(head, sizeof head, "first_stage_model.%s.mid.attn_1.", half);
        return exchange(out, head, vae_attention, COUNT(vae_attention), tail);
    }
    snprintf(head, sizeof head, "first_stage_model.%s.", half);
    return exchange(out, head, vae_ends, COUNT(vae_ends), rest);
}

static bool vae_name(const im_vae_config *v, const char *name, char out[IM_NAME_BYTES])
{
    const char *rest;
    if ((rest = after(name, "encoder.")))
        return vae_half_name(v, "encoder", rest, out);
    if ((rest = after(name, "decoder.")))
        return vae_half_name(v, "decoder", rest, out);
    return finish(out, "first_stage_model.", name, "");        /* quant_conv, post_quant_conv                         */
}

/* ---------------------------------------------------------------- all parts */

bool im_original_name(const im_model_config *m, im_part part, const char *name, char out[IM_NAME_BYTES])
{
    switch (part) {
    case IM_PART_CLIP: return finish(out, "cond_stage_model.transformer.", name, "");
    case IM_PART_UNET: return unet_name(&m->unet, name, out);
    default:           return vae_name(&m->vae, name, out);
    }
}

bool im_alias_name(im_part part, const char *name, bool original, int i, char out[IM_NAME_BYTES])
{
    const char *rest;
    if (part == IM_PART_CLIP && i == 0) {
        const char *head = original ? "cond_stage_model.transformer." : "";
        char with[64];
        snprintf(with, sizeof with, "%stext_model.", head);
        return (rest = after(name, with)) && finish(out, head, rest, "");
    }
    const char *at = part == IM_PART_VAE && !original && i == 0 ? strstr(name, "mid_block.attentions.0.") : NULL;
    if (!at)
        return false;
    char head[IM_NAME_BYTES];
    at += strlen("mid_block.attentions.0.");
    snprintf(head, sizeof head, "%.*s", (int)(at - name), name);
    return exchange(out, head, vae_old_attention, COUNT(vae_old_attention), at);
}

int im_original_part(const char *name)
{
    static const struct { const char *head; im_part part; } heads[] = {
        { "cond_stage_model.", IM_PART_CLIP }, { "model.diffusion_model.", IM_PART_UNET },
        { "first_stage_model.", IM_PART_VAE },
    };
    for (int i = 0; i < COUNT(heads); i++)
        if (after(name, heads[i].head))
            return (int)heads[i].part;
    return -1;
}
