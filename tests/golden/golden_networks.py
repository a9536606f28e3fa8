"""Outputs of the networks of each small model: networks_a, _b and _c.safetensors.gz.

Everything is computed in f32 from weights widened to f32. networks.json gives, for every output, its relative
error (L2) against the same computation in f64: the noise floor of the reference itself.
"""

import copy
import os
import re

import diffusers
import torch

from golden_models import NAMES, load
from golden_store import save_json_lines, save_tensors
from reference import generator

PROMPTS = ["a photograph of an astronaut riding a horse", "",
           "it's 1 tiny caf\u00e9 \U0001f600, " + "very detailed, " * 12]
TIMES = [1, 500, 981]
UNET_CASES = [(1, 8, 8), (1, 25, 15), (1, 5, 7), (3, 16, 12)]
UNET_BLOCK_CASE, UNET_BLOCK_TIME = (1, 5, 7), 500
LATENTS = [(8, 8), (5, 7)]
VAE_BLOCK_LATENT = (2, 3)


def both(run, module):
    """(f32 result, relative error against f64) of run(module, dtype)."""
    single = run(module, torch.float32)
    double = run(copy.deepcopy(module).double(), torch.float64)
    return single, float((single.double() - double).norm() / double.norm())


def watch(module, wanted):
    """Hooks that collect the outputs of the submodules for which wanted(name); (outputs, remove function)."""
    outputs = {}

    def keep(name):
        def hook(_module, _inputs, output):
            outputs[name] = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
        return hook

    handles = [part.register_forward_hook(keep(name)) for name, part in module.named_modules() if wanted(name)]
    return outputs, lambda: [handle.remove() for handle in handles]


WHOLE_BLOCK = re.compile(r"""(encoder\.|decoder\.)?
    (conv_in|conv_out|conv_norm_out|time_embedding|quant_conv|post_quant_conv
     |(mid_block|(down|up)_blocks\.\d+)(\.(resnets|attentions|downsamplers|upsamplers)\.\d+)?)""", re.VERBOSE)


def whole_block(name):
    """Is this submodule a block or a layer directly inside one (down_blocks.0, up_blocks.1.resnets.2, conv_in)?"""
    return WHOLE_BLOCK.fullmatch(name) is not None


def text_outputs(pipe, tensors, notes):
    """clip.I.ids, clip.I.states and every hidden state of prompt 0; the three states are returned."""
    tokenizer, model = pipe.tokenizer, pipe.text_encoder
    states = []
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                        return_tensors="pt").input_ids
        result, notes[f"clip.{i}.states"] = both(lambda net, _: net(ids).last_hidden_state, model)
        tensors[f"clip.{i}.ids"], tensors[f"clip.{i}.states"] = ids, result
        states.append(result)
        if i == 0:
            for k, hidden in enumerate(model(ids, output_hidden_states=True).hidden_states):
                tensors[f"clip.0.hidden.{k}"] = hidden
    return states


def unet_outputs(unet, states, tensors, notes):
    """unet.BxHxW.x and unet.BxHxW.tT.out for every case; text of batch member i is clip.i.states."""
    for seed, (batch, height, width) in enumerate(UNET_CASES):
        case = f"unet.{batch}x{height}x{width}"
        x = torch.randn(batch, 4, height, width, generator=generator(100 + seed))
        text = torch.cat(states[:batch])
        tensors[case + ".x"] = x
        for time in TIMES:
            name = f"{case}.t{time}.out"
            tensors[name], notes[name] = both(
                lambda net, dtype: net(x.to(dtype), time, text.to(dtype)).sample, unet)
    outputs, remove = watch(unet, whole_block)
    batch, height, width = UNET_BLOCK_CASE
    unet(tensors[f"unet.{batch}x{height}x{width}.x"], UNET_BLOCK_TIME, states[0])
    remove()
    for name, value in outputs.items():
        tensors[f"unet.blocks.{name}"] = value


def vae_inputs(vae, seed, height, width):
    """A random latent, and a random picture in [-1, 1] that encodes to the same size."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    z = 2 * torch.randn(1, 4, height, width, generator=generator(seed))
    x = torch.randn(1, 3, height * factor, width * factor, generator=generator(seed + 1)).clamp(-1, 1)
    return z, x


def vae_outputs(vae, tensors, notes):
    """Decoded latents and encoded moments."""
    for height, width in LATENTS:
        z, x = vae_inputs(vae, 200 + height, height, width)
        case = f"{height}x{width}"
        tensors[f"vae.decode.{case}.z"], tensors[f"vae.encode.{case}.x"] = z, x
        name = f"vae.decode.{case}.out"
        tensors[name], notes[name] = both(lambda net, dtype: net.decode(z.to(dtype)).sample, vae)
        for part in ("mean", "logvar"):
            name = f"vae.encode.{case}.{part}"
            tensors[name], notes[name] = both(
                lambda net, dtype: getattr(net.encode(x.to(dtype)).latent_dist, part), vae)


def vae_blocks(vae, tensors):
    """What every block gives for one small latent and one small picture."""
    tensors["vae.blocks.z"], tensors["vae.blocks.x"] = vae_inputs(vae, 300, *VAE_BLOCK_LATENT)
    outputs, remove = watch(vae, whole_block)
    vae.decode(tensors["vae.blocks.z"]), vae.encode(tensors["vae.blocks.x"])
    remove()
    for name, value in outputs.items():
        tensors[f"vae.blocks.{name}"] = value


def make_networks(out):
    """One safetensors file a model, and networks.json for all."""
    rows = []
    for name in NAMES:
        pipe, tensors, notes = load(out, name), {}, {}
        states = text_outputs(pipe, tensors, notes)
        unet_outputs(pipe.unet, states, tensors, notes)
        vae_outputs(pipe.vae, tensors, notes)
        if name == "a":
            vae_blocks(pipe.vae, tensors)
        worst = max(notes.values())
        assert worst < 5e-6, f"model {name}: the reference itself is off by {worst} from f64"
        rows += [{"model": name, "tensor": key, "error": float(f"{value:.1e}")} for key, value in notes.items()]
        save_tensors(os.path.join(out, f"networks_{name}.safetensors.gz"), tensors)
    head = {"about": "error: relative L2 distance of the f32 reference from the same computation in f64",
            "prompts": PROMPTS, "diffusers": diffusers.__version__, "torch": torch.__version__}
    save_json_lines(os.path.join(out, "networks.json"), head, rows)
