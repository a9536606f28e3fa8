"""The types of weights that are not computed in: weight_types.safetensors has every F8 value and F64 ones that are hard
to round, as they are and as torch makes f32, f16 and bf16 of them."""

import os

import torch
from safetensors.torch import load_file, save_file

from golden_store import report


def hard_doubles():
    """Ties, subnormals, the ends of f32, f16 and bf16, infinities, NaN, and random values of every size."""
    near = [1.0, 1.5, 2.0**-126, 2.0**-149, 2.0**-150, 65504.0, 65520.0, 6.1e-5, 3.3895313892515355e38,
            3.4028234663852886e38, 3.4028235677973366e38, 1e300, 5e-324, 0.1, 1 / 3]
    steps = [2.0**-24, 2.0**-25, 3 * 2.0**-25, 2.0**-11, 2.0**-12, 2.0**-9, 2.0**-8 + 2.0**-40, -2.0**-25 - 2.0**-52]
    values = [sign * x * (1 + step) for x in near for step in [0.0, *steps] for sign in (1, -1)]
    generator = torch.Generator().manual_seed(3)
    random = torch.randn(200, generator=generator, dtype=torch.float64)
    random = random * 2.0 ** torch.randint(-160, 130, (200,), generator=generator)
    return torch.cat([torch.tensor([*values, 0.0, -0.0, float("inf"), -float("inf"), float("nan")],
                                   dtype=torch.float64), random])


def make_types(out):
    """Write the file. NaN in it are NaN of any bits."""
    codes = torch.arange(256, dtype=torch.int64).to(torch.uint8)
    sources = {"f64": hard_doubles(), "f8_e4m3": codes.clone().view(torch.float8_e4m3fn),
               "f8_e5m2": codes.view(torch.float8_e5m2)}
    tensors = dict(sources)
    for name, value in sources.items():
        for kind, dtype in (("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16)):
            tensors[f"{name}.{kind}"] = value.to(dtype)
    path = os.path.join(out, "weight_types.safetensors")
    save_file(tensors, path)
    again = load_file(path)
    for name, value in tensors.items():
        assert again[name].dtype == value.dtype and torch.equal(again[name].view(torch.uint8), value.view(torch.uint8))
    report(path)
