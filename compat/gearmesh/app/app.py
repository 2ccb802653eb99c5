"""The app: which tasks there are, where they are sent, and where their results are kept."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from gearmesh.app import declaration as declarations
from gearmesh.app.declaration import Declaration
from gearmesh.app.eager import Eager
from gearmesh.app.forks import PerProcess
from gearmesh.app.node import Node
from gearmesh.app.options import NOTHING, Options, options_of
from gearmesh.app.plan import Message, Plan
from gearmesh.app.publisher import Publisher
from gearmesh.app.results import AsyncResult, Result
from gearmesh.app.signatures import TaskSignature
from gearmesh.app.task import Task
from gearmesh.app.waiting import Waiter
from gearmesh.backends.base import Backend
from gearmesh.backends.registry import open_backend
from gearmesh.config import Config
from gearmesh.errors import (
    BackendError,
    ConfigError,
    LocalProtocolError,
    NoBackend,
    RemoteProtocolError,
    TaskError,
)
from gearmesh.urls import redact, scheme_of
from gearmesh.wire import gotime, workflow
from gearmesh.wire.codec import encode
from gearmesh.wire.commit import Commit, Publish
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import PENDING, TaskState
from gearmesh.wire.types import load_args

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from gearmesh.app.options import OptionSet, TaskOptions

__all__ = ["App"]

P = ParamSpec("P")
R = TypeVar("R")

#: A function that sees each signature before it is published, and may return a changed one.
Hook = Callable[[Signature], "Signature | None"]


class App:
    """Tasks, a broker and a result backend. Safe in threads and after a fork; nothing is global.

    Args:
        broker: URL of where messages wait; ``"eager"`` runs tasks in the caller.
        backend: URL of where results live; None: ``"eager"`` for an eager broker (kept in this
            process), else ``"null"``: none are kept.
        config: all settings at once; the others here win over it.
        settings: any field of :class:`~gearmesh.config.Config`: default_queue, results_expire_in, lock, …

    Raises:
        ConfigError: a setting or URL is wrong.
    """

    def __init__(
        self,
        broker: str | None = None,
        backend: str | None = None,
        *,
        config: Config | None = None,
        **settings: Any,
    ) -> None:
        given = {key: value for key, value in (("broker", broker), ("backend", backend)) if value is not None}
        self.config = _config(config, given | settings)
        self.eager = scheme_of(self.config.broker) == "eager"
        self._name = uuid.uuid4().hex
        self._tasks: dict[str, Task[..., Any, Any]] = {}
        self._remotes: dict[str, Declaration] = {}
        self._hooks: list[Hook] = []
        self._backend = PerProcess(self._open_backend)
        self._waiter = PerProcess(lambda: Waiter(self.backend))
        self._publisher = Publisher(self.config, self._backend.get)
        self._eager = Eager(self)

    def __repr__(self) -> str:
        return f"<App {self.shown_broker}, {len(self._tasks)} tasks>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections that are not in use. Closing twice is fine; using the app again opens new."""
        self._publisher.close()
        waiter, backend = self._waiter.peek(), self._backend.peek()
        if waiter is not None:
            waiter.close()
        if backend is not None:
            backend.close()

    # --- tasks ---------------------------------------------------------------------------------

    @property
    def tasks(self) -> Mapping[str, Task[..., Any, Any]]:
        """The tasks that are here, by name."""
        return MappingProxyType(self._tasks)

    @property
    def default_queue(self) -> str:
        """The queue of tasks that name none."""
        return self.config.default_queue

    @overload
    def task(self, fn: Callable[P, Awaitable[R]], /) -> Task[P, R, Awaitable[R]]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> Task[P, R, R]: ...
    @overload
    def task(
        self, fn: None = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]
    ) -> _Decorator: ...
    def task(self, fn: Any = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]) -> Any:
        """Make a function a task: ``@app.task`` or ``@app.task(name=…, queue=…, retry_count=…)``.

        The function stays callable as it is. Its annotations decide the Go types of arguments and
        results, see :mod:`gearmesh.types`; what is not annotated is taken by the value.

        Args:
            name: on the wire; the function's ``__name__`` if not given.
            options: see :class:`~gearmesh.app.options.TaskOptions`.

        Raises:
            TaskError: an annotation has no Go type, or the name is taken by another function.
        """
        decorator = _Decorator(self, name, dict(options))
        return decorator if fn is None else decorator(fn)

    def remote(
        self, name: str, *arg_types: Any, results: Any = Any, **options: Unpack[TaskOptions]
    ) -> Task[..., Any, Any]:
        """A task that is not here, to be sent: ``app.remote("resize", "[]byte", "uint16")``.

        Args:
            name: as it is registered where it runs.
            arg_types: Go type names or annotations; none: by the values. ``"...int64"``: variadic.
            results: a type, or several in a tuple; ``()``: none; not given: not known.
            options: see :class:`~gearmesh.app.options.TaskOptions`.
        """
        declaration = declarations.of_types(_task_name(name), arg_types, results)
        self._remotes[name] = declaration
        return Task(self, None, declaration, options_of(name, dict(options)))

    def before_publish(self, hook: Hook) -> Hook:
        """Register a function that is called with each signature before it is published.

        It may return a changed one (not another UUID or group); None leaves it. What it raises
        stops the publish. Hooks run in the order of registration. Also usable as a decorator.
        """
        self._hooks.append(hook)
        return hook

    def outgoing(self, sig: Signature) -> Signature:
        """The signature after all hooks. For whoever publishes on the app's behalf."""
        for hook in self._hooks:
            changed = hook(sig)
            if changed is None or changed is sig:
                continue
            same = isinstance(changed, Signature) and changed.UUID == sig.UUID
            if not same or changed.GroupUUID != sig.GroupUUID:
                raise TaskError(
                    f"task {sig.Name!r}: before_publish returned {changed!r:.80}, expected a Signature with "
                    "the same UUID and GroupUUID, or None"
                )
            sig = changed
        return sig

    # --- sending -------------------------------------------------------------------------------

    def send(self, what: Node | Signature, options: Options = NOTHING) -> Result[Any]:
        """Send a workflow, or a signature as it is on the wire (empty UUID and queue are filled in).

        Raises:
            TaskError, LocalProtocolError: it cannot be sent, or Go could not read it; nothing was sent.
            PublishError: the broker did not take it in time.
        """
        if isinstance(what, Signature):
            return self._send_raw(what)
        plan = Plan(self, time.time_ns(), options)
        result = plan.add(what)
        self._publish(plan)
        return result

    def publish_many(self, nodes: Iterable[Node], **options: Unpack[OptionSet]) -> list[Result[Any]]:
        """Send many signatures or workflows in batches, much faster than one by one; in order.

        All are checked before the first is sent. Raises as :meth:`send`.
        """
        plan = Plan(self, time.time_ns(), options_of("publish_many", dict(options)))
        results = [plan.add(node) for node in nodes]
        self._publish(plan)
        return results

    async def asend(self, what: Node | Signature, options: Options = NOTHING) -> Result[Any]:
        """:meth:`send` without blocking the event loop."""
        return await asyncio.to_thread(self.send, what, options)

    async def apublish_many(self, nodes: Iterable[Node], **options: Unpack[OptionSet]) -> list[Result[Any]]:
        """:meth:`publish_many` without blocking the event loop."""
        return await asyncio.to_thread(self.publish_many, nodes, **options)

    def _send_one(self, call: TaskSignature) -> AsyncResult[Any]:
        plan = Plan(self, time.time_ns())
        result = plan.add_one(call)
        self._publish(plan)
        return result

    def _send_raw(self, sig: Signature) -> AsyncResult[Any]:
        sig = workflow.prepare(sig, queue=self.default_queue, new_id=lambda: str(uuid.uuid4()))
        if not sig.Name:
            raise TaskError("a signature without a Name cannot be sent")
        for _, each in sig.walk():
            try:
                load_args(each)
            except RemoteProtocolError as exc:
                raise LocalProtocolError(f"task {each.Name!r}: Go could not read an argument: {exc}") from exc
        plan = Plan(self, time.time_ns())
        plan.messages.append(Message(sig, _due(sig, plan.now_ns)))
        self._publish(plan)
        return self.result(sig.UUID, sig.Name)

    def _publish(self, plan: Plan) -> None:
        messages = plan.messages
        if self._hooks:
            messages = [self._hooked(message, plan.now_ns) for message in messages]
        created = gotime.format_ns(plan.now_ns)
        if self.eager:
            self._store(plan, [message.sig for message in messages], created)
            self._eager.run([message.sig for message in messages])
            return
        bodies = [encode(message.sig) for message in messages]
        if plan.metas:
            self._store(plan, [message.sig for message in messages], created)
        commits = []
        for (sig, eta_ns), body in zip(((m.sig, m.eta_ns) for m in messages), bodies, strict=True):
            state = TaskState(TaskUUID=sig.UUID, TaskName=sig.Name, State=PENDING, CreatedAt=created)
            publish = Publish(sig.RoutingKey, body, eta_ns, sig.Priority)
            commits.append(Commit(states=() if plan.metas else (state,), publishes=(publish,)))
        self._publisher.send(commits, connections=plan.connections)

    def _store(self, plan: Plan, sigs: Sequence[Signature], created: str) -> None:
        """Group metas and all PENDING states, which have to be there before any member is."""
        named = dict(plan.members)
        named.update((sig.UUID, sig.Name) for sig in sigs)
        states = [
            TaskState(TaskUUID=task_uuid, TaskName=name, State=PENDING, CreatedAt=created)
            for task_uuid, name in named.items()
        ]
        self._publisher.store(states, plan.metas)

    def _hooked(self, message: Message, now_ns: int) -> Message:
        sig = self.outgoing(message.sig)
        if sig.ETA == message.sig.ETA:
            return Message(sig, message.eta_ns)
        return Message(sig, _due(sig, now_ns))

    # --- results -------------------------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """The result backend of this process."""
        return self._backend.get()

    @property
    def keeps_results(self) -> bool:
        """False if the backend forgets everything."""
        return self.backend.keeps

    @property
    def shown_broker(self) -> str:
        """The broker's URLs without their passwords."""
        return ", ".join(map(redact, self.config.brokers))

    @property
    def backend_shown(self) -> str:
        """The backend's URL without its password."""
        return redact(self.config.backend)

    def result(self, task_uuid: str, name: str = "") -> AsyncResult[Any]:
        """The result of a task by its UUID; ``name`` if it is known, for how results are typed."""
        return AsyncResult(task_uuid, self, name=name)

    def states(self, uuids: Sequence[str]) -> list[TaskState | None]:
        """Stored states in the order of ``uuids``; None for one that is not there (any more).

        Raises:
            BackendError: the backend cannot be reached.
        """
        backend = self.backend
        try:
            return backend.read(uuids)
        except backend.connection_errors as exc:
            raise BackendError(f"result backend {self.backend_shown}: {type(exc).__name__}") from exc

    def check_backend(self) -> None:
        """Ask the backend something. Raises BackendError if it cannot be reached."""
        self.states(["gearmesh"])

    def forget(self, uuids: Sequence[str]) -> None:
        """Remove states and group metas from the backend. Raises BackendError as :meth:`states`."""
        backend = self.backend
        try:
            backend.purge(uuids)
        except backend.connection_errors as exc:
            raise BackendError(f"result backend {self.backend_shown}: {type(exc).__name__}") from exc

    def _need_results(self) -> None:
        if not self.backend.keeps:
            raise NoBackend(f"the app keeps no results (backend {self.backend_shown!r})")

    def _declaration_of(self, name: str) -> Declaration:
        task = self._tasks.get(name)
        return task.declaration if task else self._remotes.get(name) or Declaration(name)

    def _open_backend(self) -> Backend:
        url = self.config.backend
        if scheme_of(url, "backend") == "eager":
            url = f"memory://eager-{self._name}"
        return open_backend(url, expire=self.config.expire)


class _Decorator:
    """``@app.task(…)``, waiting for its function."""

    def __init__(self, app: App, name: str | None, options: Mapping[str, Any]) -> None:
        self._app = app
        self._name = name
        self._options = options

    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Task[P, R, Awaitable[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R, R]: ...
    def __call__(self, fn: Any, /) -> Any:
        if isinstance(fn, Task):
            fn = fn.fn
        if not callable(fn):
            raise TaskError(f"task: {fn!r:.80} is no function")
        name = _task_name(self._name if self._name is not None else getattr(fn, "__name__", ""))
        taken = self._app._tasks.get(name)
        if taken is not None and taken.fn is not fn:
            raise TaskError(f"task name {name!r} is taken by {taken.fn!r}; give this one another name")
        task: Task[..., Any, Any] = Task(
            self._app, fn, declarations.of_function(name, fn), options_of(name, self._options)
        )
        self._app._tasks[name] = task
        return task


def _task_name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise TaskError(f"task name is {name!r}, expected text that is not empty")
    return name


def _due(sig: Signature, now_ns: int) -> int:
    """When to give it to the broker, from its ETA."""
    if sig.ETA is None:
        return 0
    eta_ns = gotime.parse(sig.ETA)
    return eta_ns if eta_ns > now_ns else 0


def _config(config: Config | None, given: dict[str, Any]) -> Config:
    known = {field.name for field in dataclasses.fields(Config)}
    for name in given:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r}, expected one of {', '.join(sorted(known))}")
    if config is not None:
        return dataclasses.replace(config, **given)
    if "broker" not in given:
        raise ConfigError("broker is missing, expected a URL such as redis://localhost:6379/0")
    if "backend" not in given and given["broker"] in ("eager", "eager://"):
        given["backend"] = "eager"
    return Config(**given)
