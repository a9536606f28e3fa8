"""What the tests of the binding share: the program beside it, a small model, counts at the end.

Run by tests/cli/python.sh from the root of the repository: python/tests/run.py, with IMAGO the program and IMAGO_LIBRARY.
"""
from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np

import imago

PROGRAM = os.environ.get("IMAGO", "build/imago")
MODEL = "tests/golden/models/a"                                # of 64 pixels, a few kB
LORA = "tests/golden/lora.safetensors"                         # of MODEL
GIVEN = {"steps": 3, "seed": 5, "guidance": 4.0}


def program(*args: Any, fails: bool = False) -> str:
    """Runs imago; what it printed, or with fails what it said went wrong, without its name."""
    done = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, check=False)
    if fails:
        assert done.returncode == 1, (args, done)
        return done.stderr.strip().splitlines()[-1].removeprefix("imago: ")
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout


def load(**options: Any) -> imago.Model:
    """MODEL, on one thread unless it is said otherwise: it is small, and other tests are at work."""
    return imago.Model.load(MODEL, **{"threads": 1, **options})


class Case(unittest.TestCase):
    """With a folder of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)

    def same(self, found: Any, wanted: Any, what: str = "") -> None:
        """To the bit."""
        self.assertEqual((found.dtype, found.shape), (wanted.dtype, wanted.shape), what)
        self.assertTrue(np.array_equal(found, wanted), f"{what}: other values")

    def says(self, text: str, function: Any, *args: Any, **options: Any) -> imago.ImagoError:
        """It fails with a line that has this text."""
        with self.assertRaises(imago.ImagoError) as caught:
            function(*args, **options)
        self.assertIn(text, str(caught.exception))
        return caught.exception


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
