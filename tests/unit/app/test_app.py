"""The app itself: settings, and the names that the package exports."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import gearmesh
from gearmesh import App, Config, ConfigError


def test_exports() -> None:
    assert len(set(gearmesh.__all__)) == len(gearmesh.__all__)
    for name in gearmesh.__all__:
        assert getattr(gearmesh, name) is not None
    assert gearmesh.__version__


def test_importing_starts_nothing() -> None:
    code = "import threading, gearmesh; print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


def test_settings() -> None:
    app = App("redis://:secret@h:1/0", "redis://:secret@h:1/0", default_queue="q", results_expire_in=5)
    assert (app.config.default_queue, app.config.results_expire_in) == ("q", 5)
    assert app.masked_broker == app.masked_backend == "redis://***@h:1/0"
    assert "secret" not in repr(app)
    config = Config(broker="memory://a", default_queue="x")
    assert App(config=config).config is not None
    assert App(config=config, default_queue="y").config.default_queue == "y"
    assert App(config=config).config.default_queue == "x"


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"broker": "kafka://x"}, "unknown URL scheme 'kafka'"),
        ({"broker": "memory://", "colour": "red"}, "unknown setting 'colour'"),
        ({"broker": "memory://", "default_queue": ""}, "default_queue"),
    ],
)
def test_wrong_settings(kwargs: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        App(**kwargs)


def test_two_apps_share_nothing() -> None:
    one, two = App("eager"), App("eager")
    one.task(name="t")(lambda: 1)
    assert "t" not in two.tasks
    uuid = one.tasks["t"].delay().uuid
    assert two.result(uuid).state == "PENDING"
    assert one.result(uuid).state == "SUCCESS"


def test_context_manager_leaves_no_thread() -> None:
    before = threading.active_count()
    with App("eager") as app:
        app.task(name="t")(lambda: 1)
        assert app.tasks["t"].delay().get(1) == 1
    for thread in threading.enumerate():
        if thread.name.startswith("gearmesh"):
            thread.join(5)
    assert threading.active_count() <= before


def test_check_backend() -> None:
    App("eager").check_backend()


def test_task_names() -> None:
    app = App("eager")
    with pytest.raises(gearmesh.TaskError, match="task name is ''"):
        app.task(name="")(lambda: 1)
    with pytest.raises(gearmesh.TaskError, match="is no function"):
        app.task(name="x")(5)  # type: ignore[call-overload]


def test_a_missing_broker_is_an_error_when_the_app_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests, documentation builds and editors import the module with the tasks where there is no broker."""
    monkeypatch.delenv("BROKER", raising=False)
    app = App()

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    assert add(1, 2) == 3
    assert repr(app) == "<App without a broker, 1 tasks>"
    for use in (
        lambda: add.delay(1, 2),
        lambda: app.config,
        lambda: app.result("task_x").state,
        app.check_backend,
    ):
        with pytest.raises(
            ConfigError, match="broker is missing, expected a URL such as redis://localhost:6379/0"
        ):
            use()
    monkeypatch.setenv("BROKER", "eager")
    assert add.delay(1, 2).get(timeout=0) == 3
