"""Paths of schedulers under a model that is a formula: schedulers.safetensors.gz and schedulers.json.gz, few_steps.*, and
scheduler_options.* with fields and arguments that most leave alone.

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

RANGE = {"sigma_min": 0.1, "sigma_max": 10.0}
OPTIONS = {
    "v14": V1_SCHEDULER, "bare": BARE,
    "plain_range": V1_SCHEDULER | RANGE,
    "karras_range": V1_SCHEDULER | RANGE | {"use_karras_sigmas": True},
    "exponential_range": V1_SCHEDULER | RANGE | {"use_exponential_sigmas": True},
    "lu_range": V1_SCHEDULER | RANGE | {"use_lu_lambdas": True},
    "half_range": V1_SCHEDULER | {"sigma_max": 10.0, "sigma_min": None, "use_karras_sigmas": True},
    "nulls": V1_SCHEDULER | {"final_sigmas_type": "sigma_min", "set_alpha_to_one": None, "clip_sample": None,
                             "predict_x0": None, "skip_prk_steps": None, "rescale_betas_zero_snr": None},
    "null_order": V1_SCHEDULER | {"lower_order_final": None},
    "v_prediction": CONFIGS["v_prediction"],
    "zero_snr": V1_SCHEDULER | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction",
                                "timestep_spacing": "trailing"},
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


def walk(scheduler, timesteps, latents, stream, eta):
    """Latents after every call of step(), as the pipelines call it: with their own eta, 0, unless another is given."""
    extra = {"generator": stream, "eta": eta}
    extra = {key: extra[key] for key in extra if key in inspect.signature(scheduler.step).parameters}
    path = []
    for t in timesteps:
        out = stand_in(scheduler.scale_model_input(latents, t), t)
        latents = scheduler.step(out, t, latents, **extra).prev_sample
        path.append(latents)
    return torch.cat(path)


def text_to_image(config, name, steps, tensors, eta=0.0):
    """Timesteps, sigmas and path from noise; returns the row for the JSON file."""
    scheduler = scheduler_from((CONFIGS | OPTIONS)[config], name)
    scheduler.set_timesteps(steps)
    stream = generator(SEED)
    latents = torch.randn(SHAPE, generator=stream) * scheduler.init_noise_sigma
    key = f"{config}.{name}.{steps}" + (f".eta{eta}" if eta else "")
    tensors[key + ".timesteps"] = scheduler.timesteps.to(torch.float32)
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        tensors[key + ".sigmas"] = sigmas
    tensors[key + ".path"] = walk(scheduler, scheduler.timesteps, latents, stream, eta)
    return {"key": key, "config": config, "scheduler": name, "steps": steps, "seed": SEED,
            "init_noise_sigma": float(scheduler.init_noise_sigma), "evaluations": len(scheduler.timesteps)
            } | ({"eta": eta} if eta else {})


def image_to_image(name, steps, strength, tensors, eta=0.0):
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
    key = f"img2img.{name}.{steps}.{strength}" + (f".eta{eta}" if eta else "")
    tensors[key + ".timesteps"] = timesteps.to(torch.float32)
    tensors[key + ".noisy"] = noisy
    tensors[key + ".path"] = walk(scheduler, timesteps, noisy, stream, eta)
    return {"key": key, "config": "v14", "scheduler": name, "steps": steps, "seed": SEED, "strength": strength,
            "first_call": start, "evaluations": len(timesteps)} | ({"eta": eta} if eta else {})


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
    """Write the same of lcm and tcd, of tcd with an eta of 0.3: few_steps.safetensors.gz and few_steps.json.gz."""
    tensors = {"start.latents": 0.8 * torch.randn(SHAPE, generator=generator(1))}
    both = (("lcm", 0.0), ("tcd", 0.3))
    rows = [text_to_image("v14", name, steps, tensors, eta) for name, eta in both for steps in (1, 2, 4, 7, 8, 50)]
    rows += [text_to_image(config, name, 4, tensors, eta) for config in ("bare", "v_prediction", "clip_sample", "linear")
             for name, eta in both]
    rows += [image_to_image(name, 8, strength, tensors, eta) for name, eta in both for strength in (0.75, 0.3, 1.0)]
    del tensors["start.latents"]
    save_tensors(os.path.join(out, "few_steps.safetensors.gz"), tensors)
    head = {"about": "as schedulers.json, of schedulers for few steps", "diffusers": diffusers.__version__,
            "configs": {name: CONFIGS[name] for name in ("v14", "bare", "v_prediction", "clip_sample", "linear")}}
    save_json_lines(os.path.join(out, "few_steps.json.gz"), head, rows)


def make_scheduler_options(out):
    """Write the same with eta, and with fields that most configurations leave alone: scheduler_options.*."""
    tensors = {"start.latents": 0.8 * torch.randn(SHAPE, generator=generator(1))}
    rows = [text_to_image("v14", "tcd", steps, tensors, eta) for steps in (1, 4, 50) for eta in (0.0, 1.0)]
    rows += [text_to_image(config, "ddim", 5, tensors, eta) for config in ("v14", "bare", "v_prediction")
             for eta in (0.35, 1.0)]
    rows += [image_to_image(name, 8, 0.75, tensors, eta) for name, eta in (("tcd", 0.0), ("ddim", 0.35))]
    rows += [text_to_image(config, name, 4, tensors)
             for config, dpm in (("karras_range", "dpmpp_2m_karras"), ("exponential_range", "dpmpp_2m"))
             for name in ("euler", "heun", "lms", dpm, "unipc")]
    rows += [text_to_image("exponential_range", "dpmpp_2m", 7, tensors)]
    rows += [text_to_image("plain_range", name, 4, tensors) for name in ("dpmpp_2m", "dpmpp_2m_karras", "heun")]
    rows += [text_to_image("half_range", name, 4, tensors) for name in ("heun", "dpmpp_2m_karras")]
    rows += [text_to_image("lu_range", "dpmpp_2m", 4, tensors)]
    rows += [text_to_image("nulls", name, 4, tensors) for name in ("ddim", "ddpm", "dpmpp_2m", "unipc", "lcm")]
    rows += [text_to_image("null_order", "dpmpp_2m", 4, tensors)]
    rows += [text_to_image("zero_snr", name, 4, tensors) for name in ("ddim", "ddpm", "lcm", "tcd")]
    del tensors["start.latents"]
    save_tensors(os.path.join(out, "scheduler_options.safetensors.gz"), tensors)
    head = {"about": "as schedulers.json, with eta and with fields that are seldom set", "diffusers": diffusers.__version__,
            "configs": OPTIONS}
    save_json_lines(os.path.join(out, "scheduler_options.json.gz"), head, rows)
