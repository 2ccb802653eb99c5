from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from gearmesh.worker.logs import set_up_logging


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
    assert re.fullmatch(rf"{stamp} INFO    task done  task=add uuid=task_1 note='a b'", first)
    assert second.endswith("ERROR   lost redis://***@h:1/0  url=redis+socket://***@/a.sock")
    assert trace[-1] == "ValueError: cannot reach redis://***@h:1/0"


def test_json_lines() -> None:
    text = lines("json")
    first, second = map(json.loads, text.splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
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
