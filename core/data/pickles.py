"""Pickles of numpy arrays are read without running anything: no name in them is ever imported or called.

The few names that a pickled array needs are answered by stand-ins of this file, which only note what the file says;
the arrays are then made from the bytes, checked. Everything else in a pickle but plain lists, tuples, dicts, texts and
numbers is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

_OPCODES = frozenset(
    "PROTO FRAME STOP MARK POP POP_MARK DUP EMPTY_LIST EMPTY_TUPLE EMPTY_DICT LIST TUPLE DICT APPEND APPENDS SETITEM "
    "SETITEMS TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES "
    "BINBYTES8 BYTEARRAY8 GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE "
    "BUILD".split()
)
_KINDS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
_MOST_DIMENSIONS = 4


class Refused(ValueError):
    """What a pickle holds beyond arrays and plain content, or in place of them."""


class PickledArray:
    """An array as a pickle describes it; `array` once its bytes have been read."""

    __slots__ = ("_array",)

    def __init__(self, array: np.ndarray | None = None) -> None:
        self._array = array

    @property
    def array(self) -> np.ndarray:
        """The array itself, read-only; ValueError where the file never gave its bytes."""
        if self._array is None:
            raise Refused("it holds an array without content")
        return self._array

    def __setstate__(self, state: object) -> None:
        # numpy's own order: version, shape, dtype, whether columns come first, bytes.
        if not isinstance(state, tuple) or len(cast("tuple[object, ...]", state)) != 5:
            raise Refused("it holds an array in an unknown form")
        _, shape, dtype, fortran, raw = cast("tuple[object, ...]", state)
        if not isinstance(dtype, _Dtype) or not isinstance(fortran, int):
            raise Refused("it holds an array in an unknown form")
        self._array = _from_bytes(raw, dtype, shape, "F" if fortran else "C")


class _Dtype:
    """A number format; only the order of its bytes is taken from its state."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: object) -> None:
        if (
            not isinstance(state, tuple)
            or len(cast("tuple[Any, ...]", state)) < 2
            or state[1] not in ("<", ">", "=", "|")
        ):
            raise Refused("it holds an array in an unknown number format")
        self.order = cast("str", state[1])

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(("" if self.order == "|" else self.order) + self.code)


class _StandIn:
    """Answers for a name of numpy's in a pickle; nothing can be set on it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise Refused("it tries to change a function")


def _refuse_call(*_: object) -> object:
    raise Refused("it makes an array in an unknown way")


def _new_array(*_: object) -> PickledArray:
    return PickledArray()


def _new_dtype(*arguments: object) -> _Dtype:
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or code not in _KINDS:
        shown = code if isinstance(code, str) else type(code).__name__
        raise Refused(f"it holds an array of {shown[:40]!r}, expected plain numbers")
    return _Dtype(code)


def _new_scalar(*arguments: object) -> object:
    match arguments:
        case (_Dtype() as dtype, (bytes() | str()) as raw):
            return _from_bytes(raw, dtype, (1,), "C")[0].item()
        case _:
            raise Refused("it holds a number in an unknown form")


def _from_buffer(*arguments: object) -> PickledArray:
    match arguments:
        case (raw, _Dtype() as dtype, shape, ("C" | "F") as order):
            return PickledArray(_from_bytes(raw, dtype, shape, str(order)))
        case _:
            raise Refused("it holds an array in an unknown form")


def _encode(*arguments: object) -> bytes:
    match arguments:
        case (str() as text, "latin1" | "latin-1"):
            return text.encode("latin1")
        case _:
            raise Refused("it holds bytes in an unknown form")


def _from_bytes(raw: object, dtype: _Dtype, shape: object, order: str) -> np.ndarray:
    if isinstance(raw, str):  # a pickle of Python 2
        raw = raw.encode("latin1")
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(shape, tuple):
        raise Refused("it holds an array in an unknown form")
    sides = cast("tuple[object, ...]", shape)
    if len(sides) > _MOST_DIMENSIONS or not all(
        type(side) is int and 0 <= side <= max(len(raw), 1 << 16) for side in sides
    ):
        raise Refused(f"it holds an array of an impossible shape, {len(sides)} dimensions")
    whole = cast("tuple[int, ...]", sides)
    kind = dtype.numpy()
    if math.prod(whole) * kind.itemsize != len(raw):
        raise Refused(f"it holds an array of shape {whole} and {kind} in {len(raw)} bytes")
    flat: np.ndarray = np.frombuffer(raw, dtype=kind)
    return np.reshape(flat, whole, order="F" if order == "F" else "C")


def _stand_ins() -> dict[tuple[str, str], _StandIn]:
    found = {
        ("numpy", "ndarray"): _StandIn(_refuse_call),
        ("numpy", "dtype"): _StandIn(_new_dtype),
        ("_codecs", "encode"): _StandIn(_encode),
    }
    for core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
        found[f"{core}.multiarray", "_reconstruct"] = _StandIn(_new_array)
        found[f"{core}.multiarray", "scalar"] = _StandIn(_new_scalar)
        found[f"{core}.numeric", "_frombuffer"] = _StandIn(_from_buffer)
    return found


class _Reader(pickle.Unpickler):
    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, fix_imports=False, encoding="latin1")
        self._known = _stand_ins()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        found = self._known.get((module_name, global_name))
        if found is None:
            raise Refused(f"it names {module_name[:60]}.{global_name[:60]}, which no array needs")
        return found

    def persistent_load(self, pid: Any, /) -> Any:
        raise Refused("it refers to something outside itself")


def read_pickle(path: Path) -> Any:
    """Return what a pickle of lists, tuples, dicts, texts, numbers and arrays holds, arrays as PickledArray.

    Nothing that the file names is imported or run. Raises ValueError with the reason for everything else.
    """
    try:
        with path.open("rb") as stream:
            _check_opcodes(stream, path.stat().st_size)
            stream.seek(0)
            return _Reader(stream).load()
    except Refused:
        raise
    except MemoryError as error:
        raise Refused("it needs more memory than there is") from error
    except Exception as error:  # a broken pickle makes the unpickler raise anything at all
        reason = (str(error).splitlines() or [""])[0][:200]
        raise Refused(f"it is no sound pickle ({type(error).__name__}: {reason})") from error


def _check_opcodes(stream: IO[bytes], size: int) -> None:
    """Read through the pickle's instructions without doing any: ValueError for one that no array needs.

    A memo index far beyond what is in the file would make the unpickler reserve memory for all below it.
    """
    counted = _Counted(stream, size)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", counted))):
        if opcode.name not in _OPCODES:
            raise Refused(f"it has the instruction {opcode.name}, which no array needs")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(cast("int", argument)) > count:
            raise Refused("it numbers its parts beyond their count")


class _Counted(io.RawIOBase):
    """A stream that never makes room for more than the file has."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size = stream, size

    def read(self, size: int = -1, /) -> bytes:
        if size > self._size:
            raise Refused("it is cut short")
        return self._stream.read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._stream.readline(-1 if size is None else size)

    def tell(self) -> int:
        return self._stream.tell()
