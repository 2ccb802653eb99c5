"""The journal of held deliveries, as a supervisor reads it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.interfaces.commit import Delivery
from gearmesh.transports import journal as module
from gearmesh.transports.pubsub.unacked import PubSubUnackedDeliveries, Unacked, journal_of


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def held(id: int, consumer: str = "me", body: bytes = b"\x00\xff\n") -> Unacked:
    return Unacked(
        delivery=Delivery(queue="q", consumer=consumer, id=id, crash_count=0.25),
        body=body,
        attributes={"a": "é"},
        ordering_key="k",
        subscription="s",
        message_id=f"m{id}",
        ack_id=f"ack{id}",
        received_at=0.0,
        leased_until=0.0,
        attempt=3,
    )


def test_the_journal_gives_held_deliveries_and_no_settled_ones() -> None:
    record = PubSubUnackedDeliveries("me")
    record.journal = journal_of("me")
    record.add([held(1), held(2), held(3)])
    record.forget([2])
    record.add([held(4)])
    found = journal_of("me").read()
    assert [each.delivery for each in found] == [held(id).delivery for id in (1, 3, 4)]
    first = found[0]
    assert (first.body, first.attributes, first.ack_id, first.attempt) == (
        b"\x00\xff\n",
        {"a": "é"},
        "ack1",
        3,
    )
    record.forget([1, 3, 4])
    assert journal_of("me").read() == []
    record.journal.close()
    assert journal_of("other").read() == []


def test_a_line_that_was_not_finished_is_left_out(tmp_path: Path) -> None:
    journal = journal_of("me")
    journal.add([held(1), held(2)])
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.stat().st_mode & 0o077 == 0, "other users cannot read the messages"
    path.write_bytes(path.read_bytes()[:-10])
    assert [each.delivery.id for each in journal_of("me").read()] == [1]
    journal_of("me").close()
    assert journal_of("me").read() == []


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=40))
def test_the_journal_holds_the_same_deliveries_as_the_record(steps: list[tuple[bool, int]]) -> None:
    record = PubSubUnackedDeliveries("me")
    record.journal = journal_of("me")
    journal_of("me").close()
    for adds, id in steps:
        if adds and id not in record.held:
            record.add([held(id)])
        elif not adds:
            record.forget([id])
    assert {each.delivery.id for each in journal_of("me").read()} == set(record.held)
    record.journal.close()


def test_a_long_file_is_written_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "MAX_JOURNAL_BYTES", 5000)
    record = PubSubUnackedDeliveries("me")
    record.journal = journal_of("me")
    record.add([held(1)])
    for id in range(2, 300):
        record.add([held(id)])
        record.forget([id])
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.stat().st_size < 6000
    assert [each.delivery.id for each in journal_of("me").read()] == [1]


def test_only_old_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    idle, dead, young = (journal_of(name) for name in ("idle", "dead", "young"))
    for journal in (idle, dead, young):
        journal.add([held(1)])
    for journal in (dead, young):
        assert journal._file is not None
        os.close(journal._file)  # as the kernel does when the process dies
    day_ago = time.time() - module.JOURNAL_TTL_S - 1
    for journal in (idle, dead):
        (file,) = tmp_path.rglob(journal._name)
        os.utime(file, (day_ago, day_ago))
    journal_of("new").add([held(1)])
    left = {name: len(journal_of(name).read()) for name in ("idle", "dead", "young", "new")}
    assert left == {"idle": 1, "dead": 0, "young": 1, "new": 1}
    idle.add([held(2)])
    assert len(journal_of("idle").read()) == 2
