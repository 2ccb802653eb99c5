"""Coverage-guided fuzz of everything that reads bytes from outside: a value, or the error that it promises.

``tox -e fuzz-decoders`` runs it with atheris, which needs a wheel for the Python in use; it is no part of CI. A finding
is written to ``crash-…`` in the working directory; give that file as an argument to see it again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gearmesh import cron
from gearmesh.errors import ConfigError, ProtocolError
from gearmesh.explain.text import explain
from gearmesh.urls import parse
from gearmesh.wire import gotime
from gearmesh.wire.codec import decode, decode_group, decode_state, encode, encode_group, encode_state
from gearmesh.wire.releases import parse_releases
from gearmesh.wire.types import TYPES, load

__all__ = ["DECODERS", "check_one"]

_TYPES = sorted(TYPES)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _signature(data: bytes) -> None:
    sig = decode(data)
    again = encode(sig)
    assert encode(decode(again)) == again, "decoding and encoding again changes the bytes"
    for _, each in sig.walk():
        for arg in each.Args or ():
            with suppress(ProtocolError):
                load(arg.Type, arg.Value)


def _state(data: bytes) -> None:
    again = encode_state(decode_state(data))
    assert encode_state(decode_state(again)) == again


def _group(data: bytes) -> None:
    again = encode_group(decode_group(data))
    assert encode_group(decode_group(again)) == again


def _value(data: bytes) -> None:
    if data:
        load(_TYPES[data[0] % len(_TYPES)], data[1:])  # type: ignore[arg-type]


#: Name, function, and the errors that it may raise.
DECODERS: tuple[tuple[str, Callable[[bytes], Any], tuple[type[Exception], ...]], ...] = (
    ("signature", _signature, (ProtocolError,)),
    ("state", _state, (ProtocolError,)),
    ("group", _group, (ProtocolError,)),
    ("value", _value, (ProtocolError,)),
    ("time", lambda data: gotime.parse(_text(data)), (ProtocolError, ValueError)),
    ("cron", lambda data: cron.parse(_text(data)), (ConfigError,)),
    ("broker URL", lambda data: parse(_text(data), "broker"), (ConfigError,)),
    ("backend URL", lambda data: parse(_text(data), "backend"), (ConfigError,)),
    ("releases", lambda data: parse_releases(_text(data)), (ValueError,)),
    ("explain", explain, ()),
)


def check_one(data: bytes) -> None:
    """Give one input to the decoder that its first byte chooses; raise any error that the decoder must not raise."""
    if not data:
        return
    _, call, allowed = DECODERS[data[0] % len(DECODERS)]
    with suppress(*allowed):
        call(data[1:])


def main() -> None:
    """Fuzz until stopped: the arguments are libFuzzer's, such as ``-max_total_time=600``."""
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris, with a Python for which it has a wheel")
    atheris.instrument_all()
    atheris.Setup(sys.argv, check_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
