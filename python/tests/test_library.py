"""Where the library is looked for, and that it is the one that this package knows."""
from __future__ import annotations

import os
import subprocess
import sys
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

    def test_all_is_there(self) -> None:
        lib: Any = _library.library()
        for name in _library.FUNCTIONS:
            self.assertTrue(callable(getattr(lib, name)), name)
