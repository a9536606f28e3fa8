"""A LoRA of model a, and the pictures that diffusers draws with it: lora.safetensors, lora_pictures.safetensors and .json;
what PEFT multiplies modules by where alpha_pattern has regular expressions: lora_patterns.json.

The LoRA changes linear layers, 1x1 projections and 3x3 convolutions of the UNet, and the text encoder, with another rank
and alpha in each. Its file is what diffusers' save_lora_weights writes, alpha being in its metadata.
"""

import os
import shutil
import tempfile

import diffusers
import peft
import torch
from diffusers import StableDiffusionPipeline
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file

from golden_models import load
from golden_pictures import DEFAULTS
from golden_store import report, save_json_lines, save_tensors
from reference import draw

WEIGHTS = [1.0, -0.6]
CASE = DEFAULTS | {"steps": 4, "W": 64, "H": 64, "prompt": "a castle, oil on canvas"}
UNET = {"r": 2, "lora_alpha": 3, "target_modules": ["to_q", "to_out.0", "proj_in", "conv1", "time_emb_proj"]}
TEXT = {"r": 3, "lora_alpha": 1, "target_modules": ["q_proj", "v_proj", "fc1"]}

# The first three are those of PEFT's documentation in kind; order decides where two keys match.
PATTERNS = [
    {"^mid_block.*to_q": 32}, {r"down_blocks\..*\.to_q": 16}, {".*attn2.*": 1}, {"attn1.to_q": 5, "to_q": 7},
    {r"up_blocks\.(?:1|2)\.attentions\.\d+\..*?attn[12].to_q": 3, r"\w+_blocks\.[^1]\..+?": 6},
    {r"(down|up)_blocks\.\d{1,2}\.att.{,8}ons.1.*(attn1|attn2)\.to_q": 2.5}, {"o_q": 9, "attn1": 9, "TO_Q": 9, "to.q": 4},
    {r"[\w.]+blocks[.]0[.]attn\d.to_q|nothing": 12},
]


def make_patterns(out):
    """alpha / r of every to_q of model a's UNet, for each of PATTERNS."""
    rows, names = [], []
    for pattern in PATTERNS:
        unet = load(out, "a").unet
        config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=["to_q"], alpha_pattern=pattern, init_lora_weights=False)
        peft.inject_adapter_in_model(config, unet, "default")
        found = {n: m.scaling["default"] for n, m in unet.named_modules() if hasattr(m, "scaling")}
        names = sorted(found)
        rows.append({"alpha_pattern": pattern, "scaling": [found[n] for n in names]})
    head = {"about": "alpha / r of modules by PEFT, lora_alpha 8 and r 2", "peft": peft.__version__, "modules": names}
    save_json_lines(os.path.join(out, "lora_patterns.json"), head, rows)


def give(network, settings, seed):
    """A LoRA with random factors of such a size that the picture changes much and stays a picture."""
    config = peft.LoraConfig(**settings, init_lora_weights=False)
    peft.inject_adapter_in_model(config, network, "default")
    stream = torch.Generator("cpu").manual_seed(seed)
    for name, value in sorted(network.named_parameters()):
        if "lora_" in name:
            value.data = (0.1 * torch.randn(value.shape, generator=stream)).half().float()
    return config.to_dict()


def make_lora(out):
    """Write all files."""
    pipe = load(out, "a")
    configs = {"unet": give(pipe.unet, UNET, 1), "text_encoder": give(pipe.text_encoder, TEXT, 2)}
    folder = tempfile.mkdtemp()
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=get_peft_model_state_dict(pipe.unet),
        text_encoder_lora_layers=get_peft_model_state_dict(pipe.text_encoder),
        unet_lora_adapter_metadata=configs["unet"], text_encoder_lora_adapter_metadata=configs["text_encoder"])
    written, path = os.path.join(folder, "pytorch_lora_weights.safetensors"), os.path.join(out, "lora.safetensors")
    with safe_open(written, "pt") as file:
        save_file({key: file.get_tensor(key).half() for key in file.keys()}, path, file.metadata())
    report(path)
    pictures, rows = {}, []
    for weight in WEIGHTS:
        fresh = load(out, "a")
        fresh.load_lora_weights(out, weight_name="lora.safetensors", adapter_name="lora")
        fresh.set_adapters("lora", weight)
        picture, latents = draw(fresh, CASE)
        name = f"w{weight:g}"
        pictures |= {name + ".picture": picture, name + ".latents": latents}
        rows.append(CASE | {"name": name, "model": "a", "weight": weight})
    save_tensors(os.path.join(out, "lora_pictures.safetensors"), pictures)
    head = {"about": "pictures of model a with lora.safetensors", "diffusers": diffusers.__version__,
            "peft": peft.__version__}
    save_json_lines(os.path.join(out, "lora_pictures.json"), head, rows)
    shutil.rmtree(folder)
