"""Errors of DynamoDB and the exceptions for them, the log of throttling, and work in several threads."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ParamValidationError

from gearmesh.backends.dynamodb.connection import (
    ConditionFailed,
    Connection,
    DynamoDBUnavailable,
    ItemTooLarge,
    ThrottleLog,
)
from gearmesh.errors import BackendError


def refusing(error: Exception) -> Connection:
    def get_item(**request: Any) -> None:
        raise error

    return Connection(SimpleNamespace(get_item=get_item), "gearmesh dynamodb init")


def answered(code: str, message: str = "words", status: int = 400) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "GetItem")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answered("ProvisionedThroughputExceededException"), DynamoDBUnavailable),
        (answered("ThrottlingException"), DynamoDBUnavailable),
        (answered("InternalServerError", status=500), DynamoDBUnavailable),
        (answered("Odd", status=503), DynamoDBUnavailable),
        (answered("AccessDeniedException"), DynamoDBUnavailable),
        (answered("ExpiredTokenException"), DynamoDBUnavailable),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), DynamoDBUnavailable),
        (NoCredentialsError(), DynamoDBUnavailable),
        (answered("ConditionalCheckFailedException"), ConditionFailed),
        (answered("ValidationException", "Item size has exceeded the maximum allowed size"), ItemTooLarge),
        (answered("ValidationException"), BackendError),
        (ParamValidationError(report="odd"), BackendError),
    ],
    ids=lambda value: "",
)
def test_an_error_is_repeated_later_or_never(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - its exact type is looked at
        refusing(error).call("get_item")
    assert type(raised.value) is kind


def test_a_missing_table_names_the_command() -> None:
    with pytest.raises(DynamoDBUnavailable, match="gearmesh dynamodb init"):
        refusing(answered("ResourceNotFoundException")).call("get_item")


def test_throttling_is_said_once_an_episode(caplog: pytest.LogCaptureFixture) -> None:
    clock = iter((0.0, 1.0, 50.0, 100.0, 159.0, 220.0))
    told = ThrottleLog(lambda: next(clock))
    counts = []
    with caplog.at_level(logging.WARNING, "gearmesh.dynamodb"):
        for _ in range(6):
            told.throttled("ThrottlingException")
            counts.append(len(caplog.records))
    assert counts == [1, 1, 1, 1, 1, 2]
    assert "DynamoDB throttles requests (ThrottlingException)" in caplog.messages[0]


def test_all_jobs_are_done_before_an_error_is_raised() -> None:
    connection, done = Connection(SimpleNamespace(), ""), []

    def job(number: int) -> int:
        if number == 3:
            raise BackendError("third")
        if number == 5:
            raise DynamoDBUnavailable("fifth")
        done.append(number)
        return number

    with pytest.raises(DynamoDBUnavailable, match="fifth"):
        connection.each([lambda number=number: job(number) for number in range(20)])  # type: ignore[misc]
    assert sorted(done) == [number for number in range(20) if number not in (3, 5)]
    assert connection.each([lambda: threading.current_thread()]) == [threading.current_thread()]
    connection.close()
    connection.close()
    assert connection.each([lambda: 1, lambda: 2]) == [1, 2]
    connection.close()
