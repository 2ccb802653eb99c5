"""Publishing: PENDING first, once even when a reply is lost, in batches, in threads, after a fork."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.unit.app.lossy_broker import Broker

from gearmesh import App, PublishError, group
from gearmesh.app import publisher
from gearmesh.app.publisher_pool import PublisherConnection
from gearmesh.backends.memory import MemoryBackend
from gearmesh.interfaces.commit import Commit, Outcome, Token
from gearmesh.transports import registry
from gearmesh.wire.codec import decode
from gearmesh.wire.signature import Signature


@pytest.fixture(params=[True, False], ids=["atomic", "split"])
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker(atomic=request.param)
    monkeypatch.setattr(registry, "open_connection", broker.connect)
    monkeypatch.setattr(publisher, "FIRST_RETRY_DELAY_S", 0.001)
    return broker


@pytest.fixture
def add(url: str, broker: Broker) -> Any:
    app = App(url, url, publish_timeout=5.0)

    @app.task
    def add(*numbers: int) -> int:
        return sum(numbers)

    return add


def test_pending_is_there_before_the_message(add: Any, broker: Broker) -> None:
    states: list[str] = []
    push = broker.commit

    def look(commits: Sequence[Commit], token: Token | None) -> list[Outcome]:
        if not broker.atomic:  # else it is in the commit itself
            for commit in commits:
                states.extend(
                    s.State for s in add.app.states([decode(p.body).UUID for p in commit.publishes]) if s
                )
        return push(commits, token)

    broker.commit = look  # type: ignore[method-assign]
    result = add.delay(1)
    assert states == ([] if broker.atomic else ["PENDING"])
    assert result.state == "PENDING"
    (state,) = add.app.states([result.uuid])
    assert (state.TaskName, state.CreatedAt[-1]) == ("add", "Z")
    assert [sig.UUID for sig in broker.pushed] == [result.uuid]


@pytest.mark.parametrize(
    "trouble", [["lost reply"], ["lost call"], ["refused"], ["lost reply", "refused", "lost call"]]
)
def test_an_unknown_outcome_is_repeated_under_its_token(add: Any, broker: Broker, trouble: list[str]) -> None:
    add.delay(0)
    if trouble == ["refused"]:
        add.app.close()  # so that a connection has to be made
    broker.trouble = trouble
    add.delay(1)
    add.delay(2)
    assert [bytes((sig.Args or ())[0].Value) for sig in broker.pushed] == [b"0", b"1", b"2"]
    if "lost reply" in trouble:
        tokens = [token for token, _ in broker.batches]
        assert tokens[1] == tokens[2]


def test_a_repeated_batch_does_not_undo_a_quick_worker_s_result(add: Any, broker: Broker) -> None:
    from gearmesh.wire.state import SUCCESS, TaskState

    push = broker.commit

    def quick(commits: Sequence[Commit], token: Token | None) -> list[Outcome]:
        try:
            return push(commits, token)
        finally:
            for sig in broker.pushed:
                add.app.backend.write([TaskState(TaskUUID=sig.UUID, State=SUCCESS, Results=())])

    broker.commit = quick  # type: ignore[method-assign]
    broker.trouble = ["lost reply"]
    assert add.delay(1).state == "SUCCESS"


def test_gives_up_in_time_and_says_where(url: str, broker: Broker) -> None:
    broker.trouble = ["lost call"] * 100_000
    app = App("redis://:secret@nowhere:1/0", url, publish_timeout=0.2, default_queue="q")
    work = app.remote("work")
    began = time.monotonic()
    with pytest.raises(
        PublishError, match=r"task 'work' \(task_.*\) could not be published to queue 'q'"
    ) as caught:
        work.delay()
    assert 0.2 <= time.monotonic() - began < 20
    assert "secret" not in str(caught.value)
    assert "nowhere" in str(caught.value)
    assert "ConnectionResetError" in str(caught.value)
    with pytest.raises(PublishError, match=r"300 messages \(0 confirmed\)"):
        app.publish_many([work.s()] * 300)


def test_timeout_zero_tries_once(url: str, broker: Broker) -> None:
    broker.trouble = ["lost call", "lost call"]
    app = App(url, url, publish_timeout=0)
    with pytest.raises(PublishError):
        app.remote("work").delay()
    assert broker.trouble == ["lost call"]


def test_the_publisher_does_not_repeat_after_an_unexpected_error(add: Any, broker: Broker) -> None:
    broker.trouble = ["broken"]
    with pytest.raises(PublishError, match="ValueError: no such command"):
        add.delay(1)
    assert broker.closed == broker.opened  # a connection in an unknown state is not used again
    add.delay(2)


def test_batches_in_order(add: Any, broker: Broker) -> None:
    results = add.app.publish_many(add.s(i) for i in range(1000))
    assert [sig.UUID for sig in broker.pushed] == [result.uuid for result in results]
    assert max(count for _, count in broker.batches) == publisher.MAX_BATCH_MESSAGES
    assert len(broker.batches) == 4
    assert [token.seq for token, _ in broker.batches if token] == [1, 2, 3, 4]
    assert broker.opened == 1


def test_batches_are_limited_in_bytes(url: str, broker: Broker) -> None:
    app = App(url, url)
    app.publish_many([app.remote("work").s("x" * 200_000) for _ in range(5)])
    assert [count for _, count in broker.batches] == [2, 2, 1]


def test_a_groups_meta_and_states_come_before_any_member(add: Any, broker: Broker) -> None:
    push = broker.commit
    checked: list[bool] = []

    def look(commits: Sequence[Commit], token: Token | None) -> list[Outcome]:
        sig = decode(commits[0].publishes[0].body)
        meta = add.app.backend.read_group(sig.GroupUUID)
        checked.append(meta is not None and all(add.app.states(meta.TaskUUIDs)))
        return push(commits, token)

    broker.commit = look  # type: ignore[method-assign]
    group(add.s(i) for i in range(600)).delay()
    assert checked == [True] * 3


def test_send_concurrency(add: Any, broker: Broker) -> None:
    group((add.s(i) for i in range(2000)), send_concurrency=4).delay()
    assert len(broker.pushed) == 2000
    assert len({token.producer for token, _ in broker.batches if token}) <= 4


def test_threads_have_lanes_of_their_own(add: Any, broker: Broker) -> None:
    def work() -> None:
        for i in range(100):
            add.delay(i)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({sig.UUID for sig in broker.pushed}) == 800
    assert broker.opened <= 8
    add.app.close()
    assert broker.closed == broker.opened
    add.app.close()
    add.delay(1)  # opens anew


def test_backend_trouble_before_a_group(url: str, broker: Broker) -> None:
    class Away(MemoryBackend):
        connection_errors = (ConnectionError,)
        left = 3

        def create_group(self, meta: Any) -> None:
            if self.left:
                self.left -= 1
                raise ConnectionError("away")
            super().create_group(meta)

    away = Away("away", expire=60)
    app = App(url, url, publish_timeout=3.0)
    app._backend._make = lambda: away
    group([app.remote("work").s()]).delay()
    assert len(broker.pushed) == 1
    away.left = 1_000_000
    with pytest.raises(PublishError, match="nothing was published: the result backend memory://"):
        group([app.remote("work").s()]).delay()
    assert len(broker.pushed) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_uses_nothing_of_its_parents(add: Any, broker: Broker) -> None:
    add.delay(1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            add.delay(2)
            producers = {token.producer for token, _ in broker.batches if token}
            os.write(write, f"{broker.opened} {broker.closed} {len(producers)}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        assert answer.read() == "2 0 2"


def test_lane_close_survives_a_broken_connection() -> None:
    class Broken:
        connection_errors = ()

        def channel(self) -> Any:
            raise OSError("no")

        def close(self) -> None:
            raise OSError("no")

    connection = PublisherConnection(lambda: Broken(), MemoryBackend("", expire=60))
    with pytest.raises(OSError, match="no"):
        connection.flusher()
    connection.close()


def test_delayed_on_the_memory_transport(app: App, sent: Callable[..., list[Signature]]) -> None:
    work = app.remote("work")
    work.apply_async(countdown=60)
    work.apply_async()
    assert [sig.ETA is None for sig in sent()] == [True]
