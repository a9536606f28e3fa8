"""Values of torch's CPU generator: rng.safetensors.gz (short draws whole) and rng.json (hashes of long ones)."""

import hashlib
import os

import torch

from golden_store import save_json_lines, save_tensors
from reference import generator

SEEDS = [0, 1, 42, 2**32 - 1, 2**40 + 5]
SHORT = [1, 2, 5, 15, 16, 17, 24, 31, 32, 33, 100]
LONG = [(1, 4, 64, 64), (2, 4, 64, 64), (1, 4, 25, 15), (3, 4, 80, 48), (1000003,)]
SEQUENCE = [5, 1, 16, 1, 3, 17, 1, 100, 1, 31, 7, 64, 15]
EDGE = 24


def make_rng(out):
    """Write both files."""
    tensors = {f"short.{seed}.{n}": torch.randn(n, generator=generator(seed)) for seed in SEEDS for n in SHORT}
    for seed in (0, 42):
        stream = generator(seed)
        for call, n in enumerate(SEQUENCE):
            tensors[f"sequence.{seed}.{call}"] = torch.randn(n, generator=stream)
    stream = generator(7)
    torch.randn(3, generator=stream)
    stream.manual_seed(7)
    tensors["reseeded.7.4"] = torch.randn(4, generator=stream)

    rows = []
    for seed in SEEDS:
        for shape in LONG:
            values = torch.randn(shape, generator=generator(seed)).flatten()
            name = f"long.{seed}.{values.numel()}"
            tensors[name + ".head"], tensors[name + ".tail"] = values[:EDGE], values[-EDGE:]
            digest = hashlib.sha256(values.numpy().astype("<f4").tobytes()).hexdigest()
            rows.append({"name": name, "seed": seed, "shape": list(shape), "sha256": digest})
    save_tensors(os.path.join(out, "rng.safetensors.gz"), tensors)
    head = {"about": "torch.randn(shape, generator=torch.Generator('cpu').manual_seed(seed)); "
                     "sha256 of the little-endian f32 bytes",
            "torch": torch.__version__, "sequence": SEQUENCE, "edge": EDGE}
    save_json_lines(os.path.join(out, "rng.json"), head, rows)
