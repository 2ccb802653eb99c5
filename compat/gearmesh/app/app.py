"""The app, which knows the tasks, the broker to which they are sent, and the backend that keeps their results."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast, overload

from gearmesh.app.canvas import AnyNode, Node, TaskSignature
from gearmesh.app.conf import Conf, refuse_celery_names
from gearmesh.app.decorator import TaskDecorator, checked_name, register
from gearmesh.app.handlers import Handlers
from gearmesh.app.late import discover, include
from gearmesh.app.options import NOTHING, Options, options_of, refuse_call_only
from gearmesh.app.periodic import CatchUp, Periodic, Periodics
from gearmesh.app.plan import Plan
from gearmesh.app.publisher import Publisher, RetryDecider
from gearmesh.app.publishing import Hook, PlanSender, ready
from gearmesh.app.revocations import DEFAULT_REVOCATION_TTL_S, Revocations
from gearmesh.app.task import Task
from gearmesh.app.unique import send_once
from gearmesh.backends.registry import open_backend
from gearmesh.config import Config, NoBroker
from gearmesh.config.checks import COMMAND_LINE
from gearmesh.config.file import chosen_file
from gearmesh.config.watch import Watch
from gearmesh.declarations.annotations import of_stub, of_types, renamed
from gearmesh.declarations.declaration import Declaration
from gearmesh.errors import BackendError, ConfigError, NoBackend, TaskError
from gearmesh.habits import APP, PERIODIC, REVOKE, refuse, refuse_keywords
from gearmesh.interfaces.backend import Backend
from gearmesh.interfaces.observer import TaskObserver
from gearmesh.process_local import ProcessLocal
from gearmesh.results.async_result import AsyncResult, Result
from gearmesh.results.composite import GroupResult
from gearmesh.results.poller import ResultPoller
from gearmesh.results.progress import Progress, ProgressBoard
from gearmesh.transports.broker_choice import BrokerChoice
from gearmesh.urls import redact, redact_text, scheme_of
from gearmesh.wire.names import failure_record
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import TaskState

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from gearmesh.app.options import OptionSet, TaskOptions

__all__ = ["App"]

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=Callable[..., Any])
#: The class of a workflow's result.
S = TypeVar("S", bound=Result[Any])


#: Matches Celery's first argument, an app's name. ("eager", "memory" and "null" are URLs without a colon.)
_NAME = re.compile(r"(?!(?:eager|memory|null)$)[A-Za-z_][\w.]*")


class App:
    """Knows its tasks, its broker and its result backend. Safe in threads and after a fork; nothing is global.

    Args:
        broker: URL of the broker, which keeps the messages; ``"eager"`` runs tasks in the caller. None: the broker of
            ``config``. If there is no ``config`` either, :meth:`Config.load <gearmesh.config.Config.load>` finds all
            settings that are not given here: in Machinery's environment variables, in the file that
            ``gearmesh --config`` or the variable GEARMESH_CONFIG names, and last in the Redis that ``gearmesh dev``
            runs in the working directory.
        backend: URL of the result backend. None: ``"null"``, which keeps no results; with the broker ``"eager"``, this
            process keeps them.
        config: all settings in one object. The other arguments win over it.
        include: modules with tasks of :func:`gearmesh.task`, which are imported and bound to this app.
        settings: any field of :class:`~gearmesh.config.Config`: default_queue, results_expire_in, lock, …;
            a section may be a mapping with only the settings to change.

    Raises:
        ConfigError: a setting or URL is wrong. If nothing names a broker, you get this error when you use the app.
    """

    #: The app whose tasks this app runs in the caller; None: this app is no eager twin.
    twin_of: App | None = None

    def __init__(
        self,
        broker: str | None = None,
        backend: str | None = None,
        *,
        config: Config | None = None,
        include: Iterable[str] = (),
        **settings: Any,
    ) -> None:
        given = {key: value for key, value in (("broker", broker), ("backend", backend)) if value is not None}
        refuse_celery_names(settings)
        self._given = given | settings
        self._config: Config | None = None
        try:
            self._config = _config(config, self._given)
        except NoBroker:
            # A test may import a module with an App() without setting a broker: the app raises this when it is used.
            # The given settings are checked now.
            _config(None, {**self._given, "broker": "eager"})
        self._name = uuid.uuid4().hex
        self._tasks: dict[str, Task[..., Any, Any]] = {}
        self._remotes: dict[str, Declaration] = {}
        self._backend = ProcessLocal(self._open_backend)
        self._waiter = ProcessLocal(lambda: ResultPoller(self.backend, shown=self.masked_backend))
        self._progress = ProcessLocal(lambda: ProgressBoard(self.backend))
        self._revocations = ProcessLocal(lambda: Revocations(self.backend))
        #: True: :meth:`close` was called.
        self.closed = False
        self.handlers = Handlers()
        #: The observers of the app's workers. Each worker reads this list when it is made.
        self.observers: list[TaskObserver] = []
        self._config_watch = ProcessLocal(
            lambda: Watch(lambda: self.config, functools.partial(setattr, self, "config"))
        )
        #: Remembers the one of several brokers that this process uses.
        self.broker_choice = BrokerChoice()
        self._twin = ProcessLocal(self._make_twin)
        self._publisher = Publisher(lambda: self.config, self._backend.get, self.broker_choice)
        self._outbox = PlanSender(self, self._publisher)
        self._periodics = Periodics(self._plan_of)
        self._to_include: list[str] = []
        self.include(*include)

    if not TYPE_CHECKING:

        def __new__(cls, *args, **kwargs):
            if args and isinstance(args[0], str) and ("broker" in kwargs or _NAME.fullmatch(args[0])):
                # The error does not show the value, since it may be a password.
                raise ConfigError("App: it has no name, expected App(broker, backend) with URLs")
            return super().__new__(cls)

    def __repr__(self) -> str:
        shown = "without a broker" if self._config is None else self.masked_broker
        return f"<App {shown}, {len(self._tasks)} tasks>"

    if not TYPE_CHECKING:  # with __getattr__, a type checker would accept every name

        def __getattr__(self, name: str) -> Any:
            refuse(APP, "an App", self, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections that are not in use. You may close an app twice; if you use it again, it opens new ones.

        Another app may then include the modules that this app has included, and takes over their tasks.
        """
        self.closed = True
        if (watch := self._config_watch.peek()) is not None:
            watch.stop()
        self._publisher.close()
        for part in (self._waiter, self._progress, self._revocations, self._backend):
            if (mine := part.peek()) is not None:
                mine.close()

    # --- settings ------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        """The settings in use. Set them before the app is used, because open connections do not change."""
        if self._config is None:  # an app that was made without a broker reads its settings now
            self._config = _config(None, self._given)
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        self._config = config

    def reopen(self, config: Config | None) -> Config | None:
        """Close all connections and use these settings from now on, for a test that gives the app another broker.

        Args:
            config: the settings; None: the app finds its settings anew when it is next used.

        Returns the earlier settings, which you can pass to another call.
        """
        before = self._config
        self.close()
        for part in (self._waiter, self._progress, self._revocations, self._backend):
            part.pop()
        self._config = config
        self.closed = False
        return before

    @property
    def eager(self) -> bool:
        """True if tasks run in the caller."""
        return self.config.eager

    def check_queue(self, queue: str) -> None:
        """Raise ConfigError if the broker uses this name for anything other than a queue of tasks."""
        self.config.check_queue(queue)

    @property
    def has_broker(self) -> bool:
        """True if code, the environment, a file or ``gearmesh dev`` names a broker."""
        try:
            return bool(self.config.broker)
        except NoBroker:
            return False

    def override(self, settings: Mapping[str, Any], *, file: str | None = None) -> None:
        """Change settings as a command's options do, before the app is used.

        Args:
            settings: the same settings as those of :class:`App`; they win over everything else.
            file: a YAML file, whose values win over those that the app's code names. None: no file.

        Raises:
            NoBroker: neither the app nor the arguments name a broker.
            ConfigError: a setting is wrong.
        """
        try:
            config = self.config
        except NoBroker:
            if "broker" not in settings:
                raise
            config = Config.load(chosen_file(os.environ), **{**self._given, **settings})
        self.config = config.under(file).having(settings, origin=COMMAND_LINE)

    def watch_config(self, then: Callable[[Config], object] | None = None, *, tell: bool = True) -> None:
        """Read the config's layers again every 10 s, and use those new settings that can change in a running process.

        These are ``default_queue`` (for tasks that are sent), ``publish_timeout``, ``send_concurrency``,
        ``store_tracebacks``, ``store_failed_messages`` and, in a worker's process, ``log_level``. If another setting
        has changed, a warning says that the change takes effect at the next start. If the Config was loaded with
        ``watch=True``, the app watches by itself: each process begins when it first sends or works. :meth:`close` ends
        it.

        Args:
            then: called with the Config in use after each change.
            tell: False: log changes at DEBUG only, because another process logs them.
        """
        watch = self._config_watch.get()
        if then is not None:
            watch.then.append(then)
            watch.tell = tell
        watch.start()

    @property
    def conf(self) -> Conf:
        """The settings, to read by Celery's names or gearmesh's, as in ``app.conf.result_expires``."""
        return Conf(self.config)

    # --- tasks ---------------------------------------------------------------------------------

    @property
    def tasks(self) -> Mapping[str, Task[..., Any, Any]]:
        """The app's own tasks, by name."""
        self._finish_includes()
        return MappingProxyType(self._tasks)

    @property
    def default_queue(self) -> str:
        """The queue of tasks that name none."""
        return self.config.default_queue

    @property
    def default_routing_key(self) -> str:
        """The RoutingKey of tasks that name no queue."""
        return self.config.default_routing_key

    @property
    def task(self) -> TaskDecorator:
        """Makes a function a task, as ``@app.task`` or ``@app.task(name=…, queue=…, retry_count=…)``.

        See :class:`~gearmesh.app.decorator.TaskDecorator`.
        """
        return TaskDecorator(self)

    def register_task(self, task: Task[..., Any, Any]) -> None:
        """Add a task to the app.

        Raises:
            TaskError: its name is taken by another function.
        """
        register(self._tasks, task)

    def include(self, *modules: str) -> None:
        """Import modules and bind their tasks of :func:`gearmesh.task` to this app. A module may be included twice.

        A module with tasks may import the module that makes this app. If the app's module is still being imported at
        that moment, the app imports the module with tasks later: when a worker starts, or when :attr:`tasks` is read.

        Raises:
            TaskError: a task belongs to another app, or its name is taken.
            ImportError: a module does not exist. An exception that a module raises reaches the caller.
        """
        self._to_include += include(self, modules)

    def _finish_includes(self) -> None:
        """Include the modules that could not be imported as long as the app's own module was being imported."""
        if self._to_include:
            modules, self._to_include = self._to_include, []
            self.include(*modules)

    def autodiscover_tasks(self, packages: Iterable[str], related_name: str = "tasks") -> None:
        """Include the module ``related_name`` of each package that has one; see :meth:`include`."""
        self._to_include += discover(self, packages, related_name)

    @overload
    def remote(
        self,
        stub: Callable[P, Coroutine[Any, Any, R]],
        /,
        *,
        name: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def remote(
        self, stub: Callable[P, R], /, *, name: str | None = None, **options: Unpack[TaskOptions]
    ) -> Task[P, R, R]: ...
    @overload
    def remote(
        self, name: str, *arg_types: Any, results: Any = Any, **options: Unpack[TaskOptions]
    ) -> Task[..., Any, Any]: ...
    def remote(
        self, *given: Any, name: str | None = None, results: Any = Any, **options: Unpack[TaskOptions]
    ) -> Task[..., Any, Any]:
        """Declare a task that another program runs, to send it: ``app.remote("resize", "[]byte", "uint16")``.

        Or pass a function with the task's parameters and results, also as a decorator. Its body never runs. A type
        checker then checks the calls, and arguments can be given by name::

            @app.remote
            def resize(image: bytes, width: Uint16 = 640) -> bytes:
                raise NotImplementedError

        Args:
            name: the name under which the other program has registered it. For a function the default is its
                ``__name__``.
            stub: the function. If a call leaves out an argument, gearmesh sends its default, since Go has no defaults.
            arg_types: Go type names or annotations. If you give none, the types follow from the values. If the last is
                ``"...int64"``, the task takes any number of int64.
            results: the type of the result, or a tuple of several; ``()``: the task returns nothing; not given:
                unknown.
            options: see :class:`~gearmesh.app.options.TaskOptions`.

        Raises:
            TaskError: an annotation has no Go type, or an option is wrong.
        """
        if name is not None and not (given and _is_function(given[0])):
            given = (name, *given)
        if not given:
            raise TaskError("remote: expected the name of a task, or a function with its parameters")
        first, *arg_types = given
        if not _is_function(first):
            declaration = of_types(checked_name(first), arg_types, results)
        elif arg_types or results is not Any:
            raise TaskError(f"remote: the types of {first!r:.80} are its own, expected no others")
        else:
            if name is None:
                name = first.name if isinstance(first, Task) else getattr(first, "__name__", "")
            name = checked_name(name)
            # The declaration of a Task, of this app or another one, has more types than its function.
            declaration = (
                renamed(first.declaration, name) if isinstance(first, Task) else of_stub(name, first)
            )
        refuse_call_only(declaration.name, options)
        self._remotes[declaration.name] = declaration
        task = Task[..., Any, Any](self, None, declaration, options_of(declaration.name, dict(options)))
        if _is_function(first):
            functools.update_wrapper(task, first, updated=())
        return task

    def before_publish(self, hook: Hook) -> Hook:
        """Register a function that is called with each signature before it is published.

        It may return a changed signature (with the same UUID and group), or None to leave it as it is. If it raises,
        nothing is published. Hooks run in the order of registration. Also usable as a decorator.
        """
        self._outbox.hooks.append(hook)
        return hook

    def outgoing(self, sig: Signature) -> Signature:
        """Return the signature as all hooks of :meth:`before_publish` have changed it."""
        return self._outbox.outgoing(sig)

    def on_error(self, handler: H) -> H:
        """Register a function that a worker calls with (signature, exception) when a task has failed for good.

        The worker does not call it if the task will be tried again, or was revoked. This method and those for the other
        handlers can be decorators. If a handler raises, the worker logs the exception and goes on; see
        :class:`~gearmesh.app.handlers.Handlers`.

        Raises:
            TaskError: ``handler`` is not a plain function of two arguments.
        """
        return self.handlers.on_error(handler)

    def before_task(self, handler: H) -> H:
        """Register a function that a worker calls with the signature before each call of a task.

        As in Go, the worker does not call it if it cannot read the task's arguments.
        """
        return self.handlers.before_task(handler)

    def after_task(self, handler: H) -> H:
        """Register a function that a worker calls with the signature after each call of a task.

        As in Go, the worker calls it after a failed call as well. If there is an error handler, it comes first.
        """
        return self.handlers.after_task(handler)

    def before_consume(self, handler: H) -> H:
        """Register a function that a worker calls before it takes tasks. While it returns false, the worker takes none.

        If it has a parameter, it gets the worker. While it returns false, the worker calls it about ten times a second.
        """
        return self.handlers.before_consume(handler)

    # --- sending -------------------------------------------------------------------------------

    @overload
    def send(self, what: Node[S], options: Options = NOTHING) -> S: ...
    @overload
    def send(self, what: Signature, options: Options = NOTHING) -> Result[Any]: ...
    def send(self, what: AnyNode | Signature, options: Options = NOTHING) -> Result[Any]:
        """Send a workflow, or a signature as it is on the wire (gearmesh fills in an empty UUID or queue).

        Raises:
            TaskError, LocalProtocolError: it cannot be sent, or Go could not read it; nothing was sent.
            PublishError: the broker did not take it in time.
        """
        plan, result = self._planned(what, options)
        self._publish(plan)
        return result

    def _plan_of(self, what: AnyNode | Signature) -> Plan:
        # A test may import a module with periodic tasks without setting a broker: the eager twin plans without one.
        app = self if self.has_broker else self.eager_twin
        plan = app._planned(what)[0]
        app._outbox.check(plan)
        return plan

    def _planned(self, what: AnyNode | Signature, options: Options = NOTHING) -> tuple[Plan, Result[Any]]:
        plan = Plan(self, time.time_ns(), options)
        if not isinstance(what, Signature):
            return plan, plan.add(what)
        message = ready(what, self.default_routing_key, plan.now_ns)
        self.check_queue(message.sig.RoutingKey)
        plan.messages.append(message)
        return plan, self.result(message.sig.UUID, message.sig.Name)

    def send_task(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[OptionSet],
    ) -> AsyncResult[Any]:
        """Send a task by its name, whether it is registered here or not. If it is not, Go types follow from the values.

        Raises:
            TaskError, LocalProtocolError, PublishError: see :meth:`Task.delay <gearmesh.Task.delay>`.
        """
        return self.signature(name, args, kwargs).apply_async(**options)

    def signature(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[OptionSet],
    ) -> TaskSignature[Any]:
        """A signature of a task by its name, as ``task.s(…)`` makes one."""
        task = self._tasks.get(name) or self.remote(name)
        return TaskSignature(task, tuple(args), kwargs).set(**options)

    @property
    def eager_twin(self) -> App:
        """An app with the same tasks and handlers, which runs them in the caller and keeps results in this process."""
        return self if self.has_broker and self.eager else self._twin.get()

    def _make_twin(self) -> App:
        twin = App("eager", "eager")
        twin.twin_of = self
        twin._tasks, twin._remotes, twin.handlers = self._tasks, self._remotes, self.handlers
        twin._outbox.hooks = self._outbox.hooks
        return twin

    def publish_many(self, nodes: Iterable[Node[S]], **options: Unpack[OptionSet]) -> list[S]:
        """Send many signatures or workflows in batches and in order, which is much faster than one by one.

        The app checks all of them before it sends the first. Raises the errors of :meth:`send`.
        """
        given = options_of("publish_many", dict(options))
        if given.uuid or given.on_success or given.on_error or given.immutable is not None:
            raise TaskError(
                "publish_many: uuid, on_success, on_error and immutable belong to a signature, not to many"
            )
        plan = Plan(self, time.time_ns(), given)
        results = [plan.add(node) for node in nodes]
        self._publish(plan)
        return cast("list[S]", results)

    @overload
    async def asend(self, what: Node[S], options: Options = NOTHING) -> S: ...
    @overload
    async def asend(self, what: Signature, options: Options = NOTHING) -> Result[Any]: ...
    async def asend(self, what: AnyNode | Signature, options: Options = NOTHING) -> Result[Any]:
        """Do the same as :meth:`send` without blocking the event loop.

        The app prepares a single task in the event loop, and a workflow in a thread.

        If the call is cancelled before its message is on the way, nothing is sent.
        """
        if not isinstance(what, (TaskSignature, Signature)):
            return await asyncio.to_thread(self.send, what, options)
        plan, result = self._planned(what, options)
        await self._apublish(plan)
        return result

    async def apublish_many(self, nodes: Iterable[Node[S]], **options: Unpack[OptionSet]) -> list[S]:
        """Do the same as :meth:`publish_many` without blocking the event loop."""
        return await asyncio.to_thread(lambda: self.publish_many(nodes, **options))

    def send_call(self, call: TaskSignature[R], should_retry: RetryDecider | None = None) -> AsyncResult[R]:
        """Send the signature of one task, which is quicker than :meth:`send`. Raises the errors of :meth:`send`.

        Args:
            should_retry: decides whether to try again after an error; None: try until ``publish_timeout`` is over.
        """
        plan = Plan(self, time.time_ns())
        result = plan.add_one(call)
        seconds = call.task.unique_for
        if seconds is None:
            self._publish(plan, should_retry)
            return result
        sig = plan.messages[0].sig
        store_pending = functools.partial(self._outbox.store_pending, plan, should_retry)
        send = functools.partial(self._publish, plan, should_retry)
        with self.reached_backend() as backend:
            uuid = send_once(sig, seconds, backend, store_pending, send)
        return result if uuid == sig.UUID else self.result(uuid, sig.Name)

    async def asend_call(self, call: TaskSignature[R]) -> AsyncResult[R]:
        """Do the same as :meth:`send_call` without blocking the event loop."""
        if call.task.unique_for is not None:
            return await asyncio.to_thread(self.send_call, call)
        plan = Plan(self, time.time_ns())
        result = plan.add_one(call)
        if self.config.watched:
            self.watch_config()
        await self._outbox.asend(plan)
        return result

    async def _apublish(self, plan: Plan) -> None:
        if self.config.watched:
            self.watch_config()
        await self._outbox.asend(plan)

    def _publish(self, plan: Plan, should_retry: RetryDecider | None = None) -> None:
        if self.config.watched:
            self.watch_config()
        self._outbox.send(plan, should_retry)

    # --- periodic tasks ------------------------------------------------------------------------

    def periodic(
        self,
        spec: str,
        what: AnyNode | Signature,
        *,
        name: str | None = None,
        tz: str | None = None,
        catch_up: CatchUp = None,
        **unknown: NoReturn,
    ) -> Periodic:
        """Declare a periodic task: ``app.periodic("*/5 * * * *", add.s(1, 2), name="sums")``.

        The app checks it now. Schedulers (``gearmesh scheduler``, or a worker with ``--with-scheduler``) send it, each
        time with new ids. Several schedulers may share a lock (the setting ``lock``), also with schedulers in Go. Then
        one of them sends each run.

        Args:
            spec: five fields, ``@daily`` and the like, or ``@every 90s``, by the rules of Go's robfig/cron; see
                :func:`gearmesh.cron.parse`. ``CRON_TZ=Europe/London`` and a space may stand in front. Without a zone,
                the time zone of the scheduler's process applies, as in Go.
            what: a signature (also of a remote task), a chain, group or chord; or a signature as it is on the wire.
            name: a name that is unique in the app; name and spec together are the name of the lock. None: the task's
                name.
            tz: the zone's name, in place of the prefix.
            catch_up: the runs to send afterwards, if no scheduler ran or could send when they were due. A number: at
                most this many of the latest runs. A timedelta: the runs that were due within that time before now. None
                or 0: no run. Any other value needs a ``lock`` on a server, because the lock remembers the last run.

        Raises:
            ConfigError: spec, name, zone or ``catch_up`` is wrong.
            TaskError, LocalProtocolError: ``what`` cannot be sent, or Go could not read it.
        """
        refuse_keywords(PERIODIC, "App.periodic", unknown)
        return self._periodics.add(spec, what, name, tz, catch_up)

    @property
    def periodics(self) -> Periodics:
        """The periodic tasks of this app, which schedulers send."""
        self._finish_includes()
        return self._periodics

    def _fire(self, entry: Periodic, should_retry: RetryDecider) -> Result[Any]:
        """Send an entry once more. Raises the errors of :meth:`send`."""
        if isinstance(entry.what, TaskSignature):
            return self.send_call(entry.what, should_retry)
        plan, result = self._planned(entry.what)
        self._publish(plan, should_retry)
        return result

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
    def masked_broker(self) -> str:
        """The broker's URLs without their passwords."""
        return ", ".join(map(redact, self.config.brokers))

    @property
    def masked_backend(self) -> str:
        """The backend's URL without its password."""
        return redact(self.config.backend)

    @contextmanager
    def reached_backend(self) -> Iterator[Backend]:
        """The backend, for a ``with`` block. If its connection fails in the block, BackendError is raised."""
        backend = self.backend
        try:
            yield backend
        except backend.connection_errors as exc:
            reason = redact_text(str(exc)) or type(exc).__name__
            raise BackendError(f"result backend {self.masked_backend} cannot be reached: {reason}") from exc
        except getattr(backend, "refusals", ()) as exc:  # a plugin's backend may lack this attribute
            raise BackendError(
                f"result backend {self.masked_backend} refuses: {redact_text(str(exc))}"
            ) from exc

    @overload
    def result(self, task_uuid: str, task: Task[..., R, Any]) -> AsyncResult[R]: ...
    @overload
    def result(self, task_uuid: str, task: str = "") -> AsyncResult[Any]: ...
    def result(self, task_uuid: str, task: Task[..., Any, Any] | str = "") -> AsyncResult[Any]:
        """The result of a task by its UUID.

        Pass the task or its name, too, if you know it: it decides the Python types of the value.
        """
        if isinstance(task, str):
            return AsyncResult(task_uuid, self, name=task)
        return AsyncResult(task_uuid, self, task.declaration)

    def AsyncResult(self, task_id: str) -> AsyncResult[Any]:  # noqa: N802 - Celery's name
        """Celery's name of :meth:`result`."""
        return self.result(task_id)

    def GroupResult(self, group_id: str) -> GroupResult[Any]:  # noqa: N802 - Celery's name
        """The result of a group by its UUID.

        Raises:
            TaskError: no group of that UUID is stored (any more).
            BackendError: the backend cannot be reached.
        """
        with self.reached_backend() as backend:
            meta = backend.read_group(group_id)
        if meta is None:
            raise TaskError(f"no group {group_id!r} is stored: it was not sent, or it has expired")
        return GroupResult(group_id, [self.result(uuid) for uuid in meta.TaskUUIDs], self)

    def states(self, uuids: Sequence[str]) -> list[TaskState | None]:
        """Stored states in the order of ``uuids``; None for a state that is not stored (any more).

        Raises:
            BackendError: the backend cannot be reached.
        """
        with self.reached_backend() as backend:
            return backend.read(uuids)

    def reports(self, uuids: Sequence[str]) -> list[Progress | None]:
        """The last progress that tasks reported, in the order of ``uuids``; None if no progress is stored.

        Raises:
            BackendError: the backend cannot be reached.
        """
        with self.reached_backend():
            return self.progress.read(uuids)

    def check_backend(self) -> None:
        """Read something from the backend. Raises BackendError if it cannot be reached."""
        self.states(["gearmesh"])

    def forget(self, uuids: Sequence[str]) -> None:
        """Remove states and group metas from the backend. Raises BackendError if it cannot be reached."""
        with self.reached_backend() as backend:
            backend.purge([*uuids, *map(failure_record, uuids)])

    # --- running tasks -------------------------------------------------------------------------

    def revoke(
        self, *uuids: str, lasts: float | timedelta = DEFAULT_REVOCATION_TTL_S, **unknown: NoReturn
    ) -> None:
        """Revoke tasks by their UUIDs. This holds at once for all gearmesh workers of this backend.

        If a task has not started, no worker runs it: the worker that receives it stores a FAILURE with the error
        ``"revoked"``. If it runs, its worker interrupts it, as at a soft time limit. Unless the task still succeeds,
        its state becomes the same FAILURE. A worker does not try a revoked task again, and sends no OnError signatures
        and calls no error handlers for it. A chord to which it belongs never fires. A task that has ended stays as it
        is. Go does not know revocations: a Go worker that receives the task runs it.

        Args:
            uuids: the UUIDs of tasks, known or unknown.
            lasts: seconds (or a timedelta) for which workers remember the revocation. Choose a time longer than the
                tasks may wait.

        Raises:
            TaskError: an argument is wrong.
            BackendError: the backend cannot be reached, or does not keep revocations.
        """
        refuse_keywords(REVOKE, "App.revoke", unknown)
        with self.reached_backend():
            self.revocations.revoke(uuids, lasts)

    async def arevoke(
        self, *uuids: str, lasts: float | timedelta = DEFAULT_REVOCATION_TTL_S, **unknown: NoReturn
    ) -> None:
        """Do the same as :meth:`revoke` without blocking the event loop."""
        await asyncio.to_thread(lambda: self.revoke(*uuids, lasts=lasts, **unknown))

    @property
    def revocations(self) -> Revocations:
        """The revoked tasks that this process knows."""
        return self._revocations.get()

    @property
    def progress(self) -> ProgressBoard:
        """Takes the progress that running tasks report, and writes it to the backend."""
        return self._progress.get()

    @property
    def result_poller(self) -> ResultPoller:
        """The thread of this process that asks the backend for the states that callers wait for."""
        return self._waiter.get()

    def exception_of(self, uuid: str) -> Exception | None:
        """The exception with which a task of an eager app failed in this process; None if it did not fail here."""
        return self._outbox.exception_of(uuid)

    def require_results(self) -> None:
        """Raise NoBackend if the app keeps no results."""
        if not self.backend.keeps:
            raise NoBackend(f"the app keeps no results (backend {self.masked_backend!r})")

    def declaration_of(self, name: str) -> Declaration:
        """The declaration of a task or remote task. For an unknown name it is one that takes all types."""
        task = self._tasks.get(name)
        return task.declaration if task else self._remotes.get(name) or Declaration(name)

    def _open_backend(self) -> Backend:
        url = self.config.backend
        if scheme_of(url, "backend") == "eager":
            url = f"memory://eager-{self._name}"
        config = self.config
        options = {
            "redis": config.redis,
            "amqp": config.amqp,
            "mongodb": config.mongodb,
            "dynamodb": config.dynamodb,
        }
        return open_backend(url, expire=config.expire, options=options)


def _is_function(value: object) -> bool:
    return callable(value) and not isinstance(value, type)


def _config(config: Config | None, given: dict[str, Any]) -> Config:
    if config is not None:
        return config.having(given)
    if "broker" in given:
        return Config.load(env={}, **given)
    return Config.load(chosen_file(os.environ), **given)
