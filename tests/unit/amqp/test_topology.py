"""Queues, arguments and routing keys by Machinery's rules, without a server."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh.config import AMQPConfig
from gearmesh.errors import ConfigError, LocalProtocolError
from gearmesh.transports.amqp.frames import QueueDeclaration, table
from gearmesh.transports.amqp.topology import (
    REPUBLISHES_WITH_CONFIRMS,
    RUNGS_MS,
    Topology,
    round_up,
    rungs_of,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "amqp.json").read_text())
DAY = 86_400
YEAR = 365 * DAY

#: Seconds that a caller may ask for: from nothing to more than ten years, in whole milliseconds or less.
delays = st.floats(0, 5 * YEAR, allow_nan=False) | st.integers(0, 10_000).map(lambda ms: ms / 1000)


def topology(**settings: Any) -> Topology:
    return Topology(AMQPConfig(**settings), "machinery_tasks")


def recorded_arguments(queue: QueueDeclaration) -> list[list[Any]]:
    """Return arguments as the recordings have them: name, the integer's type on the wire, value."""
    return sorted(
        [name, _type_of(value), value if isinstance(value, str) else int(value)]
        for name, value in queue.arguments.items()
    )


def _type_of(value: Any) -> str:
    letter = table({"": value})[5:6]
    return {b"l": "long", b"I": "signedint", b"S": "longstr"}[letter]


# -- the queues that workers read


def test_the_binding_key_leads_to_the_default_queue_and_any_other_key_to_the_queue_of_its_name() -> None:
    topo = topology()
    assert topo.target("machinery_task") == QueueDeclaration("machinery_tasks", {}, "machinery_task")
    assert topo.target("mail") == QueueDeclaration("mail", {}, "mail")


@pytest.mark.parametrize("exchange_type", ["topic", "fanout", "x-consistent-hash"])
def test_an_exchange_that_is_not_direct_needs_only_the_default_queue(exchange_type: str) -> None:
    topo = topology(exchange_type=exchange_type)
    for key in ("machinery_task", "mail", "mail.#"):
        assert topo.target(key) == QueueDeclaration("machinery_tasks", {}, "machinery_task")


def test_a_worker_binds_the_default_queue_by_the_binding_key_and_others_by_their_names() -> None:
    topo = topology(binding_key="key")
    assert topo.source("machinery_tasks") == QueueDeclaration("machinery_tasks", {}, "key")
    assert topo.source("mail") == QueueDeclaration("mail", {}, "mail")


def test_producer_and_worker_declare_a_queue_alike() -> None:
    topo = topology(
        queue_declare_args={"x-max-priority": 10}, queue_binding_args={"a": "b"}, auto_delete=True
    )
    for key, queue in (("machinery_task", "machinery_tasks"), ("mail", "mail")):
        declared = topo.target(key)
        assert declared == topo.source(queue)
        assert declared.arguments == {"x-max-priority": 10}
        assert declared.binding_arguments == {"a": "b"}
        assert declared.auto_delete is False, "the worker's queue outlives its worker"


@pytest.mark.parametrize(
    "make",
    [Topology.target, Topology.source, Topology.due, Topology.dead],
    ids=["what a producer sends to", "what a worker reads", "due", "dead letters"],
)
def test_a_queue_name_has_255_bytes_not_characters(make: Callable[[Topology, str], QueueDeclaration]) -> None:
    topo = topology()
    room = 256 - len(make(topo, "x").name)
    assert len(make(topo, "x" * room).name) == 255
    for name in ("x" * (room + 1), "é" * (room // 2 + 1)):
        with pytest.raises(ConfigError, match="RabbitMQ allows 255 bytes"):
            make(topo, name)


def test_an_empty_queue_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="queue name is ''"):
        topology().target("")


# -- delays


def test_the_one_queue_for_delayed_messages_is_declared_as_go_declares_it() -> None:
    name = GOLDEN["delayed_message_option"][0]["routing_key"]
    recorded = GOLDEN["queues_with_delayed_queue_option"][name]
    topo = topology(delayed_queue=name)
    queue = topo.delayed_queue("machinery_task")
    assert (queue.name, queue.binding_key, topo.delay_ms(1.5)) == (name, name, 1500)
    assert recorded_arguments(queue) == sorted(recorded["arguments"])


@given(delays)
def test_a_message_never_waits_shorter_than_was_asked(seconds: float) -> None:
    ms = topology().delay_ms(seconds)
    assert ms >= 1
    assert seconds * 1000 - 1e-3 <= ms < seconds * 1000 + 1 + 1e-3
    rungs = rungs_of(ms)
    assert list(rungs) == sorted(set(rungs), reverse=True), "each once, the longest first"
    assert set(rungs) <= set(RUNGS_MS)
    late = sum(rungs) - ms
    assert len(rungs) <= late < 8 + len(RUNGS_MS)


@given(st.integers(1, 5 * YEAR * 1000))
def test_each_delay_queue_may_be_one_millisecond_short(ms: int) -> None:
    rungs = rungs_of(ms)
    assert sum(rungs) - len(rungs) >= ms


def test_a_delay_passes_through_the_queues_that_add_up_to_it() -> None:
    assert rungs_of(1) == (8,)
    assert rungs_of(8) == (16,)
    assert rungs_of(1499) == (1024, 256, 128, 64, 32), "1 ms more for each of them"
    assert rungs_of(2041) == (2048,)


def test_the_delay_queues_lead_from_the_longest_to_the_shortest_and_then_out() -> None:
    queues = list(topology(exchange="swap", auto_delete=True).rungs())
    assert len(queues) == 35
    below = "gearmesh:due"
    for queue, ms in zip(queues, RUNGS_MS, strict=True):
        assert queue.name == queue.binding_key == queue.exchange == f"gearmesh:delay:{ms}"
        assert queue.arguments == {
            **REPUBLISHES_WITH_CONFIRMS,
            "x-message-ttl": ms,
            "x-dead-letter-exchange": below,
        }
        assert not queue.auto_delete, "its messages outlive all consumers"
        below = queue.name
    assert sum(RUNGS_MS) > 5 * YEAR * 1000, "the longest delay passes through them"
    assert RUNGS_MS[-1] < 10 * YEAR * 1000, "RabbitMQ takes no longer one"


def test_a_message_leaves_the_delay_queues_for_the_exchange_and_key_of_its_target() -> None:
    queue = topology(exchange="swap").due("mail")
    assert (queue.name, queue.exchange) == ("gearmesh:due:swap:mail", "gearmesh:due")
    assert queue.binding_key == queue.name
    assert queue.arguments == {
        **REPUBLISHES_WITH_CONFIRMS,
        "x-message-ttl": 0,
        "x-dead-letter-exchange": "swap",
        "x-dead-letter-routing-key": "mail",
    }


def test_delay_steps_change_nothing_any_more() -> None:
    assert topology(delay_steps=3).delay_ms(1.5) == 1500


def test_the_topology_refuses_delays_too_long_for_rabbitmq() -> None:
    with pytest.raises(LocalProtocolError, match=r"2000 days from now.*at most 1825 days"):
        topology().delay_ms(2000 * DAY)
    topo = topology(delayed_queue="later")
    assert topo.delay_ms(2000 * DAY) == 2000 * DAY * 1000
    with pytest.raises(LocalProtocolError, match="at most 3650 days"):
        topo.delay_ms(4000 * DAY)


# -- queues of gearmesh's own


@given(st.integers(1, 10**12), st.integers(1, 20))
def test_a_duration_is_rounded_up_to_the_next_step_of_the_ladder(ms: int, steps: int) -> None:
    rounded = round_up(ms, steps)
    assert rounded >= ms
    assert round_up(rounded, steps) == rounded
    # The step below is too short: so it is the next one.
    exponent = round(math.log10(rounded) * steps)
    ladder = [math.ceil(10 ** (step / steps) - 1e-9) for step in range(max(0, exponent - 1), exponent + 2)]
    assert rounded in ladder
    assert all(step < ms for step in ladder if step < rounded)


@given(delays)
def test_each_queue_in_which_a_message_may_wait_is_listed(seconds: float) -> None:
    topo = topology()
    queue = topo.parked("mail", seconds)
    ms = queue.arguments["x-message-ttl"]
    assert seconds * 1000 - 1e-3 <= ms
    assert ms <= max(1, math.ceil(seconds * 1000)) * 10**0.1 + 1
    assert (ms, queue.name) in list(topo.parking("mail"))


def test_a_parked_message_goes_straight_back_to_its_queue() -> None:
    assert topology().parked("mail", 0.05) == QueueDeclaration(
        "gearmesh:parked:51:mail",
        {
            **REPUBLISHES_WITH_CONFIRMS,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "mail",
            "x-message-ttl": 51,
        },
    )


def test_the_queues_of_parked_messages_are_listed_once_each_from_short_to_long() -> None:
    parking = list(topology().parking("mail"))
    durations = [ms for ms, _ in parking]
    assert durations == sorted(set(durations))
    assert (durations[0], durations[-1], len(durations)) == (1, 10**12, 118), (
        "docs/reference/amqp.md has the number"
    )
    assert all(name == f"gearmesh:parked:{ms}:mail" for ms, name in parking)


def test_only_of_a_queue_of_parked_messages_it_is_known_which_queue_follows() -> None:
    topo = topology()
    for queue in ("mail", "machinery_tasks"):
        assert topo.after(topo.parked(queue, 1)) == topo.source(queue)
    for other in (topo.due("mail"), *topo.rungs(), topo.dead("mail"), topo.source("mail")):
        assert topo.after(other) is None


def test_dead_letters_have_a_queue_that_is_bound_to_nothing() -> None:
    topo = topology(queue_declare_args={"x-max-priority": 10}, auto_delete=True)
    assert topo.dead("mail") == QueueDeclaration("gearmesh:dead:mail")
