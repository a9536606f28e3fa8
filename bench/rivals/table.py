#!/usr/bin/env python3
"""The networks of Stable Diffusion v1.4 on this processor: imago and its rivals in turn, in one table.

    table.py --imago build/imago --model build/sd-v1-4 --cache build/rivals [--quick] [--rounds 3] [--threads 2]
             [--engines NAME...] [--csv FILE]

A round runs every engine once, each in a process of its own (engine.py has their settings), so that all meet the same
machine; a median is over all calls of all rounds. --quick: one round, without what takes minutes to build. An engine that
cannot be run is named with its error, and the table goes on. Columns:

  guided step   UNet on a batch of 2 at 64x64 latents: median of ms, and the spread (most - least) / median
  decoding      VAE, one 64x64 latent to 512x512
  core-s        threads x (20 guided steps + decoding): core-seconds of a picture of 20 steps
  peak          memory of the process at its most, what is made of the weights once (graphs, ONNX files) apart
  error         of the noise of one evaluation, relative L2, against the same engine's f32. imago's and sd.cpp's inputs are not
                the others' (latents of a seed, a text): the error is its own, too
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
RIVALS = ["torch-f32", "torch-bf16", "compile-f32", "compile-bf16", "openvino-f32", "openvino-auto", "openvino-int8",
          "onnxruntime-f32", "sdcpp-f16", "sdcpp-q8_0"]
QUICK = ["torch-f32", "torch-bf16", "openvino-f32", "openvino-auto", "openvino-int8"]
OURS = ["imago-f32", "imago-f16", "imago-bf16", "imago-bf16-bf16", "imago-int8"]  # weights, then activations
STEPS = 20
LIMIT = 1200                                                   # seconds an engine may take, building included


class Failed(Exception):
    """An engine did not run; what it said."""


def processor():
    """The name of the processor, as the system has it, and what it can that matters here."""
    text = open("/proc/cpuinfo", encoding="utf-8").read() if os.path.exists("/proc/cpuinfo") else ""
    found = {key: re.search(rf"^{key}\s*: (.*)$", text, re.M) for key in ("model name", "cpu family", "model", "flags")}
    flags = set(found["flags"].group(1).split()) if found["flags"] else set()
    name = found["model name"].group(1) if found["model name"] else platform.processor()
    can = [f for f in ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile") if f in flags]
    family = "/".join(found[k].group(1) for k in ("cpu family", "model") if found[k])
    return f"{name} (family/model {family}; {' '.join(can)})"


def child(command, **more):
    """Standard output of a process, and its peak memory in MiB."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more) as p:
        try:
            out, err = p.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            raise Failed(f"not ended within {LIMIT} s") from None
    if p.returncode:
        lines = [line for line in err.strip().splitlines() if line.strip()] or [f"ended with {p.returncode}"]
        raise Failed(lines[-1][:200])
    return out


def run_rival(o, name):
    """What engine.py prints."""
    single = f"{o.cache}/single.safetensors"
    if name.startswith("sdcpp") and not os.path.exists(single):
        child([o.imago, "convert", o.model, "-o", single, "--dtype", "f16"])
    env = os.environ | {"OMP_NUM_THREADS": str(o.threads), "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, f"{HERE}/engine.py", name, "--model", o.model, "--cache", o.cache, "--single", single,
               "--threads", str(o.threads), "--calls", str(o.calls)]
    child(command + ["--prepare"], env=env)
    out = child(command, env=env)
    return json.loads(out.splitlines()[-1])


def imago_noise(o, name, dtypes):
    """The noise of one evaluation, by `imago trace`: kept as the others keep theirs."""
    path, trace = f"{o.cache}/noise-{name}.npy", f"{o.cache}/trace.safetensors"
    if os.path.exists(path):
        return
    child([o.imago, "trace", "-m", o.model, "-p", "an astronaut", "-s", "1", "-t", str(o.threads), *dtypes, "-o", trace,
           "--force"])
    with open(trace, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        head = json.loads(f.read(size))
        key = next(k for k in head if k.endswith("conv_out") and "decoder" not in k)
        begin, end = head[key]["data_offsets"]
        f.seek(8 + size + begin)
        numpy.save(path, numpy.frombuffer(f.read(end - begin), numpy.float32))
    os.remove(trace)


def run_imago(o, name):
    """The same as a rival's, by `imago bench`; its memory is that of the UNet's process."""
    kinds, times, peak = name.split("-")[1:] + ["f32"], {}, 0
    dtypes = ["--dtype", kinds[0], "--activations", kinds[1]]
    for what in ("unet", "vae"):
        out = child(["/usr/bin/env", "python3", "-c", "import resource, subprocess, sys\n"
                     "rc = subprocess.call(sys.argv[1:])\n"
                     "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)\nsys.exit(rc)",
                     o.imago, "bench", what, "--json", "--rounds", str(o.calls), "-t", str(o.threads), "-m", o.model,
                     *dtypes])
        lines = out.splitlines()
        row = next(r for r in map(json.loads, lines[:-1]) if r["bench"] == what)
        times[what], peak = [row["ms"]], max(peak, int(lines[-1]))
    imago_noise(o, name, dtypes)
    version = child([o.imago, "--version"]).splitlines()[0]
    return {"engine": name, "version": version, "ms": times, "peak_mib": peak}


def error(o, name):
    """Of the noise against that of the same engine in f32; NaN: not known."""
    kind = name.split("-")[0]
    base = f"{o.cache}/noise-{'torch' if kind == 'compile' else kind}-f32.npy"
    mine = f"{o.cache}/noise-{name}.npy"
    if not os.path.exists(base) or not os.path.exists(mine):
        return float("nan")
    a, b = numpy.load(base).astype(float), numpy.load(mine).astype(float)
    return float(numpy.linalg.norm(b - a) / numpy.linalg.norm(a))


class Results:
    """What the engines said, over all rounds."""

    def __init__(self):
        self.ms, self.peak, self.version, self.failed = {}, {}, {}, {}

    def add(self, name, found):
        """One engine's round."""
        self.version[name] = found["version"]
        self.peak[name] = max(self.peak.get(name, 0), found["peak_mib"])
        for what, times in found["ms"].items():
            self.ms.setdefault((name, what), []).extend(times)

    def median(self, name, what):
        """ms; NaN: none."""
        return statistics.median(self.ms[name, what]) if self.ms.get((name, what)) else float("nan")

    def spread(self, name, what):
        """(most - least) / median."""
        times = self.ms.get((name, what)) or [float("nan")]
        return (max(times) - min(times)) / statistics.median(times)


def report(o, results, out):
    """The table, CSV with comments, and what failed."""
    def line(text):
        print(text, flush=True)
        if out:
            print(text, file=out, flush=True)
    line(f"# {processor()}, {o.threads} threads, {time.strftime('%Y-%m-%d')}, {o.rounds} rounds")
    line("engine,guided step ms,spread,decoding ms,core-s,peak MiB,error,version")
    for name in OURS + o.engines:
        if name in results.version:
            unet, vae = results.median(name, "unet"), results.median(name, "vae")
            line(f"{name},{unet:.0f},{results.spread(name, 'unet'):.2f},{vae:.0f},"
                 f"{o.threads * (STEPS * unet + vae) / 1000:.0f},{results.peak[name]},{error(o, name):.1e},"
                 f"{results.version[name].replace(',', ' ')}")
    for name, why in results.failed.items():
        line(f"# {name} cannot be run: {why}")
    for ours in OURS:
        if ours in results.version:
            ratios = [f"{name} {results.median(name, 'unet') / results.median(ours, 'unet'):.2f}"
                      for name in o.engines if name in results.version]
            line(f"# guided step, how many times faster {ours} is than: {', '.join(ratios)}")


def main():
    """All rounds, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--imago", default="build/imago")
    parser.add_argument("--model", default="build/sd-v1-4")
    parser.add_argument("--cache", default="build/rivals", help="where engines keep what they make of the weights")
    parser.add_argument("--quick", action="store_true", help="one round, without what takes minutes to build")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--calls", type=int, default=2, help="timed calls a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--engines", nargs="*", choices=RIVALS)
    parser.add_argument("--csv", help="write the table to this file, too")
    o = parser.parse_args()
    o.rounds = o.rounds or (1 if o.quick else 3)
    o.engines = o.engines if o.engines is not None else QUICK if o.quick else RIVALS
    os.makedirs(o.cache, exist_ok=True)
    results = Results()
    for number in range(o.rounds):
        for name in OURS + o.engines:
            if name in results.failed:
                continue
            start = time.time()
            try:
                results.add(name, run_imago(o, name) if name in OURS else run_rival(o, name))
                said = f"{results.ms[name, 'unet'][-1]:.0f} ms a guided step"
            except Failed as why:
                results.failed[name] = str(why)
                said = f"cannot be run: {why}"
            print(f"round {number + 1}: {name}: {said} ({time.time() - start:.0f} s in all)", file=sys.stderr, flush=True)
    if o.csv:
        with open(o.csv, "w", encoding="utf-8") as out:
            report(o, results, out)
    else:
        report(o, results, None)


if __name__ == "__main__":
    main()
