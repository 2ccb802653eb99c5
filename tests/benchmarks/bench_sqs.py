"""Numbers on a local ElasticMQ: boto3's own batch calls, and gearmesh, in turn."""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

import boto3
from bench_report import report
from botocore.config import Config as BotoConfig
from tests.support.servers import ElasticMQServer

from gearmesh import App
from gearmesh.config import SQSConfig
from gearmesh.transports.sqs.client import MAX_REQUESTS_IN_FLIGHT
from gearmesh.worker import Worker

BODY = (
    '{"UUID":"task_%s","Name":"noop","RoutingKey":"%s","ETA":null,"GroupUUID":"","GroupTaskCount":0,"Args":null,'
    '"Headers":{},"Priority":0,"Immutable":false,"RetryCount":0,"RetryTimeout":0,"OnSuccess":null,"OnError":null,'
    '"ChordCallback":null,"BrokerMessageGroupId":"","SQSReceiptHandle":"","StopTaskDeletionOnError":false,'
    '"IgnoreWhenTaskNotRegistered":false}'
)


class SQSBench:
    """Sends and works off tasks without results, in tens, as boto3 alone does with as many threads."""

    def __init__(self, server: ElasticMQServer, tasks: int, rounds: int) -> None:
        os.environ["DISABLE_STRICT_SQS_CHECK"] = "true"
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.setdefault(name, "test")
        self.server, self.tasks, self.rounds = server, tasks, rounds
        self.boto: Any = boto3.client(
            "sqs",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            config=BotoConfig(max_pool_connections=32, parameter_validation=False),
        )

    def run(self) -> None:
        report("SQS (ElasticMQ), batches of ten", "")
        rates: dict[str, list[float]] = {}
        for number in range(self.rounds + 1):
            for name, rate in self.round():
                if number:  # the first one warms both up
                    rates.setdefault(name, []).append(rate)
        middle = {name: statistics.median(found) for name, found in rates.items()}
        for name, rate in middle.items():
            report(name, f"{rate:,.0f} /s")
        report("  publish, of boto3's", f"{middle['gearmesh: publish'] / middle['boto3: send']:.2f}")
        report("  work, of boto3's", f"{middle['gearmesh: work'] / middle['boto3: receive and delete']:.2f}")

    def round(self) -> list[tuple[str, float]]:
        """Both ways once."""
        return [
            ("boto3: send", self.boto_sends()),
            ("boto3: receive and delete", self.boto_takes()),
            ("gearmesh: publish", self.publish()),
            ("gearmesh: work", self.work()),
        ]

    def boto_sends(self) -> float:
        self.queue = f"bench-{uuid4().hex[:8]}"
        self.url = self.boto.create_queue(QueueName=self.queue)["QueueUrl"]
        bodies = [BODY % (uuid4(), self.queue) for _ in range(self.tasks)]

        def send(start: int) -> None:
            entries = [
                {"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])
            ]
            self.boto.send_message_batch(QueueUrl=self.url, Entries=entries)

        began = time.perf_counter()
        with ThreadPoolExecutor(MAX_REQUESTS_IN_FLIGHT) as pool:
            list(pool.map(send, range(0, self.tasks, 10)))
        return self.tasks / (time.perf_counter() - began)

    def boto_takes(self) -> float:
        left = self.tasks

        def take(_: int) -> None:
            nonlocal left
            while left > 0:
                came = self.boto.receive_message(
                    QueueUrl=self.url,
                    MaxNumberOfMessages=10,
                    AttributeNames=["ApproximateReceiveCount"],
                    MessageAttributeNames=["All"],
                ).get("Messages", ())
                if came:
                    left -= len(came)
                    entries = [
                        {"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(came)
                    ]
                    self.boto.delete_message_batch(QueueUrl=self.url, Entries=entries)

        began = time.perf_counter()
        with ThreadPoolExecutor(MAX_REQUESTS_IN_FLIGHT) as pool:
            list(pool.map(take, range(MAX_REQUESTS_IN_FLIGHT)))
        return self.tasks / (time.perf_counter() - began)

    def publish(self) -> float:
        self.app = App(
            self.server.url,
            backend="null",
            default_queue=self.queue,
            sqs=SQSConfig(receive_wait_time_seconds=1),
        )
        self.ran = 0

        @self.app.task
        def noop() -> None:
            self.ran += 1

        calls = [noop.s() for _ in range(self.tasks)]
        began = time.perf_counter()
        self.app.publish_many(calls)
        return self.tasks / (time.perf_counter() - began)

    def work(self) -> float:
        """From the first task to the last but one batch: starting and stopping do not count."""
        with self.app, Worker(self.app, concurrency=10):
            while not self.ran:
                time.sleep(0.001)
            began, first = time.perf_counter(), self.ran
            while self.ran < self.tasks * 0.95:
                time.sleep(0.001)
            rate = (self.ran - first) / (time.perf_counter() - began)
            while self.ran < self.tasks:
                time.sleep(0.01)
        with suppress(Exception):
            self.boto.delete_queue(QueueUrl=self.url)
        return rate
