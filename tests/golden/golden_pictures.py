"""Finished pictures of the small models: pictures.safetensors.gz, pictures.json.gz and two init pictures.

Every second row of a picture is kept (pictures of random weights do not pack); latents are whole.

Each picture is drawn twice, the second time without oneDNN (other order of sums). How far the two are apart
is kept in the JSON: it is what rounding alone does to that picture.
"""

import os

import diffusers
import numpy
import torch
from PIL import Image

from golden_models import NAMES, load
from golden_store import save_json_lines, save_tensors
from reference import SCHEDULERS, compare, draw

ASTRONAUT = "a photograph of an astronaut riding a horse"
DEFAULTS = {"prompt": ASTRONAUT, "negative": "", "steps": 10, "guidance": 7.5, "scheduler": "pndm", "seed": 42}
SIZES = {"a": (64, 64), "b": (32, 32), "c": (48, 48)}
INITS = {"init_64x64.png": (64, 64), "init_83x70.png": (83, 70)}

EXTRA = [
    {"model": "a", "negative": "blurry, bad anatomy"},
    {"model": "b", "negative": "blurry, bad anatomy"},
    {"model": "a", "guidance": 1.0},
    {"model": "c", "guidance": 1.0, "scheduler": "ddim"},
    {"model": "b", "guidance": 3.25},
    {"model": "a", "W": 96, "H": 64, "prompt": "a castle, oil on canvas"},
    {"model": "a", "W": 120, "H": 200, "steps": 3},
    {"model": "b", "W": 24, "H": 40},
    {"model": "c", "W": 64, "H": 40, "scheduler": "ddim"},
    {"model": "a", "steps": 50},
    {"model": "b", "steps": 30, "scheduler": "ddim"},
    {"model": "c", "steps": 50, "scheduler": "euler"},
    {"model": "a", "steps": 1},
    {"model": "b", "steps": 2},
    {"model": "a", "seed": 2**32 + 7},
    {"model": "b", "seed": 0, "prompt": ""},
    {"model": "a", "seed": 7, "prompt": "very, very detailed " * 40},
    {"model": "b", "seed": 8, "prompt": "caf\u00e9 \U0001f600 it's"},
]
FROM_IMAGE = [
    {"model": "a", "init": "init_64x64.png", "strength": 0.75},
    {"model": "a", "init": "init_64x64.png", "strength": 0.3},
    {"model": "a", "init": "init_83x70.png", "strength": 0.75},
    {"model": "c", "init": "init_83x70.png", "strength": 0.5, "scheduler": "ddim"},
    {"model": "b", "init": "init_64x64.png", "strength": 1.0, "negative": "blurry"},
    {"model": "a", "init": "init_64x64.png", "strength": 0.75, "scheduler": "euler_a"},
    {"model": "a", "init": "init_64x64.png", "strength": 0.75, "scheduler": "heun"},
    {"model": "b", "init": "init_83x70.png", "strength": 0.6, "scheduler": "dpmpp_2m_karras"},
    {"model": "c", "init": "init_64x64.png", "strength": 0.75, "scheduler": "ddpm", "steps": 30},
]


def init_picture(width, height):
    """A smooth picture with an edge in it, the same everywhere."""
    y, x = numpy.mgrid[0:height, 0:width]
    red = 255 * x / (width - 1)
    green = 255 * y / (height - 1)
    blue = numpy.where((x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2, 240, 20 + (x * y) % 64)
    return Image.fromarray(numpy.stack([red, green, blue], axis=-1).round().astype(numpy.uint8))


def cases():
    """Every picture's settings in full."""
    rows = [{"model": model, "scheduler": name} for model in NAMES for name in SCHEDULERS] + EXTRA + FROM_IMAGE
    for number, row in enumerate(rows):
        full = {"name": f"p{number:02d}"} | DEFAULTS | row
        if "init" not in row:
            width, height = SIZES[row["model"]]
            full = {"W": width, "H": height} | full
        yield full


def draw_twice(pipe, case, folder):
    """The picture and latents of a case, and how far a second drawing without oneDNN is from them."""
    settings = case | ({"init": os.path.join(folder, case["init"])} if "init" in case else {})
    picture, latents = draw(pipe, settings)
    with torch.backends.mkldnn.flags(enabled=False):
        other_picture, other_latents = draw(pipe, settings)
    rounding = compare(other_picture, picture) | {"latents_max": float((other_latents - latents).abs().max())}
    assert rounding["levels_max"] <= 1 and rounding["latents_max"] < 5e-4, (case, rounding)
    return picture, latents, rounding


def make_pictures(out):
    """Draw every case and write the files."""
    for name, (width, height) in INITS.items():
        init_picture(width, height).save(os.path.join(out, name))
    pipes = {model: load(out, model) for model in NAMES}
    tensors, rows = {}, []
    for case in cases():
        picture, latents, rounding = draw_twice(pipes[case["model"]], case, out)
        tensors[case["name"] + ".rows"], tensors[case["name"] + ".latents"] = picture[::2], latents
        rows.append(case | {"H": picture.shape[0], "W": picture.shape[1], "rounding": rounding})
    save_tensors(os.path.join(out, "pictures.safetensors.gz"), tensors)
    head = {"about": "pictures drawn by StableDiffusionPipeline / StableDiffusionImg2ImgPipeline in f32",
            "diffusers": diffusers.__version__, "torch": torch.__version__}
    save_json_lines(os.path.join(out, "pictures.json.gz"), head, rows)
