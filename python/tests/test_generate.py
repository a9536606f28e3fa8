"""Pictures: the bits of `imago generate`, in one call and step by step; giving up; what goes wrong."""
from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import struct
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import imago
from common import GIVEN, LORA, MODEL, Case, load, program


def drawn(folder: Path, *args: Any) -> Any:
    """What the program draws."""
    out = folder / "wanted.png"
    program("generate", "-q", "-f", "-t", 1, "-o", out, "-p", "a cat", "-s", 5, *args)
    return imago.read_picture(out)


def tensor_of(path: Path) -> Any:
    """The only tensor of a safetensors file, f32."""
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    head = json.loads(data[8:8 + size])
    head.pop("__metadata__", None)
    (entry,) = head.values()
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[8 + size:][begin:end], np.float32).reshape(entry["shape"])


class Generate(Case):
    def test_embedded(self) -> None:
        wanted = drawn(self.dir, "--steps", 3, "--guidance", 4)
        with imago.Model.load(threads=2) as model:
            self.same(model.generate("a cat", **GIVEN), wanted)

    def test_forked(self) -> None:
        """A child of fork() draws with threads of its own, by the model that it inherits and by one that it opens."""
        with load(threads=2) as model:
            wanted = model.generate("a cat", **GIVEN)
            child = os.fork()
            if not child:
                signal.alarm(60)                               # a loop that waits for threads of the parent never ends
                with load(threads=2) as other:
                    os._exit(not all(np.array_equal(m.generate("a cat", **GIVEN), wanted) for m in (model, other)))
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            self.same(model.generate("a cat", **GIVEN), wanted)

    def test_settings(self) -> None:
        init = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        imago.write_picture(self.dir / "init.png", init)
        base = ["-m", MODEL, "--steps", 3]
        rows: list[tuple[dict[str, Any], list[Any]]] = [
            ({}, []), ({"guidance": 1.0}, ["-g", 1]), ({"negative": "a dog"}, ["-n", "a dog"]),
            ({"scheduler": "euler_a"}, ["--scheduler", "euler_a"]), ({"rng": "cuda"}, ["--rng", "cuda"]),
            ({"width": 128, "height": 64, "eager": True}, ["-W", 128, "-H", 64]),
            ({"init": init, "strength": 0.7}, ["-i", self.dir / "init.png", "--strength", .7]),
            ({"init": init, "strength": 0.7, "width": 64}, ["-i", self.dir / "init.png", "--strength", .7, "-W", 64]),
        ]
        with load() as model:
            for options, args in rows:
                with self.subTest(options=list(options)):
                    guidance = [] if "-g" in args else ["-g", 4]
                    self.same(model.generate("a cat", **{**GIVEN, **options}), drawn(self.dir, *base, *guidance, *args))

    def test_weights(self) -> None:
        for dtype in ("f16", "bf16"):
            with load(dtype=dtype, activations=dtype) as model:
                self.assertEqual(model.dtype, dtype)
                self.same(model.generate("a cat", **GIVEN), drawn(
                    self.dir, "-m", MODEL, "--steps", 3, "-g", 4, "--dtype", dtype, "--activations", dtype), dtype)

    def test_weights_of_the_model(self) -> None:
        folder = self.dir / "int8"
        program("convert", MODEL, "-o", folder, "--dtype", "int8")
        with imago.Model.load(folder, threads=1) as model, load() as other:
            self.assertEqual((model.dtype, other.dtype), ("int8", "f32"))
            self.same(model.generate("a cat", **GIVEN), drawn(self.dir, "-m", folder, "--steps", 3, "-g", 4))

    def test_latents(self) -> None:
        wanted = drawn(self.dir, "-m", MODEL, "--steps", 3, "-g", 4, "--save-latents", self.dir / "l.safetensors")
        with load() as model, model.open("a cat", **GIVEN) as run:
            while run.step():
                pass
            self.same(run.latents(), tensor_of(self.dir / "l.safetensors")[0], "the final latents")
            self.same(run.image(), wanted)
            first = np.random.default_rng(2).normal(size=model.latent_shape()).astype(np.float32)
            one, two = (model.generate("a cat", latents=x, **GIVEN) for x in (first, np.asfortranarray(first)))
            self.same(one, two, "latents in another order of memory")
            self.assertFalse(np.array_equal(one, wanted))

    def test_several(self) -> None:
        wanted = [{"prompt": "a cat", **GIVEN}, {"prompt": "a dog", **GIVEN, "seed": 6},
                  {"prompt": "a cat", **GIVEN, "width": 128, "height": 64}]
        with load() as model:
            for one, picture in zip(wanted, model.generate_all(wanted)):
                self.same(picture, model.generate(**one), str(one))
            self.assertEqual(model.generate_all([]), [])


    def test_mask(self) -> None:
        init = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
        grey = np.zeros((96, 128), np.uint8)
        grey[40:70, 32:90] = 255
        for name, pixels in (("init", init), ("mask", np.stack([grey] * 3, 2))):
            imago.write_picture(self.dir / f"{name}.png", pixels)
        files = ["-m", MODEL, "-i", self.dir / "init.png", "--mask", self.dir / "mask.png"]
        rows: list[tuple[dict[str, Any], list[Any]]] = [
            ({"mask_blur": 2.0}, ["--mask-blur", 2]), ({"mask_only": True, "mask_padding": 8}, ["--mask-only", 8])]
        with load() as model:
            for more, args in rows:
                wanted = drawn(self.dir, *files, "--steps", 3, "-g", 4, *args)
                options: dict[str, Any] = {**GIVEN, "init": init, **more}
                for mask in (grey, grey[..., None], np.stack([grey] * 3, 2)):
                    self.same(model.generate("a cat", mask=mask, **options), wanted, str(mask.shape))
                model.write(self.dir / "m.png", wanted, "a cat", mask=grey, force=True, **options)
                for key in ("imago", "parameters"):
                    self.assertEqual(imago.picture_text(self.dir / "m.png", key),
                                     imago.picture_text(self.dir / "wanted.png", key))
                program("generate", "-q", "-f", "-t", 1, *files, "--from", self.dir / "m.png", "-o", self.dir / "again.png")
                self.same(imago.read_picture(self.dir / "again.png"), wanted)

    def test_loras(self) -> None:
        with load() as model:
            self.assertEqual(model.loras, [])
            for weight in (float("nan"), float("inf"), 1e9, -100.5):
                self.says("wanted a number from -100 to 100", model.add_lora, LORA, weight)
            model.add_lora(LORA, 0.5)
            digest = hashlib.sha256(Path(LORA).read_bytes()).hexdigest()
            self.assertEqual(model.loras, [("lora", digest, 0.5)])
            model.add_lora(LORA)
            self.assertEqual(model.loras, [("lora", digest, 0.5), ("lora", digest, 1)])
            model.clear_loras()
            self.assertEqual(model.loras, [])
        with load(loras=[(LORA, 0.25)]) as model:
            self.assertEqual(model.loras, [("lora", digest, 0.25)])
        with load(loras=LORA) as model:
            self.assertEqual(model.loras, [("lora", digest, 1)], "the name of a file is one, and no list of letters")


class Steps(Case):
    def test_runs(self) -> None:
        with load() as model:
            a, b, c = (model.open("a cat", **{**GIVEN, "seed": s}) for s in (5, 6, 7))
            self.assertEqual((a.state, a.done, a.total), ("running", 0, model.evaluations(**GIVEN)))
            self.assertTrue(model.step([a, b, c]))
            self.assertEqual((a.preview().dtype, a.preview().shape), (np.dtype(np.uint8), (*model.latent_shape()[1:], 3)))
            b.cancel()
            self.says("a picture was asked for after 1 of", a.image)
            while model.step([a, b, c]):
                pass
            self.assertEqual([r.state for r in (a, b, c)], ["finished", "cancelled", "finished"])
            self.assertEqual(a.done, a.total)
            for run, seed in ((a, 5), (c, 7)):
                self.same(run.image(), model.generate("a cat", **{**GIVEN, "seed": seed}))
            self.assertFalse(a.step())

    def test_order_of_closing(self) -> None:
        model = load()
        run = model.open("a cat", **GIVEN)
        model.close()
        self.assertTrue(run.step())                            # it holds the model
        context = run.model.context
        run.close()
        self.says("the run was closed", run.step)
        self.says("the model was closed", model.open, "a cat")
        context.close()
        self.says("the context was closed", imago.Model.load, MODEL, context=context)
        for _ in range(3):                                     # all at once, in any order
            run = load().open("a cat", **GIVEN)
            ring: list[Any] = [run, run.model, run.model.context]
            ring.append(ring)
            del ring, run
            gc.collect()

    def test_threads(self) -> None:
        with load() as model:
            wanted = [model.generate("a cat", **{**GIVEN, "seed": s}) for s in range(3)]
            found: dict[int, Any] = {}

            def draw(seed: int) -> None:
                found[seed] = model.generate("a cat", **{**GIVEN, "seed": seed})
            threads = [threading.Thread(target=draw, args=(s,)) for s in range(3)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            for seed, picture in enumerate(wanted):
                self.same(found[seed], picture)


class GivingUp(Case):
    def test_progress(self) -> None:
        seen: list[tuple[int, int]] = []
        with load() as model:
            wanted = model.generate("a cat", **GIVEN, progress=lambda done, total: seen.append((done, total)))
            total = model.evaluations(**GIVEN)
            self.assertEqual(seen, [(i, total) for i in range(total + 1)])
            with self.assertRaises(imago.Stopped):
                model.generate("a cat", **GIVEN, progress=lambda done, _: done < 2)
            for error in (KeyboardInterrupt, ZeroDivisionError):
                def fail(done: int, _: int) -> None:
                    seen.append((done, -1))
                    if done == 1:
                        raise error                            # noqa: B023
                seen.clear()
                with self.assertRaises(error):
                    model.generate("a cat", **GIVEN, progress=fail)
                self.assertEqual(seen, [(0, -1), (1, -1)])
            self.same(model.generate("a cat", **GIVEN), wanted, "as if nothing had happened")

    def test_ctrl_c(self) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)      # a shell's background jobs ignore it
        self.addCleanup(signal.signal, signal.SIGINT, before)
        with load() as model:
            begun = threading.Event()

            def press() -> None:
                begun.wait()
                os.kill(os.getpid(), signal.SIGINT)
            thread = threading.Thread(target=press)
            thread.start()
            start = time.monotonic()
            with self.assertRaises(KeyboardInterrupt):
                model.generate("a cat", steps=400, scheduler="ddim", progress=lambda done, total: begun.set())
            thread.join()
            self.assertLess(time.monotonic() - start, 60)
            self.assertEqual(model.generate("a cat", **GIVEN).shape, (64, 64, 3))

    def test_cancel_by_another_thread(self) -> None:
        with load() as model:
            begun = threading.Event()

            def stop() -> None:
                begun.wait()
                model.context.cancel()
            thread = threading.Thread(target=stop)
            thread.start()
            with self.assertRaises(imago.Stopped):
                model.generate("a cat", steps=400, scheduler="ddim", progress=lambda done, total: begun.set())
            thread.join()
            self.assertEqual(model.generate("a cat", **GIVEN).shape, (64, 64, 3))


class Wrong(Case):
    def test_lines_of_the_library(self) -> None:
        line = program("generate", "-m", self.dir / "nowhere", "-p", "x", "-o", self.dir, fails=True)
        self.assertEqual(str(self.says("nowhere", imago.Model.load, self.dir / "nowhere")), line)
        self.says('device "tpu" is unknown', imago.Context, "tpu")
        with load() as model:
            line = program("generate", "-m", MODEL, "-p", "x", "-W", 70, "-o", self.dir, fails=True)
            self.assertEqual(str(self.says("70", model.generate, "x", width=70)), line)
            for options, text in (({"steps": 0}, "steps"), ({"steps": -1}, "steps"), ({"scheduler": "eular"}, "euler"),
                                  ({"guidance": float("nan")}, "guidance"), ({"width": -8}, "-8x64"), ({"strength": 2.0,
                                  "init": np.zeros((64, 64, 3), np.uint8)}, "strength")):
                with self.subTest(options=options):
                    self.says(text, model.generate, "x", **options)
            self.assertEqual(model.generate("x", **GIVEN).shape, (64, 64, 3))

    def test_values_that_c_cannot_hold(self) -> None:
        black = np.zeros((64, 64, 3), np.uint8)
        rows: list[tuple[dict[str, Any], str]] = [
            ({"steps": 2**33}, "steps: found 8589934592, wanted a whole number from"), ({"seed": -1}, "from 0 to"),
            ({"seed": 2**64}, "seed"), ({"steps": 2.5}, "steps: found 2.5, wanted a whole number"),
            ({"steps": True}, "whole number"), ({"guidance": "7"}, "guidance: found '7', wanted a number"),
            ({"eager": 1}, "True or False"), ({"negative": 3}, "wanted text"), ({"negative": "a\0b"}, "NUL"),
            ({"step": 3}, "no option 'step'; wanted one of"), ({"steps": None}, "leave it out"), ({"rng": "gpu"}, "cpu, cuda"),
            ({"init": np.zeros((8, 8))}, "uint8 (height, width, 3)"), ({"latents": np.zeros((4, 8, 9))}, "wanted (4, 8, 8)"),
            ({"latents": "x"}, "latents: found str, wanted an array"), ({"negative": "a\ud83d"}, "surrogate pairs"),
            ({"mask": np.zeros((8, 8)), "init": black}, "mask: found float64 (8, 8), wanted pixels of uint8 (height, width)"),
            ({"strength": 0.5}, "strength: found without init"), ({"mask_fill": 1, "init": black}, "found without mask"),
            ({"width": 10**6}, "width: found 1000000 pixels, wanted at most 65536"),
        ]
        with load() as model:
            for options, text in rows:
                with self.subTest(options=options):
                    self.says(text, model.generate, "x", **options)
            self.says("prompt", model.generate, 3)
            other = load().open("x", **GIVEN)
            for found in (other, 1):
                self.says("wanted runs of this model", model.step, [found])
        self.says("dtype", imago.Model.load, MODEL, dtype="f64")
        self.says("threads", imago.Context, threads=-1)

    def test_hint(self) -> None:
        self.assertEqual(imago.ImagoError("a: found b; use c").hint, "use c")
        self.assertEqual(imago.ImagoError("a: no such file").hint, "")

    def test_warnings(self) -> None:
        with load() as model:
            with self.assertWarns(imago.ImagoWarning):
                model.generate("cat " * 200, **GIVEN)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with self.assertRaises(imago.ImagoWarning):
                    model.generate("dog " * 200, **GIVEN)
                model.generate("cat", **GIVEN)


class Pictures(Case):
    def test_files(self) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        path = self.dir / "ä b.png"
        imago.write_picture(path, picture, texts={"imago": "{}"})
        self.same(imago.read_picture(path), picture)
        self.assertEqual(imago.picture_text(path), "{}")
        self.assertIsNone(imago.picture_text(path, "other"))
        self.says("ä b.png", imago.write_picture, path, picture)
        imago.write_picture(self.dir / "x.jpg", picture, quality=100)
        self.assertEqual((self.dir / "x.jpg").read_bytes()[:2], b"\xff\xd8")
        self.says("nowhere", imago.read_picture, self.dir / "nowhere.png")

    def test_told_of_their_making(self) -> None:
        init = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        imago.write_picture(self.dir / "init.png", init)
        with load() as model:
            for number, (options, args) in enumerate((({}, []), ({"init": init, "strength": 0.5, "scheduler": "ddim"}, [
                    "-i", self.dir / "init.png", "--strength", .5, "--scheduler", "ddim"]))):
                path = self.dir / f"{number}.png"
                picture = model.generate("a cat", **GIVEN, **options)
                model.write(path, picture, "a cat", **GIVEN, **options)
                drawn(self.dir, "-m", MODEL, "--steps", 3, "-g", 4, *args)
                for key in ("imago", "parameters"):
                    self.assertTrue(imago.picture_text(path, key))
                    self.assertEqual(imago.picture_text(path, key), imago.picture_text(self.dir / "wanted.png", key))
                self.same(imago.read_picture(path), picture)
            program("generate", "-q", "-t", 1, "-m", MODEL, "--from", self.dir / "0.png", "-o", self.dir / "again.png")
            self.same(imago.read_picture(self.dir / "again.png"), imago.read_picture(self.dir / "0.png"))
            for name, quality in (("x.gif", 95), ("x", 95), ("x.jpg", 0), ("x.jpg", 101), ("x.png", True)):
                self.says("wanted a", model.write, self.dir / name, picture, "a cat", quality=quality, **GIVEN)
                self.says("wanted a", imago.write_picture, self.dir / name, picture, quality=quality)
            self.assertFalse(list(self.dir.glob("x*")))
            model.write(self.dir / "x.jpg", picture, "a cat", quality=70, **GIVEN)
            self.assertEqual(json.loads(imago.picture_text(self.dir / "x.jpg") or "{}")["seed"], 5)
            self.says("x.jpg", model.write, self.dir / "x.jpg", picture, "a cat", **GIVEN)
            self.says("no file can name", model.write, path, picture, "a cat", latents=np.zeros((4, 8, 8)))
