"""Parts of pictures cut out, filled and put back with Pillow: redraw.json and redraw.safetensors.gz.

The rules of AUTOMATIC1111's web interface for "only masked" and for the filling of a mask, written down from modules/masking.py,
images.py and processing.py there; Pillow does the arithmetic.
"""

import os

import numpy
import PIL
import torch
from PIL import Image, ImageFilter, ImageOps

from golden_store import save_json_lines, save_tensors

BOXES = [  # picture, white part, padding, drawing
    ((64, 64), (10, 20, 30, 40), 0, (64, 64)), ((64, 64), (10, 20, 30, 40), 5, (64, 64)),
    ((83, 70), (60, 5, 83, 12), 3, (64, 64)), ((83, 70), (0, 50, 9, 70), 8, (96, 64)),
    ((83, 70), (40, 0, 43, 70), 0, (64, 128)), ((83, 70), (2, 30, 80, 33), 1, (64, 64)),
    ((83, 70), (0, 0, 83, 70), 32, (512, 512)), ((640, 480), (300, 470, 301, 471), 32, (512, 512)),
    ((640, 480), (17, 100, 620, 141), 7, (512, 768)), ((640, 480), (639, 0, 640, 480), 0, (768, 512)),
]
FITS = [("a", (64, 64)), ("a", (96, 40)), ("a", (41, 97)), ("a", (83, 70)), ("b", (64, 64)), ("b", (24, 72)), ("b", (80, 16))]


def box_of(mask, padding, size):
    """The mask's box with padding, widened to the proportions of size."""
    x0, y0, x1, y1 = mask.getbbox()
    low, high = [max(x0 - padding, 0), max(y0 - padding, 0)], [min(x1 + padding, mask.width), min(y1 + padding, mask.height)]
    wide = (high[0] - low[0]) / (high[1] - low[1]) > size[0] / size[1]
    axis = 1 if wide else 0
    wanted = (high[0] - low[0]) / (size[0] / size[1]) if wide else (high[1] - low[1]) * (size[0] / size[1])
    more, end = int(wanted - (high[axis] - low[axis])), mask.size[axis]
    low[axis] -= more // 2
    high[axis] += more - more // 2
    past = max(high[axis] - end, 0)
    low[axis], high[axis] = low[axis] - past, high[axis] - past
    short = min(low[axis], 0)
    low[axis], high[axis] = low[axis] - short, min(high[axis] - short, end)
    return [*low, *high]


def fitted(image, size, over):
    """Image at size, not stretched: covering it, or within it with the edges repeated."""
    (width, height), (w, h) = size, image.size
    by_width = width * h > w * height if over else width * h < w * height
    by_height = width * h <= w * height if over else width * h >= w * height
    inner = (width if by_width else w * height // h, height if by_height else h * width // w)
    fit, out = image.resize(inner, Image.Resampling.LANCZOS), Image.new(image.mode, size)
    x, y = width // 2 - inner[0] // 2, height // 2 - inner[1] // 2
    out.paste(fit, (x, y))
    if over:
        return out
    for top, rows in ((0, y), (y + inner[1], height - y - inner[1])):
        edge = 0 if top == 0 else inner[1]
        if rows > 0:
            out.paste(fit.resize((width, rows), box=(0, edge, width, edge)), (0, top))
    for left, columns in ((0, x), (x + inner[0], width - x - inner[0])):
        edge = 0 if left == 0 else inner[0]
        if columns > 0:
            out.paste(fit.resize((columns, height), box=(edge, 0, edge, height)), (left, 0))
    return out


def without(image, mask):
    """The picture, transparent where the mask is white, its colours times its alpha."""
    out = Image.new("RGBa", image.size)
    out.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask))
    return out


def filled(image, mask):
    """The picture with blurs of itself laid over one another in the mask's place."""
    rest, out = without(image, mask), Image.new("RGBA", image.size)
    for radius, times in ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)):
        layer = rest.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            out.alpha_composite(layer)
    return out.convert("RGB")


def put_back(image, mask, drawn, box):
    """Drawn, of the box's size, in the picture as far as the mask is white."""
    out = Image.new("RGBA", image.size)
    out.paste(drawn, tuple(box[:2]))
    out.alpha_composite(without(image, mask).convert("RGBA"))
    return out.convert("RGB")


def white(size, part):
    """A mask with a white rectangle."""
    out = Image.new("L", size)
    out.paste(255, part)
    return out


def tensor(image):
    """Its values, u8."""
    return torch.from_numpy(numpy.array(image))


def make_redraw(out):
    """Write both files."""
    pictures = {"a": Image.open(os.path.join(out, "init_83x70.png")).convert("RGB"),
                "b": Image.open(os.path.join(out, "mask_64x64.png")).convert("L").crop((11, 3, 52, 64))}
    rows = [{"picture": list(size), "white": list(part), "padding": padding, "drawing": list(drawing),
             "box": box_of(white(size, part), padding, drawing)} for size, part, padding, drawing in BOXES]
    results = {}
    for name, size in FITS:
        results[f"within.{name}.{size[0]}x{size[1]}"] = tensor(fitted(pictures[name], size, False))
        results[f"over.{name}.{size[0]}x{size[1]}"] = tensor(fitted(pictures[name], size, True))
    soft = white((83, 70), (20, 15, 60, 47)).filter(ImageFilter.GaussianBlur(4))
    start, band = Image.open(os.path.join(out, "init_64x64.png")).convert("RGB"), Image.open(os.path.join(out, "mask_64x64.png"))
    results |= {"soft": tensor(soft), "fill.soft": tensor(filled(pictures["a"], soft)), "fill.band": tensor(filled(start, band)),
                "fill.all": tensor(filled(start, Image.new("L", (64, 64), 255)))}
    box = box_of(soft, 2, (64, 64))
    drawn = fitted(start, (box[2] - box[0], box[3] - box[1]), True)
    results["back"] = tensor(put_back(pictures["a"], soft, drawn, box))
    head = {"about": "boxes of white parts; fitted, filled and put back pictures are in redraw.safetensors.gz: a init_83x70.png, "
                     "b mask_64x64.png cut to columns 11..51 and rows 3..63; back: init_64x64.png in the box of soft, padding 2",
            "pillow": PIL.__version__}
    save_json_lines(os.path.join(out, "redraw.json"), head, rows)
    save_tensors(os.path.join(out, "redraw.safetensors.gz"), results)
