"""Joining by settings. A setting that would fail silently is an error at start that names the right setting."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery

from gearmesh.celery import Backend, Consumer, GoTask, Transport, configure, settings
from gearmesh.celery.content import TaskMessage
from gearmesh.celery.outgoing import eta_of
from gearmesh.celery.setup import bridge_of
from gearmesh.errors import ConfigError
from gearmesh.urls import parse

URL = "redis://127.0.0.1:6379/3"


def app_of(**conf: Any) -> Celery:
    app = Celery("settings", set_as_current=False)
    app.conf.update(conf)
    return app


def right(**changes: Any) -> dict[str, Any]:
    return {**settings(broker=URL, backend=URL, go_tasks={"resize": "go"}), **changes}


def test_one_call() -> None:
    app = app_of()
    configure(app, broker=URL, backend=URL, go_tasks={"resize": "go"}, queue="python", lease=9)
    assert isinstance(app.backend, Backend)
    connection = app.connection_for_write()
    assert connection.transport_cls == "gearmesh.celery:Transport"
    assert (connection.hostname, connection.port, connection.virtual_host) == ("127.0.0.1", 6379, "3")
    assert app.conf.task_default_queue == "python"
    bridge = bridge_of(app)
    assert bridge is bridge_of(app)
    assert bridge.go["resize"] == GoTask("go")
    assert (bridge.gear.config.lease, bridge.gear.config.default_queue) == (9, "python")


def test_settings_count_until_the_first_use() -> None:
    app = app_of()
    configure(app, broker=URL, backend=URL)
    app.conf.task_annotations = {"tasks.t": {"rate_limit": "5/s", "time_limit": 9}}
    app.conf.result_expires = 60

    @app.task(name="tasks.t")
    def task() -> None: ...

    assert (app.tasks[task.name].rate_limit, app.tasks[task.name].time_limit) == ("5/s", 9)
    assert bridge_of(app).gear.config.results_expire_in == 60


def test_a_second_call_replaces_the_first() -> None:
    app = app_of()
    other = "redis://127.0.0.1:6379/4"
    configure(app, broker="amqp://u:p@h/v", backend=other, go_tasks={"resize": "go"}, queue="python", lease=9)
    configure(app, broker=URL, backend=URL)
    bridge = bridge_of(app)
    config = bridge.gear.config
    assert (config.broker, config.backend, config.default_queue, config.lease) == (URL, URL, "celery", 30)
    assert not bridge.go
    assert app.backend.bridge is bridge
    with pytest.raises(ConfigError, match="called again after the app was used"):
        configure(app, broker=URL, backend=other)


def test_settings_only() -> None:
    app = app_of(
        broker_url=URL,
        broker_transport="gearmesh.celery:Transport",
        broker_transport_options={"go_tasks": {"resize": {"queue": "go", "args": ["[]byte", "uint16"]}}},
        result_backend=f"gearmesh.celery:Backend+{URL}",
        worker_consumer="gearmesh.celery:Consumer",
    )
    assert isinstance(app.backend, Backend)
    assert bridge_of(app).go["resize"] == GoTask("go", ("[]byte", "uint16"))
    assert isinstance(app.connection_for_write().transport, Transport)
    assert Consumer is not None


def test_two_apps_have_their_own() -> None:
    one, two = app_of(**right()), app_of(**right())
    assert bridge_of(one) is not bridge_of(two)
    pools = {app.connection_for_write() for app in (one, two)}
    assert len(pools) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"broker_url": "sqs://"}, "scheme"),
        ({"broker_url": "gearmesh.celery:Transport+redis://h/0"}, "scheme"),
        ({"broker_url": "redis://secret@h:6379/0"}, "differently"),
        ({"broker_transport": None}, "broker_transport is None, set it to 'gearmesh.celery:Transport'"),
        ({"broker_transport": "redis"}, "set it to 'gearmesh.celery:Transport'"),
        ({"broker_read_url": "redis://h:1/0"}, "broker_read_url"),
        ({"result_backend": None}, r"result_backend is not set.*set 'gearmesh.celery:Backend\+redis://…'"),
        ({"result_backend": "redis://:secret@h:1/0"}, r"set it to 'gearmesh.celery:Backend\+'"),
        ({"result_backend": "gearmesh.celery:Backend"}, "and the backend's URL"),
        ({"result_backend": "gearmesh.celery:Backend+null"}, "the null backend stores no results"),
        ({"result_backend": "gearmesh.celery:Backend+nosuch://h"}, "nosuch"),
        ({"worker_consumer": "celery.worker.consumer:Consumer"}, "set it to 'gearmesh.celery:Consumer'"),
        ({"task_serializer": "pickle"}, "task_serializer is 'pickle', set it to 'json' or 'msgpack'"),
        ({"result_serializer": "yaml"}, "result_serializer"),
        ({"accept_content": ["msgpack"]}, "add 'json'"),
        ({"broker_transport_options": {"go_tasks": ["resize"]}}, "expected a mapping"),
        ({"broker_transport_options": {"go_tasks": {"resize": ""}}}, r"go_tasks\['resize'\]: queue is ''"),
        ({"broker_transport_options": {"go_tasks": {"resize": 5}}}, "expected a queue's name or a mapping"),
        ({"broker_transport_options": {"go_tasks": {"resize": {"args": []}}}}, "expected a queue's name or"),
        (
            {"broker_transport_options": {"go_tasks": {"resize": GoTask("go", ("map",))}}},
            "'map' is no Go type",
        ),
        ({"broker_transport_options": {"go_tasks": {"resize": GoTask("go", retry_count=-1)}}}, "retry_count"),
        ({"broker_transport_options": {"go_tasks": {"": "go"}}}, "not a task name"),
        ({"broker_transport_options": {"lease": -1}}, "lease is -1"),
    ],
)
def test_a_wrong_setting_is_an_error_at_start(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        bridge_of(app_of(**right(**changes)))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "broker", ["sqs://", "null", "redis+socket:///tmp/redis.sock:/0", "redis://h:6379/x"]
)
def test_a_broker_that_cannot_be(broker: str) -> None:
    with pytest.raises(ConfigError, match="broker"):
        settings(broker=broker, backend=URL)


@pytest.mark.parametrize("broker", ["redis://[::1]:6379/0", "amqp://u:p@[::1]:5672/v"])
def test_an_ipv6_address_keeps_its_brackets(broker: str) -> None:
    app = app_of()
    configure(app, broker=broker, backend="redis://[::1]:6379/0")
    bridge = bridge_of(app)
    assert "[::1]" in app.conf.broker_url
    assert parse(bridge.gear.config.broker) == parse(broker)
    assert app.connection_for_write().hostname.strip("[]") == "::1"


SEVERAL = "redis://h1:26379,h2:26379/0"


def test_several_hosts_are_refused_with_advice_to_name_one() -> None:
    said = "has several hosts .h1:26379,h2:26379., expected one: .* neither sentinels nor a cluster"
    with pytest.raises(ConfigError, match=f"^broker {said}"):
        configure(app_of(), broker=SEVERAL, backend=URL)
    with pytest.raises(ConfigError, match=f"^broker_url {said}"):
        bridge_of(app_of(**right(broker_url=SEVERAL)))


def test_a_prefix_of_keys_is_refused() -> None:
    said = "global_keyprefix is 'team1:', expected none: Go programs use the names of queues and"
    with pytest.raises(ConfigError, match=f"broker_transport_options: {said}"):
        configure(app_of(), broker=URL, backend=URL, global_keyprefix="team1:")
    changed = right(result_backend_transport_options={"global_keyprefix": "team1:"})
    with pytest.raises(ConfigError, match=f"result_backend_transport_options: {said}"):
        bridge_of(app_of(**changed))


def test_a_password_is_written_as_celery_reads_it() -> None:
    chosen = settings(broker="redis://p%2Fw@h:1/2", backend=URL)
    assert chosen["broker_url"] == "redis://:p%2Fw@h:1/2"
    app = app_of(**chosen)
    assert app.connection_for_write().password == "p/w"
    assert settings(broker="rediss://h:1/2", backend=URL)["broker_use_ssl"] is True


@pytest.mark.parametrize(
    ("backend", "setting", "seconds"),
    [
        ("amqp://localhost:5672", None, 3600),  # its queues say it: Go's default has to be ours
        ("amqp://localhost:5672", 86400, 86400),
        ("amqp://localhost:5672", timedelta(days=1), 86400),
        (URL, None, 86400),
        (URL, 60, 60),
    ],
)
def test_results_live_as_long_as_result_expires_says(backend: str, setting: Any, seconds: int) -> None:
    app = app_of(**settings(broker=URL, backend=backend))
    if setting is not None:
        app.conf.result_expires = setting
    assert bridge_of(app).gear.config.results_expire_in == seconds


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (timedelta(hours=5, minutes=53, seconds=28), "2030-01-01T06:06:32Z"),
        (timedelta(hours=-4, minutes=-56, seconds=-2), "2030-01-01T16:56:02Z"),
    ],
)
def test_an_eta_whose_offset_has_seconds(offset: timedelta, text: str) -> None:
    app = app_of(**right())
    eta = datetime(2030, 1, 1, 12, tzinfo=timezone(offset))
    assert eta_of(bridge_of(app), TaskMessage(headers={"eta": eta.isoformat()})) == text
