"""Learning rates by iteration: lr_schedules.json. Warm-up is numpy's linspace, the cosine and the steps are torch's.

README.md has the formulas.
"""

import os

import numpy
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from golden_store import save_json_lines

CASES = [("cosine", 0.1, 10, 7, 2), ("cosine", 0.3, 6, 5, 0), ("cosine", 1e-4, 3, 1, 1), ("step", 0.1, 95, 1, 5),
         ("step", 0.1, 62, 2, 0), ("constant", 0.01, 5, 3, 2), ("constant", 0.01, 2, 2, 0)]


def rates(scheduler, count):
    """The learning rates that a scheduler of torch gives to `count` steps."""
    values = []
    for _ in range(count):
        values.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return values


def schedule(kind, base, epochs, per_epoch, warmup_epochs):
    """Learning rates of all iterations: numpy.linspace to warm up, then torch's cosine, step or constant."""
    total, warm = epochs * per_epoch, warmup_epochs * per_epoch
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base)
    if kind == "cosine":
        rest = rates(CosineAnnealingLR(optimiser, total - warm, eta_min=1e-6), total - warm)
        i = numpy.arange(total - warm)
        closed = 1e-6 + 0.5 * (base - 1e-6) * (1 + numpy.cos(numpy.pi * i / (total - warm)))
        assert numpy.allclose(rest, closed, rtol=1e-9, atol=0), "torch's recursion and the formula differ"
        rest = list(closed)
    elif kind == "step":
        by_epoch = rates(StepLR(optimiser, 30, 0.1), epochs)
        rest = [by_epoch[i // per_epoch] for i in range(warm, total)]
    else:
        rest = [base] * (total - warm)
    return [float(value) for value in numpy.linspace(0, base, warm)] + [float(value) for value in rest]


def make_lr_schedules(out):
    """lr_schedules.json."""
    rows = [{"schedule": kind, "lr": base, "epochs": epochs, "per_epoch": per_epoch, "warmup_epochs": warmup,
             "values": schedule(kind, base, epochs, per_epoch, warmup)}
            for kind, base, epochs, per_epoch, warmup in CASES]
    save_json_lines(os.path.join(out, "lr_schedules.json"),
                    {"about": "learning rate of every iteration", "torch": torch.__version__}, rows)
