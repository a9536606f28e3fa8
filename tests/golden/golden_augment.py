"""What Pillow and torchvision make of crops, colours and blurs: augment.json.gz (for test_augment.c).

    python tests/golden/golden_augment.py

Pictures are noise() of golden_images.py, which the test makes again, so results are stored as SHA-256 of their bytes.
"""

import hashlib
import os
import random
import struct
import sys
from unittest import mock

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms
from torchvision.transforms import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from golden_images import noise  # noqa: E402
from golden_store import save_json_lines  # noqa: E402

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
JITTER = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]


def picture(width, height):
    """The noise picture of a size."""
    return Image.frombytes("RGB", (width, height), noise(width, height, 3))


def sha(data):
    """Hex digits of the SHA-256 of bytes, or of a picture's."""
    return hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest()


def f32(x):
    """The nearest f32, as C reads it."""
    return struct.unpack("f", struct.pack("f", x))[0]


def apply(image, row):
    """The operations of one crop, in torchvision's order."""
    x, y, w, h = row["box"]
    image = image.crop((x, y, x + w, y + h)).resize((row["size"], row["size"]), FILTERS[row["filter"]])
    if row["flip"]:
        image = F.hflip(image)
    for op in row["order"]:
        image = JITTER[op](image, row["factor"][op])
    if row["grey"]:
        image = F.rgb_to_grayscale(image, 3)
    if row["sigma"]:
        image = image.filter(ImageFilter.GaussianBlur(row["sigma"]))
    if row["solarize"] >= 0:
        image = ImageOps.solarize(image, row["solarize"])
    return image


def crop_rows():
    """Single operations first, then everything at once on pictures of odd sizes."""
    rng = random.Random(5)
    plain = {"kind": "crop", "from": [40, 31], "box": [3, 2, 30, 27], "size": 24, "filter": "bicubic", "flip": False,
             "order": [], "factor": [1, 1, 1, 0], "grey": False, "sigma": 0, "solarize": -1}
    yield from ({**plain, **change} for change in (
        {}, {"flip": True}, {"grey": True}, {"filter": "bilinear"}, {"size": 1}, {"size": 7, "flip": True},
        {"size": 61}, {"box": [0, 0, 40, 31]}, {"box": [39, 30, 1, 1]}, {"from": [1, 1], "box": [0, 0, 1, 1]},
        {"from": [1, 50], "box": [0, 7, 1, 40], "size": 5}, {"from": [50, 1], "box": [7, 0, 40, 1], "size": 5},
        {"box": [0, 0, 24, 24]}, {"solarize": 128}, {"solarize": 0}, {"solarize": 256}, {"solarize": 77}))
    for op in range(4):
        for factor in ((-0.5, -0.1, -0.003, 0, 0.004, 0.05, 0.1, 0.5) if op == 3 else
                       (0, 0.2, 0.6, 0.999, 1, 1.001, 1.2, 1.4, 2.7)):
            factors = [1, 1, 1, 0]
            factors[op] = f32(factor)
            yield {**plain, "order": [op], "factor": factors}
    for sigma in (0.01, 0.1, 0.5, 0.99, 1.37, 1.42, 2, 2.5, 7.7, 40):
        yield {**plain, "sigma": f32(sigma)}
    for _i in range(60):
        width, height = rng.randint(1, 90), rng.randint(1, 90)
        w, h = rng.randint(1, width), rng.randint(1, height)
        order = rng.sample(range(4), 4)[:rng.choice([0, 2, 4, 4])]
        yield {"kind": "crop", "from": [width, height],
               "box": [rng.randint(0, width - w), rng.randint(0, height - h), w, h],
               "size": rng.choice([1, 2, 5, 16, 31, 40]), "filter": rng.choice(list(FILTERS)),
               "flip": rng.random() < 0.5, "order": order,
               "factor": [f32(rng.uniform(0.6, 1.4)) for _k in range(3)] + [f32(rng.uniform(-0.1, 0.1))],
               "grey": rng.random() < 0.2, "sigma": f32(rng.uniform(0.1, 2)) if rng.random() < 0.5 else 0,
               "solarize": 128 if rng.random() < 0.3 else -1}
    for box, size, name in (((0, 0, 256, 256), 224, "bicubic"), ((13, 40, 201, 170), 224, "bicubic"),
                            ((100, 7, 60, 75), 96, "bicubic"), ((31, 2, 150, 240), 96, "bicubic"),
                            ((31, 2, 30, 250), 96, "bilinear")):
        yield {**plain, "from": [256, 256], "box": list(box), "size": size, "filter": name, "order": [2, 1, 3, 0],
               "factor": [f32(1.13), f32(0.7), f32(1.19), f32(0.077)], "sigma": f32(1.3)}


def none_rows():
    """Resize(size * 8 // 7) and CenterCrop(size)."""
    for size in (7, 24, 35, 64):
        for width, height in ((40, 31), (31, 40), (1, 1), (1, 20), (33, 2), (120, 65), (200, 199), (27, 27), (73, 500)):
            image = transforms.Compose([transforms.Resize(size * 8 // 7), transforms.CenterCrop(size)])(
                picture(width, height))
            yield {"kind": "none", "from": [width, height], "size": size, "sha256": sha(image)}


class Given:
    """Stands in for torch inside RandomResizedCrop.get_params, with uniform numbers that are given."""

    def __init__(self, numbers):
        self.numbers, self.at = numbers, 0

    def __getattr__(self, name):
        return getattr(torch, name)

    def empty(self, _n):
        """torch.empty(1).uniform_(low, high): area and ratio of a try, the first two of its four numbers."""
        u = self.numbers[self.at]
        self.at += 1
        double = torch.zeros(1, dtype=torch.float64)
        return mock.Mock(uniform_=lambda low, high: double + (float(low) + (float(high) - float(low)) * u))

    def randint(self, low, high, size):
        """Row and column: the last two."""
        u = self.numbers[self.at]
        self.at += 1
        return torch.tensor([low + int(u * (high - low))]).reshape(size)


def box_of(width, height, scale, numbers):
    """get_params, with the numbers of each try at 4 t; unused ones are skipped by counting tries."""
    given = Given(numbers)
    tries = iter(range(10))

    class Tries:
        """range(10) of get_params: moves to the numbers of the next try."""

        def __iter__(self):
            for t in tries:
                given.at = 4 * t
                yield t

    with mock.patch.object(transforms.transforms, "torch", given), \
            mock.patch.object(transforms.transforms, "range", lambda _n: Tries(), create=True):
        i, j, h, w = transforms.RandomResizedCrop.get_params(picture(1, 1).resize((width, height)), scale,
                                                             [3 / 4, 4 / 3])
    return [j, i, w, h]


def box_rows():
    """Boxes from given numbers; long pictures come to the end of the ten tries."""
    rng = random.Random(9)
    for width, height in ((256, 256), (640, 427), (427, 640), (1, 1), (1, 2), (2, 1), (3, 5), (10, 300), (300, 10),
                          (90, 200), (7, 5)):
        for scale in ((0.08, 1), (0.4, 1), (0.05, 0.4), (1, 1)):
            for _i in range(3):
                u = [rng.random() for _k in range(40)]
                scale32 = [f32(s) for s in scale]
                yield {"kind": "box", "from": [width, height], "scale": scale32, "u": u,
                       "box": box_of(width, height, scale32, u)}


def every_colour():
    """All 2^24 colours: R is the fastest."""
    n = np.arange(1 << 24, dtype=np.uint32)
    rgb = np.stack([n & 255, n >> 8 & 255, n >> 16], axis=1).astype(np.uint8)
    return Image.frombytes("RGB", (4096, 4096), rgb.tobytes())


def colour_rows():
    """Hue, saturation and grey of every colour there is."""
    every = every_colour()
    for shift in (0, 1, 25, 100, 230):
        h, s, v = every.convert("HSV").split()
        turned = Image.merge("HSV", (h.point(lambda x, k=shift: (x + k) % 256), s, v)).convert("RGB")
        yield {"kind": "hue", "shift": shift, "sha256": sha(turned)}
    for factor in (0.8, 1.17):
        yield {"kind": "saturation", "factor": f32(factor), "sha256": sha(F.adjust_saturation(every, f32(factor)))}
    yield {"kind": "grey", "sha256": sha(F.rgb_to_grayscale(every, 3))}


def blur_rows():
    """Pictures that are not square, some smaller than the blur."""
    for width, height in ((1, 1), (1, 7), (7, 1), (2, 3), (33, 17), (5, 64)):
        for sigma in (0.1, 0.7, 1.41, 1.42, 2, 3.3, 12, 60):
            image = picture(width, height).filter(ImageFilter.GaussianBlur(f32(sigma)))
            yield {"kind": "blur", "from": [width, height], "sigma": f32(sigma), "sha256": sha(image)}


def normalise_row():
    """Every value of every channel."""
    image = Image.frombytes("RGB", (256, 1), bytes(v for v in range(256) for _k in range(3)))
    steps = transforms.Compose([transforms.ToTensor(),
                                transforms.Normalize((.485, .456, .406), (.229, .224, .225))])
    out = steps(image).permute(1, 2, 0).contiguous().numpy().astype("<f4")
    return {"kind": "normalise", "f32": out.tobytes().hex()}


def main():
    """Write augment.json.gz beside this file."""
    torch.set_num_threads(1)
    rows = []
    for row in crop_rows():
        rows.append({**row, "sha256": sha(apply(picture(*row["from"]), row))})
    rows += [*none_rows(), *box_rows(), *colour_rows(), *blur_rows(), normalise_row()]
    head = {"about": "crops, colours, blurs of Pillow and torchvision on noise(); see golden_augment.py",
            "pillow": PIL.__version__, "torchvision": torchvision.__version__.split("+")[0]}
    save_json_lines(os.path.join(HERE, "augment.json.gz"), head, rows)


if __name__ == "__main__":
    main()
