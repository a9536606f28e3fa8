"""Three pictures of the embedded model, as files, drawn at once.

    python3 generate.py FOLDER
"""
from __future__ import annotations

import pathlib
import sys

import imago

PROMPTS = ["strawberry", "a cat", "flag of Japan"]


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with imago.Model.load() as model:
        wanted = [{"prompt": p, "steps": 20, "guidance": 4, "seed": 1} for p in PROMPTS]
        pictures = model.generate_all(wanted, progress=lambda done, total: print(f"\r{done}/{total}", end="", flush=True))
    print()
    for prompt, picture in zip(PROMPTS, pictures):
        path = folder / f"{prompt.replace(' ', '-')}.png"
        imago.write_picture(path, picture, force=True)
        print(path, picture.shape, picture.dtype)


if __name__ == "__main__":
    main()
