#!/usr/bin/env python3
"""Times torchvision and Pillow on the pictures of training, and imago beside them in the same run.

    torch_augment.py [--rounds 5] [--imago build/tests/test_augment] [--csv FILE]

One thread, processor time. A 256x256 JPEG (quality 80, drawn here) is decoded and augmented by the recipes of
src/data/images/augment_recipe.c:
  decode   Image.open(...).convert("RGB") alone
  none     Resize(256), CenterCrop(224), ToTensor, Normalize
  plain    RandomResizedCrop(224), flip, ToTensor, Normalize
  dino     1 x 224 and 8 x 96 with jitter, grayscale, blur, solarize, ToTensor, Normalize
Rounds follow each other, torchvision's then imago's, so both meet the same machine. Standard output is CSV, a row a
measurement: what,program,ms_per_picture; then comment lines with medians and ratios.
"""

import argparse
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

import PIL
import torch
import torchvision
from PIL import Image, ImageFilter, ImageOps, features
from torchvision import transforms as T

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tests", "golden"))
from golden_decode import drawn  # noqa: E402


class Sometimes:
    """Runs `fn` on the picture with probability p."""

    def __init__(self, fn, p):
        self.fn, self.p = fn, p

    def __call__(self, image):
        return self.fn(image) if random.random() < self.p else image


def blur(image):
    """DINO's blur."""
    return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


NORMALISE = [T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
COLOURS = [T.RandomHorizontalFlip(p=0.5), Sometimes(T.ColorJitter(0.4, 0.4, 0.2, 0.1), 0.8),
           Sometimes(T.Grayscale(3), 0.2)]
BICUBIC = T.InterpolationMode.BICUBIC
LARGE = T.Compose([T.RandomResizedCrop(224, scale=(0.4, 1.0), interpolation=BICUBIC), *COLOURS, Sometimes(blur, 0.2),
                   Sometimes(ImageOps.solarize, 0.2), *NORMALISE])
SMALL = T.Compose([T.RandomResizedCrop(96, scale=(0.05, 0.4), interpolation=BICUBIC), *COLOURS, Sometimes(blur, 0.5),
                   *NORMALISE])
NONE = T.Compose([T.Resize(256), T.CenterCrop(224), *NORMALISE])
PLAIN = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), *NORMALISE])
RECIPES = {"decode": lambda image: image.load(), "none": NONE, "plain": PLAIN,
           "dino": lambda image: [LARGE(image)] + [SMALL(image) for _ in range(8)]}


def rival(file, pictures=40):
    """Milliseconds of processor time a picture, for each recipe."""
    out = {}
    for name, recipe in RECIPES.items():
        start = time.thread_time()
        for _ in range(pictures):
            recipe(Image.open(io.BytesIO(file)).convert("RGB"))
        out[name] = (time.thread_time() - start) * 1e3 / pictures
    return out


def imago(program, path):
    """The same from test_augment --bench."""
    text = subprocess.run([program, "--bench", path], check=True, capture_output=True, text=True).stdout
    return {name: float(ms) for name, ms in (line.split(",") for line in text.split())}


def main():
    """Time both in turn and print rows and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--imago", default="build/tests/test_augment")
    parser.add_argument("--csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    file = io.BytesIO()
    drawn(256, 256, 4).save(file, "JPEG", quality=80)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "picture.jpg")
        with open(path, "wb") as out:
            out.write(file.getvalue())
        rival(file.getvalue(), 5)
        for _ in range(options.rounds):
            for program, times in (("torchvision", rival(file.getvalue())), ("imago", imago(options.imago, path))):
                rows += [(name, program, ms) for name, ms in times.items()]
    lines = ["what,program,ms_per_picture"] + [f"{name},{program},{ms:.4f}" for name, program, ms in rows]
    lines.append(f"# torchvision {torchvision.__version__}, Pillow {PIL.__version__}, libjpeg-turbo "
                 f"{features.version('libjpeg_turbo')}, one thread, processor time, JPEG of {len(file.getvalue())} bytes")
    for name in RECIPES:
        median = {p: statistics.median(ms for n, q, ms in rows if (n, q) == (name, p)) for p in ("torchvision", "imago")}
        lines.append(f"# {name}: torchvision {median['torchvision']:.2f} ms, imago {median['imago']:.2f} ms, "
                     f"{median['torchvision'] / median['imago']:.2f}x")
    print("\n".join(lines))
    if options.csv:
        with open(options.csv, "w", encoding="ascii") as out:
            out.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
