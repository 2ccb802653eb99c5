"""Programs that send and wait log once that a server is unreachable, and once that it is back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest
from tests.support.servers import RedisServer

from gearmesh import App, PublishError, ResultTimeout
from gearmesh.backoff import OutageLog
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
        threads = [threading.Thread(target=task.delay) for _ in range(3)]
        for thread in threads:
            thread.start()
        (warning,) = eventually(lambda: [r for r in caplog.records if "unreachable" in r.getMessage()])
        assert warning.levelname == "WARNING"
        assert warning.getMessage().startswith(
            f"broker {server.url} is unreachable (this call keeps trying for 1"
        )
        server.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        (again,) = [r.getMessage() for r in caplog.records if "again" in r.getMessage()]
        assert again.startswith(f"broker {server.url} is reachable again after ")
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
            app.result("task_x").get(timeout=4)
        (warning,) = (r.getMessage() for r in caplog.records if r.name == "gearmesh.waiting")
        assert warning.startswith(
            f"result backend {server.url} is unreachable (get() waits until its timeout, "
        )
        server.start()

        def last_line() -> str:
            with pytest.raises(ResultTimeout):
                app.result("task_x").get(timeout=0.5)
            *_, last = (r.getMessage() for r in caplog.records if r.name == "gearmesh.waiting")
            return last

        eventually(lambda: last_line().startswith(f"result backend {server.url} is reachable again after "))


def test_a_long_outage_is_logged_again_with_growing_intervals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gearmesh.test")
    now = [0.0]
    outage = OutageLog(logging.getLogger("gearmesh.test"), lambda: "broker b", lambda: now[0])
    outage.worked()
    for now[0] in (0.0, 1.0, 59.0, 60.0, 61.0, 179.0, 180.0, 181.0):
        outage.failed(OSError("no\n  redis://:secret@h:1/0"))
    outage.worked()
    outage.worked()
    reason = "no redis://***@h:1/0"
    assert caplog.messages == [
        f"broker b is unreachable: {reason}",
        f"broker b has been unreachable for 60 s: {reason}",
        f"broker b has been unreachable for 3 min: {reason}",
        "broker b is reachable again after 3.02 min",
    ]
