"""Options of sending a task: queue, time, priority, retries, successors. They are checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec

from gearmesh.errors import LocalProtocolError, TaskError
from gearmesh.habits import CALL, unknown_option
from gearmesh.wire import gotime, types
from gearmesh.wire.names import EXPIRES_HEADER

if TYPE_CHECKING:
    from gearmesh.app.retry import Retry

__all__ = [
    "CALL_ONLY",
    "NOTHING",
    "OptionSet",
    "Options",
    "TaskOptions",
    "TaskSettings",
    "UnboundSettings",
    "Workflow",
    "check_delay",
    "header",
    "options_of",
    "refuse_call_only",
]


class Workflow:
    """The base class of signatures, chains, groups and chords; see :mod:`.canvas`."""

    __slots__ = ()


class TaskOptions(TypedDict, total=False):
    """Options that a task, a signature and a call may have; the one nearest to the call wins.

    queue: the queue to which the task is sent; ``""``: the app's default queue.
    priority: 0 to 255; only some brokers use it.
    headers: a mapping of str to str, bool, int, or a list of these. All mappings are merged; for one name, the value
        nearest to the call wins.
    expires: seconds (or a timedelta) from the call, or an aware datetime, after which a gearmesh worker does not start
        the task any more: it fails with the error "expired". A Go worker still runs it.
    retry_count: how often a failing task is tried again; 0: never.
    retry_timeout: seconds; the first pause is the next greater Fibonacci number; 0 gives 1 s.
    ignore_unregistered: True: a worker that does not know the task drops the message.
    keep_on_error: True: on SQS, a failing task's message is left for the dead-letter queue.
    message_group: SQS FIFO: the message group's id.
    """

    queue: str
    priority: int
    headers: Mapping[str, Any]
    expires: float | timedelta | datetime | None
    retry_count: int
    retry_timeout: int
    ignore_unregistered: bool
    keep_on_error: bool
    message_group: str


class UnboundSettings(TaskOptions, total=False):
    """Options of a task that also say how workers run it.

    retry: which failures are tried again, and when; None: all of them, by Go's rule.
    rate: the highest number of starts of this task on each queue: "5/s", "100/m", "10/h"; None: no limit. On Redis it
        holds for all workers of a queue together, elsewhere for each worker process.
    unique_for: seconds for which a call with the same name and arguments is not queued again, unless it is a part of a
        workflow: the second call gets the result of the first one. None: every call is queued.
    soft_limit: seconds after which a worker interrupts the task; None: the worker's default; 0: never.
    hard_limit: seconds after which a worker kills the task's process; None: the worker's default; 0: never.

    Celery's names: time_limit and soft_time_limit are hard_limit and soft_limit, rate_limit is rate; max_retries,
    autoretry_for, dont_autoretry_for, default_retry_delay, retry_backoff (True or the first pause's seconds),
    retry_backoff_max and retry_jitter make a ``retry`` policy; acks_late may be True, since it always is.
    """

    time_limit: float | None
    soft_time_limit: float | None
    rate_limit: str | float | None
    max_retries: int | None
    autoretry_for: tuple[type[BaseException], ...]
    dont_autoretry_for: tuple[type[BaseException], ...]
    default_retry_delay: float
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    acks_late: bool
    retry: Retry | None
    rate: str | None
    unique_for: float | None
    soft_limit: float | None
    hard_limit: float | None


class TaskSettings(UnboundSettings, total=False):
    """All options of ``@app.task(…)``.

    bind: True: the function's first parameter is the task itself, with ``self.request`` and ``self.retry()``.
    """

    bind: bool


class OptionSet(TaskOptions, total=False):
    """Options that a signature and a call may have, and a task may not.

    countdown: seconds (or a timedelta) from now before which the task does not run.
    eta: an aware datetime before which the task does not run. It excludes countdown.
    immutable: True: the task gets no results of the step before, as with ``si``.
    on_success: one or several nodes that run after a success, with its results behind their own arguments.
    on_error: one or several nodes that run after the final failure, with the error's text before their own arguments.
    uuid: the task's id; gearmesh makes one if it is not given.
    link, link_error, task_id: Celery's names of on_success, on_error and uuid.
    """

    countdown: float | timedelta | None
    eta: datetime | None
    immutable: bool
    on_success: Workflow | Iterable[Workflow]
    on_error: Workflow | Iterable[Workflow]
    uuid: str
    link: Workflow | Iterable[Workflow]
    link_error: Workflow | Iterable[Workflow]
    task_id: str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options as they were given; None for an option that was not given. Made by :func:`options_of`."""

    queue: str | None = None
    priority: int | None = None
    headers: Mapping[str, msgspec.Raw] | None = None
    retry_count: int | None = None
    retry_timeout: int | None = None
    ignore_unregistered: bool | None = None
    keep_on_error: bool | None = None
    message_group: str | None = None
    countdown_ns: int | None = None
    eta_ns: int | None = None
    expires_in_ns: int | None = None
    expires_ns: int | None = None
    immutable: bool | None = None
    on_success: tuple[Any, ...] | None = None
    on_error: tuple[Any, ...] | None = None
    uuid: str | None = None

    def over(self, other: Options) -> Options:
        """These options, and those of ``other`` that are not given here."""
        if other is NOTHING or self is NOTHING:
            return other if self is NOTHING else self
        mine = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        changes = msgspec.structs.asdict(other) | mine
        if self.headers and other.headers:
            changes["headers"] = {**other.headers, **self.headers}
        if self.eta_ns is not None or self.countdown_ns is not None:  # only the nearer time counts
            changes["eta_ns"], changes["countdown_ns"] = self.eta_ns, self.countdown_ns
        if self.expires_ns is not None or self.expires_in_ns is not None:
            changes["expires_ns"], changes["expires_in_ns"] = self.expires_ns, self.expires_in_ns
        return Options(**changes)

    def without_time(self) -> Options:
        """These options without ``countdown`` and ``eta``."""
        if self.countdown_ns is None and self.eta_ns is None:
            return self
        return msgspec.structs.replace(self, countdown_ns=None, eta_ns=None)

    def without_successors(self) -> Options:
        """These options without ``on_success`` and ``on_error``."""
        if self.on_success is None and self.on_error is None:
            return self
        return msgspec.structs.replace(self, on_success=None, on_error=None)

    def due(self, now_ns: int) -> tuple[str | None, int]:
        """The ETA's text, and the unix ns to give the broker (0: at once)."""
        if self.countdown_ns is not None:
            eta = now_ns + self.countdown_ns
        elif self.eta_ns is not None:
            eta = self.eta_ns
        else:
            return None, 0
        return gotime.format_ns(eta), eta if eta > now_ns else 0

    def all_headers(self, now_ns: int) -> Mapping[str, msgspec.Raw]:
        """The headers of a message that is sent at ``now_ns``, with the time at which it expires."""
        headers = self.headers or {}
        expires = self.expires_ns if self.expires_in_ns is None else now_ns + self.expires_in_ns
        if expires is None:
            return headers
        return {**headers, EXPIRES_HEADER: types.dump("string", gotime.format_ns(expires))}


NOTHING = Options()


def check_delay(task: str, eta_ns: int, now_ns: int, max_delay: float) -> None:
    """Refuse an ETA that the broker cannot wait for.

    Args:
        task: the task's name.
        eta_ns: unix ns; 0: at once.
        now_ns: unix ns.
        max_delay: seconds for which the broker can delay a message.

    Raises:
        LocalProtocolError: the ETA is too late. The message names the task, the ETA and the longest delay.
    """
    if (eta_ns - now_ns) / 1e9 > max_delay:
        raise LocalProtocolError(
            f"task {task!r}: its ETA is {gotime.format_ns(eta_ns)}, but the broker delays a message for at most "
            f"{max_delay / 86400:.0f} days"
        )


def options_of(task: str, given: Mapping[str, Any]) -> Options:
    """Check options by name.

    Raises:
        TaskError, LocalProtocolError: an option is wrong. The message names task, option, value and expected values.
    """
    if not given:
        return NOTHING
    known: dict[str, Any] = {}
    for given_name, value in given.items():
        if value is None:
            continue
        name = ALIASES.get(given_name, given_name)
        reader = _READERS.get(name)
        if reader is None:
            raise TaskError(unknown_option(task, given_name, _READERS, CALL))
        if name != given_name and given.get(name) is not None:
            raise TaskError(f"task {task!r}: {given_name} and {name} are one option, expected one of them")
        try:
            key, known_value = reader(name, value)
        except (TaskError, LocalProtocolError) as exc:
            raise type(exc)(f"task {task!r}, {exc}") from None
        known[key] = known_value
    if "eta_ns" in known and "countdown_ns" in known:
        raise TaskError(f"task {task!r}: countdown and eta exclude each other")
    return Options(**known) if known else NOTHING


#: Celery's names of options of a call.
ALIASES: Final = {"link": "on_success", "link_error": "on_error", "task_id": "uuid"}
#: Options that only a call or a signature may have: each call of a task has its own time and id.
CALL_ONLY: Final = frozenset({"countdown", "eta", "immutable", "uuid", "task_id"})


def refuse_call_only(task: str, given: Mapping[str, Any]) -> None:
    """Refuse options of a call in the declaration of a task. For Go, two calls with one id are one task.

    Raises:
        TaskError: an option belongs to a call. The message names the task and the option.
    """
    for name in sorted(CALL_ONLY & {name for name, value in given.items() if value is not None}):
        raise TaskError(
            f"task {task!r}: {name} belongs to a call, as in apply_async({name}=…), not to a task"
        )


def header(name: str, value: Any) -> msgspec.Raw:
    """A header's value as canonical JSON. Every broker carries str, bool, int and lists of them; refuse other types.

    Go: Redis and SQS carry a number. On AMQP, Go cannot publish a message with a number, so the AMQP transport refuses
    it.
    """
    if isinstance(value, (list, tuple)):
        parts = [bytes(header(name, each)) for each in value if not isinstance(each, (list, tuple))]
        if len(parts) == len(value):
            return msgspec.Raw(b"[" + b",".join(parts) + b"]")
    elif isinstance(value, (str, bool, int)):
        return types.dump(types.infer(value), value)
    raise TaskError(f"header {name!r} is {value!r:.80}, expected str, bool, int or a list of them")


def _text(name: str, value: Any) -> tuple[str, str]:
    if not isinstance(value, str):
        raise TaskError(f"{name} is {value!r:.80}, expected str")
    return name, value


def _flag(name: str, value: Any) -> tuple[str, bool]:
    if not isinstance(value, bool):
        raise TaskError(f"{name} is {value!r:.80}, expected True or False")
    return name, value


def _number(name: str, value: Any) -> tuple[str, int]:
    most = 255 if name == "priority" else 2**63 - 1
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise TaskError(f"{name} is {value!r:.80}, expected a whole number from 0 to {most}")
    return name, value


def _headers(name: str, value: Any) -> tuple[str, dict[str, msgspec.Raw]]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TaskError(f"headers are {value!r:.80}, expected a mapping of str")
    return name, {key: header(key, each) for key, each in value.items()}


def _expires(name: str, value: Any) -> tuple[str, int]:
    if isinstance(value, datetime):
        return "expires_ns", _eta(name, value)[1]
    try:
        return "expires_in_ns", _countdown(name, value)[1]
    except TaskError as exc:
        raise TaskError(f"{exc}, or an aware datetime") from None


def _countdown(name: str, value: Any) -> tuple[str, int]:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and math.isfinite(seconds)
    if not number or not 0 <= seconds < 1e9:
        raise TaskError(f"{name} is {value!r:.80}, expected 0 or more seconds, or a timedelta")
    return "countdown_ns", int(seconds * 1e9)


def _eta(name: str, value: Any) -> tuple[str, int]:
    if not isinstance(value, datetime):
        raise TaskError(f"{name} is {value!r:.80}, expected an aware datetime")
    try:  # a signature has it in UTC
        return "eta_ns", gotime.parse(gotime.from_datetime(value))
    except LocalProtocolError as exc:
        raise LocalProtocolError(f"{name}: {exc}") from None


def _nodes(name: str, value: Any) -> tuple[str, tuple[Any, ...]]:
    nodes = tuple(value) if isinstance(value, Iterable) and not isinstance(value, Workflow) else (value,)
    for node in nodes:
        if not isinstance(node, Workflow):
            raise TaskError(f"{name} holds {node!r:.80}, expected signatures (task.s(…), chain, …)")
    return name, nodes


_READERS: Mapping[str, Any] = {
    "queue": _text,
    "priority": _number,
    "headers": _headers,
    "retry_count": _number,
    "retry_timeout": _number,
    "ignore_unregistered": _flag,
    "keep_on_error": _flag,
    "message_group": _text,
    "countdown": _countdown,
    "eta": _eta,
    "expires": _expires,
    "immutable": _flag,
    "on_success": _nodes,
    "on_error": _nodes,
    "uuid": _text,
}
