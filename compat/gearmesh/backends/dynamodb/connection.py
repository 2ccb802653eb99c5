"""One process's connection to DynamoDB: its client and threads, and the errors after which a caller repeats a call."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from gearmesh.errors import BackendError, ConfigError
from gearmesh.urls import DynamoDBTarget, redact_text

try:
    import boto3
    from botocore.config import Config as ClientConfig
    from botocore.exceptions import BotoCoreError, ClientError, NoRegionError, ParamValidationError
except ImportError as missing:
    raise ConfigError(
        f"results in DynamoDB need boto3, which is not installed ({missing}): pip install 'gearmesh[dynamodb]'"
    ) from missing

__all__ = [
    "CONNECTION_ERRORS",
    "IN_FLIGHT",
    "ConditionFailed",
    "Connection",
    "DynamoDBUnavailable",
    "ItemTooLarge",
    "ThrottleLog",
    "client_for",
    "make_client",
]

T = TypeVar("T")

log = logging.getLogger("gearmesh.dynamodb")

#: Requests that one process has under way at a time.
IN_FLIGHT: Final = 8
#: Seconds to wait for a connection, and for DynamoDB's answer.
CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 15
#: Seconds without a throttled request after which an episode is over: the next one is logged again.
THROTTLE_EPISODE_S: Final = 60.0
#: The region for an emulator if the environment names none. An emulator accepts any region.
EMULATOR_REGION: Final = "us-east-1"

THROTTLED: Final = frozenset(
    (
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestLimitExceededException",
        "ThrottlingError",
        "ThrottlingException",
    )
)
#: Errors that are not the request's fault. DynamoDB may let the caller in later, or the table may be there then.
TRANSIENT: Final = THROTTLED | {
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignatureException",
    "InternalServerError",
    "InvalidSignatureException",
    "LimitExceededException",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "ResourceInUseException",
    "ResourceNotFound",
    "ResourceNotFoundException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "TransactionConflict",
    "TransactionConflictException",
    "UnrecognizedClientException",
}
_NOT_FOUND: Final = ("ResourceNotFound", "ResourceNotFoundException")


class DynamoDBUnavailable(ConnectionError):
    """DynamoDB cannot be reached, throttles, refuses the caller, or lacks a table: the call may be repeated later.

    Attributes:
        code: DynamoDB's own name of the error; ``""``: there was no answer.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(redact_text(text))
        self.code = code


CONNECTION_ERRORS: Final[tuple[type[BaseException], ...]] = (DynamoDBUnavailable,)


class ConditionFailed(BackendError):
    """The item did not meet the condition of a write, so DynamoDB left it as it is.

    Attributes:
        item: the item, if the request asked for it; ``{}``: there is none, or it was not asked for.
    """

    def __init__(self, item: Mapping[str, Any]) -> None:
        super().__init__("DynamoDB: the condition of a write was not met")
        self.item = item


class ItemTooLarge(BackendError):
    """The item would be larger than DynamoDB takes."""


class ThrottleLog:
    """Logs once in each episode that DynamoDB throttles. Safe in threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = float("-inf")

    def throttled(self, reason: str) -> None:
        """Log a WARNING unless a request was throttled less than a minute ago."""
        now = self._clock()
        last, self._last = self._last, now
        if now - last > THROTTLE_EPISODE_S:
            log.warning(
                "DynamoDB throttles requests (%s): they are repeated with growing pauses, and results come later. "
                "Raise the tables' capacity, or make it on demand",
                reason,
            )


class Connection:
    """Sends requests to DynamoDB, for all threads of one process.

    Args:
        client: a client of boto3.
        missing_table: the command that makes a missing table.
        owned: True: the client was made for this connection, which closes it.
    """

    def __init__(self, client: Any, missing_table: str, *, owned: bool = False) -> None:
        self.client = client
        self.throttling = ThrottleLog()
        #: True: the tables exist, with the right keys.
        self.checked = False
        #: DynamoDB takes several updates in one request, as far as this process knows.
        self.batches_updates = True
        self._missing_table = missing_table
        self._owned = owned
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        _listen(client, self._heard)

    def call(self, operation: str, *, wanted: str = "", **request: Any) -> dict[str, Any]:
        """Call one of the client's methods.

        Args:
            operation: the method's name.
            wanted: the field that the answer must have; ``""``: an answer may have any fields.
            request: the method's parameters.

        Raises:
            DynamoDBUnavailable: the call may be repeated later. boto3's retry mode has already repeated it.
            ConditionFailed: the request's condition was not met.
            ItemTooLarge: an item is too large.
            BackendError: DynamoDB will never take this request.
        """
        try:
            answer: dict[str, Any] = getattr(self.client, operation)(**request)
        except ClientError as exc:
            error = exc.response.get("Error", {})
            code, text = error.get("Code", ""), error.get("Message", "")
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code == "ConditionalCheckFailedException":
                item: Any = exc.response.get("Item")
                raise ConditionFailed(item or {}) from None
            raise self.error(code, text, status) from exc
        except ParamValidationError as exc:
            raise BackendError(f"DynamoDB: {exc}") from exc
        except BotoCoreError as exc:
            raise DynamoDBUnavailable(f"DynamoDB: {exc}") from exc
        if wanted and wanted not in answer:
            raise DynamoDBUnavailable(f"DynamoDB: the answer to {operation} has no {wanted}")
        return answer

    def error(self, code: str, text: str, status: int = 400) -> Exception:
        """Return the exception for an error that DynamoDB answers."""
        if code in THROTTLED:
            self.throttling.throttled(code)
        if code in _NOT_FOUND:
            return DynamoDBUnavailable(f"DynamoDB has no such table: {self._missing_table}", code)
        if code in TRANSIENT or status >= 500:
            return DynamoDBUnavailable(f"DynamoDB: {code}: {text}", code)
        if code.startswith("Validation") and "tem size" in text:
            return ItemTooLarge(f"DynamoDB: {text}")
        return BackendError(f"DynamoDB: {code}: {text}")

    def each(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """Carry out jobs, several at a time, and return their values.

        An error stops no other job. In the end the first error is raised, if possible one of the connection.
        """
        if len(jobs) == 1:
            return [jobs[0]()]
        outcomes = list(self._started(jobs))
        errors = [error for _, error in outcomes if error is not None]
        for error in sorted(errors, key=lambda error: not isinstance(error, CONNECTION_ERRORS)):
            raise error
        return [value for value, _ in outcomes]

    def close(self) -> None:
        """End the threads and close the connections, unless the client is the caller's own."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)
        if self._owned:
            self.client.close()

    def _started(self, jobs: Sequence[Callable[[], T]]) -> list[tuple[Any, Exception | None]]:
        try:
            with self._lock:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="gearmesh-dynamodb")
                futures = [self._pool.submit(_outcome, job) for job in jobs]
        except RuntimeError:  # the interpreter ends: it starts no more threads
            return [_outcome(job) for job in jobs]
        return [future.result() for future in futures]

    def _heard(self, response: Any = None, **event: Any) -> None:
        """Look at every answer before boto3 decides whether it repeats the request."""
        if response is not None:
            code = response[1].get("Error", {}).get("Code", "") if response[0].status_code >= 400 else ""
            if code in THROTTLED:
                self.throttling.throttled(code)


def _outcome(job: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return job(), None
    except Exception as exc:
        return None, exc


def _listen(client: Any, heard: Callable[..., None]) -> None:
    events = getattr(getattr(client, "meta", None), "events", None)
    if events is not None:
        # Register once for each client, since a caller's own client may serve several apps.
        events.register_first("needs-retry.dynamodb", heard, unique_id="gearmesh-throttling")


def client_for(target: DynamoDBTarget, given: Any, *, forked: bool = False) -> Any:
    """Return the client that a process uses.

    Args:
        target: the DynamoDB of a client that is made here.
        given: the caller's own client, or a function that makes one; None: one is made here.
        forked: True: the caller's client comes from the process from which this one was forked.

    Raises:
        ConfigError: see :func:`make_client`.
    """
    if given is None:
        return make_client(target)
    if not hasattr(given, "batch_get_item"):
        return given()
    if forked:
        given.close()  # its connections are those of the other process; it makes new ones
    return given


def make_client(target: DynamoDBTarget) -> Any:
    """Make a client of boto3 for a URL, with the settings of the AWS environment.

    boto3's standard retry mode repeats throttled requests with pauses that grow, unless AWS_RETRY_MODE chooses another.

    Raises:
        ConfigError: neither URL nor environment names a region.
    """
    options: dict[str, Any] = {}
    if not os.environ.get("AWS_RETRY_MODE"):
        options["retries"] = {"mode": "standard"}
    config = ClientConfig(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=2 * IN_FLIGHT,
        parameter_validation=False,  # requests are made here, and DynamoDB validates them, too
        user_agent_extra="gearmesh",
        **options,
    )
    # A session is not safe in threads, and boto3.client shares one.
    session = boto3.session.Session()
    given: dict[str, Any] = {"region_name": target.region or None, "endpoint_url": target.endpoint or None}
    if target.emulator:
        given["region_name"] = session.region_name or EMULATOR_REGION
        if session.get_credentials() is None:
            given |= {"aws_access_key_id": "gearmesh", "aws_secret_access_key": "gearmesh"}
    try:
        return session.client("dynamodb", config=config, **given)
    except NoRegionError as exc:
        raise ConfigError(
            "backend: the URL names no AWS region, and the environment has none: expected "
            "https://dynamodb.REGION.amazonaws.com, AWS_REGION, or a region in the AWS profile"
        ) from exc
    except (BotoCoreError, ValueError) as exc:
        raise ConfigError(
            f"backend: boto3 makes no client for {target.url}: {redact_text(str(exc))}"
        ) from exc
