"""The parts of an app that its tasks, its plans and the runs of its tasks use.

Each protocol names the few methods that one kind of object needs, so that it can be read and tested without an app.
:class:`~gearmesh.App` has them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from gearmesh.config import Config
from gearmesh.interfaces.backend import Backend
from gearmesh.results.client import ResultClient
from gearmesh.results.progress import ProgressBoard
from gearmesh.wire.signature import Signature

if TYPE_CHECKING:
    from gearmesh.app.handlers import Handlers
    from gearmesh.app.options import Options
    from gearmesh.app.revocations import Revocations

__all__ = ["PlanTarget", "TaskHost", "TaskOwner", "TaskSender"]


class TaskSender(Protocol):
    """Sends signatures and workflows, and finds their results. Tasks and the parts of workflows use it."""

    @property
    def eager_twin(self) -> TaskSender:
        """An app with the same tasks that runs them in the caller."""

    def send(self, what: Any, options: Options = ...) -> Any:
        """Send a workflow and return its result. Raises TaskError, LocalProtocolError and PublishError."""

    def send_call(self, call: Any) -> Any:
        """Send the signature of one task and return its AsyncResult. Raises the errors of :meth:`send`."""

    async def asend(self, what: Any, options: Options = ...) -> Any:
        """Do the same as :meth:`send` without blocking the event loop."""

    async def asend_call(self, call: Any) -> Any:
        """Do the same as :meth:`send_call` without blocking the event loop."""

    def result(self, uuid: str, task: Any = None) -> Any:
        """The AsyncResult of a task by its UUID; ``task`` decides the type of its value."""


class PlanTarget(TaskSender, ResultClient, Protocol):
    """The app for which a plan is made: it has the settings, and its results read their states through it."""

    @property
    def config(self) -> Config:
        """The settings in use."""

    @property
    def keeps_results(self) -> bool:
        """False if the backend forgets everything."""

    @property
    def twin_of(self) -> TaskSender | None:
        """The app whose tasks this app runs in the caller; None: this app is no eager twin."""

    def check_queue(self, queue: str) -> None:
        """Raise ConfigError if messages cannot be sent to a queue of this name."""


class TaskHost(Protocol):
    """Everything around a task that runs: in a worker, or in the caller of an eager app."""

    @property
    def backend(self) -> Backend:
        """The result backend of this process."""

    @property
    def config(self) -> Config:
        """The settings in use."""

    @property
    def handlers(self) -> Handlers:
        """The functions that are called around each task."""

    @property
    def progress(self) -> ProgressBoard:
        """Takes the progress that running tasks report."""

    @property
    def revocations(self) -> Revocations:
        """Knows the tasks that were revoked."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The registered tasks, by name."""

    def outgoing(self, sig: Signature) -> Signature:
        """The signature after all hooks."""


class TaskOwner(TaskSender, TaskHost, Protocol):
    """An app to which tasks can be added, and in which they run."""

    @property
    def closed(self) -> bool:
        """True once the app was closed: another app may take its tasks over."""

    def register_task(self, task: Any) -> None:
        """Add a task to the app. Raises TaskError if another function has taken its name."""
