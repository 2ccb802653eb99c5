"""Calls that come at the same moment share a round trip, and each learns of its own end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.unit.app.lossy_broker import Broker

from gearmesh import App, PublishError
from gearmesh.app import combiner, publisher
from gearmesh.interfaces.commit import Commit, Outcome, Token
from gearmesh.testing.waiting import eventually
from gearmesh.transports import registry


class Gate(Broker):
    """A broker that takes nothing while it is shut."""

    def __init__(self, *, atomic: bool) -> None:
        super().__init__(atomic=atomic)
        self.open = threading.Event()
        self.open.set()
        self.asked = 0

    def commit(self, commits: Sequence[Commit], token: Token | None) -> list[Outcome]:
        self.asked += 1
        self.open.wait(30)
        return super().commit(commits, token)

    def sent(self) -> list[int]:
        return [int(bytes((sig.Args or ())[0].Value)) for sig in self.pushed]

    def sizes(self) -> list[int]:
        return [count for _, count in self.batches]


@pytest.fixture(params=[True, False], ids=["atomic", "split"])
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Gate:
    broker = Gate(atomic=request.param)
    monkeypatch.setattr(registry, "open_connection", broker.connect)
    monkeypatch.setattr(publisher, "FIRST_RETRY_DELAY_S", 0.001)
    return broker


@pytest.fixture
def add(url: str, broker: Gate) -> Any:
    task = App(url, url, publish_timeout=20.0).remote("add", "int64")
    task.delay(0)
    broker.batches.clear()
    broker.asked = 0
    return task


def waiting(add: Any) -> int:
    """The number of calls that wait for the batch before theirs."""
    return sum(map(len, add.app._publisher._combiner.get()._waiting.values()))


class Together:
    """Ten calls, of threads or of coroutines, that are all there before the broker takes anything."""

    def __init__(self, add: Any, broker: Gate, kind: str) -> None:
        self.add, self.broker, self.kind = add, broker, kind

    def run(self, trouble: Sequence[str] = ()) -> list[Any]:
        self.broker.open.clear()
        if self.kind == "coroutines":
            return asyncio.run(self._coroutines(trouble))
        with ThreadPoolExecutor(10) as pool:
            futures = [pool.submit(self.add.delay, 1)]
            eventually(lambda: self.broker.asked == 1)
            futures.append(pool.submit(self.add.delay, 2))
            eventually(lambda: self.broker.asked == 2)
            futures += [pool.submit(self.add.delay, n) for n in range(3, 11)]
            eventually(lambda: waiting(self.add) == 8)
            self._let_go(trouble)
            return [future.exception() or future.result() for future in futures]

    async def _coroutines(self, trouble: Sequence[str]) -> list[Any]:
        first = asyncio.ensure_future(self.add.adelay(1))
        await asyncio.to_thread(eventually, lambda: self.broker.asked == 1)
        rest = [asyncio.ensure_future(self.add.adelay(n)) for n in range(2, 11)]
        await asyncio.sleep(0)
        self._let_go(trouble)
        return await asyncio.gather(first, *rest, return_exceptions=True)

    def _let_go(self, trouble: Sequence[str]) -> None:
        self.broker.trouble = [*trouble]
        self.broker.open.set()


@pytest.fixture(params=["threads", "coroutines"])
def together(request: pytest.FixtureRequest, add: Any, broker: Gate) -> Together:
    return Together(add, broker, request.param)


def test_those_that_come_meanwhile_go_together(together: Together, broker: Gate) -> None:
    results = together.run()
    assert sorted(broker.sent()) == list(range(11))
    assert sorted(broker.sizes()) == ([1, 1, 8] if together.kind == "threads" else [1, 9])
    assert len({result.uuid for result in results}) == 10
    assert {result.state for result in results} == {"PENDING"}


@pytest.mark.parametrize("trouble", ["lost reply", "lost call"])
def test_an_unknown_outcome_is_repeated_under_its_token(
    together: Together, broker: Gate, trouble: str
) -> None:
    together.run(["", "", trouble, trouble])
    assert sorted(broker.sent()) == list(range(11))


def test_after_another_error_each_goes_on_by_itself(together: Together, broker: Gate) -> None:
    """The broker refuses one of eight combined calls: only its caller gets the error."""
    commit = broker.commit

    def refuse(commits: Sequence[Commit], token: Token | None) -> list[Outcome]:
        if any(b'"Value":7}' in commit.publishes[0].body for commit in commits):
            raise ValueError("no sevens")
        return commit(commits, token)

    broker.commit = refuse  # type: ignore[method-assign]
    results = together.run()
    assert sorted(broker.sent()) == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10]
    errors = [result for result in results if isinstance(result, Exception)]
    assert [type(error) for error in errors] == [PublishError]
    assert "no sevens" in str(errors[0])
    assert "task 'add'" in str(errors[0])
    assert "messages" not in str(errors[0]), "the error names one call only"


def test_each_has_its_own_time(url: str, broker: Gate) -> None:
    """The calls that wait behind a batch that fails are not tried for as long again."""
    add = App(url, url, publish_timeout=0.5).remote("add", "int64")
    add.delay(0)
    broker.trouble = ["lost call"] * 100_000
    began = time.monotonic()
    results = Together(add, broker, "coroutines").run(broker.trouble)
    assert time.monotonic() - began < 15
    assert [type(result) for result in results] == [PublishError] * 10
    assert "ConnectionResetError" in str(results[9])
    broker.trouble = []
    add.delay(11)
    assert broker.sent() == [0, 11], "nothing is sent after its caller has heard that it is not"


def test_a_large_message_does_not_hold_others_up(add: Any, broker: Gate) -> None:
    large = add.app.remote("large", "string")
    text = "x" * combiner.MAX_COMBINED_BYTES
    broker.open.clear()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(large.delay, text) for _ in range(4)]
        eventually(lambda: broker.asked == 4)
        broker.open.set()
        assert len({future.result().uuid for future in futures}) == 4
    assert broker.sizes() == [1] * 4


async def test_a_call_that_is_cancelled_before_it_is_on_its_way_is_not_sent(add: Any, broker: Gate) -> None:
    broker.open.clear()
    first = asyncio.ensure_future(add.adelay(1))
    await asyncio.to_thread(eventually, lambda: broker.asked == 1)
    calls = [asyncio.ensure_future(add.adelay(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    calls[1].cancel()
    first.cancel()
    await asyncio.sleep(0)
    broker.open.set()
    await asyncio.gather(calls[0], calls[2])
    assert broker.sent() == [0, 1, 2, 4], "the first was on its way"
    assert calls[1].cancelled()
    assert first.cancelled()


def test_event_loops_come_and_go(add: Any, broker: Gate) -> None:
    async def leave() -> None:
        loop.call_later(0, loop.stop)
        await add.adelay(1)

    broker.open.clear()
    loop = asyncio.new_event_loop()
    task = loop.create_task(leave())
    loop.run_forever()
    eventually(lambda: broker.asked == 1)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    broker.open.set()
    asyncio.run(add.adelay(2))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: asyncio.run(add.adelay(n)), range(3, 11)))
    assert sorted(broker.sent()) == list(range(11))


async def test_blocking_hooks_run_in_a_thread(add: Any, broker: Gate) -> None:
    """Hooks may block, and so may the request to the backend that ``unique_for`` makes."""
    threads: list[int] = []
    add.app.before_publish(lambda sig: threads.append(threading.get_ident()))
    await add.adelay(1)
    await add.app.asend(add.s(2))
    assert threading.get_ident() not in threads
    assert len(threads) == 2


async def test_all_ways_to_send_one_task(add: Any, broker: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the ways starts a thread for a call."""

    async def none(*args: Any) -> None:
        raise AssertionError("a thread")

    monkeypatch.setattr(asyncio, "to_thread", none)
    await add.adelay(1)
    await add.aapply_async([2])
    await add.s(3).adelay()
    await add.s().aapply_async([4])
    await add.app.asend(add.s(5))
    await add.aapply_async([6], countdown=60)
    assert broker.sent() == list(range(7))


def test_a_child_sends_by_threads_of_its_own(add: Any, broker: Gate) -> None:
    """The child does not send calls that wait in the parent."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    asyncio.run(add.adelay(1))  # so that there are threads
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(add.adelay(2))
            producers = {token.producer for token, _ in broker.batches if token}
            os.write(write, f"{broker.sent()} {len(producers)}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        assert answer.read() == "[0, 1, 2] 2"


@pytest.mark.parametrize("closing", [False, True])
def test_while_no_thread_can_be_started(
    add: Any, broker: Gate, monkeypatch: pytest.MonkeyPatch, closing: bool
) -> None:
    """At the interpreter's end, and where the system has no more: the caller sends by itself."""
    if closing:
        add.app._publisher._combiner.get().close()
    else:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    asyncio.run(add.adelay(1))
    assert broker.sent() == [0, 1]


def refuse(*args: Any) -> None:
    raise RuntimeError("can't start new thread")


def test_an_unforeseen_error_keeps_no_caller_waiting(
    add: Any, broker: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr(publisher, "CombinedBatch", fail)
    asyncio.run(add.adelay(1))
    assert broker.sent() == [0, 1]
    assert "could not be sent together" in caplog.text


def test_a_caller_that_is_interrupted_leaves_the_way_free(
    add: Any, broker: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(broker, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            add.delay(1)
    assert not add.app._publisher._combiner.get()._lone
    add.delay(2)
    assert broker.sent() == [0, 2]


def test_a_time_limit_ends_a_thread_that_waits(add: Any, broker: Gate) -> None:
    """A worker raises the time limit in the thread of a task; the call is not sent."""

    class LimitReached(BaseException):
        pass

    def call(n: int) -> None:
        threads[n] = threading.get_ident()
        try:
            add.delay(n)
        except LimitReached:
            ended.append(n)

    threads: dict[int, int] = {}
    ended: list[int] = []
    broker.open.clear()
    with ThreadPoolExecutor(3) as pool:
        futures = []
        for n in (1, 2):
            futures.append(pool.submit(call, n))
            eventually(lambda n=n: broker.asked == n)  # type: ignore[misc]
        futures.append(pool.submit(call, 3))
        eventually(lambda: waiting(add) == 1)
        raised = ctypes.py_object(LimitReached)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threads[3]), raised)
        eventually(lambda: ended == [3])
        broker.open.set()
        for future in futures:
            future.result()
    assert sorted(broker.sent()) == [0, 1, 2]


def test_each_batch_has_a_token_of_its_own(add: Any, broker: Gate) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add.delay, range(1, 401)))
    assert sorted(broker.sent()) == list(range(401))
    tokens = [token for token, _ in broker.batches]
    assert len(set(tokens)) == len(tokens)
