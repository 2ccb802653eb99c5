"""Recordings of Go, replayed on a real Redis: our worker on its client's bytes, our client on its requests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis

from gearmesh.testing.peer import Counter as Calls
from gearmesh.testing.peer import Peer, make_app
from gearmesh.wire.names import QueueKeys
from gearmesh.worker import Worker

from .monitor import Command, Monitor
from .recordings import (
    GOLDEN,
    Names,
    Recording,
    Write,
    all_recordings,
    by_subject,
    created_at,
    ids,
    missing,
    unix_ns,
    write_of,
)

RECORDINGS = tuple(all_recordings())
#: Seconds for which the replayed task ``retry_later`` asks; the recorded one asks for 0.3.
RETRY_LATER_S = 3.0
#: The prefix of gearmesh's own keys. Go must know all other keys that a worker leaves.
OURS = "gearmesh:"
#: Commands that change a key.
CHANGING = frozenset({
    "APPEND", "DEL", "EXPIRE", "GETSET", "HDEL", "HINCRBY", "HSET", "HSETNX", "LINSERT", "LPUSH", "LREM", "LSET",
    "LTRIM", "PERSIST", "PEXPIRE", "PSETEX", "RENAME", "RPUSH", "SADD", "SET", "SETEX", "SETNX", "SETRANGE", "SREM",
    "UNLINK", "ZADD", "ZREM",
})  # fmt: skip


@pytest.fixture
def url(fresh_url: Callable[[], str]) -> str:
    return fresh_url()


@pytest.fixture
def store(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url, decode_responses=True) as connection:
        yield connection


def writes_of(commands: Sequence[Command]) -> list[Write]:
    """The commands of a recording that others can see."""
    found = []
    for command in commands:
        if command.name in CHANGING:
            _, *words = (word.decode(errors="surrogateescape") for word in command.words)
            # We push several messages with one command, Go each with its own: the list is the same.
            several = [[words[0], body] for body in words[1:]] if command.name == "RPUSH" else [words]
            found += filter(None, (write_of([command.name, *some]) for some in several))
    return found


def push(store: redis.Redis, writes: Sequence[Write]) -> None:
    """Carry out a client's writes."""
    for write in writes:
        if write.kind == "push":
            store.rpush(write.where, write.text)
        elif write.kind == "delay":
            store.zadd(write.where, {write.text: write.score})
        else:
            store.set(write.about, write.text, ex=write.expire)


@contextmanager
def working(url: str, queue: str, concurrency: int = 2) -> Iterator[Worker]:
    with (
        make_app(broker=url, backend=url, default_queue=queue) as app,
        Worker(app, None, concurrency) as worker,
    ):
        yield worker


def leftovers(store: redis.Redis) -> dict[str, Any]:
    """Type and value of every key that is not ours alone."""
    found = {}
    for key in map(str, store.scan_iter(count=1000)):
        if not key.startswith(OURS):
            assert store.type(key) == "string", f"{key} is a {store.type(key)!r}"
            found[key] = store.get(key)
            assert 0 < store.ttl(key) <= 3600
    return found


def named(values: dict[str, str], names: Names) -> dict[str, str]:
    return {names.of(key): names.of(value) for key, value in values.items()}


# --- gearmesh's worker on the messages of Go's client ---------------------------------------------


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_the_worker_makes_the_same_writes_as_go(recording: Recording, url: str, store: redis.Redis) -> None:
    recording = with_time_to_delay(recording)
    push(store, recording.client)
    needed = sum(write.required for write in recording.worker)

    with Monitor(url) as monitor:
        with working(url, recording.queue):
            done = monitor.wait(lambda seen: sum(write.required for write in writes_of(seen)) >= needed)
            assert done or not needed, f"only {[write.text for write in writes_of(monitor.commands)]}"
            if not needed:
                gone = monitor.wait(lambda seen: any(command.name == "HDEL" for command in seen))
                assert gone, "the message is still held"
        monitor.settle(store)
        commands = list(monitor.commands)

    known = ids(recording.client)
    names, go_names = Names(known), Names(known)
    written = writes_of(commands)
    ours = by_subject(names.write(write) for write in written)
    go = by_subject(go_names.write(write) for write in recording.worker)
    assert set(ours) == set(go)
    for subject, theirs in go.items():
        assert not missing(ours[subject], theirs), subject
    assert_times_fit(written)
    assert_successors_come_after(written, recording)
    assert_only_known_keys(commands, recording)
    go_left = {key: entry["value"] for key, entry in recording.keys_after.items()}
    assert named(leftovers(store), names) == named(go_left, go_names)


def with_time_to_delay(recording: Recording) -> Recording:
    """Let ``retry_later`` ask for 3 s in place of 0.3 s.

    A worker on a busy machine may need longer than 0.3 s to store the retry, and then pushes it at once, as Go does.
    """

    def longer(writes: Sequence[Write]) -> tuple[Write, ...]:
        old, new = (f'"Value":{1000 * seconds:.0f}}}' for seconds in (0.3, RETRY_LATER_S))
        return tuple(replace(write, text=write.text.replace(old, new)) for write in writes)

    return replace(recording, client=longer(recording.client), worker=longer(recording.worker))


def assert_times_fit(written: Sequence[Write]) -> None:
    """Assert that states keep the time of their PENDING, and that delayed messages wait for their ETA."""
    pending: dict[str, str] = {}
    for write in written:
        if write.state == "PENDING":
            pending[write.about] = created_at(write)
        elif write.kind == "state" and write.about in pending:
            assert created_at(write) == pending[write.about]
        elif write.kind == "delay":
            assert write.score == pytest.approx(unix_ns(write.doc["ETA"]), abs=1000)  # a score is a double
            delay = write.doc["RetryTimeout"] or RETRY_LATER_S
            assert write.score - unix_ns(pending[write.about]) == pytest.approx(delay * 1e9, abs=0.2e9)


def assert_successors_come_after(written: Sequence[Write], recording: Recording) -> None:
    """Nothing is sent before the task that it follows has its final state, nor before its own PENDING."""
    final = 0
    known = {write.about for write in recording.client}
    waiting: set[str] = set()
    for write in written:
        if write.state in ("SUCCESS", "FAILURE"):
            final += 1
        elif write.state == "PENDING":
            waiting.add(write.about)
        elif write.kind in ("push", "delay") and write.about not in known:
            assert final, f"{write.about} was sent before anything was done"
            assert write.about in waiting, f"{write.about} was sent before its PENDING"


def assert_only_known_keys(commands: Sequence[Command], recording: Recording) -> None:
    """Everything else that is changed begins with our prefix."""
    known = {recording.queue, "delayed_tasks"}
    for command in commands:
        key = command.words[1].decode() if len(command.words) > 1 else ""
        if command.name in CHANGING and not key.startswith((OURS, "task_", "chord_", "group_")):
            assert key in known, command


def test_nothing_of_a_failed_member_fires(url: str, store: redis.Redis) -> None:
    """The recorded chord with its failing member first: Go takes the trigger then, and sends nothing."""
    (recording,) = (one for one in RECORDINGS if one.name == "chord_one_fails")
    pushes = [write for write in recording.client if write.kind == "push"]
    push(store, [write for write in recording.client if write.kind != "push"])
    push(store, pushes[::-1])
    with Monitor(url) as monitor:
        with working(url, recording.queue, concurrency=1):
            assert monitor.wait(lambda seen: sum(write.required for write in writes_of(seen)) >= 3)
        monitor.settle(store)
        written = writes_of(monitor.commands)
    assert not [write for write in written if write.kind in ("push", "delay")]
    assert Counter(write.state for write in written if write.required) == {"SUCCESS": 1, "FAILURE": 1, "": 1}


# --- unregistered tasks ---------------------------------------------------------------------------


def test_unregistered_is_no_storm(url: str, store: redis.Redis) -> None:
    """Go returns the message to its queue at once and without limit: thousands of times a second on an idle queue."""
    go = json.loads((GOLDEN / "unregistered_storm.json").read_text())["command_counts"]
    queue = "machinery_tasks"
    body = b'{"UUID":"task_1","Name":"nobody","RoutingKey":"machinery_tasks"}'
    store.rpush(queue, body)
    with Monitor(url) as monitor, working(url, queue):
        assert monitor.wait(
            lambda seen: any(c.name == "ZADD" and c.words[1].startswith(b"gearmesh:") for c in seen)
        )
        counts = Counter(command.name for command in monitor.window(1.2))
    assert go["RPUSH"] > 8000
    assert counts["RPUSH"] <= 12  # at most twice after each of 50, 100, 200, 400 and 800 ms
    assert sum(counts.values()) < sum(go.values()) / 15, counts
    assert [store.lindex(queue, 0), store.zcard(QueueKeys(queue).aside)] in ([body.decode(), 0], [None, 1])


def test_ignored_is_dropped(url: str, store: redis.Redis) -> None:
    (recording,) = (one for one in RECORDINGS if one.name == "unregistered_ignored")
    push(store, recording.client)
    with Monitor(url) as monitor, working(url, recording.queue) as worker:
        keys = QueueKeys(recording.queue)
        held = keys.held(worker.consumer).encode()
        assert monitor.wait(lambda seen: any(c.name == "HDEL" and c.words[1] == held for c in seen))
    assert not store.exists(recording.queue, keys.aside, keys.dead, keys.held(worker.consumer))


# --- our client on the requests that Go's client was given ----------------------------------------

REFUSED = frozenset(("task_bad_arg_type", "task_unknown_arg_type"))


@pytest.fixture
def ask(url: str) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """The Python peer as a client, in this process; no worker runs, so it does not wait for results."""
    with make_app(broker=url, backend=url) as app:
        peer = Peer(app, Calls())

        def ask(request: dict[str, Any]) -> dict[str, Any]:
            answer: dict[str, Any] = json.loads(peer.answer(json.dumps({**request, "TimeoutMs": 1}).encode()))
            return answer

        yield ask


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)
def test_the_client_makes_the_same_writes_as_go(
    recording: Recording, url: str, store: redis.Redis, ask: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    with Monitor(url) as monitor:
        answers = [ask(request) for request in recording.commands]
        monitor.settle(store)
        written = writes_of(monitor.commands)

    if recording.name in REFUSED:  # Go publishes arguments that Go cannot read; gearmesh refuses to send them
        assert not written
        assert not answers[0]["OK"]
        assert recording.answers[0]["Err"].removeprefix("Reflect task args error: ") in answers[0]["Err"]
        return
    assert [answer.get("Err") for answer in answers] == ["Timeout reached"]
    assert in_order(written, Names()) == in_order(recording.client, Names())


def in_order(writes: Sequence[Write], names: Names) -> list[Write]:
    """Return the writes with names for ids. Go pushes the members of a group in any order, so they are sorted."""
    first = [names.write(write) for write in writes if write.kind in ("group", "state")]
    grouped = any(write.kind == "group" for write in writes)
    assert not grouped or [write.kind for write in writes[: len(first)]] == [write.kind for write in first]
    pushes = [write for write in writes if write.kind in ("push", "delay")]
    if grouped:
        order = {uuid: i for i, uuid in enumerate(names.given)}
        pushes.sort(key=lambda write: order[write.about])
    return [*first, *(names.write(replace(write, score=0)) for write in pushes)]


def test_pending_and_delayed(
    url: str, store: redis.Redis, ask: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    recorded = json.loads((GOLDEN / "pending_and_delayed.json").read_text())
    add = {"Name": "add", "Args": [{"Name": "", "Type": "int64", "Value": 1}]}
    for more in ({}, {"RoutingKey": "other"}, {"ETA": "2030-01-01T00:00:00Z"}):
        assert ask({"Op": "send", "Sig": {**add, **more}})["OK"]
    for key, request in (
        ("pending_default", {"Op": "pending"}),
        ("pending_other", {"Op": "pending", "Queue": "other"}),
        ("delayed", {"Op": "delayed"}),
    ):
        assert shown(ask(request)) == shown(recorded[key]), key
    kept = [key for key in store.scan_iter() if not key.startswith(OURS)]
    assert sorted(map(kind_of, kept)) == sorted(map(kind_of, recorded["keys"]))


def kind_of(key: str) -> str:
    return "task" if key.startswith("task_") else key


def shown(answer: dict[str, Any]) -> dict[str, Any]:
    sigs = [
        {**sig, "UUID": "task" if sig["UUID"].startswith("task_") else sig["UUID"]} for sig in answer["Sigs"]
    ]
    return {**answer, "Sigs": [json.dumps(sig) for sig in sigs]}


def test_every_recording_is_used() -> None:
    own = {"pending_and_delayed.json", "unregistered_storm.json"}
    assert {path.name for path in GOLDEN.glob("*.json")} == own | {f"{one.name}.json" for one in RECORDINGS}
    assert len(RECORDINGS) == 18
