"""Commands on terminals of 80 and 140 columns, with a real Redis and a worker."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from tests.unit.terminal import on_terminal

from gearmesh import App, current, group
from gearmesh.cli import doctor, main, output, tables
from gearmesh.interfaces.commit import Commit, Publish, Settle
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.state import TaskState
from gearmesh.worker import Worker

UUID = r"task_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TASKS = """
from gearmesh import App, Json, Retry, Uint16
app = App({url!r}, {url!r})

@app.task(soft_limit=30, retry=Retry(max=5, backoff="exponential", on=(OSError,)))
def fetch(url: str, tries: Uint16 = 3) -> Json[dict[str, str]]:
    return {{}}
"""


@pytest.fixture
def app(redis_url: str) -> Iterator[App]:
    """An app whose worker runs."""
    app = App(broker=redis_url, backend=redis_url)

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    @app.task
    def report(gate: str) -> str:
        current().progress(3, 10, "reading")
        eventually(lambda: Path(gate).exists())
        return "done"

    @app.task
    def fail(text: str) -> None:
        raise ValueError(text)

    with Worker(app, concurrency=4):
        yield app
    app.close()


@pytest.fixture
def shop(redis_url: str, tmp_path: Path) -> Path:
    """A folder with an app that is not run."""
    (tmp_path / "shop.py").write_text(TASKS.format(url=redis_url))
    return tmp_path


def servers(app: App) -> tuple[str, ...]:
    return ("--broker", app.config.broker, "--backend", app.config.backend)


def test_send_prints_the_uuid_at_once_and_then_the_result(app: App) -> None:
    screen = on_terminal("send", "add", "int64:1", "int64:2", "--wait", *servers(app))
    assert screen.code == 0, screen.text
    assert re.match(UUID, screen.lines[0])
    assert re.search(r"state +SUCCESS\n", screen.text)
    assert re.search(r"took +[\d.]+ m?s\n", screen.text)
    assert re.search(r"result +int64 3\n", screen.text)
    assert "\x1b[32mSUCCESS" in screen.raw, "in green"


def test_no_color_is_respected(app: App) -> None:
    screen = on_terminal("send", "fail", "string:no", "--wait", *servers(app), env={"NO_COLOR": "1"})
    assert screen.code == 1
    assert "FAILURE" in screen.text
    assert re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", screen.raw) == []
    error = on_terminal("send", "x", "--broker", "zmq://h", env={"NO_COLOR": "1"})
    assert (error.code, "\x1b[" in error.raw) == (2, False)


def test_the_state_and_the_progress_are_shown_while_waiting(app: App, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    screen = on_terminal(
        "send",
        "report",
        f"string:{gate}",
        "--wait",
        *servers(app),
        interrupt_at="STARTED: 3 of 10 (30%): reading",
    )
    assert screen.code == 130
    uuid = screen.lines[0].strip()
    assert f"not waiting any more; {uuid} was sent and may still run" in screen.text.replace("\n", " ")
    assert f"gearmesh result {uuid}" in screen.text
    shown = on_terminal("result", uuid, "--backend", app.config.backend)
    assert "progress  3 of 10 (30%): reading" in shown.lines
    gate.touch()
    waited = CliRunner().invoke(
        main, ["result", uuid[:13], "--wait", "--json", "--backend", app.config.backend]
    )
    assert waited.exit_code == 0, waited.output
    (found,) = json.loads(waited.stdout)
    assert (found["uuid"], found["state"], found["results"]) == (
        uuid,
        "SUCCESS",
        [{"type": "string", "value": "done"}],
    )
    assert found["progress"]["note"] == "reading"


def test_a_group_is_waited_for(app: App, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    late, add = app.tasks["report"], app.tasks["add"]
    result = group(late.s(str(gate)), add.s(1, 2), app.tasks["fail"].s("no")).delay()
    command = ["groups", result.uuid[:14], "--wait", "--backend", app.config.backend]
    out_of_time = CliRunner().invoke(main, [*command, "--timeout", "0.2"])
    assert out_of_time.exit_code == 3
    assert "some members have not ended within 0.2 s" in out_of_time.stderr
    screen = on_terminal(*command, interrupt_at="1 running, 1 failed", columns=140)
    assert screen.code == 130
    assert "2/3 tasks" in screen.text
    gate.touch()
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1, "one task has failed"
    assert f"{result.uuid}: 3 members: 1 FAILURE, 2 SUCCESS" in done.stdout


LISTINGS = [
    ("queues",),
    ("pending",),
    ("delayed",),
    ("parked",),
    ("dead", "list", "--queue", "graveyard"),
    ("doctor",),
    ("config", "show"),
]


@pytest.mark.parametrize("columns", [80, 140])
def test_listings_fit_the_terminal(
    redis_url: str, columns: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (output, tables, doctor):
        monkeypatch.setattr(module, "terminal_width", lambda **which: columns)
    with App(redis_url, redis_url) as app, open_connection(redis_url) as connection:
        task = app.remote("a_task_with_a_rather_long_name", "string", "int64")
        for n in range(3):
            task.delay("a long text that goes on and on, " * 3, n)
            task.apply_async(["x", n], countdown=3600)
        channel = connection.channel()
        channel.commit([Commit(publishes=(Publish("graveyard", b"not JSON"),))])
        message = channel.basic_get("graveyard")
        channel.commit([Commit(settle=Settle(message.delivery, "dead", "undecodable: " + "no JSON, " * 20))])
    shown = {}
    for words in LISTINGS:
        done = CliRunner().invoke(main, [*words, "--broker", redis_url, "--backend", redis_url])
        assert done.exit_code == (words[0] == "doctor"), done.output
        shown[words[0]] = done.stdout.splitlines()
        assert max(map(cell_len, shown[words[0]]), default=0) <= columns, done.stdout
    head, *rows = shown["pending"]
    assert head.split() == ["queue", "uuid", "task", "retries", "arguments"], (
        "no column for groups, as there are none"
    )
    assert len(rows) == 3
    assert all("a_task_with_a_rather" in row and row.endswith("…") for row in rows)
    assert len(shown["dead"]) == 2
    assert shown["parked"] == []


def test_tasks_are_blocks_where_a_table_does_not_fit(shop: Path) -> None:
    narrow = on_terminal("tasks", "shop", folder=shop)
    assert narrow.lines == [
        "task       fetch",
        "arguments  url string, tries? uint16",
        "results    string (Json[dict[str, str]])",
        "queue      machinery_tasks",
        "limits     soft 30 s",
        "retries    5, exponential from 1 s on OSError",
        "1 task",
    ]
    wide = on_terminal("tasks", "shop", folder=shop, columns=150)
    assert wide.lines[0].split() == ["task", "arguments", "results", "queue", "limits", "retries"]
    assert len(wide.lines) == 3


def test_a_misspelt_task_of_the_app_is_pointed_out(shop: Path) -> None:
    screen = on_terminal("send", "fetsh", "string:x", "-A", "shop", folder=shop)
    assert screen.code == 2
    assert "shop has no task 'fetsh'; did you mean 'fetch'?" in screen.text


def test_uuids_are_found_by_their_beginning(app: App) -> None:
    results = [app.tasks["add"].delay(n, n) for n in range(2)]
    for result in results:
        result.get(10)
    app.backend.write([state for uuid in ("task_abcd1", "task_abcd2") for state in [_state(uuid)]])
    backend = ("--backend", app.config.backend)
    shown = CliRunner().invoke(main, ["result", results[0].uuid[:13], *backend])
    assert shown.exit_code == 0
    assert results[0].uuid in shown.stdout
    for words, problem in (
        (
            ("result", "task_abcd"),
            "several UUIDs begin with 'task_abcd': task_abcd1, task_abcd2; give more characters",
        ),
        (("revoke", "task_0000000"), "no stored UUID begins with 'task_0000000'"),
    ):
        wrong = CliRunner().invoke(main, [*words, *backend])
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert problem in wrong.stderr
    assert CliRunner().invoke(main, ["result", "task_abcd1", *backend]).exit_code == 0, "an exact one wins"
    revoked = CliRunner().invoke(main, ["revoke", results[1].uuid[:13], "--json", *backend])
    assert json.loads(revoked.stdout) == [{"uuid": results[1].uuid, "revoked": True, "known": True}]


def _state(uuid: str) -> TaskState:
    return TaskState(TaskUUID=uuid, TaskName="x", State="PENDING", CreatedAt="2026-01-01T00:00:00Z")
