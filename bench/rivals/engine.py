#!/usr/bin/env python3
"""One rival, in a process of its own: a guided step of v1.4's UNet and a decoding, timed. Called by table.py.

    engine.py NAME --model FOLDER --cache FOLDER [--threads 2] [--calls 2] [--what unet vae] [--prepare]

FOLDER is a diffusers folder of v1.4's shape: everybody has the same weights. What an engine makes of them once (a graph of
OpenVINO, an ONNX file) is kept in the cache folder; --prepare makes that and nothing else, so that its memory does not
count. Prints one JSON object: ms of every call, the peak of the memory held
(MiB), the version; writes the noise of a fixed input to CACHE/noise-NAME.npy, for the error against the engine's own f32.

  torch-DTYPE           eager, channels_last
  compile-DTYPE         torch.compile, inductor's freezing, channels_last
  openvino-f32          hint inference_precision f32 (without it OpenVINO takes bf16 or f16 where the processor has them)
  openvino-auto, -bf16  its own choice; bf16
  openvino-int8         NNCF, post-training, calibrated on eight latents of random numbers with random states of a text
  onnxruntime-f32       all optimisations, as many threads
  sdcpp-f16, -q8_0      stable-diffusion.cpp through stable-diffusion-cpp-python: time between two steps of a picture
"""

import argparse
import json
import os
import resource
import sys
import time

import numpy

SHAPES = {"sample": (2, 4, 64, 64), "timestep": (), "encoder_hidden_states": (2, 77, 768)}
CALIBRATION = 8


def inputs(seed):
    """Latents of a guided step (two equal ones), its time, states of two texts: numpy, f32."""
    rng = numpy.random.default_rng(seed)
    latents = rng.standard_normal((1, 4, 64, 64), numpy.float32)
    states = rng.standard_normal(SHAPES["encoder_hidden_states"], numpy.float32)
    return numpy.concatenate([latents, latents]), numpy.array(500.0, numpy.float32), states


def networks(folder):
    """UNet and decoder of diffusers in f32."""
    import diffusers
    import torch
    diffusers.utils.logging.set_verbosity_error()

    class Unet(torch.nn.Module):
        """Tensors in, a tensor out."""
        def __init__(self):
            super().__init__()
            self.net = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=torch.float32)

        def forward(self, sample, timestep, encoder_hidden_states):
            return self.net(sample, timestep, encoder_hidden_states, return_dict=False)[0]

    class Decoder(torch.nn.Module):
        """Scaled latents in, a picture out."""
        def __init__(self):
            super().__init__()
            self.net = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae", dtype=torch.float32)

        def forward(self, latents):
            return self.net.decode(latents, return_dict=False)[0]

    return {"unet": lambda: Unet().eval(), "vae": lambda: Decoder().eval()}


def feeds(what, seed=1):
    """The arguments of a network, by name."""
    sample, time_, states = inputs(seed)
    if what == "vae":
        return {"latents": sample[:1]}
    return {"sample": sample, "timestep": time_, "encoder_hidden_states": states}


def torch_engine(o, dtype, compiled):
    """Functions of no arguments by network, and the version."""
    import torch
    torch.set_num_threads(o.threads)
    torch.set_grad_enabled(False)
    type_, made = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype], {}
    if compiled:
        import torch._inductor.config
        torch._inductor.config.freezing = True
    for what in o.what:
        net = networks(o.model)[what]().to(type_).to(memory_format=torch.channels_last)
        call = torch.compile(net) if compiled else net
        args = {k: torch.from_numpy(v).to(type_) for k, v in feeds(what).items()}
        made[what] = lambda call=call, args=args: call(**args).float().numpy()
    return made, "torch " + torch.__version__


def openvino_model(o, what, dtype):
    """The graph of a network, made once and kept in the cache folder."""
    import openvino
    import torch
    core = openvino.Core()
    path = f"{o.cache}/{what}{'-int8' if dtype == 'int8' else ''}.xml"
    if os.path.exists(path):
        return core.read_model(path)
    if dtype == "int8":
        import nncf
        made = nncf.quantize(openvino_model(o, what, "f32"),
                             nncf.Dataset([feeds(what, 2 + i) for i in range(CALIBRATION)]),
                             model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION)
    else:
        example = {k: torch.from_numpy(v) for k, v in feeds(what).items()}
        with torch.no_grad():
            made = openvino.convert_model(networks(o.model)[what](), example_input=example,
                                          input=[(k, list(v.shape)) for k, v in feeds(what).items()])
    openvino.save_model(made, path, compress_to_fp16=False)
    return core.read_model(path)


def openvino_engine(o, dtype):
    """As torch_engine."""
    import openvino
    core, made = openvino.Core(), {}
    config = {"INFERENCE_NUM_THREADS": o.threads, "PERFORMANCE_HINT": "LATENCY"}
    config |= {"f32": {"INFERENCE_PRECISION_HINT": "f32"}, "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
               "int8": {}, "auto": {}}[dtype]
    for what in o.what:
        net = core.compile_model(openvino_model(o, what, "int8" if dtype == "int8" and what == "unet" else "f32"), "CPU",
                                 config)
        given = list(feeds(what).values())
        made[what] = lambda net=net, given=given: next(iter(net(given).values()))
        print(what, "runs in", net.get_property("INFERENCE_PRECISION_HINT"), file=sys.stderr)
    return made, "openvino " + openvino.__version__.split("-")[0]


def onnx_file(o, what):
    """The path of a network's ONNX file, made once and kept in the cache folder."""
    import torch
    path, given = f"{o.cache}/{what}.onnx", feeds(what)
    if not os.path.exists(path):
        with torch.no_grad():
            torch.onnx.export(networks(o.model)[what](), tuple(torch.from_numpy(v) for v in given.values()), path,
                              input_names=list(given), dynamo=True, external_data=True)
    return path


def onnxruntime_engine(o, dtype):
    """As torch_engine."""
    import onnxruntime
    made = {}
    for what in o.what:
        path, given = onnx_file(o, what), feeds(what)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = o.threads
        net = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        made[what] = lambda net=net, given=given: net.run(None, given)[0]
    return made, "onnxruntime " + onnxruntime.__version__


def sdcpp_times(o, dtype):
    """Milliseconds of the steps of a picture but the first, and of decoding it; the version."""
    import stable_diffusion_cpp
    model, marks = stable_diffusion_cpp.StableDiffusion(model_path=o.single, wtype=dtype, n_threads=o.threads,
                                                        verbose=False), []
    model.generate_image(prompt="an astronaut", width=512, height=512, cfg_scale=7.5, seed=1, sample_steps=1 + o.calls,
                         progress_callback=lambda step, steps, seconds: marks.append((steps, time.perf_counter())))
    end = time.perf_counter()
    steps = [t for n, t in marks if n == 1 + o.calls]
    times = {"unet": [1000 * (b - a) for a, b in zip(steps, steps[1:])][-o.calls:], "vae": [1000 * (end - steps[-1])]}
    return {k: v for k, v in times.items() if k in o.what}, "stable-diffusion-cpp-python " + stable_diffusion_cpp.__version__


def timed(o, made):
    """Milliseconds of every call after a first one, by network; keeps the noise of the first."""
    times = {}
    for what, run in made.items():
        out = run()
        if what == "unet":
            numpy.save(f"{o.cache}/noise-{o.name}.npy", out)
        times[what] = []
        for _ in range(o.calls):
            start = time.perf_counter()
            run()
            times[what].append(1000 * (time.perf_counter() - start))
    return times


def main():
    """Run one engine."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("--model", required=True)
    parser.add_argument("--single", help="the same weights as a single file (sdcpp)")
    parser.add_argument("--cache", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--what", nargs="+", choices=["unet", "vae"], default=["unet", "vae"])
    parser.add_argument("--prepare", action="store_true", help="make what is kept in the cache, and nothing else")
    o = parser.parse_args()
    os.makedirs(o.cache, exist_ok=True)
    kind, dtype = o.name.split("-", 1)
    if o.prepare:
        for what in o.what:
            if kind == "openvino":
                openvino_model(o, what, "int8" if dtype == "int8" and what == "unet" else "f32")
            elif kind == "onnxruntime":
                onnx_file(o, what)
        return
    if kind == "sdcpp":
        times, version = sdcpp_times(o, dtype)
    else:
        made, version = {"torch": lambda: torch_engine(o, dtype, False), "compile": lambda: torch_engine(o, dtype, True),
                         "openvino": lambda: openvino_engine(o, dtype),
                         "onnxruntime": lambda: onnxruntime_engine(o, dtype)}[kind]()
        times = timed(o, made)
    print(json.dumps({"engine": o.name, "version": version, "ms": times,
                      "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
