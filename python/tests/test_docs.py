"""What docs/python.md shows, run; the training, whose pictures a reader has, is compiled."""
from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import imago
from common import Case


class Docs(Case):
    def test_blocks(self) -> None:
        blocks = re.findall(r"```python\n(.*?)```", Path("docs/python.md").read_text(encoding="utf-8"), re.S)
        self.assertEqual(len(blocks), 4)
        shown: list[Any] = []
        names: dict[str, Any] = {"imago": imago, "show": lambda *args: shown.append(args),
                                 "tired_of": lambda run: run.done == 2}
        code = [compile(block, "docs/python.md", "exec") for block in blocks]
        said = io.StringIO()
        with contextlib.chdir(self.dir), contextlib.redirect_stdout(said):
            for one in code[:3]:
                exec(one, names)
        self.assertEqual(imago.read_picture(self.dir / "strawberry.png").shape, (64, 64, 3))
        self.assertEqual(([row[0].shape for row in shown[:1]], shown[-1][1:]), ([(16, 16, 3)], (21, 21)))
        self.same(names["picture"], imago.Model.load().generate("strawberry", steps=20, seed=1))
        loss, gradient = said.getvalue().split(" ", 1)
        self.assertAlmostEqual(float(loss), 1.0986, 3)         # ln 3: the weights are zeros
        self.assertEqual(gradient.count("["), 4)
