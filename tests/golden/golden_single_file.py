"""The original single-file layout of Stable Diffusion 1.x, made from the parts of a diffusers pipeline.

The names are turned round by the rules below and then checked with diffusers' own reader
(convert_ldm_unet_checkpoint and its sisters): what it makes of the file must be the weights we began with.
"""

import hashlib
import json
import os
import re
import tempfile

import torch
from diffusers.loaders.single_file_utils import (convert_ldm_clip_checkpoint, convert_ldm_unet_checkpoint,
                                                 convert_ldm_vae_checkpoint)
from safetensors.torch import load_file, save_file

from golden_store import report, write_packed

UNET_PLAIN = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
              "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
UNET_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
               "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def resnet_part(rest):
    """norm1.weight -> in_layers.0.weight, and so on."""
    part, kind = rest.rsplit(".", 1)
    return f"{UNET_RESNET[part]}.{kind}"


def unet_name(name, layers, has_attention):
    """The original name of a UNet tensor. `has_attention[i]`: does up block i hold attentions?"""
    part, kind = name.rsplit(".", 1)
    if part in UNET_PLAIN:
        return f"{UNET_PLAIN[part]}.{kind}"
    match = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name)
    if match:
        which, index, rest = match.groups()
        return f"middle_block.{2 * int(index)}.{resnet_part(rest)}" if which == "resnets" else f"middle_block.1.{rest}"
    side, block, which, index, rest = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name).groups()
    block, index = int(block), int(index)
    stem = "input_blocks" if side == "down" else "output_blocks"
    first = block * (layers + 1) + (1 if side == "down" else 0)
    if which == "resnets":
        return f"{stem}.{first + index}.0.{resnet_part(rest)}"
    if which == "attentions":
        return f"{stem}.{first + index}.1.{rest}"
    if which == "downsamplers":
        return f"{stem}.{first + layers}.0.op.{kind}"
    return f"{stem}.{first + layers}.{2 if has_attention[block] else 1}.{rest}"


def vae_name(name, levels):
    """The original name of a VAE tensor: the decoder's levels are counted from the other end."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    match = re.match(r"(.*)mid_block\.attentions\.0\.(.*)\.(\w+)$", name)
    if match:
        return f"{match[1]}mid.attn_1.{VAE_ATTENTION[match[2]]}.{match[3]}"
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
    return re.sub(r"(down|up)samplers\.0", r"\1sample", name.replace("resnets", "block"))


def original_state(pipe):
    """All tensors of a pipeline under their original names."""
    unet, vae = pipe.unet, pipe.vae
    has_attention = [hasattr(block, "attentions") for block in unet.up_blocks]
    state = {}
    for name, value in unet.state_dict().items():
        state["model.diffusion_model." + unet_name(name, unet.config.layers_per_block, has_attention)] = value
    for name, value in vae.state_dict().items():
        new = vae_name(name, len(vae.config.block_out_channels))
        is_convolution = "attn_1" in new and value.dim() == 2
        state["first_stage_model." + new] = value[:, :, None, None] if is_convolution else value
    for name, value in pipe.text_encoder.state_dict().items():
        state["cond_stage_model.transformer.text_model." + name.removeprefix("text_model.")] = value
    return state


def same(got, wanted):
    """Are two state dicts equal, a 1x1 convolution counting as its matrix?"""
    wanted = {name: value for name, value in wanted.items() if not name.endswith("position_ids")}
    assert sorted(got) == sorted(wanted), sorted(set(got) ^ set(wanted))
    return all(torch.equal(got[name].reshape(wanted[name].shape), wanted[name]) for name in wanted)


def write_single_file(pipe, path):
    """Make one file of a pipeline, check it with diffusers' reader, and write what its tensors are: JSON rows of name,
    dtype, shape and the first 32 digits of the SHA-256 of their bytes."""
    with tempfile.TemporaryDirectory() as folder:
        whole = os.path.join(folder, "whole.safetensors")
        save_file({name: value.contiguous() for name, value in original_state(pipe).items()}, whole)
        state = load_file(whole)
    assert same(convert_ldm_unet_checkpoint(dict(state), dict(pipe.unet.config)), pipe.unet.state_dict())
    assert same(convert_ldm_vae_checkpoint(dict(state), dict(pipe.vae.config)), pipe.vae.state_dict())
    text = {name.removeprefix("text_model."): v for name, v in convert_ldm_clip_checkpoint(dict(state)).items()}
    wanted = {name.removeprefix("text_model."): v for name, v in pipe.text_encoder.state_dict().items()}
    assert same(text, wanted)
    types = {torch.float32: "F32", torch.float16: "F16"}
    rows = [[name, types[value.dtype], list(value.shape), hashlib.sha256(value.numpy().tobytes()).hexdigest()[:32]]
            for name, value in sorted(state.items())]
    write_packed(path, ("[\n" + ",\n".join(" " + json.dumps(row) for row in rows) + "\n]\n").encode("utf-8"))
    report(path)
