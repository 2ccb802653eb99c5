from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearmesh import App, chain
from gearmesh.config import AMQPConfig, Config, DynamoDBConfig
from gearmesh.config import config as config_module
from gearmesh.errors import ConfigError
from gearmesh.wire import names
from gearmesh.wire.signature import Signature
from gearmesh.worker import Worker

URL = "redis://localhost:6379/0"


def test_defaults_are_machinery_s() -> None:
    config = Config(broker=URL)
    assert config.default_queue == "machinery_tasks"
    assert config.delayed_tasks_key == "delayed_tasks"
    assert config.results_expire_in == config.expire == 3600
    assert config.backend == "null"
    assert config.brokers == (URL,)


def test_zero_expiry_is_the_default() -> None:
    assert Config(broker=URL, results_expire_in=0).expire == 3600


@pytest.mark.parametrize(
    ("broker", "text"),
    [
        ("redis://a;amqp://b", "broker is redis://a;amqp://b, expected URLs of one kind of broker"),
        ("memory://a;eager", "expected URLs of one kind"),
        ("redis://:hunter2@a;", "broker: one of the URLs that ';' separates is empty"),
        ("redis://:hunter2@a;;redis://b", "is empty"),
        ("redis://a,redis://b", "holds a second URL, .* multiple_broker_separator to ','"),
        ("redis://a; redis://b", "white space around it"),
    ],
)
def test_several_brokers_that_cannot_be(broker: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as error:
        Config(broker=broker, multiple_broker_separator=";")
    assert "hunter2" not in str(error.value)


AMQP = "amqp://127.0.0.1"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"broker": URL, "default_queue": "shop", "delayed_tasks_key": "shop"},
            "default_queue and delayed_tasks_key are both 'shop', expected two names: delayed_tasks_key is the key of",
        ),
        ({"broker": URL, "default_queue": "delayed_tasks"}, "default_queue and delayed_tasks_key are both"),
        (
            {"broker": "redis://a:1,b:2", "default_queue": "shop", "delayed_tasks_key": "shop"},
            "default_queue and delayed_tasks_key",
        ),
        (
            {"broker": URL, "default_queue": "gearmesh:revoked"},
            "default_queue is 'gearmesh:revoked', expected a name",
        ),
        ({"broker": URL, "delayed_tasks_key": "gearmesh:x"}, "delayed_tasks_key is 'gearmesh:x'"),
        ({"broker": URL, "delayed_tasks_key": "TriggerChordMutex"}, "which is a key of Machinery's own"),
        (
            {"broker": URL, "default_queue": "TriggerChordMutex"},
            "default_queue is 'TriggerChordMutex', which",
        ),
        (
            {"broker": AMQP, "default_queue": "shop", "amqp": AMQPConfig(delayed_queue="shop")},
            "default_queue and amqp.delayed_queue are both 'shop'",
        ),
        ({"broker": AMQP, "amqp": AMQPConfig(exchange="gearmesh:done")}, "amqp.exchange is 'gearmesh:done'"),
        ({"broker": AMQP, "amqp": AMQPConfig(delayed_queue="gearmesh:alive")}, "amqp.delayed_queue is"),
        (
            {"broker": URL, "dynamodb": DynamoDBConfig(task_states_table="t", group_metas_table="t")},
            "dynamodb.task_states_table and dynamodb.group_metas_table are both 't'",
        ),
    ],
)
def test_names_that_must_differ(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Config(**settings)


def test_names_that_may_be_equal() -> None:
    Config(broker=AMQP, default_queue="shop", amqp=AMQPConfig(binding_key="shop", exchange="shop"))
    Config(broker=AMQP, default_queue="delayed_tasks")  # a key of Redis's
    Config(broker="memory://x", default_queue="delayed_tasks")


def test_reserved_names_are_those_of_the_wire() -> None:
    assert (config_module.PREFIX, config_module.MUTEX) == (names.PREFIX, names.CHORD_MUTEX)


@pytest.mark.parametrize(
    ("app", "queue", "reads", "text"),
    [
        (App(URL), "delayed_tasks", False, "queue and delayed_tasks_key are both 'delayed_tasks'"),
        (App(URL), "gearmesh:x", False, "queue is 'gearmesh:x'"),
        (App(AMQP, amqp={"delayed_queue": "later"}), "later", False, "queue and amqp.delayed_queue are both"),
        (
            App(AMQP, default_queue="shop"),
            "machinery_task",
            True,
            "queue and amqp.binding_key are both 'machinery_task', .* the default queue, 'shop': its tasks would be",
        ),
    ],
)
def test_queues_that_are_something_else(app: App, queue: str, reads: bool, text: str) -> None:
    """Named where they are read, and where something is sent to them; before anything is connected."""
    with pytest.raises(ConfigError, match=text):
        Worker(app, ["shop", queue])
    sends = [
        lambda: app.remote("x").apply_async(queue=queue),
        lambda: app.remote("x", queue=queue).delay(),
        lambda: app.send(Signature(Name="x", RoutingKey=queue)),
        lambda: chain(app.remote("x").s(), app.remote("y").s().set(queue=queue)).delay(),
    ]
    for send in sends if not reads else ():
        with pytest.raises(ConfigError, match=text):
            send()


def test_it_is_a_value() -> None:
    config = Config(broker=URL)
    assert config == Config(broker=URL)
    assert hash(config) == hash(Config(broker=URL))
    assert replace(config, lease=5).lease == 5
    with pytest.raises(FrozenInstanceError):
        config.lease = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("broker", "", "broker is '', expected text that is not empty"),
        ("broker", 7, "broker is a int, expected text"),
        ("broker", "kafka://u:hunter2@h", "broker: unknown URL scheme 'kafka', expected one of redis"),
        ("backend", "kafka://h", "backend: unknown URL scheme 'kafka'"),
        ("backend", None, "backend is a NoneType"),
        ("lock", "null", "lock: unknown URL scheme 'null'"),
        ("multiple_broker_separator", "@", "multiple_broker_separator is '@', expected text without"),
        ("default_queue", "", "default_queue is ''"),
        ("delayed_tasks_key", b"x", "delayed_tasks_key is b'x'"),
        ("results_expire_in", -1, "results_expire_in is -1, expected a whole number, 0 or more"),
        ("results_expire_in", 1.5, "results_expire_in is 1.5"),
        ("results_expire_in", True, "results_expire_in is True"),
        ("send_concurrency", "1", "send_concurrency is '1'"),
        ("lease", 0, "lease is 0, expected seconds above 0"),
        ("lease", float("nan"), "lease is nan"),
        ("lease", float("inf"), "lease is inf"),
        ("lease", "30", "lease is '30'"),
        ("delayed_poll", -0.1, "delayed_poll is -0.1"),
        ("publish_timeout", -1, "publish_timeout is -1, expected seconds, 0 or more"),
        ("unregistered_max_age", True, "unregistered_max_age is True"),
    ],
)
def test_a_wrong_setting_names_itself(setting: str, value: Any, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config(**{"broker": URL, setting: value})
    assert str(error.value).startswith(text)
    assert "hunter2" not in str(error.value)


def test_several_brokers() -> None:
    config = Config(broker="redis://a:hunter2@h:1;redis://h:2", multiple_broker_separator=";")
    assert config.brokers == ("redis://a:hunter2@h:1", "redis://h:2")
    assert "broker='redis://***@h:1;redis://h:2'" in repr(config)


@given(st.text(max_size=8), st.sampled_from(["", ";", ",", "@", ":", "/"]))
def test_no_password_in_repr_or_error(noise: str, separator: str) -> None:
    url = f"redis://u:{noise}hunter2@h:1/0"
    for urls in ({"broker": url}, {"broker": URL, "backend": url}, {"broker": URL, "lock": url}):
        try:
            shown = repr(Config(**urls, multiple_broker_separator=separator))
        except ConfigError as error:
            shown = str(error)
        assert "hunter2" not in shown


def test_repr_shows_every_setting() -> None:
    text = repr(Config(broker="redis://hunter2@h:1", lock="redis+socket://hunter2@/a.sock"))
    assert text.startswith(
        "Config(broker='redis://***@h:1', backend='null', lock='redis+socket://***@/a.sock', "
    )
    assert "lease=30.0" in text
