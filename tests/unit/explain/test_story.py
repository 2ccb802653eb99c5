"""``gearmesh explain``: files, standard input, and UUIDs that are looked up on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.unit.explain.test_broken import GOOD

from gearmesh import App, chain, chord
from gearmesh.cli import main
from gearmesh.config.table import SETTINGS
from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.transports.registry import open_connection
from gearmesh.worker import Worker

HOUR_S = 3600


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for setting in SETTINGS.values():
        for name in setting.names:
            monkeypatch.delenv(name.env or "-", raising=False)
    monkeypatch.delenv("GEARMESH_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def app(redis_url: str) -> Iterator[App]:
    with App(broker=redis_url, backend=redis_url) as app:
        yield app


def call(*words: str, **more: Any) -> Result:
    return CliRunner().invoke(main, ["explain", *words], **more)


def story(app: App, uuid: str) -> str:
    told = call(uuid, "--broker", app.config.brokers[0], "--backend", app.config.backend)
    assert told.exit_code == 0, told.output
    return " ".join(told.output.split())


def test_standard_input() -> None:
    told = call(input=GOOD)
    assert told.exit_code == 0
    assert told.output.startswith("This is a message: one call of the task 'resize'.")
    assert call("-", input=GOOD).output == told.output


def test_nothing_comes_in() -> None:
    for nothing in ("", "\n"):
        told = call(input=nothing)
        assert (told.exit_code, told.output) == (1, "The input is empty: is the queue empty?\n")


def test_a_message_as_an_argument(tmp_path: Path) -> None:
    told = call(GOOD)
    assert (told.exit_code, told.output) == (0, call(input=GOOD).output)
    listed = call(f" [{GOOD},{GOOD}]", "--broker", "redis://127.0.0.1:1")
    assert (listed.exit_code, listed.output[:25]) == (0, "The input has 2 messages.")
    (tmp_path / "{}").write_text(GOOD)
    assert call("{}").output == told.output


def test_a_long_argument_that_is_no_message() -> None:
    told = call("x" * 5000)
    assert told.exit_code == 2
    assert f"cannot read '{'x' * 60}…': File name too long" in told.output


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "captured").write_text(GOOD[:50])
    told = call("captured")
    assert told.exit_code == 1
    assert "either the message was cut off" in " ".join(told.output.split())


def test_a_file_that_is_not_there() -> None:
    told = call("nowhere")
    assert told.exit_code == 2
    assert (
        "cannot read 'nowhere': No such file or directory; to look up a UUID, name the app: -A MODULE:APP"
        in " ".join(told.output.split())
    )


def test_a_uuid_without_a_server() -> None:
    told = call("task_69906a02-2f54-40c3-b107-f0226093d9c9")
    assert told.exit_code == 2
    assert "no broker: give --broker URL" in told.output


def test_a_waiting_task(app: App) -> None:
    first = app.send_task("resize", args=["cat.png"])
    second = app.send_task("resize", args=["dog.png"])
    told = story(app, second.uuid)
    assert f"{second.uuid} is a task 'resize': PENDING." in told
    assert "Its message waits in queue machinery_tasks, behind 1 message; 0 gearmesh workers" in told
    assert "No gearmesh worker consumes queue machinery_tasks" in told
    assert "behind 0 messages" in story(app, first.uuid)
    assert "members" not in told, "the task is in no group"


def test_the_beginning_of_a_uuid(app: App) -> None:
    sent = app.send_task("resize")
    assert f"{sent.uuid} is a task" in story(app, sent.uuid[:13])


def test_a_delayed_task(app: App) -> None:
    sent = app.send_task("resize", countdown=HOUR_S)
    assert "Its message is delayed until it is due, in 59 min" in story(app, sent.uuid)


def test_a_chain_and_its_later_step(app: App) -> None:
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    sent = chain(add.s(1, 2), add.s(3)).delay()
    first, last = (task.uuid for task in sent.tasks)
    assert f"then add(int64 3, + the results of add) {last}" in story(app, first)
    told = story(app, last)
    assert f"{last} is a later step of another task, and was not sent yet." in told
    assert (
        f"The message of 'add', {first}, of which it is a later step, waits in queue machinery_tasks" in told
    )


def test_a_chord_with_a_failed_member(app: App) -> None:
    @app.task
    def half(n: int) -> int:
        if n % 2:
            raise ValueError("odd")
        return n // 2

    @app.task
    def collect(*halves: int) -> int:
        return sum(halves)

    sent = chord([half.s(2), half.s(3)], collect.s()).delay()
    group = sent.header.uuid
    before = story(app, group)
    assert f"{group} is a chord of 2 tasks." in before
    assert "when both members have succeeded: collect(+ the results of all)" in before
    with Worker(app, concurrency=1), pytest.raises(Exception, match="odd"):
        sent.get(timeout=30)
    after = story(app, group)
    assert "1 FAILURE, 1 SUCCESS" in after
    assert "A member has failed. If this is a chord, its callback is never sent" in after


def test_a_failed_task_has_its_exception(app: App) -> None:
    @app.task
    def fail() -> None:
        raise KeyError("spoon")

    sent = fail.delay()
    with Worker(app, concurrency=1), pytest.raises(Exception, match="spoon"):
        sent.get(timeout=30)
    told = story(app, sent.uuid)
    assert "FAILURE." in told
    assert "exception KeyError" in told
    assert "In no message" in told


def test_a_dead_letter_and_a_delivered_message(app: App) -> None:
    dead, held = app.send_task("resize"), app.send_task("crop")
    with open_connection(app.config.brokers[0]) as connection:
        channel = connection.channel()
        message = channel.basic_get("machinery_tasks")
        channel.commit([Commit(settle=Settle(message.delivery, "dead", "no reason"))])
        channel.basic_get("machinery_tasks")
        assert "Its message is a dead letter of queue machinery_tasks: no reason" in story(app, dead.uuid)
        assert "Its message was delivered from queue machinery_tasks to the consumer" in story(app, held.uuid)


def test_a_uuid_that_nobody_knows(app: App) -> None:
    uuid = "task_00000000-0000-4000-8000-000000000000"
    told = call(uuid, "--broker", app.config.brokers[0], "--backend", app.config.backend)
    assert told.exit_code == 1
    assert f"Nothing is known of {uuid}." in told.output


def test_a_task_that_is_nowhere(app: App) -> None:
    sent = app.send_task("resize")
    with open_connection(app.config.brokers[0]) as connection:
        connection.channel().purge("machinery_tasks")
    told = story(app, sent.uuid)
    assert "The state is not final, and its message is nowhere." in told
