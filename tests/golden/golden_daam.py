"""The map of a word by DAAM's rule (Tang et al. 2022), by diffusers' UNet and torch's bicubic: daam_strawberry.json.

The first step of 6 of the embedded model, seed 1, of the one token of the word, as shares of its largest value. Read by
tests/explain_page.py.
"""

import json
import os

import torch
from diffusers import PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../weights/imago-small")


def make_daam(out):
    """Write the file."""
    tokenizer = CLIPTokenizer.from_pretrained(MODEL + "/tokenizer")
    text = CLIPTextModel.from_pretrained(MODEL + "/text_encoder").float()
    unet = UNet2DConditionModel.from_pretrained(MODEL + "/unet").float()
    scheduler = PNDMScheduler.from_pretrained(MODEL + "/scheduler")
    scheduler.set_timesteps(6)
    ids = tokenizer("strawberry", padding="max_length", max_length=77, return_tensors="pt").input_ids
    side = unet.config.sample_size
    x = torch.randn((1, 4, side, side), generator=torch.Generator().manual_seed(1))
    seen, total = {}, []

    def keep(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    modules = {n: m for n, m in unet.named_modules() if n.endswith(".attn2")}
    for name, module in modules.items():
        module.to_q.register_forward_hook(keep(name + ".q"))
        module.to_k.register_forward_hook(keep(name + ".k"))
    with torch.no_grad():
        unet(x, scheduler.timesteps[0], text(ids).last_hidden_state)
    for name, module in modules.items():
        q, k = (seen[name + p][0].unflatten(-1, (module.heads, -1)).transpose(0, 1) for p in (".q", ".k"))
        p = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)[:, :, 1]          # (heads, pixels) of the one token
        s = int(p.shape[1] ** 0.5)
        if side // s >= 8:
            continue
        total.append(torch.nn.functional.interpolate(p.view(-1, 1, s, s), size=(side, side), mode="bicubic",
                                                     align_corners=False).clamp(min=0).mean(0)[0])
    heat = torch.stack(total).mean(0)
    heat = (heat / heat.max()).flatten().tolist()
    with open(os.path.join(out, "daam_strawberry.json"), "w", encoding="ascii") as file:
        json.dump({"time": int(scheduler.timesteps[0]), "map": [round(v, 4) for v in heat]}, file)
        file.write("\n")
