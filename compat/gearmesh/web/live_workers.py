"""Asks the running Python workers for the dashboard, and sends them the orders of its users."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from gearmesh.app.app import App
from gearmesh.control.client import ControlClient
from gearmesh.control.line import supports_control
from gearmesh.control.messages import Reply
from gearmesh.errors import GearmeshError
from gearmesh.inspection.times import span
from gearmesh.urls import redact_text, scheme_of
from gearmesh.web.cache import AnswerCache

__all__ = ["LiveTask", "LiveWorker", "LiveWorkers"]

#: Seconds that a page waits for replies. On Redis it stops waiting when all workers have replied.
PAGE_TIMEOUT_S: Final = 0.3
#: Seconds that an action waits for replies.
ACTION_TIMEOUT_S: Final = 2.0
#: Running tasks of one worker that a page shows.
MAX_TASKS: Final = 20


class LiveTask(NamedTuple):
    """A task that runs now; ``runs_for`` is the time since its start, in words."""

    uuid: str
    task: str
    runs_for: str


class LiveWorker(NamedTuple):
    """Holds the reply of a worker: its version, its pool and its running tasks.

    Attributes:
        name: the worker's name.
        about: its version, host, process and pool, in words.
        queues: the queues that it reads.
        paused: the paused queues and tasks, as words such as ``queue mail``.
        running, slots, held: numbers of running tasks, of slots and of held messages.
        memory: the memory of all its processes, in words.
        ended: outcomes of tasks with their numbers, the most frequent first.
        tasks: the tasks that run now.
        up_for: the time since its start, in words.
    """

    name: str
    about: str
    queues: list[str]
    paused: list[str]
    running: int
    slots: int
    held: int
    memory: str
    ended: list[tuple[str, int]]
    tasks: list[LiveTask]
    up_for: str


class LiveWorkers:
    """Asks and controls the workers on an app's broker that listen for remote control. Safe in threads.

    Args:
        app: the app that names the broker.
    """

    def __init__(self, app: App) -> None:
        self._client = ControlClient(app)
        self._cache = AnswerCache()
        on_redis = scheme_of(app.config.brokers[0]).startswith("redis")
        #: True if asking is cheap even if no worker listens (Redis), or if the app's setting says that workers listen
        self.asks = supports_control(app.config) and (on_redis or app.config.remote_control)

    def all(self, now: float) -> list[LiveWorker]:
        """The workers that have replied, by name.

        Args:
            now: unix seconds.

        Raises:
            GearmeshError: the broker is unreachable, or does not allow remote control.
        """
        if not self.asks:
            return []
        replies = self._cache.get("status", lambda: self._client.ask("status", timeout=PAGE_TIMEOUT_S))
        return [_worker(reply, now) for reply in replies if reply.data]

    def tell(self, verb: str, args: dict[str, str | int], to: list[str]) -> list[Reply]:
        """Send an order, and return the replies.

        Raises:
            ConfigError: the order or an argument is wrong.
            GearmeshError: the broker is unreachable, or a worker refuses.
        """
        replies = self._client.ask(verb, args, to=to, timeout=ACTION_TIMEOUT_S)
        self._cache.clear()
        refused = [reply for reply in replies if reply.error]
        if refused:
            raise GearmeshError(f"{refused[0].worker}: {redact_text(refused[0].error)}")
        return replies


def _worker(reply: Reply, now: float) -> LiveWorker:
    data: dict[str, Any] = reply.data
    tasks = [
        LiveTask(str(task["uuid"]), str(task["task"]), span(float(task["seconds"])))
        for task in data["tasks"][:MAX_TASKS]
    ]
    ended = sorted(data["ended"].items(), key=lambda pair: -pair[1])
    about = f"gearmesh {data['version']}, {data['host']} process {data['pid']}, {data['pool']}"
    return LiveWorker(
        reply.worker,
        about,
        list(data["queues"]),
        list(data["paused"]),
        int(data["running"]),
        int(data["slots"]),
        int(data["held"]),
        f"{int(data['memory']) / 2**20:,.0f} MiB",
        [(str(word), int(count)) for word, count in ended],
        tasks,
        span(max(0.0, now - float(data["since"]))),
    )
