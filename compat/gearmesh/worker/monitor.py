"""Collects the reports of one ``gearmesh worker``'s processes, and informs Prometheus, probes and systemd."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gearmesh.errors import ConfigError
from gearmesh.health import BEAT_INTERVAL_S, HealthFile
from gearmesh.metrics.report import Report
from gearmesh.metrics.totals import Totals
from gearmesh.systemd import ServiceNotifier
from gearmesh.units import counted
from gearmesh.worker.memory import resident
from gearmesh.worker.options import WorkerOptions

if TYPE_CHECKING:
    from gearmesh.metrics.server import MetricsServer

__all__ = ["Monitor"]


class Monitor:
    """Adds up the reports of a worker's processes, and answers Prometheus and probes. Safe in threads.

    Args:
        options: the worker's options.
        name: the worker's name, for people.
        on_ready: called when all processes consume, or no longer do.

    Raises:
        ConfigError: the port of the metrics is taken, or prometheus_client is not installed.
    """

    def __init__(
        self, options: WorkerOptions, name: str = "", on_ready: Callable[[], None] = lambda: None
    ) -> None:
        self._health = HealthFile("worker", name)
        self._notifier = ServiceNotifier()
        self._on_ready = on_ready
        self._was_ready = False
        self._next_beat = 0.0
        self.totals = Totals()
        #: the number of processes that should run tasks
        self.expected = 1
        self._server: MetricsServer | None = None
        if options.metrics_port is not None:
            self._server = _server(self, options)

    @property
    def metrics_port(self) -> int | None:
        """The port of the metrics; None: they are not served."""
        return None if self._server is None else self._server.port

    @property
    def ready(self) -> bool:
        """True if all processes consume."""
        latest = list(self.totals.latest.values())
        return len(latest) >= self.expected and all(report.ready for report in latest)

    def start(self) -> None:
        """Answer Prometheus and probes from now on."""
        if self._server is not None:
            self._server.start()

    def take(self, consumer: str, report: Report) -> None:
        """Take the report of a process."""
        self.totals.add(consumer, report)
        self._look()

    def gone(self, consumer: str) -> None:
        """Forget a process that has ended and has sent its last report."""
        self.totals.gone(consumer)
        self._look()

    def _look(self) -> None:
        if self.ready is not self._was_ready:
            self._was_ready = not self._was_ready
            self._next_beat = 0.0
            self._on_ready()

    def beat(self, *, reached: bool, stopping: bool) -> float:
        """Tell probes and systemd that the supervisor lives, and whether the worker is ready.

        Args:
            reached: the supervisor reaches the broker.
            stopping: the worker takes no more tasks.

        Returns:
            Seconds until it should be called again.
        """
        now = time.monotonic()
        if now >= self._next_beat or stopping:
            self._next_beat = now + min(BEAT_INTERVAL_S, self._notifier.interval_s)
            ready = self.ready
            reason = "it stops" if stopping else "" if reached else "the broker is unreachable"
            if not reason and not ready:
                reason = "not all of its processes consume"
            self._health.write(ready=not reason, reason=reason)
            if stopping:
                self._notifier.stopping()
            elif ready:
                self._notifier.ready()
            running = sum(report.running for report in list(self.totals.latest.values()))
            self._notifier.alive(f"{reason or 'consuming'}; {counted(running, 'task')} running")
        return max(0.0, self._next_beat - now)

    def close(self) -> None:
        """Stop the answers, and remove the note. A call before :meth:`start`, or a second one, is fine."""
        self._health.remove()
        if self._server is not None:
            self._server.stop()


def _server(monitor: Monitor, options: WorkerOptions) -> MetricsServer:
    try:
        from gearmesh.metrics.exporter import Exporter, exposition
        from gearmesh.metrics.server import MetricsServer
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"--metrics-port needs the package {exc.name!r}: pip install 'gearmesh[metrics]'"
        ) from None
    exporter = Exporter(monitor.totals, options.pool, resident)

    def metrics(accept: str) -> tuple[int, bytes, str]:
        return (200, *exposition([exporter], accept))

    def alive(accept: str) -> tuple[int, bytes, str]:
        return 200, b"ok\n", "text/plain"

    def ready(accept: str) -> tuple[int, bytes, str]:
        return (200, b"ok\n", "text/plain") if monitor.ready else (503, b"not ready\n", "text/plain")

    assert options.metrics_port is not None
    pages: dict[str, Any] = {"/metrics": metrics, "/healthz": alive, "/readyz": ready}
    return MetricsServer(options.metrics_host, options.metrics_port, pages)
