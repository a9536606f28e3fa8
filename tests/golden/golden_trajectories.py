"""Twenty steps of training, as torch takes them: trajectories.safetensors.gz and trajectories.json.

Weights and the batch of every step are hashed (hashed.py) or come from models/a. Everything is computed in f64 from
f32 inputs and stored as f32; the JSON has the distance of the same training in f32, and of bf16 autocast, from f64.
LARS is timm's, the average of weights that of torch.optim.swa_utils, the noise is added by diffusers.
"""

import copy
import os

import timm.optim
import torch
import torchvision
from diffusers import DDPMScheduler
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import hashed
from golden_gradients import gradient_l1
from golden_models import load
from golden_network_gradients import CLASSES, SAMPLES, VANISHES, last_norm, nchw, samples
from golden_store import pack_samples, save_json_lines, save_tensors

STEPS, DECAY = 20, 0.999
KL_WEIGHT = 1e-6
# The last norm of a block of a ResNet is made smaller, so that rounding is amplified less.
QUIET = 1 / 16
# Every optimiser: weight decay on tensors with more than one axis, none on the others.
SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}
OPTIMISERS = {
    "sgd": (torch.optim.SGD, SGD), "nesterov": (torch.optim.SGD, SGD | {"nesterov": True}),
    "adamw": (torch.optim.AdamW, {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}),
    "lars": (timm.optim.Lars, {"momentum": 0.9, "weight_decay": 1e-4, "trust_coeff": 0.001, "eps": 1e-8}),
}
# network, optimiser, learning rate, clipped to a global norm (0: not), also with autocast.
RUNS = [("resnet18_small", "sgd", 1e-3, 0, True), ("resnet18_small", "nesterov", 1e-3, 0, False),
        ("resnet18_small", "adamw", 1e-5, 0, False), ("resnet18_small", "lars", 0.02, 0, False),
        ("resnet50", "sgd", 1e-4, 0, False), ("resnet50", "adamw", 1e-5, 0, False),
        ("unet_a", "adamw", 1e-3, 1.0, True), ("vae_a", "adamw", 1e-4, 0, True)]


def resnet(arch, small):
    """Hashed, with a quiet last norm in each block; small: a 3x3 stem of stride 1 and no pool."""
    net = getattr(torchvision.models, arch)(num_classes=CLASSES)
    if small:
        net.conv1, net.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    hashed.load_hashed(net)
    for key, value in net.named_parameters():
        if key.endswith(last_norm(arch) + ".weight"):
            value.data *= QUIET
    return net.train()


class Classifying:
    """Batch 8 of hashed pictures and labels, mean cross entropy."""

    def __init__(self, size):
        self.size = size

    def loss(self, net, step, name, dtype):
        """Loss of one step."""
        x = hashed.fill(f"{name}.step{step}.x", (8, self.size, self.size, 3))
        labels = hashed.labels(f"{name}.step{step}.labels", 8, CLASSES)
        return {"loss": functional.cross_entropy(net(nchw(x).to(dtype)), labels)}


class Denoising:
    """Batch 4 of 16x16 latents, v1.4's betas: mean (out - eps)^2."""

    def __init__(self):
        self.scheduler = DDPMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012,
                                       beta_schedule="scaled_linear")

    def loss(self, net, step, name, dtype):
        """Loss of one step."""
        head = f"{name}.step{step}"
        x0, eps = (nchw(hashed.fill(f"{head}.{key}", (4, 16, 16, 4))).to(dtype) for key in ("x0", "eps"))
        times, text = hashed.labels(head + ".times", 4, 1000), hashed.fill(head + ".text", (4, 77, 48)).to(dtype)
        out = net(self.scheduler.add_noise(x0, eps, times), times, text).sample
        return {"loss": functional.mse_loss(out.to(dtype), eps)}


class Rebuilding:
    """Batch 2 of 32x32 pictures: mean absolute error + that of differences of neighbours + 1e-6 KL."""

    def loss(self, net, step, name, dtype):
        """Loss of one step and its parts."""
        x = hashed.fill(f"{name}.step{step}.x", (2, 32, 32, 3), 0.5).to(dtype)
        eps = nchw(hashed.fill(f"{name}.step{step}.eps", (2, 4, 4, 4))).to(dtype)
        posterior = net.encode(nchw(x)).latent_dist
        out = net.decode(posterior.mean + posterior.std * eps).sample.permute(0, 2, 3, 1).to(dtype)
        parts = {"l1": functional.l1_loss(out, x), "gradient": gradient_l1(out, x), "kl": posterior.kl().mean()}
        return {"loss": parts["l1"] + parts["gradient"] + KL_WEIGHT * parts["kl"]} | parts


def optimiser(kind, lr, net):
    """Two groups: tensors that decay and those that do not."""
    make, settings = OPTIMISERS[kind]
    whole = [p for p in net.parameters() if p.ndim > 1]
    flat = [p for p in net.parameters() if p.ndim <= 1]
    return make([{"params": whole}, {"params": flat, "weight_decay": 0.0}], lr=lr, **settings)


def train(net, task, run, dtype, autocast=False):
    """(curves {name: [per step]}, the net, its average, the smallest norm of each gradient over the steps)."""
    name, kind, lr, clip, _ = run
    net = copy.deepcopy(net).to(dtype).requires_grad_()
    stepper, curves, smallest = optimiser(kind, lr, net), {}, {}
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    average.update_parameters(net)
    for step in range(STEPS):
        stepper.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            parts = task.loss(net, step, name, dtype)
        parts["loss"].backward()
        norms = {key: float(value.grad.norm()) for key, value in net.named_parameters()}
        smallest = {key: min(norm, smallest.get(key, norm)) for key, norm in norms.items()}
        parts["grad_norm"] = torch.nn.utils.clip_grad_norm_(net.parameters(), clip or torch.inf)
        stepper.step()
        average.update_parameters(net)
        for key, value in parts.items():
            curves.setdefault(key, []).append(float(value.detach()))
    return curves, net, average.module, smallest


def distance(ours, theirs, keys):
    """Relative L2 distance over all the tensors named."""
    off = sum(float((ours[key].detach().double() - theirs[key].detach().double()).norm()) ** 2 for key in keys)
    return float(f"{(off / sum(float(theirs[key].detach().norm()) ** 2 for key in keys)) ** 0.5:.1e}")


def moved(net, start):
    """What training changed."""
    return {key: value.detach().double() - start[key].double() for key, value in net.named_parameters()}


def compare(row, head, got, double, start, keys):
    """Adds to a row how far another training is from the f64 one: losses, weights, what training changed."""
    losses, wanted = torch.tensor(got[0]["loss"]), torch.tensor(double[0]["loss"])
    norms, norms_wanted = torch.tensor(got[0]["grad_norm"]), torch.tensor(double[0]["grad_norm"])
    row[head + "loss"] = float(f"{float(((losses - wanted) / wanted).abs().max()):.1e}")
    row[head + "grad_norm"] = float(f"{float(((norms - norms_wanted) / norms_wanted).abs().max()):.1e}")
    row[head + "weights"] = distance(dict(got[1].named_parameters()), dict(double[1].named_parameters()), keys)
    row[head + "moved"] = distance(moved(got[1], start), moved(double[1], start), keys)
    running = [key for key in double[1].state_dict() if "running" in key]
    if running:
        row[head + "running"] = distance(got[1].state_dict(), double[1].state_dict(), running)


def add_run(run, net, task, tensors, rows):
    """One line of RUNS."""
    name, kind, lr, clip, autocast = run
    key, start = f"{name}.{kind}", net.state_dict()
    double = train(net, task, run, torch.float64)
    curves, after, average, smallest = double
    whole = max(curves["grad_norm"])
    gone = [part for part, norm in smallest.items() if norm < VANISHES * whole]
    kept = [part for part in smallest if part not in gone]
    row = {"run": key, "lr": lr, "clip": clip, "steps": STEPS}
    compare(row, "f32_", train(net, task, run, torch.float32), double, start, kept)
    if autocast:
        mixed = train(net, task, run, torch.float32, autocast=True)
        compare(row, "bf16_", mixed, double, start, kept)
        tensors |= {f"{key}.bf16.{curve}": torch.tensor(values) for curve, values in mixed[0].items()}
    row["vanishing"] = gone
    print({k: v for k, v in row.items() if k != "vanishing"}, curves["loss"][0], curves["loss"][-1], len(gone))
    rows.append(row)
    tensors |= {f"{key}.{curve}": torch.tensor(values) for curve, values in curves.items()}
    changed, averaged = moved(after, start), dict(average.named_parameters())
    for part in kept:
        tensors[f"{key}.moved.{part}"] = samples(changed[part])
        tensors[f"{key}.after.{part}"] = samples(after.state_dict()[part])
        if kind == "sgd" and name == "resnet18_small":
            tensors[f"{key}.average.{part}"] = samples(averaged[part].double() - start[part].double())
    for part, value in after.state_dict().items():
        if "running" in part:
            tensors[f"{key}.after.{part}"] = samples(value)


def make_trajectories(out):
    """trajectories.safetensors.gz and .json."""
    tensors, rows, pipe = {}, [], load(out, "a")
    starts = {"resnet18_small": (resnet("resnet18", True), Classifying(32)),
              "resnet50": (resnet("resnet50", False), Classifying(64)),
              "unet_a": (pipe.unet.train(), Denoising()), "vae_a": (pipe.vae.train(), Rebuilding())}
    with torch.enable_grad():
        for run in RUNS:
            add_run(run, *starts[run[0]], tensors, rows)
    packed = pack_samples(tensors, ["after", "moved", "average"], SAMPLES + 2)
    save_tensors(os.path.join(out, "trajectories.safetensors.gz"), packed)
    head = {"about": "largest relative distance over the steps of loss and grad_norm, relative L2 distance of weights, of "
                     "what training changed (moved) and of running statistics from f64, in f32 and with bf16 autocast",
            "torch": torch.__version__, "timm": timm.__version__}
    save_json_lines(os.path.join(out, "trajectories.json"), head, rows)
