"""The numpy twin of tests/hashed.h: value i of the tensor NAME is a function of both, the same bits as in C.

Parameters are counted in torch's order, (Cout, Cin, Kh, Kw); pictures and activations in imago's, (B, H, W, C).
"""

import math
import os

import numpy
import torch

from golden_store import save_tensors

GOLDEN_RATIO = numpy.uint64(0x9E3779B97F4A7C15)
# Names and shapes of which the first values are kept for tests/test_hashed.c.
SAMPLES = {"conv1.weight": (64, 3, 7, 7), "layer1.0.bn1.weight": (64,), "layer1.0.bn1.bias": (64,),
           "layer4.2.bn3.running_var": (2048,), "layer4.2.bn3.running_mean": (2048,), "fc.weight": (10, 512)}


def seed(name):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return numpy.uint64(value)


def bits(name, count):
    """h(name, 0..count-1) as u64."""
    with numpy.errstate(over="ignore"):
        h = seed(name) + numpy.arange(count, dtype=numpy.uint64) * GOLDEN_RATIO
        h ^= h >> numpy.uint64(33)
        h *= numpy.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> numpy.uint64(33)
        h *= numpy.uint64(0xC4CEB9FE1A85EC53)
        return h ^ h >> numpy.uint64(33)


def fill(name, shape, scale=1.0, offset=0.0):
    """offset + scale * x(name, i) as an f32 tensor; product and sum are rounded one after the other."""
    h = bits(name, math.prod(shape))
    total = sum((h >> numpy.uint64(16 * part) & numpy.uint64(0xFFFF)).astype(numpy.float64) for part in range(4))
    x = ((total - 2 * 65535.0) / (65536.0 * 0.57735026918962573)).astype(numpy.float32)
    return torch.from_numpy((numpy.float32(offset) + numpy.float32(scale) * x).reshape(shape))


def labels(name, count, classes):
    """h(name, i) mod classes as i64."""
    return torch.from_numpy((bits(name, count) % numpy.uint64(classes)).astype(numpy.int64))


def parameter(name, shape):
    """A parameter or statistic by its state-dict name; the rule stands in hashed.h."""
    last = name.rsplit(".", 1)[-1]
    if len(shape) > 1:
        return fill(name, shape, 1 / math.sqrt(math.prod(shape) // shape[0]))
    if last in ("weight", "running_var"):
        return fill(name, shape, 0.2, 1)
    return fill(name, shape, 0.1)


def load_hashed(module):
    """Gives every parameter and statistic of a module its hashed values (num_batches_tracked becomes 0)."""
    state = {name: parameter(name, value.shape) if value.is_floating_point() else torch.zeros_like(value)
             for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    return module


def make_hashed(out):
    """hashed.safetensors: the first and the last 8 values of some parameters, and labels."""
    tensors = {}
    for name, shape in SAMPLES.items():
        values = parameter(name, shape).flatten()
        tensors[name] = torch.cat([values[:8], values[-8:]])
    tensors["labels"] = labels("labels", 16, 10)
    save_tensors(os.path.join(out, "hashed.safetensors"), tensors)
