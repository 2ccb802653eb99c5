"""The doctor's findings about a Pub/Sub, on the emulator."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.pubsub_project import PubSubProject
from tests.support.servers import PubSubServer

from gearmesh import App
from gearmesh.cli.checks.base import Case, Finding
from gearmesh.cli.checks.pubsub import subscriptions
from gearmesh.cli.checks.servers import brokers_answer


@pytest.fixture
def project(pubsub_emulator: PubSubServer) -> PubSubProject:
    return PubSubProject()


def found(url: str, *queues: str, **settings: Any) -> list[Finding]:
    with App(url, "null", gcppubsub=settings) as app:
        return list(subscriptions(Case(app, queues)))


def test_nothing_is_found_where_all_is_well(project: PubSubProject) -> None:
    project.queue("dead")
    url = project.queue("machinery_tasks", "workers", ack_deadline_seconds=60)
    assert found(url, dead_letter_topic="dead") == []
    policy = {"dead_letter_topic": project.addresses.topic("dead"), "max_delivery_attempts": 100}
    url = project.queue("machinery_tasks2", "workers2", ack_deadline_seconds=60, dead_letter_policy=policy)
    with App(url, "null", default_queue="machinery_tasks2") as app:
        assert list(subscriptions(Case(app))) == []


def test_a_finding_gives_the_command_that_creates_the_missing_part(project: PubSubProject) -> None:
    with App(project.url("workers"), "null") as app:
        (finding,) = brokers_answer(Case(app))
    assert finding.level == "problem"
    assert "gcloud pubsub subscriptions create workers --topic=machinery_tasks" in finding.text
    assert "cannot be reached" not in finding.text
    url = project.queue("machinery_tasks", "workers", ack_deadline_seconds=60)
    project.queue("dead")
    (finding,) = found(url, "other", dead_letter_topic="dead")
    assert f"gcloud pubsub topics create other --project={project.name}" in finding.text


def test_dead_letters_that_go_nowhere(project: PubSubProject) -> None:
    url = project.queue("machinery_tasks", "workers", ack_deadline_seconds=60)
    (finding,) = found(url)
    assert "no dead letter topic" in finding.text
    project.api.ensure(project.addresses.topic("dead"), "")
    (finding,) = found(url, dead_letter_topic="dead")
    assert "has no subscription" in finding.text


def test_settings_that_do_not_go_with_tasks(project: PubSubProject) -> None:
    project.queue("dead")
    project.queue("other")
    policy = {"dead_letter_topic": project.addresses.topic("dead"), "max_delivery_attempts": 5}
    url = project.queue(
        "other", "workers", dead_letter_policy=policy, ack_deadline_seconds=10, retry_policy={}
    )
    project.api.ensure(project.addresses.topic("machinery_tasks"), "")
    texts = [finding.text for finding in found(url)]
    assert len(texts) == 4
    for text, words in zip(
        texts,
        ("no worker gets them", "ack deadline is 10 s", "retry policy", "allows 5 deliveries"),
        strict=True,
    ):
        assert words in text
