"""Products in int8 as src/tensor/int8.h defines them, by torch: int8.safetensors.

Rows are rounded with torch's own rounding (to nearest even), multiplied as int64, and every step behind the sum is one
operation on f32 tensors. Windows of a convolution are torch's unfold of the picture. Weights (N, K) and (Cout, Kh, Kw, Cin),
pictures (B, H, W, C).
"""

import os

import torch
from torch.nn import functional

import hashed
from golden_store import save_tensors


def integers(rows):
    """(R, K) -> integers (R, K) as i64, scales (R) in f32."""
    amax = rows.abs().amax(1)
    scale = amax / torch.tensor(127.0)
    inverse = torch.where(amax > 0, torch.tensor(127.0) / amax, torch.tensor(0.0))
    return torch.round(rows * inverse[:, None]).to(torch.int64), scale


def product(rows, weights):
    """(R, K) and (N, K) -> (R, N)."""
    q, s = integers(rows)
    qw, sw = integers(weights)
    return (q @ qw.T).to(torch.float32) * (s[:, None] * sw[None, :])


def make_int8(out):
    """Write int8.safetensors."""
    t = {}
    for name, shape in {"linear.x": (7, 77), "linear.w": (19, 77), "linear.b": (19,), "linear.res": (7, 19),
                        "conv.x": (2, 7, 6, 13), "conv.w": (10, 3, 3, 13), "conv.b": (10,), "conv.chan": (2, 10)}.items():
        t[name] = hashed.fill("int8." + name, shape)
    t["linear.x"][3] = 0                                       # a row of zeros has the scale 0
    t["linear.x"][4] *= 1e4
    t["linear.y"] = product(t["linear.x"], t["linear.w"]) + t["linear.b"] + t["linear.res"]
    x = t["conv.x"].permute(0, 3, 1, 2)
    windows = functional.unfold(x, 3, padding=1, stride=2).reshape(2, 13, 9, 12)         # (B, C, taps, pixels)
    rows = windows.permute(0, 3, 2, 1).reshape(24, 9 * 13)
    y = product(rows, t["conv.w"].reshape(10, -1)).reshape(2, 4, 3, 10)
    t["conv.y"] = y + t["conv.b"] + t["conv.chan"][:, None, None, :]
    save_tensors(os.path.join(out, "int8.safetensors"), t)
