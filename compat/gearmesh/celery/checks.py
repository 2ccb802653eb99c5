"""Checks Celery's settings before the app sends anything: a setting that would lose messages silently is an error."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from kombu.utils.url import parse_url

from gearmesh.config import AMQPConfig, RedisConfig
from gearmesh.errors import ConfigError
from gearmesh.urls import AMQPTarget, RedisTarget, Target, parse, redact

__all__ = [
    "BACKEND",
    "CONSUMER",
    "TRANSPORTS",
    "amqp_of",
    "check_settings",
    "expire_of",
    "one_server",
    "redis_of",
]

BACKEND: Final = "gearmesh.celery:Backend"
CONSUMER: Final = "gearmesh.celery:Consumer"
#: The setting broker_transport, by the broker URL's scheme.
TRANSPORTS: Final[Mapping[str, str]] = {
    "redis": "gearmesh.celery:Transport",
    "rediss": "gearmesh.celery:Transport",
    "amqp": "gearmesh.celery:AMQPTransport",
    "amqps": "gearmesh.celery:AMQPTransport",
    "memory": "gearmesh.celery:MemoryTransport",
}
#: RedisConfig's names of the TLS files, with the names that redis-py and Celery use.
_FILES: Final = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}
#: Seconds for which results are kept if they never expire in Celery (its 0 or None).
NEVER_EXPIRES_S: Final = 10 * 365 * 86400

#: Go: the default of ResultsExpireIn, in seconds.
GO_DEFAULT_EXPIRE_S: Final = 3600


def expire_of(conf: Any) -> int:
    """Seconds for which results are kept, by the setting ``result_expires``.

    Programs declare RabbitMQ's result queues with that number, and RabbitMQ refuses a program that declares another
    one. On RabbitMQ an unset value therefore means Go's default of an hour, and not Celery's default of a day.
    """
    setting = conf.result_expires
    untold = setting is conf.defaults[-1]["result_expires"]
    if untold and conf.result_backend.partition("+")[2].startswith("amqp"):
        return GO_DEFAULT_EXPIRE_S
    seconds = setting.total_seconds() if isinstance(setting, timedelta) else setting
    return int(seconds) if seconds else NEVER_EXPIRES_S


def amqp_of(setting: Any) -> AMQPConfig:
    if isinstance(setting, AMQPConfig):
        return setting
    if not isinstance(setting, Mapping) and setting is not None:
        raise ConfigError(f"amqp is {setting!r:.100}, expected a mapping with Machinery's AMQP settings")
    try:
        return AMQPConfig(**(setting or {}))
    except TypeError as exc:
        raise ConfigError(f"amqp: {exc}") from exc


def redis_of(conf: Any) -> RedisConfig:
    """The connection settings for results in Redis, with the TLS files that Celery's own settings name.

    Raises:
        ConfigError: Celery's settings turn off the check of the server's certificate.
    """
    name = "redis_backend_use_ssl" if conf.redis_backend_use_ssl else "broker_use_ssl"
    said = conf[name]
    if not isinstance(said, Mapping):
        return RedisConfig()
    if said.get("ssl_cert_reqs", ssl.CERT_REQUIRED) not in (ssl.CERT_REQUIRED, "required", "CERT_REQUIRED"):
        raise ConfigError(
            f"{name}: ssl_cert_reqs: expected CERT_REQUIRED; name the authority as ssl_ca_certs"
        )
    files: dict[str, Any] = {ours: str(said.get(theirs) or "") for ours, theirs in _FILES.items()}
    return RedisConfig(**files)


def check_settings(conf: Any) -> None:
    """Raise ConfigError for settings that would send messages elsewhere, or lose some, silently."""
    url = conf.broker_write_url
    if not isinstance(url, str):
        raise ConfigError("broker_url: expected one URL such as redis://localhost:6379/0")
    target = parse(url, "broker")
    one_server(target, "broker_url")
    _check_prefix(conf)
    scheme = url.partition("://")[0]
    transport = TRANSPORTS.get(scheme)
    if transport is None:
        raise ConfigError(
            f"broker_url: a Celery app cannot use the scheme {scheme!r} with gearmesh, "
            f"expected one of {', '.join(TRANSPORTS)}"
        )
    if conf.broker_transport != transport:
        raise ConfigError(
            f"broker_transport is {conf.broker_transport!r}, set it to {transport!r} for {scheme}://"
        )
    if conf.broker_read_url not in (None, url):
        raise ConfigError("broker_read_url is another broker than broker_write_url: set broker_url only")
    if isinstance(target, (RedisTarget, AMQPTarget)):
        _check_url(url, target.to_kombu())
    backend = conf.result_backend
    if not backend:
        raise ConfigError(
            f"result_backend is not set: Go workers and Celery's chords need one, set '{BACKEND}+redis://…'"
        )
    name, plus, rest = str(backend).partition("+")
    if name != BACKEND or not plus:
        raise ConfigError(
            f"result_backend is {redact(str(backend))!r}, set it to '{BACKEND}+' and the backend's URL"
        )
    parse(rest, "backend")
    if rest.startswith("null"):
        raise ConfigError(
            "result_backend: the null backend stores no results, and Celery's chords need a result backend"
        )
    consumer = conf.worker_consumer
    if consumer != CONSUMER:
        raise ConfigError(
            f"worker_consumer is {consumer!r}, set it to {CONSUMER!r}: Celery's consumer drops tasks it does not know"
        )
    for setting in ("task_serializer", "result_serializer"):
        if conf[setting] not in ("json", "msgpack"):
            raise ConfigError(
                f"{setting} is {conf[setting]!r}, set it to 'json' or 'msgpack': gearmesh can read no other format"
            )
    accepted = set(conf.accept_content)
    if not accepted & {"json", "application/json"}:
        raise ConfigError(f"accept_content is {sorted(accepted)}, add 'json': calls from Go come as JSON")


def one_server(target: Target, called: str) -> None:
    """Refuse a Redis broker with several hosts: kombu would use only the first one.

    Raises:
        ConfigError: the message names the hosts, and the brokers that a Celery app can use.
    """
    if isinstance(target, RedisTarget) and target.others:
        raise ConfigError(
            f"{called} has several hosts ({target.shown}), expected one: a Celery app reaches one Redis server as its "
            "broker, and knows neither sentinels nor a cluster. Give an address that always leads to the master (a "
            "proxy, or a name in DNS), or use RabbitMQ"
        )


def _check_prefix(conf: Any) -> None:
    """Refuse kombu's prefix of keys: it would apply to some keys only, and Go reads names without a prefix."""
    for setting in ("broker_transport_options", "result_backend_transport_options"):
        prefix = (conf[setting] or {}).get("global_keyprefix")
        if prefix:
            raise ConfigError(
                f"{setting}: global_keyprefix is {prefix!r}, expected none: Go programs use the names of queues and "
                "results without a prefix. To keep programs apart, give each its own Redis database"
            )


def _check_url(url: str, meant: Mapping[str, Any]) -> None:
    """Refuse a URL that kombu and Machinery read differently. Raises ConfigError."""
    names = ("hostname", "port", "virtual_host", "userid", "password")
    usual = {"hostname": "localhost", "port": 6379, "virtual_host": "0", "userid": "", "password": ""}
    if url.startswith("amqp"):
        usual |= {"port": 5671 if url.startswith("amqps") else 5672, "virtual_host": "/"}
        usual |= {"userid": "guest", "password": "guest"}
    theirs = parse_url(url)
    # kombu gives an IPv6 address without its brackets.
    meant = {**meant, "hostname": str(meant["hostname"]).strip("[]")}
    if any((theirs.get(name) or usual[name]) != (meant.get(name) or usual[name]) for name in names):
        raise ConfigError(
            f"broker_url: Celery and Machinery read {redact(url)!r} differently, "
            "write scheme://user:password@host:port/database with all parts"
        )
