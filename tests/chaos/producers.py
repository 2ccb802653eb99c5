"""Those who send: an app of ours through a broken network, and one that pushes raw bytes as Go does."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gearmesh import App, PublishError, chain, chord
from gearmesh.wire.names import CHORD_MUTEX

__all__ = ["QUEUE", "AppProducer", "GoProducer", "Sent", "go_signature", "remote_tasks"]

QUEUE = "machinery_tasks"


@dataclass
class Sent:
    """The runs that must happen, by the key under which tasks mark that they ran."""

    #: mark -> UUID of the task that leaves it
    tasks: dict[str, str] = field(default_factory=dict)
    #: marks of messages whose sender cannot know whether the broker has them
    unsure: set[str] = field(default_factory=set)
    #: mark of a chord's callback -> the sum that it must get
    chords: dict[str, int] = field(default_factory=dict)
    #: marks of tasks that must run twice
    flaky: set[str] = field(default_factory=set)
    #: mark -> from when to when it was being sent (monotonic)
    sending: dict[str, tuple[float, float]] = field(default_factory=dict)

    def merge(self, other: Sent) -> None:
        self.tasks.update(other.tasks)
        self.unsure |= other.unsure
        self.chords.update(other.chords)
        self.flaky |= other.flaky
        self.sending.update(other.sending)


def go_signature(uuid: str, name: str, args: list[tuple[str, Any]], queue: str = QUEUE) -> bytes:
    """The bytes that Go's encoder writes for a plain task."""
    fields = {
        "UUID": uuid,
        "Name": name,
        "RoutingKey": queue,
        "ETA": None,
        "GroupUUID": "",
        "GroupTaskCount": 0,
        "Args": [{"Name": "", "Type": type_, "Value": value} for type_, value in args],
        "Headers": {},
        "Priority": 0,
        "Immutable": False,
        "RetryCount": 0,
        "RetryTimeout": 0,
        "OnSuccess": None,
        "OnError": None,
        "ChordCallback": None,
        "BrokerMessageGroupId": "",
        "SQSReceiptHandle": "",
        "StopTaskDeletionOnError": False,
        "IgnoreWhenTaskNotRegistered": False,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def go_pending(uuid: str, name: str) -> bytes:
    """The PENDING state that Go's client writes before it pushes."""
    now = time.time_ns()
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}Z"
    fields = {
        "TaskUUID": uuid,
        "TaskName": name,
        "State": "PENDING",
        "Results": None,
        "Error": "",
        "CreatedAt": created,
        "TTL": 0,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def duration(source: random.Random) -> int:
    """Milliseconds: most tasks are quick, one in sixty takes longer than a heartbeat's pause."""
    return source.randrange(30) if source.random() > 1 / 60 else 1500


class GoProducer:
    """Pushes plain tasks with ``SET`` and ``RPUSH``, and now and then holds the chord mutex as Go does.

    Like Go, it sends no token, so a message that it was sending when the connection broke is unsure.
    """

    def __init__(self, port: int, seed: int, count: int, seconds: float) -> None:
        self.sent = Sent()
        self._port = port
        self._random = random.Random(seed)
        self._count = count
        self._seconds = seconds
        self._thread = threading.Thread(target=self._run, name="go-producer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        once = Retry(NoBackoff(), 0)  # the client must not repeat a push by itself
        client = redis.Redis(host="127.0.0.1", port=self._port, socket_timeout=10, retry=once)
        began = time.monotonic()
        for number in range(self._count):
            time.sleep(max(0.0, began + self._seconds * number / self._count - time.monotonic()))
            uuid, key = f"task_{uuid4()}", f"go/{number}"
            body = go_signature(uuid, "work", [("string", key), ("int64", duration(self._random))])
            self._store(client, uuid)
            self.sent.tasks[key] = uuid
            try:
                client.rpush(QUEUE, body)
                if number % 50 == 0:
                    self._hold_mutex(client)
            except redis.ConnectionError:
                self.sent.unsure.add(key)
        client.close()

    @staticmethod
    def _store(client: redis.Redis, uuid: str) -> None:
        while True:
            try:
                client.set(uuid, go_pending(uuid, "work"), ex=3600)
                return
            except redis.ConnectionError:
                time.sleep(0.05)

    def _hold_mutex(self, client: redis.Redis) -> None:
        value = str(self._random.random())
        if client.set(CHORD_MUTEX, value, nx=True, px=8000):
            time.sleep(0.01)
            client.delete(CHORD_MUTEX)


def remote_tasks(app: App) -> dict[str, Any]:
    """The tasks of ``chaos_app``, to be sent."""
    return {
        "work": app.remote("work", "string", "int64"),
        "quick": app.remote("quick", "string"),
        "step": app.remote("step", "string", "int64"),
        "member": app.remote("member", "string", "int64"),
        "fire": app.remote("fire", "string", "...int64"),
        "flaky": app.remote("flaky", "string"),
        "hold_gil": app.remote("hold_gil", "string", "int64"),
    }


class AppProducer:
    """Sends plain tasks in batches, tasks that are retried, chains of 50 and chords of 50.

    Args:
        url: broker and backend, through a proxy that breaks.
        count: plain tasks.
        seconds: over how long they are spread.
        workflows: chains, and as many chords.
        backend: URL of where states are; "": the broker.
    """

    SIZE = 50

    def __init__(
        self, url: str, seed: int, count: int, seconds: float, workflows: int, *, backend: str = ""
    ) -> None:
        self.sent = Sent()
        self._random = random.Random(seed)
        self._count = count
        self._seconds = seconds
        self._workflows = workflows
        self._app = App(broker=url, backend=backend or url, send_concurrency=1)
        self._tasks = remote_tasks(self._app)
        self._thread = threading.Thread(target=self._run, name="app-producer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join()
        self._app.close()

    def _run(self) -> None:
        batch = 10
        rounds = self._count // batch
        began = time.monotonic()
        flows = [i * rounds // max(1, self._workflows) for i in range(self._workflows)]
        for number in range(rounds):
            time.sleep(max(0.0, began + self._seconds * number / rounds - time.monotonic()))
            self._plain([f"app/{number * batch + i}" for i in range(batch)])
            for flow in [i for i, at in enumerate(flows) if at == number]:
                self._chain(f"chain/{flow}")
                self._chord(f"chord/{flow}")

    def _plain(self, keys: list[str]) -> None:
        work, flaky = self._tasks["work"], self._tasks["flaky"]
        nodes = [work.s(key, duration(self._random)) for key in keys[1:]]
        retried = f"flaky/{keys[0]}"
        nodes.append(flaky.s(retried).set(retry_count=3))
        self.sent.flaky.add(retried)
        self._send([*keys[1:], retried], nodes)

    def _send(self, keys: list[str], nodes: list[Any]) -> None:
        began = time.monotonic()
        try:
            results = self._app.publish_many(nodes)
        except PublishError:
            self.sent.unsure.update(keys)
            return
        for key, result in zip(keys, results, strict=True):
            self.sent.tasks[key] = result.uuid
            self.sent.sending[key] = began, time.monotonic()

    def _chain(self, key: str) -> None:
        step = self._tasks["step"]
        began = time.monotonic()
        result = chain(step.s(key, 0), *(step.s(key) for _ in range(self.SIZE - 1))).apply_async()
        for number, task in enumerate(result.tasks):
            self.sent.tasks[f"{key}/{number}"] = task.uuid
            self.sent.sending[f"{key}/{number}"] = began, time.monotonic()

    def _chord(self, key: str) -> None:
        member = self._tasks["member"]
        began = time.monotonic()
        result = chord(
            [member.s(key, number) for number in range(self.SIZE)], self._tasks["fire"].s(key)
        ).apply_async()
        for number, task in enumerate(result.header.tasks):
            self.sent.tasks[f"{key}/{number}"] = task.uuid
        self.sent.tasks[f"{key}/fired"] = result.body.tasks[0].uuid
        for mark in (*(f"{key}/{number}" for number in range(self.SIZE)), f"{key}/fired"):
            self.sent.sending[mark] = began, time.monotonic()
        self.sent.chords[f"{key}/fired"] = sum(range(self.SIZE))
