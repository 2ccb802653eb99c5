"""The bridge between one Celery app and Machinery's programs: settings, result backend, groups, and sending."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gearmesh.app.app import App
from gearmesh.backoff import Backoff
from gearmesh.celery.checks import amqp_of, check_settings, expire_of, redis_of
from gearmesh.celery.membership import Membership, member_of
from gearmesh.celery.results import declared
from gearmesh.celery.routes import GoTask, go_tasks
from gearmesh.commits.group_cache import GroupCache
from gearmesh.config import Config
from gearmesh.declarations.declaration import Declaration
from gearmesh.errors import BackendError, ChordBusy
from gearmesh.interfaces.backend import Backend, CountsMembers, SupportsConditionalWrite
from gearmesh.process_local import ProcessLocal
from gearmesh.results.poller import ResultPoller
from gearmesh.wire import workflow
from gearmesh.wire.signature import Signature
from gearmesh.wire.state import FAILURE, GroupMeta, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Bridge"]

T = TypeVar("T")

#: Seconds for which a call of the backend is repeated while it is unreachable.
WRITE_TIMEOUT_S: Final = 30.0
#: Seconds between two tries while another member holds the claim on a group.
BUSY_RETRY_DELAY_S: Final = 0.005
#: The transport options of a Celery app, with the name of each in Config.
_OPTIONS: Final = {
    "lease": "lease",
    "delayed_key": "delayed_tasks_key",
    "delayed_poll": "delayed_poll",
    "machinery_release": "machinery_release",
    "unregistered_max_age": "unregistered_max_age",
}


@dataclass(frozen=True, slots=True)
class _Settings:
    """The bridge's settings, read from those of a Celery app."""

    gear: App
    go: Mapping[str, GoTask]
    go_queues: frozenset[str]
    go_declared: Mapping[str, Declaration]


def _read(conf: Any) -> _Settings:
    """Read Celery's settings. Raises ConfigError."""
    options = conf.broker_transport_options or {}
    check_settings(conf)
    go = go_tasks(options.get("go_tasks") or {})
    ours = {ours: options[theirs] for theirs, ours in _OPTIONS.items() if theirs in options}
    gear = App(
        config=Config(
            broker=conf.broker_write_url,
            backend=conf.result_backend.partition("+")[2],
            default_queue=conf.task_default_queue,
            results_expire_in=expire_of(conf),
            amqp=amqp_of(options.get("amqp")),
            redis=redis_of(conf),
            **ours,
        )
    )
    for task in go.values():
        gear.check_queue(task.queue)
    queues = frozenset(task.queue for task in go.values()) - {conf.task_default_queue}
    return _Settings(gear, go, queues, {name: task.declaration(name) for name, task in go.items()})


class Bridge:
    """Joins one Celery app to Machinery's programs, see :func:`.setup.bridge_of`. Safe in threads and after a fork.

    Attributes:
        celery: the Celery app.
        gear: a gearmesh app with the same broker and backend.
        go: the tasks that Go runs.
        unregistered_max_age: see :class:`gearmesh.config.Config`.
    """

    def __init__(self, app: Any) -> None:
        self.celery = app
        self._results: dict[str, Declaration] = {}
        self._groups = ProcessLocal(lambda: GroupCache(self._read_group))
        self._waiter = ProcessLocal(lambda: ResultPoller(self.backend))
        _read(app.conf)  # only to raise ConfigError: the settings may still change, so the value is dropped

    @property
    def used(self) -> bool:
        """True from the first use on, after which later settings have no effect."""
        return "_now" in vars(self)

    @cached_property
    def _now(self) -> _Settings:
        """The app's settings as they are at the first use."""
        return _read(self.celery.conf)

    @property
    def gear(self) -> App:
        return self._now.gear

    @property
    def go(self) -> Mapping[str, GoTask]:
        return self._now.go

    @property
    def unregistered_max_age(self) -> float:
        return self._now.gear.config.unregistered_max_age

    def __repr__(self) -> str:
        # kombu tells its connection pools apart by the text of the transport options, and the bridge is one of them.
        return f"<Bridge of {self.celery.main or 'app'} {id(self.celery):#x}>"

    # -- where tasks run

    def go_task(self, name: str, queue: str) -> GoTask | None:
        """The Go task that a call of ``name`` to ``queue`` reaches; None if a Celery worker runs it."""
        task = self.go.get(name)
        if task is None and queue in self._now.go_queues and name not in self.celery._tasks:
            task = GoTask(queue)
        if task is not None and queue not in ("", self.celery.conf.task_default_queue):
            return GoTask(queue, task.args, task.retry_count)
        return task

    def parameters(self, name: str) -> Declaration:
        """The declared parameters of a Go task."""
        return self._now.go_declared.get(name) or Declaration(
            name, rest=GoTask("").declaration(name).rest, local=False
        )

    def results(self, name: str) -> Declaration:
        """The declared results of one of the app's tasks."""
        found = self._results.get(name)
        if found is None:
            task = self.celery._tasks.get(name)
            found = self._results[name] = declared(name, getattr(task, "run", None))
        return found

    def queue_of(self, name: str, options: Mapping[str, Any], args: Any = (), kwargs: Any = None) -> str:
        """The queue to which the app's routes send a call of ``name``."""
        queue = options.get("queue")
        if queue is None:
            task = self.celery._tasks.get(name)
            chosen = {key: options[key] for key in ("exchange", "routing_key") if options.get(key)}
            route = self.celery.amqp.router.route(chosen, name, args, kwargs or {}, task)
            queue = route.get("queue") or route.get("routing_key") or self.celery.conf.task_default_queue
        return str(getattr(queue, "name", queue))

    # -- states and groups

    @property
    def backend(self) -> Backend:
        """gearmesh's backend of this process."""
        return self.gear.backend

    @property
    def waiter(self) -> ResultPoller:
        """The poller that reads states for all threads of this process that wait for results."""
        return self._waiter.get()

    def insist(self, what: Callable[[], T]) -> T:
        """Call ``what``, and repeat it while the backend is unreachable or another member holds a group's claim.

        Raises:
            BackendError: the backend was unreachable for 30 s.
        """
        pauses, began = Backoff(), time.monotonic()
        while True:
            try:
                return what()
            except ChordBusy:
                time.sleep(BUSY_RETRY_DELAY_S)
                continue
            except self.backend.connection_errors as exc:
                if time.monotonic() - began > WRITE_TIMEOUT_S:
                    raise BackendError(
                        f"result backend {self.gear.masked_backend}: {type(exc).__name__}"
                    ) from exc
            time.sleep(pauses.next())

    def read(self, uuids: Sequence[str]) -> list[TaskState | None]:
        """Read the states of these UUIDs; None for one that is not stored. Raises BackendError as :meth:`insist`."""
        return self.insist(lambda: self.backend.read(uuids))

    def purge(self, uuids: Sequence[str]) -> None:
        """Delete states. Raises BackendError as :meth:`insist`."""
        self.insist(lambda: self.backend.purge(uuids))

    def write(self, states: Sequence[TaskState]) -> None:
        """Store states. Raises BackendError as :meth:`insist`."""
        self.insist(lambda: self.backend.write(states))

    def end(self, states: Sequence[TaskState], member: Membership | None, *, asks: bool = False) -> None:
        """Store the states of a task that has ended, and count it if the backend counts the members of its group.

        A backend with conditional writes keeps a SUCCESS and drops a FAILURE that comes after it.

        Args:
            states: the states to store; the last one is the task's own.
            member: the task's membership in a group; None: it belongs to none.
            asks: True if the caller will ask next whether the group is complete, for its chord.

        Raises BackendError as :meth:`insist`.
        """
        backend = self.backend
        if states[-1].State == FAILURE and isinstance(backend, SupportsConditionalWrite):
            yielding = backend
            self.insist(lambda: yielding.write_unless_success(states))
            return
        if member is None or not isinstance(backend, CountsMembers):
            self.write(states)
            return
        group, state, counting = member.group_uuid, states[-1], backend
        self.write(states)

        def count() -> None:
            counted = counting.counted(group, state.TaskUUID, member.again, member.count)
            if asks:
                own = None if counted else state
                counting.gather(group, member.count, state.TaskUUID, member.again, own)
            elif not counted:
                counting.count([(group, state)])

        self.insist(count)

    def create_group(self, meta: GroupMeta) -> None:
        """Store a group. Raises BackendError as :meth:`insist`."""
        self.insist(lambda: self.backend.create_group(meta))
        groups = self._groups.get()
        groups.forget(meta.GroupUUID)
        groups.put(meta)

    def group(self, group_uuid: str) -> GroupMeta | None:
        """A group's meta, possibly from the cache (its members never change); None if it is not stored (any more)."""
        group = self._groups.get().get(group_uuid)
        return None if group is None else group.meta

    def _read_group(self, group_uuid: str) -> GroupMeta | None:
        return self.insist(lambda: self.backend.read_group(group_uuid))

    def fail(self, sig: Signature, error: str) -> None:
        """Store FAILURE for a signature that cannot be run, and send its OnError signatures.

        Raises BackendError as :meth:`insist`, PublishError as :meth:`send`.
        """
        self.end([TaskState(TaskUUID=sig.UUID, State=FAILURE, Error=error)], member_of(sig))
        for following in workflow.after_failure(sig, error):
            self.send(following)

    def send(self, sig: Signature) -> str:
        """Send a signature and return its UUID. An empty RoutingKey is filled in as the app routes the task.

        Raises:
            PublishError: the broker did not take the message in time.
            LocalProtocolError: a Go program could not read the message.
        """
        if not sig.RoutingKey:
            go = self.go_task(sig.Name, "")
            sig = sig.evolve(RoutingKey=go.queue if go else self.queue_of(sig.Name, {}))
        return self.gear.send(sig).finals[0].uuid
