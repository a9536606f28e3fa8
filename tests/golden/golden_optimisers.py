"""Ten steps of torch.optim.SGD and AdamW and of timm.optim.Lars on hashed weights and gradients: optimisers.safetensors.gz.

All is computed in f64 from the hashed f32 numbers; README.md lists the cases. The moving average is torch's
(torch.optim.swa_utils.get_ema_avg_fn), taken after each step from the weights at the start.
"""

import os

import torch
from timm.optim.lars import Lars

import hashed
from golden_store import save_tensors

STEPS = 10
SHAPES = {"weight": (7, 5, 3, 3), "bias": (33,)}       # only the weight decays and adapts
EMA_DECAY = 0.9
CASES = {
    "sgd_plain": (torch.optim.SGD, {"lr": 0.1}, 0.0),
    "sgd": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, 0.01),
    "sgd_nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, 0.01),
    "sgd_clip": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, 0.01),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}, 0.05),
    "lars": (Lars, {"lr": 1.0, "momentum": 0.9, "trust_coeff": 0.02, "eps": 1e-8}, 0.01),
    "lars_nesterov": (Lars, {"lr": 1.0, "momentum": 0.9, "nesterov": True, "trust_coeff": 0.02, "eps": 1e-8}, 0.01),
}


def trajectory(name, tensors):
    """CASE.NAME after the first step and after all of them, and CASE.NAME.ema after all."""
    kind, options, decay = CASES[name]
    params = {key: torch.nn.Parameter(hashed.fill(f"optimisers.{key}", shape).double()) for key, shape in SHAPES.items()}
    optimiser = kind([{"params": [params["weight"]], "weight_decay": decay},
                      {"params": [params["bias"]], "weight_decay": 0.0}], **options)
    average = torch.optim.swa_utils.get_ema_avg_fn(EMA_DECAY)
    ema = {key: p.detach().clone() for key, p in params.items()}
    for step in range(STEPS):
        for key, p in params.items():
            p.grad = hashed.fill(f"optimisers.{key}.{step}", p.shape, 0.3).double()
        if name == "sgd_clip":
            torch.nn.utils.clip_grad_norm_(params.values(), 2.0)
        optimiser.step()
        ema = {key: average(ema[key], p.detach(), None) for key, p in params.items()}
        if step == 0:
            tensors |= {f"{name}.{key}.first": p.detach().clone() for key, p in params.items()}
    tensors |= {f"{name}.{key}": p.detach() for key, p in params.items()}
    tensors |= {f"{name}.{key}.ema": value for key, value in ema.items()}
    return tensors


def make_optimisers(out):
    """optimisers.safetensors.gz."""
    tensors = {}
    with torch.enable_grad():
        for name in CASES:
            tensors = trajectory(name, tensors)
    save_tensors(os.path.join(out, "optimisers.safetensors.gz"), tensors)
