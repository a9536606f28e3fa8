"""Tensors: arrays in the memory of a device, to numpy and back, and what is computed with them (imago.ops)."""
from __future__ import annotations

import ctypes
import weakref
from types import TracebackType
from typing import Any, Sequence

import numpy as np
import numpy.typing as npt

from ._context import Context, Handle
from ._convert import said, word
from ._errors import ImagoError
from ._structs import im_weight_layout

DTYPES = ("f32", "f16", "bf16", "i32", "int8")                 # in the order of im_dtype; int8: weights of a model
try:
    from ml_dtypes import bfloat16  # type: ignore[import-not-found,import-untyped,unused-ignore]
    _BF16: Any = np.dtype(bfloat16)
except ImportError:                                            # then its bits
    _BF16 = np.dtype(np.uint16)
_NUMPY = (np.dtype(np.float32), np.dtype(np.float16), _BF16, np.dtype(np.int32))


class Tensor:
    """A shape laid over memory of a device: up to 5 axes of f32, f16, bf16 or i32 (ids: tokens, labels).

    It is made by ``Context.tensor``, ``Context.zeros`` or an operation of ``imago.ops`` and goes with the last reference to
    it. Activations are channels-last, (B, H, W, C); convolution weights (Cout, Kh, Kw, Cin), linear weights (N, K).

    **To numpy** (``numpy()``, ``np.asarray``): where the device's memory is the host's ("cpu", "ref") the array is the
    tensor's own memory, without a copy, and cannot be written to; it shows what the tensor becomes. Elsewhere it is one
    copy. bf16 is ``ml_dtypes.bfloat16`` where that package is, else its bits as ``uint16``.

    **From numpy** (``Context.tensor``): one copy, into the device's memory. With ``copy=False`` the tensor is the array's
    own memory: for constants; it cannot be trained or written to, and shows what the array becomes.
    """

    def __init__(self, context: Context, pointer: Any, handle: Handle | None, parent: Tensor | None = None,
                 source: Any = None) -> None:
        self.context = context
        self._pointer = pointer
        self._handle = handle
        self._parent = parent                                  # of a view or a gradient: whose memory it is
        self._source = source                                  # the array whose memory it is

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None:
            self._handle = None
            handle.release()

    # -- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        t = self._pointer.contents
        return tuple(t.shape[:t.ndim])

    @property
    def dtype(self) -> str:
        """"f32", "f16", "bf16", "i32"."""
        return DTYPES[self._pointer.contents.dtype]

    @property
    def size(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def wants_grad(self) -> bool:
        return bool(self._pointer.contents.wants_grad)

    def __len__(self) -> int:
        if not self.shape:
            raise ImagoError("a tensor without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<imago.Tensor {self.dtype} {self.shape}>"

    # -- its values

    def numpy(self, copy: bool | None = None) -> npt.NDArray[Any]:
        """Its values, in its shape.

        :param copy: None: the tensor's own memory where the host reaches it, to be read only, else a copy; True: a copy, to
            be written to; False: never a copy. ImagoError: the host does not reach it, or it has no values yet.
        """
        kind = _NUMPY[self._pointer.contents.dtype]
        address = None if copy else self.context.call("im_host_values", self._pointer)
        if address is not None:
            return np.asarray(_Window(self, kind, address)).view(kind)
        if copy is False:
            raise ImagoError(f"numpy: the memory of the device {self.context.device} is out of reach; leave copy=False out")
        out = np.empty(self.shape, kind)
        self.context.call("im_download", self._pointer, out.ctypes.data)
        return out

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        out = self.numpy(copy)
        return out if dtype is None or out.dtype == dtype else out.astype(dtype)

    def item(self) -> float:
        """The value of a tensor that has one."""
        return float(self.context.call("im_item", self._pointer))

    def upload(self, array: Any) -> Tensor:
        """Takes other values, of its own shape and dtype. Returns itself."""
        self._written("upload")
        values = _values(array, self.dtype)
        if values.shape != self.shape:
            raise ImagoError(f"upload: found values of shape {values.shape}, wanted {self.shape}")
        self.context.call("im_upload", self._pointer, values.ctypes.data)
        return self

    def fill(self, value: float) -> Tensor:
        """Every element becomes this. Returns itself."""
        self._written("fill")
        self.context.call("im_fill", self._pointer, value)
        return self

    def _written(self, what: str) -> None:
        if self._source is not None:
            raise ImagoError(f"{what}: the tensor is the memory of a numpy array (copy=False); write to the array, or make "
                             f"the tensor with a copy")

    # -- views: no copy

    def reshape(self, *shape: int) -> Tensor:
        """The same values in another shape; one size may be -1."""
        return result(self.context, "im_reshape", self, len(shape), sizes(shape), parent=self)

    def slice(self, axis: int, begin: int, end: int) -> Tensor:
        """A part of one axis: begin to end - 1."""
        return result(self.context, "im_slice", self, axis, begin, end, parent=self)

    # -- gradients

    def want_grad(self) -> Tensor:
        """From now on it gets a gradient, ``grad``; f32 only. Returns itself."""
        self._written("want_grad")
        self.context.call("im_want_grad", self._pointer)
        return self

    @property
    def grad(self) -> Tensor | None:
        """Its gradient, of its shape; None: nothing has reached it since it was zeroed."""
        t = self._pointer.contents
        return Tensor(self.context, t.grad, None, self) if t.grad and t.grad_set else None

    def zero_grad(self) -> None:
        """The next gradient is stored, not added."""
        self.context.run("im_zero_grad", self._pointer)


class _Window:
    """What numpy looks at the memory of a tensor through; it keeps the tensor."""

    def __init__(self, tensor: Tensor, kind: np.dtype[Any], address: int) -> None:
        t = tensor._pointer.contents
        self.tensor = tensor
        self.context = tensor.context
        plain = kind.str if kind.kind != "V" else f"<u{kind.itemsize}"         # ml_dtypes have no name there
        self.__array_interface__ = {"version": 3, "data": (address, True), "typestr": plain, "shape": tensor.shape,
                                    "strides": tuple(s * kind.itemsize for s in t.stride[:t.ndim])}


# -- making them

def sizes(shape: Sequence[int]) -> Any:
    """An int64_t[]."""
    for n in shape:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not -1 <= n < 2**62:
            raise ImagoError(f"a shape: found {shape!r}, wanted whole numbers")
    return (ctypes.c_int64 * max(len(shape), 1))(*shape)


def _values(array: Any, dtype: str | None) -> npt.NDArray[Any]:
    """In one piece, in a type that the library has; dtype: in this one."""
    values = np.asarray(array)
    if dtype is None:
        if values.dtype not in _NUMPY:
            raise ImagoError(f"a tensor of {values.dtype}: wanted float32, float16, int32"
                             f"{' or bfloat16' if _BF16 != np.uint16 else ' or uint16 (the bits of bf16)'}; dtype=\"f32\" "
                             f"or \"i32\" converts")
        return np.require(values, None, ["C", "A"])
    kind = _NUMPY[word(dtype, DTYPES[:4], "dtype")]
    if values.dtype == kind:
        return np.require(values, None, ["C", "A"])
    if kind == np.uint16 or values.dtype.kind not in "fiub" or (kind == np.int32 and values.dtype.kind not in "iu"):
        raise ImagoError(f"a tensor of {dtype}: found values of {values.dtype}"
                         f"{'; make it in f32 and use ops.cast' if dtype == 'bf16' else ''}")
    out = np.require(values.astype(kind), None, ["C", "A"])
    if kind == np.int32 and not np.array_equal(out, values):
        raise ImagoError("a tensor of i32: found values that do not fit into 32 bits")
    return out


def from_array(context: Context, array: Any, dtype: str | None, copy: bool | None) -> Tensor:
    values = _values(array, dtype)
    number = word(dtype, DTYPES[:4], "dtype") if dtype else _NUMPY.index(values.dtype)
    if not copy and values.ndim:
        pointer = context.call("im_param_new", b"a numpy array", number, values.ndim, sizes(values.shape))
        handle = context.adopt(pointer, "im_param_free")
        if context.call("im_param_map", pointer, im_weight_layout(number, False, False), values.ctypes.data):
            return Tensor(context, pointer, handle, None, values)
        handle.release()
    if copy is False:
        raise ImagoError(f"a tensor of an array's own memory: the device {context.device} cannot use it, or it has no "
                         f"axes; leave copy=False out")
    return result(context, "im_from", number, values.ndim, sizes(values.shape), values.ctypes.data)


def zeros(context: Context, shape: int | Sequence[int], dtype: str) -> Tensor:
    shape = (shape,) if isinstance(shape, (int, np.integer)) else shape
    t = result(context, "im_new", word(dtype, DTYPES[:4], "dtype"), len(shape), sizes(shape))
    return t.fill(0)


def tensor_of(value: Any, name: str) -> Tensor:
    """The same. ImagoError: it is no tensor."""
    if isinstance(value, Tensor):
        return value
    raise ImagoError(f"{name.removeprefix('im_')}: found {type(value).__name__}, wanted a tensor; Context.tensor makes one "
                     f"of an array")


def result(context: Context, name: str, *args: Any, parent: Tensor | None = None) -> Tensor:
    """Calls a function that returns a tensor. It is taken out of the library's scopes, to go with its last reference; while
    a tape is open, when that ends: nodes refer to it until then."""
    lib = context._lib
    plain = [a._pointer if isinstance(a, Tensor) else a for a in args]
    for a in args:
        if isinstance(a, (np.ndarray, list)):                  # where a tensor belongs
            tensor_of(a, name)
    with context._busy:
        c = context.pointer()
        tape = context._tape
        if tape is None:
            lib.im_scope_push(c)
        try:
            pointer = context.call(name, *plain)
            if tape is not None:
                t = Tensor(context, pointer, None, parent)
                tape.append(weakref.ref(t))
                return t
            pointer = lib.im_own(c, pointer)
        finally:
            if tape is None:
                lib.im_scope_pop(c)
    return Tensor(context, pointer, context.adopt(pointer, "im_param_free"), parent)


class Tape:
    """Operations that are written down, to be walked back for gradients.

    ::

        w = c.tensor(...).want_grad()
        with c.tape() as tape:
            loss = imago.ops.cross_entropy(imago.ops.linear(x, w), labels)
            tape.backward(loss)                                # w.grad is set, or added to

    What was made in it is a constant afterwards. One tape of a context is open at a time.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._open = False

    def __enter__(self) -> Tape:
        c = self.context
        with c._busy:
            c.call("im_tape_begin")
            c._lib.im_scope_push(c.pointer())
            c._tape = []
            c._hold_back += 1
            self._open = True
        return self

    def backward(self, loss: Tensor, gradient: Tensor | None = None) -> None:
        """Adds to the gradients of all that want them, and ends the tape.

        :param loss: a tensor of one value; its own gradient is 1. With ``gradient``, of its shape: any tensor, and that.
        """
        if not self._open:
            raise ImagoError("backward: the tape has ended; open another")
        self._open = False
        if gradient is None:
            self.context.call("im_backward", loss._pointer)
        else:
            self.context.call("im_backward_from", loss._pointer, gradient._pointer)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        c = self.context
        with c._busy:
            p = c.pointer()
            c._lib.im_tape_end(p)                              # nothing where backward has ended it
            made, c._tape = c._tape or [], None
            for t in (ref() for ref in made):
                if t is not None:                              # what Python still knows outlives the scope
                    c._lib.im_own(p, t._pointer)
                    t._handle = c.adopt(t._pointer, "im_param_free")
            c._lib.im_scope_pop(p)
            self._open = False
            c._hold_back -= 1
            c._drain()
