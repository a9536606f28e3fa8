"""What `make model-report` computes, by scipy, numpy and torchvision: measures.json, measures.safetensors.

Frechet distances, mean distances of pairs, quantiles, PSNR, and the logits of a ResNet-18 of another width.
"""

import json
import os

import numpy
import scipy
import torch
import torchvision
from torchvision.models.resnet import BasicBlock, ResNet

import hashed
from golden_network_gradients import hashed_picture, nchw
from golden_store import save_tensors

WIDTH, CLASSES = 20, 5
QUANTILES = [0, 0.01, 0.1, 0.5, 0.875, 1]


class Narrow(ResNet):
    """ResNet-18 with WIDTH channels in its first stage, a 3x3 stem of stride 1 or the usual one."""

    def __init__(self, small_stem):
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=CLASSES)
        self.inplanes = WIDTH
        if small_stem:
            self.conv1, self.maxpool = torch.nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False), torch.nn.Identity()
        else:
            self.conv1 = torch.nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(WIDTH)
        for stage in range(4):
            layer = self._make_layer(BasicBlock, WIDTH << stage, 2, stride=1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", layer)
        self.fc = torch.nn.Linear(WIDTH << 3, CLASSES)


def mixed(name, rows, columns, offset):
    """Rows of correlated numbers, f32."""
    x = hashed.fill(name, (rows, columns)).numpy().astype(float)
    turn = hashed.fill(name + ".turn", (columns, columns)).numpy().astype(float)
    return (x @ turn / 3 + offset).astype(numpy.float32)


def frechet(a, b):
    """|mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)): scipy's square root where both have full rank; the trace of
    the root is also the sum of the singular values of A B^T / sqrt((n_a - 1) (n_b - 1)), A and B without their means."""
    a, b = a.astype(float), b.astype(float)
    c_a, c_b = numpy.cov(a, rowvar=False), numpy.cov(b, rowvar=False)
    far = ((a.mean(0) - b.mean(0)) ** 2).sum()
    product = (a - a.mean(0)) @ (b - b.mean(0)).T / numpy.sqrt((len(a) - 1) * (len(b) - 1))
    root = numpy.linalg.svd(product, compute_uv=False).sum()
    value = float(far + numpy.trace(c_a) + numpy.trace(c_b) - 2 * root)
    if min(len(a), len(b)) > a.shape[1]:
        by_scipy = far + numpy.trace(c_a + c_b - 2 * scipy.linalg.sqrtm(c_a @ c_b).real)
        assert abs(by_scipy - value) < 1e-8 * value, (by_scipy, value)
    return value


def mean_distance(x):
    """Mean distance of all pairs of rows, each of length 1."""
    x = x.astype(float)
    return float(scipy.spatial.distance.pdist(x / numpy.linalg.norm(x, axis=1, keepdims=True)).mean())


def make_measures(out):
    """measures.json and measures.safetensors."""
    sets = {"a": mixed("measures.a", 60, 12, 0.2), "b": mixed("measures.b", 45, 12, -0.1),
            "few": mixed("measures.few", 7, 12, 0)}
    pictures = {name: hashed.bits(name, 96) % numpy.uint64(256) for name in ("measures.p", "measures.q")}
    p, q = (value.astype(numpy.uint8) for value in pictures.values())
    q = numpy.where(numpy.arange(96) % 3 == 0, q, p)
    mean_square = float(((p.astype(float) - q) ** 2).mean())
    values = {
        "frechet": {"a b": frechet(sets["a"], sets["b"]), "a few": frechet(sets["a"], sets["few"])},
        "mean_distance": {name: mean_distance(x) for name, x in sets.items()},
        "quantiles": {str(at): float(numpy.quantile(sets["a"][:, 0].astype(float), at)) for at in QUANTILES},
        "psnr": 10 * numpy.log10(255**2 / mean_square)}
    tensors = {name: torch.from_numpy(x) for name, x in sets.items()}
    tensors |= {"p": torch.from_numpy(p), "q": torch.from_numpy(q)}
    for name, small in (("narrow", True), ("narrow_usual", False)):
        net = hashed.load_hashed(Narrow(small)).double().eval()
        tensors[name + ".logits"] = net(nchw(hashed_picture(name + ".x", 2, 32, 32, 3).double()))
    save_tensors(os.path.join(out, "measures.safetensors"), tensors)
    about = {"about": "what model-report computes", "scipy": scipy.__version__, "numpy": numpy.__version__,
             "torchvision": torchvision.__version__}
    with open(os.path.join(out, "measures.json"), "w", encoding="ascii") as file:
        json.dump(about | values, file, indent=1)
        file.write("\n")
