"""Stable Diffusion v1.x: pictures, whole or step by step."""
from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any, Callable, Iterable, Sequence

import numpy as np

from ._context import Closing, Context, Handle, callback
from ._convert import Floats, Pixels, Text, coloured, digest, fill, image_of, pixels_of, said, text, word
from ._errors import ImagoError
from ._functions import FUNCTIONS
from ._pictures import quality_of
from ._structs import im_image, im_request, im_sd_args
from ._tensor import DTYPES

if TYPE_CHECKING:
    from typing import Unpack

    from ._options import PictureOptions

# Called before the first evaluation of the UNet (done 0) and after each. False: give it up; None goes on.
Progress = Callable[[int, int], "bool | None"]
NO_PROGRESS = FUNCTIONS["im_sd_on_progress"][1][1]()           # NULL
_AS_MODEL = 63                                                 # IM_AS_MODEL
_WORDS = {"rng": ("cpu", "cuda")}
# What says something of another option only; the command line refuses it alone, too.
_NEEDS = (("strength", "init"), ("mask_blur", "mask"), ("mask_fill", "mask"), ("mask_only", "mask"),
          ("mask_padding", "mask"))
_STATES = ("running", "finished", "cancelled", "failed")


class Model(Closing):
    """A Stable Diffusion v1.x: a diffusers folder, a single .safetensors file, or the small model that comes with imago.

    ``with Model.load() as m:`` frees it at the end; else it goes with the last reference to it and to its runs.
    """

    _gone = "the model was closed; load it again"

    def __init__(self, context: Context, handle: Handle, name: str) -> None:
        self.context = context
        self.name = name                                       # for people: the last part of its path
        self._handle: Handle | None = handle

    @classmethod
    def load(cls, path: Text | None = None, *, device: str = "cpu", threads: int = 0, dtype: str | None = None,
             activations: str = "f32", loras: Text | Iterable[Text | tuple[Text, float]] = (), strict: bool = False,
             variant: str | None = None, cache_weights: bool = False, context: Context | None = None) -> Model:
        """Opens a model. Its networks are read when they are first needed; that all of them are there is seen at once.

        :param path: a folder or file; None: the embedded model (64x64 pixels).
        :param device: "cpu", "ref" or "cuda[:N]"; threads 0: all cores. Not looked at with ``context``.
        :param dtype: what weights are held in: "f32", "f16", "bf16", "int8"; None: int8 where that is what the model holds,
            else f32; activations: what goes from layer to layer.
        :param loras: a file of a LoRA; or several files, or pairs (file, weight).
        :param strict: tensors that no network asks for are an error; variant: "fp16" ... of a folder's files.
        :param cache_weights: weights are kept as the device holds them, so that the next start takes no time.
        :param context: to share a device with other models and with tensors.
        :raises ImagoError: a file is missing, damaged or of another kind; the line names it.
        """
        c = context if context is not None else Context(device, threads)
        kind = _AS_MODEL if dtype is None else word(dtype, DTYPES, "dtype")
        between = word(activations, DTYPES[:3], "activations")
        c.call("im_weights_rules", strict, None if variant is None else text(variant, "variant"))
        pointer = c.call("im_sd_open", None if path is None else text(path, "path"), kind)
        name = "imago-small" if path is None else os.path.basename(os.path.normpath(os.fspath(path)))
        model = cls(c, c.adopt(pointer, "im_sd_free"), name)
        c.run("im_sd_cache_weights", pointer, cache_weights)
        c.run("im_sd_set_activations", pointer, between)
        for one in [loras] if isinstance(loras, (str, os.PathLike)) else loras:
            if isinstance(one, tuple):
                model.add_lora(*one)
            else:
                model.add_lora(one)
        return model

    # -- whole pictures

    def generate(self, prompt: str, *, progress: Progress | None = None, **options: Unpack[PictureOptions]) -> Pixels:
        """Draws a picture: the bits of ``imago generate`` with the same settings.

        :param prompt: what to draw.
        :param progress: called with (done, total) evaluations; False from it, or an exception, Ctrl-C too, gives it up.
        :param options: fields of im_sd_args in src/imago_generate.h: negative, steps (50), guidance (7.5), seed (0),
            scheduler, width, height, rng ("cpu", "cuda": which of torch's generators), eager; init, pixels (H, W, 3) of
            uint8 to begin from, with strength; mask, (H, W) or (H, W, 3) of uint8, where init is drawn anew, white; latents, float (4, h, w), in the place of noise.
        :returns: (height, width, 3), uint8.
        :raises ImagoError: an option that is not what is wanted, or values that are not finite. Stopped: it was given up.
        """
        return self.generate_all([{"prompt": prompt, **options}], progress=progress)[0]

    def generate_all(self, pictures: Sequence[dict[str, Any]], *, progress: Progress | None = None) -> list[Pixels]:
        """Draws several pictures at once; those of one size share every evaluation, and each has the bits it has alone.

        :param pictures: options of each, as ``generate`` has them, with "prompt".
        """
        n, c = len(pictures), self.context
        if not n:
            return []
        args, out, kept = (im_sd_args * n)(), (ctypes.POINTER(im_image) * n)(), []
        for i, one in enumerate(pictures):
            args[i], k = self._args(one.get("prompt"), {key: v for key, v in one.items() if key != "prompt"})
            kept.append(k)

        def tell(_: Any, done: int, total: int) -> bool:       # there without `progress`, too: Ctrl-C arrives in it
            return progress is None or progress(done, total) is not False
        hear = callback("im_sd_on_progress", 1, c.guarded(tell, False))
        with c._busy:
            c.run("im_sd_on_progress", self._pointer, hear, None)
            try:
                with c.interruptible():
                    c.run("im_sd_generate_batch", self._pointer, args, n, out)
                return [pixels_of(image) for image in out]
            finally:
                c._lib.im_sd_on_progress(self._pointer, NO_PROGRESS, None)
                for image in out:
                    c._lib.im_image_free(image)

    # -- step by step

    def open(self, prompt: str, **options: Unpack[PictureOptions]) -> Run:
        """Begins a picture; nothing is computed yet. Options: those of ``generate``. Any number of runs may be open."""
        args, kept = self._args(prompt, options)
        pointer = self.context.run("im_sd_run_open", self._pointer, ctypes.byref(args))
        del kept                                               # the run has copies
        return Run(self, self.context.adopt(pointer, "im_sd_run_close", self._handle), self._latent_shape(args))

    def step(self, runs: Sequence[Run]) -> bool:
        """One evaluation for each run that is under way, those of one size in one batch. False: nothing was left to do."""
        return bool(self.context.run("im_sd_run_step", *self._array(runs)))

    def begin(self, runs: Sequence[Run]) -> None:
        """Texts and first latents of runs; without it the first step makes them."""
        self.context.run("im_sd_run_begin", *self._array(runs))

    def _array(self, runs: Sequence[Run]) -> tuple[Any, int]:
        for r in runs:
            if not isinstance(r, Run) or r.model is not self:
                raise ImagoError(f"step: found {r!r}, wanted runs of this model")
        return (ctypes.c_void_p * max(len(runs), 1))(*[r._pointer for r in runs]), len(runs)

    def _args(self, prompt: Any, options: Any) -> tuple[Any, list[Any]]:
        args = self.context.run("im_sd_defaults", self._pointer)
        args.prompt = text(prompt, "prompt")
        for name, needs in _NEEDS:
            if name in options and options.get(needs) is None:
                raise ImagoError(f"{name}: found without {needs}; wanted {needs} beside it, or leave {name} out")
        if options.get("mask") is not None:
            options = {**options, "mask": coloured(options["mask"], "mask")}
        kept = fill(args, options, "generate", _WORDS)
        if args.init and not options.get("width"):             # as the command line has it: the picture's own size, and
            args.width = 0                                     # the model's for a part of it (mask_only)
        if args.init and not options.get("height"):
            args.height = 0
        if args.latents:
            wanted, found = self._latent_shape(args), np.shape(options["latents"])
            if found != wanted:
                raise ImagoError(f"latents: found the shape {found}, wanted {wanted}")
        return args, kept

    def _latent_shape(self, args: im_sd_args) -> tuple[int, ...]:
        shape = (ctypes.c_int64 * 3)()
        self.context.run("im_sd_latent_shape", self._pointer, ctypes.byref(args), shape)
        return tuple(shape)

    # -- files

    def write(self, path: Text, picture: Pixels, prompt: str, *, quality: int = 95, force: bool = False,
              **options: Unpack[PictureOptions]) -> None:
        """Writes a picture with what is needed to draw it again, as ``imago generate`` does (``--from`` reads it): a PNG,
        or a JPEG by the name .jpg or .jpeg.

        :param picture: what ``generate(prompt, **options)`` gave, with the same prompt and options.
        :param quality: of a JPEG, 1 to 100; force: replace a file that is there.
        :raises ImagoError: the file is there, its name has another ending, or options have latents: only those of a file
            can be named.
        """
        args, kept = self._args(prompt, options)               # kept: what args points to
        if args.latents:
            raise ImagoError("write: found latents of an array, which no file can name; use write_picture")
        image = image_of(picture, "write")
        request: Any = im_request(model_name=text(self.name, "name"), quality=quality_of(path, quality))
        if args.mask and args.mask_only:                       # what was drawn; the picture is as large as init
            self.context.run("im_sd_settle_size", self._pointer, ctypes.byref(args))
        else:
            args.width, args.height = image.width, image.height
        args.scheduler = self.context.run("im_sd_scheduler", self._pointer, ctypes.byref(args))
        request.args = args
        if args.init:
            request.init_sha256 = digest(args.init)
        if args.mask:
            request.mask_sha256 = digest(args.mask)
        self.context.run("im_request_write", self._pointer, ctypes.byref(request), text(path, "path"),
                         ctypes.byref(image), force)
        del kept

    # -- about it

    def latent_shape(self, **options: Unpack[PictureOptions]) -> tuple[int, ...]:
        """(4, h, w) of the latents that a picture with these options has."""
        return self._latent_shape(self._args("", options)[0])

    def evaluations(self, **options: Unpack[PictureOptions]) -> int:
        """How often a picture with these options asks the UNet: pndm with 50 steps: 51 times."""
        return int(self.context.run("im_sd_evaluations", self._pointer, ctypes.byref(self._args("", options)[0])))

    def scheduler(self, **options: Unpack[PictureOptions]) -> str:
        """The scheduler that a picture with these options uses, "pndm" ..."""
        return said(self.context.run("im_sd_scheduler", self._pointer, ctypes.byref(self._args("", options)[0])))

    @property
    def hash(self) -> str:
        """64 hex digits over names, shapes and samples of its weights."""
        return said(self.context.run("im_sd_hash", self._pointer))

    @property
    def dtype(self) -> str:
        return DTYPES[self.context.run("im_sd_dtype", self._pointer)]

    def add_lora(self, path: Text, weight: float = 1) -> None:
        """Adds a LoRA to the weights, a file or folder of diffusers, PEFT or kohya. Not while a run is open.

        :param weight: -100 to 100, how often it is added.
        """
        self.context.run("im_sd_add_lora", self._pointer, text(path, "lora"), weight)

    def clear_loras(self) -> None:
        """The weights as the model's files have them, to the bit. Not while a run is open."""
        self.context.run("im_sd_clear_loras", self._pointer)

    @property
    def loras(self) -> list[tuple[str, str, float]]:
        """(name, SHA-256 of its file, weight) of each LoRA, in the order given."""
        out = []
        name, digest, weight = ctypes.c_char_p(), ctypes.c_char_p(), ctypes.c_float()
        for i in range(self.context.run("im_sd_lora", self._pointer, -1, None, None, None)):
            self.context.run("im_sd_lora", self._pointer, i, ctypes.byref(name), ctypes.byref(digest), ctypes.byref(weight))
            out.append((said(name.value), said(digest.value), weight.value))
        return out



class Run(Closing):
    """A picture on its way; ``Model.open`` makes it. Steps it took and will take are counted in evaluations of the UNet.

    ::

        with model.open("strawberry", steps=20) as run:
            while run.step():
                show(run.preview(), run.done, run.total)
            picture = run.image()
    """

    _gone = "the run was closed; open another"

    def __init__(self, model: Model, handle: Handle, shape: tuple[int, ...]) -> None:
        self.model = model
        self._handle: Handle | None = handle
        self._shape = shape                                    # of its latents

    def step(self) -> bool:
        """One evaluation. False: nothing was left to do: it has finished, failed (see error) or was cancelled."""
        return self.model.step([self])

    @property
    def done(self) -> int:
        return int(self._ask("im_sd_run_done"))

    @property
    def total(self) -> int:
        return int(self._ask("im_sd_run_total"))

    @property
    def state(self) -> str:
        """"running", "finished", "cancelled" or "failed"."""
        return _STATES[self._ask("im_sd_run_state")]

    @property
    def error(self) -> str:
        """Why it failed; "" when it did not."""
        return said(self._ask("im_sd_run_error"))

    def latents(self) -> Floats:
        """(4, h, w), f32: as they are now. A copy."""
        out = np.empty(self._shape, np.float32)
        self._ask("im_sd_run_latents", out.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
        return out

    def preview(self) -> Pixels:
        """What it is becoming, (h, w, 3) of uint8 at the size of the latents, by a linear map to colours."""
        return self._picture("im_sd_run_preview")

    def image(self) -> Pixels:
        """The picture of a finished run, (height, width, 3) of uint8. ImagoError: it is not finished, or failed."""
        if self.state == "failed":
            raise ImagoError(self.error)
        return self._picture("im_sd_run_image")

    def _picture(self, function: str) -> Pixels:
        image = self._ask(function)
        if not image:
            raise ImagoError(self.error or f"the picture is not there: the run is {self.state}")
        try:
            return pixels_of(image)
        finally:
            self.model.context._lib.im_image_free(image)

    def cancel(self) -> None:
        """It ends before its next step. May be called by any thread, while another one steps it."""
        handle = self._handle
        if handle is not None:
            self.model.context._lib.im_sd_run_cancel(handle.pointer)

    def _ask(self, function: str, *args: Any) -> Any:
        return self.model.context.run(function, self._pointer, *args)

