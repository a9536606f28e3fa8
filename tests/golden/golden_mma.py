#!/usr/bin/env python3
"""golden_mma.py: single numbers of mma.m16n8k16 as MMA-Sim 2.1.1 (pip install mmasim) computes them for sm_80 ("Ampere"), into
mma.bin: records of 16 + 16 halves, c and d as f32; the first half of the records in f16, the second in bf16."""
import struct
import sys

import torch
from mmasim.nv_ptx import MMA

EACH = 160
generator = torch.Generator().manual_seed(15)


def draw(dtype, kind):
    """16 factors: normal, of very different sizes, small integers, subnormal, or mostly zero."""
    x = torch.randn(16, generator=generator)
    if kind == 1:
        x = x * torch.exp2(torch.randint(-12, 12, (16,), generator=generator).float())
    if kind == 2:
        x = torch.randint(-3, 4, (16,), generator=generator).float()
    if kind == 3:
        x = x * (2.0**-20 if dtype == torch.float16 else 2.0**-130)
    if kind == 4:
        x = x * (torch.rand(16, generator=generator) < 0.2)
    return x.to(dtype)


with open(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/mma.bin", "wb") as out:
    for dtype, name in ((torch.float16, "f16"), (torch.bfloat16, "bf16")):
        op = MMA("Ampere", f"m16n8k16.f32.{name}.{name}.f32")
        for i in range(EACH):
            a, b = draw(dtype, i % 5), draw(dtype, i // 5 % 5)
            c = torch.randn(1, generator=generator) * 2.0 ** float(torch.randint(-30, 12, (1,), generator=generator))
            if i % 7 == 3:
                c = -(a.double() * b.double()).sum().float().reshape(1)      # nearly everything cancels
            if i % 11 == 5:
                c = torch.zeros(1)
            d = op.dpa(a.reshape(1, 16), b.reshape(1, 16), c)
            halves = list(a.view(torch.int16)) + list(b.view(torch.int16))
            out.write(struct.pack("<32H", *[int(h) & 0xFFFF for h in halves]))
            out.write(struct.pack("<2f", float(c), float(d)))
