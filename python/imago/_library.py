"""Finds libimago and tells ctypes what is in it.

The library is the file that IMAGO_LIBRARY names; else what the loader finds; else what stands in the folder that pkg-config
knows for imago. It is looked for when it is first needed.
"""
from __future__ import annotations

import ctypes
import os
import subprocess
from typing import Any

from ._errors import ImagoError
from ._functions import FUNCTIONS
from ._structs import STRUCTS, VERSION

NAME = "libimago.so.0"
_loaded: Library | None = None


class Library:
    """The functions of libimago by name; each knows its arguments."""

    def __init__(self, dll: ctypes.CDLL, path: str) -> None:
        self.path = path
        self._dll = dll

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(name)
        try:
            function = getattr(self._dll, name)
        except AttributeError:
            raise ImagoError(f"{self.path}: has no {name}: it is of another version than this package, which knows imago "
                             f"{VERSION}; install both from one source") from None
        function.restype, function.argtypes = FUNCTIONS[name]
        setattr(self, name, function)
        return function


def library() -> Library:
    """The library, looked for once. ImagoError: there is none, with what was tried; or it is of another version."""
    global _loaded
    if _loaded is None:
        found = _find()
        _compare(found)
        _loaded = found
    return _loaded


def _find() -> Library:
    given = os.environ.get("IMAGO_LIBRARY")
    if given:                                                  # this one or none
        try:
            return Library(ctypes.CDLL(given), given)
        except OSError as e:
            raise ImagoError(f"IMAGO_LIBRARY is \"{given}\", which cannot be loaded ({e}); wanted the file of "
                             f"libimago.so") from None
    tried = ["IMAGO_LIBRARY is not set"]
    folder, why = _package_folder()
    for path in [NAME] + ([os.path.join(folder, NAME)] if folder else []):
        try:
            return Library(ctypes.CDLL(path), path)
        except OSError as e:
            tried.append(f"the loader says: {e}")
    if not folder:
        tried.append(why)
    raise ImagoError(f"libimago was not found: {', '.join(tried)}; install it (make install, then ldconfig), or name its "
                     f"file in IMAGO_LIBRARY")


def _package_folder() -> tuple[str, str]:
    """Where pkg-config has imago; else why not."""
    try:
        said = subprocess.run(["pkg-config", "--variable=libdir", "imago"], capture_output=True, text=True, check=False)
    except OSError as e:
        return "", f"pkg-config cannot be run ({e.strerror})"
    folder = said.stdout.strip()
    return folder, "" if folder else "pkg-config knows no imago"


def _compare(found: Library) -> None:
    """Structs that go to and fro must be of one size on both sides."""
    for struct in STRUCTS:
        theirs = found.im_struct_size(struct.__name__.encode())
        if theirs != ctypes.sizeof(struct):
            raise ImagoError(f"{found.path}: {struct.__name__} has {theirs} bytes there and {ctypes.sizeof(struct)} in "
                             f"this package: the library is imago {found.im_version().decode()} and the package is of "
                             f"another source ({VERSION}); install both from one")
