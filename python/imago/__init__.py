"""imago: Stable Diffusion v1.x and the training of ResNets, on the library libimago.

>>> import imago
>>> with imago.Model.load() as model:
...     picture = model.generate("strawberry", guidance=5, seed=1)
>>> picture.shape
(64, 64, 3)

The package has no logic of its own: every function calls the library, which is looked for as docs/python.md says. What goes
wrong is an ImagoError with the library's line.
"""
from __future__ import annotations

from . import ops
from ._context import Context
from ._errors import ImagoError, ImagoWarning, Stopped
from ._library import library
from ._model import Model, Run
from ._pictures import picture_text, read_picture, write_picture
from ._structs import VERSION as __version__
from ._tensor import Tape, Tensor
from ._train import Evaluation, Step, evaluate, train_resnet

__all__ = ["Context", "Evaluation", "ImagoError", "ImagoWarning", "Model", "Run", "Step", "Stopped", "Tape", "Tensor",
           "__version__", "evaluate", "library", "ops", "picture_text", "read_picture", "train_resnet", "write_picture"]
