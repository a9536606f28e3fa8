#!/usr/bin/env python3
"""Draws one picture with diffusers in f32 from a full-size folder, keeps it, and compares it with imago's.

    full_size.py FOLDER -o REFERENCE [-p PROMPT] [-s SEED] [--steps 3] [--scheduler pndm] [--picture IMAGO.png]
                 [--latents IMAGO.safetensors]

Writes REFERENCE.png (of every fourth row every fourth pixel) and REFERENCE.safetensors (one tensor, "latents"). With --picture and --latents it prints
the differences, and exits with 1 when the picture is not the same (99.9 % of values within one level, no value
more than two off). The folder is the one that `imago init-weights --like sd-v1-4 -s 1 -o FOLDER` writes, or the
real checkpoint. A 512x512 picture of 3 steps takes diffusers two to three minutes on two cores, and 8 GB of memory.
"""

import argparse
import os
import sys

from safetensors.torch import load_file, save_file

from reference import SCHEDULERS, compare, draw, is_same, load_folder, read_png, write_png


def parse_options():
    """The command line of this program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="a diffusers folder")
    parser.add_argument("-o", "--out", required=True, help="where the reference goes: OUT.png and OUT.safetensors")
    parser.add_argument("-p", "--prompt", default="a photograph of an astronaut riding a horse")
    parser.add_argument("-n", "--negative", default="")
    parser.add_argument("-s", "--seed", type=int, default=42)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--scheduler", default="pndm", choices=SCHEDULERS)
    parser.add_argument("-W", "--width", type=int, default=512)
    parser.add_argument("-H", "--height", type=int, default=512)
    parser.add_argument("--picture", help="the picture that imago drew")
    parser.add_argument("--latents", help="the latents that imago saved (a safetensors file of one tensor)")
    return parser.parse_args()


def main():
    """Draw, write, compare."""
    options = parse_options()
    case = {"prompt": options.prompt, "negative": options.negative, "seed": options.seed, "steps": options.steps,
            "guidance": options.guidance, "scheduler": options.scheduler, "W": options.width, "H": options.height}
    picture, latents = draw(load_folder(options.folder), case)
    os.makedirs(os.path.dirname(os.path.abspath(options.out)), exist_ok=True)
    write_png(options.out + ".png", picture[::4, ::4])
    save_file({"latents": latents}, options.out + ".safetensors")
    print(f"wrote {options.out}.png and {options.out}.safetensors")
    if options.latents:
        (other,) = load_file(options.latents).values()
        print(f"latents: largest difference {float((other.float() - latents).abs().max()):.2e}, "
              f"largest value {float(latents.abs().max()):.2f}")
    if options.picture:
        difference = compare(read_png(options.picture), picture)
        print(f"picture: largest difference {difference['levels_max']} levels, within one level "
              f"{100 * difference['levels_within_1']:.4f} %")
        sys.exit(0 if is_same(difference) else 1)


if __name__ == "__main__":
    main()
