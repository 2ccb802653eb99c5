"""``app.conf``: reads the settings by Celery's names or by gearmesh's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from gearmesh.config import Config
from gearmesh.config.table import SETTINGS
from gearmesh.errors import ConfigError
from gearmesh.habits import answer

__all__ = ["Conf", "refuse_celery_names"]

#: Celery's names of settings, and gearmesh's.
CELERY_NAMES: Final = {
    **dict.fromkeys(("broker_url", "broker_read_url", "broker_write_url"), "broker"),
    "result_backend": "backend",
    "result_expires": "results_expire_in",
    "task_default_queue": "default_queue",
    "task_default_exchange": "amqp.exchange",
    "task_default_exchange_type": "amqp.exchange_type",
    "task_default_routing_key": "amqp.binding_key",
}
#: Celery's names that App takes as they are.
ALIASES: Final = {"result_backend"}
#: Celery's settings that have no equal here, with the advice for each.
ANSWERS: Final = {
    "accept_content": "messages are Machinery's JSON, as Go reads it",
    "beat_schedule": "declare periodic tasks by app.periodic(spec, signature)",
    "broker_connection_retry": "a worker waits for its broker by itself",
    "broker_connection_retry_on_startup": "use the worker's --wait-for-broker",
    "broker_pool_limit": "connections are opened as they are needed",
    "broker_transport_options": "give the settings by their own names: lease, delayed_poll, redis, amqp",
    "broker_use_ssl": "use rediss:// or amqps://, and the sections redis or amqp for certificates",
    "enable_utc": "a periodic task has its time zone in tz= or in its spec",
    **dict.fromkeys(("imports", "include"), "use App(include=[…])"),
    "result_backend_transport_options": "give the settings by their own names, such as redis.master_name",
    "result_extended": "a state on Machinery's wire keeps no arguments",
    "result_serializer": "states are Machinery's JSON, as Go reads it",
    "task_acks_late": "a message is always acknowledged after its task has ended",
    "task_always_eager": "use App(broker='eager')",
    "task_annotations": "give options to @app.task",
    "task_default_priority": "use @app.task(priority=…)",
    "task_default_rate_limit": "use @app.task(rate=…)",
    "task_eager_propagates": "get() raises a task's failure; delay() never does",
    "task_ignore_result": "every task's state is kept, as Go does it; results_expire_in says for how long",
    "task_publish_retry": "use publish_timeout, the seconds for which a publish is repeated",
    "task_queues": "use the worker's --queues",
    "task_reject_on_worker_lost": "a task whose worker is lost is always run again",
    "task_routes": "use @app.task(queue=…)",
    "task_serializer": "messages are Machinery's JSON, as Go reads it",
    "task_soft_time_limit": "use the worker's --soft-limit, or @app.task(soft_limit=…)",
    "task_time_limit": "use the worker's --hard-limit, or @app.task(hard_limit=…)",
    "task_track_started": "STARTED is written for every task that runs for longer than 50 ms",
    "timezone": "a periodic task has its time zone in tz= or in its spec",
    "update": "it cannot be written: give settings to App(…), or to Config.load(file), before the app is used",
    "worker_concurrency": "use the worker's --concurrency",
    "worker_hijack_root_logger": "only the commands install log handlers, the library none",
    "worker_max_tasks_per_child": "use the worker's --max-tasks-per-child",
    "worker_pool": "use the worker's --pool",
    "worker_prefetch_multiplier": "a worker holds one message a slot; on RabbitMQ see amqp.prefetch_count",
    "worker_send_task_events": "there are no events on Machinery's wire; the worker logs each task",
}


class Conf(Mapping[str, Any]):
    """A view of an app's settings that cannot be written.

    Passwords in URLs are not masked, since programs use them; its ``repr`` masks them.
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
        raise AttributeError(_unknown(name))

    def _refuse(self, name: str, value: Any = None) -> None:
        raise ConfigError(_unwritable(name))

    __setattr__ = __setitem__ = __delattr__ = _refuse

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


def refuse_celery_names(given: Iterable[str]) -> None:
    """Refuse Celery's names of settings among the keyword arguments of an App.

    Raises:
        ConfigError: a name is Celery's. The message names gearmesh's setting or advises on another way.
    """
    for name in given:
        if name in ANSWERS:
            raise ConfigError(f"App has no setting {name!r}, which is Celery's: {ANSWERS[name]}")
        if name in CELERY_NAMES and name not in ALIASES:
            raise ConfigError(
                f"App has no setting {name!r}, which is Celery's: give it to {_argument(CELERY_NAMES[name])}"
            )


def _argument(path: str) -> str:
    """The keyword argument of App by which a setting is given."""
    section, _, field = path.rpartition(".")
    return f"App({section}={{{field!r}: …}})" if section else f"App({path}=…)"


def _unknown(name: str) -> str:
    """The error for a setting that is neither gearmesh's nor Celery's."""
    return answer(ANSWERS, "app.conf", name, (*CELERY_NAMES, *SETTINGS))


def _unwritable(name: str) -> str:
    """The error for code that sets a setting: it names the way to give it, or says that there is no such setting."""
    if name in ANSWERS:
        return f"app.conf.{name} cannot be set: {ANSWERS[name]}"
    path = CELERY_NAMES.get(name, name)
    if path not in SETTINGS and path not in Config.__dataclass_fields__:
        return _unknown(name)
    how = _argument(path) if path in SETTINGS else "App(…)"
    return f"app.conf.{name} cannot be set: give it to {how}, or to Config.load(file), before the app is used"
