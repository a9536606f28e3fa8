#!/usr/bin/env python3
"""golden_mma.py: single numbers of mma as MMA-Sim 2.1.1 (pip install mmasim) computes them: records of k + k halves, c and d as
f32. mma.bin: m16n8k16 of sm_80 ("Ampere"), the first half of the records in f16, the second in bf16; mma_k8.bin: m16n8k8 of
sm_75 ("Turing") in f16; wgmma.bin: m64n8k16 of sm_90 ("Hopper"), as mma.bin."""
import struct

import torch
from mmasim.nv_ptx import MMA, WGMMA

EACH = 160


def draw(dtype, kind, k, generator):
    """k factors: normal, of very different sizes, small integers, subnormal, or mostly zero."""
    x = torch.randn(k, generator=generator)
    if kind == 1:
        x = x * torch.exp2(torch.randint(-12, 12, (k,), generator=generator).float())
    if kind == 2:
        x = torch.randint(-3, 4, (k,), generator=generator).float()
    if kind == 3:
        x = x * (2.0**-20 if dtype == torch.float16 else 2.0**-130)
    if kind == 4:
        x = x * (torch.rand(k, generator=generator) < 0.2)
    return x.to(dtype)


def write(out, op, dtype, k, generator):
    for i in range(EACH):
        a, b = draw(dtype, i % 5, k, generator), draw(dtype, i // 5 % 5, k, generator)
        c = torch.randn(1, generator=generator) * 2.0 ** float(torch.randint(-30, 12, (1,), generator=generator))
        if i % 7 == 3:
            c = -(a.double() * b.double()).sum().float().reshape(1)      # nearly everything cancels
        if i % 11 == 5:
            c = torch.zeros(1)
        d = op.dpa(a.reshape(1, k), b.reshape(1, k), c)
        halves = list(a.view(torch.int16)) + list(b.view(torch.int16))
        out.write(struct.pack(f"<{2 * k}H", *[int(h) & 0xFFFF for h in halves]))
        out.write(struct.pack("<2f", float(c), float(d)))


with open("tests/golden/mma.bin", "wb") as out:
    generator = torch.Generator().manual_seed(15)
    for dtype, name in ((torch.float16, "f16"), (torch.bfloat16, "bf16")):
        write(out, MMA("Ampere", f"m16n8k16.f32.{name}.{name}.f32"), dtype, 16, generator)
with open("tests/golden/mma_k8.bin", "wb") as out:
    write(out, MMA("Turing", "m16n8k8.f32.f16.f16.f32"), torch.float16, 8, torch.Generator().manual_seed(75))
with open("tests/golden/wgmma.bin", "wb") as out:
    generator = torch.Generator().manual_seed(90)
    for dtype, name in ((torch.float16, "f16"), (torch.bfloat16, "bf16")):
        write(out, WGMMA("Hopper", f"m64n8k16.f32.{name}.{name}"), dtype, 16, generator)
