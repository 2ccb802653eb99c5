"""The rows of the table of scenarios that have another form where RabbitMQ is the broker."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

from .scenarios import SCENARIOS, Differs, Json, Scenario, Side, Step, call, i64, sig, state

Backend = Literal["amqp", "redis"]

#: Rows whose workers read other queues than the default one: Go's would take the others' tasks.
ALONE = frozenset({"custom queue"})

_REFUSED: Json = {"OK": False}

_HEADERS = Scenario(
    name="headers",
    steps=(
        Step(
            ask=call(sig("with_ctx", i64(1), Headers={"b": "x", "c": True})),
            want={"OK": True, "Results": ['with_ctx|{"b":"x","c":true}|1']},
        ),
        Step(
            ask=call(sig("with_ctx", i64(1), Headers={"a": 1})),
            want={"OK": True, "Results": ['with_ctx|{"a":1}|1']},
        ),
    ),
    differs=(
        Differs(
            end="client",
            side="go",
            step=1,
            want=_REFUSED,
            why="Go can't publish a header that is a number: json.Number not supported",
        ),
    ),
)

_DELAYED = Scenario(
    name="delayed",
    steps=(
        Step(ask={"Op": "send", "Sig": sig("add", i64(1), ETA="{in:900}")}, want={"OK": True}),
        # RabbitMQ cannot list the delay queues that the message may be in.
        Step(ask={"Op": "delayed"}, want=_REFUSED),
        # The queue's x-expires is twice the delay, so it would exceed RabbitMQ's limit of 2^32 ms.
        Step(
            ask={"Op": "send", "Sig": sig("add", i64(1), ETA="2036-01-01T00:00:00Z")},
            want=_REFUSED,
        ),
    ),
)

_CUSTOM_QUEUE = Scenario(
    name="custom queue",
    worker=("-custom-queue", "{other}"),
    steps=(
        Step(
            ask=call(
                sig("add", i64(1), RoutingKey="{other}", OnSuccess=[sig("add", i64(1), UUID="{id:next}")])
            ),
            want={"OK": True, "Results": [1]},
        ),
        Step(ask=state("next"), want={"OK": True, "State": "PENDING"}, until=True),
        Step(ask={"Op": "pending", "Queue": "{queue}"}, want={"OK": True, "N": 1}, until=True),
    ),
    differs=(
        Differs(
            end="worker",
            side="go",
            step=1,
            want={"OK": True, "State": "SUCCESS"},
            why="Go binds the custom queue with the default queue's key as well: it runs every default task",
        ),
        Differs(
            end="worker",
            side="go",
            step=2,
            want={"OK": True},
            why="the default queue is there only if a worker has declared it",
        ),
    ),
)

_ROWS = {row.name: row for row in (_HEADERS, _DELAYED, _CUSTOM_QUEUE)}

#: The table.
TABLE: tuple[Scenario, ...] = tuple(_ROWS.get(row.name, row) for row in SCENARIOS)


def steps_for(scenario: Scenario, backend: Backend, client: Side, worker: Side) -> list[tuple[Step, Json]]:
    """As :meth:`Scenario.steps_for`. Go's groups in RabbitMQ have no order but the one in which members ended."""
    steps = scenario.steps_for(client, worker)
    if backend == "redis" or (client, worker) == ("python", "python"):
        return steps
    if scenario.name == "chord gives its members' order":
        ((step, want),) = steps
        return [(replace(step, check=_same_members), {"OK": want["OK"]})]
    if scenario.name == "group" and client == "go":
        first, (step, want) = steps
        return [first, (replace(step, check=_all_there), want)]
    return steps


def _same_members(answer: Json) -> None:
    (text,) = answer["Results"]
    words = text.removeprefix("handled:").split(",")
    assert (words[0], sorted(words[1:])) == ("0", list("abcdef")), text


def _all_there(answer: Json) -> None:
    states = json.loads(answer["Raw"])
    assert sorted(each["Results"][0]["Value"] for each in states) == list(range(5))
