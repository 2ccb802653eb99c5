"""The requests of one process to SQS, and the errors that they end with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from gearmesh.bounded_dict import BoundedDict
from gearmesh.config import SQSConfig
from gearmesh.errors import ConfigError
from gearmesh.interfaces.commit import Token
from gearmesh.process_local import ProcessLocal
from gearmesh.shared import SharedByName
from gearmesh.transports.sqs.errors import SQSUnavailable, error_of
from gearmesh.transports.sqs.queues import QueueDirectory
from gearmesh.transports.sqs.sent import SentMessages
from gearmesh.urls import SQSTarget

__all__ = ["SQSClient", "client_of"]

#: Number of requests that one process sends at the same time, without those that wait for messages.
MAX_REQUESTS_IN_FLIGHT: Final = 8
#: Seconds to wait for a connection, and for an answer. The second is longer than the 20 s that a request for messages
#: waits.
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 5, 30
#: Attempts that boto3 makes before it raises. The callers have a backoff, and mark messages that they send again.
MAX_ATTEMPTS: Final = 1
#: Number of producers' batches for which the client remembers the messages that SQS has taken.
MAX_REMEMBERED_BATCHES: Final = 256
#: Region if neither the endpoint nor the environment names one, as with an emulator.
DEFAULT_REGION: Final = "us-east-1"

T = TypeVar("T")
R = TypeVar("R")


class SQSClient:
    """Sends the requests of one process to SQS, several at a time. Safe in threads; belongs to one process.

    Args:
        target: the address of the queues.
        settings: the app's settings. Their ``client``, if given, replaces boto3's own.

    Attributes:
        queues: finds the queues and their attributes.
        sent: the messages that SQS has taken from each batch of a producer.
    """

    def __init__(self, target: SQSTarget, settings: SQSConfig) -> None:
        self._boto = _boto_client(target, settings)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._shared: dict[Any, Any] = {}
        self.sent: BoundedDict[Token, SentMessages] = BoundedDict(MAX_REMEMBERED_BATCHES)
        self.queues = QueueDirectory(self, target, create=settings.create_queues)

    def call(self, operation: str, **params: Any) -> Any:
        """Send one request, and return its answer.

        Args:
            operation: the name of the method of boto3's client.
            params: its parameters.

        Raises:
            SQSUnavailable: the same request may succeed later.
            SQSRefused: SQS would refuse the same request again.
        """
        try:
            return getattr(self._boto, operation)(**params)
        except Exception as exc:
            if type(exc).__module__.partition(".")[0] not in ("botocore", "boto3"):
                raise
            raise error_of(_action(operation), exc) from exc

    def call_batch(
        self, operation: str, url: str, entries: Sequence[Mapping[str, Any]]
    ) -> dict[int, dict[str, Any]]:
        """Send one request with up to ten entries, and return the failed entries by their index.

        Args:
            operation: the name of the method of boto3's client, such as ``send_message_batch``.
            url: the queue's URL.
            entries: the parameters of each entry, without ``Id``.

        Raises:
            SQSUnavailable: the same request may succeed later, or the answer leaves out an entry, as the answer of a
                server that is shutting down does.
            SQSRefused: SQS would refuse the same request again.
        """
        numbered = [{"Id": str(n), **entry} for n, entry in enumerate(entries)]
        answer = self.call(operation, QueueUrl=url, Entries=numbered)
        failed = {int(each["Id"]): each for each in answer.get("Failed") or ()}
        told = failed.keys() | {int(each["Id"]) for each in answer.get("Successful") or ()}
        if len(told) != len(entries):
            raise SQSUnavailable(
                f"{_action(operation)}: the answer has {len(told)} of {len(entries)} entries"
            )
        return failed

    def shared(self, make: Callable[[SQSClient], T]) -> T:
        """Return the object that ``make`` makes; all connections of this client share it."""
        with self._lock:
            found = self._shared.get(make)
            if found is None:
                found = self._shared[make] = make(self)
            return found

    def each(self, function: Callable[[T], R], items: Sequence[T]) -> Iterable[R]:
        """Call ``function`` for each item, several at a time; the results are in order.

        All calls end before the first error is raised, so that no call is still running when the caller sees it.
        """
        if len(items) == 1:
            return [function(items[0])]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(MAX_REQUESTS_IN_FLIGHT, "gearmesh-sqs")
        futures = [self._pool.submit(function, item) for item in items]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        return [future.result() for future in futures]


def _action(operation: str) -> str:
    """Return the permission that a request needs, such as ``sqs:SendMessage``."""
    words = "".join(word.capitalize() for word in operation.split("_"))
    return f"sqs:{words.removesuffix('Batch')}"


def client_of(target: SQSTarget, settings: SQSConfig) -> SQSClient:
    """Return this process's client for an address. The client lives as long as one of its users."""
    key = (target.endpoint, target.account, settings.create_queues, id(settings.client))
    clients = _CLIENTS.get()
    return clients.get(key, lambda: SQSClient(target, settings))


class _Clients:
    """Shares the clients of one process, since it takes a tenth of a second to make one."""

    def __init__(self) -> None:
        self._making: list[Callable[[], SQSClient]] = []
        self._lock = threading.Lock()
        self._shared: SharedByName[SQSClient] = SharedByName(lambda name: self._making[-1]())

    def get(self, key: tuple[Any, ...], make: Callable[[], SQSClient]) -> SQSClient:
        with self._lock:  # boto3's sessions are not safe in threads, either
            self._making.append(make)
            try:
                return self._shared.get(repr(key))
            finally:
                self._making.pop()


_CLIENTS: Final = ProcessLocal(_Clients)


def _boto_client(target: SQSTarget, settings: SQSConfig) -> Any:
    given = settings.client
    if given is not None:
        return given if hasattr(given, "receive_message") else given()
    try:
        import boto3
        from botocore.config import Config as BotoConfig
    except ImportError as exc:
        raise ConfigError(
            "broker: SQS needs boto3, expected it to be installed: pip install 'gearmesh[sqs]'"
        ) from exc
    session = boto3.session.Session()
    return session.client(
        "sqs",
        endpoint_url=target.endpoint,
        region_name=target.region or session.region_name or DEFAULT_REGION,
        config=BotoConfig(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=ANSWER_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
            max_pool_connections=4 * MAX_REQUESTS_IN_FLIGHT,
            tcp_keepalive=True,
            parameter_validation=False,
        ),
    )
