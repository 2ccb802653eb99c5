"""``app.conf``: the settings by Celery's names or by gearmesh's, to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from gearmesh.app.habits import answer
from gearmesh.config import Config
from gearmesh.config.table import SETTINGS
from gearmesh.errors import ConfigError

__all__ = ["Conf"]

#: Celery's names of settings, and gearmesh's.
CELERY_NAMES: Final = {
    "broker_url": "broker",
    "broker_read_url": "broker",
    "broker_write_url": "broker",
    "result_backend": "backend",
    "result_expires": "results_expire_in",
    "task_default_queue": "default_queue",
    "task_default_exchange": "amqp.exchange",
    "task_default_exchange_type": "amqp.exchange_type",
    "task_default_routing_key": "amqp.binding_key",
    "worker_prefetch_multiplier": "amqp.prefetch_count",
}
#: Celery's settings that have no equal, and the answer to each.
ANSWERS: Final = {
    "beat_schedule": "declare periodic tasks by app.periodic(spec, signature)",
    "enable_utc": "a periodic task has its time zone in tz= or in its spec",
    "include": "use App(include=[…])",
    "imports": "use App(include=[…])",
    "task_acks_late": "a message is always acknowledged after its task has ended",
    "task_always_eager": "use App(broker='eager')",
    "task_annotations": "give options to @app.task",
    "task_routes": "use @app.task(queue=…)",
    "task_serializer": "messages are Machinery's JSON, as Go reads it",
    "result_serializer": "states are Machinery's JSON, as Go reads it",
    "accept_content": "messages are Machinery's JSON, as Go reads it",
    "task_soft_time_limit": "use the worker's --soft-limit, or @app.task(soft_limit=…)",
    "task_time_limit": "use the worker's --hard-limit, or @app.task(hard_limit=…)",
    "timezone": "a periodic task has its time zone in tz= or in its spec",
    "worker_concurrency": "use the worker's --concurrency",
    "worker_max_tasks_per_child": "use the worker's --max-tasks-per-child",
    "worker_pool": "use the worker's --pool",
}


class Conf(Mapping[str, Any]):
    """A view of an app's settings that cannot be written.

    Passwords in URLs are not masked, since programs read it; its ``repr`` masks them.
    """

    __slots__ = ("_config",)

    def __init__(self, config: Config) -> None:
        object.__setattr__(self, "_config", config)

    def __getattr__(self, name: str) -> Any:
        path = CELERY_NAMES.get(name, name)
        if path in SETTINGS:
            return self._config.value(path)
        if path in type(self._config).__dataclass_fields__:
            return getattr(self._config, path)
        raise AttributeError(answer(ANSWERS, "app.conf", name, (*CELERY_NAMES, *SETTINGS)))

    def __setattr__(self, name: str, value: Any) -> None:
        raise ConfigError(
            f"app.conf.{name} cannot be set: give settings to App(…), or to Config.load(file), before the app is used"
        )

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError as exc:
            raise KeyError(str(exc)) from None

    def __iter__(self) -> Iterator[str]:
        return iter((*CELERY_NAMES, *SETTINGS))

    def __len__(self) -> int:
        return len(CELERY_NAMES) + len(SETTINGS)

    def __repr__(self) -> str:
        return f"<Conf of {self._config!r}>"
