"""Three small Stable Diffusion folders with random weights, written by diffusers, and one single file.

  a  the shape of v1.4 in small: four levels, two layers, DownBlock2D last; f16 files; config files with
     only the fields that v1.4's have, text encoder names beginning with "text_model." and its position_ids,
     as transformers wrote them before 5.6; also written in the original single-file layout
  b  two levels, one layer, DownBlock2D first, heads given a level, linear projections, gelu in the text
     encoder, text length 32, VAE factor 2; bf16 files; config files with every field. b_resaved/tokenizer is
     b's tokenizer as transformers 5 saves it: tokenizer.json in the place of vocab.json and merges.txt
  c  three levels, DownBlock2D in the middle, widths that are no multiples of 8, other time embedding and
     eps, VAE factor 4, v_prediction; f32 files, the UNet in shards
"""

import glob
import json
import os
import shutil

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from golden_single_file import write_single_file
from golden_store import report
from golden_tokens import write_tokenizer
from reference import load_folder

NAMES = ["a", "b", "c"]
MERGES = 500
VOCAB = 512 + MERGES + 2
CROSS_DOWN, PLAIN_DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"

V1_SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
                "skip_prk_steps": True, "steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False,
                "trained_betas": None}

UNETS = {
    "a": {"block_out_channels": (16, 16, 24, 24), "layers_per_block": 2, "attention_head_dim": 8,
          "cross_attention_dim": 48, "norm_num_groups": 8, "sample_size": 8,
          "down_block_types": (CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, PLAIN_DOWN),
          "up_block_types": (PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP)},
    "b": {"block_out_channels": (32, 32), "layers_per_block": 1, "attention_head_dim": [2, 4],
          "cross_attention_dim": 40, "norm_num_groups": 32, "sample_size": 16, "use_linear_projection": True,
          "down_block_types": (PLAIN_DOWN, CROSS_DOWN), "up_block_types": (CROSS_UP, PLAIN_UP)},
    "c": {"block_out_channels": (12, 24, 24), "layers_per_block": 1, "attention_head_dim": 2,
          "cross_attention_dim": 36, "norm_num_groups": 6, "sample_size": 12, "norm_eps": 1e-6,
          "flip_sin_to_cos": False, "freq_shift": 1,
          "down_block_types": (CROSS_DOWN, PLAIN_DOWN, CROSS_DOWN), "up_block_types": (CROSS_UP, PLAIN_UP, CROSS_UP)},
}

VAES = {
    "a": {"block_out_channels": (8, 16, 16, 24), "layers_per_block": 2, "norm_num_groups": 8, "sample_size": 64},
    "b": {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 16, "sample_size": 32,
          "scaling_factor": 0.13025},
    "c": {"block_out_channels": (12, 12, 24), "layers_per_block": 1, "norm_num_groups": 6, "sample_size": 48},
}

TEXTS = {
    "a": {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 12,
          "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1},
    "b": {"hidden_size": 40, "intermediate_size": 72, "num_hidden_layers": 2, "num_attention_heads": 5,
          "hidden_act": "gelu", "max_position_embeddings": 32, "eos_token_id": VOCAB - 1, "bos_token_id": VOCAB - 2},
    "c": {"hidden_size": 36, "intermediate_size": 100, "num_hidden_layers": 4, "num_attention_heads": 3,
          "layer_norm_eps": 1e-4, "eos_token_id": VOCAB - 1, "bos_token_id": VOCAB - 2},
}

DTYPES = {"a": torch.float16, "b": torch.bfloat16, "c": torch.float32}

# The fields of the real v1.4 config files; everything else is left to the classes' defaults.
V1_UNET_FIELDS = ["_class_name", "_diffusers_version", "act_fn", "attention_head_dim", "block_out_channels",
                  "center_input_sample", "cross_attention_dim", "down_block_types", "downsample_padding",
                  "flip_sin_to_cos", "freq_shift", "in_channels", "layers_per_block", "mid_block_scale_factor",
                  "norm_eps", "norm_num_groups", "out_channels", "sample_size", "up_block_types"]
V1_VAE_FIELDS = ["_class_name", "_diffusers_version", "act_fn", "block_out_channels", "down_block_types", "in_channels",
                 "latent_channels", "layers_per_block", "out_channels", "sample_size", "up_block_types",
                 "norm_num_groups"]
V1_SCHEDULER_FIELDS = ["_class_name", "_diffusers_version", *V1_SCHEDULER]


def spread_weights(module, seed):
    """Redraw every weight so that activations keep near unit size and no bias or norm is trivial."""
    stream = torch.Generator("cpu").manual_seed(seed)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=stream)
            if "embedding.weight" in name:
                value.copy_(noise)
            elif value.dim() >= 2:
                value.copy_(noise / value[0].numel() ** 0.5)
            elif name.endswith("weight"):
                value.copy_(1 + 0.2 * noise)
            else:
                value.copy_(0.1 * noise)


def calibrate(unet, vae):
    """Scale the last convolutions: predicted noise gets unit size, a decoded picture spans its range."""
    stream = torch.Generator("cpu").manual_seed(99)
    with torch.no_grad():
        x = torch.randn(2, 4, 16, 16, generator=stream)
        text = torch.randn(2, 7, unet.config.cross_attention_dim, generator=stream)
        unet.conv_out.weight.mul_(1 / unet(x, 500, text).sample.std())
        vae.decoder.conv_out.weight.mul_(0.45 / vae.decode(4 * x).sample.std())


def build(name, tokenizer):
    """The pipeline of one small model in f32."""
    seed = 1000 * (NAMES.index(name) + 1)
    unet = UNet2DConditionModel(**UNETS[name])
    levels = len(VAES[name]["block_out_channels"])
    vae = AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * levels,
                        up_block_types=("UpDecoderBlock2D",) * levels, latent_channels=4, **VAES[name])
    text = CLIPTextModel(CLIPTextConfig(**{"vocab_size": VOCAB, "hidden_act": "quick_gelu", **TEXTS[name]}))
    for part, module in enumerate((unet, vae, text)):
        spread_weights(module.eval(), seed + part)
    calibrate(unet, vae)
    if name == "c":
        plan = {key: value for key, value in V1_SCHEDULER.items() if key != "skip_prk_steps"}
        scheduler = DDIMScheduler(**plan, prediction_type="v_prediction", timestep_spacing="trailing")
    else:
        scheduler = PNDMScheduler(**{key: value for key, value in V1_SCHEDULER.items() if key != "clip_sample"})
    return StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
                                   safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def rewrite_config(path, fields=None, extra=None):
    """Cut a config file down to `fields` (None: keep all), add `extra`."""
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config = {key: config[key] for key in fields or config if key in config} | (extra or {})
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(config, indent=2) + "\n")


def use_old_names(path, length):
    """Give a text encoder's file the names that transformers wrote before 5.6, as in the real v1.4 folder."""
    state = {"text_model." + name: value for name, value in load_file(path).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(length)[None]
    save_file(state, path, metadata={"format": "pt"})


def make_model(out, name):
    """Write models/NAME from scratch."""
    folder = os.path.join(out, "models", name)
    shutil.rmtree(folder, ignore_errors=True)
    length = TEXTS[name].get("max_position_embeddings", 77)
    write_tokenizer(os.path.join(folder, "tokenizer"), MERGES, length)
    tokenizer = CLIPTokenizer.from_pretrained(os.path.join(folder, "tokenizer"))
    pipe = build(name, tokenizer).to(DTYPES[name])
    pipe.save_pretrained(folder, safe_serialization=True)
    plan = os.path.join(folder, "scheduler", "scheduler_config.json")
    if name != "c":
        rewrite_config(plan, extra={"clip_sample": False})
    else:
        shutil.rmtree(os.path.join(folder, "unet"))
        pipe.unet.save_pretrained(os.path.join(folder, "unet"), safe_serialization=True, max_shard_size="300KB")
    if name == "a":
        rewrite_config(os.path.join(folder, "unet", "config.json"), V1_UNET_FIELDS)
        rewrite_config(os.path.join(folder, "vae", "config.json"), V1_VAE_FIELDS)
        rewrite_config(plan, V1_SCHEDULER_FIELDS)
        use_old_names(os.path.join(folder, "text_encoder", "model.safetensors"), length)
        write_single_file(pipe, os.path.join(out, "models", "a_single_file.json.gz"))
    shutil.rmtree(os.path.join(folder, "tokenizer"))
    write_tokenizer(os.path.join(folder, "tokenizer"), MERGES, length)
    if name == "b":
        tokenizer.save_pretrained(os.path.join(out, "models", "b_resaved", "tokenizer"))
    for path in sorted(glob.glob(os.path.join(folder, "**", "*.safetensors"), recursive=True)):
        report(path)


def make_models(out):
    """Write every small model and check that each loads again."""
    for name in NAMES:
        make_model(out, name)
        pipe = load(out, name)
        assert pipe.unet.dtype == pipe.vae.dtype == pipe.text_encoder.dtype == torch.float32


def load(out, name):
    """A small model as a user of diffusers loads it, in f32."""
    return load_folder(os.path.join(out, "models", name))
