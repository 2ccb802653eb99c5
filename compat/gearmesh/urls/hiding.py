"""Hides the passwords in URLs and texts."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["redact", "redact_text"]

WORDS: Final = ("memory", "eager", "null")  # Machinery writes these without "://"
SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::([0-9]*))?")
_SECRET_OPTION = re.compile(
    r"(?i)([?&;][^=&;]*(?:pass|secret|token|key|credential|properties)[^=&;]*=)[^&;]*"
)
_WORD = re.compile(r"[^\s\"'<>]+")
_MASK = "***"


def redact(url: str) -> str:
    """Return the URL with ``***`` in place of the user, the password, and any text that may be a password.

    It hides the user name, too, because in ``redis://pass:word@host`` that is a part of the password.
    """
    if url in WORDS:
        return url
    match = SCHEME.match(url)
    if match is None:
        return _MASK  # the text may be a secret in the wrong place
    scheme = match[0]
    rest = url[len(scheme) :]
    userinfo, at, tail = rest.rpartition("@")
    if scheme.lower() == "redis+socket://":
        if at:
            return f"{scheme}{_MASK}@{tail}"
        return url if rest.startswith("/") else f"{scheme}{_MASK}"
    if "?" in userinfo or "#" in userinfo:
        return f"{scheme}{_MASK}"  # nothing shows where the password ends
    tail = _SECRET_OPTION.sub(rf"\1{_MASK}", tail)
    if at:
        return f"{scheme}{_MASK}@{tail}"
    # In "redis://user:password" the host is missing, and the word in the port's place is not a number.
    hosts = tail.partition("/")[0].split(",")
    if len(hosts) == 1 and not HOST.fullmatch(hosts[0]):
        return f"{scheme}{hosts[0].partition(':')[0]}:{_MASK}"
    if len(hosts) > 1 and not all((found := HOST.fullmatch(host)) and found[2] for host in hosts):
        return f"{scheme}{_MASK}"
    return f"{scheme}{tail}"


def redact_text(text: str) -> str:
    """Return any text (a log line, a traceback) with ``***`` for the part before ``@`` in URLs.

    It takes linear time, since a message may hold a megabyte without a space.
    """
    return _WORD.sub(_redact_word, text) if "://" in text else text


def _redact_word(match: re.Match[str]) -> str:
    word = match[0]
    start = word.find("://") + 3
    end = word.rfind("@")
    return f"{word[:start]}{_MASK}{word[end:]}" if 3 <= start <= end else word
