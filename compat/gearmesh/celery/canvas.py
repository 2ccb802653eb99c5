"""The classes of the two kinds of Celery signatures that follow Machinery's rules; see :mod:`.step_types`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery.canvas import Signature as Step
from celery.result import AsyncResult

from gearmesh.celery.errors import NotForGo
from gearmesh.celery.results import typed_results
from gearmesh.celery.step_types import raw_of
from gearmesh.errors import LocalProtocolError
from gearmesh.wire import workflow
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import TaskResult

__all__ = ["GoStep", "RawStep"]


class GoStep(Step):  # type: ignore[misc]
    """A step that Go runs. Results follow its own arguments: None stands for no result, and a tuple for several."""

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> GoStep:
        return cls(dict(d), app=app)

    def apply_async(
        self, args: Any = None, kwargs: Any = None, route_name: Any = None, **options: Any
    ) -> Any:
        return super().apply_async(_passed_on(args or ()), kwargs, route_name, **options)

    def _merge(self, args: Any = None, kwargs: Any = None, options: Any = None, force: bool = False) -> Any:
        own, merged, chosen = super()._merge(None, kwargs, options, force)
        if args and (force or not self.immutable):
            own = (*own, *args)
        return own, merged, chosen


def _passed_on(args: Sequence[Any]) -> tuple[Any, ...]:
    """The results that Machinery would pass to the next step for the return value of a Celery task."""
    if len(args) == 1 and args[0] is None:
        return ()
    if len(args) == 1 and type(args[0]) is tuple:
        return args[0]
    return tuple(args)


class RawStep(Step):  # type: ignore[misc]
    """A signature that a Go program made. It keeps its UUID, and takes results as Machinery passes them on."""

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Any = None) -> RawStep:
        return cls(dict(d), app=app)

    @property
    def signature(self) -> Signature:
        """The signature as the Go program made it."""
        return raw_of(self)

    def freeze(self, _id: Any = None, *args: Any, **kwargs: Any) -> Any:
        return AsyncResult(self.signature.UUID, app=self.app)

    def apply_async(
        self, args: Any = None, kwargs: Any = None, route_name: Any = None, **options: Any
    ) -> Any:
        """Send the signature after the running task has succeeded.

        Raises:
            NotForGo: Go has no type for the return value of that task.
        """
        bridge = self.app.backend.bridge
        task = self.app.current_worker_task
        parent = Signature(Immutable=bool(self.immutable), OnSuccess=(self.signature,))
        results: tuple[TaskResult, ...] = ()
        if args and not parent.Immutable:
            name = task.name if task is not None else ""
            try:
                results = typed_results(bridge.results(name), args[0])
            except LocalProtocolError as exc:
                raise NotForGo(f"{exc}; task {self.task!r} takes it next") from exc
        (sig,) = workflow.after_success(parent, results)
        return AsyncResult(bridge.send(sig), app=self.app)
