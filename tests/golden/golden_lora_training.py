"""Loss and gradients of a LoRA under training (lora_training.safetensors.gz): what PEFT makes of model a.

The adapters are those of diffusers' train_text_to_image_lora.py, of the UNet and of the text encoder, with hashed factors
(B is zero in a real first step, and A would have no gradient). Loss: mean (unet(x, t, clip(ids)) - noise)^2. Computed in
f64 from f32 weights, stored as f32, a gradient as the 18 numbers of golden_network_gradients.py; lora_training.json says
how far (relative L2) torch in f32 is from that.
"""

import copy
import os

import peft
import torch
from peft.utils import get_peft_model_state_dict
from torch.nn import functional

import hashed
from golden_models import load
from golden_network_gradients import SAMPLES, TIMES, nchw, samples
from golden_store import load_tensors, pack_samples, save_json_lines, save_tensors

# alpha / rank is 1 in one network and is not in the other
RANK, ALPHA, TEXT_ALPHA = 4, 4, 6
UNET, TEXT = ["to_q", "to_k", "to_v", "to_out.0"], ["q_proj", "k_proj", "v_proj", "out_proj"]
SCALE = 0.2


def factors(network):
    """{name as diffusers and PEFT save it: parameter} of a network with an adapter."""
    parameters = {key.replace(".default", ""): value for key, value in network.named_parameters() if "lora_" in key}
    assert sorted(parameters) == sorted(get_peft_model_state_dict(network))
    return parameters


def give(network, targets, alpha, prefix):
    """Injects the adapters; their factors are hashed by PREFIX + NAME, NAME being that of imago's checkpoints."""
    network.requires_grad_(False)
    peft.inject_adapter_in_model(peft.LoraConfig(r=RANK, lora_alpha=alpha, target_modules=targets), network, "default")
    for name, value in factors(network).items():
        value.data = hashed.fill(prefix + name, value.shape, SCALE)
    assert all(("lora_" in key) == value.requires_grad for key, value in network.named_parameters())


def run(pipe, ids, x, noise, dtype):
    """(loss, {PART.NAME: gradient})"""
    unet, clip = copy.deepcopy(pipe.unet).to(dtype), copy.deepcopy(pipe.text_encoder).to(dtype)
    predicted = unet(x.to(dtype), torch.tensor(TIMES), clip(ids).last_hidden_state).sample
    loss = functional.mse_loss(predicted, noise.to(dtype))
    loss.backward()
    grads = {"lora_unet.grad." + name: value.grad for name, value in factors(unet).items()}
    return loss.detach(), grads | {"lora_clip.grad.text_model." + name: value.grad for name, value in factors(clip).items()}


def make_lora_training(out):
    """Write both files."""
    with torch.enable_grad():
        pipe = load(out, "a")
        give(pipe.unet, UNET, ALPHA, "")
        give(pipe.text_encoder, TEXT, TEXT_ALPHA, "text_model.")
        given = load_tensors(os.path.join(out, "networks_a.safetensors.gz"))
        ids = torch.cat([given[f"clip.{i}.ids"] for i in range(2)])
        x, noise = (nchw(hashed.fill("lora." + name, (2, 8, 8, 4))) for name in ("x", "noise"))
        loss, double = run(pipe, ids, x, noise, torch.float64)
        in_f32, single = run(pipe, ids, x, noise, torch.float32)
    rows = []
    for part in ("lora_unet", "lora_clip"):
        own = {key: value for key, value in double.items() if key.startswith(part)}
        whole = sum(float(value.norm()) ** 2 for value in own.values()) ** 0.5
        off = sum(float((single[key].double() - value).norm()) ** 2 for key, value in own.items()) ** 0.5 / whole
        assert off < 1e-5, f"{part}: f32 is off by {off}"
        rows.append({"part": part, "factors": len(own), "norm": float(f"{whole:.6g}"), "error": float(f"{off:.1e}"),
                     "loss_error": float(f"{abs(float(in_f32 - loss) / float(loss)):.1e}")})
    kept = {key: samples(value) for key, value in double.items()} | {"lora.loss": loss.reshape(1)}
    save_tensors(os.path.join(out, "lora_training.safetensors.gz"), pack_samples(kept, ["grad"], SAMPLES + 2))
    head = {"about": "error: relative L2 distance of torch's f32 gradients from f64", "torch": torch.__version__,
            "peft": peft.__version__}
    save_json_lines(os.path.join(out, "lora_training.json"), head, rows)
