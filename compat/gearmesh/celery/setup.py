"""The one bridge of a Celery app, and what an app has once it is joined."""

from __future__ import annotations

from typing import Any, Final

from celery.canvas import Signature as Step

from gearmesh.celery.bridge import Bridge
from gearmesh.celery.canvas import GoStep, RawStep
from gearmesh.celery.checks import amqp_of
from gearmesh.celery.helper_tasks import register
from gearmesh.celery.step_types import APPLY_TASK, GO_STEP_TYPE, RAW_STEP_TYPE
from gearmesh.errors import ConfigError

__all__ = ["bridge_of", "part"]

#: Where the app keeps its bridge.
_ATTRIBUTE: Final = "_gearmesh_bridge"


def bridge_of(app: Any) -> Bridge:
    """The app's bridge, made at the first call.

    Raises:
        ConfigError: the settings do not fit; says what to set.
    """
    found: Bridge | None = vars(app).get(_ATTRIBUTE)
    if found is None:
        found = vars(app).setdefault(_ATTRIBUTE, Bridge(app))
        _join(app, found)
    return found


def part(app: Any) -> None:
    """Let the app forget its bridge, so that other settings can take the place of those so far.

    Raises:
        ConfigError: the bridge has been used.
    """
    found: Bridge | None = vars(app).get(_ATTRIBUTE)
    if found is None:
        return
    if found.used:
        raise ConfigError(
            "configure() was called again after the app was used, expected it before the first use"
        )
    del vars(app)[_ATTRIBUTE]
    app._backend_cache = None
    vars(app._local).pop("backend", None)


def _join(app: Any, bridge: Bridge) -> None:
    Step.TYPES.setdefault(RAW_STEP_TYPE, RawStep)
    Step.TYPES.setdefault(GO_STEP_TYPE, GoStep)
    if APPLY_TASK not in app._tasks:
        register(app)
    vars(app).pop("annotations", None)  # registering has read them, and settings may still change
    options = app.conf.broker_transport_options or {}
    app.conf.broker_transport_options = {
        **options,
        "amqp": amqp_of(options.get("amqp")),
        # On RabbitMQ it gets what Go programs send that name no queue.
        "default_queue": app.conf.task_default_queue,
        "bridge": bridge,
    }
