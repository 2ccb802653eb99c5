"""The interop suite's table of scenarios with a Celery app at one end, and the answers that differ there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.interop import amqp
from tests.interop.scenarios import SCENARIOS, Json, Scenario, Side, Step, err, ok

__all__ = ["End", "skipped", "steps_for", "table"]

#: Where the Celery app is.
End = Literal["client", "worker"]


@dataclass(frozen=True)
class Other:
    """Another answer, by the index of the step; and why that is as it should be."""

    why: str
    wants: Mapping[int, Json]
    results: Mapping[int, list[Any]] | None = None


def _failed(kind: str, text: str) -> Json:
    return err(f"{kind}: {text}")


_MISTYPED = "task 'echo_string', argument 1 as string: 1 is not string"
_TYPED = "an exception crosses as its type's name and its text"
_PYTHON = "a Celery task is called as Python calls functions"
_UNTYPED = "Celery does not look at the types that a function's parameters are annotated with"

#: With a Celery worker.
_WORKER: Mapping[str, Other] = {
    "failure with OnError": Other(
        _TYPED, {0: _failed("RuntimeError", "nope")}, {1: ["handled:RuntimeError: nope"]}
    ),
    "OnError keeps its own arguments behind the text": Other(
        _TYPED, {0: _failed("RuntimeError", "<é>")}, {1: ["handled:RuntimeError: <é>,a,b"]}
    ),
    "failure without OnSuccess": Other(_TYPED, {0: _failed("RuntimeError", "x")}),
    "panic": Other(_TYPED, {0: _failed("RuntimeError", "went wrong")}),
    "retry twice": Other(_TYPED, {0: _failed("RuntimeError", "boom")}),
    "chain that breaks": Other(
        _PYTHON,
        {0: _failed("TypeError", "outcomes.<locals>.fail() takes 1 positional argument but 2 were given")},
    ),
    "too many arguments": Other(
        _PYTHON,
        {0: _failed("TypeError", "_echo.<locals>.echo() takes 1 positional argument but 2 were given")},
    ),
    "too few arguments": Other(
        _PYTHON,
        {0: _failed("TypeError", "_echo.<locals>.echo() missing 1 required positional argument: 'value'")},
    ),
    "another type than the variadic's": Other(
        _PYTHON, {0: _failed("TypeError", "unsupported operand type(s) for +: 'int' and 'str'")}
    ),
    "another type than the function's": Other(_UNTYPED, {0: ok("x", types=["string"])}),
    "chord whose callback fails": Other(_UNTYPED, {0: ok(1, types=["int64"])}),
}
#: With a Celery client.
_REFUSED = "the sender refuses a call that Go could not run"
_CLIENT: Mapping[str, Other] = {
    "headers": Other("only text and bool cross", {0: ok('with_ctx|{"b":"x"}|1')}),
    "chord whose callback fails": Other(
        "Celery raises the callback's error in the waiting client, and a call that Go could not run is not sent",
        {0: _failed("ChordError", f"Callback error: NotForGo({_MISTYPED!r})")},
    ),
    "too many arguments": Other(_REFUSED, {0: err("task 'echo_int64' was given 2 arguments; it takes 1")}),
    "too few arguments": Other(
        _REFUSED, {0: err("task 'echo_int64' was given 0 arguments, no value for '#1'; it takes 1")}
    ),
    "another type than the function's": Other(
        _REFUSED, {0: err("task 'echo_int64', argument 1 as int64: 'x' is not int64")}
    ),
    "another type than the variadic's": Other(
        _REFUSED, {0: err("task 'add', argument 2 as int64: 'x' is not int64")}
    ),
}
_AMQP_HEADERS = Other("only text and bool cross", {1: ok("with_ctx|{}|1")})
#: The same where the client is not Go's, which says nothing of a chord's failure.
_MEMBER_FAILS = Other(_TYPED, {0: _failed("RuntimeError", "no")})


def table(broker: str) -> Sequence[Scenario]:
    """The rows for a broker."""
    return amqp.TABLE if broker == "amqp" else SCENARIOS


def skipped(scenario: Scenario, celery: End) -> str:
    """Why a row says nothing where Celery is; ``""``: it does."""
    if celery == "client" and scenario.name == "unknown argument type":
        return "a Celery app has no word for another type than go_tasks has"
    return ""


def steps_for(scenario: Scenario, celery: End, other: Side, broker: str) -> list[tuple[Step, Json]]:
    """As :meth:`Scenario.steps_for`, with the answers that there are with a Celery app at one end."""
    if celery == "client":
        steps = scenario.steps_for("python", other)
        if scenario.name == "custom queue":
            # A step without a queue goes to the queue in go_tasks, not to the queue of the worker that sends it.
            first, *more = steps
            followed = [replace(step, until=True) for step, _ in more if step.ask["Op"] == "state"]
            return [first, *((step, {"State": "SUCCESS"}) for step in followed)]
        change = (
            _AMQP_HEADERS if scenario.name == "headers" and broker == "amqp" else _CLIENT.get(scenario.name)
        )
        return _replaced(steps, change)
    change = _WORKER.get(scenario.name)
    if scenario.name == "chord with one failing member" and other == "python":
        change = _MEMBER_FAILS
    return _replaced(scenario.steps_for(other, "python"), change)


def _replaced(steps: list[tuple[Step, Json]], change: Other | None) -> list[tuple[Step, Json]]:
    if change is None:
        return steps
    found = []
    for i, (step, want) in enumerate(steps):
        if change.results and i in change.results:
            step = replace(step, results=change.results[i])
        found.append((step, change.wants.get(i, want)))
    return found
