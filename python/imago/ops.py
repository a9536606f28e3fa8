"""Operations on tensors, as src/imago_engine.h defines them; the plain loops of src/tensor/ref are their specification.

B, H, W, C: batch, rows, columns, channels; N, K: rows and columns of a matrix. All inputs are of one context, f32 unless it
is said otherwise. ImagoError: shapes or dtypes that do not fit; the line says which were found and wanted.
"""
from __future__ import annotations

import ctypes
from typing import Any, Sequence

import numpy as np

from ._convert import fill, word
from ._errors import ImagoError
from ._structs import im_batchnorm_attrs, im_conv_attrs, im_optimise_step, im_trained
from ._tensor import DTYPES, Tensor, result, tensor_of

ACTIVATIONS = ("none", "silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "tanh")      # in the order of im_act


def _result(name: str, x: Tensor, *args: Any) -> Tensor:
    """In the context of x, its first input."""
    return result(tensor_of(x, name).context, name, x, *args)


def _attrs(name: str, kind: Any, *values: Any) -> Any:
    """A struct of numbers."""
    try:
        return kind(*values)
    except TypeError:
        raise ImagoError(f"{name}: found {', '.join(map(repr, values))}, wanted numbers of the kinds that its docstring "
                         f"names") from None


def _act(name: str) -> int:
    return word(name, ACTIVATIONS, "act")


def linear(x: Tensor, w: Tensor, b: Tensor | None = None, res: Tensor | None = None, act: str = "none") -> Tensor:
    """act(x w^T + b) + res.  x (..., K)  w (N, K)  b (N)  res (..., N) -> (..., N)"""
    return _result("im_linear", x, w, b, res, _act(act))


def linear_geglu(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """v * gelu(g), [v g] = x w^T + b.  x (..., K)  w (2N, K)  b (2N) -> (..., N)"""
    return _result("im_linear_geglu", x, w, b)


def conv2d(x: Tensor, w: Tensor, b: Tensor | None = None, *, chan: Tensor | None = None, res: Tensor | None = None,
           stride: int = 1, padding: int | Sequence[int] = 0, enlarged: Sequence[int] = (0, 0)) -> Tensor:
    """conv(x, w) + b + chan[:, None, None, :] + res.  x (B, H, W, Cin)  w (Cout, Kh, Kw, Cin)  b (Cout)  chan (B, Cout)
    res, out (B, Ho, Wo, Cout). padding: zeros around, one number or (top, left, bottom, right); enlarged: (height, width)
    that the input is brought to first, by its nearest pixels; (0, 0): it is not."""
    pad = tuple(padding) if isinstance(padding, (tuple, list, np.ndarray)) else (padding,) * 4
    if len(pad) != 4 or len(enlarged) != 2:
        raise ImagoError(f"conv2d: found padding {padding!r} and enlarged {enlarged!r}, wanted one number or (top, left, "
                         f"bottom, right), and (height, width)")
    at = _attrs("conv2d", im_conv_attrs, stride, *pad, *enlarged)
    return _result("im_conv2d", x, w, b, chan, res, ctypes.byref(at))


def groupnorm(x: Tensor, gamma: Tensor, beta: Tensor, groups: int, eps: float = 1e-5, silu: bool = False) -> Tensor:
    """Group norm over (H, W, C / groups), then SiLU where asked.  x (B, H, W, C) or (B, T, C)  gamma, beta (C)"""
    return _result("im_groupnorm", x, gamma, beta, groups, eps, silu)


def layernorm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-5) -> Tensor:
    """Over the last axis.  x (..., C)  gamma, beta (C)"""
    return _result("im_layernorm", x, gamma, beta, eps)


def batchnorm(x: Tensor, gamma: Tensor, beta: Tensor, running_mean: Tensor, running_var: Tensor, *,
              res: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
              relu: bool = False) -> Tensor:
    """Over all axes but the last, + res, ReLU where asked. training: by this batch's statistics, and the running ones move
    by momentum.  x, res (B, ..., C), the others (C)"""
    at = _attrs("batchnorm", im_batchnorm_attrs, eps, momentum, training, relu)
    return _result("im_batchnorm", x, gamma, beta, res, running_mean, running_var, ctypes.byref(at))


def maxpool(x: Tensor, kernel: int, stride: int, pad: int = 0) -> Tensor:
    """The largest value of each window.  x (B, H, W, C) -> (B, Ho, Wo, C)"""
    return _result("im_maxpool", x, kernel, stride, pad)


def avgpool(x: Tensor) -> Tensor:
    """The mean over pixels.  x (B, ..., C) -> (B, C)"""
    return _result("im_avgpool", x)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, a head each.  q (B, Tq, heads*d)  k, v (B, Tk, heads*d) -> (B, Tq, heads*d)"""
    return _result("im_attention", q, k, v, heads, causal)


def activate(x: Tensor, act: str) -> Tensor:
    """One of ACTIVATIONS, of every value."""
    return _result("im_activate", x, _act(act))


def add(a: Tensor, b: Tensor) -> Tensor:
    """a + b, b of a's shape or of its last axes."""
    return _result("im_add", a, b)


def scale(x: Tensor, s: float) -> Tensor:
    """s x"""
    return _result("im_scale", x, s)


def concat(a: Tensor, b: Tensor) -> Tensor:
    """Along the last axis."""
    return _result("im_concat", a, b)


def stack(a: Tensor, b: Tensor) -> Tensor:
    """Along the first axis: (A, ...) and (B, ...) -> (A + B, ...)"""
    return _result("im_stack", a, b)


def contiguous(x: Tensor) -> Tensor:
    """A copy in one piece, of a view with gaps, say."""
    return _result("im_contiguous_copy", x)


def cast(x: Tensor, dtype: str) -> Tensor:
    """x in "f32" or "bf16"."""
    return _result("im_cast", x, word(dtype, DTYPES[:4], "dtype"))


def embedding(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of a table.  table (V, C)  ids i32 (B, T) -> (B, T, C)"""
    return _result("im_embedding", table, ids)


def timestep_embedding(t: Tensor, dim: int, cos_first: bool = True, shift: float = 0) -> Tensor:
    """[cos(t f), sin(t f)], or sines first; f_i = exp(-ln(10000) i / (dim/2 - shift)).  t (B) -> (B, dim)"""
    return _result("im_timestep_embedding", t, dim, cos_first, shift)


def normalize(x: Tensor, eps: float = 1e-12) -> Tensor:
    """x / max(|x|, eps), over the last axis."""
    return _result("im_normalize", x, eps)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over rows of -log softmax(logits)[label].  logits (R, K)  labels i32 (R) -> (1)"""
    return _result("im_cross_entropy", logits, labels)


def mse(x: Tensor, t: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean of squares of x - t; weight multiplies samples.  x, t (B, ...)  weight (B) -> (1)"""
    return _result("im_mse", x, t, weight)


def l1(x: Tensor, t: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean of absolute values of x - t; weight multiplies samples.  x, t (B, ...)  weight (B) -> (1)"""
    return _result("im_l1", x, t, weight)


def gaussian_sample(moments: Tensor, noise: Tensor) -> Tensor:
    """mean + exp(logvar / 2) noise, moments = [mean logvar].  moments (B, ..., 2C)  noise (B, ..., C) -> (B, ..., C)"""
    return _result("im_gaussian_sample", moments, noise)


def kl(moments: Tensor) -> Tensor:
    """The divergence from the standard normal, summed, over B.  moments (B, ..., 2C) = [mean logvar] -> (1)"""
    return _result("im_kl", moments)


def optimise(params: list[Tensor], kind: str = "sgd", *, state: dict[str, list[Tensor]] | None = None, lr: float,
             momentum: float = 0, nesterov: bool = False, decay: float = 0, beta1: float = .9, beta2: float = .999,
             eps: float = 1e-8, trust: float = .001, scale: float = 1, step: int = 1) -> None:
    """Moves parameters by one step along their gradients, as torch.optim does, and leaves the gradients.

    :param kind: "sgd", "adamw" or "lars".
    :param state: what the optimiser remembers, of the parameters' shapes, zeros at first: "m" (SGD and LARS with momentum,
        AdamW), "v" (AdamW).
    :param scale: of every gradient. step: of AdamW, from 1.
    """
    rows: Any = (im_trained * max(len(params), 1))()
    for i, w in enumerate(params):
        tensor_of(w, "optimise")._written("optimise")
        rows[i].w, rows[i].decay, rows[i].adapt = w._pointer, decay, True
    for name, tensors in (state or {}).items():
        if name not in ("m", "v") or len(tensors) != len(params):
            raise ImagoError(f"optimise: found state {name!r} of {len(tensors)} tensors, wanted \"m\" or \"v\" of "
                             f"{len(params)}")
        for i, t in enumerate(tensors):
            setattr(rows[i], name, t._pointer)
    at: Any = im_optimise_step(kind=word(kind, ("sgd", "adamw", "lars"), "kind"), params=rows, count=len(params))
    fill(at, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "beta1": beta1, "beta2": beta2, "eps": eps,
              "trust": trust, "scale": scale, "step": step}, "optimise")
    if params:
        params[0].context.call("im_optimise", ctypes.byref(at))
