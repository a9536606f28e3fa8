"""Pictures of which only some steps compute all of the UNet: deep_cache.json, deep_cache.safetensors.

By the package DeepCache (Ma et al. 2023, arXiv 2312.00858) around diffusers, branch 0: the last layer of the way up, over
model a. The first step of an interval is the whole one.
"""

import os

import diffusers
import torch
from DeepCache import DeepCacheSDHelper

from golden_models import load
from golden_pictures import DEFAULTS
from golden_store import save_json_lines, save_tensors
from reference import SCHEDULERS, generator

CASES = [{"scheduler": "ddim", "interval": 3, "guidance": 7.5}, {"scheduler": "euler", "interval": 2, "guidance": 1.0},
         {"scheduler": "pndm", "interval": 5, "guidance": 3.0}]


def draw(pipe, case, interval):
    """Final latents."""
    pipe.scheduler = SCHEDULERS[case["scheduler"]][0].from_config(pipe.scheduler.config)
    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=interval, cache_branch_id=0)
    helper.enable()
    latents = pipe(prompt=case["prompt"], num_inference_steps=case["steps"], guidance_scale=case["guidance"], width=64,
                   height=64, generator=generator(case["seed"]), output_type="latent").images
    helper.disable()
    return latents


def make_deep_cache(out):
    """Write both files."""
    rows, results = [], {}
    for i, case in enumerate(CASES):
        case = DEFAULTS | {"steps": 7} | case
        pipe = load(out, "a")
        results[str(i)] = draw(pipe, case, case["interval"])
        assert float((draw(pipe, case, 1) - results[str(i)]).abs().max()) > 0.02, case
        rows.append(case)
    head = {"about": "64x64 pixels; latents by the number of the row", "diffusers": diffusers.__version__}
    save_json_lines(os.path.join(out, "deep_cache.json"), head, rows)
    save_tensors(os.path.join(out, "deep_cache.safetensors"), results)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    make_deep_cache(os.path.dirname(os.path.abspath(__file__)))
