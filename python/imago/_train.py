"""Training and evaluation of classifiers."""
from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import numpy.typing as npt

from ._context import Context, callback
from ._convert import Text, fill, said, text
from ._errors import ImagoError, Stopped
from ._functions import FUNCTIONS
from ._structs import im_eval_result, im_train_hooks

if TYPE_CHECKING:
    from typing import Unpack

    from ._options import EvalOptions, ResnetOptions

_HOOKS: dict[str, Any] = {row[0]: row[1] for row in im_train_hooks._fields_}


@dataclass(frozen=True)
class Step:
    """What a training tells after every step; steps and epochs count from 1."""
    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    lr: float
    grad_norm: float
    img_per_s: float
    top1: float
    seconds_left: float


def train_resnet(data: Text | None = None, out: Text | None = None, *, on_step: Callable[[Step], bool | None] | None = None,
                 on_note: Callable[[str], None] | None = None, on_saved: Callable[[str], None] | None = None,
                 device: str = "cpu", threads: int = 0, context: Context | None = None,
                 **options: Unpack[ResnetOptions]) -> None:
    """Trains a ResNet on pictures with classes, as ``imago train resnet`` does, to the same bits.

    :param data: a folder with a folder a class, tar shards, or a set of ``imago synth``; with ``mix`` or ``resume``: None.
    :param out: the run's folder: config.json, log.jsonl, checkpoints, at the end model.safetensors.
    :param on_step: called after every step. False from it, or an exception, Ctrl-C too, ends the training with a checkpoint
        from which ``resume=True`` goes on to the same bits; False is told by Stopped.
    :param on_note: lines such as "goes on from step 120"; on_saved: after every checkpoint, with the run's folder.
    :param options: fields of im_train_common and im_train_resnet_args in src/imago_train.h, which ``imago help train
        resnet`` explains: arch, epochs, steps, batch, lr, optimizer, size, augment, seed, val, resume ...
    :raises ImagoError: an option that is not what is wanted, no memory, a broken set ...; with its line.
    """
    if out is None:
        raise ImagoError("train_resnet: out is missing: the folder of the run")
    c = context if context is not None else Context(device, threads)
    given: dict[str, Any] = {**options, "out": out}
    if data is not None:
        given["data"] = data
    given_up: list[bool] = []
    with c._busy:
        args = c._lib.im_train_resnet_defaults()
        kept = fill(args, given, "train_resnet")
        config = None
        try:
            if options.get("resume"):
                config = _recall(c, args, given)
            if not args.common.data and not args.mix:
                raise ImagoError(f"train_resnet: {out} holds no run to resume; to begin one, data is missing"
                                 if options.get("resume") else "train_resnet: data is missing: a folder of pictures")
            hooks, given_up = _hooks(c, on_step, on_note, on_saved)
            with c.interruptible(cancel=False):
                c.call("im_train_resnet", ctypes.byref(args), ctypes.byref(hooks))
        except ImagoError as e:
            raise Stopped(str(e)) if given_up else e
        finally:
            c._lib.im_train_config_free(config)
            del kept


def _recall(c: Context, args: Any, given: dict[str, Any]) -> Any:
    """What the run was begun with; args has what was not given."""
    names = {name.replace("_", "-") for name in given}
    ask = callback("im_train_resnet_config", 3, c.guarded(lambda _, option: said(option) in names, False))
    return c.call("im_train_resnet_config", args.common.out, ctypes.byref(args), ask, None)


def _hooks(c: Context, on_step: Any, on_note: Any, on_saved: Any) -> tuple[Any, list[bool]]:
    """The hooks, and a list that is empty until on_step gives the training up."""
    given_up: list[bool] = []

    def step(_: Any, p: Any) -> None:                          # there without `on_step`, too: Ctrl-C arrives in it
        row = Step(**{name: getattr(p.contents, name) for name, _ in p.contents._fields_})
        if on_step is not None and on_step(row) is False:
            given_up.append(True)

    def line(fn: Any) -> Any:
        return c.guarded(lambda _, said_: fn and fn(said(said_)), None, cancel=False)
    out: Any = im_train_hooks(step=_HOOKS["step"](c.guarded(step, None, cancel=False)),
                              stop=_HOOKS["stop"](lambda _: bool(given_up) or c._raised is not None),
                              note=_HOOKS["note"](line(on_note)), saved=_HOOKS["saved"](line(on_saved)))
    return out, given_up


@dataclass(frozen=True)
class Evaluation:
    """How good a classifier is on a set of pictures."""
    top1: float                                                # shares of pictures
    top5: float
    loss: float                                                # mean cross entropy
    pictures: int
    broken: int                                                # that could not be read
    left_out: int                                              # of classes that the classifier has not
    classes: list[str]
    confusion: npt.NDArray[np.int64] = field(repr=False)       # (classes, classes): [true][predicted]
    top5_hits: npt.NDArray[np.int64] = field(repr=False)       # (classes), by true class
    weights: str                                               # the file that was read
    size: int                                                  # side of the crop
    aupr: float                                                # of imagenet-o; else NaN


def evaluate(model: Text, data: Text, *, progress: Callable[[int, int], None] | None = None, device: str = "cpu",
             threads: int = 0, context: Context | None = None, **options: Unpack[EvalOptions]) -> Evaluation:
    """Asks a classifier for every picture of a set, as ``imago eval`` does.

    :param model: a run's folder, or a safetensors file; data: the set.
    :param progress: called with (pictures done, of so many); an exception from it, Ctrl-C too, gives it up.
    :param options: fields of im_eval_args in src/imago_train.h: classes, set, batch, size, strict ...
    """
    c = context if context is not None else Context(device, threads)
    with c._busy:
        args = c._lib.im_eval_defaults()
        kept = fill(args, {**options, "model": model, "data": data}, "evaluate")
        tell = FUNCTIONS["im_eval_classifier"][1][3](
            c.guarded(lambda _, done, total: progress and progress(done, total), None))
        result: Any = im_eval_result()
        with c.interruptible():
            c.call("im_eval_classifier", ctypes.byref(args), ctypes.byref(result), tell, None)
        del kept
        try:
            return _evaluation(result)
        finally:
            c._lib.im_eval_result_free(ctypes.byref(result))


def _evaluation(r: Any) -> Evaluation:
    n = r.classes
    return Evaluation(
        top1=r.top1, top5=r.top5, loss=r.loss, pictures=r.pictures, broken=r.broken, left_out=r.left_out, size=r.size,
        classes=[said(r.names[i]) for i in range(n)], weights=said(ctypes.string_at(r.weights)) if r.weights else "",
        confusion=np.ctypeslib.as_array(r.confusion, (n, n)).copy() if r.confusion else np.zeros((n, n), np.int64),
        top5_hits=np.ctypeslib.as_array(r.top5_hits, (n,)).copy() if r.top5_hits else np.zeros(n, np.int64), aupr=r.aupr)
