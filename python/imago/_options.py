"""Keywords of functions, with their types. Written by python/declare.py out of the headers: change those."""
# fmt: off

from __future__ import annotations

from typing import TypedDict

from ._convert import Picture, Text, Values


class PictureOptions(TypedDict, total=False):
    """Fields of im_sd_args, which src/imago_*.h explains; left out: the library's default."""

    negative: Text | None
    syntax: int
    clip_skip: int
    steps: int
    guidance: float
    deep_cache: int
    token_merging: float
    seed: int
    scheduler: Text | None
    eta: float
    width: int
    height: int
    rng: str
    init: Picture | None
    strength: float
    mask: Picture | None
    mask_blur: float
    mask_fill: int
    mask_only: bool
    mask_padding: int
    latents: Values | None
    eager: bool
    tile: bool


class ResnetOptions(TypedDict, total=False):
    """Fields of im_train_resnet_args, which src/imago_*.h explains; left out: the library's default."""

    init: Text | None
    epochs: int
    steps: int
    batch: int
    accumulate: int
    lr: float
    warmup: float
    schedule: Text | None
    optimizer: Text | None
    momentum: float
    decay: float
    nesterov: bool
    clip: float
    ema: float
    seed: int
    dtype: Text | None
    order: Text | None
    cache: Text | None
    workers: int
    keep: int
    checkpoint_every: int
    recompute: bool
    strict: bool
    resume: bool
    arch: Text | None
    classes: Text | None
    val: Text | None
    mix: Text | None
    budget: int
    augment: Text | None
    mixup: float
    size: int
    locals: int
    local_size: int
    head: Text | None
    head_layers: int
    width: int
    small_stem: bool
    new_head: bool
    sync_batchnorm: bool


class EvalOptions(TypedDict, total=False):
    """Fields of im_eval_args, which src/imago_*.h explains; left out: the library's default."""

    classes: Text | None
    set: Text | None
    val: Text | None
    save_features: Text | None
    zero_shot: Text | None
    form: Text | None
    batch: int
    size: int
    strict: bool
