"""Training and evaluation of a ResNet: the bits of `imago train resnet`, hooks, Ctrl-C, what goes wrong."""
from __future__ import annotations

import importlib.util
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

import imago
from common import Case, program

TINY: dict[str, Any] = {"arch": "resnet18", "width": 8, "small_stem": True, "size": 32, "batch": 4, "steps": 6, "seed": 2,
                        "lr": 0.01, "checkpoint_every": 2}
ARGS = ["--arch", "resnet18", "--width", 8, "--small-stem", "--size", 32, "--batch", 4, "--steps", 6, "--seed", 2, "--lr", .01,
        "--checkpoint-every", 2, "-q", "-t", 1]


class Train(Case):
    def setUp(self) -> None:
        super().setUp()
        path = Path(__file__).parent.parent / "examples" / "train.py"
        spec = importlib.util.spec_from_file_location("example", path)
        assert spec and spec.loader
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
        self.data = self.dir / "data"
        example.draw(self.data, 6, 1)

    def weights(self, run: Path) -> bytes:
        return (run / "model.safetensors").read_bytes()

    def test_beside_the_program(self) -> None:
        steps: list[imago.Step] = []
        saved: list[str] = []
        imago.train_resnet(self.data, self.dir / "run", threads=1, on_step=steps.append, on_saved=saved.append, **TINY)
        program("train", "resnet", "--data", self.data, "-o", self.dir / "wanted", *ARGS)
        self.assertEqual(self.weights(self.dir / "run"), self.weights(self.dir / "wanted"))
        self.assertEqual([(s.step, s.steps) for s in steps], [(i, 6) for i in range(1, 7)])
        log = [json.loads(line) for line in (self.dir / "run" / "log.jsonl").read_text().splitlines()]
        self.assertEqual([round(s.loss, 4) for s in steps], [round(row["loss"], 4) for row in log if "loss" in row])
        self.assertIn(str(self.dir / "run"), saved)

        found = imago.evaluate(self.dir / "run", self.data, threads=1, batch=5)
        wanted = json.loads(program("eval", "-m", self.dir / "run", "--data", self.data, "--json", "-q", "-t", 1, "-b", 5,
                                    "-o", self.dir / "e"))
        self.assertEqual((found.top1, found.top5, found.pictures, found.size),
                         (wanted["top1"], wanted["top5"], wanted["pictures"], 32))
        self.assertAlmostEqual(found.loss, wanted["loss"], 6)
        self.assertEqual(found.classes, ["disk", "square"])
        self.assertEqual((found.confusion.sum(), found.confusion.trace()), (12, round(found.top1 * 12)))
        self.assertTrue(found.weights.endswith("model.safetensors"))
        self.assertEqual(found.top5_hits.tolist(), [6, 6])

    def test_goes_on(self) -> None:
        imago.train_resnet(self.data, self.dir / "whole", threads=1, **TINY)

        def fail(s: imago.Step) -> None:
            if s.step == 3:
                os.kill(os.getpid(), signal.SIGINT)            # Ctrl-C
        notes: list[str] = []
        before = signal.signal(signal.SIGINT, signal.default_int_handler)      # a shell's background jobs ignore it
        self.addCleanup(signal.signal, signal.SIGINT, before)
        with self.assertRaises(KeyboardInterrupt):
            imago.train_resnet(self.data, self.dir / "run", threads=1, on_step=fail, **TINY)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        with self.assertRaisesRegex(imago.Stopped, "stopped after step 5 of 6"):
            imago.train_resnet(out=self.dir / "run", resume=True, threads=1, on_step=lambda s: s.step < 5,
                               on_note=notes.append)
        self.assertFalse((self.dir / "run" / "model.safetensors").exists() and
                         self.weights(self.dir / "run") == self.weights(self.dir / "whole"))
        imago.train_resnet(out=self.dir / "run", resume=True, threads=1, on_note=notes.append)
        self.assertEqual(self.weights(self.dir / "run"), self.weights(self.dir / "whole"))
        self.assertTrue(any("of step 3 of 6" in n for n in notes) and any("of step 5 of 6" in n for n in notes), notes)
        self.says("--lr", imago.train_resnet, out=self.dir / "run", resume=True, lr=0.5)

    def test_wrong(self) -> None:
        out = self.dir / "run"
        for options, text in (({"batch": 0}, "--batch"), ({"schedule": "linear"}, "--schedule"), ({"lr": -1.0}, "--lr"),
                              ({"arch": "resnet19"}, "resnet18"), ({"bach": 3}, "no option 'bach'"), ({"batch": 64}, "batch"),
                              ({"epochs": 2.5}, "whole number"), ({"resume": True, "data": None}, "no run to resume")):
            with self.subTest(options=options):
                self.says(text, imago.train_resnet, **{"data": self.data, "out": out, **TINY, **options})
        self.says("data is missing", imago.train_resnet, None, out)
        self.says("out is missing", imago.train_resnet, self.data)
        line = program("train", "resnet", "--data", self.dir / "nowhere", "-o", out, *ARGS, fails=True)
        self.assertEqual(str(self.says("nowhere", imago.train_resnet, self.dir / "nowhere", out, **TINY)), line)
        self.says("nowhere", imago.evaluate, self.dir / "nowhere", self.data)
        self.assertFalse((out / "model.safetensors").exists())

    def test_evaluation_given_up(self) -> None:
        imago.train_resnet(self.data, self.dir / "run", threads=1, **{**TINY, "steps": 1})
        with imago.Context("cpu", 1) as c:
            def fail(done: int, total: int) -> None:
                raise KeyboardInterrupt
            with self.assertRaises(KeyboardInterrupt):
                imago.evaluate(self.dir / "run", self.data, progress=fail, context=c, batch=2)
            seen: list[tuple[int, int]] = []
            found = imago.evaluate(self.dir / "run", self.data, progress=lambda *a: seen.append(a), context=c, batch=2)
            self.assertEqual((found.pictures, seen[-1]), (12, (12, 12)))
            self.assertFalse(np.isnan(found.loss))
