"""``gearmesh doctor``, ``queues`` and ``dead`` on SQS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from gearmesh import App
from gearmesh.cli import main
from gearmesh.cli.checks import Case, Finding
from gearmesh.cli.checks.sqs import sqs_queues
from gearmesh.config import SQSConfig
from gearmesh.interfaces.commit import Commit, Settle
from gearmesh.transports.registry import open_connection

from .sqs_queues import Queues


def findings(queues: Queues, queue: str, **settings: Any) -> list[Finding]:
    app = App(queues.server.url, default_queue=queue, sqs=SQSConfig(**settings))

    @app.task(soft_limit=100, hard_limit=200)
    def long() -> None: ...

    with app:
        return list(sqs_queues(Case(app)))


def texts(found: list[Finding], level: str) -> str:
    return "\n".join(each.text for each in found if each.level == level)


def test_a_queue_that_is_well_made(sqs_queues: Queues) -> None:
    found = findings(sqs_queues, sqs_queues.make(max_receives=20, VisibilityTimeout=120))
    assert [each.level for each in found] == ["ok"]


def test_the_doctor_finds_queue_settings_that_do_not_fit_the_tasks(sqs_queues: Queues) -> None:
    found = findings(sqs_queues, sqs_queues.make(fifo=True, VisibilityTimeout=5, MessageRetentionPeriod=600))
    assert "no redrive policy" in texts(found, "problem")
    notes = texts(found, "note")
    assert "visibility timeout is 5 s" in notes
    assert "longer than the visibility timeout of 5 s: long." in notes
    assert "no message group of their own: long" in notes
    few = findings(sqs_queues, sqs_queues.make(max_receives=2))
    assert "after 2 receives" in texts(few, "note")


def test_a_missing_queue(sqs_queues: Queues) -> None:
    (found,) = findings(sqs_queues, "no-such-queue")
    assert (found.level, "aws sqs create-queue --queue-name no-such-queue" in found.advice) == (
        "problem",
        True,
    )
    assert findings(sqs_queues, "no-such-queue", create_queues=True) == []


def test_missing_permissions(sqs_queues: Queues) -> None:
    """An account that may neither read attributes nor delete."""
    from botocore.exceptions import ClientError

    client = sqs_queues.client()

    def deny(model: Any, **kwargs: Any) -> None:
        if model.name in ("GetQueueAttributes", "DeleteMessage"):
            error = {
                "Error": {"Code": "AccessDenied", "Message": "no"},
                "ResponseMetadata": {"HTTPStatusCode": 403},
            }
            raise ClientError(error, model.name)  # type: ignore[arg-type]

    client.meta.events.register("before-call.sqs", deny)
    problems = texts(findings(sqs_queues, sqs_queues.make(), client=client), "problem")
    assert "attributes may not be read" in problems
    assert "sqs:DeleteMessage" in problems
    assert "sqs:ChangeMessageVisibility" not in problems


def test_the_command_line(sqs_queues: Queues) -> None:
    queue = sqs_queues.make(max_receives=20)
    sqs_queues.send(queue, b'{"UUID":"task_1","Name":"resize"}', b'{"UUID":"task_2","Name":"resize"}')
    with open_connection(sqs_queues.server.url) as connection:
        channel = connection.channel()
        came = channel.basic_get(queue)
        channel.commit([Commit(settle=Settle(came.delivery, "dead", "cannot be read"))])

    def run(*words: str) -> str:
        done = CliRunner().invoke(main, [*words, "--broker", sqs_queues.server.url])
        return done.output

    counts = json.loads(run("queues", "--json", queue))
    assert [(each["queue"], each["pending"], each["dead"]) for each in counts] == [(queue, 1, 1)]
    assert "cannot be read" in run("dead", "list", "--queue", queue)
    assert "SQS shows no waiting message without delivering it" in run("pending", "--queue", queue)


@pytest.mark.parametrize("url", ["https://example.com/1", "http://127.0.0.1:9324/000000000000"])
def test_another_endpoint_has_to_be_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISABLE_STRICT_SQS_CHECK", raising=False)
    with pytest.raises(ValueError, match=r"https://sqs\.REGION.*DISABLE_STRICT_SQS_CHECK"):
        App(url, default_queue="x").config  # noqa: B018
