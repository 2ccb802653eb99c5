"""Knows what the processes of one ``gearmesh worker`` do, and tells those who ask: Prometheus and probes."""

from __future__ import annotations

from typing import Any

from gearmesh.errors import ConfigError
from gearmesh.metrics.report import Report
from gearmesh.metrics.server import MetricsServer
from gearmesh.metrics.totals import Totals
from gearmesh.worker.child import resident
from gearmesh.worker.options import WorkerOptions

__all__ = ["Monitor"]


class Monitor:
    """Adds up the reports of worker processes. Safe in threads.

    Args:
        options: of the worker.

    Raises:
        ConfigError: the port of the metrics is taken, or prometheus_client is not installed.
    """

    def __init__(self, options: WorkerOptions) -> None:
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
        """Answer those who ask."""
        if self._server is not None:
            self._server.start()

    def take(self, consumer: str, report: Report) -> None:
        """Take the report of a process."""
        self.totals.add(consumer, report)

    def gone(self, consumer: str) -> None:
        """A process has ended, and has sent its last report."""
        self.totals.gone(consumer)

    def close(self) -> None:
        """Answer nobody any more. Before start, or twice, is fine."""
        if self._server is not None:
            self._server.stop()


def _server(monitor: Monitor, options: WorkerOptions) -> MetricsServer:
    try:
        from gearmesh.metrics.exporter import Exporter, exposition
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
