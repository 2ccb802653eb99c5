"""The lock in Redis, under the key of Machinery's schedulers."""

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

#: Go: Machinery tries a lock again so often, without a pause, since it never sets one.
MAX_RETRIES: Final = 3

T = TypeVar("T")


class RedisLock:
    """A lock that schedulers of several machines share. See :class:`gearmesh.interfaces.lock.Lock`.

    Go sets the key with an expiry if it is absent; else it reads the key, and replaces it if its moment is past. Here
    one script does the same, so no other scheduler comes between the steps and no key is without an expiry.

    Go compares the key with its clock; this lock compares it with the moment of the claimed firing. For a scheduler
    that is in time both are the same. A scheduler that is late cannot send a locked firing a second time.

    Args:
        access: the server, and how connections to it are made.
    """

    connection_errors = CONNECTION_ERRORS
    keeps = True

    def __init__(self, access: ConnectionSettings) -> None:
        self._redis: Any = access.client()

    def take(self, claim: Claim) -> bool:
        keys = [claim.key, periodic_fired(claim.key)]
        value = "" if claim.late else claim.value
        args = [value, claim.lasts_ms, claim.due_ns, claim.holder, claim.keep_ms]
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
            if fired is not None:  # None: the key has just expired
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
