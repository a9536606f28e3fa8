"""Products and attention in int8 as src/tensor/int8.h defines them, by torch: int8.safetensors.gz.

Rows are rounded with torch's own rounding (to nearest even), multiplied as int64, and every step behind the sum is one
operation on f32 tensors. Windows of a convolution are torch's unfold of the picture. Weights (N, K) and (Cout, Kh, Kw, Cin),
pictures (B, H, W, C).
"""

import math
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


def product(rows, weights, by=None):
    """(R, K) and (N, K) -> (R, N). by: multipliers of the columns."""
    q, s = integers(rows if by is None else rows * by)
    qw, sw = integers(weights if by is None else weights / by)
    return (q @ qw.T).to(torch.float32) * (s[:, None] * sw[None, :])


KEYS, LOG2_E = 128, math.log2(math.e)
E = [float.fromhex(x) for x in ("0x1.fe39dcp+7", "0x1.66c23ap+7", "0x1.e6653cp+5")]

POWER = [float.fromhex(x) for x in ("0x1.417ab8p-13", "0x1.5f094ap-10", "0x1.3b2dd2p-7", "0x1.c6af7ap-5", "0x1.ebfbdcp-3",
                                    "0x1.62e430p-1", "1")]


def f32(x):
    return torch.tensor(x, dtype=torch.float32)


def weights(x):
    """255 * 2^x as integers, (T, J) -> (T, J) in f32."""
    y = torch.maximum(x, f32(-10.0))
    n = torch.round(y)
    f = y - n
    p = (f32(E[2]) * f + f32(E[1])) * f + f32(E[0])
    return torch.round(torch.ldexp(p, n))


def power(x):
    """2^x, 0 below 2^-100."""
    n = torch.round(x.clamp(min=-101.0))
    f, p = x.clamp(min=-101.0) - n, f32(POWER[0])
    for by in POWER[1:]:
        p = p * f + f32(by)
    return torch.ldexp(p, n) * (x >= -100)


def attention(q, k, v, causal):
    """One head: (Tq, d), (Tk, d), (Tk, d) -> (Tq, d)."""
    iq, sq = integers(q)
    ik, sk = integers(k)
    sq = sq * f32(float(1 / torch.sqrt(f32(float(q.shape[1])))) * LOG2_E)
    m, total, o = torch.full((len(q),), -2.0**100), torch.zeros(len(q)), torch.zeros(q.shape)
    for at in range(0, len(k), KEYS):
        keys = slice(at, at + KEYS)
        iv, sv = integers(v[keys].T)
        s = (iq @ ik[keys].T).to(torch.float32) * (sq[:, None] * sk[None, keys])
        if causal:
            s[torch.arange(len(s[0]))[None] + at > torch.arange(len(q))[:, None]] = -math.inf
        e = torch.maximum(s.amax(1), f32(-2.0**100))
        p, now = weights(s - e[:, None]), torch.maximum(m, e)
        a, h = power(m - now), power(e - now)
        total = total * a + p.sum(1) * h
        o = o * a[:, None] + (p.to(torch.int64) @ iv.T).to(torch.float32) * (h[:, None] * sv[None])
        m = now
    return o / total[:, None]


def make_int8(out):
    """Write int8.safetensors.gz."""
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
    t["linear.by"], t["conv.by"] = (torch.exp(2 * hashed.fill(f"int8.{name}.by", (n,))) for name, n in
                                    (("linear", 77), ("conv", 13)))
    t["linear.multiplied"] = product(t["linear.x"], t["linear.w"], t["linear.by"])
    y = product(windows.permute(0, 3, 2, 1).reshape(24, 9 * 13), t["conv.w"].reshape(10, -1), t["conv.by"].repeat(9))
    t["conv.multiplied"] = y.reshape(2, 4, 3, 10)
    for name, rows, size in (("q", 9, 3.0), ("k", 141, 2.0), ("v", 141, 1.0)):
        t["attention." + name] = hashed.fill("int8.attention." + name, (1, rows, 22)) * size
    t["attention.q"][0, 1] *= 20                               # one key has nearly all of the weight
    t["attention.q"][0, 2] = 0                                 # all have the same
    for name, causal in (("y", False), ("causal", True)):
        heads = [attention(*(t["attention." + x][0, :, 11 * h:11 * h + 11] for x in "qkv"), causal) for h in (0, 1)]
        t["attention." + name] = torch.cat(heads, 1)[None].contiguous()
    save_tensors(os.path.join(out, "int8.safetensors.gz"), t)
