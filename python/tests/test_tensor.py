"""Tensors: to numpy and back, operations beside numpy, gradients, memory."""
from __future__ import annotations

import gc
import math
import threading
from typing import Any

import numpy as np

import imago
from common import Case, resident
from imago import ops

RNG = np.random.default_rng(3)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


class Values(Case):
    def test_round_trip(self) -> None:
        for device in ("cpu", "ref", "far"):
            with imago.Context(device, 2) as c:
                self.assertEqual((c.device, c.threads), (device, 2))
                for kind in (np.float32, np.float16, np.int32):
                    for shape in ((), (1,), (3, 5), (2, 3, 1, 2, 2)):
                        x = np.asarray(RNG.integers(-9, 99, shape), kind)
                        t = c.tensor(x)
                        self.assertEqual((t.shape, t.size), (shape, x.size))
                        for copy in (None, True):
                            self.same(t.numpy(copy), x, f"{device} {kind} {shape}")
                        self.same(np.asarray(t), x)
                self.same(c.tensor([[1, 2.5], [3, 4]], "f32").numpy(), np.array([[1, 2.5], [3, 4]], np.float32))
                self.same(c.tensor(np.arange(12, dtype=np.float32).reshape(3, 4).T).numpy(),
                          np.arange(12, dtype=np.float32).reshape(3, 4).T, "another order of memory")
                self.same(c.zeros((2, 2), "f16").numpy(), np.zeros((2, 2), np.float16))

    def test_bf16(self) -> None:
        with imago.Context("cpu", 1) as c:
            t = ops.cast(c.tensor(np.array([1, -2.5, 3], np.float32)), "bf16")
            self.assertEqual((t.dtype, t.numpy().itemsize), ("bf16", 2))
            self.assertEqual(t.numpy().view(np.uint16).tolist(), [0x3f80, 0xc020, 0x4040])
            self.same(c.tensor(t.numpy()).numpy(), t.numpy())
            self.same(ops.cast(c.tensor(t.numpy()), "f32").numpy(), np.array([1, -2.5, 3], np.float32))

    def test_shared(self) -> None:
        with imago.Context("cpu", 1) as c:
            t = c.tensor(normal(3, 4))
            seen, kept = t.numpy(), t.numpy(copy=True)
            self.assertFalse(seen.flags.writeable)
            t.fill(7)
            self.assertTrue((seen == 7).all() and not (kept == 7).any())
            t.upload(kept)
            part = t.slice(1, 1, 3)
            self.assertTrue(np.shares_memory(part.numpy(copy=False), seen))
            self.same(part.numpy(), kept[:, 1:3])
            self.same(part.numpy(copy=True), kept[:, 1:3])
            self.same(t.reshape(2, -1).numpy(), kept.reshape(2, 6))
            del t, part
            gc.collect()
            self.same(seen, kept, "the array keeps the memory")
            x = normal(4, 5)
            shared = c.tensor(x, copy=False)
            self.assertTrue(np.shares_memory(shared.numpy(), x))
            x[0] = 2
            self.same(ops.scale(shared, 3).numpy(), x * 3)
            for write in (lambda: shared.fill(1), lambda: shared.upload(x), shared.want_grad,
                          lambda: ops.optimise([shared], lr=1)):
                self.says("the memory of a numpy array", write)
        self.same(seen, kept, "... when the context was closed, too")
        with imago.Context("far", 1) as c:
            self.says("out of reach", c.tensor(x).numpy, copy=False)
            self.says("own memory", c.tensor, x, copy=False)
            self.same(c.tensor(x, copy=None).numpy(), x)

    def test_wrong(self) -> None:
        with imago.Context("cpu", 1) as c:
            for make, text in ((lambda: c.tensor(np.zeros(3)), "float64"), (lambda: c.tensor(np.zeros((1,) * 6), "f32"), "axes"),
                               (lambda: c.tensor(["a"]), "a tensor of <U1"), (lambda: c.tensor([2**40], "i32"), "32 bits"),
                               (lambda: c.tensor([1.5], "i32"), "float64"), (lambda: c.tensor([1], "f8"), "wanted one of f32"),
                               (lambda: c.zeros((0, 2)), "below 1"), (lambda: c.zeros((2**61, 2**61)), "bytes"),
                               (lambda: c.tensor(normal(2)).reshape(3), "elements"),
                               (lambda: c.tensor(normal(2)).upload(normal(3)), "wanted (2,)"),
                               (lambda: c.tensor(normal(2)).item(), "one value"),
                               (lambda: ops.linear(c.tensor(normal(2, 3)), c.tensor(normal(4, 4))), "linear"),
                               (lambda: ops.linear(c.tensor(normal(2, 3)), None), "linear: input 1 is missing"),  # type: ignore
                               (lambda: ops.add(normal(2), normal(2)), "add: found ndarray, wanted a tensor"),  # type: ignore
                               (lambda: ops.add(c.tensor(normal(2)), normal(2)), "add: found ndarray"),  # type: ignore
                               (lambda: ops.add(c.tensor(normal(2)), 3), "add: found 3, wanted a tensor"),  # type: ignore
                               (lambda: ops.scale(c.zeros(2), "2"), "scale: found '2', wanted a number"),  # type: ignore
                               (lambda: c.zeros(2).slice(0, 0, 1.0), "slice: found 1.0, wanted a whole"),  # type: ignore
                               (lambda: ops.optimise([normal(2)], lr=1), "found ndarray, wanted a tensor"),  # type: ignore
                               (lambda: ops.conv2d(c.zeros((1, 4, 4, 1)), c.zeros((1, 3, 3, 1)), padding=(1, 1)), "(1, 1)"),
                               (lambda: ops.conv2d(c.zeros((1, 4, 4, 1)), c.zeros((1, 3, 3, 1)), stride=.5),  # type: ignore
                                "conv2d: found 0.5"),
                               (lambda: ops.activate(c.tensor(normal(2)), "mish"), "wanted one of none, silu"),
                               (lambda: ops.embedding(c.tensor(normal(4, 2)), c.tensor([[9]], "i32")), "9")):
                self.says(text, make)
            self.assertEqual((c.zeros(3).shape, c.zeros(np.int64(2)).shape), ((3,), (2,)))
            padded = ops.conv2d(c.zeros((1, 4, 4, 1)), c.zeros((1, 3, 3, 1)), padding=[1, 1, 1, 1])
            self.assertEqual(padded.shape, (1, 4, 4, 1))
            with imago.Context("cpu", np.int64(1)) as d:                                                   # type: ignore
                self.says("another context", ops.add, c.tensor(normal(2)), d.tensor(normal(2)))
                left = d.tensor(normal(2))
            self.says("the context was closed", left.numpy)
            self.assertEqual(ops.add(c.tensor(normal(2)), c.tensor(normal(2))).shape, (2,), "it works afterwards")


class Operations(Case):
    def near(self, found: Any, wanted: Any) -> None:
        np.testing.assert_allclose(found.numpy(), wanted, rtol=2e-5, atol=2e-6)        # sums of up to 75 f32 products

    def test_beside_numpy(self) -> None:
        x, w, b, r = normal(2, 6), normal(4, 6), normal(4), normal(2, 4)
        image, kernel, bias = normal(2, 5, 6, 3), normal(4, 3, 5, 3), normal(4)
        padded = np.pad(image, ((0, 0), (1, 1), (2, 2), (0, 0)))
        conv = np.zeros((2, 5, 6, 4), np.float64) + bias
        for i in range(3):
            for j in range(5):
                conv += padded[:, i:i + 5, j:j + 6] @ kernel[:, i, j].T.astype(np.float64)
        q, k = normal(1, 3, 4), normal(1, 5, 4)
        score = np.exp(q[0] @ k[0].T / 2)
        for device in ("cpu", "ref"):
            with imago.Context(device, 2) as c:
                t = c.tensor
                self.near(ops.linear(t(x), t(w), t(b), t(r), "relu"), np.maximum(x @ w.T + b, 0) + r)
                self.near(ops.conv2d(t(image), t(kernel), t(bias), padding=(1, 2, 1, 2)), conv)
                self.near(ops.maxpool(t(image), 2, 2), image[:, :4].reshape(2, 2, 2, 3, 2, 3).max((2, 4)))
                self.near(ops.avgpool(t(image)), image.mean((1, 2)))
                self.near(ops.attention(t(q), t(k), t(k), 1), (score / score.sum(1, keepdims=True) @ k[0])[None])
                mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
                self.near(ops.layernorm(t(x), t(x[0]), t(x[1])), (x - mean) / np.sqrt(var + 1e-5) * x[0] + x[1])
                self.near(ops.stack(t(x), t(x)), np.concatenate([x, x]))
                self.near(ops.concat(t(x), t(r)), np.concatenate([x, r], 1))
                self.near(ops.embedding(t(w), t([[3, 0]], "i32")), w[[[3, 0]]])
                self.near(ops.mse(t(x), t(x * 2)), [np.mean(x * x)])
                self.near(ops.normalize(t(x)), x / np.linalg.norm(x, axis=1, keepdims=True))

    def test_the_others(self) -> None:
        x, w, b, image = normal(2, 6), normal(8, 6), normal(8), normal(2, 4, 3, 6)
        erf = np.vectorize(math.erf)
        v, g = np.split(x @ w.T + b, 2, axis=1)
        groups = image.reshape(2, 12, 2, 3)
        normed = (groups - groups.mean((1, 3), keepdims=True)) / np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
        normed = normed.reshape(image.shape) * x[0] + x[1]
        mean, var = image.mean((0, 1, 2)), image.var((0, 1, 2))
        moments, noise = normal(2, 5, 4), normal(2, 5, 2)
        mu, logvar = moments[..., :2], moments[..., 2:]
        f = np.exp(-math.log(10000) * np.arange(3) / (3 - 1))
        strided = np.zeros((2, 4, 3, 8), np.float32)           # enlarged to 8 x 6, by steps of 2: the picture itself
        strided += image @ w.T + b + b[None, None, None] * 2
        with imago.Context("cpu", 2) as c:
            t = c.tensor
            self.near(ops.linear_geglu(t(x), t(w), t(b)), v * g * (1 + erf(g / math.sqrt(2))) / 2)
            self.near(ops.conv2d(t(image), t(w.reshape(8, 1, 1, 6)), t(b), chan=t(np.stack([b, b]) * 2), stride=2,
                                 enlarged=(8, 6)), strided)
            self.near(ops.groupnorm(t(image), t(x[0]), t(x[1]), 2, silu=True), normed / (1 + np.exp(-normed)))
            at, spread = c.zeros((6,)), c.tensor(np.ones(6, np.float32))
            wanted = (image - mean) / np.sqrt(var + 1e-5) * x[0] + x[1]
            self.near(ops.batchnorm(t(image), t(x[0]), t(x[1]), at, spread, training=True, momentum=0.25, relu=True),
                      np.maximum(wanted, 0))
            self.near(at, 0.25 * mean)
            self.near(spread, 0.75 + 0.25 * var * 24 / 23)
            self.near(ops.batchnorm(t(image), t(x[0]), t(x[1]), t(mean), t(var)), wanted)
            self.near(ops.l1(t(x), t(-x), t([1, 3], "f32")), [np.mean(np.abs(2 * x) * [[1], [3]])])
            self.near(ops.gaussian_sample(t(moments), t(noise)), mu + np.exp(logvar / 2) * noise)
            self.near(ops.kl(t(moments)), [np.sum(mu**2 + np.exp(logvar) - 1 - logvar) / 2 / 2])
            times = np.array([3, 0.5], np.float32)
            self.near(ops.timestep_embedding(t(times), 6, True, 1), np.concatenate(
                [np.cos(times[:, None] * f), np.sin(times[:, None] * f)], 1))
            self.near(ops.contiguous(t(x).slice(1, 2, 5)), x[:, 2:5])
            self.near(ops.activate(t(x), "quick_gelu"), x / (1 + np.exp(-1.702 * x)))
            w1 = t(w).want_grad()
            with c.tape() as tape:
                tape.backward(ops.scale(w1, 1), t(w * 2))
            ops.optimise([w1], "adamw", lr=0.1, decay=0.5, state={"m": [c.zeros((8, 6))], "v": [c.zeros((8, 6))]})
            self.near(w1, w - 0.1 * 0.5 * w - 0.1 * np.sign(w))               # the first step: m / sqrt(v) is the sign
            self.says("wanted one of sgd, adamw, lars", ops.optimise, [w1], "adam", lr=1)
            self.says("found state 'n' of 0 tensors", ops.optimise, [w1], lr=1, state={"n": []})

    def test_gradients(self) -> None:
        x, w = normal(6, 3), normal(4, 3)
        labels = np.array([0, 1, 2, 3, 0, 1], np.int32)
        p = np.exp(x.astype(np.float64) @ w.T)
        p /= p.sum(1, keepdims=True)
        p[np.arange(6), labels] -= 1
        wanted = p.T @ x / 6
        with imago.Context("cpu", 1) as c:
            weight = c.tensor(w).want_grad()
            self.assertIsNone(weight.grad)
            for times in (1, 2):
                with c.tape() as tape:
                    hidden = ops.linear(c.tensor(x), weight)   # what it was made of is let go of within the tape
                    view = hidden.reshape(3, 2, 4).reshape(6, 4)
                    loss = ops.cross_entropy(view, c.tensor(labels))
                    tape.backward(loss)
                self.near(weight.grad, times * wanted)
                self.near(view, x @ w.T)                       # it outlives the tape
            weight.zero_grad()
            self.assertIsNone(weight.grad)
            with c.tape() as tape:                             # a gradient of y given
                y = ops.scale(weight, 3)
                tape.backward(y, c.tensor(w))
                self.says("the tape has ended", tape.backward, y)
            self.near(weight.grad, 3 * w)
            kept = np.asarray(weight.grad)
            ops.optimise([weight], lr=0.5, momentum=0.9, state={"m": [c.zeros((4, 3))]})
            self.near(weight, w - 0.5 * 3 * w)
            self.near(c.tensor(kept), 3 * w)
            with c.tape():                                     # nothing is asked back
                ops.scale(weight, 2)
            self.says("one is open already", lambda: [c.tape().__enter__() for _ in range(2)])

    def test_a_tape_that_fails(self) -> None:
        with imago.Context("cpu", 1) as c:
            w = c.tensor(normal(4, 3)).want_grad()
            with self.assertRaises(imago.ImagoError):
                with c.tape():
                    ops.linear(c.tensor(normal(2, 5)), w)
            with c.tape() as tape:
                tape.backward(ops.mse(w, c.zeros((4, 3))))
            self.near(w.grad, w.numpy() * 2 / 12)


class Memory(Case):
    def test_flat(self) -> None:
        with imago.Context("cpu", 1) as c:
            w = c.tensor(normal(64, 64)).want_grad()

            def rounds(n: int) -> None:
                for _ in range(n):
                    x = c.tensor(normal(64, 64))
                    ops.add(ops.linear(x, w), x).numpy()
                    c.tensor(x.numpy(), copy=False).slice(0, 1, 3)
                    with c.tape() as tape:
                        tape.backward(ops.mse(ops.linear(x, w), x))
                    with self.assertRaises(imago.ImagoError):
                        x.reshape(3)
            rounds(200)
            before = resident()
            rounds(1000)                                       # 16 kB each, eight times: 130 MB, were they kept
            self.assertLess(resident() - before, 4 << 20)
        before = resident()
        for _ in range(20):
            c = imago.Context("cpu", 1)
            kept = c.tensor(np.ones((512, 1024), np.float32))  # 2 MB
            del c
        self.assertLess(resident() - before, 12 << 20)
        self.assertEqual(kept.numpy()[0, 0], 1)

    def test_threads_take_turns(self) -> None:
        with imago.Context("cpu", 1) as c:
            x = normal(16, 16)
            wanted = ops.linear(c.tensor(x), c.tensor(x)).numpy(copy=True)
            wrong: list[Any] = []

            def work() -> None:
                for i in range(100):
                    if not np.array_equal(ops.linear(c.tensor(x), c.tensor(x)).numpy(), wanted):
                        wrong.append(i)
                    try:
                        ops.linear(c.tensor(x), c.tensor(x[:, :3]))
                        wrong.append("no error")
                    except imago.ImagoError:
                        pass
            threads = [threading.Thread(target=work) for _ in range(4)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(wrong, [])
