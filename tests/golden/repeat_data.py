"""repeat_data.py: repeats with Pillow and torchvision what `imago data` drew, and compares every value.

    imago data DIR --augment dino --json drawn.json --dump fed.safetensors
    python3 tests/golden/repeat_data.py drawn.json fed.safetensors

Needs Pillow, torchvision, safetensors and numpy. Ends with 1 when a value differs. For sets in folders: the pictures of
shards are not files. A crop that was decoded smaller (--shrink) differs by what that changes.
"""
import json
import sys

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from safetensors.numpy import load_file
from torchvision.transforms import functional as F

FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}


def repeat(picture, crop):
    x = picture.crop(crop["box"]).resize(crop["resize"], FILTERS[crop["filter"]]).crop(crop["window"])
    if crop["flip"]:
        x = x.transpose(Image.FLIP_LEFT_RIGHT)
    for j in crop["jitter"]:
        x = getattr(F, "adjust_" + j["op"])(x, j["factor"])
    if crop["grey"]:
        x = F.to_grayscale(x, 3)
    if crop["blur"] is not None:
        x = x.filter(ImageFilter.GaussianBlur(crop["blur"]))
    if crop["solarize"] is not None:
        x = ImageOps.solarize(x, crop["solarize"])
    return np.asarray(x)


def main():
    drawn, fed = json.load(open(sys.argv[1])), load_file(sys.argv[2])
    crops = differ = 0
    for i, p in enumerate(drawn["pictures"]):
        picture = ImageOps.exif_transpose(Image.open(drawn["path"] + "/" + p["file"])).convert("RGB")
        if picture.size != (p["width"], p["height"]) or fed["labels"][i] != p["label"] or fed["indices"][i] != p["index"]:
            sys.exit(f"{p['file']}: another size, label or index")
        for k, crop in enumerate(p["crops"]):
            off = np.abs(repeat(picture, crop).astype(int) - fed[f"crop{k}"][i])
            crops += 1
            if off.max():
                differ += 1
                print(f"{p['file']}: crop {k}: {np.count_nonzero(off)} values differ, by {off.max()} at most: {crop}")
    print(f"{len(drawn['pictures'])} pictures, {crops} crops, {differ} differ")
    sys.exit(differ > 0)


main()
