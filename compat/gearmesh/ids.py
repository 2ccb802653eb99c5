"""New ids: random UUIDs (RFC 4122, version 4), as text."""

from __future__ import annotations

import os
from typing import Final

from gearmesh.process_local import ProcessLocal

__all__ = ["new_uuid"]

#: The number of UUIDs for which one system call reads random digits: the call takes longer than all other steps.
_UUIDS_PER_READ: Final = 64
#: RFC 4122's variant in the first digit of the fourth part; its other two bits stay.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
#: Each process has its own digits, or parent and child would make the same UUIDs. uWSGI forks without telling Python.
_spare: ProcessLocal[list[str]] = ProcessLocal(list)


def new_uuid() -> str:
    """Return the same as ``str(uuid.uuid4())``, in a quarter of the time. Safe in threads and after a fork."""
    spare = _spare.get()
    try:
        digits = spare.pop()  # atomic
    except IndexError:
        more = os.urandom(16 * _UUIDS_PER_READ).hex()
        digits = more[:32]
        spare.extend(more[at : at + 32] for at in range(32, len(more), 32))
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"
