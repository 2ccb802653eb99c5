"""Go types: their names, and the conversion of values to and from them."""

from __future__ import annotations

import reprlib
from typing import Any

from gearmesh.errors import LocalProtocolError
from gearmesh.wire.dumping import dump, writer
from gearmesh.wire.loading import load, reader
from gearmesh.wire.signature import Arg, Signature
from gearmesh.wire.state import TaskResult
from gearmesh.wire.typenames import BYTES, INTEGERS, TYPES, element, is_slice

__all__ = [
    "BYTES",
    "INTEGERS",
    "TYPES",
    "arg",
    "dump",
    "element",
    "infer",
    "is_slice",
    "load",
    "load_args",
    "reader",
    "result",
    "writer",
]


def infer(value: Any) -> str:
    """Infer the Go type of a Python value that has no annotation.

    It knows bool, int (``int64``), float (``float64``), str (``string``), bytes (``[]byte``), and lists
    and tuples of one of the first four. Raises LocalProtocolError for any other value, and for an empty
    or a mixed list: these need an annotation.
    """
    if isinstance(value, (list, tuple)):
        kinds = {_infer_scalar(one) for one in value}
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is not None:
            return f"[]{kind}"
    elif isinstance(value, (bytes, bytearray, memoryview)):
        return "[]byte"
    else:
        kind = _infer_scalar(value)
        if kind is not None:
            return kind
    raise LocalProtocolError(
        f"cannot infer a Go type for {reprlib.repr(value)} ({value.__class__.__name__}): annotate the parameter or the "
        "result, such as list[int] or Json[dict[str, int]]"
    )


def _infer_scalar(value: Any) -> str | None:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return None


def arg(type: str, value: Any, name: str = "") -> Arg:
    """Make an argument of ``value`` as the Go type ``type``. Raises LocalProtocolError as :func:`dump` does."""
    return Arg(name, type, dump(type, value))


def result(type: str, value: Any) -> TaskResult:
    """Make a result of ``value`` as the Go type ``type``. Raises LocalProtocolError as :func:`dump` does.

    Go: reflection names the type of a result, and calls ``[]byte`` ``[]uint8``.
    """
    return TaskResult("[]uint8" if type == "[]byte" else type, dump(type, value))


def load_args(sig: Signature) -> list[Any]:
    """Return the values of a signature's arguments, in order. Raises RemoteProtocolError as :func:`load` does."""
    return [load(one.Type, one.Value) for one in sig.Args or ()]
