#!/usr/bin/env python3
"""Draws one prompt with imago and with diffusers from the same folder, for every scheduler, and compares.

    compare_folder.py FOLDER --imago build/imago [--scheduler pndm ...] [--steps 10] [--seed 42] [-i INIT.png]

Prints a line a scheduler; exits with 1 when a picture is not the same (99.9 % of values within one level,
no value more than two off).
"""

import argparse
import os
import subprocess
import sys
import tempfile

from reference import SCHEDULERS, compare, draw, is_same, load_folder, read_png


def imago_command(options, case, out):
    """The command line of imago for a case."""
    command = [options.imago, "generate", "-m", options.folder, "-p", case["prompt"], "-n", case["negative"],
               "--steps", str(case["steps"]), "--guidance", str(case["guidance"]), "-s", str(case["seed"]),
               "--scheduler", case["scheduler"], "--dtype", "f32", "-q", "-o", out]
    if "init" in case:
        return command + ["-i", case["init"], "--strength", str(case["strength"])]
    return command + ["-W", str(case["W"]), "-H", str(case["H"])]


def parse_options():
    """The command line of this program."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="a diffusers folder")
    parser.add_argument("--imago", required=True, help="the program, e.g. build/imago")
    parser.add_argument("--scheduler", action="append", choices=SCHEDULERS, help="default: all, one after the other")
    parser.add_argument("--prompt", default="a photograph of an astronaut riding a horse")
    parser.add_argument("--negative", default="")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("-W", "--width", type=int, help="default: the UNet's sample_size times the VAE's factor")
    parser.add_argument("-H", "--height", type=int)
    parser.add_argument("-i", "--init", help="image to image, from this picture")
    parser.add_argument("--strength", type=float, default=0.75)
    return parser.parse_args()


def main():
    """Compare every scheduler asked for."""
    options = parse_options()
    pipe = load_folder(options.folder)
    own_size = pipe.unet.config.sample_size * pipe.vae_scale_factor
    case = {"prompt": options.prompt, "negative": options.negative, "steps": options.steps, "seed": options.seed,
            "guidance": options.guidance}
    if options.init:
        case |= {"init": options.init, "strength": options.strength}
    else:
        case |= {"W": options.width or own_size, "H": options.height or own_size}
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for name in options.scheduler or SCHEDULERS:
            case["scheduler"] = name
            out = os.path.join(folder, name + ".png")
            subprocess.run(imago_command(options, case, out), check=True)
            difference = compare(read_png(out), draw(pipe, case)[0])
            failed |= not is_same(difference)
            print(f"{name:16} largest difference {difference['levels_max']:3d} levels, within one level "
                  f"{100 * difference['levels_within_1']:.3f} %  {'same' if is_same(difference) else 'NOT THE SAME'}",
                  flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
