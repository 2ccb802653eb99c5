"""The pytest plugin: tests run an app's tasks on an in-memory broker, and control its clock and its faults.

pytest finds the plugin by its entry point. The ini setting ``gearmesh_app`` names the app as ``MODULE:APP``. See
docs/howto/test.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if (
    TYPE_CHECKING
):  # each pytest session imports this module, even if it tests no tasks, so the import must be quick
    from gearmesh.app.app import App
    from gearmesh.testing.broker_kit import BrokerKit
    from gearmesh.testing.controlled_broker import ControlledBroker
    from gearmesh.worker.worker import Worker

__all__ = ["gearmesh_app", "gearmesh_broker", "gearmesh_worker", "pytest_addoption"]

#: Number of tasks that the worker of a test runs at the same time.
WORKER_CONCURRENCY = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini setting ``gearmesh_app``."""
    parser.addini("gearmesh_app", "the app whose tasks the tests run: MODULE:APP such as shop.tasks:app")


@pytest.fixture
def _gearmesh_memory() -> ControlledBroker:
    from gearmesh.testing.controlled_broker import ControlledBroker

    return ControlledBroker()


@pytest.fixture
def gearmesh_app(request: pytest.FixtureRequest, _gearmesh_memory: ControlledBroker) -> Iterator[App]:
    """The app of the ini setting ``gearmesh_app``, moved to an empty in-memory broker and backend for one test.

    Without the setting it is a new app, to which the test adds tasks.
    """
    from gearmesh.app.app import App
    from gearmesh.config import Config
    from gearmesh.worker.loader import load_app

    url, spec = _gearmesh_memory.url, str(request.config.getini("gearmesh_app"))
    if not spec:
        with App(url, url) as app:
            yield app
        return
    app = load_app(spec, needs_broker=False)
    servers = {"broker": url, "backend": url, "lock": None, "multiple_broker_separator": ""}
    own = app.config if app.has_broker else Config(broker=url)
    before = app.reopen(own.having(servers))
    try:
        yield app
    finally:
        app.reopen(before)


@pytest.fixture
def gearmesh_broker(gearmesh_app: App, _gearmesh_memory: ControlledBroker) -> BrokerKit:
    """The in-memory broker of the test, with its messages, its clock, ``run_all`` and its faults."""
    from gearmesh.testing.broker_kit import BrokerKit

    return BrokerKit(gearmesh_app, _gearmesh_memory)


@pytest.fixture
def gearmesh_worker(gearmesh_app: App) -> Iterator[Worker]:
    """A worker that runs the app's tasks in threads during the test, from all queues that the tasks name."""
    from gearmesh.inspection.broker import app_queues
    from gearmesh.worker.worker import Worker

    with Worker(gearmesh_app, sorted(app_queues(gearmesh_app)), concurrency=WORKER_CONCURRENCY) as worker:
        yield worker
