"""Gradients of all parameters of whole networks (network_gradients.safetensors.gz), and logits of ResNets.

Computed in f64 from f32 weights and inputs, stored as f32. network_gradients.json says how far (relative L2) torch in
f32 is from that, for each network as a whole and for the worst single parameter. A gradient is kept as 18 numbers:
its L2 norm, its sum, and the values at i * numel / 16, i = 0..15, in torch's order (Cout, Cin, Kh, Kw).
"""

import copy
import math
import os

import torch
import torchvision
from torch.nn import functional

import hashed
from golden_models import load
from golden_store import load_tensors, pack_samples, save_json_lines, save_tensors

SAMPLES, CLASSES = 16, 10
# The last norm of a block is made smaller, or batch norm over few values amplifies rounding two thousand times.
QUIET = 0.25
# How far a bias may be moved to keep a ReLU's inputs away from 0.
REACH = 0.2
RESNETS = ["resnet18", "resnet50"]
EVAL = [("resnet18", 2, 64, 10), ("resnet34", 2, 64, 10), ("resnet101", 2, 64, 10), ("resnet50", 2, 224, 1000)]
MODELS = ["a", "b"]
TIMES = [17, 640]
# A gradient that is zero but for rounding (a key's bias under softmax) is not asked to agree in f32.
VANISHES = 1e-6


def samples(value):
    """L2 norm, sum, and 16 values of a tensor, as f64."""
    flat = value.detach().double().flatten()
    at = torch.arange(SAMPLES) * flat.numel() // SAMPLES
    return torch.cat([flat.norm()[None], flat.sum()[None], flat[at]])


def nchw(x):
    """(B, H, W, C) -> (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def hashed_picture(name, *shape):
    """x(NAME, i), (B, H, W, C)."""
    return hashed.fill(name, shape)


class Kept:
    """Collects tensors, and rows about the reference's own error."""

    def __init__(self):
        self.tensors, self.rows = {}, []

    def network(self, name, module, inputs, loss, rename=lambda key: key):
        """NAME.loss, NAME.dINPUT and NAME.grad.PARAMETER of loss(module, **inputs); the state afterwards."""
        runs = {}
        for dtype in (torch.float64, torch.float32):
            net = copy.deepcopy(module).to(dtype).requires_grad_()
            leaves = {key: value.to(dtype, copy=True).requires_grad_() for key, value in inputs.items()}
            result = loss(net, **leaves)
            result.backward()
            grads = {rename(key): value.grad for key, value in net.named_parameters() if value.grad is not None}
            assert len(grads) == len(list(net.parameters())), name
            runs[dtype] = result.detach(), grads, {key: leaf.grad for key, leaf in leaves.items()}, net.state_dict()
        result, grads, d_inputs, after = runs[torch.float64]
        self.tensors[name + ".loss"] = result.reshape(1)
        self.tensors |= {f"{name}.d{key}": value[:1] if name in RESNETS else value for key, value in d_inputs.items()}
        self.tensors |= {f"{name}.grad.{key}": samples(value) for key, value in grads.items()}
        self.describe(name, grads, runs[torch.float32][1], abs(float(runs[torch.float32][0] - result) / float(result)))
        return after

    def describe(self, name, double, single, loss_error):
        """A row: errors of the f32 reference, and the parameters whose gradient vanishes."""
        whole = sum(float(value.norm()) ** 2 for value in double.values()) ** 0.5
        off = {key: float((single[key].double() - value).norm()) for key, value in double.items()}
        gone = [key for key, value in double.items() if float(value.norm()) < VANISHES * whole]
        errors = {key: off[key] / float(double[key].norm()) for key in double if key not in gone}
        worst = max(errors, key=errors.get)
        total = sum(value ** 2 for value in off.values()) ** 0.5 / whole
        assert total < 1e-5 and errors[worst] < 1e-4, f"{name}: f32 is off by {total}, {worst} by {errors[worst]}"
        self.rows.append({"network": name, "parameters": len(double), "norm": float(f"{whole:.6g}"),
                          "loss_error": float(f"{loss_error:.1e}"), "error": float(f"{total:.1e}"),
                          "worst_error": float(f"{errors[worst]:.1e}"), "worst": worst, "vanishing": gone})


def mean_square(output, name):
    """Mean of (output - x(NAME, i))^2, the target counted in output's order."""
    return functional.mse_loss(output, hashed.fill(name, output.shape).to(output.dtype))


def last_norm(arch):
    """The name of the norm that ends a block's branch."""
    return "bn2" if arch in ("resnet18", "resnet34") else "bn3"


def clear_of_zero(norm, before):
    """Shifts a batch norm's bias, channel by channel, so that 0 lies in the widest gap between the values that its
    ReLU sees; before is (B, C, H, W) without that shift. (values with it, half of the narrowest gap)"""
    margin = math.inf
    for channel in range(before.shape[1]):
        ordered = before[:, channel].flatten().sort().values
        middles, gaps = (ordered[1:] + ordered[:-1]) / 2, ordered[1:] - ordered[:-1]
        gaps[middles.abs() > REACH] = -1
        best = gaps.argmax()
        moved = (norm.bias[channel] - middles[best]).float().double()
        before[:, channel] += moved - norm.bias[channel]
        norm.bias[channel] = moved
        margin = min(margin, float(before[:, channel].abs().min()))
    return before, margin


def settle(net, x):
    """Clears every ReLU of a ResNet in f64. A ReLU that f32 takes at the other side of 0 changes gradients of a net of
    this size by a percent, and of its millions a few always would. The smallest distance from 0 that is left."""
    h, margin = clear_of_zero(net.bn1, net.bn1(net.conv1(x)))
    margins, h = [margin], net.maxpool(functional.relu(h))
    for block in [block for stage in (net.layer1, net.layer2, net.layer3, net.layer4) for block in stage]:
        skip = h if block.downsample is None else block.downsample(h)
        last = 3 if hasattr(block, "conv3") else 2
        for i in range(1, last + 1):
            norm = getattr(block, f"bn{i}")
            h = norm(getattr(block, f"conv{i}")(h))
            h, margin = clear_of_zero(norm, h + skip if i == last else h)
            margins.append(margin)
            h = functional.relu(h)
    return min(margins)


def add_resnets(kept):
    """Batch 4 of 64x64, batch norm in training, mean cross entropy; and logits with running statistics."""
    for arch in RESNETS:
        net = hashed.load_hashed(getattr(torchvision.models, arch)(num_classes=CLASSES)).train()
        for key, value in net.named_parameters():
            if key.endswith(last_norm(arch) + ".weight"):
                value.data *= QUIET
        labels = hashed.labels(arch + ".labels", 4, CLASSES)
        x = hashed_picture(arch + ".x", 4, 64, 64, 3)
        with torch.no_grad():
            margin = settle(settled := copy.deepcopy(net).double(), nchw(x.double()))
        given = {key: value.float() for key, value in settled.state_dict().items()
                 if key.endswith(".bias") and key != "fc.bias" or key.endswith(last_norm(arch) + ".weight")}
        net.load_state_dict(given, strict=False)
        kept.tensors |= {f"{arch}.set.{key}": value for key, value in given.items()}
        after = kept.network(arch, net, {"x": x}, lambda module, x: functional.cross_entropy(module(nchw(x)), labels))
        kept.tensors |= {f"{arch}.after.{key}": samples(value) for key, value in after.items() if ".running_" in key}
        kept.rows[-1]["relu_margin"] = float(f"{margin:.1e}")
    for arch, batch, size, classes in EVAL:
        net = hashed.load_hashed(getattr(torchvision.models, arch)(num_classes=classes)).eval()
        x = nchw(hashed_picture(arch + "_eval.x", batch, size, size, 3))
        with torch.no_grad():
            double, single = net.double()(x.double()), net.float()(x)
        error = float((single.double() - double).norm() / double.norm())
        assert error < 2e-6, f"{arch}: {error}"
        kept.tensors[arch + "_eval.logits"] = double
        kept.rows.append({"network": arch + "_eval", "norm": float(f"{float(double.norm()):.6g}"),
                          "error": float(f"{error:.1e}")})


def add_clip(kept, out, model, net):
    """Three prompts of networks_MODEL: last_hidden_state against a hashed target."""
    given = load_tensors(os.path.join(out, f"networks_{model}.safetensors.gz"))
    ids = torch.cat([given[f"clip.{i}.ids"] for i in range(3)])
    kept.network(f"clip_{model}", net, {},
                 lambda module: mean_square(module(ids).last_hidden_state, f"clip_{model}.target"),
                 lambda key: key if key.startswith("text_model.") else "text_model." + key)


def add_unet(kept, model, net):
    """Two 16x16 latents at two times, with gradients of latents and text."""
    length, width = {"a": (77, 48), "b": (32, 40)}[model]
    name = f"unet_{model}"
    inputs = {"x": hashed_picture(name + ".x", 2, 16, 16, 4), "text": hashed.fill(name + ".text", (2, length, width))}
    times = torch.tensor(TIMES)
    kept.network(name, net, inputs, lambda module, x, text: mean_square(
        module(nchw(x), times, text).sample.permute(0, 2, 3, 1), name + ".target"))


def add_vae(kept, model, net):
    """A 32x32 picture through encoder, sample (with hashed eps) and decoder; no scaling_factor."""
    name, factor = f"vae_{model}", 2 ** (len(net.config.block_out_channels) - 1)
    eps = nchw(hashed.fill(name + ".eps", (2, 32 // factor, 32 // factor, 4)))

    def loss(module, x):
        posterior = module.encode(nchw(x)).latent_dist
        z = posterior.mean + posterior.std * eps.to(x.dtype)
        return mean_square(module.decode(z).sample.permute(0, 2, 3, 1), name + ".target")

    kept.network(name, net, {"x": hashed_picture(name + ".x", 2, 32, 32, 3)}, loss)


def make_network_gradients(out):
    """network_gradients.safetensors.gz and .json."""
    kept = Kept()
    with torch.enable_grad():
        add_resnets(kept)
        for model in MODELS:
            pipe = load(out, model)
            add_clip(kept, out, model, pipe.text_encoder)
            add_unet(kept, model, pipe.unet)
            add_vae(kept, model, pipe.vae)
    packed = pack_samples(kept.tensors, ["grad", "after"], SAMPLES + 2)
    save_tensors(os.path.join(out, "network_gradients.safetensors.gz"), packed)
    head = {"about": "error: relative L2 distance of torch's f32 gradients (logits for _eval) from f64; worst: of one "
                     "parameter; vanishing: zero but for rounding", "torch": torch.__version__,
            "torchvision": torchvision.__version__}
    save_json_lines(os.path.join(out, "network_gradients.json"), head, kept.rows)
