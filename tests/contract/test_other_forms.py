"""States and GroupMetas that another program wrote in its own form of JSON: all is read as Go's decoder reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from pymemcache.client.base import Client
from redis.cluster import RedisCluster as ClusterClient

from gearmesh import App, chord
from gearmesh.backends.registry import open_backend
from gearmesh.commits.flusher import Flusher
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import ChordCheck, Commit
from gearmesh.transports.registry import open_connection
from gearmesh.wire.state import FAILURE, PENDING, STARTED, SUCCESS, GroupMeta, TaskState
from gearmesh.worker import Worker

CREATED = "2026-03-01T12:00:00.5Z"

METAS = {
    "fields left out": '{"GroupUUID":"g","TaskUUIDs":["t","u"]}',
    "spaces": '{ "GroupUUID" : "g", "TaskUUIDs" : [ "t" , "u" ],\n "ChordTriggered" : false, "Lock": false }',
    "letter case": '{"groupuuid":"g","taskuuids":["t","u"],"chordtriggered":false,"LOCK":false}',
    "unknown fields": '{"v":2,"GroupUUID":"g","TaskUUIDs":["t","u"],"ChordTriggered": false}',
    "another order": '{"ChordTriggered":false,"TaskUUIDs":["t","u"],"GroupUUID":"g"}',
    "twice": '{"GroupUUID":"g","TaskUUIDs":["t","u"],"ChordTriggered":true,"ChordTriggered":false}',
    "null": '{"GroupUUID":"g","TaskUUIDs":["t","u"],"ChordTriggered":null}',
    "escapes and the long s": '{"GroupUUID":"g","Ta\u017fkUUIDs":["\\u0074","u"],"Chord\\u0054riggered":false}',
    "more behind": '{"GroupUUID":"g","TaskUUIDs":["t","u"]} and more',
}
STATES = {
    "fields left out": '{"TaskUUID":"t","TaskName":"n","State":"%s","CreatedAt":"' + CREATED + '"}',
    "spaces": '{"TaskUUID": "t", "TaskName": "n", "State": "%s", "CreatedAt": "' + CREATED + '", "TTL": 0}',
    "letter case": '{"taskuuid":"t","taskname":"n","state":"%s","createdat":"' + CREATED + '"}',
    "the name later": '{"TaskUUID":"t","State":"%s","TaskName":"n","CreatedAt":"' + CREATED + '"}',
    "more between": '{"TaskUUID":"t","TaskName":"n","Error":"","TTL":0,"State":"%s","CreatedAt":"'
    + CREATED
    + '"}',
    "another order": '{"CreatedAt":"' + CREATED + '","State":"%s","TaskName":"n","TaskUUID":"t"}',
    "escapes": '{"TaskUUID":"t","Task\\u004eame":"\\u006e","St\\u0061te":"%s","CreatedAt":"' + CREATED + '"}',
}

Put = Callable[[str, str], None]


class Place:
    """A backend, and how another program writes into its store."""

    def __init__(self, url: str, put: Put) -> None:
        self.url = url
        self.put = put
        self.backend: Backend = open_backend(url, expire=60)


def redis_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    url = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url) as client:
        yield Place(url, lambda key, text: client.set(key, text, ex=60))


def cluster_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    url = request.getfixturevalue("cluster_url")
    first = urlsplit(url.replace(",", "/", 1))
    with ClusterClient(host=str(first.hostname), port=int(first.port or 0)) as client:
        yield Place(url, lambda key, text: client.set(key, text, ex=60))


def memcache_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    server = request.getfixturevalue("memcached_servers")[0]
    with closing(Client(("127.0.0.1", server.port))) as client:
        client.flush_all(noreply=False)
        yield Place(
            f"memcache://{server.address}", lambda key, text: client.set(key, text.encode(), noreply=False)
        )


PLACES = {"redis": redis_place, "cluster": cluster_place, "memcache": memcache_place}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    for place in PLACES[request.param](request):
        yield place
        place.backend.close()


def done(uuid: str, state: str = SUCCESS) -> TaskState:
    return TaskState(TaskUUID=uuid, State=state, Results=() if state == SUCCESS else None)


@pytest.mark.parametrize("form", METAS)
def test_a_group(place: Place, form: str) -> None:
    backend = place.backend
    place.put("g", METAS[form])
    meta = backend.read_group("g")
    assert meta == GroupMeta(GroupUUID="g", TaskUUIDs=("t", "u"))
    backend.write([done("t")])
    assert not backend.finished(meta)
    backend.write([done("u")])
    assert backend.finished(meta)
    assert backend.trigger("g", "t")
    assert not backend.trigger("g", "u")
    assert backend.trigger("g", "t"), "this member had the trigger"


@pytest.mark.parametrize("form", STATES)
def test_a_member_s_state(place: Place, form: str) -> None:
    meta = GroupMeta(GroupUUID="g", TaskUUIDs=("t", "u"))
    place.backend.create_group(meta)
    place.backend.write([done("u")])
    place.put("t", STATES[form] % STARTED)
    assert not place.backend.finished(meta)
    place.put("t", STATES[form] % FAILURE)
    assert place.backend.finished(meta)


@pytest.mark.parametrize("form", STATES)
@pytest.mark.parametrize("atomic", [True, False])
def test_a_state_that_is_written_over(
    redis_url: str, request: pytest.FixtureRequest, atomic: bool, form: str
) -> None:
    """Its name and time are kept, a final one stays, and all that is done beside it is done once."""
    broker = redis_url if atomic else request.getfixturevalue("amqp_url")
    backend = open_backend(redis_url, expire=60)
    with redis.Redis.from_url(redis_url) as client, open_connection(broker) as connection:
        flusher = Flusher(connection.channel(), backend)
        assert flusher.atomic is atomic
        client.set("t", STATES[form] % SUCCESS)
        flusher.flush([Commit(states=(done("t", STARTED),))])
        assert [state and (state.State, state.TaskName) for state in backend.read(["t"])] == [(SUCCESS, "n")]
        client.set("t", STATES[form] % PENDING)
        more = TaskState(TaskUUID="next", State=PENDING, TaskName="m", CreatedAt=CREATED)
        for states in ((done("t", STARTED),), (done("t"), more)):
            client.set("t", STATES[form] % PENDING)
            flusher.flush([Commit(states=(done("a"),)), Commit(states=states), Commit(states=(done("b"),))])
            state, *others = backend.read(["t", "a", "b"])
            assert state is not None
            assert (state.TaskName, state.CreatedAt, state.State) == ("n", CREATED, states[0].State)
            assert [other and other.State for other in others] == [SUCCESS, SUCCESS]
        assert client.ttl("t") > 0
    backend.close()


@pytest.mark.parametrize("text", ["", "no JSON", '{"State":7}', "[]"])
def test_the_backend_overwrites_a_value_that_is_no_state(redis_url: str, text: str) -> None:
    """The backend overwrites such a value as any early state, and does not count it as a final state of a member."""
    backend = open_backend(redis_url, expire=60)
    meta = GroupMeta(GroupUUID="g", TaskUUIDs=("t", "u"))
    backend.create_group(meta)
    with redis.Redis.from_url(redis_url) as client:
        client.set("t", text)
        backend.write([done("u")])
        assert not backend.finished(meta)
        backend.write([done("t")])
    assert backend.finished(meta)
    assert [state and state.State for state in backend.read(["t"])] == [SUCCESS]
    backend.close()


@pytest.mark.parametrize("form", METAS)
def test_a_chord_of_another_program_fires(redis_url: str, form: str) -> None:
    """The group's meta is rewritten between its members' sending and their work."""
    app = App(redis_url, redis_url)

    @app.task
    def double(n: int) -> int:
        return 2 * n

    @app.task
    def total(*numbers: int) -> int:
        return sum(numbers)

    result: Any = chord([double.s(1), double.s(2)], total.s()).delay()
    with redis.Redis.from_url(redis_url) as client:
        group = result.header.uuid
        uuids = [task.uuid for task in result.header.tasks]
        text = METAS[form].replace('"g"', f'"{group}"').replace('"u"', f'"{uuids[1]}"')
        client.set(group, text.replace('"t"', f'"{uuids[0]}"').replace('"\\u0074"', f'"{uuids[0]}"'))
    with Worker(app, concurrency=1):
        assert result.get(timeout=20) == 6
    app.close()


def test_a_check_of_a_group_in_one_script(redis_url: str) -> None:
    """Fused: a member's delivery sees that the other one's state, in another form, is final."""
    backend = open_backend(redis_url, expire=60)
    with redis.Redis.from_url(redis_url) as client, open_connection(redis_url) as connection:
        flusher = Flusher(connection.channel(), backend)
        client.set("g", METAS["spaces"])
        client.set("t", STATES["spaces"] % SUCCESS)
        check = Commit(states=(done("u"),), chord=ChordCheck("g", 2))
        other = Commit(states=(done("v"),))
        assert flusher.flush([other, check, other]) == ["done", "complete", "done"]
    backend.close()
