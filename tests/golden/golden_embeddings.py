"""Words of textual inversion for model a, and what diffusers draws with them: embeddings/, embeddings.safetensors.

blob.safetensors has diffusers' layout with three vectors, wool.safetensors that of AUTOMATIC1111 with one.
"""

import os

import torch
from safetensors.torch import save_file

from golden_models import load
from golden_pictures import DEFAULTS
from golden_store import report, save_tensors
from reference import draw

CASES = {"plain": {"prompt": "a <blob> house, made of wool", "negative": "dog"},
         "negative": {"prompt": "a castle", "negative": "wool <blob> wool"}}


def make_embeddings(out):
    """Write all files."""
    folder = os.path.join(out, "embeddings")
    os.makedirs(folder, exist_ok=True)
    stream = torch.Generator("cpu").manual_seed(5)
    width = load(out, "a").text_encoder.config.hidden_size
    files = {"blob": {"<blob>": 0.5 * torch.randn(3, width, generator=stream)},
             "wool": {"emb_params": 0.5 * torch.randn(1, width, generator=stream)}}
    for name, tensors in files.items():
        path = os.path.join(folder, name + ".safetensors")
        save_file(tensors, path)
        report(path)
    results = {}
    for name, case in CASES.items():
        pipe = load(out, "a")
        pipe.load_textual_inversion(folder, weight_name="blob.safetensors")
        pipe.load_textual_inversion(folder, weight_name="wool.safetensors", token="wool")
        results[name + ".latents"] = draw(pipe, DEFAULTS | {"steps": 4, "W": 64, "H": 64} | case)[1]
    save_tensors(os.path.join(out, "embeddings.safetensors"), results)
