"""What the pipeline of synthetic clones computes, by other programs: clones.json.

pHash by ImageHash, of pictures that lie here.
"""

import json
import os

import imagehash
from PIL import Image, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
PICTURES = ["init_64x64.png", "init_83x70.png", "photo.jpg", "full_size.png"]


def phashes():
    rows = []
    for name in PICTURES:
        picture = ImageOps.exif_transpose(Image.open(os.path.join(HERE, name))).convert("RGB")
        rows.append({"file": name, "phash": str(imagehash.phash(picture))})
    return rows


def make_clones(out):
    with open(os.path.join(out, "clones.json"), "w") as f:
        json.dump({"phash": phashes()}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    make_clones(HERE)
