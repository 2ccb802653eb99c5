"""One Redis behind sentinels, TLS, a Unix socket, and a user with the fewest permissions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import redis
from tests.support.pages import page_path
from tests.support.servers import RedisCluster, RedisSentinels, RedisServer, free_port

from gearmesh import App, chain, chord, group
from gearmesh.config import RedisConfig
from gearmesh.errors import ConfigError, PublishError, ResultTimeout
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.commit import Commit, Publish, Token
from gearmesh.testing.contracts.announcements import AnnouncementContract
from gearmesh.testing.contracts.delays import DelayContract
from gearmesh.testing.contracts.deliveries import DeliveryContract
from gearmesh.testing.contracts.enlistment import EnlistmentContract
from gearmesh.testing.contracts.groups import GroupContract
from gearmesh.testing.contracts.inspection import InspectionContract
from gearmesh.testing.contracts.leases import LeaseContract
from gearmesh.testing.contracts.optional_methods import OptionalMethodsContract
from gearmesh.testing.contracts.settlement import SettlementContract
from gearmesh.testing.contracts.support import Connect
from gearmesh.testing.proxy import Proxy
from gearmesh.testing.waiting import eventually
from gearmesh.worker import Worker

from .places import Place

REDIS_MD = page_path("redis.md")


def tasks(app: App) -> None:
    @app.task
    def add(*numbers: int) -> int:
        return sum(numbers)


class Short(EnlistmentContract):
    """Tests that show that every kind of connection is made right: kept, blocking, subscribed, pooled."""

    test_a_wait_is_ended = DeliveryContract.test_a_message_published_during_a_wait_comes_at_once
    test_several_queues = DeliveryContract.test_several_queues_in_one_consumer
    test_it_is_seen = InspectionContract.test_count_says_in_which_state_messages_are

    @pytest.fixture
    def connect(self, place: Place) -> Connect:
        return place.connect

    @pytest.fixture
    def enlistable(self, place: Place) -> Iterator[Backend]:
        backend = place.backend()
        yield backend
        backend.close()

    def test_at_work(self, place: Place) -> None:
        with place.app() as app:
            tasks(app)
            add = app.tasks["add"]
            with Worker(app, concurrency=4):
                assert add.delay(1, 2).get(timeout=10) == 3
                assert chain(add.s(1, 2), add.s(10)).apply_async().get(timeout=10) == 13
                results = group([add.s(n) for n in range(5)]).apply_async()
                assert results.get(timeout=10) == list(range(5))
                assert chord([add.s(n) for n in range(5)], add.s()).apply_async().get(timeout=10) == 10
                assert add.apply_async((4, 5), countdown=0.1).get(timeout=10) == 9


class TestSentinel(Short):
    @pytest.fixture
    def place(self, sentinel_place: Place) -> Place:
        return sentinel_place


class TestTLS(Short):
    @pytest.fixture
    def place(self, tls_place: Place) -> Place:
        return tls_place


class TestSocket(Short):
    @pytest.fixture
    def place(self, socket_place: Place) -> Place:
        return socket_place


class TestTLSSentinel(Short):
    @pytest.fixture
    def place(self, tls_sentinel_place: Place) -> Place:
        return tls_sentinel_place


class TestTLSCluster(Short):
    @pytest.fixture
    def place(self, tls_cluster_place: Place) -> Place:
        return tls_cluster_place

    @pytest.fixture
    def enlistable(self) -> None:
        """A cluster has none."""


# --- a user with the fewest permissions -----------------------------------------------------------


def documented_rule() -> list[str]:
    """The command line of docs/reference/redis.md that makes the user, without redis-cli."""
    (line,) = re.findall(r"^redis-cli (ACL SETUSER (?:.*\\\n)*.*)$", REDIS_MD.read_text(), re.MULTILINE)
    return shlex.split(line.replace("\\\n", " "))


@pytest.fixture(scope="module")
def acl_server() -> Iterator[RedisServer]:
    with (
        RedisServer(args=["--requirepass", "root"]) as server,
        redis.Redis(port=server.port, password="root") as client,
    ):
        rule = documented_rule()
        assert rule.count("~machinery_tasks") == 1
        rule[rule.index("~machinery_tasks")] = "~contract_*"
        client.execute_command(*rule)
        yield server


@pytest.fixture
def acl_place(acl_server: RedisServer) -> Iterator[Place]:
    with redis.Redis(port=acl_server.port, password="root") as client:
        client.flushall()
        client.acl_log_reset()
        yield Place(f"redis://gears:sesame@127.0.0.1:{acl_server.port}/1")
        refused = {(entry["context"], entry["reason"], entry["object"]) for entry in client.acl_log()}
        # Newer clients ask for subcommands of CLIENT that older servers do not have, and do without.
        assert refused - {("toplevel", "command", "client")} == set()


class TestACLTransport(SettlementContract, EnlistmentContract, InspectionContract):
    test_a_wait_is_ended = DeliveryContract.test_a_message_published_during_a_wait_comes_at_once
    test_not_before_its_time = DelayContract.test_not_before_its_time
    test_a_silent_consumer = LeaseContract.test_a_silent_consumer_loses_its_deliveries
    test_recover = LeaseContract.test_recover_puts_back_in_order

    @pytest.fixture
    def connect(self, acl_place: Place) -> Connect:
        return acl_place.connect

    @pytest.fixture
    def enlistable(self, acl_place: Place) -> Iterator[Backend]:
        backend = acl_place.backend()
        yield backend
        backend.close()


class TestACLBackend(AnnouncementContract, OptionalMethodsContract, GroupContract):
    @pytest.fixture
    def open_backend(self, acl_place: Place) -> Callable[..., Backend]:
        return acl_place.backend


def test_a_worker_under_the_rule(acl_place: Place) -> None:
    with acl_place.app(default_queue=f"contract_{uuid4().hex}") as app:
        tasks(app)
        add = app.tasks["add"]
        with Worker(app, concurrency=4):
            assert chord([add.s(n) for n in range(5)], add.s()).apply_async().get(timeout=10) == 10
            assert add.apply_async((4, 5), countdown=0.1).get(timeout=10) == 9
            app.check_backend()


# --- a master that is replaced --------------------------------------------------------------------


def test_a_failover_while_a_worker_waits(make_sentinels: Callable[..., RedisSentinels]) -> None:
    """The worker was blocked on the old master, which lives on: for a while as a master, then as a replica.

    Messages to the old master are lost until the sender asks the sentinels again, so the test sends until one arrives.
    """
    group_ = make_sentinels(sentinel_password="quiet")
    settings = RedisConfig(master_name=group_.master_name, sentinel_password="quiet")
    with Place(group_.url, settings).app() as app:
        tasks(app)
        add = app.tasks["add"]
        with Worker(app, concurrency=2):
            assert add.delay(1, 2).get(timeout=10) == 3
            before = group_.master
            group_.failover()
            assert group_.master is not before

            def answered() -> bool:
                with suppress(ResultTimeout):
                    return bool(add.delay(3, 4).get(timeout=2) == 7)
                return False

            eventually(answered)
            assert before.running


class TestReplicas:
    """``replicas_ack``: a write counts as done once a replica has it."""

    @pytest.fixture
    def servers(self, make_redis: Callable[..., RedisServer]) -> tuple[RedisServer, RedisServer]:
        master, replica = make_redis(args=["--repl-diskless-sync-delay", "0"]), make_redis()
        with redis.Redis(port=replica.port) as client:
            client.replicaof("127.0.0.1", str(master.port))
            eventually(lambda: client.info("replication")["master_link_status"] == "up")
        return master, replica

    def test_it_is_waited_for(self, servers: tuple[RedisServer, RedisServer]) -> None:
        master, replica = servers
        place = Place(master.url, RedisConfig(replicas_ack=1))
        with place.app() as app:
            tasks(app)
            add = app.tasks["add"]
            result = add.delay(1, 2)
            with redis.Redis(port=replica.port) as client:
                assert client.llen("machinery_tasks") == 1, "the replica has it by now"
                assert client.exists(result.uuid)
                with Worker(app, concurrency=2):
                    assert result.get(timeout=10) == 3
                    assert b"SUCCESS" in client.get(result.uuid)

    def test_a_silent_one(self, servers: tuple[RedisServer, RedisServer]) -> None:
        master, replica = servers
        place = Place(master.url, RedisConfig(replicas_ack=1, replicas_ack_timeout=0.4))
        with place.app(publish_timeout=2.0) as app, redis.Redis(port=master.port) as client:
            tasks(app)
            add = app.tasks["add"]
            first = add.delay(1, 2)
            replica.pause()
            with pytest.raises(PublishError, match="0 of 1 replicas"):
                add.delay(3, 4)
            assert client.llen("machinery_tasks") == 2, "repeated under one token"
            with Worker(app, concurrency=1):
                # The master has a state that no replica has acknowledged. (It is SUCCESS, unless a slow machine shows
                # RECEIVED first: then the result waits behind that.)
                eventually(lambda: b'"State":"PENDING"' not in client.get(first.uuid))
                replica.resume()
                eventually(lambda: not client.keys("machinery_tasks") + client.keys("*:held:*"))

    @pytest.mark.parametrize("acks", [0, 1])
    def test_only_a_wait_for_replicas_tells_the_sender_of_a_lost_message(
        self, make_redis: Callable[..., RedisServer], make_proxy: Callable[..., Proxy], acks: int
    ) -> None:
        """Without a wait for replicas the sender loses it and gets no error; with the wait, it gets an error."""
        master, replica = make_redis(args=["--repl-diskless-sync-delay", "0"]), make_redis()
        network = make_proxy(master.port)
        settings = RedisConfig(replicas_ack=acks, replicas_ack_timeout=0.4)
        with redis.Redis(port=replica.port) as client:
            client.replicaof("127.0.0.1", str(network.port))
            eventually(lambda: client.info("replication")["master_link_status"] == "up")
            with Place(master.url, settings).app(publish_timeout=3.0) as app:
                tasks(app)
                app.tasks["add"].delay(1, 2)
                eventually(lambda: client.llen("machinery_tasks") == 1)
                network.refuse()
                network.cut()
                if acks:
                    with pytest.raises(PublishError, match="0 of 1 replicas"):
                        app.tasks["add"].delay(3, 4)
                else:
                    app.tasks["add"].delay(3, 4)
                master.kill()
            client.replicaof("NO", "ONE")
            assert client.llen("machinery_tasks") == 1

    @pytest.mark.parametrize("acks", [1, 2])
    def test_one_of_two(
        self, make_redis: Callable[..., RedisServer], make_proxy: Callable[..., Proxy], acks: int
    ) -> None:
        """One replica has it, and the other one takes over: only a sender that waited for both got an error."""
        master, near, far = make_redis(args=["--repl-diskless-sync-delay", "0"]), make_redis(), make_redis()
        network = make_proxy(master.port)
        settings = RedisConfig(replicas_ack=acks, replicas_ack_timeout=0.4)
        with redis.Redis(port=near.port) as one, redis.Redis(port=far.port) as other:
            for client, port in ((one, master.port), (other, network.port)):
                client.replicaof("127.0.0.1", str(port))
            eventually(
                lambda: {each.info("replication")["master_link_status"] for each in (one, other)} == {"up"}
            )
            with Place(master.url, settings).app(publish_timeout=60.0 if acks == 1 else 1.0) as app:
                tasks(app)
                network.refuse()
                network.cut()
                if acks == 1:
                    app.tasks["add"].delay(1, 2)
                else:
                    with pytest.raises(PublishError, match="1 of 2 replicas"):
                        app.tasks["add"].delay(1, 2)
                master.kill()
            other.replicaof("NO", "ONE")
            assert (one.llen("machinery_tasks"), other.llen("machinery_tasks")) == (1, 0)

    def test_a_repeated_commit_is_waited_for_too(self, servers: tuple[RedisServer, RedisServer]) -> None:
        """The repeated commit writes nothing, but must still wait until the replicas have the first one."""
        master, replica = servers
        place = Place(master.url, RedisConfig(replicas_ack=1, replicas_ack_timeout=0.1))
        replica.pause()
        commits, token = [Commit(publishes=(Publish("q", b"x"),))], Token("us", 1)
        for _ in range(2):
            with place.connect() as connection:
                channel: Any = connection.channel()
                with pytest.raises(connection.connection_errors, match="0 of 1 replicas"):
                    channel.commit(commits, token=token)
        replica.resume()
        patient = Place(master.url, RedisConfig(replicas_ack=1, replicas_ack_timeout=10.0))
        with patient.connect() as connection:
            channel = connection.channel()
            assert channel.commit(commits, token=token) == ["done"]
            assert channel.pending("q") == [b"x"]


# --- errors name the mistake ----------------------------------------------------------------------


class TestMistakes:
    def refused(self, place: Place, expected: str) -> None:
        with pytest.raises(ConfigError, match=expected), place.connect() as connection:
            connection.channel()

    def away(self, place: Place, expected: str) -> None:
        with (
            place.connect() as connection,
            pytest.raises(connection.connection_errors, match=expected),
        ):
            connection.channel()

    def test_a_node_of_a_cluster(self, redis_cluster: RedisCluster) -> None:
        place = Place(redis_cluster.nodes[0].url)
        self.refused(place, r"node of a Redis cluster.*cluster_enabled")
        backend = place.backend()
        other = next(
            n for n in range(100) if redis_cluster.node_of(f"task_{n}") is not redis_cluster.nodes[0]
        )
        with pytest.raises(ConfigError, match=r"node of a cluster.*cluster_enabled"):
            backend.read([f"task_{other}"])
        backend.close()

    def test_no_cluster(self, redis_server: RedisServer) -> None:
        port = redis_server.port
        self.refused(Place(f"redis://127.0.0.1:{port},127.0.0.1:{port}"), "no node of a cluster")
        self.refused(Place(redis_server.url, RedisConfig(cluster_enabled=True)), "no node of a cluster")

    def test_one_host_of_a_cluster(self, redis_cluster: RedisCluster) -> None:
        place = Place(redis_cluster.nodes[0].url, RedisConfig(cluster_enabled=True))
        with place.connect() as connection:
            assert type(connection.channel()).__name__ == "ClusterChannel"

    def test_a_database_of_a_cluster(self, redis_cluster: RedisCluster) -> None:
        """A cluster has no numbered databases; Go ignores the number, too."""
        place = Place(f"{redis_cluster.url}/3")
        with place.connect() as connection:
            assert connection.channel().pending("q") == []
        backend = place.backend()
        assert backend.read(["task_x"]) == [None]
        backend.close()

    def test_sentinels_without_a_name(self, redis_sentinels: RedisSentinels) -> None:
        first = redis_sentinels.sentinels[0].port
        several = ",".join(f"127.0.0.1:{each.port}" for each in redis_sentinels.sentinels)
        self.refused(Place(f"redis://127.0.0.1:{first}"), r"sentinel.*redis\.master_name")
        self.refused(Place(f"redis://{several}"), r"redis\.master_name")

    def test_a_name_nobody_knows(self, redis_sentinels: RedisSentinels) -> None:
        self.refused(Place(redis_sentinels.url, RedisConfig(master_name="other")), "'other', but no sentinel")

    def test_no_sentinels(self, redis_server: RedisServer) -> None:
        self.refused(Place(redis_server.url, RedisConfig(master_name="gears")), "is no sentinel")

    def test_a_sentinels_password(self, make_sentinels: Callable[..., RedisSentinels]) -> None:
        group_ = make_sentinels(replicas=0, sentinel_password="quiet")
        for password in ("", "loud"):
            settings = RedisConfig(master_name="gears", sentinel_password=password)
            self.refused(Place(group_.url, settings), "sentinel_password")

    def test_a_socket_is_one_server(self) -> None:
        self.refused(Place("redis+socket:///a.sock", RedisConfig(cluster_enabled=True)), "Unix socket")

    def test_nobody_answers(self) -> None:
        port = free_port()
        for place in (
            Place(f"redis://127.0.0.1:{port},127.0.0.1:{port}"),
            Place(f"redis://127.0.0.1:{port}", RedisConfig(master_name="gears")),
        ):
            self.away(place, str(port))

    def test_a_certificate_nobody_trusts(self, tls_server: RedisServer) -> None:
        self.away(Place(tls_server.url), r"(?i)certificate")
