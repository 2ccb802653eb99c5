"""``gearmesh dead`` on a real Redis."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from gearmesh.cli import main
from gearmesh.transports.registry import open_connection
from gearmesh.wire.commit import Commit, Publish, Settle

GOOD = b'{"UUID":"task_1","Name":"resize"}'
BAD = b"not json"


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
    assert "2 dead letters in machinery_tasks" in result.output
    assert "1 dead letters" in call(url, "list", "--reason", "undecodable").output


def test_show(url: str) -> None:
    line = next(line for line in call(url, "list").output.splitlines() if "resize" in line)
    result = call(url, "show", line.split()[0])
    assert GOOD.decode() in result.output


def test_retry_by_reason(url: str) -> None:
    assert call(url, "retry", "--reason", "registered").output == "1 go back to the tail of machinery_tasks\n"
    assert pending(url) == [GOOD]
    assert "1 dead letters" in call(url, "list").output


def test_drop_asks(url: str) -> None:
    assert call(url, "drop", "--reason", "", input="n\n").exit_code == 1
    assert "2 dead letters" in call(url, "list").output
    assert call(url, "drop", "--reason", "", "--yes").exit_code == 0
    assert "0 dead letters" in call(url, "list").output
    assert pending(url) == []


@pytest.mark.parametrize("words", [("retry",), ("retry", "ffffffff"), ("show", "ffffffff")])
def test_nothing_chosen(url: str, words: tuple[str, ...]) -> None:
    result = call(url, *words)
    assert result.exit_code == 2
    assert "error:" in result.output
