"""Redis' work for a task, in commands and calls of scripts: counts, which no busy machine changes.

A rise of more than a tenth fails. If you mean it, raise the number here and give the benefit in the commit message.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from gearmesh import App, chord
from gearmesh.interfaces.commit import ChordCheck, Commit, Settle
from gearmesh.transports.registry import connect
from gearmesh.wire.codec import decode
from gearmesh.wire.state import SUCCESS, TaskState

#: Tasks in a batch.
BATCH = 200
#: Of each step: calls of scripts, and commands that Redis carries out (those inside scripts, and these calls).
MOST = {
    "delay": (1, 3),
    "publish": (1, BATCH + 5),
    "fetch": (1, 9),
    "settle": (1, 2 * BATCH + 3),
    "chord": (2, BATCH + 7),
    "members": (2, 3 * BATCH + 10),
}
#: A part by which a number may be exceeded.
ROOM = 0.1
#: Commands that a connection's begin and these tests' own questions take.
BESIDE = {"info", "hello", "ping", "client|setinfo", "client|setname", "select", "config|resetstat"}


@pytest.fixture
def cost(redis_url: str) -> Callable[[Callable[[], object]], tuple[int, int]]:
    """Count the calls of scripts and the commands of a step; all scripts are loaded before."""
    client = redis.Redis.from_url(redis_url)

    def counted(step: Callable[[], object]) -> tuple[int, int]:
        client.config_resetstat()
        step()
        calls = {
            name.removeprefix("cmdstat_"): found["calls"]
            for name, found in client.info("commandstats").items()
            if name.removeprefix("cmdstat_") not in BESIDE
        }
        return calls.get("evalsha", 0), sum(calls.values())

    return counted


def within(step: str, found: tuple[int, int]) -> None:
    trips, commands = MOST[step]
    assert found[0] <= trips * (1 + ROOM), f"{step}: {found[0]} calls of scripts, expected {trips}"
    assert found[1] <= commands * (1 + ROOM), f"{step}: {found[1]} commands, expected {commands}"


def test_commands_and_calls_of_scripts_of_a_task(
    redis_url: str, cost: Callable[[Callable[[], object]], tuple[int, int]]
) -> None:
    with App(redis_url, redis_url) as app, connect(app.config) as connection:
        add = app.remote("add", "int64", "int64", results="int64")
        app.publish_many([add.s(1, 2), add.s(1, 2)])
        add.delay(1, 2)
        within("delay", cost(lambda: add.delay(1, 2)))
        within("publish", cost(lambda: app.publish_many([add.s(n, 2) for n in range(BATCH)])))
        channel = connection.channel()
        assert channel.enlist(app.backend)
        channel.commit([succeeded(message) for message in channel.fetcher.fetch("machinery_tasks", 4)])
        taken = []
        within("fetch", cost(lambda: taken.extend(channel.fetcher.fetch("machinery_tasks", BATCH))))
        assert len(taken) == BATCH
        commits = [succeeded(message) for message in taken]
        within("settle", cost(lambda: channel.commit(commits)))
        members = [add.s(n, 2) for n in range(BATCH)]
        within("chord", cost(lambda: chord(members, add.si(1, 2)).delay()))
        taken = channel.fetcher.fetch("machinery_tasks", BATCH)
        commits = [succeeded(message) for message in taken]
        within("members", cost(lambda: channel.commit(commits)))


def succeeded(message: object) -> Commit:
    sig = decode(message.body)  # type: ignore[attr-defined]
    state = TaskState(TaskUUID=sig.UUID, State=SUCCESS, Results=())
    check = ChordCheck(sig.GroupUUID, sig.GroupTaskCount) if sig.ChordCallback else None
    return Commit(states=(state,), settle=Settle(message.delivery), chord=check)  # type: ignore[attr-defined]
