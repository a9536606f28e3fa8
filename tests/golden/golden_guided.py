"""Pictures of a UNet that is told the guidance (time_cond_proj_dim, as LCM's): guided_unet/, guided.json, guided.safetensors.

guided_unet is a small one; the other parts are those of model a. The negative prompt of the last case changes nothing.
"""

import os

import diffusers
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from golden_models import load
from golden_pictures import DEFAULTS
from golden_store import report, save_json_lines, save_tensors
from reference import FEW_STEPS, SCHEDULERS, generator

UNET = {"block_out_channels": (4, 8), "layers_per_block": 1, "attention_head_dim": 2, "cross_attention_dim": 48,
        "norm_num_groups": 2, "sample_size": 8, "time_cond_proj_dim": 12,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
CASES = [{"scheduler": "lcm", "steps": 4, "guidance": 8.5}, {"scheduler": "ddim", "guidance": 1.0},
         {"scheduler": "ddim", "guidance": 0.25}, {"scheduler": "euler", "guidance": 3.0, "negative": "blurry"}]


def make_unet():
    """Weights of which the guidance moves the output by more than rounding."""
    torch.manual_seed(11)
    unet = UNet2DConditionModel(**UNET)
    for name, value in sorted(unet.named_parameters()):
        if name.endswith("bias"):
            value.data = 0.1 * torch.randn(value.shape)
        if "time_emb" in name and name.endswith("weight"):
            value.data *= 3
    return unet


def draw(pipe, case):
    """Final latents."""
    pipe.scheduler = (SCHEDULERS | FEW_STEPS)[case["scheduler"]][0].from_config(pipe.scheduler.config)
    return pipe(prompt=case["prompt"], negative_prompt=case["negative"] or None, num_inference_steps=case["steps"],
                guidance_scale=case["guidance"], width=64, height=64, generator=generator(case["seed"]),
                output_type="latent").images


def make_guided(out):
    """Write all files."""
    folder = os.path.join(out, "guided_unet")
    make_unet().half().save_pretrained(folder)
    report(os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    rows, results = [], {}
    for i, case in enumerate(CASES):
        case = DEFAULTS | {"steps": 6} | case
        parts = load(out, "a").components | {"unet": UNet2DConditionModel.from_pretrained(folder, dtype=torch.float32)}
        pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        results[str(i)] = draw(pipe, case)
        if i:
            other = draw(pipe, case | {"guidance": case["guidance"] + 1})
            assert float((other - results[str(i)]).abs().max()) > 0.02, case
        rows.append(case)
    head = {"about": "64x64 pixels; latents by the number of the row", "diffusers": diffusers.__version__}
    save_json_lines(os.path.join(out, "guided.json"), head, rows)
    save_tensors(os.path.join(out, "guided.safetensors"), results)
