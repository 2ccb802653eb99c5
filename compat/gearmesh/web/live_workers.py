"""Asks the running Python workers for the dashboard, and tells them what its users want."""

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

#: Seconds that a page waits for replies. On Redis it waits no longer than until all have replied.
PAGE_TIMEOUT_S: Final = 0.3
#: Seconds that an action waits for replies.
ACTION_TIMEOUT_S: Final = 2.0
#: Running tasks of one worker that a page shows.
MAX_TASKS: Final = 20


class LiveTask(NamedTuple):
    """A task that runs, and for how long."""

    uuid: str
    task: str
    runs_for: str


class LiveWorker(NamedTuple):
    """Holds what a worker has replied: its version, its pool and its running tasks.

    Attributes:
        name: its name.
        about: version, host and process, pool.
        queues: that it reads.
        paused: words such as ``queue mail``.
        running, slots, held: numbers of tasks.
        memory: of all its processes, in words.
        ended: outcomes of tasks and how many there were, the most frequent first.
        tasks: that run now.
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
    """The workers of an app's broker that listen. Safe in threads.

    Args:
        app: names the broker.
    """

    def __init__(self, app: App) -> None:
        self._client = ControlClient(app)
        self._cache = AnswerCache()
        on_redis = scheme_of(app.config.brokers[0]).startswith("redis")
        #: they can be asked at no cost if none listens, or the app says that they listen
        self.asks = supports_control(app.config) and (on_redis or app.config.remote_control)

    def all(self, now: float) -> list[LiveWorker]:
        """The workers that have replied, by name.

        Args:
            now: unix seconds.

        Raises:
            GearmeshError: the broker is unreachable, or does not allow it.
        """
        if not self.asks:
            return []
        replies = self._cache.get("status", lambda: self._client.ask("status", timeout=PAGE_TIMEOUT_S))
        return [_worker(reply, now) for reply in replies if reply.data]

    def tell(self, verb: str, args: dict[str, str | int], to: list[str]) -> list[Reply]:
        """Send an order, and return the replies.

        Raises:
            ConfigError: the order is wrong.
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
