"""Pictures redrawn under a mask by diffusers: mask_64x64.png, masks.json and .safetensors, inpaint_unet/.

inpaint_unet is a small UNet with nine inputs; with the other parts of model a it is an inpainting model.
"""

import os

import diffusers
import numpy
import torch
from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel
from PIL import Image

from golden_models import load
from golden_pictures import DEFAULTS
from golden_redraw import filled
from golden_store import report, save_json_lines, save_tensors
from reference import SCHEDULERS, generator

UNET = {"in_channels": 9, "out_channels": 4, "block_out_channels": (8, 16), "layers_per_block": 1, "attention_head_dim": 4,
        "cross_attention_dim": 48, "norm_num_groups": 4, "sample_size": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
CASES = [
    {"scheduler": "pndm", "strength": 0.75}, {"scheduler": "pndm", "strength": 1.0}, {"scheduler": "ddim", "strength": 0.5},
    {"scheduler": "euler", "strength": 0.75}, {"scheduler": "euler_a", "strength": 0.75}, {"scheduler": "heun", "strength": 1.0},
    {"scheduler": "dpmpp_2m", "strength": 0.75}, {"scheduler": "unipc", "strength": 0.75},
    {"scheduler": "ddim", "strength": 0.75, "blur": 3}, {"scheduler": "ddim", "strength": 0.75, "guidance": 1.0},
    {"scheduler": "ddim", "strength": 1.0, "inputs": 9}, {"scheduler": "ddim", "strength": 0.75, "inputs": 9},
    {"scheduler": "euler_a", "strength": 1.0, "inputs": 9},
    {"scheduler": "euler_a", "strength": 0.75, "fill": "noise"}, {"scheduler": "ddim", "strength": 0.6, "fill": "nothing"},
    {"scheduler": "ddim", "strength": 0.6, "fill": "noise", "inputs": 9}, {"scheduler": "ddim", "strength": 0.6, "fill": "fill"},
]


def mask():
    """A slanted white band on black with a grey edge."""
    y, x = numpy.mgrid[0:64, 0:64]
    return Image.fromarray(numpy.clip(255 - 12 * numpy.abs(x - y // 2 - 20), 0, 255).astype(numpy.uint8), "L")


def fill_latents(pipe, shape, fill):
    """What noise is added to for the first time has noise, or 0, under the mask: as AUTOMATIC1111's web interface begins."""
    white = torch.from_numpy(numpy.array(shape)[::8, ::8] > 127)
    add_noise = pipe.scheduler.add_noise

    def first(latents, noise, time):
        pipe.scheduler.add_noise = add_noise
        if fill != "fill":
            latents = torch.where(white, noise if fill == "noise" else torch.zeros_like(noise), latents)
        return add_noise(latents, noise, time)

    pipe.scheduler.add_noise = first


def draw(pipe, out, case):
    """Final latents."""
    pipe.scheduler = SCHEDULERS[case["scheduler"]][0].from_config(pipe.scheduler.config)
    last, shape = {}, Image.open(os.path.join(out, "mask_64x64.png"))
    if case["blur"]:
        shape = pipe.mask_processor.blur(shape, blur_factor=case["blur"])

    def keep(_pipe, _step, _t, values):
        last["latents"] = values["latents"].clone()
        return values

    picture = Image.open(os.path.join(out, "init_64x64.png")).convert("RGB")
    if case["fill"] != "original":
        picture = filled(picture, shape)
        fill_latents(pipe, shape, case["fill"])
    pipe(prompt=case["prompt"], image=picture, mask_image=shape,
         strength=case["strength"], num_inference_steps=case["steps"], guidance_scale=case["guidance"], width=64, height=64,
         generator=generator(case["seed"]), callback_on_step_end=keep)
    return last["latents"]


def make_masks(out):
    """Write all files."""
    path = os.path.join(out, "mask_64x64.png")
    mask().save(path)
    report(path)
    torch.manual_seed(9)
    unet = UNet2DConditionModel(**UNET)
    for name, value in sorted(unet.named_parameters()):
        if name.endswith("bias"):
            value.data = 0.1 * torch.randn(value.shape)
    folder = os.path.join(out, "inpaint_unet")
    unet.half().save_pretrained(folder)
    report(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    rows, results = [], {}
    for i, case in enumerate(CASES):
        case = DEFAULTS | {"steps": 8, "blur": 0, "inputs": 4, "fill": "original"} | case
        parts = load(out, "a").components
        if case["inputs"] == 9:
            parts["unet"] = UNet2DConditionModel.from_pretrained(folder, dtype=torch.float32)
        pipe = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        results[str(i)] = draw(pipe, out, case)
        rows.append(case)
    head = {"about": "init_64x64.png under mask_64x64.png, 64x64; latents by the number of the row",
            "diffusers": diffusers.__version__}
    save_json_lines(os.path.join(out, "masks.json"), head, rows)
    save_tensors(os.path.join(out, "masks.safetensors"), results)
