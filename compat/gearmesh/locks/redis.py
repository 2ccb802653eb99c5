"""A lock in Redis, under Machinery's key."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from gearmesh.errors import LockError
from gearmesh.interfaces.lock import Claim
from gearmesh.redis_client.connection_settings import ConnectionSettings, hang_up
from gearmesh.redis_client.connections import CONNECTION_ERRORS
from gearmesh.redis_client.runner import run
from gearmesh.redis_client.wrong_type import WrongType
from gearmesh.wire.names import periodic_fired

__all__ = ["RedisLock"]

#: Go: a lock is tried so often again, at once, since the pause between tries is never set.
MAX_RETRIES: Final = 3

T = TypeVar("T")


class RedisLock:
    """See :class:`gearmesh.interfaces.lock.Lock`.

    Go sets the key if it is absent, with an expiry; else reads it, and where it is past, gets and sets it. Here that is
    one script with the same outcome, so there is no moment between the steps, and no key without an expiry.

    Go: compares the key with its clock; here it is compared with the moment of the firing that is wanted. On time that
    is the same; a scheduler that comes late by its clock, or its load, can't fire a second time what is locked.

    Args:
        access: where it is, and how connections are made.
    """

    connection_errors = CONNECTION_ERRORS
    keeps = True

    def __init__(self, access: ConnectionSettings) -> None:
        self._redis: Any = access.client()

    def take(self, claim: Claim) -> bool:
        keys = [claim.key, periodic_fired(claim.key)]
        args = [
            "" if claim.late else claim.value,
            claim.lasts_ms,
            claim.due_ns,
            claim.holder,
            claim.keep_ms,
        ]
        answer = _repeated(lambda: run(self._redis, "lock", keys, args))
        if isinstance(answer, bytes):
            raise LockError(f"lock {claim.key!r} holds {answer!r:.80}, expected unix nanoseconds")
        return bool(answer)

    def fired(self, key: str) -> int | None:
        body = _repeated(lambda: self._redis.get(periodic_fired(key)))
        return None if body is None else _moment(key, body)

    def begin(self, key: str, at_ns: int, keep: float) -> int:
        name = periodic_fired(key)
        lasts = max(1, int(keep * 1000))
        while not _repeated(lambda: self._redis.set(name, f"{at_ns} ", nx=True, px=lasts)):
            fired = self.fired(key)
            if fired is not None:  # else it has just expired
                return fired
        return at_ns

    def close(self) -> None:
        with contextlib.suppress(*CONNECTION_ERRORS):
            hang_up(self._redis)


def _repeated(call: Callable[[], T]) -> T:
    try:
        for _ in range(MAX_RETRIES):
            with contextlib.suppress(*CONNECTION_ERRORS):
                return call()
        return call()
    except WrongType as exc:
        raise LockError(str(exc)) from exc


def _moment(key: str, body: bytes) -> int:
    moment = body.partition(b" ")[0]
    if not moment.isdigit():
        raise LockError(f"{periodic_fired(key)!r} holds {body!r:.80}, expected unix nanoseconds and a name")
    return int(moment)
