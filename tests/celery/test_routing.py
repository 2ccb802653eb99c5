"""The queue of a Celery app's call: exchanges, quorum queues, priorities; and the refusal of a call without a queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from kombu import Exchange, Queue

from gearmesh.celery import settings
from gearmesh.errors import ConfigError, LocalProtocolError
from gearmesh.testing.waiting import eventually
from gearmesh.transports.registry import open_connection
from gearmesh.wire.codec import decode

MakeApp = Callable[..., Celery]
TOPIC = Exchange("tasks", type="topic")


@pytest.fixture
def make_app() -> Iterator[MakeApp]:
    """Makes an app that joins by settings alone, and has a broker and its results at one URL."""
    apps = []

    def make(url: str, *, amqp: dict[str, Any] | None = None, **conf: Any) -> Celery:
        app = Celery("routing", set_as_current=False)
        options = {} if amqp is None else {"amqp": amqp}
        app.conf.update(settings(broker=url, backend=url, go_tasks={"multiply": "go"}, **options), **conf)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def names_in(url: str, queue: str) -> list[str]:
    with open_connection(url) as connection:
        channel: Any = connection.channel()
        return [decode(body).Name for body in channel.pending(queue)]


def test_settings_alone_with_amqp_settings(amqp_url: str, make_app: MakeApp) -> None:
    """The first call makes a connection before anything else asks for the bridge."""
    app = make_app(amqp_url, amqp={"queue_declare_args": {"x-max-priority": 10}}, task_queue_max_priority=10)
    app.send_task("work", (1,), priority=9)
    assert names_in(amqp_url, "celery") == ["work"]


def test_a_topic_exchange(amqp_url: str, make_app: MakeApp) -> None:
    """The example of Celery's routing guide."""
    queues = [Queue("feed", TOPIC, routing_key="feed.#"), Queue("web", TOPIC, routing_key="web.*.big")]
    app = make_app(amqp_url, task_queues=queues)
    app.send_task("import_feed", queue="feed", routing_key="feed.import")
    app.send_task("page", exchange="tasks", routing_key="web.page.big")
    assert names_in(amqp_url, "feed") == ["import_feed"]
    assert names_in(amqp_url, "web") == ["page"]
    with pytest.raises(ConfigError, match=r"no queue .* exchange 'tasks' by 'web\.page\.small'"):
        app.send_task("page", exchange="tasks", routing_key="web.page.small")


def test_a_delay_with_quorum_queues(amqp_url: str, make_app: MakeApp) -> None:
    """Celery sends such a task to an exchange that delays it. Here it is one of Machinery's delayed tasks."""
    app = make_app(
        amqp_url,
        amqp={"queue_declare_args": {"x-queue-type": "quorum"}},
        task_default_queue_type="quorum",
        task_default_exchange_type="topic",
    )
    app.send_task("later", countdown=1)
    assert names_in(amqp_url, "celery") == []
    eventually(lambda: names_in(amqp_url, "celery") == ["later"])


def test_other_arguments_of_a_queue(amqp_url: str, make_app: MakeApp) -> None:
    app = make_app(amqp_url, task_queue_max_priority=10)
    with pytest.raises(
        ConfigError, match=r"queue 'celery'.*x-max-priority.*queue_declare_args is \{\}, expected"
    ):
        app.send_task("work")


def test_send_task_refuses_a_message_that_no_queue_gets(redis_url: str, make_app: MakeApp) -> None:
    """Celery's own transport loses it."""
    app = make_app(redis_url, task_queues=[Queue("images", Exchange("media"), routing_key="image")])
    app.send_task("resize", queue="images")
    app.send_task("resize", exchange="media", routing_key="image")
    assert names_in(redis_url, "images") == ["resize", "resize"]
    with pytest.raises(ConfigError, match="no queue of task_queues is bound to exchange 'media' by 'video'"):
        app.send_task("resize", exchange="media", routing_key="video")


@pytest.mark.parametrize("priority", [300, -1, "9"])
def test_a_priority_that_is_none(redis_url: str, make_app: MakeApp, priority: Any) -> None:
    app = make_app(redis_url)
    with pytest.raises(LocalProtocolError, match=rf"'work': priority is {priority!r}, expected .* 0 to 255"):
        app.send_task("work", priority=priority)
    follows = app.signature("work", priority=priority)
    with pytest.raises(LocalProtocolError, match=rf"'work': priority is {priority!r}, expected .* 0 to 255"):
        chain(app.signature("multiply", (1, 2)), follows, app=app).apply_async()


@pytest.mark.parametrize("value", ["mine", 5])
def test_a_header_of_the_bridge(redis_url: str, make_app: MakeApp, value: Any) -> None:
    with pytest.raises(
        LocalProtocolError, match=rf"'work': header 'gearmesh' is {value!r}, expected another name"
    ):
        make_app(redis_url).send_task("work", headers={"gearmesh": value})


def test_a_workflow_in_messagepack(redis_url: str, make_app: MakeApp) -> None:
    """Celery writes a chord behind a task in a form that no worker can read. Its own workers lose such a message."""
    app = make_app(redis_url, task_serializer="msgpack", accept_content=["json", "msgpack"])
    add, total = app.signature("add", (1, 1)), app.signature("total")
    workflow = chain(add, group(add, add), total, app=app)
    with pytest.raises(
        LocalProtocolError, match=r"task 'add': its content cannot be read.*set task_serializer"
    ):
        workflow.apply_async()
    chord([add, add], total, app=app).apply_async()
    assert names_in(redis_url, "celery") == ["add", "add"]
