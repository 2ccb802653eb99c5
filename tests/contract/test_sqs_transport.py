"""The transport contract on SQS."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import kombu
import pytest

from gearmesh.config import SQSConfig
from gearmesh.testing.contracts import TransportContract
from gearmesh.testing.contracts.support import Connect, OpenTap
from gearmesh.transports.registry import open_connection
from gearmesh.transports.sqs import inspection
from gearmesh.transports.sqs.receiver import receive
from gearmesh.transports.sqs.unacked import Unacked

from .sqs_queues import Queues

#: A short wait: a stopped consumer still waits for so long, and returns the messages that it then gets.
SETTINGS = SQSConfig(create_queues=True, receive_wait_time_seconds=1)


class TestSQSTransport(TransportContract):
    large_body_bytes = 200_000

    def test_a_look_at_many_dead_letters_hides_them_until_it_has_all(
        self, tap: OpenTap, sqs_queues: Queues, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else it would receive the same letters again and again, and never end."""
        monkeypatch.setattr(inspection, "READ_HIDDEN_S", 1)
        monkeypatch.setattr(inspection, "MIN_LETTERS_PER_S", 5)
        receives = itertools.count(1)

        def slow_receive(*given: Any, **more: Any) -> list[Unacked]:
            assert next(receives) < 20, "the look does not end"
            time.sleep(0.2)
            return receive(*given, **more)

        monkeypatch.setattr(inspection, "receive", slow_receive)
        queue = sqs_queues.make(max_receives=3)
        sqs_queues.send(f"{queue}-dead", *(b"%d" % n for n in range(100)))
        letters = tap().channel.dead_letters(queue)
        assert sorted(int(letter.body) for letter in letters) == list(range(100))
        assert {letter.count for letter in letters} == {1}
        assert sqs_queues.counts(f"{queue}-dead") == (100, 0, 0)

    def test_a_purge_returns_newer_messages_and_makes_none_a_dead_letter(
        self, tap: OpenTap, sqs_queues: Queues, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The redrive policy allows one receive, which the purge itself uses up."""
        monkeypatch.setattr(inspection, "MAX_DATE_AGE_S", 0)
        monkeypatch.setattr(inspection.Inspector, "_server_time", lambda *given: time.time())
        receives = itertools.count(1)
        queue = sqs_queues.make(max_receives=1)

        def receive_a_new_message(*given: Any, **more: Any) -> list[Unacked]:
            number = next(receives)
            assert number < 40, "the purge does not end"
            sqs_queues.send(queue, b"new %d" % number)
            return receive(*given, **more)

        monkeypatch.setattr(inspection, "receive", receive_a_new_message)
        before = [b"%d" % number for number in range(100)]
        sqs_queues.send(queue, *before)
        gone: list[bytes] = []
        assert tap().inspector.purge(queue, gone.extend) == len(gone)
        assert set(before) <= set(gone)
        new = {b"new %d" % number for number in range(1, next(receives))}
        assert {*gone, *sqs_queues.look(queue)} == {*before, *new}
        assert len(new - set(gone)) >= inspection.MAX_NEWER_READS
        assert sqs_queues.counts(f"{queue}-dead") == (0, 0, 0)

    def test_a_purge_goes_by_the_clock_of_sqs(
        self, tap: OpenTap, sqs_queues: Queues, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If this machine's clock is an hour slow, all messages seem to be newer than the purge."""
        slow = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic)
        monkeypatch.setattr(inspection, "time", slow)
        queue = sqs_queues.make()
        sqs_queues.send(queue, *(b"%d" % number for number in range(20)))
        assert tap().inspector.purge(queue) == 20
        assert sqs_queues.counts(queue) == (0, 0, 0)

    @pytest.fixture
    def connect(self, sqs_queues: Queues) -> Connect:
        def connect(consumer: str | None = None, **options: Any) -> kombu.Connection:
            url = sqs_queues.server.url
            return open_connection(url, consumer=consumer, options={"sqs": SETTINGS} | options)

        return connect

    @pytest.fixture
    def look(self, sqs_queues: Queues) -> Callable[[str], list[bytes]]:
        return sqs_queues.look
