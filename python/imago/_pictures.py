"""Files of pictures."""
from __future__ import annotations

import ctypes
import os
from typing import Any, Mapping

import numpy as np

from ._context import Context
from ._convert import Pixels, Text, image_of, pixels_of, text
from ._errors import ImagoError
from ._structs import im_picture_how, im_text


def read_picture(path: Text, context: Context | None = None) -> Pixels:
    """A PNG or JPEG as (height, width, 3) of uint8, turned upright as its EXIF data says. ImagoError: it is damaged."""
    c = context if context is not None else Context("ref", 1)
    image = c.call("im_picture_read", text(path, "path"))
    try:
        return pixels_of(image)
    finally:
        c._lib.im_image_free(image)


def quality_of(path: Text, quality: Any) -> int:
    """Of the file that this name asks for: that of a JPEG, 0 of a PNG. ImagoError: another ending, or no quality."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in (".png", ".jpg", ".jpeg"):
        raise ImagoError(f"{os.fspath(path)}: wanted a name that ends in .png, .jpg or .jpeg")
    if isinstance(quality, bool) or not isinstance(quality, (int, np.integer)) or not 1 <= quality <= 100:
        raise ImagoError(f"quality: found {quality!r}, wanted a whole number from 1 to 100")
    return 0 if ending == ".png" else int(quality)


def write_picture(path: Text, picture: Any, *, quality: int = 95, texts: Mapping[str, str] | None = None,
                  force: bool = False, context: Context | None = None) -> None:
    """Writes (height, width, 3) of uint8 as a PNG, or as a JPEG by the name .jpg or .jpeg.

    Other endings are an ImagoError.

    :param quality: of a JPEG, 1 to 100.
    :param texts: text chunks of a PNG; a JPEG's EXIF comment.
    :param force: replace a file that is there; else that is an ImagoError.
    """
    c = context if context is not None else Context("ref", 1)
    image = image_of(picture, "write_picture")
    rows = (im_text * max(len(texts or ()), 1))()
    for i, (key, value) in enumerate((texts or {}).items()):
        rows[i].key, rows[i].value = text(key, "texts"), text(value, "texts")
    quality = quality_of(path, quality)
    how: Any = im_picture_how(format=quality > 0, quality=quality, texts=rows, n_texts=len(texts or ()))
    c.call("im_picture_write", text(path, "path"), ctypes.byref(image), ctypes.byref(how), force)


def picture_text(path: Text, key: str = "imago", context: Context | None = None) -> str | None:
    """What a picture's file says beside its pixels; "imago": how it was made, as JSON. None: it has no such text."""
    c = context if context is not None else Context("ref", 1)
    found = c.call("im_picture_text", text(path, "path"), text(key, "key"))
    if not found:
        return None
    try:
        return ctypes.string_at(found).decode("utf-8", "replace")
    finally:
        free(found)


def free(pointer: int) -> None:
    """Of what the library has from malloc."""
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free(pointer)
