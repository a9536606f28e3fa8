/* checkpoint_kind.c: see checkpoint_kind.h. A file is told by the names of its tensors, and where several kinds share them
 * by the shapes of two: the UNet's first convolution, and the keys of its attention to the text (768 values a token in v1,
 * 1024 in v2, 2048 in XL). */
#include "models/checkpoints/checkpoint_kind.h"

#include <string.h>

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))
#define XL "Stable Diffusion XL"
#define V2 "Stable Diffusion 2 in the original layout; its diffusers folder can be read"
#define LORA "a LoRA, not a whole model"
#define CONTROL "a ControlNet"
#define PIX2PIX "an image-to-image model of the kind of instruct-pix2pix"
#define ENCODER "a single text encoder; give the folder that holds all networks"

/* In this order, as later ones would fit earlier kinds, too. head: how a name begins, or goes on behind
 * "model.diffusion_model."; with a dot before it: what it holds anywhere. */
enum { OF_XL = 3 };                      /* the first ones: also of a UNet in diffusers' names                         */
static const struct { const char *head, *kind; } kinds[] = {
    { "conditioner.embedders.", XL }, { "label_emb.", XL }, { "add_embedding.", XL },
    { "joint_blocks.", "Stable Diffusion 3" },
    { "double_blocks.", "Flux" }, { "single_transformer_blocks.", "Flux" },
    { "cond_stage_model.model.", V2 },
    { "lora_", LORA }, { ".lora_down.", LORA }, { ".lora_A.", LORA }, { ".lora.down.", LORA },
    { ".motion_modules.", "a motion module of AnimateDiff" },
    { "control_model.", CONTROL }, { "controlnet_cond_embedding.", CONTROL }, { "input_hint_block.", CONTROL },
    { "emb_params", "an embedding of textual inversion" },
};
static const struct { const char *head, *kind; } single[] = {
    { "down_blocks.0.resnets.0.", "a single network in diffusers' names; give the folder that holds all of them" },
    { "text_model.encoder.layers.", ENCODER }, { "encoder.layers.0.self_attn.", ENCODER },
    { "encoder.down_blocks.0.", "a single VAE; give the folder that holds all networks" },
    { "layer1.0.conv1.", "a ResNet" },
};

static const char *after(const char *text, const char *head)
{
    size_t n = strlen(head);
    return strncmp(text, head, n) ? NULL : text + n;
}

static bool has(const im_safetensors *s, const char *head)
{
    for (int i = 0; i < im_st_count(s); i++) {
        const char *name = im_st_at(s, i)->name, *inner = after(name, "model.diffusion_model.");
        if (*head == '.' ? strstr(name, head) != NULL : after(name, head) || (inner && after(inner, head)))
            return true;
    }
    return false;
}

const char *im_kind_of_channels(int channels)
{
    switch (channels) {
    case 5:  return "a depth-to-image model (its UNet takes 5 channels: the latents and a depth map)";
    case 7:  return "an upscaler (its UNet takes 7 channels: the latents and a small picture)";
    case 8:  return PIX2PIX " (its UNet takes 8 channels: the latents and those of a picture)";
    case 9:  return "an inpainting model (its UNet takes 9 channels: the latents, a mask and those of a picture)";
    default: return NULL;
    }
}

const char *im_kind_of_pipeline(const char *class_name)
{
    static const struct { const char *part, *kind; } pipelines[] = {
        { "StableDiffusionXL", XL }, { "StableDiffusion3", "Stable Diffusion 3" }, { "Flux", "Flux" },
        { "Inpaint", "an inpainting model" }, { "InstructPix2Pix", PIX2PIX },
        { "Upscale", "an upscaler" }, { "Depth2Img", "a depth-to-image model" }, { "ControlNet", CONTROL },
        { "AnimateDiff", "AnimateDiff" }, { "GLIGEN", "GLIGEN" },
    };
    for (int i = 0; i < COUNT(pipelines); i++)
        if (strstr(class_name, pipelines[i].part))
            return pipelines[i].kind;
    return NULL;
}

const char *im_other_unet(const im_safetensors *s)
{
    const im_st_entry *in = im_st_find(s, "model.diffusion_model.input_blocks.0.0.weight");
    if (!in)
        in = im_st_find(s, "conv_in.weight");
    for (int i = 0; i < OF_XL; i++)
        if (has(s, kinds[i].head))
            return kinds[i].kind;
    return in && in->ndim == 4 && in->shape[1] < 100 ? im_kind_of_channels((int)in->shape[1]) : NULL;
}

const char *im_other_kind(const im_safetensors *s)
{
    for (int i = 0; i < COUNT(kinds); i++)
        if (has(s, kinds[i].head))
            return kinds[i].kind;
    const char *unet = im_other_unet(s);
    for (int i = 0; !unet && i < COUNT(single); i++)
        if (has(s, single[i].head))
            unet = single[i].kind;
    for (int i = 0; !unet && i < im_st_count(s); i++) {
        const im_st_entry *e = im_st_at(s, i);
        if (e->ndim == 2 && after(e->name, "model.diffusion_model.") && strstr(e->name, "attn2.to_k.weight"))
            unet = e->shape[1] == 2048 ? XL : e->shape[1] == 1024 ? V2 : NULL;
    }
    return unet;
}

bool im_scales_others(const char *name)
{
    static const char *const tails[] = { "scaled_fp8", ".scale_weight", ".scale_input", ".weight_scale", ".input_scale",
                                         ".SCB" };
    size_t n = strlen(name);
    for (int i = 0; i < COUNT(tails); i++) {
        size_t m = strlen(tails[i]);
        if (n >= m && !strcmp(name + n - m, tails[i]))
            return true;
    }
    return false;
}
