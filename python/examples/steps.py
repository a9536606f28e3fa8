"""Two pictures on their way, step by step: a preview in the middle, and one of them is given up.

    python3 steps.py FOLDER
"""
from __future__ import annotations

import pathlib
import sys

import numpy as np

import imago


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with imago.Model.load() as model, \
            model.open("strawberry", steps=20, guidance=4, seed=1) as kept, \
            model.open("a cat", steps=20, guidance=4, seed=1) as other:
        while model.step([kept, other]):                       # one evaluation for both, in one batch
            spread = float(np.std(kept.latents()))
            print(f"{kept.done} of {kept.total}: latents {kept.latents().shape}, deviation {spread:.3f}")
            if kept.done == 10:
                imago.write_picture(folder / "preview.png", kept.preview(), force=True)
                other.cancel()                                 # the first goes on
        print(kept.state, other.state)
        imago.write_picture(folder / "strawberry.png", kept.image(), force=True)


if __name__ == "__main__":
    main()
