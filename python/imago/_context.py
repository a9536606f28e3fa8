"""A context: a device with its memory, and whatever was made on it.

A context of the library belongs to one thread at a time, its errors stick, and what was made in it goes before it. Here a
lock lets in one thread, an error is taken out and raised by the call that met it, and every object counts those that were
made of it: native memory goes when the last of them is gone, in whichever order Python lets go of them.
"""
from __future__ import annotations

import ctypes
import signal
import threading
import warnings
import weakref
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

import numpy as np

from ._convert import refused, said, text
from ._errors import ImagoError, ImagoWarning, Stopped
from ._functions import FUNCTIONS
from ._library import library

if TYPE_CHECKING:
    from typing import Self

    from ._tensor import Tape, Tensor


def callback(function: str, argument: int, fn: Callable[..., Any]) -> Any:
    """fn as C calls it: of the type that this argument of a function has."""
    return FUNCTIONS[function][1][argument](fn)


class Handle:
    """Something that the library made, and what frees it. It goes when it and all that was made of it were released."""

    def __init__(self, pointer: Any, free: Callable[[], None], context: Context | None, parent: Handle | None) -> None:
        self.pointer = pointer
        self._free: Callable[[], None] | None = free
        self._users = 1
        self._context = context
        self._parent = parent
        self._lock = threading.RLock()                         # Python may let go of one while another is counted
        if parent is not None:
            parent.hold()

    def hold(self) -> None:
        with self._lock:
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if not last or self._free is None:
            return
        if self._context is None:
            self.end()
        else:
            self._context._later(self)

    def end(self) -> None:
        free, self._free = self._free, None
        if free is not None:
            free()
            self.pointer = None
        if self._parent is not None:
            self._parent.release()


class Closing:
    """What has to be closed: by itself, at the end of a ``with``, or when nobody has it any more."""

    _handle: Handle | None
    _gone = "this was closed"

    @property
    def _pointer(self) -> Any:
        if self._handle is None:
            raise ImagoError(self._gone)
        return self._handle.pointer

    def close(self) -> None:
        """It cannot be used any more; its memory goes with the last object that was made of it."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()


class Context(Closing):
    """A device, ``"cpu"`` (fast), ``"ref"`` (plain loops with sums in f64) or ``"cuda[:N]"``, with its threads.

    Models, tensors and trainings are made on one. What is made without a context gets its own. Calls of several threads
    take turns. ``with Context() as c:`` closes it at the end; else it goes when nothing uses it any more.

    :param device: see above. ImagoError: this machine or this build has no such device.
    :param threads: of the kernels; 0: all cores. They change no bit of any result.
    """

    def __init__(self, device: str = "cpu", threads: int = 0) -> None:
        self._handle: Handle | None = None
        self._busy = threading.RLock()
        self._depth = 0
        self._waiting: list[Handle] = []
        self._raised: BaseException | None = None
        self._hold_back = 0                                    # > 0: nothing is freed: a tape may still read it
        self._tape: list[weakref.ref[Tensor]] | None = None    # an open one: tensors that were made since
        lib = self._lib = library()
        if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or not 0 <= threads <= 4096:
            raise ImagoError(f"threads: found {threads!r}, wanted a whole number from 0 to 4096")
        pointer = lib.im_ctx_new(text(device, "device"), threads)
        if not pointer:
            raise ImagoError("out of memory while making a context")
        if not lib.im_ok(pointer):
            error = ImagoError(said(lib.im_error(pointer)))
            lib.im_ctx_free(pointer)
            raise error
        free = lib.im_ctx_free
        self._handle = Handle(pointer, lambda: free(pointer), None, None)
        me = weakref.ref(self)                                 # else the context would hold itself

        def warn(_: Any, line: bytes) -> None:
            c = me()
            if c is not None:
                c.guarded(lambda: warnings.warn(said(line), ImagoWarning, stacklevel=7), None)()
        self._warn = callback("im_on_warning", 1, warn)
        lib.im_on_warning(pointer, self._warn, None)
        self._check()

    # -- calls

    def pointer(self) -> Any:
        """The im_ctx. ImagoError: the context was closed."""
        if self._handle is None:
            raise ImagoError("the context was closed; make another")
        return self._handle.pointer

    def call(self, name: str, *args: Any) -> Any:
        """Calls a function of the library whose first argument is the context. ImagoError: what it failed with."""
        return self.run(name, self.pointer(), *args)

    def run(self, name: str, *args: Any) -> Any:
        """Calls a function that works in this context. What a callback raised is raised here."""
        function = getattr(self._lib, name)
        with self._busy:
            c = self.pointer()
            if not self._depth and (self._lib.im_cancelled(c) or not self._lib.im_ok(c)):
                # left by a call that Ctrl-C kept from being looked at, or cancelled when it had ended
                self._lib.im_uncancel(c)
                self._lib.im_clear_error(c)
            self._depth += 1
            try:
                out = function(*args)
            except ctypes.ArgumentError as e:
                raise ImagoError(refused(name, args, str(e))) from None
            finally:
                self._depth -= 1
                self._drain()
            self._check()
        return out

    def guarded(self, fn: Callable[..., Any], failed: Any, cancel: bool = True) -> Callable[..., Any]:
        """fn for C to call: what it raises, Ctrl-C too, ends the call around it and is raised there; C gets `failed`.
        cancel False: it does not end at once, but when a callback tells it to."""
        def outer(*args: Any) -> Any:
            if self._raised is not None:
                return failed
            try:
                return fn(*args)
            except BaseException as e:                         # kept, and raised by _check
                self._raised = e
                if cancel and self._handle is not None:
                    self._lib.im_cancel(self._handle.pointer)
                return failed
        return outer

    @contextmanager
    def interruptible(self, cancel: bool = True) -> Iterator[None]:
        """Around a long call with callbacks: Ctrl-C ends it as `guarded` says, and is raised behind it. Python's own
        handler would raise at the very beginning of a callback, where nothing can be caught yet."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return
        theirs: Any = before
        signal.signal(signal.SIGINT, lambda *args: self.guarded(theirs, None, cancel)(*args))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
        if self._raised is not None:                           # it came when all was done
            self._check()

    def cancel(self) -> None:
        """Ends what another thread is doing in this context, inside a kernel; its call raises Stopped. No call at work:
        nothing happens."""
        if self._depth and self._handle is not None:
            self._lib.im_cancel(self._handle.pointer)

    def _check(self) -> None:
        """Raises what a callback raised, or the context's error, and makes the context usable again."""
        if self._handle is None:
            return
        lib, c = self._lib, self._handle.pointer
        if self._depth:                                        # within a callback: the call around it ends, too
            if not lib.im_ok(c):
                raise ImagoError(said(lib.im_error(c)))
            return
        raised, self._raised = self._raised, None
        failed = not lib.im_ok(c)
        line = said(lib.im_error(c))
        stopped = lib.im_cancelled(c) or line == "stopped"
        if stopped:
            lib.im_uncancel(c)
        if failed:
            lib.im_clear_error(c)
        if raised is not None:
            raise raised
        if failed:
            raise Stopped(line) if stopped else ImagoError(line)

    # -- what goes

    def _later(self, handle: Handle) -> None:
        self._waiting.append(handle)
        if self._busy.acquire(blocking=False):
            try:
                self._drain()
            finally:
                self._busy.release()

    def _drain(self) -> None:
        """Frees what nobody uses, unless a call is at work: Python may let go of an object within a callback."""
        while self._waiting and not self._depth and not self._hold_back:
            self._waiting.pop().end()

    def adopt(self, pointer: Any, free: str, parent: Handle | None = None) -> Handle:
        """Of a pointer that the library returned: a handle, freed by free(pointer), or free(context, pointer)."""
        function, c = getattr(self._lib, free), self.pointer()
        both = len(FUNCTIONS[free][1]) == 2
        return Handle(pointer, (lambda: function(c, pointer)) if both else (lambda: function(pointer)), self,
                      parent or self._handle)

    def close(self) -> None:
        """The context cannot be used any more; its memory goes with the last object that was made of it."""
        handle = self._handle
        if handle is not None:
            with self._busy:
                self._drain()
                self._lib.im_on_warning(handle.pointer, FUNCTIONS["im_on_warning"][1][1](), None)          # a NULL
                self._handle = None
            handle.release()

    # -- tensors

    def tensor(self, array: Any, dtype: str | None = None, copy: bool | None = True) -> Tensor:
        """A tensor with the values of an array (anything that numpy takes for one): see Tensor."""
        from ._tensor import from_array
        return from_array(self, array, dtype, copy)

    def zeros(self, shape: int | Sequence[int], dtype: str = "f32") -> Tensor:
        """A tensor of zeros; a number for the shape: of one axis."""
        from ._tensor import zeros
        return zeros(self, shape, dtype)

    def tape(self) -> Tape:
        """``with c.tape() as t:`` writes operations down; ``t.backward(loss)`` walks them back: see Tape."""
        from ._tensor import Tape
        return Tape(self)

    # -- questions

    @property
    def device(self) -> str:
        """"cpu", "ref", "cuda:0" ..."""
        return said(self._lib.im_device_name(self.pointer()))

    @property
    def isa(self) -> str:
        """The instruction set of its kernels: "avx512", "avx2", "neon" ..."""
        return said(self._lib.im_device_isa(self.pointer()))

    @property
    def threads(self) -> int:
        return int(self._lib.im_threads(self.pointer()))

    def __repr__(self) -> str:
        return "<imago.Context, closed>" if self._handle is None else f"<imago.Context {self.device} ({self.isa})>"
