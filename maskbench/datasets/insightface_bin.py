"""The packed verification sets of insightface (``lfw.bin``, ``cfp_fp.bin``, ...), read without unpickling.

Such a file is a pickle of (pictures, labels): 2 M encoded pictures, those of pair k at 2k and 2k + 1, and M booleans,
true for mated pairs. A pickle is a program, and one from the internet can do anything. So nothing is executed here: the
standard library's ``pickletools.genops`` names the instructions, and those few that lists, tuples, bytes, numbers and
NumPy byte arrays consist of are followed symbolically. Everything else is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskbench.errors import MaskbenchError
from maskbench.images import declared_size

LARGEST = 2**31  # bytes of a file; the largest of the usual sets has less than a tenth of it
MAGIC = {b"\xff\xd8\xff": "jpg", b"\x89PNG\r\n\x1a\n": "png"}
_MARK = object()


@dataclass(frozen=True)
class BinPairs:
    """What a file holds: ``pictures`` are encoded, two for every label; ``mated`` are the labels."""

    pictures: tuple[bytes, ...]
    mated: tuple[bool, ...]


class _RefusedError(Exception):
    """An instruction that a list of pictures does not need."""


@dataclass(frozen=True)
class _Global:
    """A name that the pickle mentions; it is never looked up."""

    name: str


@dataclass(frozen=True)
class _Dtype:
    """A NumPy type by its code, "u1" or "b1"."""

    code: str


@dataclass
class _Array:
    """A NumPy array of bytes or booleans whose content comes in a later instruction."""

    data: bytes = b""
    code: str = ""


def read_bin(path: Path) -> BinPairs:
    """Read a packed verification set.

    Raises:
        MaskbenchError: one line naming the file: it cannot be read, is no pickle, has an instruction that such a file
            does not need, or is no list of two pictures for every label.
    """
    try:
        size = Path(path).stat().st_size
        if size > LARGEST:
            raise MaskbenchError(f"{path}: has {size:,} bytes, more than the {LARGEST:,} that such a file may have")
        data = Path(path).read_bytes()
    except OSError as error:
        raise MaskbenchError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    try:
        return _checked(_follow(data), len(data))
    except _RefusedError as error:
        raise MaskbenchError(f"{path}: {error}; give a .bin file as insightface distributes it") from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise MaskbenchError(f"{path}: not a packed set of pictures ({reason}); fetch the file again") from None


def picture_suffix(data: bytes) -> str:
    """"jpg" or "png" by the first bytes, or "" for anything else."""
    return next((suffix for magic, suffix in MAGIC.items() if data.startswith(magic)), "")


# ---------------------------------------------------------------- what the file says


def _checked(value: Any, size: int) -> BinPairs:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise _RefusedError("is not a pair of pictures and labels")
    pictures, labels = (_listed(part) for part in value)
    if not labels or len(pictures) != 2 * len(labels):
        raise _RefusedError(f"has {len(pictures)} pictures for {len(labels)} pairs, two for each are needed")
    found = tuple(_picture(item, index) for index, item in enumerate(pictures))
    if sum(map(len, found)) > 4 * size:
        raise _RefusedError("says the same pictures over and over")
    return BinPairs(found, tuple(_label(item, index) for index, item in enumerate(labels)))


def _listed(part: Any) -> Sequence[Any]:
    if isinstance(part, _Array) and part.code == "b1":
        return list(map(bool, part.data))
    if not isinstance(part, (tuple, list)):
        raise _RefusedError(f"has {type(part).__name__.strip('_')} where a list is expected")
    return part


def _picture(item: Any, index: int) -> bytes:
    data = item.data if isinstance(item, _Array) and item.code == "u1" else item
    if not isinstance(data, bytes) or not picture_suffix(data) or declared_size(data) is None:
        raise _RefusedError(f"entry {index} is no JPEG or PNG picture")
    return data


def _label(item: Any, index: int) -> bool:
    if not isinstance(item, (bool, int)) or item not in (0, 1):
        raise _RefusedError(f"label {index} is neither true nor false")
    return bool(item)


# ---------------------------------------------------------------- the symbolic machine


def _follow(data: bytes) -> Any:
    """The value that the instructions build, from ``_RULES`` alone."""
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "STOP":
            return machine.pop()
        rule = _RULES.get(opcode.name)
        if rule is None:
            raise _RefusedError(f"has the pickle instruction {opcode.name}, which a list of pictures does not need")
        rule(machine, argument)
    raise ValueError("no end")


class _Machine:
    """A pickle's stack and memo, of plain values and the markers above."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value is expected")
        return value

    def since_mark(self) -> list[Any]:
        """Everything above the last mark, which is removed with it."""
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("something is appended to what is no list")
        target.extend(values)

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)][::-1]
        self.push(tuple(values))

    def name(self, text: str) -> None:
        """A mention of "module name", kept as a marker if it is one of ``_CALLS`` or ``_NAMES``."""
        short = text.replace("numpy._core.", "numpy.core.").replace("__builtin__ ", "builtins ")
        if short not in _CALLS and short not in _NAMES:
            raise _RefusedError(f"wants to use {text.replace(' ', '.')[:60]!r}, which a list of pictures does not need")
        self.push(_Global(short))

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.name(f"{module} {name}")

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Global) or function.name not in _CALLS or not isinstance(arguments, tuple):
            raise _RefusedError("calls something that a list of pictures does not need")
        self.push(_CALLS[function.name](*arguments))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, _Dtype):
            return  # byte order and the like, which single bytes do not have
        if not isinstance(target, _Array) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise _RefusedError("sets the state of something that is no array of bytes")
        target.data, target.code = _raw(state[4]), state[2].code


def _raw(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray)):
        raise ValueError("bytes expected")
    return bytes(value)


def _text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _call_encode(text: str, encoding: Any) -> bytes:
    if _text(encoding) not in ("latin1", "latin-1"):
        raise _RefusedError("has text in an encoding that is not latin1")
    return text.encode("latin-1")


def _call_dtype(code: Any, *_: Any) -> _Dtype:
    if _text(code) not in ("u1", "b1"):
        raise _RefusedError(f"has an array of type {_text(code)[:20]!r}, not of bytes")
    return _Dtype(_text(code))


def _call_scalar(dtype: Any, data: Any) -> int:
    if not isinstance(dtype, _Dtype) or len(_raw(data)) != 1:
        raise _RefusedError("has a NumPy number that is no single byte")
    return _raw(data)[0]


def _call_frombuffer(data: Any, dtype: Any, *_: Any) -> _Array:
    if not isinstance(dtype, _Dtype):
        raise _RefusedError("has an array that is not of bytes")
    return _Array(_raw(data), dtype.code)


# What Python 2, Python 3 and NumPy write for bytes and arrays of them; our own functions stand in for theirs.
_CALLS: dict[str, Callable[..., Any]] = {
    "_codecs encode": _call_encode,
    "builtins bytes": lambda: b"",
    "numpy dtype": _call_dtype,
    "numpy.core.multiarray _reconstruct": lambda kind, shape, code: _Array(),
    "numpy.core.multiarray scalar": _call_scalar,
    "numpy.core.numeric _frombuffer": _call_frombuffer,
}
_NAMES = ("numpy ndarray",)

Rule = Callable[[_Machine, Any], None]
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
         "BYTEARRAY8", "BINUNICODE", "SHORT_BINUNICODE", "UNICODE"),
        lambda machine, value: machine.push(value),
    ),
    # Python 2's strings are bytes; genops gives them as text of the same code points.
    **dict.fromkeys(
        ("STRING", "BINSTRING", "SHORT_BINSTRING"), lambda machine, value: machine.push(value.encode("latin-1"))
    ),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "NONE": lambda machine, _: machine.push(None),
    "MARK": lambda machine, _: machine.push(_MARK),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "LIST": lambda machine, _: machine.push(machine.since_mark()),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, key: machine.put(int(key))),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, key: machine.push(machine.memo[int(key)])),
    "GLOBAL": lambda machine, text: machine.name(text),
    "STACK_GLOBAL": lambda machine, _: machine.stack_name(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}
