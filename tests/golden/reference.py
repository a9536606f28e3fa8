"""The reference: pictures drawn by diffusers in f32 on the CPU, and how two pictures are compared."""

import os
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"

import diffusers
import numpy
import torch
import transformers
from diffusers import (DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, HeunDiscreteScheduler, LCMScheduler, LMSDiscreteScheduler, PNDMScheduler,
                       StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, TCDScheduler,
                       UniPCMultistepScheduler)
from PIL import Image

warnings.filterwarnings("ignore", category=FutureWarning)
warnings.filterwarnings("ignore", message="TF32 acceleration")
for library in (diffusers, transformers):
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()

# imago's name of a scheduler: the class of diffusers and what is changed in its config.
SCHEDULERS = {
    "pndm": (PNDMScheduler, {}), "ddim": (DDIMScheduler, {}), "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}), "heun": (HeunDiscreteScheduler, {}),
    "lms": (LMSDiscreteScheduler, {}), "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "unipc": (UniPCMultistepScheduler, {}), "ddpm": (DDPMScheduler, {}),
}

# Schedulers of models that were distilled to a few steps.
FEW_STEPS = {"lcm": (LCMScheduler, {}), "tcd": (TCDScheduler, {})}

# What is promised: this share of the values within one level, and no value further off than this.
WITHIN_1, LEVELS_MAX = 0.999, 2


def generator(seed):
    """A CPU generator, seeded as the pipelines' users do."""
    return torch.Generator("cpu").manual_seed(seed)


def load_folder(folder):
    """The pipeline of a diffusers folder, widened to f32."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None,
                                                   feature_extractor=None, requires_safety_checker=False,
                                                   local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe, case):
    """(picture as u8 (H, W, 3), final latents), as a user of diffusers draws it.

    `case` has prompt, negative, steps, guidance, scheduler, seed, and W and H or init (a file) and strength.
    """
    own = pipe.scheduler
    cls, extra = SCHEDULERS[case["scheduler"]]
    scheduler = cls.from_config(own.config, **extra)
    last = {}

    def keep(_pipe, _step, _t, values):
        last["latents"] = values["latents"].clone()
        return values

    settings = {"prompt": case["prompt"], "negative_prompt": case["negative"] or None,
                "num_inference_steps": case["steps"], "guidance_scale": case["guidance"],
                "generator": generator(case["seed"]), "callback_on_step_end": keep}
    if "init" in case:
        parts = pipe.components | {"scheduler": scheduler}
        from_image = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
        from_image.set_progress_bar_config(disable=True)
        image = Image.open(case["init"]).convert("RGB")
        picture = from_image(image=image, strength=case["strength"], **settings).images[0]
    else:
        pipe.scheduler = scheduler
        picture = pipe(width=case["W"], height=case["H"], **settings).images[0]
        pipe.scheduler = own
    return torch.from_numpy(numpy.array(picture)), last["latents"]


def read_png(path):
    """A PNG as u8 (H, W, 3)."""
    return torch.from_numpy(numpy.array(Image.open(path).convert("RGB")))


def write_png(path, picture):
    """The other way round."""
    Image.fromarray(picture.numpy()).save(path)


def compare(picture, reference):
    """{"levels_max", "levels_within_1"} of two pictures of one size."""
    if picture.shape != reference.shape:
        raise ValueError(f"the pictures are {tuple(picture.shape)} and {tuple(reference.shape)}: (H, W, 3) must agree")
    levels = (picture.int() - reference.int()).abs()
    return {"levels_max": int(levels.max()), "levels_within_1": float((levels <= 1).float().mean())}


def is_same(difference):
    """Is a difference within what is promised?"""
    return difference["levels_within_1"] >= WITHIN_1 and difference["levels_max"] <= LEVELS_MAX
