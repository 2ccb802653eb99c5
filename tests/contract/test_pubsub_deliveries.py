"""Pub/Sub alone: ordering keys, early messages, missing resources, limits, duplicates, and a user's own client."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import pytest
from google.cloud import pubsub_v1
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import PubSubServer

from gearmesh import App
from gearmesh.config import PubSubConfig
from gearmesh.errors import ConfigError, PublishError
from gearmesh.interfaces.commit import Commit, Publish
from gearmesh.testing.contracts.support import Tap
from gearmesh.testing.waiting import eventually
from gearmesh.transports.pubsub import inspection, leases
from gearmesh.transports.pubsub.api import Call, PubSubAPI
from gearmesh.transports.pubsub.message import QUEUE
from gearmesh.transports.pubsub.unacked import PubSubUnackedDeliveries
from gearmesh.transports.registry import open_connection
from gearmesh.worker import Worker

HOUR = 3600 * 10**9


@pytest.fixture
def project(pubsub_emulator: PubSubServer) -> PubSubProject:
    return PubSubProject()


def tap_of(project: PubSubProject, *queues: str, prefetch: int = 0, **options: Any) -> Tap:
    url = project.url(queues[0] if queues else "tasks")
    return Tap(open_connection(url, options=options), queues, prefetch)


def grouped(group: str, number: int) -> bytes:
    return json.dumps({"UUID": f"{group}{number}", "Name": "add", "BrokerMessageGroupId": group}).encode()


def test_messages_of_a_group_come_one_at_a_time_in_order(project: PubSubProject) -> None:
    project.queue("tasks", enable_message_ordering=True)
    bodies = {group: [grouped(group, n) for n in range(5)] for group in "ab"}
    here = tap_of(project, "tasks", prefetch=10)
    here.publish("tasks", *(body for pair in zip(*bodies.values(), strict=True) for body in pair))
    seen: dict[str, list[bytes]] = {"a": [], "b": []}
    for _ in range(5):
        messages = here.take(2)
        assert {message.body[10:11] for message in messages} == {b"a", b"b"}, "one of each group at a time"
        here.quiet(0.05)
        for message in messages:
            seen[message.body[10:11].decode()].append(bytes(message.body))
        here.settle(*messages)
    assert seen == bodies
    here.close()


def test_a_returned_message_of_a_group_comes_before_those_behind_it(project: PubSubProject) -> None:
    project.queue("tasks", enable_message_ordering=True)
    bodies = [grouped("a", n) for n in range(4)]
    here = tap_of(project, "tasks", prefetch=10)
    here.publish("tasks", *bodies)
    (first,) = here.take(1)
    here.settle(first, how="head")
    for body in bodies:
        (message,) = here.take(1)
        assert message.body == body
        here.settle(message)
    here.close()


def test_the_group_is_the_ordering_key(project: PubSubProject) -> None:
    project.queue("tasks")
    here = tap_of(project)
    here.publish("tasks", grouped("a", 1), b'{"BrokerMessageGroupId":""}', b'not "BrokerMessageGroupId"')
    keys = sorted(message.ordering_key for message in project.take("tasks"))
    assert keys == ["", "", "a"]
    here.close()


def test_thousands_of_delayed_messages_are_in_nobodys_way(project: PubSubProject) -> None:
    project.queue("tasks")
    here = tap_of(project, "tasks", prefetch=1)
    eta = time.time_ns() + HOUR
    publishes = tuple(Publish("tasks", b"%d" % n, eta) for n in range(2000))
    here.verbs.commit([Commit(publishes=publishes)])
    here.publish("tasks", b"now")
    assert here.bodies(1) == [b"now"]
    assert len(here.channel.unacked.held) == 1, "delayed messages take no memory"
    here.close()


def test_a_delayed_message_outlives_a_dead_letter_policy(project: PubSubProject) -> None:
    """Each pull counts as a delivery, and Pub/Sub allows five here, so gearmesh publishes the message anew before."""
    project.queue("dead")
    policy = {"dead_letter_topic": project.addresses.topic("dead"), "max_delivery_attempts": 5}
    project.queue("tasks", dead_letter_policy=policy)
    here = tap_of(project, "tasks", prefetch=1)
    name = project.addresses.subscription("tasks")
    due = time.time() + 6
    (id,) = project.publish("tasks", b"late", **{"gearmesh-not-before": str(int(due * 1e9))})
    for _ in range(8):
        here.drain(0.2)
        # Returned, as if its lease had ended. (The emulator's ack ids are the messages' ids.)
        for call, _ids in project.api.modify(name, [id], 0):
            call.result()
    assert here.bodies(1) == [b"late"]
    assert time.time() >= due - 0.05
    assert project.take("dead") == []
    here.close()


def test_a_missing_topic_or_subscription_comes_with_its_command(project: PubSubProject) -> None:
    with pytest.raises(ConfigError, match=r"gcloud pubsub subscriptions create tasks .*--ack-deadline=60"):
        open_connection(project.url("tasks")).channel()
    url = project.queue("tasks")
    with (
        open_connection(url) as connection,
        pytest.raises(ConfigError, match=rf"gcloud pubsub topics create other --project={project.name}"),
    ):
        connection.channel().commit([Commit(publishes=(Publish("other", b"x"),))])


def test_a_worker_without_its_subscription_says_so_when_it_starts(
    project: PubSubProject, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller of ``Worker.start``, as ``gearmesh shadow`` is, gets the reason at once, and no traceback in its log."""
    with App(project.queue("tasks"), "null") as app:
        worker = Worker(app, ["missing"])
        with pytest.raises(ConfigError, match=r"gcloud pubsub subscriptions create missing --topic=missing"):
            worker.start(timeout=60)
        worker.stop()
    (failed,) = [record for record in caplog.records if "intake stopped" in record.message]
    assert not failed.exc_info


def test_the_worker_command_goes_on_trying_without_a_traceback(
    project: PubSubProject, tmp_path: Path
) -> None:
    """The subscription may be created meanwhile; then the worker takes its tasks."""
    url = project.queue("tasks")
    (tmp_path / "shop.py").write_text(f"from gearmesh import App\n\napp = App({url!r}, 'null')\n")
    log = tmp_path / "worker.log"
    words = [sys.executable, "-m", "gearmesh", "worker", "shop", "-Q", "later"]
    with log.open("w") as output:
        worker = subprocess.Popen(words, cwd=tmp_path, stdout=output, stderr=output)
    try:
        eventually(lambda: "worker process ended with exit code 1; a new one starts" in log.read_text())
        project.queue("later")
        eventually(lambda: "consuming from later" in log.read_text())
    finally:
        worker.terminate()
        worker.wait(30)
    assert "create it: gcloud pubsub subscriptions create later" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_message_beyond_the_limit_names_its_task(project: PubSubProject) -> None:
    url = project.queue("tasks")
    body = b'{"UUID":"task_1","Name":"add","Args":"%s"}' % (b"x" * 10_000_000)
    with (
        open_connection(url) as connection,
        pytest.raises(PublishError, match=r"task 'add' \(task_1\) has 10,000,0\d\d bytes.*Cloud Storage"),
    ):
        connection.channel().commit([Commit(publishes=(Publish("tasks", body),))])


def test_a_repeated_batch_is_marked(project: PubSubProject) -> None:
    project.queue("tasks")
    here = tap_of(project, "tasks")
    here.channel.commit([Commit(publishes=(Publish("tasks", b"x"),))], again=True)
    (message,) = here.take(1)
    assert (message.delivery.duplicate_attempt, message.delivery.redelivered) == (1, 1)
    here.settle(message, how="tail")
    (message,) = here.take(1)
    assert message.delivery.duplicate_attempt == 2
    here.close()


def test_an_old_message_may_have_been_lost_before(project: PubSubProject) -> None:
    """Without a dead letter policy Pub/Sub does not say that it delivers a message again."""
    project.queue("tasks")
    here = tap_of(project, "tasks")
    here.publish("tasks", b"new")
    (message,) = here.take(1)
    assert message.delivery.redelivered == 0
    here.settle(message)
    here.close()
    project.publish("tasks", b"old")
    time.sleep(5.1)
    here = tap_of(project, "tasks")
    (message,) = here.take(1)
    assert message.delivery.redelivered == 1
    here.close()


def test_a_look_at_dead_letters_ends_though_it_outlasts_their_leases(
    make_pubsub: Callable[..., PubSubServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it did not extend the leases, here of 2 s, it would pull the same letters again and again."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", make_pubsub(min_ack_deadline=1).address)
    project = PubSubProject()
    project.queue("tasks")
    project.queue("dead", ack_deadline_seconds=2)
    project.publish("dead", *(b"%d" % n for n in range(40)), **{QUEUE: "tasks"})
    pull_now, pulls = PubSubAPI.pull_now, itertools.count(1)

    def slow_pull(api: PubSubAPI, subscription: str, count: int) -> Call:
        assert next(pulls) < 20, "the look does not end"
        time.sleep(0.3)
        return pull_now(api, subscription, 4)

    monkeypatch.setattr(PubSubAPI, "pull_now", slow_pull)
    here = tap_of(project, "tasks", gcppubsub=PubSubConfig(dead_letter_subscription="dead"))
    letters = here.channel.dead_letters("tasks")
    here.close()
    assert sorted(int(letter.body) for letter in letters) == list(range(40))
    assert {letter.count for letter in letters} == {1}


def test_a_purge_ends_though_each_pull_brings_a_new_message(
    project: PubSubProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It deletes the messages that were there, and returns the new ones."""
    monkeypatch.setattr(inspection, "MAX_CLOCK_LAG_S", 0)
    project.queue("tasks")
    before = [b"%d" % number for number in range(100)]
    project.publish("tasks", *before)
    pull_now, pulls = PubSubAPI.pull_now, itertools.count(1)

    def pull_a_new_message(api: PubSubAPI, subscription: str, count: int) -> Call:
        number = next(pulls)
        assert number < 40, "the purge does not end"
        project.publish("tasks", b"new %d" % number)
        return pull_now(api, subscription, min(count, 30))

    here = tap_of(project)
    gone: list[bytes] = []
    with monkeypatch.context() as patched:
        patched.setattr(PubSubAPI, "pull_now", pull_a_new_message)
        assert here.channel.purge("tasks", gone.extend) == 100
    here.close()
    assert sorted(gone) == sorted(before)
    left = sorted(message.data for message in project.take("tasks"))
    assert left == sorted(b"new %d" % number for number in range(1, next(pulls)))


@pytest.mark.parametrize("made", ["client", "function"])
def test_a_client_of_the_users_own(project: PubSubProject, made: str) -> None:
    url = project.queue("tasks")
    client = pubsub_v1.PublisherClient()
    config = PubSubConfig(client=client if made == "client" else pubsub_v1.SubscriberClient)
    with open_connection(url, options={"gcppubsub": config}) as connection:
        here = Tap(connection, ("tasks",), 0)
        here.publish("tasks", b"x")
        assert here.bodies(1) == [b"x"]
        if made == "client":
            assert connection.transport.api._stubs._channel is client.transport.grpc_channel


def test_a_task_that_runs_for_several_leases_runs_once(
    make_pubsub: Callable[..., PubSubServer], monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    """Leases of 2 s here, and a task of 7 s; a second worker has free slots."""
    monkeypatch.setattr(leases, "MIN_LEASE_S", 2)
    monkeypatch.setattr(leases, "CHECK_INTERVAL_S", 0.3)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", make_pubsub(min_ack_deadline=1).address)
    url = PubSubProject().queue("machinery_tasks", "workers", ack_deadline_seconds=2)
    runs: list[str] = []
    with App(url, redis_url, lease=2.0) as one, App(url, redis_url, lease=2.0) as two:
        for app in (one, two):

            @app.task(name="nap")
            def nap(name: str) -> None:
                runs.append(name)
                time.sleep(7 if name == "long" else 0)

        with Worker(one, concurrency=2), Worker(two, concurrency=2):
            results = [one.tasks["nap"].delay(name) for name in ("long", "short")]
            for result in results:
                result.get(timeout=30)
    assert sorted(runs) == ["long", "short"]


def test_a_fork_has_a_channel_of_its_own(project: PubSubProject) -> None:
    url = project.queue("machinery_tasks", "workers")
    with App(url, "null") as app:
        add = app.remote("add", "int64", "int64")
        add.delay(1, 2)
        child = os.fork()
        if not child:
            try:
                add.delay(3, 4)
                os._exit(0)
            except BaseException:
                os._exit(1)
        deadline = time.monotonic() + 30
        done = (0, 0)
        while not done[0] and time.monotonic() < deadline:
            done = os.waitpid(child, os.WNOHANG)
            time.sleep(0.05)
        if not done[0]:
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert done == (child, 0)
        add.delay(5, 6)
    sums: list[Any] = []
    eventually(lambda: sums.extend(project.take("workers")) or len(sums) == 3)


def test_kombu_knows_the_connection_by_its_project(project: PubSubProject) -> None:
    url = project.queue("tasks")
    connection: kombu.Connection = open_connection(url)
    assert connection.as_uri() == url
    assert connection.transport.driver_version()
    connection.release()


def test_a_delayed_message_for_no_topic_stops_no_other(project: PubSubProject) -> None:
    project.queue("tasks")
    project.queue("delays")
    config = PubSubConfig(delay_topic="delays", delay_subscription="delays")
    for queue in ("", "no such topic", "nosuch", "tasks"):
        project.publish("delays", queue.encode(), **{"gearmesh-not-before": "1", "gearmesh-queue": queue})
    here = tap_of(project, "tasks", gcppubsub=config)
    assert here.bodies(1) == [b"tasks"]
    here.close()


def test_a_consumer_that_connects_again_has_one_thread_for_its_leases(project: PubSubProject) -> None:
    project.queue("tasks")
    record = PubSubUnackedDeliveries("me")

    def keepers() -> int:
        return sum(each.name == "gearmesh-pubsub-leases" for each in threading.enumerate())

    before = keepers()
    for _ in range(3):
        here = tap_of(project, "tasks", prefetch=10, unacked=record)
        here.publish("tasks", b"x")
        here.take(1)
        here.close()
        assert keepers() <= before + 1
    assert len(record.held) == 3, "they stay unacked over the connections"
    here = tap_of(project, unacked=record)
    assert here.verbs.recover("me", ["tasks"]) == 0, "this record belongs to another process"
    here.close()
    record.keeper.stop()


def test_closing_does_not_fail_when_pubsub_is_away(
    make_pubsub: Callable[..., PubSubServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator = make_pubsub()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulator.address)
    project = PubSubProject()
    project.queue("tasks")
    here = tap_of(project, "tasks", prefetch=1)
    here.publish("tasks", b"x")
    (message,) = here.take(1)
    emulator.kill()
    with pytest.raises(here.connection.connection_errors):
        here.settle(message)
    here.close()


def test_a_worker_that_stops_leaves_no_journal(
    project: PubSubProject, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    url = project.queue("machinery_tasks", "workers")
    with App(url, redis_url) as app:

        @app.task
        def journals() -> int:
            return sum(path.is_file() for path in tmp_path.rglob("pubsub/*"))

        with Worker(app, concurrency=2, heartbeats=False):
            assert journals.delay().get(timeout=30) == 1
    assert [path for path in tmp_path.rglob("pubsub/*") if path.is_file()] == []
