from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.config
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from gearmesh import App
from gearmesh.logs import TaskFilter, set_up_logging
from gearmesh.worker import Worker


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def lines(fmt: str, level: str = "INFO") -> str:
    stream = io.StringIO()
    set_up_logging(level, fmt, stream)
    log = logging.getLogger("gearmesh.test")
    log.debug("not shown")
    log.info("task %s", "done", extra={"task": "add", "uuid": "task_1", "note": "a b"})
    try:
        raise ValueError("cannot reach redis://u:hunter2@h:1/0")
    except ValueError:
        log.exception("lost redis://hunter2@h:1/0", extra={"url": "redis+socket://hun/hunter2@/a.sock"})
    logging.getLogger("kombu").info("chatter")
    return stream.getvalue()


def test_human_lines() -> None:
    first, second, *trace = lines("human").splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(rf"{stamp} INFO    test: task done  task=add uuid=task_1 note='a b'", first)
    assert second.endswith("ERROR   test: lost redis://***@h:1/0  url=redis+socket://***@/a.sock")
    assert trace[-1] == "ValueError: cannot reach redis://***@h:1/0"


def test_details_are_for_machines() -> None:
    stream = io.StringIO()
    log = logging.getLogger("gearmesh.worker")
    for fmt in ("human", "json"):
        set_up_logging("INFO", fmt, stream)
        log.info("ran", extra={"seconds": 7, "_details": {"mean": 0.5, "seconds": 8}})
    human, as_json = stream.getvalue().splitlines()
    assert human.endswith(" INFO    worker: ran  seconds=7")
    found = json.loads(as_json)
    assert (found["seconds"], found["mean"]) == (7, 0.5)
    assert "_details" not in found


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "stream", "coloured"),
    [
        ({"TERM": "xterm"}, Terminal, True),
        ({"TERM": "dumb"}, Terminal, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, Terminal, False),
        ({"TERM": "xterm"}, io.StringIO, False),
        ({"FORCE_COLOR": "1"}, io.StringIO, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, io.StringIO, False),
    ],
)
def test_colours(
    environment: dict[str, str],
    stream: type[io.StringIO],
    coloured: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = stream()
    set_up_logging("INFO", "human", out)
    logging.getLogger("gearmesh.worker").info("fine")
    logging.getLogger("gearmesh.worker").error("broken")
    fine, broken = out.getvalue().splitlines()
    assert "\033" not in fine
    assert ("\033[31m" in broken) is coloured


def test_json_lines() -> None:
    text = lines("json")
    first, second = map(json.loads, text.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", first.pop("time"))
    assert first == {
        "level": "INFO",
        "logger": "gearmesh.test",
        "message": "task done",
        "task": "add",
        "uuid": "task_1",
        "note": "a b",
    }
    assert second["url"] == "redis+socket://***@/a.sock"
    assert second["error"].endswith("ValueError: cannot reach redis://***@h:1/0")


@pytest.mark.parametrize("fmt", ["human", "json"])
def test_no_password_in_any_line(fmt: str) -> None:
    assert "hunter2" not in lines(fmt)


def test_level() -> None:
    assert "task done" not in lines("human", "ERROR")


class TestTaskFilter:
    """Records of a task's own code say which task it is, in every pool."""

    @pytest.fixture
    def records(self) -> Iterator[list[logging.LogRecord]]:
        """The records of the loggers ``shop`` and ``gearmesh`` that pass a handler with the filter."""
        kept: list[logging.LogRecord] = []

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                kept.append(record)

        handler = Keep()
        handler.addFilter(TaskFilter())
        loggers = [logging.getLogger("shop"), logging.getLogger("gearmesh")]
        levels = [each.level for each in loggers]
        for each in loggers:
            each.addHandler(handler)
            each.setLevel(logging.INFO)
        yield kept
        for each, level in zip(loggers, levels, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)

    @pytest.mark.parametrize("pool", ["threads", "asyncio"])
    def test_in_tasks(self, records: list[logging.LogRecord], pool: Any) -> None:
        url = f"memory://{uuid4().hex}"
        shop = logging.getLogger("shop.orders")
        with App(url, url) as app:

            @app.task
            def plain(n: int) -> None:
                shop.info("plain %d", n)
                if not n:
                    raise ValueError("no")

            @app.task
            async def coroutine(n: int) -> None:
                await asyncio.sleep(0.01)
                shop.info("coroutine %d", n)

            with Worker(app, concurrency=4, pool=pool):
                results = [task.delay(n) for n in range(3) for task in (plain, coroutine)]
                for result in results:
                    result.wait(timeout=20)
        shop.info("outside")
        names = {result.uuid: result.name for result in results}
        inside = [record for record in records if record.name == "shop.orders" and record.msg != "outside"]
        assert len(inside) == 6
        for record in inside:
            said = vars(record)
            assert names[said["uuid"]] == said["task"] == record.getMessage().split()[0]
        assert {vars(record)["uuid"] for record in inside} == set(names)
        (failed,) = [record for record in records if "failed" in record.getMessage()]
        assert (vars(failed)["task"], vars(failed)["uuid"]) == ("plain", results[0].uuid)
        (outside,) = [record for record in records if record.msg == "outside"]
        assert (vars(outside)["task"], vars(outside)["uuid"]) == ("", "")

    def test_the_filter_keeps_a_uuid_that_a_record_has(self) -> None:
        record = logging.makeLogRecord({"uuid": "order_7"})
        assert TaskFilter().filter(record) is True
        assert (vars(record)["uuid"], vars(record)["task"]) == ("order_7", "")

    def test_as_a_setting_of_logging_s_own(self) -> None:
        stream = io.StringIO()
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "filters": {"task": {"()": "gearmesh.logs.TaskFilter"}},
                "formatters": {"line": {"format": "%(message)s [%(task)s %(uuid)s]"}},
                "handlers": {
                    "out": {
                        "class": "logging.StreamHandler",
                        "stream": stream,
                        "filters": ["task"],
                        "formatter": "line",
                    }
                },
                "root": {"handlers": ["out"], "level": "INFO"},
            }
        )
        with App("eager") as app:

            @app.task
            def hello() -> None:
                logging.getLogger("anything").warning("hello")

            uuid = hello.delay().uuid
        logging.getLogger("anything").warning("bye")
        assert stream.getvalue().splitlines() == [f"hello [hello {uuid}]", "bye [ ]"]

    def test_lines_show_no_empty_task(self) -> None:
        stream = io.StringIO()
        set_up_logging("INFO", "human", stream)
        logging.getLogger("x").info("nothing")
        set_up_logging("INFO", "json", stream)
        logging.getLogger("x").info("nothing")
        human, as_json = stream.getvalue().splitlines()
        assert human.endswith("nothing")
        assert not {"task", "uuid"} & set(json.loads(as_json))


def test_the_library_installs_no_handler() -> None:
    code = (
        "import logging, gearmesh, gearmesh.worker, gearmesh.logs, gearmesh.cli\n"
        "names = [n for n in logging.Logger.manager.loggerDict if n.startswith('gearmesh')]\n"
        "print(logging.getLogger().handlers, [h for n in names for h in logging.getLogger(n).handlers])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
