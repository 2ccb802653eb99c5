"""A subscription with exactly-once delivery says of each ack id if it was settled; the emulator does not know that.

So a gRPC server of the test's own answers as Google's documentation says: with an ErrorInfo whose metadata names the
ack ids that were not taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.code_pb2 import FAILED_PRECONDITION
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from gearmesh.testing.contracts.support import Tap
from gearmesh.transports.pubsub.api import PubSubUnavailable, types_of
from gearmesh.transports.registry import open_connection


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Delivers messages m0, m1, … and refuses the requests in :attr:`refused`."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.given = 0

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        answer = getattr(self, name, None)
        if answer is None:
            return None
        request, response = {
            "GetSubscription": ("GetSubscriptionRequest", "Subscription"),
            "Pull": ("PullRequest", "PullResponse"),
            "Acknowledge": ("AcknowledgeRequest", "DetachSubscriptionResponse"),
            "ModifyAckDeadline": ("ModifyAckDeadlineRequest", "DetachSubscriptionResponse"),
        }[name]
        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=types_of(request).FromString,
            response_serializer=types_of(response).SerializeToString,
        )

    def GetSubscription(self, request: Any, context: Any) -> Any:
        return types_of("Subscription")(
            name=request.subscription, topic="projects/x/topics/tasks", enable_exactly_once_delivery=True
        )

    def Pull(self, request: Any, context: Any) -> Any:
        answer = types_of("PullResponse")()
        for _ in range(min(request.max_messages, 2 - self.given)):
            message = types_of("PubsubMessage")(data=b"x", message_id=f"m{self.given}")
            message.publish_time.GetCurrentTime()
            received = types_of("ReceivedMessage")(ack_id=f"ack{self.given}", message=message)
            answer.received_messages.append(received)
            self.given += 1
        return answer

    def Acknowledge(self, request: Any, context: Any) -> Any:
        told = {id: self.refused[id] for id in request.ack_ids if id in self.refused}
        if told:
            detail = AnyMessage()
            detail.Pack(ErrorInfo(reason="EXACTLY_ONCE_ACKID_FAILURE", metadata=told))
            status = Status(code=FAILED_PRECONDITION, message="some ack ids", details=[detail])
            context.abort_with_status(rpc_status.to_status(status))
        return types_of("DetachSubscriptionResponse")()

    ModifyAckDeadline = Acknowledge


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    service = Service()
    server = grpc.server(ThreadPoolExecutor(4), handlers=(service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{port}")
    yield service
    server.stop(None).wait(10)


@pytest.fixture
def here(service: Service) -> Iterator[Tap]:
    tap = Tap(open_connection("gcppubsub://my-project/tasks"), (), 0)
    yield tap
    tap.close()


def held(here: Tap) -> list[Any]:
    return [here.channel.basic_get("tasks"), here.channel.basic_get("tasks")]


def test_a_lost_lease_makes_the_commit_lost(service: Service, here: Tap) -> None:
    messages = held(here)
    service.refused = {"ack1": "PERMANENT_FAILURE_INVALID_ACK_ID"}
    assert here.settle(*messages) == ["done", "lost"]


def test_a_passing_failure_is_repeated(service: Service, here: Tap) -> None:
    messages = held(here)
    service.refused = {"ack0": "TRANSIENT_FAILURE_INVALID_ACK_ID"}
    with pytest.raises(PubSubUnavailable):
        here.settle(*messages)
    service.refused = {}
    assert here.settle(*messages) == ["done", "done"]


def test_a_lease_that_cannot_be_extended_is_lost(service: Service, here: Tap) -> None:
    messages = held(here)
    service.refused = {"ack0": "PERMANENT_FAILURE_INVALID_ACK_ID"}
    unacked = here.channel.unacked
    now = max(each.leased_until for each in unacked.snapshot())
    unacked.keeper.look(unacked, now, 0.0)
    assert unacked.losses == 1
    assert unacked.orphaned(messages[0].delivery.id)
    assert here.settle(*messages) == ["lost", "done"]
