"""A small ResNet learns to tell disks from squares, drawn here into folders of a class each, and is asked for what it has
not seen.

    python3 train.py FOLDER [STEPS]
"""
from __future__ import annotations

import pathlib
import sys

import numpy as np

import imago
from imago import ops

SIDE = 32


def draw(folder: pathlib.Path, count: int, seed: int) -> None:
    """count pictures of each class, of any size, place and colour."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    with imago.Context("ref", 1) as c:
        for name in ("disk", "square"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                r, at = rng.integers(6, 12), rng.integers(12, 20, 2)
                d = np.hypot(x - at[0], y - at[1]) if name == "disk" else np.maximum(abs(x - at[0]), abs(y - at[1]))
                ground, paint = rng.integers(0, 100, 3), rng.integers(150, 256, 3)
                picture = np.where((d < r)[..., None], paint, ground).astype(np.uint8)
                imago.write_picture(folder / name / f"{i}.png", picture, force=True, context=c)


def layer_by_hand() -> float:
    """The same engine without a network: one linear layer, its gradient, and a step along it; the loss after it."""
    rng = np.random.default_rng(1)
    with imago.Context() as c:
        x, labels = c.tensor(rng.normal(size=(8, 4)), "f32"), c.tensor(np.arange(8) % 3, "i32")
        w = c.zeros((3, 4)).want_grad()
        loss = 0.0
        for _ in range(20):
            with c.tape() as tape:
                value = ops.cross_entropy(ops.linear(x, w), labels)
                tape.backward(value)
            loss = value.item()
            ops.optimise([w], "sgd", lr=0.5)
            w.zero_grad()
    return loss


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    print(f"one layer: its loss went from {np.log(3):.3f} to {layer_by_hand():.3f}")
    draw(folder / "train", 64, 1)
    draw(folder / "test", 16, 2)

    def show(s: imago.Step) -> None:
        if s.step % 10 == 0 or s.step == s.steps:
            print(f"step {s.step} of {s.steps}: loss {s.loss:.3f}, top-1 {s.top1:.2f}")

    imago.train_resnet(folder / "train", folder / "run", arch="resnet18", width=8, small_stem=True, size=SIDE, batch=16,
                       steps=steps, optimizer="adamw", lr=2e-3, augment="none", seed=1, on_step=show, on_note=print)
    found = imago.evaluate(folder / "run", folder / "test")
    print(f"top-1 {found.top1:.3f} of {found.pictures} pictures that it has not seen; {found.classes}")
    print(found.confusion)


if __name__ == "__main__":
    main()
