"""Benchmarks on a Pub/Sub emulator, beside the rates of google-cloud-pubsub's own batch calls in the same run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import kombu
from bench_report import report
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import PubSubServer

from gearmesh.interfaces.commit import Commit, Publish, Settle
from gearmesh.transports.registry import open_connection

#: A signature as Go writes it, of some 500 bytes.
BODY = (
    b'{"UUID":"task_8deb563f-0194-4e77-8860-0fb37db02495","Name":"add","RoutingKey":"machinery_tasks","ETA":null,'
    b'"GroupUUID":"","GroupTaskCount":0,"Args":[{"Name":"","Type":"int64","Value":1},{"Name":"","Type":"int64",'
    b'"Value":2}],"Headers":{},"Priority":0,"Immutable":false,"RetryCount":0,"RetryTimeout":0,"OnSuccess":null,'
    b'"OnError":null,"ChordCallback":null,"BrokerMessageGroupId":"","SQSReceiptHandle":"",'
    b'"StopTaskDeletionOnError":false,"IgnoreWhenTaskNotRegistered":false}'
)
#: Messages in a call of either side.
BATCH = 1000


class PubSubBench:
    """Publishing, and receiving with acknowledgement, in batches: ours and the library's in turn."""

    def __init__(self, messages: int, rounds: int) -> None:
        self.messages, self.rounds = messages, rounds
        self.project = PubSubProject()
        self.url = self.project.queue("tasks", ack_deadline_seconds=60)
        self.topic = self.project.addresses.topic("tasks")
        self.subscription = self.project.addresses.subscription("tasks")
        settings = pubsub_v1.types.BatchSettings(max_messages=BATCH, max_latency=0.01)
        self.publisher = pubsub_v1.PublisherClient(settings)
        self.requests = PublisherClient()
        self.subscriber = pubsub_v1.SubscriberClient()

    def run(self) -> None:
        report("Pub/Sub emulator: messages", "")
        sent: list[tuple[float, float]] = []
        requested: list[tuple[float, float]] = []
        got: list[tuple[float, float]] = []
        for _ in range(self.rounds + 1):  # the first round is for the connections
            ours = self.rate(self.publish)
            mine = self.rate(self.receive)
            theirs = self.rate(self.their_publish)
            other = self.rate(self.their_receive)
            requests = self.rate(self.their_requests)
            self.their_receive()
            sent.append((ours, theirs))
            requested.append((ours, requests))
            got.append((mine, other))
        report("publish in batches", f"{statistics.median(mine for mine, _ in sent[1:]):,.0f} /s")
        self.share("  of google-cloud-pubsub's batching publisher", sent)
        self.share("  of its Publish requests with 1,000 messages", requested)
        report("receive and acknowledge", f"{statistics.median(mine for mine, _ in got[1:]):,.0f} /s")
        self.share("  of its Pull and Acknowledge requests", got)

    def share(self, name: str, pairs: list[tuple[float, float]]) -> None:
        report(name, f"{statistics.median(mine / other for mine, other in pairs[1:]):.2f}")

    def rate(self, call: Callable[[], Any]) -> float:
        began = time.perf_counter()
        call()
        return self.messages / (time.perf_counter() - began)

    def publish(self) -> None:
        with open_connection(self.url) as connection:
            channel = connection.channel()
            for _ in range(self.messages // BATCH):
                channel.commit([Commit(publishes=(Publish("tasks", BODY),)) for _ in range(BATCH)])

    def receive(self) -> None:
        got: list[Any] = []
        with open_connection(self.url) as connection:
            channel = connection.channel()
            queue = kombu.Queue("tasks", no_declare=True)
            consumer = kombu.Consumer(
                channel, [queue], on_message=got.append, auto_declare=False, prefetch_count=2 * BATCH
            )
            done = 0
            with consumer:
                while done < self.messages:
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=1)
                    channel.commit([Commit(settle=Settle(message.delivery)) for message in got])
                    done += len(got)
                    got.clear()

    def their_publish(self) -> None:
        futures = [self.publisher.publish(self.topic, BODY) for _ in range(self.messages)]
        for future in futures:
            future.result()

    def their_requests(self) -> None:
        for _ in range(self.messages // BATCH):
            self.requests.publish(topic=self.topic, messages=[{"data": BODY} for _ in range(BATCH)])

    def their_receive(self) -> None:
        done = 0
        while done < self.messages:
            answer = self.subscriber.pull(subscription=self.subscription, max_messages=BATCH)
            ids = [received.ack_id for received in answer.received_messages]
            bodies = [received.message.data for received in answer.received_messages]
            self.subscriber.acknowledge(subscription=self.subscription, ack_ids=ids)
            done += len(bodies)


def bench(messages: int, rounds: int) -> None:
    """Run all on an emulator of its own."""
    with PubSubServer() as server:
        os.environ["PUBSUB_EMULATOR_HOST"] = server.address
        PubSubBench(messages, rounds).run()
