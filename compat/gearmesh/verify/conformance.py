"""The conformance set: the signatures that a run sends, and the results that must come back."""

from __future__ import annotations

import time
from typing import Any, Final

from gearmesh.app.canvas import chain, chord, group
from gearmesh.ids import new_uuid
from gearmesh.verify.echo import task_of_type
from gearmesh.verify.exchange import Check, Exchange
from gearmesh.verify.values import VALUES
from gearmesh.wire import gotime
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import TaskResult
from gearmesh.wire.types import arg, dump, result

__all__ = [
    "PAUSE_S",
    "TO_PYTHON",
    "TO_WORKER",
    "WORKFLOW",
    "large_unsigned",
    "outcomes",
    "plain_values",
    "workflows",
]

TO_WORKER: Final = "Python → worker"
TO_PYTHON: Final = "worker → Python"
WORKFLOW: Final = "workflow"
#: Milliseconds after which a task is tried again. Go loses shorter retries on RabbitMQ.
RETRY_MS: Final = 1000
#: Seconds from now at which a delayed task is due.
ETA_S: Final = 1.0
#: Seconds in which the states of the delayed tasks may not change: their delay, and the time that a broker adds.
PAUSE_S: Final = 3.0
#: Go: the largest unsigned value that old releases read.
MAX_SAFE_UNSIGNED: Final = 2**63 - 1


def plain_values(exchange: Exchange, prefix: str) -> list[Check]:
    """Send values of each type that every release of Machinery reads; the worker passes each value on to Python."""
    return _values(exchange, prefix, large=False)


def large_unsigned(exchange: Exchange, prefix: str) -> list[Check]:
    """Send unsigned values that old releases refuse, at the end: a Go worker on Redis may lose messages after them."""
    return _values(exchange, prefix, large=True)


def _values(exchange: Exchange, prefix: str, *, large: bool) -> list[Check]:
    checks: list[Check] = []
    for type, values in VALUES.items():
        for value in values:
            if _is_large(type, value) == large:
                checks += _value(exchange, prefix, type, value)
    return checks


def _is_large(type: str, value: Any) -> bool:
    if "uint" not in type or isinstance(value, bytes):
        return False
    return max(value if isinstance(value, list) else [value], default=0) > MAX_SAFE_UNSIGNED


def _value(exchange: Exchange, prefix: str, type: str, value: Any) -> list[Check]:
    name, want = f"{prefix}{task_of_type(type)}", (result(type, value),)
    subject = f"{type} above 2^63-1" if _is_large(type, value) else type
    back = exchange.signature(name, own=True)
    sig = exchange.signature(name, arg(type, value), OnSuccess=(back,))
    sent = f"{type} {value!r:.200}"
    return exchange.send(
        sig,
        [
            Check(direction=TO_WORKER, subject=subject, uuid=sig.UUID, sent=sent, results=want),
            Check(
                direction=TO_PYTHON, subject=subject, uuid=back.UUID, sent=sent, results=want, after=sig.UUID
            ),
        ],
    )


def outcomes(exchange: Exchange, prefix: str) -> list[Check]:
    """Send single tasks that return two results, fail, are retried, read their headers, or have an ETA."""
    number, text = arg("int64", 7), arg("string", "a")

    def one(subject: str, sig: Signature, sent: str, *want: TaskResult) -> list[Check]:
        check = Check(direction=TO_WORKER, subject=subject, uuid=sig.UUID, sent=sent, results=want)
        return exchange.send(sig, [check])

    two = exchange.signature(f"{prefix}two", number, text)
    checks = one("two results", two, "7, 'a'", result("int64", 7), result("string", "a"))
    retried = exchange.signature(f"{prefix}retry_later", arg("string", new_uuid()), arg("int64", RETRY_MS))
    checks += one("retry", retried, f"a retry after {RETRY_MS} ms", result("string", "done"))
    headers = {"verify": dump("string", "x")}
    context = exchange.signature(f"{prefix}with_ctx", number).evolve(Headers=headers)
    seen = f'{prefix}with_ctx|{{"verify":"x"}}|7'
    checks += one("headers", context, 'the header verify: "x"', result("string", seen))
    eta = gotime.format_ns(time.time_ns() + int(ETA_S * 1e9))
    delayed = exchange.signature(f"{prefix}{task_of_type('string')}", text, ETA=eta)
    checks += one("ETA", delayed, f"'a', due in {ETA_S:g} s", result("string", "a"))

    handler = exchange.signature(f"{prefix}on_error", own=True)
    failing = exchange.signature(f"{prefix}fail", arg("string", "on purpose"), OnError=(handler,))
    return checks + exchange.send(
        failing,
        [
            Check(direction=TO_WORKER, subject="failure", uuid=failing.UUID, sent="fail", error="on purpose"),
            Check(
                direction=TO_PYTHON,
                subject="OnError",
                uuid=handler.UUID,
                sent="a task that fails",
                results=(result("string", "handled:on purpose"),),
                after=failing.UUID,
            ),
        ],
    )


def workflows(exchange: Exchange, prefix: str) -> list[Check]:
    """Send a chain, a group and chords whose parts are on both sides."""
    add = exchange.app.tasks[f"{prefix}add"]
    own = exchange.own_queue
    checks: list[Check] = []

    def expect(subject: str, uuid: str, sent: str, value: int) -> None:
        want = (result("int64", value),)
        checks.append(Check(direction=WORKFLOW, subject=subject, uuid=uuid, sent=sent, results=want))

    steps = chain(add.s(1, 2), add.s(3).set(queue=own), add.s(4), add.s(5).set(queue=own))
    last = exchange.send_workflow(steps)
    # It expects the result of each step, so that the report shows the step at which a chain breaks.
    for step, value in zip(last.tasks, (3, 6, 10, 15), strict=True):
        expect("chain worker, Python, worker, Python", step.uuid, "1 + 2, + 3, + 4, + 5", value)
    members = exchange.send_workflow(group(add.s(n, 1) for n in range(4)))
    for n, member in enumerate(members.tasks):
        expect("group on the workers", member.uuid, f"{n} + 1", n + 1)
    for subject, header, body in (
        ("chord on the workers", None, None),
        ("chord with its callback in Python", None, own),
        ("chord with its members in Python", own, None),
    ):
        there = [add.s(n, 1).set(queue=header) if header else add.s(n, 1) for n in range(3)]
        last = add.s(10).set(queue=body) if body else add.s(10)
        sent = exchange.send_workflow(chord(there, last))
        expect(subject, sent.finals[-1].uuid, "0 + 1, 1 + 1, 2 + 1, and 10 more", 16)
    mixed = [add.s(n, 1).set(queue=own) if n % 2 else add.s(n, 1) for n in range(6)]
    sent = exchange.send_workflow(chord(mixed, add.s(10)))
    expect("chord with members on both sides", sent.finals[-1].uuid, "six members", 31)
    return checks
