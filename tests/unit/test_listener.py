"""The listener goes on after any error of its subscription."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence

import pytest

from gearmesh.backends.listener import Listener


@pytest.mark.parametrize("error", [ConnectionError("unreachable"), ValueError("unexpected")], ids=repr)
def test_it_subscribes_again_after_any_error(error: Exception) -> None:
    """If an error ended its thread, all watches would wait without end."""
    failures = [error]
    heard: list[str] = []
    told = threading.Event()

    def subscribe() -> Generator[list[str], None, None]:
        if failures:
            raise failures.pop()
        yield ["task_1"]
        while True:
            told.wait(0.05)
            yield []

    def wake(uuids: Sequence[str]) -> None:
        heard.extend(uuids)
        if heard:
            told.set()

    listener = Listener(subscribe, "test")
    stop = listener.watch(wake)
    try:
        assert told.wait(60)
    finally:
        stop()
    assert heard == ["task_1"]
