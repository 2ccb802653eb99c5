"""The eager broker: the whole of section 4 of the protocol in the caller."""

from __future__ import annotations

import asyncio

import pytest

from gearmesh import (
    App,
    ChordMemberFailed,
    Int8,
    Json,
    ResultTimeout,
    RetryLater,
    SoftLimitExceeded,
    TaskError,
    TaskFailed,
    chain,
    chord,
    current,
    group,
)
from gearmesh.app.eager import MAX_KEPT_EXCEPTIONS


def test_values_of_every_kind(eager: App) -> None:
    @eager.task
    def two(a: int, b: str) -> tuple[int, str]:
        return a, b

    @eager.task
    def nothing() -> None: ...

    @eager.task
    def structured(a: Json[dict[str, list[int]]]) -> Json[list[int]]:
        return a["x"]

    assert two.delay(1, "<&>\u2028").get(0) == (1, "<&>\u2028")
    assert nothing.delay().get(0) is None
    assert structured.delay({"x": [1]}).get(0) == [1]
    result = two.delay(1, "s")
    assert (result.state, result.ready(), result.successful(), result.failed(), result.error) == (
        "SUCCESS",
        True,
        True,
        False,
        "",
    )
    assert [tuple(each) for each in result.results or ()] == [("int64", 1), ("string", "s")]
    # Another handle on the same task finds the declaration by the stored name.
    assert eager.result(two.delay(1, "s").uuid).get(0) == (1, "s")


def test_failure_and_on_error(eager: App) -> None:
    heard: list[str] = []

    @eager.task
    def fail(message: str) -> None:
        raise ValueError(message)

    @eager.task
    def note(error: str, extra: int) -> None:
        heard.append(f"{error} {extra}")

    result = fail.s("went wrong").on_error(note.s(5)).delay()
    with pytest.raises(TaskFailed, match=r"task fail \(task_.*\) failed: ValueError: went wrong") as caught:
        result.get(0)
    assert (caught.value.uuid, caught.value.error) == (result.uuid, "went wrong")
    assert (result.state, result.error, result.failed(), result.results) == (
        "FAILURE",
        "went wrong",
        True,
        None,
    )
    assert result.wait(0) == "FAILURE"
    assert heard == ["went wrong 5"]


def test_retries(eager: App) -> None:
    tries: list[tuple[int, int]] = []

    @eager.task(retry_count=2)
    def flaky() -> int:
        tries.append((current().RetryCount, current().RetryTimeout))
        if len(tries) < 3:
            raise RuntimeError("again")
        return len(tries)

    assert flaky.delay().get(0) == 3
    assert tries == [(2, 0), (1, 1), (0, 2)]

    later: list[int] = []

    @eager.task
    def patient() -> int:
        later.append(1)
        if len(later) < 2:
            raise RetryLater(3600)
        return 7

    assert patient.delay().get(0) == 7


def test_a_result_that_cannot_be_sent_is_the_failure(eager: App) -> None:
    @eager.task
    def big() -> Int8:
        return 1000

    with pytest.raises(TaskFailed, match="task 'big' returned a value that cannot be sent: 1000 is not int8"):
        big.delay().get(0)


def test_workflows(eager: App) -> None:
    @eager.task
    def add(*numbers: int) -> int:
        return sum(numbers)

    assert chain(add.s(1, 2), add.s(10), add.si(1), add.s(1)).delay().get(0) == 2
    assert group(add.s(i) for i in range(5)).delay().get(0) == [0, 1, 2, 3, 4]
    assert chord([add.s(i, i) for i in range(10)], add.s(1)).delay().get(0) == 91
    assert chord([add.s(i) for i in range(10)], add.si(5)).delay().get(0) == 5
    nested = chain(add.s(1), group(add.s(1), add.s(2) | add.s(3)), add.s(4), group(add.s(5), add.s(6)))
    assert nested.delay().get(0) == [17, 18]
    inner = chord([chord([add.s(1), add.s(2)], add.s(3)), add.s(4)], add.s(5))
    assert inner.delay().get(0) == 15
    assert [r.get(0) for r in eager.publish_many([add.s(1), add.s(2) | add.s(3)])] == [1, 5]


def test_a_failed_member_and_a_failed_step(eager: App) -> None:
    @eager.task
    def add(*numbers: int) -> int:
        return sum(numbers)

    @eager.task
    def fail(*numbers: int) -> int:
        raise ValueError("no")

    failed = chord([add.s(1), fail.s()], add.s()).delay()
    with pytest.raises(ChordMemberFailed, match="no"):
        failed.get(0)
    assert failed.state == "FAILURE"
    assert failed.states == ["SUCCESS", "FAILURE"]
    assert failed.completed_count == 2
    with pytest.raises(ChordMemberFailed):
        chord([add.s(1), add.s(1) | fail.s() | add.s(1)], add.s()).delay().get(0)
    with pytest.raises(TaskFailed, match="no"):
        chain(add.s(1), fail.s(), add.s()).delay().get(0)
    with pytest.raises(TaskFailed, match="no"):
        group(add.s(1), fail.s()).delay().get(0)
    ended = {r.get(0) if r.successful() else "failed" for r in group(add.s(1), fail.s()).delay()}
    assert ended == {1, "failed"}


def test_coroutines(eager: App) -> None:
    @eager.task
    async def slow(a: int) -> int:
        await asyncio.sleep(0)
        return a + len(current().Name)

    assert slow.delay(1).get(0) == 5

    async def inside() -> int:
        assert slow.s(1).delay().get(0) == 5  # a loop is running here
        return await (await slow.adelay(2)).aget(1) + await slow.delay(3)

    assert asyncio.run(inside()) == 13
    assert slow.is_async


def test_not_registered(eager: App) -> None:
    with pytest.raises(TaskError, match="'elsewhere' is not registered"):
        eager.remote("elsewhere").delay()
    result = eager.remote("elsewhere").apply_async(ignore_unregistered=True)
    with pytest.raises(ResultTimeout):
        result.get(0)


def test_current_outside() -> None:
    with pytest.raises(TaskError, match="no task is running"):
        current()


def test_hooks_see_each_task_of_a_chain(eager: App) -> None:
    seen: list[str] = []
    eager.before_publish(lambda sig: seen.append(sig.Name))

    @eager.task
    def add(*numbers: int) -> int:
        return sum(numbers)

    chain(add.s(1), add.s(2)).delay()
    assert seen == ["add", "add"]


def test_forget(eager: App) -> None:
    @eager.task
    def work() -> int:
        return 1

    result = work.delay()
    result.forget()
    assert result.state == "PENDING"


def test_a_failure_keeps_its_exception_and_is_logged(eager: App, caplog: pytest.LogCaptureFixture) -> None:
    @eager.task
    def look_up(key: str) -> str:
        return {"a": "b"}[key]

    with pytest.raises(TaskFailed, match="'id'") as caught:
        look_up.delay("id").get(0)
    cause = caught.value.__cause__
    assert isinstance(cause, KeyError)
    assert cause.__traceback__ is not None
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "failed: KeyError: 'id'")
    assert (vars(record)["task"], vars(record)["uuid"]) == ("look_up", caught.value.uuid)
    assert 'return {"a": "b"}[key]' in caplog.text
    members = group(look_up.s("a"), look_up.s("x")).delay()
    with pytest.raises(TaskFailed) as caught:
        members.get(0)
    assert repr(caught.value.__cause__) == "KeyError('x')"
    results = [look_up.delay(str(n)) for n in range(MAX_KEPT_EXCEPTIONS + 1)]
    kept = [result.get(0, propagate=False) for result in results]
    assert [isinstance(each, TaskFailed) and each.__cause__ is None for each in kept] == [True] + [
        False
    ] * MAX_KEPT_EXCEPTIONS


def test_a_task_keeps_its_limits(eager: App) -> None:
    ends: list[str] = []

    @eager.task(soft_limit=0.05)
    def endless() -> None:
        try:
            while True:
                pass
        finally:
            ends.append("endless")

    @eager.task(hard_limit=0.05)
    def stubborn() -> None:
        while True:
            try:
                while True:
                    pass
            except Exception:
                ends.append("never")

    @eager.task(soft_limit=0.05)
    async def waits() -> None:
        await asyncio.sleep(60)

    @eager.task(soft_limit=0.05, hard_limit=0.1)
    async def clings() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)

    @eager.task(soft_limit=0.05)
    def tidy() -> str:
        try:
            while True:
                pass
        except SoftLimitExceeded:
            return "tidied up"

    @eager.task(soft_limit=60, hard_limit=60)
    def quick() -> int:
        return 1

    for task, text in (
        (endless, "soft time limit of 0.05 s exceeded"),
        (stubborn, "hard time limit of 0.05 s exceeded"),
        (waits, "soft time limit of 0.05 s exceeded"),
        (clings, "hard time limit of 0.1 s exceeded"),
    ):
        with pytest.raises(TaskFailed, match=text):
            task.delay().get(0)
    assert ends == ["endless"]
    assert tidy.delay().get(0) == "tidied up"
    assert quick.delay().get(0) == 1
