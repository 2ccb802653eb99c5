"""Programs that send and wait log once that a server is unreachable, and once that it is back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from gearmesh import App, PublishError, ResultTimeout
from gearmesh.testing.servers import RedisServer
from gearmesh.testing.waiting import eventually


@pytest.fixture
def server(make_redis: Callable[..., RedisServer]) -> RedisServer:
    return make_redis(aof="always")


def test_sending_logs_an_outage(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gearmesh")
    with App(server.url, server.url, publish_timeout=20) as app:
        task = app.remote("far")
        task.delay()
        server.kill()
        thread = threading.Thread(target=task.delay)
        thread.start()
        (warning,) = eventually(lambda: [r for r in caplog.records if "unreachable" in r.getMessage()], 5)
        assert warning.levelname == "WARNING"
        assert f"{server.url} is unreachable, publishing is tried for 1" in warning.getMessage()
        server.start()
        thread.join(10)
        assert not thread.is_alive()
        assert [r.getMessage() for r in caplog.records if "again" in r.getMessage()] == [
            f"{server.url} is reachable again"
        ]
    assert sum("unreachable" in r.getMessage() for r in caplog.records) == 1


def test_a_short_outage_is_not_worth_a_line(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with App(server.url, server.url, publish_timeout=0.3) as app:
        server.kill()
        with pytest.raises(PublishError, match=r"within 0\.\d+ s"):
            app.remote("far").delay()
    assert not caplog.records


def test_waiting_logs_an_outage(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gearmesh.waiting")
    with App(server.url, server.url) as app:
        server.kill()
        with pytest.raises(ResultTimeout, match=r"cannot be reached: .*refused"):
            app.result("task_x").get(timeout=2.5)
        (warning,) = (r.getMessage() for r in caplog.records if r.name == "gearmesh.waiting")
        assert warning.startswith(f"the result backend {server.url} is unreachable, results are awaited: ")
        server.start()
        with pytest.raises(ResultTimeout):
            app.result("task_x").get(timeout=0.5)
        *_, last = (r.getMessage() for r in caplog.records if r.name == "gearmesh.waiting")
        assert last == f"the result backend {server.url} is reachable again"
