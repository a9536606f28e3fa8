"""Paths of the ten schedulers under a model that is a formula: schedulers.safetensors.gz and schedulers.json.gz.

The stand-in for the UNet, elementwise in f32, with u = t / 1000:
    out = 0.3 x + (0.25 - 0.5 u)            x: what scale_model_input gives
"""

import inspect
import os

import diffusers
import torch
from diffusers import PNDMScheduler

from golden_models import V1_SCHEDULER
from golden_store import save_json_lines, save_tensors
from reference import FEW_STEPS, SCHEDULERS, generator

SHAPE, SEED = (1, 4, 2, 2), 42
BARE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "skip_prk_steps": True}

# Scheduler configurations, as they stand in a scheduler_config.json whose _class_name is PNDMScheduler.
CONFIGS = {
    "v14": V1_SCHEDULER,
    "bare": BARE,
    "leading": V1_SCHEDULER | {"timestep_spacing": "leading"},
    "linspace": V1_SCHEDULER | {"timestep_spacing": "linspace"},
    "trailing": V1_SCHEDULER | {"timestep_spacing": "trailing"},
    "v_prediction": V1_SCHEDULER | {"prediction_type": "v_prediction"},
    "alpha_to_one": V1_SCHEDULER | {"set_alpha_to_one": True},
    "clip_sample": V1_SCHEDULER | {"clip_sample": True},
    "linear": V1_SCHEDULER | {"beta_schedule": "linear"},
    "offset_0": V1_SCHEDULER | {"steps_offset": 0},
    "prk": {key: value for key, value in V1_SCHEDULER.items() if key != "skip_prk_steps"},
}


def scheduler_from(config, name):
    """What a user gets: PNDMScheduler from the file's fields, then Class.from_config of its config."""
    base = PNDMScheduler.from_config(dict(config))
    cls, extra = (SCHEDULERS | FEW_STEPS)[name]
    return cls.from_config(base.config, **extra)


def stand_in(x, t):
    """The formula that takes the UNet's place."""
    u = torch.as_tensor(t, dtype=torch.float32) / 1000
    return 0.3 * x + (0.25 - 0.5 * u)


def walk(scheduler, timesteps, latents, stream):
    """Latents after every call of step(), as the pipelines call it."""
    takes_noise = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": stream} if takes_noise else {}
    path = []
    for t in timesteps:
        out = stand_in(scheduler.scale_model_input(latents, t), t)
        latents = scheduler.step(out, t, latents, **extra).prev_sample
        path.append(latents)
    return torch.cat(path)


def text_to_image(config, name, steps, tensors):
    """Timesteps, sigmas and path from noise; returns the row for the JSON file."""
    scheduler = scheduler_from(CONFIGS[config], name)
    scheduler.set_timesteps(steps)
    stream = generator(SEED)
    latents = torch.randn(SHAPE, generator=stream) * scheduler.init_noise_sigma
    key = f"{config}.{name}.{steps}"
    tensors[key + ".timesteps"] = scheduler.timesteps.to(torch.float32)
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        tensors[key + ".sigmas"] = sigmas
    tensors[key + ".path"] = walk(scheduler, scheduler.timesteps, latents, stream)
    return {"key": key, "config": config, "scheduler": name, "steps": steps, "seed": SEED,
            "init_noise_sigma": float(scheduler.init_noise_sigma), "evaluations": len(scheduler.timesteps)}


def image_to_image(name, steps, strength, tensors):
    """The same from an existing latent, as StableDiffusionImg2ImgPipeline does it."""
    scheduler = scheduler_from(CONFIGS["v14"], name)
    scheduler.set_timesteps(steps)
    start = max(steps - min(int(steps * strength), steps), 0) * scheduler.order
    timesteps = scheduler.timesteps[start:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
    stream = generator(SEED)
    noise = torch.randn(SHAPE, generator=stream)
    noisy = scheduler.add_noise(tensors["start.latents"], noise, timesteps[:1])
    key = f"img2img.{name}.{steps}.{strength}"
    tensors[key + ".timesteps"] = timesteps.to(torch.float32)
    tensors[key + ".noisy"] = noisy
    tensors[key + ".path"] = walk(scheduler, timesteps, noisy, stream)
    return {"key": key, "config": "v14", "scheduler": name, "steps": steps, "seed": SEED, "strength": strength,
            "first_call": start, "evaluations": len(timesteps)}


def make_schedulers(out):
    """Write both files."""
    tensors = {"start.noise": torch.randn(SHAPE, generator=generator(SEED)),
               "start.latents": 0.8 * torch.randn(SHAPE, generator=generator(1)),
               "v14.alphas_cumprod": scheduler_from(CONFIGS["v14"], "pndm").alphas_cumprod}
    rows = [text_to_image("v14", name, steps, tensors) for name in SCHEDULERS for steps in (10, 30, 50)]
    rows += [text_to_image("v14", name, steps, tensors) for name in SCHEDULERS for steps in (1, 2, 7)]
    rows += [text_to_image(config, name, 10, tensors)
             for config in CONFIGS if config not in ("v14", "prk") for name in SCHEDULERS]
    rows += [text_to_image("prk", "pndm", steps, tensors) for steps in (10, 30)]
    rows += [image_to_image(name, steps, strength, tensors)
             for name in SCHEDULERS for steps in (10, 30) for strength in (0.75, 0.3, 1.0)]
    save_tensors(os.path.join(out, "schedulers.safetensors.gz"), tensors)
    head = {"about": "paths of the stand-in out = 0.3 x + (0.25 - 0.5 t / 1000) from randn(1,4,2,2), seed 42",
            "diffusers": diffusers.__version__, "configs": CONFIGS}
    save_json_lines(os.path.join(out, "schedulers.json.gz"), head, rows)


def make_few_steps(out):
    """Write the same of lcm and tcd: few_steps.safetensors.gz and few_steps.json.gz."""
    tensors = {"start.latents": 0.8 * torch.randn(SHAPE, generator=generator(1))}
    rows = [text_to_image("v14", name, steps, tensors) for name in FEW_STEPS for steps in (1, 2, 4, 7, 8, 50)]
    rows += [text_to_image(config, name, 4, tensors) for config in ("bare", "v_prediction", "clip_sample", "linear")
             for name in FEW_STEPS]
    rows += [image_to_image(name, 8, strength, tensors) for name in FEW_STEPS for strength in (0.75, 0.3, 1.0)]
    del tensors["start.latents"]
    save_tensors(os.path.join(out, "few_steps.safetensors.gz"), tensors)
    head = {"about": "as schedulers.json, of schedulers for few steps", "diffusers": diffusers.__version__,
            "configs": {name: CONFIGS[name] for name in ("v14", "bare", "v_prediction", "clip_sample", "linear")}}
    save_json_lines(os.path.join(out, "few_steps.json.gz"), head, rows)
