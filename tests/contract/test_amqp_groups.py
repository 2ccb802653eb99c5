"""Groups on a real RabbitMQ, whose members are counted, beside workers of Go's that count as well."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import amqp
import msgspec
import pytest
from tests.support.servers import RabbitServer

from gearmesh.backends.amqp import AMQPBackend
from gearmesh.backends.amqp.group_claims import GO_TAKE_TIMEOUT_S
from gearmesh.commits.flusher import Flusher
from gearmesh.errors import BackendError, ChordBusy
from gearmesh.interfaces.commit import ChordCheck, Commit, Member, Publish, Settle, Trigger
from gearmesh.testing.contracts.store import CREATED, race
from gearmesh.testing.contracts.support import Tap, signature
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.names import chord_triggered_queue, group_lock_queue, group_meta_queue
from gearmesh.wire.state import GroupMeta, TaskState

from .amqp_backends import Open, queues, success, vhost
from .go_amqp import GoSide


@pytest.fixture
def backend(open_amqp: Open) -> AMQPBackend:
    return open_amqp()


@pytest.fixture
def go(amqp_url: str) -> GoSide:
    return GoSide(amqp_url)


def a_group(count: int) -> tuple[str, list[str]]:
    return f"group_{uuid4()}", [f"task_{uuid4()}" for _ in range(count)]


def add(backend: AMQPBackend, group: str, members: list[str], uuid: str) -> bool:
    """Do as a committer does for a member that has ended; True: it has all in hand."""
    assert backend.counted(group, uuid, False) is False
    return asked(backend, group, members, uuid, own=success(uuid))


def asked(
    backend: AMQPBackend,
    group: str,
    members: list[str],
    uuid: str,
    *,
    again: bool = False,
    own: TaskState | None = None,
) -> bool:
    """Return the answer of ``gather``, repeated until no other worker may be about to take the group."""
    while True:
        try:
            return backend.gather(group, len(members), uuid, again, own)
        except ChordBusy:
            own = None  # the backend has counted it
            time.sleep(0.003)


def end(backend: AMQPBackend, group: str, members: list[str], uuid: str) -> list[TaskState] | None:
    """Do all that follows a member's success; return the states for the callback, None if it is not sent."""
    if not add(backend, group, members, uuid):
        return None
    states = backend.gathered(group, uuid)
    won = backend.trigger(group, uuid)
    backend.release_group(group, uuid, won)
    return states if won else None


# --- all in hand ----------------------------------------------------------------------------------


def test_the_last_member_gathers_all(
    backend: AMQPBackend, open_amqp: Open, rabbitmq_server: RabbitServer, amqp_url: str
) -> None:
    group, members = a_group(3)
    backend.create_group(GroupMeta(GroupUUID=group, TaskUUIDs=tuple(members), CreatedAt=CREATED))
    for uuid in reversed(members):
        assert add(backend, group, members, uuid) is (uuid == members[0])
        assert backend.counted(group, uuid, True) is True, "this process has counted it"
    assert open_amqp().gather(group, 3, members[1], False) is False, "another worker holds the members"
    assert backend.gather(group, 3, members[1], False) is False
    assert backend.gather(group, 3, members[0], False) is True, "the worker that holds the members asks again"
    assert backend.gather(group, 3, members[0], False, success(members[0])) is True
    assert backend.gathered(group, members[1]) is None
    assert backend.gathered(group, members[0]) == [success(uuid) for uuid in members], "in their order"
    assert backend.trigger(group, members[0]) is True
    backend.release_group(group, members[0], True)
    backend.release_group(group, members[0], True)
    assert backend.gather(group, 3, members[0], False) is False
    assert set(queues(rabbitmq_server, amqp_url)) == {chord_triggered_queue(group)}


def test_a_group_of_gos_is_gathered_as_it_ended(backend: AMQPBackend, go: GoSide) -> None:
    group, members = a_group(4)
    for uuid in (members[2], members[0], members[3]):
        go.set(success(uuid), group)
    assert add(backend, group, members, members[1]) is True
    assert backend.gathered(group, members[1]) == [success(members[n]) for n in (2, 0, 3, 1)]
    assert go.complete(group, 0), "Go sees no members while this worker holds them"
    backend.release_group(group, members[1], False)
    assert go.complete(group, 4), "all members, also the last one, are back in the queue"


def test_a_meta_that_a_distant_reader_holds_is_awaited(backend: AMQPBackend, open_amqp: Open) -> None:
    """Without the meta a chord's callback would get the results in another order."""
    group, members = a_group(2)
    meta = GroupMeta(GroupUUID=group, TaskUUIDs=members)
    backend.create_group(meta)
    with open_amqp()._parts.get().pool.lend() as reader:
        (held,) = reader.channel.take_all(group_meta_queue(group), 1)
        gives_back = threading.Timer(
            0.2, reader.channel.basic_reject, (held.tag, True)
        )  # a round trip of 0.2 s
        gives_back.start()
        found = backend.read_group(group)
        gives_back.join()
    assert found is not None
    assert list(found.TaskUUIDs) == members


def test_a_group_of_one(backend: AMQPBackend) -> None:
    group, members = a_group(1)
    assert end(backend, group, members, members[0]) == [success(members[0])]


def test_a_large_group(backend: AMQPBackend) -> None:
    group, members = a_group(1000)
    backend.count([(group, success(uuid)) for uuid in members[:-1]])
    assert end(backend, group, members, members[-1]) == [success(uuid) for uuid in members]


def test_a_worker_gathers_again_after_a_lost_connection(
    backend: AMQPBackend, open_amqp: Open, rabbitmq_server: RabbitServer
) -> None:
    group, members = a_group(5)
    backend.count([(group, success(uuid)) for uuid in members])
    assert asked(backend, group, members, members[0]) is True
    rabbitmq_server.close_connections()
    with pytest.raises(backend.connection_errors):
        backend.trigger(group, members[0])
    assert backend.gathered(group, members[0]) is None
    assert eventually(lambda: triggered(backend, group, members[0])), "the backend gathers the members again"
    assert backend.gathered(group, members[0]) == [success(uuid) for uuid in members]
    rabbitmq_server.close_connections()
    other = open_amqp()
    assert eventually(lambda: asked(other, group, members, members[3])) is True
    assert other.trigger(group, members[3]) is False, "the first one has taken it, and comes again"
    other.release_group(group, members[3], False)
    again = open_amqp()
    assert asked(again, group, members, members[0], again=True) is True
    assert again.trigger(group, members[0]) is True
    again.release_group(group, members[0], True)
    with pytest.raises(backend.connection_errors):
        backend.trigger(group, members[0])
    assert backend.trigger(group, members[0]) is False, "a late worker finds no trigger"


def triggered(backend: AMQPBackend, group: str, by: str) -> bool:
    try:
        return backend.trigger(group, by)
    except ChordBusy:
        return False


@pytest.mark.parametrize("step", ["gather", "trigger"])
def test_the_last_state_is_kept_over_a_lost_connection(
    step: str, backend: AMQPBackend, rabbitmq_server: RabbitServer
) -> None:
    """The last state is not in the group's queue yet; only this process has it."""
    group, members = a_group(3)
    for uuid in members[:2]:
        assert add(backend, group, members, uuid) is False
    assert add(backend, group, members, members[2]) is True
    rabbitmq_server.close_connections()

    def once_more() -> bool:
        try:
            if step == "gather":
                return backend.gather(group, 3, members[2], False)
            return backend.trigger(group, members[2])
        except backend.connection_errors:
            return False

    assert eventually(once_more)
    assert backend.gathered(group, members[2]) == [success(uuid) for uuid in members]


def test_groups_that_expire_otherwise(backend: AMQPBackend, open_amqp: Open, go: GoSide) -> None:
    """RabbitMQ refuses to declare them; nothing is added twice where it is tried again."""
    group, members = a_group(3)
    usual, _ = a_group(2)
    open_amqp(expire=60).count([(group, success(members[0]))])
    backend.count([(usual, success("task_usual")), (group, success(members[1]))])
    assert go.complete(usual, 1)
    assert go.complete(group, 2)
    assert end(backend, group, members, members[2]) == [success(uuid) for uuid in members]


def test_a_chord_is_busy_until_rabbitmq_has_requeued_its_members(
    backend: AMQPBackend, rabbitmq_server: RabbitServer, amqp_url: str
) -> None:
    """Our end of a connection is gone, and RabbitMQ has not noticed: the group is locked, and looks empty."""
    group, members = a_group(3)
    for uuid in members[:2]:
        assert add(backend, group, members, uuid) is False
    assert add(backend, group, members, members[2]) is True
    rabbitmq_server.close_connections()
    with GoSide(amqp_url).channel() as channel:  # it stands for the other end
        eventually(lambda: channel.queue_declare(group, passive=True).message_count == 2)
        eventually(lambda: not locked(channel, group))
        held = [channel.basic_get(group) for _ in range(2)]
        assert None not in held
        with pytest.raises(backend.connection_errors):
            backend.trigger(group, members[2])
        for _ in range(3):
            with pytest.raises(ChordBusy, match="not requeued yet"):
                backend.trigger(group, members[2])
            with pytest.raises(ChordBusy, match="not requeued yet"):
                backend.gather(group, 3, members[2], False)
    assert eventually(lambda: triggered(backend, group, members[2]))
    assert backend.gathered(group, members[2]) == [success(uuid) for uuid in members]


def locked(channel: Any, group: str) -> bool:
    """Try to take the lock of a group; return True if another connection has it."""
    try:
        channel.queue_declare(group_lock_queue(group), exclusive=True, auto_delete=False)
    except amqp.ResourceLocked:
        return True
    return False


def test_a_worker_that_may_not_lock_a_group_counts(
    open_amqp: Open, go: GoSide, rabbitmq_server: RabbitServer, amqp_url: str
) -> None:
    """A user with rights to Machinery's names only: its members cannot fire, those of Go's can."""
    machinery = '<<"^(machinery_|task_|group_).*">>'
    rabbitmq_server.evaluate(
        f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{vhost(amqp_url)}">>, '
        f'{machinery}, {machinery}, {machinery}, <<"test">>).'
    )
    backend = open_amqp()
    group, members = a_group(3)
    for n, uuid in enumerate(members[:2], 1):
        with pytest.raises(BackendError, match="access to queue 'gearmesh:lock:group_"):
            add(backend, group, members, uuid)
        assert go.complete(group, n)
    states = go.end_member(success(members[2]), group, 3)
    assert states is not None
    assert len(states) == 3


def test_a_delivery_that_is_lost_lets_its_group_go(
    backend: AMQPBackend, open_amqp: Open, amqp_url: str
) -> None:
    """The next one that gets it gathers the group; meanwhile the lock must not stay with the one that lost it."""
    group, members = a_group(2)
    assert add(backend, group, members, members[0]) is False
    consumer = Tap(open_connection(amqp_url), ("machinery_tasks",), 0)
    other = Tap(open_connection(amqp_url), (), 0)
    consumer.publish("machinery_tasks", signature("machinery_tasks"))
    (message,) = consumer.take(1)
    ended = Commit(
        states=(success(members[1]),),
        settle=Settle(message.delivery),
        member=Member(group, members[1]),
        chord=ChordCheck(group, 2),
    )
    assert Flusher(consumer.verbs, backend).flush([ended]) == ["complete"]
    with pytest.raises(ChordBusy):
        open_amqp().counted(group, members[1], True)
    consumer.close()
    fire = msgspec.structs.replace(ended, states=(), chord=None, trigger=Trigger(group, members[1]))
    assert Flusher(other.verbs, backend).flush([fire]) == ["lost"]
    again = open_amqp()
    assert again.counted(group, members[1], True) is True
    assert asked(again, group, members, members[1], again=True) is True
    other.close()


def test_the_flusher_still_owes_commits_that_it_has_not_written(
    backend: AMQPBackend, open_amqp: Open, make_proxy: Callable[..., Proxy], rabbitmq_server: RabbitServer,
    amqp_url: str,
) -> None:  # fmt: skip
    """A flush breaks off after its states were written, except those of a member whose group is in other hands."""
    group, members = a_group(1)
    assert add(open_amqp(), group, members, members[0]) is True
    proxy = make_proxy(rabbitmq_server.port)
    tap = Tap(open_connection(amqp_url.replace(f":{rabbitmq_server.port}/", f":{proxy.port}/")), (), 0)
    flusher = Flusher(tap.verbs, backend)
    busy = Commit(states=(success(members[0]),), member=Member(group, members[0], True))
    plain = Commit(states=(success("task_plain"),), publishes=(Publish("machinery_tasks", b"{}"),))
    assert flusher.flush([busy, plain]) == ["retry_all", "done"]
    proxy.refuse()
    proxy.cut()
    with pytest.raises(tap.connection.connection_errors):
        flusher.flush([busy, plain])
    assert flusher.remaining([busy, plain]) == [busy, msgspec.structs.replace(plain, states=())]
    tap.close()


# --- members that come again ----------------------------------------------------------------------


def test_a_redelivered_member_is_counted_once(backend: AMQPBackend, open_amqp: Open, go: GoSide) -> None:
    group, members = a_group(300)
    backend.count([(group, success(uuid)) for uuid in members[:-1]])
    other = open_amqp()
    assert other.counted(group, members[7], True) is True
    assert other.counted(group, members[-1], True) is False
    assert other.counted("group_none", members[7], True) is False
    eventually(lambda: go.complete(group, 299), what="that looking has put all back")


def test_a_second_message_of_a_member_is_dropped(backend: AMQPBackend, go: GoSide) -> None:
    """Two of three, one of them twice: as many messages as members, and not complete."""
    group, members = a_group(3)
    for uuid in (members[0], members[0], members[1]):
        go.set(success(uuid), group)
    assert asked(backend, group, members, members[1]) is False
    assert go.complete(group, 2), "and Go counts right again"
    assert add(backend, group, members, members[2]) is True


def test_a_worker_that_holds_the_members_is_not_disturbed(backend: AMQPBackend, open_amqp: Open) -> None:
    group, members = a_group(1)
    assert add(backend, group, members, members[0]) is True
    other = open_amqp()
    with pytest.raises(ChordBusy, match=group):
        other.counted(group, members[0], True)
    with pytest.raises(ChordBusy, match=group):
        other.counted(group, "task_other", True)
    backend.close()  # as if its process had died
    assert eventually(lambda: not_busy(other, group, members[0]))
    assert other.counted(group, members[0], True) is False, "the claim ended with its process"
    assert other.gather(group, 1, members[0], True, success(members[0])) is True


def not_busy(backend: AMQPBackend, group: str, uuid: str, members: int = 0) -> bool:
    try:
        backend.counted(group, uuid, True, members)
    except ChordBusy:
        return False
    return True


def test_a_count_without_an_answer_is_looked_up(
    open_amqp: Open, make_proxy: Callable[..., Proxy],
    rabbitmq_server: RabbitServer, amqp_url: str,
) -> None:  # fmt: skip
    proxy = make_proxy(rabbitmq_server.port)
    far = open_amqp(url=amqp_url.replace(f":{rabbitmq_server.port}/", f":{proxy.port}/"))
    group, members = a_group(2)
    far.count([(group, success(members[0]))])
    proxy.lose_replies(1)
    with pytest.raises(far.connection_errors):
        far.count([(group, success(members[1]))])
    assert proxy.lost == 1
    assert far.counted(group, members[1], False) is True, "it has looked"
    assert asked(far, group, members, members[1]) is True


# --- beside Go ------------------------------------------------------------------------------------


def test_go_does_not_see_the_last_member(backend: AMQPBackend, go: GoSide) -> None:
    """Go: a worker that has once counted all members deletes the queue, even if it then reads fewer."""
    group, members = a_group(4)
    for uuid in members[:3]:
        go.set(success(uuid), group)
    seen: list[bool] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(go.complete(group, 4))

    watcher = threading.Thread(target=watch)
    watcher.start()
    eventually(lambda: len(seen) > 2)
    states = end(backend, group, members, members[3])
    asked_before = len(seen)
    eventually(lambda: len(seen) > asked_before + 2)
    done.set()
    watcher.join(20)
    assert states is not None
    assert {state.TaskUUID for state in states} == set(members)
    assert not any(seen)


def test_a_worker_that_crosses_with_go_leaves_the_group_to_go(backend: AMQPBackend, go: GoSide) -> None:
    group, members = a_group(4)
    for uuid in members[:2]:
        go.set(success(uuid), group)
    backend.count([(group, success(members[2]))])  # it has counted before Go added the last one,
    go.set(success(members[3]), group)
    with pytest.raises(ChordBusy, match=group):  # and counts after that, as Go does
        backend.gather(group, 4, members[2], False)
    assert go.complete(group, 4)
    assert go.triggers(group)
    with pytest.raises(ChordBusy, match=group):
        backend.gather(group, 4, members[2], False)
    states = go.take(group, 4)
    assert states is not None
    assert len(states) == 4
    go.forget(group)
    assert backend.gather(group, 4, members[2], False) is False


def test_a_redelivered_member_leaves_the_group_to_go_as_well(backend: AMQPBackend, go: GoSide) -> None:
    """A redelivered member's look would hide the others between Go's two counts."""
    group, members = a_group(2)
    for uuid in members:
        go.set(success(uuid), group)
    for _ in range(3):
        with pytest.raises(ChordBusy, match=group):
            backend.counted(group, members[0], True, 2)
        assert go.complete(group, 2)
    began = time.monotonic()
    assert eventually(lambda: not_busy(backend, group, members[0], 2))
    assert backend.gather(group, 2, members[0], True) is True, "it has waited already"
    assert time.monotonic() - began < 20 * GO_TAKE_TIMEOUT_S


def test_a_python_worker_takes_a_chord_that_go_leaves(
    backend: AMQPBackend, open_amqp: Open, go: GoSide
) -> None:
    """Go had counted before the others were there."""
    group, members = a_group(2)
    go.set(success(members[0]), group)
    backend.count([(group, success(members[1]))])
    other = open_amqp()
    began = time.monotonic()
    assert asked(backend, group, members, members[1]) is True
    assert time.monotonic() - began >= GO_TAKE_TIMEOUT_S
    assert asked(other, group, members, members[0]) is False


def test_gathered_states_outlive_the_queue_that_go_deletes(backend: AMQPBackend, go: GoSide) -> None:
    group, members = a_group(2)
    backend.create_group(GroupMeta(GroupUUID=group, TaskUUIDs=tuple(members)))
    assert add(backend, group, members, members[1]) is False
    assert add(backend, group, members, members[0]) is True
    go.forget(group)
    assert backend.trigger(group, members[0]) is True
    assert backend.gathered(group, members[0]) == [success(uuid) for uuid in members]
    backend.release_group(group, members[0], True)


def test_states_that_met_another_binding_are_added_once(
    backend: AMQPBackend, open_amqp: Open, go: GoSide
) -> None:
    """Several of one batch: a queue that others make and bind meanwhile must not get any of them twice."""
    others = [backend, open_amqp()]
    for _ in range(20):
        group, members = a_group(120)

        def put(n: int, group: str = group, members: list[str] = members) -> None:
            if n < 2:
                others[n].count([(group, success(uuid)) for uuid in members[n * 59 : (n + 1) * 59]])
            else:
                for uuid in members[118:]:
                    go.set(success(uuid), group)

        race(3, put)
        assert go.complete(group, 120)


def test_one_fires_whoever_is_last(backend: AMQPBackend, open_amqp: Open, go: GoSide) -> None:
    """Members of Go's and ours end at the same time, many times over."""
    others = [backend, open_amqp()]
    fired: list[list[TaskState]] = []
    for round in range(12):
        group, members = a_group(4)
        fired.clear()

        def ends(n: int, uuid: str, group: str = group, members: list[str] = members) -> None:
            of_go = n < 2
            states = (
                go.end_member(success(uuid), group, 4) if of_go else end(others[n - 2], group, members, uuid)
            )
            if states is not None:
                fired.append(states)

        if round % 2:  # in turn, so that each is last at times
            for n, uuid in enumerate(members):
                ends((n + round) % 4, uuid)
        else:
            race(4, lambda n, members=members, ends=ends: ends(n, members[n]))
        assert len(fired) == 1, f"round {round}"
        assert {state.TaskUUID for state in fired[0]} == set(members)
