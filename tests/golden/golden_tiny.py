"""A small AutoencoderTiny with random weights and what diffusers makes of it: tiny_vae/ and tiny.safetensors.gz."""

import os

import numpy
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
from PIL import Image

from golden_models import load
from golden_store import report, save_tensors
from reference import generator

CONFIG = {"encoder_block_out_channels": (8, 8, 8, 8), "decoder_block_out_channels": (12, 12, 12, 12),
          "num_encoder_blocks": (1, 2, 1, 1), "num_decoder_blocks": (2, 1, 0, 1), "scaling_factor": 0.75}
LATENTS = [(8, 8), (5, 7)]


def make_vae(folder):
    """Weights of f16 that keep values of every layer near 1."""
    torch.manual_seed(21)
    vae = AutoencoderTiny(**CONFIG)
    for name, value in sorted(vae.named_parameters()):
        fan = value[0].numel() if value.ndim > 1 else 0
        value.data = torch.randn(value.shape) * ((1.5 / fan) ** 0.5 if fan else 0.1)
        if name.startswith("decoder.layers.12."):
            value.data *= 0.2
    vae.half().save_pretrained(folder)
    report(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    return AutoencoderTiny.from_pretrained(folder, torch_dtype=torch.float32)


def latents_of(pipe, **args):
    """The final latents of a run."""
    last = {}

    def keep(_pipe, _step, _t, values):
        last["latents"] = values["latents"].clone()
        return values

    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    pipe(prompt="a photograph of an astronaut riding a horse", strength=0.6, num_inference_steps=8, generator=generator(42),
         callback_on_step_end=keep, **args)
    return last["latents"]


@torch.no_grad()
def make_tiny(out):
    """Write the folder and the file."""
    vae = make_vae(os.path.join(out, "tiny_vae"))
    tensors = {}
    for seed, (h, w) in enumerate(LATENTS):
        z = 2 * torch.randn(1, 4, h, w, generator=generator(300 + seed))
        x = torch.rand(1, 3, 8 * h, 8 * w, generator=generator(400 + seed)) * 2 - 1
        tensors |= {f"decode.{h}x{w}.z": z, f"decode.{h}x{w}.out": vae.decode(z).sample,
                    f"encode.{h}x{w}.x": x, f"encode.{h}x{w}.out": vae.encode(x).latents}
    picture = Image.open(os.path.join(out, "init_64x64.png")).convert("RGB")
    parts = load(out, "a").components | {"vae": vae}
    pipe = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    tensors["latents.image"] = latents_of(pipe, image=picture)
    tensors["picture.image"] = torch.from_numpy(numpy.array(pipe.image_processor.postprocess(
        vae.decode(tensors["latents.image"] / vae.config.scaling_factor).sample)[0]))
    pipe = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    tensors["latents.mask"] = latents_of(pipe, image=picture, mask_image=Image.open(os.path.join(out, "mask_64x64.png")),
                                         width=64, height=64)
    save_tensors(os.path.join(out, "tiny.safetensors.gz"), tensors)
