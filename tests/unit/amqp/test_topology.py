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
from gearmesh.transports.amqp.frames import Int64, QueueDeclaration, table
from gearmesh.transports.amqp.topology import Topology, round_up

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
        assert declared.expires is False


@pytest.mark.parametrize(
    "make",
    [Topology.target, Topology.source, Topology.dead, Topology.sent],
    ids=["what a producer sends to", "what a worker reads", "dead letters", "a producer's notes"],
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


# -- delays in queues of Machinery's kind


def test_a_delay_queue_is_declared_as_go_declares_it() -> None:
    ((name, recorded),) = ((n, q) for n, q in GOLDEN["queues_with_delayed"].items() if n.startswith("delay."))
    ms = int(name.split(".")[1])
    queue, expiration = topology().delay("machinery_task", ms / 1000)
    assert (queue.name, expiration) == (name, "")
    assert recorded_arguments(queue) == sorted(recorded["arguments"])
    assert queue.binding_key == name
    assert queue.auto_delete is recorded["auto_delete"]
    assert queue.expires, "it has to be declared again before it expires with messages in it"


def test_the_one_queue_for_delayed_messages_is_declared_as_go_declares_it() -> None:
    name = GOLDEN["delayed_message_option"][0]["routing_key"]
    recorded = GOLDEN["queues_with_delayed_queue_option"][name]
    queue, expiration = topology(delayed_queue=name).delay("machinery_task", 1.5)
    assert (queue.name, queue.binding_key, expiration) == (name, name, "1500")
    assert recorded_arguments(queue) == sorted(recorded["arguments"])
    assert not queue.expires


@given(delays)
def test_a_message_never_waits_shorter_than_was_asked(seconds: float) -> None:
    for settings in ({}, {"delay_steps": 3}, {"delay_steps": 10}):
        queue, _ = topology(**settings).delay("mail", seconds)
        ms = queue.arguments["x-message-ttl"]
        assert isinstance(ms, Int64)
        assert ms >= 1
        assert ms >= seconds * 1000 - 1e-3
        assert queue.arguments["x-expires"] == 2 * ms
        assert queue.name == f"delay.{ms}.machinery_exchange.mail"
        if not settings:
            assert ms < seconds * 1000 + 1 + 1e-3, "nor a whole millisecond longer"


def test_delay_steps_let_many_delays_share_a_few_queues() -> None:
    topo = topology(delay_steps=10)
    names = {topo.delay("mail", ms / 1000)[0].name for ms in range(1_001, 10_001)}
    assert len(names) == 10
    assert "delay.10000.machinery_exchange.mail" in names


def test_a_step_above_the_longest_delay_is_cut_to_it() -> None:
    queue, _ = topology(delay_steps=1).delay("mail", 4 * YEAR)
    assert queue.arguments["x-message-ttl"] == 5 * YEAR * 1000
    assert queue.arguments["x-expires"] == 10 * YEAR * 1000, "RabbitMQ takes no more"


def test_what_rabbitmq_cannot_delay_for_so_long_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match=r"2000 days from now.*at most 1825 days"):
        topology().delay("mail", 2000 * DAY)
    topo = topology(delayed_queue="later")
    assert topo.delay("mail", 2000 * DAY)[1] == str(2000 * DAY * 1000)
    with pytest.raises(LocalProtocolError, match="at most 3650 days"):
        topo.delay("mail", 4000 * DAY)


def test_a_delay_queue_leads_back_through_the_exchange_of_the_settings() -> None:
    queue, _ = topology(exchange="swap", queue_binding_args={"a": "b"}, auto_delete=True).delay("mail", 2)
    assert queue.name == "delay.2000.swap.mail"
    assert queue.arguments["x-dead-letter-exchange"] == "swap"
    assert queue.arguments["x-dead-letter-routing-key"] == "mail"
    assert queue.binding_arguments == {"a": "b"}
    assert queue.auto_delete is True


def test_the_stand_in_for_a_delay_queue_keeps_the_wait_and_lives_ten_minutes_longer() -> None:
    topo = topology()
    queue, _ = topo.delay("mail", 1.5)
    stand_in = topo.lasting(queue)
    assert stand_in.name == stand_in.binding_key == "gearmesh:delay.1500.machinery_exchange.mail"
    assert stand_in.arguments == {**queue.arguments, "x-expires": 603_000}
    assert isinstance(stand_in.arguments["x-expires"], Int64)
    assert stand_in.expires


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
    queue = topo.wait("mail", seconds)
    ms = queue.arguments["x-message-ttl"]
    assert seconds * 1000 - 1e-3 <= ms
    assert ms <= max(1, math.ceil(seconds * 1000)) * 10**0.1 + 1
    assert (ms, queue.name) in list(topo.waits("mail"))


def test_a_waiting_message_goes_straight_back_to_its_queue() -> None:
    queue = topology().wait("mail", 0.05)
    assert queue == QueueDeclaration(
        "gearmesh:wait:51:mail",
        {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "mail",
            "x-message-ttl": 51,
            "x-expires": 600_102,
        },
        expires=True,
    )
    assert not isinstance(queue.arguments["x-message-ttl"], Int64), "the type is a part of the declaration"


def test_the_wait_queues_of_a_queue_are_listed_once_each_from_short_to_long() -> None:
    waits = list(topology().waits("mail"))
    durations = [ms for ms, _ in waits]
    assert durations == sorted(set(durations))
    assert (durations[0], durations[-1]) == (1, 10**12)
    assert all(name == f"gearmesh:wait:{ms}:mail" for ms, name in waits)


def test_only_of_a_wait_queue_it_is_known_which_queue_follows() -> None:
    topo = topology()
    for queue in ("mail", "machinery_tasks"):
        assert topo.after(topo.wait(queue, 1)) == topo.source(queue)
    for other in (topo.delay("mail", 1)[0], topo.dead("mail"), topo.sent("me"), topo.source("mail")):
        assert topo.after(other) is None


def test_dead_letters_and_notes_of_producers_have_queues_that_are_bound_to_nothing() -> None:
    topo = topology(queue_declare_args={"x-max-priority": 10}, auto_delete=True)
    assert topo.dead("mail") == QueueDeclaration("gearmesh:dead:mail")
    assert topo.sent("me") == QueueDeclaration(
        "gearmesh:sent:me", {"x-max-length": 1, "x-expires": 600_000}, expires=True
    )


@given(st.floats(0, 2e6, allow_nan=False))
def test_a_second_copy_outlives_the_wait_of_the_first(seconds: float) -> None:
    topo = topology()
    queue = topo.spare(seconds)
    if math.ceil(seconds * 1000) > 10**9:
        assert queue is None
        return
    assert queue is not None
    listed = list(topo.spares())
    assert queue in listed
    assert queue.arguments["x-message-ttl"] >= seconds * 1000 + 600_000 - 1
    assert queue.arguments["x-expires"] > queue.arguments["x-message-ttl"]
    for shorter in listed[: listed.index(queue)]:
        assert shorter.arguments["x-message-ttl"] < seconds * 1000 + 600_000, "the next longer one is taken"


def test_the_queues_of_second_copies_are_bounded() -> None:
    queues = list(topology().spares())
    assert [queue.name for queue in queues] == [f"gearmesh:spare:{10**power}" for power in range(1, 7)]
    for queue in queues:
        assert queue.arguments["x-queue-type"] == "classic"
        assert queue.arguments["x-max-length"] == 10_000
        assert queue.arguments["x-max-length-bytes"] == 1 << 28
        assert queue.binding_key == ""
