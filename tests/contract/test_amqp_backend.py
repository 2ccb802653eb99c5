"""The backend contract on a real RabbitMQ, and tests of its own layout."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import amqp
import pytest
from tests.support.servers import RabbitServer

from gearmesh.backends.amqp import AMQPBackend
from gearmesh.backends.registry import open_backend as open_url
from gearmesh.config import AMQPConfig
from gearmesh.errors import BackendError, ConfigError, Unstorable
from gearmesh.interfaces.backend import Backend
from gearmesh.testing.contracts import BackendContract
from gearmesh.testing.contracts.store import an_int, make_state
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.wire.codec import decode_state
from gearmesh.wire.names import group_meta_queue
from gearmesh.wire.state import FAILURE, PENDING, RECEIVED, STARTED, SUCCESS, GroupMeta

from .amqp_backends import Open, queues, vhost
from .go_amqp import GoSide, body

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "amqp.json").read_text())


@pytest.fixture
def backend(open_amqp: Open) -> AMQPBackend:
    return open_amqp()


@pytest.fixture
def go(amqp_url: str) -> GoSide:
    return GoSide(amqp_url)


class TestAMQPBackend(BackendContract):
    merges = False
    lacks = frozenset({"claims", "reports", "revocations", "searching", "yielding"})
    large = 400
    each = 8

    @pytest.fixture
    def open_backend(self, amqp_url: str) -> Callable[..., Backend]:
        return lambda *, expire=3600: open_url(amqp_url, expire=expire)


# --- the layout -----------------------------------------------------------------------------------


def test_queues_and_messages_are_as_recorded(
    backend: AMQPBackend, go: GoSide, rabbitmq_server: RabbitServer, amqp_url: str
) -> None:
    """Byte for byte, and to the last type of an argument."""
    ((uuid, recorded),) = GOLDEN["state_messages_after_success"].items()
    for message in recorded:
        backend.write([decode_state(message["body"].encode())])
    backend.count([("group_x", decode_state(recorded[-1]["body"].encode()))])
    theirs = GOLDEN["queues_after_success"][uuid]
    theirs["arguments"].sort()
    ours = queues(rabbitmq_server, amqp_url)
    assert ours == {uuid: theirs, "group_x": theirs | {"messages": 1}}
    columns = (
        "source_name",
        "source_kind",
        "destination_name",
        "destination_kind",
        "routing_key",
        "arguments",
    )
    bindings = rabbitmq_server.listing("bindings", *columns, vhost=vhost(amqp_url))
    bound = [row for row in bindings if row["destination_name"] == uuid]
    theirs = [
        row for row in GOLDEN["bindings"] if row["destination_name"] == row["routing_key"] == _first_task()
    ]
    named = [{key: uuid if value == _first_task() else value for key, value in row.items()} for row in theirs]
    assert sorted(bound, key=str) == sorted(named, key=str)
    with go.channel() as channel:
        for message in recorded:
            got = channel.basic_get(uuid)
            properties = {key: value for key, value in got.properties.items() if value is not None}
            assert (got.delivery_info["exchange"], got.delivery_info["routing_key"]) == (
                message["exchange"],
                message["routing_key"],
            )
            assert properties == message["properties"]
            assert body(got).decode() == message["body"]


def _first_task() -> str:
    found = GOLDEN["publish_plain"]["UUIDs"][0]
    assert isinstance(found, str)
    return found


def test_an_exchange_and_its_type_are_settings(amqp_url: str, open_amqp: Open) -> None:
    backend = open_amqp(amqp=AMQPConfig(exchange="mine", exchange_type="topic"))
    backend.write([make_state("task_1")])
    assert backend.read(["task_1"]) == [make_state("task_1")]
    with GoSide(amqp_url).channel() as channel:
        channel.exchange_declare("mine", "topic", durable=True, auto_delete=False, passive=True)
        with pytest.raises(amqp.NotFound):
            channel.exchange_declare("machinery_exchange", "direct", passive=True)


def test_a_fanout_exchange_gets_no_states(amqp_url: str, open_amqp: Open) -> None:
    """Every queue that is bound to it would get them all."""
    backend = open_amqp(amqp=AMQPConfig(exchange_type="fanout"))
    with GoSide(amqp_url).channel() as channel:
        channel.exchange_declare("machinery_exchange", "fanout", durable=True, auto_delete=False)
        channel.queue_declare("machinery_tasks", durable=True, auto_delete=False)
        channel.queue_bind("machinery_tasks", "machinery_exchange", "machinery_task")
        backend.write([make_state("task_1"), make_state("task_2")])
        assert backend.read(["task_1", "task_2"]) == [make_state("task_1"), make_state("task_2")]
        assert channel.queue_declare("machinery_tasks", passive=True).message_count == 0


def test_the_backend_refuses_an_expiry_beyond_int32_milliseconds(open_amqp: Open) -> None:
    with pytest.raises(ConfigError, match=r"results_expire_in is 2147484.*at most 2147483 seconds"):
        open_amqp(expire=2_147_484)


def test_nothing_is_made_by_looking(
    backend: AMQPBackend, rabbitmq_server: RabbitServer, amqp_url: str
) -> None:
    assert backend.read(["task_none", "task_none_either"]) == [None, None]
    assert backend.read_group("group_none") is None
    assert backend.gather("group_none", 1, "task_none", False) is False
    assert queues(rabbitmq_server, amqp_url) == {}


def test_missing_queues_among_others(backend: AMQPBackend) -> None:
    """A missing queue is an error of the whole channel: the others' states must come through."""
    here = [f"task_{n}" for n in range(300)]
    backend.write([make_state(uuid) for uuid in here])
    backend.write([make_state(uuid, STARTED) for uuid in here[::3]])
    asked = [uuid for n, uuid in enumerate(here) for uuid in ([uuid, f"none_{n}"] if n % 50 == 7 else [uuid])]
    for _ in range(2):
        found = dict(zip(asked, backend.read(asked), strict=True))
        assert {uuid for uuid, state in found.items() if state is None} == {
            uuid for uuid in asked if uuid.startswith("none_")
        }
        for n, uuid in enumerate(here):
            state = found[uuid]
            assert state is not None
            assert state.State == (PENDING if n % 3 else STARTED)


# --- beside Go's callers --------------------------------------------------------------------------


def test_go_reads_the_states_that_python_writes(backend: AMQPBackend, go: GoSide) -> None:
    states = [make_state("task_1"), make_state("task_1", STARTED), make_state("task_1", SUCCESS, Results=())]
    backend.write(states)
    assert [go.poll("task_1") for _ in range(4)] == [*states, None]


def test_python_reads_go_s_final_state_and_leaves_it_in_place(
    backend: AMQPBackend, go: GoSide, open_amqp: Open
) -> None:
    done = make_state("task_1", SUCCESS, Results=(an_int(3),))
    for state in (make_state("task_1"), make_state("task_1", RECEIVED), make_state("task_1", STARTED), done):
        go.set(state)
    assert backend.read(["task_1"]) == [done]
    assert open_amqp().read(["task_1"]) == [done]
    assert (
        go.poll("task_1") == done
    )  # Go finds the final state only: the backend has removed the earlier ones
    assert go.poll("task_1") is None


def test_a_backend_remembers_states_that_go_has_consumed(
    backend: AMQPBackend, go: GoSide, open_amqp: Open
) -> None:
    done = make_state("task_1", FAILURE, Error="no")
    go.set(make_state("task_2", STARTED))
    go.set(done)
    assert backend.read(["task_1", "task_2"]) == [done, make_state("task_2", STARTED)]
    assert go.poll("task_1") == done
    assert go.poll("task_2") == make_state("task_2", STARTED)
    assert backend.read(["task_1", "task_2"]) == [done, make_state("task_2", STARTED)]
    assert open_amqp().read(["task_1", "task_2"]) == [None, None], "Go has consumed the states"
    go.delete("task_1")
    go.delete("task_2")
    assert backend.read(["task_1", "task_2"]) == [done, None], "an unfinished state may have changed since"


def test_a_late_start_is_no_step_back(go: GoSide, backend: AMQPBackend) -> None:
    done = make_state("task_1", SUCCESS, Results=())
    for state in (make_state("task_1"), done, make_state("task_1", STARTED)):
        go.set(state)
    assert backend.read(["task_1"]) == [done]
    assert go.poll("task_1") == done


def test_another_expiry_is_lived_with(
    amqp_url: str, backend: AMQPBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """RabbitMQ refuses to declare a queue with other arguments than it has."""
    other = GoSide(amqp_url, expire=60)
    for n in range(3):
        other.set(make_state(f"task_{n}"))
    started = [make_state(f"task_{n}", STARTED) for n in range(5)]
    with caplog.at_level(logging.WARNING, "gearmesh.amqp"):
        backend.write(started)
        backend.write(started)
    assert backend.read([f"task_{n}" for n in range(5)]) == started
    (record,) = caplog.records
    assert "results_expire_in is 3600 s here" in record.getMessage()


def test_a_queue_that_expired_comes_again(backend: AMQPBackend, go: GoSide) -> None:
    """A task that ran longer than its results live: its last state finds no queue."""
    backend.write([make_state("task_1")])
    go.delete("task_1")
    backend.write([make_state("task_1", SUCCESS, Results=())])
    assert go.poll("task_1") == make_state("task_1", SUCCESS, Results=())


def test_a_deleted_exchange_comes_again(backend: AMQPBackend, go: GoSide) -> None:
    backend.write([make_state("task_1")])
    with go.channel() as channel:
        channel.exchange_delete("machinery_exchange")
        channel.exchange_delete("gearmesh:done")
    backend.write([make_state("task_1", SUCCESS, Results=())])
    backend.write([make_state("task_2")])
    assert backend.read(["task_1", "task_2"]) == [
        make_state("task_1", SUCCESS, Results=()),
        make_state("task_2"),
    ]


def test_a_user_who_may_not_announce_may_do_all_else(
    open_amqp: Open, rabbitmq_server: RabbitServer, amqp_url: str
) -> None:
    """A user with rights to Machinery's names only."""
    machinery = '<<"^(machinery_|task_|group_).*">>'
    rabbitmq_server.evaluate(
        f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{vhost(amqp_url)}">>, '
        f'{machinery}, {machinery}, {machinery}, <<"test">>).'
    )
    backend = open_amqp()
    told: list[str] = []
    stop = backend.watch(lambda succeeded, failed, states: told.extend(succeeded))
    backend.write([make_state("task_1"), make_state("task_1", SUCCESS, Results=())])
    assert backend.read(["task_1"]) == [make_state("task_1", SUCCESS, Results=())]
    with pytest.raises(BackendError, match="access to queue 'gearmesh:meta:group_1'"):
        backend.create_group(GroupMeta(GroupUUID="group_1"))
    stop()
    assert told == []


def test_a_lost_listener_listens_again(
    backend: AMQPBackend, open_amqp: Open, rabbitmq_server: RabbitServer
) -> None:
    told: list[str] = []
    stop = open_amqp().watch(lambda succeeded, failed, states: told.extend(succeeded))

    def announced(uuid: str) -> bool:
        with suppress(*backend.connection_errors):
            backend.write([make_state(uuid, SUCCESS)])
        return uuid in told

    eventually(lambda: announced("task_1"))
    rabbitmq_server.close_connections()
    eventually(lambda: announced("task_2"))
    stop()


def test_the_error_names_the_uuid_of_an_unreadable_stored_value(backend: AMQPBackend, go: GoSide) -> None:
    backend.write([make_state("task_1")])
    for queue, name in (("task_1", "task_1"), (group_meta_queue("group_1"), "group_1")):
        with go.channel() as channel:
            channel.queue_declare(group_meta_queue("group_1"), durable=False, auto_delete=False)
            channel.basic_publish(amqp.Message(b"nonsense"), "", queue)
        with pytest.raises(BackendError, match=f"{name}: the stored value is no"):
            backend.read_group("group_1") if name == "group_1" else backend.read([name])


# --- connections ----------------------------------------------------------------------------------


def test_connections_are_kept(backend: AMQPBackend, rabbitmq_server: RabbitServer, amqp_url: str) -> None:
    for n in range(20):
        backend.write([make_state(f"task_{n}")])
        assert backend.read([f"task_{n}"]) == [make_state(f"task_{n}")]
    listed = rabbitmq_server.ctl("list_connections", "vhost", "pid").splitlines()
    assert sum(line.startswith(f"{vhost(amqp_url)}\t") for line in listed) == 1


def test_a_connection_that_was_closed_is_not_used_again(
    backend: AMQPBackend, rabbitmq_server: RabbitServer
) -> None:
    backend.write([make_state("task_1")])
    rabbitmq_server.close_connections()
    eventually(lambda: "running" not in rabbitmq_server.ctl("list_connections", "state"))
    assert backend.read(["task_1"]) == [make_state("task_1")]


def test_a_connection_that_breaks_is_the_callers_to_try_again(
    open_amqp: Open, make_proxy: Callable[..., Proxy], rabbitmq_server: RabbitServer, amqp_url: str
) -> None:
    proxy = make_proxy(rabbitmq_server.port)
    backend = open_amqp(url=amqp_url.replace(f":{rabbitmq_server.port}/", f":{proxy.port}/"))
    backend.write([make_state("task_1")])
    proxy.lose_replies(1)
    with pytest.raises(backend.connection_errors):
        backend.read(["task_1"])
    assert backend.read(["task_1"]) == [make_state("task_1")]
    proxy.refuse()
    proxy.cut()
    with pytest.raises(backend.connection_errors):
        backend.read(["task_1"])
    proxy.allow()
    assert backend.read(["task_1"]) == [make_state("task_1")]


def test_a_forked_child_has_its_own_connections(backend: AMQPBackend) -> None:
    backend.write([make_state("task_1")])
    pid = os.fork()
    if not pid:
        status = 1
        try:
            backend.write([make_state("task_1", STARTED)])
            status = 0 if backend.read(["task_1"]) == [make_state("task_1", STARTED)] else 2
        finally:
            os._exit(status)
    backend.write([make_state("task_2")])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert backend.read(["task_1", "task_2"]) == [make_state("task_1", STARTED), make_state("task_2")]


def test_a_state_that_is_too_large_is_named(open_amqp: Open, rabbitmq_server: RabbitServer) -> None:
    rabbitmq_server.evaluate("application:set_env(rabbit, max_message_size, 100000).")
    try:
        backend = open_amqp()
        backend.write([make_state("task_1"), make_state("task_2")])
        large = make_state("task_1", FAILURE, Error="x" * 100_000)
        with pytest.raises(Unstorable, match=r"task_1 can't be stored: .*max_message_size") as refused:
            backend.write([make_state("task_2", SUCCESS, Results=()), large])
        assert refused.value.uuid == "task_1"
        backend.write([make_state("task_1", FAILURE, Error=refused.value.reason)])
        assert [state and state.State for state in backend.read(["task_1", "task_2"])] == [FAILURE, SUCCESS]
    finally:
        rabbitmq_server.evaluate("application:set_env(rabbit, max_message_size, 134217728).")


def test_a_refusal_is_no_connection_trouble(backend: AMQPBackend) -> None:
    """A name that RabbitMQ keeps for itself."""
    with pytest.raises(BackendError, match="RabbitMQ refuses"):
        backend.write([make_state("amq.mine")])
    backend.write([make_state("task_1")])
    assert backend.read(["task_1"]) == [make_state("task_1")]
