"""Where the library is looked for, and that it is the one that this package knows."""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import imago
from common import Case
from imago import _library, _structs


class Finding(Case):
    def find(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """In a process of its own, which has no IMAGO_LIBRARY but what is given, and a PATH of one empty folder."""
        env = {k: v for k, v in os.environ.items() if k not in ("IMAGO_LIBRARY", "LD_LIBRARY_PATH")}
        env.update({"PATH": str(self.dir), **environment})
        return subprocess.run([sys.executable, "-c", "import imago; print(imago.library().path)"], env=env, check=False,
                              capture_output=True, text=True)

    def test_places(self) -> None:
        given = os.path.abspath(imago.library().path)
        self.assertEqual(self.find(IMAGO_LIBRARY=given).stdout.strip(), given)
        os.symlink(given, self.dir / "libimago.so.0")
        self.assertEqual(self.find(LD_LIBRARY_PATH=str(self.dir)).stdout.strip(), "libimago.so.0")
        tool = self.dir / "pkg-config"
        tool.write_text(f'#!/bin/sh\n[ "$*" = "--variable=libdir imago" ] && echo {self.dir}\n')
        tool.chmod(0o755)
        self.assertEqual(self.find().stdout.strip(), str(self.dir / "libimago.so.0"))

    def test_nowhere(self) -> None:
        if subprocess.run(["sh", "-c", "ldconfig -p | grep -q libimago"], check=False).returncode == 0:
            self.skipTest("an installed libimago is found")
        said = self.find().stderr.strip().splitlines()[-1]
        for part in ("ImagoError: libimago was not found: IMAGO_LIBRARY is not set", "the loader says: libimago.so.0",
                     "pkg-config cannot be run", "make install", "IMAGO_LIBRARY"):
            self.assertIn(part, said)
        said = self.find(IMAGO_LIBRARY="/nowhere/libimago.so").stderr.strip().splitlines()[-1]
        self.assertIn('IMAGO_LIBRARY is "/nowhere/libimago.so", which cannot be loaded', said)

    def test_another_version(self) -> None:
        lib = _library.library()
        self.assertEqual(lib.im_version().decode(), imago.__version__)

        class im_sd_args(_structs.Structure):                  # one field less
            _fields_ = _structs.im_sd_args._fields_[:-1]
        with mock.patch.object(_library, "STRUCTS", [im_sd_args]):
            self.says("im_sd_args has", _library._compare, lib)
        with mock.patch.dict(_library.FUNCTIONS, {"im_of_tomorrow": (None, [])}):
            self.says("has no im_of_tomorrow", getattr, lib, "im_of_tomorrow")

    def test_declarations_of_tomorrow(self) -> None:
        path = Path(__file__).parent.parent / "declare.py"
        spec = importlib.util.spec_from_file_location("declare", path)
        assert spec and spec.loader
        declare = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(declare)
        text = "\n".join((path.parent.parent / "src" / name).read_text(encoding="utf-8") for name in declare.HEADERS)
        wanted = text.replace("bool eager; ", "bool eager, tiled; const im_image *mask; im_text *notes[2]; ")
        self.assertNotEqual(text, wanted)
        structs, options = (f(declare.Headers(wanted)) for f in (declare.structs, declare.options))
        for line in ('("tiled", c_bool)', '("mask", POINTER(im_image))', '("notes", POINTER(im_text) * 2)'):
            self.assertIn(line, " ".join(structs.split()))
        for line in ("    tiled: bool\n", "    mask: Picture | None\n", "    # notes has no form in Python"):
            self.assertIn(line, options)
        with self.assertRaises(SystemExit):
            declare.Headers(text + "\nunion u { int a; };")

    def test_all_is_there(self) -> None:
        lib: Any = _library.library()
        for name in _library.FUNCTIONS:
            self.assertTrue(callable(getattr(lib, name)), name)
