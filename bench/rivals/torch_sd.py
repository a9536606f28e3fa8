#!/usr/bin/env python3
"""Times PyTorch on the networks of Stable Diffusion v1.4, and imago beside it in the same run.

    torch_sd.py [--rounds 3] [--threads 2] [--what unet vae clip]
                [--kinds f32-contiguous f32-channels_last bf16-channels_last]
                [--imago build/imago] [--model build/sd-v1-4] [--csv FILE]

The networks have v1.4's shape and random weights (nothing is downloaded). A round times every kind of torch once
and then runs `imago bench WHAT --json -t THREADS -m MODEL`; rounds follow each other, so both meet the same machine. One
warm-up call of each kind comes first. Standard output is CSV, a row a measurement:
    what,dtype,layout,ms,threads,version
(layout is contiguous or channels_last for torch, imago for imago), then comment lines with medians and ratios.

  unet   a guided step: one UNet call on a batch of 2 at 64x64 latents, and the guidance formula
  vae    decoding one 64x64 latent to 512x512
  clip   77 tokens, one prompt
"""

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

UNET = {"sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "attention_head_dim": 8,
        "cross_attention_dim": 768, "block_out_channels": (320, 640, 1280, 1280), "norm_num_groups": 32,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3}
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 512,
       "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
CLIP = {"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
        "num_attention_heads": 12, "hidden_act": "quick_gelu", "max_position_embeddings": 77}

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
KINDS = ["f32-contiguous", "f32-channels_last", "bf16-channels_last"]
GUIDANCE = 7.5


def build(what):
    """One network in f32 with random weights."""
    if what == "unet":
        return UNet2DConditionModel(**UNET).eval()
    if what == "vae":
        return AutoencoderKL(**VAE).eval()
    return CLIPTextModel(CLIPTextConfig(**CLIP)).eval()


def convert(network, kind):
    """A copy of the network in the dtype and memory layout that `kind` names."""
    dtype, layout = kind.split("-")
    network = copy.deepcopy(network).to(DTYPES[dtype])
    return network.to(memory_format=torch.channels_last) if layout == "channels_last" else network


def work(what, network, kind):
    """A function of no arguments that does the measured work once."""
    dtype, layout = kind.split("-")
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    latents = torch.randn(1, 4, 64, 64, dtype=DTYPES[dtype]).contiguous(memory_format=memory)
    text = torch.randn(2, 77, 768, dtype=DTYPES[dtype])
    ids = torch.randint(0, CLIP["vocab_size"], (1, 77))

    def guided_step():
        both = torch.cat([latents, latents])
        without, wanted = network(both, 500, encoder_hidden_states=text).sample.chunk(2)
        return without + GUIDANCE * (wanted - without)

    return {"unet": guided_step, "vae": lambda: network.decode(latents).sample,
            "clip": lambda: network(ids).last_hidden_state}[what]


def milliseconds(run):
    """Time of one call."""
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def imago_rows(program, model, what, threads):
    """(dtype, ms) of every line that `imago bench WHAT --json` prints for this bench."""
    command = [program, "bench", what, "--json", "--rounds", "1", "-t", str(threads), "-m", model]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    rows = [(line["dtype"], line["ms"]) for line in lines if line["bench"] == what]
    if not rows:
        sys.exit(f"{' '.join(command)}: no line with \"bench\": \"{what}\"")
    return rows


def imago_version(program):
    """The first line of `imago --version`, without commas."""
    text = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return text.splitlines()[0].replace(",", " ")


class Table:
    """Prints every measurement as it comes and keeps it for the medians."""

    def __init__(self, threads, file):
        self.threads, self.file, self.times = threads, file, {}
        self.line("what,dtype,layout,ms,threads,version")

    def line(self, text):
        """One line to standard output, and to the CSV file where one was asked for."""
        print(text, flush=True)
        if self.file:
            print(text, file=self.file, flush=True)

    def add(self, what, dtype, layout, ms, version):
        """One measurement."""
        self.times.setdefault((what, dtype, layout), []).append(ms)
        self.line(f"{what},{dtype},{layout},{ms:.1f},{self.threads},{version}")

    def summary(self, what):
        """Medians, and how many times faster imago is than each kind of torch."""
        medians = {key: statistics.median(times) for key, times in self.times.items() if key[0] == what}
        for (_, dtype, layout), median in medians.items():
            self.line(f"# median {what} {dtype} {layout}: {median:.1f} ms")
        ours = {key: median for key, median in medians.items() if key[2] == "imago"}
        for (_, dtype, _), mine in ours.items():
            for (_, other, layout), median in medians.items():
                if layout != "imago":
                    self.line(f"# ratio {what}: imago {dtype} is {median / mine:.2f}x torch {other} {layout}")


def measure(what, options, table):
    """All rounds of one network."""
    network = build(what)
    runs = {kind: work(what, convert(network, kind), kind) for kind in options.kinds}
    del network
    for run in runs.values():
        run()
    for _ in range(options.rounds):
        for kind, run in runs.items():
            dtype, layout = kind.split("-")
            table.add(what, dtype, layout, milliseconds(run), "torch " + torch.__version__)
        if options.imago:
            version = imago_version(options.imago)
            for dtype, ms in imago_rows(options.imago, options.model, what, options.threads):
                table.add(what, dtype, "imago", ms, version)
    table.summary(what)


def main():
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--what", nargs="+", choices=["unet", "vae", "clip"], default=["unet", "vae", "clip"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--imago", help="the program, e.g. build/imago: measured in the same rounds")
    parser.add_argument("--model", default="build/sd-v1-4", help="imago's model folder of v1.4's shape (imago init-weights)")
    parser.add_argument("--csv", type=argparse.FileType("w"), help="write the same lines to this file")
    options = parser.parse_args()
    diffusers.utils.logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    table = Table(options.threads, options.csv)
    with torch.inference_mode():
        for what in options.what:
            measure(what, options, table)


if __name__ == "__main__":
    main()
