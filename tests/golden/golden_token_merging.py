"""Pictures of which self-attention at the finest level sees fewer tokens: token_merging.json, token_merging.safetensors.

By the package tomesd (Bolya & Hoffman 2023, arXiv 2303.17604) around diffusers, over model a; its random choice of the token
that is kept of each square is off, as in the AUTOMATIC1111 web interface.
"""

import os

import diffusers
import tomesd
import torch

from golden_models import load
from golden_pictures import DEFAULTS
from golden_store import save_json_lines, save_tensors
from reference import SCHEDULERS, generator

CASES = [{"scheduler": "ddim", "ratio": 0.5, "guidance": 7.5, "width": 64, "height": 64},
         {"scheduler": "euler", "ratio": 0.7, "guidance": 1.0, "width": 64, "height": 64},
         {"scheduler": "ddim", "ratio": 0.3, "guidance": 3.0, "width": 88, "height": 56},
         {"scheduler": "ddim", "ratio": 0.9, "guidance": 3.0, "width": 64, "height": 64}]


def draw(pipe, case, ratio):
    """Final latents."""
    pipe.scheduler = SCHEDULERS[case["scheduler"]][0].from_config(pipe.scheduler.config)
    if ratio:
        tomesd.apply_patch(pipe, ratio=ratio, use_rand=False)
    latents = pipe(prompt=case["prompt"], num_inference_steps=case["steps"], guidance_scale=case["guidance"],
                   width=case["width"], height=case["height"], generator=generator(case["seed"]),
                   output_type="latent").images
    tomesd.remove_patch(pipe)
    return latents


def make_token_merging(out):
    """Write both files."""
    rows, results = [], {}
    for i, case in enumerate(CASES):
        case = DEFAULTS | {"steps": 7} | case
        pipe = load(out, "a")
        results[str(i)] = draw(pipe, case, case["ratio"])
        assert float((draw(pipe, case, 0) - results[str(i)]).abs().max()) > 0.02, case
        rows.append(case)
    head = {"about": "latents by the number of the row", "diffusers": diffusers.__version__}
    save_json_lines(os.path.join(out, "token_merging.json"), head, rows)
    save_tensors(os.path.join(out, "token_merging.safetensors"), results)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    make_token_merging(os.path.dirname(os.path.abspath(__file__)))
