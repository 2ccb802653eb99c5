"""Many chords at once, with members of both sides: every callback runs exactly once.

Go itself sends some callbacks twice: on MongoDB a Go worker does not check whether it got the trigger, and on Memcache
it writes without a compare-and-swap (docs/reference/backends.md). There each callback must run at least once, and the
test counts and prints the doubles.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from celery import chord

from gearmesh.celery.setup import bridge_of
from gearmesh.transports.registry import connect
from gearmesh.wire.codec import decode

from .conftest import Place
from .processes import eventually
from .test_crossing import arg, go, i64, sig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CHORDS, MEMBERS = 200, 10
#: Where two Go workers may both send a chord's callback.
UNGUARDED = ("memcache", "mongodb")


class Callbacks:
    """Celery runs half of the callbacks and counts them in Redis; those for Go wait in a queue that no worker reads."""

    def __init__(self, place: Place, key: str) -> None:
        self._place = place
        self._key = key
        self.queue = f"callbacks-{key[-8:]}"

    def key(self, number: int) -> str:
        return f"{self._key}:{number}"

    def by_celery(self) -> list[int]:
        with self._place.redis() as client:
            return [int(each or 0) for each in client.mget([self.key(n) for n in range(0, CHORDS, 2)])]

    def for_go(self) -> Counter[str]:
        with connect(bridge_of(self._place.app).gear.config) as connection:
            channel = connection.channel()
            return Counter(decode(body).UUID for body in channel.pending(self.queue))

    def check(self) -> None:
        half = CHORDS // 2
        eventually(lambda: sum(self.by_celery()) >= half and len(self.for_go()) >= half, 90, "all callbacks")
        time.sleep(1.0)  # a second one would come now
        counts = [*self.by_celery(), *self.for_go().values()]
        assert len(counts) == CHORDS
        if self._place.way.go and self._place.way.backend in UNGUARDED:
            print(
                f"{self._place.way}: of {CHORDS} callbacks {sum(counts) - CHORDS} came once more than they should"
            )
            assert min(counts) == 1
        else:
            assert counts == [1] * CHORDS


def test_chords_of_go_s_fire_once(place: Place, key: str) -> None:
    callbacks = Callbacks(place, key)
    for number in range(CHORDS):
        members: list[Any] = [
            sig("add", i64(n), i64(1)) if (n + number) % 2 else go("multiply", i64(n)) for n in range(MEMBERS)
        ]
        if number % 2:
            callback = sig("multiply", queue=callbacks.queue)
        else:
            callback = sig("counted_go", arg("string", place.store), arg("string", callbacks.key(number)))
            callback["Immutable"] = True  # its parameters come first
        place.ask(Op="chord", Sigs=members, Callback=callback, TimeoutMs=1)
    callbacks.check()


def test_chords_of_celery_s_fire_once(place: Place, key: str) -> None:
    callbacks = Callbacks(place, key)
    for number in range(CHORDS):
        members = [place.task("add" if (n + number) % 2 else "multiply", n, 1) for n in range(MEMBERS)]
        if number % 2:
            body = place.task("multiply").set(queue=callbacks.queue)
        else:
            body = place.task("counted", place.store, callbacks.key(number))
        chord(members, body).apply_async()
    callbacks.check()
