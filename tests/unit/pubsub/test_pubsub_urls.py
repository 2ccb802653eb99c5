"""The URL of Pub/Sub, the names of topics and subscriptions, and the modules that they import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gearmesh.errors import ConfigError
from gearmesh.transports.pubsub.addresses import Addresses
from gearmesh.urls import PubSubTarget, parse

LOOK = """
import sys
from gearmesh import App
app = App(broker="redis://localhost:1/0", backend="null")
assert not [name for name in sys.modules if name.startswith(("google.", "grpc", "boto"))]
app = App(broker="gcppubsub://my-project/tasks", backend="null")
assert not [name for name in sys.modules if name.startswith(("google.", "grpc", "boto"))]
"""
MISSING = """
import sys
sys.modules["google.cloud.pubsub_v1"] = None
from gearmesh.errors import ConfigError
from gearmesh.transports.registry import open_connection
try:
    open_connection("gcppubsub://my-project/tasks").connect()
except ConfigError as exc:
    assert "pip install 'gearmesh[pubsub]'" in str(exc), exc
else:
    raise AssertionError("no error")
"""


def test_a_url_names_project_and_subscription() -> None:
    assert parse("gcppubsub://my-project/tasks") == PubSubTarget("my-project", "tasks")
    assert parse("gcppubsub://example.com:my-project/tasks") == PubSubTarget(
        "example.com:my-project", "tasks"
    )


@pytest.mark.parametrize(
    "url",
    [
        "gcppubsub://",
        "gcppubsub://my-project",
        "gcppubsub://my-project/",
        "gcppubsub://my-project/tasks/more",
        "gcppubsub://user:secret@my-project/tasks",
        "gcppubsub://my-project/tasks?x=y",
        "gcppubsub://my-project/a",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected gcppubsub://PROJECT/SUBSCRIPTION") as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_a_similar_scheme_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"for Google Pub/Sub write gcppubsub://"):
        parse("pubsub://my-project/tasks")
    with pytest.raises(ConfigError, match="unknown URL scheme"):
        parse("gcppubsub://my-project/tasks", "backend")


def test_the_default_queue_is_read_through_the_subscription_of_the_url() -> None:
    addresses = Addresses("my-project", "workers", "machinery_tasks")
    assert addresses.topic("machinery_tasks") == "projects/my-project/topics/machinery_tasks"
    assert addresses.subscription("machinery_tasks") == "projects/my-project/subscriptions/workers"
    assert addresses.subscription("other") == "projects/my-project/subscriptions/other"
    assert addresses.topic("projects/other/topics/x") == "projects/other/topics/x"


@pytest.mark.parametrize("queue", ["", "ab", "1abc", "a b c", "goog-queue", "é" * 10, "a" * 256, "x/y"])
def test_a_name_that_pubsub_refuses_is_named(queue: str) -> None:
    with pytest.raises(ConfigError, match=r"queue is .*expected a name that Pub/Sub allows"):
        Addresses("my-project").topic(queue)


def test_the_commands_that_create_a_missing_topic_and_subscription() -> None:
    addresses = Addresses("my-project", "workers", "machinery_tasks")
    assert addresses.command("topic", addresses.topic("other")) == (
        "gcloud pubsub topics create other --project=my-project"
    )
    assert addresses.command("subscription", addresses.subscription("machinery_tasks")) == (
        "gcloud pubsub subscriptions create workers --topic=machinery_tasks --ack-deadline=60 --project=my-project"
    )


@pytest.mark.parametrize("program", [LOOK, MISSING], ids=["not imported", "not installed"])
def test_the_client_library(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
