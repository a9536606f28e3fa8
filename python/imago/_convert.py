"""Values of Python to those of C and back."""
from __future__ import annotations

import ctypes
import hashlib
import os
from typing import Any, Mapping, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._errors import ImagoError
from ._functions import FUNCTIONS
from ._structs import im_image, im_tensor

Text = Union[str, "os.PathLike[str]"]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Picture = Pixels
Values = npt.NDArray[np.floating[Any]]

_WHOLE = (ctypes.c_int, ctypes.c_int64, ctypes.c_uint64, ctypes.c_size_t)
_WANTED = {ctypes.POINTER(im_tensor): "a tensor; Context.tensor makes one of an array", ctypes.c_float: "a number",
           ctypes.c_double: "a number", ctypes.c_bool: "True or False", ctypes.c_char_p: "text"}


def text(value: Any, name: str) -> bytes:
    """UTF-8; names of files keep their bytes."""
    if not isinstance(value, (str, os.PathLike)):
        raise ImagoError(f"{name}: found {value!r}, wanted text")
    try:
        out = os.fspath(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ImagoError(f"{name}: found {value!r}, wanted text without halves of surrogate pairs") from None
    if b"\0" in out:
        raise ImagoError(f"{name}: found a NUL character in {value!r}, wanted text without one")
    return out


def refused(function: str, args: Sequence[Any], why: str) -> str:
    """What ctypes says of arguments, "argument 3: TypeError: wrong type", as the library would."""
    at = int("".join(filter(str.isdigit, why.partition(":")[0])) or 1) - 1
    wanted = _WANTED.get(FUNCTIONS[function][1][at], "a whole number")
    return f"{function.removeprefix('im_')}: found {args[at]!r}, wanted {wanted}"


def said(value: bytes | None) -> str:
    """What the library says; bytes that are not UTF-8 come through in names of files."""
    return (value or b"").decode("utf-8", "surrogateescape")


def image_of(picture: Any, name: str) -> Any:
    """An im_image that borrows the pixels of (H, W, 3) uint8; it keeps them."""
    array = np.ascontiguousarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ImagoError(f"{name}: found {array.dtype} {array.shape}, wanted pixels of uint8 (height, width, 3)")
    image: Any = im_image(array.shape[1], array.shape[0], 3, array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)))
    image.kept = array
    return image


def coloured(picture: Any, name: str) -> Any:
    """(H, W, 3) of uint8, of that or of grey (H, W) or (H, W, 1): as a grey file is read."""
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise ImagoError(f"{name}: found {array.dtype} {array.shape}, wanted pixels of uint8 (height, width) or (height, "
                         f"width, 3)")
    grey = array.ndim == 2 or array.shape[2] == 1
    return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2) if grey else array


def digest(image: Any) -> bytes:
    """What a file calls the pixels of an im_image by: their SHA-256, hex."""
    i = image.contents
    return hashlib.sha256(ctypes.string_at(i.pixels, i.width * i.height * i.channels)).hexdigest().encode()


def pixels_of(image: Any) -> Pixels:
    """A copy of an im_image: (H, W, 3), or (H, W, 1) of a grey one."""
    i = image.contents
    return np.ctypeslib.as_array(i.pixels, (i.height, i.width, i.channels)).copy()


def fill(struct: Any, values: Mapping[str, Any], what: str,
         words: Mapping[str, tuple[str, ...]] | None = None) -> list[Any]:
    """Sets fields of a struct, those of a struct in it too, by name. Returns what must live as long as the struct is used.
    words: of an enum, by its number. ImagoError: no such field; a value of another kind, or one that does not fit."""
    kept: list[Any] = []
    fields = _fields(struct)
    for name, value in values.items():
        if name not in fields:
            raise ImagoError(f"{what}: there is no option {name!r}; wanted one of {', '.join(sorted(fields))}")
        place, kind = fields[name]
        if value is None:
            if kind in (ctypes.c_char_p, ctypes.POINTER(im_image), ctypes.POINTER(ctypes.c_float)):
                setattr(place, name, None)
                continue
            raise ImagoError(f"{name}: found None, wanted a value; leave it out for the default")
        if words and name in words:
            value = word(value, words[name], name)
        _set(place, name, kind, value, kept)
    return kept


def word(value: Any, words: tuple[str, ...], name: str) -> int:
    """The number of a word."""
    if value not in words:
        raise ImagoError(f"{name}: found {value!r}, wanted one of {', '.join(words)}")
    return words.index(value)


def _fields(struct: Any) -> dict[str, tuple[Any, Any]]:
    out: dict[str, tuple[Any, Any]] = {}
    for name, kind in struct._fields_:
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
            out.update(_fields(getattr(struct, name)))
        else:
            out[name] = struct, kind
    return out


def _set(place: Any, name: str, kind: Any, value: Any, kept: list[Any]) -> None:
    if kind is ctypes.c_char_p:
        value = text(value, name)
    elif kind == ctypes.POINTER(im_image):
        image = image_of(value, name)
        kept.append(image)
        value = ctypes.pointer(image)
    elif kind == ctypes.POINTER(ctypes.c_float):
        try:
            array = np.ascontiguousarray(value, np.float32)
        except (TypeError, ValueError):
            raise ImagoError(f"{name}: found {type(value).__name__}, wanted an array of numbers") from None
        kept.append(array)
        value = array.ctypes.data_as(kind)
    elif kind is ctypes.c_bool:
        if not isinstance(value, (bool, np.bool_)):
            raise ImagoError(f"{name}: found {value!r}, wanted True or False")
    elif kind in (ctypes.c_float, ctypes.c_double):
        if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise ImagoError(f"{name}: found {value!r}, wanted a number")
        value = float(value)
    elif kind not in _WHOLE:
        raise ImagoError(f"{name}: has no form in Python; leave it out")
    elif isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ImagoError(f"{name}: found {value!r}, wanted a whole number")
    else:
        value = int(value)
    setattr(place, name, value)
    if isinstance(value, int) and getattr(place, name) != value:            # C cuts what does not fit
        bits = 8 * ctypes.sizeof(kind)
        low = 0 if kind(-1).value > 0 else -(1 << (bits - 1))
        raise ImagoError(f"{name}: found {value}, wanted a whole number from {low} to {low + (1 << bits) - 1}")
