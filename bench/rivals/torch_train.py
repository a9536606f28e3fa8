#!/usr/bin/env python3
"""Times training steps of PyTorch, and those of imago beside it in the same run; peak memory of both.

    torch_train.py [--what resnet50 unet-small loader] [--dtypes f32 bf16] [--batch 32] [--rounds 3] [--steps 3]
                   [--threads 2] [--compile] [--imago build/imago] [--csv FILE]

A round runs every kind once, each in a process of its own: torch's is this program with --child, imago's is
    imago bench train --arch ARCH --batch B --dtype f32|bf16 --from none -t THREADS --json
(loader: imago bench train --arch loader --data FOLDER -t THREADS --json), which prints an object a row:
    {"arch": "resnet50", "batch": 32, "dtype": "f32", "data": "none", "img_per_s": 5.1, ...}
Rounds follow each other, so all meet the same machine. Peak memory is what the system says of a process when it has
ended (ru_maxrss), for both alike; that of torch's process after its imports is given beside it.

  resnet50    torchvision's, 224x224, 1000 classes: forward, cross entropy, backward, SGD with momentum and decay;
              channels_last, bf16 with autocast; pictures are ready in memory
  unet-small  UNet2DConditionModel 64/128/192, one layer a level (cross attention but in the last), 8 heads, text
              (77, 128), 16x16x4 latents: noise added, mean square error, backward, AdamW
  loader      256x256 JPEGs to one crop of 224 and eight of 96 with DINO's augmentation, THREADS workers

Standard output is CSV, a row a measurement:
    what,dtype,program,img_per_s,peak_mb,cpu_ms_per_img,threads,version
then comment lines with medians and ratios.
"""

import argparse
import importlib.metadata
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

UNET = {"sample_size": 16, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "attention_head_dim": 8,
        "cross_attention_dim": 128, "block_out_channels": (64, 128, 192), "norm_num_groups": 32,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")}
NETWORKS = ["resnet50", "unet-small"]
JPEGS, JPEG_SIZE = 64, 256
LOADED = 192
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network_step(options):
    """A function that takes one training step."""
    import torch
    compiled = torch.compile if options.compile else lambda net: net
    mixed = options.dtype == "bf16"

    if options.what == "resnet50":
        import torchvision
        net = torchvision.models.resnet50().train().to(memory_format=torch.channels_last)
        x = torch.randn(options.batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, 1000, (options.batch,))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        run = compiled(net)

        def loss():
            return torch.nn.functional.cross_entropy(run(x), labels)
    else:
        from diffusers import DDPMScheduler, UNet2DConditionModel
        net = UNet2DConditionModel(**UNET).train().to(memory_format=torch.channels_last)
        scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        x0, eps = (torch.randn(options.batch, 4, 16, 16).contiguous(memory_format=torch.channels_last) for _ in "xe")
        text, times = torch.randn(options.batch, 77, 128), torch.randint(0, 1000, (options.batch,))
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4)
        run = compiled(net)

        def loss():
            out = run(scheduler.add_noise(x0, eps, times), times, text).sample
            return torch.nn.functional.mse_loss(out.float(), eps)

    def step():
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            value = loss()
        value.backward()
        optimiser.step()

    return step


def peak_now():
    """Bytes that this process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def child_network(options):
    """The measured steps of one network, after a warm-up."""
    import torch
    # What the network is made of is loaded before the memory at the start is read.
    if options.what == "resnet50":
        import torchvision  # noqa: F401
    else:
        from diffusers import DDPMScheduler, UNet2DConditionModel  # noqa: F401
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    start = peak_now()
    step = network_step(options)
    for _ in range(3 if options.compile else 1):
        step()
    times = []
    for _ in range(options.steps):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return {"img_per_s": options.batch / statistics.median(times), "start_bytes": start}


def dino():
    """The crops of one picture: one of 224, eight of 96."""
    from PIL import ImageFilter
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    def blur(image):
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))

    def crop(size, scale, blurred, solarized):
        jitter = transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)
        return transforms.Compose([
            transforms.RandomResizedCrop(size, scale=scale, interpolation=InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(), transforms.RandomApply([jitter], 0.8), transforms.RandomGrayscale(0.2),
            transforms.RandomApply([transforms.Lambda(blur)], blurred), transforms.RandomSolarize(128, solarized),
            transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    whole, part = crop(224, (0.4, 1.0), 0.2, 0.2), crop(96, (0.05, 0.4), 0.5, 0.0)
    return lambda image: [whole(image)] + [part(image) for _ in range(8)]


def child_loader(options):
    """Pictures a second out of a DataLoader, and the workers' processor time for one."""
    import torch
    from torchvision.datasets import ImageFolder
    torch.set_num_threads(1)
    start = peak_now()
    folder = ImageFolder(options.data, dino())
    order = [i % len(folder) for i in range(LOADED)]
    loader = torch.utils.data.DataLoader(torch.utils.data.Subset(folder, order), batch_size=16,
                                         num_workers=options.threads, multiprocessing_context="fork")
    begin, seen = None, 0
    for _ in loader:
        # The first batches pay for the start of the workers.
        if begin is None:
            begin = time.perf_counter()
        else:
            seen += 16
    seconds = time.perf_counter() - begin
    del loader
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"img_per_s": seen / seconds, "start_bytes": start,
            "cpu_ms_per_img": 1000 * (used.ru_utime + used.ru_stime) / LOADED}


def child_jpegs(options):
    """Writes pictures of two classes: smooth noise with grain, quality 90."""
    import numpy
    from PIL import Image
    rng = numpy.random.default_rng(1)
    for i in range(JPEGS):
        small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=numpy.uint8))
        picture = numpy.asarray(small.resize((JPEG_SIZE, JPEG_SIZE), Image.BICUBIC)).astype(numpy.int16)
        picture = numpy.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(numpy.uint8)
        where = os.path.join(options.data, f"class{i % 2}")
        os.makedirs(where, exist_ok=True)
        Image.fromarray(picture).save(os.path.join(where, f"{i:03d}.jpg"), quality=90)


CHILDREN = {"resnet50": child_network, "unet-small": child_network, "loader": child_loader, "jpegs": child_jpegs}


def run_child(command):
    """(standard output, peak bytes) of a process. A process begins with the peak of the one that starts it: this one
    imports nothing large."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return text, usage.ru_maxrss * 1024


def child_command(part, options):
    """This program as a child that does one part."""
    return [sys.executable, os.path.abspath(__file__), "--child", part, "--batch", str(options.batch), "--steps",
            str(options.steps), "--threads", str(options.threads), "--data", options.data]


def torch_row(what, dtype, options):
    """One measurement of torch."""
    text, peak = run_child(child_command(what, options) + ["--dtypes", dtype] * (what != "loader")
                           + ["--compile"] * options.compile)
    return json.loads(text.splitlines()[-1]) | {"peak_bytes": peak}


def imago_row(what, dtype, options):
    """One measurement of imago: the row without data, or with JPEGs for the loader."""
    command = [options.imago, "bench", "train", "--arch", what, "-t", str(options.threads), "--json"]
    command += ["--data", options.data] if what == "loader" else ["--batch", str(options.batch), "--dtype", dtype,
                                                                           "--from", "none"]
    text, peak = run_child(command)
    data = "jpeg" if what == "loader" else "none"
    for row in (json.loads(line) for line in text.splitlines() if line.startswith("{")):
        if row["arch"] == what and row.get("data", data) == data and (what == "loader" or row["dtype"] == dtype):
            return row | {"peak_bytes": peak}
    sys.exit(f"{' '.join(command)}: no row with \"arch\": \"{what}\" and \"data\": \"{data}\"")


class Table:
    """Prints every measurement as it comes and keeps it for the medians."""

    def __init__(self, threads, file):
        self.threads, self.file, self.rows = threads, file, {}
        self.line("what,dtype,program,img_per_s,peak_mb,cpu_ms_per_img,threads,version")

    def line(self, text):
        """One line to standard output, and to the CSV file where one was asked for."""
        print(text, flush=True)
        if self.file:
            print(text, file=self.file, flush=True)

    def add(self, what, dtype, program, row, version):
        """One measurement."""
        self.rows.setdefault((what, dtype, program), []).append(row)
        cpu = f"{row['cpu_ms_per_img']:.2f}" if "cpu_ms_per_img" in row else ""
        self.line(f"{what},{dtype},{program},{row['img_per_s']:.3f},{row['peak_bytes'] / 2**20:.0f},{cpu},"
                  f"{self.threads},{version}")

    def median(self, key, field):
        """Median of one field over the rounds; None where it is not given."""
        values = [row[field] for row in self.rows.get(key, []) if field in row]
        return statistics.median(values) if values else None

    def summary(self, what, dtype, program):
        """Medians of both programs, how many times faster imago is, and its share of torch's memory."""
        theirs, ours = (what, dtype, program), (what, dtype, "imago")
        for key in (theirs, ours):
            if key not in self.rows:
                continue
            start, cpu = self.median(key, "start_bytes"), self.median(key, "cpu_ms_per_img")
            self.line(f"# median {what} {dtype} {key[2]}: {self.median(key, 'img_per_s'):.3f} img/s, peak "
                      f"{self.median(key, 'peak_bytes') / 2**20:.0f} MiB"
                      + (f" ({start / 2**20:.0f} MiB after imports)" if start else "")
                      + (f", {cpu:.2f} ms of processor time a picture" if cpu else ""))
        if ours in self.rows:
            speed = self.median(ours, "img_per_s") / self.median(theirs, "img_per_s")
            mine, peak = self.median(ours, "peak_bytes"), self.median(theirs, "peak_bytes")
            bare = peak - self.median(theirs, "start_bytes")
            self.line(f"# ratio {what} {dtype}: imago is {speed:.2f}x {program}, with {mine / peak:.2f} of its memory "
                      f"({mine / bare:.2f} of what it takes beyond its imports)")


def measure(options):
    """All rounds of all kinds."""
    version = "torch " + importlib.metadata.version("torch")
    program = "torch-compiled" if options.compile else "torch"
    ours = options.imago and subprocess.run([options.imago, "--version"], check=True, stdout=subprocess.PIPE,
                                            text=True).stdout.splitlines()[0].replace(",", " ")
    table = Table(options.threads, options.csv)
    for what in options.what:
        # The loader works on bytes: one kind.
        dtypes = ["u8"] if what == "loader" else options.dtypes
        for _ in range(options.rounds):
            for dtype in dtypes:
                table.add(what, dtype, program, torch_row(what, dtype, options), version)
                if options.imago:
                    table.add(what, dtype, "imago", imago_row(what, dtype, options), ours)
        for dtype in dtypes:
            table.summary(what, dtype, program)


def main():
    """Measure what was asked for, or be one measurement of torch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--what", nargs="+", choices=NETWORKS + ["loader"], default=NETWORKS)
    parser.add_argument("--dtypes", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="measured steps a round, after the warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks")
    parser.add_argument("--imago", help="the program, e.g. build/imago: measured in the same rounds")
    parser.add_argument("--data", help="folder of JPEGs for the loader (default: made, and removed)")
    parser.add_argument("--csv", type=argparse.FileType("w"), help="write the same lines to this file")
    parser.add_argument("--child", choices=[*CHILDREN], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        options.what, options.dtype = options.child, options.dtypes[0]
        print(json.dumps(CHILDREN[options.child](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if not options.data:
            options.data = folder
            run_child(child_command("jpegs", options))
        measure(options)


if __name__ == "__main__":
    main()
