"""Every error gearmesh raises, as one tree.

::

    GearmeshError
    ├── ConfigError              a setting, URL or option is wrong        (also ValueError)
    ├── ProtocolError            bytes and Go's rules disagree
    │   ├── LocalProtocolError   Go could not read a value to be sent     (also ValueError)
    │   └── RemoteProtocolError  a received document cannot be read
    ├── TaskError                a task's declaration or call is wrong    (also TypeError)
    ├── PublishError             the broker did not confirm a message in time
    ├── LockError                the key of a lock holds a foreign value
    ├── BackendError             a state could not be read or written
    │   ├── ChordBusy            another holder has the chord trigger; try again soon
    │   └── Unstorable           the backend will never take this state
    ├── ResultError              waiting for a result ended without one
    │   ├── ResultTimeout        nothing final within the timeout         (also TimeoutError)
    │   ├── TaskFailed           the task's state is FAILURE
    │   │   └── ChordMemberFailed  a chord's callback will never be sent
    │   └── NoBackend            the app keeps no results
    ├── RetryLater               raised by a task: run me again after a while
    ├── RetryRequested           raised by task.retry(): run me again as one of my retries
    └── LimitExceeded            a task ran for too long                  (also TimeoutError)
        ├── SoftLimitExceeded    raised in the task, which may clean up
        └── HardLimitExceeded    its process was killed

Messages name the thing, its value and the expected value. No message contains a password.
"""

from __future__ import annotations

from datetime import timedelta

__all__ = [
    "BackendError",
    "ChordBusy",
    "ChordMemberFailed",
    "ConfigError",
    "GearmeshError",
    "HardLimitExceeded",
    "LimitExceeded",
    "LocalProtocolError",
    "LockError",
    "NoBackend",
    "ProtocolError",
    "PublishError",
    "RemoteProtocolError",
    "ResultError",
    "ResultTimeout",
    "RetryLater",
    "RetryRequested",
    "SoftLimitExceeded",
    "TaskError",
    "TaskFailed",
    "Unstorable",
]


class GearmeshError(Exception):
    """The root: catch it to catch everything gearmesh raises by itself."""


class ConfigError(GearmeshError, ValueError):
    """A setting, URL or option is wrong; the message names the expected value."""


class ProtocolError(GearmeshError):
    """A message or a state breaks the rules of Machinery's protocol."""


class LocalProtocolError(ProtocolError, ValueError):
    """Go could not read the value that this process was about to send; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """A received document cannot be read as Go would read it."""


class TaskError(GearmeshError, TypeError):
    """A task was declared or called in a way that its types do not allow."""


class PublishError(GearmeshError):
    """The broker did not take a message within the time allowed."""


class LockError(GearmeshError):
    """The key of a scheduler's lock holds a value that no scheduler writes."""


class BackendError(GearmeshError):
    """The result backend refused or lost an operation."""


class ChordBusy(BackendError):
    """Another worker (perhaps Go's) holds the chord trigger; try again in a few ms."""


class Unstorable(BackendError):
    """The backend can never take this state, or group meta, as it is. The worker then stores a FAILURE with the reason.

    Attributes:
        uuid: the UUID of the task or the group.
        reason: the reason, without the UUID.
    """

    def __init__(self, uuid: str, reason: str) -> None:
        super().__init__(f"{uuid} can't be stored: {reason}")
        self.uuid = uuid
        self.reason = reason


class ResultError(GearmeshError):
    """Waiting for a result ended without one."""


class ResultTimeout(ResultError, TimeoutError):
    """No final state within the timeout; the task may still finish later."""


class TaskFailed(ResultError):
    """The task whose result was asked for has ended with FAILURE.

    Attributes:
        uuid: the task's UUID.
        error: the error text as stored; a Go worker may have stored it.
        name: the task's name; ``""`` where it is not known.
        exception_type: the class of the exception in the worker, such as ``KeyError``. If it is not a built-in class,
            its module is in front: ``shop.errors.OutOfStock``. ``""``: it is not known, as for a failure in Go.
        traceback: the worker's traceback as Python prints it; ``""`` where it is not known.
    """

    def __init__(
        self, uuid: str, error: str, name: str = "", *, exception_type: str = "", traceback: str = ""
    ) -> None:
        super().__init__(uuid, error, name)
        self.uuid = uuid
        self.error = error
        self.name = name
        self.exception_type = exception_type
        self.traceback = traceback

    def __str__(self) -> str:
        kind = self.exception_type.rpartition(".")[2]
        # An exception without a text is stored as its representation, which begins with its class.
        shown = f"{kind}: " if kind and not self.error.startswith(kind) else ""
        return f"task {self.name or '?'} ({self.uuid}) failed: {shown}{self.error or '(no error text)'}"


class ChordMemberFailed(TaskFailed):
    """A member of the chord failed, so its callback will never be sent."""


class NoBackend(ResultError):
    """The app is configured to keep no results (backend ``null``)."""


class RetryLater(GearmeshError):
    """Raise inside a task to have it run again after ``delay``; its retry count stays as it is.

    Machinery has this as ``tasks.NewErrRetryTaskLater``.

    Args:
        delay: seconds (int or float), or a timedelta; zero runs it again at once.
        message: for logs.
    """

    def __init__(self, delay: float | timedelta, message: str = "") -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        if not 0 <= seconds < 1e9:  # NaN fails too
            raise ConfigError(f"RetryLater: delay is {delay!r}, expected 0 or more seconds")
        super().__init__(message or f"Task error: retry in {seconds:g}s")
        self.seconds = seconds


class RetryRequested(GearmeshError):
    """Raised by ``task.retry()``: run this task again, as one of its retries.

    Attributes:
        error: the exception with which the task fails if no retry is left. None: the task fails with this
            RetryRequested.
        seconds: seconds until the next try; None: the task's retry policy decides.
    """

    def __init__(self, error: BaseException | None = None, seconds: float | None = None) -> None:
        super().__init__(f"retry: {error}" if error is not None else "retry")
        self.error = error
        self.seconds = seconds


class LimitExceeded(GearmeshError, TimeoutError):
    """A task ran for too long."""


class SoftLimitExceeded(LimitExceeded):
    """Raised in a task that runs for longer than its soft limit, or that was revoked. It may clean up, then re-raise.

    Args:
        limit: the limit in seconds; None: the task was interrupted for another reason.
        message: the reason.
    """

    def __init__(self, limit: float | None = None, message: str = "") -> None:
        super().__init__(message or f"soft time limit{'' if limit is None else f' of {limit:g} s'} exceeded")


class HardLimitExceeded(LimitExceeded):
    """A task ran for longer than its hard limit of ``limit`` seconds, so its process was killed."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"hard time limit of {limit:g} s exceeded")
