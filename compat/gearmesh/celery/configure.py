"""The settings that make a Celery app join, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from gearmesh.celery.checks import BACKEND, CONSUMER, TRANSPORTS, one_server
from gearmesh.celery.routes import GoTasks
from gearmesh.celery.setup import bridge_of, part
from gearmesh.errors import ConfigError
from gearmesh.urls import AMQPTarget, RedisTarget, parse, redact, scheme_of
from gearmesh.urls.addresses import bracketed

__all__ = ["configure", "settings"]

#: The attribute of an app that keeps the values its settings had before :func:`configure`.
_BEFORE: Final = "_gearmesh_before"


def configure(
    app: Any,
    *,
    broker: str,
    backend: str,
    go_tasks: GoTasks | None = None,
    queue: str | None = None,
    **options: Any,
) -> None:
    """Make a Celery app one of Machinery's programs. Before its first task is sent.

    Settings that are made later count as well, until the app is used. A second call takes the place of the first.

    Args:
        app: the Celery app.
        broker: URL in Machinery's form, see :func:`gearmesh.urls.parse`.
        backend: the same for results.
        go_tasks: the tasks that Go runs: name to queue, or to :class:`~gearmesh.celery.routes.GoTask`.
        queue: Celery's ``task_default_queue``; None leaves it.
        options: further transport options: ``lease``, ``delayed_key``, ``unregistered_max_age``, ``amqp`` (Machinery's
            AMQP settings by name), and kombu's.

    Raises:
        ConfigError: says which setting is wrong, and what to set; or the app was used since an earlier call.
    """
    chosen = settings(broker=broker, backend=backend, go_tasks=go_tasks, **options)
    if queue is not None:
        chosen["task_default_queue"] = queue
    if isinstance(app.conf.broker_use_ssl, Mapping):
        chosen.pop("broker_use_ssl", None)  # it names files
    part(app)
    earlier: dict[str, Any] = vars(app).pop(_BEFORE, {})
    app.conf.update({key: value for key, value in earlier.items() if key not in chosen})
    before = {key: earlier[key] if key in earlier else app.conf[key] for key in chosen}
    app.conf.update(chosen)
    bridge_of(app)
    vars(app)[_BEFORE] = before


def settings(*, broker: str, backend: str, go_tasks: GoTasks | None = None, **options: Any) -> dict[str, Any]:
    """The same as Celery settings, for those who configure by file.

    Raises:
        ConfigError: a URL is wrong.
    """
    target = parse(broker, "broker")
    one_server(target, "broker")
    transport = TRANSPORTS.get(scheme_of(broker))
    if transport is None:
        raise ConfigError(
            f"broker: {redact(broker)!r} is none that a Celery app can use with gearmesh, "
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
