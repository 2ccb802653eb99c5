"""Joins a Celery app to Machinery's programs, by one call or by settings that a call returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from celery.canvas import Signature as Step

from gearmesh.celery.bridge import Bridge
from gearmesh.celery.canvas import GoStep, RawStep
from gearmesh.celery.checks import BACKEND, CONSUMER, TRANSPORTS, amqp_of, one_server
from gearmesh.celery.helper_tasks import register
from gearmesh.celery.routes import GoTasks
from gearmesh.celery.step_types import APPLY_TASK, GO_STEP_TYPE, RAW_STEP_TYPE
from gearmesh.errors import ConfigError
from gearmesh.urls import AMQPTarget, RedisTarget, parse, redact, scheme_of
from gearmesh.urls.addresses import bracketed

__all__ = ["bridge_of", "configure", "settings"]

#: The attribute of an app that keeps its bridge.
_BRIDGE_ATTRIBUTE: Final = "_gearmesh_bridge"
#: The attribute of an app that keeps the values that its settings had before :func:`configure`.
_BEFORE_ATTRIBUTE: Final = "_gearmesh_before"


def configure(
    app: Any,
    *,
    broker: str,
    backend: str,
    go_tasks: GoTasks | None = None,
    queue: str | None = None,
    **options: Any,
) -> None:
    """Let a Celery app exchange tasks with Machinery's programs.

    Call this before the app sends its first task. The app may change its settings until then. A second call replaces
    the first.

    Args:
        app: the Celery app.
        broker: URL in Machinery's form, see :func:`gearmesh.urls.parse`.
        backend: URL of the result backend, in the same form.
        go_tasks: the tasks that Go runs: name to queue, or to :class:`~gearmesh.celery.routes.GoTask`.
        queue: Celery's ``task_default_queue``; None leaves that setting as it is.
        options: further transport options: ``lease``, ``delayed_key``, ``unregistered_max_age``, ``amqp`` (Machinery's
            AMQP settings by name), and kombu's own.

    Raises:
        ConfigError: a setting is wrong (the message names the right one), or the app was used since an earlier call.
    """
    chosen = settings(broker=broker, backend=backend, go_tasks=go_tasks, **options)
    if queue is not None:
        chosen["task_default_queue"] = queue
    if isinstance(app.conf.broker_use_ssl, Mapping):
        chosen.pop("broker_use_ssl", None)  # the app's own value names files
    _release_bridge(app)
    earlier: dict[str, Any] = vars(app).pop(_BEFORE_ATTRIBUTE, {})
    app.conf.update({key: value for key, value in earlier.items() if key not in chosen})
    before = {key: earlier[key] if key in earlier else app.conf[key] for key in chosen}
    app.conf.update(chosen)
    bridge_of(app)
    vars(app)[_BEFORE_ATTRIBUTE] = before


def settings(*, broker: str, backend: str, go_tasks: GoTasks | None = None, **options: Any) -> dict[str, Any]:
    """The Celery settings that :func:`configure` would set, for an app that reads its settings from a file.

    Raises:
        ConfigError: a URL is wrong.
    """
    target = parse(broker, "broker")
    one_server(target, "broker")
    transport = TRANSPORTS.get(scheme_of(broker))
    if transport is None:
        raise ConfigError(
            f"broker: a Celery app cannot use {redact(broker)!r} with gearmesh, "
            f"expected one of {', '.join(TRANSPORTS)}"
        )
    chosen: dict[str, Any] = {
        "broker_url": broker,
        "broker_transport": transport,
        "broker_transport_options": {"go_tasks": dict(go_tasks or {}), **options},
        "result_backend": f"{BACKEND}+{backend}",
        "worker_consumer": CONSUMER,
    }
    if isinstance(target, RedisTarget):
        user = f"{quote(target.username, '')}:{quote(target.password, '')}@" if target.password else ""
        chosen["broker_url"] = (
            f"redis{'s' * target.tls}://{user}{bracketed(target.host)}:{target.port}/{target.db}"
        )
    if isinstance(target, AMQPTarget):
        user = f"{quote(target.username, '')}:{quote(target.password, '')}@"
        host = bracketed(target.host)
        vhost = quote(target.virtual_host, "")
        chosen["broker_url"] = f"amqp{'s' * target.tls}://{user}{host}:{target.port}/{vhost}"
    if getattr(target, "tls", False):
        chosen["broker_use_ssl"] = True
    return chosen


def bridge_of(app: Any) -> Bridge:
    """The app's bridge; the first call makes it.

    Raises:
        ConfigError: a setting of the app is wrong; the message names the right one.
    """
    found: Bridge | None = vars(app).get(_BRIDGE_ATTRIBUTE)
    if found is None:
        found = vars(app).setdefault(_BRIDGE_ATTRIBUTE, Bridge(app))
        _join(app, found)
    return found


def _release_bridge(app: Any) -> None:
    """Make the app forget its bridge, so that other settings can replace the earlier ones.

    Raises:
        ConfigError: the bridge has been used.
    """
    found: Bridge | None = vars(app).get(_BRIDGE_ATTRIBUTE)
    if found is None:
        return
    if found.used:
        raise ConfigError(
            "configure() was called again after the app was used, expected it before the first use"
        )
    del vars(app)[_BRIDGE_ATTRIBUTE]
    app._backend_cache = None
    vars(app._local).pop("backend", None)


def _join(app: Any, bridge: Bridge) -> None:
    Step.TYPES.setdefault(RAW_STEP_TYPE, RawStep)
    Step.TYPES.setdefault(GO_STEP_TYPE, GoStep)
    if APPLY_TASK not in app._tasks:
        register(app)
    vars(app).pop("annotations", None)  # register() has cached this setting, which may still change
    options = app.conf.broker_transport_options or {}
    app.conf.broker_transport_options = {
        **options,
        "amqp": amqp_of(options.get("amqp")),
        # On RabbitMQ, messages of Go programs that name no queue go to this one.
        "default_queue": app.conf.task_default_queue,
        "bridge": bridge,
    }
