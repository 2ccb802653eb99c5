"""Retry policies: the fields on the wire, and Go and Python in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.support import without_record

from gearmesh import App, Retry, TaskError
from gearmesh.app.retry import MAX_BACKOFF_STEPS, next_try
from gearmesh.wire.codec import decode, encode
from gearmesh.wire.gotime import parse
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, PENDING
from gearmesh.wire.types import arg
from gearmesh.wire.workflow import retried
from gearmesh.worker.job import Job
from gearmesh.worker.runner import Runner

NOW = 1_800_000_000_000_000_000
BACKOFFS = ("fibonacci", "exponential", "constant")


@st.composite
def policies(draw: st.DrawFn, **fixed: Any) -> Retry:
    first = draw(st.one_of(st.floats(0.001, 100), st.integers(1, 100)))
    settings: dict[str, Any] = {
        "max": draw(st.integers(0, 100)),
        "backoff": draw(st.sampled_from(BACKOFFS)),
        "jitter": draw(st.booleans()),
        "first": first,
        "most": draw(st.floats(first, 1e9)),
    }
    return Retry(**(settings | fixed))


def waits(policy: Retry, sig: Signature, chance: float = 0.0) -> list[float]:
    """Pauses in seconds until the retries are used up."""
    found = []
    while sig.RetryCount > 0:
        sig = policy.again(sig, NOW, chance)
        assert sig.ETA is not None
        found.append((parse(sig.ETA) - NOW) / 1e9)
    return found


# -- laws


@given(policies(), st.integers(0, 200))
def test_pauses_grow_and_are_bounded(policy: Retry, step: int) -> None:
    assert policy.first <= policy.pause(step) <= policy.pause(step + 1) <= policy.most
    assert policy.pause(0) == policy.first
    assert policy.pause(10**9) == (policy.first if policy.backoff == "constant" else policy.most)


@given(policies())
def test_no_backoff_is_still_growing_where_steps_end(policy: Retry) -> None:
    if policy.backoff != "constant":
        assert policy.pause(MAX_BACKOFF_STEPS - 1) == policy.most


@given(policies(jitter=False))
def test_the_wire_remembers_the_step(policy: Retry) -> None:
    """Python alone: RetryCount and RetryTimeout are enough to make every pause of the policy in its order."""
    found = waits(policy, Signature(RetryCount=policy.max))
    assert found == pytest.approx([policy.pause(step) for step in range(policy.max)], abs=1e-6)


@given(policies(), st.floats(0, 1, exclude_max=True))
def test_jitter_makes_shorter_by_half_at_most_and_is_not_on_the_wire(policy: Retry, chance: float) -> None:
    sig = Signature(RetryCount=policy.max)
    plain = [policy.pause(step) for step in range(policy.max)]
    for wait, whole in zip(waits(policy, sig, chance), plain, strict=True):
        assert whole / 2 - 1e-6 <= wait <= whole + 1e-6
    steady = Retry(max=policy.max, backoff=policy.backoff, first=policy.first, most=policy.most, jitter=False)
    while sig.RetryCount > 0:
        assert policy.again(sig, NOW, chance).RetryTimeout == steady.again(sig, NOW, 0).RetryTimeout
        sig = policy.again(sig, NOW, chance)


@given(policies(most=1e6), st.integers(0, 30), st.integers(0, 10_000), st.lists(st.booleans(), max_size=20))
def test_go_and_python_may_take_turns(policy: Retry, count: int, timeout: int, turns: list[bool]) -> None:
    """From any fields on the wire, the count falls by one for each try, the pause is written in whole seconds, and Go's
    next pause is always longer than the last one."""
    sig = Signature(UUID="task_x", RetryCount=count, RetryTimeout=timeout)
    for go in turns[:count]:
        after = retried(sig, NOW) if go else policy.again(sig, NOW, 0.999)
        assert after.RetryCount == sig.RetryCount - 1
        assert 1 <= after.RetryTimeout < 2**63
        if go:
            assert after.RetryTimeout > sig.RetryTimeout
        else:
            pause = policy.pause(policy.step(sig.RetryCount, sig.RetryTimeout))
            assert after.RetryTimeout - 1 < pause <= after.RetryTimeout
        assert decode(encode(after)) == after
        sig = after


@given(st.integers(0, 40))
def test_gos_own_rule_is_a_policy(count: int) -> None:
    policy = Retry(max=count, backoff="fibonacci", jitter=False, most=1e9)
    ours = theirs = Signature(RetryCount=count)
    while theirs.RetryCount > 0:
        ours, theirs = policy.again(ours, NOW, 0), retried(theirs, NOW)
        assert ours == theirs


@given(policies(backoff="exponential", jitter=False, max=6, first=1, most=3600.0))
def test_a_try_by_go_in_between_is_gone_on_from(policy: Retry) -> None:
    sig = policy.again(policy.again(Signature(RetryCount=6), NOW, 0), NOW, 0)
    assert sig.RetryTimeout == 2
    sig = retried(sig, NOW)  # 3 s
    assert policy.again(sig, NOW, 0).RetryTimeout == 4


@pytest.mark.parametrize(
    ("backoff", "pauses"),
    [
        ("fibonacci", [0.5, 1, 1.5, 2.5, 4, 5]),
        ("exponential", [0.5, 1, 2, 4, 5, 5]),
        ("constant", [0.5] * 6),
    ],
)
def test_pauses(backoff: Literal["fibonacci", "exponential", "constant"], pauses: list[float]) -> None:
    policy = Retry(max=6, backoff=backoff, jitter=False, first=0.5, most=5)
    assert waits(policy, Signature(RetryCount=6)) == pauses


# -- which exceptions


def test_on_and_not_on() -> None:
    policy = Retry(max=1, on=(OSError,), not_on=(FileNotFoundError,))
    assert policy.wants(ConnectionError())
    assert not policy.wants(FileNotFoundError())
    assert not policy.wants(ValueError())
    assert Retry().wants(SystemExit())
    assert Retry(on=OSError).on == (OSError,)  # type: ignore[arg-type]


def test_without_retries_left_nothing_is_tried() -> None:
    for policy in (None, Retry(max=9)):
        assert next_try(policy, Signature(), ValueError(), NOW) is None
    again = next_try(None, Signature(RetryCount=2), ValueError(), NOW)
    assert again == retried(Signature(RetryCount=2), NOW)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max": -1}, "max is -1"),
        ({"max": True}, "max is True"),
        ({"backoff": "linear"}, "backoff is 'linear'"),
        ({"jitter": 1}, "jitter is 1"),
        ({"on": ("IOError",)}, "on is"),
        ({"not_on": (int,)}, "not_on is"),
        ({"first": 0}, "first is 0"),
        ({"first": float("nan")}, "first is nan"),
        ({"first": 5, "most": 4}, "most is 4"),
        ({"most": float("inf")}, "most is inf"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(TaskError, match=f"Retry: {named}"):
        Retry(**settings)


# -- on tasks


def test_a_call_sends_its_retry_count_and_timeout(app: App, sent: Callable[..., list[Signature]]) -> None:
    @app.task(retry=Retry(max=5))
    def five() -> None: ...

    @app.task(retry=Retry(max=5), retry_count=2, retry_timeout=3)
    def two() -> None: ...

    five.delay()
    five.apply_async(retry_count=1)
    five.apply_async(retry_count=0)
    two.delay()
    assert [(sig.RetryCount, sig.RetryTimeout) for sig in sent()] == [(5, 0), (1, 0), (0, 0), (2, 3)]


@pytest.mark.parametrize(
    "option", [{"retry": 5}, {"soft_limit": -1}, {"hard_limit": "1"}, {"soft_limit": True}]
)
def test_a_wrong_option_is_named(option: dict[str, Any], app: App) -> None:
    (name,) = option
    with pytest.raises(TaskError, match=f"task 'bad', {name} is"):
        app.task(name="bad", **option)(lambda: None)


def test_limits(app: App) -> None:
    task = app.task(soft_limit=2, hard_limit=2.5, name="a")(lambda: None)
    assert (task.soft_limit, task.hard_limit) == (2.0, 2.5)
    plain = app.task(name="b")(lambda: None)
    assert (plain.soft_limit, plain.hard_limit, plain.retry_policy) == (None, None, None)
    with pytest.raises(TaskError, match=r"soft_limit is 3 s, expected at most the hard_limit of 2.5 s"):
        app.task(soft_limit=3, hard_limit=2.5, name="c")(lambda: None)
    with pytest.raises(TaskError, match="no option 'retry'"):
        app.remote("d", retry=Retry())  # type: ignore[call-arg]


@pytest.fixture
def tasks(app: App) -> None:
    @app.task(
        retry=Retry(max=5, backoff="exponential", jitter=False, on=(OSError,), not_on=(FileNotFoundError,))
    )
    def io(kind: str) -> None:
        raise {"connection": ConnectionError, "file": FileNotFoundError, "value": ValueError}[kind](kind)


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(
    ("kind", "count", "timeout", "wait"),
    [
        ("connection", 5, 0, 1),
        ("connection", 3, 2, 4),
        ("connection", 9, 0, 1),  # from Go: the wire's count rules
        ("connection", 2, 5, 8),  # Go did some
        ("connection", 0, 0, None),
        ("file", 5, 0, None),
        ("value", 5, 0, None),
    ],
)
def test_a_worker_obeys_the_policy(
    kind: str, count: int, timeout: int, wait: int | None, app: App, make_job: Callable[..., Job]
) -> None:
    job = make_job("io", arg("string", kind), RetryCount=count, RetryTimeout=timeout)
    before = time.time_ns()
    commit = Runner(app).run(job)
    if wait is None:
        assert [(state.State, state.Error) for state in without_record(commit)] == [(FAILURE, kind)]
        assert not commit.publishes
        return
    assert [state.State for state in commit.states] == [PENDING]
    (publish,) = commit.publishes
    again = decode(publish.body)
    assert (again.RetryCount, again.RetryTimeout) == (count - 1, wait)
    assert before + wait * 10**9 <= publish.eta_ns <= time.time_ns() + wait * 10**9


def test_eager_tasks_obey_it_too() -> None:
    app, tries = App("eager"), list[int]()

    @app.task(retry=Retry(max=3, on=(OSError,)))
    def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise OSError
        if len(tries) == 4:
            raise ValueError("not that")
        return len(tries)

    assert flaky.delay().get(0) == 3
    assert flaky.delay().failed()
    assert len(tries) == 4
