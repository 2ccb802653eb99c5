"""Benchmarks on DynamoDB Local, beside the rates of boto3's own calls in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from bench_report import report
from tests.support.dynamodb_tables import Tables
from tests.support.servers import DynamoDBServer

from gearmesh.backends.dynamodb.connection import IN_FLIGHT
from gearmesh.backends.registry import open_backend
from gearmesh.testing.contracts.store import an_int, make_state
from gearmesh.wire.names import DYNAMODB_EXPIRES
from gearmesh.wire.state import SUCCESS

#: Statements by which boto3 alone would write a result.
UPDATE = "SET #State = :State, #Results = :Results, #Error = :Error, #TTL = :TTL"
FIELDS = {
    "State": {"S": SUCCESS},
    "Results": {"L": [{"M": {"Type": {"S": "int64"}, "Value": {"N": "3"}}}]},
    "Error": {"S": ""},
    "TTL": {"N": "1795271309"},
}


class DynamoDBBench:
    """Writing PENDING states, writing results, and reading, in batches: ours and boto3's in turn."""

    def __init__(self, server: DynamoDBServer, states: int, rounds: int) -> None:
        self.states, self.rounds = states, rounds
        self.tables = Tables.named(server)
        self.tables.make()
        self.table = self.tables.config.task_states_table
        self.pool = ThreadPoolExecutor(IN_FLIGHT)

    def run(self) -> None:
        report("DynamoDB Local: states", "")
        backend = open_backend(self.tables.url, expire=3600, options={"dynamodb": self.tables.config})
        uuids = [f"task_{uuid4()}" for _ in range(self.states)]
        pending = [make_state(uuid) for uuid in uuids]
        ended = [make_state(uuid, SUCCESS, Results=(an_int(3),)) for uuid in uuids]
        rows: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "PENDING, BatchWriteItem": (lambda: backend.write(pending), lambda: self.put(uuids)),
            "results, beside UpdateItem": (lambda: backend.write(ended), lambda: self.update(uuids)),
            "reads, BatchGetItem": (lambda: backend.read(uuids), lambda: self.get(uuids)),
        }
        for ours, theirs in rows.values():  # once for the connections
            ours(), theirs()
        for name, (ours, theirs) in rows.items():
            pairs = [self.pair(ours, theirs, turn % 2 == 0) for turn in range(self.rounds)]
            # The best rounds are those that the rest of the machine disturbed least.
            mine, other = (max(rates) for rates in zip(*pairs, strict=True))
            report(name, f"{mine:,.0f} /s")
            report("  share of boto3's rate", f"{mine / other:.2f}")
        backend.close()
        self.tables.delete()
        self.pool.shutdown()

    def pair(
        self, ours: Callable[[], Any], theirs: Callable[[], Any], ours_first: bool
    ) -> tuple[float, float]:
        """Return both rates. The server is slower for the second of the two, so the caller alternates the order."""
        if ours_first:
            return self.rate(ours), self.rate(theirs)
        other = self.rate(theirs)
        return self.rate(ours), other

    def rate(self, call: Callable[[], Any]) -> float:
        began = time.perf_counter()
        call()
        return self.states / (time.perf_counter() - began)

    # --- boto3 alone, with as many requests under way

    def put(self, uuids: Sequence[str]) -> None:
        def batch(part: Sequence[str]) -> None:
            requests = [{"PutRequest": {"Item": pending_item(uuid)}} for uuid in part]
            self.tables.client.batch_write_item(RequestItems={self.table: requests})

        list(self.pool.map(batch, parts(uuids, 25)))

    def update(self, uuids: Sequence[str]) -> None:
        names = {f"#{name}": name for name in FIELDS}
        values = {f":{name}": value for name, value in FIELDS.items()}

        def one(uuid: str) -> None:
            self.tables.client.update_item(
                TableName=self.table,
                Key={"TaskUUID": {"S": uuid}},
                UpdateExpression=UPDATE,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )

        list(self.pool.map(one, uuids))

    def get(self, uuids: Sequence[str]) -> None:
        def batch(part: Sequence[str]) -> None:
            keys = [{"TaskUUID": {"S": uuid}} for uuid in part]
            self.tables.client.batch_get_item(
                RequestItems={self.table: {"Keys": keys, "ConsistentRead": True}}
            )

        list(self.pool.map(batch, parts(uuids, 100)))


def pending_item(uuid: str) -> dict[str, Any]:
    """The item of a PENDING state as gearmesh writes it."""
    return {
        "TaskUUID": {"S": uuid},
        "TaskName": {"S": "add"},
        "State": {"S": "PENDING"},
        "Results": {"NULL": True},
        "Error": {"S": ""},
        "CreatedAt": {"S": "2026-01-02T03:04:05.678Z"},
        "TTL": {"N": "0"},
        DYNAMODB_EXPIRES: {"N": "1795271309"},
    }


def parts(uuids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (uuids[start : start + size] for start in range(0, len(uuids), size))


def bench(states: int, rounds: int) -> None:
    """Start DynamoDB Local, which takes any credentials, and report."""
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with DynamoDBServer() as server:
        DynamoDBBench(server, states, rounds).run()
