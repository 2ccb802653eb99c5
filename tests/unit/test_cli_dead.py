"""``gearmesh dead`` on a real Redis."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from tests.support.servers import free_port

from gearmesh import App
from gearmesh.cli import main
from gearmesh.interfaces.commit import Commit, Publish, Settle
from gearmesh.transports.registry import open_connection
from gearmesh.wire.state import FAILURE, PENDING, TaskState

GOOD = b'{"UUID":"task_1","Name":"resize"}'
BAD = b"not json"
CREATED = "2026-01-01T00:00:00Z"


@pytest.fixture
def url(redis_url: str) -> str:
    """A server with two dead letters."""
    with open_connection(redis_url) as connection:
        channel = connection.channel()
        for body, reason in ((GOOD, "no worker has registered the task resize"), (BAD, "undecodable: no")):
            channel.commit([Commit(publishes=(Publish("machinery_tasks", body),))])
            message = channel.basic_get("machinery_tasks")
            channel.commit([Commit(settle=Settle(message.delivery, "dead", reason))])
    return redis_url


def call(url: str, *words: str, **more: str) -> Result:
    return CliRunner().invoke(main, ["dead", words[0], "--broker", url, *words[1:]], **more)


def pending(url: str) -> list[bytes]:
    with open_connection(url) as connection:
        bodies: list[bytes] = connection.channel().pending("machinery_tasks")
    return bodies


def test_list(url: str) -> None:
    result = call(url, "list")
    assert result.exit_code == 0
    assert "resize" in result.output
    assert "undecodable" in result.output
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["uuid", "task_1", "?"]
    assert "2 dead letters in machinery_tasks" in result.output
    assert "1 dead letter in" in call(url, "list", "--reason", "undecodable").output


def test_list_without_a_queue_reads_all(url: str) -> None:
    with open_connection(url) as connection:
        channel = connection.channel()
        channel.commit([Commit(publishes=(Publish("other", b'{"UUID":"task_2","Name":"late"}'),))])
        channel.commit([Commit(settle=Settle(channel.basic_get("other").delivery, "dead", "no worker"))])
    result = call(url, "list", "--wide")
    rows = [line.split()[1:3] for line in result.stdout.splitlines()]
    assert rows[0] == ["queue", "task"]
    assert sorted(rows[1:]) == [["machinery_tasks", "?"], ["machinery_tasks", "resize"], ["other", "late"]]
    assert "3 dead letters in 2 queues" in result.stderr
    assert "name it with --queue" in result.stderr
    one = call(url, "list", "other")
    assert "1 dead letter in other" in one.stderr
    assert one.stdout.splitlines()[0].split()[:2] == ["id", "task"]
    letter = json.loads(call(url, "list", "other", "--json").stdout)[0]["id"]
    missing = call(url, "show", letter)
    assert "in queue machinery_tasks; name another queue with --queue" in missing.stderr
    assert call(url, "show", letter, "--queue", "other").exit_code == 0


def test_show(url: str) -> None:
    line = next(line for line in call(url, "list").output.splitlines() if "resize" in line)
    result = call(url, "show", line.split()[0])
    assert GOOD.decode() in result.output


def test_retry_by_reason(url: str) -> None:
    assert (
        call(url, "retry", "--reason", "registered").output
        == "returned 1 dead letter to the tail of machinery_tasks\n"
    )
    assert pending(url) == [GOOD]
    assert "1 dead letter in" in call(url, "list").output


def test_all_are_returned(url: str) -> None:
    result = call(url, "retry", "--all", "--json")
    assert json.loads(result.output) == {"queue": "machinery_tasks", "retried": 2}
    assert sorted(pending(url)) == sorted([GOOD, BAD])
    assert json.loads(call(url, "retry", "--all", "--json").output)["retried"] == 0


def test_more_than_one_batch_is_returned(redis_url: str) -> None:
    with open_connection(redis_url) as connection:
        channel = connection.channel()
        bodies = [b"dead %d" % n for n in range(1050)]
        channel.commit([Commit(publishes=tuple(Publish("machinery_tasks", body) for body in bodies))])
        for _ in bodies:
            message = channel.basic_get("machinery_tasks")
            channel.commit([Commit(settle=Settle(message.delivery, "dead", "no"))])
    assert (
        call(redis_url, "retry", "--all").output
        == "returned 1,050 dead letters to the tail of machinery_tasks\n"
    )
    assert set(pending(redis_url)[:5]) <= set(bodies[:20]), "the oldest first; a millisecond has several"


def test_json(url: str) -> None:
    listed = json.loads(call(url, "list", "--json").output)
    good, bad = sorted(listed, key=lambda each: "undecodable" in each)
    assert (good["task"], good["uuid"], good["count"]) == ("resize", "task_1", 1)
    assert good["signature"]["Name"] == "resize"
    assert good["reason"] == "no worker has registered the task resize"
    assert good["first"] == good["last"]
    assert good["last"].endswith("Z")
    assert bad["body"] == "bm90IGpzb24="
    assert json.loads(call(url, "show", good["id"][:6], "--json").output) == good
    assert json.loads(call(url, "drop", good["id"][:6], "--yes", "--json").output) == {
        "queue": "machinery_tasks",
        "dropped": 1,
    }


def test_retry_begins_anew(url: str) -> None:
    """A caller that waits for the retried task must not find the FAILURE of the first try."""
    with App(url, url) as app:
        pending = TaskState(TaskUUID="task_1", TaskName="resize", State=PENDING, CreatedAt=CREATED)
        app.backend.write([pending, TaskState(TaskUUID="task_1", State=FAILURE, Error="died")])
        assert call(url, "retry", "--reason", "", "--backend", url).exit_code == 0
        (state,) = app.states(["task_1"])
    assert state is not None
    assert (state.State, state.TaskName, state.Error) == (PENDING, "resize", "")
    assert state.CreatedAt > CREATED


def test_retry_while_the_backend_is_away(url: str) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    result = call(url, "retry", "--reason", "", "--backend", nowhere)
    assert result.exit_code == 2
    assert nowhere in result.output
    assert "2 dead letters" in call(url, "list").output


def test_drop_asks(url: str) -> None:
    asked = call(url, "drop", "--all", input="n\n")
    assert asked.exit_code == 1
    assert "Delete 2 dead letters of machinery_tasks? This cannot be undone. Continue?" in asked.output
    assert "2 dead letters" in call(url, "list").output
    assert call(url, "drop", "--reason", "", "--yes").exit_code == 0
    assert "0 dead letters" in call(url, "list").output
    assert pending(url) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("retry",), "no dead letters chosen: give ids (a prefix is enough), --reason TEXT, or --all"),
        (("retry", "ffffffff"), "no dead letter with id 'ffffffff' in queue machinery_tasks"),
        (("show", "ffffffff"), "no dead letter with id 'ffffffff' in queue machinery_tasks"),
        (("show", ""), "2 dead letters in queue machinery_tasks have an id that begins with ''"),
    ],
)
def test_nothing_chosen(url: str, words: tuple[str, ...], problem: str) -> None:
    result = call(url, *words)
    assert result.exit_code == 2
    assert f"error: {problem}" in result.output
